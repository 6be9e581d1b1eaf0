"""What every format says about a table: the scores themselves, captions, recipes, provenance."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.reports.cells import Cell
from dnabench.reports.columns import Column
from dnabench.reports.grid import Grid, fixed, listed
from dnabench.reports.grouping import grouped
from dnabench.reports.settings import recipe_text
from dnabench.reports.table import Table

COLLAPSED = "†"  # before the number of runs that predict a single class
VARIANT = "‡"  # behind a best mean that was chosen among variants
NO_RECORDS = "No records: nothing has been run yet."


class Style(NamedTuple):
    """How a format writes the score table; all but `escape` are templates of str.format."""

    escape: Callable[[str], str]
    head: str  # of the column's name and `about_column`
    best: str
    second: str
    family: str


def score_grid(table: Table, style: Style) -> Grid:
    """Mean ± sd of every model on every task, families under a line of their own."""
    escape, rows = style.escape, []
    heads = [style.head.format(escape(c.name), escape(about_column(c))) for c in table.columns]
    for family, members in table.families.items():
        if any(table.families):
            name = style.family.format(escape(family or "other"))
            rows.append([name, *[""] * (len(heads) + 1)])
        for row in members:
            line = [escape(row.name), escape(row.heading)]
            for i, cell in enumerate(row.cells):
                mean, sd, remarks = cell_text(cell, table)
                number, remarks = escape(f"{mean} {sd}".strip()), escape(remarks)
                if i in row.best and number and table.columns[i].variants > 1:
                    number += escape(VARIANT)
                if i in row.best | row.second:
                    number = (style.best if i in row.best else style.second).format(number)
                line.append(f"{number} ({remarks})" if number and remarks else number or remarks)
            rows.append(line)
    return Grid("", ["task", "metric", *heads], rows, [escape(" ".join(caption(table)))])


CHOSEN = (
    "‡: the best of several variants, columns of one model that differ in options or recipe only: "
    "chosen after seeing test, so too high; choose on validation."
)


def cell_text(cell: Cell, table: Table) -> tuple[str, str, str]:
    """Mean, ± sd, and remarks; each may be empty."""
    s, remarks = cell.summary, []
    if s.n and s.n < table.n:
        remarks += [f"n={s.n}"]
    counts = {
        "{} failed": cell.failed,
        "{} invalid": len(cell.invalid),
        "{} undefined": cell.undefined,
        COLLAPSED + "{}": cell.collapsed,
    }
    remarks += [text.format(n) for text, n in counts.items() if n]
    if not s.n:
        return "", "", ", ".join(remarks) or "missing"
    sd = f"± {fixed(s.sd, table.digits)}" if s.n > 1 else ""
    return fixed(s.mean, table.digits), sd, ", ".join(remarks)


def about_column(column: Column) -> str:
    """Parameter count, and scratch, pretrained, the user's file, or what its own code loads."""
    sizes = dict.fromkeys(short_count(n) for n in column.n_params if n)
    kind, _, path = column.regime.partition(":")
    regime = {
        "checkpoint": f"checkpoint {path.partition('@')[0]}",
        "own": f"pretrained by its own code ({path.removesuffix('%')} %)",
    }.get(kind, kind)
    return ", ".join(filter(None, ["–".join(sizes), regime]))


def short_count(n: int) -> str:
    """386120 -> 386K, 1700000 -> 1.7M."""
    value = float(n)
    for unit in ("", "K", "M", "G"):
        text = f"{value:.1f}" if value < 9.95 and unit else f"{value:.0f}"
        if float(text) < 1000:
            break
        value /= 1000
    return text.removesuffix(".0") + unit


def title(table: Table) -> str:
    """Protocol, and the limit and the share of train if there are any."""
    share = [f"{100 * table.train_share:g} % of train"] if table.train_share < 1 else []
    return ", ".join([table.protocol, *([_limit_text(table)] if table.limit else []), *share])


def _limit_text(table: Table) -> str:
    if table.limit < 1:
        return f"{100 * table.limit:g} % of each split"
    return f"at most {table.limit:g} examples of each split"


def caption(table: Table) -> list[str]:
    """Sentences that say what the numbers are."""
    cells = [c for row in table.rows for c in row.cells]
    metrics = {row.label: METRICS.get(row.metric) for row in table.rows if row.metric}
    named = [f"{label} ({m.description})" if m else label for label, m in metrics.items()]
    sentences = [
        (True, spread_text(table)),
        (True, protocol_text(table)),
        (bool(named), f"Metric: {'; '.join(named)}."),
        (True, f"Scores are fractions on the test split; {better(table)}. The best mean is bold, "
         f"the second underlined; means equal to {table.digits} decimals are tied. Parameter "
         "counts include the task head."),
        (bool(other := other_metric(table)), other),
        (any(row.name != row.task for row in table.rows),
         "@ and six digits: a version of the task's data; versions are never pooled."),
        (any(c.missing for c in cells), "missing: not run."),
        (any(c.failed for c in cells),
         "failed: runs that ended in an error, excluded from the mean."),
        (any(c.invalid for c in cells),
         "invalid: runs whose score does not follow from their predictions, excluded from the mean "
         "(`dnabench run --invalid` repeats them)."),
        (any(c.undefined for c in cells),
         "undefined: runs without a value of the metric on test, as AUROC of one class or the "
         "correlation of equal predictions, excluded from the mean, bold or not."),
        (any(table.columns[i].variants > 1 for row in table.rows for i in row.best), CHOSEN),
        (any(c.collapsed for c in cells),
         "†k: k runs collapsed to one predicted class or value; they are included in the mean."),
        (bool(cut := truncated(table)), f"Cut at the end of long sequences: {'; '.join(cut)}."),
    ]  # fmt: skip
    return [text for applies, text in sentences if applies]


def better(table: Table) -> str:
    """Whether higher or lower scores are better."""
    signs = {row.sign for row in table.rows}
    if signs == {-1}:
        return "lower is better"
    return "higher is better" + " but where a metric has ↓" * (-1 in signs)


def other_metric(table: Table) -> str:
    """A sentence where the metric shown is not that of the runs."""
    own = listed(dict.fromkeys(label_of(row.chosen_by) for row in table.rows if row.chosen_by))
    if not own:
        return ""
    known = PROTOCOLS.get(table.protocol)
    chosen = known is not None and known.checkpoint in ("best-val", "best-test")
    return f"Shown instead of {own}" + ", by which the epochs were chosen" * chosen + "."


def label_of(metric: str) -> str:
    """As a heading has it."""
    known = METRICS.get(metric)
    return known.label if known else metric


def truncated(table: Table) -> list[str]:
    """Which model read how many sequences of which task without their end."""
    out = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            found = {
                f"{100 * share:.3g} % of {row.name} beyond {run.trial.recipe.max_length:,} tokens"
                for run in cell.runs
                if (share := float(run.flags.get("truncated", 0)))
            }
            out += [f"{column.name}, {text}" for text in sorted(found)]
    return out


def spread_text(table: Table) -> str:
    """What ± is."""
    if table.n < 2:
        one = "One seed" + " or pretraining" * table.nested
        return f"{one} per cell, so no standard deviation." if table.n else "No run has a score."
    sd = "± is the sample standard deviation (ddof = 1) over n seeds"
    sd += ", or pretrainings, each with the mean of its fine-tunings" * table.nested
    return f"{sd}; n = {table.n} unless a cell says otherwise."


def protocol_text(table: Table) -> str:
    """Name and meaning of the protocol, the limit, and the share of train."""
    only = f" Only {_limit_text(table)} were used." if table.limit else ""
    if table.train_share < 1:
        only += (f" Trained on {100 * table.train_share:g} % of the training examples; validation "
                 "and test are whole.")  # fmt: skip
    return f"Protocol {table.protocol} – {table.why}.{only}"


def failures(table: Table) -> list[str]:
    """Failed runs, those of one cell with the same last line of traceback together."""
    return [
        f"{name} on {task}, seed{'s'[: len(seeds) - 1]} {', '.join(map(str, seeds))}: {line}"
        for (name, task, line), seeds in table.failures.items()
    ]


def provenance(table: Table) -> Mapping[str, list[str]]:
    """Where and with what the records were made: name -> the different values."""
    found: dict[str, dict[str, None]] = {}
    for record in table.records:
        for name, value in record.where.items():
            if name == "convolution":  # a line for each of dozens of shapes
                value = sorted(set(value.values()))
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            if text:
                found.setdefault(name, {})[text] = None
    return {name: list(values) for name, values in found.items()}


def recipe_grid(table: Table) -> Grid:
    """Model, suites and every training number of each recipe that was used."""
    rows = []
    for column in table.columns:
        for recipe, used in grouped(column.recipes.items(), lambda item: item[1]).items():
            weights = f"weights={column.regime} " * (column.regime != "scratch")
            text = weights + recipe_text(column.model, recipe)
            rows.append([column.name, ", ".join(suite for suite, _ in used), text])
    return Grid("Recipes", ["model", "suite", "recipe"], rows)
