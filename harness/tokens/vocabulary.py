"""Tokens of a published vocabulary: k-mers read by our own code, others by their tokenizer.json.

N examples, T tokens of the longest, k letters of a token.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.cache import read_json
from dnabench.tokens import tokenizers
from dnabench.tokens.bpe import hidden_id, special_ids, tokenizer_of_engine
from dnabench.tokens.engines import words_file
from dnabench.tokens.tokenizers import Encoded, Padding, Tokenizer
from dnabench.types import Array, Sequences
from dnabench.types import N as ANY_BASE

LONGEST = 8  # k; 4^8 tokens
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
         "vocab.txt", "merges.txt", "added_tokens.json")  # fmt: skip
_ROLES = ("unk_token", "pad_token", "cls_token", "bos_token", "sep_token", "eos_token")
# What a class of transformers has where tokenizer_config.json names nothing
_USUAL = {
    "Bert": {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]",
             "sep_token": "[SEP]"},
    "Esm": {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<cls>", "eos_token": "<eos>"},
}  # fmt: skip


class Kmers(NamedTuple):
    """A vocabulary of all k-mers.

    words: int32 (4^k,), the id of each k-mer in A C G T order, first letter most significant.
    letters: int32 (5,), ids of single A C G T N; None = it has no single letters.
    unknown: id of what has no token; -1 = there is none.
    """

    k: int
    words: Array
    letters: Array | None
    unknown: int
    pad: int
    first: int | None
    last: int | None
    vocabulary: Mapping[str, int]  # all words, of special tokens too


def vocabulary_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a folder of transformers.

    A tokenizer.json is followed as it stands, unless the published tokenizer is code of its own. A
    vocabulary of all k-mers (or bases) is read natively: with single letters in it a sequence is
    cut at each N, pieces are cut into k-mers from their left, and their rest is single letters;
    without them every k bp are a token, and one with an N, or the rest, is unknown. Special tokens
    are those that the configuration says are added; its name says which.

    Args:
        folder: with tokenizer.json, vocab.json or vocab.txt, and tokenizer_config.json if any.
        config: of the model, config.json.

    Raises:
        ValueError: no tokenizer files, one that is code of its own and no vocabulary of k-mers,
            BertTokenizer with k-mers, which may overlap, a vocabulary larger than the model's.
    """
    settings = _settings(folder, config)
    remote = "AutoTokenizer" in settings.get("auto_map", {})
    file = folder / "tokenizer.json"
    if file.is_file() and not remote:
        found = _of_file(file, _special(folder, settings).get("pad_token", ""), config)
    elif kmers := _kmers(folder, settings, config):
        if kmers[0].k > 1 and not remote and settings["tokenizer_class"].startswith("Bert"):
            raise ValueError(
                f"{folder}: BertTokenizer cuts at blanks, so its files do not say whether "
                f"{kmers[0].k}-mers overlap, as DNABERT's do (-m dnabert reads those): save the "
                "tokenizer that the model was trained with as a tokenizer.json"
            )
        found = _native(*kmers)
    elif remote:
        raise ValueError(
            f"{folder}: its tokenizer is code of its own, which is not run, and its vocabulary is "
            "not all k-mers of one length: save it as a tokenizer.json"
        )
    else:
        found = _of_transformers(folder, config)
    room = int(config.get("vocab_size") or 0)
    if room and found.size > room:
        raise ValueError(f"{folder}: {found.size} tokens, and the model has room for {room}")
    return found


def unnamed_tokens(folder: Path, config: Mapping[str, Any]) -> str:
    """Special tokens of a vocabulary of k-mers that the class alone says, no file; "" = none."""
    settings = _settings(folder, config)
    remote = "AutoTokenizer" in settings.get("auto_map", {})
    whole = (folder / "tokenizer.json").is_file() and not remote
    if whole or not _kmers(folder, settings, config):
        return ""
    named = {**(read_json(folder / "special_tokens_map.json") or {}), **settings}
    usual = _usual(settings)
    return " ".join(token for role, token in usual.items() if role not in named)


def _settings(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json, with the class where it names none."""
    settings = read_json(folder / "tokenizer_config.json") or {}
    usual = {"bert": "BertTokenizer", "esm": "EsmTokenizer"}.get(str(config.get("model_type")), "")
    kind = settings.get("tokenizer_class") or config.get("tokenizer_class") or usual
    return {**settings, "tokenizer_class": kind}


def _of_file(file: Path, padding: str, config: Mapping[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer as Engine

    try:
        return _of_engine(Engine.from_file(str(file)), f"tokens of {file.name}", padding, config)
    except Exception as e:  # the library raises Exception itself
        raise ValueError(f"{file}: {e}") from e


def _of_engine(engine: Any, name: str, padding: str, config: Mapping[str, Any]) -> Tokenizer:
    if engine.padding:
        return tokenizer_of_engine(engine, name, int(engine.padding["pad_id"]))
    vocabulary = engine.get_vocab(with_added_tokens=True)
    around = engine.encode("").ids  # special tokens that every sequence has
    pad, says = _padding(vocabulary, padding, config, {*special_ids(engine)} - {*around})
    return tokenizer_of_engine(engine, name + says, pad)


def _padding(
    vocabulary: Mapping[str, int], named: str, config: Mapping[str, Any], spare: Iterable[int]
) -> tuple[int, str]:
    """The id of padding, and a remark where no file names it.

    Any id serves, since padding is masked; a spare one is no token of a sequence.
    """
    for token in (named, "[PAD]", "<pad>"):
        if token in vocabulary:
            return vocabulary[token], ""
    said = config.get("pad_token_id")
    if isinstance(said, int) and said in vocabulary.values():
        return said, ""
    pad = max({*spare} - {hidden_id(vocabulary)}, default=vocabulary.get("N", 0))
    return pad, f"; it names no padding token, id {pad} is masked"


def _of_transformers(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """What AutoTokenizer makes of older files, if it is a fast tokenizer."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in FILES) and not any(folder.glob("*.model")):
        raise ValueError(
            f"{folder}: has no tokenizer: none of {', '.join(FILES)}. Save the tokenizer that the "
            "model was trained with there (save_pretrained)"
        )
    try:
        made = AutoTokenizer.from_pretrained(folder)
    except Exception as e:  # transformers raises many kinds
        raise ValueError(f"{folder}: no tokenizer can be read from it: {e}") from e
    engine = getattr(made, "backend_tokenizer", None)
    if engine is None:
        raise ValueError(
            f"{folder}: {type(made).__name__} gives no offsets, so tokens cannot be placed; save "
            "it as a tokenizer.json"
        )
    try:
        return _of_engine(engine, f"tokens of {type(made).__name__}", made.pad_token or "", config)
    except ValueError as e:
        raise ValueError(f"{folder}: {e}") from e


def _vocabulary(folder: Path) -> tuple[dict[str, int], str]:
    """Token -> id, and the file it is from; empty when there is none."""
    whole = read_json(folder / "tokenizer.json") or {}
    found = dict(whole.get("model", {}).get("vocab") or {})
    found |= {t["content"]: t["id"] for t in whole.get("added_tokens", ())}
    if found:
        return found, "tokenizer.json"
    if found := read_json(folder / "vocab.json") or {}:
        return found | (read_json(folder / "added_tokens.json") or {}), "vocab.json"
    if (file := folder / "vocab.txt").is_file():
        return {t: i for i, t in enumerate(file.read_text().splitlines()) if t}, "vocab.txt"
    return {}, ""


def _kmers(
    folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Kmers, str, int] | None:
    """The k-mers, what to call them, and the size of the vocabulary; None for another kind."""
    vocabulary, file = _vocabulary(folder)
    for k in range(LONGEST, 0, -1):
        texts = ["".join(letters) for letters in itertools.product("ACGT", repeat=k)]
        if texts[0] in vocabulary and all(t in vocabulary for t in texts):
            break
    else:
        return None
    roles = _special(folder, settings)
    added = [token if token in vocabulary else "" for token in _added(settings, roles)]
    first, last = (vocabulary[token] if token else None for token in added)
    unknown = vocabulary.get(roles.get("unk_token", ""), -1)
    singles = all(letter in vocabulary for letter in "ACGT")
    any_base = vocabulary.get("N", unknown)
    letters = [*(vocabulary[x] for x in "ACGT"), any_base] if singles else None
    spare = {*_letterless(vocabulary)} - {first, last}
    pad, remark = _padding(vocabulary, roles.get("pad_token", ""), config, spare)
    named = [f"{role} {end}" for role, end in zip(added, ("first", "last"), strict=True) if role]
    what = "bases" if k == 1 else f"{k}-mers"
    says = f"{what} of {file}; {' and '.join(named) or 'no special tokens'} added{remark}"
    words = np.array([vocabulary[t] for t in texts], np.int32)
    ids = None if letters is None else np.array(letters, np.int32)
    kmers = Kmers(k, words, ids, unknown, pad, first, last, vocabulary)
    return kmers, says, max(vocabulary.values()) + 1


def _special(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Role -> token, as the configuration says."""
    said = {**_usual(settings), **(read_json(folder / "special_tokens_map.json") or {}), **settings}
    found = {role: said[role] for role in _ROLES if said.get(role)}
    return {k: v["content"] if isinstance(v, dict) else v for k, v in found.items()}


def _usual(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """Role -> token of the class."""
    kind = str(settings.get("tokenizer_class", ""))
    return next((tokens for name, tokens in _USUAL.items() if kind.startswith(name)), {})


def _added(settings: Mapping[str, Any], roles: Mapping[str, str]) -> tuple[str, str]:
    """The tokens put before and behind every sequence; "" = none."""
    kind = str(settings.get("tokenizer_class", ""))
    if kind.startswith("Esm"):
        return roles.get("cls_token", ""), roles.get("eos_token", "")
    if kind.startswith("Bert"):
        return roles.get("cls_token", ""), roles.get("sep_token", "")
    bos, eos = settings.get("add_bos_token"), settings.get("add_eos_token")
    return roles.get("bos_token", "") if bos else "", roles.get("eos_token", "") if eos else ""


def _native(kmers: Kmers, says: str, size: int) -> Tokenizer:
    encode = functools.partial(_encode, kmers=kmers, size=size)
    file, vocabulary = functools.partial(_file, kmers), kmers.vocabulary
    return Tokenizer(
        says, size, kmers.pad, encode, end=kmers.last, unknown=kmers.unknown, published=file,
        mask=hidden_id(vocabulary), specials=_letterless(vocabulary),
    )  # fmt: skip


def _letterless(vocabulary: Mapping[str, int]) -> tuple[int, ...]:
    """Ids of the words that are no bases."""
    return tuple(sorted(i for word, i in vocabulary.items() if not set(word) <= set("ACGTN")))


def _file(kmers: Kmers) -> str:
    """A tokenizer.json that cuts as `_encode` does."""
    words = {i: word for word, i in kmers.vocabulary.items()}
    unknown, first, last = (
        "" if i is None else words.get(i, "") for i in (kmers.unknown, kmers.first, kmers.last)
    )
    cut = f".{{1,{kmers.k}}}" if kmers.letters is None else f"[ACGT]{{{kmers.k}}}|."
    return words_file(kmers.vocabulary, cut, unknown, first, last)


def _encode(seqs: Sequences, length: int, padding: Padding, kmers: Kmers, size: int) -> Encoded:
    tokenizers.check("a published vocabulary", seqs, length, padding)
    cut = _windows if kmers.letters is None else _pieces
    parts = [cut(*block, kmers) for block in tokenizers.blocks(seqs)]
    tokens, widths, counts = (np.concatenate(p) for p in zip(*parts, strict=True))
    if kmers.unknown < 0 and bool((tokens < 0).any()):
        raise ValueError("the vocabulary has no token for N, and none for what is unknown")
    ends = {"first": kmers.first, "last": kmers.last}
    ids, lengths = tokenizers.padded_rows(tokens, counts, kmers.pad, size, **ends)
    none = {name: None if end is None else 0 for name, end in ends.items()}
    bp, _ = tokenizers.padded_rows(widths, counts, 0, 2**31, **none)
    return Encoded(ids, lengths, bp.astype(np.int32))


def _windows(codes: Array, offsets: Array, kmers: Kmers) -> tuple[Array, Array, Array]:
    """Every k bp of a row one token, the rest one more: tokens, bp of each, counts of rows."""
    lengths = np.diff(offsets)
    counts = -(-lengths // kmers.k)
    start, row = _starts(offsets[:-1], counts, kmers.k)
    bp = np.minimum(kmers.k, offsets[1:][row] - start)
    return _words(codes, start, bp == kmers.k, kmers), bp.astype(np.int32), counts


def _pieces(codes: Array, offsets: Array, kmers: Kmers) -> tuple[Array, Array, Array]:
    """Rows are cut at each N; then k-mers, then single letters; as `_windows`."""
    assert kmers.letters is not None
    any_base = np.flatnonzero(codes == ANY_BASE)
    cuts = np.unique(np.concatenate([offsets, any_base, any_base + 1]))  # N is a piece of 1 bp
    whole, rest = np.divmod(np.diff(cuts), kmers.k)
    n = whole + rest
    piece = np.repeat(np.arange(len(n)), n)
    i = np.arange(len(piece)) - np.repeat(np.cumsum(n) - n, n)  # in its piece
    long = i < whole[piece]
    start = cuts[:-1][piece] + np.where(long, kmers.k * i, (kmers.k - 1) * whole[piece] + i)
    tokens = kmers.letters[codes[start]] if len(start) else np.empty(0, np.int32)
    tokens[long] = _words(codes, start[long], np.ones(int(long.sum()), bool), kmers)
    bp = np.where(long, kmers.k, 1).astype(np.int32)
    if kmers.k == 1:  # a base is a letter, and N is one too
        tokens = kmers.letters[codes[start]]
    return tokens, bp, np.diff(np.searchsorted(start, offsets))


def _starts(begin: Array, counts: Array, k: int) -> tuple[Array, Array]:
    row = np.repeat(np.arange(len(counts)), counts)
    i = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return begin[row] + k * i, row


def _words(codes: Array, start: Array, whole: Array, kmers: Kmers) -> Array:
    """The k-mer at each start; unknown where it is not whole or has an N."""
    place, known = np.zeros(len(start), np.int64), whole.copy()
    for j in range(kmers.k):
        at = np.minimum(start + j, max(len(codes) - 1, 0))
        letter = codes[at] if len(codes) else at
        known &= letter < ANY_BASE
        place = place * 4 + np.minimum(letter, 3)
    return np.where(known, kmers.words[place], np.int32(kmers.unknown))


def unknown_share(tokenizer: Tokenizer, encoded: Encoded) -> float:
    """The share of tokens, padding left out, that stand for what the vocabulary lacks."""
    ids, lengths = encoded.ids, encoded.lengths
    inside = ids.size if lengths is None else int(lengths.sum())
    return float((ids == tokenizer.unknown).sum() / max(1, inside))
