"""DeepSEA chromatin profiles: 919 marks of the middle 200 of 1,000 bp of the human genome.

train.mat is HDF5 (MATLAB 7.3), valid.mat and test.mat are older MATLAB files. In both the example
is the fastest-running index, so a few examples are spread over the whole file: HDF5 is read in
slabs of rows, the older files (2 GB at most) in one pass to one byte per base. One-hot data are
never in memory as a whole. N examples; 4 channels A, G, C, T in this order.

Source:
    Zhou and Troyanskaya 2015, Nature Methods 12:931 (order of the channels in the online methods);
    jakublipinski/build-deepsea-training-dataset, which rebuilt the files: with the channels A, G,
    C, T all but 5,256 values of train are equal, and with the labels in the order of Supplementary
    Table 2 all but 0.10 %. That table has 125 DNase, then 690 transcription factors, then 104
    histone marks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.tasks._declare import Origin, declare
from dnabench.tasks.io.bounds import check_claim
from dnabench.tasks.io.hdf5 import claimed, is_hdf5, open_hdf5
from dnabench.tasks.io.imported import Cached, Writer
from dnabench.tasks.io.matlab import arrays_in
from dnabench.types import A, Array, C, G, N, Sequences, Split, SplitName, T

NAME = "deepsea/chromatin_profile"
LENGTH, LABELS = 1000, 919
GROUPS = {"dhs": slice(0, 125), "tf": slice(125, 815), "hm": slice(815, 919)}
CLASSES = tuple(f"{g}_{k:03d}" for g, s in GROUPS.items() for k in range(s.start, s.stop))
FILES: dict[SplitName, str] = {"train": "train.mat", "dev": "valid.mat", "test": "test.mat"}
SLAB = 1 << 26  # bytes of one-hot at a time

_CODE_OF = np.full(16, N, np.uint8)  # bit k set: channel k is 1
_CODE_OF[[1, 2, 4, 8]] = [A, G, C, T]

Files = Mapping[SplitName, tuple[Path, ...]]


class Source(NamedTuple):
    """An open file; rows(a, b): codes uint8 (b - a, 1000) and labels uint8 (b - a, 919)."""

    n: int
    step: int  # rows to read at a time
    rows: Callable[[int, int], tuple[Array, Array]]


def recognise(folder: Path) -> dict[SplitName, tuple[Path, ...]] | None:
    """Those of train.mat, valid.mat and test.mat that are DeepSEA's; None if there are none."""
    found: dict[SplitName, tuple[Path, ...]] = {
        split: (folder / name,) for split, name in FILES.items() if _is_ours(folder / name)
    }
    return found or None


def read(files: Files) -> Iterator[tuple[SplitName, Split]]:
    """The splits, chunk by chunk, in bounded memory.

    Args:
        files: of `recognise`.

    Returns:
        Pairs of split and examples; y uint8 (n, 919). ids are row numbers from 1. In the official
        files rows k and k + N/2 are the two strands of one window. A base whose channels are not
        one 1 and three 0 reads as N.

    Raises:
        ValueError: another kind of file, a damaged one, other shapes, labels other than 0 and 1.
    """
    for split, (path,) in files.items():
        with opened(path) as source:
            for a in range(0, source.n, source.step):
                b = min(a + source.step, source.n)
                codes, y = source.rows(a, b)
                if (wrong := y > 1).any():
                    row, label = np.argwhere(wrong)[0]
                    raise ValueError(
                        f"{path}: label {label} of row {a + row} (from 0) is neither 0 nor 1"
                    )
                seqs = Sequences(codes.reshape(-1), np.arange(b - a + 1, dtype=np.int64) * LENGTH)
                yield split, Split(seqs, y, np.arange(a + 1, b + 1).astype("U8"))


def import_files(path: Path) -> Cached:
    """Import a folder that holds train.mat, valid.mat and test.mat, or the unpacked bundle.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: see `read`.

    Accuracy:
        Peak memory is 1.1 GB, for test.mat; train.mat takes less. See docs/benchmarks/deepsea.md.
    """
    files = recognise(path) or recognise(path / "deepsea_train")
    if files is None:
        raise FileNotFoundError(
            f"{path}: no DeepSEA file here; expected {', '.join(FILES.values())}"
        )
    with Writer(NAME, str(path)) as writer:
        for split, part in read(files):
            writer.add(split, part)
    assert writer.result is not None  # it was written
    return writer.result


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a file of either format.

    Raises:
        ValueError: another format, or not the arrays and shapes of DeepSEA.
    """
    if is_hdf5(path):
        with open_hdf5(path) as file:
            yield _from_hdf5(path, file)
    else:
        yield _from_level5(path)


def one_hot_codes(values: Array, axis: int) -> Array:
    """Codes of one-hot columns.

    Args:
        values: 4 values along `axis`: A, G, C, T.
        axis: of the channels; it is removed.

    Returns:
        uint8; a column that is not one 1 and three 0 is N.
    """
    bits = np.zeros(np.delete(values.shape, axis), np.uint8)
    for k, channel in enumerate(np.moveaxis(values, axis, 0)):
        bits |= (channel == 1).view(np.uint8) << np.uint8(k)
    codes = _CODE_OF[bits]
    if values.dtype.kind not in "bu" or values.max(initial=0) > 1:
        codes[((values != 0) & (values != 1)).any(axis)] = N
    return codes


def _from_hdf5(path: Path, file: Any) -> Source:
    """Sequences (1000, 4, N), labels (919, N), as MATLAB writes them, or (N, ...) and (N, 919)."""
    name = next((key for key in file if key.endswith("xdata")), "xdata")
    if name not in file or name[:-5] + "data" not in file:
        raise ValueError(
            f"{path}: no arrays ...xdata and ...data as in DeepSEA's files; found "
            f"{', '.join(file) or 'none'}"
        )
    x, y = file[name], file[name[:-5] + "data"]
    check_claim(path, claimed(x) + claimed(y))
    if len(y.shape) != 2 or len(x.shape) != 3:
        raise ValueError(_shapes(path, x.shape, y.shape))
    last = y.shape[0] == LABELS and y.shape[1] == x.shape[2]
    n, others = (x.shape[2], x.shape[:2]) if last else (x.shape[0], x.shape[1:])
    if sorted(others) != [4, LENGTH] or y.shape != ((LABELS, n) if last else (n, LABELS)):
        raise ValueError(_shapes(path, x.shape, y.shape))
    axis = others.index(4)

    def rows(a: int, b: int) -> tuple[Array, Array]:
        try:
            values, labels = (x[:, :, a:b], y[:, a:b]) if last else (x[a:b], y[a:b].T)
        except OSError as e:
            raise ValueError(f"{path}: damaged at rows {a} to {b} ({e}); download it again") from e
        codes = one_hot_codes(values, axis if last else axis + 1)
        return np.ascontiguousarray(codes.T if last else codes), _binary(labels.T)

    step = max(1, SLAB // (4 * LENGTH * x.dtype.itemsize))
    chunk = (x.chunks or (1, 1, 1))[2 if last else 0]  # whole chunks, each unpacked once
    whole = -(-step // chunk) * chunk
    return Source(n, whole if whole <= 4 * step else step, rows)


def _from_level5(path: Path) -> Source:
    """Sequences (N, 4, 1000) and labels (N, 919); the first index runs fastest."""
    codes: Array | None = None
    labels: Array | None = None
    for name, shape, values in arrays_in(path):
        check_claim(path, math.prod(shape))
        wanted = (4, LENGTH) if name.endswith("xdata") else (LABELS,)
        if name.endswith("data") and shape[1:] != wanted:
            raise ValueError(f"{path}: {name} is {shape}; {_WANTED}")
        if name.endswith("xdata"):
            codes = np.empty((LENGTH, shape[0]), np.uint8)
            for position in range(LENGTH):
                codes[position] = one_hot_codes(values(4 * shape[0]).reshape(4, -1), 0)
        elif name.endswith("data"):
            labels = np.empty((LABELS, shape[0]), np.uint8)
            for label in range(LABELS):
                labels[label] = _binary(values(shape[0]))
    if codes is None or labels is None or codes.shape[1] != labels.shape[1]:
        raise ValueError(f"{path}: the two arrays are missing or differ in length; {_WANTED}")
    x, y = codes, labels

    def rows(a: int, b: int) -> tuple[Array, Array]:
        return np.ascontiguousarray(x[:, a:b].T), np.ascontiguousarray(y[:, a:b].T)

    return Source(x.shape[1], max(1, SLAB // (4 * LENGTH)), rows)


_WANTED = (
    f"DeepSEA's files have ...xdata (N, 4, {LENGTH}) and ...data (N, {LABELS}) with the same N"
)


def _shapes(path: Path, x: tuple[int, ...], y: tuple[int, ...]) -> str:
    return f"{path}: sequences are {x}, labels {y}; {_WANTED}, in HDF5 in reverse order"


def _binary(labels: Array) -> Array:
    """uint8; 2 for any value but 0 and 1, which `read` reports with its place."""
    out = np.where((labels == 0) | (labels == 1), labels, 2)
    return np.ascontiguousarray(out, np.uint8)


def _is_ours(path: Path) -> bool:
    """Whether it is a file of DeepSEA's; a damaged one counts, so that it is reported."""
    if not path.is_file():
        return False
    try:
        if is_hdf5(path):
            with open_hdf5(path) as file:
                return any(key.endswith("xdata") for key in file)
        name = next(arrays_in(path))[0]
        return name.endswith("data") or not name.isidentifier()
    except Exception:  # of either reader; reading will say what is wrong
        return True


declare(
    NAME,
    kind="multilabel",
    classes=CLASSES,
    metric="auroc_mean",
    length=LENGTH,
    official={"train": 4_400_000, "dev": 8_000, "test": 455_024},
    source="DeepSEA (Zhou and Troyanskaya 2015, Nature Methods 12:931), training bundle 0.9",
    license="not stated (labels from ENCODE and Roadmap Epigenomics)",
    family="chromatin_profile",
    groups=GROUPS,
    reported="auroc_median",
    aliases=("deepsea/deepsea",),
    origin=Origin(
        urls=("http://deepsea.princeton.edu/media/code/deepsea_train_bundle.v0.9.tar.gz",),
        by_hand="download deepsea_train_bundle.v0.9.tar.gz from http://deepsea.princeton.edu/help/ "
        "and unpack it; the imported data take another 10 GB",
    ),
)
