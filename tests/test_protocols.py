"""harness/protocols.py and the cuts they ask for: who validates, and what the plan refuses."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import planted_split, planted_task

from dnabench import MODELS, TASKS, Sequences, Split, Trial
from dnabench.metrics import METRICS
from dnabench.protocols import FOLDS, PROTOCOLS, VALIDATION, check_protocol, protocol_named
from dnabench.splits import cut, folds, random_tenth, same_sequence, streams
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import run_trial
from dnabench.tasks.io.files import task_from_path
from dnabench.train.loop import fit
from dnabench.types import Job

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
PAPERS = ["caduceus-cv/1", "dnabert2-gue/1", "nt-cv10/1"]
HONEST, CADUCEUS, GUE, NT = (PROTOCOLS[name] for name in ["honest/1", *PAPERS])
DEV = planted_split(80, 1)


def real(folder, name):
    """A task from official files, under its own name."""
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {DATA / folder}: the benchmark's files are not here")
    return task_from_path(DATA / folder, name)


@pytest.fixture
def registered(monkeypatch):
    """Put a task in the registry for one test."""
    list(TASKS)

    def put(task):
        monkeypatch.setitem(TASKS._entries, task.name, task)
        return task

    yield put


def job(task, protocol, model="kmer", seed=0, **trial):
    recipe = dataclasses.replace(MODELS[model].recipes["default"], epochs=2)
    return Job(
        Trial(
            model=model, options=dict(MODELS[model].options), regime="scratch", task=task.name,
            data=task.data, protocol=protocol, recipe=recipe, seed=seed, **trial,
        )
    )  # fmt: skip


def cut_at(task, protocol, seed):
    return cut(task, protocol, streams(seed, task.name, protocol).cut)


def check_parts(task, train, val):
    """Train and validation share no row and together are the official train."""
    ids = [*train.ids, *val.ids]
    assert len(ids) == len(set(ids)) and set(ids) == set(task.load("train").ids)


# What came before stays as it was


def test_the_cuts_of_the_first_protocols_never_move():
    """The hash is that of commit 12d19b6, before there were other cuts."""
    found = hashlib.sha256()
    task = planted_task(dev=False)
    for name in ("honest/1", "last-epoch/1"):
        for seed, limit in ((0, 0), (1, 0), (7, 0), (7, 50), (7, 0.3)):
            train, val = cut(task, PROTOCOLS[name], streams(seed, task.name).cut, limit)
            found.update(" ".join([*train.ids, "|", *val.ids]).encode())
    assert found.hexdigest() == "20d4c9a6d031e8c49ecde334d6ac1fc25d43f68cdd9075d44f6cbc7b9dc3c6af"


def test_their_streams_are_those_without_a_protocol():
    for name in ("honest/1", "last-epoch/1", "test-selected/1", "dnabert2-gue/1"):
        assert streams(3, "x/y", PROTOCOLS[name]) == streams(3, "x/y")
    assert streams(3, "x/y", NT) == streams(3, "x/y")._replace(cut=3)


def test_every_protocol_can_be_named_and_says_what_it_does():
    assert [protocol_named(p.partition("/")[0]).name for p in PAPERS] == PAPERS
    for protocol in PROTOCOLS.values():
        assert protocol.validation in VALIDATION and len(protocol.why) > 40
        assert not protocol.why.endswith(".")  # reports put one there
        assert set(protocol.metrics.values()) <= METRICS.keys()
    assert "2 SD" in NT.why and "not stratified" in CADUCEUS.why


# caduceus-cv/1


# datasets 5.2.0: the rows that Dataset.train_test_split(test_size=0.1, seed=seed) calls "test".
@pytest.mark.parametrize(
    ("n", "seed", "rows"),
    [
        (30, 1, [7, 16, 21]), (30, 10, [5, 9, 17]),
        (101, 1, [5, 6, 8, 16, 20, 44, 47, 56, 60, 68, 88]),
        (101, 2, [7, 10, 14, 47, 52, 56, 69, 84, 91, 92, 95]),
        (163, 1, [8, 18, 20, 43, 44, 47, 59, 63, 65, 67, 83]),
    ],
)  # fmt: skip
def test_caduceus_validates_on_the_rows_of_its_papers_split(n, seed, rows):
    task = planted_task(n, dev=False, classes=3)
    train, val = cut_at(task, CADUCEUS, seed)
    place = {name: i for i, name in enumerate(task.load("train").ids)}
    assert sorted(place[i] for i in val.ids)[:11] == rows
    assert len(val.ids) == -(-n // 10)
    check_parts(task, train, val)


def test_that_split_is_random_and_not_stratified():
    counts = [int(np.bincount(np.arange(1000)[random_tenth(1000, s)] % 2)[0]) for s in range(40)]
    assert len(set(counts)) > 8 and 47 < np.mean(counts) < 53  # stratified: 50 every time


def test_caduceus_cuts_train_even_beside_a_dev_split_which_it_never_reads():
    task = planted_task(dev=True)
    train, val = cut_at(task, CADUCEUS, 1)
    assert task.loaded == ["train"] and (len(train.y), len(val.y)) == (144, 16)


# nt-cv10/1


@pytest.mark.parametrize("classes", [2, 3])
def test_ten_folds_hold_every_example_once_and_each_class_evenly(classes):
    task = planted_task(157, classes=classes)
    everything, held = task.load("train"), []
    for k in range(10):
        train, val = cut_at(task, NT, k)
        check_parts(task, train, val)
        held.append(val)
    assert sorted(i for val in held for i in val.ids) == sorted(everything.ids)
    sizes = np.array([np.bincount(val.y, minlength=classes) for val in held])
    assert np.ptp(sizes, axis=0).max() <= 1 and np.ptp(sizes.sum(1)) <= 1
    assert "dev" not in task.loaded and "test" not in task.loaded


def test_folds_differ_between_tasks_and_not_between_calls():
    one, same, other = (planted_task(name=f"x/{name}") for name in "aab")
    assert list(cut_at(one, NT, 4)[1].ids) == list(cut_at(same, NT, 4)[1].ids)
    assert list(cut_at(one, NT, 4)[1].ids) != list(cut_at(other, NT, 4)[1].ids)


def test_copies_of_a_sequence_are_in_one_fold_on_either_strand():
    one = planted_split(50, 5)
    back = one.seqs.reverse_complement()
    words = [one.seqs[i] for i in range(50)] * 2 + [back[i] for i in range(50)]
    ids = np.arange(150).astype(str)
    fold = folds(Split(Sequences.parse(words), np.tile(one.y, 3), ids), 10, seed=0)
    np.testing.assert_array_equal(fold[:50], fold[50:100])
    np.testing.assert_array_equal(fold[:50], fold[100:])
    assert np.bincount(fold).tolist() == [15] * 10


@pytest.mark.parametrize("shape", [(40, 3), (40, 60)])
def test_labels_that_are_no_classes_are_dealt_evenly_too(shape):
    split = planted_split(40, 2)._replace(y=np.ones(shape, np.float32))
    assert np.bincount(folds(split, 10, seed=1)).tolist() == [4] * 10


@pytest.mark.parametrize("seed", [10, 42, 2222, -1])
def test_a_seed_that_is_no_fold_is_refused(seed):
    task = planted_task()
    message = rf"seed {seed}: nt-cv10/1 has the folds 0\.\.9, .* write --seeds 10 for all"
    with pytest.raises(ValueError, match=message):
        cut_at(task, NT, seed)
    assert task.loaded == []
    assert FOLDS == 10 and all(check_protocol(NT, task, k) is None for k in range(10))


@pytest.mark.parametrize(
    ("protocol", "n", "message"),
    [(NT, 9, "train has fewer than 10 different sequences, so no"),
     (CADUCEUS, 1, "train has one example, so no validation can be cut off; add examples or run")],
)  # fmt: skip
def test_too_few_examples_for_a_cut_are_named(protocol, n, message):
    few = planted_split(n, 0)
    task = planted_task(dev=False, load=lambda split: few)
    with pytest.raises(ValueError, match=rf"planted/motif: {message}"):
        cut_at(task, protocol, 9)


# dnabert2-gue/1


def test_gue_needs_the_official_dev_split():
    train, val = cut_at(planted_task(dev=True), GUE, 42)
    assert len(train.y) == 160 and list(val.ids) == list(planted_split(80, 1).ids)
    task = planted_task(dev=False)
    with pytest.raises(ValueError, match="official dev split, and planted/motif has none; leave"):
        cut_at(task, GUE, 42)
    assert task.loaded == []


# From the plan to the record


def test_the_plan_refuses_what_a_protocol_cannot_take(registered):
    task = registered(planted_task(dev=False))
    ask = {"models": ["kmer"], "tasks": [task.name]}
    with pytest.raises(ValueError, match=r"seed 10: nt-cv10/1 has the folds 0\.\.9"):
        grid(Request(**ask, protocol="nt-cv10", seeds="11"))
    with pytest.raises(ValueError, match="dnabert2-gue/1 chooses on the official dev split, and"):
        grid(Request(**ask, protocol="dnabert2-gue", seeds="1"))
    assert len(grid(Request(**ask, protocol="nt-cv10", seeds="10"))) == 10
    assert task.loaded == []


@pytest.mark.parametrize("protocol", PAPERS)
def test_every_model_validates_on_the_same_examples(registered, monkeypatch, protocol):
    task = registered(planted_task())
    watched = {}

    def spied(learner, objective, protocol, watch, *rest, **more):
        watched[type(learner).__name__, len(watched)] = list(watch["val"].ids)
        return fit(learner, objective, protocol, watch, *rest, **more)

    monkeypatch.setattr("dnabench.train.loop.fit", spied)
    records = [run_trial(job(task, protocol, model, 6))[0] for model in ("kmer", "cnn")]
    first, second = watched.values()
    assert first == second == list(cut_at(task, PROTOCOLS[protocol], 6)[1].ids)
    assert {kind for kind, _ in watched} == {"KmerRegression", "NetLearner"}
    assert records[0].streams == records[1].streams
    assert records[0].streams["cut"] == streams(6, task.name, PROTOCOLS[protocol]).cut


@pytest.mark.parametrize("protocol", PAPERS)
def test_test_is_read_once_and_last(registered, protocol):
    task = registered(planted_task())
    record, _ = run_trial(job(task, protocol))
    assert task.loaded.count("test") == 1 and task.loaded[-1] == "test"
    assert ("val_loss" in record.curve[0]) == (protocol == "dnabert2-gue/1")
    assert record.alternatives == {}


# Real files

GUE_FILES = [("gue/prom/prom_core_tata", "gue/prom_core_tata"), ("gue/mouse/2", "gue/mouse_2")]
H3 = ("nt_histone_reduced/H3", "nt_reduced/h3")


@pytest.mark.parametrize(("folder", "name"), [*GUE_FILES, H3])
def test_ten_folds_of_real_files(folder, name):
    task = real(folder, name)
    train = task.load("train")
    group = dict(zip(train.ids, same_sequence(train.seqs), strict=True))
    share, held = np.bincount(train.y) / len(train.y), []
    for k in range(10):
        rest, val = cut_at(task, NT, k)
        check_parts(task, rest, val)
        assert not {group[i] for i in val.ids} & {group[i] for i in rest.ids}
        assert abs(len(val.y) - len(train.y) / 10) <= 3  # copies make a fold larger
        np.testing.assert_allclose(np.bincount(val.y) / len(val.y), share, atol=0.005)
        held += list(val.ids)
    assert sorted(held) == sorted(train.ids)


@pytest.mark.parametrize(("folder", "name"), [*GUE_FILES, H3])
def test_the_random_tenth_of_real_files(folder, name):
    task = real(folder, name)
    cuts = [cut_at(task, CADUCEUS, seed) for seed in (1, 2)]
    for train, val in cuts:
        check_parts(task, train, val)
        assert len(val.y) == -(-len(task.load("train").y) // 10)
    assert set(cuts[0][1].ids) != set(cuts[1][1].ids)


def test_gue_validates_on_the_dev_file_and_h3_has_none():
    train, val = cut_at(real(*GUE_FILES[0]), GUE, 42)
    assert (len(train.y), len(val.y)) == (4904, 613)
    with pytest.raises(ValueError, match="and nt_reduced/h3 has none"):
        cut_at(real(*H3), GUE, 42)


@pytest.mark.parametrize(
    ("protocol", "files", "sizes"),
    [("caduceus-cv/1", H3, (3567, 397, 1497)), ("nt-cv10/1", H3, (3567, 397, 1497)),
     ("dnabert2-gue/1", GUE_FILES[1], (2620, 328, 328))],
)  # fmt: skip
def test_the_papers_protocols_run_on_real_files(registered, protocol, files, sizes):
    task = registered(real(*files))
    one = job(task, protocol, seed=1)
    quick = dataclasses.replace(one.trial, options={"k_min": 3, "k_max": 4})
    record, _ = run_trial(Job(quick))
    assert tuple(record.n_examples[s] for s in ("train", "val", "test")) == sizes
    assert record.task["metric"] == "mcc" and record.scores["test"]["mcc"] > 0.4
