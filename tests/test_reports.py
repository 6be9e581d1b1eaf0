"""reports: what a table must say, on records made here."""

import math
import re
from dataclasses import replace

import pytest

from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.grid import fixed
from dnabench.reports.render import FORMATS
from dnabench.reports.render import render as written
from dnabench.reports.table import tables
from dnabench.types import Recipe, Record, Trial

NASTY = "m&<b>|x_y%$#{[*~^\\\"'</b>"
SEEDS = range(5)


def record(model="a", task="demo/t", seed=0, score=0.5, **other):
    """A record; `other` are fields of it or of its trial."""
    trial = {
        "options": {}, "regime": "scratch", "data": "d" * 16, "protocol": "honest/1",
        "recipe": Recipe(), "limit": 0,
    }  # fmt: skip
    trial |= {k: other.pop(k) for k in list(other) if k in trial}
    facts = {"metric": other.pop("metric", "mcc"), "family": other.pop("family", "")}
    return Record(
        trial=Trial(model=model, task=task, seed=seed, **trial),
        **{
            "scores": {"test": {facts["metric"]: score}, "val": {facts["metric"]: 0.99}},
            "n_params": 386_120,
            "task": facts,
            "where": {"python": "3.11.7", "dnabench": "0.1.0"},
            **other,
        },
    )


def runs(model, mean, seeds=SEEDS, step=0.01, **other):
    """One record a seed, evenly spaced around the mean."""
    seeds = list(seeds)
    return [
        record(model, seed=s, score=mean + step * (i - (len(seeds) - 1) / 2), **other)
        for i, s in enumerate(seeds)
    ]


def failed(model, seed=0, error="Traceback\n  File x\nValueError: too <b>bad</b>", **other):
    """As run.py makes them: without scores, task facts and parameter count."""
    return replace(record(model, seed=seed, **other), scores={}, task={}, n_params=0, error=error)


def only(records):
    (table,) = tables(records)
    return table


def cell(text, task, k):
    """Cell k, from 0, of a task's row in Markdown."""
    line = next(x for x in text.splitlines() if x.startswith(f"| {task} "))
    return [x.strip() for x in re.split(r"(?<!\\)\|", line)[1:-1]][k + 2]


def render(found, fmt):
    """Tables, analyzed without predictions, as text."""
    return written(Report(evidence=tuple(analyze(t) for t in found)), fmt)


def md(records):
    return render(tables(records), "md")


def against_best(records):
    """Every model against the best of its row."""
    return analyze(only(records)).against_best()


# --- tables ---------------------------------------------------------------------------------------


def test_protocols_limits_and_data_are_never_mixed():
    records = [
        record(seed=0, score=0.1),
        record(seed=1, score=0.2, protocol="test-selected/1"),
        record(seed=2, score=0.3, limit=0.1),
        record(seed=3, score=0.4, data="e" * 16),
    ]
    first, second, third = tables(records)
    assert [(t.protocol, t.limit) for t in (first, second, third)] == [
        ("honest/1", 0), ("honest/1", 0.1), ("test-selected/1", 0),
    ]  # fmt: skip
    assert [r.name for r in first.rows] == [f"demo/t @{'d' * 6}", f"demo/t @{'e' * 6}"]
    values = [c.values for t in (first, second, third) for r in t.rows for c in r.cells]
    assert values == [(0.1,), (0.4,), (0.3,), (0.2,)]
    assert second.rows[0].name == "demo/t"


def test_options_that_differ_make_columns_and_name_them():
    records = [
        record("net", options={"dilation": d, "width": 64}, task=t)
        for d in (10, 2)
        for t in ("u/x",)
    ]
    assert [c.label for c in only(records).columns] == ["net dilation=2", "net dilation=10"]
    assert only(records[:1]).columns[0].label == "net"
    one_lacks_it = [record("net"), record("net", options={"p": 0.5})]
    assert {c.label for c in only(one_lacks_it).columns} == {"net p=unset", "net p=0.5"}


def test_recipes_that_differ_within_a_suite_make_columns():
    slow, fast = Recipe(lr=0.001), Recipe(lr=0.002)
    columns = only([record(recipe=slow), record(recipe=fast, task="demo/u")]).columns
    assert [c.label for c in columns] == ["a lr=0.001", "a lr=0.002"]
    # a model has a recipe for each suite: that is one configuration
    across = only([record(recipe=slow), record(recipe=fast, task="other/t")])
    assert [c.label for c in across.columns] == ["a"]
    assert across.columns[0].recipes == {"demo": slow, "other": fast}
    # two options that were trained differently say so
    both = [record(recipe=slow, options={"k": 1}), record(recipe=fast, options={"k": 2})]
    assert [c.label for c in only(both).columns] == ["a k=1 lr=0.001", "a k=2 lr=0.002"]


def test_regimes_are_separate_columns():
    table = only([record(), record(regime="pretrained", score=0.6)])
    assert [c.name for c in table.columns] == ["a (pretrained)", "a (scratch)"]
    assert [c.values for c in table.rows[0].cells] == [(0.6,), (0.5,)]


def test_columns_by_appearance_with_the_baseline_first():
    table = only([record(m) for m in ("zeta", "alpha", "kmer", "mid")])
    assert [c.model for c in table.columns] == ["kmer", "zeta", "alpha", "mid"]


def test_rows_are_grouped_by_family_whatever_the_order():
    names = [("s/h10", "histone"), ("s/p", "promoter"), ("s/h9", "histone"), ("r/z", "")]
    records = [record(task=t, family=f) for t, f in names]
    for order in (records, records[::-1]):
        assert [r.name for r in only(order).rows] == ["r/z", "s/h9", "s/h10", "s/p"]
        assert list(only(order).families) == ["", "histone", "promoter"]


def test_two_metrics_of_a_task_are_two_rows():
    rows = only([record(metric="mcc"), record(seed=1, metric="auroc")]).rows
    assert [(r.metric, len(r.cells[0].values)) for r in rows] == [("auroc", 1), ("mcc", 1)]


def test_a_cell_is_the_test_score_of_the_primary_metric():
    r = record(scores={"val": {"mcc": 0.9}, "test": {"accuracy": 0.8, "mcc": 0.7}})
    assert only([r]).rows[0].cells[0].scores == {0: 0.7}


def test_failed_undefined_and_collapsed_runs_are_counted():
    records = [*runs("a", 0.5), failed("a", seed=8), failed("a", seed=9)]
    records += [record("a", seed=7, scores={"test": {"accuracy": 1}}, flags={"collapsed": 1})]
    records[0] = replace(records[0], flags={"collapsed": True})
    c = only(records).rows[0].cells[0]
    assert (len(c.scores), c.failed, c.undefined, c.collapsed) == (5, 2, 1, 1)
    assert c.summary.mean == pytest.approx(0.5)
    text = md(records)
    assert cell(text, "demo/t", 0) == "0.500 ± 0.016 (2 failed, 1 undefined, †1)"
    for word in ("†k", "failed:", "undefined:"):
        assert word in text
    assert "a on demo/t, seeds 8, 9: ValueError: too \\<b>bad\\</b>" in text


def test_a_score_that_is_not_finite_is_undefined():
    records = [record(seed=0), record(seed=1, score=math.nan), record(seed=2, score=math.inf)]
    c = only(records).rows[0].cells[0]
    assert (c.values, c.undefined) == ((0.5,), 2)


def test_a_task_that_only_failed_still_has_its_row():
    text = md([failed("a")])
    assert cell(text, "demo/t", 0) == "1 failed"
    for fmt in FORMATS:
        assert "demo/t" in render(tables([failed("a", error=" ")]), fmt)


# --- best, second, n ------------------------------------------------------------------------------


def podium(*means):
    row = only([record(f"m{i}", score=x) for i, x in enumerate(means)]).rows[0]
    return sorted(row.best), sorted(row.second)


def test_best_and_second():
    assert podium(0.3, 0.9, 0.5) == ([1], [2])
    assert podium(-0.3, -0.1) == ([1], [0])


def test_ties_are_those_of_the_printed_number():
    assert podium(0.72341, 0.72299, 0.7) == ([0, 1], [2])  # both print 0.723
    assert podium(0.7234, 0.7236) == ([1], [0])  # 0.723, 0.724
    assert podium(0.9, 0.5, 0.5001) == ([0], [1, 2])
    assert podium(0.5, 0.5) == ([0, 1], [])
    assert podium(-0.0001, 0.0001) == ([0, 1], [])
    assert fixed(-0.0001, 3) == "0.000" and fixed(-0.001, 3) == "-0.001"


def test_one_model_in_a_row_is_not_best():
    assert podium(0.5) == ([], [])
    assert "**" not in md([record()]) and "<u>" not in md([record()])


def test_markdown_marks_best_and_second():
    text = md(runs("a", 0.7) + runs("b", 0.8) + runs("c", 0.6))
    assert [cell(text, "demo/t", k) for k in range(3)] == [
        "<u>0.700 ± 0.016</u>", "**0.800 ± 0.016**", "0.600 ± 0.016",
    ]  # fmt: skip


def test_fewer_seeds_and_missing_cells_say_so():
    records = runs("a", 0.7) + runs("b", 0.6, seeds=[0, 1], step=0.012 * 2**0.5)
    records += runs("c", 0.5, seeds=[3]) + runs("a", 0.9, task="demo/u")
    text = md(records)
    assert cell(text, "demo/t", 1) == "<u>0.600 ± 0.012</u> (n=2)"
    assert cell(text, "demo/t", 2) == "0.500 (n=1)"
    assert cell(text, "demo/u", 1) == "missing"
    assert "n = 5 unless a cell says otherwise" in text and "missing: not run" in text


def test_one_seed_has_no_plus_minus():
    text = md([record("a", score=0.7), record("b", score=0.6)])
    assert cell(text, "demo/t", 0) == "**0.700**"
    assert "One seed per cell" in text and " ± 0" not in text


def test_a_table_worked_by_hand():
    # sd of 0.68 .. 0.72 is sqrt(0.001/4) = 0.0158; Welch of two such rows: se = sqrt(2 x
    # 0.00025/5) = 0.01, t = 0.1/0.01 = 10, df = 8, p = 8.488e-6 (scipy.stats.t.sf(10, 8) x 2),
    # CI 0.1 -+ 2.306 x 0.01; c v b has t = 0.002/0.01 = 0.2, p = 0.8465; a v c has t = 9.8,
    # p = 9.868e-6. Holm of a v b is 3 p, BH 9.868e-6 x 3/2. Of the 252 ways to deal ten runs, 2
    # part a from b as far (2/252 = 0.008), 210 c from b. g is -0.1/0.0158114 x (1 - 3/31).
    text = md(runs("a", 0.7) + runs("b", 0.8) + runs("c", 0.798))
    lines = (
        text.partition("### Each model against the best")[2]
        .partition("### Best model")[0]
        .splitlines()
    )
    got = [[x.strip() for x in line.split("|")[1:-1]] for line in lines if "demo/t" in line]
    assert got == [
        ["demo/t", "a", "b", "5", "-0.1000", "[-0.1231, -0.0769]", "–", "2.5e-05", "1.5e-05",
         "0.008", "-5.71", "loss"],
        ["demo/t", "c", "b", "5", "-0.0020", "[-0.0251, +0.0211]", "–", "0.846", "0.846",
         "0.833", "-0.11", "no clear difference"],
    ]  # fmt: skip


def test_holm_runs_over_all_pairs_of_a_suite():
    records = [r for t in ("s/1", "s/2", "s/3") for m, x in (("a", 0.7), ("b", 0.72), ("c", 0.8))
               for r in runs(m, x, task=t)]  # fmt: skip
    tests = analyze(only(records)).comparisons
    assert len(tests) == 9 and len(against_best(records)) == 6
    smallest = min(t.welch.p for t in tests)
    assert min(t.p_holm for t in tests) == pytest.approx(9 * smallest)
    assert "Holm-adjusted over all 9 tests" in md(records)


def test_verdicts_respect_seeds_rope_and_spread():
    def said(*records):
        (test,) = against_best([r for group in records for r in group])
        return test.verdict, test.reason

    assert said(runs("a", 0.7), runs("b", 0.8)) == ("loss", "")
    assert said(runs("a", 0.7, range(4)), runs("b", 0.8)) == ("descriptive", "only (n < 5)")
    near = runs("a", 0.7, step=1e-5), runs("b", 0.709, step=1e-5)
    assert said(*near) == ("no clear difference", "(difference below 0.01)")
    acc = [[replace(r, task={"metric": "accuracy"}, scores={"test": {"accuracy": r.scores["test"][
        "mcc"]}}) for r in group] for group in near]  # fmt: skip
    assert said(*acc) == ("loss", "")
    flat = said(runs("a", 0.7, step=0), runs("b", 0.8, step=0))
    assert flat == ("descriptive", "only (no variation between seeds)")


def test_the_same_weights_by_other_names_are_one_column():
    one, link = "checkpoint:979@12e35aab3aa421ec", "checkpoint:link.pt@12e35aab3aa421ec"
    other = "checkpoint:979@ffffffffffffffff"
    found = only([
        *runs("a", 0.7, range(3), regime=one), *runs("a", 0.7, range(3, 5), regime=link),
        *runs("a", 0.8, regime=other), *runs("a", 0.6),
    ])  # fmt: skip
    assert [len(cell.scores) for cell in found.rows[0].cells] == [5, 5, 5]
    assert [column.regime for column in found.columns] == [one, other, "scratch"]
    ids = [record("a", regime=regime).trial.id for regime in (one, link, other)]
    assert ids[0] == ids[1] != ids[2]


def test_the_same_tokenizer_by_other_names_is_one_column():
    one, link, other = (f"bpe:{name}" for name in ("t.json@12e3", "link.json@12e3", "t.json@ffff"))
    found = only([
        *runs("a", 0.7, range(3), options={"tokenizer": one}),
        *runs("a", 0.7, range(3, 5), options={"tokenizer": link}),
        *runs("a", 0.8, options={"tokenizer": other}),
    ])  # fmt: skip
    assert [len(cell.scores) for cell in found.rows[0].cells] == [5, 5]
    assert {c.options["tokenizer"] for c in found.columns} == {one, other}
    ids = [record("a", options={"tokenizer": x}).trial.id for x in (one, link, other)]
    assert ids[0] == ids[1] != ids[2]
