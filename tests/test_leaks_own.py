"""Overlapping windows whose labels say nothing about the sequence: no split may score."""

import csv
import hashlib

import numpy as np
import pytest

from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import run_trial
from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

REGIONS, WINDOWS = 60, 10


def windows(path, stride, coordinates=False, splits=False, seed=0):
    """200 bp windows of unrelated regions, all windows of a region with its random label."""
    rng = np.random.default_rng(seed)
    rows = []
    for region in range(REGIONS):
        text = "".join(rng.choice(list("ACGT"), 200 + stride * (WINDOWS - 1)))
        label = int(rng.random() < 0.5)
        for i in range(WINDOWS):
            row = {"sequence": text[i * stride : i * stride + 200], "label": label}
            if coordinates:
                at = region * 100_000 // 8 + i * stride
                row |= {"chrom": f"chr{region % 8}", "start": at, "end": at + 200}
            if splits:
                row["split"] = "test" if rng.random() < 0.2 else "train"
            rows.append(row)
    order = rng.permutation(len(rows))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows[i] for i in order)
    return path


def score(path, **own):
    """MCC of kmer on test, and its 95 % interval with groups of test examples drawn again."""
    request = Request(models=["kmer"], data=str(path), seeds="1", own=OwnData(**own))
    (job,) = grid(request)
    record, found = run_trial(job)
    y, answers = found["labels"], found["logits"].argmax(1)
    groups = found.get("clusters", np.arange(len(y)))
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng, values = np.random.default_rng(0), []
    for _ in range(1000):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        a, b = y[rows], answers[rows]
        values.append(np.corrcoef(a, b)[0, 1] if a.std() and b.std() else 0.0)
    return record, np.quantile(values, [0.025, 0.975])


@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize("stride", [20, 50, 100, 150])
def test_the_default_cut_gives_a_score_whose_interval_holds_zero(stride, coordinates, tmp_path):
    path = windows(tmp_path / "leak.csv", stride, coordinates)
    record, (low, high) = score(path)
    assert low <= 0 <= high
    assert record.trial.protocol == "honest/2"
    (note,) = (n for n in record.task["notes"] if "60 groups of 600 examples" in n)
    assert "the largest of 10" in note and "a stretch of 50 bp in common" in note
    assert ("overlapping on the genome" in note) is coordinates
    assert record.task["clusters"] == "homology" + " or coordinates" * coordinates


def test_without_the_check_the_same_file_scores_and_the_record_says_so(tmp_path):
    path = windows(tmp_path / "leak.csv", 20)
    record, _ = score(path, leak_check=False)
    assert record.scores["test"]["mcc"] > 0.8 and record.trial.protocol == "honest/1"
    assert any("--no-leak-check" in note for note in record.task["notes"])
    assert record.trial.data != task_from_path(path).data


def overlapping(folder, stride, least):
    """Test windows that share `least` bp of the genome with one of train, and all test windows."""
    with windows(folder / "where.csv", stride, True, splits=True).open() as file:
        rows = [(r["chrom"], int(r["start"]), r["split"]) for r in csv.DictReader(file)]
    train = [(chrom, start) for chrom, start, split in rows if split == "train"]
    test = [(chrom, start) for chrom, start, split in rows if split == "test"]
    hit = [any(c == chrom and 200 - abs(s - start) >= least for c, s in train)
           for chrom, start in test]  # fmt: skip
    return sum(hit), len(test)


@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize("stride", [20, 50, 100, 150])
def test_a_split_that_leaks_is_said_with_the_share_and_the_command(stride, coordinates, tmp_path):
    path = windows(tmp_path / "leak.csv", stride, coordinates, splits=True)
    text = describe(task_from_path(path))
    (line,) = (line for line in text.splitlines() if "near copies of train" in line)
    n, of = (int(w) for w in line.split(":")[1].split(" test")[0].split(" of "))
    assert (n, of) == overlapping(tmp_path, stride, 1 if coordinates else 50)
    assert n > 0.85 * of and f"({n / of:.1%})" in line
    assert "`dnabench audit data --data FILE`" in line


@pytest.mark.parametrize("by", ["chrom", "homology"])
def test_groups_stay_together_whichever_way_they_are_named(by, tmp_path):
    path = windows(tmp_path / "leak.csv", 50, coordinates=True, splits=True)
    _, (low, high) = score(path, split_by=by)
    assert low <= 0 <= high
    task = task_from_path(path, own=OwnData(split_by=by))
    train, test = (set(task.load(s).clusters) for s in ("train", "test"))
    assert not train & test
    assert not any("warning" in note for note in task.notes)
    assert 0.1 < task.counts["test"] / 600 < 0.3


def test_named_groups_are_the_splits(tmp_path):
    path = windows(tmp_path / "leak.csv", 50, coordinates=True)
    own = OwnData(test_groups=("chr1", "chr2"), dev_groups=("chr3",))
    task = task_from_path(path, own=own)
    assert task.counts == {"train": 360, "dev": 80, "test": 160}
    assert "test split: chrom chr1, chr2" in task.source
    for wrong, says in (
        ({"test_groups": ("chr9",)}, "--test-groups chr9: chrom has chr0, chr1"),
        ({"split_by": "gene"}, "--split-by gene: no such column; there are chrom, start, end"),
        ({"test_groups": ("chr1",), "dev_groups": ("chr1",)}, "chr1 is in --test-groups and in"),
        ({"identity": 0.5}, "--identity 0.5 --coverage 0.8: give 0.8 to 1"),
    ):
        with pytest.raises(ValueError, match=says):
            task_from_path(path, own=OwnData(**wrong))


def test_another_seed_is_another_test_split_and_other_data(tmp_path):
    path = windows(tmp_path / "leak.csv", 50)
    one, other = (task_from_path(path, own=OwnData(split_seed=s)) for s in (0, 1))
    assert one.data != other.data
    assert one.load("test").ids.tolist() != other.load("test").ids.tolist()


def test_validation_that_is_cut_off_keeps_groups_together_too(tmp_path):
    from dnabench.protocols import protocol_named
    from dnabench.splits import cut

    task = task_from_path(windows(tmp_path / "leak.csv", 50))
    train, val = cut(task, protocol_named("honest/2"), seed=0)
    assert not set(train.clusters) & set(val.clusters)
    train, val = cut(task, protocol_named("honest/1"), seed=0)
    assert set(train.clusters) & set(val.clusters)


def test_a_share_that_groups_do_not_allow_is_said(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["gene,sequence,label"]
    for gene, n in (("a", 60), ("b", 60), ("c", 8)):
        for i in range(n):
            rows.append(f"{gene},{''.join(rng.choice(list('ACGT'), 60))},{i % 2}")
    path = tmp_path / "my.csv"
    path.write_text("\n".join(rows))
    notes = task_from_path(path, own=OwnData(split_by="gene")).notes
    assert any("6.2% of the examples are test, not 20%" in n and "46.9%" in n for n in notes), notes


@pytest.mark.parametrize(
    ("change", "group", "known"),
    [
        ({}, 2, 6), ({0: "1e+05"}, 2, 6), ({0: "100000.0"}, 2, 6), ({0: ""}, 1, 5),
        ({0: "NA"}, 1, 5), ({0: "1e+05", 3: "."}, 2, 5),
    ],
)  # fmt: skip
def test_positions_of_r_are_read_and_blank_ones_are_unknown(change, group, known, tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(6)]
    starts = {i: change.get(i, at) for i, at in enumerate((100000, 100040, 5, 700, 900, 2000))}
    rows = [f"{t},{i % 2},chr1,{starts[i]},{'' if i == 5 else i}" for i, t in enumerate(texts)]
    head = "sequence,label,chrom,start,end"  # ends that are none are those of the sequences
    (tmp_path / "my.csv").write_text("\n".join([head, *rows]) + "\n")
    task = task_from_path(tmp_path / "my.csv")
    parts = [task.load(s) for s in ("train", "test")]
    of = {p.seqs[i]: int(p.clusters[i]) for p in parts for i in range(len(p.y))}
    assert (of[texts[0]] == of[texts[1]]) == (group == 2)
    assert task.clusters == "homology or coordinates"
    assert "coordinates: chrom, start, end" in task.notes
    says = f"rows without coordinates: {6 - known} of 6"
    assert (says in task.notes) == (known < 6)


def test_a_value_that_is_no_position_is_told_with_its_line(tmp_path):
    path = windows(tmp_path / "leak.csv", 150, coordinates=True)
    lines = path.read_text().splitlines()
    chrom, start = lines[7].split(",")[2:4]
    lines[7] = lines[7].replace(f",{chrom},{start},", f",{chrom},around {start},")
    path.write_text("\n".join(lines))
    task = task_from_path(path)
    (note,) = (n for n in task.notes if "coordinates are not used" in n)
    assert f"{path}:8: start 'around {start}' is no position" in note
    assert note.startswith("warning: ") and task.clusters == "homology"
    lines[7] = lines[7].replace(f"around {start}", "")
    path.write_text("\n".join(lines))
    task = task_from_path(path)
    assert task.clusters == "homology or coordinates"
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    text = f"all {sha}\ncut=related/1\ncoordinates=some\n"  # apart from older cuts of such files
    assert task.data == hashlib.sha256(text.encode()).hexdigest()[:16]
