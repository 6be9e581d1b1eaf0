"""The grid that a folder of results holds: jobs as JSON, for workers on any machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.results.rows import Row
from dnabench.results.store import Store
from dnabench.types import Job, OwnData, Recipe, Trial

_LISTS = ("label", "test_groups", "dev_groups")  # of `OwnData`, tuples that JSON makes lists


class Grid(NamedTuple):
    """All that the commands of a folder asked for."""

    jobs: dict[str, Job]  # by trial id, as the latest command that asked for it has it
    # trial id -> `Store.written` of records that had failed, or could not be read, when a command
    # asked for their trials
    failed: dict[str, int]
    ignored: dict[Path, str]  # configurations without jobs that can be run here, and why


def written_grid(jobs: Sequence[Job], rows: Iterable[Row]) -> dict[str, Any]:
    """The jobs of a command as its configuration holds them; paths become absolute.

    Args:
        jobs: the grid.
        rows: of the store where their records are. Trials that failed are asked for again.
    """
    failed = {row.id: row.written for row in rows if not row.done}
    mine = {job.trial.id: failed[job.trial.id] for job in jobs if job.trial.id in failed}
    return {**written_jobs(jobs), "failed": mine}


def written_jobs(jobs: Sequence[Job]) -> dict[str, Any]:
    """The jobs as JSON, in the order in which they run; paths become absolute."""
    return {
        "trials": {job.trial.id: asdict(job.trial) for job in jobs},
        "jobs": [_beside_trial(job) for job in jobs],
    }


def _beside_trial(job: Job) -> dict[str, Any]:
    own = replace(
        job.own, genome=_absolute(job.own.genome), negatives=_absolute(job.own.negatives),
        labels=_absolute(job.own.labels),
    )  # fmt: skip
    fields = job._replace(path=_absolute(job.path), own=own)._asdict()
    usual = Job(job.trial)._asdict()
    found = {k: v for k, v in fields.items() if v != usual[k]}
    return found | ({"own": asdict(own)} if "own" in found else {}) | {"trial": job.trial.id}


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""  # noqa: PTH100


def stored_grid(store: Store) -> Grid:
    """The grid of a folder, from the configurations of all commands that ran or were queued there.

    Raises:
        ValueError: when there is none, or the folder cannot be read.
    """
    grid, folder = Grid({}, {}, {}), store.folder / "configs"
    try:
        paths = sorted(folder.glob("[!.]*.json"))
    except OSError as e:
        raise ValueError(f"cannot read {folder}: {e.strerror}") from None
    for path in paths:
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            grid.jobs.update(jobs_in(config))
            grid.failed.update({str(k): int(v) for k, v in config["failed"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            grid.ignored[path] = f"{type(e).__name__}: {e}"
    if not grid.jobs:
        more = f" ({len(grid.ignored)} configurations could not be read)" if grid.ignored else ""
        raise ValueError(
            f"{store.folder} holds no trials to run{more}; `dnabench run --queue` with the usual "
            f"flags and --out {store.folder} stores some"
        )
    return grid


def jobs_in(config: Mapping[str, Any]) -> dict[str, Job]:
    """The jobs of `written_jobs`, by trial id; ValueError, KeyError or TypeError for others."""
    found = {}
    for fields in config["jobs"]:
        trial_id = fields["trial"]
        values = dict(config["trials"][trial_id])
        trial = Trial(**{**values, "recipe": Recipe(**values["recipe"])})
        if trial.id != trial_id:
            raise ValueError(f"it says id {trial_id}, its fields give {trial.id}")
        found[trial_id] = Job(**{**fields, "trial": trial, "own": _own(fields.get("own", {}))})
    return found


def _own(values: Mapping[str, Any]) -> OwnData:
    plain: dict[str, Any] = {k: tuple(v) if k in _LISTS else v for k, v in values.items()}
    return OwnData(**plain)


def is_open(trial_id: str, store: Store, grid: Grid) -> bool:
    """Whether a trial has no record, or only a failure from before it was asked for again."""
    written = store.written(trial_id)
    return not written or written == grid.failed.get(trial_id)
