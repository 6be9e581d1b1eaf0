"""Tokenizers against published ids, transformers and a slow reference of one sequence at a time."""

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnabench import Sequences
from dnabench.tokens import bpe
from dnabench.tokens.bpe import bpe_from_file, save, tokenizer_named, train_bpe, train_from_files
from dnabench.tokens.tokenizers import TOKENIZERS, Encoded, Tokenizer, padded_rows
from dnabench.train.batches import Resident

DNABERT2 = Path(__file__).parents[2] / "shared/data/tokenizers/dnabert2-tokenizer.json"
needs_dnabert2 = pytest.mark.skipif(not DNABERT2.exists(), reason=f"no {DNABERT2}")
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


# Byte pairs.


@needs_dnabert2
def test_dnabert2_gives_the_ids_of_its_published_example():
    """MAGICS-LAB/DNABERT_2 README; the file asks for truncation, which is turned off."""
    word = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
    tokenizer = bpe_from_file(DNABERT2)
    assert (tokenizer.name, tokenizer.size, tokenizer.pad) == ("bpe", 4096, 3)
    seqs = Sequences.parse([word])
    encoded = tokenizer(seqs, len(word), "mask")
    assert encoded.ids.tolist() == [
        [1, 5, 194, 32, 757, 1239, 2092, 294, 24, 359, 88, 93, 32, 75, 77, 19, 2]
    ]
    assert_whole(encoded, seqs, tokenizer)
    long = Sequences.parse([word * 100])
    assert tokenizer(long, 10_000, "mask").ids.shape[1] > 636 + 2


@needs_dnabert2
def test_dnabert2_reads_each_n_as_unknown():
    seqs = Sequences.parse(["ACGNNNNTACGTNNNNNNNNNNNNAN", "N", "ACGT"])
    encoded = bpe_from_file(DNABERT2)(seqs, 26, "mask")
    assert_whole(encoded, seqs, bpe_from_file(DNABERT2))
    assert (encoded.ids[0] == 0).sum() == 4 + 12 + 1 and encoded.ids[1, :3].tolist() == [1, 0, 2]
    assert encoded.widths[0, encoded.ids[0] == 0].tolist() == [1] * 17


@needs_dnabert2
def test_dnabert2_widths_are_the_lengths_of_its_tokens():
    words = random_words(5, longest=200, share=0.01)
    seqs, tokenizer = Sequences.parse(words), bpe_from_file(DNABERT2)
    token = {i: t for t, i in json.loads(DNABERT2.read_text())["model"]["vocab"].items()}
    encoded = tokenizer(seqs, 200, "mask")
    assert_whole(encoded, seqs, tokenizer)
    for row, widths, word in zip(encoded.ids, encoded.widths, words, strict=True):
        edges = np.cumsum(widths) - widths
        for i, start, width in zip(row, edges, widths, strict=True):
            if width:
                assert word[start : start + width].replace("N", "[UNK]") == token[i]


def gena_like(path, **changes):
    """A file with the parts of GENA-LM's t2t_1000h_multi_32k/tokenizer.json and few tokens."""
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "-"]
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    vocabulary = [*names, *"ACGNT", "AA", "TT", "AATT", "NN"]
    replace = {"type": "Replace", "pattern": {"Regex": "N{10,}"}, "content": "-"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    split = {"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": False}
    merges = ["A A", "T T", "AA TT", "N N"]
    model = {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "fuse_unk": False}
    model |= {"continuing_subword_prefix": None, "end_of_word_suffix": None, "merges": merges}
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": t, "special": True, **flags} for i, t in enumerate(names)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [strip, replace]},
        "pre_tokenizer": split,
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "decoder": None,
        "model": model | {"vocab": {t: i for i, t in enumerate(vocabulary)}},
    }  # fmt: skip
    for key, value in changes.items():
        part = content if key in content else content["model"]
        part[key] = value
    path.write_text(json.dumps(content))
    return path


def test_gena_reads_long_runs_of_n_as_one_gap(tmp_path):
    pytest.importorskip("tokenizers")
    tokenizer = bpe_from_file(gena_like(tmp_path / "tokenizer.json"))
    words = ["N" * 10 + "AATT" + "N" * 9 + "AA" + "N" * 25, "N" * 12, "ACGTN", "AATTAATT"]
    seqs = Sequences.parse(words)
    encoded = tokenizer(seqs, 50, "mask")
    assert_whole(encoded, seqs, tokenizer)
    gap, n, nn, aa, aatt = 5, 9, 14, 11, 13
    row = [1, gap, aatt, nn, nn, nn, nn, n, aa, gap, 2]
    assert encoded.ids[0].tolist() == row
    assert encoded.widths[0].tolist() == [0, 10, 4, 2, 2, 2, 2, 1, 2, 25, 0]
    assert encoded.ids[1].tolist() == [1, gap, 2] + [3] * 8 and encoded.widths[1, 1] == 12


def test_merged_unknowns_and_other_spellings_have_the_widths_of_their_offsets(tmp_path):
    """A run of N that becomes one [UNK], and a first token that begins with a space."""
    pytest.importorskip("tokenizers")
    small = {t: i for i, t in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", *"ACGT", "AC"])}
    changes = {"vocab": small, "merges": ["A C"], "fuse_unk": True, "added_tokens": []}
    file = gena_like(tmp_path / "a.json", normalizer=None, pre_tokenizer=None, **changes)
    seqs = Sequences.parse(["ACNNNNGAC", "ACAC", "NNN", "TNNTN"])
    encoded = bpe_from_file(file)(seqs, 9, "mask")
    assert_whole(encoded, seqs, bpe_from_file(file))
    assert encoded.widths[0].tolist() == [0, 2, 4, 1, 2, 0]
    assert encoded.widths[3].tolist() == [0, 1, 2, 1, 1, 0]

    prefix = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    }
    spaced = {**small, "Ġ": len(small), "ĠAC": len(small) + 1}
    changes |= {"vocab": spaced, "merges": ["A C", "Ġ AC"]}
    file = gena_like(tmp_path / "b.json", normalizer=None, pre_tokenizer=prefix, **changes)
    encoded = bpe_from_file(file)(seqs, 9, "mask")
    assert_whole(encoded, seqs, bpe_from_file(file))
    assert encoded.widths[1, 1:3].tolist() == [2, 2]


def test_deleted_letters_belong_to_their_neighbours(tmp_path):
    pytest.importorskip("tokenizers")
    delete = {"type": "Replace", "pattern": {"String": "GG"}, "content": ""}
    tokenizer = bpe_from_file(gena_like(tmp_path / "a.json", normalizer=delete))
    encoded = tokenizer(Sequences.parse(["GGAATTGGC", "GGGG", "AA"]), 9, "mask")
    assert encoded.ids.tolist() == [[1, 13, 7, 2], [1, 2, 3, 3], [1, 11, 2, 3]]
    assert encoded.widths[0].tolist() == [0, 8, 1, 0]


def test_padding_stored_in_a_file_gives_its_id_and_is_turned_off(tmp_path):
    pytest.importorskip("tokenizers")
    padding = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 8}
    padding |= {"pad_id": 4, "pad_type_id": 0, "pad_token": "[MASK]"}
    tokenizer = bpe_from_file(gena_like(tmp_path / "a.json", padding=padding))
    encoded = tokenizer(Sequences.parse(["ACG", "A"]), 3, "mask")
    assert encoded.ids.tolist() == [[1, 6, 7, 8, 2], [1, 6, 2, 4, 4]]
    assert encoded.lengths.tolist() == [5, 3]


def test_dropout_stored_in_a_file_is_turned_off(tmp_path):
    pytest.importorskip("tokenizers")
    words = random_words(6, share=0)
    seqs = Sequences.parse(words)
    plain = bpe_from_file(gena_like(tmp_path / "a.json"))(seqs, 40, "mask")
    dropping = bpe_from_file(gena_like(tmp_path / "b.json", dropout=0.9))(seqs, 40, "mask")
    np.testing.assert_array_equal(plain.ids, dropping.ids)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"vocab": {"[UNK]": 0, "[PAD]": 1, "C": 2, "G": 3, "T": 4}, "merges": []}, "the letter A;"),
     ({"unk_token": None, "vocab": {"[PAD]": 0, "A": 1, "C": 2, "G": 3, "T": 4}, "merges": [],
       "added_tokens": []}, "the letter N;"),
     ({"vocab": {c: i for i, c in enumerate(["[UNK]", *"ACGTN"])}, "merges": [],
       "added_tokens": []}, "no padding token"),
     ({"model": {"type": "nonsense"}}, "not a tokenizer.json")],
    ids=["letter", "dropped", "padding", "model"],
)  # fmt: skip
def test_a_file_that_cannot_serve_is_named_with_the_reason(change, why, tmp_path):
    pytest.importorskip("tokenizers")
    file = gena_like(tmp_path / "mine.json", post_processor=None, **change)
    with pytest.raises(ValueError, match=f"mine.json.*{why}"):
        bpe_from_file(file)


@pytest.mark.parametrize("content", [b"", b"{}", b"[PAD]\nA\n", b"\xff\xfe", b'{"model": 1}'])
def test_a_file_of_something_else_is_named(content, tmp_path):
    pytest.importorskip("tokenizers")
    file = tmp_path / "other.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"other.json is not a tokenizer.json: \S"):
        bpe_from_file(file)
    with pytest.raises(FileNotFoundError, match=r"nowhere.json"):
        bpe_from_file(tmp_path / "nowhere.json")


def repeats(n=40, seed=7):
    """Random bases with a motif in each, so that there is something to learn."""
    return [w + "GATTACA" * 2 + v for w, v in itertools.pairwise(random_words(seed, n + 1, 60))]


def test_training_learns_the_most_frequent_pairs_first():
    pytest.importorskip("tokenizers")
    tokenizer = train_bpe(Sequences.parse(["ACACACAC", "ACG", "TNTAC"]), 11)
    vocabulary = tokenizer.encode.engine.get_vocab()
    assert sorted(vocabulary, key=vocabulary.get) == [*bpe.SPECIALS, *"ACGT", "AC", "ACAC"]
    assert (tokenizer.size, tokenizer.pad) == (11, 3)
    seqs = Sequences.parse(["ACACTNAC"])
    encoded = tokenizer(seqs, 8, "mask")
    assert encoded.ids.tolist() == [[1, 10, 8, 0, 9, 2]]
    assert encoded.widths.tolist() == [[0, 4, 1, 1, 2, 0]]


def test_training_stops_where_no_pair_occurs_twice():
    pytest.importorskip("tokenizers")
    assert train_bpe(Sequences.parse(["ACGT"]), 4096).size == 9


def test_n_and_the_ends_of_sequences_part_words(monkeypatch):
    monkeypatch.setattr(bpe, "WORD", 4)
    seqs = Sequences.parse(["ACGTACGTAC", "", "GG", "NNTTNTNA", "CCCCC"])
    assert list(bpe._words(bpe._with_breaks(seqs))) == ["ACGT", "ACGT", "AC", "GG", "TT", "CCCC"]


def test_words_do_not_depend_on_the_pieces_read(monkeypatch):
    monkeypatch.setattr(bpe, "WORD", 8)
    codes = Sequences.parse(["N".join(random_words(8, share=0.02, longest=90))]).codes
    whole = list(bpe._words([codes]))
    assert len(whole) > 100 and max(map(len, whole)) == 8
    for size in (1, 7, 8, 100):
        pieces = [codes[i : i + size] for i in range(0, len(codes), size)]
        assert list(bpe._words(pieces)) == whole


def test_of_a_genome_an_even_sample_of_words_is_kept(monkeypatch):
    monkeypatch.setattr(bpe, "SAMPLE", 100)
    words = [f"{i:04}" for i in range(1000)]
    kept = [int(w) for w in bpe._sample(words)]
    assert 12 <= len(kept) <= 25 and set(np.diff(kept)) == {64} and kept[0] == 0
    assert bpe._sample(words[:25]) == words[:25]


TRAIN = """
import sys, numpy as np
from dnabench import Sequences
from dnabench.tokens.bpe import train_bpe, tokenizer_named
codes = np.random.default_rng(0).integers(0, 4, 60_000).astype(np.uint8)
seqs = Sequences(codes, np.arange(301) * 200)
tokenizer = train_bpe(seqs, 300)
print(tokenizer.encode.engine.to_str())
print(tokenizer(seqs, 200, "mask").ids.tolist())
"""


def test_training_does_not_depend_on_threads_or_on_the_run():
    pytest.importorskip("tokenizers")
    outs = []
    for threads, parallel in (("1", "true"), ("4", "true"), ("2", "false")):
        env = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
        argv = [sys.executable, "-c", TRAIN]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
        outs.append(done.stdout)
    assert len(outs[0]) > 10_000 and outs[0] == outs[1] == outs[2]


def test_training_sees_the_words_not_their_order():
    pytest.importorskip("tokenizers")
    words = repeats()
    one, other = (train_bpe(Sequences.parse(w), 60) for w in (words, words[::-1]))
    assert one.encode.engine.to_str() == other.encode.engine.to_str()


def test_a_saved_tokenizer_reads_back_the_same(tmp_path):
    pytest.importorskip("tokenizers")
    seqs, file = Sequences.parse(repeats()), tmp_path / "tokenizer.json"
    learned = train_bpe(seqs, 60)
    save(learned, file)
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    read = bpe_from_file(file)
    one, other = (t(seqs, 200, "mask") for t in (learned, read))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.widths, other.widths)
    assert_whole(one, seqs, learned)
    assert (read.size, read.pad) == (learned.size, learned.pad) == (60, 3)


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    pytest.importorskip("tokenizers")
    there = tmp_path / "tokenizer.json" / "inside"
    there.mkdir(parents=True)
    with pytest.raises(OSError, match=r"tokenizer.json"):
        save(train_bpe(Sequences.parse(repeats()), 20), tmp_path / "tokenizer.json")
    assert there.exists() and [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_only_byte_pairs_can_be_saved(tmp_path):
    with pytest.raises(ValueError, match="kmer3 needs no file"):
        save(TOKENIZERS["kmer3"], tmp_path / "x.json")


@pytest.mark.parametrize("zipped", [False, True])
def test_training_from_fasta_is_training_from_its_sequences(zipped, tmp_path):
    pytest.importorskip("tokenizers")
    words = [w for w in repeats() if w]
    wrapped = ["\r\n".join(w[i : i + 7] for i in range(0, len(w), 7)).lower() for w in words]
    text = "".join(f">chr{i} acgt\r\n{w}\r\n\r\n" for i, w in enumerate(wrapped)).encode()
    file = tmp_path / ("genome.fa.gz" if zipped else "genome.fa")
    file.write_bytes(gzip.compress(text) if zipped else text)
    read = []
    from_file = train_from_files([file, file], 60, read.append)
    direct = train_bpe(Sequences.parse(words + words), 60)
    assert from_file.encode.engine.to_str() == direct.encode.engine.to_str()
    assert read[-1] >= 2 * sum(map(len, words))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("a.fa", b">x\nACGT\nAC*T\n", r"a.fa:3: '\*' is not DNA"),
     ("b.fa", b"ACGT\n", "b.fa:1: a FASTA file begins with '>'"),
     ("c.fa", b"", "c.fa: not FASTA: it is empty"),
     ("d.fa.gz", b">x\nACGT\n", "d.fa.gz: the gzip file is damaged"),
     ("e.fa.gz", gzip.compress(b">x\nACGT\n")[:-6], "e.fa.gz: the gzip file is damaged"),
     ("f.fa", b">x\nNNNN\nA\n", "no tokens can be learned"),
     ("g.fa", b">x\nACGT\n>y\xc3\x84\n\xc3\x84A", "g.fa:4: 'Ã' is not DNA")],
)  # fmt: skip
def test_a_file_that_is_no_fasta_is_named_with_its_line(name, content, why, tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        train_from_files([tmp_path / name], 60)


def test_byte_pairs_too_refuse_what_the_others_refuse():
    pytest.importorskip("tokenizers")
    seqs = Sequences.parse(repeats())
    tokenizer = train_bpe(seqs, 20)
    with pytest.raises(ValueError, match="the task at most 7"):
        tokenizer(seqs, 7, "mask")
    with pytest.raises(ValueError, match=r"char only, not for bpe"):
        tokenizer(seqs, 500, "left-n")
    for words in ([], [""], ["A"], ["N", "A"], ["", "ACG"]):
        few = Sequences.parse(words)
        assert_whole(tokenizer(few, 3, "mask"), few, tokenizer)


def test_tokenizers_are_found_by_name(tmp_path):
    pytest.importorskip("tokenizers")
    assert all(tokenizer_named(name) is TOKENIZERS[name] for name in TOKENIZERS)
    seqs, file = Sequences.parse(repeats()), tmp_path / "tokenizer.json"
    learned = tokenizer_named("bpe", vocabulary=30, train=seqs)
    assert isinstance(learned, Tokenizer) and learned.size == 30
    save(learned, file)
    for room in (0, 30, 4096):
        assert tokenizer_named("bpe", vocabulary=room, train=seqs, file=file).size == 30
    with pytest.raises(ValueError, match=r"30 entries, .* for 29; write --set vocabulary=30"):
        tokenizer_named("bpe", vocabulary=29, file=file)


def test_what_is_missing_is_named():
    with pytest.raises(KeyError, match=r"no tokenizer named 'kmer7'; did you mean kmer6.* bpe"):
        tokenizer_named("kmer7")
    with pytest.raises(ValueError, match=r"needs a tokenizer.json \(--set tokenizer=bpe:PATH\)"):
        tokenizer_named("bpe")
    for vocabulary in (0, 8):
        with pytest.raises(ValueError, match=f"vocabulary={vocabulary} is too small.* make 9"):
            tokenizer_named("bpe", vocabulary=vocabulary, train=Sequences.parse(["ACGT"]))


def test_listing_does_not_import_the_library():
    code = "import sys, dnabench.tokens.bpe; print({'tokenizers', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
