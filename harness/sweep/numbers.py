"""Seeds, limits, shares and durations as the command line writes them."""

from collections.abc import Sequence
from contextlib import suppress

LARGEST = 2**63  # of a whole number
MOST_SEEDS = 10_000
CHECKPOINTS = {"epoch": 0.0, "never": -1.0}


def digits(text: str) -> str:
    """The text of a number; ValueError for 1_000 and for digits of other scripts."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r}: write numbers with the digits 0-9 alone")
    return text


def parse_seeds(text: str) -> list[int]:
    """`10` -> 0..9; `0,3,7` -> these; `2222,42-50` -> 2222, 42, 43, ..., 50.

    ValueError for any other text, or a seed twice.
    """
    try:
        if digits(text).strip().isdigit():
            seeds = list(range(min(int(text), MOST_SEEDS + 1)))
        else:
            seeds = []
            for part in text.rstrip(",").split(","):
                low, dash, high = part.partition("-")
                first, last = int(low), int(high if dash else low)
                seeds += range(first, min(last, first + MOST_SEEDS) + 1)
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or len(seeds) > MOST_SEEDS:
        raise ValueError(
            f"--seeds {text!r}: give how many (10), which (0,3,7; for seed 5 alone '5,') or "
            f"ranges (2222,42-50); none twice, at most {MOST_SEEDS}"
        )
    return seeds


def parse_limit(text: str) -> float:
    """`200` examples of each split, or a share such as `0.1`; 0 or 1.0 = all; else ValueError."""
    if text.strip() == "1.0":
        return 0.0
    limit = -1.0
    with suppress(ValueError):
        limit = float(digits(text))
    if not (0 <= limit <= 1 or (limit > 1 and limit.is_integer())):
        raise ValueError(f"--limit {text!r}: give a number of examples (200) or a share (0.1)")
    return limit


def parse_shares(texts: Sequence[str]) -> list[float]:
    """Shares above 0 and at most 1, each once; 1 of no text; else ValueError."""
    out = []
    for text in texts or ["1"]:
        share = 0.0
        with suppress(ValueError):
            share = float(digits(text))
        if not 0 < share <= 1:
            raise ValueError(
                f"--train-share {text!r}: give shares of the training examples, above 0 and at "
                "most 1: 0.01,0.1,1"
            )
        out.append(share)
    return list(dict.fromkeys(out))


def parse_checkpoints(text: str) -> float:
    """Seconds of a duration; 0 of "epoch" (after each one), -1 of "never"; else ValueError."""
    if text in CHECKPOINTS:
        return CHECKPOINTS[text]
    try:
        return parse_duration(text or "?", "--checkpoint-every")
    except ValueError as e:
        raise ValueError(f"{e}, epoch (after each) or never") from None


def written_checkpoints(seconds: float) -> str:
    """What `parse_checkpoints` reads as these seconds."""
    words = {value: word for word, value in CHECKPOINTS.items()}
    return words.get(seconds, f"{seconds:.15g}")


def parse_duration(text: str, flag: str = "--trial-timeout") -> float:
    """Seconds of `3600`, `90s`, `30m` or `2h`, above 0; 0 of no text; else ValueError."""
    if not text:
        return 0.0
    number, unit = (text[:-1], text[-1]) if text[-1] in "smh" else (text, "s")
    seconds = 0.0
    with suppress(ValueError):
        seconds = float(digits(number)) * {"s": 1, "m": 60, "h": 3600}[unit]
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{flag} {text!r}: give seconds (3600), minutes (30m) or hours (2h)")
    return seconds


def written_duration(seconds: float) -> str:
    """What `parse_duration` reads as exactly these seconds."""
    return str(float(seconds)).removesuffix(".0")
