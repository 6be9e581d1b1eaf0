"""Read a user's table of runs from CSV, for an audit."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnabench.reports.papers.rules import Cell

NEEDED = ("task", "model", "seed", "value")
PRINTED = ("task", "model", "mean")
TABLE = "Table"
MARKS = ("", "best", "second")
Row = tuple[int, Mapping[str, str]]  # line of the file, fields


Scores = dict[tuple[str, str], list[float]]  # (model, task) -> by seed


def read(runs: Path, printed: Path | None = None) -> tuple[list[Cell], Scores]:
    """Read runs, and the table printed from them.

    Args:
        runs: CSV with columns task, model, seed, value; optional: variant, metric, and mean, spread
            and mark, the same on every line of a cell or on one of them.
        printed: CSV with columns task, model, mean; optional: variant, metric, spread, mark.

    Returns:
        Cells, and runs: those of a model's variants are models of their own; seeds are in the order
        in which the file first names them, the same for every row.

    Raises:
        ValueError: a column is missing, a value is not a number, a run occurs twice, a cell is
            printed in two ways; the message has file and line.
        OSError: a file cannot be read.
    """
    lines = _lines(runs, NEEDED)
    order = {seed: i for i, seed in enumerate(dict.fromkeys(row["seed"] for _, row in lines))}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for number, row in lines:
        model, task = _key(row)
        by_seed = found.setdefault((model, task), {})
        if row["seed"] in by_seed:
            raise ValueError(
                f"{runs}, line {number}: seed {row['seed']} of {model} on {task} occurs twice; "
                "give each run once, or tell runs apart in a column `variant`"
            )
        by_seed[row["seed"]] = _number(runs, number, row, "value")
    scores = {
        key: [values[seed] for seed in sorted(values, key=order.__getitem__)]
        for key, values in found.items()
    }
    table = lines if printed is None else _lines(printed, PRINTED)
    return _cells(printed or runs, table, scores), scores


def _lines(path: Path, needed: Sequence[str]) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                there = ", ".join(reader.fieldnames or ()) or "none"
                raise ValueError(
                    f"{path} lacks column {', '.join(missing)}; it has {there}. "
                    f"The first line must name {', '.join(needed)}"
                )
            lines: list[Row] = []
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path}, line {reader.line_num}: more or fewer fields than in the first "
                        "line; quote fields that contain commas"
                    )
                lines.append((reader.line_num, {k: v.strip() for k, v in row.items()}))
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not UTF-8 text ({e.reason}); save it as UTF-8 CSV") from e
    except csv.Error as e:
        raise ValueError(f"{path} cannot be read as CSV: {e}") from e
    if not lines:
        raise ValueError(f"{path} has a header only; give one run a line")
    return lines


def _key(row: Mapping[str, str]) -> tuple[str, str]:
    return f"{row['model']} {row.get('variant', '')}".strip(), row["task"]


def _number(path: Path, line: int, row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column].replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{path}, line {line}: {column} is {row[column]!r}; give a finite number, or leave the "
            "line out"
        )
    return value


def _cells(path: Path, lines: Sequence[Row], runs: Scores) -> list[Cell]:
    stated: dict[tuple[str, str], Row] = {}
    for number, row in lines:
        if not row.get("mean"):
            continue
        first = stated.setdefault(_key(row), (number, row))[1]
        for column in ("mean", "spread", "mark"):
            if row.get(column, "") != first.get(column, ""):
                raise ValueError(
                    f"{path}, line {number}: {column} of {' on '.join(_key(row))} is "
                    f"{row.get(column)!r} and was {first.get(column)!r} before; give it once"
                )
    decimals = max((_decimals(row["mean"]) for _, row in stated.values()), default=0)
    cells = []
    for (model, task), (number, row) in stated.items():
        if (mark := row.get("mark", "")) not in MARKS:
            raise ValueError(
                f"{path}, line {number}: mark is {mark!r}; give best, second or nothing"
            )
        spread = _number(path, number, row, "spread") if row.get("spread") else math.nan
        mean, known = _number(path, number, row, "mean"), runs.get((model, task))
        cell = Cell(
            table=TABLE, task=task, metric=row.get("metric", ""), model=model, mean=mean,
            spread=spread, mark=mark, decimals=decimals, runs={"": tuple(known)} if known else {},
        )  # fmt: skip
        cells.append(cell)
    return cells


def _decimals(text: str) -> int:
    return len(text.partition(".")[2]) if text.replace(".", "").lstrip("-").isdigit() else 0
