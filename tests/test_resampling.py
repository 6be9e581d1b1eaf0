"""Intervals from folders of records: real stores, real files, real processes."""

import json
import math
import os
import re
import shutil
import tempfile
import threading
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dnabench import MODELS, TASKS, Recipe, Record, Trial
from dnabench.metrics import METRICS
from dnabench.reports.memo import stamp
from dnabench.reports.resampling import NO_FOLDER, Resampler
from dnabench.reports.stats.examples import Nested, nested, replicates
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.tasks.audit.audit import Audit, keep
from dnabench.types import Job

N = 200


def put(store, model, seed, right, n=N, first=0, luck=None, flip=False, **changes):
    """A run that is right with that chance; runs of the same luck are the same."""
    rng = np.random.default_rng([seed, len(model)] if luck is None else luck)
    y = np.random.default_rng(0).integers(0, 2, n) ^ flip
    answer = np.where(rng.random(n) < right, y, 1 - y)
    logits = (np.eye(2)[answer] + rng.normal(size=(n, 2)) / 9).astype(np.float32)
    trial = Trial(
        model=model, options={}, regime="scratch", task="planted/motif", data="0" * 16,
        protocol="honest/1", recipe=Recipe(), seed=seed,
    )  # fmt: skip
    scores = {name: METRICS[name].function(y, logits) for name in ("mcc", "auroc")}
    about = {"kind": "binary", "classes": ["0", "1"], "metric": "mcc", "n_test": n}
    record = Record(trial=trial, scores={"test": scores}, task=about)
    ids = np.array([f"e{i}" for i in range(first, first + n)])
    arrays = {"logits": logits, "labels": y, "ids": ids, **changes}
    store.append(record, {name: a for name, a in arrays.items() if a is not None})
    return record


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def two(store):
    """Columns 3 and 7 of a row."""
    return {
        3: [put(store, "good", s, 0.9) for s in range(4)],
        7: [put(store, "worse", s, 0.7) for s in range(4)],
    }


def files(store):
    return sorted((store.folder / ".cache" / "intervals").iterdir())


@pytest.mark.parametrize("metric", ["mcc", "auroc"])
def test_an_interval_is_that_of_the_stored_predictions(store, metric):
    row = two(store)
    found = Resampler(store, 500).row(row, metric, [(3, 7), (7, 3)])
    runs = {}
    for column, records in row.items():
        stored = [store.predictions(i) for i in sorted(r.trial.id for r in records)]
        logits = [s["logits"] for s in stored]
        runs[column] = replicates(stored[0]["labels"], logits, metric, n=500)
    first, second = sorted(runs, key=lambda k: sorted(r.trial.id for r in row[k]))
    assert found.intervals[first, second] == nested(runs[first], runs[second])
    assert found.intervals[second, first] == found.intervals[first, second].flipped()
    assert found.intervals[3, 7].low > 0 > found.intervals[7, 3].high
    spread = {column: x.mean(0).std(ddof=1) for column, x in runs.items()}
    assert found.se == pytest.approx(spread, rel=1e-12)


def test_what_was_computed_is_read_again_and_in_any_numbering(store):
    row, said = two(store), []
    resampler = Resampler(store, 200, observe=said.append)
    first = resampler.row(row, "mcc", [(3, 7)])
    assert said == ["resampling planted/motif: 8 runs x 200 replicates"]
    assert resampler.row(row, "mcc", [(3, 7)]) == first
    other = {1: row[3][::-1], 0: row[7]}
    again = Resampler(store, 200, observe=said.append).row(other, "mcc", [(1, 0)])
    assert again.intervals[1, 0] == first.intervals[3, 7]
    assert again.se == {1: first.se[3], 0: first.se[7]}
    assert len(said) == 1 and len(files(store)) == 1
    assert files(store)[0].suffix == ".json"
    (path,) = files(store)
    changed = json.loads(path.read_text())
    changed["intervals"][0][2][0] = 42.0  # it is this file that is read
    path.write_text(json.dumps(changed))
    assert resampler.row(row, "mcc", [(3, 7)]).intervals[3, 7].difference in (42, -42)


def test_a_pair_draws_the_same_in_any_order_of_columns(store):
    row, said = two(store), []
    first = Resampler(store, 200).row(row, "mcc", [(3, 7)]).intervals[3, 7]
    turned = {0: row[7], 1: row[3]}  # as when the files of the other model are older
    found = Resampler(store, 200, observe=said.append).row(turned, "mcc", [(0, 1)])
    assert found.intervals[0, 1] == first.flipped() and not said  # and it is cached


def test_only_what_changed_is_computed_again(store):
    row, said = two(store), []
    resampler = Resampler(store, 200, observe=said.append)

    def asked(row, metric="mcc", pairs=((3, 7),)):
        before = len(said)
        resampler.row(row, metric, list(pairs))
        return len(said) - before

    assert asked(row) == 1 and asked(row) == 0
    assert asked(row, metric="auroc") == 1
    assert asked(row, pairs=[(7, 3)]) == 0  # the same pair
    assert asked({**row, 3: row[3][1:]}) == 1
    os.utime(store.predictions_path(row[3][0].trial.id), ns=(1, 1))
    assert asked(row) == 1 and asked(row) == 0
    put(store, "good", 0, 0.9)  # a file of its own time again
    assert asked(row) == 1
    resampler.replicates = 300
    assert asked(row) == 1 and asked(row) == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"intervals": [], "se": [], "drawn": null}',
             '{"intervals": [[0, 1, [1]]], "se": [], "drawn": null}',
             '{"intervals": [[0, 1, [1, 2, 3, 4, 5, null]]], "se": [], "drawn": null}'],
)  # fmt: skip
def test_an_unreadable_cache_file_is_written_again(store, text):
    row = two(store)
    first = Resampler(store, 100).row(row, "mcc", [(3, 7)])
    (path,) = files(store)
    whole = path.read_text()
    path.write_text(text)
    assert Resampler(store, 100).row(row, "mcc", [(3, 7)]) == first
    assert path.read_text() == whole


def test_nan_and_infinity_survive_the_cache(store):
    row = {
        0: [put(store, "good", s, 0.9, luck=1) for s in range(3)],
        1: [put(store, "worse", s, 0.7, luck=2) for s in range(3)],
        2: [put(store, "same", s, 0.9, luck=1) for s in range(3)],
    }
    pairs = [(0, 1), (0, 2)]
    first = Resampler(store, 100).row(row, "mcc", pairs).intervals
    again = Resampler(store, 100).row(row, "mcc", pairs).intervals
    assert first[0, 1] == again[0, 1] and again[0, 1].df == math.inf
    assert first[0, 2][:4] == again[0, 2][:4] == (0, 0, 0, 0)
    assert math.isnan(first[0, 2].p) and math.isnan(again[0, 2].p)


def spoiled(store, row):
    store.predictions_path(row[7][1].trial.id).unlink()


def cut(store, row):
    path = store.predictions_path(row[7][1].trial.id)
    path.write_bytes(path.read_bytes()[:300])


def other_scores(store, row):
    row[7][1] = Record(trial=row[7][1].trial, scores={"test": {"mcc": 0.5}}, task=row[7][1].task)


def other_examples(store, row):
    row[7][1] = put(store, "worse", 1, 0.7, first=1)


def other_labels(store, row):
    row[7] = [put(store, "worse", s, 0.7, flip=True) for s in range(4)]


def no_labels(store, row):
    put(store, "worse", 1, 0.7, labels=None)


def one_seed(store, row):
    del row[7][1:]


def none_defined(store, row):
    row[7] = [Record(trial=r.trial, scores={"test": {}}, task=r.task) for r in row[7]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoiled, "no stored predictions of worse, seed 1: "), (cut, "cannot read "),
        (other_scores, "its record says 0.500000: one of the two was changed"),
        (other_examples, "runs of worse .* were tested on different examples"),
        (other_labels, "the two models were tested on different examples or labels"),
        (no_labels, "cannot read .*labels"), (one_seed, "only one run of worse"),
        (none_defined, "no run with a value of mcc"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_why_there_is_no_interval(store, change, words):
    row = {**two(store), 9: [put(store, "better", s, 0.95) for s in range(3)]}
    change(store, row)
    pairs = [(3, 7), (3, 9), (7, 9)]
    for _ in range(2):  # computed, then from the cache
        found = Resampler(store, 100).row(row, "mcc", pairs).intervals
        assert list(found) == pairs
        for pair in ((3, 7), (7, 9)):
            assert isinstance(found[pair], str) and re.search(words, found[pair]), found[pair]
        assert isinstance(found[3, 9], Nested)


def test_a_missing_file_that_comes_back_counts(store):
    row = two(store)
    path = store.predictions_path(row[3][0].trial.id)
    kept = path.read_bytes()
    path.unlink()
    assert "run the trial again" in Resampler(store, 100).row(row, "mcc", [(3, 7)]).intervals[3, 7]
    path.write_bytes(kept)
    assert isinstance(Resampler(store, 100).row(row, "mcc", [(3, 7)]).intervals[3, 7], Nested)


def test_a_metric_that_costs_too_much_is_refused_before_reading(store):
    row = two(store)
    for records in row.values():
        for i, r in enumerate(records):
            facts = {**r.task, "n_test": 455_024, "classes": ["x"] * 919}
            scores = {"test": {"auroc_mean": 0.9}}
            records[i] = Record(trial=r.trial, scores=scores, task=facts)
    shutil.rmtree(store.folder / "predictions")
    said = Resampler(store).row(row, "auroc_mean", [(3, 7)]).intervals[3, 7]
    assert said.startswith("10,000 replicates of auroc_mean for 8 runs of 455,024 examples x 919")


def test_without_a_folder():
    none = {(0, 1): NO_FOLDER}, {}, None
    assert Resampler(None).row({0: [], 1: []}, "mcc", [(0, 1)]) == none


def test_a_stamp_changes_with_the_file(store):
    record = put(store, "good", 0, 0.9)
    path = store.predictions_path(record.trial.id)
    assert stamp(path) == [path.stat().st_size, path.stat().st_mtime_ns]
    os.utime(path, ns=(5, 5))
    assert stamp(path) == [path.stat().st_size, 5]
    path.unlink()
    assert stamp(path) is None


def with_clusters(store, name, numbers):
    """The two columns again, their files saying which examples are related."""
    row = two(store)
    for records in row.values():
        for r in records:
            store.append(r, {**store.predictions(r.trial.id), name: np.asarray(numbers)})
    return row


@pytest.mark.parametrize("name", ["clusters", "copies"])
def test_related_examples_are_drawn_together(store, name):
    alone = Resampler(store, 1000).row(two(store), "mcc", [(3, 7)])
    numbers = np.arange(N) // 4 + 10
    row = with_clusters(store, name, numbers)
    found = Resampler(store, 1000).row(row, "mcc", [(3, 7)])
    stored = [store.predictions(r.trial.id) for r in sorted(row[3], key=lambda r: r.trial.id)]
    logits = [s["logits"] for s in stored]
    runs = replicates(stored[0]["labels"], logits, "mcc", groups=numbers, n=1000)
    assert found.se[3] == pytest.approx(runs.mean(0).std(ddof=1), rel=1e-12) != alone.se[3]
    by = {"clusters": "clusters", "copies": "copies on either strand"}[name]
    assert found.drawn == (N, N // 4, by) and alone.drawn == (N, N, "")
    assert Resampler(store, 1000).row(row, "mcc", [(3, 7)]) == found  # from the cache
    own = with_clusters(store, name, np.arange(N))
    assert Resampler(store, 1000).row(own, "mcc", [(3, 7)]) == alone


def test_near_copies_of_an_audit_are_drawn_together(store, tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    row = two(store)
    alone = Resampler(store, 300).row(row, "mcc", [(3, 7)])
    fields = dict.fromkeys(Audit.__dataclass_fields__, ())
    of = {"task": "planted/motif", "data": "0" * 16}
    groups = [[f"e{i}" for i in range(k, k + 4)] for k in range(0, N, 4)]
    keep(Audit(**{**fields, **of, "clusters": groups}))
    found = Resampler(store, 300).row(row, "mcc", [(3, 7)])
    assert found.drawn == (N, N // 4, "near copies") and alone.drawn == (N, N, "")
    told = Resampler(store, 300).row(
        with_clusters(store, "clusters", np.arange(N) // 4), "mcc", [(3, 7)]
    )
    assert found.intervals == told.intervals != alone.intervals


def test_one_run_that_knows_the_clusters_is_enough(store):
    row = with_clusters(store, "clusters", np.arange(N) // 4)
    known = Resampler(store, 300).row(row, "mcc", [(3, 7)])
    kept = row[7][2].trial.id
    for r in [*row[3], *row[7]]:  # as an older version wrote them
        if r.trial.id != kept:
            arrays = store.predictions(r.trial.id)
            store.append(r, {k: a for k, a in arrays.items() if k != "clusters"})
    assert Resampler(store, 300).row(row, "mcc", [(3, 7)]) == known


def test_a_folder_that_cannot_be_written(store):
    row = two(store)
    (store.folder / ".cache").write_text("a file where the folder should be")
    found = Resampler(store, 100).row(row, "mcc", [(3, 7)])
    assert isinstance(found.intervals[3, 7], Nested)
    assert (store.folder / ".cache").is_file()


@contextmanager
def somebody_else():
    """Root may write everywhere, so it becomes nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_somebody_elses_folder():
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "runs")
        row = two(store)
        for path in [Path(name), *Path(name).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        with somebody_else():
            with pytest.raises(PermissionError):
                (store.folder / "mine").write_text("")
            found = Resampler(store, 100).row(row, "mcc", [(3, 7)])
        for path in [Path(name), *Path(name).rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert not (store.folder / ".cache").exists()
        assert found == Resampler(store, 100).row(row, "mcc", [(3, 7)])
        assert len(files(store)) == 1


def test_predictions_of_somebody_else(store):
    """A reason that may be gone the next time is not kept."""
    row = two(store)
    path = store.predictions_path(row[7][0].trial.id)
    if os.geteuid() == 0:  # a folder cannot be read by anybody
        path.unlink()
        path.mkdir()
    else:
        path.chmod(0)
    found = Resampler(store, 100).row(row, "mcc", [(3, 7)])
    assert found.intervals[3, 7].startswith(f"cannot read {path}: ")
    assert not (store.folder / ".cache").exists()


def test_many_at_once(store):
    row, found = two(store), []

    def ask():
        found.append(Resampler(store, 200).row(row, "mcc", [(3, 7)]))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 6 and all(f == found[0] for f in found)
    assert [p.name[0] != "." for p in files(store)] == [True]  # whole, and nothing left beside it


def test_runs_of_a_task_with_a_label_at_every_base(store):
    name, row = "demo/yeast_genes", {}
    for model, seed in product(("codon_statistics", "majority"), (0, 1)):
        trial = Trial(
            model=model, options=dict(MODELS[model].options), regime="scratch", task=name,
            data=TASKS[name].data, protocol="honest/1", recipe=MODELS[model].recipe_for("demo"),
            seed=seed, limit=40,
        )  # fmt: skip
        record, predictions = run_trial(Job(trial))
        store.append(record, predictions)
        row.setdefault(int(model == "majority"), []).append(store.read(trial.id))
    found = Resampler(store, 300).row(row, "mcc", [(0, 1)])
    score = np.mean([r.scores["test"]["mcc"] for r in row[0]])
    assert found.intervals[0, 1].difference == pytest.approx(score, abs=2 * found.se[0])
    assert found.se[1] == 0  # one class for everything
    bases = store.predictions(row[0][0].trial.id)["bases"]
    assert len(bases) == 40  # sequences are drawn, not bases: these would seem far too certain
    assert found.se[0] > 4 * math.sqrt((1 - score**2) / bases.sum())
