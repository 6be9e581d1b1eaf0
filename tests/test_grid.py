"""harness/sweep/grid.py and config.py: words in, a grid of trials out."""

import re
from dataclasses import replace
from typing import get_args

import pytest
from conftest import dnabench
from typer.main import get_command

from dnabench.cli.app import main
from dnabench.cli.config import REPEATED, SWITCHES, read_config
from dnabench.cli.run import run
from dnabench.sweep.grid import Request, grid, label
from dnabench.sweep.numbers import parse_limit, parse_seeds
from dnabench.sweep.tasks import suites

DEMO = {"models": ["kmer", "convnova-386k"], "tasks": ["demo/splice_junctions"], "seeds": "2"}


def plan(**changes):
    return [job.trial for job in grid(Request(**{**DEMO, **changes}))]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [0, 1, 2]), ("10", list(range(10))), ("0,3,7", [0, 3, 7]), ("5,", [5]),
     ("2222,42-50", [2222, *range(42, 51)]), ("4-4", [4])],
)  # fmt: skip
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "a",
        "1-",
        "3-1",
        "1,1",
        "1,,2",
        "-3",
        "1.5",
        "0-3,2",
        "99999999999",
        "0-99999999999",
    ],
)
def test_bad_seeds_show_the_three_ways(text):
    with pytest.raises(ValueError, match=r"give how many \(10\), which \(0,3,7.*ranges"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "limit"), [("0", 0), ("200", 200), ("0.1", 0.1), ("1", 1), ("1.0", 0)]
)
def test_limits(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "nan", "inf", ""])
def test_bad_limits(text):
    with pytest.raises(ValueError, match=r"a number of examples \(200\) or a share"):
        parse_limit(text)


def test_a_grid_is_every_model_on_every_task_at_every_seed_once():
    trials = plan(suite="demo", tasks=[], models=["kmer", "cnn", "kmer"])
    assert len(trials) == len({t.id for t in trials}) == 2 * 2 * 2
    assert {t.task for t in trials} == {"demo/cell_type", "demo/splice_junctions"}


def test_a_trial_holds_all_options_and_the_suites_recipe():
    _, trial = plan(seeds="1")
    assert trial.options["width"] == 64 and trial.options["final_conv"] is True
    assert trial.regime == "scratch" and trial.protocol == "honest/1" and len(trial.data) == 16


def test_a_model_is_left_out_of_what_it_cannot_do_and_the_reason_is_told():
    notes = []
    request = Request(models=["kmer", "convnova-386k"], suite="demo", seeds="1")
    done = {(job.trial.model, job.trial.task) for job in grid(request, notes.append)}
    assert ("convnova-386k", "demo/yeast_genes") in done and len(done) == 5
    assert notes == [
        "kmer is left out of demo/yeast_genes, a per_base task: it does binary, multiclass"
    ]
    with pytest.raises(ValueError, match="does binary, multiclass; name others with --models"):
        grid(Request(models=["kmer"], tasks=["demo/yeast_genes"]))


def test_settings_reach_the_models_that_have_them():
    kmer, conv = plan(seeds="1", settings=["dilation=1", "lr=0.5", "kmer.k_max=4"])
    assert conv.options["dilation"] == 1 and "dilation" not in kmer.options
    assert kmer.options["k_max"] == 4 and conv.recipe.lr == 0.5
    kmer, conv = plan(seeds="1", settings=["convnova-386k.lr=0.5", "ffn=true"])
    assert conv.recipe.lr == 0.5 and conv.options["ffn"] is True


def test_a_recipe_field_that_a_model_does_not_read_leaves_its_trials_alone():
    plain, other = plan(seeds="1"), plan(seeds="1", settings=["lr=0.5"], overrides={"batch": 8})
    assert plain[0].id == other[0].id and plain[1].id != other[1].id
    with pytest.raises(ValueError, match="no option named 'lr'"):
        plan(models=["kmer"], settings=["lr=0.5"])


def test_overrides_are_in_the_recipe_of_every_trial():
    models = ["cnn", "convnova-386k"]
    assert {t.recipe.epochs for t in plan(models=models, overrides={"epochs": 3})} == {3}


def test_sweeps_make_every_combination_once():
    trials = plan(sweeps=["dilation=1,2", "kernel_size=3,5,7"])
    assert len([t for t in trials if t.model == "kmer"]) == 2  # it has neither option
    seen = {(t.options["dilation"], t.options["kernel_size"]) for t in trials if t.model != "kmer"}
    assert seen == {(d, k) for d in (1, 2) for k in (3, 5, 7)} and len(trials) == 2 + 12


def test_a_label_says_what_a_trial_changes():
    (_, trial) = plan(seeds="1", settings=["dilation=1", "convnova-386k.lr=0.5"])
    assert label(trial) == "convnova-386k lr=0.5 dilation=1"
    assert [label(t) for t in plan(seeds="1")] == ["kmer", "convnova-386k"]


def test_regimes_of_one_model_are_told_apart(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"weights")
    flag = f"ntv2-50m=pretrained,ntv2-50m=scratch,ntv2-50m=checkpoint:{tmp_path / 'w.pt'}"
    shown = {label(t) for t in plan(models=["ntv2-50m"], seeds="1", regime=flag)}
    assert shown == {
        "ntv2-50m", "ntv2-50m regime=pretrained", "ntv2-50m regime=checkpoint:w.pt"
    }  # fmt: skip


def test_short_names_of_tasks_go_with_a_suite():
    (trial,) = plan(models=["kmer"], seeds="1", suite="demo", tasks=["cell_type"])
    assert trial.task == "demo/cell_type"


def test_suites_accumulate_and_a_short_name_is_looked_up_in_each():
    (trial,) = plan(models=["kmer"], seeds="1", suite=["gue", "demo"], tasks=["cell_type"])
    assert trial.task == "demo/cell_type"
    words = ["-s", "demo", "-s", "demo", "-t", "cell_type", "-t", "splice_junctions", "-m", "kmer"]
    done = dnabench("run", *words, "-m", "cnn", "--seeds", 1, "--dry-run")
    assert "4 trials: 0 done, 4 to run" in done.stdout
    with pytest.raises(ValueError, match=r"splice_junctions is not in the suites gue or nt; leave"):
        plan(suite=["gue", "nt"])
    with pytest.raises(KeyError, match="no suite named 'dem'; did you mean demo"):
        plan(suite=["demo", "dem"], tasks=[])


def test_the_dry_run_prints_an_id_that_looks_like_a_number_as_it_is():
    (first, _) = plan(models=["kmer"])
    trials = (replace(first, seed=seed) for seed in range(5000))
    trial = next(trial for trial in trials if re.fullmatch(r"\d+e\d+|\d+", trial.id))
    words = ["run", "-m", "kmer", "-t", trial.task, "--seeds", f"{trial.seed},", "--dry-run"]
    assert trial.id in dnabench(*words).stdout.split()


def test_a_recipe_by_name():
    trials = plan(models=["convnova"], recipe="nt")
    assert (trials[0].recipe.batch, trials[0].recipe.padding) == (256, "left-n")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"models": ["convnov"]}, KeyError, "no model named 'convnov'; did you mean convnova"),
        ({"models": ["zzz"]}, KeyError, "no model named 'zzz'; `dnabench list models` prints all"),
        ({"tasks": ["demo/celltype"]}, KeyError, "did you mean demo/cell_type"),
        ({"tasks": [], "suite": "dem"}, KeyError, "no suite named 'dem'; did you mean demo"),
        ({"models": []}, ValueError, "--models is empty"),
        ({"data": "x.csv"}, FileNotFoundError, "x.csv: no such file or directory"),
        ({"tasks": ["demo/cell_type"], "suite": "dem"}, KeyError, "did you mean demo"),
        ({"settings": ["patience=2"], "protocol": "last-epoch"}, ValueError, "never stops early"),
        ({"settings": ["lr=nan"]}, ValueError, "lr=nan: must be finite"),
        ({"settings": ["warmup=1.5"]}, ValueError, "warmup=1.5: give a share below 1 or a"),
        ({"tasks": []}, ValueError, "no tasks; write --suite demo"),
        ({"protocol": "honest/3"}, KeyError,
         "no protocol named 'honest/3'; did you mean honest/2, honest/1"),
        ({"recipe": "nt"}, KeyError, "no recipe named 'nt'; kmer has default"),
        ({"settings": ["dilatoin=1"]}, ValueError, "no option named 'dilatoin'; did you mean dila"),
        ({"settings": ["dilation"]}, ValueError, "write name=value"),
        ({"settings": ["cnn.lr=1"]}, ValueError, "no model 'cnn' in this run"),
        ({"settings": ["dilation=x"]}, ValueError, "'dilation=x': 'x' is not a whole number"),
        ({"settings": ["ffn=1"]}, ValueError, "'1' is not true or false"),
        ({"settings": ["lr=0"]}, ValueError, "lr=0.0: must be above 0"),
        ({"settings": ["clip=-1"]}, ValueError, "clip=-1.0: must not be negative"),
        ({"settings": ["rc=both"]}, ValueError, "rc='both': must be one of none, augment, conj"),
        ({"overrides": {"precision": "fp8"}}, ValueError, "must be one of fp32, tf32, bf16, fp16"),
    ],
)  # fmt: skip
def test_bad_words_are_explained(change, kind, says):
    with pytest.raises(kind, match=says):
        plan(**change)


def test_a_job_knows_how_many_bp_its_training_reads():
    sizes = {
        text: grid(Request(**{**DEMO, "models": ["cnn"], "seeds": "1", "limit": text}))[0].size
        for text in ("0", "100", "0.5", "9999")
    }
    assert sizes == {"0": 2400 * 60 * 10, "100": 60_000, "0.5": 720_000, "9999": 1_440_000}


def test_suites_are_the_tasks_of_one_prefix():
    assert suites()["demo"] == ("demo/cell_type", "demo/splice_junctions", "demo/yeast_genes")


FLAGS = ["models", "seeds", "batch-size", "set", "sweep", "config", "out", "dry-run"]


def config(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return read_config(path, FLAGS)


def test_a_config_has_the_names_of_the_flags(tmp_path):
    values = config(
        tmp_path,
        'models = ["cnn", "kmer"]\nseeds = [3]\nbatch_size = 8\n'
        'set = ["lr=1"]\nsweep = "dilation=1,4"',
    )
    assert values == {
        "models": ["cnn", "kmer"], "seeds": "3,", "batch_size": "8", "set_": ["lr=1"],
        "sweep": ["dilation=1,4"],
    }  # fmt: skip


def test_a_config_has_every_switch_of_a_run():
    kinds = {name: get_args(hint)[0] for name, hint in run.__annotations__.items()}
    assert {n.replace("_", "-") for n, kind in kinds.items() if kind is bool} == set(SWITCHES)


def test_a_config_gives_lists_to_every_flag_that_may_be_repeated():
    commands = get_command(main).commands
    lists = {
        max(flag.opts, key=len).removeprefix("--")
        for name in ("run", "tune") for flag in commands[name].params if flag.multiple
    }  # fmt: skip
    assert lists == set(REPEATED)


def test_plan_reads_the_file_of_a_run(tmp_path):
    path = tmp_path / "sweep.toml"
    text = 'models = "kmer,cnn"\nsuite = "demo"\nseeds = 7\ndeclare = "kmer>cnn"\nagain = ["0"]\n'
    path.write_text(text + "".join(f"{flag} = true\n" for flag in SWITCHES))
    for name in ("run", "plan"):
        read = get_command(main).commands[name].make_context(name, ["--config", str(path)])
        assert read.params["seeds"] == "7"
    path.write_text(text + "detahc = true\n")
    bad = dnabench("plan", "--config", path)
    assert bad.returncode == 2 and "no flag named 'detahc'; did you mean detach" in bad.stderr


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [("model = 'cnn'", KeyError, "no flag named 'model'; did you mean models"),
     ("seeds = ", ValueError, "not TOML"), ("seeds = {a = 1}", ValueError, "give text, a number"),
     ("config = 'x'", KeyError, "no flag named 'config'"),
     ("seeds = true", ValueError, "give text")],
)  # fmt: skip
def test_a_bad_config_is_explained(tmp_path, text, kind, says):
    with pytest.raises(kind, match=says):
        config(tmp_path, text)
