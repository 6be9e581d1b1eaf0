"""A few real steps of a trial, measured in a worker process as a sweep would run it.

Learners, batches and tokens are those of a run.
"""

import ctypes
import gc
import importlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dnabench.host import memory
from dnabench.host.machine import of_worker
from dnabench.models.kernels.context import Kernels
from dnabench.models.outside.references import model_of
from dnabench.networks.saving import tensors_of
from dnabench.protocols import metric_for, protocol_named
from dnabench.registry import MODELS
from dnabench.shares import part_of_train
from dnabench.splits import cut, limited, streams
from dnabench.sweep.trial import task_of
from dnabench.train.batches import EVAL_TOKENS
from dnabench.train.build import as_read, build_learner, build_tokenizer
from dnabench.train.checkpoint import checkpoint_bytes
from dnabench.train.flops import n_tokens
from dnabench.train.learner import Examples
from dnabench.train.losses import flat
from dnabench.train.objectives import Supervised
from dnabench.train.pool import Pool
from dnabench.types import Array, Job, Learner, Progress, Resources, Split, Task

IMPORTED = ("sklearn.linear_model", "sklearn.metrics", "scipy.sparse", "scipy.stats")  # by trials
RUNS = 3  # timed, after one to warm up
SMALLEST = 64  # examples in the first fit of a learner without gradients
LEARNED_FROM = 2**20  # bp that a byte-pair tokenizer is learned from
_imported = False  # whether this process has done its first probe


class Probe(NamedTuple):
    """What a worker measures: a trial, on which resources, for about how many seconds."""

    job: Job
    resources: Resources
    seconds: float


class Measured(NamedTuple):
    """The measurements; seconds are CPU seconds on a CPU with one thread, else elapsed.

    points: (rows, seconds of a training step), or (examples, seconds of the whole fit) for a
    learner without gradients, by size.
    """

    start: float = 0.0  # imports, once a process
    fixed: float = 0.0  # building, once a trial
    data: float = 0.0  # loading and cutting `n_train` examples, once a trial
    n_train: int = 0  # of every share
    prepare: float = 0.0  # encoding a sequence and strand, once a split
    predict: float = 0.0  # a sequence, with its share of the metrics
    keep: float = 0.0  # a copy of what was learned
    points: tuple[tuple[int, float], ...] = ()
    memory: tuple[tuple[int, int], ...] = ()  # (rows or examples, peak bytes)
    floor: int = 0  # bytes without an evaluation batch
    each: float = 0.0  # bytes for each sequence of an evaluation batch
    full: int = 0  # sequences of an evaluation batch
    stored: float = 0.0  # bytes for the predictions of an example
    storing: float = 0.0  # seconds for them
    wall: float = 0.0  # elapsed seconds of the whole probe
    cpu: float = 0.0  # CPU seconds of the whole probe
    epochs: int = 0
    n_params: int = 0
    network: int = 0  # bytes of a kept network; 0 = none is to be kept, or it cannot be
    checkpoint: int = 0  # bytes of a checkpoint within the trial; 0 = there are none
    features: int = 0  # bytes of a probe's for all bases of a sequence
    room: int = 0  # bytes of these that may be held at once
    error: str = ""


def measure(probe: Probe, progress: Progress) -> Measured:
    """Probe in this process; errors become text."""
    try:
        return _measured(probe._replace(resources=of_worker(probe.resources)))
    except Exception as e:
        return Measured(error=f"{type(e).__name__}: {(str(e).splitlines() or [''])[0]}")


def _measured(probe: Probe) -> Measured:
    import torch

    start = _first_imports()
    _forget()
    clock, began = Clock(probe.resources, Kernels()), (time.perf_counter(), time.process_time())
    model = model_of(probe.job)  # one of the user's own is known from here on
    trial, task = probe.job.trial, task_of(probe.job)
    protocol = protocol_named(trial.protocol)
    task = replace(as_read(task, trial), metric=trial.metric or metric_for(protocol, task))
    seeds = streams(trial.seed, trial.task, protocol)
    data, (whole, _) = clock.timed(
        lambda: cut(task, protocol, seeds.cut, trial.limit, trial.tuning)
    )
    train = part_of_train(whole, trial.train_share, task, seeds.cut)
    torch.manual_seed(seeds.init)
    kind = _own if model.custom_trainer else _network
    found = kind(probe, task, train, clock)
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    return found._replace(
        start=start, data=data, n_train=len(whole.y), wall=wall, cpu=cpu if clock.own else wall
    )


def _first_imports() -> float:
    """Seconds that this process took before its first probe; 0 for later probes."""
    global _imported
    if _imported:
        return 0.0
    for module in IMPORTED:
        importlib.import_module(module)
    _imported = True
    return time.process_time()


def _forget() -> None:
    """Return freed memory to the system, so that the next peak is that of the next probe."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class Clock:
    """The clock that other programs disturb least.

    On a CPU with one thread, CPU seconds of this process; else elapsed seconds, until the device
    has done its work. It stands still while forms of layers are measured, as in `Meter`.
    """

    def __init__(self, resources: Resources, kernels: Kernels) -> None:
        self.kernels, self._device = kernels, resources.device
        self.own = resources.device == "cpu" and resources.threads == 1

    def timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of the call, and its result."""
        start = self._now()
        value = call()
        return self._now() - start, value

    def several(self, call: Callable[[], Any], seconds: float) -> float:
        """Median seconds of RUNS calls after a first one; of a single call if the first is long.

        The first call never counts: it waits for memory from the system.
        """
        first, _ = self.timed(call)
        runs = 1 if first > seconds else RUNS
        return statistics.median(self.timed(call)[0] for _ in range(runs))

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)
        if self.own:
            return time.process_time() - self.kernels.cpu_seconds
        return time.perf_counter() - self.kernels.seconds


def _network(probe: Probe, task: Task, train: Split, clock: Clock) -> Measured:
    """Steps of growing batches, up to the recipe's if time allows; then an evaluation."""
    trial, device = probe.job.trial, probe.resources.device
    batch, model = trial.recipe.batch, MODELS[trial.model]
    order = np.random.default_rng(0).permutation(len(train.y))
    # random weights whatever the regime, and no schedule that ends within the probe
    drawn = replace(trial, regime="scratch", recipe=replace(trial.recipe, epochs=1000, max_steps=0))
    job = probe.job._replace(trial=drawn)
    learned, tokenizer = clock.timed(partial(build_tokenizer, job, _part(train)))
    points, peaks, left = [], [], probe.seconds
    for rows in _sizes(batch, len(train.y)):
        sample = train.take(np.sort(order[:rows]))
        learner = None  # freed before the next is built
        _forget()
        # without a pool, so that the features of an evaluation are computed, not looked up
        examples = Examples(model, task, sample, tokenizer, Pool([]))
        built, (learner, _) = clock.timed(
            partial(build_learner, job, examples, probe.resources, clock.kernels)
        )
        memory.reset_peak(device)
        epoch = clock.several(learner.train_epoch, left / 8)
        steps = -(-rows // batch)
        points.append((min(rows, batch), epoch / steps))
        peaks.append((min(rows, batch), memory.peak(device)))
        left -= epoch * (RUNS + 1)
        if left < 4 * epoch * (RUNS + 1):
            break
    assert learner is not None  # there is a smallest sample
    rows, step = points[-1]
    wanted = max(8, int(probe.seconds / 4 / max(step / rows / 3, 1e-9)))
    tokens = n_tokens(model, trial.options, task.length) or max(1, task.length // 4)
    full = max(1, EVAL_TOKENS // tokens)
    shown = train.take(np.sort(order[: min(wanted, 2 * full)]))
    found = _evaluation(learner, task, shown, clock, probe)
    strands = 2 if trial.recipe.rc == "conjoin" else 1
    learning = learned * len(train.y) / max(1, len(_part(train).y)) if _learns(probe.job) else 0.0
    return found._replace(
        fixed=max(0.0, built - found.prepare * len(sample.y)) + learning,
        prepare=found.prepare / strands, points=tuple(points), memory=tuple(peaks),
        each=found.each * len(shown.y) / min(full, len(shown.y)), full=full,
    )  # fmt: skip


def _sizes(batch: int, n: int) -> list[int]:
    """Rows of the samples: an eighth, a half and two batches; at most n."""
    return sorted({min(n, rows) for rows in (max(2, batch // 8), max(2, batch // 2), 2 * batch)})


def _part(train: Split) -> Split:
    """The first examples, of LEARNED_FROM bp in all."""
    n = int(np.searchsorted(train.seqs.offsets, LEARNED_FROM))
    return train.take(np.arange(min(n, len(train.y))))


def _learns(job: Job) -> bool:
    """Whether the trial learns its tokenizer from its own training split."""
    name = MODELS[job.trial.model].tokenizer_name(job.trial.options)
    return name == "bpe" and not job.tokenizer and job.trial.regime == "scratch"


def _own(probe: Probe, task: Task, train: Split, clock: Clock) -> Measured:
    """Whole fits on samples that double in size, up to all examples if time allows."""
    model, points, peaks, left = MODELS[probe.job.trial.model], [], [], probe.seconds

    def fitted(sample: Split) -> Learner:
        examples = Examples(model, task, sample)
        learner, _ = build_learner(probe.job, examples, probe.resources, clock.kernels)
        for _ in range(learner.epochs):
            learner.train_epoch()
        return learner

    for n in _doubled(len(train.y)):
        sample = limited(train, n)
        _forget()
        memory.reset_peak("cpu")
        seconds, learner = clock.timed(partial(fitted, sample))
        points.append((len(sample.y), seconds))
        peaks.append((len(sample.y), memory.peak("cpu")))
        left -= seconds
        if left < 3 * seconds:
            break
    found = _evaluation(learner, task, sample, clock, probe)
    return found._replace(points=tuple(points), memory=tuple(peaks), epochs=learner.epochs)


def _doubled(n: int) -> Iterator[int]:
    size = min(n, max(SMALLEST, n // 16))
    while size < n:
        yield size
        size *= 2
    yield n


def _evaluation(learner: Learner, task: Task, shown: Split, clock: Clock, probe: Probe) -> Measured:
    """What a sequence costs to prepare, to predict and score, and to store."""
    n, device = len(shown.y), probe.resources.device
    _forget()
    memory.reset_peak(device)
    floor = memory.peak(device)
    prepare, predict = clock.timed(lambda: learner.predictor(shown))
    predict()
    seconds, logits = clock.timed(predict)
    each = (memory.peak(device) - floor) / n
    scoring, _ = clock.timed(lambda: Supervised(task).scores(shown, logits))
    keep, _ = clock.timed(learner.state)
    storing, size = clock.timed(lambda: _stored(task, logits, shown))
    frozen = getattr(learner, "frozen", None)
    return Measured(
        network=_network_size(learner, probe.job) if probe.job.keep != "no" else 0,
        checkpoint=checkpoint_bytes(learner), features=frozen.each if frozen else 0,
        room=frozen.most if frozen else 0,
        prepare=prepare / n, predict=(seconds + scoring) / n, keep=keep, stored=size / n,
        storing=storing / n, floor=floor, each=each, full=n, n_params=learner.n_params,
    )  # fmt: skip


def _network_size(learner: Learner, job: Job) -> int:
    try:
        tensors, _ = tensors_of(learner, MODELS[job.trial.model], job.trial)
    except ValueError:  # it cannot be kept
        return 0
    return sum(t.nbytes for t in tensors.values())


def _stored(task: Task, logits: Array, shown: Split) -> int:
    """Bytes of the predictions on disk."""
    file = io.BytesIO()
    labels, logits = flat(task.kind, shown.y, logits)
    np.savez_compressed(file, logits=logits, labels=labels, ids=np.asarray(shown.ids, str))
    return file.tell()
