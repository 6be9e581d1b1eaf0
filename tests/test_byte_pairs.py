"""Byte pairs that a file holds: ids, widths, and files that cannot serve."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_byte_pair_training import repeats
from test_tokenizers import assert_whole, random_words

from dnabench import Sequences
from dnabench.tokens.bpe import bpe_from_file, save, tokenizer_named
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer

DNABERT2 = Path(__file__).parents[2] / "shared/data/tokenizers/dnabert2-tokenizer.json"
needs_dnabert2 = pytest.mark.skipif(not DNABERT2.exists(), reason=f"no {DNABERT2}")


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
