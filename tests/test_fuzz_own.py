"""Damaged copies of good files: a message or a task, never a traceback, a hang or much memory."""

import gzip
import json
import time
import tracemalloc

import numpy as np
import pytest

from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.files import task_from_path

pa = pytest.importorskip("pyarrow")

EACH = 45  # copies of each of seven files


def good_files(folder):
    """Small files in every format, and what reads them."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(30)]
    columns = {"sequence": texts, "label": [i % 2 for i in range(30)]}
    csv = "sequence,label\n" + "".join(f'"{t}",{i % 2}\n' for i, t in enumerate(texts))
    (folder / "a.csv").write_text(csv)
    (folder / "b.csv.gz").write_bytes(gzip.compress(csv.encode()))
    (folder / "c.fa").write_text("".join(f">s{i}|{i % 2}\n{t}\n" for i, t in enumerate(texts)))
    rows = [{"sequence": t, "label": i % 2} for i, t in enumerate(texts)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.table(columns), folder / "e.parquet")
    with pa.ipc.new_stream(str(folder / "f.arrow"), pa.table(columns).schema) as writer:
        writer.write_table(pa.table(columns))
    line = "chr1\tx\tCDS\t{}\t{}\t.\t+\t0\tID=c{};Parent=t{}\n"
    gff = "".join(line.format(100 * i + 1, 100 * i + 60, i, i // 2) for i in range(20))
    (folder / "g.gff3").write_text("##gff-version 3\n" + gff)
    return {f: read_annotation if f.suffix == ".gff3" else task_from_path
            for f in sorted(folder.iterdir())}  # fmt: skip


def damaged(raw, rng):
    """One to four changes: a byte, a cut, a repeat, digits that grow, or letters of other kinds."""
    out = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, max(1, len(out))))
        way = rng.integers(0, 6)
        if way == 0 and out:
            out[at % len(out)] = rng.integers(0, 256)
        elif way == 1:
            del out[at : at + int(rng.integers(1, 40))]
        elif way == 2:
            out[at:at] = out[at : at + 30] * int(rng.integers(1, 4))
        elif way == 3:
            out[at:at] = rng.choice([b"99999999999999999999", b"-1", b"\x00", b'"', b"nan", b"|"])
        elif way == 4:
            out[at:at] = "\ufeff\u2212\u200b".encode()
        else:
            del out[at:]
    return bytes(out)


def test_damaged_files_give_a_message_or_a_task(tmp_path):
    (tmp_path / "good").mkdir()
    rng = np.random.default_rng(1)
    refused = n = 0
    for path, read in good_files(tmp_path / "good").items():
        for _ in range(EACH):
            bad = tmp_path / f"bad{''.join(path.suffixes)}"
            bad.write_bytes(damaged(path.read_bytes(), rng))
            start = time.process_time()
            tracemalloc.start()
            try:
                read(bad)
            except ValueError as e:
                refused += 1
                assert str(bad) in str(e) or "label" in str(e), e
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert time.process_time() - start < 5 and peak < 1 << 30
            n += 1
    assert n >= 300 and n / 10 < refused < n
