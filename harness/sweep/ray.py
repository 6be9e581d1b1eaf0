"""The executor of Ray: workers on its nodes, each of which runs one trial after another."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.cache import read_json, replacing
from dnabench.executors import ray as cluster
from dnabench.executors.base import Event, Executor, first
from dnabench.executors.environment import TRAVELS_ALWAYS, absolute, travelling
from dnabench.executors.local import Local
from dnabench.host.machine import device_named
from dnabench.results.claims import host
from dnabench.results.provenance import BATCH_JOB
from dnabench.results.store import Store, UnwritableError
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.stored import jobs_in, stored_grid, written_jobs
from dnabench.sweep.sweep import executor_for, outcomes
from dnabench.types import Job, Record, Resources

TICK = 1.0  # seconds of waiting at a time
TRIES = 3  # workers that a trial may lose
GRACE = 5.0  # seconds that workers have to free their trials
APPEARS = 60.0  # seconds until a file that was written here should be seen on a node


class RayWorker:
    """On a node: runs trials in a process of its own that stays warm, as `Local` does here.

    Args:
        text: JSON of what `Ray` says of the folder, the resources and the environment.
    """

    def __init__(self, text: str) -> None:
        self.told = json.loads(text)
        os.environ.update(self.told["environment"])
        os.environ.pop(cluster.TOKEN[0], None)  # what the trials start needs none
        self.stopped = False

    def ready(self) -> str:
        """Why no trial can run here, "" if one can."""
        why = self._prepare()
        return why and f"{socket.gethostname()}: {why}"

    def _prepare(self) -> str:
        jobs, end = Path(self.told["jobs"]), time.monotonic() + APPEARS
        while (config := read_json(jobs)) is None:
            if time.monotonic() > end:
                return f"it does not see {jobs}: --out must be a folder that all nodes share"
            time.sleep(TICK)
        if self.told["version"] != version("dnabench"):
            return f"it has dnabench {version('dnabench')}, not {self.told['version']}"
        resources = Resources(**self.told["resources"])
        try:
            self.jobs = list(jobs_in(config).values())
            device = device_named(resources.device)
        except (ValueError, KeyError, TypeError) as e:
            return str(e)
        self.resources = resources._replace(device=device, workers=1, executor="local")
        self.store = Store(self.told["folder"])
        executor = executor_for(self.store, self.resources, config["failed"])
        assert isinstance(executor, Local)
        self.local, self.handle = executor, executor.submit([])
        return ""

    def run(self, number: int) -> Iterator[str]:
        """The events of a job, as JSON."""
        job = self.jobs[number]
        self.local.add(self.handle, job)
        with closing(outcomes(self._events(), [job], self.store, self.resources)) as seen:
            try:
                for event, _, outcome in seen:
                    value = event.value if outcome is None else _written(outcome)
                    yield json.dumps(["returned" if outcome else event.kind, value])
                    if outcome is not None:  # the next call may have begun, and reads the events
                        return
            except UnwritableError as e:
                told = _written(Outcome("unwritable", not_kept=str(e)))
                yield json.dumps(["returned", told])

    def _events(self) -> Generator[Event, None, None]:
        for event in self.local.events(self.handle):
            if self.stopped:  # it tells of a process that `stop` has killed
                return
            yield event._replace(job=0)

    def stop(self) -> None:
        """End what runs, which frees its trial for others."""
        self.stopped = True
        self.local.cancel(self.handle)


def _written(outcome: Outcome) -> dict[str, Any]:
    record = outcome.record and outcome.record.to_json()
    return {"kind": outcome.kind, "record": record, "not_kept": outcome.not_kept}


def _read(value: dict[str, Any]) -> Outcome:
    record = value["record"] and Record.from_json(value["record"])
    return Outcome(value["kind"], record, value["not_kept"])


class Chosen(NamedTuple):
    """How workers are made.

    asked: of the cluster.
    at_once: workers.
    note: called with what the user should know.
    """

    asked: cluster.Asked
    at_once: int
    note: Callable[[str], object]


@dataclass(eq=False)
class _Place:
    """A worker as this process sees it."""

    actor: Any
    answer: Any  # what is waited for: that it is ready, then the events of a job; None = idle
    number: int
    attempt: int
    ready: bool = False
    job: int | None = None


@dataclass
class _Sent:
    """A submission."""

    path: Path  # its jobs as JSON
    jobs: Sequence[Job]
    waiting: deque[tuple[int, Job]]
    free: list[tuple[int, int]]  # numbers and attempts of the places that can be made
    places: list[_Place] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)
    lost: Counter[int] = field(default_factory=Counter)  # workers by job; -1 = before any job


class Ray(Executor):
    """Workers on the nodes of a Ray cluster that this process has joined.

    Jobs are JSON in the folder, and their numbers are all that is sent; records are written there
    by the workers. A worker that is lost with its node is replaced, and its trial runs again.
    Workers end with this process; what had finished is in the folder.

    Args:
        store: on a file system that the nodes see under the same path.
        resources: what each trial may use; its device is chosen on the node.
        chosen: how workers are made.
    """

    name = "ray"

    def __init__(self, store: Store, resources: Resources, chosen: Chosen) -> None:
        if resources.device == "auto" and not chosen.asked.each.get("num_gpus"):
            resources = resources._replace(device="cpu")
        self.store, self.resources, self.chosen = store, resources, chosen
        self._sent: dict[str, _Sent] = {}

    def submit(self, jobs: Sequence[Job]) -> str:
        """Write the jobs; workers start when `events` is read, no more of them than jobs."""
        handle = f"{self.name}-{time.strftime('%Y%m%dT%H%M%S')}-{host()}-{secrets.token_hex(2)}"
        path = self.store.folder.resolve() / self.name / f"{handle}.json"
        failed = stored_grid(self.store).failed
        before = {job.trial.id: failed.get(job.trial.id, 0) for job in jobs}
        with replacing(path, sync=True) as file:
            file.write(json.dumps({**written_jobs(jobs), "failed": before}).encode())
        free = [(number, 1) for number in range(min(self.chosen.at_once, len(jobs)))]
        self._sent[handle] = _Sent(path, jobs, deque(enumerate(jobs)), free)
        return handle

    def events(self, handle: str) -> Iterator[Event]:
        """Give jobs to idle workers and pass on what they send."""
        import ray

        sent = self._sent[handle]
        while sent.waiting or any(place.job is not None for place in sent.places):
            self._give(sent)
            answers = {place.answer: place for place in sent.places if place.answer is not None}
            if not answers:  # `hold` was called meanwhile
                continue
            heard, _ = ray.wait(list(answers), timeout=TICK)
            if not heard:
                cluster.check_here()
            if not heard and not any(place.ready for place in sent.places):
                cluster.capacity(self.chosen.asked, cluster.nodes())
            for answer in heard:
                yield from self._take(sent, answers[answer])

    def _give(self, sent: _Sent) -> None:
        """Jobs to idle workers, new workers for further jobs, an end to those without."""
        for place in [p for p in sent.places if p.ready and p.job is None]:
            if (taken := first(sent.waiting)) is not None:
                place.job = taken[0]
                place.answer = place.actor.run.options(num_returns="streaming").remote(place.job)
        idle = [place for place in sent.places if place.job is None]
        for place in idle[len(sent.waiting) :]:
            self._end(sent, place)
        while sent.free and len(idle) < len(sent.waiting):
            place = self._started(sent, *sent.free.pop(0))
            sent.places.append(place)
            idle.append(place)

    def _started(self, sent: _Sent, number: int, attempt: int) -> _Place:
        import ray

        job = ray.get_runtime_context().get_job_id()
        name = f"ray {job}_{number}" + (f" attempt {attempt}" if attempt > 1 else "")
        whole = absolute(os.environ)
        told = {
            "folder": str(self.store.folder.resolve()), "jobs": str(sent.path),
            "resources": self.resources._asdict(), "version": version("dnabench"),
            "environment": {k: whole[k] for k in travelling(whole, TRAVELS_ALWAYS)}
            | {BATCH_JOB: name},
        }  # fmt: skip
        options = {**self.chosen.asked.options(), "max_concurrency": 2}  # `stop` beside `run`
        kind: Any = ray.remote(**options)(RayWorker)
        actor = kind.remote(json.dumps(told))
        return _Place(actor, actor.ready.remote(), number, attempt)

    def _take(self, sent: _Sent, place: _Place) -> Iterator[Event]:
        """What a worker says, or that it is lost."""
        import ray

        try:
            if place.job is None:
                if why := ray.get(place.answer):
                    raise ValueError(f"a node of Ray cannot run trials: {why}")
                place.ready, place.answer = True, None
                sent.lost[-1] = 0
                return
            kind, value = json.loads(ray.get(next(place.answer)))
        except (ray.exceptions.RayError, StopIteration) as e:
            yield from self._lost(sent, place, str(e).strip() or type(e).__name__)
            return
        number = place.job
        if kind == "returned":
            place.job, place.answer, value = None, None, _read(value)
        if kind != "started" or number not in sent.begun:
            sent.begun.add(number)
            yield Event(kind, number, value)

    def _lost(self, sent: _Sent, place: _Place, why: str) -> Iterator[Event]:
        """A worker is gone with its job, which runs again, or too often."""
        self._end(sent, place, place.attempt + 1)
        number = -1 if place.job is None else place.job
        sent.lost[number] += 1
        last = why.splitlines()[-1] if number == -1 else why.splitlines()[0]
        if sent.lost[number] < TRIES:
            what = "before it was ready" if number == -1 else "with a trial, which runs again"
            self.chosen.note(f"Ray lost a worker {what}: {last[:300]}")
            if number >= 0:
                sent.waiting.appendleft((number, sent.jobs[number]))
        elif number == -1:
            raise ValueError(f"Ray lost {TRIES} workers before they were ready: {last[:1000]}")
        else:
            if number not in sent.begun:
                yield Event("started", number)
            yield Event("died", number, f"RuntimeError: Ray lost {TRIES} workers that ran this "
                        f"trial; the last one: {last[:1000]}")  # fmt: skip

    def _end(self, sent: _Sent, place: _Place, attempt: int = 1) -> None:
        """Remove a worker; `attempt` is of the one that may take its place."""
        import ray

        ray.kill(place.actor)
        sent.places.remove(place)
        sent.free = sorted([*sent.free, (place.number, attempt)])

    def hold(self, handle: str) -> None:
        """Forget the jobs that no worker has."""
        self._sent[handle].waiting.clear()

    def cancel(self, handle: str) -> None:
        """End the workers of this submission, after they have freed their trials."""
        import ray

        self.hold(handle)
        sent = self._sent[handle]
        with suppress(ray.exceptions.RayError):
            stops = [p.actor.stop.remote() for p in sent.places if p.job is not None]
            if stops:
                ray.wait(stops, num_returns=len(stops), timeout=GRACE)
        for place in list(sent.places):
            self._end(sent, place)
