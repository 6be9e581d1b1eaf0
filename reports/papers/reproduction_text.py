"""What `dnabench reproduce` prints: the cells as Markdown or CSV, and how our runs were made."""

import csv
import io
import math
from collections.abc import Sequence

from tabulate import tabulate

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.registry import MODELS
from dnabench.reports.grid import NONE, count, fixed, interval, signed
from dnabench.reports.grouping import grouped
from dnabench.reports.papers.published import About, Value
from dnabench.reports.papers.reproduction import ComparedCell
from dnabench.reports.settings import option_text, recipe_text
from dnabench.spreadsheets import as_text
from dnabench.types import Record

FORMATS = ("md", "csv")
_HEADS = (
    "task", "metric", "model", "published", "ours", "n", "95 % CI", "difference",
    "95 % CI of the difference", "verdict",
)  # fmt: skip
_EXPLAINED = (
    "Ours: mean and 95 % t interval over n seeds. Difference: ours - published, with a 95 % Welch "
    "interval from the seed noise of both and one term for the noise of the test examples. agrees: "
    "the interval holds 0, or the difference is too small to matter; it does not mean equal. "
    "descriptive: fewer than five of our seeds. Each cell is tested on its own, so one in twenty "
    "cells that truly agree differs by chance. Data count as the published ones when their numbers "
    "of examples do."
)
_NO_WEIGHTS = (
    "Where the paper's pretrained weights were never published, --regime scratch compares ours "
    "trained from scratch."
)


def render(cells: Sequence[ComparedCell], about: About, format: str) -> str:
    """The cells of a table: "md", in the unit of the paper, or "csv", in fractions."""
    return _csv(cells) if format == "csv" else _markdown(cells, about)


def name_of(value: Value) -> str:
    """The published model with its size and variant."""
    return " ".join(filter(None, [value.model, value.params, value.variant]))


def _markdown(cells: Sequence[ComparedCell], about: About) -> str:
    rows = [_row(c) for c in cells]
    table = tabulate(rows, _HEADS, tablefmt="github", disable_numparse=True)
    by_verdict = grouped(cells, lambda c: c.verdict)
    counts = ", ".join(f"{len(some)} {verdict}" for verdict, some in by_verdict.items())
    spreads = "; ".join(dict.fromkeys(c.spread.how for c in cells))
    caption = [f"Published ({about.unit}): {spreads}."]
    caption += [f"Basis: {about.spread_from}."] if about.spread_from else []
    caption += [f"How published epochs were chosen: {about.selection}.", _EXPLAINED]
    caption += [_NO_WEIGHTS] if any("not published" in c.why for c in cells) else []
    parts = [f"## {about.name}: {about.title}", table, f"{len(cells)} cells: {counts}."]
    parts += [" ".join(caption)]
    if remarks := grouped(((c, r) for c in cells for r in c.remarks), lambda pair: pair[1]):
        lines = [f"- {remark} ({_which([c for c, _ in of])})" for remark, of in remarks.items()]
        parts += ["Remarks:\n" + "\n".join(lines)]
    records = {r.trial.id: r for c in cells for r in c.records}
    if settings := grouped(records.values(), _setting):
        lines = [
            f"- {setting} [{', '.join(_few({r.trial.task for r in of}))}: {count(len(of), 'run')}]"
            for setting, of in settings.items()
        ]
        parts += ["Our runs:\n" + "\n".join(lines)]
    return "\n\n".join(parts)


def _row(c: ComparedCell) -> list[str]:
    v, scale = c.value, 100 if c.value.unit == "percent" else 1
    digits = max(v.decimals, 2 if scale == 100 else 3)
    mean, low, high = (fixed(scale * x, digits) for x in (c.ours.mean, c.ours.low, c.ours.high))
    metric, _, labels = c.metric.partition(":")
    known = METRICS.get(metric)
    return [
        v.task,
        f"{known.label if known else v.metric} {labels}".strip(),
        f"{name_of(v)} ({v.regime}) / {c.model or NONE}",
        v.printed or fixed(v.mean, v.decimals),
        mean,
        str(c.ours.n),
        low if low == NONE else f"[{low}, {high}]",
        signed(scale * c.gap.difference, digits),
        interval(scale * c.gap.low, scale * c.gap.high, digits),
        f"{c.verdict}: {c.why}" if c.why else c.verdict,
    ]


def _setting(record: Record) -> str:
    """How a run was made, but for task and seed."""
    trial = record.trial
    model = MODELS[trial.model]  # every trial of a cell was planned here
    always = ("dilation_schedule",)
    options = {k: v for k, v in trial.options.items() if k in always or model.options.get(k) != v}
    settings = " ".join(f"{k}={option_text(v)}" for k, v in options.items())
    protocol = f"{trial.protocol} ({PROTOCOLS[trial.protocol].why})"
    limit = f"; --limit {trial.limit:g}" if trial.limit else ""
    return (
        f"{trial.model} {settings}".strip() + f"; weights {trial.regime}; {protocol}{limit}; "
        f"recipe {recipe_text(trial.model, trial.recipe)}"
    )


def _few(words: set[str]) -> list[str]:
    return sorted(words) if len(words) < 4 else [f"{len(words)} different"]


def _which(cells: Sequence[ComparedCell]) -> str:
    models = dict.fromkeys(f"{c.value.model} {c.value.params}".strip() for c in cells)
    return f"{count(len(cells), 'cell')}: {', '.join(models)}"


def _csv(cells: Sequence[ComparedCell]) -> str:
    rows = [_fields(c) for c in cells]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else ["table"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_text(value) for name, value in row.items()} for row in rows)
    return file.getvalue().rstrip("\n")


def _fields(c: ComparedCell) -> dict[str, object]:
    v, g, trials = c.value, c.gap, [r.trial for r in c.records]
    settings = {
        "task": {t.task for t in trials}, "protocol": {t.protocol for t in trials},
        "regime": {t.regime for t in trials}, "limit": {f"{t.limit:g}" for t in trials},
        "dilation_schedule": {str(t.options.get("dilation_schedule", "")) for t in trials},
        "epochs": {str(t.recipe.epochs) for t in trials},
        "recipe": {t.recipe.source for t in trials},
    }  # fmt: skip
    numbers = {
        "published_mean": c.published, "published_sd": c.spread.sd, "ours": c.ours.mean,
        "sd": c.ours.sd, "ci_low": c.ours.low, "ci_high": c.ours.high,
        "difference": g.difference, "difference_low": g.low, "difference_high": g.high,
        "seeds_low": g.seeds_low, "seeds_high": g.seeds_high, "test_error": g.test_error,
    }  # fmt: skip
    return {
        "table": f"{v.paper}/table{v.table}", "task": v.task, "metric": c.metric,
        "published_model": v.model, "params": v.params, "variant": v.variant,
        "published_regime": v.regime, "printed": v.printed, "unit": v.unit,
        "published_n": v.n or "", "spread_is": v.spread_is, "model": c.model, "n": c.ours.n,
        **{k: "" if math.isnan(x) else f"{x:.12g}" for k, x in numbers.items()},
        "verdict": c.verdict, "why": c.why,
        **{f"our_{k}": "; ".join(_few(words)) for k, words in settings.items()},
        "remarks": "; ".join(c.remarks),
    }  # fmt: skip
