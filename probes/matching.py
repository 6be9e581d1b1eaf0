"""Controls that resemble variants: of the same consequence, as far from a gene's start, and so on.

M variants, F features, k controls for each variant of class 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.probes.baselines import first_bases, nearest
from dnabench.probes.labelled import codes_of
from dnabench.probes.variant_tables import DISTANCE, GROUP, check_new, distances_in, numbers_in
from dnabench.reports.grid import count
from dnabench.tasks.io.aliases import Aliases
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.fasta import names_of
from dnabench.tasks.io.genome import few
from dnabench.types import Array


class Matched(NamedTuple):
    """Match groups.

    Args:
        group: int64 (M,), from 0 in the order of the variants of class 1; -1 = not taken.
        dropped: variants of class 1 that are not taken, by the kind that has too few controls.
        controls: how many there were to choose from.
    """

    group: Array
    dropped: dict[str, int]
    controls: int


def match(positive: Array, kinds: Sequence[str], near: Array, k: int = 9, seed: int = 0) -> Matched:
    """Choose for each variant of class 1 the k nearest controls of its kind, each control once.

    Features are divided by their interquartile range over all variants; distances are Euclidean.
    Variants of class 1 choose in their order, of equally near controls the first. Of a kind with
    fewer than k controls for each, as many variants as can have k are drawn.

    Args:
        positive: bool (M,), class 1; others are controls.
        kinds: of each variant: chromosome and consequence, say.
        near: float64 (M, F), finite.
        k: controls of each.
        seed: of that draw.

    Source:
        Benegas, Eraslan and Song 2025, bioRxiv 2025.02.11.637758 (TraitGym).
    """
    low, high = np.quantile(near, [0.25, 0.75], axis=0) if near.size else np.zeros((2, 0))
    scale = np.where(high > low, high - low, 1.0)
    names, kind = np.unique(np.asarray(kinds), return_inverse=True)
    rng, chosen, dropped = np.random.default_rng(seed), dict[int, Array](), dict[str, int]()
    for i, name in enumerate(names.tolist()):
        own, others = (
            np.flatnonzero((kind == i) & (positive == is_own)) for is_own in (True, False)
        )
        most = len(others) // k
        if most < len(own):
            dropped[name] = len(own) - most
            own = np.sort(rng.choice(own, most, replace=False))
        for row in own.tolist():
            nearest = _nearest((near[others] - near[row]) / scale, k)
            chosen[row] = others[nearest]
            others = np.delete(others, nearest)
    group = np.full(len(positive), -1)
    for number, row in enumerate(sorted(chosen)):
        group[[row, *chosen[row]]] = number
    return Matched(group, dropped, int((~positive).sum()))


def _nearest(away: Array, k: int) -> Array:
    """Indices of the k shortest rows, the first of equal ones."""
    squared = (away**2).sum(1)
    limit = np.partition(squared, k - 1)[k - 1]
    close = np.flatnonzero(squared <= limit)
    return np.asarray(close[np.argsort(squared[close], kind="stable")[:k]])


def matched_table(
    table: Any, path: Path, label: str, exact: Sequence[str], near: Sequence[str], k: int, seed: int
) -> tuple[Any, Matched]:
    """The rows of a table of variants that are matched, with their groups in the column GROUP.

    Args:
        table: of `variant_tables.read_table`, with the columns named here.
        path: for messages.
        label: column of 0 and 1.
        exact: columns in which controls are equal.
        near: columns of numbers in which they are near; signed distances of the column DISTANCE by
            their size.
        k: controls of each variant of class 1.
        seed: as of `match`.

    Raises:
        ValueError: there is a column GROUP; a label that is neither; no variant of a class, or none
            with k controls; an empty value in a row with a label.
    """
    import pyarrow as pa  # type: ignore[import-untyped]

    check_new(table, path, [GROUP])
    codes = codes_of(["" if v is None else str(v) for v in table[label].to_pylist()])
    rows = np.flatnonzero(codes >= 0)
    positive = codes[rows] == 1
    if not positive.any() or positive.all():
        raise ValueError(
            f"{path}: {int(positive.sum()):,} of {len(rows):,} variants with a label in {label} "
            "are of class 1; both classes are needed"
        )
    values = np.stack([*near_values(table, near), np.zeros(len(table))], 1)[rows, : len(near)]
    columns = [table[name].take(rows).to_pylist() for name in exact]
    for name, empty in (
        *((name, ~np.isfinite(values[:, j])) for j, name in enumerate(near)),
        *((name, np.array([v is None for v in c])) for name, c in zip(exact, columns, strict=True)),
    ):
        if empty.any():
            raise ValueError(
                f"{path}: {count(n := int(empty.sum()), 'variant')} with a label "
                f"{'has' if n == 1 else 'have'} no {name}, row "
                f"{rows[int(np.argmax(empty))] + 1} the first; fill it in, or leave them out"
            )
    kinds = [", ".join(map(str, row)) for row in zip(*columns, strict=True)] or [""] * len(rows)
    found = match(positive, kinds, values, k, seed)
    taken = found.group >= 0
    if not taken.any():
        raise ValueError(
            f"{path}: no variant of class 1 has {k} controls of its own {', '.join(exact)}; take "
            "fewer (--controls), or compare in fewer columns (--exact)"
        )
    out = table.take(rows[taken]).append_column(GROUP, pa.array(found.group[taken]))
    return out, found


def near_values(table: Any, near: Sequence[str]) -> list[Array]:
    """Columns of numbers, float64 (M,) each; NaN = empty. Of DISTANCE its size."""
    return [distances_in(table) if name == DISTANCE else numbers_in(table, name) for name in near]


def with_distances(annotation: Annotation, table: Any, path: Path) -> Any:
    """The table with the column DISTANCE, made by `distances_to` where it is missing or empty.

    Raises:
        ValueError: as `distances_to`; no row is empty, so that the annotation says nothing.
    """
    import pyarrow as pa

    have = np.full(len(table), np.nan)
    if DISTANCE in table.column_names:
        have = numbers_in(table, DISTANCE)
    if not np.isnan(have).any():
        raise ValueError(
            f"{annotation.path}: every row of {path} has a {DISTANCE}, so that none is made; leave "
            f"out --gff, or the column {DISTANCE}"
        )
    made = pa.array(
        np.where(np.isnan(have), distances_to(annotation, table, path), have), from_pandas=True
    )
    if DISTANCE in table.column_names:
        return table.set_column(table.column_names.index(DISTANCE), DISTANCE, made)
    return table.append_column(DISTANCE, made)


def distances_to(annotation: Annotation, table: Any, path: Path) -> Array:
    """Bp from each variant to the nearest start of a gene: float64 (M,), NaN where there is none.

    Names of sequences may be with or without chr.

    Raises:
        ValueError: no gene on any of their sequences, or a name that may be any of several.
    """
    names = Aliases({name: names_of(name) for name in annotation.genes})
    chroms = np.array([str(name) for name in table["chrom"].to_pylist()])
    at, out = np.array(table["pos"].to_pylist()) - 1, np.full(len(table), np.nan)
    for name in np.unique(chroms).tolist():
        genes = annotation.genes.get(names.find(name, path), [])
        if genes:
            own = chroms == name
            out[own] = nearest(first_bases(genes), at[own])
    if np.isnan(out).all():
        raise ValueError(
            f"{annotation.path} has no gene on {few(np.unique(chroms).tolist())}: it has "
            f"{few([*annotation.genes])}"
        )
    return out
