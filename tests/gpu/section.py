"""What the sections share: rows that are on disk at once, a budget, clocks, and real learners."""

import faulthandler
import gc
import json
import statistics
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from dnabench import MODELS, Sequences, Split, Task
from dnabench.models.kernels.context import Kernels
from dnabench.splits import streams
from dnabench.tokens.bpe import tokenizer_named
from dnabench.train import graphs
from dnabench.train.adapt import with_head
from dnabench.train.graphs import Graph
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import supervised
from dnabench.types import Recipe, Resources

SHAPES = {  # model: batch, bp, options; as in the papers
    "convnova-386k": (16, 200, {}), "convnova": (256, 500, {}), "hyenadna": (256, 500, {}),
    "caduceus_ph": (128, 500, {}), "dnabert2": (32, 126, {"tokenizer": "char-cls-sep"}),
    "ntv2-50m": (64, 600, {}), "gpn": (32, 500, {}),
}  # fmt: skip
LONGEST = {"cuda": 45, "cpu": 900}  # seconds of a row, or twice what it needs; then it hangs


@dataclass
class Section:
    """The rows of a section. A row that fails keeps its error, and the next one is measured.

    One that hangs ends the process, with a traceback of every thread on stderr, wherever it is.

    earlier: rows of the same device and code from an earlier occasion, taken over as they are.
    begun: rows that this section wrote before its process ended. Those that failed are not measured
        again either: what ended that process would end this one too.
    """

    name: str
    out: Path
    device: str
    tiny: bool
    budget: float  # seconds
    earlier: list = field(default_factory=list)
    begun: list = field(default_factory=list)
    machine: dict = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    rows: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    late: int = 0  # rows left out for want of time

    def __post_init__(self):
        self.cuda = self.device.startswith("cuda")
        self.longest = LONGEST["cuda" if self.cuda else "cpu"]

    def row(self, measure, needs=0.0, again=False, **key):
        """The row of `key`; None where the budget has no room for `needs` seconds.

        `again` measures what was measured on an earlier occasion, for what follows needs it.
        """
        had = [r for r in self.earlier if r["of"] == key and "error" not in r and not again]
        had += [r for r in self.begun if r["of"] == key and ("error" in r or not again)]
        if had:
            self.rows.append(had[-1])
            self.save()
            return had[-1]
        if time.perf_counter() - self.start + needs >= self.budget:
            self.left_out.append(" ".join(map(str, key.values())))
            self.late += 1
            return None
        before = time.perf_counter()
        self.rows.append({**key, "error": "the section ended while this was measured", "of": key})
        self.save()  # what a hang or a crash leaves
        may = max(self.longest, 2 * needs)
        faulthandler.dump_traceback_later(may, exit=True, file=sys.__stderr__)
        try:
            found = measure()
        except Exception as e:
            found = {
                "error": f"{type(e).__name__}: {(str(e).splitlines() or [''])[0][:300]}",
                "where": traceback.format_exc().strip().splitlines()[-3:][0].strip()[:160],
            }
        finally:
            faulthandler.cancel_dump_traceback_later()
        took = round(time.perf_counter() - before, 2)
        self.rows[-1] = {**key, **found, "took": took, "of": key}
        self.save()  # before CUDA is asked for anything: it may have failed for good
        print(json.dumps(self.rows[-1]), flush=True)
        self.clear()
        return self.rows[-1]

    def lacks(self, error):
        """A row that says which package the section needs and this machine has not."""
        key = {"what": "the whole section"}
        self.rows.append({**key, "error": f"{type(error).__name__}: {error}", "of": key})

    def save(self):
        document = {
            "section": self.name, "device": self.device, "tiny": self.tiny,
            "seconds": round(time.perf_counter() - self.start, 1),
            "left_out": self.left_out, "late": self.late, "rows": self.rows,
            "machine": self.machine,
        }  # fmt: skip
        (self.out / f"part-{self.name}.json").write_text(json.dumps(document))

    def clear(self):
        """Free what an earlier row left: learners are in cycles and wait for the collector."""
        gc.collect()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def best(self, call, times=7):
        """Least seconds of a call, after one to warm up."""
        call()
        found = []
        for _ in range(1 if self.tiny else times):
            self.sync()
            start = time.perf_counter()
            call()
            self.sync()
            found.append(time.perf_counter() - start)
        return min(found)

    def peak_gb(self):
        return torch.cuda.max_memory_allocated() / 1e9 if self.cuda else 0

    def shape(self, name):
        """Batch, bp and options of a model."""
        if not self.tiny:
            return SHAPES[name]
        return 4, 60, {**SHAPES[name][2], **MODELS[name].reduced}


def no_data(split):
    raise PermissionError(split)


def random_data(n, length, seed=0, per_base=False):
    """A task of two classes, and n labelled examples of random bases."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, n * length, dtype=np.uint8)
    seqs = Sequences(codes, np.arange(0, n * length + 1, length))
    task = Task(
        name="gpu/random", kind="per_base" if per_base else "binary", classes=("0", "1"),
        metric="accuracy" if per_base else "mcc", length=length,
        counts={"train": n}, data="0" * 16, load=no_data, source="random", license="CC0-1.0",
    )  # fmt: skip
    y = rng.integers(0, 2, (n, length) if per_base else n)
    y = y.astype(np.int8 if per_base else np.int64)
    return task, Split(seqs, y, np.array([str(i) for i in range(n)]))


def learner(
    s, name, shape, precision="fp32", steps=8, compiling="off", strict=False, head="own"
):  # fmt: skip
    """A learner on random bases, as `dnabench run` makes one; and its training examples.

    With head "conv" of a label for each base.
    """
    batch, length, options = shape
    model = MODELS[name]
    full = {**model.options, **options}
    task, train = random_data(steps * batch, length, per_base=head == "conv")
    torch.manual_seed(0)
    recipe = replace(Recipe(), batch=batch, epochs=1000, precision=precision, head=head)
    net = with_head(model.build(task, full), model, task, full, recipe)
    tokenizer = tokenizer_named(model.tokenizer_name(full))
    one = NetLearner(
        net, Examples(model, task, train, tokenizer), supervised(task, recipe, train), recipe,
        streams(0, task.name), Resources(s.device, compile=compiling),
        Kernels(deterministic=strict),
    )  # fmt: skip
    return one, train


def with_graph(one, record=None):
    """Have a learner of `compiling="auto"` record its step, whatever a clock says.

    On a CPU: with the optimiser of CUDA, and `record` in place of a CUDA graph.
    """
    if one.device == "cpu":
        one._rate = torch.zeros(())
        one._optimizer = one._new_optimizer()
        one._graph = Graph(one._whole_step, one.net, one._optimizer, one.recipe.precision)
        graphs.recorded = record or (lambda step, device: step)
    one._graph.sure = True


def timed_steps(s, one, steps):
    """Milliseconds of a step, median of five epochs.

    `ms` until the device is done, `host_ms` until the host has queued the work. Where both are
    equal the host is the limit.
    """
    one.train_epoch()
    whole, queued = [], []
    for _ in range(2 if s.tiny else 5):
        s.sync()
        start = time.perf_counter()
        real, seen = torch.Tensor.__float__, []

        def noted(tensor, real=real, seen=seen):
            seen.append(time.perf_counter())
            return real(tensor)

        torch.Tensor.__float__ = noted  # an epoch ends with float(loss): all is queued by then
        try:
            one.train_epoch()
        finally:
            torch.Tensor.__float__ = real
        whole.append(time.perf_counter() - start)
        queued.append((seen[-1] if seen else time.perf_counter()) - start)
        if sum(whole) > 2:
            break
    return {
        "ms": 1e3 * statistics.median(whole) / steps,
        "host_ms": 1e3 * statistics.median(queued) / steps,
    }


def launches(s, call, steps):
    """Kernels, their time, copies and waits of the host, per step, from PyTorch's profiler."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if s.cuda else []
    with torch.profiler.profile(activities=kinds) as profile:
        call()
        s.sync()
    host, device = {}, {}
    for event in profile.events():
        if event.device_type == torch.autograd.DeviceType.CPU:
            host[event.name] = host.get(event.name, 0) + 1
        elif not getattr(
            event, "is_user_annotation", False
        ):  # the span of several kernels, as of the optimiser
            name, spent = event.name[:60], getattr(event, "self_device_time_total", 0)
            device[name] = device.get(name, 0) + spent

    def count(*words):
        return sum(n for name, n in host.items() if any(w in name for w in words)) / steps

    slowest = sorted(device.items(), key=lambda item: -item[1])[:6]
    return {
        "launches": count("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch"),
        "copies": count("cudaMemcpyAsync"),
        "host_waits": count(
            "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"
        ),
        "aten_ops": count("aten::"),
        "device_ms": sum(device.values()) / 1e3 / steps,
        "slowest": {name: round(spent / 1e3 / steps, 4) for name, spent in slowest},
    }
