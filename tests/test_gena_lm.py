"""models/gena_lm.py against the authors' own code, and what docs/models.md says of it."""

import golden
import pytest
import torch
from conftest import planted_task
from test_dnabert2 import IDS, MASK, RECORDS, filled, hidden, language_head, official, pooled

from dnabench import MODELS
from dnabench.models import gena_lm

SMALL = {"vocabulary": 128, "width": 32, "layers": 3, "heads": 4, "inner": 64}
BEND = {**SMALL, "last_layer_norm": False}
POSITIONS = (512 - 64) * 32  # numbers in the rows that the records' table of 64 positions lacks

PARITY = {
    "gena_h32_l3_lastln": lambda: hidden("gena_lm", SMALL, POSITIONS),
    "gena_h32_lastln_pooled": lambda: pooled("gena_lm", SMALL),
    "gena_h32_l3_preln": lambda: hidden("gena_lm", BEND, POSITIONS),
    "gena_h32_pooled": lambda: pooled("gena_lm", BEND),
}


def shapes(d, layers, inner, vocabulary, last=True):
    """Names in the official file, without the prefix `bert.`."""
    layer = {
        f"attention.self.{part}.{kind}": s
        for part in ("query", "key", "value") for kind, s in (("weight", (d, d)), ("bias", (d,)))
    } | {
        "pre_attention_ln.weight": (d,), "pre_attention_ln.bias": (d,),
        "post_attention_ln.weight": (d,), "post_attention_ln.bias": (d,),
        "attention.output.dense.weight": (d, d), "attention.output.dense.bias": (d,),
        "intermediate.dense.weight": (inner, d), "intermediate.dense.bias": (inner,),
        "output.dense.weight": (d, inner), "output.dense.bias": (d,),
    }  # fmt: skip
    end = {"encoder.last_layer_ln.weight": (d,), "encoder.last_layer_ln.bias": (d,)}
    return {
        "embeddings.word_embeddings.weight": (vocabulary, d),
        "embeddings.position_embeddings.weight": (512, d),
        "embeddings.token_type_embeddings.weight": (2, d),
        "embeddings.LayerNorm.weight": (d,), "embeddings.LayerNorm.bias": (d,),
        **{f"encoder.layer.{i}.{k}": s for i in range(layers) for k, s in layer.items()},
        **(end if last else {}),
    }  # fmt: skip


def official_file():
    head = {**language_head(32, 128), "cls.predictions.bias": (128,)}
    state = official(shapes(32, 3, 64, 128), head)
    state["bert.embeddings.position_ids"] = torch.arange(512)[None]
    return "gena_lm", SMALL, state, "pytorch_model.bin"


OFFICIAL = {
    "gena_h32_l3_lastln": official_file,
    "gena_h32_l3_preln": lambda: ("gena_lm-bend", *official_file()[1:]),  # the same file
}


@pytest.mark.parametrize(
    ("name", "n", "size", "last"),
    [
        ("gena_lm", 335_607_808, (1024, 24, 4096, 32_000), True),
        ("gena_lm-bend", 335_605_760, (1024, 24, 4096, 32_000), False),
        ("gena_lm-base", 110_026_752, (768, 12, 3072, 32_000), False),
    ],
)
def test_presets_have_the_published_sizes_and_tensors(name, n, size, last):
    with torch.device("meta"):
        net = MODELS[name].build(planted_task(), MODELS[name].options)
    assert sum(p.numel() for p in net.backbone.parameters()) == MODELS[name].n_params == n
    found = {k: tuple(v.shape) for k, v in net.backbone.state_dict().items()}
    assert found == shapes(*size, last)
    assert MODELS[name].max_tokens == 512


def test_counts_of_the_large_model():
    with torch.device("meta"):
        net = MODELS["gena_lm"].build(planted_task(), {})
    pooler = sum(p.numel() for p in net.head.pooler.parameters())
    assert MODELS["gena_lm"].n_params + pooler == 336_657_408


def test_the_base_model_has_its_own_norms():
    options = MODELS["gena_lm-base"].options
    assert (options["norm_eps"], options["last_layer_norm"]) == (1e-12, False)
    net = gena_lm.backbone({**SMALL, **{k: options[k] for k in ("norm_eps", "last_layer_norm")}})
    norms = [m for m in net.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 7 and {m.eps for m in norms} == {1e-12}
    other = gena_lm.backbone({**SMALL, "norm_eps": 1e-3})
    norms = [m for m in other.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 8 and {m.eps for m in norms} == {1e-3}


@pytest.mark.parametrize(
    ("name", "last", "unused"), [("gena_lm", True, 8), ("gena_lm-bend", False, 10)]
)
def test_every_tensor_of_a_checkpoint_has_its_place(name, last, unused):
    rename = MODELS[name].weights.rename
    names = [rename(k) for k in official_file()[2]]
    assert sorted(filter(None, names)) == sorted(shapes(32, 3, 64, 128, last))
    assert names.count("") == unused
    assert rename("bert.surprise.weight") == "surprise.weight"


@pytest.mark.parametrize("name", ["gena_h32_l3_lastln", "gena_h32_l3_preln"])
def test_the_records_would_notice_another_network(name):
    last = name == "gena_h32_l3_preln"  # each of them is not the other
    net = filled("gena_lm", {**SMALL, "last_layer_norm": last})
    with torch.no_grad():
        out = net.backbone(IDS, MASK)
    assert max(golden.differences(RECORDS[name], out).values()) > 0.01


def test_the_records_would_notice_another_order_of_norms():
    net = filled("gena_lm", SMALL)
    for layer in net.backbone.encoder.layer:
        first, second = layer.pre_attention_ln, layer.post_attention_ln
        layer.pre_attention_ln, layer.post_attention_ln = second, first
    with torch.no_grad():
        out = net.backbone(IDS, MASK)
    assert max(golden.differences(RECORDS["gena_h32_l3_lastln"], out).values()) > 0.01


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_padding_does_not_change_a_score(pooling):
    net = filled("gena_lm", {**SMALL, "pooling": pooling})
    other = IDS.clone()
    other[1, 14:] = 77
    torch.testing.assert_close(net(IDS, MASK), net(other, MASK), rtol=0, atol=0)
    torch.testing.assert_close(net(IDS, MASK)[1:], net(IDS[1:, :14], None), rtol=0, atol=1e-5)


def test_order_matters_through_the_positions():
    net = filled("gena_lm", {**SMALL, "pooling": "mean"})
    turned = net(IDS.flip(1), None) - net(IDS, None)
    assert turned.abs().max() > 1e-3
    torch.nn.init.zeros_(net.backbone.embeddings.position_embeddings.weight)
    turned = net(IDS.flip(1), None) - net(IDS, None)
    assert turned.abs().max() < 1e-5


def test_too_many_tokens_are_refused():
    net = gena_lm.backbone(SMALL)
    assert net(torch.zeros(1, 512, dtype=torch.int16), None).shape == (1, 512, 32)
    with pytest.raises(
        ValueError, match="a sequence has 513 tokens, and the model reads at most 512"
    ):
        net(torch.zeros(1, 513, dtype=torch.int16), None)


def test_lora_reaches_every_linear_layer():
    net = gena_lm.backbone(SMALL)
    linear = {
        k.rpartition(".")[2] for k, m in net.named_modules() if isinstance(m, torch.nn.Linear)
    }
    assert linear == set(MODELS["gena_lm"].lora_targets)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"heads": 5}, "heads must divide width"),
        ({"vocabulary": 0}, "vocabulary is 0; GENA-LM needs at least 1"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
    ],
)
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        MODELS["gena_lm"].build(planted_task(), {**SMALL, **change})
