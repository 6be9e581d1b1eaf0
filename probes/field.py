"""How far a network sees: from its layers, by gradients, and by substitution.

S sequences, L length in bp.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from dnabench.cache import replacing
from dnabench.networks.embedding import Source
from dnabench.probes.convolutions import stack_of
from dnabench.probes.effective import Effect, effect_of, span
from dnabench.probes.paths import Convolution, Paths, count_paths
from dnabench.train.precision import Arithmetic
from dnabench.types import Array, Sequences

SHARES = (0.5, 0.95)
ROUNDING = 1e-12  # share of the squared gradient; a GPU's convolutions may leave that much outside
EMPTY: Mapping[str, Any] = MappingProxyType({})
SHOWN = 6  # layers of a cycle in words


class Field(NamedTuple):
    """What was found of one network.

    `paths` is None where its layers form no chain of convolutions. `effect` is of S sequences of L
    bp. `beyond` is the share of the squared gradient farther away than the convolutions can see;
    None where that cannot be measured: without paths, or without an output for each base. Of
    `beyond`, so much as `rounding` means nothing.
    """

    name: str
    stack: list[Convolution]
    paths: Paths | None
    effect: Effect
    beyond: float | None
    sequences: int
    rounding: float = 0.0

    @property
    def alone(self) -> bool | None:
        """Whether convolutions and poolings are all that mixes positions, as far as L shows.

        None = not known.
        """
        return None if self.beyond is None else self.beyond <= self.rounding


def field(
    name: str, source: Source, seqs: Sequences, most: int = 512,
    progress: Callable[[int], object] = lambda n: None,
) -> Field:  # fmt: skip
    """Read the layers and measure the effective field.

    Args:
        name: for tables.
        source: a network; see `networks.embedding`.
        seqs: S sequences of L bp.
        most: offsets at which bases are replaced.
        progress: called with the sequences that were run since the last call.

    Raises:
        ValueError: sequences that the network cannot read, or whose output never changes.
    """
    encoded = source.tokenizer.shortened(
        seqs.take(np.zeros(1, np.int64)), source.length, "mask", 0
    )  # alone, so without padding
    device = next(source.net.parameters()).device
    with Arithmetic("fp32", str(device)).products():
        stack = stack_of(source.net, torch.from_numpy(encoded.ids).to(device))
        effect = effect_of(source, seqs, most, progress)
    paths = count_paths(stack) if stack and encoded.widths is None else None
    beyond = None
    if paths is not None and effect.each_base:
        # as many bp on either side as the field has: causal layers look to one side alone
        beyond = float(effect.gradient[np.abs(effect.offsets) >= paths.field].sum())
    return Field(name, stack, paths, effect, beyond, len(seqs), ROUNDING * (device.type != "cpu"))


def random_sequences(n: int, length: int, seed: int = 0) -> Sequences:
    """N sequences of that many bp, every base equally likely."""
    codes = np.random.default_rng(seed).integers(0, 4, n * length).astype(np.uint8)
    return Sequences(codes, np.arange(n + 1) * length)


def rows(found: Field) -> list[tuple[str, str]]:
    """The result as pairs of a name and a value."""
    effect, out = found.effect, list[tuple[str, str]]()
    length = len(effect.offsets)
    if found.paths is not None:
        out += of_paths(found.stack, found.paths) + _beside(found, found.paths)
    for word, offsets, shares in _measures(effect):
        spans = [f"{span(offsets, shares, s):,} bp hold {s:.0%}" for s in SHARES]
        out.append((f"effective, by {word}", ", ".join(spans)))
    n = len(effect.substituted)
    out.append(("measured on", f"{found.sequences} x {length:,} random bp, {n} bases replaced"))
    if not effect.each_base:
        out.append(("output", "of the whole sequence, or of a bin in its middle"))
    return out


def _measures(effect: Effect) -> list[tuple[str, Array, Array]]:
    return [
        ("gradients", effect.offsets, effect.gradient),
        ("substitution", effect.offsets, effect.substitution),
    ]


def of_paths(stack: list[Convolution], paths: Paths) -> list[tuple[str, str]]:
    """What the layers say, as pairs of a name and a value."""
    most, where = paths.largest
    at = f" at {' and '.join(f'{d:,}' for d in where)} bp" if len(where) <= SHOWN else ""
    share = paths.covered / paths.field
    return [
        ("convolutions", in_words(stack)),
        ("receptive field", f"{paths.field:,} bp"),
        ("covered", f"{paths.covered:,} bp ({share:.1%}), widest gap {paths.widest_gap:,} bp"),
        ("paths", f"{paths.total:,} in all, {paths.at(0):,} from the middle"),
        ("most paths", f"{most:,}{at}"),
    ]


def _beside(found: Field, paths: Paths) -> list[tuple[str, str]]:
    length = len(found.effect.offsets)
    if found.alone is False:
        return [("beyond them", f"{found.beyond:.1g} of the squared gradient: attention, a "
                 "recurrence or a mean sees farther")]  # fmt: skip
    if not found.effect.each_base:
        return [("", "of one position after the last convolution; what comes after it is not seen")]
    if length < paths.field:
        return [("", f"more than the {length:,} bp that are measured (--length)")]
    return []


def in_words(stack: list[Convolution]) -> str:
    """Such as `9/1 5/2 5/4 x 3`: taps and dilation, a stride behind a colon."""
    words = [f"{c.kernel}/{c.dilation}" + f":{c.stride}" * (c.stride > 1) for c in stack]
    if len(words) > 2 * SHOWN:
        words = [*words[:SHOWN], "...", *words[-2:]]
    return f"{len(stack)} layers, taps/dilation: {' '.join(words)}"


def write(found: Field, folder: Path, about: Mapping[str, Any] = EMPTY) -> list[Path]:
    """Write field.json, paths.parquet and effective.parquet into a folder, which is made.

    `about` is what identifies the network; it goes into field.json, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("paths.parquet", "effective.parquet", "field.png"):  # of another network
        (folder / name).unlink(missing_ok=True)
    files = [folder / "field.json"]
    with replacing(files[0]) as out:
        out.write((json.dumps({**_as_json(found), **about}, indent=1) + "\n").encode())
    if found.paths is not None:
        files.append(write_paths(found.paths, folder / "paths.parquet"))
    effect = found.effect
    columns = {
        "offset": effect.offsets, "gradient": effect.gradient,
        "substitution": effect.substitution,
        "substituted": np.isin(effect.offsets, effect.substituted),
    }  # fmt: skip
    files.append(_parquet(folder / "effective.parquet", columns))
    return files


def write_paths(paths: Paths, file: Path) -> Path:
    """Write offsets and counts; decimals of 76 digits, since counts may have more than 64 bits."""
    import pyarrow as pa  # type: ignore[import-untyped]

    file.parent.mkdir(parents=True, exist_ok=True)
    offsets = np.arange(paths.field) + paths.first
    if paths.total >= 10**76:
        raise ValueError(
            f"{file}: {paths.total:.1e} paths are too many to write; take fewer layers"
        )
    counts = pa.array(map(int, paths.counts), pa.decimal256(76, 0))
    return _parquet(file, {"offset": offsets, "paths": counts})


def _parquet(file: Path, columns: dict[str, Any]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with replacing(file) as out:
        pq.write_table(pa.table(columns), out, compression="zstd")
    return file


def _as_json(found: Field) -> dict[str, Any]:
    effect = found.effect
    spans = {
        word: {f"{s:.2f}": span(offsets, shares, s) for s in SHARES}
        for word, offsets, shares in _measures(effect)
    }
    return {
        "model": found.name,
        "layers": [layer._asdict() for layer in found.stack],
        **_of_convolutions(found),
        "sequences": found.sequences, "length": len(effect.offsets),
        "each_base": effect.each_base, "span": spans,
    }  # fmt: skip


def _of_convolutions(found: Field) -> dict[str, Any]:
    if (paths := found.paths) is None:
        return {}
    return {
        "receptive_field": paths.field, "covered": paths.covered, "widest_gap": paths.widest_gap,
        "paths": str(paths.total), "gradient_beyond": found.beyond, "alone": found.alone,
    }  # fmt: skip
