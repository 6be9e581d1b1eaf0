"""What a trial took: seconds, sequences a second, memory, joules, arithmetic."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from dnabench.host import memory
from dnabench.models.kernels.context import Kernels
from dnabench.registry import MODELS
from dnabench.train.flops import flops_per_sequence
from dnabench.types import Array, Progress, Task, Trial


class Meter:
    """The clocks of one trial; they start now.

    They stand still while forms of layers are measured: that is done once on a machine, and is no
    part of what a trial takes.

    Args:
        device: "cpu", "cuda", "cuda:1", ...
        kernels: of the trial.
    """

    def __init__(self, device: str, kernels: Kernels) -> None:
        memory.reset_peak(device)
        self._device, self._kernels = device, kernels
        self._start = self._now()
        self._ends: list[float] = []  # of the epochs, from the start of training
        self._fit = self._predict = self._joules = 0.0

    def train(self, fit: Callable[[Progress], Any], progress: Progress) -> Any:
        """`fit(progress)`, which tells its progress after every epoch."""
        start, before = self._now(), energy(self._device)

        def told(done: int, total: int) -> None:
            self._ends.append(self._now() - start)
            progress(done, total)

        fitted = fit(told)
        self._fit, after = self._now() - start, energy(self._device)
        self._joules = 0.0 if before is None or after is None else after - before
        return fitted

    def predict(self, predict: Callable[[], Array]) -> Array:
        """`predict()`; it has to end with its numbers on the host."""
        start = self._now()
        logits = predict()
        self._predict = self._now() - start
        return logits

    def _now(self) -> float:
        return time.perf_counter() - self._kernels.seconds

    def fields(self, n_train: int, n_test: int, best_epoch: int) -> dict[str, Any]:
        """Of a `types.Record`; all of them differ from run to run."""
        return {
            "seconds": round(self._now() - self._start, 3),
            "seconds_to_best": round(self._ends[best_epoch - 1], 3),
            "examples_per_second": round(n_train * len(self._ends) / self._fit, 1),
            "inference_per_second": round(n_test / self._predict, 1),
            "peak_memory": memory.peak(self._device),
            "joules": round(self._joules, 1),
        }


def energy(device: str) -> float | None:
    """Joules that a CUDA device has taken since its driver was loaded, whoever used it.

    Returns:
        None where the device does not say: a CPU, a part of a GPU, a GPU before Volta.

    Source:
        nvmlDeviceGetTotalEnergyConsumption of the driver's own library, in mJ.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    uuid = f"GPU-{getattr(torch.cuda.get_device_properties(device), 'uuid', '')}"
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
        refused = (
            driver.nvmlInit_v2()
            or driver.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
            or driver.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        )
    except (OSError, AttributeError):
        return None
    return None if refused else millijoules.value / 1000


def flops(trial: Trial, task: Task) -> int:
    """FLOP of a forward pass of `task.length` bp; 0 where they cannot be counted.

    Counted once a process for equal models, options and tasks; no random stream is touched.
    """
    return _flops(trial.model, _text(trial.options), _Key(task))


class _Key:
    """A task that equals another where networks for them are the same."""

    def __init__(self, task: Task) -> None:
        self.task, self._of = task, (task.name, task.kind, task.length, task.classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._of == other._of

    def __hash__(self) -> int:
        return hash(self._of)


@lru_cache(maxsize=256)
def _flops(model: str, options: str, key: _Key) -> int:
    return flops_per_sequence(MODELS[model], json.loads(options), key.task) or 0


def _text(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)
