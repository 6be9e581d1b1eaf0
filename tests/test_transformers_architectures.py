"""Models of transformers of other architectures, and folders that lack what most have."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import transformers
from test_transformers import SEQS, TASK, UNEVEN, broken, learner, pretrained

from dnabench.models.outside.references import model_named
from dnabench.models.outside.transformer import width_in


def small(name, **more):
    """A configuration of that architecture with the vocabulary of `tiny.bpe_files`."""
    return getattr(transformers, f"{name}Config")(**{
        "vocab_size": 128, "pad_token_id": 3, "num_key_value_heads": 2, **tiny.SMALL, **more,
    })  # fmt: skip


def gpt2(**more):
    return transformers.GPT2Config(
        vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=200, **more
    )


def saved(path, net, files=tiny.bpe_files):
    net.eval().save_pretrained(path)
    files(path)
    return net


def scores_alike(path, pooling):
    """Logits of sequences of several lengths are the same in one batch and alone."""
    model, net, _ = pretrained(path, pooling=pooling)
    one = learner(model, net, UNEVEN)
    together = one.predictor(UNEVEN)()
    alone = np.concatenate([one.predictor(UNEVEN.take(np.array([i])))() for i in range(6)])
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4)
    return model


def without_padding(path, instead, **settings):
    """A tokenizer.json whose padding token has another name, and what its settings say."""
    tiny.bpe_files(path)
    file = path / "tokenizer.json"
    file.write_text(file.read_text().replace("[PAD]", instead))
    tiny.write_json(path, "tokenizer_config.json", settings)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_without_a_padding_token_scores_a_batch_as_single_sequences(
    kind, pooling, tmp_path
):
    torch.manual_seed(0)
    made = transformers.GPT2LMHeadModel(gpt2()) if kind == "gpt2" else (
        transformers.LlamaForCausalLM(small("Llama", pad_token_id=None))
    )  # fmt: skip
    theirs = saved(tmp_path, made, lambda path: without_padding(path, "<|endoftext|>"))
    tokenizer = scores_alike(tmp_path, pooling).own_tokenizer()
    assert tokenizer.name.endswith("it names no padding token, id 3 is masked")
    encoded = tokenizer(UNEVEN.seqs, 60, "mask")
    beyond = np.arange(encoded.ids.shape[1]) >= encoded.lengths[:, None]
    assert beyond.any() and ((encoded.ids == 3) == beyond).all()
    found, wanted = tiny.hidden(pretrained(tmp_path)[1], theirs, tokenizer, UNEVEN.seqs)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("token", ["<blank>", {"content": "<blank>"}])
def test_padding_of_another_name_is_that_of_the_files(file, token, tmp_path):
    saved(tmp_path, transformers.GPT2LMHeadModel(gpt2()),
          lambda path: without_padding(path, "<blank>"))  # fmt: skip
    tiny.write_json(tmp_path, file, {"pad_token": token})
    tokenizer = model_named(f"hf:{tmp_path}").own_tokenizer()
    assert tokenizer.pad == 3 and tokenizer.name == "tokens of tokenizer.json"


def test_k_mers_without_a_padding_token_are_filled_with_what_is_no_word(tmp_path):
    words = ["AAAAAA", *tiny.KMERS[1:], "<s>", "</s>", "<mask>"]
    tiny.write_json(tmp_path, "vocab.json", {t: i for i, t in enumerate(words)})
    tiny.write_json(tmp_path, "tokenizer_config.json", {"bos_token": "<s>", "add_bos_token": True})
    transformers.LlamaForCausalLM(
        small("Llama", vocab_size=len(words), pad_token_id=None)
    ).save_pretrained(tmp_path)  # fmt: skip
    tokenizer = model_named(f"hf:{tmp_path}").own_tokenizer()
    assert words[tokenizer.pad] == "</s>" and f"id {tokenizer.pad} is masked" in tokenizer.name


HEADS = {
    "distilbert": (
        "DistilBertForMaskedLM",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "distilbert-classes": (
        "DistilBertForSequenceClassification",
        {"dim": 32, "n_layers": 2, "n_heads": 4},
    ),
    "electra": ("ElectraForMaskedLM", {"embedding_size": 16}),
    "electra-pretraining": ("ElectraForPreTraining", {"embedding_size": 16}),
    "albert": ("AlbertForPreTraining", {"embedding_size": 16}),
    "convbert": ("ConvBertForMaskedLM", {"embedding_size": 32}),
    "roberta": ("RobertaForMaskedLM", {}),
    "deberta-v2": ("DebertaV2ForMaskedLM", {}),
    "mpnet": ("MPNetForMaskedLM", {}),
    "roformer": ("RoFormerForMaskedLM", {"embedding_size": 32}),
    "fnet": ("FNetForMaskedLM", {}),
    "gpt-neox": ("GPTNeoXForCausalLM", {}),
    "qwen2-classes": ("Qwen2ForSequenceClassification", {}),
}


@pytest.mark.parametrize("name", list(HEADS))
def test_a_head_of_any_architecture_is_left_out_and_listed(name, tmp_path):
    kind, more = HEADS[name]
    made = getattr(transformers, kind)
    torch.manual_seed(0)
    theirs = saved(tmp_path, made(small(made.config_class.__name__.removesuffix("Config"), **more)))
    model, net, loaded = pretrained(tmp_path)
    assert loaded.unused
    found, wanted = tiny.hidden(net, theirs, model.own_tokenizer(), SEQS.seqs)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_tensor_beside_a_base_model_that_no_class_has_is_refused(tmp_path):
    made = transformers.DistilBertForMaskedLM
    saved(tmp_path, made(small("DistilBert", dim=32, n_layers=2, n_heads=4, hidden_dim=48)))
    broken(tmp_path, lambda tensors: tensors.update({"adapter.weight": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"adapter.weight is no tensor of the model, and no head"):
        pretrained(tmp_path)


T5 = {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
      "pad_token_id": 3, "decoder_start_token_id": 3}  # fmt: skip


@pytest.mark.parametrize("kind", ["T5ForConditionalGeneration", "T5EncoderModel"])
def test_of_t5_the_encoder_is_read(kind, tmp_path):
    torch.manual_seed(0)
    made = getattr(transformers, kind)(transformers.T5Config(**T5))
    encoder = saved(tmp_path, made).get_encoder()
    found, wanted = tiny.hidden(
        pretrained(tmp_path)[1], encoder,
        scores_alike(tmp_path, "mean").own_tokenizer(), UNEVEN.seqs,
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "config", "says"),
    [("LongT5ForConditionalGeneration", T5, "LongT5Model has a decoder, which reads a second"),
     ("Wav2Vec2ForCTC", {"vocab_size": 128, "num_conv_pos_embeddings": 16, **tiny.SMALL},
      "Wav2Vec2Model reads input_values, no tokens"),
     ("ViltModel", {"vocab_size": 128, "image_size": 16, "patch_size": 8, **tiny.SMALL},
      "ViltModel reads pixel_values beside tokens, which DNA does not have"),
     ("ViTForImageClassification", {k: v for k, v in tiny.SMALL.items() if "max" not in k},
      "vit has no vocabulary")],
)  # fmt: skip
def test_what_reads_no_dna_is_refused_with_a_way_out(kind, config, says, tmp_path):
    made = getattr(transformers, kind)
    saved(tmp_path, made(made.config_class(**config)))
    with pytest.raises(ValueError, match=f"{tmp_path}.*{says}.*; take a model that reads tokens"):
        pretrained(tmp_path)


def joined(kind):
    """A model that is made of several, and its part that reads tokens."""
    text, images = small("Llama"), {"image_size": 16, "patch_size": 8, "hidden_size": 32,
                                    "num_hidden_layers": 1, "num_attention_heads": 2,
                                    "intermediate_size": 48}  # fmt: skip
    if kind == "encoder-decoder":
        decoder = small("Bert", is_decoder=True, add_cross_attention=True)
        config = transformers.EncoderDecoderConfig(
            encoder=small("Bert").to_dict(), decoder=decoder.to_dict()
        )
        net = transformers.EncoderDecoderModel(config)
        return net, net.encoder
    if kind == "llava":
        config = transformers.LlavaConfig(
            text_config=text, vision_config=transformers.CLIPVisionConfig(**images)
        )
        net = transformers.LlavaModel(config)
        return net, net.language_model
    text = {"vocab_size": 128, "pad_token_id": 3, **tiny.SMALL}
    net = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=images))
    return net, transformers.CLIPTextModel(net.config.text_config)


@pytest.mark.parametrize("kind", ["clip", "llava", "encoder-decoder"])
def test_of_several_networks_in_one_the_part_that_reads_tokens_is_asked_for(kind, tmp_path):
    torch.manual_seed(0)
    whole, part = joined(kind)
    for name, net in (("whole", whole), ("part", part)):
        (tmp_path / name).mkdir()
        saved(tmp_path / name, net)
    parts = "decoder, encoder" if kind == "encoder-decoder" else "text_config, vision_config"
    says = rf"whole: {kind} is made of several networks \({parts}\), .*: save the part that reads"
    with pytest.raises(ValueError, match=says) as e:  # when it is named, before any trial
        model_named(f"hf:{tmp_path / 'whole'}")
    assert "\n" not in str(e.value) and str(e.value).endswith("such as bert, esm or llama")
    model, net, _ = pretrained(tmp_path / "part")
    found, wanted = tiny.hidden(net, part, model.own_tokenizer(), SEQS.seqs)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_configuration_without_a_width_says_what_to_add(tmp_path):
    config = SimpleNamespace(model_type="their-own")
    with pytest.raises(ValueError, match=rf"{tmp_path}: .*names no hidden_size.*add hidden_size"):
        width_in(config, tmp_path)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_folder_without_a_tokenizer_is_named_with_what_it_lacks(kind, tmp_path):
    made = transformers.BertModel(small("Bert")) if kind == "bert" else (
        transformers.LlamaModel(small("Llama"))
    )  # fmt: skip
    saved(tmp_path, made, lambda path: None)
    with pytest.raises(ValueError, match=f"{tmp_path}: has no tokenizer: none of tokenizer.json"):
        model_named(f"hf:{tmp_path}")


LIMITS = {
    "Bert": 200, "Roberta": 196, "Camembert": 196, "XLMRoberta": 196, "RobertaPreLayerNorm": 196,
    "Data2VecText": 196, "Longformer": 196, "IBert": 196, "MPNet": 198, "BigBird": 200, "GPT2": 200,
    "Esm": 196,
}  # fmt: skip


@pytest.mark.parametrize("name", list(LIMITS))
def test_the_limit_of_tokens_is_that_of_the_table_of_positions(name, tmp_path):
    more = {"Longformer": {"attention_window": 16}, "BigBird": {"attention_type": "original_full"},
            "GPT2": {"n_embd": 32, "n_head": 4, "n_positions": 200}}  # fmt: skip
    config = small(name, **more.get(name, {}))
    saved(tmp_path, transformers.AutoModel.from_config(config))
    model = model_named(f"hf:{tmp_path}")
    net = model.build(TASK, model.options).eval()
    assert model.max_tokens == LIMITS[name]
    with torch.no_grad():
        assert net(torch.full((1, model.max_tokens), 7), None).isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            net(torch.full((1, model.max_tokens + 1), 7), None)


POOLED = {
    "gpt2-classes": ("GPT2ForSequenceClassification", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "llama-classes": ("LlamaForSequenceClassification", {}),
    "llama-alone": ("LlamaModel", {}),
    "mistral-classes": ("MistralForSequenceClassification", {}),
    "gpt-neox-tokens": ("GPTNeoXForTokenClassification", {}),
    "modernbert-decoder": ("ModernBertDecoderForSequenceClassification", {}),
    "bloom-classes": ("BloomForSequenceClassification", {"n_layer": 2, "n_head": 4}),
    "mamba-alone": ("MambaModel", {"state_size": 4}),
    "bert-classes": ("BertForSequenceClassification", {}),
    "bert-next-tokens": ("BertLMHeadModel", {}),
    "bert-decoder": ("BertLMHeadModel", {"is_decoder": True}),
    "roformer-decoder": ("RoFormerModel", {"is_decoder": True, "embedding_size": 32}),
    "xlm-next-tokens": ("XLMWithLMHeadModel", {"emb_dim": 32, "n_layers": 2, "n_heads": 4}),
    "distilbert": ("DistilBertModel", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "t5": ("T5EncoderModel", {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
                              "num_heads": 4}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(POOLED))
def test_a_model_whose_tokens_see_only_those_before_pools_the_last(name, tmp_path):
    kind, more = POOLED[name]
    made = getattr(transformers, kind)
    torch.manual_seed(0)
    saved(tmp_path, made(small(made.config_class.__name__.removesuffix("Config"), **more)))
    model, net, _ = pretrained(tmp_path)
    ids = torch.arange(5, 25)[None]
    other = ids.clone()
    other[0, -1] = 30
    with torch.no_grad():
        change = (net.backbone(ids, None) - net.backbone(other, None))[0].abs().amax(1)
    assert change[-1] > 1e-4
    causal = bool(change[:-1].max() < 1e-6)
    assert model.options["pooling"] == ("last" if causal else "mean")
    assert model.language.causal == causal


def test_landmarks_that_need_a_number_of_tokens_say_so(tmp_path):
    torch.manual_seed(0)
    config = small("Nystromformer", num_landmarks=8, segment_means_seq_len=64, conv_kernel_size=9)
    theirs = saved(tmp_path, transformers.AutoModel.from_config(config))
    model = model_named(f"hf:{tmp_path}")
    ours = model.build(TASK, model.options).backbone
    ours.load(tmp_path / "model.safetensors")
    for n, right in ((64, True), (63, False)):
        ids = torch.arange(n)[None] % 128
        if right:
            with torch.no_grad():
                assert torch.equal(ours.eval()(ids, None), theirs(ids)[0])
        else:
            with pytest.raises(ValueError, match="batches of 64 tokens only, and one has 63"):
                ours(ids, None)
