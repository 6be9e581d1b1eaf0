"""The commands of docs/cluster.md, run exactly as it prints them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import ray_cluster
import slurm_cluster

from dnabench.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.engines]
PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
TRIALS = 6
# ports, processes and /tmp/ray of their own, which all end with the first process
ALONE = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "bash",
    "-ec",
]
LOOPBACK = "ip link set lo up; mkdir -p /tmp/ray; mount -t tmpfs none /tmp/ray\n"


def blocks(heading):
    """The blocks of bash under a heading."""
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    return re.findall(r"```bash\n(.*?)```", section, re.S)


def run(words, tmp_path, env):
    """With `dnabench` and `ray` of this Python first on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("dnabench", "dnabench"), ("ray", "ray.scripts.scripts")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    env = {**env, "PATH": f"{programs}:{env['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert f"{TRIALS} ran, 0 already done, 0 failed" in done.stdout, done.stdout + done.stderr
    return [record.where["batch_job"] for record in Store(tmp_path / "runs")]


@pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())
def test_slurm(tmp_path):
    (block,) = blocks("Slurm")
    with slurm_cluster.cluster() as slurm:
        jobs = run(["bash", "-ec", block], tmp_path, slurm.env)
    assert len(jobs) == TRIALS and all(job.startswith("slurm ") for job in jobs)


@pytest.mark.skipif(bool(ray_cluster.missing()), reason=ray_cluster.missing())
@pytest.mark.skipif(os.geteuid() != 0, reason="ports and /tmp/ray of its own need root")
def test_ray(tmp_path):
    first, then = blocks("Ray")
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    jobs = run([*ALONE, LOOPBACK + first + then], tmp_path, env)
    assert len(jobs) == TRIALS and all(job.startswith("ray ") for job in jobs)
