"""--metric: what chooses the epoch, what a report shows, and which way each metric is better."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import planted_split, planted_task
from test_protocol_epochs import Scripted
from test_reports import cell, failed, record, runs

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.reports import stats
from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.figures.pareto import frontier, points, suites
from dnabench.reports.inflation import inflation
from dnabench.reports.render import compare_text, render
from dnabench.reports.shown import check_shown
from dnabench.reports.table import tables
from dnabench.reports.text.leads import leader
from dnabench.reports.text.overview import overview
from dnabench.reports.text.summary import summary_sentences
from dnabench.reports.tidy import COLUMNS
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.keeping import validation
from dnabench.train.loop import fit
from dnabench.train.objectives import Supervised
from dnabench.types import Record

HONEST = PROTOCOLS["honest/1"]
TWO = "demo/splice_junctions"


def grid_of(**flags):
    return grid(Request(models=["kmer"], tasks=[TWO], **{"seeds": "1", "limit": "50"} | flags))


def with_metric(job_or_record, name):
    return job_or_record.trial.metric == name


# --- run ------------------------------------------------------------------------------------------


def test_the_metric_chooses_the_epoch_and_lower_is_better_where_it_is():
    right, margin = [50, 60, 76, 74, 60], [0.1, 1.0, 0.05, 2.5, 1.0]  # the third is not sure
    val = planted_split(80, 0)
    chosen = {}
    for metric in ("mcc", "brier"):
        learner, task = Scripted(right, margin), planted_task(metric=metric)
        out = fit(learner, Supervised(task), HONEST, {"val": val})
        scores = [row["val"][metric] for row in out.curve]
        best = max(scores) if metric == "mcc" else min(scores)
        assert out.best_epoch == scores.index(best) + 1 == learner.epoch
        chosen[metric] = out.best_epoch
        assert ("brier" in out.curve[0]["val"]) == (metric == "brier")
    assert chosen == {"mcc": 3, "brier": 4}


def test_the_best_seed_has_the_lowest_error():
    low, high = (record(metric="rmse", seed=s) for s in (0, 1))
    low.scores["val"]["rmse"], high.scores["val"]["rmse"] = 0.2, 0.9
    assert validation(low) > validation(high)
    assert validation(record(metric="mse")) > -math.inf
    assert validation(Record(trial=low.trial, task={"metric": "rmse"})) == -math.inf


def test_it_is_in_the_id_where_it_is_not_the_tasks_own():
    (usual,), (own,), (other,) = grid_of(), grid_of(metric="mcc"), grid_of(metric="brier")
    assert usual.trial == own.trial and usual.trial.metric == ""
    assert other.trial.metric == "brier" and other.trial.id != usual.trial.id
    text = Record(trial=usual.trial).to_json()
    assert "metric" not in json.loads(text)["trial"] and Record.from_json(text).trial == usual.trial
    text = Record(trial=other.trial).to_json()
    assert json.loads(text)["trial"]["metric"] == "brier"
    assert Record.from_json(text).trial.id == other.trial.id


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"metric": "mcx"}, f"--metric mcx is unknown; for {TWO} choose from mcc, f1_macro, .*bri"),
        ({"metric": "rmse"}, f"rmse does not fit {TWO}, a multiclass task; for .* choose from mcc"),
        ({"metric": "auroc", "protocol": "last-epoch"},
         "last-epoch/1 chooses no epoch by a metric; .*`dnabench report --metric auroc`"),
    ],
)  # fmt: skip
def test_another_metric_is_refused_with_those_that_fit(flags, says):
    with pytest.raises(ValueError, match=says):
        grid_of(**flags)


# --- which way a report is better -----------------------------------------------------------------


def errors(**other):
    """Model "good" has the lower error by 0.1 on six tasks of two families."""
    return [
        r
        for t in range(6)
        for model, mean in (("good", 0.4 + t / 100), ("bad", 0.5 + t / 100))
        for r in runs(model, mean, task=f"s/t{t}", metric="rmse", family=f"f{t % 2}", **other)
    ]


def test_the_lower_mean_is_best_and_wins():
    (table,) = tables(errors())
    assert [c.model for c in table.columns] == ["good", "bad"]
    assert {row.best for row in table.rows} == {frozenset({0})}
    found = analyze(table)
    assert all(
        d.welch.difference < 0 and d.verdict == "win" and d.i == 0 for d in found.comparisons
    )
    assert all(d.flipped().verdict == "loss" for d in found.comparisons)
    assert all(b.column == 0 and b.beats_all and b.p < 1e-4 for b in found.best)
    (suite,) = found.suites
    assert suite.ranks == (1.0, 2.0) and leader(suite) == 0
    assert [x.value for x in suite.iqm] == pytest.approx([1, 0], abs=1e-9)
    (pair,) = suite.pairs
    assert pair.wins == 6 and pair.lead.value == pytest.approx(0.1) and pair.lead.low > 0
    assert pair.improvement.value == 1.0 and pair.posterior[2] > 0.99
    assert pair.leads == pytest.approx({"f0": 0.1, "f1": 0.1})


def test_a_verdict_turns_with_the_sign_alone():
    a, b = [0.41, 0.40, 0.42, 0.39, 0.40], [0.5, 0.52, 0.51, 0.49, 0.5]
    lower = stats.verdict(stats.welch(a, b), 1e-6, 0.01, 5, (-0.12, -0.08), -1)
    higher = stats.verdict(stats.welch(b, a), 1e-6, 0.01, 5, (0.08, 0.12), 1)
    assert lower == higher == ("win", "")
    assert stats.verdict(stats.welch(b, a), 1e-6, 0.01, 5, (0.08, 0.12), -1) == ("loss", "")


def test_words_and_numbers_say_that_lower_is_better(tmp_path):
    found = analyze(tables(errors())[0])
    first = summary_sentences(found)[0]
    assert first.startswith("good is better than bad by 0.100 RMSE [0."), first
    text = render(Report(evidence=(found,)), "md")
    assert cell(text, "s/t0", -1) == "RMSE ↓"
    assert cell(text, "s/t0", 0).startswith("**0.400 ± ") and "<u>0.500 ± " in text
    assert "lower is better. The best mean is bold" in text
    assert "RMSE $\\downarrow$" in render(Report(evidence=(found,)), "latex")
    assert "RMSE ↓" in render(Report(evidence=(found,)), "html")
    (line, *_) = csv.DictReader(io.StringIO(render(Report(evidence=(found,)), "csv")))
    assert line["better"] == "lower" and line["best_over_tasks"] == "good"
    document = json.loads(render(Report(evidence=(found,)), "json"))
    (over,) = document["over_tasks"]
    assert over["difference"] == pytest.approx(-0.1) and over["low"] < -0.1 < over["high"] < 0
    assert {c["verdict"] for c in document["comparisons"]} == {"win"}
    said = compare_text(errors(), "bad", "good")
    assert "loss" in said and "| bad | good | +0.1000 |" in said


def test_few_tasks_are_written_out_as_leads():
    own = [r for r in errors() if r.trial.task == "s/t0"]
    said = summary_sentences(analyze(tables(own)[0]))
    assert any(text.startswith("good beats bad by 0.100 RMSE (95 % CI 0.0") for text in said), said
    few = [r for r in own if r.trial.seed < 2]
    said = summary_sentences(analyze(tables(few)[0]))
    assert any("good scores lower than bad by 0.100 RMSE" in text for text in said), said


def test_directions_are_never_pooled():
    """RMSE on three tasks and Pearson's r on three: model a is best on all of them, by rank."""
    records = [
        r
        for t in range(6)
        for model, good in (("a", True), ("b", False))
        for metric in ["rmse" if t < 3 else "pearson"]
        for r in runs(
            model, 0.3 if good == (metric == "rmse") else 0.6, task=f"s/t{t}", metric=metric,
            family=f"f{t}",
        )
    ]  # fmt: skip
    (table,) = tables(records)
    found = analyze(table)
    (suite,) = found.suites
    assert suite.ranks == (1.0, 2.0) and leader(suite) == 0
    assert math.isnan(suite.pairs[0].lead.value)
    first = summary_sentences(found)[0]
    assert "The metrics differ (Pearson r and RMSE)" in first or "(RMSE and Pearson r)" in first
    assert "a has the best mean rank (1.00 of 2)" in first
    assert not suites(table)  # no score against cost either
    assert "higher is better but where a metric has ↓" in render(Report(evidence=(found,)), "md")


def test_figures_follow():
    (table,) = tables(errors())
    ((_, rows),) = suites(table).items()
    assert {p.sign for p in points(table, rows)} == {-1}
    pairs = [(1.0, 0.5), (2.0, 0.6), (3.0, 0.2)]
    assert frontier(pairs) == [(1.0, 0.5), (2.0, 0.6)]
    assert frontier(pairs, -1) == [(1.0, 0.5), (3.0, 0.2)]


def test_choosing_on_test_makes_an_error_smaller():
    one = record(metric="rmse", score=0.4, protocol="test-selected/1")
    alternatives = {"honest/1": {"epoch": 1, "test": {"rmse": 0.5}}}
    (gain,) = inflation([Record(**{**vars(one), "alternatives": alternatives})])
    assert gain.gain.value == pytest.approx(0.1)


def test_runs_that_chose_by_another_metric_are_no_rivals_of_those_that_chose_on_test():
    def of(protocol, mcc, metric="mcc"):
        return two_metrics("a", mcc, 0.9 - mcc, protocol=protocol, metric=metric)

    chosen, honest = of("test-selected/1", 0.8), of("honest/1", 0.79)
    other = of("honest/1", 0.5, "brier")
    for records in (chosen + other + honest, other + honest + chosen):
        (usual,) = inflation(records)
        assert usual.gain.value == pytest.approx(0.01)
        (shown,) = inflation(records, "mcc")
        assert shown.gain.value == pytest.approx(0.01) and shown.gain.n == (5, 5)
    assert inflation(chosen + other, "mcc") == []


# --- another metric than the trials' own ----------------------------------------------------------


def two_metrics(model, mcc, brier, **other):
    return [
        record(model, seed=s, scores={"test": {"mcc": mcc + s / 100, "brier": brier + s / 100}},
               **other)
        for s in range(5)
    ]  # fmt: skip


def test_a_report_shows_another_recorded_metric():
    records = two_metrics("a", 0.5, 0.9) + two_metrics("b", 0.7, 0.95)
    for r in records:
        r.task["kind"] = "binary"
    check_shown(records, "brier")
    (usual,), (table,) = tables(records), tables(records, metric="brier")
    assert (usual.rows[0].metric, usual.rows[0].chosen_by) == ("mcc", "")
    assert usual.rows[0].best == frozenset({1})
    row = table.rows[0]
    assert (row.metric, row.chosen_by, row.best) == ("brier", "mcc", frozenset({0}))
    said = "Shown instead of MCC, by which the epochs were chosen."
    assert said in render(Report(evidence=(analyze(table),)), "md")
    assert said in compare_text(records, "a", "b", metric="brier")
    with pytest.raises(ValueError, match=r"--metric rmse does not fit demo/t, a binary task; "
                       "these records can show mcc and brier"):  # fmt: skip
        check_shown(records, "rmse")
    with pytest.raises(ValueError, match=r"no record of demo/t has it, .* can show mcc and brier"):
        check_shown(records, "auroc")
    with pytest.raises(ValueError, match="--metric mxc: no metric has this name"):
        compare_text(records, "a", "b", metric="mxc")


def test_columns_are_checked_for_the_metric_as_models_are():
    """Theirs are the names of `compare`: "cnn tuned", or an option."""

    def with_width(records, width, **flags):
        return [replace(r, trial=replace(r.trial, options={"width": width}), flags=flags)
                for r in records]  # fmt: skip

    wide = with_width(two_metrics("cnn", 0.5, 0.9), 8)
    narrow = with_width(two_metrics("cnn", 0.6, 0.9), 4, tuned="2 configurations")
    records = wide + narrow + two_metrics("kmer", 0.4, 0.8) + two_metrics("cnn", 0.5, 0.9)
    other = [record("old", task="demo/u", seed=s) for s in range(5)]  # has no Brier score
    for r in records + other:
        r.task["kind"] = "binary"
    for a, b in (("cnn width=8", "kmer"), ("cnn tuned", "cnn width=8"), ("cnn", "kmer")):
        with pytest.raises(ValueError, match=r"no record of demo/t has it, .* show mcc and brier"):
            compare_text(records + other, a, b, metric="auroc")
        with pytest.raises(ValueError, match="--metric mxc: no metric has this name"):
            compare_text(records + other, a, b, metric="mxc")
        assert "Brier" in compare_text(records + other, a, b, metric="brier")
    with pytest.raises(KeyError, match="no records of 'cnn width=9'"):
        compare_text(records, "cnn width=9", "kmer", metric="mxc")


def test_trials_that_chose_by_different_metrics_are_different_rows():
    records = two_metrics("a", 0.5, 0.9) + two_metrics("a", 0.6, 0.8, metric="brier")
    (table,) = tables(records, metric="brier")
    assert [row.name for row in table.rows] == ["demo/t (brier)", "demo/t (mcc)"]
    assert [len(row.cells[0].scores) for row in table.rows] == [5, 5]


def test_failed_trials_are_on_the_row_of_the_metric_that_they_had():
    def asked(one, metric):
        return replace(one, trial=replace(one.trial, metric=metric))

    own = two_metrics("a", 0.5, 0.9)
    other = [asked(r, "brier") for r in two_metrics("a", 0.6, 0.8, metric="brier")]
    broken = [failed("a", 7), failed("a", 8), asked(failed("a", 9), "brier")]
    for records in (own + other + broken, other + own + broken, broken + own + other):
        (table,) = tables(records)
        assert {row.metric: row.cells[0].failed for row in table.rows} == {"mcc": 2, "brier": 1}
    (table,) = tables(other + broken)  # no run tells the task's own metric
    assert {row.name: (row.cells[0].failed, len(row.cells[0].scores)) for row in table.rows} == {
        "demo/t (brier)": (1, 5), "demo/t (metric not known)": (2, 0),
    }  # fmt: skip
    text = render(Report(evidence=(analyze(table),)), "md")
    assert "2 failed" in text and "metric not known" in text


def test_all_metrics_are_lines_of_data():
    records = two_metrics("a", 0.5, 0.9) + two_metrics("b", 0.7, 0.95)
    found = Report(evidence=(analyze(tables(records)[0]),))
    usual, every = (
        list(csv.DictReader(io.StringIO(render(found, "csv", x)))) for x in (False, True)
    )
    assert [x["metric"] for x in usual] == ["mcc", "mcc"] and list(usual[0]) == list(COLUMNS)
    assert [(x["metric"], x["model"], x["better"]) for x in every] == [
        ("mcc", "a", "higher"), ("mcc", "b", "higher"), ("brier", "a", "lower"),
        ("brier", "b", "lower"),
    ]  # fmt: skip
    assert float(every[2]["mean"]) == pytest.approx(0.92) and every[2]["best_over_tasks"] == ""
    assert len(json.loads(render(found, "json", True))["cells"]) == 4


@pytest.mark.slow
def test_from_a_file_of_fractions_to_a_report_by_rmse(tmp_path, dnabench_ran):
    """RMSE chooses the epochs, and the report, compare and a figure of another metric agree."""
    folder, said = dnabench_ran
    records = list(Store(folder))
    assert "labels are standardised; mean and standard deviation in train" in said
    assert all(with_metric(r, "rmse") and r.task["metric"] == "rmse" for r in records)
    for r in records:
        curve = [row["val"]["rmse"] for row in r.curve]
        assert r.best_epoch == int(np.argmin(curve)) + 1
        assert METRICS.keys() >= r.scores["test"].keys() >= {"rmse", "pearson", "spearman", "r2"}
    text = overview(made_of(folder), folder)
    assert "RMSE ↓" in text and "Pearson" not in text
    text = overview(made_of(folder, metric="spearman"), folder)
    assert "Shown instead of RMSE, by which the epochs were chosen." in text
    assert "Spearman r" in text


@pytest.fixture(scope="module")
def dnabench_ran(tmp_path_factory):
    from conftest import dnabench

    folder = tmp_path_factory.mktemp("rmse")
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 0.8, 200)
    texts = ["".join(rng.choice(list("ACGT"), 60, p=[(1 - g) / 2, g / 2, g / 2, (1 - g) / 2]))
             for g in shares]  # fmt: skip
    rows = [f"{t},{100 + 7 * g:.4f}" for t, g in zip(texts, shares, strict=True)]
    (folder / "gc.csv").write_text("\n".join(["sequence,label", *rows]))
    done = dnabench("run", "-m", "cnn,convnova-386k", "--set", "convnova-386k.blocks=3", "--data",
                    folder / "gc.csv", "--metric", "rmse", "--seeds", "2", "--epochs", "3",
                    "--device", "cpu", "--out", folder / "runs")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "runs", done.stdout


def made_of(folder, **other):
    from dnabench.reports.report import report
    from dnabench.reports.resampling import Resampler

    store = Store(folder)
    return report(list(store), store, Resampler(store, replicates=100), **other)


def test_commands_take_it(dnabench_ran, tmp_path):
    from conftest import dnabench

    folder, _ = dnabench_ran
    done = dnabench("report", "--out", folder, "-f", "csv", "--all-metrics")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {x["metric"] for x in lines} == {"rmse", "pearson", "spearman", "r2"}, done.stderr
    wrong = dnabench("report", "--out", folder, "--all-metrics")
    assert wrong.returncode == 2 and "--all-metrics is for --format csv, json" in wrong.stderr
    done = dnabench("compare", "cnn", "convnova-386k", "--out", folder, "--metric", "r2")
    assert "Shown instead of RMSE" in done.stdout and done.returncode == 0, done.stderr
    wrong = dnabench("compare", "cnn", "convnova-386k", "--out", folder, "--metric", "mcc")
    assert wrong.returncode == 2
    assert "mcc does not fit data/gc, a regression task" in wrong.stderr
    done = dnabench("figure", "strip", "--out", folder, "--metric", "pearson", "--to",
                    tmp_path / "x.svg")  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "x.svg").is_file(), done.stderr
