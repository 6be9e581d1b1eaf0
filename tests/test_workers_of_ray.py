"""What `--executor ray` decides without Ray, and its workers; tests/engines has the cluster."""

import json
import shutil
import time

import pytest
from conftest import dnabench

from dnabench.cache import replacing
from dnabench.cli.execution import ExecutionOptions
from dnabench.executors import ray as cluster
from dnabench.executors.environment import TRAVELS_ALWAYS, travelling
from dnabench.results.store import Store
from dnabench.sweep import ray as sweep_ray
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.ray import RayWorker
from dnabench.sweep.stored import written_jobs


@pytest.fixture(autouse=True)
def _no_address_of_the_user(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_what_a_worker_may_use(monkeypatch):
    found = cluster.check_options(["address=h:6379", "num_gpus=0.5", "memory=16G", "a100=1"], 2, "")
    assert found.address == "h:6379" and str(found) == (
        "num_cpus=2, num_gpus=0.5, memory=16G, a100=1"
    )
    assert found.options() == {
        "num_cpus": 2, "num_gpus": 0.5, "memory": 2**34, "resources": {"a100": 1}, "max_restarts": 0
    }  # fmt: skip
    assert cluster.check_options([], 1, "auto") == ("local", {"num_cpus": 1})
    assert cluster.check_options([], 1, "cuda").each == {"num_cpus": 1, "num_gpus": 1}
    monkeypatch.setenv("RAY_ADDRESS", "other:1")
    assert cluster.check_options(["num_cpus=0"], 1, "cpu") == ("other:1", {"num_cpus": 0})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("address=auto", "write HOST:PORT"), ("address=ray://h:1", "write HOST:PORT"),
        ("num_gpus=1.5", "parts of one GPU"), ("num_cpus=2G", "write name=number"),
        ("partition=gpu", "write name=number"), ("=1", "write name=number"),
    ],
)  # fmt: skip
def test_what_ray_does_not_take_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        cluster.check_options([text], 1, "cpu")


def test_a_token_on_the_command_line_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="RAY_AUTH_TOKEN_PATH") as found:
        cluster.check_options(["auth_token=abc123"], 1, "cpu")
    assert "abc123" not in str(found.value)


NODES = [{"CPU": 4.0, "GPU": 2.0, "memory": 2.0**34}, {"CPU": 16.0}, {"CPU": 16.0}]


@pytest.mark.parametrize(
    ("texts", "n"),
    [
        ([], 36), (["num_gpus=1"], 2), (["num_gpus=0.5"], 4), (["num_gpus=0.1"], 4),
        (["num_cpus=3"], 11), (["num_cpus=0"], 3), (["memory=5G"], 3), (["num_cpus=16"], 2),
        (["num_gpus=0.1", "num_cpus=0.1"], 20),
    ],
)  # fmt: skip
def test_how_many_workers_nodes_hold(texts, n):
    assert cluster.capacity(cluster.check_options(texts, 1, "cpu"), NODES) == n


def test_what_no_node_has_is_named_beside_what_they_have():
    asked = cluster.check_options(["num_gpus=4"], 1, "cpu")
    with pytest.raises(ValueError, match=r"trial with num_cpus=1, num_gpus=4; it has 1 node with "
                       r"CPU 4, GPU 2, memory 16\.0G; 2 nodes with CPU 16"):  # fmt: skip
        cluster.capacity(asked, NODES)
    with pytest.raises(ValueError, match="it has no node"):
        cluster.capacity(asked, [])


def test_settings_travel_and_secrets_do_not():
    there = ("HF_HOME", "HF_TOKEN", "DNABENCH_CACHE", "RAY_AUTH_TOKEN", "PATH", "http_proxy")
    values = dict.fromkeys(there, "x") | {"https_proxy": "http://me:pass@host"}
    assert travelling(values, TRAVELS_ALWAYS) == ["DNABENCH_CACHE", "HF_HOME", "http_proxy"]


def test_the_device_is_left_to_the_nodes():
    found = ExecutionOptions(executor="ray", device="cuda", jobs="8").resources()
    assert found.device == "cuda" and found.workers == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--executor", "ray", "--detach"], "--detach is for --executor slurm"),
        (["--executor", "ray", "--set-resource", "address=127.0.0.1:9"],
         "nobody answers at 127.0.0.1:9"),
    ],
)  # fmt: skip
def test_flags_that_mean_nothing_are_refused(words, says, csv, tmp_path):
    pytest.importorskip("ray")
    argv = ["run", "-m", "kmer", "--data", csv, "--seeds", 1, "--out", tmp_path / "runs"]
    done = dnabench(*argv, *words)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not list((tmp_path / "runs").glob("records/*"))


@pytest.fixture
def worker(csv, tmp_path, monkeypatch):
    """A worker that was told of three trials of a folder, as Ray makes it on a node."""
    monkeypatch.setenv("DNABENCH_BATCH_JOB", "")  # so that it is put back
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    store = Store(tmp_path / "runs")
    store.check_writable()
    request = Request(models=["kmer"], data=(str(csv),), seeds="3", overrides={"epochs": 2})
    jobs = grid(request)
    with replacing(store.folder / "jobs.json") as file:
        text = {**written_jobs(jobs), "failed": {job.trial.id: 0 for job in jobs}}
        file.write(json.dumps(text).encode())
    resources = ExecutionOptions(executor="ray", device="cpu").resources()._asdict()
    told = {"folder": str(store.folder), "jobs": str(store.folder / "jobs.json"),
            "resources": resources, "version": sweep_ray.version("dnabench"),
            "environment": {"DNABENCH_BATCH_JOB": "ray 1_0"}}  # fmt: skip
    return lambda **changes: RayWorker(json.dumps({**told, **changes}))


def test_a_worker_runs_one_trial_after_another_in_one_process(worker, tmp_path):
    """The generator of a trial may still be open when the next is asked for."""
    one = worker()
    assert one.ready() == ""
    open_, pids = [], set()
    for number in range(3):
        events = one.run(number)
        while (said := json.loads(next(events)))[0] != "returned":
            assert said[0] in ("started", "progress")
        assert said[1]["kind"] == "finished" and json.loads(said[1]["record"])["error"] == ""
        open_.append(events)
        pids |= {json.loads(line)["pid"] for p in (tmp_path / "runs").glob("journal-*")
                 for line in p.read_text().splitlines()}  # fmt: skip
    assert [next(events, None) for events in open_] == [None] * 3 and len(pids) == 1
    one.stop()
    records = list(Store(tmp_path / "runs"))
    assert len(records) == 3 and {r.where["batch_job"] for r in records} == {"ray 1_0"}


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_worker_that_is_stopped_frees_its_trial_and_stores_nothing(worker, tmp_path):
    one, store = worker(), Store(tmp_path / "runs")
    assert one.ready() == ""
    events = one.run(0)
    assert json.loads(next(events))[0] == "started"
    until(lambda: [h for h in store.holders().values() if h.host != "?"])  # its claim is written
    one.stop()
    assert list(events) == [] and not list(store)
    until(lambda: not store.holders())


def test_a_worker_says_that_its_folder_cannot_be_written(worker, tmp_path):
    """The command that follows it ends with that message; the next trial would fail too."""
    one, locks = worker(), tmp_path / "runs" / ".locks"
    assert one.ready() == ""
    shutil.rmtree(locks)
    locks.write_text("")
    *_, (kind, value) = map(json.loads, one.run(0))
    assert kind == "returned" and value["kind"] == "unwritable" and value["record"] is None
    assert value["not_kept"].startswith(f"cannot write to {tmp_path / 'runs'}: Not a directory")
    one.stop()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"jobs": "/no/such/folder/jobs.json"}, "--out must be a folder that all nodes share"),
        ({"version": "0.0"}, "not 0.0"),
    ],
)
def test_a_worker_says_why_it_cannot_run_trials(worker, changes, says, monkeypatch):
    monkeypatch.setattr(sweep_ray, "APPEARS", 0.0)
    assert says in worker(**changes).ready()
