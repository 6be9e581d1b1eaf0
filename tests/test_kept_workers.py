"""Workers that wait for the next submission: `executors.local.workers_kept`."""

import os
import signal
import sys
from contextlib import closing
from functools import partial

from test_executors import _no_test_hangs, alive, ended, pids, work  # noqa: F401

from dnabench.executors.local import Local, idle_memory, workers_kept


def triple(job, progress):
    """Another function, which says where it ran."""
    return 3 * job, os.getpid()


def test_kept_workers_run_the_next_jobs_with_what_runs_those(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with workers_kept():
        found = ended(Local(partial(work, folder=first), 2).run([("double", 1), ("double", 2)]))
        assert found == {0: ("returned", 2), 1: ("returned", 4)}
        assert sys.platform != "linux" or idle_memory() > 2 * 10**6  # it is there for the next
        for jobs in ([("double", 3)], [("double", n) for n in range(3)]):
            list(Local(partial(work, folder=second), 2).run(jobs))
        said = ended(Local(triple).run([5]))[0][1]
        assert said[0] == 15 and {said[1], *pids(second)} <= {*pids(first)}
        one = pids(first)[0]
        os.kill(one, signal.SIGKILL)  # while it is idle
        os.waitid(os.P_PID, one, os.WEXITED | os.WNOWAIT)
        found = ended(Local(triple, 2).run([1, 2]))
        assert {value[0] for _, value in found.values()} == {3, 6}
        running = {*pids(first), *(value[1] for _, value in found.values())} - {one}
        assert all(map(alive, running))
    assert not any(map(alive, running))


def test_of_kept_workers_those_that_run_a_job_end_with_it(tmp_path):
    with workers_kept():
        with closing(Local(partial(work, folder=tmp_path)).run([("sleep",)])) as events:
            next(events), next(events)
            (busy,) = pids(tmp_path)
        assert not alive(busy)
        assert ended(Local(work).run([("double", 1)])) == {0: ("returned", 2)}
    list(Local(partial(work, folder=tmp_path)).run([("double", 1)]))
    assert not any(map(alive, pids(tmp_path)))  # outside of the context nothing is kept


def test_each_gpu_has_its_share_of_kept_workers():
    gpus = ["cuda:0", "cuda:1"]
    with workers_kept():
        for jobs in (3, 2, 2, 2):
            one = Local(work, 4, 1, 0, gpus)
            handle = one.submit([("double", n) for n in range(jobs)])
            devices = [worker.device for worker in one._queue(handle)[1]]
            assert devices[:2] == gpus, jobs
            one.cancel(handle)
