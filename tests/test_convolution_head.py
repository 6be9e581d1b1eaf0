"""The head of two convolutions: equal to plain PyTorch, blind to padding, kept, and refused."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import test_hyenadna
import tiny_transformers as tiny
import torch
from conftest import planted_task
from kept_cases import job_of, kept
from kept_cases import put as put
from safetensors.torch import load_file
from test_loop import SEEDS, bases
from test_own_file import EXAMPLE
from test_weights import ALL, as_bytes, hub, pretrained  # noqa: F401
from torch import nn

from dnabench import MODELS, Recipe
from dnabench.cli.sweep_said import remarks
from dnabench.forecast.extrapolate import trial_peak, trial_seconds
from dnabench.forecast.timing import Measured, Probe, measure
from dnabench.models.kernels import parts
from dnabench.models.outside.references import model_named
from dnabench.networks.export import export
from dnabench.networks.field import field_of
from dnabench.networks.network import load_network
from dnabench.results.store import Store
from dnabench.sweep.checks import check_fine_tuning
from dnabench.sweep.trial import run_trial
from dnabench.sweep.tuning import forward_flops
from dnabench.sweep.work import work
from dnabench.train import batches as batches_module
from dnabench.train import learner as learner_module
from dnabench.train.adapt import with_head
from dnabench.train.batches import places
from dnabench.train.build import tokenizer_of
from dnabench.train.contract import alone, apart, predicted
from dnabench.train.flops import flops_per_sequence
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import supervised
from dnabench.types import Resources
from dnabench.weights import load_regime, resolve

SIZES = {"train": 24, "dev": 12, "test": 12}
TASK = planted_task(
    classes=3, kind="per_base", name="planted/bases", metric="mcc", counts=SIZES,
    load=lambda split: bases(SIZES[split], len(split)), opposite=(0, 1, 2),
)  # fmt: skip
SMALL = {"width": 16, "layers": 1, "heads": 2, "inner": 16}
NETS = {  # one reads letters; of the others, a token is 1 to 4 bp, several or up to six
    "convnova-386k": {"width": 8, "blocks": 2, "kernel_size": 3},
    "dnabert-3": {**SMALL, "dropout": 0.0},
    "dnabert2": {**SMALL, "dropout": 0.0, "vocabulary": 40},
    "nt_h": SMALL,
}
CONV = Recipe(head="conv", lr=1e-2, batch=8, epochs=2)


def built(name, recipe=CONV, task=TASK, seed=0):
    model = MODELS[name]
    options = {**model.options, **NETS[name]}
    torch.manual_seed(seed)
    return with_head(model.build(task, options), model, task, options, recipe), model, options


def learner(name, finetune, train=None, micro_batch=0, **changes):
    recipe = replace(CONV, finetune=finetune, **changes)
    net, model, options = built(name, recipe)
    train = TASK.load("train") if train is None else train
    words = tokenizer_of(model, options, TASK.load("train").seqs)
    goal = supervised(TASK, recipe, train)
    examples = Examples(model, TASK, train, words)
    return NetLearner(net, examples, goal, recipe, SEEDS, Resources(micro_batch=micro_batch))


def plain(head):
    """The same weights in PyTorch's own layers, channels first."""
    conv1, conv2, last = (nn.Conv1d(a, b, k, padding=k // 2) for a, b, k in (
        (head.conv1.in_channels, 64, 3), (64, 64, 3), (64, 3, 1)
    ))  # fmt: skip
    for ours, theirs in ((head.conv1, conv1), (head.conv2, conv2), (head.linear, last)):
        theirs.weight.data.copy_(ours.weight.reshape(theirs.weight.shape))
        theirs.bias.data.copy_(ours.bias)
    return nn.Sequential(conv1, nn.GELU(), conv2, nn.GELU(), last)


@pytest.mark.parametrize("name", NETS)
def test_logits_and_gradients_are_those_of_plain_layers_on_the_features_of_bases(name):
    one = learner(name, "full")
    net, theirs = one.net.eval(), plain(one.net.head)
    test = TASK.load("test")
    for i in range(4):  # each sequence alone, as PyTorch's layers know no padding
        data = one._read(test.take(np.array([i])), both=False)
        batch = data.batch(data.rows(np.zeros(1, np.int64)))
        bp = int(test.seqs.lengths[i])
        features = net.features(batch.ids, batch.mask)
        if batch.widths is not None:
            features = features.repeat_interleave(batch.widths[0], 1)
            got = net(batch.ids, batch.mask, places(batch.widths, 60))
            assert not got[:, bp:].any()
        else:
            got = net(batch.ids, batch.mask)
        wanted = theirs(features.transpose(1, 2)).transpose(1, 2)
        assert wanted.shape == (1, bp, 3)
        torch.testing.assert_close(got[:, :bp], wanted, rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(
        got[:, :bp].square().sum(), list(net.parameters()), allow_unused=True
    )
    parameters = [*net.backbone.parameters(), *theirs.parameters()]
    plainly = torch.autograd.grad(wanted.square().sum(), parameters, allow_unused=True)
    for a, b in zip(ours, plainly, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b.reshape(a.shape), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("finetune", ["full", "probe"])
@pytest.mark.parametrize("name", NETS)
def test_a_score_depends_neither_on_padding_nor_on_the_micro_batch(name, finetune):
    one, test = learner(name, finetune), TASK.load("test")
    one.train_epoch()
    together = predicted(one, test)
    assert together.shape == (12, 60, 3) and apart(together, alone(one, test)).within
    for row, bp in zip(together, test.seqs.lengths, strict=True):
        assert row[:bp].all() and not row[bp:].any()
    parts = learner(name, finetune, micro_batch=3)
    assert parts.train_epoch() == pytest.approx(learner(name, finetune).train_epoch(), rel=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_what_is_frozen_stays_and_its_head_answers_as_the_whole_network(name):
    one = learner(name, "probe")
    before = copy.deepcopy(one.net.state_dict())
    for _ in range(2):
        one.train_epoch()
    moved = {k for k, v in one.net.state_dict().items() if not torch.equal(v, before[k])}
    head = {f"head.{part}.{what}" for part in ("conv1", "conv2", "linear")
            for what in ("weight", "bias")}  # fmt: skip
    assert moved == head and all(k in head for k in one.state())
    width = one.net.head.conv1.in_channels
    assert one.n_learned == width * 64 * 3 + 64 + 64 * 64 * 3 + 64 + 64 * 3 + 3
    whole = learner(name, "full")
    whole.net.load_state_dict(one.net.state_dict())
    test = TASK.load("test")
    np.testing.assert_allclose(predicted(whole, test), predicted(one, test), rtol=1e-4, atol=1e-5)


def test_the_bases_beside_one_decide_its_score():
    one = learner("convnova-386k", "probe")
    x = torch.zeros(1, 9, one.net.head.conv1.in_channels)
    x[0, 4] = 1
    seen = (one.net.head(x, None) != one.net.head(x * 0, None)).any(-1)[0]
    assert seen.nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]


def test_a_long_sequence_in_parts_is_the_whole_and_how_far_it_sees_is_known(monkeypatch):
    net, *_ = built("convnova-386k")
    ids = torch.randint(0, 4, (1, 30_000), dtype=torch.uint8)
    with torch.no_grad():
        in_parts = net.eval()(ids, None)
        monkeypatch.setattr(parts, "POSITIONS", 10**9)
        torch.testing.assert_close(in_parts, net(ids, None), rtol=1e-4, atol=1e-6)
    assert field_of(net) == field_of(built("convnova-386k", Recipe())[0])  # to 256 bp
    assert field_of(built("dnabert-3")[0]) is None  # which reads no single bases


def answers(network):
    """A kept network's logits of the test bases, as predictions have them."""
    seqs = TASK.load("test").seqs
    logits = network.logits(seqs)
    return logits[np.arange(logits.shape[1]) < seqs.lengths[:, None]]


@pytest.mark.parametrize("finetune", ["full", "probe", "lora"])
@pytest.mark.parametrize("name", ["dnabert-3", "dnabert2", "hyenadna"])
def test_a_trial_repeats_to_the_byte_and_its_kept_network_answers_alike(
    name, finetune, put, tmp_path
):
    small = NETS.get(name, {"width": 8, "layers": 1, "l_max": 130})
    job = job_of(MODELS[name], put(TASK), small, finetune=finetune, head="conv", lr=1e-2)
    network, record, stored = kept(job, tmp_path)
    again, same = run_trial(job)
    assert again.scores == record.scores and np.array_equal(stored["logits"], same["logits"])
    test = TASK.load("test")
    np.testing.assert_allclose(answers(network), stored["logits"], rtol=1e-3, atol=1e-4)
    longer = network.logits([str(test.seqs[0]) * 2])  # than any in training
    assert longer.shape[1] == 2 * int(test.seqs.lengths[0]) and np.isfinite(longer).all()


def test_operations_of_the_head_are_counted():
    for name, width, own in (("convnova-386k", 8, 2 * 60 * 8 * 3), ("dnabert-3", 16, None)):
        model, options = MODELS[name], {**MODELS[name].options, **NETS[name]}
        found = [flops_per_sequence(model, options, TASK, recipe=r) for r in (CONV, Recipe())]
        head = 2 * 60 * (3 * 64 * (width + 64) + 64 * 3)
        own = 2 * 60 * width * 3 if own is None else own  # 60 tokens: 58 words, [CLS] and [SEP]
        assert found[0] - found[1] == head - own


def test_a_kept_head_on_official_weights_and_weights_below_a_kept_head(hub, put, tmp_path):  # noqa: F811
    name, options, state, file = ALL[next(iter(test_hyenadna.OFFICIAL))]()
    model, (regime, revision) = MODELS[name], pretrained(name)
    hub.put(model.weights.repo, file, as_bytes(state, file), revision)
    named, _ = resolve(model, regime)
    job = job_of(model, put(TASK), options, regime=named, finetune="probe", head="conv", lr=1e-2)
    network, record, stored = kept(job, tmp_path)
    folder = tmp_path / "networks" / record.trial.id
    assert {k.partition(".")[0] for k in load_file(folder / "model.safetensors")} == {"head"}
    np.testing.assert_allclose(answers(network), stored["logits"], rtol=1e-3, atol=1e-4)

    _, record, _ = kept(job_of(model, TASK, options, head="conv", lr=1e-2), tmp_path)
    regime, path = resolve(model, f"checkpoint:{tmp_path / 'networks' / record.trial.id}")
    net = model.build(TASK, {**model.options, **options})  # with a head of its own
    assert not any(k.startswith("head") for k in load_regime(net, model, regime, path).copied)
    trained = load_network(path.rpartition("/")[0]).net.backbone.state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in net.backbone.state_dict().items())


@pytest.mark.parametrize("pooling", ["mean", "transformers"])
def test_a_model_of_transformers_has_it_on_its_frozen_weights(pooling, put, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make(tmp_path / "m", "bert-bpe")
    model = model_named(f"hf:{tmp_path / 'm'}")
    named, _ = resolve(model, "pretrained")
    options = {"pooling": pooling}  # the second has a pooler, which is not loaded
    job = job_of(model, put(TASK), options, named, finetune="probe", head="conv", lr=1e-2)
    network, _, stored = kept(job, tmp_path / "runs")
    np.testing.assert_allclose(answers(network), stored["logits"], rtol=1e-3, atol=1e-4)


def test_a_network_of_a_file_of_yours_has_it_and_one_without_features_is_refused(put, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(EXAMPLE)
    model = model_named(f"{path}:Net")
    job = job_of(model, put(TASK), {"width": 8}, finetune="probe", head="conv")
    _, record, stored = kept(job, tmp_path / "runs", load=False)
    assert record.flags["n_learned"] == 8 * 64 * 3 + 64 + 64 * 64 * 3 + 64 + 64 * 3 + 3
    network = load_network(tmp_path / "runs/networks" / record.trial.id, model=f"{path}:Net")
    np.testing.assert_allclose(answers(network), stored["logits"], atol=1e-5)

    path.write_text(EXAMPLE.replace("features", "inside"))
    model = model_named(f"{path}:Net")
    with pytest.raises(ValueError, match=r"head=conv: net.py:Net has no features to read; write"):
        run_trial(job_of(model, TASK, {"width": 8}, head="conv"))


def test_networks_that_read_one_length_or_few_tokens_have_it(tmp_path):
    text = EXAMPLE.replace(
        "self.per_base =",
        "self.places = nn.Parameter(torch.zeros(task.length, width))\n        self.per_base =",
    ).replace("x = self.embedding(ids.long())", "x = self.embedding(ids.long()) + self.places")
    (tmp_path / "net.py").write_text(text)
    tiny.make(tmp_path / "m", "bert-bases")
    config = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps({**config, "max_position_embeddings": 40}))
    task = replace(TASK, length=100)
    for name, width in ((f"{tmp_path / 'net.py'}:Net", 64), (f"hf:{tmp_path / 'm'}", 32)):
        model = model_named(name)
        net = with_head(model.build(task, model.options), model, task, model.options, CONV)
        assert net.head.conv1.in_channels == width


def test_what_has_no_neighbouring_bases_is_refused_before_any_trial():
    model = MODELS["convnova-386k"]
    for task, changes, says in (
        (planted_task(), {}, "planted/motif is a binary task, with one for each sequence: write "
         "--set head=own, or leave conv out of --space"),
        (TASK, {"padding": "left-n"}, "head=conv: padding=left-n would be read as bases"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(says)):
            check_fine_tuning(model, task, replace(CONV, **changes), model.options)
    with pytest.raises(ValueError, match="head=conv: kmer is no network of PyTorch"):
        check_fine_tuning(MODELS["kmer"], TASK, CONV, MODELS["kmer"].options)


@pytest.mark.slow  # ONNX takes 9 s
def test_exports_answer_alike_where_tokens_are_bases_and_words_are_refused(put, tmp_path):
    put(TASK)
    letters = {"width": 8, "layers": 1, "l_max": 130}
    network = kept(job_of(MODELS["hyenadna"], TASK, letters, head="conv"), tmp_path)[0]
    for form in ("onnx", "torch-export"):
        assert export(network, form, tmp_path / form).difference < 1e-5
    network = kept(job_of(MODELS["dnabert-3"], TASK, SMALL, head="conv"), tmp_path)[0]
    for form in ("onnx", "torch-export", "hf"):
        with pytest.raises(ValueError, match=r"dnabert-3 cannot be exported.*its tokens are words"):
            export(network, form, tmp_path / "no")


@pytest.mark.parametrize("rc", ["none", "augment", "conjoin"])
@pytest.mark.parametrize(("name", "head"), [("hyenadna", "conv"), ("dnabert2", "own")])
def test_features_without_room_are_computed_for_each_batch_and_tell_no_numbers(
    name, head, rc, put, monkeypatch
):
    small = NETS.get(name, {"width": 8, "layers": 1, "l_max": 130})
    job = job_of(MODELS[name], put(TASK), small, finetune="probe", head=head, lr=1e-2, rc=rc)
    held, logits = run_trial(job)
    monkeypatch.setattr(learner_module, "total_memory", lambda device: 4 * 50_000)
    monkeypatch.setattr(batches_module, "EVAL_TOKENS", 200)  # a batch is computed in parts
    anew, same = run_trial(job)
    assert anew.flags["features_anew"] and "features_anew" not in held.flags
    assert remarks([anew]) == [
        f"{name}: the features of all bases have no room in a quarter of the memory, divided by "
        "--jobs; each batch computes its own (1 trial)"
    ]
    np.testing.assert_allclose(same["logits"], logits["logits"], rtol=1e-3, atol=1e-4)
    assert anew.curve[0]["loss"] == pytest.approx(held.curve[0]["loss"], rel=1e-4)
    assert forward_flops(replace(anew, curve=anew.curve * 3)) == 3 * forward_flops(held)
    assert np.array_equal(run_trial(job)[1]["logits"], same["logits"])


@pytest.mark.parametrize("workers", [1, 4])
def test_trials_at_once_share_the_room_for_features_and_a_plan_knows(
    workers, put, monkeypatch, tmp_path
):
    small = {"width": 8, "layers": 1, "l_max": 130}
    job = job_of(MODELS["hyenadna"], put(TASK), small, finetune="probe", head="conv", lr=1e-2)
    need = 4 * 60 * 8 * sum(SIZES.values())  # bytes, more than those of train and dev
    monkeypatch.setattr(learner_module, "total_memory", lambda device: 4 * need)
    resources = Resources(workers=workers)
    Store(tmp_path).check_writable()
    done = work(job, lambda done, total: None, str(tmp_path), resources, {job.trial.id: 0})
    assert done.record.flags.get("features_anew", False) == (workers == 4)
    found = measure(Probe(job, resources, 0.1), lambda done, total: None)
    assert found.room == need // workers and found.features == 4 * 60 * 8


def test_a_plan_counts_the_features_of_all_bases(put):
    job = job_of(MODELS["hyenadna"], put(TASK), finetune="probe", head="conv")
    sizes = (24, 12, 12)
    measured = Measured(points=((8, 1.0),), memory=((8, 1000),), prepare=1.0, features=10**6,
                        room=40 * 10**6)  # fmt: skip
    monkey = replace(job.trial, recipe=replace(job.trial.recipe, epochs=5))
    job = job._replace(trial=monkey)
    plain = trial_peak(job, measured._replace(features=0))
    assert trial_peak(job, measured) - plain == sum(sizes) * 10**6  # train and dev, then test
    held, none = trial_seconds(job, measured)[0], trial_seconds(job, measured._replace(room=1))[0]
    assert none - held == pytest.approx(4 * (24 + 12))  # each epoch computes them again
    assert trial_peak(job, measured._replace(room=20 * 10**6)) - plain == 12 * 10**6
