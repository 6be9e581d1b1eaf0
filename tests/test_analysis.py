"""Evidence from the published per-seed values, against an independent analysis of them."""

import csv
import gzip
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_reports import record, runs

from dnabench.metrics import mcc
from dnabench.reports.analysis import analyze
from dnabench.reports.memo import Memo
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.findings import grids, top_grid
from dnabench.reports.text.methods import methods
from dnabench.results.store import Store

REFERENCE = Path(__file__).parent / "reference"
BASELINES = ("ntv2", "hyenadna", "dnabert2", "caduceus_ph")


def rows_of(name):
    with gzip.open(REFERENCE / name, "rt", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@cache
def published():
    """ConvNova with dilation 4 on every task, and the four baselines, ten seeds on 18 tasks."""
    metrics, places, out = {"mcc": "mcc", "f1": "f1_macro"}, {}, []
    for row in rows_of("published_seeds.csv.gz"):
        if row["model"] == "convnova" and row["variant"] != "dilation=4":
            continue
        task = row["task"]
        family = task.partition("/")[2].partition("_")[0].rstrip("s")
        family = "histone" if family.startswith("h") else family
        seed = places[row["model"], task] = places.get((row["model"], task), -1) + 1
        score = float(row["value"]) / 100
        metric = metrics[row["metric"]]
        out.append(
            record(row["model"], task, seed, score, metric=metric, family=family, data="0" * 16)
        )
    return out


@cache
def expected():
    rows = rows_of("stats_expected.csv.gz")
    return {(row["id"], row["statistic"]): float(row["value"]) for row in rows}


@cache
def everything():
    (table,) = tables(published())
    return analyze(table)


def column(evidence, model):
    return next(k for k, c in enumerate(evidence.table.columns) if c.model == model)


def test_72_comparisons_are_judged_as_in_the_reference():
    """Holm over ConvNova against four baselines on 18 tasks."""
    (table,) = tables(published())
    found = analyze(table)
    one = column(found, "convnova")
    found = analyze(table, pairs=[(one, column(found, name)) for name in BASELINES])
    assert len(found.comparisons) == 72
    judged = [d for d in found.comparisons if d.p_holm < 0.05]
    assert sum(d.welch.difference > 0 for d in judged) == 58
    assert sum(d.welch.difference < 0 for d in judged) == 7
    exact = sum(d.p_permutation < 0.05 for d in found.comparisons)
    assert exact >= 59  # unadjusted; 59 + 7 hold after Holm
    h3 = next(
        d
        for d in found.comparisons
        if d.row.task == "nt/h3" and table.columns[d.j].model == "caduceus_ph"
    )
    assert h3.p_holm == pytest.approx(0.052865, abs=1e-6)
    assert h3.p_bh == pytest.approx(0.008239, abs=1e-6)
    assert h3.p_permutation == pytest.approx(0.00535842, abs=1e-8)
    assert h3.a12 == pytest.approx(0.84) and h3.g == pytest.approx(1.322514, abs=1e-6)
    assert (h3.verdict, h3.nested) == ("no clear difference", None)


def test_best_on_a_task_is_an_intersection_union():
    """11 of 13 nominal wins are significant; enhancers_types (.072), promoter_all are not."""
    found = everything()
    one = column(found, "convnova")
    wins = [b for b in found.best if b.column == one]
    assert len(found.best) == 18 and len(wins) == 13
    for b in wins:
        holm = expected()[f"iut_d4_{b.row.task}", "p_holm"]
        assert b.p_holm == pytest.approx(holm, rel=1e-6) and b.p <= b.p_holm
    low = {b.row.task for b in wins if b.p_holm < 0.05}
    assert {b.row.task for b in wins} - low == {"nt/enhancers_types", "nt/promoter_all"}
    assert len(low) == 11
    # a claim needs the verdict win against all four, of 180 tests; H4 leads by 0.99 points only
    for b in wins:
        rivals = [d for d in found.comparisons if d.row is b.row and b.column in (d.i, d.j)]
        assert b.beats_all == all(
            (d if d.i == b.column else d.flipped()).verdict == "win" for d in rivals
        )
    claimed = {b.row.task for b in wins if b.beats_all}
    assert claimed < low and "nt/h4" not in claimed and len(claimed) > 5


def test_the_suite_is_ranked_and_paired_as_in_the_reference():
    (suite,) = everything().suites
    names = [everything().table.columns[k].model for k in suite.columns]
    ranks = dict(zip(names, suite.ranks, strict=True))
    said = {"convnova": 1.5, "caduceus_ph": 2.611, "ntv2": 2.833, "hyenadna": 4, "dnabert2": 4.056}
    assert ranks == {name: pytest.approx(value, abs=6e-4) for name, value in said.items()}
    assert suite.friedman.chi2 == pytest.approx(32.711, abs=1e-3)
    assert suite.friedman.f == pytest.approx(14.154, abs=1e-3)
    assert suite.critical_difference == pytest.approx(1.438, abs=1e-3)
    assert suite.note == ""
    pairs = {frozenset((names[suite.columns.index(p.i)], names[suite.columns.index(p.j)])): p
             for p in suite.pairs}  # fmt: skip
    ntv2 = pairs[frozenset(("convnova", "ntv2"))]
    assert ntv2.p_nemenyi == pytest.approx(0.084, abs=1e-3)
    assert ntv2.p_holm == pytest.approx(0.024, abs=1e-3)
    assert pairs[frozenset(("convnova", "caduceus_ph"))].p_nemenyi == pytest.approx(0.216, abs=1e-3)
    forward = ntv2.improvement.value if names[ntv2.i] == "convnova" else 1 - ntv2.improvement.value
    assert forward == pytest.approx(0.707, abs=1e-3)
    lead = abs(ntv2.leads["histone"])
    assert lead == pytest.approx(0.0756, abs=1e-4)
    # over the tasks of one metric, MCC: F1 of promoters and splice sites is another scale
    assert abs(ntv2.lead_of_families.value) == pytest.approx((7.56 + 4.74) / 200, abs=1e-4)


def test_two_calls_and_a_memo_give_the_same(tmp_path):
    (table,) = tables(runs("a", 0.7) + runs("b", 0.8) + runs("a", 0.6, task="demo/u")
                      + runs("b", 0.61, task="demo/u"))  # fmt: skip
    memo = Memo(tmp_path / "memo")
    first, second, third = analyze(table), analyze(table, memo=memo), analyze(table, memo=memo)
    assert repr(first) == repr(second) == repr(third)
    assert list((tmp_path / "memo").iterdir())
    for path in (tmp_path / "memo").iterdir():
        path.write_text("{")
    assert repr(analyze(table, memo=memo)) == repr(first)


def test_a_flipped_comparison_is_the_opposite():
    (table,) = tables(runs("a", 0.7) + runs("b", 0.8))
    (comparison,) = analyze(table).comparisons
    (other,) = analyze(table, pairs=[(1, 0)]).comparisons
    assert comparison.verdict == "loss" and other.verdict == "win"
    assert repr(comparison.flipped()) == repr(other)
    assert comparison.flipped().flipped() == comparison


def test_columns_with_holes_are_left_out_and_named():
    records = [r for t in ("s/1", "s/2", "s/3") for m in "abc" for r in runs(m, 0.5, task=t)]
    records += runs("d", 0.9, task="s/1")
    (table,) = tables(records)
    (suite,) = analyze(table).suites
    assert [table.columns[k].name for k in suite.columns] == ["a", "b", "c"]
    assert len(suite.rows) == 3 and "Left out because tasks are missing: d." in suite.note
    assert "descriptive" in suite.note
    assert not analyze(tables(runs("a", 0.5) + runs("b", 0.6))[0]).suites  # one task


def test_a_suite_is_a_family_of_its_own():
    records = [r for s in ("x", "y") for m, mean in (("a", 0.5), ("b", 0.52))
               for r in runs(m, mean, task=f"{s}/1", data=s * 16)]  # fmt: skip
    found = analyze(tables(records)[0])
    assert [d.p_holm for d in found.comparisons] == [d.welch.p for d in found.comparisons]


def test_what_the_seeds_can_see():
    (table,) = tables(runs("a", 0.7) + runs("b", 0.8))
    seen = analyze(table).detectable["demo/t"]
    sd = (0.001 / 4) ** 0.5
    assert seen.n == 5 and seen.difference == pytest.approx(2.02 * sd, rel=5e-3)
    assert seen.needed > 5
    assert not analyze(tables([record("a"), record("b")])[0]).detectable


def test_grids_have_as_many_cells_as_heads():
    found = everything()
    assert len(grids(found)) == 4
    for grid in grids(found):
        assert grid.rows and {len(line) for line in grid.rows} == {len(grid.heads)}


def test_without_predictions_the_test_noise_is_named():
    found = everything()
    said = " ".join(methods(found.comparisons))
    assert "The intervals and p-values cover variation between seeds only" in said
    sized = [replace(r, task={**r.task, "n_test": 400}) for r in published()]
    said = methods(analyze(tables(sized)[0]).comparisons)
    assert "give a standard error of up to 0.0" in " ".join(said)


SCORES = [0.7012, 0.7345, 0.7123, 0.7599, 0.7401]


def scored(model, scores, task="s/1"):
    return [record(model, task, seed, score) for seed, score in enumerate(scores)]


def remarks(*groups):
    return analyze(tables([r for group in groups for r in group])[0]).remarks


def test_independent_runs_have_no_remarks():
    assert remarks(scored("a", SCORES), scored("b", [0.6113, 0.6327, 0.6051, 0.6242, 0.6198])) == ()


def test_remarks_name_the_pattern_the_model_and_the_task():
    other = scored("b", [0.6 + 0.00731 * s * s for s in range(10)])
    assert remarks(scored("a", SCORES * 2), other) == (
        "a on s/1: scores 1 to 5 repeat as scores 6 to 10",
    )
    assert remarks(scored("a", SCORES), scored("b", SCORES)) == (
        "a on s/1; b on s/1: 5 of 5 scores are identical at the same seed",
    )
    assert remarks(scored("a", SCORES), scored("a", SCORES, "s/2")) == (
        "a on s/1, s/2: 5 of 5 scores are identical at the same seed",
        "a on s/1, s/2: r = 1.000 over 5 seeds; 95 % of the largest |r| of 1 independent pairs are "
        "below 0.878",
    )
    assert remarks(scored("a", [0.7] * 5), scored("b", SCORES[:3])) == (
        "a on s/1: all 5 runs score 0.7", "all rows: numbers of seeds differ: a 5, b 3",
    )  # fmt: skip


def test_a_verdict_needs_all_of_its_conditions():
    """From records: each condition fails once while the others hold."""

    def verdict(a, b, step=0.002, n=5):
        (table,) = tables(runs("a", a, range(n), step) + runs("b", b, range(n), step))
        (found,) = analyze(table).comparisons
        return found.verdict, found.reason

    assert verdict(0.7, 0.8) == ("loss", "") and verdict(0.8, 0.7) == ("win", "")
    assert verdict(0.8, 0.7, n=4) == ("descriptive", "only (n < 5)")
    assert verdict(0.8, 0.7, step=0.1) == ("no clear difference", "")
    assert verdict(0.709, 0.7, step=1e-4) == ("no clear difference", "(difference below 0.01)")


def test_five_seeds_of_one_model_only_are_too_few():
    (table,) = tables(runs("a", 0.8, step=0.002) + runs("b", 0.7, range(4), 0.002))
    assert analyze(table).comparisons[0].verdict == "descriptive"


def test_p_is_adjusted_before_the_verdict():
    """Nine equal pairs of tasks make a p of 0.03 one of ten tests."""
    tasks = {f"s/{k}": 0.0 for k in range(9)} | {"s/9": 0.0245}
    records = [r for t, lead in tasks.items() for m, x in (("a", 0.7 + lead), ("b", 0.7))
               for r in runs(m, x, task=t)]  # fmt: skip
    found = next(d for d in analyze(tables(records)[0]).comparisons if d.row.task == "s/9")
    assert 0.01 < found.p < 0.05 < found.p_holm and found.verdict == "no clear difference"


def stored(folder, n):
    """Two models that differ by a tenth of n examples, with six seeds that nearly agree."""
    store, y = Store(folder), np.arange(n) % 2
    store.check_writable()
    rng = np.random.default_rng(0)
    for model, wrong in (("a", 0.25), ("b", 0.15)):
        hard = rng.permutation(n)  # each finds others hard
        for seed in range(6):
            miss = hard[: int(wrong * n) + seed % 2]
            said = y.copy()
            said[miss] = 1 - said[miss]
            logits = np.eye(2, dtype=np.float32)[said]
            one = record(model, seed=seed, score=mcc(y, logits))
            store.append(one, {"logits": logits, "labels": y, "ids": np.arange(n).astype(str)})
    return store


def test_few_test_examples_prevent_a_verdict(tmp_path):
    """Welch alone covers seeds only and is as certain on 80 examples as on 4,000."""
    found = {}
    for n in (80, 4000):
        store = stored(tmp_path / str(n), n)
        (table,) = tables(store)
        (found[n],) = analyze(table, Resampler(store, replicates=1000)).comparisons
        assert found[n].welch.p < 1e-4
        assert found[n].p == found[n].p_holm >= found[n].welch.p
        assert found[n].nested.value == found[n].welch.difference
    few, many = found[80], found[4000]
    assert few.verdict == "no clear difference" and few.p > 0.01 and few.nested.high > 0
    assert many.verdict == "loss" and many.nested.high < 0
    (best,) = analyze(table, Resampler(store, replicates=1000)).best
    assert best.beats_all
    store = Store(tmp_path / "80")
    found = analyze(tables(store)[0], Resampler(store, replicates=1000))
    (best,) = found.best
    assert best.p_holm < 1e-4 and not best.beats_all
    assert top_grid(found).rows[0][4] == f"no (Holm p {few.p_holm:.3f})"  # not the one beside it


def test_an_undefined_interval_prevents_a_verdict(tmp_path):
    """One replicate of the test examples has no interval, whatever Welch's p is."""
    store = stored(tmp_path, 400)
    (found,) = analyze(tables(store)[0], Resampler(store, replicates=1)).comparisons
    assert found.p_holm < 1e-4
    assert (found.verdict, found.reason) == ("no clear difference", "(95 % CI undefined)")


def test_pairs_with_one_model_only_show_no_best_of_all():
    """The two others were not compared with each other."""
    records = [r for t in ("s/1", "s/2") for m, x in (("kmer", 0.5), ("x", 0.802), ("y", 0.8))
               for r in runs(m, x, task=t, step=1e-4)]  # fmt: skip
    (table,) = tables(records)
    found = analyze(table, pairs=[(0, 1), (0, 2)])
    assert {d.verdict for d in found.comparisons} == {"loss"}
    assert not any(b.beats_all for b in found.best)


def test_runs_too_few_for_a_verdict_cost_no_power():
    """Twelve models with three seeds do not count in the Holm family of two that have ten."""
    records = runs("a", 0.65, range(10)) + runs("b", 0.6, range(10))
    alone = analyze(tables(records)[0]).comparisons[0]
    records += [r for k in range(12) for r in runs(f"c{k}", 0.5 + k / 100, range(3))]
    found = analyze(tables(records)[0])
    assert found.comparisons[0].p_holm == alone.p_holm and alone.verdict == "win"
    short = [d for d in found.comparisons if min(d.n) < 5]
    assert all(math.isnan(d.p_holm) and d.verdict == "descriptive" for d in short)
    assert "Holm-adjusted over 1 test (pairs" in " ".join(methods(found.comparisons))


def test_a_model_with_few_tasks_does_not_shrink_the_suite():
    tasks = [f"s/{k}" for k in range(18)]
    records = [r for t in tasks for m, x in (("a", 0.7), ("b", 0.6)) for r in runs(m, x, task=t)]
    records += [r for t in tasks[:2] for r in runs("c", 0.5, task=t)]
    (suite,) = analyze(tables(records)[0]).suites
    assert len(suite.rows) == 18 and len(suite.columns) == 2
    assert suite.pairs[0].p < 1e-4 and "c" in suite.note


def test_rows_of_one_task_with_two_metrics_have_names_of_their_own():
    records = runs("a", 0.7) + runs("a", 0.9, seeds=range(5, 10), metric="accuracy")
    (table,) = tables(records)
    assert [row.name for row in table.rows] == ["demo/t (accuracy)", "demo/t (mcc)"]


def test_no_spread_no_resolution():
    records = runs("a", 0.7, step=0) + runs("b", 0.8, step=0)
    assert not analyze(tables(records)[0]).detectable


def test_the_worst_standard_error_is_named():
    low = runs("a", 0.1, task="s/1") + runs("b", 0.9, task="s/1")
    sized = [replace(r, task={**r.task, "n_test": 1000}) for r in low]
    (table,) = tables(sized)
    said = " ".join(methods(analyze(table).comparisons))
    assert "up to 0.031 (s/1)" in said  # sqrt((1 - 0.1^2) / 1000), not that of 0.9
