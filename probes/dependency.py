"""Which bases a language model reads together: dependency maps.

L bp of the region.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dnabench.cache import replacing
from dnabench.probes.likelihood import BASES, Likelihood, Told, nobody
from dnabench.probes.places import Place, positions
from dnabench.probes.reuse import NotLocalError, Reuse
from dnabench.probes.variant_lines import stretch_of
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N

UNIT = "change of log2 odds"
LEAST = 1e-10  # is added to a probability
AT_ONCE = 1 << 20  # bp of windows that are run together
LARGEST = 4096  # bp of a region: 17 million pairs, a gigabyte
OTHERS = BASES - 1
COLUMNS = [
    ("chrom", "string"), ("from", "int64"), ("to", "int64"), ("dependency", "double"),
    ("symmetric", "double"),
]  # fmt: skip


class Map(NamedTuple):
    """A dependency map.

    Args:
        codes: uint8 (L,), the region.
        values: float64 (L, L), row i, column j: D(i -> j), in UNIT; NaN where a base has no
            answer: a substituted N, and the first base of a causal model.
        causal: whether a base is predicted from those before it alone.
        how: what was computed for each substitution, in words.
    """

    codes: Array
    values: Array
    causal: bool
    how: str

    @property
    def symmetric(self) -> Array:
        """Float64 (L, L), the mean of D(i -> j) and D(j -> i); of a causal model the one way."""
        if self.causal:
            upper = np.triu(self.values, 1)
            return np.asarray(upper + upper.T)
        return np.asarray((self.values + self.values.T) / 2)


def log2_odds(p: Array) -> Array:
    """Of probabilities (..., 4), with LEAST added and made to sum to 1 again."""
    p = p + LEAST
    p = p / p.sum(-1, keepdims=True)
    return np.asarray(np.log2(p / (1 - p)))


def dependencies(before: Array, after: Array) -> Array:
    """The largest change of a base's log2 odds by any substitution.

    Args:
        before: float64 (W, 4), the probabilities of A, C, G and T at W bases.
        after: float64 (P, 3, W, 4), those when each of P bases is replaced by the three others.

    Returns:
        float64 (P, W), D(i -> j): the maximum over substitutions at i and bases at j.

    Source:
        da Silva et al. 2024, bioRxiv, "Nucleotide dependency analysis of DNA language models
        reveals genomic functional elements"; Büdenbender 2025, thesis, Univ. of Cologne, 2.4.1.
    """
    return np.asarray(np.abs(log2_odds(after) - log2_odds(before)).max(1).max(-1))


def dependency(
    likelihood: Likelihood, codes: Array, progress: Told = nobody,
    whole: bool = False,
) -> Map:  # fmt: skip
    """Replace each base by the three others and read every other base's probabilities.

    No base is hidden. The region alone is read, on the strand that is given. Where the network
    allows it, only what a base can change is computed again: `probes.reuse`.

    Args:
        likelihood: of a network that reads letters.
        codes: uint8 (L,), letters A0 C1 G2 T3 N4; N is not replaced.
        progress: called with the bases done since the last call, which may be parts of one.
        whole: compute all of it again, whatever the network.

    Raises:
        ValueError: a network of words; a region longer than it can read or than LARGEST, or of one
            base.

    Accuracy:
        Both ways agree to 1e-5, or to the rounding of the network in float32 where that is more.
    """
    source, length = likelihood.source, len(codes)
    if not likelihood.letters:
        raise ValueError(
            f"{source.name} predicts {source.tokenizer.name} tokens, not bases; dependency maps "
            "need a network of single-base tokens"
        )
    most = min(source.longest, LARGEST)
    if not 2 <= length <= most:
        why = f"{source.name} reads" if most < LARGEST else "a map has"
        raise ValueError(
            f"the region has {length:,} bp; {why} 2 to {most:,}: name "
            f"{'a part of it' if length > 1 else 'more of it'}"
        )
    reuse, how = (None, "as asked") if whole else _reuse(likelihood, codes)
    before = _window(likelihood, reuse, codes)
    known = np.flatnonzero(codes < N)
    out = np.full((length, length), np.nan)
    out[known] = 0.0
    for part in _parts(likelihood, reuse, known, length):
        first, after = _replaced(likelihood, reuse, codes, part, progress)
        end = first + after.shape[1]
        each = after.reshape(len(part), OTHERS, end - first, BASES)
        out[part, first:end] = dependencies(before[first:end], each)
    out[:, : _silent(likelihood)] = np.nan
    np.fill_diagonal(out, np.where(codes < N, 0.0, np.nan))
    return Map(codes, out, likelihood.causal, how)


def _reuse(likelihood: Likelihood, codes: Array) -> tuple[Reuse | None, str]:
    try:
        found = likelihood.reuse(codes)
    except NotLocalError as e:
        return None, f"every pass computes the whole region: {e}"
    return found, (
        f"a base changes the {2 * found.reach + 1:,} bp around it, and they alone are computed "
        f"again: {found.gain():.1f} times less work"
    )


def _parts(
    likelihood: Likelihood, reuse: Reuse | None, known: Array, length: int
) -> Iterator[Array]:  # fmt: skip
    """Bases that are replaced together: neighbours."""
    at_once = max(1, AT_ONCE // (OTHERS * length))
    stretch = known // (at_once if reuse is None else neighbours(likelihood, reuse))
    yield from (known[stretch == k] for k in np.unique(stretch))


def neighbours(likelihood: Likelihood, reuse: Reuse) -> int:
    """How many bases are replaced together: half a batch, whose values stay near on a CPU."""
    return likelihood.at_once(2 * OTHERS * reuse.width(reuse.reach))


def _window(likelihood: Likelihood, reuse: Reuse | None, codes: Array) -> Array:
    """Float64 (L, 4), of the region as it is."""
    if reuse is None:
        return np.asarray(_probabilities(likelihood, codes[None])[0])
    out = np.full((len(codes), BASES), 1 / BASES)
    first, found = _of_bases(likelihood, 0, reuse.whole, len(codes))
    out[first:] = found[0]
    return out


def _replaced(
    likelihood: Likelihood, reuse: Reuse | None, codes: Array, part: Array, progress: Told
) -> tuple[int, Array]:
    """The first base that can differ, and float64 (3 P, W, 4) from there on."""
    where = np.repeat(part, OTHERS)
    many = np.repeat(codes[None], len(where), axis=0)
    turn = np.tile(np.arange(1, BASES), len(part))
    many[np.arange(len(where)), where] = (codes[where] + turn) % BASES
    if reuse is None:
        return 0, _probabilities(likelihood, many, lambda n: progress(n / OTHERS))
    token, logits = likelihood.changed(reuse, many, int(part[0]), int(part[-1]) + 1)
    progress(len(part))
    return _of_bases(likelihood, token, logits, len(codes))


def _probabilities(likelihood: Likelihood, codes: Array, progress: Told = nobody) -> Array:
    """Float64 (S, L, 4); where a causal model says nothing, a quarter each."""
    out = np.full((*codes.shape, BASES), 1 / BASES)

    def read_off(rows: Array, logits: Tensor) -> None:
        first, found = _of_bases(likelihood, 0, logits, codes.shape[1])
        out[rows, first:] = found

    likelihood.all_bases(codes, read_off, progress)
    return out


def _of_bases(
    likelihood: Likelihood, token: int, logits: Tensor, length: int
) -> tuple[int, Array]:  # fmt: skip
    """From logits (S, T, V) of a token on: a base, and probabilities (S, W, 4) from there on."""
    lead = likelihood.lead - likelihood.causal  # a causal answer stands one token before
    first = max(_silent(likelihood), token - lead)
    end = min(length, token + logits.shape[1] - lead)
    asked = logits[:, first + lead - token : end + lead - token]
    return first, np.asarray(likelihood.log_probabilities(asked).exp().cpu().numpy())


def _silent(likelihood: Likelihood) -> int:
    """How many first bases have no answer: one, of a causal model without a token before it."""
    return int(likelihood.causal and not likelihood.lead)


def region_of(genome: Genome, text: str) -> tuple[str, int, Array]:
    """The region `chr:start-end`, from 1 with its end, as samtools writes it.

    Returns:
        The sequence's name in the genome, the region's first base from 0, and its codes.

    Raises:
        ValueError: another text, no such sequence, or a region beyond its end.
    """
    contig, start, end = stretch_of(genome, text)
    codes = genome.around(np.array([contig]), np.array([start]), end - start)[0]
    return genome.contigs[contig], start, codes


def write(found: Map, place: Place, about: dict[str, object], folder: Path) -> list[Path]:
    """Write dependency.parquet, a row for each pair, and dependency.json.

    Positions are those of `place`, from 0.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    at = positions(place, np.arange(len(found.codes)))
    i, j = np.nonzero(~np.eye(len(at), dtype=bool))
    columns = {
        "chrom": pa.repeat(place.chromosome, len(i)), "from": at[i], "to": at[j],
        "dependency": found.values[i, j], "symmetric": found.symmetric[i, j],
    }  # fmt: skip
    table = pa.table(
        {name: pa.array(v, from_pandas=True) for name, v in columns.items()},
        schema=pa.schema(COLUMNS),
    )
    files = [folder / "dependency.parquet", folder / "dependency.json"]
    with replacing(files[0]) as out:
        pq.write_table(table, out, compression="zstd")
    with replacing(files[1]) as out:
        out.write(json.dumps({**about, "unit": UNIT}, indent=1).encode())
    return files
