"""Work shared with forks: the same results, errors, and nothing left undone."""

import os
import time

import pytest

from dnabench.host import processes
from dnabench.host.processes import each

ITEMS = list(range(8))


@pytest.fixture
def long(monkeypatch):
    """Anything is long enough to be shared, and there are two cores."""
    monkeypatch.setattr(processes, "LONG", 0.0)
    monkeypatch.setattr(processes, "usable_cores", lambda: 2)
    monkeypatch.setattr(processes, "_safe", lambda: True)  # other tests import torch


def square(x):
    time.sleep(0.01)
    return x * x, os.getpid()


def test_short_work_stays_here():
    assert each(square, ITEMS) == [(x * x, os.getpid()) for x in ITEMS]
    assert each(square, []) == []


def test_long_work_is_shared_and_keeps_its_order(long):
    came = []
    found = each(square, ITEMS, came.append)
    assert [value for value, _ in found] == [x * x for x in ITEMS]
    here = [pid == os.getpid() for _, pid in found]
    assert here == [True] + [False] * 7
    assert came == ITEMS[1:]


def test_a_fork_shares_no_further(long):
    found = each(lambda _: each(square, ITEMS), ITEMS[:3])
    assert len({pid for _, pid in found[1]}) == 1


def test_memory_limits_the_forks(long, monkeypatch):
    monkeypatch.setattr(processes, "free_memory", lambda: 1)
    assert {pid for _, pid in each(square, ITEMS)} == {os.getpid()}


def test_an_error_is_that_of_the_first_item_that_has_one(long):
    with pytest.raises(ZeroDivisionError):
        each(lambda x: 1 / (x - 3), ITEMS)


def test_what_a_killed_fork_leaves_is_done_here(long):
    def work(x):
        if x == 5 and os.getpid() != me:
            os._exit(9)
        return x * x

    me = os.getpid()
    assert each(work, ITEMS) == [x * x for x in ITEMS]
