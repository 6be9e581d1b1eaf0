"""harness/sweep/effects.py: settings that do nothing, and warm-ups that outlast their training."""

import re

import pytest
from conftest import dnabench

from dnabench.registry import MODELS, TASKS
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.search import TuneRequest, final_jobs, plan_search
from dnabench.train.schedule import learning_rate

NET, SPLICE = "convnova-386k", "demo/splice_junctions"
EPOCH = {"epochs": 1, "batch": 64}  # 34 steps


def request(models=(NET,), seeds="1", **words):
    return Request(**{"models": list(models), "tasks": [SPLICE], "seeds": seeds, **words})


def said(*models, **words):
    """The notes of a grid."""
    notes = []
    grid(request(models or (NET,), **words), notes.append)
    return notes


@pytest.mark.parametrize(
    ("settings", "sweeps", "says"),
    [
        (["schedule=linear", "lr_floor=0.7"], [],
         "lr_floor=0.7 does nothing with schedule=linear; leave it out, or write --set "
         "schedule=cosine"),
        ([f"{NET}.lr_floor=0.1", "schedule=constant"], [],
         f"{NET}.lr_floor=0.1 does nothing with schedule=constant; leave it out, or write --set "
         f"{NET}.schedule=cosine"),
        (["schedule=linear"], ["lr_floor=0,0.5"], "lr_floor=0,0.5 does nothing with schedule=line"),
        (["lr_floor=0.2"], ["schedule=linear,constant"],
         "does nothing with schedule=constant or schedule=linear"),
        (["warmup=0", "warmup_from=0.01"], [],
         "warmup_from=0.01 does nothing with warmup=0; leave it out, or write --set warmup=0.01"),
        ([f"{NET}.lr=0.01"], ["lr=0.1,0.2"],
         f"lr=0.1,0.2 does nothing beside {NET}.lr=0.01; leave it out"),
    ],
)  # fmt: skip
def test_a_setting_that_does_nothing_is_refused(settings, sweeps, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        said(settings=settings, sweeps=sweeps)


def test_a_setting_that_does_something_in_one_column_is_taken():
    assert said(settings=["lr_floor=0.7"]) == []
    assert said(settings=["lr_floor=0.7"], sweeps=["schedule=linear,cosine"]) == []
    assert MODELS["cnn"].recipes["default"].schedule == "constant"
    assert said("cnn", NET, settings=["lr_floor=0.7"]) == []
    assert said("cnn", NET, settings=["cnn.lr=0.01"], sweeps=["lr=0.1,0.2"]) == []
    with pytest.raises(ValueError, match=r"cnn\.lr_floor=0\.7 does nothing with schedule=constant"):
        said("cnn", NET, settings=["cnn.lr_floor=0.7"])


def test_a_floor_does_nothing_but_under_cosine():
    """What the refusals claim, in numbers."""
    recipe = MODELS[NET].recipes["default"]
    for schedule, differs in (("cosine", True), ("linear", False), ("constant", False)):
        rates = {
            learning_rate(90, 100, type(recipe)(schedule=schedule, lr_floor=floor))
            for floor in (0.1, 0.7)
        }
        assert (len(rates) == 2) == differs


def test_a_search_is_told_and_goes_on():
    """A draw may have another schedule than the default, or give a floor to one without."""
    notes = []
    spaces = [f"{NET}.schedule=one:cosine,linear", f"{NET}.lr_floor=range:0..0.5"]
    wanted = request(settings=["schedule=linear", "lr_floor=0.3"], seeds="0,")
    plan = plan_search(TuneRequest(grid=wanted, budget=3, spaces=spaces[:1]), notes.append)
    assert any(note.startswith("lr_floor=0.3 does nothing with schedule=linear") for note in notes)
    for tried in plan.tried[NET, "scratch"]:
        assert final_jobs(plan, {(NET, "scratch"): tried.settings})
    notes.clear()
    plan = plan_search(TuneRequest(grid=request(seeds="0,"), budget=6, spaces=spaces), notes.append)
    drawn = {s for one in plan.tried[NET, "scratch"] for s in one.settings}
    assert "schedule=linear" in drawn and not any("does nothing" in note for note in notes)


def test_flags_that_no_model_reads_are_told():
    flags = {"epochs": 3, "batch": 7, "precision": "bf16"}
    assert said("kmer", overrides=flags) == [
        "--epochs 3 --batch-size 7 --precision bf16 do nothing: kmer does not read them; leave "
        "them out"
    ]
    assert said("kmer", "majority", overrides={"epochs": 3}) == [
        "--epochs 3 does nothing: kmer, majority do not read it; leave it out"
    ]
    assert said("kmer", "cnn", overrides=flags) == []
    assert said("kmer", overrides={"class_weight": "balanced"}) == []


def test_epochs_beside_steps_are_told():
    told = "does nothing beside max_steps=40, which counts steps in place of epochs; leave out one"
    for words in ({"overrides": {"epochs": 3}}, {"settings": ["epochs=3"]}):
        words["settings"] = [*words.get("settings", []), "max_steps=40"]
        assert [told in note for note in said(**words)] == [True]
    assert said(settings=["max_steps=40"]) == []


@pytest.mark.parametrize(
    ("warmup", "epochs", "told"),
    [("33", 1, False), ("34", 1, True), ("5000", 1, True), ("67", 2, False), ("68", 2, True),
     ("0.9", 1, False), ("0.98", 1, True)],
)  # fmt: skip
def test_a_warm_up_that_does_not_end_is_told(warmup, epochs, told):
    """34 steps an epoch: after a warm-up of 33 steps, one has the whole rate."""
    notes = said(settings=[f"warmup={warmup}"], overrides={"epochs": epochs, "batch": 64})
    assert len(notes) == told
    recipe = type(MODELS[NET].recipes["default"])(warmup=float(warmup), schedule="constant")
    steps = 34 * epochs
    whole = {learning_rate(step, steps, recipe) for step in range(steps)}
    assert (recipe.lr in whole) != told


def test_it_is_told_once_with_what_to_write():
    words = {"settings": ["warmup=5000"], "overrides": EPOCH, "seeds": "3"}
    recipe = grid(request(**words))[0].trial.recipe
    share = 100 * (1e-6 + 33 / 5000 * (recipe.lr - 1e-6)) / recipe.lr
    (note,) = said(**words)
    assert note == (
        f"{NET}: the warm-up (warmup=5000) does not end within about 34 steps of training on "
        f"{SPLICE}, so the learning rate stays at {share:.2g} % of lr or less; train longer, or "
        f"write --set {NET}.warmup=0.1"
    )
    (note,) = said(**words, tasks=[SPLICE, "demo/cell_type"], train_share=["0.5", "1"])
    assert f"on {SPLICE} and 1 more" in note or "on demo/cell_type and 1 more" in note
    assert said(NET, settings=[f"{NET}.warmup=0.1"], overrides=EPOCH) == []
    assert said("kmer", settings=[], overrides={}) == []


def test_a_recipe_under_a_small_limit_is_told_and_not_refused():
    (note,) = said("dnabert2", recipe="gue", limit="50", overrides={"epochs": 1})
    assert "dnabert2: the warm-up (warmup=50) does not end within about 2 steps" in note
    (note,) = said(limit="40", overrides=EPOCH)
    assert "within about 1 step of training" in note and f"write --set {NET}.warmup=0" in note


@pytest.mark.parametrize("name", ["gue/mouse_1", "gue/tf_2", "gue/virus_covid"])
def test_a_published_recipe_ends_its_warm_up_on_its_own_task(name):
    from dataclasses import replace

    from dnabench.sweep.effects import _late

    task = TASKS[name]
    (job,) = grid(request(["dnabert2"]))
    recipe, _ = MODELS["dnabert2"].recipe_for("gue").for_task(name)
    trial = replace(job.trial, task=name, recipe=recipe)
    assert _late(trial, replace(task, counts=task.official)) is None


def test_the_command_says_so_before_it_runs(tmp_path):
    words = ["run", "-m", "kmer", "-t", SPLICE, "--seeds", "1", "--out", tmp_path, "--dry-run"]
    done = dnabench(*words, "--epochs", "3")
    assert "note: --epochs 3 does nothing: kmer does not read it; leave it out" in done.stderr
    done = dnabench(*words[:2], NET, *words[3:], "--epochs", "1", "--set", "warmup=5000")
    assert done.returncode == 0 and "the warm-up (warmup=5000) does not end" in done.stderr
