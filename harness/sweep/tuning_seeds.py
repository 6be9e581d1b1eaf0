"""The seeds of a search: those that choose, and those of the final runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnabench.protocols import FOLDS, nested_seeds, protocol_named
from dnabench.sweep.numbers import parse_seeds

if TYPE_CHECKING:
    from dnabench.sweep.grid import Request
    from dnabench.sweep.search import TuneRequest

FIRST_TUNING_SEED = 1000  # of --tuning-seeds N, away from the seeds of --seeds N


def seeds_of(request: TuneRequest) -> tuple[list[int], list[int]]:
    """Those of tuning and those of the final runs; under folds some for each fold."""
    if has_folds(request.grid):
        return _seeds_of_folds(request)
    tuning, seeds = parse_seeds(request.tuning_seeds), parse_seeds(request.grid.seeds)
    if request.tuning_seeds.strip().isdigit():
        tuning = [FIRST_TUNING_SEED + k for k in tuning]
    if both := sorted({*tuning} & {*seeds}):
        raise ValueError(
            f"seed {both[0]} is in --tuning-seeds and in --seeds: the final runs need seeds that "
            "chose nothing"
        )
    return tuning, seeds


def has_folds(request: Request) -> bool:
    """Whether the seeds of the protocol are folds."""
    return protocol_named(request.protocol).validation == "fold"


def _seeds_of_folds(request: TuneRequest) -> tuple[list[int], list[int]]:
    text, seeds = request.tuning_seeds.strip(), parse_seeds(request.grid.seeds)
    if not (text.isdigit() and 0 < int(text) < FOLDS):
        raise ValueError(
            f"--tuning-seeds {text}: under {request.grid.protocol} each fold is tuned on others; "
            f"give how many of these, 1 to {FOLDS - 1}"
        )
    if wrong := [seed for seed in seeds if seed not in range(FOLDS)]:
        raise ValueError(f"--seeds: {wrong[0]} is no fold of {request.grid.protocol}; give 0-9")
    return [seed for fold in seeds for seed in nested_seeds(fold, int(text))], seeds
