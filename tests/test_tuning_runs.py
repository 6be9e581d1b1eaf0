"""Searches from end to end: one choice for a suite or a model, several regimes, Python."""

import shutil

import pandas as pd
import pytest
from conftest import dnabench

import dnabench as db
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.tuning import check_tuned
from dnabench.reports.tuning_all import names_of
from dnabench.results.searches import searches, values
from dnabench.results.store import Store

DEMO = {"suite": "demo", "limit": 60, "epochs": 1, "executor": "inline"}
FLAGS = ["--suite", "demo", "--limit", "60", "--epochs", "1", "--executor", "inline"]
TASKS = ("demo/cell_type", "demo/splice_junctions")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Two models tuned on a suite in Python, and the folder."""
    out = tmp_path_factory.mktemp("suite") / "runs"
    return out, db.tune(["kmer", "cnn"], per="suite", budget=3, seeds=3, out=out, **DEMO)


def test_one_choice_for_a_suite_is_that_of_the_mean_over_its_tasks(suite):
    out, tuned = suite
    assert [choice.tasks for choice in tuned.search.choices] == [TASKS, TASKS]
    for choice in tuned.search.choices:
        assert len(choice.candidates) == 3 and all(len(c.trials) == 4 for c in choice.candidates)
        means = {
            c.number: sum(sum(scores) for scores in c.scores.values()) / 4
            for c in choice.candidates
        }
        assert means[choice.chosen] == pytest.approx(max(means.values()), abs=1e-12)
        assert len(choice.final) == 6  # the same settings on both tasks, with three seeds
    text = dnabench("report", "--full", "--out", out).stdout
    assert "for each suite" in text and "and the tasks of a suite" in text


def test_one_choice_for_a_model_uses_the_trials_of_the_suite(suite):
    out, tuned = suite
    done = dnabench("tune", "-m", "kmer,cnn", *FLAGS, "--per", "model", "--budget", "3",
                    "--seeds", "3", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 ran, 24 already done" in done.stderr
    first, second = searches(Store(out))
    assert (first.per, second.per) == ("suite", "model") and first.id != second.id
    assert [c.chosen for c in first.choices] == [c.chosen for c in second.choices]
    assert first == tuned.search


def test_command_and_python_make_the_same_search(suite):
    out, tuned = suite
    done = dnabench("tune", "-m", "kmer,cnn", *FLAGS, "--per", "suite", "--budget", "3",
                    "--seeds", "3", "--out", out)  # fmt: skip
    assert "0 ran, 24 already done" in done.stderr and done.returncode == 0, done.stderr
    assert tuned.search in searches(Store(out)) and not tuned.failed
    assert isinstance(tuned, db.Results)
    final = {i for c in tuned.search.choices for pair in c.final.items() for i in pair}
    assert {record.trial.id for record in tuned.records} == final
    assert not any(record.trial.tuning for record in tuned.records)
    frame = tuned.choices()
    assert isinstance(frame, pd.DataFrame) and len(frame) == 2 * 2 * 3
    for choice in tuned.search.choices:
        own = frame[frame["model"] == choice.model]
        assert set(own[own["chosen"]]["number"]) == {choice.chosen}
        means = own.groupby("number")["validation"].mean()
        assert means.tolist() == pytest.approx(values(choice.candidates, tuned.search.metrics))


def test_python_refuses_what_the_command_refuses(tmp_path):
    with pytest.raises(ValueError, match="--budget 1"):
        db.tune("kmer", budget=1, out=tmp_path, **DEMO)
    with pytest.raises(ValueError, match="seed 3 is in --tuning-seeds"):
        db.tune("kmer", tuning_seeds=[3, 9], seeds=5, out=tmp_path, **DEMO)
    with pytest.raises(TypeError, match="'budgets'"):
        db.tune("kmer", budgets=5, out=tmp_path, **DEMO)


def test_compare_and_figure_know_the_tuned_column(suite, tmp_path):
    out, tuned = suite
    changed = [c.model for c in tuned.search.choices if c.chosen]
    assert changed, "this search changed nothing, so the test says nothing"
    for model in changed:
        done = dnabench("compare", f"{model} tuned", model, "--out", out)
        assert done.returncode == 0, done.stderr
        for pair in report(list(Store(out)), Store(out), Resampler(Store(out))).evidence:
            names = [c.name for c in pair.table.columns]
            for d in pair.comparisons:
                if {names[d.i], names[d.j]} == {f"{model} tuned", model}:
                    assert f"{d.means[0]:.4f}" in done.stdout
    for kind in ("strip", "curves"):
        file = tmp_path / f"{kind}.svg"
        done = dnabench("figure", kind, "-m", f"{changed[0]} tuned,{changed[0]}", "--out", out,
                        "--to", file)  # fmt: skip
        assert done.returncode == 0 and "tuned" in file.read_text(), done.stderr
    done = dnabench("figure", "strip", "-m", "cnn2", "--out", out, "--to", tmp_path / "x.svg")
    assert done.returncode and f"{changed[0]} tuned" in done.stderr


def test_two_regimes_are_tuned_apart_and_named_apart(tmp_path):
    kept = db.run("cnn", tasks=TASKS[0], seeds=1, keep="all", out=tmp_path / "kept", **{
        **DEMO, "suite": ()})  # fmt: skip
    (network,) = (tmp_path / "kept" / "networks").iterdir()
    assert len(kept.records) == 1
    out = tmp_path / "runs"
    tuned = db.tune(
        "cnn", tasks=TASKS[0], budget=2, seeds=2, out=out, limit=60, epochs=1, executor="inline",
        regime=["cnn=scratch", f"cnn=checkpoint:{network}"],
    )  # fmt: skip
    first, second = tuned.search.choices
    assert first.regime == "scratch" and second.regime.startswith(f"checkpoint:{network.name}")
    assert [c.settings for c in first.candidates] == [c.settings for c in second.candidates]
    assert set(names_of(tuned.search.choices).values()) == {
        "cnn (scratch)", f"cnn ({second.regime})"
    }  # fmt: skip
    (evidence,) = report(list(Store(out)), Store(out), Resampler(Store(out))).evidence
    tuned_columns = {c.regime for c in evidence.table.columns if c.named}
    assert tuned_columns == {c.regime for c in tuned.search.choices if c.chosen}
    text = dnabench("report", "--full", "--out", out).stdout
    assert text.count("| cnn (scratch) ") >= 2  # in both tables of tuning
    assert not any("tuned and" in remark for remark in evidence.remarks)


def test_a_tuned_column_that_is_the_default_is_said(suite):
    _, tuned = suite
    default = [
        type(c)(**{**vars(c), "chosen": 0, "final": {k: k for k in c.final}})
        for c in tuned.search.choices
    ]
    search = type(tuned.search)(**{**vars(tuned.search), "choices": tuple(default)})
    with pytest.raises(ValueError, match="chose the default on every task"):
        check_tuned("cnn tuned", [search])
    check_tuned("cnn", [search])
    check_tuned("cnn tuned", [search, tuned.search])


def test_workers_take_the_trials_of_a_search(suite, tmp_path):
    """What a killed search left open is run by a worker, and the search has nothing to repeat."""
    out, tuned = suite
    copy = Store(shutil.copytree(out, tmp_path / "runs"))
    tried = [i for choice in tuned.search.choices for c in choice.candidates for i in c.trials]
    lost = [*tried[::5], *(i for c in tuned.search.choices for i in list(c.final.values())[:2])]
    for trial in lost:
        copy.record_path(trial).unlink()
    done = dnabench("worker", "--out", copy.folder, "--executor", "inline")
    assert f"{len(set(lost))} ran, 0 failed" in done.stdout, done.stderr
    for trial in tried[::5]:
        record = copy.read(trial)
        assert set(record.scores) == {"val"} and record.scores == Store(out).read(trial).scores
    again = dnabench("tune", "-m", "kmer,cnn", *FLAGS, "--per", "suite", "--budget", "3",
                     "--seeds", "3", "--out", copy.folder)  # fmt: skip
    assert again.stderr.count("0 ran, ") == 2, again.stderr
    *_, search = searches(copy)  # the newest, as before but for the seconds of what ran again
    for a, b in zip(search.choices, tuned.search.choices, strict=True):
        assert (a.chosen, a.final) == (b.chosen, b.final)
        assert [c.scores for c in a.candidates] == [c.scores for c in b.candidates]


def test_a_dry_run_says_what_a_search_takes(tmp_path):
    done = dnabench("tune", "-m", "kmer", *FLAGS, "--budget", "3", "--seeds", "3", "--out",
                    tmp_path, "--dry-run", "--jobs", "1")  # fmt: skip
    assert "12 trials of tuning, 12 of them to run; then 12 final trials" in done.stdout
    assert "from start to end with --jobs 1; at most" in done.stdout, done.stderr
    assert not list(Store(tmp_path))
