"""train/kept.py and pool.py: computed once, and the same whoever computed it."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_kept_features import WHOLE, cache

from dnabench import Sequences
from dnabench.tokens.bpe import train_bpe
from dnabench.train.kept import LARGEST, kept, sources
from dnabench.train.pool import Pool, cached_tokenizer, find_rows

__all__ = ["cache"]  # a fixture

ROOT = Path(__file__).parent.parent
MIXED = Sequences.parse(["ACGT" * 10, "A", "GGN", "ACGT" * 10, "GGNA"])


def keep(kind, made_from, make, **more):
    return kept(kind, made_from, make, ["dnabench.train.pool"], **more)


def counting(calls, value=1.0):
    def make():
        calls.append(1)
        return {"x": np.full(3, value), "text": np.array("é")}

    return make


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a
    )


def test_it_is_made_once_and_read_afterwards(cache):
    calls = []
    first, second = (keep("frozen", ["a", "b"], counting(calls)) for _ in range(2))
    assert len(calls) == 1 and same(first, second)
    assert len(list((cache / "frozen").iterdir())) == 1  # no draft is left
    for other in (["a"], ["ab"], ["a", "c"]):
        keep("frozen", other, counting(calls))
    keep("encoded", ["a", "b"], counting(calls))
    assert len(calls) == 5


def test_a_damaged_file_is_made_again(cache):
    """Cut off anywhere, or with any byte changed: never read, never raised, and healed."""
    calls = []
    wanted = keep("frozen", ["a"], counting(calls, 0.1))
    (file,) = (cache / "frozen").iterdir()
    data = file.read_bytes()
    flipped = [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(0, len(data), 5)]
    for n, bad in enumerate([b"", data[:20], data[:32], data[:-1], data + b"x", *flipped], 2):
        file.write_bytes(bad)
        assert same(keep("frozen", ["a"], counting(calls, 0.1)), wanted) and len(calls) == n
        assert file.read_bytes() == data or same(keep("frozen", ["a"], counting(calls)), wanted)
        assert len(calls) == n


def test_what_does_not_fit_is_made_again_and_replaced(cache):
    calls = []
    keep("frozen", ["a"], counting(calls, 1.0))
    found = keep("frozen", ["a"], counting(calls, 2.0), fits=lambda arrays: arrays["x"][0] == 2)
    assert found["x"][0] == 2 and keep("frozen", ["a"], counting(calls))["x"][0] == 2
    assert len(calls) == 2


@pytest.fixture
def copied(tmp_path):
    """A copy of the package that a test may edit; `run(code)` is a process that imports it."""
    for part in ("harness", "models", "tasks", "results", "reports"):
        inside = "dnabench" if part == "harness" else f"dnabench/{part}"
        shutil.copytree(
            ROOT / part, tmp_path / "site" / inside, dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", "*_data", "published"),
        )  # fmt: skip

    def run(code):
        env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.package = tmp_path / "site" / "dnabench"
    return run


PRINT_CODE = """
from dnabench.train.kept import code_digest
print(code_digest(("dnabench.models", "dnabench.tokens", "dnabench.train.frozen")))
"""


def edit(path):
    text = path.read_text()
    path.write_text(text.replace('"""', '"""Edited. ', 1))


def test_the_code_that_decides_features_is_in_their_key_and_no_other(copied):
    first = copied(PRINT_CODE)
    for room in ("cli", "reports", "forecast", "sweep", "executors", "tasks", "results"):
        for file in (copied.package / room).rglob("*.py"):
            edit(file)
    for file in ("host/doctor", "host/disk", "host/memory", "train/meter", "train/flops"):
        edit(copied.package / f"{file}.py")
    assert copied(PRINT_CODE) == first
    seen = {first}
    for file in ("models/kernels/tiled", "models/_layers", "models/hyenadna", "tokens/tokenizers",
                 "tokens/bpe", "train/batches", "train/precision", "train/pool",
                 "types"):  # fmt: skip
        edit(copied.package / f"{file}.py")
        seen.add(copied(PRINT_CODE))
    assert len(seen) == 10


def test_features_come_from_every_room_that_computes_them():
    """Of a real probe: the learner encodes, so what it imports counts, splits among it."""
    modules = set(sources(("dnabench.models", "dnabench.tokens", "dnabench.train.learner")))
    assert modules >= {
        "dnabench.models.kernels.convolve", "dnabench.models.heads", "dnabench.tokens.bpe",
        "dnabench.train.frozen", "dnabench.train.batches", "dnabench.splits", "dnabench.types",
    }  # fmt: skip
    rooms = ("cli", "reports", "forecast", "sweep", "executors", "tasks", "results")
    assert not {m.split(".")[1] for m in modules if "." in m} & set(rooms)


def test_code_that_is_not_ours_cannot_be_followed():
    with pytest.raises(ValueError, match=r"json.tool is no module of dnabench"):
        sources(("json.tool",))


def test_code_that_changes_while_a_process_runs_keeps_nothing(copied, cache):
    code = f"""
import os, time
from pathlib import Path
import numpy as np
from dnabench.train.kept import kept
calls = []
def make():
    calls.append(1)
    return {{"x": np.zeros(3)}}
def keep(key):
    kept("frozen", [key], make, ["dnabench.train.pool"])
keep("a"), keep("a")
time.sleep(0.05)
Path({str(copied.package)!r}, "types.py").touch()
keep("a"), keep("b")
print(len(calls))
"""
    assert copied(code) == "3\n" and len(list((cache / "frozen").iterdir())) == 1


def test_an_old_draft_is_removed_and_a_young_one_is_not(cache):
    (cache / "frozen").mkdir(parents=True)
    for name, age in (("old", 90_000), ("young", 10)):
        (cache / "frozen" / f".{name}.tmp").touch()
        os.utime(cache / "frozen" / f".{name}.tmp", (time.time() - age,) * 2)
    keep("frozen", ["a"], counting([]))
    assert {p.name[:2] for p in (cache / "frozen").glob(".*")} == {".y"}


def test_what_is_not_worth_it_or_too_large_is_not_kept(cache, monkeypatch):
    calls = []
    for _ in range(2):
        keep("frozen", ["a"], counting(calls), worth=lambda: False)
    monkeypatch.setattr("dnabench.train.kept.LARGEST", 20)
    for _ in range(2):
        keep("frozen", ["a"], counting(calls))
    assert len(calls) == 4 and LARGEST > 1e9 and not list((cache / "frozen").iterdir())


def test_an_error_of_the_maker_is_its_own_and_leaves_nothing(cache):
    def fails():
        raise ZeroDivisionError("no such luck")

    with pytest.raises(ZeroDivisionError, match="no such luck"):
        keep("frozen", ["a"], fails)
    assert not list((cache / "frozen").iterdir())
    assert keep("frozen", ["a"], counting([]))["x"][0] == 1.0


@pytest.mark.parametrize("where", ["file/cache", "no/such/folder", "file"])
def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch, where):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / where))
    calls = []
    for _ in range(2):
        assert keep("frozen", ["a"], counting(calls))["x"][0] == 1.0
    assert len(calls) == 2 and [p.name for p in tmp_path.iterdir()] == ["file"]


def _made(ready, out):
    ready.wait()
    found = keep("frozen", ["a"], lambda: {"x": np.arange(300_000.0)})["x"]
    out.put(bool(np.array_equal(found, np.arange(300_000.0))))


def test_processes_may_want_the_same_at_once(cache):
    fork = multiprocessing.get_context("fork")
    ready, out = fork.Event(), fork.Queue()
    workers = [fork.Process(target=_made, args=(ready, out)) for _ in range(6)]
    for worker in workers:
        worker.start()
    ready.set()
    assert all(out.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert len(list((cache / "frozen").iterdir())) == 1
    assert keep("frozen", ["a"], counting([]))["x"].shape == (300_000,)


def test_a_pool_does_not_depend_on_how_its_sequences_are_cut():
    index = np.random.default_rng(0).permutation(120)
    cuts = [
        Pool([WHOLE.seqs.take(index[:n]), WHOLE.seqs.take(index[n:])], both) for n in (7, 100)
        for both in (False, True)
    ]  # fmt: skip
    assert cuts[0].digest == cuts[2].digest == Pool([WHOLE.seqs]).digest
    assert cuts[1].digest == cuts[3].digest != cuts[0].digest
    assert np.array_equal(cuts[0].seqs.codes, cuts[2].seqs.codes)
    assert Pool([WHOLE.seqs.take(index[1:])]).digest != cuts[0].digest


def test_a_pool_finds_every_sequence_and_no_other():
    pool = Pool([MIXED, MIXED])
    rows = pool.rows(MIXED)
    assert len(pool.seqs) == 4 and [pool.seqs[i] for i in rows] == [MIXED[i] for i in range(5)]
    assert pool.rows(Sequences.parse(["GGN", "GG"])) is None
    assert find_rows(pool, [MIXED])[0] is pool
    other, (a, b) = find_rows(pool, [MIXED, MIXED.reverse_complement()])
    assert other is not pool
    assert [other.seqs[i] for i in b] == [MIXED.reverse_complement()[i] for i in range(5)]
    assert [other.seqs[i] for i in a] == [MIXED[i] for i in range(5)]


def test_tokens_that_are_remembered_are_the_tokens(cache):
    plain, calls = train_bpe(WHOLE.seqs, 64), []

    def counted(*words):
        calls.append(1)
        return plain.encode(*words)

    parts = [WHOLE.seqs.take(np.arange(80)), WHOLE.seqs.take(np.arange(80, 120)), MIXED]
    for _ in range(2):  # in memory nothing stays: the second time it is read
        pool = Pool(parts[:2])
        for seqs in (*parts, WHOLE.seqs.reverse_complement()):
            found = cached_tokenizer(replace(plain, encode=counted), "x", pool)(seqs, 60, "mask")
            wanted = plain(seqs, 60, "mask")
            assert found.ids.dtype == wanted.ids.dtype
            np.testing.assert_array_equal(found.ids, wanted.ids)
            assert (found.lengths is None) == (wanted.lengths is None)
            if wanted.lengths is not None:
                np.testing.assert_array_equal(found.lengths, wanted.lengths)
        assert len(calls) == 3  # the pool, and the two that are not of it
        found = cached_tokenizer(plain, "x", pool)(MIXED, 60, "mask")
        np.testing.assert_array_equal(found.widths, plain(MIXED, 60, "mask").widths)
    cached_tokenizer(replace(plain, encode=counted), "y", pool)(MIXED, 60, "mask")
    assert len(calls) == 4
