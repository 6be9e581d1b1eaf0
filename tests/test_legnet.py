"""models/legnet.py against ConvNova's copy and the original, and what docs/models.md counts.

The golden record sees little but the last stage: with its weights both of its sequences have the
same logits to 1e-8, and nothing before the fourth stage moves them. So the original is asked again.
"""

import json
import zlib
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from conftest import planted_task
from torch import nn

from dnabench import MODELS
from dnabench.models import legnet

RECORDS = json.loads((Path(__file__).parent / "golden_records.json").read_text())
RECORD = "legnet_3class_logits_before_softmax"
TASK = planted_task(classes=3, length=60)


def filled(task=TASK, **options):
    net = legnet.build(task, {**legnet.OPTIONS, **options})
    golden.fill(net.backbone)
    golden.fill(net.head, "mapper.block.")
    return net.eval()


def output(net):
    with torch.no_grad():
        return net(golden.ids(2, 60, 0, 5), None)


def parity():
    net = filled()
    return output(net), sum(p.numel() for p in net.parameters())


PARITY = {RECORD: parity}
# autosome-ru/LegNet@2c7e0f3 dream_ablation/legnet.py (inner dimension "in", simple squeeze, one
# filter a group, no last activation) with the weights of `scatter` on golden.ids(2, 60, 0, 5)
ORIGINAL = [
    [-0.5319316387176514, 0.1882788985967636, -0.10197211056947708],
    [-0.5334341526031494, 0.1972256302833557, -0.110039122402668],
]


def scatter(net, gain, prefix=""):
    """Weights that look drawn, from the sine hash of shaders, and running statistics like them."""
    for key, value in net.state_dict().items():
        if not value.is_floating_point():
            continue
        name = prefix + key
        phase = np.arange(1, value.numel() + 1) * 12.9898 + zlib.crc32(name.encode()) % 9973
        v = ((np.sin(phase) * 43758.5453) % 1.0 - 0.5) * 12**0.5
        if value.ndim >= 2:
            v = gain * v / (value.numel() / value.shape[0]) ** 0.5
        elif name.endswith("running_var"):
            v = 1 + 0.3 * v
        else:
            v = 1 + 0.1 * v if name.endswith("weight") else 0.3 * v
        value.copy_(torch.from_numpy(v.astype(np.float32)).view(value.shape))


def scattered(task=TASK, **options):
    net = legnet.build(task, {**legnet.OPTIONS, **options})
    scatter(net.backbone, 1.5)
    scatter(net.head, 1.5, "mapper.block.")
    return net.eval()


def test_matches_the_original_where_the_record_is_blind():
    torch.testing.assert_close(output(scattered()), torch.tensor(ORIGINAL), atol=1e-5, rtol=0)


def join_the_other_way_round(net):
    weight = net.backbone.main[0][1]["block"][0].weight
    with torch.no_grad():
        weight.copy_(weight.roll(256, 1))


def forget_the_squeeze(net):
    net.backbone.main[0][0]["fn"]["block"][6].fc = nn.Sigmoid()


@pytest.mark.parametrize("change", [join_the_other_way_round, forget_the_squeeze])
def test_another_network_would_be_noticed(change):
    net = scattered()
    change(net)
    assert (output(net) - torch.tensor(ORIGINAL)).abs().max() > 0.01


@pytest.mark.parametrize(("classes", "n"), [(2, 2_126_770), (3, 2_126_835)])
def test_size_with_the_last_layer_is_the_published_one(classes, n):
    with torch.device("meta"):
        net = legnet.build(planted_task(classes=classes), legnet.OPTIONS)
    assert sum(p.numel() for p in net.parameters()) == n
    assert sum(p.numel() for p in net.backbone.parameters()) == MODELS["legnet"].n_params


def test_tensors_have_the_authors_names_and_shapes():
    state = {k: tuple(v.shape) for k, v in legnet.backbone({}).state_dict().items()}
    stage = {k.removeprefix("main.0."): v for k, v in state.items() if k.startswith("main.0.")}
    weights = {k: v for k, v in stage.items() if len(v) > 1}
    assert weights == {
        "0.fn.block.0.weight": (1024, 256, 1), "0.fn.block.3.weight": (1024, 1, 7),
        "0.fn.block.6.fc.0.weight": (64, 1024), "0.fn.block.6.fc.2.weight": (1024, 64),
        "0.fn.block.7.weight": (256, 1024, 1), "1.block.0.weight": (128, 512, 7),
    }  # fmt: skip
    norms = {k.rpartition(".")[0] for k in stage if k.endswith("running_mean")}
    assert norms == {"0.fn.block.1", "0.fn.block.4", "0.fn.block.8", "1.block.1"}
    assert state["stem_block.block.0.weight"] == (256, 5, 7)
    others = {k.split(".")[0] for k in state} - {"main"}
    assert others == {"stem_block"} and "main.5.1.block.0.weight" in state


def test_double_softmax_gives_the_probabilities_that_convnova_returns():
    plain, official = output(scattered()), output(scattered(double_softmax=True))
    torch.testing.assert_close(official, plain.softmax(1))


def test_double_softmax_needs_classes_that_exclude_each_other():
    task = planted_task(classes=3, kind="multilabel")
    with pytest.raises(ValueError, match=r"double_softmax is True, but .* is multilabel"):
        scattered(task, double_softmax=True)


def padded(lengths, width):
    ids = torch.full((len(lengths), width), 5)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = golden.ids(1, length, 0, 5)[0]
    return ids, (ids != 5).float()


def test_padding_is_in_no_mean_and_no_convolution():
    net = scattered()
    ids, mask = padded([1, 9, 30, 40], 50)
    with torch.no_grad():
        together = net(ids, mask)
        alone = torch.cat([net(row[None, m > 0], None) for row, m in zip(ids, mask, strict=True)])
        read = net(ids, None)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert (read - alone).abs().max() > 1e-4


def test_per_base_logits_average_to_those_of_the_sequence():
    task = planted_task(classes=3, kind="per_base")
    each, whole = output(scattered(task)), output(scattered())
    assert each.shape == (2, 60, 3)
    torch.testing.assert_close(each.mean(1), whole, atol=1e-6, rtol=1e-5)


def test_batch_statistics_are_those_of_the_positions_that_are_not_padding():
    batch_norm, _ = legnet.masked_layers()
    ours, theirs = batch_norm(4, eps=1e-3), nn.BatchNorm1d(4, eps=1e-3)
    for net in (ours, theirs):
        golden.fill(net)
    torch.manual_seed(0)
    x = torch.randn(3, 4, 10, requires_grad=True)
    mask = (torch.arange(10) < torch.tensor([[10], [3], [7]])).float()[:, None]
    real = x.transpose(1, 2)[mask[:, 0] > 0]
    for _ in range(2):
        out = ours(x, mask).transpose(1, 2)[mask[:, 0] > 0]
        expected = theirs(real)
        torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)
    weight = torch.randn_like(out)
    (got,) = torch.autograd.grad((out * weight).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-4)


def test_one_base_alone_can_be_learned_from():
    net = scattered().train()
    for mask in (None, torch.ones(1, 1)):
        loss = nn.functional.cross_entropy(net(torch.tensor([[2]]), mask), torch.tensor([1]))
        loss.backward()
        assert loss.isfinite()
