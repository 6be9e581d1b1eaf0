"""train/graphs.py: a recorded step trains as eager does, to the byte, or is refused with a reason.

A stand-in for CUDA's graph, at the edge of the driver, runs the recorded step again on the same
tensors; what a GPU does is for a machine that has one.
"""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task
from test_rows import BASES, each_base, uneven

from dnabench import MODELS, Recipe
from dnabench.splits import streams
from dnabench.train import graphs
from dnabench.train.batches import Batch
from dnabench.train.graphs import COST_SECONDS, PAYS, REPLAYS, TIMED, WARM, Graph
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.types import Resources

TASK = planted_task()
EVEN = planted_split(80, 0)  # of batches of 32: two whole ones, and one of 16
SMALL = {"width": 16, "d_inner": 1, "kernel_size": 5, "blocks": 2}


class Played:
    """What is recorded is run again; `spoil` changes what a replay answers or does."""

    def __init__(self, spoil=lambda step, n: step()):
        self.replays, self._spoil = 0, spoil

    def __call__(self, step, device):
        out = step().clone()

        def replay():
            self.replays += 1
            out.copy_(self._spoil(step, self.replays))
            return out

        return replay


def learner(net="convnova", split=EVEN, graph=True, resources=None, **recipe):
    """As on CUDA, whose optimiser is the fused one and has its rate in a tensor."""
    model, task = MODELS[net], TASK if split.y.ndim == 1 else replace(TASK, **BASES)
    seeds = streams(0, task.name)
    torch.manual_seed(seeds.init)
    options = {**model.options, **(SMALL if net == "convnova" else model.reduced)}
    recipe = Recipe(**{"batch": 32, "epochs": 3, "warmup": 0.3, **recipe})
    one = NetLearner(
        model.build(task, options), Examples(model, task, split), Supervised(task), recipe, seeds,
        resources or Resources(compile="auto"),
    )  # fmt: skip
    one._rate = torch.zeros(())
    one._optimizer = one._new_optimizer()
    one._graph = Graph(one._whole_step, one.net, one._optimizer, recipe.precision)
    one._data.widen(True)  # from the first step, as those of a graph
    if graph:
        one._graph.sure = True
    else:
        one._graph.stop("not here")
    return one


@pytest.fixture
def played(monkeypatch):
    def use(spoil=None):
        one = Played(spoil) if spoil else Played()
        monkeypatch.setattr(graphs, "recorded", one)
        return one

    return use


def same(a, b):
    return all(
        torch.equal(x, y)
        for x, y in zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True)
    )


CASES = {
    "convnova": {},
    "batch norm": {"net": "cnn"},
    "dropout, clipping": {"net": "dnabert", "clip": 0.1},
    "uneven, both strands": {"split": uneven(80, 0), "rc": "augment"},
    "bases": {"split": each_base(uneven(80, 0)), "rc": "augment"},
    "pairs": {"split": EVEN._replace(other=planted_split(80, 1).seqs)},
    "probe": {"finetune": "probe"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_replays_train_as_eager_steps_to_the_byte(case, played):
    graph = played()
    plain, fast = learner(graph=False, **case), learner(**case)
    losses = []
    for one in (plain, fast):
        losses.append([one.train_epoch() for _ in range(3)])
    assert fast.notes["graph"] == "on" and graph.replays == REPLAYS + 4, fast.notes
    assert losses[0] == losses[1] and same(plain, fast)
    assert float(fast._rate) == float(plain._rate)


def test_dropout_draws_anew_in_each_replay(played):
    played()
    one = learner("dnabert", lr=0.0, warmup=0, weight_decay=0.0)
    one.train_epoch()
    rows = one._data.rows(np.arange(32))
    assert one._graph.on
    losses = {float(one._train_step(rows)) for _ in range(3)}
    assert len(losses) == 3


def test_recording_and_checking_leave_no_trace(played):
    played()
    one, rows = learner("cnn"), None
    one.train_epoch()
    one._graph = Graph(one._whole_step, one.net, one._optimizer, "fp32")
    rows = one._data.rows(np.arange(32))
    one._graph.sure = True
    before = [x.clone() for x in one._graph._all_that_changes()], torch.get_rng_state()
    one._record(rows, *one._targets(rows))
    assert one._graph.said == "on"
    after = one._graph._all_that_changes()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after, strict=True))
    assert torch.equal(before[1], torch.get_rng_state())
    assert not any(group["capturable"] for group in one._optimizer.param_groups)


def test_a_training_that_was_interrupted_goes_on_as_a_graph(played):
    played()
    whole, half, rest = (learner("dnabert") for _ in range(3))
    losses = [whole.train_epoch() for _ in range(3)]
    assert half.train_epoch() == losses[0]
    state = half.training_state()
    rest.go_on(state)
    rest._undecided = False
    assert rest._graph.sure and not rest._graph.on
    assert [rest.train_epoch() for _ in range(2)] == losses[1:] and same(whole, rest)
    assert rest._graph.on
    off = learner()
    off.go_on(learner(graph=False).training_state())
    assert off._graph.said == "off: not here" and off._settled


WRONG = {
    "loss": (lambda step, n: step() * 1.01, "loss differs from eager by 0.01, 0.0001 is allowed"),
    "second": (lambda step, n: step() * (1 + (n == 2)), "loss differs from eager by 1,"),
}


@pytest.mark.parametrize(("spoil", "says"), WRONG.values(), ids=WRONG)
def test_a_graph_that_answers_wrongly_is_refused(spoil, says, played):
    played(spoil)
    plain, fast = learner(graph=False), learner()
    found = [[one.train_epoch() for _ in range(2)] for one in (plain, fast)]
    assert says in fast.notes["graph"] and not fast._graph.on
    assert found[0] == found[1] and same(plain, fast)


@pytest.mark.parametrize(
    ("what", "says"),
    [("weights", "a step moves the weights by 0, eager"), ("rate", "a step moves the weights by 0"),
     ("buffers", "a step moves the buffers by 0"), ("inputs", "differs from eager"),
     ("gradients", "the gradient of ")],
)  # fmt: skip
def test_what_a_replay_forgets_is_found(what, says, monkeypatch):
    """Each is a way in which a recorded step can be wrong though its loss or weights look right."""
    one = learner("cnn")
    own = one._whole_step

    def record(step, device):
        given = [x.clone() for x in graphs._tensors(one._graph._batch).values()]
        rate = one._rate.clone()

        def replay():
            params, buffers = list(one.net.parameters()), list(one.net.buffers())
            kept = [x.detach().clone() for x in (params if what == "weights" else buffers)]
            if what == "rate":
                one._rate.copy_(rate)
            if what == "inputs":
                for x, value in zip(
                    graphs._tensors(one._graph._batch).values(), given, strict=True
                ):
                    x.copy_(value)
            loss = own(one._graph._batch, one._graph._weight)
            if what in ("weights", "buffers"):
                with torch.no_grad():
                    for x, value in zip(
                        params if what == "weights" else buffers, kept, strict=True
                    ):
                        x.copy_(value)
            if what == "gradients":
                params[0].grad *= 1.01
            return loss

        return replay

    monkeypatch.setattr(graphs, "recorded", record)
    one.train_epoch()
    assert says in one.notes["graph"], one.notes


def test_a_graph_that_fails_later_falls_back_with_a_remark(played):
    def fails(step, n):
        if n == REPLAYS + 3:
            raise RuntimeError("the device is gone")
        return step()

    played(fails)
    plain, fast = learner(graph=False), learner()
    found = [[one.train_epoch() for _ in range(3)] for one in (plain, fast)]
    said = "off: a later step failed: RuntimeError: the device is gone"
    assert fast.notes["graph"] == said and found[0] == found[1] and same(plain, fast)


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted when stream is capturing"),
                                   torch.OutOfMemoryError("CUDA out of memory")])  # fmt: skip
def test_what_cannot_be_recorded_is_said_and_runs_eagerly(error, monkeypatch):
    def record(step, device):
        step()
        raise error

    monkeypatch.setattr(graphs, "recorded", record)
    plain, fast = learner(graph=False), learner()
    found = [[one.train_epoch() for _ in range(2)] for one in (plain, fast)]
    assert fast.notes["graph"] == f"off: {type(error).__name__}: {error}"
    assert found[0] == found[1] and same(plain, fast) and not fast._data.whole


@pytest.mark.parametrize(
    ("case", "says"),
    [({"resources": Resources(compile="auto", micro_batch=16)}, "summed over parts of a batch"),
     ({"net": "cnn", "norm_batch": 16}, "summed over parts of a batch"),
     ({"precision": "fp16"}, "a step in fp16 is skipped"),
     ({"split": EVEN._replace(seqs=uneven(80, 0).seqs)}, "mostly padding")],
)  # fmt: skip
def test_a_step_that_is_no_graph_says_why(case, says, played):
    graph, precision = played(), case.pop("precision", "fp32")
    one = learner(**case)
    one.recipe = replace(one.recipe, precision=precision)
    if "split" in case:
        one._data.fullness = 0.5
    one.train_epoch()
    assert says in one.notes["graph"] and not graph.replays


@pytest.mark.parametrize("resources", [Resources(compile="off"),
                                       Resources(compile="auto", deterministic=True)])  # fmt: skip
def test_no_graph_where_none_is_wanted(resources, played):
    graph = played()
    one = learner(resources=resources)
    one.train_epoch()
    assert not graph.replays and "graph" not in one.notes


def test_no_graph_and_no_remark_on_a_cpu(played):
    played()
    one = learner()
    one._rate = None
    one._optimizer = one._new_optimizer()
    one.train_epoch()
    assert one.notes == {} and isinstance(one._optimizer.param_groups[0]["lr"], float)


def test_the_steps_left_decide_whether_recording_pays():
    one = learner(graph=False)._graph
    one.said = ""
    one._seconds = [9.0] * WARM + [0.01] * (TIMED - 1)
    assert not one.pays(10**9) and not one.said  # too few steps were timed
    one._seconds.append(0.01)
    least = PAYS * (20 + COST_SECONDS / 0.01)
    assert one.pays(round(least) + 1) and not one.said
    assert not one.pays(round(least) - 1) and "are over before recording one pays" in one.said


@pytest.mark.parametrize(
    ("slower", "says"), [(1, "on"), (2, "off: a replay is no faster than a step")]
)
def test_a_replay_must_be_faster_than_a_step(slower, says, played, monkeypatch):
    """By a clock whose every second is as long as the last, or twice as long."""
    played()
    one = learner(epochs=20)
    one._graph.sure = False
    monkeypatch.setattr(graphs, "PAYS", 0)
    clock = (float(n if slower == 1 else slower**n) for n in range(200))
    monkeypatch.setattr(graphs.time, "perf_counter", lambda: next(clock))
    for _ in range(7):
        one.train_epoch()
    assert one.notes["graph"] == says and len(one._graph._seconds) == WARM + TIMED


def test_the_graph_ends_with_the_learner(played):
    graph = played()
    one = learner()
    one.train_epoch()
    left = weakref.ref(one._graph._replay)
    assert left() is not None and graph.replays
    del one
    gc.collect()
    assert left() is None


def test_a_constant_that_the_step_reads_is_kept_and_what_it_makes_is_not():
    constant, made = torch.arange(4.0), []

    def step():
        made.append(torch.ones(4) + constant)
        return (made[0] * constant[1:].sum()).sum()

    with graphs._Given() as given:
        step()
    assert [x.data_ptr() for x in given.kept] == [constant.data_ptr()]


def test_another_shape_is_not_replayed():
    one = learner()._graph
    one._replay = lambda: pytest.fail("it was recorded for another shape")
    one._batch = Batch(torch.zeros(4, 5), None)
    assert one(Batch(torch.zeros(3, 5), None), 3) is None
    assert one(Batch(torch.zeros(4, 5), torch.ones(4, 5)), 4) is None and one.on
