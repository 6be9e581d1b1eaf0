"""Peak memory of a trial, on its GPU or in this process."""

import gc
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

from dnabench.host.machine import read

_LINUX = Path("/proc/self")


def reset_peak(device: str) -> None:
    """Forget earlier peaks; of a process only on Linux. A GPU is first rid of earlier trials.

    A finished trial is part of cycles, so its tensors stay until the collector runs. cuBLAS keeps
    memory for each stream that it has worked on, 32 MiB or more on a new GPU.
    """
    if device.startswith("cuda"):
        import torch

        gc.collect()
        torch.cuda.init()  # type: ignore[no-untyped-call]  # with an index nothing else does it
        getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()  # not in builds for CPUs
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:  # some containers forbid it; the peak is then the process's so far
        with suppress(OSError):
            (_LINUX / "clear_refs").write_text("5")


def peak(device: str) -> int:
    """Bytes: PyTorch's peak on a CUDA device, else the largest resident set of this process.

    Accuracy:
        Since `reset_peak` on CUDA and Linux; elsewhere since the process began.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    if found := re.search(r"VmHWM:\s*(\d+)", read(_LINUX / "status")):
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
