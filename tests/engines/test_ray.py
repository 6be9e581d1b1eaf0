"""`--executor ray` with a real cluster: two nodes of this machine."""

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import ray_cluster
from runs import LONG, ended, events_of, once, records, same, start, words

from dnabench.results.store import Store

pytestmark = [
    pytest.mark.skipif(bool(ray_cluster.missing()), reason=ray_cluster.missing()),
    pytest.mark.slow,
]
EVERY = pytest.mark.engines


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster.cluster() as one:
        yield one


def ray(cluster, *more):
    """Flags; what is asked for last wins."""
    asked = ",".join([f"address={cluster.address}", *more])
    return ("--executor", "ray", "--set-resource", asked)


def claims(out):
    """Process ids of the trials that run."""
    found = []
    for path in out.glob(".locks/[!.]*.[0-9]*"):
        with path.open() as file:
            found.append(json.loads(file.read() or '{"pid": 0}')["pid"])
    return [pid for pid in found if pid]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def running(out, n):
    return wait(lambda: len(found := claims(out)) == n and found)


def gone(pids):
    wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)


def test_a_sweep_gives_what_it_gives_here(cluster, csv, tmp_path):
    """Two models on two nodes; the paths are relative and no secret is anywhere."""
    here, there = tmp_path / "here", tmp_path / "there"
    far = start(cluster, words("there", csv.name, "cnn,kmer", 2, *ray(cluster)), cwd=tmp_path)
    code, _, err = ended(start(cluster, words(here, csv, "cnn,kmer", 2, "--executor", "inline")))
    assert code == 0, err
    code, out, err = ended(far)
    assert code == 0 and "4 ran, 0 already done, 0 failed" in out, err
    assert "2 trials at once, each with num_cpus=1" in err
    jobs = {r.where["batch_job"] for r in same(there, here).values()}
    assert {job.rpartition("_")[2] for job in jobs} == {"0", "1"}
    assert set(events_of(there).values()) == {1}
    said = [out, err, *(p.read_text(errors="replace") for p in there.rglob("*") if p.is_file())]
    assert not any(secret in text for text in said for secret in (cluster.token, "hf_secret"))
    assert not claims(there)


def test_a_worker_that_is_killed_is_replaced_and_costs_no_trial(cluster, csv, tmp_path):
    out = tmp_path / "runs"
    far = start(cluster, words(out, csv, "cnn", 2, *ray(cluster), "--epochs", "80", "--jobs", "1"))
    (trial,) = running(out, 1)
    os.kill(parent(trial), signal.SIGKILL)
    code, text, err = ended(far)
    assert code == 0 and "2 ran, 0 already done, 0 failed" in text, err
    assert "Ray lost a worker with a trial, which runs again" in err
    assert {r.where["batch_job"].partition(" attempt ")[2] for r in records(out).values()} == {"2"}
    once(out, 2)


# --- make engines ---------------------------------------------------------------------------------


@EVERY
def test_a_node_that_dies_costs_no_trial(cluster, csv, tmp_path):
    out = tmp_path / "runs"
    far = start(cluster, words(out, csv, "cnn", 4, *ray(cluster), *LONG))
    pids = running(out, 2)
    dead = cluster.raylet(1)
    orphans = [pid for pid in pids if parent(parent(pid)) == dead]
    os.kill(dead, signal.SIGKILL)
    try:
        code, text, err = ended(far)
    finally:
        cluster.start_node()
    assert code == 0 and "4 ran, 0 already done, 0 failed" in text, err
    assert "which runs again" in err and len(orphans) == 1
    gone(orphans)
    once(out, 4)


@EVERY
def test_a_head_node_that_dies_ends_the_command_and_another_cluster_goes_on(csv, tmp_path):
    """Ray itself ends a process that has not heard of the first node for a minute."""
    out = tmp_path / "runs"
    with ray_cluster.cluster() as first:
        far = start(first, words(out, csv, "cnn", 4, *ray(first), *LONG))
        pids = running(out, 2)
        for pid in [first.raylet(0), *first.pids("gcs_server")]:
            os.kill(pid, signal.SIGKILL)
        code, _, err = ended(far)
        assert code in (1, 2) and "Traceback" not in err, err
        gone(pids)
    with ray_cluster.cluster() as second:
        code, text, err = ended(start(second, words(out, csv, "cnn", 4, *ray(second), *LONG)))
    assert code == 0 and "0 failed" in text, err
    assert len(records(out)) == 4 and not any(r.error for r in records(out).values())
    once(out, 4)


@EVERY
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_the_command_and_the_same_command_goes_on(
    cluster, csv, tmp_path, number
):  # fmt: skip
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 4, *ray(cluster), *LONG)
    first = start(cluster, argv)
    wait(lambda: len(Store(out).done()) >= 1)
    pids = running(out, 2)
    first.send_signal(number)
    code, _, err = ended(first)
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 130 and "interrupted; finished trials are kept" in err, err
        assert not claims(out)  # for other hosts, which cannot see that a process has ended
    gone(pids)
    n = len(records(out))
    assert 1 <= n < 4 and not any(r.error for r in records(out).values())
    code, text, err = ended(start(cluster, argv))
    assert code == 0 and f"{4 - n} ran, {n} already done, 0 failed" in text, err
    once(out, 4)


@EVERY
def test_parts_of_gpus_are_shared(cluster, csv, tmp_path):
    """Four GPUs are declared; which one a worker sees is in its environment."""
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 4, *ray(cluster, "num_gpus=0.5", "num_cpus=0.25"), *LONG)
    far = start(cluster, [*argv, "--jobs", "4", "--device", "auto"])
    used = Counter()
    for pid in running(out, 4):
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        device = next(x for x in environment if x.startswith("CUDA_VISIBLE_DEVICES="))
        used[parent(parent(pid)), device.partition("=")[2]] += 1
    assert {device for _, device in used} <= {"0", "1"} and max(used.values()) <= 2, used
    code, text, err = ended(far)
    assert code == 0 and "4 ran" in text, err


@EVERY
def test_what_no_node_has_is_said_before_anything_waits(cluster, csv, tmp_path):
    out = tmp_path / "runs"
    code, _, err = ended(start(cluster, words(out, csv, "kmer", 1, *ray(cluster, "num_gpus=3"))))
    assert code == 2 and "no node of Ray can run a trial with num_cpus=1, num_gpus=3" in err
    assert "CPU 1, GPU 2" in err and not list(out.glob("configs/*"))


@EVERY
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RAY_AUTH_TOKEN_PATH": "/no/such"}, "needs a token, and /no/such is not there"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "takes another token than the one here"),
    ],
)
def test_a_token_is_required_and_must_be_the_clusters(cluster, csv, tmp_path, environment, says):
    argv = words(tmp_path / "runs", csv, "kmer", 1, *ray(cluster))
    code, _, err = ended(start(cluster, argv, **environment))
    assert code == 2 and says in err, err


@EVERY
def test_a_cluster_that_anybody_may_use_is_refused(cluster, csv, tmp_path):
    with ray_cluster.cluster(token=False) as careless:
        argv = words(tmp_path / "runs", csv, "kmer", 1, *ray(careless))
        path = cluster.env["RAY_AUTH_TOKEN_PATH"]
        code, _, err = ended(start(careless, argv, RAY_AUTH_TOKEN_PATH=path))
    assert code == 2 and "asks for no token" in err, err


@EVERY
def test_a_cluster_of_this_machine_alone(csv, tmp_path):
    """It has a token of its own, and the home folder stays as it was."""

    class Nothing:
        def __init__(self):
            self.env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}

    argv = words(tmp_path / "runs", csv, "kmer", 2, "--executor", "ray", "--jobs", "1")
    code, text, err = ended(start(Nothing(), argv, HOME=str(tmp_path)))
    assert code == 0 and "2 ran, 0 already done, 0 failed" in text, err
    assert "Ray at local: 1 node with" in err and not (tmp_path / ".ray").exists()
    once(tmp_path / "runs", 2)
