"""Language-model heads against the authors' code and transformers, and how their files are read."""

import copy

import golden
import pytest
import torch
import transformers
from safetensors.torch import save_file

from dnabench import MODELS
from dnabench.models.language import entries, language_model, load_language
from dnabench.tensors import read_set
from dnabench.types import MASK, N

BERT = {"width": 32, "layers": 2, "heads": 4, "inner": 48, "dropout": 0.0}


def made(name, **options):
    model = MODELS[name]
    torch.manual_seed(0)
    return language_model(model, {**model.options, **options}, 60).eval()


def file_of(net, path):
    """The tensors of a network of transformers as `save_pretrained` writes them."""
    net.save_pretrained(path)
    return read_set(path / "model.safetensors").tensors


def hidden_ids(mask):
    """Ids of two rows of 20 tokens, three of them hidden, the second row padded."""
    ids = golden.ids(2, 20, 6, 60)
    ids[0, 3], ids[0, 9], ids[1, 5] = mask, mask, mask
    seen = torch.ones(2, 20)
    seen[1, 14:] = 0
    return ids, seen


def compared(own, theirs, mask, pad, name, path):
    """Largest difference of the logits; the weights came through the official file."""
    tensors = file_of(theirs, path)
    loaded = load_language(own, MODELS[name], tensors, "model.safetensors")
    assert len(loaded.copied) + len(loaded.unused) == len(tensors)
    ids, seen = hidden_ids(mask)
    ids[1, 14:] = pad
    with torch.no_grad():
        a, b = own(ids, seen), theirs(input_ids=ids, attention_mask=seen.long()).logits
    assert a.shape == b.shape
    return float((a - b)[seen > 0].abs().max())


def test_dnabert_is_berts_masked_model(tmp_path):
    config = transformers.BertConfig(
        vocab_size=69, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=512,
    )  # fmt: skip
    theirs = transformers.BertForMaskedLM(config).eval()
    golden.fill(theirs)
    own = made("dnabert-3", **BERT)
    assert compared(own, theirs, 4, 0, "dnabert-3", tmp_path) < 1e-5


def test_gena_lm_is_the_masked_model_of_roberta_prelayernorm(tmp_path):
    config = transformers.RobertaPreLayerNormConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=516, type_vocab_size=2, pad_token_id=3,
        layer_norm_eps=1e-5,
    )  # fmt: skip
    theirs = transformers.RobertaPreLayerNormForMaskedLM(config).eval()
    golden.fill(theirs)
    own = made("gena_lm", **BERT, vocabulary=128, norm_eps=1e-5)
    state, head = theirs.state_dict(), own.head
    base = "roberta_prelayernorm."
    words = own.backbone.embeddings
    with torch.no_grad():
        words.word_embeddings.weight.copy_(state[f"{base}embeddings.word_embeddings.weight"])
        head.transform["dense"].weight.copy_(state["lm_head.dense.weight"])
        head.transform["dense"].bias.copy_(state["lm_head.dense.bias"])
        head.transform["LayerNorm"].weight.copy_(state["lm_head.layer_norm.weight"])
        head.transform["LayerNorm"].bias.copy_(state["lm_head.layer_norm.bias"])
        head.bias.copy_(state["lm_head.bias"])
        hidden = torch.randn(2, 5, 32)
        # of one hidden state: the backbone is compared in test_gena_lm.py
        torch.testing.assert_close(head(hidden), theirs.lm_head(hidden), rtol=0, atol=1e-5)


def test_nt_h_is_esms_masked_model_with_its_scaling_of_hidden_tokens(tmp_path):
    config = transformers.EsmConfig(
        vocab_size=4105, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=1002, token_dropout=True,
        position_embedding_type="absolute", emb_layer_norm_before=False, pad_token_id=1,
        mask_token_id=2, layer_norm_eps=1e-12, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, tie_word_embeddings=False,
    )  # fmt: skip
    theirs = transformers.EsmForMaskedLM(config).eval()
    golden.fill(theirs)
    own = made("nt_h", width=32, layers=2, heads=4, inner=48)
    assert compared(own, theirs, 2, 1, "nt_h", tmp_path) < 1e-5
    own.backbone.embeddings.hides = -1  # without the scaling it would not
    ids, seen = hidden_ids(2)
    with torch.no_grad():
        theirs = theirs(input_ids=ids, attention_mask=seen.long()).logits
        assert (own(ids, seen) - theirs)[seen > 0].abs().max() > 1e-3


def test_ntv2_has_the_head_of_esm():
    from transformers.models.esm.modeling_esm import EsmLMHead

    config = transformers.EsmConfig(
        vocab_size=4107, hidden_size=32, layer_norm_eps=1e-12, tie_word_embeddings=False
    )
    theirs = EsmLMHead(config)
    golden.fill(theirs, "lm_head.")
    head = made("ntv2-50m", width=32, layers=1, heads=4, inner=48).head
    head.load_state_dict(theirs.state_dict(), strict="decoder.bias" not in theirs.state_dict())
    hidden = torch.randn(2, 5, 32)
    torch.testing.assert_close(head(hidden), theirs(hidden), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "before", "config", "theirs"),
    [
        ("ntv2-50m", {"width": 32, "layers": 1, "heads": 4, "inner": 48}, "esm.",
         transformers.EsmConfig(vocab_size=4107, layer_norm_eps=1e-12, tie_word_embeddings=False),
         transformers.EsmForMaskedLM),
        ("gena_lm", {**BERT, "vocabulary": 128}, "bert.",
         transformers.BertConfig(vocab_size=128, layer_norm_eps=1e-5),
         transformers.BertForMaskedLM),
    ],
    ids=["ntv2", "gena_lm"],
)  # fmt: skip
def test_a_head_is_read_by_the_names_of_transformers(
    name, options, before, config, theirs, tmp_path
):
    """NTv2 and GENA-LM have the heads of ESM and BERT before other backbones."""
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
             "intermediate_size": 48, "pad_token_id": 1}  # fmt: skip
    theirs = theirs(type(config)(**{**config.to_diff_dict(), **small})).eval()
    own = made(name, **options)
    golden.fill(theirs)
    golden.fill(own)
    head = {k: v for k, v in file_of(theirs, tmp_path).items() if not k.startswith(before)}
    assert len(head) >= 5
    words = own.backbone.get_parameter("embeddings.word_embeddings.weight").detach()
    with torch.no_grad():
        decoder = theirs.get_output_embeddings()
        if name == "gena_lm":  # its table of words is the output's, too
            decoder.weight.copy_(words)
    body = {f"{before}{k}": v.clone() for k, v in own.backbone.state_dict().items()}
    with torch.no_grad():
        for q in own.head.parameters():
            q.fill_(0.5)
    load_language(own, MODELS[name], body | head, "model.safetensors")
    ids = golden.ids(2, 20, 6, 60)
    with torch.no_grad():
        hidden = own.backbone(ids, None)
        wanted = (theirs.lm_head if hasattr(theirs, "lm_head") else theirs.cls)(hidden)
        torch.testing.assert_close(own(ids, None), wanted, rtol=0, atol=1e-5)


def official(name, net):
    """A file as the authors write it: tied tensors under both names."""
    model = MODELS[name]
    head = {f"{model.language.prefix}{k}": v for k, v in net.head.state_dict().items()}
    inside = {
        "caduceus_ph": "caduceus.backbone.", "caduceus_ps": "caduceus.backbone.", "gpn": "model.",
        "hyenadna-tiny-1k": "hyena.backbone.", "dnabert2": "bert.", "ntv2-50m": "esm.",
    }.get(name, "")  # fmt: skip
    body = {f"{inside}{k}": v.clone() for k, v in net.backbone.state_dict().items()}
    own = net.state_dict()
    same = {file: own[ours].clone() for file, ours in model.language.same.items() if ours in own}
    return body | head | same


SMALL = {
    "convnova-386k": {"width": 16, "blocks": 2}, "unet": {"width": 4, "levels": 2},
    "gpn": {"width": 16, "inner": 32, "layers": 2}, "dnabert2": {**BERT, "vocabulary": 64},
    "caduceus_ph": {"width": 16, "layers": 2}, "caduceus_ps": {"width": 16, "layers": 2},
    "hyenadna-tiny-1k": {"width": 16, "layers": 1},
    "ntv2-50m": {"width": 32, "layers": 1, "heads": 4, "inner": 48},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_an_official_file_fills_backbone_and_head(name, tmp_path):
    written = made(name, **SMALL[name])
    golden.fill(written)
    save_file(official(name, written), tmp_path / "model.safetensors")
    own = copy.deepcopy(written)
    with torch.no_grad():
        for p in own.parameters():
            p.fill_(0.5)
    tensors = read_set(tmp_path / "model.safetensors").tensors
    load_language(own, MODELS[name], tensors, "model.safetensors")
    letters = MODELS[name].tokenizer_name(own_options(name)).startswith("char")
    ids = golden.ids(2, 20, 0, 5) if letters else golden.ids(2, 20, 6, 40)
    with torch.no_grad():
        torch.testing.assert_close(own(ids, None), written(ids, None), rtol=0, atol=0)


def own_options(name):
    return {**MODELS[name].options, **SMALL[name]}


# Names of tensors in the files of zhihan1996/DNABERT-2-117M, LongSafari/hyenadna-tiny-1k-seqlen-hf
# and kuleshov-group/caduceus-ph_seqlen-1k_..., as ../shared/MODELS.md lists them (5, 3.3, 4.4)
BERT2 = """
embeddings.word_embeddings.weight embeddings.token_type_embeddings.weight
embeddings.LayerNorm.weight embeddings.LayerNorm.bias
encoder.layer.0.attention.self.Wqkv.weight encoder.layer.0.attention.self.Wqkv.bias
encoder.layer.0.attention.output.dense.weight encoder.layer.0.attention.output.dense.bias
encoder.layer.0.attention.output.LayerNorm.weight encoder.layer.0.attention.output.LayerNorm.bias
encoder.layer.0.mlp.gated_layers.weight encoder.layer.0.mlp.wo.weight encoder.layer.0.mlp.wo.bias
encoder.layer.0.mlp.layernorm.weight encoder.layer.0.mlp.layernorm.bias
"""
HYENA = """
embeddings.word_embeddings.weight ln_f.weight ln_f.bias
layers.0.norm1.weight layers.0.norm1.bias layers.0.norm2.weight layers.0.norm2.bias
layers.0.mlp.fc1.weight layers.0.mlp.fc1.bias layers.0.mlp.fc2.weight layers.0.mlp.fc2.bias
layers.0.mixer.in_proj.weight layers.0.mixer.in_proj.bias
layers.0.mixer.out_proj.weight layers.0.mixer.out_proj.bias
layers.0.mixer.short_filter.weight layers.0.mixer.short_filter.bias
layers.0.mixer.filter_fn.bias
layers.0.mixer.filter_fn.implicit_filter.0.weight layers.0.mixer.filter_fn.implicit_filter.0.bias
layers.0.mixer.filter_fn.implicit_filter.2.weight layers.0.mixer.filter_fn.implicit_filter.2.bias
layers.0.mixer.filter_fn.implicit_filter.4.weight layers.0.mixer.filter_fn.implicit_filter.4.bias
layers.0.mixer.filter_fn.implicit_filter.6.weight
layers.0.mixer.filter_fn.implicit_filter.1.freq layers.0.mixer.filter_fn.implicit_filter.3.freq
layers.0.mixer.filter_fn.implicit_filter.5.freq
"""
MAMBA = "A_log D in_proj.weight conv1d.weight conv1d.bias x_proj.weight dt_proj.weight dt_proj.bias"
CADUCEUS = f"""
embeddings.word_embeddings.weight norm_f.weight layers.0.norm.weight
{" ".join(f"layers.0.mixer.mamba_{way}.{k}" for way in ("fwd", "rev") for k in MAMBA.split())}
layers.0.mixer.mamba_fwd.out_proj.weight layers.0.mixer.mamba_rev.out_proj.weight
"""
OFFICIAL = {
    "dnabert2": ("bert.", BERT2, {**BERT, "layers": 1, "vocabulary": 64}),
    "hyenadna-tiny-1k": ("hyena.backbone.", HYENA, {"width": 16, "layers": 1}),
    "caduceus_ph": ("caduceus.backbone.", CADUCEUS, {"width": 16, "layers": 1}),
}


def berts_head():
    """Of transformers, whose tied bias is in the file twice."""
    from transformers.models.bert.modeling_bert import BertOnlyMLMHead

    head = BertOnlyMLMHead(
        transformers.BertConfig(vocab_size=64, hidden_size=32, layer_norm_eps=1e-12)
    ).eval()  # fmt: skip
    golden.fill(head, "cls.")
    head.predictions.decoder.bias = head.predictions.bias
    return head


@pytest.mark.parametrize("name", OFFICIAL)
def test_names_and_logits_are_those_that_were_written_down(name):
    """The backbones are held against the authors' code by golden records."""
    prefix, names, options = OFFICIAL[name]
    own = made(name, **options)
    golden.fill(own.backbone)
    assert set(names.split()) == own.backbone.state_dict().keys()
    file = {f"{prefix}{k}": v.clone() for k, v in own.backbone.state_dict().items()}
    ids = golden.ids(2, 20, 0, 5) if name != "dnabert2" else golden.ids(2, 20, 6, 40)
    with torch.no_grad():
        hidden = own.backbone(ids, None)
    if name == "dnabert2":
        head = berts_head()
        table = file["bert.embeddings.word_embeddings.weight"]
        head.predictions.decoder.weight = torch.nn.Parameter(table)
        written = {f"cls.{k}": v for k, v in head.state_dict().items()}
        file |= {k: v for k, v in written.items() if k != "cls.predictions.bias"}
        expected = head(hidden)
    else:  # the file of Caduceus may have the tied table once
        own_table = torch.sin(torch.arange(256.0)).view(16, 16)
        table = file[f"{prefix}embeddings.word_embeddings.weight"]
        file |= {"lm_head.weight": own_table} if name.startswith("hyena") else {}
        expected = hidden @ (own_table if name.startswith("hyena") else table).T
    with torch.no_grad():
        for p in own.parameters():
            p.fill_(0.5)
    load_language(own, MODELS[name], file, "model.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(own(ids, None), expected.detach(), rtol=0, atol=1e-5)


def test_the_smallest_hyenadna_has_the_published_count():
    """438,144 parameters with the head that is not tied."""
    assert sum(p.numel() for p in made("hyenadna-tiny-1k").parameters()) == 438_144


def test_a_file_without_the_head_or_with_two_tables_is_refused():
    net = made("convnova-386k", **SMALL["convnova-386k"])
    body = dict(net.backbone.state_dict())
    with pytest.raises(ValueError, match=r"head\.weight .* is not in the file"):
        load_language(net, MODELS["convnova-386k"], body, "x.safetensors")
    net = made("dnabert2", **SMALL["dnabert2"])
    tensors = official("dnabert2", net)
    tensors["cls.predictions.decoder.weight"] += 1
    with pytest.raises(ValueError, match=r"both map to backbone\.embeddings\.word_embeddings"):
        load_language(net, MODELS["dnabert2"], tensors, "x.safetensors")


@pytest.mark.parametrize("name", SMALL)
def test_a_copy_of_the_network_has_its_own_tied_table(name):
    net = made(name, **SMALL[name])
    other = copy.deepcopy(net)
    ids = torch.full((1, 20), 2)
    before = net(ids, None)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    assert torch.equal(net(ids, None), before)
    assert not torch.equal(other(ids, None), before)


def test_a_model_without_a_head_says_so():
    with pytest.raises(ValueError, match="kmer has no language-model head"):
        made("kmer")


MASKED_LETTERS = [
    name for name in SMALL if MODELS[name].language.letters and not MODELS[name].language.causal
]


@pytest.mark.parametrize("name", MASKED_LETTERS)
def test_a_hidden_letter_is_no_base(name):
    """Where the authors have no entry for it, it reads as N."""
    net, options = made(name, **SMALL[name]), own_options(name)
    assert len(set(entries(MODELS[name], options))) == 5
    ids = golden.ids(1, 20, 0, 4)
    read_as = []
    for code in (*range(5), MASK):
        ids[0, 10] = code
        with torch.no_grad():
            read_as.append(net(ids, None))
    as_n = name in ("convnova-386k", "unet")
    assert torch.equal(read_as[-1], read_as[N]) == as_n
    assert not any(torch.equal(read_as[-1], other) for other in read_as[:4])
