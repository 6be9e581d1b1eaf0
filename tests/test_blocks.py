"""Which test examples are drawn together: clusters, coordinates, copies; and what is said of it."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench
from test_resampling import put

from dnabench import MODELS, TASKS, Recipe, Trial
from dnabench.reports.blocks import COPIES, LEAST, NEAR, Blocks, blocks, sentences
from dnabench.reports.render import render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.text.methods import related
from dnabench.reports.text.overview import overview
from dnabench.results.store import Store
from dnabench.sweep.trial import _related, run_trial
from dnabench.tasks.audit.audit import Audit, keep
from dnabench.tasks.audit.near import merged
from dnabench.types import Job, Sequences, Split, Task


def same(a, b):
    """Whether two arrays of numbers are one partition."""
    return (
        len(set(zip(a.tolist(), b.tolist(), strict=True)))
        == len(set(a.tolist()))
        == len(set(b.tolist()))
    )


def brute(*partitions):
    """Join by hand: relabel until nothing changes."""
    out = list(range(len(partitions[0])))
    for _ in out:
        for p in partitions:
            for i, j in itertools.combinations(range(len(out)), 2):
                if p[i] == p[j]:
                    out[i] = out[j] = min(out[i], out[j])
    return np.array(out)


@pytest.mark.parametrize("seed", range(5))
def test_two_partitions_are_joined(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, 12), rng.integers(-3, 9, 12)
    assert same(merged(a, b), brute(a, b))
    assert same(merged(a, np.arange(12)), a)


def names(*places):
    return np.array([f"{c}:{a}-{b}" for c, a, b in places])


def test_nothing_known_means_every_example_alone():
    ids = np.array(["a", "b", "c"])
    assert blocks(ids) == (None, (3, 3, ""))
    unit, found = blocks(names(("chr1", 1, 9), ("chr1", 20, 29)))
    assert (unit is None or len(set(unit)) == 2) and found == (2, 2, "")


def test_clusters_of_the_task_come_before_coordinates():
    ids = names(*[(f"chr{i}", 1, 100) for i in range(LEAST)])
    given = np.arange(LEAST) // 2
    unit, found = blocks(ids, given, None, "gene")
    assert same(unit, given) and found == (LEAST, LEAST // 2, "gene")


def test_chromosomes_if_there_are_enough_else_windows_else_overlap():
    many = [(f"chr{i % LEAST}", 1000 * i, 1000 * i + 500) for i in range(3 * LEAST)]
    unit, found = blocks(names(*many))
    assert found == (3 * LEAST, LEAST, "chromosome")
    assert same(unit, np.arange(3 * LEAST) % LEAST)
    few = [("chr1", 250_000 * i, 250_000 * i + 500) for i in range(4 * LEAST)]
    unit, found = blocks(names(*few))
    assert found == (4 * LEAST, LEAST, "window of 1 Mbp") and same(unit, np.arange(4 * LEAST) // 4)
    near = [("chr1", 1, 100), ("chr2", 60, 150), ("chr1", 90, 180), ("chr1", 170, 200),
            ("chr1", 201, 300)]  # fmt: skip
    unit, found = blocks(names(*near))
    assert same(unit, np.array([0, 1, 0, 0, 2])) and found == (5, 3, "overlap")


def test_names_of_bedtools_have_coordinates_too():
    ids = np.array(["peak1::chr1:0-200(+)", "peak2::chr1:160-360(-)", "peak3::chr2:0-200(+)"])
    unit, found = blocks(ids)
    assert same(unit, np.array([0, 0, 1])) and found == (3, 2, "overlap")


def test_copies_join_in_any_case():
    ids = np.array(list("abcdef"))
    copies, clusters = np.array([0, 1, 0, 3, 4, 5]), np.array([1, 1, 2, 2, 3, 4])
    unit, found = blocks(ids, clusters, copies, "gene")
    assert same(unit, np.array([0, 0, 0, 0, 1, 2])) and found == (6, 3, f"gene, {COPIES}")
    unit, found = blocks(ids, copies=copies)
    assert same(unit, copies) and found == (6, 5, COPIES)
    unit, found = blocks(ids, copies=copies, near=[["f", "e", "gone"], ["c", "b"]])
    assert same(unit, np.array([0, 0, 0, 1, 2, 2])) and found == (6, 3, f"{COPIES}, {NEAR}")
    assert blocks(ids, near=[["a", "elsewhere"]]) == (None, (6, 6, ""))


def test_what_is_assumed_is_said():
    alone, pairs = Blocks(500, 500, ""), Blocks(1200, 600, COPIES)
    (one,) = sentences({"a/x": alone}, {"a/x"})
    assert one.startswith("Test examples are taken as independent: none are known to be related")
    (one,) = sentences({"a/x": alone})
    assert one == (
        "Test examples are taken as independent: near copies were not looked for (`dnabench audit "
        "data` does). If some are related, the intervals are too narrow."
    )
    some = sentences({"a/x": alone, "a/y": pairs, "a/z": alone}, {"a/y", "a/z"})
    assert some[1].startswith("Test examples of 1 of 3 tasks are taken as independent: none are")
    assert some[2].startswith("Test examples of 1 of 3 tasks are taken as independent: near copies")
    (one,) = sentences({"a/y": pairs})
    assert one == (
        "Related test examples are drawn together: a/y by copies on either strand (1,200 examples "
        "in 600 blocks)."
    )
    both = sentences({"a/x": alone, "a/y": pairs})
    assert len(both) == 2 and both[1].startswith("Test examples of 1 of 2 tasks are taken as ind")
    assert sentences({}) == []
    gene = Blocks(100, 50, "gene")
    many, rest = sentences({"a": pairs, "b": pairs, "c": pairs, "d": gene, "e": alone})
    assert many == (
        "Related test examples are drawn together on 4 of 5 tasks, by copies on either strand, "
        "gene (3,700 examples in 1,850 blocks)."
    )
    assert rest.startswith("Test examples of 1 of 5 tasks are taken as independent")


def test_the_report_says_it_under_the_table(tmp_path):
    store = Store(tmp_path / "runs")
    for model, right in (("good", 0.9), ("worse", 0.7)):
        for seed in range(5):
            put(store, model, seed, right)
    found = report(list(store), store, Resampler(store, 200))
    text = " ".join(overview(found, store.folder).split())
    assert "Test examples are taken as independent: near copies were not looked for" in text
    done = dnabench("report", "--out", store.folder, "--full")
    assert "Test examples are taken as independent" in done.stdout
    (one,) = json.loads(render(found, "json"))["comparisons"]
    assert one["drawn"] == {"examples": 200, "blocks": 200, "by": ""}


@pytest.mark.parametrize("by", ["an audit", "homology", "column chrom"])
def test_whether_near_copies_were_looked_for_is_said(tmp_path, monkeypatch, by):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "runs")
    for model, right in (("good", 0.9), ("worse", 0.7)):
        for seed in range(5):
            put(store, model, seed, right)
    records = list(store)
    if by == "an audit":
        trial = records[0].trial
        fields = dict.fromkeys(Audit.__dataclass_fields__, ())
        none = {"leaked": dict.fromkeys(("exact", "rc", "near"), ())}
        own = {"task": trial.task, "data": trial.data, "splits": {"test": {"examples": 200}}}
        keep(Audit(**{**fields, **own, **none}))
    else:
        records = [replace(r, task={**r.task, "clusters": by}) for r in records]
    (said,) = related(report(records, store, Resampler(store, 200)).evidence[0].comparisons)
    assert ("none are known to be related" in said) == (by != "column chrom")
    assert ("near copies were not looked for" in said) == (by == "column chrom")


def synthetic(kind, pairs):
    """A task whose test examples are the two strands of windows, as in DeepSEA and DeepSTARR."""
    rng = np.random.default_rng(3)
    one = Sequences(rng.integers(0, 4, 60 * pairs).astype(np.uint8), np.arange(pairs + 1) * 60)
    two = one.reverse_complement()
    both = Sequences(np.concatenate([one.codes, two.codes]), np.arange(2 * pairs + 1) * 60)
    gc = np.isin(one.codes, (1, 2)).reshape(pairs, 60).mean(1)
    y = {"regression": np.stack([gc, 1 - gc], 1).astype(np.float32),
         "multilabel": np.stack([gc > 0.5, gc < 0.45], 1).astype(np.float32)}[kind]  # fmt: skip
    ids = np.arange(1, 2 * pairs + 1).astype("U8")
    split = Split(both, np.concatenate([y, y]), ids)
    metric = {"regression": "pearson", "multilabel": "auroc_mean"}[kind]
    return Task(
        name=f"pairs/{kind}", kind=kind, classes=("a", "b"), metric=metric, length=60,
        counts={"train": 2 * pairs, "test": 2 * pairs}, data="0" * 16, load=lambda _: split,
        source="synthetic", license="none",
    )  # fmt: skip


def cnn(task, seed, **changes):
    """A trial whose answer is the same on both strands."""
    return Trial(
        model="cnn", options=dict(MODELS["cnn"].options), regime="scratch", task=task.name,
        data=task.data, protocol="honest/1", seed=seed,
        recipe=Recipe(rc="conjoin", epochs=1, batch=256), **changes,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_strand_pairs_widen_the_intervals_by_1_4(tmp_path, kind, monkeypatch):
    task, store, records = synthetic(kind, 300), Store(tmp_path), []
    monkeypatch.setitem(TASKS._entries, task.name, task)
    for seed in range(2):
        trial = cnn(task, seed)
        found, arrays = run_trial(Job(trial))
        assert same(arrays["copies"], np.arange(600) % 300)
        store.append(found, arrays)
        records.append(found)
    pairs = Resampler(store, 2000).row({0: records}, task.metric, [])
    assert pairs.drawn == (600, 300, COPIES)
    for one in records:
        arrays = store.predictions(one.trial.id)
        store.append(one, {k: a for k, a in arrays.items() if k != "copies"})
    alone = Resampler(store, 2000).row({0: records}, task.metric, [])
    assert alone.drawn == (600, 600, "")
    assert pairs.se[0] / alone.se[0] == pytest.approx(np.sqrt(2), rel=0.06)


def test_clusters_follow_the_examples_into_the_predictions(tmp_path, monkeypatch):
    task = synthetic("regression", 60)
    whole = task.load("test")._replace(clusters=np.arange(120) // 5)
    part = whole.take(np.array([3, 50, 7]))
    assert part.clusters.tolist() == [0, 10, 1] and part.ids.tolist() == ["4", "51", "8"]
    own = replace(task, name="pairs/genes", load=lambda _: whole, clusters="gene")
    monkeypatch.setitem(TASKS._entries, own.name, own)
    trial = cnn(own, 0, limit=40)
    found, arrays = run_trial(Job(trial))
    rows = [int(i) - 1 for i in arrays["ids"]]
    assert len(rows) == 40 and arrays["clusters"].tolist() == [r // 5 for r in rows]
    assert found.task["clusters"] == "gene"
    assert type(found).from_json(found.to_json()) == found


def test_pairs_are_related_where_they_share_either_sequence():
    a, b, c, d, e, f = np.random.default_rng(3).integers(0, 4, (6, 30)).astype(np.uint8)
    ends = np.arange(5) * 30
    first = Sequences(np.concatenate([a, c, d, f]), ends)
    second = Sequences(np.concatenate([b, 3 - a[::-1], e, e]), ends)  # the other strand of a
    pairs = Split(first, np.zeros(4, np.int64), np.array(["1", "2", "3", "4"]), other=second)
    copies = _related(TASKS["demo/splice_junctions"], pairs)["copies"]
    assert same(copies, np.array([0, 0, 1, 1]))
    assert "copies" not in _related(TASKS["demo/splice_junctions"], pairs._replace(other=None))


@pytest.mark.parametrize("turned", [False, True])
def test_a_chain_through_most_pairs_is_not_drawn_whole(turned):
    """Four promoters beside ten enhancers each, half of them those of others: one chain."""
    rng = np.random.default_rng(0)
    promoters = np.repeat(np.arange(4), 10)
    enhancers = (promoters * 5 + np.tile(np.arange(10), 4)) % 20 + 4
    words = rng.integers(0, 4, (24, 30)).astype(np.uint8)
    ends = np.arange(41) * 30
    sides = [Sequences(words[own].ravel(), ends) for own in (promoters, enhancers)]
    if turned:
        sides.reverse()
    pairs = Split(sides[0], np.zeros(40, np.int64), np.arange(40).astype(str), other=sides[1])
    copies = _related(TASKS["demo/splice_junctions"], pairs)["copies"]
    assert same(copies, promoters)


def test_one_sequence_in_all_pairs_relates_none():
    words = np.random.default_rng(0).integers(0, 4, (9, 30)).astype(np.uint8)
    ends = np.arange(9) * 30
    first, second = Sequences(np.tile(words[0], 8), ends), Sequences(words[1:].ravel(), ends)
    pairs = Split(first, np.zeros(8, np.int64), np.arange(8).astype(str), other=second)
    assert "copies" not in _related(TASKS["demo/splice_junctions"], pairs)
