"""models/gpn.py against the authors' own code, and what docs/models.md counts."""

import json
from pathlib import Path

import golden
import pytest
import torch
import torch.nn.functional as F
from conftest import planted_task
from torch import nn

from dnabench import MODELS
from dnabench.models import gpn

RECORDS = json.loads((Path(__file__).parent / "golden_records.json").read_text())
SMALL = {"width": 32, "inner": 64, "layers": 10}
SMALL_LEGACY = {**gpn.LEGACY, "width": 32, "layers": 8}


def filled(options, encoder):
    net, full = gpn.backbone(options, encoder), {**gpn.OPTIONS, **options}
    head = gpn.language_head(net, full, encoder)
    golden.fill(net, "model.")
    golden.fill(head, "cls.")
    return net.eval(), head.eval()


def logits(net, head, ids):
    with torch.no_grad():
        return head(net(ids, None))


def parity(options, encoder):
    net, head = filled(options, encoder)
    size = sum(p.numel() for module in (net, head) for p in module.parameters())
    return logits(net, head, golden.ids(2, 40, 0, 4)), size


def official(options, encoder):
    net, head = filled(options, encoder)
    named = {f"model.{k}": v for k, v in net.state_dict().items()}
    return named | {f"cls.{k}": v for k, v in head.state_dict().items()}


PARITY = {
    "gpn_current_h32_l10_logits": lambda: parity(SMALL, "convnet"),
    "gpn_legacy_h32_l8_logits": lambda: parity(SMALL_LEGACY, "legacy"),
}
OFFICIAL = {
    "gpn_current_h32_l10_logits": lambda: (
        "gpn", SMALL, official(SMALL, "convnet"), "model.safetensors",
    ),
    "gpn_legacy_h32_l8_logits": lambda: (
        "gpn-legacy", SMALL_LEGACY, official(SMALL_LEGACY, "legacy"), "pytorch_model.bin",
    ),
}  # fmt: skip


# docs/models.md#gpn, with the language-model head; the promoter model is the 152M of its paper
@pytest.mark.parametrize(
    ("name", "encoder", "n", "bp"),
    [
        ("gpn", "convnet", 93_091_328, 3069), ("gpn-c2", "convnet", 94_659_072, 3873),
        ("gpn-cl", "convnet", 85_219_840, 8737), ("gpn-smol", "convnet", 19_608_320, 1529),
        ("gpn-legacy", "legacy", 65_880_071, 2025), ("gpn-promoter", "bytenet", 152_189_952, 8165),
    ],
)  # fmt: skip
def test_presets_have_the_published_sizes(name, encoder, n, bp):
    options = MODELS[name].options
    with torch.device("meta"):
        net, full = gpn.backbone(options, encoder), {**gpn.OPTIONS, **options}
        head = gpn.language_head(net, full, encoder)
    size = sum(p.numel() for p in net.parameters())
    assert size == MODELS[name].n_params
    assert size + sum(p.numel() for p in head.parameters()) == n
    assert gpn.receptive_field(options) == bp


def test_wide_25_of_the_training_notes():
    wide = {**gpn.WIDE, "dilation_cycle": 5, "dilation_max": 81}
    assert gpn.count(wide) + 512 * 512 + 512 + 7 * 512 == 118_257_152


@pytest.mark.parametrize("change", [{"dilation_cycle": 4}, {"first_kernel": 5}])
def test_the_records_would_notice_another_network(change):
    record = RECORDS["gpn_current_h32_l10_logits"]
    out, _ = parity({**SMALL, **change}, "convnet")
    assert max(golden.differences(record, out).values()) > 0.01


def test_tensors_have_the_authors_names_and_shapes():
    def shapes(encoder):
        net = gpn.backbone({"width": 8, "inner": 16, "layers": 1}, encoder)
        return {k: tuple(v.shape) for k, v in net.state_dict().items()}

    assert shapes("convnet") == {
        "encoder.layer.0.conv.0.weight": (8,), "encoder.layer.0.conv.2.weight": (8, 8, 9),
        "encoder.layer.0.conv.5.weight": (8, 8), "encoder.layer.0.ffn.0.weight": (8,),
        "encoder.layer.0.ffn.1.weight": (16, 8), "encoder.layer.0.ffn.3.weight": (8, 16),
        "ln_f.weight": (8,),
    }  # fmt: skip
    assert shapes("bytenet") == {
        "embeddings.word_embeddings.weight": (7, 8), "encoder.layer.0.layer.0.weight": (8,),
        "encoder.layer.0.layer.2.weight": (4, 8), "encoder.layer.0.layer.3.weight": (4,),
        "encoder.layer.0.layer.6.weight": (4, 4, 9), "encoder.layer.0.layer.8.weight": (4,),
        "encoder.layer.0.layer.10.weight": (8, 4), "ln_f.weight": (8,),
    }  # fmt: skip
    assert shapes("legacy") == {
        "encoder.0.conv.1.weight": (8, 8, 9), "encoder.0.conv.1.bias": (8,),
        "encoder.0.conv.4.weight": (8,), "encoder.0.conv.4.bias": (8,),
        "encoder.0.ffn.0.weight": (8, 8), "encoder.0.ffn.0.bias": (8,),
        "encoder.0.ffn.2.weight": (8,), "encoder.0.ffn.2.bias": (8,),
    }  # fmt: skip


def test_promoter_model_is_its_equations():
    """No record of it exists: written out once more, channels first, from gpn/ss/modules.py."""
    net = gpn.backbone({"width": 16, "layers": 10}, "bytenet").eval()
    golden.fill(net, "model.")
    w, ids = net.state_dict(), golden.ids(2, 70, 0, 4)
    x = w["embeddings.word_embeddings.weight"][ids + 3]
    for i in range(10):
        p = [w[f"encoder.layer.{i}.layer.{j}.weight"] for j in (0, 2, 3, 6, 8, 10)]
        h = F.gelu(F.layer_norm(x, (16,), p[0])) @ p[1].T
        h = F.gelu(F.layer_norm(h, (8,), p[2])).transpose(1, 2)
        h = F.conv1d(h, p[3], padding="same", dilation=2 ** (i % 8)).transpose(1, 2)
        x = x + F.gelu(F.layer_norm(h, (8,), p[4])) @ p[5].T
    with torch.no_grad():
        expected = F.layer_norm(x, (16,), w["ln_f.weight"])
        torch.testing.assert_close(net(ids, None), expected, atol=2e-4, rtol=0)


def test_letters_have_the_authors_ids():
    net = gpn.backbone({"width": 8, "layers": 1})
    a, c, g, t, n, pad, cls, sep = net.embed(net.vocabulary[torch.arange(8)]).argmax(1).tolist()
    assert (a, c, g, t, n, pad, cls, sep) == (3, 4, 5, 6, 2, 0, 2, 2)
    assert "vocabulary" not in net.state_dict()


PRESETS = ("gpn", "gpn-promoter", "gpn-legacy")


def small(name, kind="multiclass"):
    torch.manual_seed(0)
    task = planted_task(classes=3, length=80, kind=kind)
    return MODELS[name].build(task, {**MODELS[name].options, **MODELS[name].reduced}).eval()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("length", [1, 2, 33])
def test_padding_is_not_read_where_the_authors_read_it(name, length):
    net = small(name)
    ids = torch.full((2, 40), 5)
    ids[0, :length], ids[1] = golden.ids(1, length, 0, 5), golden.ids(1, 40, 0, 5)
    mask = (ids != 5).float()
    with torch.no_grad():
        alone, together = net(ids[:1, :length], None), net(ids, mask)[:1]
        theirs = net(ids[:1], None)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert (theirs - alone).abs().max() > 1e-4


def test_per_base_logits_come_from_one_linear_layer():
    net = small("gpn", "per_base")
    assert isinstance(net.head, nn.Linear)
    assert net(golden.ids(2, 40, 0, 4), None).shape == (2, 40, 3)


@pytest.mark.parametrize("name", PRESETS)
def test_lora_reaches_every_linear_layer_and_nothing_else(name):
    from peft import LoraConfig, inject_adapter_in_model

    model = MODELS[name]
    net = MODELS[name].build(planted_task(), {**model.options, **model.reduced, "layers": 12})
    linear = {k for k, m in net.backbone.named_modules() if isinstance(m, nn.Linear)}
    inject_adapter_in_model(LoraConfig(target_modules=list(model.lora_targets)), net.backbone)
    wrapped = {k for k, m in net.backbone.named_modules() if hasattr(m, "base_layer")}
    assert wrapped == linear
    assert len(linear) == 12 * {"gpn": 3, "gpn-promoter": 2, "gpn-legacy": 1}[name]


@pytest.mark.parametrize("name", OFFICIAL)
def test_renaming_covers_the_backbone_and_drops_the_language_head(name):
    model, options, state, _ = OFFICIAL[name]()
    renamed = {MODELS[model].weights.rename(k) for k in state} - {""}
    net = MODELS[model].build(planted_task(), {**MODELS[model].options, **options})
    assert renamed == set(net.backbone.state_dict())
    assert MODELS[model].weights.rename("other.weight") == "other.weight"


def test_initial_weights_are_the_authors():
    net = small("gpn-promoter")
    layer = net.backbone.encoder["layer"][1].layer
    assert 0.018 < float(layer["2"].weight.std().detach()) < 0.022
    words = net.backbone.embeddings["word_embeddings"].weight
    assert not words[0].any() and 0.015 < float(words[1:].std().detach()) < 0.025
    bound = (layer["6"].weight.shape[1] * 5) ** -0.5
    assert 0.95 * bound < float(layer["6"].weight.abs().max().detach()) <= bound


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kernel_size": 4}, "kernel_size is 4; it must be odd"), ({"width": 6}, "at least 7"),
        ({"first_kernel": 8}, "must be odd"), ({"layers": 0}, "layers is 0; GPN needs at least 1"),
        ({"dilation_cycle": 0}, "dilation_cycle is 0"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        gpn.backbone(change)


def test_promoter_needs_an_even_width():
    with pytest.raises(ValueError, match="an even width"):
        gpn.backbone({"width": 9}, "bytenet")
