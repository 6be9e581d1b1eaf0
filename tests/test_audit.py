"""Audits of planted and of real data: every copy, contradiction and shortcut that is there."""

import gzip
import json
import subprocess
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from bench.audit import altered, flipped
from conftest import planted_task
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from dnabench import Sequences, Split
from dnabench.reports.text.audit import html, markdown, overview
from dnabench.tasks.audit import align, kmers
from dnabench.tasks.audit import copies as _copies
from dnabench.tasks.audit import near as _near
from dnabench.tasks.audit import shortcuts as _shortcuts
from dnabench.tasks.audit import windows as _windows
from dnabench.tasks.audit.audit import Audit, audit, leak_free_mask, scores_without_leaks
from dnabench.tasks.audit.conditions import facts, fail_on
from dnabench.tasks.io.files import task_from_path

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
NAMES = ("train", "dev", "test")
TURN = str.maketrans("ACGT", "TGCA")


def sequences(rows):
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)])
    return Sequences(np.concatenate([np.zeros(0, np.uint8), *rows]).astype(np.uint8), offsets)


def random_rows(rng, n, length=100):
    return list(rng.integers(0, 4, (n, length), np.uint8))


def split_of(rows, y, name):
    return Split(sequences(rows), np.asarray(y), np.array([f"{name}{i}" for i in range(len(rows))]))


def task_of(splits, classes=("0", "1"), **changes):
    """A task of {name: (rows, y)}."""
    made = {name: split_of(*parts, name) for name, parts in splits.items()}
    counts = {name: len(s.seqs) for name, s in made.items()}
    fields = {"name": "made/up", "classes": classes, "counts": counts, "load": made.__getitem__}
    task = planted_task(**{k: v for k, v in fields.items() if k != "classes"}, **changes)
    object.__setattr__(task, "classes", classes)
    return task


def document(task, genome=None):
    return json.loads(audit(task, genome).to_json())


def texts(split):
    return [split.seqs[i] for i in range(len(split.seqs))]


def reverse(text):
    return text.translate(TURN)[::-1]


# -- real data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shared", "conflicts"), [("prom_core_tata", 16, 12), ("prom_300_tata", 6, 10)]
)
def test_published_files_have_the_copies_that_counting_strings_finds(name, shared, conflicts):
    folder = DATA / "gue" / "prom" / name
    if not folder.exists():
        pytest.skip(f"{folder} is missing")
    found = document(task_from_path(folder))
    assert found["across"]["train-test"]["duplicates"] == shared
    assert found["within"]["train"]["conflicts"] == conflicts
    assert fail_on(found, ["train-test-duplicates>0"]) == [
        f"data/{name}: train-test-duplicates>0: it is {shared}"
    ]
    assert found["across"]["train-test"]["near_duplicates"] > 0


# -- copies and labels ----------------------------------------------------------------------------


def small_pool(rng, labels):
    """Splits with copies of every kind, of a dozen sequences and their complements."""
    pool = [rng.integers(0, 5, rng.integers(4, 12)).astype(np.uint8) for _ in range(12)]
    pool += [np.where(r < 4, 3 - r, 4)[::-1] for r in pool[:8]]
    sizes = {"train": 60, "dev": 6, "test": 9}
    return {
        name: ([pool[i] for i in rng.integers(0, len(pool), n)], labels(rng, n))
        for name, n in sizes.items()
    }


def rows_of(rng, n):
    return rng.integers(0, 2, (n, 3)).astype(np.uint8)


LABELS = {
    "binary": lambda rng, n: np.concatenate([[0, 1], rng.integers(0, 2, n - 2)]),
    "multilabel": rows_of,
    "regression": lambda rng, n: rows_of(rng, n).astype(np.float32),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_sets_of_strings(kind, seed):
    rng = np.random.default_rng(seed)
    task = task_of(small_pool(rng, LABELS[kind]), kind=kind)
    found = document(task)
    splits = {name: task.load(name) for name in NAMES}
    rows = {
        name: [(t, tuple(np.atleast_1d(y))) for t, y in zip(texts(s), s.y, strict=True)]
        for name, s in splits.items()
    }

    def clashing(pairs):
        return {t for t, _ in pairs if len({y for u, y in pairs if u == t}) > 1}

    for name, pairs in rows.items():
        distinct = {t for t, _ in pairs}
        either = [(min(t, reverse(t)), y) for t, y in pairs]
        known = {min(t, reverse(t)) for t in clashing(pairs)}
        assert found["within"][name] == {
            "duplicates": len(pairs) - len(distinct),
            "rc_duplicates": len(distinct) - len({t for t, _ in either}),
            "near_duplicates": 0,
            "conflicts": len(clashing(pairs)),
            "rc_conflicts": len(clashing(either) - known),
        }
    for a, b in combinations(NAMES, 2):
        first = {t for t, _ in rows[a]}
        same = [t in first for t, _ in rows[b]]
        back = [reverse(t) in first for t, _ in rows[b]]
        both = first & {t for t, _ in rows[b]}
        assert found["across"][f"{a}-{b}"] == {
            "duplicates": sum(same),
            "rc_duplicates": sum(r and not s for r, s in zip(back, same, strict=True)),
            "near_duplicates": 0,
            "conflicts": len(clashing([p for p in rows[a] + rows[b] if p[0] in both])),
        }
    seen = {t for name in ("train", "dev") for t, _ in rows[name]}
    expected = [t not in seen and reverse(t) not in seen for t, _ in rows["test"]]
    assert leak_free_mask(audit(task)).tolist() == expected


def test_labels_of_bases_are_compared_as_whole_rows_and_not_across_strands():
    rng = np.random.default_rng(0)
    a, b, c = random_rows(rng, 3, 30)
    train = [a, a, b, b[:20], 3 - a[::-1]]
    y = np.zeros((5, 30), np.int8)
    y[1, 4], y[3, 20:], y[4, 0] = 1, -100, 1
    test_y = np.zeros((2, 35), np.int8)  # padded to another longest sequence
    test_y[:, 30:] = -100
    longer = np.concatenate([c, c[:5]])
    test_y[1] = 1
    task = task_of({"train": (train, y), "test": ([b, longer], test_y)}, kind="per_base")
    found = document(task)
    assert (
        found["within"]["train"]["conflicts"] == 1 and found["within"]["train"]["duplicates"] == 1
    )
    assert "rc_conflicts" not in found["within"]["train"]
    assert found["across"]["train-test"] == {
        "duplicates": 1, "rc_duplicates": 0, "near_duplicates": 0, "conflicts": 0,
    }  # fmt: skip
    assert found["splits"]["train"]["labels"] == [138, 2] and not found["shortcuts"]
    assert "per_base" in found["skipped"]["shortcuts"]


def test_fingerprints_tell_apart_what_differs_in_a_letter_a_place_or_length():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 5, 40).astype(np.uint8)
    rows = [base, base[:-1], np.append(base, 0), np.roll(base, 1), np.zeros(0, np.uint8)]
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


@pytest.mark.parametrize("k", [1, 2, 3, 7, 13, 31, 32])
def test_words_are_those_that_slicing_gives(k, monkeypatch):
    monkeypatch.setattr(kmers.chunks, "__defaults__", (90,))  # several chunks, of whole sequences
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


# -- near duplicates ------------------------------------------------------------------------------


def holds_stretch(a, b):
    """The definition, over all alignments: from each base of a the best way to each later one."""
    need = int(np.ceil(align.COVERAGE * len(a) - 1e-9))
    cost = align.MISS
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
    found = align.alike(seqs, pairs, quiet)
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
        sequences(rows), align.shorter_first(pairs, sequences(rows).lengths), quiet
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


def test_what_64_bits_cannot_number_is_said():
    lengths = np.append(np.full(1_000_000, 100), 900_000_000)
    assert "more than 64 bits" in _near.too_large(lengths) and not _near.too_large(lengths[:-1])


# -- windows in a genome --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["fa", "fa.gz"])
def test_shared_bases_are_those_of_the_positions(suffix, tmp_path):
    rng = np.random.default_rng(8)
    letters = np.array(list("ACGT"))
    genome = {f"chr{i}": rng.integers(0, 4, n, np.uint8) for i, n in enumerate((3000, 1200))}
    lines = []
    for name, codes in genome.items():
        text = "".join(letters[codes])
        lines += [f">{name} a chromosome", *(text[i : i + 60] for i in range(0, len(text), 60))]
    path = tmp_path / f"genome.{suffix}"
    opened = gzip.open if suffix.endswith("gz") else open
    with opened(path, "wt") as file:
        file.write("\n".join(lines) + "\n")

    def drawn(n):
        out = []
        for _ in range(n):
            name = rng.choice(list(genome))
            size = int(rng.integers(40, 90))
            start = int(rng.integers(0, len(genome[name]) - size))
            out.append((name, start, size))
        return out

    def rows(places):
        parts = [genome[name][s : s + n] for name, s, n in places]
        return [flipped(p) if rng.random() < 0.5 else p for p in parts]

    train, dev, test = drawn(20), drawn(4), drawn(30)
    stranger = rng.integers(0, 4, 60, np.uint8)
    task = task_of({
        "train": (rows(train), [0, 1] * 10), "dev": (rows(dev), [0] * 4),
        "test": ([*rows(test), stranger, stranger[:31]], [0] * 32),
    })  # fmt: skip
    found = document(task, path)["windows"]
    taken = {(name, i) for name, s, n in train + dev for i in range(s, s + n)}
    bp = [sum((name, i) in taken for i in range(s, s + n)) for name, s, n in test]
    share = [b / n for b, (_, _, n) in zip(bp, test, strict=True)]
    assert found["rows"] == np.flatnonzero(bp).tolist() and 5 < len(found["rows"]) < 30
    assert found["share"] == pytest.approx([s for s in share if s], abs=1e-4)
    assert found["most"] == sum(s >= 0.5 for s in share) > 0
    assert found["placed"] == 54 and found["short"] == 1 and found["repeated"] == 0
    assert found["bp"][1] == np.median([b for b in bp if b])


def test_of_a_repeat_the_first_places_are_kept(tmp_path):
    rng = np.random.default_rng(9)
    unit = rng.integers(0, 4, 40, np.uint8)
    text = "".join(np.array(list("ACGT"))[np.tile(unit, 130)])
    (tmp_path / "g.fa").write_text(f">r\n{'N' * 50}{text}\n")
    places = _windows.locate(sequences([unit, np.append(unit, 4)]), tmp_path / "g.fa")
    assert len(places.row) == _windows.MOST and places.repeated == 1
    assert places.start[:2].tolist() == [50, 90]


def test_a_palindrome_lies_once_where_it_lies(tmp_path):
    rng = np.random.default_rng(10)
    half = rng.integers(0, 4, 20, np.uint8)
    whole = np.concatenate([half, flipped(half)])
    (tmp_path / "g.fa").write_text(">r\n" + "".join(np.array(list("ACGT"))[whole]) + "\n")
    assert _windows.locate(sequences([whole]), tmp_path / "g.fa").start.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no sequences"), ("ACGT\n", "begins with '>'"), (">a\nACJT\n", "a: sequence 0 has 'J'")],
)
def test_a_file_that_is_no_genome_is_named(text, says, tmp_path):
    (tmp_path / "bad.fa").write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        audit(planted_task(dev=False), tmp_path / "bad.fa")
    assert "bad.fa" in str(caught.value)


# -- shortcuts ------------------------------------------------------------------------------------


def shaped(rng, y, feature):
    """Random sequences whose class shows in one number only."""
    rows = []
    for label in y:
        n = int(rng.integers(40, 50)) + (20 * label if feature == "length" else 0)
        codes = rng.integers(0, 4, n, np.uint8)
        if feature == "gc":
            codes = np.where(rng.random(n) < 0.3 + 0.3 * (label == 1), [1], [0]).astype(np.uint8)
        if feature == "n":
            codes[: 4 * label] = 4
        rows.append(codes)
    return rows


@pytest.mark.parametrize("feature", ["length", "n", "gc"])
def test_a_class_that_shows_in_one_number_is_seen_by_that_number(feature):
    rng = np.random.default_rng(11)
    splits = {}
    for name, n in (("train", 300), ("test", 150)):
        y = np.arange(n) % 3 if feature != "gc" else np.arange(n) % 2
        splits[name] = shaped(rng, y, feature), y
    classes = ("0", "1", "2") if feature != "gc" else ("0", "1")
    kind = "multiclass" if len(classes) > 2 else "binary"
    found = document(task_of(splits, classes=classes, kind=kind))["shortcuts"]
    others = {"length": ["gc", "n"], "n": ["length"], "gc": ["length", "n"]}[feature]
    assert found[feature] == 1 if feature != "gc" else found["gc"] > 0.9
    assert all(abs(found[o]) < 0.3 for o in others) and found["majority"] == 0


def test_words_score_as_a_logistic_regression_of_counted_strings():
    task = planted_task(n=300, dev=False, length=40)
    train, test = task.load("train"), task.load("test")

    def counted(split):
        words = []
        for k in (1, 2, 3):
            words += [
                "".join("ACGT"[(i >> 2 * j) & 3] for j in range(k))[::-1] for i in range(4**k)
            ]
        starts = [[t[i : i + len(w)] for i in range(len(t) - len(w) + 1)] for t in texts(split)
                  for w in words]  # fmt: skip
        shares = [s.count(w) / len(s) for s, w in zip(starts, words * len(split.y), strict=True)]
        return np.reshape(shares, (len(split.y), -1))

    x, z = counted(train), counted(test)
    np.testing.assert_allclose(_shortcuts.word_shares(test.seqs), z, atol=1e-6)
    mean, sd = x.mean(0), x.std(0)
    fit = LogisticRegression(max_iter=1000, tol=1e-3).fit((x - mean) / sd, train.y)
    expected = matthews_corrcoef(test.y, fit.predict((z - mean) / sd))
    assert document(task)["shortcuts"]["words"] == pytest.approx(expected, abs=0.02)
    assert expected > 0.1


def test_bins_hold_class_shares():
    x = np.repeat([1.0, 2.0, 5.0], [10, 10, 20])
    y = np.concatenate([[0] * 8 + [1] * 2, [1] * 10, [0] * 10 + [1] * 10])
    logits = _shortcuts.binned(x, y, np.array([0.0, 1.4, 1.6, 9.0]), 2)
    prior = np.array([18, 22]) / 40
    expected = np.log(np.array([[8, 2], [8, 2], [0, 10], [10, 10]]) + prior)
    np.testing.assert_allclose(logits, expected, atol=1e-8)


# -- what is made of it ---------------------------------------------------------------------------


def copied_task(dev=True):
    """60 of the 200 test sequences are in train, 20 more in dev."""
    rng = np.random.default_rng(12)
    rows = random_rows(rng, 600, 60)
    splits = {
        "train": (rows[:300], np.arange(300) % 2), "dev": (rows[300:400], np.arange(100) % 2),
        "test": (rows[240:320] + rows[480:], np.arange(200) % 2),
    }  # fmt: skip
    return task_of({name: part for name, part in splits.items() if dev or name != "dev"})


def test_scores_without_leaks_are_those_of_the_examples_that_are_left():
    found = audit(copied_task())
    rng = np.random.default_rng(13)
    y = np.arange(200) % 2
    logits = rng.normal(size=(200, 2))
    logits[np.arange(80), y[:80]] += 10  # what is known by heart
    scores = scores_without_leaks(found, y, logits, ["mcc", "f1_macro"])
    guess = logits.argmax(1)
    assert scores["all"]["examples"] == 200 and scores["without"]["examples"] == 120
    assert scores["all"]["mcc"] == pytest.approx(matthews_corrcoef(y, guess))
    assert scores["without"]["mcc"] == pytest.approx(matthews_corrcoef(y[80:], guess[80:]))
    assert scores["without"]["f1_macro"] == pytest.approx(
        f1_score(y[80:], guess[80:], average="macro")
    )
    assert scores["all"]["mcc"] > scores["without"]["mcc"] + 0.2
    some = rng.permutation(200)[:90]
    ids = np.array([f"test{i}" for i in some])
    part = scores_without_leaks(found, y[some], logits[some], ["accuracy"], ids)["without"]
    left = some[some >= 80]
    assert part == {"examples": len(left), "accuracy": accuracy_score(y[left], guess[left])}
    with pytest.raises(ValueError, match=r"90 predictions.*200 examples.*ids"):
        scores_without_leaks(found, y[some], logits[some], ["accuracy"])
    nothing = scores_without_leaks(found, y[:3], logits[:3], ["mcc"], np.array(["test0"] * 3))
    assert nothing["without"] == {"examples": 0}


def test_dev_counts_as_train_and_is_not_needed():
    with_dev, without = audit(copied_task()), audit(copied_task(dev=False))
    assert (~leak_free_mask(with_dev)).sum() == 80 and (~leak_free_mask(without)).sum() == 60
    assert list(without.across) == ["train-test"] and len(with_dev.across) == 3
    assert "train or dev" in markdown(json.loads(with_dev.to_json()))
    assert " dev" not in markdown(json.loads(without.to_json())).split("###")[0]


def test_a_task_without_a_test_split_is_refused():
    with pytest.raises(ValueError, match="no test split"):
        audit(task_of({"train": ([np.zeros(30, np.uint8)], [0])}))


def test_json_comes_back_and_is_the_same_bytes_again():
    first, again = audit(copied_task()), audit(copied_task())
    assert first.to_json() == again.to_json()
    assert Audit.from_json(first.to_json()).to_json() == first.to_json()
    assert json.loads(first.to_json())["schema"] == "dnabench.audit/1"
    np.testing.assert_array_equal(
        leak_free_mask(Audit.from_json(first.to_json())), leak_free_mask(first)
    )


@pytest.mark.parametrize("text", ["[]", '{"schema": "dnabench.audit/9"}', '{"schema": 1}'])
def test_another_json_is_refused(text):
    with pytest.raises(ValueError, match=r"not a dnabench\.audit/1"):
        Audit.from_json(text)
    with pytest.raises(ValueError, match="missing or unknown"):
        Audit.from_json('{"schema": "dnabench.audit/1", "classes": []}')


def test_conditions_hold_or_not():
    found = document(copied_task())
    conditions = ["train-test-duplicates>0", "train-test-duplicates>60", "leaked-share >= .4"]
    conditions += ["dev-test-duplicates == 20", "shortcut-majority!=0", "leaked<80", "leaked<=80"]
    held = fail_on(found, conditions)
    assert [line.split(": ")[1] for line in held] == [
        "train-test-duplicates>0", "leaked-share >= .4", "dev-test-duplicates == 20", "leaked<=80",
    ]  # fmt: skip
    assert held[0] == "made/up: train-test-duplicates>0: it is 60"
    assert facts(found)["class-shift"] == 0


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("train-test-duplicate>0", "did you mean train-test-duplicates.*leaked-share"),
        ("leaked", "write NAME>NUMBER"), ("leaked>many", "write NAME>NUMBER"),
        ("leaked=>1", "write NAME>NUMBER"),
        ("train-test-shared-windows>0", "not measured.*no genome was given"),
    ],
)  # fmt: skip
def test_conditions_that_mean_nothing_are_explained(condition, says):
    with pytest.raises(ValueError, match=says):
        fail_on(document(copied_task()), [condition])


def test_tasks_of_the_family_in_other_suites_are_named():
    assert "demo/cell_type" in audit(planted_task(family="accessibility")).related
    alone = planted_task(family="accessibility", name="demo/another")
    assert not [name for name in audit(alone).related if name.startswith("demo/")]
    assert audit(planted_task()).related == []


class Balanced(HTMLParser):
    """Fails at a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.rows = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def odd_document(tmp_path):
    """An audit with everything in it, under names that mean something to Markdown and HTML."""
    rng = np.random.default_rng(14)
    rows = random_rows(rng, 40, 80)
    (tmp_path / "a<b>.fa").write_text(
        ">c\n" + "".join(np.array(list("ACGT"))[np.concatenate(rows)])
    )
    task = task_of(
        {"train": (rows[:30], [0, 1] * 15), "test": (rows[25:], [0, 1, 0] * 5)},
        classes=("a|b", "<i>c_d"), family="splicing",
    )  # fmt: skip
    object.__setattr__(task, "name", "made/<b>|_up_&amp;")
    return document(task, tmp_path / "a<b>.fa")


def test_markdown_tables_have_equal_columns_and_odd_names_stay_text(tmp_path):
    found = odd_document(tmp_path)
    for text in (markdown(found), overview([found, found])):
        for block in text.split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            assert len({line.replace(r"\|", "").count("|") for line in lines}) <= 1
        assert r"made/\<b>\|\_up\_\&amp;" in text
    text = markdown(found)
    for words in ("Splits", "Copies", "Shared windows", "Shortcuts", "demo/splice", "5 of 15"):
        assert words.replace("_", r"\_") in text


def test_html_is_balanced_escaped_and_needs_nothing_else(tmp_path):
    found = odd_document(tmp_path)
    found["pairs"] = [
        {"split": "train", "id": "<b>", "other_split": "test", "other_id": "<b>", "strand": "+"}
    ] * 2
    text = html([found, document(copied_task())])
    page = Balanced()
    page.feed(text)
    page.close()
    assert not page.open and min(page.rows) > 1
    assert "made/&lt;b&gt;|_up_&amp;amp;" in text and "<b>" not in text and "<i>" not in text
    assert text.startswith("<section") and text.count("<section") == 1
    assert not any(word in text for word in ("http", "<script", "<link", "@import", "url("))


def test_every_kind_has_a_text():
    rng = np.random.default_rng(15)
    for kind, labels in LABELS.items():
        found = document(task_of(small_pool(rng, labels), kind=kind))
        assert "Splits" in markdown(found) and "Splits" in html([found])


def test_neither_the_audit_nor_its_text_needs_torch_or_pandas():
    code = (
        "import sys, dnabench.tasks.audit.audit, dnabench.reports.text.audit\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_copies_are_numbered_as_they_appear():
    rng = np.random.default_rng(16)
    task = task_of(small_pool(rng, LABELS["binary"]))
    splits = {name: task.load(name) for name in NAMES}
    found = _copies.copies(splits)
    pool = [t for s in splits.values() for t in texts(s)]
    shown = texts(Split(_copies.representatives(splits, found), None, None))
    either = np.concatenate([found.either[name] for name in NAMES])
    assert shown == [pool[i] for i in found.first] and (np.diff(found.first) > 0).all()
    assert all(shown[e] in (t, reverse(t)) for e, t in zip(either, pool, strict=True))
