"""Who is better over the tasks of a suite: the number, its intervals, and the sentence."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench
from scipy import stats as reference
from test_reports import record, runs

from dnabench.metrics import mcc
from dnabench.reports import stats
from dnabench.reports.analysis import analyze
from dnabench.reports.columns import TUNED
from dnabench.reports.evidence import Report
from dnabench.reports.families import Families
from dnabench.reports.render import compare_text, render
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.captions import caption
from dnabench.reports.text.findings import shared_grids, suite_caption
from dnabench.reports.text.leads import lead_sentences
from dnabench.reports.text.summary import summary_sentences
from dnabench.results.store import Store

D, SE, DF = [0.02, 0.05, 0.03, 0.04], [0.01, 0.02, 0.01, 0.015], [8.0, 6.0, 9.0, math.inf]


def analyzed(records, **other):
    (table,) = tables(records)
    return analyze(table, **other)


def suite(models, tasks, families=(), n=5, step=0.004, **other):
    """Records of models whose means differ on every task by the same."""
    families = families or [""] * len(tasks)
    rng = np.random.default_rng(3)
    return [
        one for k, (t, f) in enumerate(zip(tasks, families, strict=True))
        for m, mean in models.items()
        for one in runs(m, mean + 0.01 * k + rng.normal(0, 0.002), range(n), step, task=t,
                        family=f, **other)
    ]  # fmt: skip


TASKS = [f"s/t{k}" for k in range(8)]


# --- the numbers ---------------------------------------------------------------------------------


def test_independent_tasks_are_averaged_as_satterthwaite_says():
    found = stats.lead(D, SE, DF, list("abcd"))
    v = np.array(SE) ** 2 / 16
    df = v.sum() ** 2 / sum(x**2 / f for x, f in zip(v, DF, strict=True))
    assert found.value == pytest.approx(0.035) and found.se == pytest.approx(math.sqrt(v.sum()))
    assert found.df == pytest.approx(df)
    low, high = reference.t.interval(0.95, df, 0.035, math.sqrt(v.sum()))
    assert found[1:3] == pytest.approx((low, high))
    assert found.p == pytest.approx(2 * reference.t.sf(0.035 / math.sqrt(v.sum()), df))
    exact = stats.lead(D, SE, [math.inf] * 4, list("abcd"))
    assert exact.p == pytest.approx(2 * reference.norm.sf(0.035 / math.sqrt(v.sum())))
    assert exact[1:3] == pytest.approx(reference.norm.interval(0.95, 0.035, math.sqrt(v.sum())))
    assert stats.lead([-d for d in D], SE, DF, list("abcd")) == found.flipped()


def test_the_errors_of_a_family_are_added_up():
    one = stats.lead(D, [0.01] * 4, [8.0] * 4, ["f"] * 4)
    assert (one.se, one.df) == (pytest.approx(0.01), pytest.approx(8))
    two = stats.lead(D, [0.01] * 4, [8.0] * 4, list("ffgg"))
    assert (two.se, two.df) == (pytest.approx(0.01 / math.sqrt(2)), pytest.approx(16))


def test_families_can_count_alike():
    found = stats.lead(D, SE, DF, list("fffg"), equal=True)
    assert found.value == pytest.approx((np.mean(D[:3]) + D[3]) / 2)
    assert found.se == pytest.approx(math.hypot(np.mean(SE[:3]) / 2, SE[3] / 2))
    by_task = stats.lead(D, SE, DF, list("fffg"))
    assert by_task.value == pytest.approx(np.mean(D))
    assert by_task.se == pytest.approx(math.hypot(sum(SE[:3]) / 4, SE[3] / 4))


def test_tasks_drawn_again_are_students_interval_of_the_families():
    found = stats.like_these(D, list("abcd"))
    low, high = reference.t.interval(0.95, 3, np.mean(D), reference.sem(D))
    assert found == (pytest.approx(0.035), pytest.approx(low), pytest.approx(high), 4)
    two = stats.like_these(D, list("fffg"))
    means = [np.mean(D[:3]), D[3]]
    low, high = reference.t.interval(0.95, 1, np.mean(means), reference.sem(means))
    assert two == (pytest.approx(np.mean(means)), pytest.approx(low), pytest.approx(high), 2)
    one = stats.like_these(D, ["f"] * 4)
    assert one.families == 1 and math.isnan(one.low) and one.value == pytest.approx(0.035)


def test_what_is_undefined_has_no_p():
    assert math.isnan(stats.lead(D, [0.0] * 4, DF, list("abcd")).p)
    assert math.isnan(stats.lead(D, [math.nan, *SE[1:]], DF, list("abcd")).low)
    with pytest.raises(ValueError, match="4 differences, 3 errors"):
        stats.lead(D, SE[1:], DF, list("abcd"))
    with pytest.raises(ValueError, match="0 differences, 0 errors"):
        stats.lead([], [], [], [])


def test_the_other_way_round():
    (pair,) = analyzed(suite({"a": 0.7, "b": 0.6}, TASKS)).suites[0].pairs
    turned = pair.flipped()
    assert turned.lead.value == -pair.lead.value and turned.lead.low == -pair.lead.high
    assert turned.like_these.high == -pair.like_these.low and turned.flipped() == pair
    assert turned.like_these.value == -pair.like_these.value


# --- the sentence --------------------------------------------------------------------------------


def first(records):
    return summary_sentences(analyzed(records))[0]


def test_it_is_the_first_sentence_and_says_by_how_much():
    found = analyzed(suite({"a": 0.7, "b": 0.6, "c": 0.697}, TASKS, step=0.02))
    said = summary_sentences(found)
    assert said[0].startswith("a is better than b by 0.1") and " over 8 tasks (5 seeds, " in said[0]
    assert "Holm over 3 pairs of models); over tasks like these the interval is [0.0" in said[0]
    assert said[1].startswith("It is not clearly better than c (0.00")
    assert any(x.startswith("On single tasks (Holm over 24 tests): 8 wins, 0 losses, 8 undecided")
               for x in said)  # fmt: skip


def test_near_copies_of_one_data_set_are_one_piece_of_evidence():
    """Eight tasks that each say nothing say nothing together, unless they are independent."""

    def found(families):
        records = suite({"a": 0.605, "b": 0.6, "c": 0.604}, TASKS, families, step=0.006)
        evidence = analyzed(records)
        assert {d.p_holm for d in evidence.comparisons} == {1.0}
        return evidence.suites[0], lead_sentences(evidence, evidence.suites[0])

    copies, said = found(["f"] * 8)
    assert said[0].startswith("No model is clearly the best over 8 tasks")
    assert not any("is better than" in text for text in said)
    independent, said = found([])
    assert said[0].startswith("a is better than b by 0.00")
    assert min(p.p_claim for p in independent.pairs) < 0.05 < min(p.p_claim for p in copies.pairs)


def test_one_family_says_nothing_of_other_tasks():
    said = first(suite({"a": 0.7, "b": 0.6}, TASKS, ["f"] * 8))
    assert said.endswith("; these are of one family, so nothing is said of other tasks.")


def test_one_seed_claims_nothing_and_has_no_interval():
    evidence = analyzed(suite({"a": 0.7, "b": 0.6}, TASKS, n=1))
    said = summary_sentences(evidence)
    assert said[0] == (
        "Nothing is claimed over 8 tasks, since a model has 1 seed and a claim needs 5: a scores "
        "above b by 0.100 MCC."
    )
    assert math.isnan(evidence.suites[0].pairs[0].lead.low)
    assert not any("CI" in text or "seeds again" in text or "separable" in text for text in said)


def test_four_seeds_claim_nothing_beside_five():
    records = suite({"a": 0.7, "b": 0.6}, TASKS) + suite({"c": 0.5}, TASKS, n=4)
    found = analyzed(records)
    said = lead_sentences(found, found.suites[0])
    assert said[0].startswith("a is better than b by") and "of models" not in said[0]
    assert said[-1] == "Not tested against c: fewer than 5 seeds (as few as 4)."


def test_metrics_are_never_averaged():
    half = suite({"a": 0.7, "b": 0.6}, TASKS[:4]) + suite({"a": 0.3, "b": 0.1}, TASKS[4:],
                                                          metric="r2")  # fmt: skip
    found = analyzed(half)
    (pair,) = found.suites[0].pairs
    assert math.isnan(pair.lead.value) and math.isnan(pair.leads["other"])
    assert first(half) == (
        "The metrics differ (MCC and R2), so 8 tasks give no mean difference: a has the best mean "
        "rank (1.00 of 2)."
    )
    assert pair.p_claim == pytest.approx(2 / 2**8)
    families = suite({"a": 0.7, "b": 0.6}, TASKS[:4], list("ffgg"))
    families += suite({"a": 0.3, "b": 0.1}, TASKS[4:], list("hhii"), metric="r2")
    (pair,) = analyzed(families).suites[0].pairs
    assert math.isnan(pair.p_claim)  # four families: a test of ranks needs six
    assert "would need 5 seeds and 6 families" in " ".join(summary_sentences(analyzed(families)))


def test_most_tasks_of_one_metric_are_enough():
    mixed = suite({"a": 0.7, "b": 0.6}, TASKS[:5]) + suite({"a": 0.9, "b": 0.1}, TASKS[5:],
                                                           metric="f1_macro")  # fmt: skip
    assert "over the 5 of 8 tasks whose metric is MCC (5 seeds)" in first(mixed)
    assert analyzed(mixed).suites[0].pairs[0].lead.value == pytest.approx(0.1, abs=0.01)


def test_a_small_lead_hardly_matters():
    said = summary_sentences(analyzed(suite({"a": 0.606, "b": 0.6}, TASKS, step=1e-3)))
    assert said[1] == "The lead over b is below 0.01 MCC, which hardly matters."


def test_many_rivals_are_counted():
    models = {f"m{k}": 0.5 + k / 50 for k in range(9)}
    said = first(suite(models, TASKS))
    assert said.count(" by ") == 3 and said.count("m") < 20 and "than 5 other models" in said
    assert said.startswith("m8 is better than m7 by 0.0")


def test_ranks_that_turn_over_families_name_no_winner():
    """a leads on 12 tasks of one family, b in 11 of 12 families, and Wilcoxon's p is b's."""
    many, few = [f"s/m{k}" for k in range(12)], [f"s/o{k}" for k in range(11)]
    half = suite({"a": 0.7, "b": 0.6}, many, ["f"] * 12) + suite({"a": 0.6, "b": 0.7}, few,
                                                                 metric="r2")  # fmt: skip
    half = [r for r in half if r.trial.task != "s/m11"]
    half += suite({"a": 0.7, "b": 0.6}, ["s/z"], ["f"], metric="f1_macro")
    found = analyzed(half)
    (pair,) = found.suites[0].pairs
    assert pair.p_claim < 0.05 and (pair.ranks_above, pair.flipped().ranks_above) == (-1, 1)
    said = " ".join(lead_sentences(found, found.suites[0]))
    assert "a has the best mean rank" in said and "It ranks above" not in said
    assert "It is not shown to rank above b. Its lead over b changes sign when every family" in said
    straight = suite({"a": 0.7, "b": 0.6}, TASKS[:4]) + suite({"a": 0.3, "b": 0.1}, TASKS[4:],
                                                              metric="r2")  # fmt: skip
    assert "It ranks above b (Wilcoxon" in " ".join(summary_sentences(analyzed(straight)))


def test_nothing_is_claimed_over_metrics_that_may_be_losses():
    half = suite({"a": 0.7, "b": 0.6}, TASKS[:4], metric="medae")
    half += suite({"a": 0.7, "b": 0.6}, TASKS[4:], metric="mae")
    found = analyzed(half)
    assert math.isnan(found.suites[0].pairs[0].p_claim)
    (said,) = lead_sentences(found, found.suites[0])
    assert said.startswith(
        "Nothing is said over tasks. Metrics unknown to this version: medae and mae;"
    )


def test_an_interval_below_0_does_not_hold_0():
    many, few = TASKS + [f"s/m{k}" for k in range(8)], [f"s/o{k}" for k in range(7)]
    one = suite({"a": 0.7, "b": 0.6}, many, ["f"] * 16) + suite({"a": 0.6, "b": 0.7}, few)
    (pair,) = analyzed(one).suites[0].pairs
    assert pair.lead.low > 0 > pair.like_these.high
    assert "; over tasks like these b is ahead: [-0." in first(one)
    three = one + suite({"c": 0.3}, many, ["f"] * 16) + suite({"c": 0.3}, few)
    assert "than b by" in first(three) and "over tasks like these b is ahead." in first(three)


# --- where it stands -----------------------------------------------------------------------------


def test_every_format_has_it():
    found = analyzed(suite({"a": 0.7, "b": 0.6, "c": 0.5}, TASKS, list("ffgghhii")))
    report, by_pair = Report(evidence=(found,)), {(p.i, p.j): p for p in found.suites[0].pairs}
    pair = by_pair[0, 1]
    lines = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    (line,) = {tuple(x[k] for k in ("best_over_tasks", "lead_of_best", "lead_low", "lead_p_holm",
                                    "like_high")) for x in lines if x["model"] == "b"}  # fmt: skip
    numbers = pair.lead.value, pair.lead.low, pair.p_claim, pair.like_these.high
    assert line[0] == "a" and tuple(map(float, line[1:])) == numbers
    assert {x["lead_of_best"] for x in lines if x["model"] == "a"} == {""}
    document = json.loads(render(report, "json"))
    told = next(x for x in document["over_tasks"] if (x["a"], x["b"]) == ("a", "b"))
    assert (told["difference"], told["low"], told["p_holm"], told["families"]) == (
        pair.lead.value, pair.lead.low, pair.p_claim, 4,
    )  # fmt: skip
    assert (told["tasks"], told["metric"], told["seeds"]) == (8, "mcc", 5)
    assert len(document["cells"]) == 24 and len(document["comparisons"]) == 24
    for fmt in ("md", "html"):
        assert "a is better than b by 0.1" in render(report, fmt)


def test_compare_begins_with_it():
    text = compare_text(suite({"a": 0.7, "b": 0.6, "c": 0.5}, TASKS), "b", "a")
    assert text.split("\n\n")[2].startswith("a is better than b by 0.10")


def test_a_difference_that_no_single_task_shows(tmp_path):
    """0.03 MCC on all of eight tasks, five seeds, 500 test examples each."""
    store, rng, y = Store(tmp_path), np.random.default_rng(2), np.arange(500) % 2
    store.check_writable()
    for task in TASKS:
        shared = rng.normal(0, math.sqrt(0.3), 500)
        for model, skill in (("a", 1.17), ("b", 1.10)):
            own = rng.normal(0, math.sqrt(0.5), 500)
            for seed in range(5):
                x = (2 * y - 1) * skill + shared + own + rng.normal(0, math.sqrt(0.2), 500)
                logits = np.stack([np.zeros(500), x], 1).astype(np.float32)
                one = record(model, task, seed, mcc(y, logits))
                store.append(
                    one, {"logits": logits, "labels": y, "ids": np.arange(500).astype(str)}
                )
    found = analyzed(store, resampler=Resampler(store, replicates=500))
    assert not any(d.verdict == "win" for d in found.comparisons)
    (pair,) = found.suites[0].pairs
    assert pair.p_claim < 0.05 and pair.lead.low > 0
    assert summary_sentences(found)[0].startswith("a is better than b by 0.0")


def test_pairs_on_shared_tasks_are_offered_where_a_model_lacks_some():
    records = suite({"a": 0.7, "b": 0.6}, TASKS) + suite({"c": 0.5}, TASKS[:3])
    (grid,) = shared_grids(analyzed(records))
    assert [line[:3] for line in grid.rows] == [["a", "b", "8"], ["a", "c", "3"], ["b", "c", "3"]]
    found = analyzed([r for r in records if r.trial.model != "b" and r.trial.task in TASKS[:3]])
    (pair,) = found.suites[0].pairs
    assert grid.rows[1][3] == f"+{pair.lead.value:.4f}"
    assert not shared_grids(analyzed(suite({"a": 0.7, "b": 0.6, "c": 0.5}, TASKS)))
    report = Report(evidence=(analyzed(records),))
    for fmt in ("md", "html"):
        assert "Pairs on shared tasks of s" in render(report, fmt)


def test_copies_of_a_column_count_once_over_shared_tasks_too():
    records = suite({"a": 0.7, "b": 0.696}, TASKS) + suite({"c": 0.69}, TASKS[:3])
    copies = [replace(r, flags={TUNED: "2"}) for r in records if r.trial.model == "a"]
    (plain,), (grid,) = (shared_grids(analyzed(found)) for found in (records, records + copies))
    found = {tuple(line[:2]): line[2:] for line in grid.rows}
    assert len(plain.rows) == 3 and len(found) == 6
    assert [line for line in grid.rows if "a tuned" not in line[:2]] == plain.rows
    assert found["a tuned", "b"] == found["a", "b"]
    assert found["a", "a tuned"][-1] == "–"  # there is nothing to test


def test_anybodys_table_of_runs_gets_the_same_sentence(tmp_path):
    records = suite({"a": 0.7, "b": 0.6}, TASKS)
    lines = ["task,model,seed,value"] + [
        f"{r.trial.task},{r.trial.model},{r.trial.seed},{100 * r.scores['test']['mcc']!r}"
        for r in records
    ]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    done = dnabench("audit", "tables", tmp_path / "runs.csv")
    assert done.returncode == 0, done.stderr
    ours = first(records).replace("MCC", "(fraction)")
    assert "## Which model is better" in done.stdout and f"- {ours}" in done.stdout


# --- runs without a score ------------------------------------------------------------------------


def constant(model, task, seeds=(8, 9)):
    """Runs that predict a constant, which has no Pearson r."""
    return [
        record(model, seed=s, task=task, metric="pearson", scores={"test": {"rmse": 1.0}},
               flags={"collapsed": True}) for s in seeds
    ]  # fmt: skip


def test_a_model_with_undefined_runs_wins_neither_a_task_nor_the_suite():
    good = suite({"a": 0.7, "b": 0.6}, TASKS, metric="pearson")
    assert first(good).startswith("a is better than b by 0.1")
    found = analyzed([*good, *constant("a", TASKS[0])])
    verdicts = {d.row.name: d.verdict_text for d in found.comparisons}
    assert verdicts.pop(TASKS[0]) == (
        "no clear difference (the better mean leaves out 2 undefined)"
    )
    assert set(verdicts.values()) == {"win"} and not found.best[0].beats_all
    said = summary_sentences(found)
    assert said[0].startswith("No model is clearly the best over 8 tasks")
    assert "the better mean leaves out 2 undefined runs)" in said[0]
    assert "Runs: 2 undefined (excluded: no value of the metric on test)." in said
    assert "every test here, leave out 2 undefined runs; a model" in suite_caption(found.suites[0])
    assert "excluded from the mean, bold or not." in " ".join(caption(found.table))
    (pair,) = found.suites[0].pairs
    assert pair.undefined == (2, 0) and pair.flipped().undefined == (0, 2)
    declared = analyzed(
        [*good, *constant("a", TASKS[0])], families=Families(declared=((0, 1),))
    ).comparisons[0]
    assert declared.declared and declared.verdict == "no clear difference"


def test_undefined_runs_of_the_model_behind_save_it_from_nothing():
    good = suite({"a": 0.7, "b": 0.6}, TASKS, metric="pearson")
    found = analyzed([*good, *constant("b", TASKS[0])])
    assert {d.verdict for d in found.comparisons} == {"win"}
    assert first([*good, *constant("b", TASKS[0])]).startswith("a is better than b by 0.1")


def test_a_model_with_undefined_runs_is_not_shown_to_rank_above():
    both = suite({"a": 0.7, "b": 0.6}, TASKS[:4], metric="pearson") + suite(
        {"a": 0.3, "b": 0.1}, TASKS[4:], metric="r2"
    )
    assert "It ranks above b (Wilcoxon" in " ".join(summary_sentences(analyzed(both)))
    found = analyzed([*both, *constant("a", TASKS[0])])
    said = " ".join(lead_sentences(found, found.suites[0]))
    assert "It ranks above" not in said and said.endswith("It is not shown to rank above b.")
