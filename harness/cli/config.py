"""`--config sweep.toml`: the flags' names and values in a file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from dnabench.registry import explain_miss

REPEATED = ("set", "sweep")  # flags that may be given several times


def read_config(path: Path, known: list[str]) -> dict[str, Any]:
    """Defaults for a command's parameters.

    Args:
        path: TOML; keys are flags without dashes in front (`batch-size` or `batch_size`); a list
            stands for commas.
        known: the flags there are.

    Returns:
        parameter name -> value, as the command line's parser wants it.

    Raises:
        ValueError: no TOML; a table or a date as a value.
        KeyError: a key that is no flag; the message suggests the nearest.
        OSError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not TOML: {e}") from None
    out: dict[str, Any] = {}
    for key, value in values.items():
        flag = key.replace("_", "-")
        if flag not in known or flag in ("config", "help"):
            hint = explain_miss("flag", flag, known, "`dnabench run --help` prints all")
            raise KeyError(f"{path}: {hint}")
        out["set_" if flag == "set" else flag.replace("-", "_")] = _plain(path, key, value)
    return out


def _plain(path: Path, key: str, value: Any) -> Any:
    if isinstance(value, list):
        words = [str(v) for v in value]
        if key == "seeds":
            return ",".join(words) + ","  # one seed in a list is that seed, not how many
        return words if key in REPEATED else ",".join(words)
    if isinstance(value, str) and key in REPEATED:
        return [value]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        if isinstance(value, bool) and key.replace("_", "-") == "dry-run":
            return value
        raise ValueError(f"{path}: {key} = {value!r}: give text, a number or a list of them")
    return str(value)
