"""What the tests of all engines do: run the command over a folder, and compare folders."""

import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import ray_cluster
import slurm_cluster

from dnabench.results.store import Store

STARTED = []
LONG = ("--epochs", "300")  # some seconds a trial


@contextmanager
def cluster_of(engine):
    """Daemons of slurm or ray; a test skips by name where they cannot be had."""
    module = slurm_cluster if engine == "slurm" else ray_cluster
    if why := module.missing():
        pytest.skip(why)
    with module.cluster() as one:
        yield one


def words(out, csv, models, seeds, *more):
    return [
        "run", "-m", models, "--data", str(csv), "--seeds", str(seeds), "--epochs", "2", "--out",
        str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def start(cluster, argv, cwd=None, **environment):
    env = {**cluster.env, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_TOKEN": "hf_secret"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dnabench", *argv], env={**env, **environment}, cwd=cwd,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


def ended(process, seconds=280):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def events_of(out):
    lines = [x for p in out.glob("journal-*.jsonl") for x in p.read_text().splitlines()]
    return Counter((e["event"], e["trial"]) for e in map(json.loads, lines))


def records(out):
    return {r.trial.id: r for r in Store(out)}


def same(a, b, least=2):
    """The same trials, scores and predictions in two folders."""
    ours, theirs = records(a), records(b)
    assert ours.keys() == theirs.keys() and len(ours) >= least
    for trial_id, record in ours.items():
        assert not record.error and record.scores == theirs[trial_id].scores
        mine, other = Store(a).predictions(trial_id), Store(b).predictions(trial_id)
        assert mine.keys() == other.keys()
        assert all(np.array_equal(mine[k], other[k]) for k in mine)
    return ours


def once(out, n):
    """Every trial ended once."""
    done = Counter({k: v for k, v in events_of(out).items() if k[0] == "ended"})
    assert len(done) == n and set(done.values()) == {1}, done
