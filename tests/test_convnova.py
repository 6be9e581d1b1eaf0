"""models/convnova.py and cnn.py against the authors' own code, and what docs/models.md counts."""

import functools
from types import SimpleNamespace

import golden
import numpy as np
import pytest
import torch
from conftest import planted_task

from dnabench import MODELS
from dnabench.models import convnova

# Outputs of aim-uofa/ConvNova@c606027 and genomic_benchmarks@605d853 on deterministic weights.
CONVNOVA = {k: r for k, r in golden.RECORDS.items() if k.startswith("convnova")}


def options_of(config):
    return {
        "width": config["hidden_dim"], "blocks": config["num_conv1d"],
        "stacks": config["num_cnn_stacks"], "kernel_size": config["kernel_size"],
        "d_inner": config["d_inner"], "ffn": config["ffn"], "final_conv": config["final_conv"],
        "dilation": config["dilation"], "dilation_schedule": "code",
    }  # fmt: skip


def filled(record):
    """The backbone as the record's run had it; its logits come through the authors' out_linear."""
    options = {**convnova.OPTIONS, **options_of(record["config"])}
    net = convnova.backbone(options)
    if record["config"]["output"] == "logits":
        net.out_linear = convnova.LANGUAGE.head(net, options)
    golden.fill(net)
    return net.eval()


def test_there_are_seven_records():
    assert len(CONVNOVA) == 7


def parity(name):
    net = filled(CONVNOVA[name])
    with torch.no_grad():
        out = net(golden.ids(2, 50, 0, 5), None)
        out = net.out_linear(out) if hasattr(net, "out_linear") else out
    return out, sum(p.numel() for p in net.parameters())


def cnn_parity():
    net = MODELS["cnn"].build(planted_task(length=200), {})
    named = [(k.replace("head.", "dense_model."), p) for k, p in net.named_parameters()]
    golden.fill(SimpleNamespace(named_parameters=lambda: named))
    ids = golden.ids(2, 200, 7, 5) - 7  # the record counts A from 7, we from 0
    with torch.no_grad():
        return net.eval()(ids, None), sum(p.numel() for p in net.parameters())


PARITY = {
    **{name: functools.partial(parity, name) for name in CONVNOVA},
    "gb_cnn_len200_vocab12": cnn_parity,
}


@pytest.mark.parametrize("change", [{"dilation": 2}, {"dilation_schedule": "paper"}])
def test_the_records_would_notice_another_network(change):
    record = CONVNOVA["convnova_nt_128"]
    net = convnova.backbone({**options_of(record["config"]), **change})
    golden.fill(net)
    with torch.no_grad():
        out = net.eval()(golden.ids(2, 50, 0, 5), None)
    assert max(golden.differences(record, out).values()) > 0.01


def test_cnn_says_when_a_task_is_too_short():
    with pytest.raises(ValueError, match=r"cnn needs 57 bp; the longest of .* has 56"):
        MODELS["cnn"].build(planted_task(length=56), {})
    MODELS["cnn"].build(planted_task(length=57), {})


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("convnova", 1_688_448), ("convnova-386k", 386_240), ("convnova-7.4m", 7_408_212),
        ("convnova-6.8m", 6_719_232), ("convnova-27m", 27_333_120),
    ],
)  # fmt: skip
def test_presets_have_the_papers_sizes(name, n):
    assert MODELS[name].n_params == n  # docs/models.md; that the net has it: test_models.py


# docs/models.md#receptive-field
@pytest.mark.parametrize(
    ("options", "bp"),
    [
        ({"dilation_schedule": "code"}, 193), ({}, 697), ({"dilation": 1}, 49),
        ({"dilation": 2, "dilation_schedule": "code"}, 81), ({"dilation": 2}, 137),
        ({"blocks": 10, "dilation_schedule": "code"}, 27_329), ({"kernel_size": 3}, 181),
        ({"stacks": 2, "dilation_schedule": "code"}, 377), ({"stacks": 2}, 1385),
        ({"blocks": 10}, 699_065), ({"blocks": 10, "dilation_schedule": "stages"}, 1385),
        ({"dilation_schedule": "stages"}, 697),
    ],
)  # fmt: skip
def test_receptive_field_as_published_and_as_measured(options, bp):
    assert convnova.receptive_field(options) == bp
    small = {**options, "width": 4, "d_inner": 1}
    if bp > 2000:
        return
    torch.manual_seed(0)
    net = convnova.backbone(small).double().eval()
    ids = torch.randint(0, 4, (1, 2 * bp + 1))
    with torch.no_grad():
        middle = net(ids, None)[0, bp]
        for at, seen in ((bp // 2, True), (bp // 2 + 1, False)):
            for side in (-1, 1):
                other = ids.clone()
                other[0, bp + side * at] = 3 - other[0, bp + side * at]
                assert bool((net(other, None)[0, bp] != middle).any()) == seen, (side, at)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"kernel_size": 4}, "must be odd"),
     ({"dilation_schedule": "x"}, "one of paper, stages, code"),
     ({"blocks": 1}, "at least 2")],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        convnova.backbone(change)


def test_stacks_of_a_block_start_as_copies():
    net = convnova.backbone({"width": 8, "stacks": 2})
    assert torch.equal(net.convs[0].weight, net.convs[1].weight)
    assert not torch.equal(net.convs[1].weight, net.convs[2].weight)


def test_channels_last_convolution_is_conv1d():
    from dnabench.models._layers import channels_last_conv1d

    torch.manual_seed(0)
    conv, x = torch.nn.Conv1d(6, 7, 9).double(), torch.randn(3, 50, 6, dtype=torch.float64)
    for step in (1, 4, 16):
        plain = torch.nn.functional.conv1d(
            x.transpose(1, 2), conv.weight, conv.bias, padding=4 * step, dilation=step
        ).transpose(1, 2)
        torch.testing.assert_close(channels_last_conv1d(conv, x, step), plain)


def test_left_n_padding_changes_the_score_and_mask_does_not():
    from test_models import learner, mixed_lengths

    split, model = mixed_lengths(), MODELS["convnova-386k"]
    short = split.take(np.array([0]))
    official, ours = (learner(model, split, padding=p) for p in ("left-n", "mask"))
    exact = learner(model, short, padding="mask").predictor(short)()
    np.testing.assert_allclose(ours.predictor(split)()[:1], exact, atol=1e-5)
    assert np.abs(official.predictor(split)()[:1] - exact).max() > 1e-3
