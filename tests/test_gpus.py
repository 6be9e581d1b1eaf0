"""Several GPUs of one host: declared at the edge of the driver, with real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import dnabench
from test_pooling import only

from dnabench.cli.allowed import on_several, precision_problem
from dnabench.cli.execution import ExecutionOptions
from dnabench.executors.inline import Inline
from dnabench.executors.local import Local
from dnabench.forecast.estimate import Plan, Row, summary
from dnabench.host import doctor
from dnabench.host.machine import (
    PINNED,
    VISIBLE,
    cuda_devices,
    device_label,
    devices_named,
    own_device,
    pinned,
    seen_here,
)
from dnabench.reports.pooling import mixed_cells
from dnabench.results.store import Store
from dnabench.splits import Sizes
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import run
from dnabench.sweep.work import other_logits
from dnabench.types import Record, Resources


@pytest.fixture
def declared(monkeypatch):
    """Declare GPUs: how many the driver shows this process, and what the environment says."""

    def declare(count, visible=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.delenv(PINNED, raising=False)
        if visible is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, visible)

    return declare


MIG = "MIG-5c89b1a2-0000-0000-0000-00000000000"
GPU = "GPU-7f3c2a10-0000-0000-0000-00000000000"


@pytest.mark.parametrize(
    ("count", "visible", "text", "found"),
    [
        (0, None, "auto", "cpu"), (1, None, "auto", "cuda"), (1, "3", "auto", "cuda"),
        (3, None, "auto", "cuda:0,cuda:1,cuda:2"), (2, "5,3", "auto", "cuda:0,cuda:1"),
        (2, f"{GPU}1,{GPU}2", "auto", "cuda:0,cuda:1"), (1, f"{MIG}1", "auto", "cuda"),
        (1, f"{MIG}1,{MIG}2", "auto", "cuda:0,cuda:1"), (1, f"{MIG}1,{MIG}2", "cuda:1", "cuda:1"),
        (3, None, "cuda", "cuda"), (3, None, "cuda:1", "cuda:1"), (3, None, "cpu", "cpu"),
        (3, None, "cuda:2, cuda:0", "cuda:2,cuda:0"),
    ],
)  # fmt: skip
def test_which_devices_are_meant(declared, count, visible, text, found):
    declared(count, visible)
    assert ",".join(devices_named(text)) == found


@pytest.mark.parametrize(
    ("built", "asked"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("cuda = None\nhip = None\n", False),
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", True),
        ("cuda: Optional[str] = None\n", True),
        ("", True),
    ],
)
def test_a_pytorch_for_cpus_alone_is_not_imported_to_look_for_gpus(tmp_path, built, asked):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("from . import cuda\nprint('imported')\n")
    (package / "cuda.py").write_text("def is_available(): return False\n")
    (package / "version.py").write_text(built)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from dnabench.host.machine import devices_named\nprint(devices_named('auto'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "imported\n" * asked + "('cpu',)\n"


@pytest.mark.skipif(bool(torch.version.cuda), reason="a build for GPUs asks the driver")
def test_a_run_that_has_nothing_to_do_imports_no_torch(csv, tmp_path):
    words = ["run", "-m", "kmer", "--data", str(csv), "--seeds", "1", "--out", str(tmp_path / "o")]
    assert not dnabench(*words).returncode
    code = (
        f"import sys\nfrom dnabench.cli.app import main\nmain({words!r}, standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "1 already done" in done.stdout and done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cuda:0,cuda:2", "'cuda:2' cannot be used here: there are 2, cuda:0 to cuda:1"),
        ("cuda:5", "'cuda:5' cannot be used here"), ("cuda:x", "'cuda:x' cannot be used here"),
        ("cuda:0,cuda:0", "each once"), ("cpu,cuda:0", "list GPUs"), ("cuda,cuda:1", "list GPUs"),
        ("cuda:0,", "list GPUs"),
    ],
)  # fmt: skip
def test_what_is_no_device_is_refused(declared, text, says):
    declared(2)
    with pytest.raises(ValueError, match=says):
        devices_named(text)


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["0", "1"]), ("5,3", ["5", "3"]), (f"{GPU}1, {GPU}2", [f"{GPU}1", f"{GPU}2"]),
     (f"{MIG}1,{MIG}2", [f"{MIG}1", f"{MIG}2"])],
)  # fmt: skip
def test_a_worker_is_shown_one_device_by_the_name_that_its_parent_has_for_it(
    declared, visible, names
):
    declared(2, visible)
    found = [pinned(device) for device in cuda_devices()]
    assert [one[VISIBLE] for one in found] == names
    assert [one[PINNED] for one in found] == ["cuda:0", "cuda:1"]


def test_jobs_are_counted_on_each_device(declared):
    declared(3)
    for jobs, workers in (("auto", 3), ("1", 3), ("2", 6)):
        found = ExecutionOptions(device="auto", jobs=jobs).resources()
        assert (found.device, found.workers) == ("cuda:0,cuda:1,cuda:2", workers)
    assert ExecutionOptions(device="cuda:1", jobs="2").resources().workers == 2
    assert ExecutionOptions(device="cuda").resources().workers == 1
    one = ExecutionOptions(device="auto", executor="inline").resources()
    assert (one.device, one.workers) == ("cuda", 1)
    slurm = ExecutionOptions(device="auto", executor="slurm").resources()
    assert slurm.device == "auto"  # it is settled on the node
    two = ExecutionOptions(device="cuda:0,cuda:2", jobs="2").resources()
    assert on_several(two) == ["2 GPUs (cuda:0, cuda:2), 2 trials at once on each"]
    assert on_several(Resources("cuda")) == on_several(Resources()) == []


def work(job, progress, folder=None):
    """Where it runs; with a folder, as on a GPU that admits a single process."""
    own = own_device("cuda:0,cuda:1"), device_label("cuda"), os.environ.get(VISIBLE), os.getpid()
    if folder is None:
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return own
    held = Path(folder) / own[2]
    held.touch(exist_ok=False)  # fails while another process has it
    time.sleep(job)
    held.unlink()
    return own


def exclusive(job, progress):
    return work(job, progress, os.environ["HELD"])


def values(executor, jobs):
    return [e.value for e in executor.run(jobs) if e.kind in ("returned", "died")]


@pytest.mark.slow
def test_each_worker_sees_its_own_device_alone(declared, monkeypatch):
    declared(2, "5,3")
    found = values(Local(work, workers=4, devices=["cuda:0", "cuda:1"]), list(range(16)))
    assert {x[:3] for x in found} == {("cuda", "cuda:0", "5"), ("cuda", "cuda:1", "3")}
    places = {x[3]: x[1] for x in found}
    assert max(Counter(places.values()).values()) <= 2  # of four workers, two on each
    assert os.environ[VISIBLE] == "5,3" and PINNED not in os.environ
    for plain in (("cpu",), ("cuda",), ()):  # nothing is hidden from a worker of one device
        (found,) = values(Local(work, devices=plain), [0])
        assert found[1:3] == ("cuda", "5,3")


def test_devices_that_admit_a_single_process_are_shared_out(declared, tmp_path, monkeypatch):
    declared(2)
    monkeypatch.setenv("HELD", str(tmp_path))
    found = values(Local(exclusive, workers=2, devices=["cuda:0", "cuda:1"]), [0.05] * 12)
    assert {type(x) for x in found} == {tuple} and {x[1] for x in found} == {"cuda:0", "cuda:1"}


@pytest.mark.slow
def test_a_worker_that_replaces_one_that_died_has_its_device(declared):
    declared(2)
    jobs = [0, "die", 1, "die", 2, 3]
    executor, seen = Local(work, workers=1, devices=["cuda:1"]), []
    for event in executor.run(jobs):
        if event.kind in ("returned", "died"):
            seen.append(event.value[1:3] if event.kind == "returned" else event.value[:12])
    assert seen == [("cuda:1", "1") if x != "die" else "RuntimeError" for x in jobs]


def test_a_process_that_is_not_pinned_uses_the_first(monkeypatch):
    monkeypatch.delenv(PINNED, raising=False)
    assert [own_device(x) for x in ("cuda:2,cuda:0", "cuda:1", "cuda", "cpu")] == [
        "cuda:2", "cuda:1", "cuda", "cpu"]  # fmt: skip
    assert device_label("cuda") == "cuda"
    assert values(Inline(work, devices=["cuda:0", "cuda:1"]), [0])[0][0] == "cuda:0"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_record_says_which_device_its_trial_had(declared, csv, tmp_path):
    """There is none, so the trials fail; where they would have run is in their records."""
    declared(2)
    jobs = grid(Request(models=["cnn"], data=str(csv), seeds="4"))
    found = run(jobs, Store(tmp_path / "runs"), Resources("cuda:0,cuda:1", workers=2))
    assert len(found.failed) == 4
    assert {r.where["device"] for r in found.failed} == {"cuda:0", "cuda:1"}
    assert all("CUDA" in r.error or "NVIDIA" in r.error for r in found.failed)


def test_the_precision_of_every_device_is_checked(declared, monkeypatch):
    declared(2)
    capabilities = {"cuda:0": (9, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.get)
    assert not precision_problem("cnn", "bf16", ("cuda:0",))
    assert "cuda:1 has capability 7.5" in precision_problem("cnn", "bf16", ("cuda:0", "cuda:1"))
    declared(1, f"{MIG}1,{MIG}2")  # of parts of a GPU this process sees the first alone
    assert seen_here(("cuda:0", "cuda:1")) == ("cuda:0",) and seen_here(("cpu",)) == ("cpu",)
    assert not precision_problem("cnn", "tf32", ("cuda:0", "cuda:1"))


@pytest.mark.parametrize(
    ("missing", "workers", "says"),
    [(9, 6, "3 GB for 3 at once on each"), (3, 6, "2 GB for 2 at once on each"),
     (1, 2, "1 GB for 1 at once on each")],
)  # fmt: skip
def test_memory_is_planned_for_each_device(missing, workers, says):
    row = Row("t", "cnn", missing, missing, Sizes(1, 1, 1), peak=10**9)
    plan = Plan((row,), Resources("cuda:0,cuda:1", workers), 0, 1, 0, 0, 0)
    text = "\n".join(summary(plan, free_memory=25 * 10**8))
    assert f"memory of cuda:0,cuda:1: 1 GB for the largest trial, {says}" in text
    assert "2.5 GB are available on each" in text and "on each\n" in text
    assert f"with --jobs {workers // 2} on each" in text
    assert ("that is too much" in text) == (missing == 9)


def test_the_doctor_says_what_a_run_would_use(declared, monkeypatch):
    declared(2, "5,3")
    monkeypatch.setattr(doctor, "_gpu", lambda i: doctor.Finding(f"cuda:{i}", "ok", ""))
    *gpus, several = doctor._gpus()
    assert [one.topic for one in gpus] == ["cuda:0", "cuda:1"] and several.topic == "GPUs"
    assert several.says == ("CUDA_VISIBLE_DEVICES=5,3; --device auto uses all 2, one trial on "
                            "each; --jobs 2 runs two on each")  # fmt: skip
    declared(1)
    assert [one.topic for one in doctor._gpus()] == ["cuda:0"]


def test_gpus_of_one_kind_are_one_machine_in_a_report(csv):
    jobs = grid(Request(models=["kmer"], data=str(csv), seeds="3"))
    devices = ("cuda:0 (NVIDIA H100)", "cuda:1 (NVIDIA H100)", "cuda (NVIDIA A100)")
    about = {"scores": {"test": {"mcc": 0.5}}, "task": {"metric": "mcc"}}
    runs = [
        Record(trial=job.trial, where={"device": device}, **about)
        for job, device in zip(jobs, devices, strict=True)
    ]
    assert not mixed_cells(only(runs[:2]), ["device"])
    (text,) = mixed_cells(only(runs), ["device"])
    assert text.endswith("seeds 0 and 1 by cuda (NVIDIA H100); seed 2 by cuda (NVIDIA A100)")


@pytest.mark.parametrize(
    ("device", "deterministic", "named"),
    [("cpu", False, False), ("cuda", True, False), ("cuda", False, True), ("cuda:1", False, True)],
)
def test_a_network_that_a_gpu_trains_otherwise_again_is_not_blamed_on_the_machine(
    device, deterministic, named
):
    said = other_logits(0.01, Resources(device, deterministic=deterministic))
    assert ("no two runs round alike without --deterministic" in said) is named
    assert said.startswith("run again, its test logits differ from the stored ones by up to 0.01; ")
    assert said.endswith("rounds differently: run it into a new folder")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_trial_on_a_gpu_by_number(csv, tmp_path):
    last = cuda_devices()[-1]
    done = dnabench("run", "-m", "cnn", "--data", csv, "--seeds", "1", "--epochs", "1",
                    "--device", last, "--out", tmp_path / "runs")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = Store(tmp_path / "runs")
    assert record.where["device"].startswith(f"{last} (")
