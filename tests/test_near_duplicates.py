"""tasks/audit/near.py, align.py and kmers.py against the definition and brute force."""

import json

import numpy as np
import pytest
from audit_cases import document, random_rows, reverse, sequences, task_of
from bench.audit import altered, flipped

from dnabench.reports.text.audit import markdown
from dnabench.tasks.audit import align, kmers
from dnabench.tasks.audit import near as _near
from dnabench.tasks.audit.audit import Audit, audit, leak_free_mask
from dnabench.tasks.audit.conditions import fail_on


def test_fingerprints_tell_apart_what_differs_in_a_letter_a_place_or_length():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 5, 40).astype(np.uint8)
    rows = [base, base[:-1], np.append(base, 0), np.roll(base, 1), base[:1], np.zeros(0, np.uint8)]
    for i in range(40):
        for letter in range(5):
            if letter != base[i]:
                rows.append(np.where(np.arange(40) == i, letter, base))
    here, there = kmers.fingerprints(sequences(rows))
    assert len(np.unique(here, axis=0)) == len(rows) == len(np.unique(there, axis=0))
    np.testing.assert_array_equal(kmers.fingerprints(sequences(rows[:2]))[0], here[:2])
    mirrored = kmers.fingerprints(sequences(rows).reverse_complement())
    np.testing.assert_array_equal(mirrored[0], there)
    np.testing.assert_array_equal(mirrored[1], here)
    assert kmers.numbered(np.uint64([[0, 2], [0, 1], [1, 1], [0, 1]])).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("k", [1, 2, 3, 7, 13, 31, 32])
def test_words_are_those_that_slicing_gives(k, monkeypatch):
    monkeypatch.setattr(kmers.chunks, "__defaults__", (60,))  # bp; some are longer
    rng = np.random.default_rng(k)
    seqs = sequences([rng.choice([0, 1, 2, 3, 4], n, p=[0.25, 0.25, 0.24, 0.25, 0.01])
                      for n in rng.integers(0, 70, 20)])  # fmt: skip
    found = [
        item
        for w in kmers.words(seqs, k)
        for item in zip(*(column.tolist() for column in w), strict=True)
    ]
    digits = str.maketrans("ACGT", "0123")
    expected = []
    for i in range(len(seqs)):
        for at in range(len(seqs[i]) - k + 1):
            word = seqs[i][at : at + k]
            if "N" not in word:
                numbers = (int(w.translate(digits), 4) for w in (word, reverse(word)))
                expected.append((i, at, *numbers))
    assert found == expected and expected


RULE = align.Likeness()


def holds_stretch(a, b):
    """The definition, over all alignments: from each base of a the best way to each later one."""
    need = int(np.ceil(RULE.coverage * len(a) - 1e-9))
    cost = -9  # with +1 for a match: at 90 % they cancel
    steps = np.where((a[:, None] == b) & (a < 4)[:, None], 1, cost)
    ramp = cost * np.arange(len(b) + 1)
    for start in range(len(a) - need + 1):
        row = np.zeros(len(b) + 1)
        for i in range(start, len(a)):
            new = row + cost
            new[1:] = np.maximum(new[1:], row[:-1] + steps[i])
            row = np.maximum.accumulate(new - ramp) + ramp
            if i - start + 1 >= need and row.max() >= 0:
                return True
    return False


def pairs_of(n, diagonal=0, flipped=False):
    even = np.arange(0, 2 * n, 2)
    full = np.full(n, diagonal)
    return align.Pairs(even, even + 1, np.full(n, flipped), full, full)


def quiet(share):
    return None


@pytest.mark.parametrize("way", ["substitutions", "indels", "both"])
def test_alignment_decides_as_the_definition_does(way):
    rng = np.random.default_rng(2)
    rows = []
    for i in range(120):
        a = rng.integers(0, 4, 60, np.uint8)
        b = altered(rng, a, 1 - i / 120 * 0.3, way)
        rows += [a, b] if len(a) <= len(b) else [b, a]
    seqs, pairs = sequences(rows), pairs_of(120)
    found = align.alike(seqs, pairs, RULE, quiet)
    truth = np.array([holds_stretch(rows[2 * i], rows[2 * i + 1]) for i in range(120)])
    assert 30 < truth.sum() < 110
    assert not (found & ~truth).any() and found.sum() >= 0.95 * truth.sum()


def test_comparison_without_gaps_is_exact():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(300):
        a = rng.integers(0, 4, 50, np.uint8)
        b = altered(rng, a, rng.uniform(0.75, 1), "substitutions")
        at = rng.integers(0, 15)
        rows += [a, np.concatenate([rng.integers(0, 4, 12, np.uint8), b[at:]])]
    pairs = pairs_of(300)._replace(diagonal=np.array([12 - (50 + 12 - len(r)) for r in rows[1::2]]))
    found = align.alike_without_gaps(
        sequences(rows), align.shorter_first(pairs, sequences(rows).lengths), RULE, quiet
    )

    def naive(a, b, d):
        if len(a) > len(b):
            a, b, d = b, a, -d
        need = int(np.ceil(0.8 * len(a) - 1e-9))
        inside = [i for i in range(len(a)) if 0 <= i + d < len(b)]
        same = [a[i] == b[i + d] for i in inside]
        spans = ((x, y) for x in range(len(same)) for y in range(x + need, len(same) + 1))
        return any(10 * sum(same[x:y]) >= 9 * (y - x) for x, y in spans)

    truth = [naive(rows[2 * i], rows[2 * i + 1], d) for i, d in enumerate(pairs.diagonal.tolist())]
    assert found.tolist() == truth and 50 < sum(truth) < 250


@pytest.mark.parametrize(("clean", "near"), [(72, True), (71, False)])
@pytest.mark.parametrize("back", [False, True])
def test_nine_of_ten_columns_over_eight_of_ten_bases_is_the_border(clean, near, back):
    # what is left is all mismatches: 72 of 80 columns are 90 %, 71 are not
    rng = np.random.default_rng(4)
    a = np.tile(np.array([0, 2, 0, 0, 2], np.uint8), 20)  # A and G
    a[:clean] = rng.integers(0, 4, clean)
    b = a.copy()
    b[clean:] = np.where(a[clean:] == 0, 1, 3)  # C and T
    test = [flipped(b) if back else b]
    task = task_of({"train": ([a, *random_rows(rng, 9)], [0, 1] * 5), "test": (test, [0])})
    found = document(task)
    assert found["across"]["train-test"]["near_duplicates"] == near
    assert [(p["split"], p["id"], p["other_split"], p["strand"]) for p in found["pairs"]] == (
        [("train", "train0", "test", "-" if back else "+")] if near else []
    )


@pytest.mark.parametrize("length", [70, 300])
def test_planted_copies_are_found_and_nothing_else_is(length):
    rng = np.random.default_rng(length)
    train = random_rows(rng, 1500, length)
    jobs = [
        (identity, way)
        for identity in (0.9, 0.93, 0.96, 0.99)
        for way in ("substitutions", "indels", "both")
        for _ in range(25)
    ]
    copies = [altered(rng, train[i], *job) for i, job in enumerate(jobs)]
    copies = [flipped(c) if rng.random() < 0.5 else c for c in copies]
    test = [*copies, *random_rows(rng, 200, length)]
    y = rng.integers(0, 2, 1500)
    found = audit(task_of({"train": (train, y), "test": (test, np.zeros(500, np.int64))}))
    leaked = ~leak_free_mask(found)
    for job in sorted(set(jobs)):
        assert leaked[: len(jobs)][[j == job for j in jobs]].mean() >= 0.96, job
    assert leaked[: len(jobs)].mean() >= 0.99 and not leaked[len(jobs) :].any()
    assert found.leaked_ids == [f"test{i}" for i in np.flatnonzero(leaked)]


def test_related_test_examples_are_named_together():
    rng = np.random.default_rng(8)
    train, test = random_rows(rng, 5, 200), random_rows(rng, 6, 200)
    test[2] = flipped(test[0])
    test[4] = altered(rng, test[0], 0.97, "substitutions")
    test[1] = altered(rng, train[3], 0.95, "both")  # in a chain through train
    test[5] = altered(rng, train[3], 0.95, "both")
    made = audit(task_of({"train": (train, [0, 1] * 2 + [0]), "test": (test, [0] * 6)}))
    assert sorted(map(sorted, made.clusters)) == [["test0", "test2", "test4"], ["test1", "test5"]]
    again = json.loads(made.to_json())
    del again["clusters"]  # as an earlier version wrote it
    assert Audit.from_json(json.dumps(again)).clusters == ()


@pytest.mark.parametrize(("n_train", "n_test"), [(1200, 200), (60, 1500)])
def test_of_many_overlapping_windows_every_copy_is_seen(n_train, n_test):
    # as in a suite of one virus: each word is in hundreds of sequences
    rng = np.random.default_rng(5)
    genome = rng.integers(0, 4, 3000, np.uint8)
    train, test = (rng.choice(2900, n, replace=False) for n in (n_train, n_test))
    parts = [[genome[s : s + 100] for s in starts] for starts in (train, test)]
    y = rng.integers(0, 2, n_train)
    found = audit(task_of({"train": (parts[0], y), "test": (parts[1], np.zeros(n_test, int))}))
    apart = np.abs(train - test[:, None]).min(1)
    leaked = ~leak_free_mask(found)
    assert (apart <= 20).sum() > 150 and leaked[apart <= 20].all()
    assert not leaked[apart > 28].any()  # 80 bp must be shared; a few columns match by chance
    distances = np.abs(train - train[:, None])
    np.fill_diagonal(distances, 100)
    within = (distances.min(1) <= 20).sum(), (distances.min(1) <= 28).sum()
    assert 10 < within[0] <= found.within["train"]["near_duplicates"] <= within[1]


def test_a_piece_of_a_longer_sequence_and_short_ones():
    rng = np.random.default_rng(6)
    long = rng.integers(0, 4, 2000, np.uint8)
    short = long[100:119]
    test = [flipped(long[700:760]), short, rng.integers(0, 4, 60, np.uint8)]
    task = task_of({
        "train": ([long, *random_rows(rng, 5, 50), short[:18]], [0, 1, 0, 1, 0, 1, 0]),
        "test": (test, [0, 1, 0]),
    })  # fmt: skip
    assert leak_free_mask(audit(task)).tolist() == [False, True, True]


def test_too_much_is_said_and_the_rest_is_done(monkeypatch):
    monkeypatch.setattr(_near, "LARGEST", 1000)
    rng = np.random.default_rng(7)
    rows = random_rows(rng, 20)
    task = task_of({"train": (rows[:15], [0, 1] * 7 + [0]), "test": (rows[14:], [0] * 6)})
    found = document(task)
    assert "2,000 bp" in found["skipped"]["near duplicates"]
    assert found["across"]["train-test"] == {"duplicates": 1, "rc_duplicates": 0, "conflicts": 0}
    with pytest.raises(ValueError, match=r"not measured.*2,000 bp"):
        fail_on(found, ["train-test-near-duplicates>0"])
    assert "–" in markdown(found)


@pytest.mark.parametrize(
    ("n", "length", "k", "share"),
    [  # the least odd k from 7 at which (share x bp)^2 / 4^k, equal by chance, is 4e6 or less
        (100, 100, 7, 1.0), (2_000, 300, 9, 1.0), (8_000, 500, 11, 1.0),
        (20_000, 500, 13, 1.0), (120_000, 200, 13, 0.5),
    ],
)  # fmt: skip
def test_a_share_of_long_words_are_the_seeds_of_large_data(n, length, k, share):
    expected = share * (length - k + 1) * 0.95**k  # of the places, those without a difference
    assert _near.plan(np.full(n, length), 0.95) == (k, share, pytest.approx(expected))
    pairs = [(share * n * length) ** 2 / 4**x for x in (k - 2, k)]
    assert pairs[1] <= 4e6 and (pairs[0] > 4e6 or k == 7)


def test_copies_are_found_by_a_share_of_their_words(monkeypatch):
    monkeypatch.setattr(_near, "SEEDS", 4_000)
    rng = np.random.default_rng(9)
    train = random_rows(rng, 200, 100)
    test = [altered(rng, row, 0.96, "substitutions") for row in train[:100]]
    found = _near.near_duplicates(
        sequences([*train, *test]), np.repeat(np.uint8([1, 4]), [200, 100])
    )
    assert found.share == pytest.approx(4_000 / 30_000)
    assert (found.near[:100] & 4).astype(bool).mean() > 0.9 and not found.near[100:200].any()


def test_what_64_bits_cannot_number_is_said():
    lengths = np.append(np.full(1_000_000, 100), 900_000_000)
    assert "more than 64 bits" in _near.too_large(lengths) and not _near.too_large(lengths[:-1])
