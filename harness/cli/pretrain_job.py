"""`dnabench pretrain --executor slurm`: the same command as one job."""

from __future__ import annotations

import hashlib
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from dnabench.cli.errors import fail, split_commas

# options of sbatch that ask for several GPUs or processes, of which one would be used
MANY = {"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "ntasks",
        "ntasks-per-node", "ntasks-per-gpu", "nodes"}  # fmt: skip
COUNT = re.compile(r"(?<![^:-])\d+$")  # the 4 of gpu:a100:4 and of 2-4, not the 100 of gpu:a100


def job_options(executor: str, set_resource: list[str]) -> dict[str, str]:
    """The options of sbatch that --executor and --set-resource ask for; none where it is local."""
    from dnabench.executors import slurm
    from dnabench.pretraining.ranks import ranks_here

    if executor == "local":
        return {}
    if executor != "slurm":
        fail(f"--executor {executor!r}: write local or slurm")
    if (size := ranks_here().size) > 1:
        fail(
            f"--executor slurm under torchrun: each of its {size} processes would submit the job; "
            "leave out torchrun, or --executor slurm"
        )
    options = slurm.check_options(split_commas(set_resource))
    for name in MANY & options.keys():
        value = options[name]
        count = COUNT.search(value)
        if not count or int(count[0]) < 2 or (name == "gres" and not value.startswith("gpu")):
            continue
        fail(
            f"--set-resource {name}={value}: the job is one process that uses one GPU; write "
            f"{name}={value[: count.start()]}1, or start torchrun --nproc-per-node {count[0]} -m "
            "dnabench pretrain ... in a job script of your own, without --executor slurm"
        )
    return {"cpus-per-task": "1", **options}


def submit(to: Path, options: dict[str, str], check: Callable[[], object]) -> None:
    """Submit this very command, and say where its log is; checked where none is in the queue."""
    from dnabench.executors import slurm
    from dnabench.pretraining.folder import JOB

    folder = to.resolve() / JOB
    name = f"pretrain-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    found = slurm.states([name])
    if found is None:
        raise ValueError("Slurm does not answer (squeue); try again later")
    if going := [one.job for one in found.values() if one.state in slurm.GOING_ON]:
        fail(f"{to}: Slurm job {going[0]} is in the queue for that folder; wait for it")
    check()
    folder.mkdir(parents=True, exist_ok=True)
    words = [*slurm.python(), *sys.argv[1:], "--executor", "local"]  # the last one counts
    threads = "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}"
    script = f"cd {shlex.quote(str(Path.cwd()))} && {threads} && exec {shlex.join(words)}"
    # sh takes the file that `slurm.submit` names last for an argument, which is not read
    (job,) = slurm.submit(name, folder, ["sh", "-c", script, "sh"], 1, slurm.Asked(options))
    typer.echo(f"submitted as Slurm job {job}; log: {slurm.log_of(folder, 0)}")


@contextmanager
def going_on_later(to: Path) -> Iterator[None]:
    """Inside, a job whose time is nearly over (SIGUSR1) is put back into the queue.

    Not if nothing was saved since it began, for then it never would end.
    """
    from dnabench.executors.slurm import requeue_self
    from dnabench.pretraining.folder import CHECKPOINT

    def written() -> float:
        file = to / CHECKPOINT
        return file.stat().st_mtime if file.exists() else 0.0

    begun = written()

    def time_is_up(number: int, frame: object) -> None:
        if written() == begun:
            fail(
                "the time of the job ends before its first evaluation; give it more with "
                "--set-resource time=H:MM:SS, or more --looks"
            )
        typer.echo("the time of the job is nearly over; it resumes later", err=True)
        requeue_self()

    before = signal.signal(signal.SIGUSR1, time_is_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
