"""`graphs.recorded` where a step cannot be recorded: nothing of the attempt may stay behind.

PyTorch's own `torch.cuda.graph`, on a stand-in for the driver: streams, the allocator's pools of
memory, and a recording that cannot end once an operation in it was not permitted.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from dnabench.train.graphs import recorded

ENDED = "CUDA error: operation failed due to a previous error during capture"


class Stream:
    def __init__(self, driver, name):
        self.driver, self.name = driver, name

    def wait_stream(self, other):
        self.driver.did.append(f"{self.name} waits for {other.name}")


class Driver:
    """What CUDA and PyTorch's allocator remember."""

    def __init__(self):
        self.did, self.pools, self.underway, self.recording = [], {}, set(), ""
        self.names = iter(("side",))
        self.own = self.current = Stream(self, "own")
        self.capturing = self.invalid = False

    def begin(self, pool=(0, 7), **how):
        assert self.current.name != "own"
        self.capturing, self.recording = True, "recording"
        self.underway.add(pool)
        self.pools[pool] = self.pools.get(pool, 0) + 1

    def end(self):
        self.capturing = False
        if self.invalid:
            raise RuntimeError(ENDED)
        self.end_pool(0, (0, 7))

    def end_pool(self, device, pool):
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)
        self.did.append("pool ended")

    def release(self, device, pool):
        self.pools[pool] -= 1

    def empty_cache(self):
        assert not self.underway, "PyTorch's own assertion: captures_underway.empty()"

    @contextlib.contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def queries(self):
        """An operation that a recording does not permit."""
        self.did.append(f"work on {self.current.name}")
        if self.capturing:
            self.invalid = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


@pytest.fixture
def driver(monkeypatch):
    one = Driver()

    class Generator:
        def __init__(self, device):
            self.device = device

        def set_state(self, state):
            self.state = state

        def graphsafe_get_state(self):
            return f"fresh {self.state}"

        def graphsafe_set_state(self, state):
            one.recording = state

    graph = SimpleNamespace(
        capture_begin=one.begin, capture_end=one.end, replay=lambda: one.did.append("replay")
    )
    ours = {
        "device": lambda device: contextlib.nullcontext(), "stream": one.on,
        "Stream": lambda: Stream(one, next(one.names)), "CUDAGraph": lambda: graph,
        "current_stream": lambda: one.current,
        "set_stream": lambda stream: setattr(one, "current", stream),
        "get_rng_state": lambda: "as before", "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: None, "graph_pool_handle": lambda: (0, 7),
        "synchronize": lambda: None, "empty_cache": one.empty_cache, "current_device": lambda: 0,
        "default_generators": [Generator("cuda")],
    }  # fmt: skip
    for name, value in ours.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
    monkeypatch.setattr(torch, "Generator", Generator)
    for name, value in (("_host_emptyCache", lambda: None), ("_cuda_releasePool", one.release),
                        ("_cuda_endAllocateToPool", one.end_pool)):  # fmt: skip
        monkeypatch.setattr(torch._C, name, value, raising=False)
    return one


def failing(driver, at, how):
    """A step that fails at this call."""
    calls, given = [], torch.ones(())

    def step():
        calls.append(1)
        driver.did.append(f"step on {driver.current.name}")
        if len(calls) == at:
            how()
        return given + 1

    return step


def test_a_step_is_recorded_after_two_on_another_stream(driver):
    replay = recorded(failing(driver, 0, None), torch.device("cuda"))
    assert driver.did == [
        "side waits for own", "step on side", "step on side", "own waits for side",
        "step on side", "pool ended",
    ]  # fmt: skip
    assert replay() == 2 and driver.did[-1] == "replay" and driver.current is driver.own
    assert driver.pools == {(0, 7): 1}  # the graph's, as long as it lives


def test_what_a_first_step_launched_comes_before_what_undoes_it(driver):
    """On another stream its update would run beside the copies that restore the weights."""

    def waits():
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="called a synchronizing"):
        recorded(failing(driver, 2, waits), torch.device("cuda"))
    assert driver.did[-2:] == ["step on side", "own waits for side"]


def test_a_recording_that_cannot_end_leaves_nothing_behind(driver):
    """Else all later work is on its stream, and no memory is freed: every later trial fails."""
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        recorded(failing(driver, 3, driver.queries), torch.device("cuda"))
    assert driver.current is driver.own and driver.recording == "fresh as before"
    assert not driver.underway and driver.pools == {(0, 7): 0}
    torch.cuda.empty_cache()


def test_a_recording_that_can_end_is_ended_once(driver):
    def raises():
        raise ValueError("not while it is recorded")

    with pytest.raises(ValueError, match="not while it is recorded"):
        recorded(failing(driver, 3, raises), torch.device("cuda"))
    assert driver.current is driver.own and driver.did.count("pool ended") == 1
    assert driver.pools == {(0, 7): 1} and driver.recording == "fresh as before"
