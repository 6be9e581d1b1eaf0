"""models/convnova_ablations.py against the equations, and what docs/models.md counts."""

import pytest
import torch
import torch.nn.functional as F
from conftest import planted_task

from dnabench import MODELS
from dnabench.models import convnova
from dnabench.models import convnova_ablations as ablations

ABLATIONS = ("convnova_no_gate", "convnova_single_branch", "convnova_unet")
BACKBONES = {
    "convnova_no_gate": ablations.no_gate,
    "convnova_single_branch": ablations.single_branch,
    "convnova_unet": ablations.unet,
}
A, C, G, T, N, PAD = range(6)


def small(name, **options):
    """The backbone in float64, narrow, with norms that are not the identity."""
    torch.manual_seed(0)
    net = BACKBONES[name]({"width": 6, "d_inner": 2, "kernel_size": 5, **options}).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn_like(p))
    return net


def letters(batch, length, seed=1):
    """Random ids with some N."""
    return torch.randint(0, 5, (batch, length), generator=torch.Generator().manual_seed(seed))


def one_hot(ids):
    return F.one_hot(ids, 5).double().transpose(1, 2)


def complement(ids):
    return torch.tensor([T, G, C, A, N])[ids]


class Written:
    """The pieces of the equations, on channels-first arrays (B, D, L), by state-dict name."""

    def __init__(self, net, prefix=""):
        self.w = {k.removeprefix(prefix): v for k, v in net.state_dict().items()}

    def conv(self, name, x, step=1):
        weight = self.w[f"{name}.weight"]
        reach = step * (weight.shape[2] // 2)
        return F.conv1d(x, weight, self.w[f"{name}.bias"], padding=reach, dilation=step)

    def norm(self, name, x):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt() * weight[:, None] + bias[:, None]

    def linear(self, name, x):
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"][:, None]

    def tail(self, x):
        y = self.linear("milinear.2", F.gelu(self.linear("milinear.0", x)))
        y = F.gelu(self.linear("milinear.4", self.norm("milinear.3", y)))
        y = self.norm("milinear.7", self.linear("milinear.6", y))
        return (x + y).transpose(1, 2)

    def stems(self, ids):
        b = self.conv("rc_linear", one_hot(complement(ids)))
        return F.gelu(self.conv("linear", one_hot(ids))), F.gelu(b)

    def branches(self, i, a, b, step=1):
        """What the two convolutions of a block give."""
        return (
            self.conv(f"convs.{i}", self.norm(f"norms.{i}", a), step),
            self.conv(f"gates.{i}", self.norm(f"rc_norms.{i}", b), step),
        )

    def no_gate(self, ids, steps):
        a, b = self.stems(ids)
        for i, step in enumerate(steps):
            h, g = (F.gelu(x) for x in self.branches(i, a, b, step))
            a, b = a + h + g, b + g
        return self.tail(a)

    def single_branch(self, ids, steps):
        a = F.gelu(self.conv("linear", one_hot(ids)))
        for i, step in enumerate(steps):
            z = self.conv(f"convs.{i}", self.norm(f"norms.{i}", a), step)
            a = a + F.gelu(z) * torch.sigmoid(z)
        return self.tail(a)

    def gated(self, i, a, b):
        z, w = self.branches(i, a, b)
        return a + F.gelu(z) * torch.sigmoid(w), b + torch.sigmoid(w)

    def unet(self, ids):
        length = ids.shape[1]
        while ids.shape[1] % 4:
            ids = torch.cat([ids, torch.full_like(ids[:, :1], N)], 1)
        level1 = self.gated(0, *self.stems(ids))
        level2 = self.gated(1, *(F.max_pool1d(x, 2) for x in level1))
        x = self.gated(2, *(F.max_pool1d(x, 2) for x in level2))
        x = (F.interpolate(y, scale_factor=2) + s for y, s in zip(x, level2, strict=True))
        x = self.gated(3, *x)
        x = (F.interpolate(y, scale_factor=2) + s for y, s in zip(x, level1, strict=True))
        return self.tail(self.gated(4, *x)[0])[:, :length]


def agree(one, other):
    torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("name", "n"),
    [("convnova_no_gate", 1_688_448), ("convnova_single_branch", 1_699_016),
     ("convnova_unet", 1_688_448)],
)  # fmt: skip
def test_sizes_of_the_specification_declared_and_built(name, n):
    assert MODELS[name].n_params == n  # docs/models.md
    net = MODELS[name].build(planted_task(), MODELS[name].options)
    assert sum(p.numel() for p in net.backbone.parameters()) == n
    assert sum(p.numel() for p in BACKBONES[name]({}).parameters()) == n  # the same by default


@pytest.mark.parametrize(
    ("width", "d_inner", "n"),
    [(181, 2, 1_880_771), (181, 1, 1_617_778), (171, 2, 1_679_391), (185, 1, 1_689_790)],
)
def test_other_single_branches_of_the_specification(width, d_inner, n):
    assert ablations.single_branch_count({"width": width, "d_inner": d_inner}) == n


def test_counts_hold_for_other_options():
    options = {"width": 6, "blocks": 3, "kernel_size": 5, "d_inner": 3}
    built = {k: sum(p.numel() for p in net(options).parameters()) for k, net in BACKBONES.items()}
    assert built["convnova_no_gate"] == convnova.count(options)
    assert built["convnova_single_branch"] == ablations.single_branch_count(options)
    assert built["convnova_unet"] == convnova.count({**options, "blocks": 5})


def test_no_gate_and_unet_differ_from_convnova_in_no_tensor():
    shapes = {k: v.shape for k, v in convnova.backbone({}).state_dict().items()}
    assert {k: v.shape for k, v in ablations.no_gate({}).state_dict().items()} == shapes
    unet = ablations.unet({}).state_dict()
    assert {k.removeprefix("net."): v.shape for k, v in unet.items()} == shapes


def test_names_say_what_is_our_choice_and_recipes_are_convnovas():
    for name in ABLATIONS:
        model = MODELS[name]
        assert "2502.18538" in model.source and model.recipes.keys() == convnova.RECIPES.keys()
        for key, recipe in model.recipes.items():
            theirs, options = convnova.RECIPES[key].for_task("nt/x")
            own = {k: v for k, v in options.items() if k in model.options}
            assert recipe.for_task("nt/x") == (theirs, own)
        assert MODELS[name].options.get("dilation_schedule", "paper") == "paper"
    assert "our choice" in MODELS["convnova_single_branch"].source
    assert "our choice" in MODELS["convnova_unet"].source


@pytest.mark.parametrize("name", ["no_gate", "single_branch"])
@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, [1, 1, 4, 16, 64]), ({"dilation_schedule": "code"}, [1, 1, 1, 4, 16]),
     ({"blocks": 3, "dilation": 2, "kernel_size": 7}, [1, 1, 2])],
)  # fmt: skip
def test_is_its_equation(name, options, steps):
    net, ids = small(f"convnova_{name}", **options), letters(3, 83)
    agree(net(ids, None), getattr(Written(net), name)(ids, steps))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 37, 38, 39, 40])
@pytest.mark.parametrize("kernel_size", [5, 9])
def test_unet_is_its_description(length, kernel_size):
    net, ids = small("convnova_unet", kernel_size=kernel_size), letters(3, length)
    agree(net(ids, None), Written(net, "net.").unet(ids))


def silence(module):
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()


def test_no_gate_without_the_second_branch_is_a_plain_residual_network():
    net, ids = small("convnova_no_gate"), letters(2, 60)
    before = net(ids, None)
    silence(net.gates)
    a = F.gelu(Written(net).conv("linear", one_hot(ids)))
    for i, step in enumerate([1, 1, 4, 16, 64]):
        a = a + F.gelu(Written(net).conv(f"convs.{i}", Written(net).norm(f"norms.{i}", a), step))
    agree(net(ids, None), Written(net).tail(a))
    assert (net(ids, None) - before).abs().max() > 0.01
    silence(net.rc_linear)  # no other way leads from B to A
    agree(net(ids, None), Written(net).tail(a))


def test_a_gate_of_one_half_halves_the_unets_blocks():
    net, ids = small("convnova_unet"), letters(2, 60)
    before = net(ids, None)
    silence(net.net.gates)
    written = Written(net, "net.")
    written.gated = lambda i, a, b: (a + F.gelu(written.branches(i, a, b)[0]) / 2, b)
    agree(net(ids, None), written.unet(ids))
    assert (net(ids, None) - before).abs().max() > 0.01


def test_single_branch_does_not_read_the_other_strand():
    assert not [k for k in ablations.single_branch({}).state_dict() if "rc" in k or "gate" in k]


@pytest.mark.parametrize(
    ("kernel_size", "edges"),
    [(9, [(-44, 47)] * 4), (5, [(-26, 25), (-26, 25), (-22, 29), (-22, 29)])],
)
def test_what_unet_sees_counted_by_hand_and_measured(kernel_size, edges):
    # With kernel 9, stem and block 1 reach 4 + 4 bp, block 2 eight, block 3 sixteen, block 4 eight
    # and block 5 four: 44 bp from both edges of a group of 4. Edges count from the group's first
    # bp, one pair for each of its members; with kernel 5 block 5 stays within one half of a group.
    net = small("convnova_unet", kernel_size=kernel_size, width=12)
    length, start = 160, 80
    seen = torch.zeros(4, length, dtype=torch.bool)
    for seed in range(6):  # a maximum hides some changes
        ids = letters(1, length, seed)
        ids[ids == N] = A
        changed = ids.repeat(length, 1)
        changed[range(length), range(length)] = (changed.diagonal() + 1 + seed % 3) % 4
        with torch.no_grad():
            out, other = net(ids, None)[0], net(changed, None)
        for j in range(4):
            seen[j] |= (other[:, start + j] != out[start + j]).any(1)
    for j in range(4):
        reached = seen[j].nonzero().flatten()
        first, last = edges[j]
        assert reached.tolist() == list(range(start + first, start + last + 1)), j


def padded(rows, width):
    ids = torch.full((len(rows), width), PAD)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(width) < lengths[:, None]).double()


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("width", [48, 49, 50, 51])
def test_a_sequence_of_any_length_is_in_a_batch_what_it_is_alone(name, width):
    net = small(name)
    rows = [letters(1, n, n)[0] for n in (1, 2, 3, 4, 5, 30, 31, 32, 33, 44, 45, 46, 47, 48)]
    ids, mask = padded(rows, width)
    out = net(ids, mask)
    assert out.shape == (len(rows), width, 6)
    for i, row in enumerate(rows):
        agree(out[i, : len(row)], net(row[None], None)[0])
    turned = torch.arange(len(rows)).flip(0)
    agree(net(ids[turned], mask[turned]).flip(0), out)


@pytest.mark.parametrize("name", ABLATIONS)
def test_logits_alone_and_in_a_batch_are_alike(name):
    torch.manual_seed(0)
    net = MODELS[name].build(planted_task(), {**MODELS[name].options, "width": 6}).double().eval()
    rows = [letters(1, n, n)[0] for n in (20, 21, 22, 23)]
    alone = torch.cat([net(row[None], None) for row in rows])
    for width in (23, 24, 30):
        agree(net(*padded(rows, width)), alone)


def test_unet_counts_the_n_up_to_a_multiple_of_four_as_sequence():
    net, ids = small("convnova_unet"), letters(1, 41)
    longer = torch.cat([ids, torch.full((1, 3), N)], 1)
    agree(net(ids, None), net(longer, None)[:, :41])
    cut = net(torch.cat([ids, torch.full((1, 4), N)], 1), None)[:, :41]
    assert (net(ids, None) - cut).abs().max() > 1e-6  # and no further


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("convnova_no_gate", {"kernel_size": 4}, "kernel_size is 4; it must be odd"),
        ("convnova_no_gate", {"dilation_schedule": "x"}, "one of paper, stages, code"),
        ("convnova_no_gate", {"blocks": 1}, "at least 2"),
        ("convnova_single_branch", {"kernel_size": 4}, "kernel_size is 4; it must be odd"),
        ("convnova_single_branch", {"dilation_schedule": "x"}, "one of paper, stages, code"),
        ("convnova_single_branch", {"blocks": 1}, "at least 2"),
        ("convnova_unet", {"kernel_size": 4}, "kernel_size is 4; it must be odd"),
    ],
)
def test_impossible_options_are_refused(name, change, says):
    with pytest.raises(ValueError, match=says):
        MODELS[name].build(planted_task(), {**MODELS[name].options, **change})


@pytest.mark.parametrize("name", ABLATIONS)
def test_dropout_acts_in_training_only(name):
    net, ids = small(name, dropout=0.5), letters(2, 40)
    agree(net(ids, None), small(name)(ids, None))
    net.train()
    assert not torch.equal(net(ids, None), net(ids, None))
