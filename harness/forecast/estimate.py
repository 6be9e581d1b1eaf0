"""What a grid of trials will take, before it runs: time, memory and disk, from a few real steps."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from tabulate import tabulate

from dnabench.executors import EXECUTORS
from dnabench.executors.base import last_line
from dnabench.forecast import extrapolate
from dnabench.forecast.extrapolate import sizes_of
from dnabench.forecast.timing import Measured, Probe, measure
from dnabench.host.disk import size
from dnabench.registry import MODELS
from dnabench.schema import trial_id
from dnabench.splits import Sizes
from dnabench.sweep.grid import label
from dnabench.sweep.progress import wall_time
from dnabench.sweep.trial import task_of
from dnabench.types import Job, Resources, Trial

SECONDS = 4.0  # of a probe, about
SEEDS = (1, 3, 5, 10)
ALONE = 0.85  # share of a core above which no other program seems to run
# fields of a recipe that do not change how long a step takes
_NO_TIME = (
    "lr", "weight_decay", "no_decay", "schedule", "horizon", "warmup", "warmup_from", "lr_floor",
    "lora_alpha", "patience", "epochs", "max_steps", "class_weight", "source",
    "differs",
)  # fmt: skip


class Row(NamedTuple):
    """What the trials of one model on one task will take; they differ by their seed alone."""

    task: str
    model: str
    trials: int
    missing: int
    sizes: Sizes
    epochs: int = 0
    seconds: float = 0.0  # of a trial, own CPU seconds on a CPU with one thread
    step: float = 0.0  # seconds of a training step, or of the whole fit without gradients
    peak: int = 0  # bytes of a trial
    disk: int = 0  # bytes of a trial
    measured: str = ""  # the task that was probed
    part: float = 1.0  # the share of a batch, or of the examples, that was measured
    error: str = ""
    shared: float = 0.0  # more of a worker's first trial, which makes features that others read
    networks: int = 0  # bytes of the networks that are kept of the missing trials
    checkpoint: int = 0  # bytes of a trial's checkpoint while it runs; 0 = it is too short for one


class Plan(NamedTuple):
    """What a grid will take; seconds and disk are those of all missing trials."""

    rows: tuple[Row, ...]
    resources: Resources
    start: float  # seconds that a process takes to start, included in `seconds` and `elapsed`
    share: float  # of a core that the probes got
    seconds: float
    elapsed: float  # seconds from start to end
    disk: int  # bytes
    networks: int = 0  # bytes of kept networks
    checkpoints: int = 0  # bytes of checkpoints, at most at any time

    @property
    def peak(self) -> int:
        """Bytes of the largest missing trial."""
        return max((row.peak for row in self.rows if row.missing), default=0)

    def seeds(self, n: int) -> float:
        """Seconds of the whole grid with n seeds, finished trials included."""
        return sum(self.of_row(row, n) for row in self.rows)

    def of_row(self, row: Row, n: int) -> float:
        """Seconds of n trials of a row."""
        return n * row.seconds + min(n, self.resources.workers) * row.shared


def plan(
    jobs: Sequence[Job], resources: Resources, done: Mapping[str, float] = MappingProxyType({}),
    seconds: float = SECONDS, on_probe: Callable[[Job, int], object] = lambda job, n: None,
) -> Plan:  # fmt: skip
    """Probe the missing trials of a grid and add up.

    A probe is a few training steps and an evaluation batch of the real learner on the real
    sequences, `resources.workers` of them at once, as in the sweep. Trials that differ only by
    seed, learning rate or epochs share one, and so do tasks of a suite with equal length, kind and
    number of outputs. Models without gradients are fitted on samples that double in size while
    time allows, and extrapolated by a power law through the last two.

    Args:
        jobs: the grid.
        resources: where, and how many at once.
        done: trials that need not run: id -> seconds in its record.
        seconds: of a probe, about.
        on_probe: called after each probe with its job and the number of probes.

    Returns:
        The plan. A row whose probe failed has an `error` and no costs. One that is done is not
        probed and has the seconds of its records.

    Accuracy:
        Within 30 % of a small real sweep (docs/benchmarks/plan.md). Seconds are the process's own
        on a CPU with one thread, so other programs hardly matter; `elapsed` assumes that every
        core is free. Early stopping is not foreseen. A batch of which only a part was measured is
        extrapolated linearly; official weights are not loaded, so neither is the time for that.
        Memory is right to about a quarter: a worker also keeps what earlier trials freed.
    """
    groups: dict[str, list[Job]] = {}
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_key(job.trial), []).append(job)
    for group in groups.values():
        alike.setdefault(_cost_key(group[0]), []).append(group[0])
    needed = list(dict.fromkeys(_cost_key(g[0]) for g in groups.values() if _missing(g, done)))
    chosen = [_typical(alike[key]) for key in needed]
    found = _probed(chosen, resources, seconds, on_probe)
    measured = {k: (job, m) for k, job, m in zip(needed, chosen, found, strict=True)}
    rows = {k: _row(g, done, measured.get(_cost_key(g[0]))) for k, g in groups.items()}
    return _summed(rows, found, resources, jobs, done)


def _key(trial: Trial) -> str:
    """The same for trials that differ by their seed alone."""
    return trial_id(asdict(replace(trial, seed=0)))


def _cost_key(job: Job) -> str:
    """The same for trials whose steps take equally long."""
    trial, task = job.trial, task_of(job)
    recipe = {k: v for k, v in asdict(trial.recipe).items() if k not in _NO_TIME}
    data: tuple[Any, ...] = (task.suite, task.length, task.kind, task.n_outputs)
    if MODELS[trial.model].custom_trainer:
        data = (task.name, trial.limit, trial.train_share)
    regime = trial.regime.partition(":")[0]
    return json.dumps([trial.model, dict(trial.options), recipe, regime, *data], sort_keys=True)


def _missing(group: Sequence[Job], done: Collection[str]) -> int:
    return sum(job.trial.id not in done for job in group)


def _typical(jobs: Sequence[Job]) -> Job:
    """The one with the fewest examples that fill two batches; else the one with the most."""
    by_size = sorted(jobs, key=lambda job: sizes_of(job).train)
    full = [job for job in by_size if sizes_of(job).train >= 2 * job.trial.recipe.batch]
    return full[0] if full else by_size[-1]


def _probed(
    jobs: Sequence[Job], resources: Resources, seconds: float,
    on_probe: Callable[[Job, int], object],
) -> list[Measured]:  # fmt: skip
    found = [Measured()] * len(jobs)
    executor = EXECUTORS[resources.executor](
        measure, resources.workers, resources.threads, devices=resources.devices
    )
    for event in executor.run([Probe(job, resources, seconds) for job in jobs]):
        if event.kind == "returned":
            found[event.job] = event.value
        elif event.kind == "died":
            found[event.job] = Measured(error=_advice(event.value))
        if event.kind in ("returned", "died"):
            on_probe(jobs[event.job], len(jobs))
    return found


def _advice(error: str) -> str:
    hint = "; try --micro-batch or fewer --jobs" if "out of memory" in error else ""
    return last_line(error) + hint


def _row(
    group: Sequence[Job], done: Mapping[str, float], measured: tuple[Job, Measured] | None
) -> Row:
    job, trial = group[0], group[0].trial
    row = Row(trial.task, label(trial), len(group), _missing(group, done), sizes_of(job))
    epochs = trial.recipe.epochs_over(row.sizes.train)
    took = [done[job.trial.id] for job in group if job.trial.id in done]
    if took and not row.missing:
        return row._replace(epochs=epochs, seconds=sum(took) / len(took))
    assert measured is not None  # missing trials were probed
    source, m = measured
    if m.error:
        return row._replace(measured=source.trial.task, error=m.error)
    custom = MODELS[trial.model].custom_trainer
    seconds, shared = extrapolate.trial_seconds(job, m)
    whole = max(1, row.sizes.train if custom else min(trial.recipe.batch, row.sizes.train))
    return row._replace(
        epochs=m.epochs or epochs, seconds=seconds, shared=shared,
        step=(extrapolate.power_law if custom else extrapolate.linear)(m.points, whole),
        peak=extrapolate.trial_peak(job, m), disk=extrapolate.trial_disk(job, m),
        networks=m.network * (row.missing if job.keep == "all" else 1), checkpoint=m.checkpoint,
        measured=source.trial.task, part=min(1.0, m.points[-1][0] / whole),
    )  # fmt: skip


def _summed(
    rows: Mapping[str, Row], measured: Sequence[Measured], resources: Resources,
    jobs: Sequence[Job], done: Collection[str],
) -> Plan:  # fmt: skip
    queue, begun = [], Counter[str]()
    for key in (_key(job.trial) for job in jobs if job.trial.id not in done):
        begun[key] += 1
        shared = rows[key].shared if begun[key] <= resources.workers else 0.0
        queue.append(rows[key].seconds + shared)
    workers = min(resources.workers, len(queue))
    start = max((m.start for m in measured), default=0.0)
    cpu, wall = sum(m.cpu for m in measured), sum(m.wall for m in measured)
    return Plan(
        rows=tuple(rows.values()), resources=resources, start=start,
        share=min(1.0, cpu / wall) if wall else 1.0,
        seconds=sum(queue) + start * (workers + 1 if queue else 0),
        elapsed=wall_time(queue, [0.0] * max(1, workers)) + (2 * start if queue else 0),
        disk=sum(row.missing * row.disk for row in rows.values()),
        networks=sum(row.networks for row in rows.values()),
        checkpoints=_at_once(rows, resources, workers),
    )  # fmt: skip


def _at_once(rows: Mapping[str, Row], resources: Resources, workers: int) -> int:
    """Bytes of the largest checkpoints that can be there at once: each goes with its trial."""
    every = resources.checkpoint
    long = [row for row in rows.values() if row.checkpoint and row.seconds >= every >= 0]
    each = sorted((row.checkpoint for row in long for _ in range(row.missing)), reverse=True)
    return sum(each[:workers])


def table(found: Plan) -> str:
    """A line for each model and task; ~ marks what was measured in part, = what is done."""
    rows = []
    for row in found.rows:
        start = (row.task, row.model, "/".join(map(str, row.sizes)), row.epochs or "-")
        missing = f"{row.missing} of {row.trials}"
        if row.error:
            rows.append((*start, "-", "-", "-", missing, "-"))
            continue
        mark = "=" if not row.missing else "~" if row.part < 1 else ""
        fit = "fit " if MODELS[row.model.partition(" ")[0]].custom_trainer else ""
        step = fit + duration(row.step) if row.step else "-"
        rows.append((
            *start, step, mark + duration(row.seconds), size(row.peak) if row.peak else "-",
            missing, duration(found.of_row(row, row.missing)),
        ))  # fmt: skip
    heads = (
        "task", "model", "train/val/test", "epochs", "a step", "a trial", "memory", "missing",
        "takes",
    )  # fmt: skip
    return tabulate(rows, heads, disable_numparse=True)


def summary(found: Plan, free_memory: int = 0, free_disk: int = 0) -> list[str]:
    """What the table adds up to, in sentences.

    Free bytes, of memory those of the device with the fewest, are 0 where they are not known.
    """
    r = found.resources
    missing, trials = sum(row.missing for row in found.rows), sum(row.trials for row in found.rows)
    kind = "of CPU" if r.device == "cpu" and r.threads == 1 else f"on {r.device}"
    n, on_each = len(r.devices), " on each" * (len(r.devices) > 1)
    lines = [
        f"{missing} of {trials} trials are to run: {duration(found.seconds)} {kind}, "
        f"{duration(found.elapsed)} from start to end with --jobs {r.workers // n}{on_each}"
    ]
    lines += busy_text(found) + memory_text(found, free_memory)
    text = f"disk: {size(found.disk)} of records and predictions"
    text += f", {size(found.networks)} of kept networks" if found.networks else ""
    text += f", {size(found.checkpoints)} of checkpoints" if found.checkpoints else ""
    lines.append(f"{text}; {size(free_disk)} are free" if free_disk else text)
    each = ", ".join(f"{n}: {duration(found.seeds(n))}" for n in SEEDS)
    lines.append(f"the whole grid by number of seeds, finished trials included: {each} {kind}")
    if any(0 < row.part < 1 for row in found.rows):
        lines.append("~ only a part of a batch, or of the examples, was measured; more with "
                     "--probe-seconds")  # fmt: skip
    lines += [f"{row.model} on {row.task} failed: {row.error}" for row in found.rows if row.error]
    return lines


def busy_text(found: Plan) -> list[str]:
    """How long it takes if other programs go on running; empty where none did."""
    if found.share >= ALONE or not any(row.missing for row in found.rows):
        return []
    return [
        f"other programs are running: each probe got {found.share:.0%} of a core; at that rate "
        f"it takes {duration(found.elapsed / found.share)} from start to end"
    ]


def memory_text(found: Plan, free_memory: int = 0) -> list[str]:
    """What the missing trials take at once, in sentences; `free_memory` as for `summary`."""
    r, missing = found.resources, sum(row.missing for row in found.rows)
    n, on_each = len(r.devices), " on each" * (len(r.devices) > 1)
    workers = min(r.workers // n, -(-missing // n))
    need = found.peak * workers
    of = "memory" if r.device == "cpu" else f"memory of {r.device}"
    text = f"{of}: {size(found.peak)} for the largest trial, {size(need)} for {workers} at once"
    text += on_each
    lines = [f"{text}; {size(free_memory)} are available{on_each}" if free_memory else text]
    if free_memory and need > free_memory:
        lines.append("that is too much: run fewer at once (--jobs) or set --micro-batch")
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
