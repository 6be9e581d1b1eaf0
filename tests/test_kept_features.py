"""train/frozen.py: features of a probe are computed once, and kept under all that decides them."""

import copy
import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import dnabench, planted_split, planted_task
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_hook

from dnabench import MODELS, Recipe
from dnabench.host.machine import bf16_flags
from dnabench.reports.costs import cost_section
from dnabench.reports.table import tables
from dnabench.results.store import Store
from dnabench.splits import streams
from dnabench.tokens.bpe import save, train_bpe
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.pool import Pool

TASK = planted_task()
WHOLE, TEST = planted_split(120, 0), planted_split(40, 1)
WIDTH = {"width": 32, "layers": 2, "l_max": 66}  # of a small HyenaDNA


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
    assert scores(net, cut, rc="augment")[1]
    if bf16_flags():
        assert scores(net, cut, precision="bf16")[1]
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
