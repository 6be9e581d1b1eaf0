"""The contract of every executor (harness/executors/base.py), with real processes."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from dnabench.executors import EXECUTORS
from dnabench.executors.base import UNUSABLE, last_line
from dnabench.executors.local import _inherited, _serve

ALL = pytest.mark.parametrize("kind", EXECUTORS.values(), ids=list(EXECUTORS))
ISOLATED = pytest.mark.parametrize(
    "kind", [k for k in EXECUTORS.values() if k.isolated], ids=lambda k: k.name
)


class _Unreadable:
    """Pickles, but does not unpickle."""

    def __reduce__(self):
        return int, ("no number",)


def work(job, progress, folder=None):
    """Do what the job says; the pid of the process that does it is a file in the folder."""
    if folder is not None:
        (Path(folder) / str(os.getpid())).touch()
    what, *arguments = job
    progress(1, 2)
    if what == "double":
        return arguments[0] * 2
    if what == "raise":
        raise KeyError("no good")
    if what == "allocate":
        raise MemoryError("no more")
    if what == "spoil":
        raise RuntimeError(f"cuda:0 {UNUSABLE} (CUDA error: device-side assert triggered)")
    if what == "exit":
        os._exit(arguments[0])
    if what == "unreadable":
        return _Unreadable()
    if what == "burn":  # CPU seconds, so that time spent stopped does not count
        end = time.process_time() + arguments[0]
        while time.process_time() < end:
            pass
        return "burnt"
    if what == "signal":
        os.kill(os.getpid(), arguments[0])
    time.sleep(3600)


@pytest.fixture(autouse=True)
def _no_test_hangs():
    def stop(number, frame):
        raise TimeoutError("the test took more than 3 minutes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(180)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pids(folder):
    """Those of the processes that ran a job, this one aside."""
    return [int(p.name) for p in Path(folder).iterdir() if p.name != str(os.getpid())]


def alive(pid, zombies=True):
    """Whether the process exists; one of ours that nobody waited for is a zombie and counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return zombies or not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def ended(events):
    """Job -> (kind, value) of its last event."""
    return {e.job: (e.kind, e.value) for e in events if e.kind in ("returned", "died")}


@ALL
@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_gives_its_events_once_and_in_order(kind, workers, tmp_path):
    jobs = [("double", n) for n in range(2)]
    events = list(kind(partial(work, folder=tmp_path), workers).run(jobs))
    assert ended(events) == {n: ("returned", 2 * n) for n in range(2)}
    for n in range(2):
        assert [e.kind for e in events if e.job == n] == ["started", "progress", "returned"]
    assert {e.value for e in events if e.kind == "progress"} == {(1, 2)}
    assert len(pids(tmp_path)) <= min(workers, 2)


@ALL
def test_no_jobs_give_no_events(kind):
    assert list(kind(work, 2).run([])) == []


@ALL
def test_a_job_that_raises_is_an_event_with_the_traceback_and_the_others_go_on(kind, tmp_path):
    jobs = [("raise",), ("double", 1), ("raise",), ("double", 2)]
    found = ended(kind(partial(work, folder=tmp_path)).run(jobs))
    assert [found[n] for n in (1, 3)] == [("returned", 2), ("returned", 4)]
    for how, error in (found[0], found[2]):
        assert how == "died" and error.startswith("Traceback")
        assert last_line(error) == "KeyError: 'no good'"
    assert len(pids(tmp_path)) <= 1  # an exception costs no worker


@ISOLATED
def test_a_worker_that_runs_out_of_memory_is_replaced(kind, tmp_path):
    jobs = [("allocate",), ("double", 1)]
    found = ended(kind(partial(work, folder=tmp_path)).run(jobs))
    assert last_line(found[0][1]) == "MemoryError: no more" and found[1] == ("returned", 2)
    assert len(pids(tmp_path)) == 2


@ISOLATED
def test_a_worker_whose_gpu_failed_for_good_is_replaced(kind, tmp_path):
    found = ended(kind(partial(work, folder=tmp_path)).run([("spoil",), ("double", 1)]))
    assert UNUSABLE in last_line(found[0][1]) and found[1] == ("returned", 2)
    assert len(pids(tmp_path)) == 2


@ISOLATED
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_says_how_and_its_successor_goes_on(kind, workers, tmp_path):
    jobs = [("exit", 3), ("signal", signal.SIGKILL), ("double", 2), ("exit", 0)]
    events = list(kind(partial(work, folder=tmp_path), workers).run(jobs))
    how = {0: "exit status 3", 1: "SIGKILL, often out of memory", 3: "exit status 0"}
    error = "RuntimeError: the worker process died ({})"
    assert ended(events) == {2: ("returned", 4)} | {
        n: ("died", error.format(reason)) for n, reason in how.items()
    }
    assert Counter(e.job for e in events if e.kind == "started") == Counter(range(4))
    assert len(pids(tmp_path)) >= 3 and not any(map(alive, pids(tmp_path)))


@ISOLATED
def test_an_answer_that_cannot_be_read_costs_one_job(kind, tmp_path):
    jobs = [("unreadable",), ("double", 4)]
    events = list(kind(partial(work, folder=tmp_path)).run(jobs))
    (died,) = (e for e in events if e.kind == "died")
    assert died.job == 0 and "the worker's answer is unreadable (ValueError" in died.value
    assert [e.value for e in events if e.kind == "returned"] == [8]


@ISOLATED
def test_a_worker_that_cannot_start_says_why_and_leaves_nothing_open(kind):
    list(kind(work).run([("double", 1)]))  # what the first start opens for good
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match="pickle"):
        list(kind(lambda job, progress: job, workers=2).run([1, 2]))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_starting_a_worker_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    before = dict(os.environ)
    with _inherited(3, "mark"):
        assert os.environ["OMP_NUM_THREADS"] == "3" and "MALLOC_TRIM_THRESHOLD_" in os.environ
    assert dict(os.environ) == before


@ISOLATED
def test_a_worker_that_dies_while_it_has_no_job_is_replaced(kind, tmp_path):
    jobs = [("double", n) for n in range(3)]
    with closing(kind(partial(work, folder=tmp_path)).run(jobs)) as events:
        assert [next(events).kind for _ in range(3)] == ["started", "progress", "returned"]
        (pid,) = pids(tmp_path)
        os.kill(pid, signal.SIGKILL)
        # until it has been waited for: a zombie's other threads may still hold its pipes
        wait_for(lambda: not multiprocessing.active_children() and not alive(pid))
        assert ended(events) == {1: ("returned", 2), 2: ("returned", 4)}


@ALL
def test_cancelling_ends_one_submission_and_no_other(kind, tmp_path):
    executor = kind(partial(work, folder=tmp_path))
    one, other = (executor.submit([("double", n), ("double", n)]) for n in (1, 2))
    assert one != other and "\n" not in one + other
    first, second = executor.events(one), executor.events(other)
    assert next(first).kind == next(second).kind == "started"
    executor.cancel(one)
    executor.cancel(one)
    rest = list(first)
    if kind.isolated:
        assert rest == []
    else:  # what has begun in this process ends there
        assert {e.job for e in rest} == {0}
    assert ended(second) == {0: ("returned", 4), 1: ("returned", 4)}
    executor.cancel(other)
    assert not any(map(alive, pids(tmp_path)))


@ISOLATED
def test_cancelling_stops_a_job_that_runs(kind, tmp_path):
    executor = kind(partial(work, folder=tmp_path), 2)
    handle = executor.submit([("hang",)] * 3)
    events = executor.events(handle)
    assert {next(events).kind for _ in range(4)} == {"started", "progress"}
    executor.cancel(handle)
    assert list(events) == []
    assert len(pids(tmp_path)) == 2 and not any(map(alive, pids(tmp_path)))


@ALL
def test_holding_lets_what_runs_end_and_begins_no_more(kind, tmp_path):
    executor = kind(partial(work, folder=tmp_path))
    handle = executor.submit([("double", n) for n in range(5)])
    events = executor.events(handle)
    assert next(events).kind == "started"
    executor.hold(handle)
    assert ended(events) == {0: ("returned", 0)}
    executor.cancel(handle)


@ALL
def test_holding_before_anything_began_runs_nothing(kind):
    executor = kind(work, 2)
    handle = executor.submit([("hang",)])
    executor.hold(handle)
    assert list(executor.events(handle)) == []


@ISOLATED
def test_a_signal_to_all_processes_is_the_parents_to_handle(kind, tmp_path):
    """Batch systems send SIGTERM to every process of a job; the parent releases the trials."""
    with closing(kind(partial(work, folder=tmp_path)).run([("burn", 0.5)])) as events:
        assert [next(events).kind for _ in range(2)] == ["started", "progress"]
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT):
            os.kill(pids(tmp_path)[0], number)
        assert ended(events) == {0: ("returned", "burnt")}


def patient(job, progress):
    """A job that would take what happens to its progress for its own failure."""
    progress(1, 2)
    time.sleep(2)
    try:
        progress(2, 2)
    except Exception:
        Path(job).touch()


def test_a_job_does_not_see_that_the_parent_has_ended(tmp_path):
    """The thread that ends the process may be late: here the parent's other pipe is open."""
    context = multiprocessing.get_context("spawn")
    (ours, theirs), (life, _open) = context.Pipe(), context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(patient, theirs, life, 1), daemon=True)
    with _inherited(1, "a mark", ""):
        process.start()
    theirs.close()
    ours.send(str(tmp_path / "failed"))
    assert [ours.recv()[0] for _ in range(2)] == ["started", "progress"]
    ours.close()
    process.join(60)
    assert process.exitcode == 1 and not list(tmp_path.iterdir())


@ALL
def test_jobs_end_with_their_process_and_no_other_can_follow_them(kind):
    handle = kind(work).submit([("double", 1)])
    for method in ("events", "cancel", "hold"):
        with pytest.raises(ValueError, match="submitted nothing under this handle"):
            next(iter(getattr(kind(work), method)(handle)))


# --- no worker outlives the sweep -----------------------------------------------------------------


def until_all_run(events, n):
    """Read events until n jobs have begun and say so."""
    seen = [next(events).kind for _ in range(2 * n)]
    assert seen.count("progress") == n


@ISOLATED
def test_no_worker_is_left_when_the_events_are_closed(kind, tmp_path):
    events = kind(partial(work, folder=tmp_path), 2).run([("hang",)] * 3)
    until_all_run(events, 2)
    events.close()
    assert len(pids(tmp_path)) == 2 and not any(map(alive, pids(tmp_path)))


@ISOLATED
def test_no_worker_is_left_when_the_last_job_has_ended(kind, tmp_path):
    events = kind(partial(work, folder=tmp_path), 2).run([("double", n) for n in range(4)])
    assert len(ended(events)) == 4
    assert pids(tmp_path) and not any(map(alive, pids(tmp_path)))


@ISOLATED
def test_no_worker_is_left_after_an_exception_in_the_caller(kind, tmp_path):
    def follow():
        with closing(kind(partial(work, folder=tmp_path), 2).run([("hang",)] * 3)) as events:
            until_all_run(events, 2)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full") as kept:
        follow()
    assert len(pids(tmp_path)) == 2 and not any(map(alive, pids(tmp_path))), kept


CLIENT = """
    import sys, signal
    from functools import partial
    from dnabench.executors import EXECUTORS
    from test_executors import work
    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            executor = EXECUTORS[sys.argv[1]](partial(work, folder="pids"), 2)
            for event in executor.run([("hang",)] * 3):
                print(event.kind, flush=True)
        except KeyboardInterrupt:
            input()  # the workers must have ended while this process still lives
"""


@pytest.fixture
def client(tmp_path):
    """Start a process that runs two hanging jobs; it and the pids of its workers."""
    (tmp_path / "pids").mkdir()
    (tmp_path / "client.py").write_text(textwrap.dedent(CLIENT))
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    started = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "client.py", name], cwd=tmp_path, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        lines = [process.stdout.readline().strip() for _ in range(4)]
        assert lines.count("progress") == 2
        return process, pids(tmp_path / "pids")

    yield start
    for process in started:
        process.kill()
        process.communicate()


@ISOLATED
def test_no_worker_is_left_after_ctrl_c(kind, client):
    process, workers = client(kind.name)
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: not any(map(alive, workers)), 20)
    assert process.poll() is None  # so it was the executor that ended and awaited them


@ISOLATED
def test_no_worker_is_left_when_the_client_is_killed(kind, client):
    process, workers = client(kind.name)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid, zombies=False) for pid in workers), 20)
