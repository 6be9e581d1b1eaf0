"""The flags that say where trials run, and the resources that they name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from dnabench.types import Resources


MOST = 10_000  # trials at once, threads of a trial
execution = partial(typer.Option, rich_help_panel="Execution")


class ExecutionOptions(NamedTuple):
    """The flags that say where trials run."""

    device: Annotated[
        str,
        execution(help="auto (all GPUs that are visible, else the CPU), cpu, cuda (the first one), "
                  "cuda:N, or several: cuda:0,cuda:2."),
    ] = "auto"  # fmt: skip
    jobs: Annotated[
        str,
        execution(help="Trials at once, on each GPU. auto: one; on a CPU one per usable core "
                  "(cores / --threads), fewer if memory is short."),
    ] = "auto"  # fmt: skip
    threads: Annotated[int, execution(help="CPU threads per trial.")] = 1
    micro_batch: Annotated[int, execution(help="Examples in memory at once; 0 = all.")] = 0
    executor: Annotated[str, execution(help="local, inline for a debugger, slurm or ray.")] = (
        "local"
    )
    set_resource: Annotated[
        list[str],
        execution(help="Slurm: an option of sbatch: partition=gpu, time=2:00:00. Ray: "
                  "address=HOST:PORT, num_gpus=0.5, memory=16G."),
    ] = []  # noqa: RUF012  # fmt: skip
    task_time: Annotated[str, execution(help="Slurm: target duration of a task, such as 30m.")] = (
        "30m"
    )
    compile: Annotated[
        str,
        execution(
            help="auto: compile training steps on CUDA, or use a CUDA graph, where faster; or off."
        ),
    ] = "auto"
    trial_timeout: Annotated[
        str, execution(help="Stop a trial that runs longer (3600, 30m, 2h); it counts as failed.")
    ] = ""

    deterministic: Annotated[
        bool,
        execution(
            "--deterministic",
            help="Same bytes on all machines of one kind; may be slower (docs/speed.md).",
        ),
    ] = False

    checkpoint_every: Annotated[
        str,
        execution(help="Save a checkpoint at the end of an epoch, so that a killed trial resumes: "
                  "10m, 1h, epoch (after each) or never."),
    ] = "10m"  # fmt: skip

    def measured_here(self) -> tuple[Resources, list[str]]:
        """The resources of a measurement, which is made on this machine, and what is set aside.

        Raises:
            ValueError: as `resources`, for the executor that was named, too.
        """
        self.resources()
        if self.executor == "local":
            return self.resources(), []
        note = f"--executor {self.executor}: measured on this machine, as with --executor local"
        return self._replace(executor="local", set_resource=[]).resources(), [note]

    def resources(self) -> Resources:
        """The device and number of workers; ValueError when they are not available.

        On other machines the device stays as written, and 0 workers are as many as they start.
        `--jobs auto` on a CPU: the cores that affinity and cgroups allow, divided by `--threads`.
        """
        from dnabench.executors import ELSEWHERE, EXECUTORS
        from dnabench.host.machine import device_named, devices_named, usable_cores
        from dnabench.sweep.numbers import parse_checkpoints, parse_duration
        from dnabench.types import Resources

        device, jobs, threads, micro_batch, executor, asked, _, compiling, timeout, strict, _ = self
        if executor not in (*EXECUTORS, *ELSEWHERE):
            known = ", ".join([*EXECUTORS, *ELSEWHERE])
            raise ValueError(f"no executor named {executor!r}; choose from {known}")
        if asked and executor not in ELSEWHERE:
            raise ValueError(
                f"--set-resource {asked[0]!r} is for --executor slurm or ray; leave it out"
            )
        if compiling not in ("auto", "off"):
            raise ValueError(f"--compile {compiling!r}: give auto or off")
        if jobs != "auto" and not (jobs.isascii() and jobs.isdecimal() and int(jobs) <= MOST):
            raise ValueError(f"--jobs {jobs!r}: give auto or the number of trials to run at once")
        if threads < 1 or micro_batch < 0:
            raise ValueError(f"--threads {threads} --micro-batch {micro_batch}: too small")
        if threads > MOST:
            raise ValueError(f"--threads {threads}: at most {MOST}")
        limit, every = parse_duration(timeout), parse_checkpoints(self.checkpoint_every)
        at_once = int(jobs) if jobs != "auto" else 0
        if executor not in ELSEWHERE:  # which choose the device
            own = EXECUTORS[executor].isolated  # whether each trial has a process of its own
            devices = devices_named(device) if own else (device_named(device),)
            usual = max(1, usable_cores() // threads) if devices == ("cpu",) else 1
            device, at_once = ",".join(devices), len(devices) * (at_once or usual)
        return Resources(
            device, at_once, threads, micro_batch, executor, compiling, limit, strict, every
        )
