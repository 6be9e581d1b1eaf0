"""reports/costs.py: what runs cost, in every format; on records made here, and on real ones."""

import csv
import io
import re
import subprocess
import sys

import pytest
from conftest import dnabench
from test_reports import record

from dnabench import MODELS, TASKS
from dnabench.reports.analysis import analyze
from dnabench.reports.costs import TITLE, cost_section, costs
from dnabench.reports.evidence import Report
from dnabench.reports.render import render
from dnabench.reports.table import tables
from dnabench.results.store import Store
from dnabench.train.flops import flops_per_sequence

HEADS = ["model", "parameters", "tasks", "GFLOP per sequence", "training (sequences/s)",
         "inference (sequences/s)", "peak memory (GiB)", "to the chosen epoch (s)",
         "a trial (s)"]  # fmt: skip
SIX = [{"epoch": e} for e in range(1, 7)]


def measured(model="a", task="demo/t", seed=0, **other):
    known = {
        "flops": 2_019_226_112, "seconds": 40.0, "seconds_to_best": 12.5 + seed,
        "examples_per_second": 100.0, "inference_per_second": 400.0 + 100 * seed,
        "peak_memory": 2**30 + seed, "curve": SIX, "best_epoch": 3,
    }  # fmt: skip
    return record(model, task, seed, 0.5 + seed / 100, **known | other)


def old(model="old", seed=0):
    """As records were before there were these fields."""
    return record(model, seed=seed, seconds=60.0, examples_per_second=50.0, peak_memory=2**29,
                  curve=SIX, best_epoch=3)  # fmt: skip


def section(records):
    (table,) = tables(records)
    return cost_section(table)


def test_means_over_runs_and_none_where_nobody_said():
    found = costs([measured(seed=0), measured(seed=1)])
    assert found == {
        "flops": 2_019_226_112, "train_per_second": 100.0, "inference_per_second": 450.0,
        "peak_memory": 2**30 + 1, "seconds": 40.0, "seconds_to_best": 13.0, "joules": None,
    }  # fmt: skip
    assert set(costs([record()]).values()) == {None} == set(costs([]).values())
    mixed = costs([measured(), old()])  # a run that does not say is no zero
    assert mixed["inference_per_second"] == 400 and mixed["flops"] == 2_019_226_112


def test_an_older_record_has_its_share_of_the_wall_time():
    assert costs([old()])["seconds_to_best"] == 60 * 3 / 6


def test_a_line_a_model_over_its_tasks():
    runs = [measured(seed=s) for s in range(2)]
    runs += [measured(task="demo/u", flops=10**9, seconds=20.0, peak_memory=2**31)]
    heads, rows = section([*runs, old()])[1:3]
    assert heads == HEADS
    assert rows == [
        ["a", "386,120", "2", "1.51", "100", "425", "2.00", "12.8", "30.0"],
        ["old", "386,120", "1", "–", "50.0", "–", "0.50", "30.0", "60.0"],
    ]


def test_energy_has_a_column_only_where_a_device_said_it():
    assert "energy (J)" not in section([measured()]).heads
    found = section([measured(joules=1240.2), old()])
    assert found.heads == [*HEADS, "energy (J)"] and "Energy: the device" in found.notes[0]
    assert [row[-1] for row in found.rows] == ["1,240", "–"]


def test_failed_runs_cost_nothing():
    broken = record("b", seed=0, scores={}, error="ValueError: x")
    assert [row[0] for row in section([measured(), broken]).rows] == ["a"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Real records of a network and a model that is none."""
    out = tmp_path_factory.mktemp("costs") / "runs"
    done = dnabench("run", "-m", "kmer,cnn", "-t", "demo/splice_junctions", "--seeds", "2",
                    "--limit", "150", "--epochs", "2", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(Store(out))


def test_real_records_in_every_format(runs):
    (table,) = tables(runs)
    evidence = analyze(table)
    evidence = evidence.__class__(**vars(evidence) | {"sections": (cost_section(table),)})
    one = Report(evidence=(evidence,))
    cnn, task = MODELS["cnn"], TASKS["demo/splice_junctions"]
    flops = flops_per_sequence(cnn, cnn.options, task)
    lines = {x["model"]: x for x in csv.DictReader(io.StringIO(render(one, "csv")))}
    assert lines["cnn"]["flops"] == str(flops) and lines["kmer"]["flops"] == ""
    for line in lines.values():
        assert line["joules"] == ""
        to_best, trial = float(line["seconds_to_best"]), float(line["seconds"])
        assert 0 < to_best < trial and float(line["inference_per_second"]) > 0
    shown = f"{flops / 1e9:.3g}"
    texts = {fmt: render(one, fmt) for fmt in ("md", "latex", "html")}
    for text in texts.values():
        assert TITLE in text and shown in text
        assert all(head in text for head in HEADS)
    assert "energy (J)" not in "".join(texts.values())
    (body,) = re.findall(r"\\begin\{tabular\}\{l(r+)\}(.*?)\\bottomrule", texts["latex"], re.S)
    assert len(body[0]) == len(HEADS) - 1
    assert {x.count(" & ") for x in body[1].splitlines() if x.endswith(r"\\")} == {len(HEADS) - 1}


def test_no_torch():
    code = "import dnabench.reports.costs, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
