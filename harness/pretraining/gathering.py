"""From what the user names to a training: genomes, held-out windows, tokenizer, steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnabench.models.language import language_of
from dnabench.pretraining.mapping import looked_up, places, together
from dnabench.pretraining.recipes import Pretraining
from dnabench.pretraining.regions import regions as regions_of
from dnabench.pretraining.training import Training, steps_for
from dnabench.pretraining.windows import MOST_N, Source, draw, in_turn, source
from dnabench.registry import TASKS
from dnabench.tasks.io.packed import Genome, packed, stored
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.learning import SAMPLE
from dnabench.tokens.tokenizers import Tokenizer, check_vocabulary
from dnabench.types import Array, Model, Progress, Sequences

if TYPE_CHECKING:
    from dnabench.pretraining.starting import Start


def silent(done: int, total: int) -> None:
    """Report nothing."""


def unsaid(text: str) -> None:
    """Say nothing."""


def gathered(
    model: Model, options: Mapping[str, Any], how: Pretraining, genomes: Sequence[Path],
    bp: float, *, holdout: Sequence[str] = (), regions: Sequence[str] = (),
    exclude: Sequence[str] = (), weights: Sequence[float] = (), most_n: float = MOST_N,
    stride: int = 0, licences: Sequence[str] = (), looks: int = 20, seed: int = 0,
    command: str = "", regime: str = "scratch",
    progress: Progress = silent, told: Callable[[str], object] = unsaid,
) -> Training:  # fmt: skip
    """All that a training needs.

    Args:
        model: with a language-model head.
        options: of the model, all of them.
        how: the recipe.
        genomes: FASTA files.
        bp: to see.
        holdout: sequences to evaluate on, as NAME or FILE:NAME where there are several genomes.
        regions: FILE:exons=256,promoters=1000, one for each genome or none.
        exclude: tasks whose test splits are left out.
        weights: how often windows of each genome are drawn, one for each; none = by its size.
        most_n: share of N that a window may have.
        stride: bp from one window to the next, where all are read in turn; 0 = drawn at random.
        licences: of the genomes, one for each or none.
        looks: evaluations.
        seed: of weights, windows and what is hidden.
        command: what the user typed.
        regime: of the weights to begin with, see `starting.start_of`.
        progress: of reading genomes, in bp.
        told: called with a sentence for each task that is left out.

    Raises:
        KeyError: no such task.
        FileNotFoundError: no such file.
        ValueError: whatever else does not fit, by name.
    """
    language_of(model)
    check_vocabulary(model, options)
    each = {"--regions": regions, "--weight": weights, "--licence": licences}
    for flag, given in each.items():
        if given and len(given) != len(genomes):
            raise ValueError(
                f"{len(given)} {flag} for {len(genomes)} --genome: give one for each, in order"
            )
    _check_windows(how.length, each, most_n, stride)
    for task in exclude:
        TASKS[task]  # KeyError
    if not model.min_length <= how.length <= model.context:
        raise ValueError(
            f"windows of {how.length} bp: {model.name} reads {model.min_length} to "
            f"{model.context:,} bp; write --length"
        )
    start = _start(model, options, regime, how.length)
    read = [packed(path, progress) for path in genomes]
    held = _held_in(read, genomes, holdout)
    sources = [
        source(
            genome, how.length, held[i],
            left_out=_places_of(exclude, genome, told),
            regions=regions_of(regions[i], genome) if regions else None,
            weight=weights[i] if weights else 0.0, most_n=most_n, stride=stride,
        )
        for i, genome in enumerate(read)
    ]  # fmt: skip
    tokenizer = start.tokenizer if start else _tokenizer(model, options, sources, seed)
    return Training(
        model=model, options=options, tokenizer=tokenizer, how=how, sources=sources,
        steps=steps_for(bp, how), looks=looks, seed=seed, command=command, licences=licences,
        start=start,
    )  # fmt: skip


def _start(model: Model, options: Mapping[str, Any], regime: str, length: int) -> Start | None:
    if regime == "scratch":
        return None  # without torch
    from dnabench.pretraining.starting import start_of

    return start_of(model, options, regime, length)


def _check_windows(
    length: int, each: Mapping[str, Sequence[Any]], most_n: float, stride: int
) -> None:
    """ValueError for numbers that no window can have, and flags that tiles make no use of."""
    if wrong := [weight for weight in each["--weight"] if not 0 < weight < math.inf]:
        raise ValueError(f"--weight {wrong[0]}: write a number above 0")
    if not 0 <= most_n < 1:
        raise ValueError(f"--most-n {most_n}: write a share of N from 0 to below 1")
    if not 0 <= stride <= length:
        raise ValueError(
            f"--stride {stride}: write 1 to {length}, the bp of a window, so that none are left "
            "out; 0 = windows at random"
        )
    if stride and (unused := [flag for flag in ("--regions", "--weight") if each[flag]]):
        raise ValueError(
            f"--stride {stride} reads every window in turn, and {unused[0]} says how often some "
            "are drawn; leave out one of the two"
        )


def _held_in(
    genomes: Sequence[Genome], paths: Sequence[Path], holdout: Sequence[str]
) -> list[list[str]]:
    """The sequences of each genome that are held out."""
    names: list[list[str]] = [[] for _ in genomes]
    for text in holdout:
        file, colon, name = text.rpartition(":")
        own = [i for i, path in enumerate(paths) if colon and file in (str(path), path.name)]
        if len(own) == 1:
            names[own[0]].append(name)
        elif len(genomes) == 1 and not own:
            names[0].append(text)
        else:
            listed = ", ".join(map(str, paths))
            raise ValueError(
                f"--holdout {text}: {'several genomes have' if own else 'no genome has'} that "
                f"file; write FILE:NAME with one of {listed}"
            )
    return names


class Copies(NamedTuple):
    """Where the test sequences of a task lie on a genome: int64 (X, 2), and a sentence of it."""

    places: Array
    said: str


def copies(task: str, genome: Genome) -> Copies:
    """Look the test sequences of a task, both of pairs, up on a genome, once in a process.

    Raises:
        KeyError: no such task.
        ValueError: its data are not here.
    """
    known, n, found = _looked_up(task, TASKS[task].data, genome.sha256)
    what = "pairs (one sequence at least)" if TASKS[task].pairs else "sequences"
    said = f"{n:,} of the {known:,} test {what} of {task} that were looked up are on"
    return Copies(found, f"{said} {genome.name}")


@lru_cache(maxsize=64)
def _looked_up(task: str, data: str, sha256: str) -> tuple[int, int, Array]:
    genome, test = stored(sha256), TASKS[task].load("test")
    assert genome is not None  # it was packed
    seqs, n = together(test.seqs, test.other), len(test.seqs)
    one = places(seqs, genome)
    found = np.stack([one.start, one.end], 1)
    return len(np.unique(looked_up(seqs) % n)), len(np.unique(one.sequence % n)), found


def _places_of(tasks: Sequence[str], genome: Genome, told: Callable[[str], object]) -> Array | None:
    """Where the sequences of test splits lie on a genome."""
    found = [copies(task, genome) for task in tasks]
    for one in found:
        told(one.said)
    return np.concatenate([one.places for one in found]) if found else None


def _tokenizer(
    model: Model, options: Mapping[str, Any], sources: Sequence[Source], seed: int
) -> Tokenizer:
    """The model's; byte pairs from the file that the option names, or learned from windows."""
    if model.own_tokenizer is not None:
        own: Tokenizer = model.own_tokenizer()
        return own
    name, value = model.tokenizer_name(options), str(options.get("tokenizer", ""))
    vocabulary, file = int(options.get("vocabulary", 0)), value.partition(":")[2]
    if name != "bpe" or file:
        path = Path(file).expanduser() if file else None
        return tokenizer_named(name, vocabulary=vocabulary, file=path)
    length = sources[0].length
    tiles = sum(len(one.tiles) for one in sources if one.tiles is not None)
    if tiles:
        codes, _ = in_turn(sources, 0, max(1, min(SAMPLE // length, tiles)), seed)
    else:
        most = min(SAMPLE, sum(one.places for one in sources)) // length
        codes, _ = draw(sources, max(1, most), np.random.default_rng([seed, 1]))
    seqs = Sequences(codes.ravel(), np.arange(len(codes) + 1, dtype=np.int64) * length)
    return tokenizer_named(name, vocabulary=vocabulary, train=seqs)
