"""Declared pairs and chosen ones: which tests a p is adjusted for; variants chosen on test."""

import json
import math
from dataclasses import replace

import pytest
from conftest import dnabench
from test_leads import TASKS, suite
from test_reports import record, runs

from dnabench.reports import stats
from dnabench.reports.analysis import analyze
from dnabench.reports.cells import first_alike
from dnabench.reports.families import Families, declared_pairs
from dnabench.reports.render import compare_text, render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.captions import caption
from dnabench.reports.text.findings import top_grid
from dnabench.reports.text.leads import lead_sentences
from dnabench.reports.text.methods import decision_rule
from dnabench.reports.text.summary import summary_sentences
from dnabench.results.store import Store
from dnabench.types import Recipe

# a beats b with p = .02: a win alone, nothing among three pairs
NEAR = runs("a", 0.7295, step=0.01) + runs("b", 0.7, step=0.01) + runs("c", 0.72, step=0.01)


def only(records):
    (table,) = tables(records)
    return table


def test_a_pair_chosen_after_the_table_keeps_the_familys_p():
    full = {(d.i, d.j): d for d in analyze(only(NEAR)).comparisons}
    (d,) = analyze(only(NEAR), families=Families(asked=((0, 1),))).comparisons
    assert 0.005 < d.p < 0.05 < d.p_holm == full[0, 1].p_holm and d.tests == 3
    assert (d.verdict, d.other.verdict) == ("no clear difference", "win")
    assert (d.other.p_holm, d.other.tests) == (d.p, 1) and not d.declared
    assert d.verdict == full[0, 1].verdict  # compare says what the report says


def test_compare_prints_both_and_says_which_holds():
    text = compare_text(NEAR, "b", "a")
    (d,) = analyze(only(NEAR), families=Families(asked=((1, 0),))).comparisons
    assert d.welch.difference < 0 and d.other.verdict == "loss"
    assert (
        "No pair was declared before results existed, so the verdicts count all 3 tests of the "
        "table; had it been declared, as 1 test, b v a on demo/t would be a loss "
        f"(p = {d.p:.3f}, here {d.p_holm:.3f})."
    ) in text
    heads = next(x for x in text.splitlines() if x.startswith("| task"))
    assert "Holm p: all pairs" in heads and "Holm p: declared pair" in heads
    line = next(x for x in text.splitlines() if x.startswith("| demo/t"))
    assert f"| {d.p_holm:.3f} " in line and "no clear difference" in line
    assert "Holm-adjusted over all 3 tests" in text and "Friedman" not in text


def test_a_declared_pair_has_a_family_of_its_own(tmp_path):
    table = only(NEAR)
    pairs = declared_pairs(table, [("a", "b")])
    found = analyze(table, families=Families(declared=pairs))
    by = {(d.i, d.j): d for d in found.comparisons}
    d = by[0, 1]
    assert (d.verdict, d.tests, d.declared, d.p_holm) == ("win", 1, True, d.p)
    assert (d.other.verdict, d.other.tests) == ("no clear difference", 3)
    assert by[0, 2].other is None and by[0, 2].tests == 3
    said = summary_sentences(found)
    assert any("a and b were declared before results existed: p of these is" in x for x in said)
    assert "over the 1 test of pairs declared before" in " ".join(decision_rule(found.comparisons))
    assert "declared, " not in " ".join(said)
    text = compare_text(NEAR, "a", "b", declared=[("a", "b")])
    assert "| win " in text and "No pair was declared" not in text


def test_leads_over_tasks_follow_the_same_families():
    records = suite({"a": 0.605, "b": 0.6, "c": 0.604}, TASKS, step=0.009)
    table = only(records)
    raw = {(p.i, p.j): p for p in analyze(table).suites[0].pairs}
    assert raw[0, 1].p_raw < raw[0, 1].p_claim
    (asked,) = analyze(table, families=Families(asked=((1, 0),))).suites[0].pairs
    assert (asked.p_claim, asked.p_claim_other) == (raw[0, 1].p_claim, raw[0, 1].p_raw)
    assert asked.lead.value == -raw[0, 1].lead.value
    declared = analyze(table, families=Families(declared=((0, 1),))).suites[0]
    pair = declared.between(0, 1)
    assert (pair.p_claim, pair.p_claim_other) == (raw[0, 1].p_raw, raw[0, 1].p_claim)


def test_the_first_sentence_names_the_family_that_its_p_is_of():
    means = {"a": 0.6, "b": 0.604, "c": 0.608, "d": 0.603}
    table = only(suite(means, TASKS, step=0.009))

    def said(**families):
        found = analyze(table, families=Families(**families)).suites[0]
        pairs = {p.pairs_tested for p in found.pairs}
        (first, *_) = lead_sentences(analyze(table, families=Families(**families)), found)
        return pairs, first.partition("(5 seeds")[2].partition(")")[0]

    assert said() == ({6}, ", Holm over 6 pairs of models")
    against = ((2, 0), (2, 1), (2, 3))
    assert said(asked=against) == said()
    one, two = ((2, 1),), ((2, 1), (2, 3))
    assert said(declared=one) == ({1, 6}, ", Holm over 6 pairs of models or the 1 declared")
    assert said(declared=two) == ({2, 6}, ", Holm over 6 pairs of models or the 2 declared")
    assert said(asked=two, declared=two) == ({2}, ", Holm over 2 pairs of models")
    assert said(asked=one, declared=one) == ({1}, "")
    flat = analyze(only(suite(means, TASKS, step=0)))  # nothing is tested
    assert "Holm" not in lead_sentences(flat, flat.suites[0])[0]


# --- better than every other ----------------------------------------------------------------------


def best_cell(records, **families):
    found = analyze(only(records), families=Families(**families))
    return top_grid(found).rows[0][4], found


def test_the_best_of_all_is_judged_by_pairs_that_are_not_shown():
    records = runs("a", 0.80) + runs("b", 0.77) + runs("c", 0.768)
    said, found = best_cell(records, asked=((2, 0), (2, 1)))
    assert len(found.comparisons) == 2 and said == best_cell(records)[0] == "yes"
    first = summary_sentences(found)[0]
    assert first == "a is better than every other model on demo/t."
    near, found = best_cell(NEAR, asked=((2, 1),))  # a is in no pair that is shown
    assert near == best_cell(NEAR)[0] != "yes" and near.startswith("no (Holm p 0.")


def test_the_reason_against_a_best_of_all_is_the_p_of_its_verdict():
    records = runs("a", 0.8) + runs("b", 0.78) + runs("c", 0.764)
    said, found = best_cell(records, declared=((0, 1),))
    (declared,) = [d for d in found.comparisons if d.declared]
    assert 0.05 < declared.p_holm < declared.other.p_holm
    assert said == f"no (Holm p {declared.p_holm:.3f})"
    (note,) = top_grid(found).notes
    assert "or the Holm p of the least certain" in note and "all pairs" not in note


def test_without_variation_nothing_is_said_of_the_best():
    said, _ = best_cell(runs("a", 0.8, step=0) + runs("b", 0.7, step=0) + runs("c", 0.6))
    assert said == "descriptive only (no variation between seeds)"


def test_run_declares_before_results_exist_and_only_then(tmp_path):
    words = ("run", "-m", "kmer,majority", "-t", "demo/splice_junctions", "--seeds", "1",
             "--limit", "60", "--out", tmp_path)  # fmt: skip
    wrong = dnabench(*words, "--declare", "kmer>cnn")
    assert wrong.returncode == 2 and "two models of this run as 'a>b'" in wrong.stderr
    assert not Store(tmp_path).declared()
    done = dnabench(*words, "--declare", "kmer>majority")
    assert done.returncode == 0, done.stderr
    assert Store(tmp_path).declared() == [("kmer", "majority")]
    again = dnabench(*words, "--declare", "kmer>majority")  # the same command goes on
    assert again.returncode == 0 and "0 ran" in again.stdout
    late = dnabench(*words, "--declare", "majority>kmer")
    assert late.returncode == 2 and "already has results of both" in late.stderr
    assert Store(tmp_path).declared() == [("kmer", "majority")]


def test_the_report_reads_what_was_declared(tmp_path):
    store = Store(tmp_path)
    for one in NEAR:
        store.append(one)
    (plain,) = report(list(store), store, Resampler(store)).evidence
    assert not any(d.declared for d in plain.comparisons)
    store.save_config({"argv": ["run"], "declared": [["a", "b"]]})
    (tmp_path / "configs" / "odd.json").write_text(json.dumps({"declared": 3}))
    (found,) = report(list(store), store, Resampler(store)).evidence
    assert [d.declared for d in found.comparisons].count(True) == 1


def test_chosen_pairs_are_no_more_often_false():
    """The p that compare uses is the report's, whatever pair is asked for."""
    table = only([r for k in range(4) for r in runs(f"m{k}", 0.5 + k / 100, step=0.008)])
    full = {(d.i, d.j): d.verdict for d in analyze(table).comparisons}
    for pair, verdict in full.items():
        (d,) = analyze(table, families=Families(asked=(pair,))).comparisons
        assert d.verdict == verdict and d.other.p_holm <= d.p_holm


# --- variants -------------------------------------------------------------------------------------


def swept(**other):
    return [r for k, x in ((0.0001, 0.6), (0.0003, 0.7), (0.001, 0.75), (0.01, 0.65))
            for r in runs("net", x, options={"lr": k}, **other)]  # fmt: skip


def test_options_sort_as_numbers():
    mixed = [record("net", options={"lr": x}) for x in (0.0001, 0.001, 0.01, 0.0003, 1e-5, 2)]
    names = [c.label for c in only(mixed).columns]
    assert [x.partition("=")[2] for x in names] == ["1e-05", "0.0001", "0.0003", "0.001", "0.01",
                                                    "2"]  # fmt: skip


def test_the_best_of_variants_was_chosen_on_test():
    records = swept() + runs("plain", 0.5)
    table = only(records)
    assert [c.variants for c in table.columns] == [4, 4, 4, 4, 1]
    assert "chosen after seeing test" in " ".join(caption(table))
    text = render(report_of(records), "md")
    assert "**0.750 ± 0.016‡**" in text and text.count("‡") == 2  # and its note
    assert "‡" in render(report_of(records), "html")
    assert r"\textbf{0.750 $\pm$ 0.016$\ddagger$}" in render(report_of(records), "latex")
    assert render(report_of(records), "csv")
    alone = render(report_of(runs("net", 0.7) + runs("plain", 0.5)), "md")
    assert "‡" not in alone and "seeing test" not in alone


def report_of(records):
    from dnabench.reports.evidence import Report

    return Report(evidence=tuple(analyze(t) for t in tables(records)))


def test_the_lead_of_a_variant_says_so():
    records = [r for t in TASKS for r in (*swept(task=t), *runs("plain", 0.5, task=t))]
    found = analyze(only(records))
    assert any(x.startswith("net lr=0.001 is one of 4 variants of its model, chosen after seeing")
               for x in summary_sentences(found))  # fmt: skip


@pytest.mark.parametrize("pairs", [((0, 1),), ((0, 1), (0, 2))])
def test_as_if_declared_is_holm_over_the_asked(pairs):
    found = analyze(only(NEAR), families=Families(asked=pairs)).comparisons
    assert [d.other.p_holm for d in found] == stats.holm([d.p for d in found])


def test_a_declared_pair_has_no_verdict_on_an_unknown_metric():
    """Which of two errors is better is not known, declared or not."""
    odd = runs("a", 0.9, task="demo/u", metric="wer") + runs("b", 0.2, task="demo/u", metric="wer")
    for families in (Families(declared=((0, 1),)), Families(asked=((0, 1),))):
        by_row = {
            d.row.task: d
            for d in analyze(only(NEAR + odd), families=families).comparisons
            if (d.i, d.j) == (0, 1)
        }
        unknown, counts = by_row["demo/u"], [by_row["demo/t"].tests, by_row["demo/t"].other.tests]
        assert unknown.verdict == unknown.other.verdict == "descriptive"
        assert "unknown metric wer" in unknown.reason and math.isnan(unknown.p_holm)
        assert counts == ([1, 3] if families.declared else [3, 1])


# --- copies ---------------------------------------------------------------------------------------


def tuned(records, budget="4 configurations"):
    """The same as what a search chose."""
    return [replace(r, flags={"tuned": budget}) for r in records]


def chosen_default(tasks, default=("s/t2",), step=0.004):
    """Of a model whose search chose the default on some tasks, and a baseline."""
    out = []
    for task in tasks:
        own = runs("cnn", 0.6, task=task, step=step)
        better = runs("cnn", 0.65, task=task, step=step, recipe=Recipe(lr=0.01))
        out += own + tuned(own if task in default else better)
        out += runs("kmer", 0.5, task=task, step=step)
    return out


def test_a_column_is_no_rival_of_its_copy():
    table = only(chosen_default(["s/t1", "s/t2"]))
    names = [c.name for c in table.columns]
    assert names == ["kmer", "cnn", "cnn tuned"]
    found = analyze(table)
    by = {(d.row.name, names[d.i], names[d.j]): d for d in found.comparisons}
    copy = by["s/t2", "cnn", "cnn tuned"]
    assert copy.same and math.isnan(copy.p) and math.isnan(copy.p_holm)
    assert copy.verdict_text == "no clear difference (the same runs)"
    assert (copy.welch.difference, copy.se) == (0, 0)
    # three pairs on t1, one on t2: that of kmer with the copy is the test of kmer with cnn
    assert {d.tests for d in found.comparisons} == {4}
    default, repeated = by["s/t2", "kmer", "cnn"], by["s/t2", "kmer", "cnn tuned"]
    assert default.p_holm == repeated.p_holm
    tested = [d for d in found.comparisons if not d.same and d is not repeated]
    assert [d.p_holm for d in tested] == stats.holm([d.p for d in tested])
    assert not by["s/t1", "cnn", "cnn tuned"].same
    first, second = found.best
    assert [names[b.column] for b in found.best] == ["cnn tuned", "cnn tuned"]
    assert first.beats_all and second.beats_all and second.undecided is None
    rival = stats.best_p([table.rows[1].turned(2), table.rows[1].turned(0)], 0)
    assert second.p == rival < 1e-6
    said = summary_sentences(found)
    assert "cnn tuned is better than every other model on 2 of 2 tasks." in said
    assert "cnn and cnn tuned are the same runs on s/t2." in said
    assert any(x.startswith("On single tasks (Holm over 4 tests): 3 wins, 0 losses, 0 und")
               for x in said)  # fmt: skip
    assert not any("comparisons cover" in x for x in said)  # of the copy no interval is missing


def test_a_copy_on_some_tasks_still_counts_in_the_lead_over_all():
    """Nothing was gained there: the mean over both tasks is half of the gain on one."""
    (suite,) = analyze(only(chosen_default(["s/t1", "s/t2"]))).suites
    pair = suite.between(2, 1)
    assert pair.lead.value == pytest.approx(0.025) and not pair.same
    (alone,) = [d for d in analyze(only(chosen_default(["s/t1"]))).comparisons if d.i == 1]
    assert pair.lead.se == pytest.approx(alone.se / 2)
    assert (pair.wins, pair.losses, pair.undecided) == (1, 0, 0)


def test_a_copy_on_all_tasks_of_a_suite_is_no_rival_over_them():
    records = chosen_default(["s/t1", "s/t2"], ["s/t1", "s/t2"]) + chosen_default(["g/t"])
    found = analyze(only(records))
    (suite,) = found.suites
    assert suite.between(1, 2).same and math.isnan(suite.between(1, 2).p_claim)
    said = [x for x in summary_sentences(found) if x.startswith("s: ")]
    assert said[0].startswith("s: cnn is better than kmer by 0.100 MCC ")
    assert not any("clearly" in x for x in said)


def test_a_declared_pair_over_tasks_counts_once_with_a_copy():
    names = [f"s/t{i}" for i in range(1, 9)]
    table = only(chosen_default(names, names))
    families = Families(declared=((0, 1), (0, 2)))
    (suite,) = analyze(table, families=families).suites
    default, copy = suite.between(0, 1), suite.between(0, 2)
    assert default.pairs_tested == copy.pairs_tested == 1
    assert default.p_claim == copy.p_claim == default.p_raw < 0.05


def test_a_copy_that_lacks_runs_without_a_value_is_another_test():
    """Nothing is claimed of a model ahead that has such runs; of its copy without them it may."""
    own = runs("cnn", 0.6)
    lost = record("cnn", seed=9, score=math.nan)
    (row,) = only([*own, lost, *tuned(own), *runs("kmer", 0.5)]).rows
    assert [(len(c.scores), c.undefined) for c in row.cells] == [(5, 0), (5, 1), (5, 0)]
    assert row.cells[1].has_runs_of(row.cells[2]) and first_alike(row.cells) == [0, 1, 2]


def test_copies_on_some_tasks_or_on_all_change_no_p():
    tasks, own, p = ["s/t1", "s/t2", "s/t3"], {"kmer": 0.7, "cnn": 0.729, "lstm": 0.71}, []
    for copied in ([], tasks[:1], tasks):
        records = []
        for task in tasks:
            for name, mean in own.items():
                records += runs(name, mean, task=task, step=0.01)
            records += tuned(runs("cnn", own["cnn"], task=task, step=0.01)) * (task in copied)
        table = only(records)
        copy = [k for k, c in enumerate(table.columns) if c.name == "cnn tuned"]
        found = analyze(table).comparisons
        assert {d.tests for d in found} == {9}
        p.append([d.p_holm for d in found if not {d.i, d.j} & {*copy}])
    assert len(p[0]) == 9 and p[0] == p[1] == p[2]


def test_a_declared_pair_of_copies_is_not_tested():
    table = only(chosen_default(["s/t1", "s/t2"]))
    for families in (Families(declared=((1, 2),)), Families(asked=((1, 2),))):
        own = [d for d in analyze(table, families=families).comparisons if (d.i, d.j) == (1, 2)]
        tests = [(d.tests, d.other.tests) for d in own]
        assert tests == ([(1, 4)] * 2 if families.declared else [(4, 1)] * 2)
        assert own[1].verdict == own[1].other.verdict == "no clear difference"
        assert own[1].reason == "(the same runs)" and own[0].verdict == "loss"
