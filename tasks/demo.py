"""The built-in suite `demo`: two real tasks inside the package, no network needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from dnabench.cache import file_sha256
from dnabench.registry import TASKS
from dnabench.tasks.io.parsing import read_table
from dnabench.types import Split, SplitName, Task

FOLDER = Path(__file__).parent / "demo_data"
SHA256 = {
    "cell_type": "494e903701356983c53c15f634dfbf91057764c6008bb182cce4cca7ad9ea3df",
    "splice_junctions": "a93b2741a4b61bc981b26b54ab3d5e38d4b3900f073dadbf4421ecb77cf7b986",
}
CELLS = ("GM12878", "HepG2", "K562", "hESCT0")
JUNCTIONS = ("acceptor", "donor", "neither")


def load_cell_type(split: SplitName) -> Split:
    """Which of four human cell types a DNase I hypersensitive site of 200 bp belongs to.

    Returns:
        train 4,000, dev 400 (chromosome 2), test 1,000 (chromosome 1); equally many of each class.

    Raises:
        ValueError: when the file in the package was changed.

    Accuracy:
        ACGT only, no sequence twice; 35 test sites share 30 bp with a training site. The sites were
        chosen by their authors to be open in one of the four cell types and in many replicates of
        it.

    Source:
        PyPI dnadiffusion 0.0.0.dev0 (MIT), a balanced subset drawn by demo_data/make.py; sites of
        Meuleman et al. 2020, Nature 584:244.
    """
    return _splits("cell_type", CELLS)[split]


def load_splice_junctions(split: SplitName) -> Split:
    """Whether the middle of 60 bp of primate DNA is a splice donor, an acceptor or neither.

    Returns:
        train 2,400, test 600 (a fixed stratified fifth); no dev split.

    Raises:
        ValueError: when the file in the package was changed.

    Accuracy:
        Of the 3,186 rows 2 hold one sequence under two labels and went out, 184 repeat a sequence;
        3,000 are left. 62 test windows share 30 bp with a training window (related genes).

    Source:
        UCI "Molecular Biology (Splice-junction Gene Sequences)", Towell, Noordewier and Shavlik
        1991, as decoded from Debian's r-cran-mlbench 2.1-3-1 by demo_data/make.py.
    """
    return _splits("splice_junctions", JUNCTIONS)[split]


@cache
def _splits(name: str, classes: tuple[str, ...]) -> dict[SplitName, Split]:
    path = FOLDER / f"{name}.csv.gz"
    found = file_sha256(path)
    if found != SHA256[name]:
        raise ValueError(f"{path}: sha256 {found}, not {SHA256[name]}; install dnabench again")
    table = read_table(path)
    y = np.searchsorted(np.array(classes), np.array(table.labels)).astype(np.int64)
    splits = np.array(table.splits)
    names: tuple[SplitName, ...] = ("train", "dev", "test")
    where = {s: np.flatnonzero(splits == s) for s in names}
    ids = np.array(table.ids)
    return {s: Split(table.encode(at), y[at], ids[at]) for s, at in where.items() if len(at)}


TASKS.add(
    Task(
        name="demo/cell_type",
        kind="multiclass",
        classes=CELLS,
        metric="mcc",
        length=200,
        counts={"train": 4000, "dev": 400, "test": 1000},
        data=SHA256["cell_type"][:16],
        load=load_cell_type,
        source="dnadiffusion 0.0.0.dev0",
        license="MIT",
        family="accessibility",
    )
)
TASKS.add(
    Task(
        name="demo/splice_junctions",
        kind="multiclass",
        classes=JUNCTIONS,
        metric="mcc",
        length=60,
        counts={"train": 2400, "test": 600},
        data=SHA256["splice_junctions"][:16],
        load=load_splice_junctions,
        source="UCI, r-cran-mlbench 2.1-3-1",
        license="CC-BY-4.0 (UCI)",
        family="splicing",
    )
)
