"""Tiny models of transformers with the tokenizers of DNA models, made by save_pretrained."""

import functools
import itertools
import json

import torch
import transformers

from dnabench.tokens.bpe import save, train_bpe

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 200}  # fmt: skip
KMERS = ["".join(k) for k in itertools.product("ATCG", repeat=6)]  # in an order of its own
LLAMA = ["<oov>", "<s>", "</s>", "<pad>", *KMERS]
ESM = ["<unk>", "<pad>", "<mask>", "<cls>", *KMERS, *"ATCGN"]
BASES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGTN"]


def write_json(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def kmer_files(folder, bos):
    """As the 6-mer Llama models have them: the tokenizer is code of its own."""
    write_json(folder, "vocab.json", {t: i for i, t in enumerate(LLAMA)})
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "DNAKmerTokenizer", "auto_map": {"AutoTokenizer": ["tokenizer.K", None]},
        "unk_token": "<oov>", "bos_token": "<s>", "pad_token": {"content": "<pad>"},
        "add_bos_token": bos, "add_eos_token": False, "eos_token": "</s>",
    })  # fmt: skip


def esm_files(folder):
    (folder / "vocab.txt").write_text("\n".join(ESM))
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "EsmTokenizer", "unk_token": "<unk>", "cls_token": "<cls>",
        "pad_token": "<pad>", "eos_token": None,
    })  # fmt: skip


def base_files(folder):
    (folder / "vocab.txt").write_text("\n".join(BASES))
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "cls_token": "[CLS]",
        "sep_token": "[SEP]", "pad_token": "[PAD]", "auto_map": {"AutoTokenizer": ["t.T", None]},
    })  # fmt: skip


@functools.cache
def _bpe():
    from conftest import planted_split

    return train_bpe(planted_split(300, 1).seqs, 128)


def bpe_files(folder):
    save(_bpe(), folder / "tokenizer.json")


def _llama(config, model, **more):
    config = config(vocab_size=len(LLAMA), num_key_value_heads=2, pad_token_id=3, **SMALL, **more)
    return model(config)


FAMILIES = {
    "llama-6mer": (
        lambda: _llama(transformers.LlamaConfig, transformers.LlamaForCausalLM),
        functools.partial(kmer_files, bos=True),
    ),
    "mixtral-6mer": (
        lambda: _llama(transformers.MixtralConfig, transformers.MixtralForCausalLM,
                       num_local_experts=4, num_experts_per_tok=2),
        functools.partial(kmer_files, bos=False),
    ),
    "mistral-bpe": (
        lambda: transformers.MistralForCausalLM(transformers.MistralConfig(
            vocab_size=128, num_key_value_heads=2, pad_token_id=3, sliding_window=16, **SMALL)),
        bpe_files,
    ),
    "qwen3-6mer": (
        lambda: _llama(transformers.Qwen3Config, transformers.Qwen3ForCausalLM, head_dim=8),
        functools.partial(kmer_files, bos=False),
    ),
    "bert-bpe": (
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(
            vocab_size=128, pad_token_id=3, **SMALL)),
        bpe_files,
    ),
    "bert-bases": (
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(
            vocab_size=len(BASES), pad_token_id=0, **SMALL)),
        base_files,
    ),
    "modernbert-bpe": (
        lambda: transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(
            vocab_size=128, pad_token_id=3, bos_token_id=1, cls_token_id=1, eos_token_id=2,
            sep_token_id=2, local_attention=16, **SMALL)),
        bpe_files,
    ),
    "esm-6mer": (
        lambda: transformers.EsmForMaskedLM(transformers.EsmConfig(
            vocab_size=len(ESM), pad_token_id=1, mask_token_id=2, token_dropout=False,
            position_embedding_type="rotary", emb_layer_norm_before=False, **SMALL)),
        esm_files,
    ),
}  # fmt: skip


def hidden(net, theirs, tokenizer, seqs):
    """Last hidden states of the tokens, ours and those of transformers' own model: (tokens, D)."""
    encoded = tokenizer(seqs, int(seqs.lengths.max()), "mask")
    ids, mask = torch.from_numpy(encoded.ids), None
    if encoded.lengths is not None:
        mask = torch.arange(ids.shape[1]) < torch.from_numpy(encoded.lengths)[:, None]
    with torch.no_grad():
        whole = torch.ones_like(ids) if mask is None else mask
        wanted = theirs.base_model(ids.long(), attention_mask=whole.long())[0]
        found = net.backbone(ids, None if mask is None else mask.float())
    return found[whole.bool()], wanted[whole.bool()]


def make(folder, name):
    """A folder with a model of that family; weights as transformers draws them at seed 0."""
    folder.mkdir(parents=True, exist_ok=True)
    build, files = FAMILIES[name]
    torch.manual_seed(0)
    net = build().eval()
    net.save_pretrained(folder)
    files(folder)
    return net
