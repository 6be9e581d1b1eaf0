"""models/ntv2_star.py: the effect that the paper shows, and our reading in numbers."""

import math

import pytest
import torch
from conftest import planted_task
from test_ntv2 import SMALL, record_input

from dnabench import MODELS
from dnabench.models import ntv2, ntv2_star

STAR = MODELS["ntv2_star"]
TOKENS = 85  # of 500 bp


@torch.no_grad()
def attention(net, heads):
    """Softmax of the scores, mean over random inputs and layers: (heads, T, T)."""
    ids = torch.randint(6, 4102, (8, TOKENS))
    h, turn = net.embeddings(ids, None), net.turn(TOKENS)
    total = torch.zeros(heads, TOKENS, TOKENS)
    for layer in net.encoder.layer:
        part = layer.attention
        q, k = part.self.queries_and_keys(part.LayerNorm(h), turn)
        total += (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1).mean(0)
        h = layer(h, turn, None)
    return total / len(net.encoder.layer)


def near_over_far(weights):
    """Mean attention of tokens at most 4 apart over that of tokens 16 to 64 apart."""
    at = torch.arange(TOKENS)
    apart = (at[:, None] - at).abs()
    return float(
        weights[..., apart <= 4].mean() / weights[..., (apart >= 16) & (apart <= 64)].mean()
    )


def start(build, seed):
    torch.manual_seed(seed)
    return build({**STAR.options, "layers": 2}).eval()


def test_attends_to_neighbours_at_the_start_and_ntv2_does_not():
    star = [near_over_far(attention(start(ntv2_star.backbone, s), 16).mean(0)) for s in range(3)]
    plain = [near_over_far(attention(start(ntv2.backbone, s), 16).mean(0)) for s in range(3)]
    assert min(star) > 1.05, star
    assert max(abs(r - 1) for r in plain) < 0.02, plain


def test_the_bias_alone_does_nothing_at_the_stock_frequencies():
    net = start(ntv2_star.backbone, 0)
    net.frequencies = ntv2.backbone({**STAR.options, "layers": 1}).frequencies
    assert abs(near_over_far(attention(net, 16).mean(0)) - 1) < 0.02


def test_score_of_the_biases_alone_is_the_bump():
    net = start(ntv2_star.backbone, 0)
    x, part = torch.zeros(1, TOKENS, 512), net.encoder.layer[0].attention.self
    q, k = part.queries_and_keys(x, net.turn(TOKENS))
    scores = (q @ k.transpose(-1, -2))[0] / math.sqrt(32)
    apart = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    for h, reach in enumerate(ntv2_star.reaches(STAR.options)):
        expected = torch.cos(math.pi / reach * apart) / math.sqrt(32)
        torch.testing.assert_close(scores[h], expected, atol=1e-5, rtol=1e-4)


def test_reaches_are_geometric_from_16_to_128_tokens():
    found = torch.tensor(ntv2_star.reaches(STAR.options))
    torch.testing.assert_close(found, torch.logspace(4, 7, 16, base=2))
    assert ntv2_star.reaches({**STAR.options, "heads": 1}) == [16.0]
    omega = ntv2_star.frequencies(STAR.options)
    assert omega.shape == (16, 1, 16) and bool((omega[..., 0] == 1).all())
    torch.testing.assert_close(omega[:, 0, -1], math.pi / found)


def test_differs_from_ntv2_in_the_start_and_the_angles_only():
    star, plain = start(ntv2_star.backbone, 0), start(ntv2.backbone, 0)
    other = {k for k, v in plain.state_dict().items() if not torch.equal(v, star.state_dict()[k])}
    assert other == {f"encoder.layer.{i}.attention.self.{k}.bias"
                     for i in range(2) for k in ("query", "key")}  # fmt: skip
    bias = star.encoder.layer[1].attention.self.query.bias.view(16, 32)
    assert bool((bias[:, -1] == 1).all()) and not bias[:, :-1].any()
    star.load_state_dict(plain.state_dict())  # the same names
    star.frequencies = plain.frequencies
    ids, mask = record_input(6, 1)
    torch.testing.assert_close(star(ids, mask), plain(ids, mask))


def test_size_is_that_of_the_50m():
    with torch.device("meta"):
        net = ntv2_star.backbone(STAR.options)
    assert STAR.n_params == 52_484_608 == sum(p.numel() for p in net.parameters())
    assert STAR.weights is None


@torch.no_grad()
def test_a_score_does_not_depend_on_padding():
    torch.manual_seed(0)
    net = ntv2_star.build(planted_task(classes=3), SMALL).eval()
    ids, mask = record_input(6, 1)
    together = net(ids, mask)
    torch.testing.assert_close(together[:1], net(ids[:1], None), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1:], net(ids[1:, :15], None), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"nearest": 3.0}, "nearest is 3.0"), ({"farthest": 8.0}, "farthest is 8.0"),
     ({"width": 8}, "at least 4 wide"), ({"width": 60}, "multiple of 8")],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        ntv2_star.backbone({**STAR.options, **SMALL, **change})


def test_trains_from_scratch_like_the_ntv2_it_is_compared_with():
    ours, plain = STAR.recipes["default"], MODELS["ntv2-50m"].recipes["default"]
    numbers = [{k: v for k, v in vars(r).items() if k != "source"} for r in (ours, plain)]
    assert numbers[0] == numbers[1]
    assert (ours.optimizer, ours.lr, ours.epochs, ours.finetune) == ("adamw", 1e-4, 20, "full")
