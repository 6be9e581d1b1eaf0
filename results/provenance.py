"""Where a number was made: versions, commit, machine. Stored in every record as `where`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BATCH_JOB = "DNABENCH_BATCH_JOB"  # its name, where dnabench itself started the process
PACKAGES = ("dnabench", "torch", "numpy", "scikit-learn", "scipy")


@lru_cache(maxsize=1)
def here() -> dict[str, Any]:
    """Versions of Python and the packages that make numbers, git commit, machine and host."""
    return {
        "python": platform.python_version(),
        **{name: version_of(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "system": platform.system(),
        "host": platform.node(),
        **({"batch_job": name} if (name := batch_job()) else {}),
    }


def batch_job() -> str:
    """The job of a batch system that this process is part of, "" outside one.

    `slurm 12_3`, the task 3 of the array 12; `slurm 12_3 attempt 2` when Slurm started it again;
    `ray 02000000_3`, the worker 3 of the job 02000000.
    """
    get = os.environ.get
    if name := get(BATCH_JOB):
        return name
    if job := get("SLURM_ARRAY_JOB_ID"):
        job = f"{job}_{get('SLURM_ARRAY_TASK_ID')}"
    names = {"slurm": job or get("SLURM_JOB_ID"), "pbs": get("PBS_JOBID"), "lsf": get("LSB_JOBID")}
    found = [f"{system} {name}" for system, name in names.items() if name]
    again = int(get("SLURM_RESTART_COUNT") or 0)
    return " ".join([*found[:1], *([f"attempt {again + 1}"] if found and again else [])])


def version_of(package: str) -> str:
    """That is installed; "" = none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Commit of the checkout this file is in, with "+" when it was changed; "" when installed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "-q", "--verify", "HEAD"], capture_output=True, text=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
