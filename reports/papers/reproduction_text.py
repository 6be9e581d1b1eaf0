"""What `dnabench reproduce` prints: the cells as Markdown or CSV, and how our runs were made."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict

from tabulate import tabulate

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.registry import MODELS
from dnabench.reports.papers.published import About
from dnabench.reports.papers.reproduction import Outcome
from dnabench.reports.table import fixed, grouped, option_text
from dnabench.types import Record

FORMATS = ("md", "csv")
_HEADS = (
    "task", "metric", "model", "published", "ours", "n", "95 % CI", "difference", "95 % CI of it",
    "verdict",
)  # fmt: skip


def render(outcomes: Sequence[Outcome], about: About, format: str) -> str:
    """The cells of a table, in the order of print.

    Args:
        outcomes: of that table.
        about: the table.
        format: "md", in the unit of the paper, or "csv", in fractions.
    """
    return _csv(outcomes) if format == "csv" else _markdown(outcomes, about)


def _markdown(outcomes: Sequence[Outcome], about: About) -> str:
    rows = [_row(o) for o in outcomes]
    table = tabulate(rows, _HEADS, tablefmt="github", disable_numparse=True)
    counts = grouped(outcomes, lambda o: o.verdict)
    said = ", ".join(f"{len(cells)} {verdict}" for verdict, cells in counts.items())
    parts = [f"## {about.name}: {about.title}", table, f"{len(outcomes)} cells: {said}."]
    parts += [" ".join(_caption(outcomes, about))]
    if remarks := grouped(((o, r) for o in outcomes for r in o.remarks), lambda pair: pair[1]):
        lines = [f"- {remark} ({_which([o for o, _ in of])})" for remark, of in remarks.items()]
        parts += ["Remarks:\n" + "\n".join(lines)]
    if made := _made(outcomes):
        parts += ["Ours was run with:\n" + "\n".join(f"- {line}" for line in made)]
    return "\n\n".join(parts)


def _row(o: Outcome) -> list[str]:
    v, scale = o.value, 100 if o.value.unit == "percent" else 1
    digits = max(v.decimals, 2 if scale == 100 else 3)
    known = METRICS.get(o.metric.partition(":")[0])
    metric = " ".join(
        filter(None, [known.label if known else v.metric, o.metric.partition(":")[2]])
    )
    what = " ".join(filter(None, [v.model, v.params, v.variant]))
    return [
        v.task,
        metric,
        f"{what} ({v.regime}) / {o.model or '–'}",
        v.printed or fixed(v.mean, v.decimals),
        _number(scale * o.ours.mean, digits),
        str(o.ours.n),
        _interval(scale * o.ours.low, scale * o.ours.high, digits, sign=""),
        _number(scale * o.gap.difference, digits, "+"),
        _interval(scale * o.gap.low, scale * o.gap.high, digits),
        f"{o.verdict}: {o.why}" if o.why else o.verdict,
    ]


def _caption(outcomes: Sequence[Outcome], about: About) -> list[str]:
    spreads = dict.fromkeys(o.spread.how for o in outcomes)
    out = [f"Published ({about.unit}): {'; '.join(spreads)}."]
    if about.spread_from:
        out += [f"Where that comes from: {about.spread_from}."]
    out += [f"Published epochs were chosen: {about.selection}."]
    return [
        *out,
        "Ours: mean and 95 % t interval over n seeds. Difference: ours - published, with a 95 % "
        "Welch interval of both noises of seeds and one term for the noise of the test examples. "
        "agrees: the interval holds 0, or the difference is below what is worth calling one; it "
        "does not mean equal. descriptive: fewer than five seeds of ours. Each cell is judged "
        "alone: of cells that truly agree one in twenty differs by chance. Data are taken for the "
        "published ones when their counts are.",
        "Where the paper's pretrained weights were never published, --regime scratch runs ours "
        "from scratch beside it.",
    ][: None if any("not published" in o.why for o in outcomes) else -1]


def _made(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each way in which runs were made, and the number of tasks and runs."""
    records = {r.trial.id: r for o in outcomes for r in o.records}
    ways = grouped(records.values(), _way)
    return [
        f"{way} [{', '.join(_few({r.trial.task for r in of}))}: {len(of)} runs]"
        for way, of in ways.items()
    ]


def _way(record: Record) -> str:
    trial = record.trial
    model = MODELS[trial.model]  # every trial of an outcome was planned here
    shown = {
        k: v
        for k, v in trial.options.items()
        if model.options.get(k) != v or k == "dilation_schedule"
    }
    recipe = [
        f"{k}={option_text(v)}"
        for k, v in asdict(trial.recipe).items()
        if k != "source"
        and model.reads(k)
        and (trial.recipe.finetune == "lora" or not k.startswith("lora_"))
    ]
    words = [trial.model, *(f"{k}={option_text(v)}" for k, v in shown.items())]
    protocol = f"{trial.protocol} ({PROTOCOLS[trial.protocol].why})"
    limit = f"; --limit {trial.limit:g}" if trial.limit else ""
    return (
        f"{' '.join(words)}; weights {trial.regime}; {protocol}{limit}; recipe "
        f"{' '.join(recipe)} (source: {trial.recipe.source})"
    )


def _few(words: set[str]) -> list[str]:
    return sorted(words) if len(words) < 4 else [f"{len(words)} different"]


def _which(outcomes: Sequence[Outcome]) -> str:
    models = dict.fromkeys(
        " ".join(filter(None, [o.value.model, o.value.params])) for o in outcomes
    )
    cells = f"{len(outcomes)} cell{'s' * (len(outcomes) > 1)}"
    return f"{cells}: {', '.join(models)}"


def _csv(outcomes: Sequence[Outcome]) -> str:
    rows = [_fields(o) for o in outcomes]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else ["table"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().rstrip("\n")


def _fields(o: Outcome) -> dict[str, object]:
    v, g, trials = o.value, o.gap, [r.trial for r in o.records]
    said = {
        "task": {t.task for t in trials}, "protocol": {t.protocol for t in trials},
        "regime": {t.regime for t in trials}, "limit": {f"{t.limit:g}" for t in trials},
        "dilation_schedule": {str(t.options.get("dilation_schedule", "")) for t in trials},
        "epochs": {str(t.recipe.epochs) for t in trials},
        "recipe": {t.recipe.source for t in trials},
    }  # fmt: skip
    numbers = {
        "published_mean": o.published, "published_sd": o.spread.sd, "ours": o.ours.mean,
        "sd": o.ours.sd, "ci_low": o.ours.low, "ci_high": o.ours.high,
        "difference": g.difference, "difference_low": g.low, "difference_high": g.high,
        "seeds_low": g.seeds_low, "seeds_high": g.seeds_high, "test_error": g.test_error,
    }  # fmt: skip
    return {
        "table": f"{v.paper}/table{v.table}", "task": v.task, "metric": o.metric,
        "published_model": v.model, "params": v.params, "variant": v.variant,
        "published_regime": v.regime, "printed": v.printed, "unit": v.unit,
        "published_n": v.n or "", "spread_is": v.spread_is, "model": o.model, "n": o.ours.n,
        **{k: "" if math.isnan(x) else f"{x:.12g}" for k, x in numbers.items()},
        "verdict": o.verdict, "why": o.why,
        **{f"our_{k}": "; ".join(_few(words)) for k, words in said.items()},
        "remarks": "; ".join(o.remarks),
    }  # fmt: skip


def _number(x: float, digits: int, sign: str = "") -> str:
    if math.isnan(x):
        return "–"
    text = fixed(x, digits)
    return f"+{text}" if sign and float(text) > 0 else text


def _interval(low: float, high: float, digits: int, sign: str = "+") -> str:
    if math.isnan(low):
        return "–"
    return f"[{_number(low, digits, sign)}, {_number(high, digits, sign)}]"
