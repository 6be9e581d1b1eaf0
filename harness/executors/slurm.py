"""Slurm by its own commands: sbatch, squeue, scancel, scontrol. No accounting is needed."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dnabench.executors.environment import TRAVELS_ALWAYS, absolute, travelling

GOING_ON = (
    "PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT",
    "STOPPED",
)  # fmt: skip
# ends that are no failure of what ran
PASSED = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "COMPLETED", "REVOKED", "GONE")
OURS = ("array", "chdir", "error", "export", "export-file", "job-name", "no-requeue", "open-mode",
        "output", "parsable", "requeue", "signal", "wait", "wrap")  # fmt: skip
WARNING = 90  # seconds before the time limit at which a task gets SIGUSR1; Slurm may be 60 early
MOST = 1000  # tasks of an array, if Slurm does not say
PATIENCE = 120  # seconds for a command
# variables of the environment that a task gets, by how they begin
TRAVELS = (
    *TRAVELS_ALWAYS,
    "CONDA_",
    "HOME",
    "LANG",
    "LC_",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "PYTHON",
    "SHELL",
    "USER",
    "VIRTUAL_ENV",
)


class State(NamedTuple):
    """What squeue says of a task."""

    state: str  # "GONE": squeue no longer lists it
    reason: str
    job: str  # 12_3: the task 3 of the array 12


class Asked(NamedTuple):
    """Options of sbatch."""

    options: Mapping[str, str]  # long names -> values, "" = a switch
    at_once: int = 0  # tasks; 0 = as many as the cluster starts


def check_options(texts: Sequence[str]) -> dict[str, str]:
    """`partition=gpu`, `time=2:00:00`, `exclusive` as options of sbatch.

    Raises:
        ValueError: for one that dnabench sets itself, or no option at all.
    """
    found = {}
    for text in texts:
        key, _, value = text.strip().lstrip("-").partition("=")
        if not key or " " in key:
            raise ValueError(f"--set-resource {text!r}: write name=value, e.g. partition=gpu")
        if same := [name for name in OURS if name.startswith(key)]:  # sbatch takes abbreviations
            raise ValueError(
                f"--set-resource {text!r}: dnabench sets {same[0]} itself; leave it out"
            )
        found[key] = value
    return found


def submit(name: str, folder: Path, command: Sequence[str], n: int, asked: Asked) -> list[str]:
    """Submit tasks 0..n-1, each `command FOLDER/<task>.json`; their logs are `<task>.log`.

    Args:
        name: of the jobs, by which `states` finds them; the array that begins with task k is
            `<name>-k`.
        folder: on a file system that the nodes see too.
        command: what a task runs, with whole paths.
        n: number of tasks.
        asked: further options. Where they limit the tasks at once, an array waits for the end of
            the one before it, as Slurm limits each array on its own.

    Returns:
        Ids of the arrays, each of at most MaxArraySize tasks.

    Raises:
        ValueError: sbatch is missing or refuses. Nothing is left submitted.
    """
    arrays: list[str] = []
    most = _most()
    throttle = f"%{asked.at_once}" if asked.at_once else ""
    for first in range(0, n, most):
        size = min(most, n - first)
        options = {
            "array": f"0-{size - 1}{throttle}", "job-name": f"{name}-{first}",
            "output": f"{folder}/{first}-%a.log", "chdir": str(folder), "open-mode": "append",
            "signal": f"B:USR1@{WARNING}", "export": ",".join(travelling(os.environ, TRAVELS)),
            "requeue": "", "parsable": "", **asked.options,
        }  # fmt: skip
        if throttle and arrays:
            users = [asked.options["dependency"]] if "dependency" in asked.options else []
            options["dependency"] = ",".join([*users, f"afterany:{arrays[-1]}"])
        words = [f"--{k}={v}" if v else f"--{k}" for k, v in options.items()]
        last = f"{shlex.quote(str(folder))}/$(({first} + SLURM_ARRAY_TASK_ID)).json"
        try:
            script = f'#!/bin/sh\ntrap "" USR1\nexec {shlex.join(command)} {last}\n'
            said = _told(["sbatch", *words], script)
        except BaseException as e:  # Slurm may have taken this array though its id is not known
            cancel(arrays)
            cancel([f"--user={os.getuid()}", f"--name={name}-{first}"])
            if not isinstance(e, OSError):  # Ctrl-C
                raise
            raise ValueError(
                f"Slurm did not take the trials: {e}; say what they need with --set-resource, "
                "such as partition=NAME or account=NAME"
            ) from None
        arrays.append(said.strip().partition(";")[0])
    return arrays


def log_of(folder: Path, task: int) -> Path:
    """The log of a task."""
    first = task - task % _most()
    return folder / f"{first}-{task - first}.log"


def states(names: Iterable[str]) -> dict[tuple[str, int], State] | None:
    """(name, task) -> state, of the submissions with these names; None: Slurm does not answer.

    A task that ended a while ago is not among them.
    """
    try:
        said = _told(["squeue", "-h", "-r", "-t", "all", f"--user={os.getuid()}", "-o",
                      "%j|%F|%K|%T|%r"])  # fmt: skip
    except OSError:
        return None
    wanted, found = set(names), dict[tuple[str, int], State]()
    for line in said.splitlines():
        full, array, index, state, reason = [*line.split("|"), "", "", "", ""][:5]
        name, _, first = full.rpartition("-")
        if name in wanted and first.isdecimal() and index.isdecimal():
            key = name, int(first) + int(index)
            found[key] = State(state, reason, f"{array}_{index}")
    return found


def cancel(arrays: Sequence[str]) -> str:
    """End what is left of these arrays; those that have ended stay as they are.

    It goes on when this process is ended meanwhile, as by a second Ctrl-C.

    Returns:
        Why Slurm did not do it, "" if it did.
    """
    if not arrays:
        return ""
    try:
        process = subprocess.Popen(
            ["scancel", *arrays], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        said = process.communicate(timeout=PATIENCE)[1]
    except FileNotFoundError:
        return "there is no scancel on this machine"
    except subprocess.TimeoutExpired:
        return f"scancel did not answer for {PATIENCE} s"
    ended = ("nvalid job id", "already")
    wrong = [line for line in said.splitlines() if not any(word in line for word in ended)]
    return wrong[-1] if wrong and process.returncode else ""


def requeue_self() -> None:
    """Have Slurm end the task that this process is, and start it again later.

    Raises:
        OSError: when Slurm refuses.
    """
    _told(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]])


def python() -> list[str]:
    """The command line of this very Python and its dnabench."""
    return [sys.executable, "-m", "dnabench"]


def memory(peak: int) -> str:
    """`--mem` for a process that takes so many bytes at its peak."""
    return f"{math.ceil((1.5 * peak + 2**30) / 2**20)}M"


def time_limit(seconds: float) -> str:
    """`--time` of whole minutes for a task that is expected to take so long."""
    minutes = math.ceil((3 * seconds + 600) / 60)
    return f"{minutes // 60}:{minutes % 60:02}:00"


@cache
def _most() -> int:
    """Tasks of an array."""
    with suppress(OSError, ValueError, IndexError):
        lines = _told(["scontrol", "show", "config"]).splitlines()
        sizes = [line.split("=")[1] for line in lines if line.startswith("MaxArraySize")]
        return max(1, int(sizes[0]) - 1)
    return MOST


def _told(command: Sequence[str], text: str = "") -> str:
    """What a command prints; OSError with what it complains of."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE,
            env=absolute(os.environ),
        )  # fmt: skip
    except FileNotFoundError:
        raise OSError(f"there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not answer for {PATIENCE} s") from None
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
