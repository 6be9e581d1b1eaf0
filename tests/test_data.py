"""Sequences, tokenizers and splits: letters in, small integers out, who sees which example."""

import numpy as np
import pytest
from conftest import planted_task

from dnabench import Sequences, Split
from dnabench.protocols import PROTOCOLS, protocol_named
from dnabench.splits import (
    cut,
    held_out,
    limited,
    same_sequence,
    size_under,
    stratified,
    streams,
)
from dnabench.tokens.tokenizers import char
from dnabench.types import LetterError

WORDS = ["ACGTN", "acgtu", "", "GATTACA"]
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def test_letters_are_read_and_written_back():
    seqs = Sequences.parse(WORDS)
    assert [seqs[i] for i in range(4)] == ["ACGTN", "ACGTT", "", "GATTACA"]
    assert list(seqs.lengths) == [5, 5, 0, 7] and seqs.n_ambiguous == 0


def test_iupac_letters_become_n_and_are_counted():
    seqs = Sequences.parse(["ARYSWKMBDHVN", "rT"])
    assert seqs[0] == "A" + "N" * 11 and seqs[1] == "NT" and seqs.n_ambiguous == 11


@pytest.mark.parametrize(
    ("words", "letter", "index", "position"),
    [(["ACGT", "ACXT"], "X", 1, 2), (["A-"], "-", 0, 1), (["A", "", "GÄT"], "Ä", 2, 1),
     (["AC GT"], " ", 0, 2), (["ACGT*"], "*", 0, 4)],
)  # fmt: skip
def test_other_letters_are_named_with_their_place(words, letter, index, position):
    with pytest.raises(LetterError) as e:
        Sequences.parse(words)
    assert (e.value.letter, e.value.index, e.value.position) == (letter, index, position)
    assert f"sequence {index} has {letter!r} at position {position} (from 0)" in str(e.value)


def random_words(seed, n=50):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGTN"), rng.integers(0, 30))) for _ in range(n)]


def test_reverse_complement_agrees_with_string_arithmetic_and_undoes_itself():
    words = random_words(1)
    seqs = Sequences.parse(words)
    back = seqs.reverse_complement()
    assert [back[i] for i in range(50)] == [w[::-1].translate(COMPLEMENT) for w in words]
    np.testing.assert_array_equal(back.reverse_complement().codes, seqs.codes)


def test_take_keeps_rows_and_order():
    words, rows = random_words(2), np.array([4, 4, 0, 49, 17])
    part = Sequences.parse(words).take(rows)
    assert [part[i] for i in range(5)] == [words[i] for i in rows]
    assert len(Sequences.parse(words).take(np.array([], int))) == 0


def test_padding_is_on_the_side_asked_for():
    seqs = Sequences.parse(["ACG", "", "T"])
    assert seqs.padded(4).tolist() == [[0, 1, 2, 5], [5, 5, 5, 5], [3, 5, 5, 5]]
    assert seqs.padded(4, 4, "left").tolist() == [[4, 0, 1, 2], [4, 4, 4, 4], [4, 4, 4, 3]]
    with pytest.raises(ValueError, match="has 3 bp, more than the 2"):
        seqs.padded(2)


def test_char_tokens_and_their_lengths():
    seqs = Sequences.parse(["ACG", "T"])
    ids, lengths = char(seqs, 6, "mask")
    assert ids.tolist() == [[0, 1, 2], [3, 5, 5]] and lengths.tolist() == [3, 1]
    ids, lengths = char(seqs, 6, "left-n")
    assert ids.tolist() == [[4, 4, 4, 0, 1, 2], [4] * 5 + [3]] and lengths is None
    assert char(Sequences.parse(["ACG", "TTT"]), 6, "mask").lengths is None
    with pytest.raises(ValueError, match="3 bp, the task at most 2"):
        char(seqs, 2, "mask")


def test_streams_are_apart_and_the_cut_knows_no_model():
    a, b = streams(0, "x/y"), streams(1, "x/y")
    assert len({*a, *b}) == 6
    assert streams(0, "x/z")[:2] == a[:2] and streams(0, "x/z").cut != a.cut
    assert a == (streams(0, "x/y"))


def test_streams_never_move():
    # printf init/0 | sha256sum, its first 8 hex digits; then order/0 and cut/x/y/0
    assert streams(0, "x/y") == (0xACD7CB06, 0x923F3A31, 0x4D494A2D)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_stratified_takes_the_share_of_every_class(share):
    y = np.repeat([0, 1, 2], [100, 1000, 20])
    picked = stratified(y, share, seed=1)
    assert [int(picked[y == c].sum()) for c in range(3)] == [100 * share, 1000 * share, 20 * share]
    np.testing.assert_array_equal(picked, stratified(y, share, seed=1))
    assert (picked != stratified(y, share, seed=2)).any()


def test_a_rare_class_is_in_validation_too_but_a_single_example_stays():
    picked = stratified(np.array([0] * 100 + [1] * 3 + [2]), 0.1, seed=0)
    assert picked[100:103].sum() == 1 and not picked[103]


def test_limit_takes_a_number_or_a_share_always_the_same():
    split = planted_task(n=200).load("train")
    assert len(limited(split, 0).y) == len(limited(split, 500).y) == 200
    assert len(limited(split, 50).y) == 50 and len(limited(split, 0.1).y) == 20
    assert len(limited(split, 1).y) == 2  # one example of each class, not all examples
    assert [size_under(x, 200) for x in (0, 0.1, 1, 50, 500)] == [200, 20, 1, 50, 200]
    np.testing.assert_array_equal(limited(split, 50).ids, limited(split, 50).ids)
    assert np.bincount(limited(split, 50).y).tolist() == [25, 25]


def test_copies_of_a_sequence_have_one_number_on_either_strand():
    seqs = Sequences.parse(["AAC", "GTT", "AAC", "ACC", "NAA", "TTN", "ACGT", "ACGT"])
    assert same_sequence(seqs).tolist() == [0, 0, 0, 1, 2, 2, 3, 3]


def test_copies_of_a_sequence_are_held_out_together():
    words = random_words(3, 100)
    words = [w + "ACGTTT" * 3 for w in words]
    mirrored = Sequences.parse(words).reverse_complement()
    everything = [*words, *words, *(mirrored[i] for i in range(100))]
    y = np.tile(np.arange(100) % 2, 3)
    held = held_out(Split(Sequences.parse(everything), y, y.astype(str)), 0.2, seed=1)
    np.testing.assert_array_equal(held[:100], held[100:200])
    np.testing.assert_array_equal(held[:100], held[200:])
    assert held[:100].sum() == 20


def test_without_copies_holding_out_is_stratified():
    split = planted_task(n=200).load("train")
    np.testing.assert_array_equal(held_out(split, 0.1, 5), stratified(split.y, 0.1, 5))


@pytest.mark.parametrize(
    "name", [p.name for p in PROTOCOLS.values() if p.validation.startswith("dev")]
)
def test_an_official_dev_split_is_the_validation(name):
    task = planted_task(dev=True)
    train, val = cut(task, PROTOCOLS[name], seed=1)
    assert len(train.y) == 160 and list(val.ids) == list(task.load("dev").ids)


def test_without_one_a_tenth_of_train_is_cut_by_the_seed():
    task = planted_task(dev=False)
    everything = set(task.load("train").ids)
    (train, val), (_, other) = (cut(task, PROTOCOLS["honest/1"], seed=s) for s in (1, 2))
    assert len(val.y) == 16 and np.bincount(val.y).tolist() == [8, 8]
    assert set(train.ids) | set(val.ids) == everything and not set(train.ids) & set(val.ids)
    assert set(val.ids) != set(other.ids)


def test_too_few_different_sequences_for_a_cut_are_named():
    one = planted_task(dev=False)
    same = one.load("train").take(np.array([0, 1] * 20))
    task = planted_task(dev=False, load=lambda split: same)
    with pytest.raises(ValueError, match="no class has two different sequences in train"):
        cut(task, PROTOCOLS["honest/1"], seed=1)


def test_test_selected_trains_on_all_of_train():
    train, val = cut(planted_task(dev=False), PROTOCOLS["test-selected/1"], seed=1)
    assert len(train.y) == 160 and val is None


def test_the_cut_never_loads_test():
    task = planted_task(dev=False)
    cut(task, PROTOCOLS["honest/1"], seed=1)
    assert task.loaded == ["train"]


def test_protocols_by_name():
    assert protocol_named("honest") is PROTOCOLS["honest/1"]
    with pytest.raises(
        KeyError, match="no protocol named 'honset'; did you mean honest/2, honest/1"
    ):
        protocol_named("honset")
    assert [p.name for p in PROTOCOLS.values() if p.watermark] == ["test-selected/1"]
