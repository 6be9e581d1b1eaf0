"""The executor of Slurm: tasks are workers over the shared folder, followed by its files."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dnabench.cache import read_json, replacing
from dnabench.executors import slurm
from dnabench.executors.base import Event, Executor
from dnabench.results.claims import host
from dnabench.results.store import Store
from dnabench.sweep.numbers import written_checkpoints, written_duration
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.stored import stored_grid
from dnabench.types import Job, Resources

SOONEST, LATEST = 1.0, 30.0  # seconds between two looks
SETTLE = 10.0  # seconds after the end of a task until its last files should be seen here
TRIES = 3  # submissions of a trial whose tasks keep ending before it began


class Costs(NamedTuple):
    """What the trials of a submission will take; 0 = unknown."""

    seconds: Mapping[str, float]  # by trial id
    peak: int  # bytes of the largest


class Chosen(NamedTuple):
    """How tasks are made.

    options: of sbatch, above those that follow from the costs.
    at_once: tasks; 0 = as many as the cluster starts.
    seconds: that a task should run, about.
    costs: estimates them; called for trials about to be submitted.
    note: called with what the user should know.
    """

    options: Mapping[str, str]
    at_once: int
    seconds: float
    costs: Callable[[Sequence[Job]], Costs]
    note: Callable[[str], object]


class _Task(NamedTuple):
    """A task of a submission, here or by an earlier command, and the numbers of its open jobs."""

    folder: Path
    number: int
    jobs: tuple[int, ...]

    @property
    def key(self) -> tuple[str, int]:
        """As in `slurm.states`."""
        return self.folder.name, self.number


class Slurm(Executor):
    """Arrays of `dnabench worker`, each for a list of trials.

    Nothing is sent to the tasks but ids: jobs are in the folder as JSON, and records come back
    there. Tasks that an earlier command submitted and that are still in the queue are followed,
    not submitted again, and outlive this command.

    Args:
        store: on a file system that the nodes see under the same path; its configurations hold
            the jobs.
        resources: what each task may use; its device is chosen on the node.
        chosen: how tasks are made.
    """

    name = "slurm"

    def __init__(self, store: Store, resources: Resources, chosen: Chosen) -> None:
        self.store, self.resources, self.chosen = store, resources, chosen
        self.folder = store.folder.resolve() / "slurm"
        self._arrays: dict[str, list[str]] = {}  # by handle: what this process submitted
        self._followed: dict[str, tuple[Sequence[Job], list[_Task]]] = {}
        self._tries: dict[str, int] = {}

    def submit(self, jobs: Sequence[Job]) -> str:
        """Follow the tasks in the queue that have some of these jobs; submit the others."""
        tasks = self._in_queue(jobs)
        known = {n for task in tasks for n in task.jobs}
        if known:
            ids = ", ".join(sorted({t.folder.name for t in tasks}))
            self.chosen.note(f"following {len(known)} trials that are in the queue already ({ids})")
        handle = f"{self.name}-{time.strftime('%Y%m%dT%H%M%S')}-{host()}-{secrets.token_hex(2)}"
        self._arrays[handle] = []
        if left := [n for n in range(len(jobs)) if n not in known]:
            tasks += self._submitted(handle, jobs, left)
        self._followed[handle] = jobs, tasks
        return handle

    def _submitted(self, handle: str, jobs: Sequence[Job], left: list[int]) -> list[_Task]:
        costs = self.chosen.costs([jobs[n] for n in left])
        parts = chunks([costs.seconds.get(jobs[n].trial.id, 0.0) for n in left],
                       self.chosen.seconds, self.chosen.at_once)  # fmt: skip
        folder = self.folder / handle
        tasks = [_Task(folder, k, tuple(left[i] for i in part)) for k, part in enumerate(parts)]
        for task in tasks:
            with replacing(folder / f"{task.number}.json", sync=True) as file:
                file.write(json.dumps([jobs[n].trial.id for n in task.jobs]).encode())
        options = {"cpus-per-task": str(self.resources.threads)}
        if costs.peak:
            options["mem"] = slurm.memory(costs.peak)
        if any(costs.seconds.values()):
            sums = (sum(costs.seconds.get(jobs[n].trial.id, 0.0) for n in t.jobs) for t in tasks)
            options["time"] = slurm.time_limit(max(sums))
        asked = slurm.Asked({**options, **self.chosen.options}, self.chosen.at_once)
        arrays = slurm.submit(handle, folder, self._command(), len(tasks), asked)
        self._arrays[handle] = arrays
        said = " ".join(f"{k}={v}" if v else k for k, v in asked.options.items())
        self.chosen.note(
            f"submitted {len(left)} trials in {len(tasks)} tasks as Slurm job {', '.join(arrays)} "
            f"({said}); logs in {folder}"
        )
        return tasks

    def _command(self) -> list[str]:
        r = self.resources
        words = {
            "--out": self.store.folder.resolve(), "--device": r.device, "--jobs": 1,
            "--threads": r.threads, "--micro-batch": r.micro_batch, "--compile": r.compile,
            "--checkpoint-every": written_checkpoints(r.checkpoint),
        }  # fmt: skip
        more = ["--trial-timeout", written_duration(r.timeout)] if r.timeout else []
        more += ["--deterministic"] if r.deterministic else []
        pairs = [str(x) for pair in words.items() for x in pair]
        return [*slurm.python(), "worker", *pairs, *more, "--requeue", "--trials"]

    def _in_queue(self, jobs: Sequence[Job]) -> list[_Task]:
        """Tasks of earlier commands that have some of these jobs and are not over."""
        folders = {p.name: p for p in self.folder.glob("*") if p.is_dir()}
        found = slurm.states(folders) if folders else {}
        if found is None:
            raise ValueError(
                "Slurm does not answer (squeue), so trials that are in its queue already would be "
                "submitted twice; try again later"
            )
        numbers = {job.trial.id: n for n, job in enumerate(jobs)}
        tasks = []
        for (name, k), state in found.items():
            ids = read_json(folders[name] / f"{k}.json") if state.state in slurm.GOING_ON else None
            mine = tuple(numbers.pop(i) for i in ids or () if i in numbers)
            tasks += [_Task(folders[name], k, mine)] if mine else []
        return tasks

    def events(self, handle: str) -> Iterator[Event]:
        """Look at the records, claims and queue every 1 to 30 seconds."""
        jobs, tasks = self._followed[handle]
        failed = stored_grid(self.store).failed
        waiting = {n for task in tasks for n in task.jobs}
        begun: set[int] = set()
        over: dict[tuple[str, int], float] = {}  # task -> when it was first seen to have ended
        pause = SOONEST
        while waiting:
            n_before = len(waiting), len(begun)
            states = slurm.states({task.folder.name for task in tasks})  # before the records
            for event in [*self._ended(jobs, sorted(waiting), begun, failed),
                          *self._begun(jobs, sorted(waiting), begun)]:  # fmt: skip
                if event.kind == "returned":
                    waiting.discard(event.job)
                yield event
            for task in () if states is None else tasks:
                state = (states or {}).get(task.key, slurm.State("GONE", "", ""))
                open_ = sorted(waiting.intersection(task.jobs))
                if not open_ or state.state in slurm.GOING_ON:
                    over.pop(task.key, None)
                elif time.monotonic() - over.setdefault(task.key, time.monotonic()) >= SETTLE:
                    waiting.difference_update(open_)
                    yield from self._unfinished(task, state, jobs, open_, begun)
            moved = n_before != (len(waiting), len(begun)) or over
            pause = SOONEST if moved else min(1.2 * pause, LATEST)
            if waiting:
                time.sleep(pause)

    def _ended(
        self, jobs: Sequence[Job], waiting: Sequence[int], begun: set[int],
        failed: Mapping[str, int],
    ) -> Iterator[Event]:  # fmt: skip
        """Jobs that have a record now."""
        for n in waiting:
            trial_id = jobs[n].trial.id
            written = self.store.written(trial_id)
            if not written or written == failed.get(trial_id):
                continue
            if (record := self.store.read(trial_id)) is not None:
                yield from _start(n, begun)
                kind: Literal["failed", "finished"] = "failed" if record.error else "finished"
                yield Event("returned", n, Outcome(kind, record))

    def _begun(
        self, jobs: Sequence[Job], waiting: Sequence[int], begun: set[int]
    ) -> Iterator[Event]:
        """Jobs that a process has claimed."""
        held = self.store.holders()
        for n in waiting:
            if jobs[n].trial.id in held:
                yield from _start(n, begun)

    def _unfinished(
        self, task: _Task, state: slurm.State, jobs: Sequence[Job], open_: Sequence[int],
        begun: set[int],
    ) -> Iterator[Event]:  # fmt: skip
        """What becomes of the jobs of a task that ended without them.

        One that began fails with the task, unless another process runs it or the task was put off.
        One that did not is submitted again, unless the task could not do anything.
        """
        held = {i for i, holder in self.store.holders().items() if not holder.gone}
        useless = not any(n in begun for n in task.jobs)
        for n in open_:
            trial_id = jobs[n].trial.id
            tried = self._tries[trial_id] = self._tries.get(trial_id, 0) + 1
            passed = state.state in slurm.PASSED or not (useless or n in begun)
            yield from _start(n, begun)
            if trial_id in held or (passed and tried < TRIES):
                yield Event("returned", n, Outcome("elsewhere"))
            else:
                yield Event("died", n, _why(task, state))

    def hold(self, handle: str) -> None:
        """As `cancel`: tasks cannot be told from here to end what they run."""
        self.cancel(handle)

    def cancel(self, handle: str) -> None:
        """End the tasks that this process submitted, not those that it follows."""
        arrays = self._arrays.pop(handle, [])
        if why := slurm.cancel(arrays):
            left = " ".join(arrays)
            self.chosen.note(f"Slurm did not cancel {left} ({why}); `scancel {left}` does it later")

    def leave(self, handle: str) -> list[str]:
        """Let the tasks outlive this process; ids of their arrays."""
        return self._arrays.pop(handle, [])


def _start(n: int, begun: set[int]) -> Iterator[Event]:
    if n not in begun:
        begun.add(n)
        yield Event("started", n)


def chunks(seconds: Sequence[float], most: float, at_least: int = 0) -> list[list[int]]:
    """Divide jobs among tasks, in their order.

    Args:
        seconds: of each job; 0 = unknown: such a job has a task of its own.
        most: seconds of a task, unless a single job takes longer.
        at_least: tasks, if there are as many jobs.

    Returns:
        Numbers of the jobs of each task.
    """
    each = min(most, sum(seconds) / at_least) if at_least else most
    parts: list[list[int]] = []
    spent = 0.0
    for n, own in enumerate(seconds):
        if not parts or not own or spent + own > each * (1 + 1e-9):
            parts.append([])
            spent = 0.0
        parts[-1].append(n)
        spent += own or most
    return parts


def _why(task: _Task, state: slurm.State) -> str:
    log = slurm.log_of(task.folder, task.number)
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    more = f", whose last line is: {lines[-1][:300]}" if lines else ", which is empty or not there"
    name = f"Slurm task {state.job}" if state.job else f"task {task.number} of {task.folder.name}"
    help_ = {
        "TIMEOUT": "; give it more with --set-resource time=H:MM:SS",
        "OUT_OF_MEMORY": "; give it more with --set-resource mem=32G",
    }.get(state.state, "")
    ended = f"{name} ended ({state.state}) before the trial did{help_}"
    return f"RuntimeError: {ended}; its log is {log}{more}"
