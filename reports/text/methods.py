"""How models were compared on each task, and what that leaves out, in sentences."""

import math
from collections.abc import Sequence

from dnabench.reports import blocks, stats
from dnabench.reports.evidence import (
    Comparison,
)
from dnabench.reports.grid import count, listed
from dnabench.reports.grouping import suite_of

PRETRAININGS = (
    "Where a model was pretrained several times, pretrainings stand for seeds: each counts once, "
    "with the mean of its fine-tunings."
)


def methods(comparisons: Sequence[Comparison], exploratory: bool = True) -> list[str]:
    """Sentences: what was tested on each task, how, and what that leaves out.

    With the column of exploratory p, or without it as `compare` prints them.
    """
    if not comparisons:
        return []
    out = [
        *decision_rule(comparisons),
        "BH p: Benjamini-Hochberg, exploratory. " * exploratory
        + "Permutation p: exact, over seeds.",
    ]
    bootstrap = (
        "The 95 % CI over seeds and test examples is a nested bootstrap: both models share the "
        "resampled test examples, the seeds of each are resampled separately."
    )
    out += [bootstrap] * any(d.nested for d in comparisons)
    return out + related(comparisons) + sampling(comparisons)


def related(comparisons: Sequence[Comparison]) -> list[str]:
    """Which test examples are drawn together, and which are taken as independent."""
    drawn = {d.row.name: (d.row, d.drawn) for d in comparisons if d.drawn}
    looked = {name for name, (row, how) in drawn.items() if not how.by and blocks.searched(row)}
    return blocks.sentences({name: how for name, (_, how) in drawn.items()}, looked)


def sampling(comparisons: Sequence[Comparison]) -> list[str]:
    """Which comparisons leave out that the test examples are a sample, and why."""
    tested = [d for d in comparisons if not d.same]
    without = [d for d in tested if d.nested is None]
    if not without:
        return []
    which = f"{len(without)} of {len(tested)} comparisons"
    which = which if len(without) < len(tested) else "The intervals and p-values"
    why = listed(dict.fromkeys(d.why_not for d in without))
    return [
        f"{which} cover variation between seeds only, not the sampling of the test examples "
        f"({why}){_standard_error(without)}."
    ]


def decision_rule(comparisons: Sequence[Comparison]) -> list[str]:
    """Where p is from, and what a win or loss requires."""
    margins = {d.row.label: d.row.rope for d in comparisons if d.row.rope}
    least = ", ".join(f"{margin:g} {label}" for label, margin in margins.items())
    families: dict[str, int] = {}
    for d in comparisons:
        if not math.isnan(d.p_holm) and not d.declared:
            families[suite_of(d.row)] = d.tests
    several = len(families) > 1
    counts = ", ".join(f"{n} of {suite}" if several else f"{n}" for suite, n in families.items())
    own = [d.tests for d in comparisons if d.declared]
    source = "p is from Welch's two-sided t-test over seeds"
    adjusted = "not adjusted, since no comparison has enough seeds"
    needs = [f"Holm-adjusted p < {stats.ALPHA:g}"]
    if least:
        needs += [f"a difference of at least {least}"]
    if any(d.nested for d in comparisons):
        source = "p is the larger of Welch's two-sided t-test (seeds) and a nested bootstrap "
        source += "(seeds and test examples)"
        needs += ["a 95 % CI over seeds and test examples that excludes 0"]
    if any(sum(d.undefined) for d in comparisons):
        needs += ["no undefined run of the better model"]
    if counts:
        tests = "1 test" if counts == "1" else f"all {counts} tests"
        adjusted = f"Holm-adjusted over {tests} (pairs x tasks of a suite)"
    if own:
        declared = f"over the {count(max(own), 'test')} of pairs declared before results existed"
        adjusted = f"{adjusted}; {declared}" if counts else f"Holm-adjusted {declared}"
    nested = any(d.row.cells[k].units for d in comparisons for k in (d.i, d.j))
    return [
        f"{source}, {adjusted}.",
        f"A win or loss requires {', '.join(needs)} and at least {stats.MIN_SEEDS} seeds of each "
        "model; with fewer seeds the numbers are descriptive only.",
        *[PRETRAININGS] * nested,
    ]


def _standard_error(comparisons: Sequence[Comparison]) -> str:
    """The standard error of one score that the number of test examples alone gives."""
    errors = [
        (stats.test_standard_error(d.row.metric, mean, d.row.n_test), d.row.name)
        for d in comparisons
        for mean in d.means
    ]
    known = [pair for pair in errors if not math.isnan(pair[0])]
    if not known:
        return ""
    error, worst = max(known, key=lambda pair: pair[0])
    return f"; the test examples alone give a standard error of up to {error:.3f} ({worst})"
