"""Letters of any text as pdflatex prints them. Imports nothing, so that looking stays light."""

_GREEK = (
    "alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi",
    "omega",
)  # fmt: skip
_LETTERS = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # would be an argument of the \\ before them
    "±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$",
    "–": "--", "≥": r"$\geq$", "≤": r"$\leq$", "µ": r"$\mu$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "↓": r"$\downarrow$", "≈": r"$\approx$",
    "−": "$-$", "…": r"\ldots{}",
}  # fmt: skip
_LETTERS |= {c: rf"$\{name}$" for c, name in zip("αβγδεζηθικλμνξπρστυφχψω", _GREEK, strict=True)}
_LATIN = 0x17F  # pdflatex has letters up to here


def escaped(text: str) -> str:
    """Any text as itself; of letters that pdflatex's fonts lack the code, as in [U+4E2D]."""
    return "".join(map(_letter, " ".join(text.split())))


def _letter(c: str) -> str:
    if c in _LETTERS or ord(c) <= _LATIN:
        return _LETTERS.get(c, c)
    return f"{{[}}U+{ord(c):04X}{{]}}"
