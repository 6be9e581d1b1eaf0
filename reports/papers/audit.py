"""Audits of tables, published or a user's own, as Markdown and as JSON.

Findings come from rules over cells and runs, not from a list of places.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dnabench.registry import TASKS
from dnabench.reports.grouping import grouped
from dnabench.reports.papers import published, rules, rules_labels, rules_seeds
from dnabench.reports.papers.claims import CLAIMS, Evidence, Runs, checked
from dnabench.reports.papers.published import Value
from dnabench.reports.papers.read_table import read
from dnabench.reports.papers.rules import Cell, Finding
from dnabench.reports.papers.rules_runs import independence, paired

SCHEMA = "dnabench.table-audit/1"
COMMAND = "dnabench audit published --paper {}"
WITH_RUNS = "pretrained"  # runs are published of pretrained models


SECTIONS = {  # rule -> title, what the rule looks for
    "spread": ("What ± means", "The definition that fits most spreads of a table, within 1.5 units "
               "of the last decimal, where that is not the sample sd."),
    "n": ("Number of runs", "Whether means follow from as many runs as the table states."),
    "labels": ("Rows that match another label", "Columns whose means and spreads are better "
               "explained with the row labels in another order. Numbers cannot say which labels "
               "are right."),
    "means": ("Means", "Printed means that are not the rounded mean of the runs, without the rows "
              "named above. In brackets: within 1.5 units of the last decimal, as rounding twice "
              "gives, and what columns have in common."),
    "spreads": ("Spreads", "Printed ± that do not follow from the runs by the definition that fits "
                "the table, without the rows named above."),
    "variants": ("One column, several configurations", "Columns whose cells follow from runs of "
                 "different variants of the model."),
    "single runs": ("Single runs", "Cells of one run, where it is not the run that most cells of "
                    "the table show."),
    "across": ("Differences between tables", "Cells with the same name that are printed "
               "differently."),
    "copies": ("Equal entries", "Two cells of a row or column with the same mean and ±, where "
               "fewer than 0.05 such pairs are expected in the table by chance."),
    "constant": ("No variation", "A ± of zero."),
    "steps": ("Coarse steps", "Columns and tables whose values are all multiples of more than one "
              "unit of the last decimal."),
    "marks": ("Best and second-best marks", "Marks that are not on the highest or the next highest "
              "printed mean. Means that are printed alike share a rank."),
    "runs": ("Runs that do not look independent", "In a table of independent runs, the chance of "
             "any statistical pattern listed here is below 5 %. In brackets: patterns too weak on "
             "their own, beside a stronger one of the same kind."),
    "claims": ("Claims in the text", "What the text claims, and what the printed tables and the "
               "runs give. In brackets: claims that these support."),
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
    """Apply every rule to printed cells, which may be none, and runs: (model, task) -> by seed.

    `n_test` has the examples of the test splits of tasks, where known.
    """
    moved = list(rules_labels.labels(cells))
    standing = rules_labels.relabelled(cells, moved)
    found = [f for rule in TABLE_RULES for f in rule(cells)]
    found += [*moved, *(f for rule in LABEL_RULES for f in rule(standing))]
    found += [*independence(runs, n_test), *paired(runs)]
    return Audit(subject, len(cells), sum(map(len, runs.values())), tuple(_merged(found)))


def of_paper(paper: str = "convnova") -> Audit:
    """Audit a paper of the package by its short name; errors are those of `published`."""
    seeds = published.seeds(paper)
    by_run = grouped(seeds, lambda s: (s.model, s.task, s.variant))
    runs = {key: [s.mean for s in some] for key, some in by_run.items()}
    cells = cells_of(published.values(paper), runs)
    variants = Counter(model for model, _ in {(m, v) for m, _, v in runs})
    rows = {(f"{m} {v}" if variants[m] > 1 else m, t): x for (m, t, v), x in runs.items()}
    done = audit(cells, rows, subject=paper)
    claims = checked(CLAIMS.get(paper, ()), Evidence(cells, runs))
    return replace(done, findings=(*done.findings, *_stray_marks(seeds), *claims))


def of_file(runs: Path, printed: Path | None = None) -> Audit:
    """Audit a user's table; files, their columns and errors are those of `read_table.read`."""
    cells, rows = read(runs, printed)
    known = {task: _n_test(task) for _, task in rows if task in TASKS}
    return audit(cells, rows, runs.name, {task: n for task, n in known.items() if n})


def _n_test(task: str) -> int:
    """Examples of a test split: those here, else those published; 0 = not known."""
    found = TASKS[task]
    return (found.counts if found.data else found.official).get("test", 0)


def cells_of(values: Sequence[Value], runs: Runs) -> list[Cell]:
    """Values of one paper as cells: columns named by what differs within their table."""
    out = []
    for table, members in grouped(values, lambda v: v.table).items():
        metrics = Counter(task for task, _ in {(v.task, v.metric) for v in members})
        same = Counter((v.task, v.metric, v.model, v.params, v.regime) for v in members)
        for v in members:
            variant = v.variant if same[v.task, v.metric, v.model, v.params, v.regime] > 1 else ""
            found = {
                k: tuple(x) for (model, task, k), x in runs.items()
                if (model, task, v.regime) == (v.model, v.task, WITH_RUNS) and variant in ("", k)
            }  # fmt: skip
            cell = Cell(
                table=f"Table {table}", metric=v.metric, mean=v.mean, mark=v.mark, n=v.n or 0,
                task=f"{v.task} {v.metric}" if metrics[v.task] > 1 else v.task,
                spread=math.nan if v.spread is None else v.spread, decimals=v.decimals,
                model=_column(v, [o for o in members if o.model == v.model], variant), runs=found,
                config=" ".join([v.model, v.params, v.regime, variant]),
            )  # fmt: skip
            out.append(cell)
    return out


def _column(value: Value, columns: Sequence[Value], variant: str) -> str:
    """Name of a column: the model, and what tells it from the model's other columns."""
    sizes, regimes = ({getattr(o, name) for o in columns} for name in ("params", "regime"))
    size = value.params if len(sizes) > 1 else ""
    regime = value.regime if len(regimes) > 1 and value.regime != WITH_RUNS else ""
    return " ".join(filter(None, [value.model, size, regime, variant]))


def markdown(done: Audit, title: str, command: str) -> str:
    """An audit to read, printed by `command`: a section for each rule that found something."""
    parts = [
        f"# {title}",
        f"Printed by `{command}`. {done.cells:,} printed values and {done.runs:,} runs were "
        f"checked by rule; {len(done.found)} findings. Each is a pattern in the numbers; none says "
        "how it came about.",
    ]
    by_section = grouped(done.findings, _section)
    for key, (title, looks_for) in SECTIONS.items():
        if found := by_section.get(key):
            n = sum(f.severity == "finding" for f in found)
            body = _claims(found) if key == "claims" else "\n".join(map(_line, found))
            parts += [f"## {title} ({n})", looks_for, body]
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
    where = ": ".join(filter(None, [finding.rule.partition(": ")[2], finding.where]))
    text = f"**{where}**: {finding.says}." if where else f"{finding.says}."
    return f"- ({text})" if finding.severity == "note" else f"- {text}"


def _claims(found: Sequence[Finding]) -> str:
    lines = ["| where | claim | printed tables | runs |", "|---|---|---|---|"]
    for f in found:
        claim, printed, runs = (f.numbers[name] for name in ("claim", "printed", "runs"))
        cells = (f.where, claim if f.severity == "finding" else f"({claim})", printed, runs)
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def _section(finding: Finding) -> str:
    return finding.rule.partition(":")[0]


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """The same finding in several tables stated once: "Table 1 and Table 13, ..."."""

    def key(f: Finding) -> tuple[str, str, str]:
        table, _, rest = f.where.partition(", ")
        return f.rule, rest if table.startswith("Table ") else f.where, f.says

    merged = []
    for (_, rest, _), same in grouped(findings, key).items():
        *others, last = dict.fromkeys(f.where.partition(", ")[0] for f in same)
        tables = " and ".join(filter(None, [", ".join(others), last]))
        merged.append(same[0] if len(same) == 1 else replace(same[0], where=rules.at(tables, rest)))
    order = list(SECTIONS)
    return sorted(merged, key=lambda f: order.index(_section(f)))


def _stray_marks(seeds: Sequence[Value]) -> rules.Findings:
    """A single second mark among the runs of a table."""
    for table, members in grouped(seeds, lambda s: s.table).items():
        marked = [s for s in members if s.mark == "second"]
        if len(marked) == 1:
            s = marked[0]
            says = f"one of {len(members)} runs is marked as second: seed {s.seed}, {s.printed}"
            where = rules.at(f"Table {table}", s.task, s.model)
            yield Finding("marks", where, says, {"seed": s.seed, "value": s.mean})


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
