"""Which networks of a sweep are kept: those of all trials, or of the best seed of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from dnabench.metrics import METRICS
from dnabench.networks.card import CARD, card_of
from dnabench.protocols import protocol_named
from dnabench.results.store import Store
from dnabench.sweep.trial import task_of
from dnabench.types import Job, Record, Trial

KEEP = ("no", "best", "all")


def check_keep(keep: str, jobs: Iterable[Job]) -> None:
    """Raise ValueError for another word, or "best" without scores to choose by."""
    if keep not in KEEP:
        raise ValueError(f"--keep {keep!r}: write {', '.join(KEEP[:-1])} or {KEEP[-1]}")
    for job in jobs if keep != "no" else ():
        protocol, task = protocol_named(job.trial.protocol), task_of(job)
        if keep == "best" and protocol.validation == "dev-or-none" and "dev" not in task.counts:
            raise ValueError(
                f"--keep best: {protocol.name} has no validation scores of {task.name} to choose a "
                "seed by; write --keep all"
            )


def apart_from_seed(trial: Trial) -> str:
    """The same text for trials that differ in nothing but the seed."""
    return replace(trial, seed=0).id


def validation(record: Record) -> float:
    """By which the best seed is chosen, the more the better; -inf where there is no score."""
    metric = record.task.get("metric", "")
    score = record.scores.get("val", {}).get(metric)
    sign = METRICS[metric].sign if metric in METRICS else 1
    return float("-inf") if score is None else sign * float(score)


def best_seeds(records: Iterable[Record]) -> set[str]:
    """Ids of the trials that are the best of those with other seeds; the lowest seed of equals."""
    best: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: r.trial.seed):
        kind = apart_from_seed(record.trial)
        if validation(record) > (validation(best[kind]) if kind in best else float("-inf")):
            best[kind] = record
    return {record.trial.id for record in best.values()}


def wanted(jobs: Sequence[Job], records: Iterable[Record]) -> list[Job]:
    """The jobs of a sweep whose networks are to be kept, among those with these records."""
    done = {r.trial.id: r for r in records if not r.error}
    ended = [job for job in jobs if job.trial.id in done]
    best = best_seeds(done[job.trial.id] for job in ended)
    return [j for j in ended if j.keep == "all" or (j.keep == "best" and j.trial.id in best)]


def drop_worse(records: Iterable[Record], ended: Record, store: Store) -> None:
    """Remove the networks of seeds that are not the best, kept by a sweep that keeps the best only.

    They stay while the best seed has no network, since running it again for its own may fail.

    Args:
        records: of the sweep so far.
        ended: the one that has just ended; those that differ from it in the seed are looked at.
        store: where networks are.
    """
    kind = apart_from_seed(ended.trial)
    near = (r for r in records if r.trial.model == ended.trial.model)
    rivals = [r for r in near if apart_from_seed(r.trial) == kind]
    best = best_seeds(rivals)
    if not any(map(store.has_network, best)):
        return
    for trial_id in {r.trial.id for r in rivals} - best:
        with suppress(FileNotFoundError, ValueError):  # none, or one of another version: it stays
            if card_of(store.network_path(trial_id))[1].keep == "best":
                store.remove_network(trial_id)


def keep_for_good(trial_id: str, store: Store) -> None:
    """Note in the card of a kept network that no better seed removes it."""
    with suppress(FileNotFoundError, ValueError):
        _, card = card_of(store.network_path(trial_id))
        if card.keep == "best":
            card = replace(card, keep="all")
            store.save_network(trial_id, {CARD: card.to_json().encode()})
