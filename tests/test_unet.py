"""models/unet.py against a U-Net of plain torch functions, and what its docstring says."""

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import planted_split, planted_task

from dnabench import MODELS
from dnabench.models import unet

PARITY = {}  # golden record -> output: there is none
SMALL = {"width": 4, "levels": 3, "kernel_size": 5, "dropout": 0.0}


def small(**options):
    torch.manual_seed(0)
    return unet.backbone({**SMALL, **options}).double().eval()


def by_the_book(net, ids, levels):
    """Channels first, with F.conv1d, F.max_pool1d and F.interpolate; no padding anywhere."""

    def pair(module, x):
        for conv, norm in zip(module.convs, module.norms, strict=True):
            x = F.conv1d(x, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)
            x = F.layer_norm(x.transpose(1, 2), x.shape[1:2], norm.weight, norm.bias)
            x = F.gelu(x).transpose(1, 2)
        return x

    x, kept = F.one_hot(ids, 5).double().transpose(1, 2), []
    for i, module in enumerate(net.down):
        x = pair(module, F.max_pool1d(x, 2) if i else x)
        kept.append(x)
    for i, module in enumerate(net.up):
        up = F.interpolate(x, scale_factor=2, mode="nearest")
        x = pair(module, torch.cat([up, kept[levels - 2 - i]], 1))
    return x.transpose(1, 2)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_is_the_plain_network(levels):
    net, ids = small(levels=levels), golden.ids(3, 48, 0, 5)
    golden.fill(net)
    torch.testing.assert_close(net(ids, None), by_the_book(net, ids, levels), atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", [{}, SMALL, {"levels": 1}, {"width": 5, "kernel_size": 3}])
def test_the_formula_counts_the_network(options):
    with torch.device("meta"):
        net = unet.backbone(options)
    assert sum(p.numel() for p in net.parameters()) == unet.count(options)


def test_words_are_learned_channels():
    with torch.device("meta"):
        net = unet.backbone({"tokenizer": "6mer"})
    more = 4107 * 32 + 9 * 32 * (32 - 5)  # the table, and what the first convolution reads
    assert sum(p.numel() for p in net.parameters()) == unet.count({}) + more


def test_the_default_has_two_million():
    assert MODELS["unet"].n_params == 1_950_240


@pytest.mark.parametrize("length", [*range(1, 10), 31, 32, 33])
@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_any_length_scores_alike_alone_and_padded(length, pooling):
    torch.manual_seed(0)
    net = unet.build(planted_task(), {**SMALL, "pooling": pooling}).double().eval()
    ids = golden.ids(1, length, 0, 5)
    padded = torch.cat([ids, torch.full((1, 21), 5)], 1)
    mask = (torch.arange(length + 21) < length).float()[None]
    torch.testing.assert_close(net(padded, mask), net(ids, None), atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [13, 16])
def test_padding_changes_neither_a_feature_nor_a_gradient(length):
    net, ids = small(), golden.ids(1, length, 0, 5)
    padded = torch.cat([ids, torch.full((1, 17), 5)], 1)
    mask = (torch.arange(length + 17) < length).double()[None]
    outs = [net(ids, None), net(padded, mask)[:, :length]]
    torch.testing.assert_close(*outs, atol=1e-12, rtol=0)
    assert (net(padded, None)[:, :length] - outs[0]).abs().max() > 1e-3
    names, weights = zip(*net.named_parameters(), strict=True)
    alone, among = (torch.autograd.grad(out.square().sum(), weights) for out in outs)
    for name, a, b in zip(names, alone, among, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("options", [SMALL, {"width": 2, "levels": 2, "kernel_size": 3}, {}])
def test_receptive_field_as_measured(options):
    options = {**options, "width": 2}
    net, bp = small(**{**unet.OPTIONS, **options}), unet.receptive_field(options)
    group = 2 ** ({**unet.OPTIONS, **options}["levels"] - 1)
    side = (bp - group) // 2
    start = 2 * group * -(-side // group)  # of the group that is looked at
    ids = golden.ids(20, 2 * start + 2 * group, 0, 4)  # a base may lose every maximum in some
    for place, seen in (
        (start - side, True), (start - side - 1, False),
        (start + group + side - 1, True), (start + group + side, False),
    ):  # fmt: skip
        other = ids.clone()
        other[:, place] = 3 - other[:, place]
        with torch.no_grad():
            change = (net(ids, None) - net(other, None))[:, start : start + group]
        assert bool(change.any()) == seen, place


def test_the_docstring_says_what_an_output_sees():
    assert unet.receptive_field({}) == 360 == 8 + 2 * 176
    assert "360 bp: a group of 8 bp and 176 bp" in unet.build.__doc__


def test_gives_a_prediction_a_base():
    task = planted_task(kind="per_base", classes=3)
    net = unet.build(task, {**unet.OPTIONS, **SMALL}).eval()
    ids = golden.ids(2, 13, 0, 4)
    assert net(ids, None).shape == (2, 13, 3)
    torch.testing.assert_close(net(ids, None), net.head(net.backbone(ids, None)))


def test_it_finds_a_motif():
    data = planted_split(960, 1)
    ids, y = torch.from_numpy(data.seqs.padded(60)), torch.from_numpy(data.y)
    torch.manual_seed(0)
    net = unet.build(planted_task(), {**unet.OPTIONS, "width": 16, "levels": 2})
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for i in [*range(0, 960, 32)] * 4:
        optimizer.zero_grad()
        F.cross_entropy(net(ids[i : i + 32], None), y[i : i + 32]).backward()
        optimizer.step()
    new = planted_split(100, 2)
    with torch.no_grad():
        guess = net.eval()(torch.from_numpy(new.seqs.padded(60)), None).argmax(1).numpy()
    assert np.mean(guess == new.y) > 0.9


def test_dropout_is_for_training_only():
    net, plain, ids = small(dropout=0.5), small(), golden.ids(2, 40, 0, 4)
    torch.testing.assert_close(net(ids, None), plain(ids, None), rtol=0, atol=0)
    assert not torch.equal(net.train()(ids, None), plain(ids, None))


@pytest.mark.parametrize(
    ("change", "says"),
    [({"kernel_size": 4}, "kernel_size is 4; it must be odd"), ({"width": 0}, "width is 0; unet"),
     ({"levels": 0}, "levels is 0; unet"), ({"kernel_size": -1}, "kernel_size is -1; unet")],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        unet.backbone(change)
