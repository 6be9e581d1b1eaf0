"""Embeddings of a file of sequences, part by part, into Parquet or an array on disk.

D features, R rows: sequences, or the bases of all of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from dnabench.cache import replacing
from dnabench.networks.answers import Columns
from dnabench.networks.embedding import Embedder, Source, of_model, of_network
from dnabench.networks.network import load_network
from dnabench.networks.region_file import region_rows
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.unlabelled import read_parts, whole_sequences
from dnabench.tensors import note
from dnabench.types import Array, Sequences

HEADER = 128  # bytes before the values of an .npy


def source_of(
    name: str, file: Path | Sequences, regime: str = "pretrained", device: str = "cpu",
    code: str = "", trust: bool = False, options: Mapping[str, Any] = MappingProxyType({}),
) -> Source:  # fmt: skip
    """The network that a name means: the folder of a kept one, else a model.

    Args:
        name: folder or model.
        file: what will be embedded; decides the longest sequence that a model is built for.
        regime: of a model; a kept network has its own weights.
        device: for a kept network.
        code: the model again, where a kept network's code is a file.
        trust: whether code that an hf: model brings may be run.
        options: of a model, those that are not its defaults.

    Raises:
        KeyError, ValueError, OSError: as `load_network`, `of_model` and `read_parts`.
    """
    if Path(name).is_dir():
        kept = load_network(name, model=code, device=device, trust_remote_code=trust)
        return of_network(kept)
    return of_model(name, regime, longest_in(file), trust, options)


def longest_in(file: Path | Sequences) -> int:
    """Bp of the longest sequence."""
    if isinstance(file, Sequences):
        return int(file.lengths.max(initial=1))
    return max(
        start + len(codes)
        for part in read_parts(file)
        for _, start, codes, _ in part.segments()
    )  # fmt: skip


def embed_file(
    embedder: Embedder, file: Path, to: Path, progress: Callable[[int], object] = lambda bp: None,
    genome: str = "",
) -> tuple[int, int]:  # fmt: skip
    """Write the embeddings of every sequence of a file.

    Args:
        embedder: of one network.
        file: as `tasks.io.unlabelled.read_parts` takes it; with a genome regions, which a kept
            network reads in windows as in training.
        to: a .parquet with columns id, for each base position, of regions those of the file, and
            e0 ... e(D-1); or an .npy of float32 (R, D), which `np.load(to, mmap_mode="r")` opens,
            with the ids, a line each, in a file of the same name that ends in .ids.txt.
        progress: called with the bp that were embedded since the last call.
        genome: FASTA that the regions of a BED file lie on.

    Returns:
        R and D.

    Raises:
        ValueError, OSError: as reading and embedding; another ending of the file's name.
    """
    if to.suffix not in (".parquet", ".npy"):
        raise ValueError(f"--to {to}: name a file that ends in .parquet or .npy")
    note(embedder.unmasked())
    with ExitStack() as files:
        out = files.enter_context(replacing(to))
        table: _Parquet | _Npy = _Parquet(out)
        if to.suffix == ".npy":
            table = _Npy(out, files.enter_context(replacing(to.with_suffix(".ids.txt"))))
        for columns, places, values in _answered(embedder, file, genome, progress):
            table.write(columns, places, values)
        table.close()
    return table.shape


def _answered(
    embedder: Embedder, file: Path, genome: str, progress: Callable[[int], object]
) -> Iterator[tuple[Columns, Array | None, Array]]:
    """Columns that name sequences, the place of each base, and the embeddings."""
    if not is_regions(file):
        if genome:
            raise ValueError(
                f"--genome: regions of a BED file lie on a genome, and {file} has none"
            )
        for part in whole_sequences(read_parts(file, say=note), embedder.longest):
            values = embedder(part.seqs)
            yield {"id": np.array(part.ids)}, positions(part.seqs, embedder.each_base), values
            progress(len(part.seqs.codes))
        return
    card = embedder.card
    if card is None or card.kind == "per_base":
        raise ValueError(
            f"{file}: regions are read in the windows that a kept network of whole sequences was "
            "trained on, and this is none; write them to a FASTA file: bedtools getfasta -s -fi "
            f"{genome or 'GENOME'} -bed {file.name}"
        )
    if embedder.each_base:
        raise ValueError(f"{file}: a region has one row; write --pool mean, max, cls or own")
    found = region_rows(
        card, embedder.longest, lambda seqs, places: embedder(seqs), file, genome,
        "embedded", note, progress,
    )  # fmt: skip
    for columns, values in found:
        yield columns, None, values


def positions(seqs: Sequences, each_base: bool) -> Array | None:
    """The place of each base in its sequence, int64 (R,); None for a row a sequence."""
    if not each_base:
        return None
    starts = np.repeat(seqs.offsets[:-1], seqs.lengths)
    return np.asarray(np.arange(len(seqs.codes)) - starts)


class _Parquet:
    def __init__(self, out: IO[bytes]) -> None:
        self._out, self.shape = out, (0, 0)
        self._writer: Any = None

    def write(self, named: Columns, places: Array | None, values: Array) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        columns: dict[str, Any] = dict(named)
        if places is not None:
            starts = np.cumsum(places == 0) - 1
            columns = {"id": np.asarray(named["id"])[starts], "position": places}
        columns |= {f"e{i}": values[:, i] for i in range(values.shape[1])}
        rows = pa.table(columns)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._out, rows.schema)
        self._writer.write_table(rows)
        self.shape = self.shape[0] + len(values), values.shape[1]

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Npy:
    def __init__(self, out: IO[bytes], ids: IO[bytes]) -> None:
        self._out, self._ids, self.shape = out, ids, (0, 0)
        out.write(bytes(HEADER))

    def write(self, named: Columns, places: Array | None, values: Array) -> None:
        names = np.asarray(named["id"])
        self._out.write(np.ascontiguousarray(values, np.float32).data)
        lines = names if places is None else names[np.cumsum(places == 0) - 1]
        self._ids.write("".join(f"{name}\n" for name in lines.tolist()).encode())
        self.shape = self.shape[0] + len(values), values.shape[1]

    def close(self) -> None:
        """Write the header, padded to the room that was left for it."""
        found = io.BytesIO()
        shape = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(found, shape)
        text = found.getvalue()[10:].rstrip()
        size = HEADER - 10
        head = b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little")
        self._out.seek(0)
        self._out.write(head + text.ljust(size - 1) + b"\n")
