"""The settings that a search tries: drawn at random, or all of a grid."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dnabench.spaces import Dimension, parse_dimension

if TYPE_CHECKING:
    from dnabench.sweep.search import TuneRequest

MOST_DRAWS = 10  # for each configuration, where a space has few


def draws(model: str, space: Mapping[str, str], request: TuneRequest) -> Iterator[tuple[str, ...]]:
    """The settings of draw 1, 2, ..."""
    known = {name: parse_dimension(name, text) for name, text in space.items()}
    if request.search == "grid":
        return iter(_grid_points(model, known))
    most, seed = MOST_DRAWS * request.size if known else 0, request.search_seed
    random = (drawn(known, seed, k) for k in range(1, most + 1))
    return itertools.chain(random, points(known, seed, most + 1))


def drawn(space: Mapping[str, Dimension], seed: int, number: int) -> tuple[str, ...]:
    """The settings of a draw, at the quantiles that it has for every model."""
    return tuple(f"{name}={d.at(quantile(seed, number, name))}" for name, d in space.items())


def points(space: Mapping[str, Dimension], seed: int, number: int) -> Iterator[tuple[str, ...]]:
    """All settings of a space without ranges, each once from a random one on; else none."""
    total = math.prod(d.size for d in space.values()) if space else 0
    start = int(quantile(seed, number, "") * total)
    for k in range(total):
        rest, found = (start + k) % total, list[str]()
        for name, d in space.items():
            rest, index = divmod(rest, d.size)
            found.append(f"{name}={d.value(index)}")
        yield tuple(found)


def quantile(seed: int, number: int, name: str) -> float:
    """Of a setting in a draw: uniform in [0, 1), and the same for all models."""
    digest = hashlib.sha256(f"tune/{seed}/{number}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _grid_points(model: str, space: Mapping[str, Dimension]) -> list[tuple[str, ...]]:
    if ranges := [name for name, d in space.items() if d.kind != "one"]:
        name = ranges[0]
        raise ValueError(
            f"--search grid: {name} of {model} is a range; list its values, --space "
            f"{name}=one:A,B,C, or fix it with --set {name}=VALUE"
        )
    return list(itertools.product(*([f"{k}={v}" for v in d.values] for k, d in space.items())))
