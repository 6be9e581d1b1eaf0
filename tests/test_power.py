"""What a verdict can see: seeds, test examples and the Holm family counted; before and after."""

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import dnabench
from test_analysis import stored
from test_reports import record, runs
from test_stats_tasks import stats

from dnabench.forecast.detect import detect
from dnabench.metrics import mcc
from dnabench.reports.analysis import analyze
from dnabench.reports.families import Families
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.findings import top_grid
from dnabench.reports.text.summary import summary_sentences


def test_the_test_examples_count():
    """Simulated: both conditions of a verdict at the difference that is said to be seen."""
    rng, n, sd, error, alpha = np.random.default_rng(0), 10, 0.02, 0.015, 0.05 / 24
    seen = stats.detectable(sd, sd, n, alpha, error=error)
    assert seen > 1.5 * stats.detectable(sd, sd, n)
    a = rng.normal(seen, sd, (4000, n)) + rng.normal(0, error, (4000, 1))
    b = rng.normal(0, sd, (4000, n))
    v = (a.var(1, ddof=1) + b.var(1, ddof=1)) / n
    t = np.abs(a.mean(1) - b.mean(1)) / np.sqrt(v + error**2)
    from scipy.stats import t as student

    df = (v + error**2) ** 2 * (n - 1) / (v**2 / 2)
    assert np.mean(2 * student.sf(t, df) < alpha) == pytest.approx(0.8, abs=0.03)


def test_no_number_of_seeds_may_be_enough():
    assert stats.out_of_reach(0.01, 0.01) and not stats.out_of_reach(0.03, 0.01)
    assert not stats.out_of_reach(0.01, 0.0)
    assert stats.seeds_needed(0.01, 0.01, 0.01, error=0.01) == 0
    few = stats.seeds_needed(0.01, 0.01, 0.03, error=0.01)
    assert few > stats.seeds_needed(0.01, 0.01, 0.03) > 1
    assert stats.detectable(0.01, 0.01, few, error=0.01) <= 0.03 * (1 + 1e-9)
    # z(0.975) + z(0.8) = 2.8016 standard errors, so 785 examples bring 0.01 down to 0.01 / 2.8016
    assert stats.examples_needed(0.01, 0.01, 100) == math.ceil(100 * 2.8015852**2)


@pytest.mark.parametrize("sd", [(0.0178, 0.0146), (0.1, 0.2), (0.0031, 0.012), (0.002, 0.0)])
@pytest.mark.parametrize("difference", [0.0359, 0.0536, 0.3, 1.0])
@pytest.mark.parametrize("error", [0.0, 0.003])
def test_no_fewer_seeds_have_the_power(sd, difference, error):
    """As many seeds see the difference, and one less does not, by the inverse function."""
    found = stats.seeds_needed(*sd, difference, error=error)
    if found:
        assert stats.detectable(*sd, found, error=error) <= difference * (1 + 1e-9)
    if found > 2:
        assert stats.detectable(*sd, found - 1, error=error) > difference


def test_the_report_says_what_verdicts_see(tmp_path):
    store = stored(tmp_path, 400)
    (table,) = tables(store)
    found = analyze(table, Resampler(store, replicates=500))
    seen = found.detectable["demo/t"]
    assert seen.error > 0.01 and seen.tests == 1 and seen.hopeless
    assert seen.difference > 3 * stats.detectable(0.002, 0.002, 6)
    said = next(x for x in summary_sentences(found) if x.startswith("A verdict sees"))
    assert f"differences of {seen.difference:.3f} MCC with 80 % power" in said
    assert "6 seeds, 1 test, test examples counted" in said


def test_what_these_examples_cannot_show_is_said(tmp_path):
    store = stored(tmp_path, 80)
    records = [replace(r, task={**r.task, "n_test": 80}) for r in store]
    (table,) = tables(records)
    found = analyze(table, Resampler(store, replicates=500))
    said = " ".join(summary_sentences(found))
    assert "; 0.01 cannot be detected with these 80 test examples." in said
    assert top_grid(found).rows[0][-1] == "not with these 80 examples for 0.01"


def test_more_tests_see_less():
    def seen(models):
        (table,) = tables([r for k in range(models) for r in runs(f"m{k}", 0.5)])
        return analyze(table).detectable["demo/t"]

    assert seen(5).tests == 10 and seen(5).difference > 1.2 * seen(2).difference


def three_on(a, b, c):
    """The table of three models, each on some of the tasks s/1, s/2 and s/3."""
    means = ("a", 0.5, a), ("b", 0.6, b), ("c", 0.62, c)
    (table,) = tables([r for m, x, on in means for k in on for r in runs(m, x, task=f"s/{k}")])
    return table


def test_a_task_of_one_model_has_no_verdict_to_see_anything():
    """Its only model has no family of tests, so it would see more than any task that is tested."""
    found = analyze(three_on("123", "12", "12"))
    assert {k: x.tests for k, x in found.detectable.items()} == {"s/1": 6, "s/2": 6}
    (said,) = [x for x in summary_sentences(found) if x.startswith("A verdict sees")]
    size = found.detectable["s/1"].difference
    assert said.startswith(
        f"A verdict sees differences of {size:.3f} MCC with 80 % power (5 seeds, "
    )
    assert ", 6 tests," in said


def test_chosen_pairs_see_what_the_whole_table_sees():
    table = three_on("123", "123", "12")
    chosen = analyze(table, families=Families(asked=((2, 0), (2, 1))))
    assert chosen.detectable == analyze(table).detectable and len(chosen.detectable) == 3
    (said,) = [x for x in summary_sentences(chosen) if x.startswith("A verdict sees")]
    assert ", 7 tests," in said and " to 0." not in said
    declared = analyze(table, families=Families(asked=((2, 0),), declared=((2, 0),)))
    tests = {k: x.tests for k, x in declared.detectable.items()}
    assert tests == {"s/1": 2, "s/2": 2, "s/3": 7}
    (said,) = [x for x in summary_sentences(declared) if x.startswith("A verdict sees")]
    assert ", 2 tests," in said and " to 0." not in said  # t3 has none of the pair


def test_tiny_test_sets_are_no_sign_of_fabrication():
    """20 examples: a score takes few values, so independent seeds often repeat."""
    rng, named, blind, y = np.random.default_rng(4), 0, 0, np.arange(20) % 2
    for _ in range(20):
        records = []
        for task in (f"s/t{k}" for k in range(8)):
            hard = rng.normal(0, 0.7, 20)
            for model, seed in product("ab", range(10)):
                right = 1.6 + hard + rng.normal(0, 0.7, 20) > 0
                x = mcc(y, np.eye(2)[np.where(right, y, 1 - y)])
                records.append(record(model, task, seed, 0.0 if math.isnan(x) else x))
        (table,) = tables([replace(r, task={**r.task, "n_test": 20}) for r in records])
        (unsized,) = tables(records)
        named += bool(analyze(table).remarks)
        blind += bool(analyze(unsized).remarks)
    assert named <= 3 < 9 < blind


def test_plan_says_whether_a_difference_can_be_seen():
    words = ("plan", "-s", "demo", "-m", "kmer,cnn", "--seeds", "10")
    done = dnabench(*words, "--detect", "0.03")
    assert done.returncode == 0, done.stderr
    line = next(x for x in done.stdout.splitlines() if x.startswith("demo/splice_junctions"))
    assert "hopeless: needs 3," in line and "600" in line
    assert "over the 2 tasks of demo" in done.stdout and "0.7 MCC" in done.stdout
    found = json.loads(dnabench(*words, "--detect", "0.2", "--json").stdout)
    assert [one["seeds"] for one in found] == [5, 5, 5]
    assert dnabench(*words, "--detect", "2").returncode == 2
    alone = dnabench("plan", "-s", "demo", "-m", "kmer", "--detect", "0.1")
    assert alone.returncode == 2 and "nothing to compare" in alone.stderr


def test_plan_and_verdicts_use_one_rule():
    from dnabench.sweep.grid import Request, grid
    from dnabench.sweep.tasks import tasks_of

    request = Request(models=["kmer", "cnn"], tasks=["demo/splice_junctions"], seeds="10")
    tasks = {t.name: t for t in tasks_of(request)}
    (one,) = detect(grid(request), lambda job: tasks[job.trial.task], 0.1)
    error = math.sqrt(2 * 0.3 * 0.51 / 600)
    assert one.least == pytest.approx(stats.detectable(0.011, 0.011, 10, error=error))
    assert one.seeds == stats.seeds_needed(0.011, 0.011, 0.1, error=error) or one.seeds == 5
