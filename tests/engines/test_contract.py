"""All four executors keep the contract of executors/base.py: the same events of the same jobs."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import cluster_of

pytestmark = [pytest.mark.slow, pytest.mark.engines]


class Here:
    """No cluster."""

    env, address = None, ""


@contextmanager
def cluster_for(engine):
    if engine in ("inline", "local"):
        yield Here
        return
    with cluster_of(engine) as one:
        yield one


@pytest.mark.parametrize("engine", ["inline", "local", "slurm", "ray"])
def test_the_events_of_every_executor(engine, csv, tmp_path):
    with cluster_for(engine) as cluster:
        argv = [Path(__file__).parent / "contract.py", engine, tmp_path / "runs", csv,
                getattr(cluster, "address", "")]  # fmt: skip
        done = subprocess.run(
            [sys.executable, *argv], env=cluster.env, capture_output=True, text=True, timeout=280
        )
    assert done.returncode == 0, done.stderr
    ran, held, cancelled, ended = map(json.loads, done.stdout.splitlines())
    for job in (0, 1):
        kinds = [kind for kind, number, _ in ran if number == job]
        assert kinds[0] == "started" and kinds[-1] == "returned"
        assert set(kinds[1:-1]) == (set() if engine == "slurm" else {"progress"})
    assert [value for kind, _, value in ran if kind == "returned"] == ["finished"] * 2
    assert "returned" not in held and cancelled[0] == "started" and "returned" not in cancelled
    assert ended == 2
