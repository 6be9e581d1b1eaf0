"""DeepSTARR: enhancer activity of 249 bp of fly DNA with two kinds of promoter.

Source:
    de Almeida et al. 2022, Nature Genetics 54:613; Zenodo record 5502060; the authors' notebook
    DeepSTARR/DeepSTARR_training.ipynb, which pairs sequences and activities by their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dnabench.tasks._declare import Origin, declare
from dnabench.tasks.io.imported import Cached, Writer
from dnabench.types import Array, LetterError, Sequences, Split, SplitName

NAME = "deepstarr/enhancer_activity"
COLUMNS = ("Dev_log2_enrichment", "Hk_log2_enrichment")
GROUPS = {"Dev": slice(0, 1), "Hk": slice(1, 2)}  # the authors have no mean of the two
WORDS: dict[SplitName, str] = {"train": "Train", "dev": "Val", "test": "Test"}
# those of Zenodo, as listed in huggingface.co/datasets/MurrellLab/GenBench, metadata.json
MD5 = {
    "Sequences_Train.fa": "fe474a31c23db2daf7dc4d1fc49a8e5a",
    "Sequences_Val.fa": "9d1a0e5c9228aa033378af93074109e6",
    "Sequences_Test.fa": "c2d831a6e2cfb9345fa5e52de76bb453",
    "Sequences_activity_Train.txt": "4e65afa021fd426c74dbf24c31b8bbf9",
    "Sequences_activity_Val.txt": "5f30e863b2239e4f9ade6e7b81b3ff3c",
    "Sequences_activity_Test.txt": "011690ca80cf967d56fefd0c1386419f",
}
CHUNK = 50_000  # sequences at a time

Files = Mapping[SplitName, tuple[Path, ...]]


def recognise(folder: Path) -> dict[SplitName, tuple[Path, ...]] | None:
    """Sequences and activities of every split that has both files; None if none has."""
    found: dict[SplitName, tuple[Path, ...]] = {}
    for split, word in WORDS.items():
        files = folder / f"Sequences_{word}.fa", folder / f"Sequences_activity_{word}.txt"
        if all(file.is_file() for file in files):
            found[split] = files
    return found or None


def read(files: Files) -> Iterator[tuple[SplitName, Split]]:
    """The splits, chunk by chunk.

    Args:
        files: of `recognise`.

    Returns:
        Pairs of split and examples; y float32 (n, 2), developmental and housekeeping activity,
        log2 of enrichment over input. Sequence i of the FASTA file belongs to row i of the
        table, which has no names.

    Raises:
        ValueError: files that do not match, a missing column, a value that is not a number.
    """
    for split, (fasta, table) in files.items():
        y = _activities(table)
        names, texts = _sequences(fasta)
        if len(texts) != len(y):
            raise ValueError(
                f"{fasta}: {len(texts)} sequences, {table} has {len(y)} rows; row i of one belongs "
                "to row i of the other, so both must be from the same download"
            )
        for start in range(0, len(y), CHUNK):
            part = slice(start, start + CHUNK)
            try:
                seqs = Sequences.parse(texts[part])
            except LetterError as e:
                raise ValueError(
                    f"{fasta}: {names[start + e.index]} has {e.letter!r} at position {e.position} "
                    "(from 0); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
                ) from None
            yield split, Split(seqs, y[part], np.array(names[part]))


def import_files(path: Path) -> Cached:
    """Import a folder that holds the files of the Zenodo record.

    Returns:
        What was written. Its notes name files that differ from the published ones
        (`not_as_published`).

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: see `read`.
    """
    files = recognise(path)
    if files is None:
        raise FileNotFoundError(
            f"{path}: no Sequences_Train.fa with Sequences_activity_Train.txt here, nor the files "
            "of Val or Test"
        )
    with Writer(NAME, str(path)) as writer:
        for split, part in read(files):
            writer.add(split, part)
        if changed := [f.name for pair in files.values() for f in pair if _md5(f) != MD5[f.name]]:
            writer.note("not_as_published", changed)
    assert writer.result is not None  # it was written
    return writer.result


def _activities(table: Path) -> Array:
    """float32 (N, 2)."""
    with table.open(encoding="utf-8") as file:
        header = [name.strip().strip('"') for name in file.readline().split("\t")]
        if missing := [name for name in COLUMNS if name not in header]:
            raise ValueError(
                f"{table}:1: no column {missing[0]!r}; found {', '.join(header)[:200]}. Columns "
                "are separated by tabs"
            )
        try:
            values = np.loadtxt(
                file, delimiter="\t", usecols=[header.index(c) for c in COLUMNS], ndmin=2
            )
        except ValueError as e:
            raise ValueError(f"{table}: {e} (rows from 0, without the header)") from e
    if (bad := ~np.isfinite(values)).any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"{table}:{row + 2}: {COLUMNS[column]} is {values[row, column]}")
    return values.astype(np.float32)


def _sequences(fasta: Path) -> tuple[list[str], list[str]]:
    """Names and sequences."""
    head, *records = ("\n" + fasta.read_text(encoding="latin-1")).split("\n>")
    if head.strip() or not records:
        raise ValueError(f"{fasta}: a FASTA file begins with '>', not {head.strip()[:20]!r}")
    parts = [record.partition("\n") for record in records]
    names, texts = [p[0].strip() for p in parts], ["".join(p[2].split()) for p in parts]
    if "" in texts:
        raise ValueError(f"{fasta}: {names[texts.index('')]} has no sequence")
    return names, texts


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


declare(
    NAME,
    kind="regression",
    classes=COLUMNS,
    metric="pearson",
    length=249,
    official={"train": 402_296, "dev": 40_570, "test": 41_186},
    source="DeepSTARR (de Almeida et al. 2022, Nature Genetics 54:613), Zenodo 5502060",
    license="not stated on Zenodo 5502060 as far as we read it (the authors' code is MIT)",
    family="enhancer_activity",
    groups=GROUPS,
    aliases=("deepstarr/deepstarr",),
    origin=Origin(
        urls=("https://zenodo.org/api/records/5502060/files-archive",),
        by_hand="download the files Sequences_{Train,Val,Test}.fa and "
        "Sequences_activity_{Train,Val,Test}.txt of https://zenodo.org/records/5502060 into one "
        "folder",
    ),
)
