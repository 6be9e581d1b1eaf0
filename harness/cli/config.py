"""`--config sweep.toml`: the flags' names and values in a file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.registry import explain_miss

# flags that may be given several times
REPEATED = (
    "models", "tasks", "suite", "train-share", "regime", "set", "sweep", "data", "label-column",
    "test-groups", "dev-groups", "set-resource", "again", "declare", "space",
)  # fmt: skip
SWITCHES = (
    "dry-run", "queue", "detach", "no-leak-check", "deterministic", "trust-remote-code", "invalid",
)  # fmt: skip


def read_config(path: Path, known: list[str]) -> dict[str, Any]:
    """Defaults for a command's parameters.

    Args:
        path: TOML; keys are flags without leading dashes (`batch-size` or `batch_size`); a list
            stands for a comma-separated or repeated flag.
        known: names of the flags.

    Returns:
        parameter name -> value, as the command line's parser wants it.

    Raises:
        ValueError: not TOML; a table or a date as a value.
        KeyError: a key that is not a flag; the message suggests the nearest.
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
            hint = explain_miss("flag", flag, known, "`dnabench run --help` lists all")
            raise KeyError(f"{path}: {hint}")
        out["set_" if flag == "set" else flag.replace("-", "_")] = _plain(path, flag, value)
    return out


def _plain(path: Path, flag: str, value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if flag in SWITCHES and isinstance(value, bool):
        return value
    if any(isinstance(v, bool) or not isinstance(v, str | int | float) for v in items):
        raise ValueError(f"{path}: {flag} = {value!r}: give text, a number or a list of them")
    words = [str(v) for v in items]
    if flag in REPEATED:
        return words
    if flag == "seeds" and isinstance(value, list):
        return ",".join(words) + ","  # one seed in a list is that seed, not how many
    return ",".join(words)


def _use_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of this command's flags."""
    if path is None:
        return None
    from dnabench.cli.run import run  # imports this module

    own = [o.removeprefix("--") for p in ctx.command.params for o in p.opts if o[:2] == "--"]
    of_run = [name.strip("_").replace("_", "-") for name in run.__annotations__]
    try:  # `plan` reads the file of a run and passes over what it has no flag for
        ctx.default_map = read_config(path, [*own, *of_run])
    except (ValueError, KeyError, OSError) as e:
        fail(e.args[0] if isinstance(e, KeyError) else str(e))
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        callback=_use_config, is_eager=True,
        help="TOML file of flags and values; flags on the command line take precedence.",
    ),
]  # fmt: skip
