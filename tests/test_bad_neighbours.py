"""Models that harm the process they run in: no other trial pays for it."""

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import command, completed, dnabench, start

from dnabench.results.store import Store
from dnabench.sweep.failures import LONGEST_ERROR, _readable


def errors(out):
    return {(r.trial.model, r.trial.seed): r.error for r in Store(out)}


def swept(csv, plugin, out, models, seeds="2", cwd=None):
    argv, env = command(
        "run", "-m", models, "--data", csv, "--seeds", seeds, "--jobs", "1", "--out", out,
        plugin=plugin,
    )  # fmt: skip
    return completed(argv, env, timeout=120, cwd=cwd)


def test_a_model_that_changes_the_working_folder_keeps_its_record(csv, plugin, tmp_path):
    done = swept(csv.resolve(), plugin, "runs", "leaves,sleeps", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = errors(tmp_path / "runs")
    assert len(found) == 4 and not any(found.values())


@pytest.mark.slow
def test_memory_that_a_failed_trial_holds_is_gone_for_the_next(csv, plugin, tmp_path):
    done = swept(csv, plugin, tmp_path / "runs", "holds,needs")
    found = errors(tmp_path / "runs")
    assert done.returncode == 1 and len(found) == 4
    for seed in "01":
        assert found["holds", int(seed)].endswith("(what it holds stays in memory)\n")
        assert found["needs", int(seed)] == ""


STARVED = """
import numpy, resource, torch

class Net(torch.nn.Module):
    def __init__(self, task):
        super().__init__()
        self.starve()

class Array(Net):
    def starve(self):
        numpy.ones(2**50)

class Name(Net):
    def starve(self):
        raise MemoryError("Out of memory interning an attribute name")

class Library(Net):
    def starve(self):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

class Kernel(Net):
    def starve(self):
        raise OSError(12, "Cannot allocate memory")
"""


def test_whatever_says_that_memory_ran_out_is_given_advice(csv, tmp_path):
    net = tmp_path / "net.py"
    net.write_text(STARVED)
    said = {
        "Array": "Unable to allocate 8.00 PiB",
        "Name": "Out of memory interning an attribute name",
        "Library": "ImportError: libtorch_cpu.so: failed to map segment from shared object",
        "Kernel": "OSError: [Errno 12] Cannot allocate memory",
    }
    models = ",".join(f"{net}:{name}" for name in said)
    done = swept(csv, None, tmp_path / "runs", models, seeds="1")
    assert done.returncode == 1 and "4 failed" in done.stdout, done.stderr
    for record in Store(tmp_path / "runs"):
        assert record.reason.startswith("MemoryError: the process may have no more memory; run few")
        assert said[record.trial.model.partition(":")[2]] in record.error.splitlines()[-1]


def sleepers():
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes() == b"sleep\x003599\x00":
                found.append(int(line.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="children are found in /proc, on Linux only")
def test_what_a_dead_worker_started_is_ended_with_it(csv, plugin, tmp_path):
    before = set(sleepers())
    done = swept(csv, plugin, tmp_path / "runs", "parent,crashes", seeds="1")
    found = errors(tmp_path / "runs")
    assert found["parent", 0].endswith("worker process died (SIGKILL, often out of memory)")
    assert found["crashes", 0].endswith("worker process died (SIGSEGV)")
    assert "2 failed" in done.stdout
    time.sleep(0.2)
    assert set(sleepers()) <= before


def test_a_huge_error_with_escape_codes_is_cut_and_made_printable(csv, plugin, tmp_path):
    done = swept(csv, plugin, tmp_path / "runs", "shouts", seeds="1")
    (error,) = errors(tmp_path / "runs").values()
    assert len(error) < 20_100 and error.startswith("Traceback")
    assert "characters left out]" in error and error.isascii() and "\x1b" not in error
    assert len(done.stderr) < 5_000 and "\x1b[31m" not in done.stderr


@pytest.mark.parametrize("letter", ["x", "\x1b", "\u202e", "\U000e0001", "\ud800", "\U0001f600"])
def test_an_error_is_cut_to_20_kb_however_it_is_written(letter):
    for n in (10, 19_000, 60_000):
        text = _readable("first\n" + n * letter + "\nlast")
        assert len(text.encode()) <= LONGEST_ERROR and text.startswith("first")
        assert text.endswith("last") and all(c.isprintable() or c == "\n" for c in text)
        assert ("left out]" in text) == (n * len(_readable(letter).encode()) > 19_900)


def test_names_of_files_reach_the_terminal_without_escape_codes(tmp_path):
    out = tmp_path / "runs\x07"
    (out / "records").mkdir(parents=True)
    (out / "records" / "a\x1b]0;b.json").write_text("{")
    done = dnabench("report", "--out", out)
    assert done.returncode == 2 and "a\\x1b]0;b.json: not a record" in done.stderr
    assert "no records in" in done.stderr and all(c.isprintable() or c == "\n" for c in done.stderr)


@pytest.mark.slow
def test_a_sweep_under_nohup_outlives_its_terminal(csv, plugin, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sweep = start(
            "run", "-m", "sleeps", "--data", csv, "--seeds", "3", "--out", tmp_path / "runs",
            plugin=plugin,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, before)
    end = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("records/*.json")):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(sweep.pid, signal.SIGHUP)
    stdout, stderr = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, stderr
    assert "3 ran" in stdout


@pytest.mark.parametrize(
    "setting",
    ["batch=99999999999999999999", "batch=\u0663", "epochs=1_000", "lr=1_0.5"],
)
def test_numbers_are_plain_digits(csv, tmp_path, setting):
    done = dnabench("run", "-m", "cnn", "--data", csv, "--set", setting, "--out", tmp_path / "r")
    value = setting.partition("=")[2]
    assert done.returncode == 2 and f"'{setting}': '{value}' is not a" in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--epochs", "1_000"], "--epochs '1_000': write numbers with the digits 0-9 alone"),
        (["--batch-size=1_0"], "--batch-size '1_0': write numbers"),
        (["--batch-size", "9" * 20], "--batch-size 99999999999999999999: write a number below"),
        (["--split-seed", "\u0663"], "split-seed"),
        (["--jobs", "\u0663"], "--jobs '\u0663': give auto or the number"),
        (["--jobs", "9" * 20], "--jobs '99999999999999999999': give auto or"),
        (["--threads", "9" * 15], "--threads 999999999999999: at most"),
        (["--config", "c.toml"], "--epochs '1_0': write numbers"),
    ],
)
def test_numbers_of_flags_are_plain_digits_too(csv, tmp_path, words, says):
    (tmp_path / "c.toml").write_text('epochs = "1_0"\n')
    words = [str(tmp_path / w) if w == "c.toml" else w for w in words]
    done = dnabench("run", "-m", "cnn", "--data", csv, *words, "--out", tmp_path / "r")
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("seeds", ["1_0", "\u0663", "\u00b2"])
def test_seeds_are_plain_digits(csv, tmp_path, seeds):
    done = dnabench("run", "-m", "cnn", "--data", csv, "--seeds", seeds, "--out", tmp_path / "r")
    assert done.returncode == 2 and f"--seeds {seeds!r}: give how many" in done.stderr
