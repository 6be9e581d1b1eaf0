"""tasks/audit/windows.py and shortcuts.py: places in a genome, and what one number predicts."""

import gzip

import numpy as np
import pytest
from audit_cases import document, sequences, task_of, texts
from bench.audit import flipped
from conftest import planted_task
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from dnabench import Split
from dnabench.reports.text.audit import markdown
from dnabench.tasks.audit import shortcuts as _shortcuts
from dnabench.tasks.audit import windows as _windows
from dnabench.tasks.audit.audit import audit


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
    [
        ("", "bad.fa: the file is empty"),
        ("ACGT\n", "bad.fa:1: a FASTA record begins with '>name', not 'ACGT'"),
        (">b\nACGT\n>a\nACJT\n", "bad.fa:3: sequence a has 'J' at position 3"),
    ],
)
def test_a_file_that_is_no_genome_is_named(text, says, tmp_path):
    (tmp_path / "bad.fa").write_text(text)
    with pytest.raises(ValueError, match=says):
        audit(planted_task(dev=False), tmp_path / "bad.fa")


def test_a_damaged_genome_is_named_and_a_byte_order_mark_is_read(tmp_path):
    rng = np.random.default_rng(12)
    letters = rng.choice(list(b"ACGT"), 50_000).astype(np.uint8).tobytes()
    path, whole = tmp_path / "g.fa.gz", gzip.compress(b">a\n" + letters + b"\n")
    broken = bytearray(whole)
    broken[5_000:5_040] = bytes(40)
    for raw in (whole[:-4_000], bytes(broken)):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"g.fa.gz: not a complete gzip file"):
            audit(planted_task(dev=False), path)
    (tmp_path / "g.fa").write_bytes(b"\xef\xbb\xbf>a\n" + letters)
    ((name, codes),) = _windows.read_genome(tmp_path / "g.fa")
    assert name == "a" and len(codes) == 50_000


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


def paired_task(rng):
    """Variants by (split, place, alternative, label): places in windows of 60 bp, 30 before it."""
    windows = rng.integers(0, 4, (50, 60), np.uint8)
    rows = {"train": [(p, a, int(a == 1)) for p in range(40) for a in (1, 2, 3)]}
    rows["test"] = [(0, 1, 1), (1, 1, 0), (2, 0, 0)]  # the same, the same but its label, flipped
    rows["test"] += [(p, a, 0) for p in range(40, 50) for a in (1, 2)]
    rows["train"] = [r for r in rows["train"] if r not in [(3, 3, 0), (4, 3, 0)]]
    rows["test"] += [(3, 3, 0), (4, 3, 0)]  # another change at a place of train
    made = {}
    for name, of in rows.items():
        first, second = [], []
        for place, change, _ in of:
            one = windows[place]
            other = one.copy()
            other[30] = (other[30] + (change or 1)) % 4
            pair = (one, other) if change else (flipped(one), flipped(other))
            first.append(pair[0])
            second.append(pair[1])
        y = np.array([label for *_, label in of])
        ids = np.array([f"{name}{i}" for i in range(len(of))])
        made[name] = Split(sequences(first), y, ids, other=sequences(second))
    return planted_task(
        name="data/variants", counts={k: len(v.y) for k, v in made.items()}, pairs=True,
        load=made.__getitem__,
    )  # fmt: skip


def test_variants_of_one_place_are_no_copies_unless_both_alleles_are():
    found = document(paired_task(np.random.default_rng(13)))
    train, test = found["within"]["train"], found["within"]["test"]
    assert (train["duplicates"], train["conflicts"], train["rc_duplicates"]) == (0, 0, 0)
    assert train["near_duplicates"] == 118 == found["splits"]["train"]["distinct"]
    assert (test["duplicates"], test["near_duplicates"]) == (0, 20)
    across = found["across"]["train-test"]
    assert (across["duplicates"], across["rc_duplicates"]) == (2, 1)
    assert (across["near_duplicates"], across["conflicts"]) == (2, 1)
    assert found["leaked"] == {"exact": [0, 1], "rc": [2], "near": [23, 24]}
    assert found["settings"]["pairs"] and "variants of one place are near-identical" in markdown(
        found
    )
    single = document(planted_task(dev=False))
    assert "pairs" not in single["settings"] and "An example is a pair" not in markdown(single)
