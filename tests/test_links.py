"""Related sequences: which are linked, to the base, and that a draw keeps them on one side."""

import numpy as np
import pytest
from audit_cases import sequences

from dnabench.splits import held_out
from dnabench.tasks.audit.align import Likeness
from dnabench.tasks.audit.links import Places, links, stretch_length
from dnabench.tasks.audit.near import near_duplicates
from dnabench.types import Split

RNG = np.random.default_rng(0)


def dna(n, rng=RNG):
    return rng.integers(0, 4, n, np.uint8)


def flipped(codes):
    return 3 - codes[::-1]


def changed(codes, share, rng=RNG):
    """A copy with that share of its bases changed, evenly spread."""
    out = codes.copy()
    at = rng.choice(len(out), round(share * len(out)), replace=False)
    out[at] = (out[at] + rng.integers(1, 4, len(at))) % 4
    return out


def linked(*rows, **more):
    found = links(sequences(list(rows)), np.ones(len(rows), np.uint8), **more)
    return found.cluster.tolist()


def pair(stretch, length=300, strand=0):
    """Two sequences that share exactly so many bp and are otherwise unrelated."""
    one, other = dna(length), dna(length)
    piece = one[100 : 100 + stretch]
    other[37 : 37 + stretch] = piece
    other[36], other[37 + stretch] = (one[99] + 1) % 4, (one[100 + stretch] + 1) % 4
    return one, flipped(other) if strand else other


@pytest.mark.parametrize("strand", [0, 1])
def test_fifty_bases_link_and_forty_nine_do_not(strand):
    for _ in range(20):
        assert linked(*pair(50, strand=strand)) == [0, 0]
        assert linked(*pair(49, strand=strand)) == [0, 1]


@pytest.mark.parametrize(("length", "quarter"), [(160, 40), (159, 40), (140, 35), (141, 36)])
def test_of_a_short_sequence_a_quarter_links(length, quarter):
    one, other = pair(quarter, length=160)
    assert linked(one[:length], np.concatenate([other, dna(500)])) == [0, 0]
    one, other = pair(quarter - 1, length=160)
    assert linked(one[:length], np.concatenate([other, dna(500)])) == [0, 1]


def test_the_shorter_one_of_a_pair_sets_the_stretch():
    """A long sequence is linked to a short one by 30 bp, but not to another long one."""
    short, long = dna(120), dna(400)
    long[50:80] = short[10:40]
    other = dna(400)
    other[200:230] = long[50:80]
    assert linked(long, other) == [0, 1]
    assert linked(short, long, dna(400)) == [0, 0, 1]
    assert linked(long, short, other) == [0, 0, 0]  # both through the short one


def test_short_stretches_that_chance_gives_do_not_link():
    lengths = np.full(100_000, 60)
    assert stretch_length(lengths)[0] == 26  # 4**26 is 100 times the number of pairs of places
    assert stretch_length(np.array([500] * 1000))[0] == 50
    assert stretch_length(np.array([12] * 1000))[0] == 0
    rows = [dna(60) for _ in range(2000)]
    assert len(set(linked(*rows))) == 2000


@pytest.mark.parametrize("word", ["A", "CA", "CAG", "GATA", "TTAGG", "TTAGGG"])
def test_a_simple_repeat_links_nothing(word):
    codes = np.array(["ACGT".index(c) for c in word], np.uint8)
    repeat = np.tile(codes, 60)[:60]
    rows = [np.concatenate([dna(120), repeat, dna(120)]) for _ in range(4)]
    assert linked(*rows) == [0, 1, 2, 3]


def test_an_n_breaks_a_stretch():
    one, other = pair(50)
    one[125] = 4
    assert linked(one, other) == [0, 1]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.09])
def test_planted_near_copies_are_found_on_either_strand_and_shifted(share):
    rows = []
    for i in range(40):
        one = dna(500)
        copy = changed(one, share)
        if i % 2:
            copy = flipped(copy)
        if i % 4 > 1:  # a window 50 bp further on
            copy = np.concatenate([copy[50:], dna(50)])
        rows += [one, copy]
    cluster = np.array(linked(*rows))
    assert (cluster[::2] == cluster[1::2]).mean() >= 0.97
    assert len(set(cluster)) == len(rows) - (cluster[::2] == cluster[1::2]).sum()


@pytest.mark.parametrize(("identity", "edits"), [(0.9, 20), (0.95, 10), (0.85, 30)])
def test_identity_is_kept_to_the_base(identity, edits):
    one = dna(200)
    for n, same in ((edits, True), (edits + 1, False)):
        other = one.copy()
        at = np.concatenate([[2, 197], 3 + RNG.choice(193, n - 2, replace=False)])
        other[at] = (other[at] + 1) % 4
        found = near_duplicates(
            sequences([one, other]), np.ones(2, np.uint8), rule=Likeness(identity, 1.0)
        )
        assert bool(found.near.all()) is same


def test_links_chain_along_tiled_windows_without_coordinates():
    genome = dna(2000)
    rows = [genome[i : i + 200] for i in range(0, 1801, 150)]
    order = RNG.permutation(len(rows))
    assert set(linked(*[rows[i] for i in order])) == {0}
    assert len(set(linked(*[genome[i : i + 200] for i in range(0, 1801, 151)]))) == 12


def test_what_a_stretch_links_in_one_split_is_not_aligned_again(monkeypatch):
    genome, aligned = dna(3000), []
    rows = sequences([*(genome[i : i + 200] for i in range(0, 2701, 100)), dna(200)])
    plain = near_duplicates.__globals__["alike"]
    monkeypatch.setitem(near_duplicates.__globals__, "alike", lambda seqs, pairs, *more: (
        aligned.append(len(pairs.a)), plain(seqs, pairs, *more))[1])  # fmt: skip
    found = links(rows, np.ones(29, np.uint8))
    assert found.held.tolist() == [1] * 28 + [0] and aligned == [0]
    assert found.cluster.tolist() == [0] * 28 + [1]


def test_coordinates_link_windows_that_overlap_by_a_base():
    rows = [dna(100) for _ in range(5)]
    places = Places(np.array([0, 0, 1, 0, -1]), np.array([0, 99, 99, 199, 0]),
                    np.array([100, 199, 199, 299, 100]))  # fmt: skip
    found = links(sequences(rows), np.array([1, 4, 4, 4, 4], np.uint8), places)
    assert found.cluster.tolist() == [0, 0, 1, 2, 3]
    assert found.held.tolist() == [4, 1, 0, 0, 0]


def test_the_splits_of_direct_links_are_known_not_those_of_chains():
    genome = dna(500)
    rows = [genome[0:200], genome[150:350], genome[300:500], dna(200), genome[0:200]]
    found = links(sequences(rows), np.array([1, 2, 4, 4, 4], np.uint8))
    assert found.cluster.tolist() == [0, 0, 0, 1, 0]
    assert found.held.tolist() == [2 | 4, 1 | 4, 2, 0, 1 | 2]


def test_a_long_and_many_short_agree_with_a_plain_search():
    """Against all stretches of all pairs, as sets of text."""
    rng = np.random.default_rng(5)
    genome = dna(4000, rng)
    rows = []
    for _ in range(80):
        at, n = rng.integers(0, 3700), rng.integers(30, 300)
        row = changed(genome[at : at + n], 0.03, rng)
        rows.append(flipped(row) if rng.random() < 0.5 else row)
    need = stretch_length(np.array([len(r) for r in rows]))
    texts = ["".join("ACGT"[c] for c in r) for r in rows]
    other = ["".join("ACGT"[c] for c in flipped(r)) for r in rows]
    edges = set()
    for i in range(80):
        for j in range(i):
            n = min((x for x in (need[i], need[j]) if x), default=0)
            if n and need[i] and need[j]:
                words = {texts[i][k : k + n] for k in range(len(texts[i]) - n + 1)}
                both = (texts[j], other[j])
                if any(t[k : k + n] in words for t in both for k in range(len(t) - n + 1)):
                    edges.add((i, j))
    assert len(edges) > 20
    rule = Likeness(1.0, 1.0)  # only copies, so that stretches alone decide
    cluster = np.array(linked(*rows, rule=rule))
    parent = list(range(80))

    def root(i):
        return i if parent[i] == i else root(parent[i])

    for i, j in edges:
        parent[root(i)] = root(j)
    expected = np.array([root(i) for i in range(80)])
    assert ((cluster[:, None] == cluster) == (expected[:, None] == expected)).all()


def test_a_draw_takes_whole_groups_and_about_the_share_of_examples():
    groups = np.repeat(np.arange(60), RNG.integers(1, 12, 60))
    y = (np.arange(len(groups)) % 2).astype(np.int64)
    split = Split(sequences([dna(30) for _ in groups]), y, y.astype(str), groups)
    picked = held_out(split, 0.2, seed=0, together=True)
    assert not set(groups[picked]) & set(groups[~picked])
    assert abs(picked.mean() - 0.2) < 0.03
    assert (held_out(split, 0.2, seed=1, together=True) != picked).any()
