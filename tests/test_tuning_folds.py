"""Tuning under nt-cv10: each fold has a choice of its own, made without that fold."""

import dataclasses
import itertools

import numpy as np
import pytest
from conftest import planted_split, planted_task

import dnabench as db
from dnabench import MODELS, Sequences, Trial
from dnabench.protocols import FOLDS, folds_of, nested_seeds, protocol_named
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.results.searches import searches
from dnabench.results.store import Store
from dnabench.splits import cut
from dnabench.sweep.trial import run_trial
from dnabench.types import Job

NT = protocol_named("nt-cv10")


def test_a_trial_of_tuning_has_no_example_of_its_fold():
    task = planted_task(n=100, dev=False)
    for k in range(FOLDS):
        rest, held = (set(part.ids) for part in cut(task, NT, k))
        for j in (seed - 1000 - 10 * k for seed in nested_seeds(k, FOLDS - 1)):
            train, val = (set(part.ids) for part in cut(task, NT, 1000 + 10 * k + j, tuning=True))
            assert not (train | val) & held and train | val == rest and not train & val
            assert val == set(cut(task, NT, j)[1].ids) and j != k


def test_seeds_of_tuning_are_those_of_no_ordinary_trial():
    task = planted_task(dev=False)
    assert [folds_of(seed) for seed in nested_seeds(9, 2)] == [(9, 0), (9, 1)]
    assert folds_of(3) == (-1, 3)
    with pytest.raises(ValueError, match="seed 1001: nt-cv10/1 has the folds"):
        cut(task, NT, 1001)
    for seed in (3, 1000, 1099, 1100):
        with pytest.raises(ValueError, match=f"seed {seed}: a trial of tuning under nt-cv10/1"):
            cut(task, NT, seed, tuning=True)


def with_noise(fold):
    """A planted task whose sequences in one fold are replaced by random ones; no test split."""
    whole = planted_split(100, 0)
    rng = np.random.default_rng(9)

    def load(split):
        assert split == "train", f"the {split} split was touched"
        seqs = [whole.seqs[i] for i in range(len(whole.y))]
        for row in places.get(fold, ()):
            seqs[row] = "".join(rng.choice(list("ACGT"), 60))
        return whole._replace(seqs=Sequences.parse(seqs))

    places = {}
    task = planted_task(n=100, dev=False, load=load)
    where = {name: row for row, name in enumerate(whole.ids)}
    held = {k: [where[i] for i in cut(task, NT, k)[1].ids] for k in range(FOLDS)}
    places.update(held)
    return task


@pytest.mark.parametrize("model", ["kmer", "cnn"])
def test_nothing_of_a_fold_reaches_the_trials_that_choose_for_it(model, monkeypatch):
    """Other sequences in fold 4: its own trials stay as they are, and those of fold 5 change."""
    from dnabench import TASKS

    def scores(task, seed):
        monkeypatch.setitem(TASKS._entries, task.name, task)
        recipe = dataclasses.replace(MODELS[model].recipes["default"], epochs=2)
        trial = Trial(
            model=model, options=dict(MODELS[model].options), regime="scratch", task=task.name,
            data=task.data, protocol=NT.name, recipe=recipe, seed=seed, scored="val",
        )  # fmt: skip
        record, predictions = run_trial(Job(trial))
        assert not predictions and set(record.scores) == {"val"}
        return [dict(record.scores["val"]), [row["loss"] for row in record.curve]]

    list(TASKS)
    clean, noisy = with_noise(-1), with_noise(4)
    for seed in nested_seeds(4, 2):
        assert scores(clean, seed) == scores(noisy, seed)
    (seed,) = nested_seeds(5, 1)
    assert scores(clean, seed) != scores(noisy, seed)


def test_each_fold_is_tested_with_its_own_choice(csv, tmp_path):
    flags = {"data": csv, "epochs": 1, "limit": 60, "executor": "inline", "protocol": "nt-cv10"}
    tuned = db.tune("kmer", budget=4, seeds="0,3,7", tuning_seeds=2, out=tmp_path, **flags)
    store, choices = Store(tmp_path), tuned.search.choices
    assert [choice.fold for choice in choices] == [0, 3, 7]
    assert [*tuned.choices().fold.unique()] == [0, 3, 7]
    for choice in choices:
        seeds = {store.read(i).trial.seed for c in choice.candidates for i in c.trials}
        assert seeds == set(nested_seeds(choice.fold, 2))
        assert all(len(c.trials) == 2 for c in choice.candidates)
        means = [sum(*c.scores.values()) for c in choice.candidates]
        best = [c.number for c, x in zip(choice.candidates, means, strict=True) if x == max(means)]
        assert choice.chosen in best
        ((default, chosen),) = choice.final.items()
        assert store.read(default).trial.seed == store.read(chosen).trial.seed == choice.fold
        said = dict(setting.split("=") for setting in choice.best.settings)
        options = store.read(chosen).trial.options
        assert all(str(options[name]) == value for name, value in said.items())
    assert searches(store) == [tuned.search]
    (evidence,) = report(list(store), store, Resampler(store)).evidence
    text = tuned.report()
    assert "fold 3" in text and "leaves fold k out" in text
    columns = {c.name for c in evidence.table.columns}
    assert columns == {"kmer", "kmer tuned"} if any(c.chosen for c in choices) else {"kmer"}
    for row, column in itertools.product(evidence.table.rows, range(len(columns))):
        assert set(row.cells[column].scores) == {0, 3, 7}


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"tuning_seeds": "7,8"}, "give how many of these, 1 to 9"),
     ({"tuning_seeds": 10}, "give how many of these"), ({"seeds": "3,12"}, "12 is no fold")],
)  # fmt: skip
def test_seeds_that_are_no_folds_are_refused(changes, why, csv, tmp_path):
    with pytest.raises(ValueError, match=why):
        db.tune("kmer", csv, out=tmp_path, protocol="nt-cv10", **{"seeds": 3, **changes})
