"""What a trial cost: seconds, sequences per second, memory, joules, operations."""

import ctypes
import json
import time
from collections.abc import Callable
from typing import Any

from dnabench.host import memory
from dnabench.models.kernels.context import Kernels
from dnabench.registry import MODELS
from dnabench.train.flops import flops_per_sequence
from dnabench.types import Array, Progress, Task, Trial

_COUNTED: dict[tuple[object, ...], int] = {}


class Meter:
    """The clocks of one trial; they start now.

    They stand still while forms of layers are measured: that is done once on a machine, and is no
    part of what a trial takes. The energy of a device that trials share is no trial's: it has none.
    """

    def __init__(self, device: str, kernels: Kernels, shared: bool = False) -> None:
        memory.reset_peak(device)
        self._shared = shared
        self._device, self._kernels = device, kernels
        self._start = self._now()
        self._ends: list[float] = []  # of the epochs, from the start of training
        self._fit = self._predict = 0.0
        self._joules: float | None = None  # None = not known
        self._training: tuple[float, float | None] = (self._start, None)  # its start: time, joules
        self._before: tuple[float | None, int] = 0.0, 0  # joules and peak of earlier attempts

    def train(self, fit: Callable[[Progress], Any], progress: Progress) -> Any:
        """`fit(progress)`, which reports its progress after every epoch."""
        self._training = self._now(), self._energy()

        def epoch_ended(done: int, total: int) -> None:
            self._ends.append(self._now() - self._training[0])
            progress(done, total)

        fitted = fit(epoch_ended)
        self._fit, self._joules = self._now() - self._training[0], self._used()
        return fitted

    def _used(self) -> float | None:
        """Joules since training began; None where those of any attempt are not known."""
        earlier, before, after = self._before[0], self._training[1], self._energy()
        if earlier is None or before is None or after is None:
            return None
        return earlier + after - before

    def _energy(self) -> float | None:
        return None if self._shared else energy(self._device)

    def state(self) -> dict[str, Any]:
        """What an attempt to train has taken so far, for `restore`."""
        now = self._now()
        return {
            "seconds": now - self._start, "training": now - self._training[0],
            "ends": list(self._ends), "joules": self._used(), "peak": self._peak(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Count an earlier attempt in; to be called while training, before its first epoch."""
        start, joules = self._training
        self._start -= state["seconds"]
        self._training = start - state["training"], joules
        self._ends[:] = state["ends"]
        self._before = state["joules"] or None, state["peak"]  # 0 = not known, before None was said

    def _peak(self) -> int:
        return max(self._before[1], memory.peak(self._device))

    def predict(self, predict: Callable[[], Array]) -> Array:
        """`predict()`; its result must be in the host's memory."""
        start = self._now()
        logits = predict()
        self._predict = self._now() - start
        return logits

    def _now(self) -> float:
        return time.perf_counter() - self._kernels.seconds

    def fields(self, n_read: int, n_test: int, best_epoch: int) -> dict[str, Any]:
        """The measured fields of a `types.Record`; all of them vary from run to run.

        Args:
            n_read: examples that training read, a copy in every epoch.
            n_test: sequences that were predicted in the end.
            best_epoch: from 1.
        """
        return {
            "seconds": round(self._now() - self._start, 3),
            "seconds_to_best": round(self._ends[best_epoch - 1], 3),
            "examples_per_second": round(n_read / self._fit, 1),
            "inference_per_second": round(n_test / self._predict, 1),
            "peak_memory": self._peak(),
            "joules": round(self._joules or 0.0, 1),
        }


def energy(device: str) -> float | None:
    """Joules that a CUDA device has used since its driver was loaded, by all processes.

    None where it is not reported: a CPU, a part of a GPU, a GPU older than Volta.

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


def flops(trial: Trial, task: Task, tokens: int = 0) -> int:
    """FLOP of a forward pass of `task.length` bp, or of `tokens`; 0 where they cannot be counted.

    Counted once in a process for equal models, options and tasks; no random stream is touched.
    """
    options = json.dumps(trial.options, sort_keys=True)
    head = trial.recipe.head
    key = trial.model, options, task.name, task.kind, task.length, task.classes, tokens, head
    if key not in _COUNTED:
        model = MODELS[trial.model]
        _COUNTED[key] = flops_per_sequence(model, trial.options, task, tokens, trial.recipe) or 0
    return _COUNTED[key]
