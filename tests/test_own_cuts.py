"""Splits cut from a user's data: every class on both sides, and an id for each cut."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from dnabench.protocols import protocol_for, protocol_named
from dnabench.splits import cut, random_tenth
from dnabench.sweep.grid import Request, grid
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData


def unrelated(n, label, seed):
    rng = np.random.default_rng(seed)
    return [("".join(rng.choice(list("ACGT"), 60)), label) for _ in range(n)]


def windows(n, label, seed):
    """Overlapping stretches of one sequence: one group of related ones."""
    text = "".join(np.random.default_rng(seed).choice(list("ACGT"), 80 + 5 * n))
    return [(text[5 * i : 5 * i + 80], label) for i in range(n)]


def write(path, rows, header="sequence,label"):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def test_a_class_in_one_group_is_no_test_split_and_the_message_says_what_helps(tmp_path):
    rows = [*unrelated(40, "a", 0), *windows(30, "b", 1), *unrelated(40, "c", 2)]
    path = write(tmp_path / "my.csv", rows)
    with pytest.raises(ValueError, match="class 'b' cannot be in both train and test") as e:
        task_from_path(path)
    for part in ("30 examples are in one group", "--split-by COLUMN", "--no-leak-check"):
        assert part in str(e.value)
    task = task_from_path(path, own=OwnData(leak_check=False))
    assert np.bincount(task.load("test").y).tolist() == [8, 6, 8]
    rows = [*unrelated(40, "a", 0), *unrelated(1, "b", 1)]  # no cut can help this class
    task = task_from_path(write(tmp_path / "one.csv", rows))
    assert "; test split: 20 % of train, set aside" in task.source


def test_a_validation_without_a_class_is_refused_with_the_way_out(tmp_path):
    write(tmp_path / "my" / "train.csv", [*unrelated(40, "a", 0), *windows(30, "b", 1)])
    write(tmp_path / "my" / "test.csv", [*unrelated(5, "a", 3), *unrelated(5, "b", 4)])
    task = task_from_path(tmp_path / "my")
    protocol = protocol_for("last-epoch", task)
    says = "class 'b' cannot be in both train and a validation .*--protocol last-epoch/1"
    with pytest.raises(ValueError, match=says):
        cut(task, protocol, seed=0)
    train, val = cut(task, protocol_named("honest/1"), seed=0)
    assert set(train.y) == set(val.y) == {0, 1}


def digest(*lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()[:16]


def test_the_id_follows_the_cut_and_stays_where_dnabench_cuts_at_random_or_not(tmp_path):
    one = write(tmp_path / "one.csv", [*unrelated(20, "a", 0), *unrelated(20, "b", 1)])
    folder = tmp_path / "my"
    train = write(folder / "train.csv", [*unrelated(20, "a", 0), *unrelated(20, "b", 1)])
    test = write(folder / "test.csv", [*unrelated(5, "a", 3), *unrelated(5, "b", 4)])
    sha = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in (one, train, test)}
    at_random = digest(f"all {sha[one]}")
    assert task_from_path(one, own=OwnData(leak_check=False)).data == at_random
    assert task_from_path(one).data == digest(f"all {sha[one]}", "cut=related/1")
    assert task_from_path(folder).data == digest(f"test {sha[test]}", f"train {sha[train]}")


def test_the_names_of_files_that_are_the_groups_are_in_the_id(tmp_path):
    own = OwnData(split_by="file")
    for i, name in enumerate("abcde"):
        rows = [*unrelated(8, "x", i), *unrelated(8, "y", i + 9)]
        write(tmp_path / "my" / f"{name}.csv", rows)
    before = task_from_path(tmp_path / "my", own=own)
    (tmp_path / "my" / "a.csv").rename(tmp_path / "my" / "z.csv")
    after = task_from_path(tmp_path / "my", own=own)
    assert before.load("train").seqs.codes.tolist() != after.load("train").seqs.codes.tolist()
    assert before.data != after.data


@pytest.mark.parametrize("form", ["pk{i}::chr1:{a}-{b}(+)", "chr1:{b}-{a}", "chr1:{a}-{b}"])
def test_overlaps_are_found_in_names_of_bedtools_and_in_ends_before_starts(form, tmp_path):
    lines, overlapping = [], set()
    for i, (text, _) in enumerate(unrelated(40, "x", 0)):
        a = 10_000 * i if i not in (4, 7) else 500_000 + i
        name = form.format(i=i, a=a, b=a + 60)
        overlapping |= {name} if i in (4, 7) else set()
        lines += [f">{name}|{'xy'[i % 2]}", text]
    (tmp_path / "my.fa").write_text("\n".join(lines))
    task = task_from_path(tmp_path / "my.fa")
    assert task.clusters == "homology or coordinates"
    group = {}
    for split in ("train", "test"):
        part = task.load(split)
        group |= dict(zip(part.ids.tolist(), part.clusters.tolist(), strict=True))
    assert len({group[name] for name in overlapping}) == 1 and len(set(group.values())) == 39


@pytest.mark.parametrize("own_ids", [False, True])
def test_ids_of_a_split_in_several_files_are_unique(own_ids, tmp_path):
    rows = iter(unrelated(48, "x", 0))
    for name in ("train-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002"):
        lines = [(next(rows)[0], "xy"[i % 2], f"n{i}") for i in range(16)]
        header = "sequence,label,id" if own_ids else "sequence,label,other"
        write(tmp_path / "my" / f"{name}.csv", lines, header)
    task = task_from_path(tmp_path / "my")
    ids = task.load("test").ids.tolist()
    assert len(set(ids)) == len(ids) == 32
    assert ids[16] == f"test-00001-of-00002.csv:{'n0' if own_ids else '1'}"
    assert task.load("train").ids[0] == ("n0" if own_ids else "train:1")


def test_validation_keeps_the_groups_of_the_column_and_related_sequences_together(tmp_path):
    rows = []
    for i in range(12):
        rows += [(text, "xy"[j % 2], f"chr{i}") for j, (text, _) in enumerate(unrelated(6, "", i))]
    rows += [(text, "xy"[i], f"chr{i}") for i, (text, _) in enumerate(windows(2, "", 99))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,chrom")
    task = task_from_path(path, own=OwnData(test_groups=("chr5",)))
    column = {text: chrom for text, _, chrom in rows}
    sides = []
    for part in cut(task, protocol_for("honest", task), seed=0):
        sides.append({column[part.seqs[i]] for i in range(len(part.y))})
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    assert ("chr0" in sides[0]) == ("chr1" in sides[0])  # linked by related sequences
    few = write(tmp_path / "few.csv", [r for r in rows if r[2] in ("chr0", "chr1", "chr5")],
                "sequence,label,chrom")  # fmt: skip
    task = task_from_path(few, own=OwnData(test_groups=("chr5",)))
    assert any("only 0.0% of it are in others" in note for note in task.notes)
    train, val = cut(task, protocol_for("honest", task), seed=0)
    assert len(val.y) == 2 and set(train.clusters).isdisjoint(val.clusters)
    with_dev = task_from_path(few, own=OwnData(test_groups=("chr5",), dev_groups=("chr1",)))
    assert not any("in others" in note for note in with_dev.notes)


def test_train_of_one_group_of_related_sequences_says_what_helps(tmp_path):
    rows = [(t, "xy"[i % 2], f"chr{i % 2}") for i, (t, _) in enumerate(windows(40, "", 99))]
    rows += [(t, "xy"[i % 2], "chr5") for i, (t, _) in enumerate(unrelated(10, "", 3))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,chrom")
    task = task_from_path(path, own=OwnData(test_groups=("chr5",)))
    with pytest.raises(ValueError, match=r"train is 1 group of examples .*--dev-groups.*honest/1"):
        cut(task, protocol_for("honest", task), seed=0)
    assert not any("related sequences link" in note for note in task.notes)  # nor can they be cut
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert task.data == digest(f"all {sha}", "test_groups=('chr5',)", "cut=related/1")


@pytest.mark.parametrize("leak_check", [True, False])
def test_a_large_group_that_nothing_links_to_others_stays_whole(leak_check, tmp_path):
    sizes = {"chr1": 96, "chr2": 2, "chr3": 20}
    rows = [
        (text, "xy"[j % 2], chrom)
        for i, (chrom, n) in enumerate(sizes.items())
        for j, (text, _) in enumerate(unrelated(n, "", i))
    ]
    path = write(tmp_path / "my.csv", rows, "sequence,label,chrom")
    own = OwnData(split_by="chrom", test_groups=("chr3",), leak_check=leak_check)
    task = task_from_path(path, own=own)
    train, val = cut(task, protocol_for("honest", task), seed=0)
    assert (len(train.y), len(val.y)) == (96, 2)
    assert not any("link" in note for note in task.notes)
    last = "cut=related/1" if leak_check else None
    flags = ["split_by=chrom", "test_groups=('chr3',)"]
    flags = flags if leak_check else ["leak_check=False", *flags]
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert task.data == digest(*filter(None, [f"all {sha}", *flags, last]))


@pytest.mark.parametrize("leak_check", [True, False])
def test_train_of_one_group_is_named_as_such(leak_check, tmp_path):
    rows = [(t, "xy"[i % 2], "ab"[i > 39]) for i, (t, _) in enumerate(unrelated(50, "", 0))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,fold")
    own = OwnData(split_by="fold", test_groups=("b",), leak_check=leak_check)
    task = task_from_path(path, own=own)
    assert not any("link" in note for note in task.notes)
    assert any("train is one group of fold, 'a', and groups stay" in note for note in task.notes)
    with pytest.raises(ValueError, match="train is 1 group of examples that stay together"):
        cut(task, protocol_for("honest", task), seed=0)
    _, val = cut(task, protocol_named("honest/1"), seed=0)
    assert len(val.y) == 4


def test_data_that_no_seed_can_cut_are_refused_before_any_trial(tmp_path):
    rows = [(t, "xy"[i % 2], "ab"[i > 39]) for i, (t, _) in enumerate(unrelated(50, "", 0))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,fold")
    own = OwnData(split_by="fold", test_groups=("b",))
    request = Request(models=["kmer"], data=str(path), own=own, seeds="3")
    with pytest.raises(ValueError, match="train is 1 group of examples that stay together"):
        grid(request)
    assert len(grid(replace(request, protocol="honest/1"))) == 3


def test_data_are_refused_where_all_seeds_fail_and_not_where_one_does(tmp_path):
    rows = [(t, "xy"[i % 2], "train") for i, (t, _) in enumerate(unrelated(20, "", 0))]
    rows += [(t, "xy"[i % 2], "test") for i, (t, _) in enumerate(unrelated(20, "", 1))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,split")
    task, bad, good = task_from_path(path), [], []
    for seed in range(10):  # the validation is two examples
        held = random_tenth(20, seed)
        (good if len(set(task.load("train").y[held])) == 2 else bad).append(seed)
    request = Request(models=["kmer"], data=str(path), protocol="caduceus-cv")
    assert len(grid(replace(request, seeds=f"{bad[0]},{good[0]}"))) == 2
    with pytest.raises(ValueError, match="the validation split has one class alone"):
        grid(replace(request, seeds=",".join(map(str, bad))))


def test_a_tiny_rest_beside_linked_groups_is_no_validation(tmp_path):
    rows = [
        (text, "xy"[j % 2], f"chr{1 + j % 2}") for j, (text, _) in enumerate(windows(12, "", 99))
    ]
    rows += [
        (text, "xy"[j % 2], f"chr{1 + j // 40}") for j, (text, _) in enumerate(unrelated(80, "", 1))
    ]
    rows += [(text, "xy"[j % 2], "chrM") for j, (text, _) in enumerate(unrelated(2, "", 2))]
    rows += [(text, "xy"[j % 2], "chr3") for j, (text, _) in enumerate(unrelated(20, "", 3))]
    path = write(tmp_path / "my.csv", rows, "sequence,label,chrom")
    task = task_from_path(path, own=OwnData(test_groups=("chr3",)))
    (note,) = (note for note in task.notes if "link groups of chrom" in note)
    assert "only 2.1% of it are in others" in note and "--dev-groups names groups" in note
    train, val = cut(task, protocol_for("honest", task), seed=0)
    assert len(train.y) + len(val.y) == 94 and 7 <= len(val.y) <= 9
    overlapping = {text for text, *_ in rows[:12]}
    sides = [overlapping & {part.seqs[i] for i in range(len(part.y))} for part in (train, val)]
    assert overlapping in sides
