"""Scores without the copied examples, of real runs on a task whose test repeats training data."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench, gue

from dnabench.metrics import mcc
from dnabench.reports.cells import REGIME
from dnabench.reports.evidence import Interval
from dnabench.reports.leaks import leak_free, leak_section
from dnabench.reports.memo import Memo
from dnabench.reports.table import tables
from dnabench.results.store import Store
from dnabench.tasks.audit.audit import kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache with an audited task, and kmer's three runs on it."""
    home = tmp_path_factory.mktemp("leaks")
    for argv in (
        ["data", "import", gue(home)],
        ["audit", "data", "gue/mouse_0"],
        ["run", "-m", "kmer,majority", "--tasks", "gue/mouse_0", "--seeds", "3",
         "--out", home / "runs"],
    ):  # fmt: skip
        done = dnabench(*argv, cache=home / "cache")
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def store(folder, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(folder / "cache"))
    return Store(folder / "runs")


def test_scores_are_those_of_the_kept_examples(store, tmp_path):
    (table,) = tables(store)
    found = leak_free(table, store, Memo(tmp_path))
    by_model = {table.columns[x.column].model: x for x in found}
    assert by_model.keys() == {"kmer", "majority"}
    x = by_model["kmer"]
    assert (x.n, x.examples, x.leaked) == (3, 40, 2)
    runs = next(c for row in table.rows for c in row.cells if c.runs[0].trial.model == "kmer").runs
    whole, without = [], []
    for run in runs:
        stored = store.predictions(run.trial.id)
        y, logits = stored["labels"], stored["logits"]  # rows 0 and 1 of test are copies
        whole.append(mcc(y, logits))
        without.append(mcc(y[2:], logits[2:]))
    assert x.score == pytest.approx(np.mean(whole)) and x.without == pytest.approx(np.mean(without))
    assert x.change.value == pytest.approx(np.mean(without) - np.mean(whole))
    again = leak_free(table, store, Memo(tmp_path))
    assert repr(again) == repr(found) and list(tmp_path.iterdir())


def test_pretrainings_count_once(store):
    def of(records):
        (table,) = tables(records)
        return next(x for x in leak_free(table, store, Memo(None)) if x.column == 0)

    kmer = sorted((r for r in store if r.trial.model == "kmer"), key=lambda r: r.trial.seed)
    alone = [of([r]) for r in kmer]
    flag = {"column": "hg38 @abc", "label": "char hg38"}
    units = zip(kmer, (0, 0, 1), strict=True)
    found = of([replace(r, flags={REGIME: {**flag, "unit": unit}}) for r, unit in units])
    for name in ("score", "without"):
        a, b, c = (getattr(x, name) for x in alone)
        assert getattr(found, name) == pytest.approx(((a + b) / 2 + c) / 2)
    assert found.n == 2 and of(kmer).n == 3
    assert found.change.value == pytest.approx(found.without - found.score)


def test_no_predictions_no_line(store, tmp_path):
    (table,) = tables(store)
    elsewhere = Store(tmp_path)  # the same records, but no predictions
    assert leak_free(table, elsewhere, Memo(None)) == []
    assert leak_section(table, elsewhere, Memo(None)).rows == []


def test_an_audit_of_other_data_is_not_taken(store):
    (table,) = tables(store)
    (row,) = table.rows
    assert kept(row.task, row.data) is not None
    assert kept(row.task, "0" * 16) is None and kept("gue/mouse_1", row.data) is None


def test_the_report_shows_them(folder):
    for fmt, heading in (("md", "### Without the copied examples"), ("html", "Without the copied")):
        to = folder / f"report.{fmt}"
        argv = ["report", "--out", folder / "runs", "-f", fmt, "--to", to]
        done = dnabench(*argv, cache=folder / "cache")
        assert done.returncode == 0, done.stderr
        text = to.read_text()
        assert heading in text and "2 of 40" in text
    plain = dnabench("report", "--out", folder / "runs", "--full")
    assert "Without the copied" not in plain.stdout  # another cache holds no audit


def test_limited_runs_are_matched_by_id(store, folder, tmp_path):
    out = tmp_path / "few"
    done = dnabench("run", "-m", "kmer", "--tasks", "gue/mouse_0", "--seeds", "1", "--limit", "20",
                    "--out", out, cache=folder / "cache")  # fmt: skip
    assert done.returncode == 0, done.stderr
    few = Store(out)
    (table,) = tables(few)
    (x,) = leak_free(table, few, Memo(None))
    (record,) = few
    ids = set(few.predictions(record.trial.id)["ids"].tolist())
    leaked = set(json.loads(kept("gue/mouse_0", record.trial.data).to_json())["leaked_ids"])
    assert (x.examples, x.leaked) == (20, len(ids & leaked))
    assert isinstance(x.change, Interval) and np.isnan(x.change.low)
    (whole,) = tables(store)
    said = "These runs trained on a part of train"
    assert said in " ".join(leak_section(table, few, Memo(None)).notes)
    assert said not in " ".join(leak_section(whole, store, Memo(None)).notes)


def test_a_damaged_file_of_predictions_does_not_end_the_report(store, tmp_path):
    (table,) = tables(store)
    copy = Store(tmp_path / "runs")
    shutil.copytree(store.folder, copy.folder)
    first = next(r for r in copy if r.trial.model == "kmer")
    path = copy.predictions_path(first.trial.id)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = {table.columns[x.column].model: x.n for x in leak_free(table, copy, Memo(None))}
    assert found == {"kmer": 2, "majority": 3}
