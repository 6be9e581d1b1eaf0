"""harness/train/meter.py: what a trial took, measured on trials that sleep, and in real records."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from conftest import planted_task
from test_trial import job, task  # noqa: F401, a fixture

from dnabench import MODELS
from dnabench.models.kernels.context import Kernels
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.sweep.work import work
from dnabench.train.flops import flops_per_sequence
from dnabench.train.meter import Meter, energy, flops
from dnabench.types import Record, Resources

TIMES = ("seconds", "seconds_to_best", "examples_per_second", "inference_per_second",
         "peak_memory", "joules")  # fmt: skip


def test_clocks_run_while_things_are_done():
    meter, seen = Meter("cpu", Kernels()), []

    def fit(progress):
        for epoch in range(1, 4):
            time.sleep(0.05)
            progress(epoch, 3)
        time.sleep(0.05)
        return "fitted"

    def predict():
        time.sleep(0.1)
        return np.ones(3)

    assert meter.train(fit, lambda *x: seen.append(x)) == "fitted"
    assert meter.predict(predict).tolist() == [1, 1, 1]
    told = meter.fields(n_read=300, n_test=30, best_epoch=2)
    assert seen == [(1, 3), (2, 3), (3, 3)] and tuple(told) == TIMES
    assert 0.1 <= told["seconds_to_best"] < 0.15 <= told["seconds"]
    assert told["seconds"] >= 0.3
    assert 100 < told["examples_per_second"] <= 300 / 0.2  # three epochs of 100
    assert 30 < told["inference_per_second"] <= 30 / 0.1
    assert told["peak_memory"] > 1e7 and told["joules"] == 0


def test_the_energy_of_a_device_that_trials_share_is_no_trials(monkeypatch):
    """Joules at the driver's edge; two trials at once on one device would count each other's."""
    for shared, joules in ((False, 40.0), (True, 0.0)):
        said = iter([100.0, 140.0])
        monkeypatch.setattr("dnabench.train.meter.energy", lambda device, said=said: next(said))
        meter = Meter("cpu", Kernels(), shared=shared)
        meter.train(lambda ended: ended(1, 1), lambda done, total: None)
        meter.predict(lambda: np.ones(1))
        assert meter.fields(1, 1, 1)["joules"] == joules


@pytest.mark.parametrize(
    ("attempts", "joules"),
    [("aa", 20.0), ("as", 0.0), ("sa", 0.0), ("asa", 0.0), ("oa", 0.0), ("aaa", 30.0)],
)  # fmt: skip
def test_the_energy_of_a_resumed_trial_is_known_if_that_of_every_attempt_is(
    attempts, joules, monkeypatch
):
    """Attempts: alone, shared, or of an old version that wrote 0; each uses 10 J."""
    state = None
    for kind in attempts:
        said = iter([100.0, 110.0, 110.0])
        monkeypatch.setattr("dnabench.train.meter.energy", lambda device, said=said: next(said))
        meter = Meter("cpu", Kernels(), shared=kind == "s")

        def fit(ended, meter=meter, state=state):
            if state:
                meter.restore(state)
            ended(1, 1)
            return meter.state()

        state = json.loads(json.dumps(meter.train(fit, lambda done, total: None)))
        if kind == "o":
            state["joules"] = 0.0
        meter.predict(lambda: np.ones(1))
    assert meter.fields(1, 1, 1)["joules"] == joules


@pytest.mark.parametrize(
    ("device", "workers", "known"),
    [("cpu", 1, True), ("cpu", 2, False), ("cuda:0,cuda:1", 2, True), ("cuda:0,cuda:1", 3, False)],
)
def test_a_trial_that_shares_its_device_has_no_energy(
    task,  # noqa: F811
    device,
    workers,
    known,
    monkeypatch,
    tmp_path,
):
    used = iter(range(0, 1000, 10))
    monkeypatch.setattr("dnabench.train.meter.energy", lambda device: float(next(used)))
    monkeypatch.setattr("dnabench.host.machine.own_device", lambda devices: "cpu")
    Store(tmp_path).check_writable()
    one, resources = job(task(), "kmer"), Resources(device=device, workers=workers)
    done = work(one, lambda done, total: None, str(tmp_path), resources, {one.trial.id: 0})
    assert done.record is not None and (done.record.joules > 0) == known


@pytest.mark.parametrize("model", ["cnn", "kmer"])
def test_a_record_has_them_and_is_the_same_twice_but_for_them(task, model):  # noqa: F811
    one = job(task(), model)
    a, b = (run_trial(one)[0] for _ in range(2))
    assert 0 < a.seconds_to_best < a.seconds and a.inference_per_second > 0
    network = not MODELS[model].custom_trainer
    expected = (
        flops_per_sequence(MODELS[model], one.trial.options, planted_task()) if network else 0
    )
    assert a.flops == expected and (a.flops > 0) == network
    texts = [dataclasses.replace(r, **dict.fromkeys(TIMES, 0)).to_json() for r in (a, b)]
    assert texts[0] == texts[1]
    assert Record.from_json(a.to_json()) == a


def test_a_record_from_before_them_reads(task):  # noqa: F811
    record = run_trial(job(task(), "kmer"))[0]
    old = json.loads(record.to_json())
    for name in ("flops", "joules", "inference_per_second", "seconds_to_best"):
        del old[name]
    read = Record.from_json(json.dumps(old))
    assert (read.flops, read.joules, read.inference_per_second, read.seconds_to_best) == (0,) * 4
    assert read.scores == record.scores


def test_the_forms_of_convolutions_are_in_the_record(task, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    one = job(task(), "convnova-386k", epochs=1)
    forms = run_trial(one)[0].where["convolution"]
    assert all(shape.startswith(("k", "linear-")) for shape in forms)
    assert set(forms.values()) <= {"direct", "pointwise", "tiled-gemm", "tiled-conv"}
    assert run_trial(one)[0].where["convolution"] == forms  # not those of counting, nor of before
    assert "convolution" not in run_trial(job(task(), "kmer"))[0].where


def test_flops_are_counted_once_for_equal_networks(task):  # noqa: F811
    trial, one = job(task(), "convnova-386k").trial, planted_task()
    first = flops(trial, one)
    start = time.process_time()
    assert flops(dataclasses.replace(trial, seed=7), one) == first > 1e6
    assert time.process_time() - start < 0.05
    assert flops(trial, dataclasses.replace(one, length=120)) > 1.9 * first


def test_counting_touches_no_random_stream(task):  # noqa: F811
    torch.manual_seed(0)
    state = torch.get_rng_state()
    flops(job(task(), "convnova-386k").trial, planted_task(length=77))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_cpu_does_not_say_what_energy_it_took():
    assert energy("cpu") is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpus_energy_grows_and_is_no_more_than_its_limit_allows():
    before, start = energy("cuda"), time.perf_counter()
    if before is None:
        pytest.skip("this device does not say")
    x = torch.randn(4096, 4096, device="cuda")
    while time.perf_counter() - start < 1:
        x = (x @ x).tanh()
        torch.cuda.synchronize()
    watts = (energy("cuda") - before) / (time.perf_counter() - start)
    assert 10 < watts < 2000
