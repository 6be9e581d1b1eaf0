"""What of a task's test split a pretraining saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import read_json, replacing
from dnabench.pretraining.mapping import seen
from dnabench.pretraining.saving import CARD, LANGUAGE
from dnabench.tasks.io.packed import stored
from dnabench.types import Job, Sequences


def with_pretraining(found: dict[str, Any], job: Job, seqs: Sequences) -> dict[str, Any]:
    """What a record says, and what it says of the pretraining behind its weights, if there was one.

    Args:
        found: flags of the record so far.
        job: of the trial, with the file that training began with.
        seqs: of the test split.

    Returns:
        With "pretraining": the genomes, the "bp" seen, and "test_seen", the share of the sequences
        that lie, letter for letter, on a part of a genome that was trained on; None when a genome
        is no longer in the cache. A sentence of it is under "contract".
    """
    card = read_json(Path(job.checkpoint).parent / CARD) if job.checkpoint else None
    if not isinstance(card, dict) or card.get("schema") != LANGUAGE:
        return found
    names, share = [one["name"] for one in card["genomes"]], _share(card, seqs)
    said = f"{job.trial.model} was pretrained on {', '.join(names)}"
    if share is None:
        said += f", no longer in the cache: what it saw of {job.trial.task} is not known"
    else:
        said += f"; it saw {share:.1%} of the test sequences of {job.trial.task} there"
    pretraining = {"genomes": names, "bp": card["bp"], "test_seen": share}
    contract = [*found.get("contract", ()), said]
    return found | {"pretraining": pretraining, "contract": contract}


def _share(card: Mapping[str, Any], seqs: Sequences) -> float | None:
    """Kept in the cache: a large genome takes minutes."""
    genomes = [stored(one["sha256"]) for one in card["genomes"]]
    if None in genomes:
        return None
    key = hashlib.sha256(json.dumps(card["genomes"], sort_keys=True).encode())
    key.update(seqs.codes.tobytes() + seqs.offsets.tobytes())
    file = genomes[0].folder / f"seen-{key.hexdigest()[:32]}.json"  # type: ignore[union-attr]
    if (known := read_json(file)) is not None:
        return float(known)
    out = np.zeros(len(seqs), bool)
    for genome, one in zip(genomes, card["genomes"], strict=True):
        assert genome is not None
        out |= seen(seqs, genome, np.array(one["free"], np.int64), card["length"])
    share = float(out.mean())
    with replacing(file) as made:
        made.write(json.dumps(share).encode())
    return share
