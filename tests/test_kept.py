"""train/kept.py, pool.py and frozen.py: computed once, and the same whoever computed it."""

import copy
import functools
import json
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
import torch
from conftest import dnabench, planted_split, planted_task
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_hook

from dnabench import MODELS, Recipe, Sequences
from dnabench.reports.costs import cost_section
from dnabench.reports.table import tables
from dnabench.results.store import Store
from dnabench.splits import streams
from dnabench.tokens.bpe import save, train_bpe
from dnabench.train.kept import LARGEST, kept, sources
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.pool import Pool, cached_tokenizer, find_rows

ROOT = Path(__file__).parent.parent
TASK = planted_task()
WHOLE, TEST = planted_split(120, 0), planted_split(40, 1)
WIDTH = {"width": 32, "layers": 2, "l_max": 66}  # of a small HyenaDNA
MIXED = Sequences.parse(["ACGT" * 10, "A", "GGN", "ACGT" * 10, "GGNA"])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


# A probe


def net_of(seed, name="convnova-386k"):
    model = MODELS[name]
    torch.manual_seed(seed)
    return model.build(TASK, {**model.options, **model.reduced})


def scores(net, cut, keep="convnova", task=TASK, whole=WHOLE, model="convnova-386k", **recipe):
    """The logits of a probe of that network whose validation is the rows `cut`; and how often
    its backbone was called."""
    net, calls = copy.deepcopy(net), []
    val = whole.take(cut)
    train = whole.take(np.setdiff1d(np.arange(len(whole.y)), cut))
    recipe = Recipe(**{"lr": 1e-2, "batch": 16, "epochs": 2, "finetune": "probe", **recipe})
    pool = Pool([train.seqs, val.seqs], both=recipe.rc != "none")
    examples = Examples(MODELS[model], task, train, pool=pool, features_key=keep)
    # a hook on the backbone itself would keep its features from being stored
    hook = register_module_forward_hook(
        lambda m, *_: calls.append(1) if m is net.backbone else None
    )
    try:
        one = NetLearner(net, examples, Supervised(task), recipe, streams(0, "x"))
        for _ in range(2):
            one.train_epoch()
        return [one.predictor(split)() for split in (val, TEST)], len(calls)
    finally:
        hook.remove()


@pytest.mark.parametrize("rc", ["none", "augment", "conjoin"])
def test_features_are_made_once_whatever_the_cut_and_the_numbers_do_not_tell(cache, rc):
    net, cuts = net_of(0), (np.arange(12), np.arange(50, 62))
    cold = [scores(net, cut, rc=rc, keep="") for cut in cuts]
    first, again, other = (scores(net, cut, rc=rc) for cut in (cuts[0], *cuts))
    assert first[1] == cold[0][1] > 0 and again[1] == other[1] == 0
    for found, wanted in ((first, cold[0]), (again, cold[0]), (other, cold[1])):
        for a, b in zip(found[0], wanted[0], strict=True):
            assert np.array_equal(a, b)  # to the byte
    assert len(list((cache / "frozen").iterdir())) == 2  # what is cut, and test


@pytest.mark.slow
def test_what_decides_features_makes_them_anew(cache):
    net, cut = net_of(0), np.arange(12)
    scores(net, cut)
    assert scores(net, cut)[1] == 0 and scores(net, cut, lr=0.1, epochs=5)[1] == 0
    moved = copy.deepcopy(net)
    with torch.no_grad():
        next(moved.backbone.parameters()).view(-1)[0] += 1e-3
    headed = copy.deepcopy(net)
    with torch.no_grad():
        headed.head.weight += 1
    assert scores(headed, cut)[1] == 0  # a head makes no features
    assert scores(moved, cut)[1] and scores(net, cut, keep="another")[1]
    assert scores(net, cut, precision="bf16")[1] and scores(net, cut, rc="augment")[1]
    assert scores(net, cut, task=replace(TASK, length=70))[1]
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert scores(net, cut)[1]
    finally:
        torch.set_num_threads(before)
    assert scores(net, cut)[1] == 0


class Mine(torch.nn.Module):
    """A backbone whose code is not dnabench's."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.factor = inner, 1.0

    def forward(self, ids, mask):
        return self.inner(ids, mask) * self.factor


def test_features_of_code_that_nobody_hashes_are_not_kept(cache):
    net, cut = net_of(0), np.arange(12)
    net.backbone = Mine(net.backbone)
    first = scores(net, cut)
    net.backbone.factor = 3.0
    assert scores(net, cut)[1] and not np.array_equal(scores(net, cut)[0][0], first[0][0])
    assert not (cache / "frozen").exists()


FACTOR = 1.0  # what an edit of a plugin changes


def scaled(out):
    return out * FACTOR


def stretch(forward, *args):
    return scaled(forward(*args))


def reader(task, options):
    """A plugin: dnabench's modules, with a number of its own."""
    net = MODELS["convnova-386k"].build(task, options)
    for norm in net.backbone.norms:
        norm.eps = FACTOR  # no part of the weights
    return net


@functools.wraps(MODELS["convnova-386k"].build)
def wrapped(task, options):
    return reader(task, options)


def hooked(task, options):
    net = MODELS["convnova-386k"].build(task, options)
    net.backbone.register_forward_hook(lambda module, given, out: scaled(out))
    return net


@pytest.fixture
def plugin():
    """Register a copy of ConvNova with another `build`, for one test."""
    names = []

    def add(build):
        names.append(f"plugin-{len(names)}")
        return MODELS.add(replace(MODELS["convnova-386k"], name=names[-1], build=build)).name

    yield add
    for name in names:
        del MODELS._entries[name]


def edited(monkeypatch, name, change=lambda net: None):
    """Whether scores follow an edit of a plugin between two runs, the cache of the first warm."""
    found = []
    for factor in (1.0, 3.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        net = net_of(0, name)
        change(net)
        found.append(scores(net, np.arange(12), model=name))
    return found[1][1] > 0 and not np.array_equal(found[0][0][0], found[1][0][0])


@pytest.mark.parametrize("build", [reader, wrapped, hooked, functools.partial(reader)])
def test_features_of_a_plugin_that_builds_our_modules_are_not_kept(
    cache, monkeypatch, plugin, build
):
    assert edited(monkeypatch, plugin(build)) and not (cache / "frozen").exists()


def hook(net):
    net.backbone.register_forward_hook(lambda module, given, out: scaled(out))


def early_hook(net):
    net.backbone.norms[0].register_forward_pre_hook(lambda module, given: (given[0] ** FACTOR,))


def forward(net):
    net.backbone.forward = functools.partial(stretch, net.backbone.forward)


def features(net):
    net.features = functools.partial(stretch, net.features)


@pytest.mark.parametrize("change", [hook, early_hook, forward, features])
def test_features_of_our_network_that_other_code_changed_are_not_kept(cache, monkeypatch, change):
    assert edited(monkeypatch, "convnova-386k", change) and not (cache / "frozen").exists()


def test_what_a_partial_hands_to_build_is_in_the_key_or_nothing_is_kept(cache, plugin):
    build, net = MODELS["convnova-386k"].build, net_of(0)
    runs = [functools.partial(build, a) for a in ("a", "b", "a")]
    calls = [scores(net, np.arange(12), model=plugin(run))[1] for run in runs]
    assert calls[0] and calls[1] and not calls[2]
    calls = [scores(net, np.arange(12), model=plugin(functools.partial(build, scaled)))[1]
             for _ in range(2)]  # fmt: skip
    assert all(calls)


def test_what_the_guard_of_bf16_decides_is_in_the_key(cache, monkeypatch):
    """Processors of one name can have libraries that differ in what they get wrong."""
    monkeypatch.setattr("dnabench.train.precision.bf16_flags", lambda: ["amx_bf16"])
    net, cut, calls = net_of(0), np.arange(12), []
    for right in (True, False, False, True):
        monkeypatch.setattr("dnabench.train.precision._right_in_bf16", lambda *_, r=right: r)
        calls.append(scores(net, cut, precision="bf16")[1])
    assert calls[0] and calls[1] and calls[2:] == [0, 0]


def test_features_of_another_form_are_made_anew(cache):
    cache.mkdir()
    torch.manual_seed(0)
    model = MODELS["convnova-386k"]  # large enough that forms of its convolutions are measured
    net = model.build(TASK, model.options)
    assert scores(net, np.arange(12))[1] and not scores(net, np.arange(12))[1]
    file = next((cache / "convolution").glob("*infer*.json"))
    other = {"direct": "tiled-conv" if file.name.startswith("k9") else "pointwise"}
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"form": other.get(told["form"], "direct")}))
    assert scores(net, np.arange(12))[1]


def test_drawn_weights_leave_nothing_on_disk(cache):
    scores(net_of(0), np.arange(12), keep="")
    assert not (cache / "frozen").exists()


# Whole trials, as a user starts them


def predictions(out):
    """Bytes of the logits by seed, and the features' forms and flags that records tell."""
    found = {}
    for record in Store(out):
        assert not record.error
        found[record.trial.seed] = Store(out).predictions(record.trial.id)["logits"].tobytes()
    return found


def checkpoint(path):
    net = MODELS["hyenadna"].build(TASK, {**MODELS["hyenadna"].options, **WIDTH})
    tensors = {f"hyena.backbone.{k}": v.clone() for k, v in net.backbone.state_dict().items()}
    save_file(tensors, path)


@pytest.mark.slow
def test_seeds_of_a_probe_share_features_and_score_as_without_a_cache(csv, tmp_path):
    checkpoint(tmp_path / "w.safetensors")
    words = ["run", "-m", "hyenadna", "--regime", f"checkpoint:{tmp_path / 'w.safetensors'}",
             "--data", csv, "--protocol", "caduceus-cv", "--seeds", "3", "--epochs", "2",
             "--set", "finetune=probe", "--jobs", "2",
             *(w for k, v in WIDTH.items() for w in ("--set", f"{k}={v}"))]  # fmt: skip
    for out, cache in (
        ("a", tmp_path / "cache"),
        ("b", tmp_path / "cache"),
        ("c", tmp_path / "no/x"),
    ):
        one = ["--jobs", "1"] if out == "a" else []  # else the first two may read each other's
        done = dnabench(*words, *one, "--out", tmp_path / out, cache=cache)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cache/frozen").iterdir())) == 2  # what is cut, and test
    assert len(predictions(tmp_path / "a")) == 3
    assert predictions(tmp_path / "a") == predictions(tmp_path / "b") == predictions(tmp_path / "c")
    assert all(r.inference_per_second == 0 for r in Store(tmp_path / "a"))
    read = {out: [r.where.get("features") for r in Store(tmp_path / out)] for out in "abc"}
    assert read == {"a": [None, "read", "read"], "b": ["read"] * 3, "c": [None] * 3}
    (told,) = (cost_section(t).rows[0] for t in tables(list(Store(tmp_path / "b"))))
    assert told[-1] == "–"  # seconds that others spent are none of its own
    listed = dnabench("cache", "list", cache=tmp_path / "cache").stdout
    assert "frozen" in listed and "features of frozen backbones" in listed
    gone = dnabench("cache", "clear", "frozen", "--yes", cache=tmp_path / "cache")
    assert gone.returncode == 0 and not (tmp_path / "cache/frozen").exists()


@pytest.mark.slow
def test_tokens_of_a_users_tokenizer_are_kept_and_scores_do_not_tell(csv, tmp_path):
    save(train_bpe(WHOLE.seqs, 64), tmp_path / "tokenizer.json")
    words = ["run", "-m", "convnova-386k", "--data", csv, "--seeds", "2", "--epochs", "1",
             "--set", "width=16", "--set", "blocks=2", "--executor", "inline",
             "--set", f"tokenizer=bpe:{tmp_path / 'tokenizer.json'}"]  # fmt: skip
    for out, cache in (
        ("a", tmp_path / "cache"),
        ("b", tmp_path / "cache"),
        ("c", tmp_path / "no/x"),
    ):
        done = dnabench(*words, "--out", tmp_path / out, cache=cache)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cache/encoded").iterdir())) == 2
    assert predictions(tmp_path / "a") == predictions(tmp_path / "b") == predictions(tmp_path / "c")
