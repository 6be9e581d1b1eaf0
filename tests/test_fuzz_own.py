"""Damaged copies of good files: a message or a result, never a traceback, a hang or much memory."""

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzzing import CSV, FASTA, READERS, TEXTS, predictions, tried

from dnabench.results.store import Store
from dnabench.tasks import bend, deepsea
from dnabench.tasks.io import archives, bounds, download, plain, sheets
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.chunks import tables
from dnabench.tasks.io.files import task_from_path
from dnabench.tasks.io.unlabelled import read_parts

pytest.importorskip("pyarrow")
pytest.importorskip("h5py")
EACH = 10  # copies for a reader; bench/fuzz.py makes 10,000
FOUND = {"own arrow": [20, 43], "tokenizer": [101]}  # by it: a crash and a panic of libraries


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_a_message_or_a_result(name, tmp_path):
    seeds = [*range(EACH), *FOUND.get(name, [])]
    found = [outcome for _, outcome in tried(name, tmp_path, seeds)]
    assert {one.what for one in found} <= {"read", "refused"}
    assert len(found) == len(seeds)


def test_enough_of_them():
    assert EACH * len(READERS) >= 300


def bomb(path, start=b"", unit=b"A", size=bounds.MOST_TEXT):
    """A gzip file of few bytes that unpacks to more than is read."""
    with gzip.open(path, "wb", compresslevel=9) as f:
        f.write(start)
        block = unit * (1 << 20)
        for _ in range(size // len(block) + 1):
            f.write(block)
    return path


@pytest.mark.parametrize(
    ("file", "start", "read"),
    [
        ("a.csv.gz", b"sequence,label\n", task_from_path),
        ("a.fa.gz", b">a|0\n", task_from_path),
        ("a.csv.gz", b"sequence,label\n", lambda p: list(tables(p))),
        ("a.fa.gz", b">a\n", lambda p: list(read_parts(p))),
        ("a.csv.gz", b"sequence\n", lambda p: list(read_parts(p))),
        ("a.gff3.gz", b"##gff-version 3\n", read_annotation),
    ],
)  # fmt: skip
def test_a_gzip_file_made_to_fill_memory_is_refused(file, start, read, tmp_path):
    path = bomb(tmp_path / file, start)
    says = rf"{file}: its [\d,]+ bytes unpack to more than 67,108,864: .*unpack it yourself"
    with pytest.raises(ValueError, match=says):
        read(path)


LIMITED = {  # what is read, and the limits that are below it
    "a.csv.gz": {"MOST_TEXT": 100, "MOST_TIMES": 1},
    "a.fa.gz": {"MOST_TEXT": 100, "MOST_TIMES": 1},
    "a.parquet": {"MOST_UNPACKED": 100, "MOST_TIMES": 0.1},
    "a.jsonl": {"MOST_UNPACKED": 100, "MOST_TIMES": 0.1},
    "a.xlsx": {"MOST_TEXT": 100, "MOST_TIMES": 0.1},
    "train": {"MOST_UNPACKED": 100},
    "line.csv": {"MOST_LINE": 30},
    "a.zip": {"MOST_TEXT": 100, "MOST_TIMES": 0.1},
    "members.zip": {"MAX_MEMBERS": 1},
}


@pytest.mark.parametrize("file", LIMITED)
def test_every_limit_can_be_raised_as_its_message_says(file, tmp_path, monkeypatch):
    path = tmp_path / file
    name = {"line.csv": "predict csv", "a.fa.gz": "predict fasta.gz", "a.zip": "archive zip",
            "members.zip": "archive zip"}.get(file, f"own {file[2:]}")  # fmt: skip
    if file != "train":
        reader = READERS[name]
        reader.make(path)
    else:
        for label, texts in (("a", TEXTS[:15]), ("b", TEXTS[15:])):
            (path / label).mkdir(parents=True)
            for i, text in enumerate(texts):
                (path / label / f"{i}.txt").write_text(text)
        reader = READERS["own csv"]._replace(read=lambda p: task_from_path(p.parent))
    for name, value in LIMITED[file].items():
        for module in (bounds, plain, sheets, archives):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    with pytest.raises(ValueError, match=r"more than|at most") as e:
        reader.read(path)
    assert "raise every limit tenfold: DNABENCH_LIMITS=10 in the environment" in str(e.value)
    monkeypatch.setenv("DNABENCH_LIMITS", "10000")
    assert reader.read(path)
    monkeypatch.setenv("DNABENCH_LIMITS", "0.5")
    with pytest.raises(ValueError, match=r"DNABENCH_LIMITS=0.5: give by how much limits on files"):
        reader.read(path)


def test_a_raised_limit_itself_costs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_LIMITS", "1e6")  # 64 TiB
    raw = gzip.compress(bytes(3 << 20))
    assert bounds.gunzipped(tmp_path / "a.gz", raw) == bytes(3 << 20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux: /proc/self/statm")
def test_a_gzip_file_that_memory_does_not_hold_is_said(monkeypatch):
    monkeypatch.setenv("DNABENCH_LIMITS", "1e6")
    code = (
        "import gzip, resource; from pathlib import Path; from dnabench.tasks.io import bounds; "
        "raw = gzip.compress(bytes(1 << 20)) * 2000; "
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28),) * 2); "
        "bounds.gunzipped(Path('a.gz'), raw)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ValueError: a.gz: its " in done.stderr
    assert "or more, which do not fit in memory; free some memory" in done.stderr


def test_a_large_gzip_file_of_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_TEXT", 100)  # what it unpacks to is within 200 times
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(FASTA.encode()))
    assert task_from_path(tmp_path / "a.csv.gz").counts
    assert sum(len(part.ids) for part in read_parts(tmp_path / "a.fa.gz")) >= 30


def test_lines_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_LINE", 50)
    (tmp_path / "a.gff3").write_text("##gff-version 3\n" + "x" * 60)
    with pytest.raises(ValueError, match=r"a.gff3:2: a line of more than 50 bytes; break long"):
        read_annotation(tmp_path / "a.gff3")
    (tmp_path / "a.csv").write_text("sequence\n" + "A" * 60)
    with pytest.raises(ValueError, match=r"a.csv:2: a line of more than 50 bytes"):
        list(read_parts(tmp_path / "a.csv"))


def hdf5(path, **datasets):
    import h5py

    with h5py.File(path, "w") as f:
        for name, (shape, chunks) in datasets.items():
            f.create_dataset(name, shape, "f8", chunks=chunks, compression="gzip")


def test_hdf5_arrays_that_claim_more_than_the_file_are_refused(tmp_path):
    READERS["bend bed"].make(tmp_path / "gene_finding.bed")
    hdf5(tmp_path / "gene_finding.hdf5", labels=((6, 1 << 40), (1, 1024)))
    with pytest.raises(ValueError, match=r"hdf5: it says that its .* bytes unpack to .* damaged"):
        list(bend.read(bend.recognise(tmp_path)))
    path, n = tmp_path / "train.mat", 10_000_000
    hdf5(path, xdata=((n, 4, 1000), (1, 4, 1000)), data=((n, 919), (1, 919)))
    with pytest.raises(ValueError, match=r"train.mat: it says that its"):
        list(deepsea.read({"train": (path,)}))


def test_arrow_that_claims_more_rows_than_bytes_is_refused(tmp_path):
    import pyarrow as pa

    table = pa.table({"sequence": pa.nulls(5_000_000), "label": pa.nulls(5_000_000)})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=r"a.arrow: it says that its .* 5,000,000 rows"):
        task_from_path(tmp_path / "a.arrow")


def test_arrow_whose_offsets_lead_outside_is_refused(tmp_path):
    import pyarrow as pa

    offsets = pa.py_buffer(np.array([0, 2**30, 4], np.int32).tobytes())
    text = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"ACGT"))
    table = pa.table({"sequence": text, "label": [0, 1]})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=r"a.arrow: cannot be read as arrow"):
        task_from_path(tmp_path / "a.arrow")


def test_predictions_that_do_not_fit_in_memory_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "predictions" / "p.npz"
    path.parent.mkdir()
    predictions(path)
    assert set(Store(tmp_path).predictions("p")) == {"logits", "labels", "ids"}
    monkeypatch.setattr("dnabench.results.predictions.free_memory", lambda: 100)
    monkeypatch.setattr("dnabench.results.predictions.SMALL", 0)
    with pytest.raises(OSError, match=r"memory: it unpacks to .* bytes, 100 of memory are free"):
        Store(tmp_path).predictions("p")
    with zipfile.ZipFile(path, "w") as z:  # an array that says it has 8 TB
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
        raw = np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header
        z.writestr("logits.npy", raw)
    with pytest.raises(ValueError, match=r"cannot read .*p.npz"):
        Store(tmp_path).predictions("p")


def test_an_answer_without_a_length_ends_somewhere(tmp_path, monkeypatch):
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"ACGT" * 5000)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/x"
    try:
        monkeypatch.setattr(download, "MOST_UNSAID", 100_000)
        says = r"after 100,000 bytes and does .*DNABENCH_LIMITS=10"
        with pytest.raises(download.RefusedError, match=says):
            download.download({url: ""}, tmp_path / "x", "x", lambda *_: None)
        assert not list(tmp_path.iterdir())
        monkeypatch.setenv("DNABENCH_LIMITS", "20")
        assert download.download({url: ""}, tmp_path / "x", "x", lambda *_: None).size == 2_000_000
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
