"""models/ntv2.py against the authors' code, transformers, and what docs/models.md counts."""

import json
from pathlib import Path

import golden
import pytest
import torch
from conftest import planted_task

from dnabench import MODELS
from dnabench.models import ntv2

RECORDS = json.loads((Path(__file__).parent / "golden_records.json").read_text())
RECORD = RECORDS["ntv2_h64_l3"]
SMALL = {"width": 64, "layers": 3, "heads": 4, "inner": 128}
SIZES = {"50m": 52_484_608, "100m": 94_468_608, "250m": 229_795_584, "500m": 490_984_448}
TASK = planted_task(classes=3)


def record_input(lo, pad):
    """ids and mask as in the records' runs: <cls> first, the second row ends after 15 tokens."""
    ids, mask = golden.ids(2, 20, lo, 4100), torch.ones(2, 20)
    ids[:, 0] = 3
    ids[1, 15:], mask[1, 15:] = pad, 0.0
    return ids, mask


def contact_head(options):
    """Parameters of a layer that the authors' module owns and its output does not depend on."""
    return options["layers"] * options["heads"] + 1


def filled(**options):
    net = ntv2.backbone({**SMALL, **options})
    golden.fill(net)
    return net.eval()


@torch.no_grad()
def parity():
    net = filled()
    own = sum(p.numel() for p in net.parameters())
    unused = 64 * SMALL["width"] + contact_head(SMALL)  # a table of 64 positions
    return net(*record_input(6, 1)), own + unused


def official_file(net, options):
    """The whole of an official file, the tensors that we do not use included."""
    d, vocabulary = options["width"], net.embeddings.word_embeddings.num_embeddings
    unused = {
        "lm_head.bias": torch.zeros(vocabulary), "lm_head.dense.weight": torch.ones(d, d),
        "lm_head.dense.bias": torch.zeros(d), "lm_head.layer_norm.weight": torch.ones(d),
        "lm_head.layer_norm.bias": torch.zeros(d),
        "esm.contact_head.regression.weight": torch.ones(1, contact_head(options) - 1),
        "esm.contact_head.regression.bias": torch.zeros(1),
        "lm_head.decoder.weight": torch.ones(vocabulary, d),
        "esm.embeddings.position_ids": torch.arange(2050)[None],
    }  # fmt: skip
    if net.frequencies is not None:
        unused["esm.embeddings.position_embeddings.weight"] = torch.ones(2050, d)
        for i in range(options["layers"]):
            rotary = f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"
            unused[rotary] = torch.ones(d // options["heads"] // 2)
    return {"esm." + k: p.detach().clone() for k, p in net.named_parameters()} | unused


def official():
    return "ntv2", SMALL, official_file(filled(), SMALL), "model.safetensors"


PARITY = {"ntv2_h64_l3": parity}
OFFICIAL = {"ntv2_h64_l3": official}


def transformers_net(net, options):
    """EsmModel of transformers with our weights, its layers made gated."""
    esm = pytest.importorskip("transformers.models.esm.modeling_esm")
    from transformers import EsmConfig

    config = EsmConfig(
        vocab_size=4107, hidden_size=options["width"], num_hidden_layers=options["layers"],
        num_attention_heads=options["heads"], intermediate_size=options["inner"],
        position_embedding_type="rotary", token_dropout=False, emb_layer_norm_before=False,
        pad_token_id=1, mask_token_id=2, layer_norm_eps=1e-12, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, max_position_embeddings=2050,
    )  # fmt: skip

    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(options["width"], 2 * options["inner"], bias=False)

        def forward(self, x):
            y = self.dense(x)
            return torch.nn.functional.silu(y[..., : options["inner"]]) * y[..., options["inner"] :]

    theirs = esm.EsmModel(config, add_pooling_layer=False)
    for layer in theirs.encoder.layer:
        layer.intermediate = Gated()
        layer.output.dense = torch.nn.Linear(options["inner"], options["width"], bias=False)
    state = theirs.load_state_dict(net.state_dict(), strict=False)
    assert not state.unexpected_keys
    assert all("contact_head" in k or "position_embeddings" in k or "inv_freq" in k
               for k in state.missing_keys)  # fmt: skip
    return theirs.eval()


def random_net(options=SMALL, seed=0):
    """With every tensor random, so that no part is without effect."""
    torch.manual_seed(seed)
    net = ntv2.backbone(options)
    for p in net.parameters():
        torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2)
    return net.eval()


@pytest.mark.parametrize("options", [SMALL, {**SMALL, "heads": 2, "inner": 96, "layers": 2}])
@torch.no_grad()
def test_is_the_recipe_on_transformers(options):
    net = random_net(options)
    ids, mask = record_input(6, 1)
    theirs = transformers_net(net, options)(input_ids=ids, attention_mask=mask.long())
    torch.testing.assert_close(net(ids, mask), theirs.last_hidden_state, atol=2e-5, rtol=1e-5)


def test_parameter_count_and_shape_are_the_records():
    out, n = parity()
    assert (n, list(out.shape)) == (RECORD["params"], RECORD["shape"])


@torch.no_grad()
def test_the_record_would_notice_another_network():
    def worst(net):
        return max(golden.differences(RECORD, net(*record_input(6, 1))).values())

    assert worst(filled()) < 1e-4
    other_base, swapped, epsilon = filled(), filled(), filled()
    other_base.frequencies *= 0.9
    gates = [layer.intermediate.dense.weight for layer in swapped.encoder.layer]
    for w in gates:  # the wrong half through SiLU
        w.copy_(w.roll(SMALL["inner"], 0))
    assert worst(other_base) > 1e-3 and worst(swapped) > 1e-3
    for module in epsilon.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3
    assert worst(epsilon) > 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_presets_have_the_authors_sizes(size):
    model = MODELS[f"ntv2-{size}"]
    with torch.device("meta"):
        net = ntv2.backbone(model.options)
    n, (d, layers, heads) = SIZES[size], (model.options[k] for k in ("width", "layers", "heads"))
    assert model.n_params == n == sum(p.numel() for p in net.parameters())
    v, mlm = 4107, {"50m": 55_904_972, "100m": 97_889_132, "250m": 235_120_780, "500m": 498_345_436}
    lm_head = d * d + d + 2 * d + v * d + v
    assert mlm[size] == n + 2050 * d + layers * heads + 1 + lm_head
    assert model.weights.repo == f"InstaDeepAI/nucleotide-transformer-v2-{size}-multi-species"


def test_the_plain_name_is_the_500m():
    assert MODELS["ntv2"].options == MODELS["ntv2-500m"].options
    assert MODELS["ntv2"].weights.repo.endswith("v2-500m-multi-species")


LAYER = {
    **{f"attention.self.{k}.weight": (64, 64) for k in ("query", "key", "value")},
    **{f"attention.self.{k}.bias": (64,) for k in ("query", "key", "value")},
    "attention.output.dense.weight": (64, 64), "attention.output.dense.bias": (64,),
    "attention.LayerNorm.weight": (64,), "attention.LayerNorm.bias": (64,),
    "LayerNorm.weight": (64,), "LayerNorm.bias": (64,),
    "intermediate.dense.weight": (256, 64), "output.dense.weight": (64, 128),
}  # fmt: skip
ENDS = {"encoder.emb_layer_norm_after.weight": (64,), "encoder.emb_layer_norm_after.bias": (64,)}


def test_tensors_have_the_authors_names_and_shapes():
    shapes = {k: tuple(v.shape) for k, v in filled().state_dict().items()}
    layers = {f"encoder.layer.{i}.{k}": s for i in range(3) for k, s in LAYER.items()}
    assert shapes == {"embeddings.word_embeddings.weight": (4107, 64), **layers, **ENDS}


def test_official_names_become_ours():
    _, _, file, _ = official()
    ours = {name for name in map(MODELS["ntv2"].weights.rename, file) if name}
    assert ours == set(filled().state_dict())
    assert ntv2.rename("something.new") == "something.new"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"layers": 0}, "layers is 0"), ({"heads": 0}, "heads is 0"), ({"inner": -1}, "inner is -1"),
     ({"width": 60}, "width is 60 and heads is 4; .* multiple of 8")],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        ntv2.backbone({**SMALL, **change})


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is 'sum'"):
        ntv2.build(TASK, {**SMALL, "pooling": "sum"})


@pytest.mark.parametrize("pooling", MODELS["ntv2"].choices["pooling"])
@torch.no_grad()
def test_a_score_does_not_depend_on_padding(pooling):
    torch.manual_seed(0)
    net = ntv2.build(TASK, {**SMALL, "pooling": pooling}).eval()
    ids, mask = record_input(6, 1)
    together = net(ids, mask)
    torch.testing.assert_close(together[:1], net(ids[:1], None), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1:], net(ids[1:, :15], None), atol=1e-6, rtol=1e-5)
    other = ids.clone()
    other[1, 15:] = 77  # whatever stands under the padding
    torch.testing.assert_close(net(other, mask), together, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_head_is_the_authors():
    net = ntv2.build(TASK, SMALL)
    ids, _ = record_input(6, 1)
    first = net.backbone(ids, None)[:, 0]
    head = net.head
    expected = head.out_proj(torch.tanh(first @ head.dense.weight.T + head.dense.bias))
    torch.testing.assert_close(net(ids, None), expected, atol=1e-6, rtol=1e-5)
    assert head.dense.weight.shape == (64, 64) and head.out_proj.weight.shape == (3, 64)


def test_gives_logits_for_every_token():
    net = ntv2.build(planted_task(classes=3, kind="per_base"), SMALL)
    assert net(*record_input(6, 1)).shape == (2, 20, 3)


def test_starts_as_the_authors_do():
    torch.manual_seed(0)
    net = ntv2.build(TASK, {**SMALL, "width": 256})
    for name, p in net.named_parameters():
        if "LayerNorm" in name or "layer_norm" in name:
            assert bool((p == float(name.endswith("weight"))).all()), name
        elif name.endswith("bias"):
            assert not p.any(), name
        else:
            assert abs(float(p.detach().std()) / 0.02 - 1) < 0.1, name


@torch.no_grad()
def test_runs_in_bf16_with_angles_in_fp32():
    net = random_net()
    ids, mask = record_input(6, 1)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(ids, mask)
    error = (half - net(ids, mask)).abs().max()
    assert 0 < error < 0.2
    assert all(t.dtype == torch.float32 for t in net.turn(20))
    assert torch.equal(net.turn(2048)[0][-1], torch.cos(2047 * net.frequencies))


def test_every_adapted_layer_is_called():
    net, called = ntv2.build(TASK, SMALL), set()
    for name, module in net.named_modules():
        if name.rpartition(".")[2] in ntv2.LORA_TARGETS:
            module.register_forward_hook(lambda m, i, o, name=name: called.add(name))
    net(*record_input(6, 1))
    assert len(called) == 3 * 6 + 1  # six a layer, and the head's


def test_recipes_are_those_published():
    recipes = MODELS["ntv2"].recipes
    assert recipes["default"].finetune == "full"
    for suite, epochs in (("nt", 20), ("gue", 3)):
        r = recipes[suite]
        assert (r.finetune, r.lora_r, r.lora_alpha, r.lora_dropout) == ("lora", 8, 16, 0.05)
        assert (r.lr, r.epochs) == (1e-4, epochs)


def test_weights_are_said_to_be_non_commercial():
    for name in ("ntv2", "ntv2-50m", "ntv2-100m", "ntv2-250m", "ntv2-500m", "nt_h"):
        assert MODELS[name].weights.license == "CC BY-NC-SA 4.0 (non-commercial)"
