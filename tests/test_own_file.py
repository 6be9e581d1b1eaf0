"""models/outside: a model in a user's own file, and what `run` and `check-model` say of it."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import dnabench, planted_split, planted_task
from kept_cases import job_of, kept, task_of_kind

from dnabench.models.outside.code import code_files, code_hash
from dnabench.models.outside.loaded import own_weights
from dnabench.models.outside.onehot import ReadsOneHot
from dnabench.models.outside.references import model_named
from dnabench.registry import MODELS
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import run_trial
from dnabench.train.check_model import check_model
from dnabench.weights import load_regime, resolve

TASK = planted_task(classes=3, length=80)
TASK_OF_BASES = planted_task(classes=3, length=80, kind="per_base")
GUIDE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
(EXAMPLE,) = re.findall(r"^`net.py`\n\n```python\n(.*?)^```$", GUIDE, re.M | re.S)
ONE_HOT = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, task, width=8, bias=True):
        super().__init__()
        self.convolution = nn.Conv1d(4, width, 9, padding=4, bias=bias)
        self.head = nn.Linear(width, task.n_outputs)

    def forward(self, onehot):
        return self.head(torch.relu(self.convolution(onehot)).mean(2))
"""
CARELESS = EXAMPLE.replace("* mask[..., None]", "* 1").replace("mask.sum(1, True)", "x.shape[1]")


@pytest.fixture
def net(tmp_path):
    """Writes net.py with some text, and gives its path."""

    def write(text, name="net.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def checks(model, **options):
    return {c.name: c for c in check_model(model, {**model.options, **options}, 80)}


def test_the_example_of_the_guide_is_short_and_passes_every_check(net):
    assert len(EXAMPLE.splitlines()) <= 27 and "uint8" in EXAMPLE
    model = model_named(f"{net(EXAMPLE)}:Net")
    assert {k: v for k, v in model.options.items() if k != "code"} == {"width": 64, "kernel": 9}
    assert not [c for c in checks(model).values() if not c.ok]


@pytest.mark.parametrize(
    ("text", "failing", "says"),
    [
        (CARELESS, "padding", "multiply by `mask`"),
        (EXAMPLE.replace("return self.head(", "return 50 * self.head("), "first loss",
         "draw the head's weights smaller"),
        (EXAMPLE.replace("super().__init__()", "super().__init__(); torch.manual_seed(1)"),
         "seed", "do not call torch.manual_seed"),
        (EXAMPLE.replace("self.head =", "self.spare = nn.Linear(3, 3)\n        self.head ="),
         "gradients", "do not reach spare.weight, spare.bias"),
        (EXAMPLE.replace("return self.head(self.features(ids, mask))",
                         "x = self.features(ids, mask)\n        return self.head(x - x.mean(0))"),
         "neighbours", "the other sequences of its batch"),
        (EXAMPLE.replace("task.n_outputs)", "7)"), "builds", "make it (sequences, n_outputs)"),
    ],
)  # fmt: skip
def test_each_fault_is_found_by_its_check(net, text, failing, says):
    found = checks(model_named(f"{net(text)}:Net"))
    assert not found[failing].ok and says in found[failing].says
    assert found["builds"].ok or failing == "builds"


@pytest.mark.parametrize(("norm", "says"), [
    ("x = self.norm(x.transpose(1, 2)).transpose(1, 2)", True),
    # over the bases of all sequences, as if there were no padding
    ("y = x if mask is None else x[mask > 0]\n"
     "        y = self.norm(y if y.ndim == 2 else y.flatten(0, 1))\n"
     "        x = y.view_as(x) if mask is None else torch.zeros_like(x).masked_scatter("
     "mask[..., None] > 0, y)", False),
])  # fmt: skip
def test_batch_norms_that_count_padding_in_training_are_said_to(norm, says, net):
    text = EXAMPLE.replace(
        "self.head = nn", "self.norm = nn.BatchNorm1d(width)\n        self.head = nn"
    )
    text = text.replace("        if self.per_base:", f"        {norm}\n        if self.per_base:")
    found = checks(model_named(f"{net(text)}:Net"))
    assert not [c for c in found.values() if not c.ok]
    assert ("batch norms count padding in training" in found["padding"].says) == says


@pytest.mark.parametrize("name", ["legnet", "basenji", "cnn"])
def test_batch_norms_of_included_models_do_not_count_it(name):
    assert "norms" not in checks(MODELS[name], **MODELS[name].reduced)["padding"].says


def test_one_hot_is_padded_to_the_task_and_depends_on_no_batch(net):
    model = model_named(f"{net(ONE_HOT)}:Net")
    assert model.options["bias"] is True
    assert not [c for c in checks(model).values() if not c.ok]
    torch.manual_seed(0)
    one = model.build(TASK, model.options)
    ids = torch.tensor([[0, 1, 2, 3, 4, 5]], dtype=torch.uint8)
    seen = []
    one.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    one(ids, None)
    assert seen[0].shape == (1, 4, 80) and seen[0][0, :, :4].equal(torch.eye(4))
    assert not seen[0][0, :, 4:].any()


@pytest.mark.parametrize("classes", [3, 2])
def test_a_kept_one_hot_network_gives_all_but_its_head(classes, net, put, tmp_path):
    model = model_named(f"{net(ONE_HOT)}:Net")
    job = job_of(model, put(task_of_kind("multiclass")))._replace(reference=model.reference)
    kept(job, tmp_path, load=False)
    regime, path = resolve(model, f"checkpoint:{tmp_path / 'networks' / job.trial.id}")
    new = model.build(planted_task(classes=classes, length=80), job.trial.options)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    loaded = load_regime(new, model, regime, path, job.trial.options)
    assert sorted(loaded.unused) == ["backbone.head.bias", "backbone.head.weight"]
    assert sorted(loaded.copied) == ["backbone.convolution.bias", "backbone.convolution.weight"]
    for name, value in new.state_dict().items():
        assert value.equal(before[name]) == ("head" in name)


def test_one_hot_per_base_answers_beyond_the_length_of_training():
    longer = torch.tensor([[0, 1, 2, 3] * 30], dtype=torch.uint8)
    network = ReadsOneHot(torch.nn.Identity(), TASK_OF_BASES)
    network.backbone.register_forward_hook(lambda m, given, out: out.transpose(1, 2))
    assert network(longer, None)[0].equal(torch.eye(4).repeat(30, 1))
    assert network(longer[:, :5], None).shape == (1, 5, 4)


def test_what_it_imports_beside_it_is_part_of_its_hash(net):
    path = net("import json, part\nfrom pack.inner import y\n" + EXAMPLE)
    (
        net("import deep\nx = 1\n", "part.py"),
        net("z = 1\n", "deep.py"),
        net("y = 2\n", "pack/inner.py"),
    )
    net("never read\n", "other.py")
    names = {p.name for p in code_files(path)}
    assert names == {"net.py", "part.py", "deep.py", "inner.py"}
    first = code_hash(path)
    net("z = 2\n", "deep.py")
    assert code_hash(path) != first
    net("z = 1\n", "deep.py")
    assert code_hash(path) == first
    text = path.read_text()
    path.unlink()
    assert code_hash(net(text, "named_otherwise.py")) == first


def test_changed_code_is_loaded_again_and_is_another_trial(net, monkeypatch):
    """Even a file as long, changed within a second: its bytecode would pass for that of the new."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = net("from part import WIDTH\n" + EXAMPLE.replace("width=64", "width=WIDTH"))
    ids = set()
    for width in (16, 24):
        os.utime(net(f"WIDTH = {width}\n", "part.py"), (1e9, 1e9))
        model = model_named(f"{path}:Net")
        assert model.options["width"] == width
        request = {"models": [f"{path}:Net"], "tasks": ["demo/splice_junctions"], "seeds": "1"}
        (job,) = grid(Request(**request))
        ids.add(job.trial.id)
        assert job.trial.model == "net.py:Net" and job.reference == f"{path}:Net"
    assert len(ids) == 2


def test_installed_packages_are_not_hidden_and_two_of_one_name_are_told(net):
    path = net("import tokenizers\n" + EXAMPLE)
    net("raise RuntimeError\n", "tokenizers.py")
    with pytest.raises(ValueError, match=r"imports tokenizers, which is not .*rename the file"):
        model_named(f"{path}:Net")


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("x = (", "Net", "not Python"),
        ("import no_such_package\n", "Net", "does not load: ModuleNotFoundError"),
        (EXAMPLE, "Nett", "has no class or function Nett"),
        ("def f(): pass\n", "f", "takes no task: write `def f\\(task, width=64\\)`"),
        ("def f(task, width): pass\n", "f", "give width a default"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(net, text, name, says):
    with pytest.raises(ValueError, match=says):
        model_named(f"{net(text)}:{name}")


@pytest.mark.parametrize(
    ("text", "says"),
    [("def f(task): return 3\n", "gave a int; it must give a torch.nn.Module"),
     (EXAMPLE.replace("def forward(self, ids, mask)", "def forward(self, ids)") + "f = Net\n",
      r"forward\(ids\) is neither forward\(ids, mask\) nor"),
     (EXAMPLE.replace("def forward(self, ids, mask)", "def forward(self, a, b, c)") + "f = Net\n",
      r"forward\(a, b, c\) is neither")],
)  # fmt: skip
def test_a_network_that_reads_something_else_says_what_to_write(net, text, says):
    model = model_named(f"{net(text)}:f")
    with pytest.raises(ValueError, match=says):
        model.build(TASK, model.options)


LOADS = """
def Loaded(task, std=1.0):
    net = Net(task)
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        net.convolution.weight.normal_(std=std, generator=drawn)
        net.head.weight.fill_(0.5)
    return net


def Structured(task):
    net = Net(task)
    net.identity = nn.Parameter(torch.eye(64), requires_grad=False)
    net.rows = nn.Parameter(torch.arange(16.0).repeat(64, 1))
    return net
"""


@pytest.mark.slow
def test_weights_that_its_own_code_loads_are_found_and_said(net, csv, tmp_path):
    path = net(EXAMPLE + LOADS)
    model = model_named(f"{path}:Loaded")
    total = 8 * 64 + 64 * (64 * 9 + 1) + 2 * 65  # of two classes
    assert own_weights(model, TASK, model.options) == pytest.approx(64 * 64 * 9 / total)
    plain = model_named(f"{path}:Net")
    assert own_weights(plain, TASK, plain.options) == 0
    shaped = model_named(f"{path}:Structured")
    assert own_weights(shaped, TASK, shaped.options) == 0
    done = dnabench("run", "-m", f"{path}:Loaded,{path}:Net,cnn", "--data", csv, "--seeds", "1",
                    "--epochs", "1", "--out", tmp_path / "runs")  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs/records").glob("*.json")]
    regimes = {r["trial"]["model"]: r["trial"]["regime"] for r in records}
    assert regimes == {"net.py:Loaded": "own:98.1%", "net.py:Net": "scratch", "cnn": "scratch"}
    report = dnabench("report", "--out", tmp_path / "runs").stdout
    assert "pretrained by its own code (98.1 %)" in report


def test_the_id_of_a_trial_does_not_depend_on_the_other_tasks_of_the_command(net, tmp_path):
    path, letters = net(EXAMPLE + LOADS), np.array(list("ACGT"))
    for name, classes in (("two", 2), ("many", 20)):
        drawn = letters[np.random.default_rng(classes).integers(0, 4, (10 * classes, 40))]
        rows = [f"{''.join(row)},{i % classes}" for i, row in enumerate(drawn)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]))

    def trials(*names):
        data = [str(tmp_path / f"{name}.csv") for name in names]
        jobs = grid(Request(models=[f"{path}:Loaded"], data=data, seeds="1"))
        return {job.trial.task: job.trial for job in jobs}

    both, alone = trials("two", "many"), trials("many")
    assert both["data/many"].id == alone["data/many"].id
    assert {trial.regime for trial in both.values()} == {"own:98.1%"}


def test_what_a_file_sets_for_its_process_changes_no_trial_of_another_model(net, put):
    task, threads = put(task_of_kind("binary")), torch.get_num_threads()
    job = job_of(MODELS["cnn"], task)
    try:
        alone = run_trial(job)[1]["logits"]
        sets = "torch.set_default_dtype(torch.float64)\ntorch.set_num_threads(3)\n"
        own = model_named(f"{net(EXAMPLE + sets)}:Net")
        assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float64, 3)
        for one in (job_of(own, task), job):
            found = run_trial(one)[1]["logits"]
            assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
        np.testing.assert_array_equal(found, alone)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def test_a_network_for_one_task_alone_has_the_share_of_that_task(net):
    path = net(EXAMPLE + LOADS + "\n\ndef Only(task):\n    assert task.length == 80\n"
               "    return Loaded(task)\n")  # fmt: skip
    model, total = model_named(f"{path}:Only"), 8 * 64 + 64 * (64 * 9 + 1) + 3 * 65
    assert own_weights(model, TASK, model.options) == pytest.approx(64 * 64 * 9 / total)


@pytest.mark.slow
def test_run_makes_the_cheap_checks_and_says_what_to_look_at(net, tmp_path):
    part = planted_split(60, 0)
    rows = [f"{part.seqs[i][: 40 + i % 20]},{part.y[i]}" for i in range(60)]
    (tmp_path / "uneven.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    words = ["--data", tmp_path / "uneven.csv", "--seeds", "1", "--epochs", "1"]
    path = net(CARELESS)
    done = dnabench("run", "-m", f"{path}:Net,cnn", *words, "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    looked = done.stderr.split("Look at these\n")[1]
    assert looked.startswith("- net.py:Net: a score depends on padding: multiply by `mask`")
    assert "cnn" not in looked and "check-model" in looked
    page = dnabench("report", "--out", tmp_path / "runs").stdout.split("Look at these\n")[1]
    assert page.startswith("- net.py:Net: a score depends on padding")
    clean = net(EXAMPLE, "clean.py")
    done = dnabench("run", "-m", f"{clean}:Net", *words, "--out", tmp_path / "two")
    assert done.returncode == 0 and "Look at these" not in done.stderr


def test_a_wrong_shape_fails_the_trial_with_both_shapes(net, csv, tmp_path):
    path = net(EXAMPLE.replace("task.n_outputs)", "7)"))
    done = dnabench("run", "-m", f"{path}:Net", "--data", csv, "--seeds", "1", "--out", tmp_path)
    assert done.returncode == 1
    assert "net.py:Net answers 8 sequences with logits of shape (8, 7)" in done.stderr


def test_the_checks_draw_nothing_of_the_trial(net, csv, tmp_path, monkeypatch):
    from dnabench.sweep.trial import run_trial
    from dnabench.train import contract

    path = net(EXAMPLE)
    jobs = grid(Request(models=[f"{path}:Net"], data=str(csv), seeds="1",
                        overrides={"epochs": 1}))  # fmt: skip
    _, checked = run_trial(jobs[0])
    monkeypatch.setattr(contract, "quick_checks", lambda learner, examples: [])
    _, plain = run_trial(jobs[0])
    np.testing.assert_array_equal(checked["logits"], plain["logits"])


@pytest.mark.parametrize("words", [["plan", "--probe-seconds", "0.05"], ["tune", "--dry-run"]])
def test_a_plan_measures_the_network_of_a_file(words, net, csv, tmp_path):
    own = f"{net(EXAMPLE)}:Net"
    done = dnabench(*words, "-m", own, "--data", csv, "--seeds", "1", "--out", tmp_path / "runs")
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout
    assert re.search(r"[1-9][\d.]* [KMG]B for the largest trial", done.stdout)


def test_code_that_changed_since_the_plan_is_refused(net, csv):
    from dnabench.sweep.trial import run_trial

    path = net(EXAMPLE)
    (job,) = grid(Request(models=[f"{path}:Net"], data=str(csv), seeds="1"))
    net(EXAMPLE + "\n# a remark\n")
    with pytest.raises(ValueError, match=r"the code of net\.py:Net changed"):
        run_trial(job)


def test_files_in_no_list_and_two_of_one_name_are_told_apart(net, tmp_path):
    one = net(EXAMPLE)
    (tmp_path / "b").mkdir()
    two = net(ONE_HOT, "b/net.py")
    model_named(f"{one}:Net")
    assert "net.py:Net" not in list(MODELS) and "net.py:Net" in MODELS
    with pytest.raises(ValueError, match=r"would both be called net.py:Net: rename one"):
        grid(Request(models=[f"{one}:Net", f"{two}:Net"], tasks=["demo/splice_junctions"]))


def test_one_model_with_two_regimes_is_two_columns(net, csv):
    path = net(EXAMPLE)
    (path.parent / "w.pt").write_bytes(b"weights")
    regime = f"net.py:Net=checkpoint:{path.parent / 'w.pt'},net.py:Net=scratch"
    jobs = grid(Request(models=[f"{path}:Net", "kmer"], data=str(csv), seeds="2", regime=regime))
    kinds = {job.trial.regime.partition(":")[0] for job in jobs if job.reference}
    assert len(jobs) == 6 and kinds == {"checkpoint", "scratch"}


@pytest.mark.slow
def test_check_model_on_the_command_line(net):
    bad, good = net(CARELESS, "bad.py"), net(EXAMPLE)
    done = dnabench("check-model", f"{bad}:Net", "--set", "width=8")
    assert done.returncode == 1 and "FAIL  padding" in done.stdout
    assert dnabench("check-model", f"{good}:Net").returncode == 0
    done = dnabench("check-model", "kmer")
    assert done.returncode == 2 and "kmer is not a network" in done.stderr
    done = dnabench("check-model", f"{good}:Net", "--length", "0")
    assert done.returncode == 2 and "--length 0" in done.stderr
