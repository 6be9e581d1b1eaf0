"""From what the user names to a training: genomes, held-out windows, tokenizer, steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.models.language import language_of
from dnabench.pretraining.mapping import places
from dnabench.pretraining.pretrain import Training, steps_for
from dnabench.pretraining.recipes import Pretraining
from dnabench.pretraining.regions import regions as regions_of
from dnabench.pretraining.windows import Source, draw, source
from dnabench.registry import TASKS
from dnabench.tasks.io.packed import Genome, packed
from dnabench.tokens.bpe import SAMPLE, tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Array, Model, Progress, Sequences


def silent(done: int, total: int) -> None:
    """Report nothing."""


def gathered(
    model: Model, options: Mapping[str, Any], how: Pretraining, genomes: Sequence[Path],
    bp: float, *, holdout: Sequence[str] = (), regions: Sequence[str] = (),
    exclude: Sequence[str] = (), looks: int = 20, seed: int = 0, command: str = "",
    progress: Progress = silent,
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
        looks: evaluations.
        seed: of weights, windows and what is hidden.
        command: what the user typed.
        progress: of reading genomes, in bp.

    Raises:
        KeyError: no such task.
        FileNotFoundError: no such file.
        ValueError: whatever else does not fit, by name.
    """
    language_of(model)
    if regions and len(regions) != len(genomes):
        raise ValueError(
            f"{len(regions)} --regions for {len(genomes)} --genome: give one for each, in order"
        )
    if not model.min_length <= how.length <= model.context:
        raise ValueError(
            f"windows of {how.length} bp: {model.name} reads {model.min_length} to "
            f"{model.context:,} bp; write --length"
        )
    tests = [TASKS[task].load("test").seqs for task in exclude]
    read = [packed(path, progress) for path in genomes]
    sources = [
        source(
            genome, how.length, _held_in(genome, holdout, alone=len(read) == 1),
            left_out=_places_of(tests, genome),
            regions=regions_of(regions[i], genome) if regions else None,
        )
        for i, genome in enumerate(read)
    ]  # fmt: skip
    tokenizer = _tokenizer(model, options, sources, seed)
    return Training(
        model=model, options=options, tokenizer=tokenizer, how=how, sources=sources,
        steps=steps_for(bp, how), looks=looks, seed=seed, command=command,
    )  # fmt: skip


def _held_in(genome: Genome, holdout: Sequence[str], alone: bool) -> list[str]:
    """The sequences of a genome that are held out."""
    names = []
    for text in holdout:
        file, colon, name = text.rpartition(":")
        if alone or (colon and file == genome.name):
            names.append(name if colon and file == genome.name else text)
        elif not colon:
            raise ValueError(
                f"--holdout {text}: there are several genomes; write FILE:NAME, e.g. "
                f"{genome.name}:{genome.contigs[0]}"
            )
    return names


def _places_of(tests: Sequence[Sequences], genome: Genome) -> Array | None:
    """Where the sequences of test splits lie on a genome."""
    found = [places(seqs, genome) for seqs in tests]
    if not found:
        return None
    return np.concatenate([np.stack([one.start, one.end], 1) for one in found])


def _tokenizer(
    model: Model, options: Mapping[str, Any], sources: Sequence[Source], seed: int
) -> Tokenizer:
    """The model's; byte pairs from the file that the option names, or learned from windows."""
    name, value = model.tokenizer_name(options), str(options.get("tokenizer", ""))
    vocabulary, file = int(options.get("vocabulary", 0)), value.partition(":")[2]
    if name != "bpe" or file:
        path = Path(file).expanduser() if file else None
        return tokenizer_named(name, vocabulary=vocabulary, file=path)
    length = sources[0].length
    most = min(SAMPLE, sum(one.places for one in sources)) // length
    codes, _ = draw(sources, max(1, most), np.random.default_rng([seed, 1]))
    seqs = Sequences(codes.ravel(), np.arange(len(codes) + 1, dtype=np.int64) * length)
    return tokenizer_named(name, vocabulary=vocabulary, train=seqs)
