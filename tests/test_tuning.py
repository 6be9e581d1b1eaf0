"""`dnabench tune`: equal budgets, chosen on validation, tested once; nothing is repeated."""

import collections
import dataclasses
import itertools
import os
import signal

import numpy as np
import pytest
from bench.tuning import simulate
from conftest import dnabench, planted_task
from test_sweep import completions, start, wait_for

from dnabench import MODELS, TASKS, Record, Trial
from dnabench.reports import stats
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.tuning import agreeing
from dnabench.results.merging import faults, merge
from dnabench.results.searches import Candidate, Choice, Search, choose, searches, values
from dnabench.results.store import Store
from dnabench.spaces import parse_dimension
from dnabench.sweep.draws import quantile
from dnabench.sweep.grid import Request
from dnabench.sweep.own_spaces import space_of
from dnabench.sweep.search import TuneRequest, plan_search
from dnabench.sweep.trial import _as_scored, run_trial
from dnabench.types import Job

QUICK = ["--limit", "40", "--epochs", "1", "--executor", "inline", "--tuning-seeds", "2"]


@pytest.fixture
def put(monkeypatch):
    """Put a task in the registry for one test."""

    def put(**changes):
        task = planted_task(**changes)
        monkeypatch.setitem(TASKS._entries, task.name, task)
        return task

    list(TASKS)
    yield put


def job(task, model, scored="val", protocol="honest/1"):
    recipe = dataclasses.replace(MODELS[model].recipes["default"], epochs=2)
    return Job(
        Trial(
            model=model, options=dict(MODELS[model].options), regime="scratch", task=task.name,
            data=task.data, protocol=protocol, recipe=recipe, seed=0, scored=scored,
        )
    )  # fmt: skip


def without_test(split):
    if split == "test":
        raise AssertionError("the test split was touched")
    return planted_task().load(split)


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("model", ["kmer", "cnn"])
def test_a_trial_of_tuning_never_reads_test(put, model, dev):
    task = put(load=without_test, dev=dev)
    record, predictions = run_trial(job(task, model))
    assert set(record.scores) == {"val"} and not predictions and "test" not in record.n_examples
    assert all("test" not in row for row in record.curve)
    again = Record.from_json(record.to_json())
    assert again.trial.tuning and again.trial.id == record.trial.id
    with pytest.raises(AssertionError, match="the test split was touched"):
        run_trial(job(task, model, "test"))


def test_the_test_split_of_a_trial_of_tuning_is_sealed(put):
    task, _ = _as_scored(job(put(), "kmer"))
    with pytest.raises(PermissionError, match="may not read the test split"):
        task.load("test")
    assert len(task.load("dev").y) == 80


def test_tuning_trains_as_the_ordinary_trial_and_has_another_id(put):
    task = put()
    ordinary, (tuned, _) = run_trial(job(task, "cnn", "test"))[0], run_trial(job(task, "cnn"))
    assert tuned.scores["val"] == ordinary.scores["val"]
    assert list(tuned.curve) == list(ordinary.curve)
    assert tuned.trial.id != ordinary.trial.id and '"scored"' not in ordinary.to_json()


def test_a_protocol_that_reads_test_is_refused(put):
    task, protocol = put(), "test-selected/1"
    with pytest.raises(ValueError, match="it chooses the epoch on test"):
        run_trial(job(task, "kmer", protocol=protocol))
    with pytest.raises(ValueError, match="it chooses the epoch on test"):
        plan_search(request(["kmer"], [task.name], protocol=protocol))


def test_spaces():
    lr = parse_dimension("lr", "log:1e-4..1e-2")
    assert [lr.at(u) for u in (0, 0.5, 0.999999)] == ["0.0001", "0.001", "0.01"]
    assert [parse_dimension("k", "int:1..4").at(u) for u in (0, 0.49, 0.99)] == ["1", "2", "4"]
    assert parse_dimension("dropout", "range:0..0.3").at(0.5) == "0.15"
    assert parse_dimension("rc", "one:none, conjoin").at(0.5) == "conjoin"
    for text in ("1..2", "log:0..1", "int:1.5..3", "one:", "range:2..1", "log:a..b", "int:1..inf"):
        with pytest.raises(ValueError, match="lr="):
            parse_dimension("lr", text)


def test_every_model_has_a_space_that_can_be_read_and_set():
    for name in MODELS:
        model, space = MODELS[name], space_of(MODELS[name])
        assert space or model.custom_trainer
        for setting, text in space.items():
            assert setting in model.options or model.reads(setting)
            assert parse_dimension(setting, text).at(0.5)


def request(models, tasks, budget=4, seeds="2", **changes):
    own = {k: changes.pop(k) for k in ("settings", "overrides", "protocol") if k in changes}
    grid = Request(models=models, tasks=tasks, seeds=seeds, **own)
    return TuneRequest(grid=grid, budget=budget, **changes)


def settings(plan):
    return {name: [one.settings for one in tried] for (name, _), tried in plan.tried.items()}


def test_every_model_gets_the_same_budget_and_the_same_quantiles(put):
    task = put()
    plan = plan_search(request(["cnn", "legnet", "kmer"], [task.name], budget=5))
    found = settings(plan)
    assert {name: len(set(tried)) for name, tried in found.items()} == dict.fromkeys(found, 5)
    assert all(tried[0] == () for tried in found.values())
    assert found["cnn"][1:] == found["legnet"][1:]  # their spaces are the same
    assert found["cnn"][1][0] == "lr=" + parse_dimension("lr", space_of(MODELS["cnn"])["lr"]).at(
        quantile(0, 1, "lr")
    )
    assert all(job.trial.tuning and job.trial.seed in (1000, 1001) for job in plan.jobs)
    larger = settings(plan_search(request(["cnn"], [task.name], budget=9)))
    assert larger["cnn"][:5] == found["cnn"]
    other = settings(plan_search(request(["cnn"], [task.name], search_seed=1)))
    assert other["cnn"][1] != found["cnn"][1]


def test_what_the_user_sets_is_not_searched(put):
    task = put()
    asked = request(
        ["cnn", "kmer"], [task.name], settings=["cnn.weight_decay=0.01"], overrides={"epochs": 2},
        spaces=["lr=one:0.001,0.002", "kmer.k_max=int:5..6"],
    )  # fmt: skip
    plan = plan_search(asked)
    assert plan.spaces["cnn"] == {"lr": "one:0.001,0.002", "batch": "one:32,64,128"}
    assert plan.spaces["kmer"] == {"k_min": "int:1..4", "k_max": "int:5..6"}
    assert {job.trial.recipe.epochs for job in plan.jobs if job.trial.model == "cnn"} == {2}


def test_a_small_space_is_searched_whole_and_said(put):
    said = []
    asked = request(["kmer"], [put().name], budget=9, spaces=["k_max=one:5,6", "k_min=one:2"])
    found = settings(plan_search(asked, said.append))["kmer"]
    assert found == [(), ("k_min=2", "k_max=5")]  # the other point is the default
    assert said == ["kmer (scratch): 2 different configurations were found in its space"]


def test_points_that_no_draw_found_are_tried_too(put, monkeypatch):
    monkeypatch.setattr("dnabench.sweep.draws.MOST_DRAWS", 1)
    spaces, said = ["k_max=one:7,8", "k_min=int:1..4"], []
    plan = plan_search(request(["kmer"], [put().name], budget=9, spaces=spaces), said.append)
    every = {(f"k_min={low}", f"k_max={high}") for low in range(1, 5) for high in (7, 8)}
    assert {*settings(plan)["kmer"]} == every | {()} and not said


def test_a_grid_has_every_combination(put):
    asked = request(
        ["kmer"], [put().name], search="grid", budget=7,
        spaces=["k_max=one:5,6,7", "k_min=one:1,3"],
    )  # fmt: skip
    found = settings(plan_search(asked))["kmer"]
    assert found[0] == () and len(found) == 7 and ("k_min=3", "k_max=7") in found


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"budget": 1}, "--budget 1"), ({"per": "day"}, "--per 'day'"),
        ({"search": "bayes"}, "choose from random, grid, tpe, halving"),
        ({"search": "grid"}, "is a range"),
        ({"tuning_seeds": "1,"}, "seed 1 is in --tuning-seeds"), ({"spaces": ["lr"]}, "--space"),
        ({"spaces": ["rate=log:1..2"]}, "rate"), ({"spaces": ["lr=1..2"]}, "not a space"),
        ({"search": "grid", "budget": 2, "spaces": ["k_min=one:1,2", "k_max=one:4,5"],
          "models": ["kmer"]}, "more than --budget 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(put, changes, why):
    models = changes.pop("models", ["cnn"])
    with pytest.raises(ValueError, match=why):
        plan_search(request(models, [put().name], **changes))


def candidate(number, *scores, **more):
    return Candidate(number=number, settings=(), scores={"t": scores}, **more)


def test_the_choice():
    mcc = {"t": "mcc"}
    some = [candidate(0, 0.4, 0.6), candidate(1, 0.9, 0.3), candidate(2, 0.99, failed=1)]
    assert choose(some, mcc).number == 1
    assert choose(some, {"t": "mse"}).number == 0  # lower is better
    equal = [candidate(0, 0.5, n_params=9), candidate(1, 0.5, n_params=7, flops=2.0),
             candidate(2, 0.5, n_params=7, flops=1.0)]  # fmt: skip
    assert choose(equal, mcc).number == 2
    with pytest.raises(ValueError, match="every configuration has trials that failed"):
        choose([candidate(0, failed=2)], mcc)


def test_seeds_agree_by_the_rule_of_the_choice():
    """Of equal configurations the one with fewer parameters; one seed always agrees with itself."""
    for scores, says in (((0.5,), "1 of 1"), ((0.5, 0.5), "2 of 2")):
        some = (candidate(0, *scores, n_params=9), candidate(1, *scores, n_params=7))
        best = choose(some, {"t": "mcc"})
        choice = Choice(model="m", regime="scratch", tasks=("t",), candidates=some, final={},
                        chosen=best.number)  # fmt: skip
        search = Search(budget=2, search="random", search_seed=0, per="task", tuning_seeds=(1, 2),
                        seeds=(0,), spaces={}, metrics={"t": "mcc"}, choices=(choice,))  # fmt: skip
        assert best.number == 1 and agreeing(choice, search) == says


def test_tasks_of_several_metrics_are_chosen_by_rank():
    both = {"a": "mcc", "b": "mse"}
    made = [(0.5, 9.0), (0.6, 1.0), (0.7, 5.0)]
    some = [
        Candidate(number=i, settings=(), scores={"a": (x,), "b": (y,)})
        for i, (x, y) in enumerate(made)
    ]
    assert values(some, both) == [-3.0, -1.5, -1.5]
    assert choose(some, both).number == 1


@pytest.mark.parametrize("default", [0.3, 0.6, 0.9])
def test_the_expected_best_is_the_mean_over_all_draws_with_the_default(default):
    others = [0.9, 0.5, 0.5, 0.7]
    scores = [default, *others]
    for k in range(1, 6):
        draws = [max((default, *draw)) for draw in itertools.combinations(others, k - 1)]
        found = stats.expected_best(scores, k)
        assert found.value == pytest.approx(np.mean(draws), abs=1e-12)
        assert found.low - 1e-12 <= found.value <= found.high + 1e-12
        means = [  # of every sample of the others, all equally likely
            np.mean([max((default, *draw)) for draw in itertools.combinations(sample, k - 1)])
            for sample in itertools.product(others, repeat=4)
        ]
        ends = np.quantile(means, [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.02)
    with pytest.raises(ValueError, match="k = 6 of n = 5"):
        stats.expected_best(scores, 6)
    with pytest.raises(ValueError, match="k = 0 of n = 5"):
        stats.expected_best(scores, 0)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with a search of two models, and what the command printed."""
    folder = tmp_path_factory.mktemp("tune")
    rows = ["sequence,label,split"]
    parts = planted_task(n=64)
    for split in ("train", "dev", "test"):
        part = parts.load(split)
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(len(part.y))]
    (folder / "my.csv").write_text("\n".join(rows) + "\n")
    words = ["tune", "-m", "kmer,cnn", "--data", folder / "my.csv", "--budget", "3", "--seeds",
             "5", "--out", folder / "runs", *QUICK]  # fmt: skip
    return folder, words, dnabench(*words)


def test_budgets_in_the_store_are_equal_and_no_trial_of_tuning_has_test(searched):
    folder, _, done = searched
    assert done.returncode == 0, done.stderr
    store = Store(folder / "runs")
    tried = collections.defaultdict(set)
    for record in store:
        if record.trial.tuning:
            assert set(record.scores) == {"val"} and record.trial.seed in (1000, 1001)
            assert not store.predictions_path(record.trial.id).exists()
            one = dataclasses.replace(record.trial, seed=0).id
            tried[record.trial.model].add(one)
        else:
            assert "test" in record.scores and record.trial.seed < 5
    assert {model: len(found) for model, found in tried.items()} == {"kmer": 3, "cnn": 3}
    assert not list(faults(store))


def test_the_report_has_default_against_tuned_and_no_trial_of_tuning(searched):
    folder, _, done = searched
    (search,) = searches(Store(folder / "runs"))
    assert search.budget == 3 and search.tuning_seeds == (1000, 1001)
    for text in (
        "Default against tuned",
        "Expected best validation score",
        "Budget: 3 config",
        "tuning seeds 1000, 1001",
        "Final seeds: 0, 1, 2, 3, 4",
        "lr=log:1e-4..5e-3",
    ):
        assert text in done.stdout  # fmt: skip
    store = Store(folder / "runs")
    (evidence,) = report(list(store), store, Resampler(store)).evidence
    names = {c.name for c in evidence.table.columns}
    tuned = {c.model for c in search.choices if c.chosen}
    assert names == {"kmer", "cnn", *(f"{model} tuned" for model in tuned)}
    runs = {r.trial.id for row in evidence.table.rows for c in row.cells for r in c.runs}
    final = {i for c in search.choices for pair in c.final.items() for i in pair}
    assert runs == final
    assert dnabench("report", "--out", folder / "runs", "-f", "csv").returncode == 0


def test_the_same_command_runs_nothing_again_and_more_seeds_only_themselves(searched):
    folder, words, done = searched
    before = completions(folder / "runs")
    again = dnabench(*words)
    assert again.stdout == done.stdout and completions(folder / "runs") == before
    dry = dnabench(*words, "--dry-run")
    assert "12 trials of tuning, 0 of them to run" in dry.stdout
    assert len(list((folder / "runs" / "tuning").iterdir())) == 1


def test_a_model_that_was_not_tuned_is_named_beside_those_that_were(searched, tmp_path):
    folder, _, _ = searched
    copy = Store(tmp_path / "copy")
    merge([Store(folder / "runs")], copy)
    assert searches(copy) == searches(Store(folder / "runs"))
    words = ["run", "-m", "majority", "--data", folder / "my.csv", "--seeds", "5", "--out",
             copy.folder, "--limit", "40", "--epochs", "1", "--executor", "inline"]  # fmt: skip
    assert dnabench(*words).returncode == 0
    (evidence,) = report(list(copy), copy, Resampler(copy)).evidence
    assert "kmer and cnn were tuned and majority not" in evidence.remarks[0]


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_repeats_nothing(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ["tune", "-m", "sleeps,kmer", "--data", csv, "--budget", "4", "--seeds", "3",
             "--out", out, "--jobs", "1", "--space", "sleeps.lr=log:1e-4..1e-2"]  # fmt: skip
    for enough in (2, 18):  # in the search, and in the final runs
        search = start(*words, plugin=plugin)
        wait_for(lambda n=enough: len(completions(out)) >= n)
        os.killpg(search.pid, signal.SIGKILL)
        search.communicate()
    done = dnabench(*words, plugin=plugin)
    assert done.returncode == 0, done.stderr
    store = Store(out)
    (search,) = searches(store)
    wanted = {i for c in search.choices for one in c.candidates for i in one.trials}
    wanted |= {i for c in search.choices for pair in c.final.items() for i in pair}
    assert completions(out) == dict.fromkeys(wanted, 1)


def test_choosing_on_test_is_biased_and_choosing_on_validation_is_not():
    found = simulate(200, 150)
    honest, on_test = found["validation"], found["test"]
    assert abs(honest.mean) < 4 * honest.error and honest.wins < 0.1
    assert on_test.mean > 8 * on_test.error
