"""Tokenizers against published ids, transformers and a slow reference of one sequence at a time."""

import itertools
import re

import numpy as np
import pytest

from dnabench import Sequences
from dnabench.tokens.tokenizers import TOKENIZERS, Encoded, padded_rows
from dnabench.train.batches import Resident

KMERS = ["kmer3", "kmer4", "kmer5", "kmer6"]
EDGES = [
    "A", "N", "", "ACG", "AAAAAA", "ACGTACG", "NNNNNN", "ACGTAN", "NACGTAC", "AAAANAAAAAAA",
    "ACGTACNACGTACG", "A" * 23 + "N", "ACGTN" * 5,
]  # fmt: skip


def random_words(seed, n=60, longest=40, share=0.05):
    rng = np.random.default_rng(seed)
    p = [(1 - share) / 4] * 4 + [share]
    return ["".join(rng.choice(list("ACGTN"), rng.integers(0, longest), p=p)) for _ in range(n)]


def words_of(k):
    return ["".join(w) for w in itertools.product("ATCG", repeat=k)]


NT_V2 = ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *words_of(6), *"ATCGN"]
VOCABULARIES = {
    "char": [*list("ACGTN"), "[PAD]", "[CLS]", "[SEP]"],
    "6mer": NT_V2,
    "6mer-v1": NT_V2[:4] + NT_V2[6:],
    **{n: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words_of(int(n[4]))] for n in KMERS},
}
VOCABULARIES |= {"char-sep": VOCABULARIES["char"], "char-cls-sep": VOCABULARIES["char"]}


def slow(name, word):
    """Tokens of one sequence and the bp of each, by the rules as docs/models.md words them."""
    if name.startswith("char"):
        pieces = list(word)
    elif name.startswith("6mer"):
        pieces = [p for s in re.split("(N)", word) for p in re.findall("[ACGTN]{6}|[ACGTN]", s)]
    else:
        k = int(name[4])
        pieces = [word[i : i + k] for i in range(len(word) - k + 1)] or [word] * bool(word)
    tokens = [p if p in VOCABULARIES[name] else "[UNK]" for p in pieces]
    bp = [len(p) for p in pieces]
    if name in KMERS:
        bp = [1] * (len(pieces) - 1) + [len(word) - len(pieces) + 1] * bool(pieces)
    before = {"char-cls-sep": ["[CLS]"], "6mer": ["<cls>"], "6mer-v1": ["<cls>"]}
    before |= {key: ["[CLS]"] for key in KMERS}
    after = {key: ["[SEP]"] for key in ["char-sep", "char-cls-sep", *KMERS]}
    first, last = before.get(name, []), after.get(name, [])
    return [*first, *tokens, *last], [*[0 for _ in first], *bp, *[0 for _ in last]]


def widths_of(encoded):
    """Widths with None written out."""
    if encoded.widths is not None:
        return encoded.widths
    n, width = encoded.ids.shape
    lengths = np.full(n, width) if encoded.lengths is None else encoded.lengths
    return (np.arange(width) < lengths[:, None]).astype(np.int32)


def assert_whole(encoded, seqs, tokenizer):
    """What every encoding must satisfy, whatever the rule."""
    n, width = encoded.ids.shape
    lengths = np.full(n, width) if encoded.lengths is None else encoded.lengths
    widths = widths_of(encoded)
    assert widths.dtype == np.int32 and widths.shape == encoded.ids.shape
    np.testing.assert_array_equal(widths.sum(1), seqs.lengths)
    assert encoded.ids.dtype == (np.uint8 if tokenizer.size <= 256 else np.int16)
    assert encoded.ids.max(initial=0) < tokenizer.size and encoded.ids.min(initial=0) >= 0
    beyond = np.arange(width) >= lengths[:, None]
    np.testing.assert_array_equal(encoded.ids == tokenizer.pad, beyond)
    assert not widths[beyond].any()
    assert n == len(seqs) and (not n or width == lengths.max())
    assert encoded.lengths is None or (encoded.lengths.dtype == np.int64 and beyond.any())


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_and_widths_are_those_of_the_slow_reference(name, block, monkeypatch):
    monkeypatch.setattr("dnabench.tokens.tokenizers.BLOCK", block)
    words = EDGES + random_words(1) + random_words(2, share=0.0) + random_words(3, share=0.6)
    seqs, tokenizer = Sequences.parse(words), TOKENIZERS[name]
    encoded = tokenizer(seqs, 60, "mask")
    assert_whole(encoded, seqs, tokenizer)
    vocabulary, widths = VOCABULARIES[name], widths_of(encoded)
    for i, word in enumerate(words):
        tokens, bp = slow(name, word)
        assert encoded.lengths[i] == len(tokens), word
        assert [vocabulary[t] for t in encoded.ids[i, : len(tokens)]] == tokens
        assert widths[i, : len(tokens)].tolist() == bp


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("words", [[], [""], ["", ""], ["A"], ["N"], ["A", "C"]], ids=str)
def test_next_to_nothing_is_encoded_too(name, words):
    seqs, tokenizer = Sequences.parse(words), TOKENIZERS[name]
    encoded = tokenizer(seqs, 1, "mask")
    assert_whole(encoded, seqs, tokenizer)
    assert encoded.lengths is None


@pytest.mark.parametrize("name", TOKENIZERS)
def test_sizes_and_padding_are_the_authors(name):
    tokenizer, vocabulary = TOKENIZERS[name], VOCABULARIES[name]
    assert (tokenizer.name, tokenizer.size) == (name, len(vocabulary))
    assert vocabulary[tokenizer.pad] in ("[PAD]", "<pad>")
    sizes = {"char": 8, "6mer": 4107, "6mer-v1": 4105, "kmer3": 69, "kmer6": 4101}
    assert sizes.get(name, tokenizer.size) == tokenizer.size


def test_character_ids():
    seqs = Sequences.parse(["ACGTN", "T"])
    assert TOKENIZERS["char"](seqs, 5, "mask").ids.tolist() == [[0, 1, 2, 3, 4], [3, 5, 5, 5, 5]]
    with_sep = TOKENIZERS["char-sep"](seqs, 5, "mask")
    assert with_sep.ids.tolist() == [[0, 1, 2, 3, 4, 7], [3, 7, 5, 5, 5, 5]]
    both = TOKENIZERS["char-cls-sep"](seqs, 5, "mask")
    assert both.ids.tolist() == [[6, 0, 1, 2, 3, 4, 7], [6, 3, 7, 5, 5, 5, 5]]
    assert both.lengths.tolist() == [7, 3]


def test_filling_with_n_on_the_left_stands_for_no_base():
    encoded = TOKENIZERS["char"](Sequences.parse(["ACG", "T", ""]), 3, "left-n")
    assert encoded.widths.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]] and encoded.lengths is None
    assert TOKENIZERS["char"](Sequences.parse(["ACG"]), 3, "left-n").widths is None


def test_nucleotide_transformers_vocabulary_file_has_the_published_size():
    """28.7 kB on the hub; first and last 6-mers in the order A T C G."""
    assert len("\n".join(NT_V2).encode()) == 28_718 and len(NT_V2) == 4107
    ids = TOKENIZERS["6mer"](
        Sequences.parse(["AAAAAA", "AAAAAT", "AAAAAC", "GGGGGG"]), 6, "mask"
    ).ids
    assert ids.tolist() == [[3, 6], [3, 7], [3, 8], [3, 4101]]
    v1 = TOKENIZERS["6mer-v1"](Sequences.parse(["AAAAAAATCGN"]), 11, "mask").ids
    assert v1.tolist() == [[3, 4, 4100, 4101, 4102, 4103, 4104]]


@pytest.mark.parametrize("name", ["6mer", "6mer-v1"])
def test_six_mers_agree_with_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(VOCABULARIES[name]))
    theirs = transformers.EsmTokenizer(str(file), eos_token=None)
    words = [w for w in EDGES + random_words(4) if w]
    encoded = TOKENIZERS[name](Sequences.parse(words), 60, "mask")
    for i, word in enumerate(words):
        assert encoded.ids[i, : encoded.lengths[i]].tolist() == theirs(word)["input_ids"], word


def test_dnabert_k_mers_are_in_the_order_of_their_vocabulary_file():
    """[PAD] [UNK] [CLS] [SEP] [MASK] AAA AAT AAC AAG ATA: ids 0 to 9."""
    ids = TOKENIZERS["kmer3"](Sequences.parse(["AAATA", "GGG", "ANAAA", "AC"]), 5, "mask").ids
    assert ids.tolist() == [[2, 5, 6, 9, 3], [2, 68, 3, 0, 0], [2, 1, 1, 5, 3], [2, 1, 3, 0, 0]]


@pytest.mark.parametrize("name", [n for n in TOKENIZERS if n != "char"])
def test_filling_with_n_is_for_characters_only(name):
    with pytest.raises(ValueError, match=f"padding='left-n' is defined for .* char only.* {name};"):
        TOKENIZERS[name](Sequences.parse(["ACGTACGT"]), 8, "left-n")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_sequence_longer_than_the_task_is_refused(name):
    with pytest.raises(ValueError, match="a sequence has 8 bp, the task at most 7"):
        TOKENIZERS[name](Sequences.parse(["ACGTACGT", "A"]), 7, "mask")


def test_widths_are_not_computed_before_they_are_asked_for():
    calls = []
    encoded = Encoded(np.zeros((1, 1), np.uint8), None, lambda: calls.append(1) or np.ones((1, 1)))
    assert not calls
    assert encoded.widths is encoded.widths and calls == [1]


@pytest.mark.parametrize(
    ("size", "kind"),
    [(256, np.uint8), (257, np.int16), (2**15, np.int16), (2**15 + 1, np.int32)],
)
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(size, kind):
    ids, lengths = padded_rows(np.array([size - 1, 1, 0]), np.array([1, 2]), pad=2, size=size)
    assert ids.dtype == kind and ids.tolist() == [[size - 1, 2], [1, 0]]
    assert lengths.tolist() == [1, 2]


def test_a_batch_is_as_wide_as_its_longest_row():
    seqs = Sequences.parse(["ACG", "ACGTACGTA", "ACGTA"])
    data = Resident([TOKENIZERS["char"](seqs, 9, "mask")], "cpu", pad=5)
    assert data.batch(data.rows(np.array([0, 2]))).ids.shape == (2, 5)
    data.whole = True
    assert data.batch(data.rows(np.array([0, 2]))).ids.shape == (2, 9)
    full = Resident([TOKENIZERS["char"](seqs.take(np.array([1, 1])), 9, "mask")], "cpu", pad=5)
    assert full.batch(full.rows(np.array([0]))).ids.shape == (1, 9)
    assert full.batch(full.rows(np.array([0]))).mask is None
