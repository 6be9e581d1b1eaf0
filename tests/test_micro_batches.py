"""train/learner.py: parts of a batch that add up to it, and what happens when memory runs out."""

import contextlib
import copy
import resource
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from test_loop import DEV, learner


@pytest.mark.parametrize("micro", [1, 7, 32])
def test_micro_batches_add_up_to_the_batch(micro):
    whole, parts = learner(epochs=2), learner(epochs=2, micro_batch=micro)
    for _ in range(2):
        assert parts.train_epoch() == pytest.approx(whole.train_epoch(), rel=1e-4)
    np.testing.assert_allclose(parts.predictor(DEV)(), whole.predictor(DEV)(), atol=1e-3)


def test_a_probe_of_a_network_with_batch_norm_takes_micro_batches():
    """Its backbone evaluates, so that the head alone sees parts of a batch."""

    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = torch.nn.BatchNorm1d(60), torch.nn.Linear(60, 2)

        def features(self, ids, mask):
            return self.norm(ids.float())

        def forward(self, ids, mask):
            return self.head(self.features(ids, mask))

    torch.manual_seed(3)
    net = Normed()
    whole = learner(net=copy.deepcopy(net), finetune="probe")
    parts = learner(net=copy.deepcopy(net), finetune="probe", micro_batch=8)
    short = learner(net=copy.deepcopy(net), finetune="probe")
    forward, sizes = short.net.head.forward, []

    def hungry(x):
        sizes.append(len(x))
        if len(x) > 10:
            raise torch.OutOfMemoryError("no room")
        return forward(x)

    short.net.head.forward = hungry
    loss = whole.train_epoch()
    assert parts.train_epoch() == pytest.approx(loss, rel=1e-6) and parts.micro_batch == 8
    assert short.train_epoch() == pytest.approx(loss, rel=1e-6) and sizes[:3] == [32, 16, 8]
    assert float(whole.net.norm.num_batches_tracked) == 0
    with pytest.raises(ValueError, match="has batch norm, which must see all 32 examples"):
        learner(net=copy.deepcopy(net), micro_batch=8)


@pytest.mark.parametrize(("room", "left"), [(10, 8), (1, 1)])  # 32 -> 16 -> 8 -> 4 -> 2 -> 1
def test_memory_that_runs_out_halves_the_micro_batch_and_changes_no_number(room, left):
    class Hungry(torch.nn.Module):
        """A network on a device with room for so many examples."""

        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(60, 2)

        def forward(self, ids, mask):
            if self.training and len(ids) > room:
                raise torch.OutOfMemoryError("no room")
            return self.head(ids.float())

    torch.manual_seed(3)
    hungry = Hungry()
    roomy = Hungry()
    roomy.load_state_dict(hungry.state_dict())
    one, two = learner(net=hungry), learner(net=roomy, micro_batch=left)
    assert one.train_epoch() == pytest.approx(two.train_epoch(), rel=1e-6)
    assert one.micro_batch == left


class Real(torch.nn.Module):
    """A network that takes 16 MB an example while it runs."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(60, 2)

    def features(self, ids, mask):
        room = torch.empty(len(ids), 4 * 2**20)
        room[:, 0] = 1
        return ids.float() * room[:, :1]

    def forward(self, ids, mask):
        return self.head(self.features(ids, mask))


@contextlib.contextmanager
def little_memory(more):
    """Let this process take that many bytes more, and no more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux: /proc/self/statm")
@pytest.mark.parametrize("finetune", ["full", "probe"])
def test_the_memory_of_this_machine_runs_out_and_the_record_says_so(finetune):
    """Real allocations fail: training halves its micro-batch, evaluation its batch."""
    torch.manual_seed(3)
    net = Real()
    roomy, tight = copy.deepcopy(net), copy.deepcopy(net)
    plain = learner(net=roomy, batch=32, finetune=finetune)
    loss, logits = plain.train_epoch(), plain.predictor(DEV)()
    with little_memory(400 * 2**20):  # 160 rows are 2.5 GB, 32 are 512 MB
        one = learner(net=tight, batch=32, finetune=finetune)
        assert one.train_epoch() == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(one.predictor(DEV)(), logits, atol=1e-5)
    assert plain.notes == {} and 1 < one.notes["eval_batch"] <= 20
    assert finetune == "probe" or one.micro_batch in (8, 16)


def test_an_error_of_another_kind_or_of_a_single_example_is_raised():
    class Failing(Real):
        says = "a shape is wrong"

        def features(self, ids, mask):
            raise (torch.OutOfMemoryError if self.says == "no room" else RuntimeError)(self.says)

    for says in ("a shape is wrong", "no room"):
        one = learner(net=Failing())
        one.net.says = says
        for call in (one.train_epoch, one.predictor(DEV)):
            with pytest.raises(RuntimeError, match=says):
                call()


def test_a_way_back_that_ran_out_of_memory_holds_none_when_less_is_tried():
    """Or half as many rows would have to fit beside the whole batch, and so on down to one."""

    class Full(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            if len(grad) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return grad * 2

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.made, self.alive = torch.nn.Linear(60, 2), [], []

        def forward(self, ids, mask):
            self.alive.append(sum(one() is not None for one in self.made))
            hidden = self.head(ids.float())
            self.made.append(weakref.ref(hidden))
            return Full.apply(hidden)

    one = learner(net=Net())
    one.train_epoch()
    assert one.micro_batch == 8 and one.net.alive[:3] == [0, 0, 0]
