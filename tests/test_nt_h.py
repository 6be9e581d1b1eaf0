"""models/nt_h.py against the authors' code, transformers, and what docs/models.md counts."""

import golden
import pytest
import torch
from conftest import planted_task
from test_ntv2 import ENDS, LAYER, RECORDS, SMALL, contact_head, official_file, record_input

from dnabench import MODELS
from dnabench.models import nt_h

RECORD = RECORDS["ntv1_h64_l3"]
TASK = planted_task(classes=3)


def filled():
    net = nt_h.backbone(SMALL)
    golden.fill(net)
    return net.eval()


@torch.no_grad()
def parity():
    net = filled()
    own = sum(p.numel() for p in net.parameters())
    rows = 64 - nt_h.TABLE  # the record's table has 64 positions
    return net(*record_input(4, 1)), own + rows * SMALL["width"] + contact_head(SMALL)


def official():
    return "nt_h", SMALL, official_file(filled(), SMALL), "pytorch_model.bin"


PARITY = {"ntv1_h64_l3": parity}
OFFICIAL = {"ntv1_h64_l3": official}


@torch.no_grad()
def test_is_esm_of_transformers():
    esm = pytest.importorskip("transformers.models.esm.modeling_esm")
    from transformers import EsmConfig

    torch.manual_seed(0)
    net = nt_h.backbone(SMALL)
    for p in net.parameters():
        torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2)
    config = EsmConfig(
        vocab_size=4105, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=128, position_embedding_type="absolute", token_dropout=True,
        emb_layer_norm_before=False, pad_token_id=1, mask_token_id=2, layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=1002,
    )  # fmt: skip
    theirs = esm.EsmModel(config, add_pooling_layer=False).eval()
    state = theirs.load_state_dict(net.state_dict(), strict=False)
    assert not state.unexpected_keys
    assert all("contact_head" in k or "position_ids" in k for k in state.missing_keys)
    ids, mask = record_input(4, 1)
    out = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(net.eval()(ids, mask), out, atol=2e-5, rtol=1e-5)
    longest = golden.ids(1, 1000, 4, 4100)
    out = theirs(input_ids=longest, attention_mask=torch.ones_like(longest)).last_hidden_state
    torch.testing.assert_close(net(longest, None), out, atol=2e-5, rtol=1e-5)


def test_parameter_count_and_shape_are_the_records():
    out, n = parity()
    assert (n, list(out.shape)) == (RECORD["params"], RECORD["shape"])


@torch.no_grad()
def test_the_record_would_notice_another_network():
    def worst(net):
        return max(golden.differences(RECORD, net(*record_input(4, 1))).values())

    assert worst(filled()) < 1e-4
    unscaled, shifted = filled(), filled()
    unscaled.embeddings.word_embeddings.weight /= 0.88
    table = shifted.embeddings.position_embeddings.weight
    table.copy_(table.roll(1, 0))
    assert worst(unscaled) > 1e-3 and worst(shifted) > 0.01


def test_has_the_authors_size():
    model = MODELS["nt_h"]
    with torch.device("meta"):
        net = nt_h.backbone(model.options)
    assert model.n_params == sum(p.numel() for p in net.parameters())
    backbone = model.n_params + contact_head(model.options)
    assert backbone == 478_798_561  # docs/models.md
    d, v = 1280, 4105
    lm_head = d * d + d + 2 * d + v * d + v
    assert backbone + lm_head == 485_699_306


def test_tensors_have_the_authors_names_and_shapes():
    shapes = {k: tuple(v.shape) for k, v in filled().state_dict().items()}
    layer = {
        **LAYER, "intermediate.dense.weight": (128, 64), "intermediate.dense.bias": (128,),
        "output.dense.bias": (64,),
    }  # fmt: skip
    layers = {f"encoder.layer.{i}.{k}": s for i in range(3) for k, s in layer.items()}
    embeddings = {"word_embeddings.weight": (4105, 64), "position_embeddings.weight": (1002, 64)}
    assert shapes == {f"embeddings.{k}": s for k, s in embeddings.items()} | layers | ENDS


def test_official_names_become_ours():
    _, _, file, _ = official()
    ours = {name for name in map(MODELS["nt_h"].weights.rename, file) if name}
    assert ours == set(filled().state_dict())


def test_more_tokens_than_positions_are_refused():
    net = filled()
    net(torch.full((1, 1000), 7), None)
    with pytest.raises(ValueError, match="1001 tokens, and the model has learned"):
        net(torch.full((1, 1001), 7), None)


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="width is 60 and heads is 4"):
        nt_h.backbone({**SMALL, "width": 60})


@torch.no_grad()
def test_a_score_does_not_depend_on_padding():
    torch.manual_seed(0)
    net = nt_h.build(TASK, SMALL).eval()
    ids, mask = record_input(4, 1)
    together = net(ids, mask)
    torch.testing.assert_close(together[:1], net(ids[:1], None), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1:], net(ids[1:, :15], None), atol=1e-6, rtol=1e-5)


def test_gives_logits_for_every_token():
    net = nt_h.build(planted_task(classes=3, kind="per_base"), SMALL)
    assert net(*record_input(4, 1)).shape == (2, 20, 3)
