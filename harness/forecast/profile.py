"""Seconds and peak memory of a forward pass and a training step, by model and length.

L sequence length in bp.
"""

import itertools
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dnabench.executors import EXECUTORS
from dnabench.executors.base import last_line
from dnabench.host import memory
from dnabench.models.outside.references import model_named
from dnabench.registry import MODELS, explain_miss
from dnabench.reports.grid import short
from dnabench.train.build import tokenizer_of
from dnabench.types import Array, Model, Progress, Sequences, Split, Task

RUNS = 3  # timed, after a warm-up run
SLOW = 20.0  # seconds; a run that takes longer is the last one
LEARNED_FROM = 1 << 20  # bp of random bases, for a byte-pair tokenizer
MODES: tuple[Literal["forward", "train"], ...] = ("forward", "train")


class Cost(NamedTuple):
    """What one sequence of a length costs a model; None where it could not be measured.

    forward: a forward pass without gradients. train: forward, cross entropy, backward and a step
    of AdamW. Bytes are the peak above that of the process before it built the network, so they
    include the weights.
    """

    model: str
    n_params: int  # with a head of two outputs; 0 = the network could not be built
    length: int  # bp
    forward_seconds: float | None = None
    train_seconds: float | None = None
    forward_bytes: int | None = None
    train_bytes: int | None = None
    error: str = ""


class Run(NamedTuple):
    """What a process is to measure."""

    model: str
    options: Mapping[str, Any]
    length: int
    mode: Literal["forward", "train"]
    device: str


class Measured(NamedTuple):
    """What a process measured; `error` is empty when it worked."""

    n_params: int = 0
    seconds: float = 0.0
    bytes: int = 0
    error: str = ""


def profile(
    models: Sequence[str], lengths: Sequence[int], device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    on_row: Callable[[Cost], object] = lambda cost: None, threads: int = 1,
) -> list[Cost]:  # fmt: skip
    """Measure each model at each length, batch 1, on random bases, each in a fresh process.

    `settings` gives option -> value, for all models that have it; `model.option` for one of them.
    `on_row` is called with each row. `threads` are those of the process, on a CPU.

    Returns:
        A row for each length and model, ordered by length. A failure, a length that the model
        cannot read and a lack of memory are rows with an `error`.

    Raises:
        KeyError: an unknown model.
        ValueError: a setting that no model has, or a length below 1.

    Accuracy:
        Seconds are the median of three runs after a warm-up; a single run if it takes over 20 s.
        On a CPU they are the process's own, summed over threads, so other programs do not count.
        Products are float32, on CUDA without TF32, as in a trial of fp32.
        Memory on a CPU is the resident memory of the process, to about ten megabytes: libraries
        load parts when first used. Byte-pair tokens, here learned from random bases too, shorten
        random sequences less than real ones.
    """
    chosen = {name: _options(model_named(name), models, settings or {}) for name in models}
    if any(length < 1 for length in lengths):
        raise ValueError(f"lengths are {', '.join(map(str, lengths))}; each must be 1 bp or more")
    rows = []
    for length, name in itertools.product(lengths, models):
        rows.append(_row(MODELS[name], chosen[name], length, device, threads))
        on_row(rows[-1])
    return rows


def table(rows: Sequence[Cost]) -> str:
    """Markdown, each number also as a multiple of the first model's at that length; then errors.

    A megabyte is 10^6 bytes.
    """
    from tabulate import tabulate

    first = {row.length: row for row in rows if row.model == rows[0].model}
    times = f"x {rows[0].model}" if rows else "x"
    names = ("forward (s)", "training (s)", "forward (MB)", "training (MB)")
    heads = ["model", "parameters", "length (bp)", *(h for n in names for h in (n, times))]
    lines = []
    for row in rows:
        lines.append([row.model, f"{row.n_params:,}" if row.n_params else "-", f"{row.length:,}"])
        for value, one in zip(_numbers(row), _numbers(first.get(row.length)), strict=True):
            lines[-1].append("-" if value is None else short(value))
            lines[-1].append("-" if value is None or not one else f"{value / one:.2f}")
    aligned = ("left", *["right"] * (len(heads) - 1))
    text = tabulate(lines, heads, tablefmt="pipe", disable_numparse=True, colalign=aligned)
    errors = [f"- {row.model} at {row.length:,} bp: {row.error}" for row in rows if row.error]
    return "\n".join([text, *(["", *errors] if errors else [])]) + "\n"


def _numbers(row: Cost | None) -> tuple[float | None, ...]:
    """Seconds, seconds, megabytes, megabytes."""
    if row is None:
        return (None,) * 4
    mb = (None if b is None else b / 1e6 for b in (row.forward_bytes, row.train_bytes))
    return (row.forward_seconds, row.train_seconds, *mb)


def _options(model: Model, models: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The model's options with the settings that apply to it."""
    known = {option for name in models for option in MODELS[name].options}
    options = dict(model.options)
    for key, value in settings.items():
        owner, _, option = key.rpartition(".")
        if owner not in ("", *models) or option not in (MODELS[owner].options if owner else known):
            raise ValueError(explain_miss("option", key, sorted(known), "no model here has it"))
        if owner in ("", model.name) and option in options:
            options[option] = value
    return options


def _row(model: Model, options: Mapping[str, Any], length: int, device: str, threads: int) -> Cost:
    if error := _unreadable(model, length):
        return Cost(model.name, 0, length, error=error)
    row, name = Cost(model.name, 0, length), model.reference or model.name
    for mode in MODES:
        # a process of its own, so that the peak of memory is that of this measurement
        executor = EXECUTORS["local"](measure, 1, threads)
        *_, last = executor.run([Run(name, options, length, mode, device)])
        found = last.value if last.kind == "returned" else Measured(error=last_line(last.value))
        if found.error:
            return row._replace(error=f"{mode}: {found.error}")
        values: dict[str, Any] = {f"{mode}_seconds": found.seconds, f"{mode}_bytes": found.bytes}
        row = row._replace(n_params=found.n_params, **values)
    return row


def _unreadable(model: Model, length: int) -> str:
    """Why the model cannot read that length, as far as it declares; "" = it can."""
    if model.custom_trainer:
        return f"{model.name} is no network: there is no forward pass to measure"
    if length > model.context:
        return f"{model.name} reads {model.context:,} bp at most"
    if length < model.min_length:
        return f"{model.name} needs {model.min_length:,} bp or more"
    return ""


def measure(run: Run, progress: Progress) -> Measured:
    """Build, warm up and time in this process; exceptions become text."""
    import torch

    try:
        if run.device == "cpu":
            _bound_memory()
        return _measured(run)
    except Exception as e:
        lines = str(e).splitlines() or [""]
        if isinstance(e, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(e):
            return Measured(error="out of memory")
        return Measured(error=f"{type(e).__name__}: {lines[0]}")


def _bound_memory() -> None:
    """Make an allocation beyond the free memory fail, before the kernel kills a process."""
    meminfo, status = Path("/proc/meminfo"), Path("/proc/self/status")
    if not (meminfo.exists() and status.exists()):
        return
    left, mine = (
        next(int(x.split()[1]) * 1024 for x in f.read_text().splitlines() if x.startswith(word))
        for f, word in ((meminfo, "MemAvailable:"), (status, "VmData:"))
    )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = left + mine if hard == resource.RLIM_INFINITY else min(left + mine, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _measured(run: Run) -> Measured:
    import torch

    from dnabench.train.precision import Arithmetic

    model = model_named(run.model)
    ids = torch.from_numpy(_encoded(model, run.options, run.length)).to(run.device)
    target = torch.ones(1, dtype=torch.long, device=run.device)
    small = torch.nn.Linear(1, 2).to(run.device), torch.ones(1, 1, device=run.device)
    _step(*small, target)()
    memory.reset_peak(run.device)
    _step(*small, target)()  # for cuBLAS, whose memory was freed
    before = memory.peak(run.device)
    torch.manual_seed(0)
    net = model.build(_task(run.length), run.options).to(run.device)
    n_params = sum(p.numel() for p in net.parameters())
    if run.mode == "train":
        step = _step(lambda x: net(x, None), ids, target, net)
    else:
        step = torch.inference_mode()(lambda: net.eval()(ids, None))
    with Arithmetic("fp32", run.device).products():  # or a GPU has TF32 in convolutions alone
        seconds = _timed(step, run.device)
    return Measured(n_params, seconds, max(0, memory.peak(run.device) - before))


def _step(forward: Any, x: Any, target: Any, net: Any = None) -> Callable[[], object]:
    """A training step; `net` has the parameters if `forward` is not a module."""
    import torch

    net = forward if net is None else net
    optimizer = torch.optim.AdamW(net.train().parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _timed(step: Callable[[], object], device: str) -> float:
    """Median seconds of the runs after the first, or of that one if it is too slow to repeat.

    On a CUDA device a run ends when the device has finished.
    """
    import torch

    cuda, times = device.startswith("cuda"), list[float]()
    clock = time.perf_counter if cuda else time.process_time
    while len(times) <= RUNS and (not times or times[-1] <= SLOW):
        start = clock()
        step()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return statistics.median(times[1:] or times)


def _random_bases(length: int, seed: int) -> Sequences:
    codes = np.random.default_rng(seed).integers(0, 4, length, dtype=np.uint8)
    return Sequences(codes, np.array([0, length]))


def _encoded(model: Model, options: Mapping[str, Any], length: int) -> Array:
    """Ids (1, T) of random bases; ValueError for more tokens than the model reads."""
    tokenizer = tokenizer_of(model, options, _random_bases(LEARNED_FROM, 1))
    ids = tokenizer(_random_bases(length, 0), length, "mask").ids
    if model.max_tokens and ids.shape[1] > model.max_tokens:
        raise ValueError(
            f"{length:,} bp are {ids.shape[1]:,} tokens; {model.name} reads {model.max_tokens:,} "
            "at most"
        )
    return ids


def _task(length: int) -> Task:
    return Task(
        name="profile/random", kind="binary", classes=("0", "1"), metric="mcc", length=length,
        counts={"train": 1}, data="0" * 16, load=_no_data, source="random bases",
        license="CC0-1.0",
    )  # fmt: skip


def _no_data(split: str) -> Split:
    raise PermissionError(f"a model asked for the {split} split while it was built")
