"""Tokenizers: from sequences to one array of small integers, made once for a split.

N examples, T tokens of the longest, L length in bp, k letters of a token.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from dnabench.tokens.engines import spaced_words_file, words_file
from dnabench.types import CLS, MASK, PAD, SEP, Array, Model, Sequences
from dnabench.types import N as ANY_BASE

Padding = Literal["mask", "left-n", "left-pad"]
BLOCK = 1 << 22  # bp encoded at a time, to limit memory
_ATCG = np.array([0, 2, 3, 1, 4], np.int16)  # ranks of A C G T N in vocabularies ordered A T C G


class Encoded:
    """Token ids; unpacks as (ids, lengths).

    Args:
        ids: (N, T), uint8, or int16 where the vocabulary exceeds 256.
        lengths: int64 (N,), tokens without padding; None when every row is full.
        widths: int32 (N, T), bp that each token stands for, 0 for special tokens and padding; or a
            function that gives it, called when first needed; None = one each. Every base belongs
            to one token: a row sums to its sequence's L.
        n_cut: how many of the N lost their end.
    """

    def __init__(
        self, ids: Array, lengths: Array | None, widths: Callable[[], Array] | Array | None = None,
        n_cut: int = 0,
    ) -> None:  # fmt: skip
        self.ids, self.lengths, self._widths, self.n_cut = ids, lengths, widths, n_cut

    def __iter__(self) -> Iterator[Array | None]:
        return iter((self.ids, self.lengths))

    @property
    def tokens(self) -> Array:
        """int64 (N,), tokens of each row without padding."""
        full = np.full(len(self.ids), self.ids.shape[1], np.int64)
        return full if self.lengths is None else self.lengths

    @functools.cached_property
    def widths(self) -> Array | None:
        """int32 (N, T), or None = one base each; see the class."""
        return self._widths() if callable(self._widths) else self._widths


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how sequences are encoded in it.

    `tokenizer(seqs, length, padding)` encodes N sequences; `length` is the task's longest in bp.
    Padding "mask" fills on the right, up to the longest row; "left-n" and "left-pad" are for
    `char` only.
    ValueError when a sequence is longer than `length`, or for a padding that is not defined.
    """

    name: str
    size: int  # entries of the vocabulary: ids are below it
    pad: int  # id of padding
    encode: Callable[[Sequences, int, Padding], Encoded]
    text: Callable[[], str] | None = None  # its tokenizer.json; None = the name says it all
    end: int | None = None  # id of the last token of every sequence, if that is a special one
    unknown: int = -1  # id of what the vocabulary lacks; -1 = it lacks nothing
    mask: int = -1  # id of a hidden token; -1 = it has none
    specials: tuple[int, ...] = ()  # ids that stand for no bases
    by_letters: bool = False  # how many tokens a sequence makes depends on more than its length
    published: Callable[[], str] | None = None  # a tokenizer.json of the same ids; None = no such
    spaced: int = 0  # `published` reads k-mers of so many letters with spaces between; 0 = letters
    uncached: "Tokenizer | None" = None  # whose ids this one stores; None = it stores none

    @property
    def rows(self) -> int:
        """Of an embedding that has one for each id, that of a hidden token too."""
        return max(self.size, self.mask + 1)

    def __call__(self, seqs: Sequences, length: int, padding: Padding) -> Encoded:
        """Encode; see the class, and `encode`'s own documentation."""
        return self.encode(seqs, length, padding)

    def shortened(self, seqs: Sequences, length: int, padding: Padding, most: int) -> Encoded:
        """Encode with at most `most` tokens a row, 0 = all; longer rows lose their end.

        A special token at the end stays there. Letters that are padded on the left are padded to
        `most`. Rows that lost something say no widths.
        """
        if self.name == "char":
            encoded = self(seqs.head(most), most, padding) if most else self(seqs, length, padding)
            encoded.n_cut = int((seqs.lengths > most).sum()) if most else 0
            return encoded
        encoded = self(seqs, length, padding)
        if not most or encoded.ids.shape[1] <= most:
            return encoded
        ids, long = encoded.ids[:, :most].copy(), encoded.tokens > most
        if self.end is not None:
            ids[long, most - 1] = self.end
        lengths = None if long.all() else encoded.tokens.clip(max=most)
        return Encoded(ids, lengths, n_cut=int(long.sum()))


def char(seqs: Sequences, length: int, padding: Padding) -> Encoded:
    """One token per base: A0 C1 G2 T3 N4, padding 5.

    Padding "left-pad" fills with PAD on the left up to `length`, not marked as padding, as the
    loaders of HyenaDNA and Caduceus do; "left-n" with N, as ConvNova's does.

    Source:
        docs/models.md#letters-and-ids; aim-uofa/ConvNova@c606027 subtracts 7 from HyenaDNA's ids
        and turns PAD to N.
    """
    _check_length(seqs, length)
    if padding != "mask":
        ids = seqs.padded(length, fill=ANY_BASE if padding == "left-n" else PAD, side="left")
        full = bool((seqs.lengths == length).all())
        return Encoded(ids, None, None if full else lambda: _right_aligned(seqs.lengths, length))
    longest = int(seqs.lengths.max(initial=0))
    full = bool((seqs.lengths == longest).all())
    return Encoded(seqs.padded(longest, fill=PAD), None if full else seqs.lengths)


def _right_aligned(lengths: Array, width: int) -> Array:
    return (np.arange(width) >= width - lengths[:, None]).astype(np.int32)


def _char_sep(seqs: Sequences, length: int, padding: Padding, first: int | None = None) -> Encoded:
    """`char`, then SEP; with `first`, if any, before it."""
    check("char-cls-sep" if first else "char-sep", seqs, length, padding)
    counts, lead = seqs.lengths, int(first is not None)
    ids, lengths = padded_rows(seqs.codes, counts, pad=PAD, size=8, first=first, last=SEP)

    def widths() -> Array:
        column = np.arange(ids.shape[1])
        inside = (column >= lead) & (column < counts[:, None] + lead)
        return inside.astype(np.int32)

    return Encoded(ids, lengths, widths)


def _six_mers(seqs: Sequences, length: int, padding: Padding, specials: int) -> Encoded:
    """Non-overlapping 6-mers, as in Nucleotide Transformer.

    A sequence is cut at each N, every piece into 6-mers from its left, and the rest of it into
    single letters; N is a token of its own. The first token is <cls>; there is no last one. Ids
    below `specials`, 6 (v2) or 4 (v1), are special tokens. Then come the 4,096 6-mers in A T C G
    order, then A T C G N.

    Source:
        docs/models.md#tokens-of-the-nucleotide-transformer; instadeepai/nucleotide-transformer.
    """
    singles = specials + 4**6
    size = singles + 5
    check("6mer" if specials == 6 else "6mer-v1", seqs, length, padding)
    parts = [_six_mers_of(*block, specials, singles) for block in blocks(seqs)]
    tokens, counts = (np.concatenate(p) for p in zip(*parts, strict=True))
    ids, lengths = padded_rows(tokens, counts, pad=1, size=size, first=3)

    def widths() -> Array:
        bp = np.repeat(np.array([0, 6, 1], np.int32), [specials, 4**6, 5])
        return np.asarray(bp[ids])

    return Encoded(ids, lengths, widths)


def _six_mers_of(codes: Array, offsets: Array, first: int, singles: int) -> tuple[Array, Array]:
    """The tokens of all rows, int16, and their number in each row, int64 (N,)."""
    any_base = np.flatnonzero(codes == ANY_BASE)
    cuts = np.unique(np.concatenate([offsets, any_base, any_base + 1]))  # N is a piece of 1 bp
    whole, rest = np.divmod(np.diff(cuts), 6)
    n = whole + rest
    piece = np.repeat(np.arange(len(n)), n)
    i = np.arange(len(piece)) - np.repeat(np.cumsum(n) - n, n)  # in its piece
    start = cuts[:-1][piece] + np.where(i < whole[piece], 6 * i, 5 * whole[piece] + i)
    ranks = _ATCG[codes]
    tokens = singles + ranks[start]
    long = i < whole[piece]
    tokens[long] = first + _ranked(ranks[start[long] + j] for j in range(6))
    return tokens, np.diff(np.searchsorted(start, offsets))


def _k_mers(seqs: Sequences, length: int, padding: Padding, k: int) -> Encoded:
    """Overlapping k-mers, k 3 to 6, as in DNABERT: [CLS], L - k + 1 tokens, [SEP].

    [PAD]0 [UNK]1 [CLS]2 [SEP]3 [MASK]4, then k-mers in A T C G order. A k-mer with an N is [UNK];
    a sequence shorter than k is one [UNK]. Token i stands for base i, the last for the remaining k
    bases.

    Source:
        docs/models.md#dnabert; Ji et al. 2021, jerryji1993/DNABERT.
    """
    check(f"kmer{k}", seqs, length, padding)
    parts = [_k_mers_of(*block, k) for block in blocks(seqs)]
    tokens, counts = (np.concatenate(p) for p in zip(*parts, strict=True))
    ids, lengths = padded_rows(tokens, counts, pad=0, size=4**k + 5, first=2, last=3)

    def widths() -> Array:
        column = np.arange(ids.shape[1])
        bp = ((column >= 1) & (column <= counts[:, None])).astype(np.int32)
        bp[np.arange(len(bp)), counts] += seqs.lengths - counts
        return bp

    return Encoded(ids, lengths, widths)


def _k_mers_of(codes: Array, offsets: Array, k: int) -> tuple[Array, Array]:
    """As `_six_mers_of`."""
    lengths, ranks, unknown = np.diff(offsets), _ATCG[codes], 1
    tokens = np.full(len(codes), unknown, np.int16)
    n = max(len(codes) - k + 1, 0)
    tokens[:n] = 5 + _ranked(ranks[j : j + n] for j in range(k))
    any_base = np.flatnonzero(codes == ANY_BASE)
    keep = np.ones(len(codes), bool)
    for j in range(k):
        tokens[any_base[any_base >= j] - j] = unknown
        if j:  # no k-mer begins at the last k - 1 bases of a row, except at its first base
            keep[offsets[1:][lengths > j] - j] = False
    tokens[offsets[:-1][(lengths > 0) & (lengths < k)]] = unknown
    counts = np.where(lengths < k, np.minimum(lengths, 1), lengths - k + 1)
    return tokens[keep], counts


def _ranked(letters: Iterator[Array]) -> Array:
    """The rank of each k-mer, from the ranks of its letters, first to last."""
    return functools.reduce(lambda place, rank: place * np.int16(4) + rank, letters)


def check(name: str, seqs: Sequences, length: int, padding: Padding) -> None:
    """Raise ValueError for a sequence longer than `length`, or padding other than "mask"."""
    _check_length(seqs, length)
    if padding != "mask":
        raise ValueError(
            f"padding={padding!r} is defined for the tokenizer char only, not for {name}; "
            "use padding='mask'"
        )


def _check_length(seqs: Sequences, length: int) -> None:
    longest = int(seqs.lengths.max(initial=0))
    if longest > length:
        raise ValueError(f"a sequence has {longest} bp, the task at most {length}")


def blocks(seqs: Sequences) -> Iterator[tuple[Array, Array]]:
    """Codes and offsets of the rows in blocks of about `BLOCK` bp; at least one block."""
    starts = np.searchsorted(seqs.offsets, np.arange(0, len(seqs.codes), BLOCK))
    edges = np.unique(np.concatenate([[0], starts, [len(seqs)]]))
    for a, b in pairwise(edges if len(edges) > 1 else [0, 0]):
        offsets = seqs.offsets[a : b + 1]
        yield seqs.codes[offsets[0] : offsets[-1]], offsets - offsets[0]


def padded_rows(
    tokens: Array, counts: Array, pad: int, size: int,
    first: int | None = None, last: int | None = None,
) -> tuple[Array, Array | None]:  # fmt: skip
    """Ids and lengths as in `Encoded`: one row per sequence, padded on the right.

    Args:
        tokens: of all rows, one row after the other.
        counts: int64 (N,), the number in each row.
        pad: id of padding.
        size: entries of the vocabulary; decides the type.
        first: id put before each row's tokens; None = none.
        last: id put after them; None = none.
    """
    longest = int(counts.max(initial=0))
    lead, tail = int(first is not None), int(last is not None)
    kind = np.uint8 if size <= 256 else np.int16 if size <= 2**15 else np.int32
    ids = np.full((len(counts), lead + longest + tail), pad, kind)
    body = ids[:, lead : lead + longest]
    full = bool((counts == longest).all())
    if full:
        body[:] = tokens.reshape(body.shape)
    else:
        body[np.arange(longest) < counts[:, None]] = tokens
    ids[:, :lead] = first or 0
    if last is not None:
        ids[np.arange(len(ids)), lead + counts] = last
    return ids, None if full else counts + lead + tail


def _in_order(specials: tuple[str, ...], k: int, letters: str = "") -> dict[str, int]:
    """A vocabulary: special tokens, all k-mers in A T C G order, single letters."""
    words = ("".join(word) for word in itertools.product("ATCG", repeat=k))
    return {word: i for i, word in enumerate((*specials, *words, *letters))}


def _six_mers_file() -> str:
    vocabulary = _in_order(("<unk>", "<pad>", "<mask>", "<cls>"), 6, "ATCGN")
    return words_file(vocabulary, "[ACGT]{6}|.", "<unk>", first="<cls>")


def _k_mers_file(k: int) -> str:
    vocabulary = _in_order(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), k)
    return spaced_words_file(vocabulary, "[UNK]", first="[CLS]", last="[SEP]")


def _letters_file() -> str:
    vocabulary = {letter: i for i, letter in enumerate("ACGTN")}
    vocabulary |= {"[PAD]": PAD, "[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}
    return words_file(vocabulary, ".", "N", first="[CLS]", last="[SEP]")


LETTERLESS = (PAD, CLS, SEP, MASK)
TOKENIZERS = {
    t.name: t
    for t in (
        Tokenizer("char", 8, PAD, char, mask=MASK, specials=LETTERLESS),
        Tokenizer("char-sep", 8, PAD, _char_sep, end=SEP, mask=MASK, specials=LETTERLESS),
        Tokenizer(
            "char-cls-sep", 8, PAD, functools.partial(_char_sep, first=CLS), end=SEP,
            published=_letters_file, mask=MASK, specials=LETTERLESS,
        ),
        Tokenizer(
            "6mer", 4107, 1, functools.partial(_six_mers, specials=6), mask=2,
            specials=tuple(range(6)),
        ),
        Tokenizer(
            "6mer-v1", 4105, 1, functools.partial(_six_mers, specials=4),
            published=_six_mers_file, mask=2, specials=tuple(range(4)),
        ),
        *(
            Tokenizer(
                f"kmer{k}", 4**k + 5, 0, functools.partial(_k_mers, k=k), end=3,
                published=functools.partial(_k_mers_file, k), spaced=k, mask=4,
                specials=tuple(range(5)),
            )
            for k in (3, 4, 5, 6)
        ),
    )
}  # fmt: skip


def check_vocabulary(model: Model, options: Mapping[str, Any]) -> None:
    """ValueError for a number of entries without effect, or too small for a tokenizer by name."""
    default, tokenizer = model.options.get("vocabulary"), named_tokenizer(model, options)
    if default is None or tokenizer is None:
        return
    entries = int(options["vocabulary"])
    if model.tokenizer != "bpe" and entries != default:
        raise ValueError(f"vocabulary={entries} does nothing without tokenizer=bpe")
    if model.tokenizer == "bpe" and entries < tokenizer.rows:
        raise ValueError(
            f"vocabulary={entries} is too small: {model.name} has an embedding of so many rows, "
            f"and {tokenizer.name} needs {tokenizer.rows}; write --set vocabulary={tokenizer.rows}"
        )


def named_tokenizer(model: Model, options: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a model, if its name says all: none that is learned or read from a file."""
    return TOKENIZERS.get(model.tokenizer_name(options))
