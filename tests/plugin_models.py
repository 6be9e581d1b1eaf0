"""Somebody else's distribution: models that behave badly in known ways, and a task."""

import os
import signal
import subprocess
import time

import numpy as np

from dnabench import MODELS, TASKS, Model, Recipe, Sequences, Split, Task


class Constant:
    """Predicts the first class; `trouble` runs in every epoch."""

    def __init__(self, task, trouble):
        self.epochs, self.n_params, self.k, self.trouble = 2, 1, task.n_outputs, trouble

    def train_epoch(self):
        return self.trouble()

    def predictor(self, split):
        return lambda: np.eye(self.k, dtype=np.float32)[np.zeros(len(split.y), int)]

    def state(self):
        return None

    def restore(self, state):
        pass


def explode():
    raise RuntimeError("this model always raises")


def sleep():
    time.sleep(0.1)
    return 0.5


def leave_a_child():
    subprocess.Popen(["sleep", "3599"])
    os.kill(os.getpid(), signal.SIGKILL)


held = []


def hold_memory():
    held.append("held")
    raise MemoryError("what it holds stays in memory")


def expect_memory():
    if held:
        raise RuntimeError("the worker still holds another trial's memory")
    return 0.5


def leave():
    os.chdir("/")
    return 0.5


def shout():
    raise RuntimeError("\x1b[31m" + "A" * 2_000_000)


TROUBLES = {
    "leaves": leave,
    "holds": hold_memory,
    "needs": expect_memory,
    "shouts": shout,
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "parent": leave_a_child,
    "raises": explode,
    "diverges": lambda: float("nan"),
    "dies": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleeps": sleep,
    "hangs": lambda: time.sleep(3600),
}


def add(name, trouble):
    MODELS.add(
        Model(
            name=name, family="test", n_params=0, min_length=1, context=10_000, source="test",
            license="CC0-1.0", custom_trainer=True, recipes={"default": Recipe(epochs=2)},
            build=lambda task, options: lambda train, recipe: Constant(task, trouble),
        )
    )  # fmt: skip


def load(split):
    n = {"train": 40, "test": 20}[split]
    letters = np.array(list("ACGT"))[np.random.default_rng(n).integers(0, 4, (n, 40))]
    seqs = Sequences.parse("".join(row) for row in letters)
    return Split(seqs, np.arange(n, dtype=np.int64) % 2, np.arange(n).astype(str))


def add_task():
    TASKS.add(
        Task(
            name="plug/strand", kind="binary", classes=("no", "yes"), metric="accuracy", length=40,
            counts={"train": 40, "test": 20}, data="f" * 16, load=load, source="test",
            license="CC0-1.0", aliases=("plug_strand",),
        )
    )  # fmt: skip


for name, trouble in TROUBLES.items():
    add(name, trouble)
