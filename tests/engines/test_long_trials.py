"""Trials that Slurm or Ray ends in the middle go on from their checkpoints; with real daemons."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import ray_cluster
import slurm_cluster
from runs import LONG, ended, once, records, same, start, words
from test_ray import parent, ray, running, wait

from dnabench.results.checkpoints import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.engines]
EACH = ("--checkpoint-every", "epoch")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Runs the trials on this machine, undisturbed, and gives the folder."""
    out = tmp_path_factory.mktemp("here") / "runs"

    def run(csv):
        argv = words(out, csv, "cnn", 2, *LONG)
        code, _, err = ended(start(SimpleNamespace(env=os.environ), argv))
        assert code == 0, err
        return out

    return run


def gone_on(out, whole):
    """Records of trials that went on in the middle, after they were found to be as undisturbed."""
    same(out, whole)
    once(out, 2)
    found = [r for r in records(out).values() if "resumed" in r.where]
    assert not checkpoints(out) and all(r.where["resumed"][0]["epoch"] > 0 for r in found)
    return found


@pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())
def test_a_task_that_slurm_puts_back_goes_on_in_the_middle_of_its_trial(csv, tmp_path, here):
    whole, out = here(csv), tmp_path / "runs"
    with slurm_cluster.cluster() as slurm:
        far = start(slurm, words(out, csv, "cnn", 2, "--executor", "slurm", *EACH, *LONG))
        slurm.wait(lambda: checkpoints(out))
        (job, *_) = slurm("squeue", "-h", "-t", "running", "-o", "%F_%K").split()
        slurm("scontrol", "requeue", job)
        code, text, err = ended(far)
    assert code == 0 and "2 ran, 0 already done, 0 failed" in text, err
    assert any("attempt 2" in r.where["batch_job"] for r in gone_on(out, whole))


@pytest.mark.skipif(bool(ray_cluster.missing()), reason=ray_cluster.missing())
def test_a_worker_that_ray_replaces_goes_on_in_the_middle_of_its_trial(csv, tmp_path, here):
    whole, out = here(csv), tmp_path / "runs"
    with ray_cluster.cluster() as cluster:
        far = start(cluster, words(out, csv, "cnn", 2, *ray(cluster), "--jobs", "1", *EACH, *LONG))
        wait(lambda: checkpoints(out))
        os.kill(parent(running(out, 1)[0]), signal.SIGKILL)
        code, text, err = ended(far)
    assert code == 0 and "2 ran, 0 already done, 0 failed" in text, err
    assert gone_on(out, whole)


def times(csv, n):
    """Write every line of train n times."""
    header, *rows = csv.read_text().splitlines()
    rows = [row for row in rows for _ in range(n if row.endswith(",train") else 1)]
    csv.write_text("\n".join([header, *rows]) + "\n")


@pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())
def test_a_time_limit_in_the_middle_of_an_epoch_costs_seconds(csv, tmp_path):
    """SIGUSR1 comes 90 to 150 s before the end of 3 minutes, and an epoch takes about 4."""
    more = ("cnn", 1, "--epochs", "1", "--batch-size", "1")
    times(csv, 50)
    few, whole, out = (tmp_path / name for name in ("few", "here", "runs"))
    here = SimpleNamespace(env=os.environ)
    assert ended(start(here, words(few, csv, *more)))[0] == 0
    times(csv, round(240 / next(iter(records(few).values())).seconds))
    sweep = (csv, *more)
    beside = start(here, words(whole, *sweep))
    with slurm_cluster.cluster() as slurm:
        argv = words(out, *sweep, "--executor", "slurm", "--set-resource", "time=3")
        code, text, err = ended(start(slurm, argv), 900)
    assert code == 0 and "1 ran, 0 already done, 0 failed" in text, err
    assert ended(beside)[0] == 0
    (record,) = same(out, whole, least=1).values()
    assert int(record.where["batch_job"].split()[-1]) > 1  # its attempts
    assert record.where["resumed"][0]["step"] > 0
