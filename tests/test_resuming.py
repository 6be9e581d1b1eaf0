"""Checkpoints within a trial: one that was killed ends with the bytes of one that was not."""

import dataclasses
import json
import os
import random
import resource
import signal
import warnings

import pytest
import torch
from conftest import planted_task
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dnabench import MODELS, TASKS, Trial
from dnabench.results.checkpoints import Place
from dnabench.splits import streams
from dnabench.sweep.numbers import parse_checkpoints, written_checkpoints
from dnabench.sweep.trial import run_trial
from dnabench.train import checkpoint, learner
from dnabench.train.checkpoint import checkpoint_bytes
from dnabench.train.objectives import Supervised
from dnabench.types import ONE_CPU, Job

TASK = planted_task(n=96)
SMALL = {"convnova": {"width": 16, "d_inner": 1, "kernel_size": 5, "blocks": 2, "dropout": 0.2},
         "dnabert": {"width": 32, "layers": 1, "inner": 48, "heads": 2}}  # fmt: skip


@pytest.fixture(autouse=True)
def _task(monkeypatch):
    list(TASKS)
    monkeypatch.setitem(TASKS._entries, TASK.name, TASK)
    yield


def job(model="convnova", protocol="honest/1", **recipe):
    changes = {"epochs": 5, "batch": 32, **recipe}
    changed = dataclasses.replace(MODELS[model].recipes["default"], **changes)
    options = {**MODELS[model].options, **SMALL.get(model, {})}
    return Job(
        Trial(
            model=model, options=options, regime="scratch", task=TASK.name, data=TASK.data,
            protocol=protocol, recipe=changed, seed=0,
        )
    )  # fmt: skip


def place(path, every=0.0, mine=lambda: True, soon=lambda: False):
    return Place(path, every, mine, soon)


def killed(one, path, steps, resources=ONE_CPU, **given):
    """Run a trial in a process of its own, which kill -9 ends in that step of the optimiser."""
    left = iter(range(steps - 1))

    def count(*_):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that only wait
        child = os.fork()
    if child == 0:
        try:
            register_optimizer_step_pre_hook(count)
            run_trial(one, resources, place=place(path, **given))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def same(one, other):
    (a, p), (b, q) = one, other
    assert a.trial.id == b.trial.id
    assert (a.scores, a.curve, a.best_epoch) == (b.scores, b.curve, b.best_epoch)
    assert (a.alternatives, a.streams) == (b.alternatives, b.streams)
    assert p.keys() == q.keys() and all(p[k].tobytes() == q[k].tobytes() for k in p)
    return True


CASES = {
    "dropout": {},
    "rc augmentation": {"rc": "augment"},
    "best epoch, early stopping": {"patience": 2, "epochs": 9, "lr": 0.02},
    "looks at test": {"protocol": "test-selected/1"},
    "last epoch": {"protocol": "last-epoch/1"},
    "least validation loss": {"protocol": "dnabert2-gue/1"},
    "warm-up, clipping, steps": {"warmup": 5, "clip": 0.5, "max_steps": 13},
    "batch norm": {"model": "cnn", "rc": "conjoin"},
    "transformer": {"model": "dnabert"},
    "lora": {"model": "dnabert", "finetune": "lora", "lora_dropout": 0.3},
    "probe": {"model": "dnabert", "finetune": "probe"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_trial_that_was_killed_in_an_epoch_ends_with_the_same_bytes(case, tmp_path):
    one, path = job(**case), tmp_path / "x.pt"
    if one.trial.recipe.finetune == "lora":
        pytest.importorskip("peft")
    whole = run_trial(one)
    killed(one, path, 8)  # three steps an epoch: in the third
    again = run_trial(one, place=place(path))
    assert same(whole, again)
    (attempt,) = again[0].where["resumed"]
    assert attempt == {"epoch": 2, "host": again[0].where["host"]}
    assert "resumed" not in whole[0].where and "checkpoint" not in again[0].flags


@pytest.mark.parametrize("steps", [2, 8])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_that_was_warned_goes_on_in_the_middle_of_an_epoch(case, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "REST", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 0.0)
    one, path = job(**case), tmp_path / "x.pt"
    if one.trial.recipe.finetune == "lora":
        pytest.importorskip("peft")
    whole = run_trial(one)
    killed(one, path, steps, every=600.0, soon=lambda: True)  # three steps an epoch
    again = run_trial(one, place=place(path, 600.0))
    assert same(whole, again)
    at = {"epoch": (steps - 1) // 3, "step": steps - 1}
    assert again[0].where["resumed"] == [{**at, "host": again[0].where["host"]}]


def test_one_that_was_warned_writes_after_a_step_but_not_after_each(tmp_path, monkeypatch):
    path, written, clock = tmp_path / "x.pt", [], iter(range(10_000))
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(checkpoint, "REST", 7.0)
    save = torch.save
    monkeypatch.setattr(checkpoint.torch, "save",
                        lambda state, file: (written.append(state["learner"]["step"]),
                                             save(state, file)))  # fmt: skip
    run_trial(job(), place=place(path, 600.0, soon=lambda: True))
    assert written[0] == 6 and len(written) == 1  # a call a step or epoch; writing took a second,
    assert checkpoint.SHARE >= 20  # so the next is 20 seconds away


@pytest.mark.parametrize("kind", ["fused", "foreach"])
def test_every_form_of_the_optimiser_goes_on(kind, tmp_path, monkeypatch):
    plain = torch.optim.AdamW

    def adamw(groups, **given):
        return plain(groups, **{**given, "fused": None, kind: True})

    monkeypatch.setattr(learner.torch.optim, "AdamW", adamw)
    whole = run_trial(job())
    killed(job(), tmp_path / "x.pt", 8)
    assert same(whole, run_trial(job(), place=place(tmp_path / "x.pt")))


class StoppedError(Exception):
    """In place of a kill, where a process cannot be forked."""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_trial_on_a_gpu_goes_on(precision, tmp_path):
    one, path = job("dnabert", precision=precision), tmp_path / "x.pt"
    resources = ONE_CPU._replace(device="cuda", deterministic=True)

    def stop(done, total):
        if done == 3:
            raise StoppedError

    whole = run_trial(one, resources)
    with pytest.raises(StoppedError):
        run_trial(one, resources, progress=stop, place=place(path))
    again = run_trial(one, resources, place=place(path))
    assert same(whole, again) and again[0].where["resumed"][0]["epoch"] == 2


def test_what_was_found_out_about_compiling_is_not_found_out_again():
    """Where it was on, the first step from there compiles anew: no file holds compiled code."""
    for said, undecided in (("off: it differed", False), ("on", True), ("", True)):
        before, after = (compiling() for _ in range(2))
        before._runner.said = said
        after.go_on(before.training_state())
        assert after._undecided is undecided
        assert after._runner.said == (said if said.startswith("off") else "")


def compiling():
    net, task = MODELS["convnova"], TASK
    built = net.build(task, {**net.options, **SMALL["convnova"]})
    examples = learner.Examples(net, task, task.load("train"))
    return learner.NetLearner(
        built,
        examples,
        Supervised(task),
        job().trial.recipe,
        streams(0, task.name),
        ONE_CPU._replace(compile="auto"),
    )


def test_a_trial_that_is_killed_again_and_again_counts_all_attempts(tmp_path):
    one, path = job(), tmp_path / "x.pt"
    whole = run_trial(one)
    for steps in (4, 5, 1, 7):  # after each of them 1, 2, 2 and 4 epochs are kept
        killed(one, path, steps)
    seen = []
    again = run_trial(one, place=place(path), progress=lambda *step: seen.append(step))
    assert same(whole, again) and seen == [(5, 5)]
    assert [x["epoch"] for x in again[0].where["resumed"]] == [1, 2, 4]
    found = torch.load(path, weights_only=True)["meter"]
    assert 0 < found["training"] < found["seconds"] <= again[0].seconds
    assert len(found["ends"]) == 5 and found["ends"] == sorted(found["ends"])
    assert 0 < again[0].seconds_to_best <= again[0].seconds


def test_early_stopping_counts_the_epochs_of_earlier_attempts(tmp_path):
    one, path = job(patience=1, lr=0.0, epochs=9), tmp_path / "x.pt"
    whole = run_trial(one)
    assert len(whole[0].curve) == 2  # nothing is learned, so the second is no better
    run_trial(one, place=place(path))
    assert same(whole, run_trial(one, place=place(path)))  # it had stopped: no epoch more


DAMAGES = {
    "cut off": lambda data: data[:-100],
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1])
    + data[len(data) // 2 + 1 :],
    "empty": lambda data: b"",
    "other": lambda data: b"PK\x05\x06" + b"\0" * 18,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_trial_starts_anew(damage, tmp_path, capfd):
    one, path = job(epochs=2), tmp_path / "x.pt"
    whole = run_trial(one, place=place(path))
    path.write_bytes(damage(path.read_bytes()))
    again = run_trial(one, place=place(path))
    assert same(whole, again) and "resumed" not in again[0].where
    assert "starts anew" in again[0].flags["checkpoint"]
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{path} is not used: it " in line and line.endswith("; the trial starts anew")


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    one, path, rng = job(epochs=1), tmp_path / "x.pt", random.Random(0)
    whole = run_trial(one, place=place(path))
    data, used = path.read_bytes(), 0
    for _ in range(12):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        again = run_trial(one, place=place(path))
        used += "resumed" in again[0].where  # padding, or a name that is not read
        assert same(whole, again)
    assert used < 12


def test_a_checkpoint_of_other_code_versions_or_options_is_not_used(tmp_path, monkeypatch, capfd):
    one, path = job(epochs=2), tmp_path / "x.pt"
    whole = run_trial(one, place=place(path))
    kept = path.read_bytes()
    for change, says in (
        ((one, ONE_CPU._replace(micro_batch=16)), "made with micro_batch 0, here it is 16"),
        ((one, ONE_CPU._replace(deterministic=True)), "made with deterministic False"),
        ((job(epochs=2, lr=0.1), ONE_CPU), f"made with trial {one.trial.id}"),
    ):
        path.write_bytes(kept)
        record, _ = run_trial(*change, place=place(path))
        assert says in record.flags["checkpoint"] and "resumed" not in record.where
    path.write_bytes(kept)
    version = checkpoint.version_of
    monkeypatch.setattr(checkpoint, "version_of",
                        lambda name: "9.9" if name == "torch" else version(name))  # fmt: skip
    record, _ = run_trial(one, place=place(path))
    assert f"made with torch {version('torch')}, here it is 9.9" in record.flags["checkpoint"]
    monkeypatch.setattr(checkpoint, "version_of", version)
    path.write_bytes(kept)
    monkeypatch.setattr(checkpoint, "CODE", ("dnabench.metrics",))
    record, _ = run_trial(one, place=place(path))
    assert "made with code " in record.flags["checkpoint"]
    monkeypatch.undo()
    assert capfd.readouterr().err.count("is not used") == 5
    assert whole[0].scores == record.scores


def test_one_that_lost_its_trial_writes_nothing(tmp_path):
    """Nor does one that may not: the owner's checkpoint stays as it is."""
    path = tmp_path / "x.pt"
    path.write_bytes(b"the new owner's")
    asked = []
    record, _ = run_trial(job(epochs=2), place=place(path, mine=lambda: asked.append(1)))
    assert len(asked) == 2 and path.read_bytes() == b"the new owner's" and record.scores


def test_a_disk_without_room_costs_the_checkpoint_and_not_the_trial(tmp_path, capfd):
    whole, path = run_trial(job(epochs=2)), tmp_path / "x.pt"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        again = run_trial(job(epochs=2), place=place(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(whole, again) and not list(tmp_path.iterdir())
    says = f"note: checkpoint: {path} was not written: File too large; the trial goes on"
    assert capfd.readouterr().err.splitlines() == [says, says]


def test_it_is_written_when_it_is_time(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    run_trial(job(epochs=2), place=place(path, 600.0))
    assert not path.exists()
    run_trial(job(epochs=2), place=place(path, -1.0))
    assert not path.exists()
    run_trial(job("kmer", epochs=2), place=place(path))
    assert not path.exists()  # its learner has none
    clock = iter(range(0, 10_000, 301))
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock))
    written = []
    run_trial(job(epochs=4), place=place(path, 600.0), progress=lambda n, of: written.append(
        path.exists()))  # fmt: skip
    assert written == [False, False, True, True]  # after the second, 602 s after the start
    found = torch.load(path, weights_only=True)  # writing took 301 s, so the next is far
    assert [row["epoch"] for row in json.loads(found["curve"])] == [1, 2]


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600.0), ("90", 90.0), ("1h", 3600.0), ("epoch", 0), ("never", -1)]
)
def test_how_often_is_said_in_plain_words(text, seconds):
    assert parse_checkpoints(text) == seconds
    assert parse_checkpoints(written_checkpoints(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "epochs", "1e400"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match=r"--checkpoint-every .*, epoch \(after each\) or never"):
        parse_checkpoints(text)


def test_its_size_is_that_of_weights_best_weights_and_optimiser(tmp_path):
    path, seen = tmp_path / "x.pt", []
    run_trial(job(epochs=2), place=place(path), keep=lambda t: seen.append(t.learner))
    own = sum(p.nbytes for p in seen[0].net.parameters())
    assert 4 * own <= checkpoint_bytes(seen[0]) < 4.2 * own + 20_000
    assert checkpoint_bytes(seen[0]) < path.stat().st_size < 1.2 * checkpoint_bytes(seen[0]) + 2e5
    assert checkpoint_bytes(object()) == 0
