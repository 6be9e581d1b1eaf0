"""Byte-pair tokenizers: read from a tokenizer.json, or learned from sequences.

N examples, T tokens of the longest.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import replacing
from dnabench.registry import explain_miss
from dnabench.sequences import letters_of
from dnabench.tokens import tokenizers
from dnabench.tokens.engines import file_with_gaps
from dnabench.tokens.learning import SPECIALS, fasta, learned, library, with_breaks
from dnabench.tokens.tokenizers import TOKENIZERS, Encoded, Padding, Tokenizer
from dnabench.types import Array, Sequences

_GAP = re.compile("N{10,}")  # GENA-LM writes such a run as "-"


def tokenizer_named(
    name: str, *, vocabulary: int = 0, train: Sequences | None = None, file: Path | None = None
) -> Tokenizer:
    """A tokenizer by name: a key of TOKENIZERS, or "bpe".

    "bpe" is read from `file`, a tokenizer.json, or learned from the sequences `train`; `vocabulary`
    is the number of entries to learn, or the most that the file may have; 0 = as many as it has.

    Raises:
        KeyError: an unknown name; the message suggests one.
        ValueError: "bpe" with neither file nor sequences, or a file with more entries than
            `vocabulary`; also as `bpe_from_file` and `train_bpe`.
    """
    if name in TOKENIZERS:
        return TOKENIZERS[name]
    known = [*TOKENIZERS, "bpe"]
    if name != "bpe":
        raise KeyError(explain_miss("tokenizer", name, known, f"there are {', '.join(known)}"))
    if file is not None:
        tokenizer = bpe_from_file(file)
        if 0 < vocabulary < tokenizer.size:
            raise ValueError(
                f"{file} has {tokenizer.size} entries, the model room for {vocabulary}; "
                f"write --set vocabulary={tokenizer.size}"
            )
        return tokenizer
    if train is None:
        raise ValueError(
            "the tokenizer bpe needs a tokenizer.json (--set tokenizer=bpe:PATH) or training "
            "sequences to learn one from"
        )
    return train_bpe(train, vocabulary)


def bpe_from_file(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json, as written by DNABERT-2, GENA-LM and `save`.

    Special tokens are added as the file says; its truncation, padding and dropout are turned off.
    If "-" is in the vocabulary, a run of ten or more N is read as "-".

    Raises:
        OSError: when the file cannot be read.
        ValueError: when it is not a tokenizer.json, has no padding token, or does not know
            upper-case A, C, G and T.

    Source:
        docs/models.md#tokens-of-dnabert-2; AIRI-Institute/GENA_LM for "-".
    """
    data = Path(path).read_bytes()
    with _refused(f"{path} is not a tokenizer.json"):
        engine = library().Tokenizer.from_str(data.decode())
    kind = type(engine.model).__name__
    if kind != "BPE":
        raise ValueError(
            f"{path}: its model is {kind}, not BPE: whole sequences would be one unknown token; "
            "give the tokenizer.json of a BPE model"
        )
    with _refused(str(path)):
        return _tokenizer(engine)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """ValueError for whatever the library raises: Exception itself, or a panic, which is none."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError, SystemExit):
        raise
    except BaseException as e:
        raise ValueError(f"{what}: {e}") from e


def train_bpe(seqs: Sequences, vocabulary: int) -> Tokenizer:
    """Learn byte-pair tokens from sequences.

    The most frequent pair of neighbours becomes a token, until there are `vocabulary` entries or
    no pair occurs twice. Sequences are read in words of 512 bp, and N ends a word. From more than
    16.8 Mbp an even sample of words is used.

    The tokenizer has at most that many entries, [UNK]0 [CLS]1 [SEP]2 [PAD]3 [MASK]4 A5 C6 G7 T8
    among them; it is the same for any number of threads.

    Raises:
        ValueError: `vocabulary` is below 9, or no sequence has two known bases in a row.

    Source:
        Sennrich et al. 2016 (byte-pair encoding); specials and template as DNABERT-2,
        docs/models.md#tokens-of-dnabert-2. Ours: words, sample and the pair that must occur twice.
    """
    return _tokenizer(learned(with_breaks(seqs), vocabulary))


def train_from_files(
    paths: Iterable[Path], vocabulary: int, progress: Callable[[int], object] | None = None
) -> Tokenizer:
    """`train_bpe` on FASTA files, plain or .gz, read one megabyte at a time.

    `progress` is called for every megabyte with the bp read so far.

    Raises:
        OSError: when a file cannot be read.
        ValueError: as `train_bpe`; when a file is not FASTA or has a letter that is not DNA, with
            its line.
    """

    def pieces() -> Iterator[Array]:
        done = 0
        for path in paths:
            for codes in fasta(Path(path)):
                yield codes
                done += len(codes)
                if progress is not None:
                    progress(done)

    return _tokenizer(learned(pieces(), vocabulary))


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write a byte-pair tokenizer as tokenizer.json, whole or not at all.

    ValueError for a tokenizer of another kind, OSError when the file cannot be written.
    """
    if tokenizer.text is None:
        raise ValueError(f"the tokenizer {tokenizer.name} needs no file; use its name")
    with replacing(Path(path)) as file:
        file.write(tokenizer.text().encode())


class _Encoder:
    """Turns sequences into ids: the library's engine, and the bp of each of its tokens.

    Raises:
        ValueError: as `bpe_from_file`, without the path.
    """

    def __init__(self, engine: Any, gap: bool = True, pad: int | None = None) -> None:
        vocabulary: dict[str, int] = engine.get_vocab(with_added_tokens=True)
        self.engine, self.size = engine, max(vocabulary.values(), default=-1) + 1
        self.pad = _padding_id(engine, vocabulary) if pad is None else pad
        engine.no_truncation()
        engine.no_padding()
        if getattr(engine.model, "dropout", None):
            engine.model.dropout = None
        unknown = vocabulary.get(str(getattr(engine.model, "unk_token", None)))
        _check_letters(engine, unknown)
        self.unknown = -1 if unknown is None else unknown
        self._gap = gap and "-" in vocabulary
        self._bp = np.zeros(self.size, np.int32)  # of each id; 0 also if its text does not show it
        for token, i in vocabulary.items():
            if set(token) <= set("ACGTN"):
                self._bp[i] = len(token)
        if unknown is not None and getattr(engine.model, "fuse_unk", True) is False:
            self._bp[unknown] = 1

    def __call__(self, seqs: Sequences, length: int, padding: Padding) -> Encoded:
        """As `tokenizers.char`, with padding "mask" only; special tokens as in the file."""
        tokenizers.check("bpe", seqs, length, padding)
        rows = list[Array]()
        for block in tokenizers.blocks(seqs):
            texts = self._texts(Sequences(*block))
            rows += [np.array(e.ids, np.int32) for e in self.engine.encode_batch_fast(texts)]
        tokens = np.concatenate([np.empty(0, np.int32), *rows])
        counts = np.array([len(row) for row in rows], np.int64)
        ids, lengths = tokenizers.padded_rows(tokens, counts, self.pad, self.size)
        return Encoded(ids, lengths, lambda: self._widths(ids, seqs))

    def published(self) -> str:
        """The tokenizer.json, with what is done to long runs of N here."""
        text: str = self.engine.to_str(pretty=True)
        return file_with_gaps(text, _GAP.pattern, "-") if self._gap else text

    def _texts(self, seqs: Sequences) -> list[str]:
        text, edges = letters_of(seqs.codes), seqs.offsets.tolist()
        texts = [text[a:b] for a, b in pairwise(edges)]
        if self._gap:
            texts = [_GAP.sub("-", t) if "NNNNNNNNNN" in t else t for t in texts]
        return texts

    def _widths(self, ids: Array, seqs: Sequences) -> Array:
        """From the tokens' lengths, or from their offsets where the lengths are not enough."""
        bp: Array = self._bp[ids]
        unclear = np.flatnonzero(bp.sum(axis=1) != seqs.lengths)
        for some in np.array_split(unclear, len(unclear) // 4096 + 1):
            part = seqs.take(some)
            texts = self._texts(part)
            for i, encoding in enumerate(self.engine.encode_batch(texts)):
                own = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
                bp[some[i], own] = _spans(encoding, own, texts[i], part[i])
        return bp


def _spans(encoding: Any, own: Array, text: str, sequence: str) -> Array:
    """Bp from the start of each token to the start of the next."""
    if not len(own):
        return own
    bp = np.ones(len(text) + 1, np.int64)  # of each character of the text
    gaps = np.flatnonzero(np.frombuffer(text.encode(), np.uint8) == ord("-"))
    if len(gaps):
        bp[gaps] = [len(run) for run in _GAP.findall(sequence)]
    begins = np.cumsum(bp) - bp
    edges = begins[np.array(encoding.offsets)[own, 0]]
    edges[0] = 0  # where the file has letters deleted
    return np.diff(np.append(edges, len(sequence)))


def tokenizer_of_engine(engine: Any, name: str, pad: int) -> Tokenizer:
    """A tokenizer of the library `tokenizers`, whatever its model; `pad` is the id of padding.

    Its unknown token is known, its special ones and that of a hidden token.

    ValueError as `bpe_from_file`, without the path.
    """
    encoder = _Encoder(engine, gap=False, pad=pad)
    return _made(encoder, name, unknown=encoder.unknown)


def _tokenizer(engine: Any) -> Tokenizer:
    return _made(_Encoder(engine), "bpe", functools.partial(engine.to_str, pretty=True))


def _made(
    encoder: _Encoder, name: str, text: Callable[[], str] | None = None, unknown: int = -1
) -> Tokenizer:  # fmt: skip
    engine = encoder.engine
    one = engine.encode("A")
    return Tokenizer(
        name, encoder.size, encoder.pad, encoder, text,
        end=one.ids[-1] if one.special_tokens_mask[-1] else None, unknown=unknown, by_letters=True,
        published=encoder.published, mask=hidden_id(engine.get_vocab()),
        specials=special_ids(engine),
    )  # fmt: skip


def special_ids(engine: Any) -> tuple[int, ...]:
    """Of the tokens that stand for no bases."""
    vocabulary, added = engine.get_vocab(), engine.get_added_tokens_decoder()
    named = {vocabulary[name] for name in SPECIALS if name in vocabulary}
    return tuple(sorted(named | {i for i, token in added.items() if token.special}))


def hidden_id(vocabulary: Mapping[str, int]) -> int:
    """Of [MASK]; -1 without one."""
    return vocabulary.get("[MASK]", vocabulary.get("<mask>", -1))


def _padding_id(engine: Any, vocabulary: dict[str, int]) -> int:
    if engine.padding:
        return int(engine.padding["pad_id"])
    for token in ("[PAD]", "<pad>"):
        if token in vocabulary:
            return vocabulary[token]
    raise ValueError(
        "it has no padding token, neither [PAD] nor <pad>: add one to its special tokens"
    )


def _check_letters(engine: Any, unknown: int | None) -> None:
    for letter in "ACGTN":
        ids = engine.encode(letter, add_special_tokens=False).ids
        if not ids or (letter != "N" and unknown in ids):
            raise ValueError(
                f"it has no token for the letter {letter}; "
                "sequences here are upper-case A, C, G, T and N"
            )
