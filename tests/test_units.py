"""Where pretrainings stand for seeds they do so in every number, not in the main table alone."""

import csv
import io
import statistics
from dataclasses import replace

import pytest
from test_reports import only, record, render, runs

from dnabench.reports.analysis import analyze
from dnabench.reports.calibration import calibration_section
from dnabench.reports.cells import REGIME, by_unit, cell_of
from dnabench.reports.evidence import Report
from dnabench.reports.inflation import HONEST, inflation
from dnabench.reports.outputs import group_section
from dnabench.reports.render import render as written
from dnabench.reports.table import across_shares
from dnabench.reports.text.captions import caption, cell_text
from dnabench.reports.text.overview import overview
from dnabench.reports.trends import SHARE, share_section, trend
from dnabench.reports.variants import validation
from dnabench.results.store import Store

MEANS = (0.5, 0.6, 0.8)  # of three pretrainings with 2, 4 and 4 fine-tunings
SIZES = (2, 4, 4)


def nested(**other):
    """Runs of three pretrainings, whose metrics are all the same number."""
    found = []
    for unit, (mean, size) in enumerate(zip(MEANS, SIZES, strict=True)):
        for i in range(size):
            x = mean + 0.01 * (i - (size - 1) / 2)
            scores = {"mcc": x, "accuracy": x, "mcc:marks": x, "ece": x, "brier": x}
            flag = {"column": "hg38 @abc", "label": "char hg38", "unit": unit}
            found.append(record(
                "cnn", seed=1000 * unit + i, flags={REGIME: flag},
                **{"scores": {"test": scores, "val": scores}, **other},
            ))  # fmt: skip
    return found


def test_values_are_means_of_units_or_the_runs():
    assert by_unit([1.0, 2.0, 6.0], [0, 0, 1]) == (1.5, 6.0)
    assert by_unit([1.0, 2.0, 6.0], [0, None, 1]) == (1.0, 2.0, 6.0) and by_unit([], []) == ()


def test_all_metrics_of_a_cell_have_the_same_units():
    found = Report(evidence=(analyze(only(nested())),))
    lines = list(csv.DictReader(io.StringIO(written(found, "csv", True))))
    assert {(x["metric"], x["group"]) for x in lines} == {
        ("mcc", ""), ("accuracy", ""), ("mcc", "marks"), ("ece", ""), ("brier", "")
    }  # fmt: skip
    for line in lines:
        assert line["n"] == "3"
        assert float(line["mean"]) == pytest.approx(statistics.mean(MEANS))
        assert float(line["sd"]) == pytest.approx(statistics.stdev(MEANS))
    assert float(lines[0]["validation"]) == pytest.approx(statistics.mean(MEANS))


def test_validation_groups_and_calibration_are_over_units():
    table = only(nested())
    (one,) = table.rows[0].cells
    assert validation(one, "mcc") == one.summary and one.summary.n == 3
    (line,) = group_section(table).rows
    assert line[-1] == "0.633 ± 0.153"
    (line,) = calibration_section(table).rows
    assert line[1:3] == ["0.633", "0.633"]


def test_the_gain_from_test_is_over_units():
    chosen = [
        record(
            "cnn", seed=r.trial.seed, flags=r.flags, protocol="test-selected/1",
            score=0.9, alternatives={HONEST: {"test": {"mcc": r.scores["test"]["mcc"]}}},
        )
        for r in nested()
    ]  # fmt: skip
    gain = next(x for x in inflation(chosen) if x.against == HONEST).gain
    assert gain.n == (3, 3) and gain.how == "same runs"
    assert gain.value == pytest.approx(0.9 - statistics.mean(MEANS))
    assert gain.high - gain.low > 0.5  # two degrees of freedom, not nine
    chosen[0].alternatives.clear()
    gain = next(x for x in inflation(chosen) if x.against == HONEST).gain
    assert gain.n == (3, 3) and gain.how == "same runs, not recorded in 1 others"


def test_a_learning_curve_counts_units():
    half = [replace(r, trial=replace(r.trial, train_share=0.5)) for r in nested()]
    (table,) = across_shares([*half, *nested()])
    found = trend(table, SHARE)
    assert share_section(found, 3).notes[0].startswith("Mean over 3 seeds")


def test_captions_count_what_the_deviations_are_over(tmp_path):
    table = only(nested() + runs("kmer", 0.4, range(5)))
    assert table.n == 5
    assert [cell_text(c, table)[2] for c in table.rows[0].cells] == ["", "n=3"]
    assert (
        "over n seeds, or pretrainings, each with the mean of its fine-tunings; n = 5 "
        in (caption(table)[0])
    )
    Store(tmp_path).append(table.records[0])
    assert "± sd over 5 seeds or pretrainings" in " ".join(
        overview(Report(evidence=(analyze(table),)), tmp_path).split()
    )
    assert "pretraining" not in caption(only(runs("kmer", 0.4)))[0]


def test_a_line_of_data_has_all_runs_that_share_seeds():
    """As of pretraining 0 of two machines."""
    flag = {"column": "hg38 @abc", "label": "char hg38"}
    found = [
        record("cnn", seed=seed, score=0.6 + 0.1 * k + 0.01 * seed, regime=f"checkpoint:x@{k}",
               flags={REGIME: {**flag, "unit": k}})
        for k in (0, 1) for seed in range(3)
    ]  # fmt: skip
    (line,) = csv.DictReader(io.StringIO(render([only(found)], "csv")))
    scores = [part.partition(":")[::2] for part in line["scores"].split()]
    assert sorted((int(seed), float(x)) for seed, x in scores) == sorted(
        (r.trial.seed, r.scores["test"]["mcc"]) for r in found
    )
    assert line["n"] == "2" and line["undefined"] == "0"
    assert cell_of(found, "mcc").summary.n == 2
