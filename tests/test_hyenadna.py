"""models/hyenadna.py against the authors' own code, and what docs/models.md says of it."""

import copy
import functools

import golden
import numpy as np
import pytest
import torch
from conftest import planted_task
from scipy.fft import next_fast_len

from dnabench import MODELS
from dnabench.models import _layers, hyenadna
from dnabench.models.kernels import filters as _filters
from dnabench.models.kernels import parts as _parts

# Outputs of HazyResearch/hyena-dna's standalone_hyenadna.py on deterministic weights.
RECORDS = {k: r for k, r in golden.RECORDS.items() if k.startswith("hyenadna")}
SMALL = {"width": 8, "l_max": 66}


def options_of(config):
    return {
        "width": config["d_model"], "layers": config["n_layer"], "l_max": config["l_max"],
        "shift": config["shift"],
    }  # fmt: skip


def output(record, **changes):
    """The backbone's output as the record's run had it; the record counts A from 7, we from 0."""
    net = hyenadna.backbone({**options_of(record["config"]), **changes})
    golden.fill(net, "backbone.")
    length = record["shape"][1]
    with torch.no_grad():
        return net, net.eval()(golden.ids(2, length, 7, 4) - 7, None)


def small(**options):
    torch.manual_seed(0)
    return hyenadna.backbone({**SMALL, **options}).double().eval()


def parity(name):
    net, out = output(RECORDS[name])
    return out, sum(p.numel() for p in net.parameters())


def official():
    """An -hf file: z, t and the decay are stored, the three `freq` are one tensor."""
    config = RECORDS["hyenadna_d32_l2_lmax66"]["config"]
    net, _ = output(RECORDS["hyenadna_d32_l2_lmax66"])
    state = {f"hyena.backbone.{k}": v.clone() for k, v in net.state_dict().items()}
    for i in range(2):
        filters = f"hyena.backbone.layers.{i}.mixer.filter_fn."
        state[f"{filters}pos_emb.z"] = torch.ones(1, 66, 5)
        state[f"{filters}pos_emb.t"] = torch.ones(1, 66, 1)
        state[f"{filters}modulation.deltas"] = torch.ones(1, 1, 32)
        del state[f"{filters}implicit_filter.3.freq"], state[f"{filters}implicit_filter.5.freq"]
    state["lm_head.weight"] = torch.ones(16, 32)
    return "hyenadna", options_of(config), state, "model.safetensors"


PARITY = {name: functools.partial(parity, name) for name in RECORDS}
OFFICIAL = {"hyenadna_d32_l2_lmax66": official}


@pytest.mark.parametrize("change", [{"shift": 0.0}, {"l_max": 80}])
def test_the_records_would_notice_another_network(change):
    record = RECORDS["hyenadna_d32_l2_lmax66"]
    assert max(golden.differences(record, output(record, **change)[1]).values()) > 0.01


def test_tensors_have_the_authors_names():
    net = MODELS["hyenadna-tiny-1k"].build(planted_task(), {"width": 128})
    layer = {
        "mixer.in_proj.weight": (384, 128), "mixer.in_proj.bias": (384,),
        "mixer.out_proj.weight": (128, 128), "mixer.out_proj.bias": (128,),
        "mixer.short_filter.weight": (384, 1, 3), "mixer.short_filter.bias": (384,),
        "mixer.filter_fn.bias": (128,),
        "mixer.filter_fn.implicit_filter.0.weight": (64, 5),
        "mixer.filter_fn.implicit_filter.0.bias": (64,),
        "mixer.filter_fn.implicit_filter.1.freq": (1, 64),
        "mixer.filter_fn.implicit_filter.2.weight": (64, 64),
        "mixer.filter_fn.implicit_filter.2.bias": (64,),
        "mixer.filter_fn.implicit_filter.3.freq": (1, 64),
        "mixer.filter_fn.implicit_filter.4.weight": (64, 64),
        "mixer.filter_fn.implicit_filter.4.bias": (64,),
        "mixer.filter_fn.implicit_filter.5.freq": (1, 64),
        "mixer.filter_fn.implicit_filter.6.weight": (128, 64),
        "mlp.fc1.weight": (512, 128), "mlp.fc1.bias": (512,),
        "mlp.fc2.weight": (128, 512), "mlp.fc2.bias": (128,),
        "norm1.weight": (128,), "norm1.bias": (128,), "norm2.weight": (128,), "norm2.bias": (128,),
    }  # fmt: skip
    expected = {f"backbone.layers.{i}.{k}": shape for i in range(2) for k, shape in layer.items()}
    expected |= {
        "backbone.embeddings.word_embeddings.weight": (16, 128), "backbone.ln_f.weight": (128,),
        "backbone.ln_f.bias": (128,), "head.weight": (2, 128), "head.bias": (2,),
    }  # fmt: skip
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == expected


@pytest.mark.parametrize(
    ("name", "n", "context"),
    [
        ("hyenadna-tiny-1k", 436_096, 1024), ("hyenadna", 1_641_088, 1024),
        ("hyenadna-small-32k", 3_277_568, 32_768), ("hyenadna-medium-160k", 6_550_528, 160_000),
        ("hyenadna-medium-450k", 6_550_528, 450_000), ("hyenadna-large-1m", 6_550_528, 1_000_000),
    ],
)  # fmt: skip
def test_presets_have_the_published_sizes(name, n, context):
    model = MODELS[name]  # docs/models.md; that the net has them: test_models.py
    assert (model.n_params, model.context) == (n, context)


@pytest.mark.parametrize("length", [1, 2, 7, 50, 251])
def test_convolution_by_fourier_transform_is_the_direct_one(length):
    rng = np.random.default_rng(length)
    x, kernel = rng.normal(size=(2, 3, length)), rng.normal(size=(3, length))
    direct = [[np.convolve(x[b, c], kernel[c])[:length] for c in range(3)] for b in range(2)]
    fast = hyenadna.causal_convolution(torch.from_numpy(x), torch.from_numpy(kernel))
    np.testing.assert_allclose(fast, np.array(direct), atol=1e-12)


def test_lengths_of_transforms_are_scipys():
    for least in [*range(1, 3000), 99_999, 2**20 - 1, 2**21 + 1, 1_999_999]:
        assert _filters.fast_length(least) == next_fast_len(least, real=True)


def test_parts_of_a_long_sequence_change_nothing(monkeypatch):
    net, ids = small(width=20), golden.ids(2, 60, 0, 5)  # 8 + 8 + 4 channels at once
    with torch.no_grad():
        whole, sizes = net(ids, None), []
    monkeypatch.setattr(_parts, "POSITIONS", 25)
    convolved = hyenadna.causal_convolution
    monkeypatch.setattr(
        hyenadna, "causal_convolution", lambda x, k: sizes.append(x.shape[1]) or convolved(x, k)
    )
    with torch.inference_mode():
        torch.testing.assert_close(net(ids, None), whole, atol=1e-12, rtol=0)
    assert sizes == [8, 8, 4] * 2
    torch.testing.assert_close(net(ids, None).detach(), whole, atol=0, rtol=0)  # with gradients
    assert sizes[6:] == [20, 20]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = net.float()(ids, None)
    torch.testing.assert_close(mixed.double(), whole, atol=0.15, rtol=0.1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_layers_computed_again_have_the_same_gradients(monkeypatch, dropout):
    net, ids = small(resid_dropout=dropout).train(), golden.ids(2, 60, 0, 5)
    found = []
    for long in (_layers.LONG, 60 * 8 - 1):
        monkeypatch.setattr(_layers, "LONG", long)
        torch.manual_seed(1)
        out, kept = None, []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t
        ):
            out = net(ids, None)
        gradients = torch.autograd.grad(out.square().sum(), [*net.parameters()])
        found.append((sum(kept), [out.detach(), *gradients]))
    (much, plain), (little, again) = found
    assert little < much / 5
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_positions_follow_the_formula():
    options = {"l_max": 66, "width": 3, "shift": 0.05}
    features, window = hyenadna.positions(50, torch.zeros(1, dtype=torch.float64), options)
    w = 2 * np.pi * 49 / 66
    t, sides = 49 / 65, [np.cos(1e-4 * w), np.cos(w), -np.sin(1e-4 * w), -np.sin(w)]
    np.testing.assert_allclose(features[49], [t, *sides], atol=1e-14)
    # At t = 0.3 the fastest channel, at t = 1.5 the slowest has fallen to 0.01.
    np.testing.assert_allclose(window[49, [0, 2]], 0.01 ** (t / np.array([1.5, 0.3])) + 0.05)
    assert features.shape == (50, 5) and window.shape == (50, 3)


def test_the_filter_does_not_depend_on_the_length_of_the_sequence():
    like = torch.zeros(1)
    short, long = (hyenadna.positions(n, like, {**hyenadna.OPTIONS}) for n in (30, 600))
    for a, b in zip(short, long, strict=True):
        torch.testing.assert_close(a, b[:30], rtol=0, atol=0)


def test_a_base_changes_nothing_to_its_left_and_everything_to_its_right():
    net, ids = small(), golden.ids(1, 60, 0, 4)
    other = ids.clone()
    other[0, 40] = (other[0, 40] + 1) % 4
    with torch.no_grad():
        change = (net(ids, None) - net(other, None)).abs().amax(2)[0]
    assert change[:40].max() < 1e-12 and change[40:].min() > 1e-7


def test_padding_does_not_change_a_score():
    torch.manual_seed(0)
    net = MODELS["hyenadna"].build(planted_task(), {**SMALL, "embed_dropout": 0.0})
    ids = golden.ids(1, 40, 0, 5)
    padded = torch.cat([ids, torch.full((1, 17), 5)], 1)
    mask = (torch.arange(57) < 40).float()[None]
    torch.testing.assert_close(net(padded, mask), net(ids, None), atol=1e-6, rtol=0)
    assert (net(padded, None) - net(ids, None)).abs().max() > 1e-4


def test_only_the_filter_networks_are_spared_weight_decay():
    model = MODELS["hyenadna-tiny-1k"]
    net = copy.deepcopy(model.build(planted_task(), model.options))  # a copy answers for itself
    names = {id(p): k for k, p in net.named_parameters()}
    decayed, spared = net.param_groups(model.recipes["default"])
    assert "weight_decay" not in decayed and spared["weight_decay"] == 0.0
    kinds = {names[id(p)].partition(".implicit_filter.")[2] for p in spared["params"]}
    assert kinds == {
        "0.weight", "0.bias", "1.freq", "2.weight", "2.bias", "4.weight", "4.bias", "6.weight",
    }  # fmt: skip
    kept = {names[id(p)] for p in decayed["params"]}
    assert "backbone.layers.0.mixer.filter_fn.bias" in kept and "head.weight" in kept
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_training_takes_the_groups():
    from test_models import learner

    one = learner(MODELS["hyenadna-tiny-1k"], weight_decay=0.1)
    assert [g["weight_decay"] for g in one._optimizer.param_groups] == [0.1, 0.0]


def test_weights_start_as_specified():
    torch.manual_seed(0)
    net = hyenadna.backbone({"width": 128, "layers": 8})
    mixer, mlp = net.layers[3].mixer, net.layers[3].mlp
    embedding = net.requires_grad_(False).embeddings["word_embeddings"].weight
    plain = [embedding, mixer.in_proj.weight, mlp.fc1.weight]
    plain.append(mixer.filter_fn.implicit_filter[2].weight)
    for weight in plain:
        assert float(weight.std()) == pytest.approx(0.02, rel=0.05)
    for weight in (mixer.out_proj.weight, mlp.fc2.weight):
        assert float(weight.std()) == pytest.approx(0.02 / 4, rel=0.05)  # sqrt(2 x 8 layers)
    assert float(mixer.filter_fn.bias.std()) == pytest.approx(1, rel=0.2)
    assert not mixer.in_proj.bias.any() and not mlp.fc2.bias.any()
    assert (mixer.filter_fn.implicit_filter[1].freq == 10).all()


@pytest.mark.parametrize("option", ["embed_dropout", "resid_dropout"])
def test_dropout_is_for_training_only(option):
    off = {"embed_dropout": 0.0, "resid_dropout": 0.0}
    net, plain, ids = small(**{**off, option: 0.5}), small(**off), golden.ids(2, 60, 0, 4)
    torch.testing.assert_close(net(ids, None), plain(ids, None), rtol=0, atol=0)
    assert not torch.equal(net.train()(ids, None), plain.train()(ids, None))


def test_filters_and_transforms_stay_float32_in_bf16():
    torch.manual_seed(0)
    layer = hyenadna.backbone(SMALL).layers[0].mixer.filter_fn
    x, parts = torch.randn(2, 8, 60), hyenadna.positions(60, torch.zeros(1), {**SMALL, "shift": 0})
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x, *parts)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, layer(x, *parts), rtol=0, atol=0)


def test_too_long_a_sequence_is_refused():
    build = MODELS["hyenadna"].build
    with pytest.raises(ValueError, match=r"l_max=66 reads 64 bp at most; the longest of planted"):
        build(planted_task(length=65), SMALL)
    net = build(planted_task(length=64), SMALL)
    net(torch.zeros(1, 64, dtype=torch.uint8), None)
    with pytest.raises(ValueError, match=r"a sequence has 65 bp: take shorter sequences or"):
        net(torch.zeros(1, 65, dtype=torch.uint8), None)


@pytest.mark.parametrize("change", [{"width": 0}, {"layers": 0}, {"l_max": 2}])
def test_impossible_options_are_refused(change):
    with pytest.raises(ValueError, match="needs at least"):
        hyenadna.backbone(change)


def test_a_million_bp_of_context_costs_no_memory_until_used():
    model = MODELS["hyenadna-large-1m"]
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        net = model.build(planted_task(), model.options)
        net(torch.zeros(1, 60, dtype=torch.uint8), None)
    largest = max(e.self_cpu_memory_usage for e in seen.events())
    assert 2**20 <= largest < 3_000_000  # bytes; fc1 has 2^20, one number a bp would be 4 x 10^6
    assert sum(b.numel() for b in net.buffers()) < 10
