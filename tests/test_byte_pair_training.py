"""Byte pairs that are learned: from sequences or FASTA, the same every time, saved and read."""

import gzip
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from test_tokenizers import assert_whole, random_words

from dnabench import Sequences
from dnabench.tokens import learning
from dnabench.tokens.bpe import bpe_from_file, save, train_bpe, train_from_files
from dnabench.tokens.tokenizers import TOKENIZERS


def repeats(n=40, seed=7):
    """Random bases with a motif in each, so that there is something to learn."""
    return [w + "GATTACA" * 2 + v for w, v in itertools.pairwise(random_words(seed, n + 1, 60))]


def test_training_learns_the_most_frequent_pairs_first():
    pytest.importorskip("tokenizers")
    tokenizer = train_bpe(Sequences.parse(["ACACACAC", "ACG", "TNTAC"]), 11)
    vocabulary = tokenizer.encode.engine.get_vocab()
    assert sorted(vocabulary, key=vocabulary.get) == [*learning.SPECIALS, *"ACGT", "AC", "ACAC"]
    assert (tokenizer.size, tokenizer.pad) == (11, 3)
    seqs = Sequences.parse(["ACACTNAC"])
    encoded = tokenizer(seqs, 8, "mask")
    assert encoded.ids.tolist() == [[1, 10, 8, 0, 9, 2]]
    assert encoded.widths.tolist() == [[0, 4, 1, 1, 2, 0]]


def test_training_stops_where_no_pair_occurs_twice():
    pytest.importorskip("tokenizers")
    assert train_bpe(Sequences.parse(["ACGT"]), 4096).size == 9


def test_n_and_the_ends_of_sequences_part_words(monkeypatch):
    monkeypatch.setattr(learning, "WORD", 4)
    seqs = Sequences.parse(["ACGTACGTAC", "", "GG", "NNTTNTNA", "CCCCC"])
    assert list(learning._words(learning.with_breaks(seqs))) == [
        "ACGT",
        "ACGT",
        "AC",
        "GG",
        "TT",
        "CCCC",
    ]


def test_words_do_not_depend_on_the_pieces_read(monkeypatch):
    monkeypatch.setattr(learning, "WORD", 8)
    codes = Sequences.parse(["N".join(random_words(8, share=0.02, longest=90))]).codes
    whole = list(learning._words([codes]))
    assert len(whole) > 100 and max(map(len, whole)) == 8
    for size in (1, 7, 8, 100):
        pieces = [codes[i : i + size] for i in range(0, len(codes), size)]
        assert list(learning._words(pieces)) == whole


def test_of_a_genome_an_even_sample_of_words_is_kept(monkeypatch):
    monkeypatch.setattr(learning, "SAMPLE", 100)
    words = [f"{i:04}" for i in range(1000)]
    kept = [int(w) for w in learning._sample(words)]
    assert 12 <= len(kept) <= 25 and set(np.diff(kept)) == {64} and kept[0] == 0
    assert learning._sample(words[:25]) == words[:25]


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
