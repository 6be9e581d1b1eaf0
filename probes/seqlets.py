"""Stretches of a sequence whose attribution is larger than that of shuffled sequences.

L bp of a sequence, M windows of shuffled ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dnabench.sequences import letters_of
from dnabench.types import Array

WIDTH = 7  # bp of a window
RARE = 1e-3  # share of the windows of shuffled sequences that reach as far


class Seqlet(NamedTuple):
    """A stretch that matters: 0-based, the end is not in it.

    Args:
        start: first base.
        end: behind the last.
        letters: of it.
        attribution: sum over its bases; below 0 it holds the answer down.
        p: share of the windows of shuffled sequences whose mean is as far from 0 as that of its
            strongest window, (1 + count) / (1 + M).
    """

    start: int
    end: int
    letters: str
    attribution: float
    p: float


def window_means(values: Array, width: int = WIDTH) -> Array:
    """Mean attribution of the bases around each, float64 (L,); N and what lies beyond count 0.

    Args:
        values: float64 (L,), NaN at N.
        width: bp, odd.
    """
    padded = np.pad(np.nan_to_num(values), width // 2)
    return np.asarray(np.convolve(padded, np.full(width, 1 / width), "valid"))


def null_of(shuffled: Sequence[Array], width: int = WIDTH) -> Array:
    """The sizes of window means of shuffled sequences, float64 (M,), in order.

    Args:
        shuffled: attributions, NaN at N; only windows whose middle has one count.
        width: bp, odd.
    """
    means = [window_means(one, width)[~np.isnan(one)] for one in shuffled]
    return np.sort(np.abs(np.concatenate(means)))


def limit_of(null: Array, rare: float = RARE) -> float:
    """The size that a share of `rare` of them exceeds; of fewer than 1 / rare the largest."""
    return float(np.quantile(null, 1 - rare, method="higher"))


def seqlets(
    codes: Array, values: Array, null: Array, rare: float = RARE, width: int = WIDTH
) -> list[Seqlet]:
    """The seqlets of one sequence, strongest first.

    A base with a value is the middle of a window of `width` bp. Where the mean of a window is
    farther from 0 than `limit_of` the null, its middle counts; neighbouring middles of one sign are
    one seqlet, which reaches over all bases of their windows.

    Args:
        codes: uint8 (L,), letters A0 C1 G2 T3 N4.
        values: float64 (L,), the attribution of each base, NaN where there is none.
        null: of `null_of`, with the same width.
        rare: share of the null that may reach as far.
        width: bp, odd.

    Source:
        Ours; a window's sum against that of shuffled sequences is also where TF-MoDISco starts
        (Shrikumar et al. 2018, arXiv 1811.00416), which fits distributions to them.
    """
    means, reach = window_means(values, width), width // 2
    far = ~np.isnan(values) & (np.abs(means) > limit_of(null, rare))
    sign = np.where(far, np.sign(means), 0)
    edges = [0, *(np.flatnonzero(np.diff(sign)) + 1).tolist(), len(sign)]
    found = list[Seqlet]()
    for a, b in pairwise(edges):
        if sign[a] == 0:
            continue
        start, end = max(0, a - reach), min(len(codes), b + reach)
        as_far = len(null) - np.searchsorted(null, np.abs(means[a:b]).max())
        found.append(
            Seqlet(
                start, end, letters_of(codes[start:end]),
                float(np.nansum(values[start:end])), float((1 + as_far) / (1 + len(null))),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: -abs(one.attribution))
