"""train/compiled.py: real torch.compile, kept where it agrees with eager and reported where not.

The backends here need no compiler; what CUDA and Triton make is for a machine that has them.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task
from torch.utils._python_dispatch import TorchDispatchMode

from dnabench import MODELS, Recipe
from dnabench.splits import streams
from dnabench.train import compiled
from dnabench.train.compiled import LEAST_STEPS, Runner, why_not
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.types import Resources

TASK = planted_task()
TRAIN, MIXED = planted_split(80, 0), planted_split(80, 1)
SMALL = {"width": 16, "d_inner": 1, "kernel_size": 5, "blocks": 2}


def learner(compiling="off", backend="aot_eager", net="convnova", **recipe):
    model, seeds = MODELS[net], streams(0, TASK.name)
    torch.manual_seed(seeds.init)
    options = {**model.options, **(SMALL if net == "convnova" else {})}
    recipe = Recipe(**{"batch": 32, "epochs": 3, **recipe})
    one = NetLearner(
        model.build(TASK, options), Examples(model, TASK, TRAIN), Supervised(TASK), recipe, seeds,
        Resources(compile=compiling),
    )  # fmt: skip
    one._runner._backend = backend
    return one


def calls(seen, graph, example):
    """A backend that runs what it is given, and counts."""

    def run(*args):
        seen.append(1)
        return graph(*args)

    return run


def wrong(graph, example):
    """A backend whose results are a thousandth too large."""

    def run(*args):
        return tuple(x * 1.001 if x.is_floating_point() else x for x in graph(*args))

    return run


def broken(graph, example):
    raise RuntimeError("no kernel for this")


def compile_(one):
    """Compile as a step on CUDA would."""
    rows = one._data.rows(np.arange(32))
    targets, weight = one._targets(rows)

    def step():
        loss = one._loss(rows, targets) / weight
        one._arithmetic.backward(loss)
        return loss

    one.net.train()
    one._runner.compile(step)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_form_that_agrees_is_used_and_trains_alike(backend):
    seen = []
    plain, fast = learner(), learner(backend=functools.partial(calls, seen))
    compile_(fast)
    assert fast._runner.said == "on" and fast.notes == {"compile": "on"}
    checked = len(seen)
    assert fast.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-6)
    assert len(seen) == checked + 2  # batches of 32; the last, of 16, runs eagerly
    np.testing.assert_allclose(fast.predictor(MIXED)(), plain.predictor(MIXED)(), atol=1e-5)
    assert len(seen) == checked + 2  # and so does evaluation
    other = learner(backend=backend)
    compile_(other)
    assert other._runner.said == "on"


def test_checking_leaves_no_trace():
    """Random numbers, batch norm's statistics, gradients and weights are as without it."""
    for backend in ("aot_eager", wrong):
        a, b = (learner(backend=backend, net="cnn") for _ in range(2))
        assert any("running_mean" in k for k in a.net.state_dict())
        torch.manual_seed(5)
        before = torch.get_rng_state()
        compile_(a)
        assert torch.equal(torch.get_rng_state(), before)
        for (key, x), y in zip(
            a.net.state_dict().items(), b.net.state_dict().values(), strict=True
        ):
            assert torch.equal(x, y), key
        assert all(p.grad is None or not p.grad.any() for p in a.net.parameters())


def test_a_form_that_differs_is_reported_and_off():
    plain, fast = learner(), learner(backend=wrong)
    compile_(fast)
    said = fast.notes["compile"]
    assert said.startswith("off: logits differs from eager by 0.001, 0.0001 is allowed")
    assert not fast._runner.on and fast.train_epoch() == plain.train_epoch()


def test_a_wrong_gradient_is_found_behind_right_logits():
    class Twice(torch.autograd.Function):
        """The number itself; going back, a hundredth too much."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * 1.01

    def backend(graph, example):
        return lambda *args: tuple(Twice.apply(x) for x in graph(*args))

    one = learner(backend=backend)
    compile_(one)
    said = re.search(r"the gradient of \S+ differs from eager by ([\d.]+)", one.notes["compile"])
    assert said and float(said[1]) == pytest.approx(0.01, rel=0.1)


def test_a_compiler_that_fails_is_reported_and_off():
    plain, fast = learner(), learner(backend=broken)
    compile_(fast)
    said = fast.notes["compile"]
    assert said.startswith("off: ") and "no kernel for this" in said
    assert fast.train_epoch() == plain.train_epoch()


# the signal may come while a finalizer runs, which swallows what is raised, and says so
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_compiling_ends_when_its_time_is_over(monkeypatch):
    def slow(graph, example):
        time.sleep(20)
        return graph

    monkeypatch.setattr(compiled, "BUDGET", 0.2)
    plain, fast, start = learner(), learner(backend=slow), time.monotonic()
    handler = signal.getsignal(signal.SIGALRM)
    compile_(fast)
    assert "it took over 0.2 s" in fast.notes["compile"] and time.monotonic() - start < 15
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert fast.train_epoch() == plain.train_epoch()


@pytest.mark.parametrize("other", [RuntimeError, None])
def test_what_is_made_of_the_end_of_the_time_is_still_told(other):
    with pytest.raises(TimeoutError, match="it took over"), compiled.limited(0.05):
        try:
            time.sleep(5)
        except TimeoutError as e:
            if other:
                raise other("the compiler's own words") from e
    with pytest.raises(KeyError), compiled.limited(100):
        raise KeyError("another")


def test_the_end_of_the_time_waits_for_what_cplusplus_called():
    """There an error may end the process: "terminate called after throwing 'python_error'"."""
    ended, until = [], time.monotonic() + 1

    class Slow(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            while time.monotonic() < until:
                pass
            ended.append(func)
            return func(*args, **(kwargs or {}))

    with pytest.raises(TimeoutError, match="it took over"), compiled.limited(0.5):
        with Slow():
            torch.ones(1)
        time.sleep(5)
    assert len(ended) == 1


def test_a_limit_within_an_import_ends_what_is_inside():
    def _find_and_load():  # the name of Python's own, as where a script is imported
        with compiled.limited(0.1):
            time.sleep(2)

    with pytest.raises(TimeoutError, match="it took over"):
        _find_and_load()


def test_a_limit_that_runs_already_is_left_alone():
    signal.setitimer(signal.ITIMER_REAL, 500)
    try:
        with compiled.limited(0.01):
            time.sleep(0.05)
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_network_that_cannot_be_compiled_whole_is_reported():
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)

        def forward(self, ids, mask):
            x = self.linear(ids)
            torch._dynamo.graph_break()
            return x * 2

    net = Broken()
    runner = Runner(net, backend="eager")

    def step():
        loss = runner(torch.ones(3, 4), None).sum()
        loss.backward()
        return loss

    runner.compile(step)
    assert runner.said.startswith("off: Unsupported") and not runner.on


def test_a_later_failure_is_reported_and_the_step_is_done_eagerly():
    class Fails:
        n = 0

        def __call__(self, graph, example):
            def run(*args):
                self.n += 1
                if self.n > compiled.REPLAYS + 1:
                    raise RuntimeError("the device is gone")
                return graph(*args)

            return run

    plain, fast = learner(), learner(backend=Fails())
    compile_(fast)
    assert fast._runner.on
    assert fast.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-6)
    assert "a later step failed: RuntimeError: the device is gone" in fast.notes["compile"]


def test_what_would_be_compiled_anew_is_reported_not_hidden():
    one = learner(backend="eager")
    compile_(one)
    one.net.backbone.surprise = 1  # nothing reads it
    for module in one.net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 2e-5  # the form was made for another
    one.train_epoch()
    assert one.notes["compile"].startswith("off: a later step failed: ")


def test_memory_that_runs_out_ends_compiling_and_says_so():
    one = learner(backend="eager")
    compile_(one)
    loss, halved = one._loss, []

    def hungry(rows, targets):
        if len(rows) > 16:
            halved.append(1)
            raise torch.OutOfMemoryError("no room")
        return loss(rows, targets)

    one._loss = hungry
    one.train_epoch()
    assert halved and one.micro_batch == 16
    assert one.notes["compile"] == "off: memory ran out, the micro-batch was halved"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cpu", 10**6, 1.0), "on cpu it gains nothing"),
        (("cuda", LEAST_STEPS - 1, 1.0), "are over before compiling pays"),
        (("cuda", LEAST_STEPS, 0.5), "mostly padding"),
        (("cuda:1", LEAST_STEPS, 0.9), ""),
    ],
)
def test_where_it_pays_is_a_rule(words, says, monkeypatch):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: name)
    assert says in why_not(*words) and bool(why_not(*words)) == bool(says)
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert why_not("cuda", 10**6, 1.0) == "triton is not installed"


def test_auto_on_a_cpu_is_eager_and_silent():
    plain, auto = learner(), learner("auto", backend=broken)
    assert auto.train_epoch() == plain.train_epoch() and auto.notes == {}


COMPILES = """
import torch
from dnabench.train.compiled import Runner, keep_artefacts
keep_artefacts()
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Embedding(8, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, ids, mask):
        return self.net(ids)
one, ids = Runner(Net()), torch.arange(6).reshape(2, 3)
def step():
    loss = one(ids, None).square().sum()
    loss.backward()
    return loss
one.compile(step)
found = torch._dynamo.utils.counters["inductor"]
print(one.said, found["fxgraph_cache_miss"], found["fxgraph_cache_hit"])
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles for a CPU with g++")
@pytest.mark.slow
def test_what_was_compiled_is_kept_in_our_cache_for_the_next_process(tmp_path):
    env = {**os.environ, "DNABENCH_CACHE": str(tmp_path / "cache")}
    env.pop("TORCHINDUCTOR_CACHE_DIR", None)
    words = [sys.executable, "-c", COMPILES]
    said = [subprocess.run(words, env=env, capture_output=True, text=True) for _ in range(2)]
    assert [done.returncode for done in said] == [0, 0], said[0].stderr
    first, second = (done.stdout.split() for done in said)
    assert first[0] == second[0] == "on" and int(first[1]) > 0 and int(second[1]) == 0
    assert int(second[2]) > 0 and any((tmp_path / "cache/compiled").iterdir())
