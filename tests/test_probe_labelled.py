"""Which parts of a genome are drawn again for the intervals of labelled variants."""

import json

import numpy as np
import pytest
from test_genomes import own_cache

from dnabench.probes import labelled
from dnabench.probes.labelled import areas
from dnabench.probes.variant_figures import curve, labelled_figure, scores_figure

__all__ = ["own_cache"]  # a fixture


def drawn(chromosomes, each, bp, seed=0, share=0.2):
    """Scores, labels, chromosomes and positions, a fifth of class 1 and higher there."""
    rng = np.random.default_rng(seed)
    n = chromosomes * each
    y, at = rng.random(n) < share, rng.integers(0, bp, n)
    chroms = [f"chr{i % chromosomes}" for i in range(n)]
    return rng.normal(size=n) + 0.7 * y, [*map(str, y)], chroms, at


@pytest.mark.parametrize(
    ("chromosomes", "bp", "unit"),
    [(30, 5_000_000, "sequences"), (19, 5_000_000, "stretches of 1 Mbp"),
     (2, 5_000_000, "stretches of 100 kbp"), (1, 400_000, "stretches of 10 kbp")],
)  # fmt: skip
def test_the_largest_parts_that_are_enough_are_drawn(chromosomes, bp, unit):
    scores, labels, chroms, at = drawn(chromosomes, 600 // chromosomes, bp)
    found = areas(scores, labels, chroms, "plus", at=at)
    assert found.unit == unit and found.units >= found.least >= 20 and found.draws == 1_000
    for name in ("auprc", "auroc", "by_chromosome"):
        low, high = getattr(found, f"{name}_interval")
        assert low < getattr(found, name) < high


@pytest.mark.parametrize("chromosomes", [1, 2, 4, 8, 19])
def test_few_parts_have_no_interval(chromosomes):
    scores, labels, chroms, at = drawn(chromosomes, 300, 5_000_000)
    found = areas(scores, labels, chroms, "plus")  # positions are not known
    assert (found.unit, found.units, found.draws) == ("sequences", chromosomes, 0)
    assert found.auprc_interval is found.auroc_interval is found.by_chromosome_interval is None
    near = areas(
        scores, labels, chroms, "plus", at=at % (190_000 // chromosomes // 10_000 * 10_000)
    )
    assert near.unit == "stretches of 10 kbp" and near.least < 20 and near.auprc_interval is None
    y = np.array(labels) == "True"
    few = areas(scores, [str(v and i < y.nonzero()[0][19]) for i, v in enumerate(y)], chroms,
                "plus", at=at)  # fmt: skip
    assert (few.positive, few.least) <= (19, 19) and few.units > 100 and few.draws == 0


@pytest.mark.parametrize("chromosomes", [2, 4])
def test_intervals_of_few_chromosomes_cover(chromosomes, monkeypatch):
    monkeypatch.setattr(labelled, "DRAWS", 50)
    many = [areas(*drawn(chromosomes, 120, 40_000_000, 1_000 + i)[:3], "plus") for i in range(200)]
    truth = [np.mean([x.auprc for x in many]), np.mean([x.auroc for x in many])]
    hits = []
    for i in range(50):
        scores, labels, chroms, at = drawn(chromosomes, 120, 40_000_000, i)
        found = areas(scores, labels, chroms, "plus", at=at)
        pairs = found.auprc_interval, found.auroc_interval
        hits += [a <= x <= b for (a, b), x in zip(filter(None, pairs), truth, strict=False)]
    assert len(hits) > 80 and np.mean(hits) > 0.85  # chromosomes drawn again: 0.5 of two


@pytest.mark.parametrize(("each", "within"), [(1, False), (3, False), (12, True)])
def test_match_groups_of_many_chromosomes_are_drawn_over_all_of_them(each, within):
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(24 * each), 6)
    y = np.tile([True] + [False] * 5, 24 * each)
    scores, chroms = rng.normal(size=len(y)) + 0.7 * y, [f"chr{g % 24}" for g in group]
    found = areas(scores, [*map(str, y)], chroms, "plus", [*map(str, group)])
    assert (found.units, found.within) == (24 * each, within)
    low, high = found.auroc_interval
    se = np.sqrt(1 / y.sum() + 1 / (~y).sum()) / np.sqrt(12)  # about, of an AUROC near 0.7
    assert 2.5 * se < high - low < 5.5 * se
    few = group < 19
    found = areas(scores[few], [*map(str, y[few])], chroms[: few.sum()], "plus",
                  [*map(str, group[few])])  # fmt: skip
    assert (found.unit, found.least, found.auroc_interval) == ("match groups", 19, None)


@pytest.mark.parametrize("direction", ["minus", "plus", "abs"])
def test_the_curve_of_the_figure_has_the_area_that_is_printed(direction):
    scores, labels, chroms, _ = drawn(1, 300, 10)
    scores = np.round(scores, 1)  # ties
    y = np.array(labels) == "True"
    recall, precision = curve(scores, y, direction)
    found = areas(scores, labels, chroms, direction)
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(found.auprc)
    assert (recall[-1], precision[-1]) == (1, found.prevalence)
    scores[:9] = np.nan
    figure = labelled_figure("net", "nats", scores, labels, areas(scores, labels, chroms))
    left, right = figure.axes
    for patch in left.patches:
        assert patch.get_data().values.sum() == pytest.approx(1)  # nothing is cut off
    assert right.lines[1].get_ydata()[0] == y[9:].mean()
    (ax,) = scores_figure("net", "nats", scores).axes
    assert ax.patches[0].get_data().values.sum() == len(y) - 9


@pytest.mark.filterwarnings("error")
def test_the_mean_over_sequences_has_an_interval_from_two_with_both_classes_on():
    rng = np.random.default_rng(0)
    labels = [str(i % 50 < 25) for i in range(300)]
    several = [f"{i % 50}" for i in range(300)]  # of one class each
    scores = rng.normal(size=300)
    none = areas(scores, labels, several)
    assert none.mixed == 0 and none.by_chromosome is none.by_chromosome_interval is None
    assert none.auprc_interval is not None
    json.dumps(none._asdict(), allow_nan=False)
    one = areas(scores, labels, ["0", *several[1:49], "0", *several[50:]])
    assert one.mixed == 1 and one.by_chromosome is not None
    assert one.by_chromosome_interval is None and one.auprc_interval is not None
    two = areas(scores, labels, ["0", "1", *several[2:48], "1", "0", *several[50:]])
    assert two.mixed == 2 and two.by_chromosome_interval is not None
    groups = [str(i % 25) for i in range(300)]
    grouped = areas(scores, labels, ["a"] * 300, groups=groups)
    assert grouped.groups == 25 and None not in grouped.by_chromosome_interval
    loose = areas(scores, labels, ["a"] * 300, groups=["", *groups[1:]])
    assert (loose.groups, loose.units) == (25, 26)
    assert areas(scores, labels, several, groups=[""] * 300).groups == 0
