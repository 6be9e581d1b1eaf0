"""The tests as tables of text, the same in every format."""

import math

from dnabench.reports import stats
from dnabench.reports.across import difference, on_one_scale, shared_tasks
from dnabench.reports.evidence import (
    Best,
    Comparison,
    Detectable,
    Evidence,
    Interval,
    SuiteEvidence,
)
from dnabench.reports.grid import NONE, Grid, count, fixed, interval, p_value, signed
from dnabench.reports.grouping import grouped, suite_of
from dnabench.reports.table import Table
from dnabench.reports.text.methods import methods

DIGITS = 4  # of differences


def grids(evidence: Evidence) -> list[Grid]:
    """Every table of tests, those over the tasks of each suite last."""
    if not evidence.comparisons:
        return []
    out = [best_grid(evidence)]
    if len(evidence.table.columns) > 2:
        out += [top_grid(evidence)]
    for suite in evidence.suites:
        out += [matrix_grid(evidence.table, suite), pair_grid(evidence.table, suite)]
    return out + shared_grids(evidence)


def shared_grids(evidence: Evidence) -> list[Grid]:
    """Pairs over the tasks that both have, for suites in which a model lacks some."""
    out, names = [], [c.name for c in evidence.table.columns]
    for suite, rows in grouped(evidence.table.rows, suite_of).items():
        if shared := shared_tasks(rows, evidence.comparisons):
            lines = [
                [names[x.i], names[x.j], str(x.tasks), *_size(x.difference), p_value(x.p_holm)]
                for x in shared
            ]
            heads = ["a", "b", "tasks of both", "a - b", "95 % CI: these tasks", "Holm p"]
            note = "Each pair over the tasks that both have, so lines differ in their tasks."
            out.append(Grid(f"Pairs on shared tasks of {suite}", heads, lines, [note]))
    return out


def best_grid(evidence: Evidence) -> Grid:
    """Every model against the best of each task, a line a test."""
    rows = [
        [
            d.row.name, *_names(evidence.table, d), _n(d), *_differences(d), p_value(d.p_holm),
            p_value(d.p_bh), p_value(d.p_permutation), fixed(d.g, 2), d.verdict_text,
        ]
        for d in evidence.against_best()
    ]  # fmt: skip
    heads = ["task", "model", "best", "n", *CIS, "Holm p", "BH p", "permutation p", "Hedges g"]
    notes = [" ".join(methods(evidence.comparisons))]
    return Grid("Each model against the best of each task", [*heads, "verdict"], rows, notes)


CIS = ["difference", "95 % CI: seeds", "95 % CI: seeds + test"]


def comparison_grid(evidence: Evidence) -> Grid:
    """Every pair on every task, a line a test; p by both families where there are two."""
    both = any(d.other for d in evidence.comparisons)
    rows = [
        [
            d.row.name, d.row.heading, *_names(evidence.table, d), _n(d),
            *(fixed(m, DIGITS) for m in d.means), *_differences(d), p_value(d.p),
            *(_both_p(d) if both else [p_value(d.p_holm)]), p_value(d.p_permutation),
            fixed(d.g, 2), fixed(d.a12, 2), d.verdict_text,
        ]
        for d in evidence.comparisons
    ]  # fmt: skip
    heads = ["task", "metric", "a", "b", "n", "mean a", "mean b", "a - b", *CIS[1:], "p"]
    heads += ["Holm p: all pairs", "Holm p: declared pair"] if both else ["Holm p"]
    more = ["permutation p", "Hedges g", "A12", "verdict"]
    return Grid("Every pair on every task", [*heads, *more], rows)


def top_grid(evidence: Evidence) -> Grid:
    """The model with the highest mean of each task, against all others at once."""
    rows = []
    for b in evidence.best:
        found = evidence.detectable.get(b.row.name)
        rows.append(
            [
                b.row.name, evidence.table.columns[b.column].name, p_value(b.p), p_value(b.p_holm),
                _beats_all(b),
                f"{found.difference:.3f} (n = {found.n})" if found else NONE,
                _needed(found, b.row.rope) if found and b.row.rope else NONE,
            ]
        )  # fmt: skip
    heads = ["task", "best mean", "p", "Holm p", "beats all others"]
    note = (
        "p: the largest of the one-sided Welch p-values against each other model "
        "(intersection-union test, seeds only), Holm-adjusted over that model's tasks of a suite. "
        "Beats all others: the verdict is a win against each other model, even where the pair is "
        "not shown; if not, the reason or the Holm p of the least certain of these verdicts. "
        "Detectable difference: the smallest that a verdict finds with 80 % power, test examples "
        "(where predictions are stored) and the Holm family counted; seeds needed: for a "
        "difference of the size given."
    )
    more = ["detectable difference", "seeds needed"]
    return Grid("Best model of each task", [*heads, *more], rows, [note])


def _beats_all(best: Best) -> str:
    """Yes, or what keeps the verdicts from it."""
    d = best.undecided
    if d is None:
        return "yes" if best.beats_all else NONE
    if d.verdict == "descriptive":
        return d.verdict_text
    return f"no {d.reason or f'(Holm p {p_value(d.p_holm)})'}"


def matrix_grid(table: Table, suite: SuiteEvidence) -> Grid:
    """Wins, losses and undecided tasks of the line's model against the column's."""
    names = [table.columns[k].name for k in suite.columns]
    order = sorted(range(len(names)), key=lambda place: suite.ranks[place])
    rows, flat = [], {x[:3] for x in suite.iqm} == {(0.5, 0.5, 0.5)}  # all means are equal
    for a in order:
        pairs = [suite.between(suite.columns[a], suite.columns[b]) for b in order]
        tallies = [f"{p.wins} / {p.losses} / {p.undecided}" if p else NONE for p in pairs]
        rows.append([names[a], f"{suite.ranks[a]:.2f}", _iqm(suite.iqm[a], flat), *tallies])
    heads = ["wins / losses / undecided", "mean rank", "IQM", *(names[b] for b in order)]
    return Grid(f"Across the tasks of {suite.suite}", heads, rows)


def ranking_grid(table: Table, suite: SuiteEvidence) -> Grid:
    """A line a model, the best mean rank first: where it stands, and how far behind the best."""
    order = sorted(range(len(suite.columns)), key=lambda place: suite.ranks[place])
    first = suite.columns[order[0]]
    scaled = on_one_scale(suite.rows)
    rows = []
    for place in order:
        k = suite.columns[place]
        mean = math.fsum(row.cells[k].summary.mean for row in scaled) / max(1, len(scaled))
        behind = suite.between(first, k)
        lead = difference(behind.lead, suite.rows) if behind else None
        rows.append(
            [
                table.columns[k].name, f"{suite.ranks[place]:.2f}",
                fixed(mean, table.digits) if scaled else NONE,
                signed(-lead.value, table.digits) if lead else NONE,
                interval(-lead.high, -lead.low, table.digits) if lead else NONE,
                p_value(behind.p_claim) if behind else NONE,
            ]
        )  # fmt: skip
    label = scaled[0].heading if scaled else "score"
    title = f"{suite.suite}: {len(rows)} models on {len(suite.rows)} tasks (scores: --full)"
    heads = ["model", "mean rank", f"mean {label}", "to the first", "95 % CI", "Holm p"]
    return Grid(title, heads, rows)


def pair_grid(table: Table, suite: SuiteEvidence) -> Grid:
    """Pairs over the tasks of a suite, a line a pair."""
    rows = [
        [
            table.columns[x.i].name, table.columns[x.j].name,
            *_size(difference(x.lead, suite.rows)), p_value(x.p_claim),
            signed(difference(x.lead_of_families, suite.rows).value, DIGITS)
            + " (opposite sign)" * (x.lead.value * x.lead_of_families.value < 0),
            interval(*difference(x.lead_of_families, suite.rows)[1:3], DIGITS),
            interval(*difference(x.like_these, suite.rows)[1:3], DIGITS),
            p_value(x.p_holm), fixed(x.posterior[2], 3), fixed(x.posterior[1], 3),
            _estimate(x.improvement), _estimate(x.improvement_tasks).partition(" ")[2] or NONE,
        ]
        for x in suite.pairs
    ]  # fmt: skip
    heads = ["a", "b", "a - b", "95 % CI: these tasks", "Holm p", "mean of families"]
    heads += ["95 % CI", "95 % CI: tasks like these", "Wilcoxon p", "P(a better)"]
    more = ["P(equivalent)", "P(run of a > run of b)", "95 % CI, tasks resampled"]
    title = f"Every pair across the tasks of {suite.suite}"
    return Grid(title, [*heads, *more], rows, [f"{suite_caption(suite)} {SUITE_TERMS}"])


def _size(x: stats.Lead) -> list[str]:
    return [signed(x.value, DIGITS), interval(x.low, x.high, DIGITS)]


def suite_caption(suite: SuiteEvidence) -> str:
    """The size of the suite, the tests of all models at once, and what is left out."""
    out = [f"{len(suite.rows)} tasks, {len(suite.columns)} models."]
    if (f := suite.friedman) and not math.isnan(f.p) and len(suite.pairs) > 1:
        out += [
            f"Friedman chi2 = {f.chi2:.2f} (p = {p_value(f.p)}), Iman-Davenport F = {f.f:.2f} "
            f"(p = {p_value(f.p_f)}), Kendall's W = {f.kendall_w:.2f}."
        ]
    left_out = sum(row.cells[k].undefined for row in suite.rows for k in suite.columns)
    if left_out:
        out += [
            f"Task means, and so every test here, leave out {count(left_out, 'undefined run')}; a "
            "model that has some is not claimed to be better."
        ]
    return " ".join(filter(None, [*out, suite.note]))


SUITE_TERMS = (
    "Wins, losses and undecided count the verdicts on single tasks. a - b: mean difference over "
    "the tasks of the metric that most of them have. These tasks: CI over seeds and test examples, "
    "its p Holm-adjusted over the pairs. Tasks like these: CI with families of tasks drawn again. "
    "In both a family is one piece of evidence, and a task without one its own; mean of families "
    "gives each the same weight. IQM: interquartile mean of the scores, scaled to 0..1 between the "
    "models of each task, with its 95 % CI (seeds resampled); where their means differ by less "
    "than the seeds do, that scale means nothing. Wilcoxon p: exact signed-rank test "
    "of the task means as if tasks were independent, Holm-adjusted over the pairs. P(a better), "
    "P(equivalent): Bayesian signed-rank test; equivalent means within the smallest relevant "
    "difference. P(run of a > run of b): probability of improvement with its 95 % CI (seeds "
    "resampled)."
)


def _both_p(d: Comparison) -> list[str]:
    """Adjusted for all pairs, and for declared pairs alone."""
    if d.other is None:
        return [p_value(d.p_holm), NONE]
    own, other = p_value(d.p_holm), p_value(d.other.p_holm)
    return [other, own] if d.declared else [own, other]


def _names(table: Table, d: Comparison) -> tuple[str, str]:
    return table.columns[d.i].name, table.columns[d.j].name


def _n(d: Comparison) -> str:
    return ", ".join(map(str, dict.fromkeys(d.n)))


def _differences(d: Comparison) -> list[str]:
    w, x = d.welch, d.nested
    both = interval(x.low, x.high, DIGITS) if x else NONE
    return [signed(w.difference, DIGITS), interval(w.low, w.high, DIGITS), both]


def _needed(found: Detectable, rope: float) -> str:
    if found.hopeless:
        return f"not with these {found.examples:,} examples for {rope:g}"
    return ("over 1,000" if math.isnan(found.needed) else f"{found.needed:.0f}") + f" for {rope:g}"


def _iqm(x: Interval, flat: bool) -> str:
    """Of scores scaled to 0..1: equal means cannot be, and nearly equal ones scale noise beyond."""
    wide = x.high - x.low > 1 or not -0.1 <= x.value <= 1.1
    return "no spread between models" if wide or flat else _estimate(x)


def _estimate(x: Interval) -> str:
    return NONE if math.isnan(x.value) else f"{x.value:.2f} [{x.low:.2f}, {x.high:.2f}]"
