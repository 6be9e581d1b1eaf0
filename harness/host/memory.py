"""Peak memory of a trial, on its GPU or in this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_LINUX = Path("/proc/self")


def reset_peak(device: str) -> None:
    """Forget earlier peaks; of a process only on Linux."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    elif (_LINUX / "clear_refs").exists():
        try:
            (_LINUX / "clear_refs").write_text("5")
        except OSError:  # some containers forbid it; the peak is then the process's so far
            return


def peak(device: str) -> int:
    """Bytes: PyTorch's peak on a CUDA device, else the largest resident set of this process.

    Accuracy:
        Since `reset_peak` on CUDA and Linux; elsewhere since the process began.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    if (_LINUX / "status").exists():
        for line in (_LINUX / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
