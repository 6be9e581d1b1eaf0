"""What may be averaged and compared: versions and machines, copies of records, invalid records."""

import json
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import dnabench
from sklearn.metrics import accuracy_score
from test_reports import record, runs

from dnabench.metrics import mcc
from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.memo import Memo
from dnabench.reports.pooling import code_remarks, mixed_cells, repeated_runs, unlike_models
from dnabench.reports.render import compare_text, render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.summary import summary_sentences
from dnabench.reports.validity import checked
from dnabench.results.rows import Unread
from dnabench.results.store import Store

OLD = {"dnabench": "0.1.0", "torch": "2.13.0", "commit": "a" * 40, "device": "cpu", "threads": 1}
NEW = OLD | {"dnabench": "0.2.0", "device": "cuda (NVIDIA H100)"}


def by(where, records):
    return [replace(r, where=where) for r in records]


def only(records):
    (table,) = tables(records)
    return table


def test_seeds_of_two_versions_are_named():
    mixed = by(OLD, runs("a", 0.7)) + by(NEW, runs("a", 0.7, range(5, 10)))
    others = by(OLD, runs("b", 0.6, range(10)))
    words = (
        "a on demo/t mixes seeds 0-4 by dnabench 0.1.0 on cpu; seeds 5-9 by dnabench 0.2.0 on "
        "cuda (NVIDIA H100)"
    )
    assert mixed_cells(only(mixed + others)) == [words]
    found = analyze(only(mixed + others))
    assert found.remarks[0].startswith("different code or machines are compared on demo/t: a by ")
    assert found.remarks[1] == words
    for fmt in ("md", "html"):
        assert words in render(Report(evidence=(found,)), fmt)
    one = by(OLD, runs("a", 0.7123, step=0.0123)) + by(OLD, runs("b", 0.6, step=0.0211))
    assert not analyze(only(one)).remarks


def test_some_seeds_that_trained_alike_are_named():
    def trained(losses, score=0.7):
        return [
            record("a", seed=s, score=score + loss / 100, curve=[{"epoch": 1, "loss": loss}])
            for s, loss in enumerate(losses)
        ]

    said = "a on demo/t: seeds 0 and 2 have the same losses and scores: copies, or a network that "
    others = runs("b", 0.6, step=0.0211)
    alike = trained([0.31, 0.42, 0.31, 0.53, 0.74])
    (found,) = repeated_runs(only(alike + others))
    assert found.startswith(said) and found in analyze(only(alike + others)).remarks
    assert repeated_runs(only(trained([0.31] * 5))) == []  # all: a model that draws nothing
    assert repeated_runs(only(trained([0.31, 0.42, 0.5]))) == []
    by_chance = [replace(r, scores={"test": {"mcc": 0.7}}) for r in trained([0.1, 0.2, 0.3])]
    assert repeated_runs(only([*by_chance, record("a", seed=3)])) == []
    assert repeated_runs(only([*runs("a", 0.7, step=0), record("a", seed=9)])) == []  # no curves
    apart = [replace(run, curve=Unread("no JSON")) for run in runs("a", 0.7)]
    assert repeated_runs(only(apart)) == []  # and no curve is read, of 100,000 records


def test_models_of_different_machines_are_named():
    table = only(by(OLD, runs("a", 0.7)) + by(NEW, runs("b", 0.6)))
    assert mixed_cells(table) == []
    assert unlike_models(table) == [
        "different code or machines are compared on demo/t: a by dnabench 0.1.0 on cpu; b by "
        "dnabench 0.2.0 on cuda (NVIDIA H100)"
    ]
    forms = [by(OLD | {"convolution": {"3x3": form}}, runs(m, 0.5)) for m, form in
             (("a", "direct"), ("b", "fft"))]  # fmt: skip
    assert unlike_models(only(forms[0] + forms[1])) == []  # models differ in them


def test_threads_and_forms_of_a_cell_count():
    records = runs("a", 0.7, range(2))
    found = by(OLD | {"convolution": {"x": "fft"}}, records[:1]) + by(
        OLD | {"threads": 4, "convolution": {"x": "direct"}}, records[1:]
    )
    assert mixed_cells(only(found)) == [
        "a on demo/t mixes seed 0 by threads 1, convolutions fft; seed 1 by threads 4, "
        "convolutions direct"
    ]
    assert code_remarks(only(found)) == []  # the same code


def test_same_code_refuses(tmp_path):
    store = Store(tmp_path)
    for one in by(OLD, runs("a", 0.7)) + by(NEW, runs("b", 0.8)):
        store.append(one)
    with pytest.raises(ValueError, match=r"not of the same code: different code .*a by dnabench 0"):
        report(list(store), store, Resampler(store), same_code=True)
    refused = dnabench("report", "--out", tmp_path, "--same-code")
    assert refused.returncode == 2 and "b by dnabench 0.2.0" in refused.stderr
    plain = dnabench("report", "--out", tmp_path)
    assert plain.returncode == 0 and "different code or machines are compared" in plain.stdout


def test_copies_are_named_and_counted_once(tmp_path):
    store = Store(tmp_path)
    for one in runs("a", 0.7) + runs("b", 0.8):
        store.append(one)
    before = render(report(list(store), store, Resampler(store)), "csv")
    path = next((tmp_path / "records").iterdir())
    for name in (f"{path.stem} 2", f"{path.stem} (1)", f"{path.stem}.conflict"):
        shutil.copy(path, path.with_name(f"{name}.json"))
    text = path.read_text().replace('"mcc": 0.', '"mcc": 0.9')
    path.with_name(f"{path.stem}-changed.json").write_text(text)
    store = Store(tmp_path)
    found = report(list(store), store, Resampler(store))
    assert render(found, "csv") == before
    (note,) = found.notes
    assert note.startswith("4 files of records not counted, since each is a copy of a trial")
    assert f"{path.stem} (1).json" in note
    for fmt in ("md", "html"):
        assert "4 files of records not counted" in render(found, fmt)
    assert "4 files of records not counted" in dnabench("report", "--out", tmp_path).stdout


def stored(folder, models=("a", "b"), n=60, **facts):
    store, y = Store(folder), np.arange(n) % 2
    store.check_writable()
    rng = np.random.default_rng(0)
    for model in models:
        for seed in range(5):
            said = np.where(rng.random(n) < 0.3, 1 - y, y)
            logits = np.eye(2, dtype=np.float32)[said]
            one = record(model, seed=seed, score=mcc(y, logits))
            one = replace(one, task={**one.task, **facts})
            store.append(one, {"logits": logits, "labels": y, "ids": np.arange(n).astype(str)})
    return store


def test_a_score_that_does_not_follow_is_invalid_and_never_bold(tmp_path):
    store = stored(tmp_path)
    for one in [r for r in store if r.trial.model == "a"]:
        changed = replace(one, scores={"test": {"mcc": 0.99}})
        store.record_path(one.trial.id).write_text(changed.to_json())
    found = report(list(store), store, Resampler(store, replicates=50))
    (row,) = found.evidence[0].table.rows
    assert sorted((len(c.invalid), len(c.scores)) for c in row.cells) == [(0, 5), (5, 0)]
    assert row.best == frozenset()
    text = render(found, "md")
    assert "| 5 invalid " in text and "0.99" not in text.split("### Failed runs")[0]
    assert "invalid: its record says mcc 0.990000, " in text and "**0.99" not in text
    assert "invalid: runs whose score does not follow from their predictions" in text
    said = summary_sentences(found.evidence[0])
    assert said[-1] == (
        "Runs: 5 invalid (excluded: the score does not follow from the predictions)."
    )
    assert "0.99" not in compare_text(checked(store, store, Memo(None)), "a", "b")


def edited(tmp_path):
    """A folder whose model `a` has another accuracy in its records than its predictions give."""
    store = stored(tmp_path)
    for one in store:
        scores = one.scores["test"]
        y, logits = (store.predictions(one.trial.id)[name] for name in ("labels", "logits"))
        right = accuracy_score(y, logits.argmax(1))
        score = 0.999 if one.trial.model == "a" else right
        changed = replace(one, scores={"test": {**scores, "accuracy": score}})
        store.record_path(one.trial.id).write_text(changed.to_json())
    return store


def test_a_changed_score_is_invalid_where_it_is_shown(tmp_path):
    store = edited(tmp_path)
    for shown, invalid in (({}, 0), ({"metric": "accuracy"}, 5), ({"all_metrics": True}, 5)):
        found = report(list(store), store, Resampler(store, replicates=50), **shown)
        (row,) = found.evidence[0].table.rows
        assert sorted(len(cell.invalid) for cell in row.cells) == [0, invalid], shown
        assert "0.999" not in render(found, "csv", "all_metrics" in shown)
    out = dnabench("report", "--out", tmp_path, "--format", "csv", "--all-metrics").stdout
    assert "accuracy" in out and "0.999" not in out


def test_every_command_tells_of_changed_scores(tmp_path):
    store = edited(tmp_path)
    check = dnabench("store", "check", "--out", tmp_path)
    assert check.returncode == 1 and "10 records, 5 faults" in check.stdout
    assert "its record says accuracy 0.999000, " in check.stdout
    compared = dnabench("compare", "a", "b", "--out", tmp_path, "--metric", "accuracy").stdout
    assert compared.startswith("5 runs left out as invalid (a on demo/t, seed ")
    drawn = ["figure", "strip", "--out", tmp_path, "--to", tmp_path / "x.png"]
    assert dnabench(*drawn).stderr == ""
    found = dnabench(*drawn, "--metric", "accuracy")
    assert "note: 5 runs left out as invalid" in found.stderr, found.stderr
    one = next(r for r in store if r.trial.model == "b")
    changed = replace(one, scores={"test": {"mcc": 0.99}})
    store.record_path(one.trial.id).write_text(changed.to_json())
    assert f"note: 1 run left out as invalid (b on demo/t, seed {one.trial.seed})" in (
        dnabench(*drawn).stderr
    )


def test_compare_names_invalid_runs_of_its_two_models_on_their_tasks_alone(tmp_path):
    store = stored(tmp_path, models=("a", "b", "c"))
    for one in [r for r in store if r.trial.model == "c"]:
        changed = replace(one, scores={"test": {"mcc": 0.99}})
        store.record_path(one.trial.id).write_text(changed.to_json())
        other = replace(changed.trial, model="a", task="demo/only-a")
        store.append(replace(changed, trial=other), store.predictions(one.trial.id))
    assert "invalid" not in dnabench("compare", "a", "b", "--out", tmp_path).stdout
    said = dnabench("compare", "a", "c", "--out", tmp_path).stdout
    assert (
        said.startswith("5 runs left out as invalid (c on demo/t, seed ") and "only-a" not in said
    )


def test_the_screen_says_which_tests_leave_the_test_examples_out(tmp_path):
    store = stored(tmp_path, ("a", "b", "c"))
    shown = dnabench("report", "--out", tmp_path).stdout
    assert "variation between seeds only" not in shown
    one = next(r for r in store if r.trial.model == "a")
    store.predictions_path(one.trial.id).unlink()
    shown = " ".join(dnabench("report", "--out", tmp_path).stdout.split())
    assumed = shown.partition("Assumptions (see docs/verdict.md)")[2]
    assert "- 2 of 3 comparisons cover variation between seeds only, not the sampling" in assumed
    assert shown.count("variation between seeds only") == 1


def test_predictions_that_cannot_be_read_make_a_record_invalid(tmp_path):
    store = stored(tmp_path)
    one = next(iter(store)).trial.id
    store.predictions_path(one).write_bytes(b"PK\3\4 no archive")
    (bad,) = [r for r in checked(store, store, Memo(None)) if r.flags.get("invalid")]
    assert bad.trial.id == one and "cannot read" in bad.flags["invalid"]
    store.predictions_path(one).unlink()  # not there: nothing can be said
    assert not [r for r in checked(store, store, Memo(None)) if r.flags.get("invalid")]


@pytest.mark.slow
def test_invalid_trials_run_anew_and_nothing_is_lost(tmp_path):
    words = ("run", "-m", "kmer", "-t", "demo/splice_junctions", "--seeds", "2", "--limit", "60",
             "--out", tmp_path)  # fmt: skip
    assert dnabench(*words).returncode == 0
    store = Store(tmp_path)
    ids = sorted(r.trial.id for r in store)
    path = store.record_path(ids[0])
    good = json.loads(path.read_text())["scores"]
    one = store.read(ids[0])
    path.write_text(replace(one, scores={"test": {"mcc": 0.99}}).to_json())
    assert "1 invalid" in dnabench("report", "--out", tmp_path).stdout
    listed = dnabench(*words, "--invalid", "--dry-run").stdout
    assert ids[0] in listed and ids[1] not in listed and path.exists()
    done = dnabench(*words, "--invalid")
    assert "1 ran" in done.stdout, done.stdout + done.stderr
    assert json.loads(path.read_text())["scores"] == good
    (aside,) = (tmp_path / "records").glob("*.replaced-1")
    assert '"mcc": 0.99' in aside.read_text()
    done = dnabench(*words, "--again", ids[1])
    assert "1 ran" in done.stdout and len(list(Store(tmp_path))) == 2
    wrong = dnabench(*words, "--again", "0" * 16)
    assert wrong.returncode == 2 and "not a trial of this command" in wrong.stderr


CASE = Path(__file__).parent.parent.parent / "shared/cases/give-38-report-two-versions"


@pytest.mark.slow
def test_the_case_of_two_versions(tmp_path, monkeypatch):
    if not CASE.exists():
        pytest.skip(f"no {CASE}")
    shutil.copy(CASE / "make.py", tmp_path)

    def run(argv, check):
        done = dnabench(*argv[1:])
        assert done.returncode == 0, done.stderr

    monkeypatch.setattr(subprocess, "run", run)
    runpy.run_path(str(tmp_path / "make.py"))
    monkeypatch.undo()
    said = dnabench("report", "--out", tmp_path / "runs").stdout
    words = " ".join(said.split())
    assert "cnn on data/data mixes seeds 0 and 2 by dnabench 0." in words
    assert "seed 1 by dnabench 0.0.9, commit 00000000, torch 1.13.0" in words
