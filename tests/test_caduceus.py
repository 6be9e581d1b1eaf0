"""models/caduceus.py against the authors' own code, its formula, and both strands."""

import golden
import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task

from dnabench import MODELS
from dnabench.models import _layers, caduceus
from dnabench.models.kernels import parts
from dnabench.models.kernels import scan as _scan
from dnabench.models.kernels.scan import BiMamba, Mamba
from dnabench.splits import streams
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised

SMALL = {"width": 8, "layers": 3}
FLIPPED = torch.tensor([3, 2, 1, 0, 4, 5])  # complement of our codes


def filled(both_strands):
    """The backbone and its output as the records' runs had them; they count A from 7, we from 0."""
    net = caduceus.backbone({"width": 32, "layers": 4}, both_strands)
    golden.fill(net)
    with torch.no_grad():
        return net, net(golden.ids(2, 40, 7, 5) - 7, None)


def small(both_strands, **options):
    torch.manual_seed(0)
    return caduceus.backbone({**SMALL, **options}, both_strands).double()


def parity(both_strands):
    net, out = filled(both_strands)
    return out, sum(p.numel() for p in net.parameters())


def language_model_logits():
    net, out = filled(both_strands=True)
    return caduceus.language_head(net, {}, both_strands=True)(out), None


def official(both_strands, tied):
    """An official file, the shared projections under the name of one direction only."""
    net, _ = filled(both_strands)
    state = {f"caduceus.backbone.{k}": v.clone() for k, v in net.state_dict().items()}
    for key in list(state):
        if f"{tied}.in_proj" in key or f"{tied}.out_proj" in key:
            del state[key]
    words = "caduceus.backbone.embeddings.word_embeddings."
    if both_strands:
        state[f"{words}complement_map"] = torch.arange(16)
        state["lm_head.complement_map"] = torch.arange(16)
        state["lm_head.lm_head.weight"] = torch.ones(16, 32)
    name = f"caduceus_{'ps' if both_strands else 'ph'}"
    return name, {"width": 32, "layers": 4}, state, "model.safetensors"


PARITY = {
    "caduceus_ph_d32_l4_fused": lambda: parity(False),
    "caduceus_ps_d32_l4_fused": lambda: parity(True),
    "caduceus_ps_d32_lmlogits": language_model_logits,
}
OFFICIAL = {
    "caduceus_ph_d32_l4_fused": lambda: official(False, "mamba_rev"),
    "caduceus_ps_d32_l4_fused": lambda: official(True, "mamba_fwd"),
}


def by_the_formula(net, ids, swap):
    """docs/models.md#caduceus as written, with (fused) or without the halves trading places."""

    def turned(t):
        return t.flip(1, 2)

    table, cm = net.embeddings["word_embeddings"]["embedding"], net.complement
    ids = net.vocabulary[ids]
    a, b = table(ids), turned(table(cm[ids.flip(1)]))
    for f in net.layers:
        one, other = (b, a) if swap else (a, b)
        a, b = f(one, None), turned(f(turned(other), None))
    return torch.cat([net.norm_f(a), turned(net.norm_f(turned(b)))], -1)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_ps_follows_the_formula(layers):
    net, ids = small(both_strands=True, layers=layers), golden.ids(2, 41, 0, 5)
    out = net(ids, None)
    torch.testing.assert_close(out, by_the_formula(net, ids, swap=True), atol=1e-12, rtol=0)
    assert (out - by_the_formula(net, ids, swap=False)).abs().max() > 0.1


def test_the_records_would_notice_strands_that_stay_in_place():
    with torch.no_grad():
        out = by_the_formula(filled(True)[0], golden.ids(2, 40, 7, 5) - 7, swap=False)
    worst = golden.differences(golden.RECORDS["caduceus_ps_d32_l4_fused"], out)
    assert max(worst.values()) > 0.01


@pytest.mark.parametrize("both_strands", [False, True])
def test_tensors_have_the_authors_names(both_strands):
    net = caduceus.backbone({"width": 32, "layers": 1}, both_strands)
    mixer = "layers.0.mixer.submodule." if both_strands else "layers.0.mixer."
    words = "word_embeddings.embedding" if both_strands else "word_embeddings"
    way = {
        "A_log": (64, 16), "D": (64,), "in_proj.weight": (128, 32), "out_proj.weight": (32, 64),
        "conv1d.weight": (64, 1, 4), "conv1d.bias": (64,), "x_proj.weight": (34, 64),
        "dt_proj.weight": (64, 2), "dt_proj.bias": (64,),
    }  # fmt: skip
    expected = {f"{mixer}mamba_{w}.{k}": v for w in ("fwd", "rev") for k, v in way.items()}
    expected |= {f"embeddings.{words}.weight": (16, 32)}
    expected |= {"layers.0.norm.weight": (32,), "norm_f.weight": (32,)}
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == expected


@pytest.mark.parametrize("kind", ["caduceus_ph", "caduceus_ps"])
def test_presets_have_the_published_sizes(kind):
    sizes = {"-470k": 470_702, "": 1_934_592, "-7.7m": 7_725_312}  # docs/models.md
    assert {s: MODELS[kind + s].n_params for s in sizes} == sizes  # that nets have: test_models.py


def in_parts(monkeypatch):
    """Parts of 7 positions for everything longer than 9, or than 9 x 8 numbers in training."""
    monkeypatch.setattr(_scan, "PART", 7)
    monkeypatch.setattr(parts, "POSITIONS", 9)
    monkeypatch.setattr(_layers, "LONG", 9 * 8)
    monkeypatch.setattr(caduceus, "AGAIN", 9 * 8)


def answers(net, ids, mask):
    """The output without gradients, and with them, and the gradients."""
    with torch.no_grad():
        plain = net(ids, mask)
    out = net(ids, mask)
    return [plain, out.detach(), *torch.autograd.grad(out.square().sum(), [*net.parameters()])]


@pytest.mark.parametrize("both_strands", [False, True])
def test_layers_computed_again_have_the_same_gradients(monkeypatch, both_strands):
    net, ids = small(both_strands).float(), golden.ids(2, 41, 0, 5)
    plain = answers(net, ids, None)
    monkeypatch.setattr(caduceus, "AGAIN", 40 * 8)
    sizes, convolved = [], BiMamba._convolved
    monkeypatch.setattr(
        BiMamba, "_convolved", lambda self, x: sizes.append(x.shape[1]) or convolved(self, x)
    )
    for a, b in zip(plain, answers(net, ids, None), strict=True):
        assert torch.equal(a, b)
    assert sizes == [41 + 3] * 3 * SMALL["layers"]  # without gradients, forward, again


@pytest.mark.parametrize("lengths", [(41, 41), (41, 20)])
@pytest.mark.parametrize("both_strands", [False, True])
def test_parts_of_a_long_sequence_change_nothing(monkeypatch, both_strands, lengths):
    net, ids = small(both_strands), golden.ids(2, 41, 0, 5)
    mask = (torch.arange(41) < torch.tensor(lengths)[:, None]).double() if lengths[1] < 41 else None
    whole, sizes = answers(net, ids, mask), []
    in_parts(monkeypatch)
    convolved = BiMamba._convolved
    monkeypatch.setattr(
        BiMamba, "_convolved", lambda self, x: sizes.append(x.shape[1]) or convolved(self, x)
    )
    for one, other in zip(answers(net, ids, mask), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)
    assert set(sizes) == {7 + 3, 6 + 3}  # 41 is 5 x 7 + 6; each with the 3 taps before it
    # without gradients, forward, again for the layer, again for the part
    assert len(sizes) == SMALL["layers"] * 6 * 4


def test_training_on_long_sequences_keeps_a_layers_input_and_no_part_of_its_inside(monkeypatch):
    net, ids = small(False), golden.ids(1, 41, 0, 5)

    def kept():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            net(ids, None)
        return sum(sizes)

    whole = kept()
    in_parts(monkeypatch)
    assert kept() < whole / 5


def test_the_network_is_counted_whole_without_a_scan(monkeypatch):
    in_parts(monkeypatch)
    with torch.device("meta"):
        net = small(False)
    seen = []
    monkeypatch.setattr(_scan, "_states", lambda *inputs: seen.append(inputs))
    out = net(torch.zeros(1, 41, dtype=torch.uint8, device="meta"), None)
    assert out.shape == (1, 41, 8) and out.is_meta and not seen


def test_ps_turns_with_the_strand():
    net = small(both_strands=True)
    ids = golden.ids(2, 41, 0, 5)
    other = FLIPPED[ids.flip(1)]
    with torch.no_grad():
        out, turned = net(ids, None), net(other, None)
    assert out.abs().max() > 0.1 and (out - turned).abs().max() > 0.1
    torch.testing.assert_close(turned, out.flip(1, 2), atol=1e-12, rtol=0)


def test_ps_logits_are_the_same_for_both_strands_also_when_padded():
    torch.manual_seed(0)
    net = MODELS["caduceus_ps"].build(planted_task(), SMALL)
    ids, lengths = torch.full((2, 50), 5), [50, 33]
    other = ids.clone()
    for i, n in enumerate(lengths):
        ids[i, :n] = golden.ids(2, 50, 0, 5)[i, :n]
        other[i, :n] = FLIPPED[ids[i, :n].flip(0)]
    mask = (torch.arange(50) < torch.tensor(lengths)[:, None]).float()
    torch.testing.assert_close(net(ids, mask), net(other, mask), atol=1e-6, rtol=0)


def test_ps_head_is_the_mean_of_one_head_on_both_strands():
    torch.manual_seed(0)
    net = MODELS["caduceus_ps"].build(planted_task(), SMALL)
    ids = golden.ids(2, 50, 0, 4)
    with torch.no_grad():
        h, (weight, bias) = net.backbone(ids, None), net.head.parameters()
        each = [half.mean(1) @ weight.T + bias for half in (h[..., :8], h[..., 8:].flip(1, 2))]
        torch.testing.assert_close(net(ids, None), sum(each) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("both_strands", [False, True])
def test_padding_changes_neither_a_feature_nor_a_gradient(both_strands):
    net, ids = small(both_strands), golden.ids(1, 40, 0, 5)
    padded = torch.cat([ids, torch.full((1, 17), 5)], 1)
    mask = (torch.arange(57) < 40).double()[None]
    outs = [net(ids, None), net(padded, mask)[:, :40]]
    torch.testing.assert_close(*outs, atol=1e-12, rtol=0)
    assert (net(padded, None)[:, :40] - outs[0]).abs().max() > 1e-3
    names, weights = zip(*net.named_parameters(), strict=True)
    alone, among = (torch.autograd.grad(out.square().sum(), weights) for out in outs)
    for name, a, b in zip(names, alone, among, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("name", ["caduceus_ph", "caduceus_ps"])
def test_the_authors_exemptions_from_weight_decay(name):
    """A weight without a gradient shrank to 0.41 over the longest recipe, where theirs stays."""
    model = MODELS[name]
    net = model.build(planted_task(), model.options)
    decayed, spared = net.param_groups(model.recipes["nt"])
    names = {id(p): k for k, p in net.named_parameters()}
    assert len(spared["params"]) == 33 and spared["weight_decay"] == 0.0
    assert len(decayed["params"]) + 33 == len(names) == 72
    kinds = {names[id(p)].rpartition("mamba_")[2][4:] for p in spared["params"]}
    assert {"A_log", "D", "dt_proj.bias", "conv1d.bias"} < kinds
    assert "head.weight" in {names[id(p)] for p in decayed["params"]}


@pytest.mark.parametrize("name", ["caduceus_ph", "caduceus_ps"])
def test_without_exemptions_every_parameter_has_weight_decay(name):
    """As it was before the exemption."""
    model, split = MODELS[name], planted_split(16, 0)
    small = {**model.options, "width": 8, "layers": 1}
    found = {}
    for exempt in (True, False):
        net = model.build(planted_task(), {**small, "exempt": exempt})
        examples = Examples(model, planted_task(), split)
        learner = NetLearner(
            net, examples, Supervised(planted_task()), model.recipes["nt"], streams(0, "x")
        )
        groups = learner._optimizer.param_groups
        found[exempt] = {
            decay: sum(len(g["params"]) for g in groups if g["weight_decay"] == decay)
            for decay in {g["weight_decay"] for g in groups}
        }
        everything = len(list(net.parameters()))
    assert found == {True: {0.1: everything - 9, 0.0: 9}, False: {0.1: everything}}


def test_weights_start_as_specified():
    torch.manual_seed(0)
    net = caduceus.backbone({"width": 64, "layers": 4}, both_strands=False)
    way = net.requires_grad_(False).layers[1].mixer.mamba_rev
    assert isinstance(way, Mamba)
    np.testing.assert_allclose(way.A_log.exp()[7], np.arange(1, 17), rtol=1e-6)
    assert (way.D == 1).all() and float(way.dt_proj.weight.abs().max()) <= 0.5  # rank 4
    steps = torch.nn.functional.softplus(way.dt_proj.bias)
    assert 0.00099 < float(steps.min()) < 0.003 and 0.04 < float(steps.max()) < 0.101
    embedding = net.embeddings["word_embeddings"].weight
    assert float(embedding.std()) == pytest.approx(0.02, rel=0.1)
    # U(+-1/sqrt(fan in)), and by sqrt(layers) less
    assert float(way.in_proj.weight.std()) == pytest.approx((1 / 3 / 64) ** 0.5, rel=0.05)
    assert float(way.out_proj.weight.std()) == pytest.approx((1 / 3 / 128) ** 0.5 / 2, rel=0.05)
    assert way.out_proj is net.layers[1].mixer.mamba_fwd.out_proj


@pytest.mark.parametrize("change", [{"width": 0}, {"layers": 0}])
def test_impossible_options_are_refused(change):
    with pytest.raises(ValueError, match="is 0; Caduceus needs at least 1"):
        caduceus.backbone(change, both_strands=True)
