"""What `probe context` finds of many positions: files, and a table by annotation.

P positions, C contexts, K outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.cache import replacing
from dnabench.probes.blocks import Interval, blocks_of, interval, medians, quantiles
from dnabench.probes.context import AHEAD, FLANKS, Asked, Places, distances, last, shares, still
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

ALL = "all"
PLACE = [("chrom", "string"), ("position", "int64"), ("strand", "string")]
PREDICTIONS, POSITIONS, ABOUT = "predictions.parquet", "context.parquet", "context.json"


class Found(NamedTuple):
    """What was found. Arrays are by FLANKS.

    Args:
        contexts: int64 (C,).
        places: P.
        kinds: annotation of each position, () = there is none.
        still: float64 (P,), see `context.still`.
        last: float64 (P,), see `context.last`.
        distance: float32 (P, C), see `context.distances`.
        first: float64 (few, C, K), of the first positions.
    """

    contexts: Array
    places: Places
    kinds: Sequence[str]
    still: dict[str, Array]
    last: dict[str, Array]
    distance: dict[str, Array]
    first: dict[str, Array]

    @property
    def longest(self) -> int:
        """The longest context in bp."""
        return int(self.contexts[-1])

    @property
    def testable(self) -> int:
        """The longest context that `context.still` can return; -1 = there are too few."""
        return int(self.contexts[-AHEAD]) if len(self.contexts) >= AHEAD else -1


class Row(NamedTuple):
    """A kind of positions under one kind of flanks.

    still, last: median, quartiles, and an interval of the median from blocks of 10 kbp drawn again.
    unsettled: positions without a context by the first rule, which count as infinite; None, with
    still NaN: there are fewer than `context.AHEAD` contexts. censored: positions without one by the
    second, see `context.last`.
    """

    kind: str
    flanks: str
    n: int
    still: float
    still_quartiles: tuple[float, float]
    still_interval: Interval
    unsettled: int | None
    last: float
    last_quartiles: tuple[float, float]
    last_interval: Interval
    censored: int


def probe_context(
    asked: Asked, genome: Genome, places: Places, contexts: Array, kinds: Sequence[str],
    folder: Path, *, seed: int = 0, few: int = 3,
    progress: Callable[[float], object] = lambda done: None,
) -> Found:  # fmt: skip
    """Ask about every position at every context and write predictions.parquet and context.parquet.

    Args:
        asked: the network.
        genome: packed.
        places: P.
        contexts: of `context.contexts_of`.
        kinds: annotation of each position; () = none.
        folder: is made; the files of an earlier call are replaced, each whole or not at all.
        seed: of the shuffled flanks.
        few: positions whose probabilities are kept for figures.
        progress: called with the positions done since the last call, which may be parts of one.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    own = [(f"p_{name}", "float") for name in asked.classes]
    schema = pa.schema([*PLACE, ("flanks", "string"), ("context", "int64"), *own])
    parts: dict[str, list[tuple[Array, Array, Array]]] = {name: [] for name in FLANKS}
    first: dict[str, list[Array]] = {name: [] for name in FLANKS}
    with (
        replacing(folder / PREDICTIONS) as out,
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for some, found in shares(asked, genome, places, contexts, seed, progress):
            for flanks, p in found.items():
                writer.write_table(pa.table(_rows(some, flanks, contexts, p, own), schema=schema))
                far = distances(p).astype(np.float32)
                parts[flanks].append((still(p, contexts), last(p, contexts), far))
                if sum(map(len, first[flanks])) < few:
                    first[flanks].append(p[:few])
    each = {
        name: [np.concatenate(column) for column in zip(*found, strict=True)]
        for name, found in parts.items()
    }
    settled, end, apart = ({name: each[name][i] for name in FLANKS} for i in range(3))
    kept = {name: np.concatenate(p)[:few] for name, p in first.items()}
    done = Found(contexts, places, kinds, settled, end, apart, kept)
    with replacing(folder / POSITIONS) as out:
        pq.write_table(pa.table(_columns(done)), out, compression="zstd")
    return done


def _rows(
    places: Places, flanks: str, contexts: Array, p: Array, own: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    n, each = len(contexts), p.reshape(-1, p.shape[-1]).astype(np.float32)
    return {
        "chrom": np.repeat(places.chrom, n), "position": np.repeat(places.at, n),
        "strand": np.repeat(places.strand, n), "flanks": [flanks] * len(each),
        "context": np.tile(contexts, len(places.at)),
        **{name: each[:, k] for k, (name, _) in enumerate(own)},
    }  # fmt: skip


def _columns(found: Found) -> dict[str, Any]:
    places, out = found.places, dict[str, Any]()
    out |= {"chrom": places.chrom, "position": places.at, "strand": places.strand}
    if found.kinds:
        out["annotation"] = list(found.kinds)
    for flanks in FLANKS:
        settled = found.still[flanks]
        out[f"still_{flanks}"] = [None if np.isnan(x) else int(x) for x in settled]
        out[f"last_{flanks}"] = found.last[flanks].astype(np.int64)
        out[f"censored_{flanks}"] = found.last[flanks] == found.longest
    return out


def table(found: Found) -> list[Row]:
    """Rows of each annotation, the most frequent first, and of all; both kinds of flanks each."""
    kinds = np.array(found.kinds or [ALL] * len(found.places.at))
    names, counts = np.unique(kinds, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")].tolist()
    block = blocks_of(found.places.chrom, found.places.at)
    masks = {name: kinds == name for name in order}
    masks[ALL] = np.ones(len(kinds), bool)
    return [
        _row(name, flanks, found, mask, block) for name, mask in masks.items() for flanks in FLANKS
    ]


def _row(name: str, flanks: str, found: Found, mask: Array, block: Array) -> Row:
    first, second = found.still[flanks][mask], found.last[flanks][mask]
    never, known = np.isnan(first), found.testable >= 0
    first = np.where(never, np.inf, first)[: len(first) * known]
    return Row(
        name, flanks, int(mask.sum()),
        *_middle(first, block[mask]), int(never.sum()) if known else None,
        *_middle(second, block[mask]), int((second == found.longest).sum()),
    )  # fmt: skip


def _middle(values: Array, block: Array) -> tuple[float, tuple[float, float], Interval]:
    """Median, quartiles, and an interval of the median."""
    if not len(values):
        return np.nan, (np.nan, np.nan), None
    low, middle, high = map(float, quantiles(values, (0.25, 0.5, 0.75)))
    return middle, (low, high), interval(block, lambda drawn: medians(values, drawn))


def write_about(rows: Sequence[Row], about: Mapping[str, Any], folder: Path) -> None:
    """Write context.json: the table, with null beyond all contexts, and what was asked of what."""
    listed = [{key: _finite(value) for key, value in row._asdict().items()} for row in rows]
    with replacing(folder / ABOUT) as out:
        out.write(json.dumps({**about, "rows": listed}, indent=1).encode())


def _finite(value: Any) -> Any:
    """None for infinite numbers and NaN, also within tuples: JSON has none."""
    if isinstance(value, tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
