"""train/graphs.py: on which streams a step is recorded, and which ones are not.

By a stand-in for torch.cuda.
"""

import contextlib
import gc
import random
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_graphs import Played, learner

from dnabench.train import graphs
from dnabench.train.host_state import OFF, host_state


class Driver:
    """Streams by number, the current one first 0; a graph runs its step at once, on its stream.

    `broken` says that a recording cannot be ended, as after a call that CUDA forbids in one.
    """

    def __init__(self, broken=False):
        self.now, self.made, self.calls, self.broken = 0, 0, [], broken

    def stream(self, number):
        @contextlib.contextmanager
        def inside():
            before, self.now = self.now, number
            yield
            self.now = before

        return inside()

    def new(self):
        self.made += 1
        return SimpleNamespace(number=self.made, wait_stream=lambda other: None)

    @contextlib.contextmanager
    def graph(self, graph, pool, stream):
        self.now = stream.number
        self.calls.append(("begin", stream.number, pool))
        yield
        if self.broken:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.now = 0

    def set(self, stream):
        self.now = 0
        self.calls.append(("back",))


class Fresh:
    """A generator of a GPU that was just made."""

    def __init__(self, device):
        pass

    def set_state(self, state):
        pass

    def graphsafe_get_state(self):
        return self


@pytest.fixture
def use(monkeypatch):
    def patched(driver):
        current = SimpleNamespace(wait_stream=lambda other: None)
        generator = SimpleNamespace(
            device="cpu", graphsafe_set_state=lambda state: driver.calls.append(("random",))
        )
        fakes = {
            "device": lambda device: contextlib.nullcontext(), "get_rng_state": torch.get_rng_state,
            "get_sync_debug_mode": lambda: 0, "set_sync_debug_mode": lambda mode: None,
            "Stream": driver.new, "current_stream": lambda: current,
            "stream": lambda stream: driver.stream(stream.number), "graph": driver.graph,
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: driver.calls.append(("replay",))),
            "graph_pool_handle": lambda: (7, 7), "current_device": lambda: 0,
            "set_stream": driver.set, "default_generators": [generator],
        }  # fmt: skip
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            monkeypatch.setattr(
                torch._C, name, lambda *a, name=name: driver.calls.append((name, *a)),
                raising=False,
            )  # fmt: skip
        monkeypatch.setattr(torch, "Generator", Fresh)
        return driver

    return patched


def test_a_step_is_recorded_where_it_was_warmed_up_and_each_on_a_stream_of_its_own(use):
    """So that cuBLAS has its memory there before, and shares none with another graph's."""
    driver, seen, weight = use(Driver()), [], torch.ones(())

    def step():
        seen.append(driver.now)
        return weight * 1

    replays = [graphs.recorded(step, torch.device("cpu")) for _ in range(2)]
    assert seen == [1, 1, 1, 2, 2, 2] and driver.now == 0
    assert [call[:2] for call in driver.calls] == [("begin", 1), ("begin", 2)]
    assert float(replays[1]()) == 1 and driver.calls[-1] == ("replay",)


def test_what_an_earlier_graph_left_is_freed_before_the_next_is_recorded(use):
    """The collector may run at any moment, and what it frees may be forbidden in a recording."""

    class Earlier:
        def __init__(self):
            self.own = self

    driver, freed, weight = use(Driver()), [], torch.ones(())
    gc.disable()
    try:
        left = weakref.finalize(Earlier(), lambda: freed.append(len(driver.calls)))
        graphs.recorded(lambda: weight * 1, torch.device("cpu"))
    finally:
        gc.enable()
    assert freed == [0] and not left.alive  # before "begin"


@pytest.mark.parametrize("raises", [True, False])
def test_a_recording_that_cannot_end_leaves_stream_memory_and_generator_usable(use, raises):
    """And says what the step raised, if it did."""
    driver, steps = use(Driver(broken=True)), []

    def step():
        steps.append(1)
        if raises and len(steps) == 3:
            raise ValueError("not while it is recorded")
        return torch.ones(())

    said = "not while it" if raises else "previous error during capture"
    with pytest.raises((ValueError, RuntimeError), match=said):
        graphs.recorded(step, torch.device("cpu"))
    names = [call[0] for call in driver.calls[1:]]
    assert names == ["back", "_cuda_endAllocateToPool", "_cuda_releasePool", "random"]
    assert driver.now == 0 and driver.calls[2][1:] == (0, (7, 7))


def test_what_a_step_reads_lives_as_long_as_its_replay(use):
    use(Driver())
    constant = torch.arange(4.0)
    left = weakref.ref(constant)
    replay = graphs.recorded(lambda table=constant: table.sum(), torch.device("cpu"))
    del constant
    gc.collect()
    assert left() is not None
    del replay
    gc.collect()
    assert left() is None


def skips(layer):
    """In some steps, as networks with stochastic depth do."""
    return random.random() < 0.01


def numbers(layer):
    return np.random.rand() < 0.01  # noqa: NPY002


def counts(layer):
    layer.calls = getattr(layer, "calls", 0) + 1
    return False


@pytest.mark.parametrize("decides", [skips, numbers, counts])
def test_a_network_that_decides_on_the_host_is_not_recorded(decides, monkeypatch):
    """Each replay would be the step that was recorded, and agree with eager nearly always."""
    monkeypatch.setattr(graphs, "recorded", Played())
    one = learner()
    norm = one.net.backbone.norms[0]
    norm.register_forward_hook(lambda layer, given, out: given[0] if decides(layer) else None)
    random.seed(0)
    one.train_epoch()
    assert one.notes["graph"] == f"off: {OFF}"


def test_what_pytorch_draws_on_the_host_counts_for_a_network_elsewhere():
    here, there = (torch.nn.Linear(1, 1, device=device) for device in ("cpu", "meta"))
    before = [host_state(net) for net in (here, there)]
    torch.rand(1)
    after = [host_state(net) for net in (here, there)]
    assert before[0] == after[0] and before[1] != after[1]
