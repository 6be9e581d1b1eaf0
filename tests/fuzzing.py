"""Good files for every reader, and damaged copies of them; for test_fuzz_own.py and bench/fuzz.py.

A reader gives a result or one of ERRORS, which the command line turns into one message. Readers of
published data may fail in any way: `data import` reports it with the task's name, and goes on.
"""

import contextlib
import gzip
import io
import json
import resource
import shutil
import tarfile
import time
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
from test_formats import open_document

from dnabench.results.store import Store
from dnabench.tasks import bend, deepsea, deepstarr
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.archives import unpack
from dnabench.tasks.io.chunks import tables
from dnabench.tasks.io.fasta import records
from dnabench.tasks.io.files import task_from_path
from dnabench.tasks.io.reading import read_own
from dnabench.tasks.io.unlabelled import read_parts
from dnabench.tasks.io.variants import unlabelled_variants
from dnabench.tokens.bpe import bpe_from_file, save, train_bpe
from dnabench.types import OwnData, Record, Sequences

ERRORS = (ValueError, KeyError, OSError)
SECONDS, MEMORY = 5, 1 << 30  # of one reading
RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("ACGT"), 40)) for _ in range(30)]
CSV = "sequence,label\n" + "".join(f'"{t}",{i % 2}\n' for i, t in enumerate(TEXTS))
PAIRS = "reference,alternative\n" + "".join(f"{t},{t[1:]}A\n" for t in TEXTS)
CELLS = [["sequence", "label"], *([t, i % 2] for i, t in enumerate(TEXTS))]
FASTA = "".join(f">s{i}|{i % 2}\n{t}\n" for i, t in enumerate(TEXTS))
LINE = "chr1\tx\tCDS\t{}\t{}\t.\t+\t0\t{}\n"
GFF = "##gff-version 3\n" + "".join(
    LINE.format(100 * i + 1, 100 * i + 60, f"ID=c{i};Parent=t{i // 2}") for i in range(20)
)
GTF = "".join(
    LINE.format(100 * i + 1, 100 * i + 60, f'gene_id "g{i // 2}"; transcript_id "t{i // 2}";')
    for i in range(20)
)


GENOME = ">chr1\n" + "\n".join(TEXTS) + "\n"
BED = "".join(f"chr1\t{s}\t{s + 20}\tr\t0\t{'+-'[s % 2]}\n" for s in range(31, 1100, 111))
PEAKS = "".join(f"chr1\t{s}\t{s + 20}\tr\t0\t.\t1.5\t2\t-1\t7\n" for s in range(31, 1100, 111))
BASES = "".join(TEXTS)
VCF = "##fileformat=VCFv4.2\n" + "".join(
    f"chr1\t{at + 1}\t.\t{BASES[at]}\t{'ACGT'[BASES[at] == 'A']}\t9\tPASS\tDP=3;LABEL={i % 2}\n"
    for i, at in enumerate(range(30, 1150, 40))
)


class Reader(NamedTuple):
    """`make(path)` writes a good file, perhaps with others beside it; `read(path)` reads it."""

    file: str
    make: object
    read: object
    errors: tuple = ERRORS


def text(content):
    return lambda path: path.write_text(content)


def zipped(content):
    return lambda path: path.write_bytes(gzip.compress(content.encode()))


def columnar(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"sequence": TEXTS, "label": [i % 2 for i in range(30)]})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)


def bend_files(path):
    import h5py

    rows = [("chr1", 20 * i, 20 * i + 20, ("train", "valid", "test")[i % 3]) for i in range(6)]
    head = "chromosome\tstart\tend\tstrand\tgene_id\tsplit\n"
    lines = [f"{c}\t{a}\t{b}\t+\tG\t{s}" for c, a, b, s in rows]
    (path.parent / "gene_finding.bed").write_text(head + "\n".join(lines) + "\n")
    (path.parent / bend.GENOME).write_text(">chr1\n" + "\n".join(TEXTS) + "\n")
    with h5py.File(path.parent / "gene_finding.hdf5", "w") as f:
        f.create_dataset("labels", data=np.full((6, 20), 8, "i8"), compression="gzip")


def bend_of(path):
    return list(bend.read(bend.recognise(path.parent)))


def deepsea_file(path):
    import h5py
    import scipy.io

    channel, y = RNG.integers(0, 4, (3, 1000)), RNG.integers(0, 2, (3, 919)).astype("u1")
    x = (channel[:, None] == np.arange(4)[:, None]).astype("u1")
    if path.name == "train.mat":
        with h5py.File(path, "w", userblock_size=512) as f:
            f.create_dataset("trainxdata", data=x.transpose(2, 1, 0), chunks=True,
                             compression="gzip")  # fmt: skip
            f.create_dataset("traindata", data=y.T)
    else:
        scipy.io.savemat(path, {"testxdata": x, "testdata": y}, do_compression=True)


def deepsea_of(path):
    split = "train" if path.name == "train.mat" else "test"
    return list(deepsea.read({split: (path,)}))


def deepstarr_files(path):
    values = "".join(f"{i / 7:.3f}\t{i / 3:.3f}\n" for i in range(30))
    columns = "\t".join(deepstarr.COLUMNS)
    (path.parent / "Sequences_activity_Test.txt").write_text(f"{columns}\n{values}")
    (path.parent / "Sequences_Test.fa").write_text(FASTA)


def deepstarr_of(path):
    files = path.parent / "Sequences_Test.fa", path.parent / "Sequences_activity_Test.txt"
    return list(deepstarr.read({"test": files}))


def archive(path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("mouse/0/train.csv", CSV)
            z.writestr("mouse/0/test.csv", CSV)
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("mouse/0/train.csv")
            info.size = len(CSV)
            tar.addfile(info, io.BytesIO(CSV.encode()))


def unpacked(path):
    target = path.parent / "unpacked"
    try:
        return unpack(path, target)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def a_record(path):
    from test_reports import record

    path.write_text(record().to_json())


def predictions(path):
    rows = {"logits": RNG.normal(size=(50, 2)), "labels": np.arange(50) % 2, "ids": np.arange(50)}
    with path.open("wb") as f:
        np.savez_compressed(f, **rows)


def predictions_of(path):
    return Store(path.parents[1]).predictions(path.stem)


def own(name, make):
    return Reader(name, make, task_from_path)


def on_genome(name, make, **more):
    """A file of regions or variants, or the genome of `a.bed` beside it."""

    def made(path):
        (path.parent / "g.fa").write_text(GENOME)
        (path.parent / "a.bed").write_text(BED)
        make(path)

    def read(path):
        where = path.parent / "a.bed" if path.suffix == ".fa" else path
        own = OwnData(genome=str(path.parent / "g.fa"), length=20, **more)
        return task_from_path(where, own=own)

    return Reader(name, made, read)


def workbook(path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["sequence", "label"], *([t, i % 2] for i, t in enumerate(TEXTS))]:
        book.active.append(row)
    book.save(path)


def labelled(path):
    (path.parent / "a.txt").write_text("\n".join(TEXTS) + "\n")
    (path.parent / "labels.txt").write_text("0\n1\n" * 15)


def labelled_of(path):
    labels = str(path.with_name("labels.txt"))
    return task_from_path(path.with_name("a.txt"), own=OwnData(labels=labels))


def stream(name, make):
    return Reader(name, make, lambda path: list(read_parts(path)))


def variants_of(path):
    found = unlabelled_variants(path, path.parent / "g.fa", 20, lambda note: None)
    return [len(first) + len(second) for _, first, second in found]


def pieces(name, make):
    return Reader(name, make, lambda path: list(tables(path)))


READERS = {
    "own csv": own("a.csv", text(CSV)),
    "own tsv": own("a.tsv", text(CSV.replace(",", "\t"))),
    "own csv.gz": own("a.csv.gz", zipped(CSV)),
    "own fasta": own("a.fa", text(FASTA)),
    "own jsonl": own("a.jsonl", text("\n".join(
        json.dumps({"sequence": t, "label": i % 2}) for i, t in enumerate(TEXTS)))),
    "own parquet": own("a.parquet", columnar),
    "own arrow": own("a.arrow", columnar),
    "own text": Reader("a.txt", text("\n".join(TEXTS)), lambda p: read_own(p, OwnData(every="1"))),
    "own xlsx": own("a.xlsx", workbook),
    "own bed": on_genome("a.bed", text(BED)),
    "own narrowPeak": on_genome("a.narrowPeak", text(PEAKS)),
    "own genome": on_genome("g.fa", text(GENOME)),
    "own vcf": on_genome("a.vcf", text(VCF), label=("LABEL",)),
    "own ods": own("a.ods", lambda path: open_document(path, CELLS)),
    "own labels": Reader("labels.txt", labelled, labelled_of),
    "predict csv": stream("a.csv", text(CSV)),
    "predict fasta": stream("a.fa", text(FASTA)),
    "predict fasta.gz": stream("a.fa.gz", zipped(FASTA)),
    "predict parquet": stream("a.parquet", columnar),
    "predict pairs": Reader("a.csv", text(PAIRS), lambda p: list(read_parts(p, pairs=True))),
    "predict vcf": on_genome("a.vcf", text(VCF))._replace(read=variants_of),
    "import csv": pieces("a.csv", text(CSV.replace('"', ""))),
    "import csv.gz": pieces("a.csv.gz", zipped(CSV.replace('"', ""))),
    "import fasta": pieces("a.fa", text(FASTA)),
    "import parquet": pieces("a.parquet", columnar),
    "annotation gff3": Reader("a.gff3", text(GFF), read_annotation),
    "annotation gff3.gz": Reader("a.gff3.gz", zipped(GFF), read_annotation),
    "annotation gtf": Reader("a.gtf", text(GTF), read_annotation),
    "genome fasta": Reader("a.fa", text(FASTA), lambda p: [list(r[2]) for r in records(p)]),
    "bend bed": Reader("gene_finding.bed", bend_files, bend_of, (Exception,)),
    "bend hdf5": Reader("gene_finding.hdf5", bend_files, bend_of, (Exception,)),
    "bend genome": Reader(bend.GENOME, bend_files, bend_of, (Exception,)),
    "deepsea hdf5": Reader("train.mat", deepsea_file, deepsea_of, (Exception,)),
    "deepsea mat": Reader("test.mat", deepsea_file, deepsea_of, (Exception,)),
    "deepstarr table": Reader("Sequences_activity_Test.txt", deepstarr_files, deepstarr_of,
                              (Exception,)),
    "deepstarr fasta": Reader("Sequences_Test.fa", deepstarr_files, deepstarr_of, (Exception,)),
    "archive zip": Reader("a.zip", archive, unpacked),
    "archive tar.gz": Reader("a.tar.gz", archive, unpacked),
    "record": Reader("r.json", a_record, lambda p: Record.from_json(p.read_text("utf-8"))),
    "predictions": Reader("predictions/p.npz", predictions, predictions_of),
    "tokenizer": Reader("t.json", lambda p: save(train_bpe(Sequences.parse(TEXTS), 30), p),
                        bpe_from_file),
}  # fmt: skip


def damaged(raw, rng):
    """One to four changes: mostly a byte; a cut, a repeat, digits, other letters, an early end."""
    out = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, max(1, len(out))))
        way = rng.choice(6, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
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


class Outcome(NamedTuple):
    """read, refused, or what is wrong; CPU seconds; bytes by which the peak of memory grew."""

    what: str
    seconds: float
    memory: int


def tried(name, folder, seeds):
    """Read a damaged copy for each seed, in `folder`; yields (seed, Outcome)."""
    reader = READERS[name]
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.make(path)
    good = path.read_bytes()
    for _ in range(2):  # what a reader imports and keeps is not of the damaged file
        reader.read(path)
    for seed in seeds:
        path.write_bytes(damaged(good, np.random.default_rng([seed, len(good)])))
        before, start = _peak(), time.process_time()
        what = "read"
        with contextlib.suppress(Exception):
            try:
                reader.read(path)
            except reader.errors as e:
                what = "refused" if str(e) else f"{type(e).__name__} without a message"
            except BaseException as e:
                what = f"{type(e).__name__}: {e}"
                raise
        seconds, grown = time.process_time() - start, _peak() - before
        if seconds > SECONDS or grown > MEMORY:
            what = f"{seconds:.1f} s, {grown:,} bytes"
        yield seed, Outcome(what, seconds, grown)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
