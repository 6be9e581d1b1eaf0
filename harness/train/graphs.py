"""A whole training step as one CUDA graph: where it pays, and only if it agrees with eager.

A step is hundreds of kernel launches, each about five microseconds of the host; of a small batch
they take longer than the arithmetic. A graph is all of them in one launch.
"""

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnabench.train.batches import Batch
from dnabench.train.compiled import TOLERANCE, difference, short
from dnabench.train.host_state import OFF, Watched

WARM, TIMED = 3, 8  # eager steps before those whose time is measured, and these
COST_STEPS, COST_SECONDS = 20, 1.0  # what recording and checking take, in eager steps and beside
PAYS = 2  # times the cost that the steps left must take
REPLAYS = 3  # that are checked, and then timed
MOVED = 0.1  # relative difference of how far a step moves the weights, and the buffers

Step = Callable[[Batch, Tensor], Tensor]
Replay = Callable[[], Tensor]


class Graph:
    """The training step of a learner, recorded for batches of one shape.

    Args:
        step: from a batch, and what its loss is divided by, to the loss; changes all that learns.
        net: whose weights it changes.
        optimizer: that changes them; its learning rate is a tensor on the device.
        precision: decides how close to eager a replay must be.
    """

    def __init__(
        self, step: Step, net: Any, optimizer: torch.optim.Optimizer, precision: str
    ) -> None:
        self._step, self._net, self._optimizer = step, net, optimizer
        self._tolerance, self._device = TOLERANCE[precision], next(net.parameters()).device
        self._batch, self._weight = Batch(torch.empty(0), None), torch.ones((), device=self._device)
        self._replay: Replay | None = None
        self._seconds: list[float] = []  # of eager steps
        self.sure = False  # whether it was on before a checkpoint: then no clock decides
        self.said = ""  # "on", or "off: " and why

    @property
    def on(self) -> bool:
        """Whether steps are replayed."""
        return self._replay is not None

    def go_on(self, said: str) -> None:
        """Decide as an attempt did that said this and then ended early."""
        self.sure = said == "on"
        if said.startswith("off: "):
            self.stop(said.removeprefix("off: "))

    def stop(self, why: str) -> None:
        """Run eagerly from now on, for this reason; the graph's memory is free again."""
        self._replay, self.said = None, f"off: {why}"

    def timed(self, step: Callable[[], Tensor]) -> Tensor:
        """An eager step, whose time counts."""
        start = self._now()
        loss = step()
        self._seconds.append(self._now() - start)
        return loss

    def pays(self, left: int) -> bool:
        """Whether to record now, with so many steps left; if never, `said` has the reason."""
        if self.sure:
            return True
        if len(self._seconds) < WARM + TIMED:
            return False
        if left * self._eager >= PAYS * (COST_STEPS * self._eager + COST_SECONDS):
            return True
        self.stop("the steps left are over before recording one pays")
        return False

    def __call__(self, batch: Batch, weight: float | Tensor) -> Tensor | None:
        """Replay the step on this batch; None = not done: another shape, or none is recorded."""
        if self._replay is None or _shapes(batch) != _shapes(self._batch):
            return None
        try:
            self._put(batch, weight)
            return self._replay()
        except Exception as e:
            self.stop(f"a later step failed: {short(e)}")
            return None

    def record(self, batch: Batch, weight: float | Tensor) -> None:
        """Record a step, compare replays with eager on one batch, and stay eager where they differ.

        Accuracy:
            Weights, buffers, optimiser and random numbers are restored. Loss and every gradient
            agree within TOLERANCE of their norm; the step moves the weights as far, to MOVED.
        """
        before = [(x, x.clone()) for x in self._all_that_changes()]
        try:
            replay, why = self._compared(batch, weight, before)
            if why:
                self.stop(why)
            else:
                self._replay, self.said = replay, "on"
        except Exception as e:
            self.stop(short(e))
        finally:
            _restore(before)
            self._optimizer.zero_grad()

    def _compared(
        self, batch: Batch, weight: float | Tensor, before: list[tuple[Tensor, Tensor]]
    ) -> tuple[Replay | None, str]:
        self._weight = torch.ones((), device=self._device)
        # recorded with other inputs than it is checked with: none may be built in
        shifted = {k: x.roll(2 if k == "target" else 1, 0) for k, x in _tensors(batch).items()}
        self._batch = Batch(**{**batch._asdict(), **shifted})
        given = torch.ones_like(self._weight).copy_(torch.as_tensor(weight))
        eager = Watched(lambda: self._step(batch, given), self._net)
        wanted = self._seen(eager, before)
        if eager.changed:
            return None, OFF
        with self._recording():
            replay = recorded(lambda: self._step(self._batch, self._weight), self._device)
        self._put(batch, weight)
        for _ in range(REPLAYS):
            found = self._seen(replay, before)
            if why := difference(wanted[0], found[0], self._tolerance):
                return replay, why
            for what, far, right in zip(("weights", "buffers"), found[1], wanted[1], strict=True):
                if not abs(far - right) <= MOVED * right:
                    return replay, f"a step moves the {what} by {far:.2g}, eager by {right:.2g}"
        if not self.sure and self._time_of(replay) >= self._eager:
            return replay, "a replay is no faster than a step"
        return replay, ""

    def _seen(
        self, step: Replay, before: list[tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, Tensor], tuple[float, float]]:
        """Loss and gradients of a step from there, and how far it moves weights and buffers."""
        _restore(before)
        with self._own_random_numbers():
            loss = step().clone()
        named = self._net.named_parameters()
        grads = {k: p.grad.detach().clone() for k, p in named if p.grad is not None}
        n = sum(p.requires_grad for p in self._net.parameters())
        m = n + len(list(self._net.buffers()))
        return {"loss": loss, **grads}, (_distance(before[:n]), _distance(before[n:m]))

    def _all_that_changes(self) -> list[Tensor]:
        """Weights, buffers, and the tensors of the optimiser."""
        weights = [p.detach() for p in self._net.parameters() if p.requires_grad]
        state = [x for of in self._optimizer.state.values() for x in of.values()]
        return [*weights, *self._net.buffers(), *(x for x in state if isinstance(x, Tensor))]

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """The optimiser may be recorded, at a rate of 0: one that is built in moves no weight."""
        groups = self._optimizer.param_groups
        rates = [group["lr"].clone() for group in groups]
        try:
            for group in groups:
                group["capturable"] = True
                group["lr"].zero_()
            with warnings.catch_warnings(), self._own_random_numbers():
                warnings.simplefilter("ignore")  # warming up is not capturing
                yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["capturable"] = False
                group["lr"].copy_(rate)

    def _put(self, batch: Batch, weight: float | Tensor) -> None:
        own = _tensors(self._batch)
        for name, value in _tensors(batch).items():
            own[name].copy_(value)
        if isinstance(weight, Tensor):
            self._weight.copy_(weight)
        else:
            self._weight.fill_(weight)

    def _own_random_numbers(self) -> Any:
        """Inside, draws leave no trace."""
        return torch.random.fork_rng([self._device] if self._device.type == "cuda" else [])

    def _time_of(self, replay: Replay) -> float:
        with self._own_random_numbers():
            start = self._now()
            for _ in range(REPLAYS):
                replay()
            return (self._now() - start) / REPLAYS

    @property
    def _eager(self) -> float:
        return statistics.median(self._seconds[WARM:])

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class _Given(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what operations are given and did not make.

    A recorded step reads from these places, so that none may be freed, as a constant would be that
    a network makes anew for another length.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for x in tree_leaves((args, kwargs or {})):
            if isinstance(x, Tensor) and self._new(x):
                self.kept.append(x)
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._new(x)
        return out

    def _new(self, x: Tensor) -> bool:
        place = x.untyped_storage()._cdata
        new = place not in self._known
        self._known.add(place)
        return new


def recorded(step: Replay, device: torch.device) -> Replay:
    """Record what a step launches on a GPU, after two that are done as usual.

    Raises:
        RuntimeError: where the step waits for the GPU, or does what a graph cannot hold.
    """
    with torch.cuda.device(device):
        state, mode = torch.cuda.get_rng_state(), torch.cuda.get_sync_debug_mode()
        side, given = torch.cuda.Stream(), _Given()  # type: ignore[no-untyped-call]
        own = torch.cuda.current_stream()
        side.wait_stream(own)
        try:
            torch.cuda.set_sync_debug_mode("error")
            with torch.cuda.stream(side):
                with given:
                    step()
                step()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            own.wait_stream(side)  # also where it failed: what it has launched comes first
        gc.collect()  # what an earlier graph left must not be freed while this one is recorded
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        why: Exception | None = None
        try:
            # On a stream of its own, where cuBLAS has its memory by now: graphs of one stream share
            # that, and it may be freed with one of them (pytorch/pytorch issue 193402).
            with torch.cuda.graph(graph, pool=pool, stream=side):
                try:
                    loss = step()
                except Exception as e:
                    why = e
                    raise
        except Exception as e:  # of the step, or that a recording with an error cannot end
            _give_up(own, pool, state)
            raise why or e from None

    def replay() -> Tensor:
        assert given.kept  # they live as long as the graph
        graph.replay()
        return loss

    return replay


def _give_up(own: torch.cuda.Stream, pool: Any, state: Tensor) -> None:
    """Undo what a recording that failed leaves behind, as PyTorch does not where it cannot end.

    Its stream would stay the current one, its pool of memory would keep the allocator from freeing
    or reusing other memory, and the generator would be taken to be recording, all for ever.
    """
    device = torch.cuda.current_device()
    torch.cuda.set_stream(own)
    with suppress(RuntimeError):  # it has ended, and with it the pool
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
    generator = torch.cuda.default_generators[device]
    fresh = torch.Generator(generator.device)
    fresh.set_state(state)
    generator.graphsafe_set_state(fresh.graphsafe_get_state())


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {k: x for k, x in batch._asdict().items() if isinstance(x, Tensor)}


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {k: x.shape for k, x in _tensors(batch).items()}


def _restore(before: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for x, value in before:
            x.copy_(value)


def _distance(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """How far tensors are from what they were."""
    if not pairs:
        return 0.0
    return float(torch.stack([(x.float() - was.float()).norm() for x, was in pairs]).norm())
