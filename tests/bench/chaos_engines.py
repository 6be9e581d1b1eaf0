"""The engines that tests/bench/chaos.py disturbs, and how each loses a node."""

import contextlib
import os
import signal
import time
from pathlib import Path

import ray_cluster
import slurm_cluster


def kill(pid):
    """As kill -9; whether there was something to kill."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def environment(pid):
    """Of a process, as text; "" when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return ""


def processes():
    """Ids of all."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*")]


class Local:
    """Trials on this machine."""

    flags, levels = (), 1

    def __init__(self):
        self.env = dict(os.environ)

    def lose_node(self, rng, command):
        """The command and all that it started."""
        os.killpg(command.pid, signal.SIGKILL)

    def settle(self):
        """Nothing outlives the command by more than a moment."""


class Slurm:
    """Trials in Slurm's tasks, which outlive the command."""

    flags, levels = ("--executor", "slurm"), 2

    def __init__(self, cluster):
        self.cluster, self.env = cluster, cluster.env

    def lose_node(self, rng, command):
        """Daemon and tasks; the daemon comes back."""
        i = rng.randrange(self.cluster.nodes)
        kill(self.cluster.pid(f"slurmd-n{i}"))
        for pid in processes():
            text = environment(pid)
            if f"SLURMD_NODENAME=n{i}\0" in text and self.env["SLURM_CONF"] in text:
                kill(pid)
        time.sleep(2)
        self.cluster.start_node(i)

    def settle(self):
        """End the tasks."""
        self.cluster("scancel", f"--user={os.getuid()}")
        self.cluster.wait(lambda: not self.cluster("squeue", "-h"), 60)


class Ray:
    """Trials on Ray's nodes, which end with the command."""

    levels = 2

    def __init__(self, cluster):
        self.cluster, self.env = cluster, cluster.env
        self.flags = ("--executor", "ray", "--set-resource", f"address={cluster.address}")

    def lose_node(self, rng, command):
        """The daemon of the second node, with which its workers end; it comes back."""
        kill(self.cluster.raylet(1))
        time.sleep(2)
        self.cluster.start_node()

    def settle(self):
        """Wait until its workers have ended."""
        time.sleep(5)


@contextlib.contextmanager
def engine_named(name):
    """It, with its daemons."""
    if name == "local":
        yield Local()
    elif name == "slurm":
        with slurm_cluster.cluster() as cluster:
            yield Slurm(cluster)
    else:
        with ray_cluster.cluster() as cluster:
            yield Ray(cluster)
