"""`dnabench export --format hf` of language models: transformers alone gives the same logits."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import transformers
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import BERT, CASES, SHORT, options_of
from typer.testing import CliRunner

from dnabench import MODELS, Sequences
from dnabench.cli.app import app
from dnabench.models.outside.language import language_head
from dnabench.models.outside.references import model_named
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.saving import load_pretrained

__all__ = ["own_cache"]
SHAPES = {
    "dnabert-3": ("BertForMaskedLM", transformers.AutoModelForMaskedLM),
    "nt_h": ("EsmForMaskedLM", transformers.AutoModelForMaskedLM),
    "gena_lm": ("RobertaPreLayerNormForMaskedLM", transformers.AutoModelForMaskedLM),
    "llama-6mer": ("LlamaForCausalLM", transformers.AutoModelForCausalLM),
    "mistral-bpe": ("MistralForCausalLM", transformers.AutoModelForCausalLM),
    "bert-bpe": ("BertForMaskedLM", transformers.AutoModelForMaskedLM),
    "esm-6mer": ("EsmForMaskedLM", transformers.AutoModelForMaskedLM),
    "letters": ("RobertaPreLayerNormForMaskedLM", transformers.AutoModelForMaskedLM),
}
LETTERS = {"tokenizer": "char-cls-sep", "vocabulary": 9, **BERT}
TEXT = "ACGTTGCAAGGTCCATGACGTTGCAAGGTCCATGNACGTAC"


def trained(tmp_path, name):
    """A network that learned for some steps."""
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    if name == "letters":
        model, options = MODELS["gena_lm"], options_of("gena_lm", **LETTERS)
    elif name in MODELS:
        model, options = MODELS[name], options_of(name, **CASES[name])
    else:
        tiny.make(tmp_path / name, name)
        model = model_named(f"hf:{tmp_path / name}")
        options = dict(model.options)
    train = gathered(model, options, SHORT, [path], 3 * 240, holdout=["chr2"], looks=1)
    card = pretrain(train, tmp_path / "net")
    return card, load_pretrained(tmp_path / "net")


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_gives_the_same_logits(tmp_path, name):
    card, own = trained(tmp_path, name)
    done = CliRunner().invoke(app, ["export", str(tmp_path / "net"), "--format", "hf"])
    assert done.exit_code == 0, done.output
    architecture, auto = SHAPES[name]
    theirs = auto.from_pretrained(tmp_path / "net" / "hf").eval()
    assert type(theirs).__name__ == architecture
    k, tokenizer = own.tokenizer.spaced, own.tokenizer
    text = " ".join(TEXT[i : i + k] for i in range(len(TEXT) - k + 1)) if k else TEXT
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "net" / "hf")
    given = words(text, return_tensors="pt")
    ids = torch.from_numpy(tokenizer(Sequences.parse([TEXT]), len(TEXT), "mask").ids).long()
    assert torch.equal(given["input_ids"], ids)
    if tokenizer.mask >= 0:
        ids[0, 3] = given["input_ids"][0, 3] = words.mask_token_id
        assert words.mask_token_id == tokenizer.mask
    with torch.no_grad():
        wanted, found = own.net(ids, None)[0], theirs(**given).logits[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert float(found.std()) > 1e-3
    config = json.loads((tmp_path / "net" / "hf" / "config.json").read_text())
    assert config["dnabench"]["model"] == card["model"]


def test_what_transformers_does_not_have_is_refused(tmp_path):
    trained(tmp_path, "hyenadna-tiny-1k")
    words = ["export", str(tmp_path / "net"), "--format"]
    done = CliRunner().invoke(app, [*words, "hf"])
    assert done.exit_code == 2 and "transformers has no such architecture" in done.output
    assert not (tmp_path / "net" / "hf").exists()
    done = CliRunner().invoke(app, [*words, "onnx"])
    assert done.exit_code == 2 and "is a language model; write --format hf" in done.output


@pytest.mark.parametrize(
    ("config", "causal", "says", "cause"),
    [
        (  # its logits are capped after the last module
            transformers.Gemma2Config(
                vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                final_logit_softcapping=1.0,
            ),
            True, "Gemma2ForCausalLM does more with its last hidden state than apply its lm_head",
            AssertionError,
        ),
        (  # its last module returns a tuple
            transformers.XLMConfig(vocab_size=32, emb_dim=16, n_layers=1, n_heads=2), False,
            "XLMWithLMHeadModel does more with its last hidden state than apply its pred_layer",
            TypeError,
        ),
        (
            transformers.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1,
                                  num_heads=2),
            False, "transformers has no AutoModelForMaskedLM of t5", type(None),
        ),
    ],
    ids=["gemma2", "xlm", "t5"],
)  # fmt: skip
def test_an_architecture_whose_head_is_not_its_modules_in_order_is_refused(
    config, causal, says, cause
):
    torch.manual_seed(0)
    backbone = SimpleNamespace(model=transformers.AutoModel.from_config(config))
    with pytest.raises(ValueError, match=f"{says}.*; take another architecture") as found:
        language_head(backbone, causal)
    assert isinstance(found.value.__cause__, cause)
