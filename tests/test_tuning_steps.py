"""Searches whose next configuration follows from records: hours, FLOP, TPE, halving."""

import math

import pytest

import dnabench as db
from dnabench.executors import local
from dnabench.results.searches import searches
from dnabench.results.store import Store
from dnabench.sweep import progress
from dnabench.sweep.steps import STARTUP, flops_of, hours_of

TASK = "demo/splice_junctions"
DEMO = {"tasks": TASK, "limit": 40, "executor": "inline", "seeds": 1, "tuning_seeds": 1}
PLAIN = {k: v for k, v in DEMO.items() if k != "tuning_seeds"}
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, task, width=64):
        super().__init__()
        self.embedding = nn.Embedding(8, width)
        self.convolution = nn.Conv1d(width, width, 9, padding=4)
        self.head = nn.Linear(width, task.n_outputs)

    def features(self, ids, mask):
        x = self.embedding(ids.long()).transpose(1, 2)
        return self.convolution(x).relu().mean(2)

    def forward(self, ids, mask):
        return self.head(self.features(ids, mask))
"""
SPACE = ["lr=log:1e-4..1e-2", "batch=one:8,16,32", "weight_decay=range:0..0.3"]


def costs_of(store, choice, of):
    """What each configuration cost, from the records alone."""
    return [math.fsum(of(store.read(i)) for i in c.trials) for c in choice.candidates]


def numbers(search):
    return [[(c.number, c.settings, c.partial) for c in choice.candidates]
            for choice in search.choices]  # fmt: skip


def copied(store, folder, trials):
    """A folder with only these records of a store: what a killed search leaves."""
    out = Store(folder)
    out.check_writable()
    for trial in trials:
        out.append(store.read(trial))
    return out


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Two models under one budget of FLOP, of which cnn is the cheaper."""
    folder = tmp_path_factory.mktemp("flops")
    (folder / "net.py").write_text(NET)
    models, out = f"cnn,{folder / 'net.py'}:Net", folder / "runs"
    dear = max(flops_of(r) for r in db.run(models, out=out, epochs=1, **PLAIN).records)
    flags = {"epochs": 1, "space": SPACE, **DEMO}
    tuned = db.tune(models, out=out, budget_flops=2.5 * dear, **flags)
    return Store(out), tuned, 2.5 * dear, flags | {"models": models}


def test_every_model_spends_the_same_flop_and_the_cheaper_tries_more(counted):
    store, tuned, budget, _ = counted
    cheap, dear = tuned.search.choices
    assert len(cheap.candidates) > len(dear.candidates) == 3
    for choice in tuned.search.choices:
        costs = costs_of(store, choice, flops_of)
        assert math.fsum(costs[:-1]) < budget <= math.fsum(costs)
        trials = [store.read(i) for c in choice.candidates for i in c.trials]
        assert all(set(record.scores) == {"val"} for record in trials)
    assert tuned.search.flops == budget and not tuned.search.budget
    text = tuned.report()
    assert "FLOP of training of each model" in text and "cheaper tries more of them" in text
    assert "are no fixed part of hours or FLOP" in text
    assert "Expected best validation score" not in text


def test_flop_are_three_forward_passes_of_every_training_example(counted):
    store, tuned, _, _ = counted
    record = store.read(tuned.search.choices[0].default.trials[0])
    passes = record.n_examples["train"] * len(record.curve)
    assert flops_of(record) == 3 * record.flops * passes > 0


def test_the_same_draws_as_under_a_budget_of_configurations(counted, tmp_path):
    _, tuned, _, flags = counted
    plain = db.tune(out=tmp_path, budget=3, **flags)
    for a, b in zip(tuned.search.choices, plain.search.choices, strict=True):
        assert [c.settings for c in a.candidates[:3]] == [c.settings for c in b.candidates]


def test_hours_are_those_of_the_records(tmp_path):
    first = db.tune("cnn", out=tmp_path, epochs=1, space=SPACE, budget=2, **DEMO)
    store = Store(tmp_path)
    hours = math.fsum(costs_of(store, first.search.choices[0], hours_of)) * 1.2
    tuned = db.tune("cnn", out=tmp_path, epochs=1, space=SPACE, budget_hours=hours, **DEMO)
    (choice,) = tuned.search.choices
    costs = costs_of(store, choice, hours_of)
    assert math.fsum(costs[:-1]) < hours <= math.fsum(costs) and len(costs) >= 2
    again = db.tune("cnn", out=tmp_path, epochs=1, space=SPACE, budget_hours=hours, **DEMO)
    assert again.search == tuned.search
    assert len(searches(store)) == 2


def test_tpe_goes_on_from_the_records_as_if_it_had_not_been_killed(tmp_path):
    pytest.importorskip("optuna")
    flags = {"epochs": 1, "space": SPACE, "search": "tpe", "budget": 9, **DEMO}
    whole = db.tune("cnn", out=tmp_path / "a", **flags).search
    (choice,) = whole.choices
    assert len({c.settings for c in choice.candidates}) == 9
    store = Store(tmp_path / "a")
    some = [i for c in choice.candidates[:7] for i in c.trials]
    copied(store, tmp_path / "b", some)
    assert numbers(db.tune("cnn", out=tmp_path / "b", **flags).search) == numbers(whole)
    random = db.tune("cnn", out=tmp_path / "b", **{**flags, "search": "random"}).search
    assert numbers(random)[0][:6] == numbers(whole)[0][:6]  # it begins with the same draws
    assert numbers(random) != numbers(whole)


def test_halving_trains_the_best_third_longer_and_chooses_among_the_whole(tmp_path):
    flags = {"epochs": 9, "space": SPACE, "search": "halving", **DEMO}
    one = db.run("cnn", out=tmp_path, epochs=9, **PLAIN)
    budget = 4.2 * flops_of(one.records[0])
    tuned = db.tune("cnn", out=tmp_path, budget_flops=budget, **flags)
    store, search, (choice,) = Store(tmp_path), tuned.search, tuned.search.choices
    rows = tuned.choices()
    assert rows.partial.tolist() == [c.partial for c in choice.candidates]
    assert [*rows.index[rows.chosen]] == [choice.candidates.index(choice.best)]
    costs = costs_of(store, choice, flops_of)
    assert math.fsum(costs[:-1]) < budget <= math.fsum(costs)
    epochs = {k: [] for k in (1, 3, 9)}
    for c in choice.candidates:
        (trial,) = (store.read(i).trial for i in c.trials)
        epochs[trial.recipe.epochs].append(c.number)
        assert c.partial is (trial.recipe.epochs < 9)
    assert {*epochs[9]} - {0} <= {*epochs[3]} <= {*epochs[1]} and len(epochs[9]) >= 2
    assert len(epochs[3]) <= len(epochs[1]) / 3 and len(epochs[9]) - 1 <= len(epochs[3]) / 3
    assert choice.best in choice.whole and not choice.best.partial
    best = max(choice.whole, key=lambda c: c.scores[TASK])
    assert choice.best.scores == best.scores
    some = [i for c in choice.candidates[: len(costs) // 2] for i in c.trials]
    copied(store, tmp_path / "b", some)
    again = db.tune("cnn", out=tmp_path / "b", budget_flops=budget, **flags).search
    assert numbers(again) == numbers(search)


def tried(folder, capsys, **flags):
    """The configurations of the only choice of a search of cnn, and what was said."""
    (choice,) = db.tune("cnn", out=folder, **flags, **DEMO).search.choices
    return choice, capsys.readouterr().err


def test_halving_in_a_small_space_trains_one_whole(tmp_path, capsys):
    lrs = [f"{k}e-4" for k in range(1, 6)]
    flags = {"search": "halving", "space": "lr=one:" + ",".join(lrs), "epochs": 9,
             "set": ["weight_decay=0.01", "batch=32"]}  # fmt: skip
    choice, said = tried(tmp_path, capsys, budget_hours=1.0, **flags)
    (whole,) = (c for c in choice.whole if c.number)
    parts = [c for c in choice.candidates if c.partial]
    assert len({c.number for c in parts}) == 5 and len(parts) == 6  # one of them twice
    assert "6 different configurations were found" in said and "only the default" not in said
    assert whole.number in [c.number for c in parts]
    costs = costs_of(Store(tmp_path), choice, flops_of)
    choice, said = tried(tmp_path, capsys, budget_flops=math.fsum(costs[:4]), **flags)
    assert len(choice.candidates) == 4 and [c.number for c in choice.whole] == [0]
    assert "only the default was trained for all its epochs, 3 other configurations" in said


def test_the_steps_of_a_search_share_their_worker_processes(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    started, start, show = [], local._Worker._start, progress.display
    monkeypatch.setattr(local._Worker, "_start", lambda w: started.append(w) or start(w))
    steps = []
    monkeypatch.setattr(progress, "display", lambda *a: steps.append(a) or show(*a))
    flags = {**DEMO, "executor": "local", "epochs": 1, "jobs": 1}
    assert not db.tune("cnn", out=tmp_path, space=SPACE, search="tpe", budget=8, **flags).failed
    assert len(steps) >= 4 and len(started) == 1
    assert started[0]._process is None  # it ended with the search


@pytest.mark.parametrize(("search", "seed"), [("tpe", 0), ("random", 2)])
def test_all_of_a_finite_space_is_tried(search, seed, tmp_path, capsys):
    pytest.importorskip("optuna")
    flags = {"epochs": 1, "set": ["weight_decay=0.01", "lr=0.001"]}
    one = db.run("cnn", out=tmp_path, **flags, **PLAIN).records[0]
    budget = {"budget_flops": 13.9 * flops_of(one)} if search == "random" else {"budget": 13}
    space = "batch=int:8..19"
    choice, said = tried(
        tmp_path, capsys, space=space, search=search, search_seed=seed, **flags, **budget
    )
    assert {c.settings for c in choice.candidates} == {(), *((f"batch={n}",) for n in range(8, 20))}
    assert len(choice.candidates) == 13 and len({c.number for c in choice.candidates}) == 13
    assert ("13 different configurations" in said) is (search == "random")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"budget": 4, "budget_hours": 1.0}, "give one of them"),
        ({"budget_flops": -1.0}, "--budget-flops -1"),
        ({"budget_hours": math.inf}, "--budget-hours inf"),
        ({"search": "halving"}, "give --budget-hours or --budget-flops"),
        ({"search": "grid", "budget_hours": 1.0}, "--search grid takes every combination"),
        ({"models": "kmer", "budget_flops": 1e9}, "its FLOP are not counted"),
    ],
)
def test_what_is_no_budget_is_refused(changes, why, tmp_path):
    with pytest.raises(ValueError, match=why):
        db.tune(changes.pop("models", "cnn"), out=tmp_path, **{**DEMO, **changes})


def test_a_model_that_always_fails_ends_the_search(tmp_path):
    with pytest.raises(ValueError, match="every configuration has trials that failed"):
        db.tune("cnn", out=tmp_path, space="weight_decay=range:0..0.3", budget_hours=0.01, epochs=1,
                set="cnn.lr=1e38", **DEMO)  # fmt: skip
    assert len(list(Store(tmp_path))) == STARTUP + 1
