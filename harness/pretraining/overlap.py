"""What of a task's test split a pretraining saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import read_json, replacing
from dnabench.pretraining.mapping import looked_up, seen, together
from dnabench.pretraining.saving import CARD
from dnabench.tasks.io.packed import stored
from dnabench.types import Array, Job, Sequences
from dnabench.weights import begun_with, pretraining_of, trainings_of


def behind(job: Job) -> Mapping[str, Any] | None:
    """What the weights of a trial were pretrained on here, also where they were trained since."""
    card = read_json(Path(job.checkpoint).parent / CARD) if job.checkpoint else None
    return pretraining_of(card) if isinstance(card, dict) else None


def with_pretraining(
    found: dict[str, Any], job: Job, seqs: Sequences, other: Sequences | None = None
) -> dict[str, Any]:
    """What a record says, and what it says of the pretraining behind its weights, if there was one.

    Args:
        found: flags of the record so far.
        job: of the trial, with the file that training began with.
        seqs: of the test split.
        other: of pairs, the second of each.

    Returns:
        With "pretraining": the genomes, the "bp" seen, "looked_up", how many sequences could be
        looked up (of 32 bp or more, without N), and "test_seen", the share of these that lie,
        letter for letter, where windows were drawn from; None when it is not known. A pair counts
        if one of its sequences does. Where the network went on from another, all that is known of
        its trainings counts; "began_with" names weights of which nothing is, and then the share is
        what it saw at least. A sentence of it is under "contract".
    """
    card = behind(job)
    if card is None:
        return found
    parts, unknown, every = trainings_of(card), begun_with(card), together(seqs, other)
    names = [*dict.fromkeys(one["name"] for part in parts for one in part["genomes"])]
    n = len(_known(every, len(seqs)))
    what = "sequences" if other is None else "pairs (one sequence at least)"
    share, why = None, "no test sequence has 32 bp without N"
    if n:
        try:
            share, why = _share(parts, every, len(seqs)), "a genome is no longer in the cache"
        except (OSError, ValueError) as e:  # a trained trial is worth more than this sentence
            why = str(e)
    said, task = f"{job.trial.model} was pretrained on {', '.join(names)}", job.trial.task
    if share is None:
        said += f"; what it saw of the test {what} of {task} is not known: {why}"
    else:
        said += f", and {share:.1%} of the {n:,} test {what} of {task} that were looked up lie "
        said += "where its windows were drawn from"
    if unknown:
        said += f"; it began with {unknown}, and what these weights were trained on is not known"
    bp = sum(part["bp"] for part in parts)
    pretraining = {"genomes": names, "bp": bp, "looked_up": n, "test_seen": share}
    pretraining |= {"began_with": unknown} if unknown else {}
    contract = [*found.get("contract", ()), said]
    return found | {"pretraining": pretraining, "contract": contract}


def _known(every: Sequences, n: int) -> Array:
    """Which of n examples have a sequence that can be looked up; see `mapping.together`."""
    return np.unique(looked_up(every) % max(n, 1))


def _share(parts: Sequence[Mapping[str, Any]], every: Sequences, n: int) -> float | None:
    """Of n examples, what one of the trainings saw; see `mapping.together`.

    Kept in the cache, where it can be written: a large genome takes minutes.
    """
    read = [(one, part["length"]) for part in parts for one in part["genomes"]]
    genomes = [stored(one["sha256"]) for one, _ in read]
    if None in genomes:
        return None
    key = hashlib.sha256(json.dumps([one for one, _ in read], sort_keys=True).encode())
    key.update(every.codes.tobytes() + every.offsets.tobytes() + n.to_bytes(8))
    file = genomes[0].folder / f"seen-{key.hexdigest()[:32]}.json"  # type: ignore[union-attr]
    if (known := read_json(file)) is not None:
        return float(known)
    out = np.zeros(len(every), bool)
    for genome, (one, length) in zip(genomes, read, strict=True):
        assert genome is not None
        out |= seen(every, genome, np.array(one["free"], np.int64), length)
    share = float(np.asarray(out.reshape(-1, n).any(0))[_known(every, n)].mean())
    with suppress(OSError), replacing(file) as made:
        made.write(json.dumps(share).encode())
    return share
