"""What many tests need: one thread, a planted task, a plugin distribution, the real command."""

import functools
import gc
import gzip
import os
import secrets
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# tests see no data that a user or another run of the tests imported
os.environ["DNABENCH_CACHE"] = f"{tempfile.gettempdir()}/no-cache-{secrets.token_hex(8)}/dnabench"

import subprocess
import sys
import zipfile
from collections import Counter
from multiprocessing import util
from pathlib import Path

import numpy as np
import pytest
import warm

from dnabench import Sequences, Split, Task
from dnabench.host.machine import free_memory, usable_cores

pytest_plugins = ["browser", "fetch_cases", "import_cases", "kept_cases", "table_cases"]  # fixtures
MOTIF = "TATAAAAG"
HERE = Path(__file__).parent
NO_CACHE = os.environ["DNABENCH_CACHE"]
WORKER_MEMORY = 3e9  # bytes that a process with all tests and what it starts may take


@pytest.fixture(scope="session", autouse=True)
def _no_test_leaves_a_cache_behind():
    yield
    assert not Path(NO_CACHE).parent.exists(), f"a test without a cache of its own made {NO_CACHE}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """`-n auto`: a process a core that this one may use, and one for those that wait for daemons.

    As far as memory allows.
    """
    memory = free_memory() or 1e12  # 0 = not known
    return max(1, min(usable_cores() + 1, int(memory // WORKER_MEMORY), 8))


def pytest_make_parametrize_id(config, val, argname):
    """Bytes by their number: archives hold the time, and every process must name tests alike."""
    return f"{argname}: {len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_finish():
    """What is loaded by now stays: the collector, which some tests call often, passes over it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that none of them is left for the end of a parallel run."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


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


def gue(folder, seeds=(0, 1, 2), n=(120, 40, 40)):
    """A small stand-in for GUE's mouse/0, in its layout; test repeats two training sequences."""
    task = folder / "GUE" / "mouse" / "0"
    task.mkdir(parents=True)
    first = planted_split(n[0], seeds[0], 101)
    for name, seed, count in zip(("train", "dev", "test"), seeds, n, strict=True):
        part = planted_split(count, seed, 101)
        rows = [f"{part.seqs[i]},{part.y[i]}" for i in range(count)]
        if name == "test":
            rows[:2] = [f"{first.seqs[i]},{first.y[i]}" for i in range(2)]
        (task / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    return folder / "GUE"


def annotated_genome(folder, fasta, gff):
    """Four random chromosomes of 3,000 bp with three genes each; .gz files are compressed."""
    genome = planted_split(4, 5, 3000)
    sequences = "".join(f">chr{i}\n{genome.seqs[i]}\n" for i in range(4))
    genes = [
        f"chr{i}\tx\tCDS\t{a}\t{a + 299}\t.\t{'+-'[k % 2]}\t0\tID=c{i}{k};Parent=t{i}{k}\n"
        for i in range(4) for k, a in enumerate(range(200, 2600, 800))
    ]  # fmt: skip
    for name, text in ((fasta, sequences), (gff, "##gff-version 3\n" + "".join(genes))):
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


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


def command(*words, plugin=None, cache=None):
    """argv and environment of a real `dnabench` process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    if cache is not None:
        env["DNABENCH_CACHE"] = str(cache)
    if plugin is not None:  # before the path that this process may have found dnabench on
        path = os.environ.get("PYTHONPATH")
        env["PYTHONPATH"] = os.pathsep.join([str(plugin), *([path] if path else [])])
    return [sys.executable, "-m", "dnabench", *map(str, words)], env


WARM = sys.platform == "linux"  # elsewhere processes start cold


@functools.cache
def nursery():
    """What starts commands and workers warm, one for all tests of this process."""
    return warm.nursery()


def pytest_configure():
    """Workers of sweeps that a test runs in its own process start warm, as those of commands."""
    if WARM:
        util.spawnv_passfds = lambda *words: nursery().spawn(*words)


@pytest.fixture
def cold_workers(monkeypatch):
    """Workers that this process starts import everything, as a user's do."""
    monkeypatch.setattr(util, "spawnv_passfds", warm.cold_spawn)


def pytest_unconfigure():
    gc.unfreeze()  # or libraries say at the end, in 27 lines, that they leaked what was loaded
    if nursery.cache_info().currsize:
        nursery().close()


def popen(argv, env, **options):
    """`subprocess.Popen` of what `command` gives, started warm."""
    return (warm.WarmPopen(nursery(), argv, env=env, **options) if WARM
            else subprocess.Popen(argv, env=env, **options))  # fmt: skip


def start(*words, plugin=None, cache=None, cold=False):
    """It begins in a session of its own, with its output in pipes; cold: see `dnabench`."""
    argv, env = command(*words, plugin=plugin, cache=cache)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return (subprocess.Popen if cold else popen)(argv, env=env, start_new_session=True, **pipes)


def completed(argv, env, **options):
    """Run it to its end; stdout, stderr and exit status are text and a number."""
    if WARM:
        return warm.run(nursery(), argv, env, **options)
    return subprocess.run(argv, env=env, capture_output=True, text=True, **options)


def dnabench(*words, plugin=None, cache=None, timeout=300, cold=False):
    """Run it to its end.

    Cold, it starts as a user's does: a Python of its own, with its own seed for hashes of strings.
    """
    argv, env = command(*words, plugin=plugin, cache=cache)
    if cold:
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout)
    return completed(argv, env, timeout=timeout)
