"""Recipes: what a model offers, what a trial of a task gets of it, and what a report says."""

import dataclasses
import json

import pytest
from conftest import dnabench, planted_task
from test_reports import only, record

from dnabench import MODELS, TASKS, Recipe
from dnabench.cli.explain import explained
from dnabench.reports.text.captions import caption, recipe_grid
from dnabench.sweep.checks import check_fine_tuning, check_recipe
from dnabench.sweep.grid import Request, _settled, grid, incompatibility, label
from dnabench.sweep.settings import check_once
from dnabench.types import Published, Record

PUBLISHED = {
    (model, name): recipe
    for model in MODELS
    for name, recipe in MODELS[model].recipes.items()
    if isinstance(recipe, Published)
}
LATER = {
    "no_decay": "biases-norms", "norm_batch": 32, "max_steps": 7, "horizon": "train",
    "warmup_from": 0.0, "max_length": 9, "class_weight": "balanced",
}  # fmt: skip


def chosen(model, task, *settings, recipe="", **overrides):
    """Recipe and options of a trial of a declared task, whose data need not be here."""
    request = Request(models=[model], recipe=recipe, overrides=overrides)
    return _settled(MODELS[model], TASKS[task], request, settings, "scratch")


@pytest.mark.parametrize("field", LATER)
def test_a_later_field_moves_an_id_only_where_it_changes_a_number(field):
    plain = record().trial
    moved = dataclasses.replace(plain, recipe=Recipe(**{field: LATER[field]}))
    said = dataclasses.replace(plain, recipe=Recipe(differs="theirs is fp16", source="a paper"))
    assert moved.id != plain.id and said.id == plain.id


def test_a_record_has_later_fields_only_where_they_say_something():
    plain, full = record(), record(recipe=Recipe(**LATER, differs="theirs is fp16"))
    assert not {*LATER, "differs"} & json.loads(plain.to_json())["trial"]["recipe"].keys()
    for one in (plain, full):
        assert Record.from_json(one.to_json()) == one


def test_a_recipe_sets_options_and_the_user_sets_above_it():
    recipe, options = chosen("hyenadna", "nt/h3")
    assert (options["shift"], options["resid_dropout"], options["embed_dropout"]) == (0, 0.1, 0.2)
    assert type(recipe) is Recipe and recipe.horizon == "train" and recipe.padding == "left-pad"
    assert chosen("hyenadna", "nt/h3", "shift=0.05")[1]["shift"] == 0.05
    official = chosen("hyenadna", "nt/h3", recipe="nt-official")[1]
    assert (official["shift"], official["resid_dropout"], official["embed_dropout"]) == (0, 0, 0.1)
    assert chosen("hyenadna", "nt/h3", recipe="nt-house")[1] == MODELS["hyenadna"].options
    assert chosen("convnova-386k", "nt/h3")[1]["dilation_schedule"] == "code"
    assert chosen("convnova-386k", "genomic_benchmarks/human_enhancers_cohn")[1][
        "final_conv"
    ] is False  # fmt: skip
    assert chosen("convnova-386k", "demo/splice_junctions")[1] == MODELS["convnova-386k"].options


def test_a_label_names_what_the_user_changed_of_the_suites_recipe():
    trial = record("hyenadna", task="nt/h3").trial
    recipe, options = chosen("hyenadna", "nt/h3")
    assert label(dataclasses.replace(trial, recipe=recipe, options=options)) == "hyenadna"
    options["shift"] = 0.05
    other = dataclasses.replace(trial, recipe=recipe, options=options)
    assert label(other) == "hyenadna shift=0.05"


# steps of run_dnabert2.sh: ceil(train / batch) x epochs, but 1,000 for mouse; batch 128 for covid
@pytest.mark.parametrize(
    ("task", "steps", "warmup", "tokens"),
    [
        ("emp_h3", 1125, 50, 128), ("prom_core_all", 5920, 50, 20),
        ("prom_core_tata", 1540, 50, 20), ("prom_300_notata", 5308, 50, 70),
        ("prom_300_tata", 1540, 50, 70), ("splice_reconstructed", 5705, 50, 80),
        ("virus_covid", 4584, 50, 256), ("mouse_1", 1000, 30, 30), ("mouse_3", 1000, 30, 30),
        ("tf_2", 1782, 30, 30),
    ],
)  # fmt: skip
def test_dnabert2_trains_on_gue_as_long_as_its_script_says(task, steps, warmup, tokens):
    recipe, _ = chosen("dnabert2", f"gue/{task}")
    n = TASKS[f"gue/{task}"].official["train"]
    done = recipe.max_steps or -(-n // recipe.batch) * recipe.epochs_over(n)
    assert (done, recipe.warmup, recipe.max_length) == (steps, warmup, tokens)
    assert (recipe.warmup_from, recipe.no_decay, recipe.schedule) == (0, "biases-norms", "linear")


def test_every_task_of_gue_has_its_length_and_no_pattern_is_idle():
    gue = [name for name in TASKS if name.startswith("gue/")]
    assert len(gue) == 28 and all(chosen("dnabert2", name)[0].max_length for name in gue)
    for (model, _), recipe in PUBLISHED.items():
        for pattern, values in recipe.tasks.items():
            one = dataclasses.replace(recipe, tasks={pattern: values})
            assert any(one.for_task(t)[0] != one.for_task("x/x")[0] for t in TASKS), pattern
            assert values.keys() <= Recipe().numbers.keys(), (model, pattern)


def test_epochs_of_the_user_replace_the_steps_of_a_recipe():
    assert chosen("dnabert2", "gue/mouse_3", epochs=2)[0].max_steps == 0
    assert chosen("dnabert2", "gue/mouse_3", "epochs=2")[0].epochs == 2
    both = chosen("dnabert2", "gue/mouse_3", "epochs=2", "max_steps=50")[0]
    assert both.max_steps == 50 and both.epochs_over(320) == 5


@pytest.mark.parametrize(("model", "name"), PUBLISHED)
def test_a_published_recipe_says_what_it_sets_and_what_differs(model, name):
    recipe, of = PUBLISHED[model, name], MODELS[model]
    check_recipe(recipe.for_task("x/x")[0])
    assert recipe.options.keys() <= of.options.keys()
    assert recipe.differs and not recipe.source.startswith("house")
    known = {*recipe.numbers, *of.options}
    assert recipe.why.keys() <= known, "a source for what is no field"
    assert all(text.isascii() and "; " not in recipe.source for text in (recipe.differs, name))
    others = [r for r in of.recipes.values() if r is not recipe]
    assert all(r.source != recipe.source for r in others)


def test_what_a_published_loss_does_otherwise_is_said():
    differs = MODELS["cnn"].recipes["default"].differs
    assert differs.startswith("theirs applies a sigmoid before a loss that applies it again")


@pytest.mark.parametrize(
    ("model", "suite", "batch", "of_a_gpu"),
    [
        ("legnet", "nt", 256, 128), ("legnet", "genomic_benchmarks", 256, 64),
        ("basenji", "genomic_benchmarks", 256, 64),
    ],
)  # fmt: skip
def test_batch_norms_are_of_as_many_gpus_as_the_authors_had(model, suite, batch, of_a_gpu):
    recipe = MODELS[model].recipes[suite]
    assert (recipe.batch, recipe.norm_batch) == (batch, of_a_gpu)


def test_house_recipes_stand_beside_the_published_ones_and_say_so():
    for model in ("caduceus_ph", "hyenadna", "convnova", "legnet"):
        recipes = MODELS[model].recipes
        for suite in ("nt", "genomic_benchmarks"):
            house, published = recipes[f"{suite}-house"], recipes[suite]
            assert house.source.startswith("house: ") and type(house) is Recipe
            assert (house.padding, house.horizon, house.norm_batch) == ("mask", "own", 0)
            assert (house.lr, house.batch, house.epochs) == (
                published.lr, published.batch, published.epochs,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"warmup": 2.5}, "warmup=2.5: give a share below 1 or a number of steps"),
        ({"horizon": "test"}, "must be one of own, train, train"),
        ({"no_decay": "biases"}, "must be one of model, biases-norms"),
        ({"max_steps": 10, "horizon": "train"}, "max_steps=10 replaces them"),
        ({"max_length": -1}, "must not be negative"),
    ],
)
def test_numbers_that_no_training_could_use_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        check_recipe(Recipe(**changes))


def test_no_label_of_a_base_is_cut_off():
    task = planted_task(kind="per_base")
    with pytest.raises(ValueError, match="has a label for every base, so nothing may be cut off"):
        check_fine_tuning(MODELS["convnova"], task, Recipe(max_length=50), {})


@pytest.mark.parametrize(
    ("model", "settings", "tokens"),
    [("ntv2-50m", [], "6mer"), ("cnn", ["tokenizer=bpe"], "bpe"), ("dnabert", [], "kmer6")],
)
def test_padding_that_stands_for_letters_is_refused_for_words(model, settings, tokens, csv):
    asked = Request(
        models=[model], data=str(csv), seeds="1", settings=["padding=left-pad", *settings]
    )
    with pytest.raises(ValueError, match=f"padding=left-pad .*the tokens of {model} are {tokens};"):
        grid(asked)
    asked.settings[0] = "padding=mask"
    assert len(grid(asked)) == 1


@pytest.mark.parametrize(
    "settings", [["cnn.lr=0.1", "lr=0.2"], ["lr=0.2", "cnn.lr=0.1"]], ids=["first", "last"]
)
def test_what_is_for_one_model_counts_before_what_is_for_all(settings, csv):
    asked = Request(models=["cnn", "convnova-386k"], data=str(csv), seeds="1", settings=settings)
    found = {job.trial.model: job.trial.recipe.lr for job in grid(asked)}
    assert found == {"cnn": 0.1, "convnova-386k": 0.2}


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--set", "lr=0.1", "--set", "lr=0.2"], "lr has two values, 0.1 and 0.2: leave out one"),
     (["--set", "cnn.lr=0.1", "--set", "cnn.lr=0.2"], "cnn.lr has two values, 0.1 and 0.2"),
     (["--rc", "augment", "--set", "rc=none"], "rc has two values, augment and none"),
     (["--batch-size", "4", "--sweep", "batch=8,16"], "`dnabench run --sweep batch=4,8,16` has")],
)  # fmt: skip
def test_a_setting_with_two_values_is_refused(words, says, csv, tmp_path):
    done = dnabench("run", "-m", "cnn", "--data", csv, "--out", tmp_path, "--dry-run", *words)
    assert done.returncode == 2 and says in done.stderr
    done = dnabench("run", "-m", "cnn", "--data", csv, "--out", tmp_path, "--dry-run", *words[:2])
    assert done.returncode == 0, done.stderr


def test_one_value_written_in_two_ways_is_one_value():
    check_once(["lr=0.001", "cnn.lr=0.1", "lr=1e-3", "batch=8"], {"batch": 8})


@pytest.mark.parametrize(
    "words",
    ["pretrain hyenadna --genome {0} --holdout x --to {0}.net --set width=8 --set width=16",
     "check-model hyenadna --set width=8 --set width=16",
     "embed hyenadna {0} --regime scratch --set width=8 --set width=16 --to {0}.npy",
     "tune -m hyenadna -s demo --dry-run --set width=8 --space width=16",
     "tune -m hyenadna -s demo --dry-run --space width=8 --space width=16"],
)  # fmt: skip
def test_a_setting_with_two_values_is_refused_where_none_is_swept(words, tmp_path):
    path = tmp_path / "a.fa"
    path.write_text(f">x\n{'ACGT' * 20}\n")
    done = dnabench(*words.format(path).split())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: width has two values, 8 and 16: leave out one"


def test_a_model_reads_the_start_of_sequences_that_are_too_long_for_it():
    long = planted_task(length=5000)
    assert "reads 1,024 bp at most" in incompatibility(MODELS["hyenadna"], long)
    assert not incompatibility(MODELS["hyenadna"], long, 1024)


def test_values_of_single_tasks_are_one_column_of_a_table():
    tasks = ("gue/emp_h3", "gue/prom_core_tata", "gue/mouse_3")
    own = {task: chosen("dnabert2", task)[0] for task in tasks}
    table = only([record("dnabert2", task=t, recipe=r) for t, r in own.items()])
    assert [c.label for c in table.columns] == ["dnabert2"]
    shown = table.columns[0].recipes["gue"]
    assert (shown.epochs, shown.max_steps, shown.max_length) == (3, 0, 0)
    # the same number for all tasks is the user's, and is shown as it is
    four = {t: dataclasses.replace(r, epochs=4, max_steps=0) for t, r in own.items()}
    table = only([record("dnabert2", task=t, recipe=r) for t, r in four.items()])
    assert table.columns[0].recipes["gue"].epochs == 4
    # runs with the recipe's and runs with the user's numbers are told apart
    mixed = [record("dnabert2", task=t, recipe=r) for some in (own, four) for t, r in some.items()]
    assert len(only(mixed).columns) > 1


def test_options_of_a_suites_recipe_make_no_column_and_those_of_a_sweep_do():
    model = MODELS["hyenadna"]
    recipe, options = chosen("hyenadna", "nt/h3")
    nt = record("hyenadna", task="nt/h3", recipe=recipe, options=options)
    usual = {"recipe": model.recipes["default"], "options": dict(model.options)}
    across = only([nt, record("hyenadna", task="demo/x", **usual)])
    assert [c.label for c in across.columns] == ["hyenadna"]
    assert "shift" not in across.columns[0].options and across.columns[0].options["width"] == 256
    swept = record("hyenadna", task="nt/h3", recipe=recipe, options={**options, "shift": 0.05})
    assert {c.label for c in only([nt, swept]).columns} == {
        "hyenadna shift=0", "hyenadna shift=0.05",
    }  # fmt: skip


def test_a_report_names_what_differs_and_what_was_cut():
    recipe = MODELS["caduceus_ph"].recipes["genomic_benchmarks"]
    task = "genomic_benchmarks/dummy_mouse_enhancers_ensembl"
    used = recipe.for_task(task)[0]
    table = only([
        record("caduceus_ph", task=task, seed=s, recipe=used, flags={"truncated": 0.93125})
        for s in (0, 1)
    ])  # fmt: skip
    (_, _, text), *more = recipe_grid(table).rows
    assert not more and "differs: theirs is fp16" in text and "horizon=train+test" in text
    assert " ".join(caption(table)).endswith(
        f"Cut at the end of long sequences: caduceus_ph, 93.1 % of {task} beyond 1,024 tokens."
    )


def test_explain_prints_each_value_with_its_source_and_what_differs():
    text = dnabench("list", "recipes", "--explain", "caduceus_ph", "nt_reduced").stdout
    first, *rows, last = text.splitlines()
    assert first.startswith("caduceus_ph nt: kuleshov-group/caduceus slurm_scripts/")
    assert last.startswith("Differs: theirs is fp16") and last.endswith(".")
    fields = {row.split()[0]: row for row in rows}
    assert "config.yaml, optimizer_param_grouping" in fields["option"]
    assert "train_len" in fields["horizon"] and "house: any device" in fields["precision"]
    gue = dnabench("list", "recipes", "--explain", "dnabert2", "gue").stdout
    assert "mouse_*               max_length=30, max_steps=1000, warmup=30" in gue
    assert "lr_floor" not in gue  # a linear schedule has none
    assert "Differs: theirs applies a sigmoid before a loss" in explained(["cnn", "default"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["recipes", "--explain"], "give a model and, if you like, a recipe or suite"),
        (["recipes", "--explain", "caduceus"], "no model named 'caduceus'"),
        (["recipes", "--explain", "cnn", "ntt"], "no recipe named 'ntt'; cnn has default"),
        (["models", "--explain", "cnn"], "--explain is for recipes, not for models"),
    ],
)
def test_explain_says_what_it_needs(words, says):
    done = dnabench("list", *words)
    assert done.returncode == 2 and says in done.stderr
