"""Figures: colours that can be told apart, and numbers in the right places."""

import csv
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from test_html import analyzed, grid, record

from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.figures import cd, curves, families, heatmap, pareto, strips, style
from dnabench.reports.stats import critical_difference
from dnabench.reports.table import tables
from dnabench.reports.text.html import page
from dnabench.types import Recipe

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "results" / "published" / "kernel_dilation.csv"


def only(records):
    (table,) = tables(records)
    return table


def axes_of(draw):
    with style.drawing():
        return draw().axes


# --- colours --------------------------------------------------------------------------------------


def test_seventy_models_differ_in_colour_or_marker():
    looks = {(style.colour(i), style.marker(i)) for i in range(70)}
    assert len(looks) == 70
    assert len({style.marker(i) for i in range(10)}) == 10  # ten without any colour
    for i in range(10):
        assert ElementTree.fromstring(style.swatch(i)).tag == "svg"


def test_the_palette_survives_colour_blindness():
    """Machado et al. 2009, severity 1: any two of the seven stay apart, in linear RGB distance."""
    simulated = {
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
        "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                       [0.004733, 0.691367, 0.303900]],
    }  # fmt: skip
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in style.PALETTE])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in simulated.items():
        seen = linear @ np.array(matrix).T
        nearest = min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))
        assert nearest > 0.08, name


def test_labels_leave_out_what_all_share():
    swept = [record("net", options={"k": k, "d": d}) for k in (3, 5) for d in (1, 2)]
    assert style.labels(only(swept).columns) == ["d=1 k=3", "d=1 k=5", "d=2 k=3", "d=2 k=5"]
    assert style.labels(only([record("a"), record("b")]).columns) == ["a", "b"]
    assert style.labels(only([record("n" * 50)]).columns) == ["n" * 33 + "…"]


# --- strips ---------------------------------------------------------------------------------------


def test_a_panel_has_every_run_its_mean_and_its_interval():
    scores = [0.70, 0.71, 0.75, 0.72]
    table = only([record("net", seed=s, score=x) for s, x in enumerate(scores)])
    (ax,) = axes_of(lambda: strips.figure(table))
    dots, interval, mean = ax.get_lines()
    assert list(dots.get_xdata()) == scores and len(set(dots.get_ydata())) == 4  # none hidden
    # mean 0.72, sd sqrt(0.0014/3), t(0.975, 3) = 3.18245
    half = 3.182446 * math.sqrt(0.0014 / 3) / 2
    assert list(interval.get_xdata()) == pytest.approx([0.72 - half, 0.72 + half])
    assert list(mean.get_xdata()) == pytest.approx([0.72])


def test_rows_without_scores_have_no_panel():
    lost = replace(record(), scores={}, error="Traceback\nboom")
    assert strips.strips(only([lost])) == []
    with pytest.raises(ValueError, match="no run under honest/1 has a score"):
        strips.figure(only([lost]))
    assert [row.name for row, _ in strips.strips(only([lost, record(task="s/b")]))] == ["s/b"]


def overview(records):
    """Of the figure of all tasks: names in the accent, and the mean of each name that has one."""
    table = only(records)
    (ax,) = axes_of(lambda: strips.overall(table))
    labels = [t.get_text() for t in ax.get_yticklabels()]
    ticks = [x for x in ax.get_lines() if x.get_marker() == "|"]
    means = {labels[int(x.get_ydata()[0])]: x.get_xdata()[0] for x in ticks}
    accent = [t.get_text() for t in ax.get_yticklabels() if t.get_color() == style.PAGE.accent]
    dots = sum(len(x.get_xdata()) for x in ax.get_lines() if x.get_marker() == "o")
    return accent, means, dots


def test_the_overview_holds_no_means_of_different_tasks_against_each_other():
    """The easy task alone has a higher mean than the easy and the hard one."""
    whole = [record("a", "s/easy", score=0.9), record("a", "s/hard", score=0.5)]
    easy = [record("b", "s/easy", score=0.8)]
    accent, means, dots = overview(whole + easy)
    assert accent == [] and means == {"a": pytest.approx(0.7)} and dots == 3
    third = [record("c", "s/easy", score=0.7), record("c", "s/hard", score=0.6)]
    accent, means, _ = overview(whole + easy + third)
    assert accent == ["a"] and means == {"a": pytest.approx(0.7), "c": pytest.approx(0.65)}
    accent, means, _ = overview([whole[0], *easy])  # of one task the runs
    assert accent == ["a"] and means == {"a": 0.9, "b": 0.8}


# --- ranks ----------------------------------------------------------------------------------------


def test_joined_groups_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(200):
        ranks = rng.choice(np.arange(1, 9, 0.5), rng.integers(2, 9)).tolist()
        limit = float(rng.uniform(0.2, 4))
        within = {
            (low, high) for low in ranks for high in ranks
            if low <= high and high - low < limit
            and sum(low <= r <= high for r in ranks) > 1
        }  # fmt: skip
        widest = {g for g in within if not any(
            o != g and o[0] <= g[0] and g[1] <= o[1] for o in within)}  # fmt: skip
        assert set(cd.joined(ranks, limit)) == widest


def test_the_example_of_demsar():
    """JMLR 7:1, table 6 and figure 1: ranks 3.143, 2.000, 2.893, 1.964 on 14 data sets, CD 1.25."""
    limit = critical_difference(4, 14)
    assert limit == pytest.approx(1.25, abs=0.005)
    assert cd.joined([3.143, 2.0, 2.893, 1.964], limit) == [(1.964, 3.143)]
    looser = critical_difference(4, 14, 0.10)
    assert looser == pytest.approx(1.12, abs=0.005)
    groups = [(1.964, 2.893), (2.893, 3.143)]
    assert cd.joined([3.143, 2.0, 2.893, 1.964], looser) == groups


def test_a_rank_stands_at_its_place():
    (ax,) = axes_of(lambda: cd.figure(["x", "y", "z"], [2.5, 1.0, 2.5], 0.9))
    places = {
        line.get_color(): line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"
    }
    assert len(places) == 2
    first, other = places[style.PRINT.accent], places[style.PRINT.ink]
    assert (other - first) / cd.AXIS == pytest.approx(0.75)
    assert {"x", "y", "z", "1.00", "critical difference 0.90"} <= {t.get_text() for t in ax.texts}
    with pytest.raises(ValueError, match="needs at least two models"):
        cd.figure(["x"], [1.0], 1.0)


def test_the_bar_of_a_critical_difference_has_its_true_length():
    """2.34 ranks among three models are longer than the axis from 1 to 3."""
    for critical in (0.7, 2.34):
        (ax,) = axes_of(lambda critical=critical: cd.figure(["a", "b", "c"], [1, 2, 3], critical))
        axis, bar = (
            next(line for line in ax.get_lines() if set(line.get_ydata()) == {y})
            for y in (0.8, 0.36)
        )
        per_rank = np.ptp(axis.get_xdata()) / 2
        assert np.ptp(bar.get_xdata()) / per_rank == pytest.approx(critical)
        assert max(bar.get_xdata()) <= ax.get_xlim()[1]


# --- costs ----------------------------------------------------------------------------------------


def test_points_are_means_over_tasks_of_means_over_seeds():
    records = [
        record("a", t, s, x, seconds=sec, n_params=10)
        for t, s, x, sec in [("s/1", 0, 0.5, 1), ("s/1", 1, 0.7, 3), ("s/2", 0, 0.9, 8),
                             ("s/2", 1, 0.9, 8)]
    ]  # fmt: skip
    records += [record("b", "s/1"), record("b", "s/2", seconds=0.0, n_params=0)]
    table = only(records)
    a, b = pareto.points(table, table.rows)
    assert (a.score, a.size, a.time) == (pytest.approx(0.75), 10, pytest.approx(5.0))
    # sd of the first task sqrt(0.02), of the second 0: se = sqrt(0.02 / 2) / 2
    assert a.error == pytest.approx(0.05)
    assert math.isnan(b.time) and math.isnan(b.error)
    assert pareto.label(table.rows) == "mean MCC of 2 tasks"


def test_a_model_without_all_tasks_is_no_point():
    records = [record(m, t) for m in "ab" for t in ("s/1", "s/2")] + [record("c", "s/1")]
    table = only(records)
    ((suite, rows),) = pareto.suites(table).items()
    assert suite == "s" and [r.name for r in rows] == ["s/1", "s/2"]
    assert [p.name for p in pareto.points(table, rows)] == ["a", "b"]


def test_frontier_by_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(200):
        pairs = [tuple(p) for p in rng.integers(0, 6, (rng.integers(1, 9), 2)).tolist()]
        best = {
            (x, y) for x, y in pairs
            if not any((u <= x and v >= y) and (u, v) != (x, y) for u, v in pairs)
        }  # fmt: skip
        assert pareto.frontier(pairs) == sorted(best)


def test_names_hide_neither_marks_nor_each_other():
    found = [pareto.Point(i, f"model-{i}", 0.7 + 0.001 * i, math.nan, 1e6 * 1.02**i, 1.0)
             for i in range(5)]  # fmt: skip
    (ax,) = axes_of(lambda: pareto.figure(found, "size", "MCC"))
    fig = ax.figure
    fig.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


# --- curves ---------------------------------------------------------------------------------------


def test_a_curve_is_the_mean_of_what_was_watched():
    def steps(*values, **other):
        return [{"epoch": i + 1, "loss": 9.0 - i, "val": {"mcc": v}, **other}
                for i, v in enumerate(values)]  # fmt: skip

    records = [record(seed=0, curve=steps(0.1, 0.3)), record(seed=1, curve=steps(0.3, 0.5, 0.6))]
    table = only(records)
    assert curves.label(table.rows[0]) == "validation MCC"
    (ax,) = axes_of(lambda: curves.figure(table))
    line = ax.get_lines()[0]
    assert list(line.get_xdata()) == [1, 2] and list(line.get_ydata()) == pytest.approx([0.2, 0.4])
    looked = [{"epoch": e, "loss": 3.0 - e, "test": {"mcc": 0.5}} for e in (1, 2)]
    assert curves.label(only([record(curve=looked)]).rows[0]) == "test MCC"
    dead = steps(0.2, 0.4, 0.5)
    del dead[0]["val"]["mcc"]  # undefined in the first epoch of one of two
    table = only([record(seed=0, curve=dead), record(seed=1, curve=steps(0.3, 0.6, 0.7))])
    assert curves.label(table.rows[0]) == "validation MCC"
    (ax,) = axes_of(lambda: curves.figure(table))
    assert list(ax.get_lines()[0].get_ydata()) == pytest.approx([0.3, 0.5, 0.6])
    blind = [{"epoch": e, "loss": 3.0 - e} for e in (1, 2)]
    (ax,) = axes_of(lambda: curves.figure(only([record(curve=blind)])))
    assert list(ax.get_lines()[0].get_ydata()) == [2.0, 1.0]


def test_one_epoch_is_no_curve_and_long_ones_are_thinned():
    once = [{"epoch": 1, "loss": 1.0, "val": {"mcc": 0.5}}]
    assert curves.curves(only([record(curve=once)])) == []
    with pytest.raises(ValueError, match="no run under honest/1 has two epochs"):
        curves.figure(only([record(curve=once)]))
    long = [{"epoch": e, "loss": 1.0, "val": {"mcc": e / 1000}} for e in range(1, 1001)]
    (ax,) = axes_of(lambda: curves.figure(only([record(curve=long)])))
    x = ax.get_lines()[0].get_xdata()
    assert len(x) == curves.MOST and (x[0], x[-1]) == (1, 1000)


# --- families -------------------------------------------------------------------------------------


def test_leads_turn_their_sign_with_the_pair():
    (evidence,) = analyzed(grid({"a": 0.6, "b": 0.65, "c": 0.7}))
    (suite,) = evidence.suites
    for me in range(3):
        found = families.leads(suite, me)
        assert set(found) == {0, 1, 2} - {me}
        for other, by_family in found.items():
            means = {
                row.name: row.cells[me].summary.mean - row.cells[other].summary.mean
                for row in suite.rows
            }
            assert by_family[families.ALL] == pytest.approx(np.mean(list(means.values())))
            own = [means["s/p1"], means["s/p2"]]
            assert by_family["promoter"] == pytest.approx(np.mean(own))
            three = [by_family[f] for f in ("histone", "promoter", "splice")]
            assert by_family[families.EQUAL] == pytest.approx(np.mean(three))
    (ax,) = axes_of(lambda: families.figure(families.leads(suite, 2)))
    assert [t.get_text() for t in ax.get_yticklabels()][-2:] == [families.ALL, families.EQUAL]


# --- heat maps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["11", "12"])
def test_the_published_grids_come_back(number):
    """Tables 11 and 12 of arXiv 2502.18538: kernel size down, dilation across."""
    with PUBLISHED.open(encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["table"] == number]
    assert rows
    first, records, means = rows[0]["task"], [], {}
    for row in rows:
        kernel, dilation = map(int, re.findall(r"=(\d+)", row["variant"]))
        options = {"kernel_size": kernel, "dilation": dilation, "width": 128}
        score = float(row["mean"]) / 100
        records.append(record("convnova", row["task"], score=score, options=options))
        means.setdefault((kernel, dilation), []).append(score)
    found = heatmap.heat(only(records), "dilation", "kernel_size")
    assert (found.x, found.y) == ("dilation", "kernel_size") and first in found.tasks
    assert found.xs == ["1", "2", "3", "4"] and found.ys[0] == "3" and found.ys[-1] == "11"
    for j, kernel in enumerate(found.ys):
        for i, dilation in enumerate(found.xs):
            assert found.means[j][i] == pytest.approx(np.mean(means[int(kernel), int(dilation)]))
    assert heatmap.swept(only(records)) == [found]
    (ax,) = axes_of(lambda: heatmap.figure(found))
    best = max(v for line in found.means for v in line)
    assert f"{best:.3f}" in [t.get_text() for t in ax.texts if t.get_fontweight() == "bold"]


def test_a_recipe_field_can_be_an_axis():
    records = [record(options={"k": k}, recipe=Recipe(lr=lr), score=k * lr)
               for k in (3, 10) for lr in (0.01, 0.001)]  # fmt: skip
    found = heatmap.heat(only(records), "lr", "k")
    assert (found.xs, found.ys) == (["0.001", "0.01"], ["3", "10"])
    assert found.means == [pytest.approx([0.003, 0.03]), pytest.approx([0.01, 0.1])]


def test_a_list_is_a_place_on_an_axis():
    """Options of a model made in Python may be lists."""
    records = [record(options={"widths": w, "k": k}, score=sum(w) * k / 100)
               for w in ([8, 16], [8, 32]) for k in (1, 2)]  # fmt: skip
    table = only(records)
    (found,) = heatmap.swept(table)
    assert (found.x, found.xs) == ("k", ["1", "2"])
    assert (found.y, found.ys) == ("widths", ["[8, 16]", "[8, 32]"])
    assert found.means == [pytest.approx([0.24, 0.48]), pytest.approx([0.4, 0.8])]
    assert heatmap.swept(only(records[:2])) == []
    assert "Mean score of widths by k" in page(Report(evidence=(analyze(table),)))


def test_heat_says_what_it_cannot_do():
    records = [record(options={"k": k, "d": d}) for k in (1, 2) for d in (1, 2)]
    table = only(records)
    with pytest.raises(ValueError, match="no column has k and x; options here: d, k"):
        heatmap.heat(table, "k", "x")
    with pytest.raises(ValueError, match=r"k=1 and k=1 are shared by 2 columns"):
        heatmap.heat(table, "k", "k")
    holes = [replace(r, trial=replace(r.trial, task=f"s/{i}")) for i, r in enumerate(records)]
    with pytest.raises(ValueError, match="no tasks of one metric have scores of all these"):
        heatmap.heat(only(holes), "k", "d")
    assert math.isnan(heatmap.heat(only(records[:3]), "k", "d").means[1][1])
