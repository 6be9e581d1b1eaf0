"""What every registered model must do. A new model file is covered without touching this one.

Presets are tested at their `reduced` options, where they have such: fewer layers, the same code.
"""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task

from dnabench import MODELS, Sequences, Split
from dnabench.host.machine import bf16_flags
from dnabench.splits import streams
from dnabench.tokens.bpe import tokenizer_named
from dnabench.train.adapt import with_head
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import supervised
from dnabench.weights import REVISION

TASK = planted_task(classes=3, length=80)
PER_BASE = planted_task(classes=3, length=80, kind="per_base")
MIXED = planted_split(8, 5, length=60, classes=3)
SEEDS = streams(0, TASK.name)
NETS = [name for name in MODELS if not MODELS[name].custom_trainer]
LONGEST = 2000  # bp of the test at full context, where the context is longer
# Their features start as large as 1 and alike for all sequences, and a head drawn as PyTorch's
# default favours a class then; the authors' initialisation, which is kept
FIRST_LOSS = {"convnova_unet": 0.5, "convnova_no_gate": 0.25}
# A constant added to all keys, or to all logits, moves no softmax: zero but for rounding
NO_GRADIENT = {
    "nt_h": ("key.bias",), "dnabert": ("key.bias",), "gena_lm": ("key.bias",),
    "deepatt": ("wk.bias", "point_wise_dense_2.bias"),
}  # fmt: skip


@pytest.fixture(params=list(MODELS))
def model(request):
    return MODELS[request.param]


@pytest.fixture(params=NETS)
def net_model(request):
    return MODELS[request.param]


def words(model, options, seqs=MIXED.seqs):
    name = str(options.get("tokenizer", model.tokenizer))
    return tokenizer_named(name, vocabulary=options.get("vocabulary", 0), train=seqs)


def build(model, seed=0, task=TASK, **options):
    torch.manual_seed(seed)
    return model.build(task, {**model.options, **model.reduced, **options})


def learner(model, split=MIXED, task=TASK, options=None, **recipe):
    recipe = dataclasses.replace(model.recipes["default"], **recipe)
    options = {**model.options, **model.reduced, **(options or {})}
    torch.manual_seed(0)
    net = model.build(task, options)
    if model.custom_trainer:
        return net(split, recipe)
    net = with_head(net, model, task, options, recipe)
    examples = Examples(model, task, split, words(model, options, split.seqs))
    return NetLearner(net, examples, supervised(task, recipe, split), recipe, SEEDS)


def inputs(model):
    """ids and mask of MIXED."""
    encoded = words(model, {**model.options, **model.reduced})(MIXED.seqs, 80, "mask")
    ids = torch.from_numpy(encoded.ids)
    if encoded.lengths is None:
        return ids, None
    lengths = torch.from_numpy(encoded.lengths)[:, None]
    return ids, (torch.arange(ids.shape[1]) < lengths).float()


def mixed_lengths(shortest=60):
    """Six sequences of `shortest` to 80 bp, three classes."""
    base = planted_split(6, 9, length=80, classes=3)
    step = (80 - shortest) // 5
    seqs = Sequences.parse(base.seqs[i][: shortest + step * i] for i in range(6))
    return Split(seqs, base.y, base.ids)


def labelled_bases(split):
    """The split, with a class for each base of at most 80."""
    y = np.full((len(split.y), 80), -100, np.int8)
    for i, n in enumerate(split.seqs.lengths):
        y[i, :n] = split.seqs.codes[split.seqs.offsets[i] : split.seqs.offsets[i] + n] % 3
    return Split(split.seqs, y, split.ids)


def test_learns_an_epoch_and_gives_finite_logits(model):
    one = learner(model)
    assert np.isfinite(one.train_epoch())
    logits = one.predictor(MIXED)()
    assert logits.shape == (8, 3) and logits.dtype == np.float32 and np.isfinite(logits).all()


@pytest.mark.parametrize("shortest", [60, 5])
def test_a_sequence_scores_alike_alone_and_in_a_batch(model, shortest):
    split = mixed_lengths(shortest)
    if shortest < model.min_length:
        pytest.skip(f"{model.name} takes {model.min_length} bp or more")
    one = learner(model, split)
    one.train_epoch()
    together = one.predictor(split)()
    alone = np.concatenate([one.predictor(split.take(np.array([i])))() for i in range(6)])
    why = "the score depends on padding or neighbours: multiply by `mask` before reading neighbours"
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4, err_msg=why)


def test_order_of_the_split_is_the_order_of_the_logits(model):
    split, turned = mixed_lengths(), np.array([3, 0, 5, 1, 4, 2])
    one = learner(model, split)
    one.train_epoch()
    np.testing.assert_allclose(
        one.predictor(split.take(turned))(), one.predictor(split)()[turned], atol=2e-5, rtol=1e-4
    )


def test_the_same_seed_gives_the_same_bytes(model):
    a, b = learner(model), learner(model)
    assert a.train_epoch() == b.train_epoch()
    assert a.predictor(MIXED)().tobytes() == b.predictor(MIXED)().tobytes()


def test_restoring_a_state_gives_its_logits_back(model):
    one = learner(model)
    one.train_epoch()
    state, before = one.state(), one.predictor(MIXED)()
    if one.epochs > 1:  # the baselines of models/gene_baselines.py have learned all by now
        one.train_epoch()
        assert not np.array_equal(one.predictor(MIXED)(), before)
    one.restore(state)
    np.testing.assert_array_equal(one.predictor(MIXED)(), before)


def test_every_recipe_trains(model):
    for name, recipe in model.recipes.items():
        numbers, options = (dict(part) for part in (recipe.numbers, recipe.for_task("x/x")[1]))
        data = MIXED, TASK
        if numbers.get("head") == "conv":
            data = labelled_bases(MIXED), PER_BASE
        one = learner(model, *data, options=options, **{**numbers, "epochs": 1})
        assert np.isfinite(one.train_epoch()), name
        assert recipe.source


def test_declares_where_it_comes_from(model):
    assert model.source and model.license and model.context >= model.min_length >= 1
    if model.weights is not None and model.weights.repo:
        assert model.weights.license and model.weights.files
        assert REVISION.fullmatch(model.weights.revision) or not model.weights.revision


def test_declared_size_is_the_size_without_the_head(net_model):
    with torch.device("meta"):
        net = net_model.build(TASK, net_model.options)
    head = sum(p.numel() for p in net.head.parameters())
    assert sum(p.numel() for p in net.parameters()) - head == net_model.n_params


def test_another_seed_gives_other_weights(net_model):
    a, b = build(net_model, 0).state_dict(), build(net_model, 1).state_dict()
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_gradient_reaches_every_parameter(net_model):
    net = build(net_model)
    loss = torch.nn.functional.cross_entropy(net(*inputs(net_model)), torch.from_numpy(MIXED.y))
    loss.backward()
    dead = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    exempt = NO_GRADIENT.get(net_model.family, ("none is",))
    assert not [k for k in dead if not k.endswith(exempt)]


def test_first_loss_is_near_that_of_guessing(net_model):
    losses = []
    with torch.no_grad():
        for seed in range(5):
            logits = build(net_model, seed)(*inputs(net_model))
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(MIXED.y))))
    off = abs(np.median(losses) / np.log(3) - 1)
    assert off < FIRST_LOSS.get(net_model.name, 0.15)


def test_weights_survive_a_file(net_model, tmp_path):
    net, other = build(net_model, 0).eval(), build(net_model, 1).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    other.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    x = inputs(net_model)
    torch.testing.assert_close(net(*x), other(*x), rtol=0, atol=0)


@pytest.mark.skipif(
    not bf16_flags(), reason="this processor has no bfloat16; see test_precision.py"
)
def test_runs_in_bf16_near_fp32(net_model):
    full = learner(net_model).predictor(MIXED)()
    half = learner(net_model, precision="bf16").predictor(MIXED)()
    assert half.dtype == np.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05)


def test_conjoined_logits_do_not_depend_on_the_strand(net_model):
    one = learner(net_model, rc="conjoin")
    other = Split(MIXED.seqs.reverse_complement(), MIXED.y, MIXED.ids)
    np.testing.assert_allclose(one.predictor(MIXED)(), one.predictor(other)(), atol=1e-5)
    plain = learner(net_model)
    logits = plain.predictor(MIXED)()
    moved = np.abs(logits - plain.predictor(other)()).max()
    # against how far sequences differ: a fresh LegNet's logits differ by 1e-7 only
    assert moved < 1e-5 if net_model.family == "caduceus_ps" else moved > 0.1 * logits.std(0).max()


def test_reads_one_base_and_its_whole_context(net_model):
    longest = min(net_model.context, LONGEST)
    if net_model.tokenizer == "bpe" and net_model.max_tokens:  # a token may be one base
        longest = net_model.max_tokens - 2
    for length in (net_model.min_length, longest):
        task = planted_task(classes=3, length=max(length, 60))
        split = planted_split(2, 3, length=length, classes=3) if length > 8 else Split(
            Sequences.parse(["ACGTACGT"[:length]] * 2), np.array([0, 1]), np.array(["a", "b"])
        )  # fmt: skip
        logits = learner(net_model, split, task).predictor(split)()
        assert logits.shape == (2, 3) and np.isfinite(logits).all(), length


def test_gives_one_prediction_a_base(net_model):
    split = mixed_lengths()
    split = labelled_bases(split)
    if "per_base" not in net_model.kinds:
        pytest.skip(f"{net_model.name} gives one prediction a sequence")
    one = learner(net_model, split, PER_BASE, rc="none")
    assert np.isfinite(one.train_epoch())
    logits = one.predictor(split)()
    assert logits.shape == (6, 80, 3)
    assert [int((row != 0).any(1).sum()) for row in logits] == split.seqs.lengths.tolist()


def test_a_probe_learns_a_linear_head_on_frozen_features(net_model):
    one = learner(net_model, finetune="probe", lr=1e-3, epochs=31)
    before = {k: v.clone() for k, v in one.net.state_dict().items()}
    first = one.train_epoch()
    for _ in range(30):
        last = one.train_epoch()
    moved = {k for k, v in one.net.state_dict().items() if not torch.equal(v, before[k])}
    head = {id(p) for p in one.net.head.parameters()}
    assert isinstance(one.net.head, torch.nn.Linear) and last < first
    assert moved == {k for k, p in one.net.named_parameters() if id(p) in head}


def test_lora_changes_the_declared_layers_only(net_model):
    pytest.importorskip("peft")
    if not net_model.lora_targets:
        with pytest.raises(ValueError, match="names no layers for LoRA"):
            learner(net_model, finetune="lora")
        return
    plain = learner(net_model).predictor(MIXED)()
    one = learner(net_model, finetune="lora", lr=0.01)
    np.testing.assert_array_equal(one.predictor(MIXED)(), plain)  # B starts at zero
    before = {k: v.clone() for k, v in one.net.state_dict().items()}
    state = one.state()
    one.train_epoch()
    one.train_epoch()
    moved = {k for k, v in one.net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k, p in one.net.named_parameters() if p.requires_grad}
    assert all(".lora_" in k or k.startswith("head.") for k in moved)
    one.restore(state)
    np.testing.assert_array_equal(one.predictor(MIXED)(), plain)


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [(n, t) for n in NETS for t in MODELS[n].choices.get("tokenizer", ()) if n == MODELS[n].family],
)
def test_reads_what_its_tokenizers_make(name, tokenizer):
    split = mixed_lengths()
    one = learner(MODELS[name], split, options={"tokenizer": tokenizer, "vocabulary": 300})
    one.train_epoch()
    together = one.predictor(split)()
    alone = np.concatenate([one.predictor(split.take(np.array([i])))() for i in range(6)])
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [(n, p) for n in NETS for p in MODELS[n].choices.get("pooling", ()) if n == MODELS[n].family],
)
def test_pools_tokens_and_no_padding(name, pooling):
    split = mixed_lengths()
    one = learner(MODELS[name], split, options={"pooling": pooling})
    together = one.predictor(split)()
    alone = np.concatenate([one.predictor(split.take(np.array([i])))() for i in range(6)])
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["hyenadna", "caduceus_ph", "caduceus_ps"])
def test_computing_long_sequences_again_changes_neither_value_nor_gradient(name, monkeypatch):
    from dnabench.models import _layers, caduceus

    model, found = MODELS[name], []
    for limit in (2**23, 1):
        if name == "hyenadna":
            monkeypatch.setattr(_layers, "LONG", limit)
        else:  # LONG would also have it read in parts, equal but for rounding
            monkeypatch.setattr(caduceus, "AGAIN", limit)
        net = build(model)
        torch.manual_seed(1)  # of dropout
        logits = net(*inputs(model))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(MIXED.y)).backward()
        found.append([logits.detach(), *(p.grad for p in net.parameters())])
    for whole, again in zip(*found, strict=True):
        torch.testing.assert_close(again, whole, rtol=0, atol=0)
