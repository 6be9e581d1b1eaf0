"""What made the runs of a table: whether they may be averaged and compared.

A source is the version, the packages, the device and so on that made a run. Runs of one cell from
several sources are averaged all the same, and named; so are models that share no source.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from dnabench.reports.grid import listed
from dnabench.reports.grouping import grouped
from dnabench.reports.table import Row, Table
from dnabench.types import Record

# keys of `Record.where`, and how each is written before its value
CODE = {"dnabench": "dnabench ", "commit": "commit ", "torch": "torch "}
MACHINE = {"device": "", "gpu": "", "compile": "compile ",
           "deterministic": "--deterministic ", "threads": "threads ",
           "convolution": "convolutions "}  # fmt: skip
OF_MODEL = ("convolution", "compile")  # differ between models that ran side by side
SHORT = 8  # digits of a commit

Source = tuple[tuple[str, str], ...]


def source(run: Record, keys: Iterable[str]) -> Source:
    """What made a run; keys that the record lacks are left out."""
    found = ((key, run.where.get(key)) for key in keys)
    return tuple((key, _text(key, value)) for key, value in found if value not in (None, "", {}))


def _text(key: str, value: object) -> str:
    if key == "convolution" and isinstance(value, Mapping):  # a form for each of dozens of shapes
        return " and ".join(sorted(set(map(str, value.values()))))
    if key == "device" and isinstance(value, str):  # which of several alike decides nothing
        return re.sub(r"^cuda:\d+ ", "cuda ", value)
    if key == "commit":
        return str(value)[:SHORT] + "+" * str(value).endswith("+")
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def mixed_cells(table: Table, keys: Iterable[str] = (*CODE, *MACHINE)) -> list[str]:
    """A sentence for each column and mixture: which seeds were made by what, on which tasks."""
    found = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if text := _mixture(cell.runs, list(keys)):
                found.append((column.name, text, row.name))
    out = []
    for (name, text), same in grouped(found, lambda item: item[:2]).items():
        out.append(f"{name} on {listed(item[2] for item in same)} mixes {text}")
    return out


def _mixture(runs: Sequence[Record], keys: Sequence[str]) -> str:
    """Seeds by source, with what differs alone; empty when there is one source."""
    sources = [dict(source(run, keys)) for run in runs]
    differ = [k for k in keys if len({s.get(k, "unknown") for s in sources}) > 1]
    if not differ:
        return ""
    pairs = zip(sources, runs, strict=True)
    by = grouped(pairs, lambda pair: tuple(pair[0].get(k, "unknown") for k in differ))
    return "; ".join(
        f"{_seeds([run.trial.seed for _, run in own])} by {_words(differ, values)}"
        for values, own in by.items()
    )


def _words(keys: Iterable[str], values: Iterable[str]) -> str:
    heads = CODE | MACHINE
    return " on ".join(
        filter(None, [
            ", ".join(f"{heads[k]}{v}" for k, v in zip(keys, values, strict=True) if k in part)
            for part in (CODE, MACHINE)
        ])
    )  # fmt: skip


def _seeds(seeds: Sequence[int]) -> str:
    """Seeds 0-4, seed 7, seeds 1, 3 and 5."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"seeds {ordered[0]}-{ordered[-1]}"
    return f"seed{'s'[: len(ordered) - 1]} {listed(map(str, ordered))}"


def repeated_runs(table: Table) -> list[str]:
    """A sentence for each cell in which some seeds, not all, trained and scored alike to the bit.

    Where all do, as of a model that draws nothing, the scores do not vary, which is remarked.
    """
    out = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            alike = grouped(cell.runs, lambda run: tuple(run.scores["test"].items()))
            for runs in (x for x in alike.values() if 1 < len(x) < len(cell.runs)):
                losses = grouped(runs, lambda run: tuple(e.get("loss") for e in run.curve))
                for own in (x for key, x in losses.items() if len(x) > 1 and {*key} - {None}):
                    seeds = _seeds([run.trial.seed for run in own])
                    out.append(f"{column.name} on {row.name}: {seeds} have the same losses and "
                               "scores: copies, or a network that ignores the seed?")  # fmt: skip
    return out


def unlike_models(table: Table) -> list[str]:
    """A sentence for each group of tasks on which the compared models come from other sources."""
    keys = [k for k in (*CODE, *MACHINE) if k not in OF_MODEL]
    found = [(text, row.name) for row in table.rows if (text := _unlike(table, row, keys))]
    return [
        f"different code or machines are compared on {listed(name for _, name in same)}: {text}"
        for text, same in grouped(found, lambda item: item[0]).items()
    ]


def _unlike(table: Table, row: Row, keys: Sequence[str]) -> str:
    """Models by the sources of their runs; empty when all have the same."""
    of = {
        column.name: [dict(source(run, keys)) for run in cell.runs]
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.runs
    }
    values = {k: {n: tuple(sorted({s.get(k, "unknown") for s in x})) for n, x in of.items()}
              for k in keys}  # fmt: skip
    differ = [k for k in keys if len(set(values[k].values())) > 1]
    if not differ:
        return ""
    by = grouped(of, lambda name: tuple(" and ".join(values[k][name]) for k in differ))
    return "; ".join(f"{listed(names)} by {_words(differ, vs)}" for vs, names in by.items())


def code_remarks(table: Table) -> list[str]:
    """What `--same-code` refuses: cells or models of several versions, commits or packages."""
    of_code = {(column.name, source(run, CODE)) for row in table.rows
               for column, cell in zip(table.columns, row.cells, strict=True)
               for run in cell.runs}  # fmt: skip
    if len({made for _, made in of_code}) < 2:
        return []
    return mixed_cells(table, CODE) + unlike_models(table)
