"""A language model as a folder that transformers itself loads, with its head and tokenizer.

B batch, T tokens, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.models.language import language_of
from dnabench.models.outside.hub import PREFIX
from dnabench.models.outside.language import language_class
from dnabench.models.outside.native import Native
from dnabench.models.outside.transformer import quiet
from dnabench.networks.export_hf import LIBRARY, placed, random_rows, spaced, words_of
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Model, Sequences

ROUNDING = 1e-3  # of the largest logit
SEEDS = (0, 1)  # of the two batches that are compared
HIDDEN = 0.15  # share of the tokens
# of a head here -> there, by `model_type`
HEADS = {
    "bert": {"head.": "cls.predictions."},
    "esm": {"head.": "lm_head."},
    "roberta-prelayernorm": {
        "head.transform.dense.": "lm_head.dense.",
        "head.transform.LayerNorm.": "lm_head.layer_norm.", "head.": "lm_head.",
    },
}  # fmt: skip


class LanguageNet(NamedTuple):
    """A network from `models.language.language_model`, and what it reads; on the CPU."""

    model: Model
    options: Mapping[str, Any]
    tokenizer: Tokenizer
    net: Any
    length: int  # bp


def write_language(own: LanguageNet, to: Path, about: Mapping[str, Any]) -> tuple[int, float]:
    """Write the folder, load it with transformers alone, and compare tokens and logits.

    Args:
        own: the network.
        to: the folder; an earlier export there is replaced.
        about: what config.json says of the network, under "dnabench".

    Returns:
        Tokens of the longest sequence that was tried, and the largest difference of a logit over
        the largest logit; of a masked model with 15 % of the tokens hidden.

    Raises:
        ValueError: transformers has no such architecture, or gives other tokens or logits; a
            folder with something else in it. Nothing is written then.
    """
    with quiet(), placed(to) as draft:
        net = _filled(own, about)
        net.save_pretrained(draft)
        words_of(own.tokenizer, own.model.max_tokens).save_pretrained(draft)
        tried = [_compared(own, draft, seed) for seed in SEEDS]
        difference = float(np.max([d for _, d in tried]))
        if not difference <= ROUNDING:
            raise ValueError(
                f"{own.model.name} cannot be exported to hf: {type(net).__name__} gives other "
                f"logits, off by {difference:.2g}"
            )
    return max(n for n, _ in tried), difference


def _filled(own: LanguageNet, about: Mapping[str, Any]) -> Any:
    """The language model of transformers with the network's tensors."""
    model, tokenizer = own.model, own.tokenizer
    if model.in_transformers is None or tokenizer.published is None:
        what = "architecture" if model.in_transformers is None else f"tokenizer ({tokenizer.name})"
        raise ValueError(f"{model.name} cannot be exported to hf: transformers has no such {what}")
    native = model.in_transformers({**model.options, **own.options}, tokenizer.pad, True)
    assert isinstance(native, Native)
    kind = native.config["model_type"]
    heads = {"head.": ""} if model.name.startswith(PREFIX) else HEADS[kind]
    names = {**heads, **{k: v for k, v in native.names.items() if k.startswith("backbone.")}}
    config = LIBRARY.CONFIG_MAPPING[kind].from_dict(dict(native.config))
    if not model.name.startswith(PREFIX):
        config.tie_word_embeddings = "head.decoder.weight" not in own.net.state_dict()
    config.dnabench = dict(about)
    with torch.random.fork_rng(devices=[]):
        net = language_class(language_of(model).causal).from_config(config).float().eval()
    tensors = dict[str, Tensor]()
    for ours, value in own.net.state_dict().items():
        if before := native.rows.get(ours, 0):
            value = torch.cat([value.new_zeros(before, *value.shape[1:]), value])
        tensors[native._replace(names=names).name(ours)] = value
    info = net.load_state_dict(tensors, strict=False)
    if info.unexpected_keys:
        raise ValueError(
            f"{model.name} cannot be exported to hf: {type(net).__name__} has no "
            f"{info.unexpected_keys[0]}"
        )
    net.tie_weights()
    return net


def _compared(own: LanguageNet, folder: Path, seed: int) -> tuple[int, float]:
    """Tokens and difference for random sequences; see `random_rows`."""
    tokenizer, causal = own.tokenizer, language_of(own.model).causal
    rows = random_rows(own.length, seed, own.model.min_length)
    words = LIBRARY.AutoTokenizer.from_pretrained(folder)
    net = language_class(causal).from_pretrained(folder).eval()
    given = words([spaced(row, tokenizer.spaced) for row in rows], padding=True,
                  return_tensors="pt")  # fmt: skip
    encoded = tokenizer(Sequences.parse(rows), own.length, "mask")
    ids, width = torch.from_numpy(encoded.ids).long(), encoded.ids.shape[1]
    seen = torch.arange(width) < torch.from_numpy(encoded.tokens)[:, None]
    read = given["input_ids"]
    if read.shape != ids.shape or not torch.equal(read * seen, ids * seen):
        raise ValueError(f"{own.model.name} exported to hf has a tokenizer of other ids")
    if not causal and tokenizer.mask >= 0:
        drawn = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed))
        hidden = seen & (drawn < HIDDEN)
        ids = ids.masked_fill(hidden, words.mask_token_id)
        given["input_ids"] = read.masked_fill(hidden, words.mask_token_id)
    with torch.no_grad():
        ours, theirs = own.net(ids, seen.float())[seen], net(**given).logits[seen]
    scale = max(1.0, float(ours.abs().max()))
    return width, float((theirs - ours).abs().max()) / scale
