"""models/dnabert2.py against the authors' own code, and what docs/models.md says of it."""

import json
from pathlib import Path
from types import SimpleNamespace

import golden
import pytest
import torch
from conftest import planted_task

from dnabench import MODELS
from dnabench.models import dnabert2

RECORDS = json.loads((Path(__file__).parent / "golden_records.json").read_text())
SMALL = {"vocabulary": 128, "width": 48, "layers": 3, "heads": 12, "inner": 96}
IDS = golden.ids(2, 20, 5, 120)
IDS[1, 14:] = 3
MASK = (torch.arange(20) < torch.tensor([20, 14])[:, None]).float()


def filled(model, options, **build):
    """The whole network as the authors' code had it when the records were made."""
    net = MODELS[model].build(planted_task(**build), options)
    golden.fill(net.backbone)
    golden.fill(net.head)  # pooler.dense.*, as in theirs
    return net.eval()


def hidden(model, options, unused=0):
    """What the encoder gives; the records count the pooler, `unused` is what they do not have."""
    net = filled(model, options)
    n = sum(p.numel() for part in (net.backbone, net.head.pooler) for p in part.parameters())
    with torch.no_grad():
        return net.backbone(IDS, MASK), n - unused


def pooled(model, options):
    net = filled(model, options)
    with torch.no_grad():
        return net.head.pooler(net.features(IDS, MASK)), None


PARITY = {
    "dnabert2_h48_l3_a12": lambda: hidden("dnabert2", SMALL),
    "dnabert2_h48_pooled": lambda: pooled("dnabert2", SMALL),
}


def shapes(d, layers, inner, vocabulary):
    """Names in the official file, without the prefix `bert.`."""
    layer = {
        "attention.self.Wqkv.weight": (3 * d, d), "attention.self.Wqkv.bias": (3 * d,),
        "attention.output.dense.weight": (d, d), "attention.output.dense.bias": (d,),
        "attention.output.LayerNorm.weight": (d,), "attention.output.LayerNorm.bias": (d,),
        "mlp.gated_layers.weight": (2 * inner, d),
        "mlp.wo.weight": (d, inner), "mlp.wo.bias": (d,),
        "mlp.layernorm.weight": (d,), "mlp.layernorm.bias": (d,),
    }  # fmt: skip
    return {
        "embeddings.word_embeddings.weight": (vocabulary, d),
        "embeddings.token_type_embeddings.weight": (2, d),
        "embeddings.LayerNorm.weight": (d,), "embeddings.LayerNorm.bias": (d,),
        **{f"encoder.layer.{i}.{k}": s for i in range(layers) for k, s in layer.items()},
    }  # fmt: skip


def language_head(d, vocabulary):
    """What a masked-language checkpoint has besides."""
    return {
        "cls.predictions.transform.dense.weight": (d, d),
        "cls.predictions.transform.dense.bias": (d,),
        "cls.predictions.transform.LayerNorm.weight": (d,),
        "cls.predictions.transform.LayerNorm.bias": (d,),
        "cls.predictions.decoder.weight": (vocabulary, d),
        "cls.predictions.decoder.bias": (vocabulary,),
    }


def official(body, head):
    """A state dict of the authors: filled under the records' names, `bert.` then put before."""
    tensors = {k: torch.empty(s) for k, s in {**body, **head}.items()}
    golden.fill(SimpleNamespace(named_parameters=tensors.items))
    return {k if k in head else f"bert.{k}": v for k, v in tensors.items()}


def official_file():
    body = shapes(48, 3, 96, 128)
    return "dnabert2", SMALL, official(body, language_head(48, 128)), "pytorch_model.bin"


OFFICIAL = {"dnabert2_h48_l3_a12": official_file}


def on_meta(name):
    with torch.device("meta"):
        return MODELS[name].build(planted_task(), MODELS[name].options)


def test_has_the_published_size_and_tensors():
    net = on_meta("dnabert2")
    n = sum(p.numel() for p in net.backbone.parameters())
    assert n == MODELS["dnabert2"].n_params == 116_477_952
    assert n + sum(p.numel() for p in net.head.pooler.parameters()) == 117_068_544
    found = {k: tuple(v.shape) for k, v in net.backbone.state_dict().items()}
    assert found == shapes(768, 12, 3072, 4096)


def test_every_tensor_of_a_checkpoint_has_its_place():
    rename = MODELS["dnabert2"].weights.rename
    names = [rename(k) for k in official_file()[2]]
    assert sorted(filter(None, names)) == sorted(shapes(48, 3, 96, 128))
    assert names.count("") == 6
    assert rename("bert.embeddings.position_ids") == rename("bert.pooler.dense.weight") == ""
    assert rename("bert.surprise.weight") == "surprise.weight"


def swap_halves(net):
    for layer in net.backbone.encoder.layer:
        weight = layer.mlp.gated_layers.weight
        weight.data = torch.cat(weight.data.chunk(2)[::-1])


def sort_slopes(net):
    net.backbone.slopes = net.backbone.slopes.sort(descending=True).values


@pytest.mark.parametrize("change", [swap_halves, sort_slopes])
def test_the_record_would_notice_another_network(change):
    net = filled("dnabert2", SMALL)
    change(net)
    with torch.no_grad():
        out = net.backbone(IDS, MASK)
    assert max(golden.differences(RECORDS["dnabert2_h48_l3_a12"], out).values()) > 0.01


@pytest.mark.parametrize(
    ("heads", "powers"),
    [
        (12, [-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5]), (1, [-8]), (2, [-4, -8]),
        (3, [-4, -8, -2]), (6, [-2, -4, -6, -8, -1, -3]), (8, [-1, -2, -3, -4, -5, -6, -7, -8]),
    ],
)  # fmt: skip
def test_slopes_of_the_heads(heads, powers):
    assert dnabert2.slopes(heads) == pytest.approx([2**p for p in powers], rel=1e-12)


def test_attention_is_the_formula():
    from dnabench.models._bert import attend

    torch.manual_seed(0)
    net = dnabert2.backbone({**SMALL, "heads": 6})
    q, k, v = torch.randn(3, 2, 20, 48).double()
    found = attend(q, k, v, 6, net.bias(20, MASK)).view(2, 20, 6, 8)
    for row, length in ((0, 20), (1, 14)):
        for head, slope in enumerate([2**p for p in (-2, -4, -6, -8, -1, -3)]):
            at = slice(8 * head, 8 * head + 8)
            scores = q[row, :, at] @ k[row, :length, at].T / 8**0.5
            scores -= slope * (torch.arange(20)[:, None] - torch.arange(length)).abs()
            expected = scores.softmax(1) @ v[row, :length, at]
            torch.testing.assert_close(found[row, :, head], expected)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_padding_is_zero_in_the_output_and_nothing_in_the_score(pooling):
    net = filled("dnabert2", {**SMALL, "pooling": pooling})
    out = net.backbone(IDS, MASK)
    assert not out[1, 14:].any() and out[1, :14].all(1).any()
    other = IDS.clone()
    other[1, 14:] = 0  # [UNK], which the authors' configuration calls padding
    torch.testing.assert_close(net(IDS, MASK), net(other, MASK), rtol=0, atol=0)
    torch.testing.assert_close(net(IDS, MASK)[1:], net(IDS[1:, :14], None), rtol=0, atol=1e-5)


def test_more_tokens_than_were_trained_with_are_no_obstacle():
    out = filled("dnabert2", SMALL).backbone(golden.ids(1, 700, 5, 120), None)
    assert out.shape == (1, 700, 48) and out.isfinite().all()


def test_the_pooler_belongs_to_cls():
    net, plain = (filled("dnabert2", {**SMALL, "pooling": p}) for p in ("cls", "mean"))
    by_hand = net.head.classifier(net.head.pooler.dense(net.backbone(IDS, MASK)[:, 0]).tanh())
    torch.testing.assert_close(net(IDS, MASK), by_hand, rtol=0, atol=0)
    mean = (plain.backbone(IDS, MASK)).sum(1) / MASK.sum(1)[:, None]
    torch.testing.assert_close(plain(IDS, MASK), plain.head.classifier(mean))
    per_base = filled("dnabert2", SMALL, kind="per_base", classes=3)
    assert per_base(IDS, MASK).shape == (2, 20, 3) and per_base.head.pooler is None


def test_weights_start_as_specified():
    torch.manual_seed(0)
    net = MODELS["dnabert2"].build(planted_task(), {"layers": 1, "vocabulary": 1000})
    layer = net.backbone.encoder.layer[0]
    for weight in (
        net.backbone.embeddings.word_embeddings.weight, layer.attention.self["Wqkv"].weight,
        layer.mlp.gated_layers.weight, layer.mlp.wo.weight, net.head.pooler.dense.weight,
    ):  # fmt: skip
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert not any(p.any() for k, p in net.named_parameters() if k.endswith("bias"))


def test_dropout_is_for_training_only():
    net = filled("dnabert2", SMALL)
    assert torch.equal(net(IDS, MASK), net(IDS, MASK))
    net.train()
    assert not torch.equal(net(IDS, MASK), net(IDS, MASK))
    still = filled("dnabert2", {**SMALL, "dropout": 0.0})
    assert torch.equal(still.train()(IDS, MASK), still.eval()(IDS, MASK))


def dropouts(net, ids=IDS):
    """The dropout layers that a forward pass really goes through, and their share."""
    seen = {}
    for name, m in net.named_modules():
        if isinstance(m, torch.nn.Dropout):
            m.register_forward_hook(lambda m, *_, name=name: seen.update({name: m.p}))
    net(ids, MASK)
    return seen


def test_dropout_is_where_the_authors_have_it():
    layers = [
        f"backbone.encoder.layer.{i}.{k}" for i in range(3) for k in ("attention.output", "mlp")
    ]
    places = ["backbone.embeddings", *layers, "head"]
    assert dropouts(filled("dnabert2", SMALL)) == {f"{k}.dropout": 0.1 for k in places}


def test_lora_reaches_every_linear_layer():
    net = on_meta("dnabert2").backbone
    linear = {
        k.rpartition(".")[2] for k, m in net.named_modules() if isinstance(m, torch.nn.Linear)
    }
    assert linear == set(MODELS["dnabert2"].lora_targets)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"heads": 7}, "width is 48 and heads 7; .* heads must divide width"),
        ({"layers": 0}, "layers is 0; DNABERT-2 needs at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0"),
        ({"pooling": "sum"}, "pooling is 'sum'; it must be one of mean, cls"),
    ],
)
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        MODELS["dnabert2"].build(planted_task(), {**SMALL, **change})
