"""What a grid of trials will take, before it runs: time, memory and disk, from a few real steps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from tabulate import tabulate

from dnabench.executors import EXECUTORS
from dnabench.executors.base import last_line
from dnabench.forecast.extrapolate import (
    Sizes,
    power,
    sizes_of,
    straight,
    trial_disk,
    trial_peak,
    trial_seconds,
)  # fmt: skip
from dnabench.forecast.timing import Measured, Probe, measure
from dnabench.host.disk import size
from dnabench.registry import MODELS
from dnabench.sweep.grid import label
from dnabench.sweep.progress import wall_time
from dnabench.sweep.trial import task_of
from dnabench.types import Job, Resources, Trial, trial_id

SECONDS = 4.0  # of a probe, about
SEEDS = (1, 3, 5, 10)
ALONE = 0.85  # share of a core from which on nobody else seems to be there
# what of a recipe changes no time
_FREE = ("lr", "weight_decay", "schedule", "warmup", "lr_floor", "lora_alpha", "patience", "source")


class Row(NamedTuple):
    """What the trials of a model on a task, that differ by their seed alone, will take.

    seconds: of one, own CPU seconds on a CPU with one thread. shared: further ones, of those that
    begin first, one a worker, which make what the others read. step: seconds of a training step or,
    for a model without gradients, of the whole fit. peak, disk: bytes of one. measured: the task
    whose probe it comes from. part: share of a batch, or of the examples, up to which was measured.
    """

    task: str
    model: str
    trials: int
    missing: int
    sizes: Sizes
    epochs: int = 0
    seconds: float = 0.0
    step: float = 0.0
    peak: int = 0
    disk: int = 0
    measured: str = ""
    part: float = 1.0
    error: str = ""
    shared: float = 0.0


class Plan(NamedTuple):
    """Of a grid: its rows; seconds of the missing trials together, and from start to end.

    start: seconds a process takes to begin, in `seconds` and `elapsed` already. share: of a core
    that the probes got. disk: bytes of the missing trials.
    """

    rows: tuple[Row, ...]
    resources: Resources
    start: float
    share: float
    seconds: float
    elapsed: float
    disk: int

    @property
    def peak(self) -> int:
        """Bytes of the largest missing trial."""
        return max((row.peak for row in self.rows if row.missing), default=0)

    def seeds(self, n: int) -> float:
        """Seconds of the whole grid with n seeds, whether or not some are done."""
        return sum(self.of_row(row, n) for row in self.rows)

    def of_row(self, row: Row, n: int) -> float:
        """Seconds of n trials of a row."""
        return n * row.seconds + min(n, self.resources.workers) * row.shared


def plan(
    jobs: Sequence[Job],
    resources: Resources,
    done: Mapping[str, float] = MappingProxyType({}),
    seconds: float = SECONDS,
    observe: Callable[[Job, int], object] = lambda job, of: None,
) -> Plan:
    """Probe what is missing of a grid and add up.

    A probe is a few training steps and an evaluation batch of the real learner on the real
    sequences, `resources.workers` of them at once, as in the sweep. Trials that differ only by
    seed, learning rate or epochs share one, and so do tasks of a suite with equally long sequences,
    kind and outputs. Models without gradients are fitted on samples that double in size while there
    is time, and go on by the power of the last two.

    Args:
        jobs: the grid.
        resources: where and how many at once.
        done: trials that need not run: id -> seconds that its record says it took.
        seconds: of a probe, about.
        observe: told of each probe that ended, and of how many there are.

    Returns:
        The plan; a row whose probe failed has an `error` and takes nothing. One that is done is
        not probed, its seconds are those of its records.

    Accuracy:
        Within 30 % of a small real sweep (docs/benchmarks/plan.md). Seconds are the process's own
        on a CPU with one thread, so other programs hardly count; elapsed: every core to itself.
        Early stopping is not foreseen. A batch of which only a part was measured goes on by a
        straight line; official weights are not read, so neither is the time to read them there.
        Memory is right to about a quarter: a worker also keeps what its earlier trials freed.
    """
    groups: dict[str, list[Job]] = {}
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_key(job.trial), []).append(job)
    for group in groups.values():
        alike.setdefault(_alike(group[0]), []).append(group[0])
    needed = list(dict.fromkeys(_alike(g[0]) for g in groups.values() if _missing(g, done)))
    chosen = [_typical(alike[key]) for key in needed]
    found = _probed(chosen, resources, seconds, observe)
    measured = {k: (job, m) for k, job, m in zip(needed, chosen, found, strict=True)}
    rows = {k: _row(g, done, measured.get(_alike(g[0]))) for k, g in groups.items()}
    return _summed(rows, found, resources, jobs, done)


def _key(trial: Trial) -> str:
    """The same for trials that differ by their seed alone."""
    return trial_id(asdict(replace(trial, seed=0)))


def _alike(job: Job) -> str:
    """The same for trials whose steps take as long."""
    trial, task = job.trial, task_of(job)
    recipe = {k: v for k, v in asdict(trial.recipe).items() if k not in (*_FREE, "epochs")}
    what: tuple[Any, ...] = (task.suite, task.length, task.kind, task.n_outputs)
    if MODELS[trial.model].custom_trainer:
        what = (task.name, trial.limit)
    regime = trial.regime.partition(":")[0]
    return json.dumps([trial.model, dict(trial.options), recipe, regime, *what], sort_keys=True)


def _missing(group: Sequence[Job], done: Collection[str]) -> int:
    return sum(job.trial.id not in done for job in group)


def _typical(jobs: Sequence[Job]) -> Job:
    """The one with the fewest examples that fill two batches; else the one with the most."""
    by_size = sorted(jobs, key=lambda job: sizes_of(job).train)
    full = [job for job in by_size if sizes_of(job).train >= 2 * job.trial.recipe.batch]
    return full[0] if full else by_size[-1]


def _probed(
    jobs: Sequence[Job],
    resources: Resources,
    seconds: float,
    observe: Callable[[Job, int], object],
) -> list[Measured]:
    probes = [Probe(job, resources, seconds) for job in jobs]
    found = [Measured()] * len(probes)
    executor = EXECUTORS[resources.executor](measure, resources.workers, resources.threads)
    for event in executor.run(probes):
        if event.kind in ("returned", "died"):
            found[event.job] = (
                event.value if event.kind == "returned" else Measured(error=_advice(event.value))
            )
            observe(jobs[event.job], len(jobs))
    return found


def _advice(error: str) -> str:
    memory = "; try --micro-batch or fewer --jobs" if "out of memory" in error else ""
    return last_line(error) + memory


def _row(
    group: Sequence[Job], done: Mapping[str, float], measured: tuple[Job, Measured] | None
) -> Row:
    job, trial = group[0], group[0].trial
    row = Row(trial.task, label(trial), len(group), _missing(group, done), sizes_of(job))
    took = [done[job.trial.id] for job in group if job.trial.id in done]
    if took and not row.missing:
        return row._replace(epochs=trial.recipe.epochs, seconds=sum(took) / len(took))
    assert measured is not None  # what is missing was probed
    source, m = measured
    if m.error:
        return row._replace(measured=source.trial.task, error=m.error)
    own = MODELS[trial.model].custom_trainer
    own_seconds, shared = trial_seconds(job, m)
    whole = max(1, row.sizes.train if own else min(trial.recipe.batch, row.sizes.train))
    return row._replace(
        epochs=m.epochs or trial.recipe.epochs, seconds=own_seconds, shared=shared,
        step=(power if own else straight)(m.points, whole), peak=trial_peak(job, m),
        disk=trial_disk(job, m), measured=source.trial.task,
        part=min(1.0, m.points[-1][0] / whole),
    )  # fmt: skip


def _summed(
    rows: Mapping[str, Row], measured: Sequence[Measured], resources: Resources,
    jobs: Sequence[Job], done: Collection[str],
) -> Plan:  # fmt: skip
    queue, begun = [], Counter[str]()
    for key in (_key(job.trial) for job in jobs if job.trial.id not in done):
        begun[key] += 1
        first = begun[key] <= resources.workers
        queue.append(rows[key].seconds + (rows[key].shared if first else 0.0))
    workers = min(resources.workers, len(queue))
    start = max((m.start for m in measured), default=0.0)
    cpu, wall = (sum(times) for times in ([m.cpu for m in measured], [m.wall for m in measured]))
    return Plan(
        rows=tuple(rows.values()), resources=resources, start=start,
        share=min(1.0, cpu / wall) if wall else 1.0,
        seconds=sum(queue) + start * (workers + 1 if queue else 0),
        elapsed=wall_time(queue, [0.0] * max(1, workers)) + (2 * start if queue else 0),
        disk=sum(row.missing * row.disk for row in rows.values()),
    )  # fmt: skip


def table(found: Plan) -> str:
    """A line a model and task; ~ marks what was measured in part, = what was done before."""
    rows = []
    for row in found.rows:
        mark = "=" if not row.missing else "~" if row.part < 1 else ""
        examples = "/".join(map(str, row.sizes))
        start = (row.task, row.model, examples, row.epochs or "-")
        if row.error:
            rows.append((*start, "-", "-", "-", f"{row.missing} of {row.trials}", "-"))
            continue
        step = duration(row.step) if row.step else "-"
        if MODELS[row.model.partition(" ")[0]].custom_trainer and row.step:
            step = f"fit {step}"
        rows.append((
            *start, step, mark + duration(row.seconds), size(row.peak) if row.peak else "-",
            f"{row.missing} of {row.trials}", duration(found.of_row(row, row.missing)),
        ))  # fmt: skip
    heads = (
        "task", "model", "train/val/test", "epochs", "a step", "a trial", "memory", "missing",
        "takes",
    )  # fmt: skip
    return tabulate(rows, heads, disable_numparse=True)


def conclusions(found: Plan, free_memory: int = 0, free_disk: int = 0) -> list[str]:
    """What the table comes to, in sentences.

    Args:
        found: the plan.
        free_memory: bytes, 0 = not known.
        free_disk: bytes where the records go, 0 = not known.
    """
    r = found.resources
    on_cpu = r.device == "cpu"
    missing, trials = sum(row.missing for row in found.rows), sum(row.trials for row in found.rows)
    kind = "of CPU" if on_cpu and r.threads == 1 else f"on {r.device}"
    lines = [
        f"{missing} of {trials} trials are to run: {duration(found.seconds)} {kind}, "
        f"{duration(found.elapsed)} from start to end with --jobs {r.workers}"
    ]
    if found.share < ALONE and missing:
        slow = duration(found.elapsed / found.share)
        lines.append(
            f"other programs run: the probes got {found.share:.0%} of a core each, and at that "
            f"rate it is {slow} from start to end"
        )
    workers = min(r.workers, missing)
    need = found.peak * workers
    says = f"memory: {size(found.peak)} for the largest trial, {size(need)} for {workers} at once"
    lines.append(f"{says}; {size(free_memory)} are available" if free_memory else says)
    if free_memory and need > free_memory:
        lines.append("that is too much: fewer at once with --jobs, or less of each: --micro-batch")
    says = f"disk: {size(found.disk)} of records and predictions"
    lines.append(f"{says}; {size(free_disk)} are free" if free_disk else says)
    each = ", ".join(f"{n}: {duration(found.seeds(n))}" for n in SEEDS)
    lines.append(f"the whole grid by number of seeds, done or not: {each} {kind}")
    if any(0 < row.part < 1 for row in found.rows):
        lines.append("~ a part of a batch, or of the examples, was measured: see --probe-seconds")
    lines += [f"{row.model} on {row.task} failed: {row.error}" for row in found.rows if row.error]
    return lines


def duration(seconds: float) -> str:
    """Three digits: 12.3 ms, 4.56 s, 7.89 min, 1.23 h, 4.56 d."""
    for unit, many in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < 1 and unit == "s":
            return f"{1000 * seconds:.3g} ms"
        if seconds < many:
            return f"{seconds:.3g} {unit}"
        seconds /= many if unit != "h" else 24
    return f"{seconds:,.3g} d"
