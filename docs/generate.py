"""Pages made from the code: commands from the command line, Python from docstrings."""

import ast
import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import dnabench

ROOMS = {  # in the order of the page; a module is in the first room that fits its name
    "dnabench.api": "The interface",
    "dnabench.types": "Nouns",
    "dnabench.records": "Trials and records",
    "dnabench.tokens": "Tokens",
    "dnabench.train": "Training",
    "dnabench.networks": "Kept networks",
    "dnabench.pretraining": "Language models from genomes",
    "dnabench.sweep": "Sweeps and trials",
    "dnabench.executors": "Executors",
    "dnabench.forecast": "Forecasts",
    "dnabench.host": "The machine",
    "dnabench.models": "Models",
    "dnabench.tasks": "Tasks and data",
    "dnabench.results": "Results",
    "dnabench.probes": "What a network sees",
    "dnabench.reports.stats": "Statistics",
    "dnabench.reports": "Reports",
    "dnabench": "Metrics, splits, protocols, weights",
}


def write(folder: Path) -> None:
    """Write commands.md, and a page for each room of Python modules."""
    folder.mkdir(exist_ok=True)
    pages = {"commands.md": commands(), **python_pages()}
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def commands() -> str:
    """The command reference in Markdown, from the command line itself."""
    words = ["dnabench.cli", "utils", "docs", "--name", "dnabench", "--title", "Commands"]
    argv = [sys.executable, "-m", "typer", *words]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    first = dict(re.findall(r"^#+ `dnabench (.+)`\n\n(.+)$", text, re.M))
    parts = re.split(r"^(?=#+ `dnabench)", text, flags=re.M)
    return "".join(_whole(part, first) for part in parts)


def _whole(section: str, first: Mapping[str, str]) -> str:
    """The section with the first line of each command that it lists, which typer cuts short."""
    found = re.match(r"#+ `dnabench (.+)`", section)
    group = f"{found[1]} " if found else ""

    def line(item: re.Match[str]) -> str:
        return f"* `{item[1]}`: {first.get(group + item[1], item[2])}"

    return re.sub(r"^\* `([a-z]+)`: (.*)$", line, section, flags=re.M)


def python_pages() -> dict[str, str]:
    """File name to text: an index, and a page a room."""
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name in modules():
        rooms[next(room for room in ROOMS if f"{name}.".startswith(f"{room}."))].append(name)
    pages = {}
    for room, names in rooms.items():
        file = room.removeprefix("dnabench.").replace(".", "-")
        pages[f"{file}.md"] = f"# {ROOMS[room]}\n" + "".join(map(_section, names))
    listed = "\n".join(name.removesuffix(".md") for name in pages)
    head = (
        "# Python\n\nFrom the docstrings. The command line calls these same functions; what a page "
        "of this site does not name may change between versions.\n"
    )
    return {**pages, "python.md": f"{head}\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n"}


def modules() -> list[str]:
    """Every public module of dnabench, outside the command line."""
    found = [m.name for m in pkgutil.walk_packages(dnabench.__path__, "dnabench.")]
    hidden = re.compile(r"\._|\.cli\b|\.__main__|\.make\b|demo_data")
    return sorted(name for name in ["dnabench", *found] if not hidden.search(name))


def _section(name: str) -> str:
    block = f".. automodule:: {name}\n   :members:\n   :ignore-module-all:\n"
    return f"\n## `{name}`\n\n```{{eval-rst}}\n{block}```\n"


def plain_text(app, what, name, obj, options, lines):
    """Take the letters *, | and a final _ in a docstring as they are, outside of `code`."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|\\]|_\b)", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def has_fields(obj):
    """Whether it is a dataclass or a named tuple."""
    return inspect.isclass(obj) and (dataclasses.is_dataclass(obj) or hasattr(obj, "_fields"))


def short_signature(app, what, name, obj, options, signature, returns):
    """No signature for a class whose fields are listed."""
    return ("", None) if has_fields(obj) else None


def fields(app, what, name, obj, options, lines):
    """Append a class's fields, with the remarks beside them, as its source has them."""
    if not has_fields(obj):
        return
    source = textwrap.dedent(inspect.getsource(obj))
    body = ast.parse(source).body[0].body
    named = [n for n in body if isinstance(n, ast.AnnAssign)]
    own = source.splitlines()[named[0].lineno - 1 : named[-1].end_lineno] if named else []
    if own:
        lines += ["", ".. code-block:: python", "", *own, ""]


def skipped(app, what, name, obj, skip, options):
    """Leave out what only says that a named tuple has fields."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field") else None
