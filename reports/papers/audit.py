"""Audits of tables: published ones, or anybody's own; as Markdown and as JSON.

Findings come from rules over cells and runs, not from a list of places.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.registry import TASKS
from dnabench.reports.papers import published, rules, rules_labels, rules_seeds
from dnabench.reports.papers.claims import CLAIMS, Evidence, Runs, checked
from dnabench.reports.papers.published import SeedValue, Value
from dnabench.reports.papers.rules import Cell, Finding
from dnabench.reports.papers.rules_reading import read
from dnabench.reports.papers.rules_runs import independence, paired

SCHEMA = "dnabench.table-audit/1"
COMMAND = "dnabench audit published --paper {}"
WITH_RUNS = "pretrained"  # runs are published of pretrained models


class Section(NamedTuple):
    """What a rule asks."""

    title: str
    asks: str


SECTIONS: Mapping[str, Section] = {
    "spread": Section("What ± is", "The definition that fits most spreads of a table, within 1.5 "
                      "units of the last decimal, where it is not the sample sd."),
    "n": Section("How many runs", "Whether means follow from as many runs as the table says."),
    "labels": Section("Rows that fit another label", "Columns in which another order of the labels "
                      "explains more means and spreads. Numbers cannot say which are right."),
    "means": Section("Means", "Printed means that are not the rounded mean of the runs, rows above "
                     "apart. In brackets: within 1.5 units, as rounding twice gives."),
    "spreads": Section("Spreads", "Printed ± that do not follow by the definition that fits the "
                       "table, rows above apart."),
    "variants": Section("One column, several configurations", "Columns whose cells follow from "
                        "runs of different variants of the model."),
    "single runs": Section("Single runs", "Cells of one run that are another run than most cells "
                           "of their table."),
    "across": Section("Two tables", "Cells named alike and printed differently."),
    "copies": Section("Equal entries", "Two cells of a row or column with the same mean and ±, "
                      "where fewer than 0.05 such pairs are expected in the table."),
    "constant": Section("No variation", "A ± of zero."),
    "steps": Section("Coarse steps", "Columns and tables all of whose values keep to multiples of "
                     "more than one unit of the last decimal."),
    "marks": Section("Best and second-best marks", "Marks that are not on the highest or on the "
                     "next printed mean. Means that print alike share a place."),
    "runs": Section("Runs that do not look independent", "In a table of independent runs the "
                    "chance of any line but plain facts is below 5 %. In brackets: what would not "
                    "stand alone, beside a line of the same kind."),
    "claims": Section("Claims of the text", "What the text says, and what the printed tables and "
                      "the runs give. In brackets: where they agree."),
}  # fmt: skip
TABLE_RULES = (
    rules_seeds.spread_definition, rules_seeds.configurations, rules_seeds.single_runs,
    rules.across, rules.copies, rules.constant, rules.steps, rules.marks,
)  # fmt: skip
LABEL_RULES = (  # of rows whose label stands
    rules_seeds.runs_counted, rules_seeds.means, rules_seeds.few_runs, rules_seeds.spreads,
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """Findings, and what was looked at."""

    subject: str
    cells: int
    runs: int
    findings: tuple[Finding, ...]

    @property
    def found(self) -> tuple[Finding, ...]:
        """Findings without notes."""
        return tuple(f for f in self.findings if f.severity == "finding")


def audit(cells: Sequence[Cell], runs: Mapping[tuple[str, str], Sequence[float]],
          subject: str = "", n_test: Mapping[str, int] | None = None) -> Audit:  # fmt: skip
    """Apply every rule.

    Args:
        cells: printed ones; none when there are only runs.
        runs: (model, task) -> scores in the order of seeds.
        subject: what is audited, for the title.
        n_test: task -> examples of its test split, where known.
    """
    moved = rules_labels.labels(cells)
    standing = rules_labels.relabelled(cells, moved)
    found = [f for rule in TABLE_RULES for f in rule(cells)]
    found += [*moved, *(f for rule in LABEL_RULES for f in rule(standing))]
    found += [*independence(runs, n_test), *paired(runs)]
    return Audit(subject, len(cells), sum(map(len, runs.values())), tuple(_merged(found)))


def of_paper(paper: str = "convnova") -> Audit:
    """Audit a paper whose numbers are in the package.

    Args:
        paper: short name, as `dnabench published list` prints it.

    Raises:
        KeyError: an unknown paper; the message suggests.
    """
    seeds = published.seeds(paper)
    runs: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in seeds:
        runs[one.model, one.task, one.variant].append(one.value)
    cells = cells_of(published.values(paper), runs)
    several = {m for m, n in Counter(m for m, _ in {(m, v) for m, _, v in runs}).items() if n > 1}
    rows = {(f"{m} {v}" if m in several else m, t): x for (m, t, v), x in runs.items()}
    done = audit(cells, rows, subject=paper)
    stray = _stray_marks(seeds)
    claims = checked(CLAIMS.get(paper, ()), Evidence(cells, runs))
    return Audit(paper, done.cells, done.runs, (*done.findings, *stray, *claims))


def of_file(runs: Path, printed: Path | None = None) -> Audit:
    """Audit anybody's table; columns, and what is wrong with a file, as in `rules_reading.read`.

    Args:
        runs: CSV with a line a run.
        printed: CSV of the table that was printed of them.
    """
    cells, rows = read(runs, printed)
    known = {task: _n_test(task) for _, task in rows if task in TASKS}
    return audit(cells, rows, runs.name, {task: n for task, n in known.items() if n})


def _n_test(task: str) -> int:
    """Examples of a test split: those here, else those published; 0 = not known."""
    found = TASKS[task]
    return (found.counts if found.data else found.official).get("test", 0)


def cells_of(values: Sequence[Value], runs: Runs) -> list[Cell]:
    """Published values as cells: columns told apart by what differs within their table.

    Args:
        values: of one paper.
        runs: (model, task, variant) -> scores by seed.
    """
    by_cell: dict[tuple[str, str], dict[str, tuple[float, ...]]] = defaultdict(dict)
    for (model, task, variant), x in runs.items():
        by_cell[model, task][variant] = tuple(x)
    out = []
    for table, members in _by(values, lambda v: v.table).items():
        metrics = {(v.task, v.metric) for v in members}
        several = {t for t, n in Counter(t for t, _ in metrics).items() if n > 1}
        same = Counter((v.task, v.metric, v.model, v.params, v.regime) for v in members)
        for v in members:
            variant = v.variant if same[v.task, v.metric, v.model, v.params, v.regime] > 1 else ""
            found = by_cell[v.model, v.task] if v.regime == WITH_RUNS else {}
            cell = Cell(
                table=f"Table {table}", metric=v.metric, mean=v.mean, mark=v.mark, n=v.n or 0,
                task=f"{v.task} {v.metric}" if v.task in several else v.task,
                spread=math.nan if v.spread is None else v.spread, decimals=v.decimals,
                model=_column(v, [o for o in members if o.model == v.model], variant),
                runs={k: x for k, x in found.items() if variant in ("", k)},
                config=" ".join([v.model, v.params, v.regime, variant]),
            )  # fmt: skip
            out.append(cell)
    return out


def _column(value: Value, columns: Sequence[Value], variant: str) -> str:
    """Name of a column: the model, and what tells it from the model's other columns."""
    parts = [value.model]
    parts += [value.params] if len({o.params for o in columns}) > 1 else []
    regimes = {o.regime for o in columns}
    parts += [value.regime] if len(regimes) > 1 and value.regime != WITH_RUNS else []
    return " ".join([*parts, variant]).strip()


def markdown(done: Audit, title: str, command: str) -> str:
    """An audit to read: a section for each rule that found something.

    Args:
        done: the audit.
        title: of the page.
        command: that prints it.
    """
    count = Counter(_section(f) for f in done.found)
    parts = [
        f"# {title}",
        f"Printed by `{command}`. {done.cells:,} printed values and {done.runs:,} runs were "
        f"checked by rule; {len(done.found)} findings. Each is a pattern in the numbers; none says "
        "how it came about.",
    ]
    for key, section in SECTIONS.items():
        found = [f for f in done.findings if _section(f) == key]
        if not found:
            continue
        head = f"## {section.title} ({count[key]})"
        body = _claims(found) if key == "claims" else "\n".join(map(_line, found))
        parts += [head, section.asks, body]
    if not done.findings:
        parts.append("Nothing was found.")
    return "\n\n".join(parts) + "\n"


def to_json(done: Audit) -> str:
    """An audit as JSON, schema `dnabench.table-audit/1`; NaN is null."""
    document = {
        "schema": SCHEMA, "subject": done.subject, "cells": done.cells, "runs": done.runs,
        "findings": [asdict(f) for f in done.findings],
    }  # fmt: skip
    return json.dumps(_plain(document), indent=1, ensure_ascii=False) + "\n"


def _line(finding: Finding) -> str:
    kind = finding.rule.partition(": ")[2]
    where = ": ".join(part for part in (kind, finding.where) if part)
    text = f"**{where}**: {finding.says}." if where else f"{finding.says}."
    return f"- ({text})" if finding.severity == "note" else f"- {text}"


def _claims(found: Sequence[Finding]) -> str:
    lines = ["| where | claim | printed tables | runs |", "|---|---|---|---|"]
    for f in found:
        claim = f.numbers["claim"]
        claim = claim if f.severity == "finding" else f"({claim})"
        cells = (f.where, claim, f.numbers["printed"], f.numbers["runs"])
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def _section(finding: Finding) -> str:
    return finding.rule.partition(":")[0]


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """The same finding in two tables said once: "Table 1 and Table 13, ..."."""
    out: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for f in findings:
        table, _, rest = f.where.partition(", ")
        out[f.rule, rest if table.startswith("Table ") else f.where, f.says].append(f)
    merged = []
    for (_, rest, _), same in out.items():
        heads = dict.fromkeys(f.where.partition(", ")[0] for f in same)
        tables = " and ".join(filter(None, [", ".join([*heads][:-1]), [*heads][-1]]))
        where = same[0].where if len(same) == 1 else rules.at(tables, rest)
        first = same[0]
        merged.append(Finding(first.rule, where, first.says, first.numbers, first.severity))
    order = list(SECTIONS)
    return sorted(merged, key=lambda f: order.index(_section(f)))


def _stray_marks(seeds: Sequence[SeedValue]) -> list[Finding]:
    """A single second mark among the runs of a table."""
    out = []
    for table, members in _by(seeds, lambda s: s.table).items():
        marked = [s for s in members if s.mark == "second"]
        if len(marked) == 1:
            s = marked[0]
            says = f"one of {len(members)} runs is marked as second: seed {s.seed}, {s.printed}"
            where = rules.at(f"Table {table}", s.task, s.model)
            numbers = {"seed": s.seed, "value": s.value}
            out.append(Finding("marks", where, says, numbers))
    return out


def _by(items: Sequence[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        out[key(item)].append(item)
    return out


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
