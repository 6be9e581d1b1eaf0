"""Settings with which no model can be built are refused before any trial starts."""

import subprocess
import sys

import pytest
import torch
from conftest import dnabench, planted_task

from dnabench import MODELS
from dnabench.results.store import Store
from dnabench.sweep.buildable import check_buildable
from dnabench.sweep.grid import Request, grid, incompatibility

FIXED = {"lr": 0.001, "batch": 32, "dropout": 0, "dilation": 1, "weight_decay": 0.1}
NETS = [name for name in MODELS if not MODELS[name].custom_trainer]
FAMILIES = sorted({MODELS[name].family: name for name in NETS}.values())


def jobs(csv, model, *settings, **more):
    return grid(Request(models=[model], data=str(csv), seeds="2", settings=settings, **more))


@pytest.mark.parametrize("sub", ["settings", "sweeps"])
@pytest.mark.parametrize(("model", "least"), [("cnn", 57), ("deepatt", 44)])
def test_a_length_below_the_shortest_is_refused_with_a_way_out(model, least, sub, csv):
    says = (
        f"max_length={least - 1}: {model} needs {least} bp, so it cannot be built for data/motif; "
        f"write {least} or more, or leave it out"
    )
    with pytest.raises(ValueError, match=says):
        grid(
            Request(models=[model], data=str(csv), seeds="2", **{sub: [f"max_length={least - 1}"]})
        )
    found = jobs(csv, model, f"max_length={least}")
    assert len(found) == 2 and found[0].trial.recipe.max_length == least
    # words are not cut to so many bp
    if model == "cnn":
        assert jobs(csv, model, f"max_length={least - 1}", "tokenizer=6mer")


@pytest.mark.parametrize(("model", "least"), [("cnn", 57), ("deepatt", 44)])
def test_a_task_that_is_too_short_is_left_out_where_no_network_is_built(model, least):
    own, short = MODELS[model], planted_task(length=least - 1)
    assert f"it needs {least} bp, the longest sequence has {least - 1}" in incompatibility(
        own, short
    )
    with pytest.raises(ValueError, match=f"{model} needs {least} bp"):
        own.build(short, own.options)
    enough = planted_task(length=least)
    assert not incompatibility(own, enough)
    assert own.build(enough, own.options)


@pytest.mark.parametrize(
    ("model", "setting", "says"),
    [("convnova-386k", "kernel_size=4", "kernel_size is 4; it must be odd"),
     ("hyenadna-tiny-1k", "l_max=40", "l_max=40 reads 38 bp at most"),
     ("nt_h", "heads=7", "width is 1280 and heads is 7"),
     ("gpn-smol", "width=4", "GPN needs at least 7"),
     ("kmer", "k_min=7", "need 1 <= k_min <= k_max <= 8; got 7 and 6")],
)  # fmt: skip
def test_options_of_no_model_are_refused_by_name(model, setting, says, csv):
    with pytest.raises(
        ValueError, match=f"{model} {setting} on data/motif cannot be built: .*{says}"
    ):
        check_buildable(jobs(csv, model, setting))


@pytest.mark.parametrize(
    ("model", "settings", "micro_batch", "says"),
    [("unet", ["norm_batch=8"], 0, "norm_batch=8: unet has no batch norm; write norm_batch=0"),
     ("legnet", ["norm_batch=12", "batch=32"], 0, "does not divide the batch of 32 evenly"),
     ("cnn", ["batch=32"], 4, "cnn has batch norm, which must see all 32 .* omit --micro-batch 4")],
)  # fmt: skip
def test_parts_of_a_batch_that_no_training_could_have_are_refused(
    model, settings, micro_batch, says, csv
):
    with pytest.raises(ValueError, match=says):
        check_buildable(jobs(csv, model, *settings), micro_batch)
    check_buildable(jobs(csv, "legnet", "norm_batch=8", "batch=32"), 32)
    check_buildable(jobs(csv, "unet", "batch=32"), 4)
    # a frozen backbone evaluates, whatever its batch norms saw
    check_buildable(jobs(csv, "legnet", "finetune=probe", "batch=32"), 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_that_can_be_built_are_not_refused(name, csv):
    model = MODELS[name]
    state = torch.get_rng_state()
    check_buildable(jobs(csv, name, *(f"{k}={v}" for k, v in model.reduced.items())))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "--dry-run"], ["run", "--queue"], ["plan"], ["tune"], ["tune", "--dry-run"]],
    ids=" ".join,
)
def test_no_command_starts_a_trial_of_what_cannot_be_built(words, csv, tmp_path):
    done = dnabench(
        *words, "-m", "cnn,convnova-386k", "--data", csv, "--set", "convnova-386k.kernel_size=4",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: convnova-386k kernel_size=4 on data/motif cannot be built: kernel_size is 4"
    )
    assert not list((tmp_path / "out").glob("records/*"))


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "--dry-run"], ["plan"], ["tune"], ["tune", "--dry-run"]],
    ids=" ".join,
)
def test_no_command_starts_a_trial_with_a_micro_batch_for_batch_norm(words, csv, tmp_path):
    asked = ["-m", "kmer,cnn", "--data", csv, "--micro-batch", "4", "--out", tmp_path / "out"]
    done = dnabench(*words, *asked)
    assert done.returncode == 2 and "error: cnn has batch norm" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("records/*"))


@pytest.mark.parametrize("search", ["grid", "tpe"])
def test_a_searched_value_that_cannot_be_built_is_a_failed_trial(search, csv, tmp_path):
    out = tmp_path / "out"
    spaces = ["kernel_size=one:4,7", *(f"{name}=one:{value}" for name, value in FIXED.items())]
    done = dnabench(
        "tune", "-m", "convnova-386k", "--data", csv, "--search", search, "--budget", "3",
        "--tuning-seeds", "1", "--seeds", "2", "--epochs", "1", "--device", "cpu", "--out", out,
        *(word for space in spaces for word in ("--space", space)),
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "kernel_size is 4; it must be odd" in done.stderr
    records = list(Store(out).records())
    assert [bool(r.error) for r in records].count(True) == 1 and len(records) >= 4
    assert all(r.trial.options["kernel_size"] != 4 for r in records if not r.error)


def test_usual_options_are_not_built(csv):
    code = (
        "import sys\nfrom dnabench.sweep.buildable import check_buildable\n"
        "from dnabench.sweep.grid import Request, grid\n"
        f"check_buildable(grid(Request(models=['cnn', 'kmer'], data={str(csv)!r}, seeds='2', "
        "settings=['cnn.max_length=57'])))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
