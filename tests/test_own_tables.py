"""Odd tables of a user's own: Parquet and Arrow as others write them."""

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
