"""What many tests need: one thread, a planted task, a plugin distribution, the real command."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dnabench import Sequences, Split, Task

MOTIF = "TATAAAAG"
HERE = Path(__file__).parent


def planted_split(n, seed, length=60, classes=2):
    """n random sequences; class c > 0 has MOTIF c times, at random places."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]
    y = np.arange(n, dtype=np.int64) % classes
    for i, c in enumerate(y):
        for place in rng.permutation(length // len(MOTIF))[:c]:
            letters[i, place * len(MOTIF) : (place + 1) * len(MOTIF)] = list(MOTIF)
    seqs = Sequences.parse("".join(row) for row in letters)
    return Split(seqs, y, np.array([f"{seed}:{i}" for i in range(n)]))


def planted_task(n=160, dev=True, classes=2, length=60, **changes):
    """A task that any model learns; its splits are made when they are loaded."""
    counts = {"train": n, "test": n // 2} | ({"dev": n // 2} if dev else {})
    loaded = []

    def load(split):
        loaded.append(split)
        seed = ("train", "dev", "test").index(split)
        return planted_split(counts[split], seed, length, classes)

    fields = {
        "name": "planted/motif", "kind": "binary" if classes == 2 else "multiclass",
        "classes": tuple(str(c) for c in range(classes)), "metric": "mcc", "length": length,
        "counts": counts, "data": "0" * 16, "load": load, "source": "here", "license": "CC0-1.0",
    }  # fmt: skip
    task = Task(**{**fields, **changes})
    object.__setattr__(task, "loaded", loaded)
    return task


@pytest.fixture
def csv(tmp_path):
    """A file that `--data` reads: 120 planted sequences in three splits."""
    rows = ["sequence,label,split"]
    for split, n in (("train", 64), ("dev", 24), ("test", 32)):
        part = planted_split(n, ("train", "dev", "test").index(split))
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    path = tmp_path / "motif.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """A folder with an installed distribution that adds the models of plugin_models.py."""
    folder = tmp_path_factory.mktemp("plugin")
    wheel = folder / "dnabench_testplugin-1.0-py3-none-any.whl"
    info = "dnabench_testplugin-1.0.dist-info"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(wheel, "w") as z:
        z.write(HERE / "plugin_models.py", "dnabench_testplugin.py")
        z.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: dnabench-testplugin\nVersion: 1.0\n"
        )
        z.writestr(f"{info}/WHEEL", tag)
        z.writestr(
            f"{info}/entry_points.txt",
            "[dnabench.models]\ntests = dnabench_testplugin\nbroken = no_such_module\n"
            "[dnabench.tasks]\ntests = dnabench_testplugin:add_task\n",
        )
        z.writestr(f"{info}/RECORD", "")
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", target, wheel], check=True, capture_output=True)
    return target


def command(*words, plugin=None):
    """argv and environment of a real `dnabench` process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    if plugin is not None:
        env["PYTHONPATH"] = str(plugin)
    return [sys.executable, "-m", "dnabench", *map(str, words)], env


def dnabench(*words, plugin=None, timeout=300):
    """Run it to its end; stdout, stderr and exit status are text and a number."""
    argv, env = command(*words, plugin=plugin)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout)
