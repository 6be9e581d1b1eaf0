"""demo/yeast_genes is what its page says: genes that begin with ATG and end with a stop codon."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dnabench import TASKS
from dnabench.tasks import yeast_genes
from dnabench.types import IGNORED, N

TASK = TASKS["demo/yeast_genes"]
FORWARD, REVERSE, NONCODING = range(3)
WHEEL = "transposonmapper-1.1.5-py3-none-any.whl"
WHEEL_SHA256 = "d36b782c8930f5c70e66451bc7ce168489dc6bb3453665df0ab7721ab1110097"


def test_the_page_tells_size_and_checksum_of_the_file():
    raw = yeast_genes.FILE.read_bytes()
    page = (yeast_genes.FILE.parent / "PROVENANCE.md").read_text()
    assert len(raw) < 500_000 and f"{len(raw):,}" in page
    assert hashlib.sha256(raw).hexdigest() == yeast_genes.SHA256 and yeast_genes.SHA256 in page
    assert WHEEL_SHA256 in page and "Apache License" in page


def test_windows_are_consecutive_pieces_of_the_chromosomes_of_their_split():
    chromosomes = {
        "train": {"V": 576_874, "XI": 666_816},
        "dev": {"VI": 270_161},
        "test": {"III": 316_620},
    }
    for split, lengths in chromosomes.items():
        seqs, y, ids = TASK.load(split)[:3]
        assert seqs.codes.max() < N and y.shape == (len(ids), 1000) and y.dtype == np.int8
        names, places = zip(*(i.split(":") for i in ids.tolist()), strict=True)
        assert set(names) == set(lengths)
        for name, place, n in zip(names, places, seqs.lengths.tolist(), strict=True):
            first, last = map(int, place.split("-"))
            assert first % 1000 == 1 and last - first + 1 == n
            assert n == 1000 or (n >= 500 and last == lengths[name])
        inside = np.arange(1000) < seqs.lengths[:, None]
        assert (y[~inside] == IGNORED).all() and set(np.unique(y)) == {0, 1, 2, IGNORED}
        assert (y != IGNORED).any(1).all()


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_genes_begin_and_end_as_genes_do(split):
    seqs, y, *_ = TASK.load(split)
    begins, ends = [], []
    for label, strand in {FORWARD: seqs, REVERSE: seqs.reverse_complement()}.items():
        for i in range(len(y)):
            text, row = strand[i], y[i, : seqs.lengths[i]]
            row = row if label == FORWARD else row[::-1]
            for at in range(3, len(row) - 3):
                if row[at - 1] == NONCODING and row[at] == label:
                    begins.append("gene" if text[at : at + 3] == "ATG" else text[at - 2 : at])
                if row[at - 1] == label and row[at] == NONCODING:
                    gene = text[at - 3 : at] in ("TAA", "TAG", "TGA")
                    ends.append("gene" if gene else text[at : at + 2])
    assert min(len(begins), len(ends)) > 100
    assert begins.count("gene") > 0.9 * len(begins) and ends.count("gene") > 0.9 * len(ends)
    # what is no gene's edge is an intron's, AG before the exon and GT behind it
    assert begins.count("gene") + begins.count("AG") > 0.98 * len(begins)
    assert ends.count("gene") + ends.count("GT") > 0.98 * len(ends)


def test_classes_are_about_equally_frequent():
    for split in TASK.counts:
        y = TASK.load(split).y
        share = np.bincount(y[y != IGNORED], minlength=3) / (y != IGNORED).sum()
        assert share.min() > 0.25 and share.max() < 0.42, split


def test_loading_is_fast():
    code = (
        "import time, dnabench, numpy\nfrom dnabench.tasks import yeast_genes\n"
        "t = time.perf_counter()\nyeast_genes.load('train')\nprint(time.perf_counter() - t)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seconds.append(float(done.stdout))
    assert min(seconds) < 0.3


def test_a_changed_file_is_refused(tmp_path):
    changed = bytearray(yeast_genes.FILE.read_bytes())
    changed[1000] ^= 1
    (tmp_path / "yeast_genes.npz").write_bytes(changed)
    code = (
        "from pathlib import Path\nfrom dnabench.tasks import yeast_genes\n"
        f"yeast_genes.FILE = Path({str(tmp_path / 'yeast_genes.npz')!r})\nyeast_genes.load('train')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "install dnabench again" in done.stderr


def test_the_file_is_remade_from_its_source(tmp_path):
    wheel = Path(os.environ.get("TRANSPOSONMAPPER_WHEEL", WHEEL))
    if not wheel.is_file():
        pytest.skip(f"no {WHEEL}; `pip download --no-deps transposonmapper==1.1.5` gets it, and "
                    "TRANSPOSONMAPPER_WHEEL names it")  # fmt: skip
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256 and zipfile.is_zipfile(
        wheel
    )
    script = yeast_genes.FILE.parent / "make_yeast.py"
    subprocess.run([sys.executable, script, wheel, tmp_path], check=True)
    with np.load(tmp_path / "yeast_genes.npz") as new, np.load(yeast_genes.FILE) as old:
        assert set(new) == set(old)
        for name in new:
            np.testing.assert_array_equal(new[name], old[name])
