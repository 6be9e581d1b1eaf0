"""Odd tables of a user's own: quotes after blanks, NUL bytes, Parquet and Arrow as others write."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabench.tasks.io.files import task_from_path

SEQS = ["".join(np.random.default_rng(i).choice(list("ACGT"), 40)) for i in range(40)]
LABELS = [i % 2 for i in range(40)]


def content(task):
    splits = [task.load(split) for split in task.counts]
    return {(s.seqs[i], task.classes[s.y[i]]) for s in splits for i in range(len(s.y))}


EXPECTED = {(seq, str(y)) for seq, y in zip(SEQS, LABELS, strict=True)}


@pytest.mark.parametrize("separator", [", ", "; ", "\t "])
def test_a_quote_may_follow_a_blank(separator, tmp_path):
    rows = zip(SEQS, LABELS, strict=True)
    lines = [f'"sequence"{separator}"label"', *(f'{s}{separator}"{y}"' for s, y in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    task = task_from_path(tmp_path / "a.csv")
    assert task.classes == ("0", "1") and content(task) == EXPECTED


def test_a_nul_byte_is_in_no_label(tmp_path):
    rows = [f"{s},{y}" + "\0" * (i == 6) for i, (s, y) in enumerate(zip(SEQS, LABELS, strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    says = r"a.csv:8: label '0\\x00' holds a NUL byte, .*; remove it, or save the file as UTF-8"
    with pytest.raises(ValueError, match=says):
        task_from_path(tmp_path / "a.csv")
    labels = [str(y) + "\0" * (i == 6) for i, y in enumerate(LABELS)]
    pq.write_table(pa.table({"sequence": SEQS, "label": labels}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a.parquet:row 7: label '0\\x00' holds a NUL byte"):
        task_from_path(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_column_that_is_not_used_may_be_there_twice(suffix, tmp_path):
    names = ["x", "sequence", "x", "label", "x"]
    columns = [LABELS, SEQS, [[1]] * 40, LABELS, ["a"] * 40]
    table = pa.Table.from_arrays(list(map(pa.array, columns)), names=names)
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    assert content(task_from_path(path)) == EXPECTED


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_arrow_may_be_a_stream_or_a_file(compression, tmp_path):
    table = pa.table({"sequence": SEQS, "label": LABELS})
    found = []
    for form in (pa.ipc.new_stream, pa.ipc.new_file):
        path = tmp_path / "a.arrow"
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with form(str(path), table.schema, options=options) as writer:
            writer.write_table(table)
        found.append(content(task_from_path(path)))
    assert found == [EXPECTED, EXPECTED]
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"a.arrow: cannot be read as arrow"):
        task_from_path(path)


def test_a_bad_letter_in_a_folder_of_a_class_names_its_file(tmp_path):
    for i, (seq, y) in enumerate(zip(SEQS, LABELS, strict=True)):
        folder = tmp_path / "d" / ("test" if i % 4 > 1 else "train") / "ab"[y]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seq{i}.txt").write_text(seq)
    (tmp_path / "d" / "train" / "a" / "seq4.txt").write_text("ACGZ")
    says = r"train/a/seq4.txt: sequence has 'Z' at position 3"
    with pytest.raises(ValueError, match=says):
        task_from_path(tmp_path / "d")
    (tmp_path / "d" / "train" / "a" / "seq4.txt").write_text("NA")
    with pytest.raises(ValueError, match=r"train/a/seq4.txt: sequence 'NA' looks like a missing"):
        task_from_path(tmp_path / "d")
