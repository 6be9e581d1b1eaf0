"""Published values: what ± says, the difference to ours, which of our models stand for theirs."""

import csv
import dataclasses
import io
import math
from statistics import fmean

import numpy as np
import pytest

from dnabench import MODELS, TASKS
from dnabench.cli.reproduction import ReproduceRequest, plan_reproduction
from dnabench.reports import stats
from dnabench.reports.papers import matching
from dnabench.reports.papers.published import seeds, values
from dnabench.reports.papers.reproduction import (
    MAX_DEVIATION,
    Spread,
    compare,
    gap,
    spread_of,
    verdict_of,
)
from dnabench.reports.papers.reproduction_text import render
from dnabench.sweep.grid import Request

SEEDS = (2222, 42, 43)


def value(table, task, model, regime="scratch", **more):
    """The one published value."""
    wanted = {"task": task, "model": model, "regime": regime, **more}
    fits = [
        v
        for v in values("convnova", table)
        if all(getattr(v, name) == what for name, what in wanted.items())
    ]
    (only,) = fits
    return only


H3 = value("13", "nt/h3", "convnova")


def plan(table="convnova/table13", **words):
    grid = {"models": [], "seeds": "5", "protocol": "", "regime": ""} | words
    return plan_reproduction(ReproduceRequest(table=table, grid=Request(**grid)))


# What a published ± says


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_the_largest_deviation_against_simulation(n):
    x = np.random.default_rng(n).standard_normal((100_000, n))
    largest = np.abs(x - x.mean(1, keepdims=True)).max(1)
    constant, df = MAX_DEVIATION[n]
    assert constant == pytest.approx(math.sqrt((largest**2).mean()), rel=0.01)
    chi = np.sqrt(np.random.default_rng(n).chisquare(df, 100_000))
    spread = largest.std() / largest.mean()
    assert spread == pytest.approx(chi.std() / chi.mean(), rel=0.02)


def test_of_two_it_is_half_their_difference():
    assert MAX_DEVIATION[2] == (pytest.approx(math.sqrt(0.5), abs=1e-4), 1.0)


def test_it_gives_back_the_sd_of_the_published_seeds():
    """Of the three models whose seeds look independent; for normal scores the mean is 0.990."""
    rows = {}
    for s in seeds("convnova"):
        if s.model in ("convnova", "caduceus_ph", "hyenadna"):
            rows.setdefault((s.task, s.model, s.variant), []).append(s.mean)
    ratios = []
    for scores in rows.values():
        largest = max(abs(x - fmean(scores)) for x in scores)
        one = dataclasses.replace(H3, spread=largest, n=10, spread_is="max |deviation|")
        ratios.append(100 * spread_of(one).sd / np.std(scores, ddof=1))
    assert len(ratios) == 64 and np.mean(ratios) == pytest.approx(0.990, abs=0.04)


def test_what_is_printed_and_what_is_not():
    t1 = value("1", "nt/h3", "caduceus_ph", "pretrained")
    t1 = dataclasses.replace(t1, mean=t1.mean + 1)  # which is not the mean of its seeds
    assert spread_of(t1).sd == pytest.approx(0.0104 / 1.834) and spread_of(t1).n == 10
    assert spread_of(H3).sd == pytest.approx(0.0168 / 1.450)
    assert "does not state what ± is; taken as" in spread_of(H3).how
    alone = value("4", "nt/h3", "convnova", "pretrained")
    assert math.isnan(spread_of(alone).sd) and spread_of(alone).n == 1
    other = dataclasses.replace(t1, spread_is="99 % CI half-width")
    assert math.isnan(spread_of(other).sd) and "not used" in spread_of(other).how


def test_runs_that_are_printed_one_by_one_come_before_the_printed_spread():
    for task, model, sd in (("nt/h3", "caduceus_ph", 0.90), ("nt/h3k79me3", "dnabert2", 0.45)):
        found = spread_of(value("1", task, model, "pretrained"))
        scores = [v.mean for v in seeds("convnova") if (v.task, v.model) == (task, model)]
        assert 100 * found.sd == pytest.approx(np.std(scores, ddof=1))
        assert 100 * found.sd == pytest.approx(sd, abs=0.01)
        assert (found.n, found.df) == (10, 9.0) and "one by one" in found.how
    moved = spread_of(value("1", "nt/splice_sites_acceptors", "hyenadna", "pretrained"))
    assert moved.df == 6.58 and "max |deviation|" in moved.how  # another task's mean is printed
    dilated = spread_of(value("1", "nt/h3k4me3", "convnova", "pretrained"))
    one = [v.mean for v in seeds("convnova")
           if (v.task, v.model, v.variant) == ("nt/h3k4me3", "convnova", "dilation=1")]  # fmt: skip
    assert 100 * dilated.sd == pytest.approx(np.std(one, ddof=1))
    pretrained = value("1", "nt/h3", "caduceus_ph", "pretrained")
    scratch = dataclasses.replace(pretrained, regime="scratch")
    assert "one by one" not in spread_of(scratch).how
    known = [v for v in values("convnova", "1") if "one by one" in spread_of(v).how]
    # 51.82, then 51.92, 51.73 and 51.83 three times: the only ones that repeat
    (repeated,) = [v for v in known if "repeat in order" in spread_of(v).how]
    assert (repeated.task, repeated.model) == ("nt/h4ac", "dnabert2")
    assert "repeat in order, 4 different values" in spread_of(repeated).how
    assert len(known) == 78  # 15 tasks of 5 models, and the splice sites of NTv2


# The difference


def test_without_a_test_term_it_is_welch():
    rng = np.random.default_rng(0)
    for n, m in [(2, 2), (3, 10), (10, 5), (40, 7)]:
        a, b = rng.normal(0.8, 0.01, n), rng.normal(0.79, 0.03, m)
        known = Spread(float(np.std(b, ddof=1)), m, m - 1.0, "")
        found, want = gap(list(a), float(b.mean()), known, math.nan), stats.welch(a, b)
        assert found[:3] == pytest.approx((want.difference, want.low, want.high), abs=1e-12)
        assert (found.seeds_low, found.seeds_high) == (found.low, found.high)


def test_the_test_term_widens_it_and_has_no_degrees_of_freedom_to_lose():
    t = pytest.importorskip("scipy.stats").t
    ours, known, error = [0.80, 0.81, 0.83], Spread(0.01, 10, 6.58, ""), 0.015
    found = gap(ours, 0.82, known, error)
    v = [np.var(ours, ddof=1) / 3, 0.01**2 / 10, error**2]
    df = sum(v) ** 2 / (v[0] ** 2 / 2 + v[1] ** 2 / 6.58)
    half = t.ppf(0.975, df) * math.sqrt(sum(v))
    assert (found.low, found.high) == pytest.approx(
        (found.difference - half, found.difference + half), abs=1e-12
    )
    alone = gap([0.8] * 3, 0.82, Spread(0.0, 10, 6.58, ""), error)  # only the test term is left
    assert alone.high - alone.low == pytest.approx(2 * 1.959964 * error, rel=1e-6)


def test_a_value_without_a_spread_borrows_ours():
    t = pytest.importorskip("scipy.stats").t
    ours = [0.80, 0.81, 0.83]
    found = gap(ours, 0.82, Spread(math.nan, 1, math.nan, ""), math.nan)
    half = t.ppf(0.975, 2) * np.std(ours, ddof=1) * math.sqrt(1 / 3 + 1)
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-9)
    assert math.isnan(gap([0.8], 0.8, Spread(0.01, 5, 3.58, ""), 0.01).low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    constant, df = MAX_DEVIATION[10]
    inside = 0
    for _ in range(2000):
        theirs, ours = rng.normal(0, 1, 10), rng.normal(0, 1.5, 5)
        sd = np.abs(theirs - theirs.mean()).max() / constant
        found = gap(list(ours), float(theirs.mean()), Spread(float(sd), 10, df, ""), math.nan)
        inside += found.low <= 0 <= found.high
    assert 0.935 < inside / 2000 < 0.97


@pytest.mark.parametrize(
    ("ours", "mean", "error", "n", "want"),
    [
        ([0.80, 0.82, 0.84], 0.83, 0.0, 5, ("agrees", "")),
        ([0.700, 0.701, 0.702], 0.83, 0.01, 5, ("differs", "")),
        ([0.800, 0.801, 0.802], 0.82, 0.02, 5,
         ("agrees", "only with the noise of the test examples")),
        ([0.8200, 0.8201, 0.8202], 0.825, 0.0, 5, ("agrees", "difference below 0.01")),
        ([0.5, 0.5, 0.6, 0.6], 0.83, 0.0, 4, ("descriptive", "only 4 of our seeds")),
    ],
)  # fmt: skip
def test_verdicts(ours, mean, error, n, want):
    found = gap(ours, mean, Spread(0.001, 10, 6.58, ""), error)
    assert verdict_of(found, n, 0.01) == want


# Our models for the published ones


@pytest.mark.parametrize("table", matching.TABLES)
def test_every_published_value_gets_a_cell_and_a_word(table):
    found = plan(f"convnova/table{table}")
    assert [c.value for c in found.cells] == list(values("convnova", table))
    for outcome in (compare(cell, {}) for cell in found.cells):
        assert outcome.verdict in ("not run", "not comparable") and outcome.why
    outcomes = [compare(cell, {}) for cell in found.cells]
    assert render(outcomes, found.about, "md").count("\n| ") == len(outcomes) + 1
    assert len(list(csv.DictReader(io.StringIO(render(outcomes, found.about, "csv"))))) == len(
        outcomes
    )


def test_every_counterpart_has_the_size_that_was_printed():
    """But for two networks whose heads, which depend on the task, hold much of their size."""
    seen = set()
    for v in (v for t in matching.TABLES for v in values("convnova", t)):
        ours = matching.our_model(v)
        assert matching.metric_of(v, v.task) or v.task == "nt/AVERAGE18"
        assert set(matching.tasks_of(v)) <= set(TASKS)
        if not ours.preset or not v.params or v.model in ("cnn", "deepatt"):
            continue
        printed = float(v.params[:-1]) * {"K": 1e3, "M": 1e6, "N": 1e6}[v.params[-1]]
        assert MODELS[ours.preset].n_params == pytest.approx(printed, rel=0.1), v
        seen.add(ours.preset)
    assert len(seen) == 21
    assert matching.our_model(dataclasses.replace(H3, model="x")).ruled_out.endswith("to x 1.7M")


def test_how_epochs_were_chosen_is_read_from_what_is_said_of_it():
    said = {t: {matching.chosen_on(v) for v in values("convnova", t)} for t in matching.TABLES}
    assert said == {
        **{t: {"test"} for t in ("1", "2", "4", "5", "6", "11", "12", "13", "14")},
        "3": {"validation", "not stated"}, "10": {"not stated"}, "15": {"not stated"},
    }  # fmt: skip
    assert matching.protocol_of(H3) == "test-selected/1"


def test_pretrained_convnova_is_never_comparable_and_scratch_is():
    pretrained = value("1", "nt/h3", "convnova", "pretrained")
    assert matching.obstacles(pretrained) == ["pretrained weights were not published"]
    assert not matching.obstacles(H3)
    assert not matching.obstacles(value("1", "nt/h3", "ntv2", "pretrained"))
    assert (
        "does not say"
        in matching.obstacles(value("5", "nt/h3", "convnova_no_gate", "unspecified"))[0]
    )


def test_kernel_and_dilation_become_options():
    one = value("12", "nt/h3", "convnova", variant="kernel=11,dilation=2")
    options, recipe = matching.as_published(one, "convnova", "scratch")
    assert (options["kernel_size"], options["dilation"], recipe.epochs) == (11, 2, 20)
    wide = value("10", "deepsea/chromatin_profile", "convnova", params="27.4M", metric="auroc_tf")
    assert matching.as_published(wide, "convnova-27m", "scratch")[1].epochs == 10
    assert matching.metric_of(wide, wide.task) == "auroc_mean:tf"
    assert "auroc_mean:groups" in matching.METRICS.values()


def test_a_recipe_of_the_house_reproduces_nothing():
    """Where the paper states no recipe, or leaves a number of it open, there is no verdict."""
    ours = {
        (v.table, v.model): matching.obstacles(v)[-1:]
        for table in ("3", "10", "13")
        for v in values("convnova", table)
        if v.model != "caduceus_ph"
    }
    left = "the recipe is partly ours: arXiv 2502.18538 A.2."
    for model in ("hyenadna", "ntv2", "dnabert2", "convnova", "deepatt"):
        assert ours["10", model] == [f"{left}2 states no batch"]
        assert not any("recipe is" in text for text in ours.get(("13", model), []))
    assert ours["3", "convnova"] == [f"{left}3 states no batch and no precision"]
    assert ours["13", "basenji"] == [
        "the recipe is ours, not the paper's: none is published for this model"
    ]
    assert not ours["13", "legnet"]  # theirs
    (why, *_) = [matching.obstacles(v) for v in values("convnova", "15") if v.model == "ntv2"]
    assert len(why) == 1 and "recipe is ours" not in why[0]  # said once, in other words


def test_two_misprints_are_told_by_what_they_leave_to_the_tasks_between_two_tables():
    """Table 11 is the mean of 18 tasks, table 12 has all of them but H4 and H4ac."""
    sums = {}
    for v in values("convnova", "12"):
        sums.setdefault(v.variant, []).append(v.mean)
    left = {
        v.variant: (18 * v.mean - math.fsum(sums[v.variant])) / 2
        for v in values("convnova", "11")
    }  # fmt: skip
    assert {len(means) for means in sums.values()} == {16}
    odd = {"kernel=5,dilation=1": (42.0, 9 * 3.0), "kernel=11,dilation=4": (76.5, -10 / 2)}
    for variant, (found, mended) in odd.items():
        assert round(left[variant], 1) == found
        assert 62.7 <= round(left.pop(variant) + mended, 1) <= 72.2
    assert (round(min(left.values()), 1), round(max(left.values()), 1)) == (62.7, 72.2)
    doubted = [
        (v.table, v.printed, v.variant)
        for table in ("11", "12")
        for v in values("convnova", table)
        if any("misprint of" in text for text in matching.doubts(v))
    ]
    assert doubted == [
        ("11", "63.939", "kernel=5,dilation=1"), ("12", "86.46", "kernel=11,dilation=4")
    ]  # fmt: skip
