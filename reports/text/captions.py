"""What every format of a table says: captions, the words in a cell, recipes, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from dnabench.metrics import METRICS
from dnabench.registry import MODELS
from dnabench.reports.table import Cell, Column, Table, fixed, grouped, option_text


def title(table: Table) -> str:
    """Protocol, and the limit if there is one."""
    return table.protocol + (f", {limit_words(table)}" if table.limit else "")


def limit_words(table: Table) -> str:
    """How much of the data was used."""
    if table.limit < 1:
        return f"{100 * table.limit:g} % of each split"
    return f"at most {table.limit:g} examples of each split"


def caption(table: Table) -> list[str]:
    """Sentences that say what the numbers are."""
    cells = [c for row in table.rows for c in row.cells]
    out = [
        f"± is the sample standard deviation (ddof = 1) over n seeds; n = {table.n} where a cell "
        "does not say otherwise."
        if table.n > 1
        else "One seed in every cell that has a score, so there is no ±."
        if table.n
        else "No run has a score.",
        protocol_words(table),
    ]
    metrics = {row.label: METRICS.get(row.metric) for row in table.rows if row.metric}
    said = [f"{label} ({m.description})" if m else label for label, m in metrics.items()]
    out += [f"The metric of each row is in its column: {'; '.join(said)}."] if said else []
    out += [
        "Scores are fractions of the test split, higher is better. Best in bold, second "
        f"underlined; means equal at {table.digits} decimals share their place. Parameter counts "
        "include the task head."
    ]
    if any(row.name != row.task for row in table.rows):
        out += ["@ and six digits: the data of that task changed between runs; never pooled."]
    if any(not c.scores and not c.failed and not c.undefined for c in cells):
        out += ["missing: never run."]
    if any(c.failed for c in cells):
        out += ["failed: runs that ended in an error; they are in no mean."]
    if any(c.undefined for c in cells):
        out += ["undefined: runs whose test split has no value of the metric; they are in no mean."]
    if any(c.collapsed for c in cells):
        out += ["†k: k of the runs collapsed to one predicted class; they are in the mean."]
    return out


def protocol_words(table: Table) -> str:
    """Name and meaning of the protocol, and the limit."""
    only = f" Only {limit_words(table)} were used." if table.limit else ""
    return f"Protocol {table.protocol}: {table.why}.{only}"


def words(cell: Cell, table: Table) -> tuple[str, str, str]:
    """Mean, sd with its sign, and remarks; what there is nothing to say of is empty."""
    s, remarks = cell.summary, []
    if s.n and s.n < table.n:
        remarks += [f"n={s.n}"]
    remarks += [f"{cell.failed} failed"] if cell.failed else []
    remarks += [f"{cell.undefined} undefined"] if cell.undefined else []
    remarks += [f"†{cell.collapsed}"] if cell.collapsed else []
    if not s.n:
        return "", "", ", ".join(remarks) or "missing"
    sd = f"± {fixed(s.sd, table.digits)}" if s.n > 1 else ""
    return fixed(s.mean, table.digits), sd, ", ".join(remarks)


def about_column(column: Column) -> str:
    """Parameter count and regime; the recipes below the table have the regime in full."""
    sizes = dict.fromkeys(short_count(n) for n in column.n_params if n)
    return ", ".join(filter(None, ["–".join(sizes), short_regime(column.regime)]))


def short_regime(regime: str) -> str:
    """scratch, pretrained, or the name of the user's file."""
    kind, _, what = regime.partition(":")
    return f"checkpoint {what.partition('@')[0]}" if kind == "checkpoint" else kind


def short_count(n: int) -> str:
    """386120 -> 386K, 1700000 -> 1.7M."""
    value = float(n)
    for unit in ("", "K", "M", "G"):
        text = f"{value:.1f}" if value < 9.95 and unit else f"{value:.0f}"
        if float(text) < 1000:
            break
        value /= 1000
    return text.removesuffix(".0") + unit


def failures(table: Table) -> list[str]:
    """Failed runs, those of one cell with the same last line of traceback together."""
    return [
        f"{name} on {task}, seed{'s'[: len(seeds) - 1]} {', '.join(map(str, seeds))}: {line}"
        for (name, task, line), seeds in table.failures.items()
    ]


def provenance(table: Table) -> Mapping[str, list[str]]:
    """What the records say of where they were made: name -> the different values."""
    found: dict[str, dict[str, None]] = {}
    for record in table.records:
        for name, value in record.where.items():
            if name == "convolution":  # a line for each of dozens of shapes
                value = sorted(set(value.values()))
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            if text:
                found.setdefault(name, {})[text] = None
    return {name: list(values) for name, values in found.items()}


def _reads(model: str, recipe_field: str) -> bool:
    """Whether it means anything to that model, as far as is known here."""
    return model not in MODELS or MODELS[model].reads(recipe_field)


def recipes(table: Table) -> list[tuple[str, str, str]]:
    """(column, suites, every training number) for each recipe that was used."""
    out = []
    for column in table.columns:
        for recipe, used in grouped(column.recipes.items(), lambda item: item[1]).items():
            numbers = [
                f"{k}={option_text(v)}"
                for k, v in asdict(recipe).items()
                if k != "source"
                and _reads(column.model, k)
                and (recipe.finetune == "lora" or not k.startswith("lora_"))
            ]
            if column.regime != "scratch":
                numbers.insert(0, f"weights={column.regime}")
            numbers.append(f"(source: {recipe.source})")
            out.append((column.name, ", ".join(suite for suite, _ in used), " ".join(numbers)))
    return out
