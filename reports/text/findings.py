"""The tests in words and grids, the same in every format: what was asked, what came out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from dnabench.reports import stats
from dnabench.reports.evidence import Comparison, Evidence, Interval, SuiteEvidence
from dnabench.reports.table import Table, fixed, grouped, suite_of

Grid = tuple[list[str], list[list[str]]]  # heads, rows


def comparison_words(table: Table, comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences: what was tested on each task, how, and what that leaves out."""
    if not comparisons:
        return []
    ropes = {d.row.label: d.row.rope for d in comparisons if d.row.rope}
    least = ", ".join(f"{rope:g} {label}" for label, rope in ropes.items())
    families = Counter(suite_of(d.row) for d in comparisons if not math.isnan(d.p_holm))
    m = ", ".join(
        f"{n} of {suite}" if len(families) > 1 else f"{n}" for suite, n in families.items()
    )
    said = f"all {m} tests" if m else "no test, since none has the seeds"
    without = [d for d in comparisons if d.nested is None]
    out = [
        "Welch's t, two-sided; where predictions are stored p is the larger of Welch's and that "
        f"over seeds and test examples. Holm over {said} (pairs x tasks of a suite); "
        "BH is Benjamini-Hochberg, for exploration; exact p is the permutation test. A win or loss "
        f"needs Holm p < {stats.ALPHA:g}"
        + (f", a difference of at least {least}" if least else "")
        + (
            ", and an interval over seeds and test examples without 0"
            if len(without) < len(comparisons)
            else ""
        )
        + f". Fewer than {stats.MIN_SEEDS} seeds of either model are descriptive only."
    ]
    if len(without) < len(comparisons):
        out += [
            "Seeds + examples: 95 % nested bootstrap, the test examples drawn again for both "
            "models alike, the seeds for each."
        ]
    if without:
        share = "no comparison has" if len(without) == len(comparisons) else f"{len(without)} lack"
        why = "; ".join(dict.fromkeys(d.why_not for d in without))
        out += [
            f"The noise of drawing the test examples: {share} that interval ({why}), so those "
            "tests cover the noise of seeds only" + _usual_error(without) + "."
        ]
    return out


def _usual_error(comparisons: Sequence[Comparison]) -> str:
    """The standard error of one score that the number of test examples alone gives."""
    known: dict[str, float] = {}
    for d in comparisons:
        for mean in d.means if d.row.n_test else ():
            se = stats.test_standard_error(d.row.metric, mean, d.row.n_test)
            if not math.isnan(se):
                known[d.row.name] = max(se, known.get(d.row.name, 0.0))
    if not known:
        return ""
    worst = max(known, key=lambda name: known[name])
    return f"; a score's standard error from its examples is up to {known[worst]:.3f} ({worst})"


def best_grid(evidence: Evidence) -> Grid:
    """Every model against the best of each task, a line a test."""
    heads = ["task", "model", "best", "n", "difference", "seeds", "seeds + examples", "Holm p"]
    rows = []
    for d in evidence.against_best():
        rows.append(
            [
                d.row.name, *_names(evidence.table, d), _n(d), _signed(d.welch.difference),
                _interval(d.welch.low, d.welch.high), _nested(d.nested), _p(d.p_holm), _p(d.p_bh),
                _p(d.p_permutation), _number(d.g, 2), verdict_words(d),
            ]
        )  # fmt: skip
    return [*heads, "BH p", "exact p", "Hedges g", "verdict"], rows


def comparison_grid(evidence: Evidence) -> Grid:
    """Pairs over tasks, a line a test."""
    heads = ["task", "metric", "a", "b", "n", "mean a", "mean b", "a - b", "seeds"]
    rows = []
    for d in evidence.comparisons:
        means = [fixed(m, 4) for m in d.means]
        rows.append(
            [
                d.row.name, d.row.label, *_names(evidence.table, d), _n(d), *means,
                _signed(d.welch.difference), _interval(d.welch.low, d.welch.high),
                _nested(d.nested), _p(d.p), _p(d.p_holm), _p(d.p_permutation),
                _number(d.g, 2), _number(d.a12, 2), verdict_words(d),
            ]
        )  # fmt: skip
    more = ["seeds + examples", "p", "Holm p", "exact p", "Hedges g", "A12", "verdict"]
    return [*heads, *more], rows


def top_grid(evidence: Evidence) -> Grid:
    """Of each task the model with the highest mean, against all others at once."""
    heads = [
        "task",
        "highest mean",
        "p",
        "Holm p",
        "better than all others?",
        "seen at n",
        "needed",
    ]
    rows = []
    for b in evidence.best:
        seen = evidence.detectable.get(b.row.name)
        few = min(len(c.scores) for c in b.row.cells if c.scores) < stats.MIN_SEEDS
        said = f"descriptive only (n<{stats.MIN_SEEDS})" if few else "no"
        rows.append(
            [
                b.row.name, evidence.table.columns[b.column].name, _p(b.p), _p(b.p_holm),
                "yes" if b.separable else said,
                f"{seen.difference:.3f} at {seen.n}" if seen else "–",
                _needed(seen.needed, b.row.rope) if seen and b.row.rope else "–",
            ]
        )  # fmt: skip
    return heads, rows


TOP_WORDS = (
    "p: intersection-union, the largest of the one-sided Welch p against each other model, Holm "
    "over that model's tasks of a suite; seeds only. Yes needs the verdict win against every other "
    "model. Seen at n: the smallest difference that one Welch test at 0.05, alone and of seeds "
    "only, sees with a chance of 80 % at that many seeds; needed: seeds for a difference worth "
    "calling one."
)


def matrix_grid(table: Table, suite: SuiteEvidence) -> Grid:
    """Wins, losses and open verdicts of the line's model against the column's."""
    names = [table.columns[k].name for k in suite.columns]
    cells: dict[tuple[int, int], str] = {}
    for pair in suite.pairs:
        cells[pair.i, pair.j] = f"{pair.wins} / {pair.losses} / {pair.open}"
        cells[pair.j, pair.i] = f"{pair.losses} / {pair.wins} / {pair.open}"
    order = sorted(range(len(names)), key=lambda place: suite.ranks[place])
    rows = [
        [
            names[a], f"{suite.ranks[a]:.2f}", _three(suite.iqm[a]),
            *(cells.get((suite.columns[a], suite.columns[b]), "–") for b in order),
        ]
        for a in order
    ]  # fmt: skip
    return ["wins / losses / open", "mean rank", "IQM", *(names[b] for b in order)], rows


def pair_grid(table: Table, suite: SuiteEvidence) -> Grid:
    """Pairs over the tasks of a suite, a line a pair."""
    heads = ["a", "b", "a - b", "by family", "Wilcoxon p", "Holm p", "P(a better)", "P(same)"]
    rows = []
    for x in suite.pairs:
        rows.append(
            [
                table.columns[x.i].name, table.columns[x.j].name, _signed(x.lead),
                _signed(x.lead_of_families) + _turns(x.lead, x.lead_of_families),
                _p(x.p), _p(x.p_holm), fixed(x.posterior[2], 3), fixed(x.posterior[1], 3),
                _three(x.improvement), _three(x.improvement_tasks).partition(" ")[2] or "–",
            ]
        )  # fmt: skip
    return [*heads, "P(a run of a > one of b)", "tasks drawn again"], rows


def suite_words(suite: SuiteEvidence) -> str:
    """What was tested over the tasks, and what that leaves out."""
    out = [f"{len(suite.rows)} tasks, {len(suite.columns)} models."]
    if (f := suite.friedman) and not math.isnan(f.p):
        out += [
            f"Friedman chi2 = {f.chi2:.2f} (p = {_p(f.p)}), Iman-Davenport F = {f.f:.2f} "
            f"(p = {_p(f.p_f)}), Kendall's W = {f.kendall_w:.2f}."
        ]
    out += [
        "Verdicts on tasks count as wins, losses or open. IQM: interquartile mean of scores scaled "
        "to 0..1 between the models of each task, with the 95 % interval of drawing seeds again. "
        "Wilcoxon: exact signed-rank test of task means, Holm over the pairs. P(a better), "
        "P(same): Bayesian signed-rank, same = within the difference worth calling one. by family: "
        "every family of tasks counts alike, since tasks of a family are not independent."
    ]
    return " ".join([*out, *([suite.note[0].upper() + suite.note[1:] + "."] if suite.note else [])])


def leads_by_family(suite: SuiteEvidence) -> list[str]:
    """Families of the suite's tasks, in order."""
    return list(grouped(suite.rows, lambda r: r.family or "other"))


def verdict_words(d: Comparison) -> str:
    """Verdict and reason."""
    return f"{d.verdict} {d.reason}".strip()


def _turns(lead: float, of_families: float) -> str:
    return " (sign turns)" if lead * of_families < 0 else ""


def _names(table: Table, d: Comparison) -> tuple[str, str]:
    return table.columns[d.i].name, table.columns[d.j].name


def _n(d: Comparison) -> str:
    return str(d.n[0]) if d.n[0] == d.n[1] else f"{d.n[0]}, {d.n[1]}"


def _needed(seeds: float, rope: float) -> str:
    return (f"{seeds:.0f}" if not math.isnan(seeds) else "over 1,000") + f" for {rope:g}"


def _number(x: float, digits: int) -> str:
    return "–" if math.isnan(x) else fixed(x, digits)


def _signed(x: float) -> str:
    text = _number(x, 4)
    return f"+{text}" if x > 0 and float(text) else text


def _interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"[{_signed(low)}, {_signed(high)}]"


def _nested(nested: Interval | None) -> str:
    return "–" if nested is None else _interval(nested.low, nested.high)


def _three(x: Interval) -> str:
    if math.isnan(x.value):
        return "–"
    return f"{x.value:.2f} [{x.low:.2f}, {x.high:.2f}]"


def _p(p: float) -> str:
    return f"{p:.1e}" if p < 0.001 else _number(p, 3)
