"""Regimes and searches of two machines: one column of each, with the units of both."""

import os
from dataclasses import replace

import pytest
from test_reports import record
from test_tuning_told import evidence_of, tuning_of

from dnabench.reports.regimes import ALONE, NESTED, TITLE
from dnabench.results.merging import merge
from dnabench.results.regimes import Regime, regimes, save_regime
from dnabench.results.searches import Candidate, Choice, Search, save_search, searches
from dnabench.results.store import Store
from dnabench.types import Recipe

TASK = "demo/t"


def machine(folder, networks, task=TASK, seeds=range(5), **changes):
    """A folder of `dnabench regimes`: networks[k] is the hash of pretraining k; and kmer."""
    store, trials = Store(folder), {}
    store.check_writable()
    for k, network in enumerate(networks):
        for seed in seeds:
            score = 0.5 + 0.03 * sum(map(ord, network)) % 0.1 + 0.001 * seed
            one = record("cnn", task, seed + 1000 * k, score, regime=f"checkpoint:x@{network}")
            store.append(one)
            trials[one.trial.id] = k
    for seed in range(5):
        store.append(record("kmer", task, seed, 0.48 + 0.001 * seed))
    fields = {
        "id": "a" * 12, "base": "b" * 12, "model": "cnn", "tokenizer": "char", "regime": "hg38",
        "kind": "pretrained", "trials": trials, "bp": 10,
        "seconds": {str(k): 60.0 * len(networks) for k in range(len(networks))},
    }  # fmt: skip
    save_regime(store, Regime(**{**fields, **changes}))
    return store


def merged(sources, folder):
    target, said = Store(folder), []
    merge(sources, target, said.append)
    return target, said


def regime_lines(folder):
    (grid,) = [s for s in evidence_of(folder).sections if s.title == TITLE]
    return [dict(zip(grid.heads, row, strict=True)) for row in grid.rows], grid.notes


def values_of(folder, task=TASK):
    (row,) = [r for r in evidence_of(folder).table.rows if r.task == task]
    return next(c.values for c in row.cells if c.runs and c.runs[0].trial.model == "cnn")


def files(folder):
    """Path -> bytes and time of change, without what only speeds up reading."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {".cache", ".locks"} & {*path.relative_to(folder).parts}
    }


def test_one_pretraining_of_each_of_two_machines_is_two_units(tmp_path):
    a, b = machine(tmp_path / "a", ["aa"]), machine(tmp_path / "b", ["bb"], seeds=range(5, 10))
    assert [len(values_of(store.folder)) for store in (a, b)] == [5, 5]
    both, said = merged([a, b], tmp_path / "both")
    assert not said and len(values_of(both.folder)) == 2
    (d,) = evidence_of(both.folder).comparisons
    assert d.verdict == "descriptive" and sorted(d.n) == [2, 5]
    (line,), notes = regime_lines(both.folder)
    assert line["runs"] == "2 x 5" and notes[1:] == [NESTED]


def test_pretrainings_of_machines_that_made_others_are_all_units(tmp_path):
    a, b = machine(tmp_path / "a", ["aa"], seeds=range(3)), machine(tmp_path / "b", ["b0", "b1"])
    both, _ = merged([a, b], tmp_path / "both")
    assert len(values_of(both.folder)) == 3
    (line,), _ = regime_lines(both.folder)
    assert line["runs"] == "3 x 3-5"
    assert line["minutes"] == f"{(1 + 2 + 2) / 3:.3g}"  # of all three
    (one,) = regimes(both)
    assert {*one.trials} == {*regimes(a)[0].trials, *regimes(b)[0].trials}


def test_the_same_network_of_two_machines_is_one_unit(tmp_path):
    a, b = machine(tmp_path / "a", ["aa"]), machine(tmp_path / "b", ["aa"], seeds=range(3, 8))
    both, _ = merged([a, b], tmp_path / "both")
    assert len(values_of(both.folder)) == 8  # runs, as in each of the folders
    assert regime_lines(both.folder)[1][1:] == [ALONE]


def test_tasks_that_each_have_one_network_stay_as_they_were(tmp_path):
    a, b = machine(tmp_path / "a", ["aa"]), machine(tmp_path / "b", ["bb"], "demo/u")
    both, _ = merged([a, b], tmp_path / "both")
    assert [len(values_of(both.folder, task)) for task in (TASK, "demo/u")] == [5, 5]


def test_files_that_an_older_merge_left_are_one_column(tmp_path):
    a, b = machine(tmp_path / "a", ["aa"]), machine(tmp_path / "b", ["bb"], seeds=range(5, 10))
    both, _ = merged([a, b], tmp_path / "both")
    for n, store in enumerate((a, b)):
        name = f"{'a' * 12}{'-2' * n}.json"
        (both.folder / "regimes" / name).write_bytes(
            (store.folder / "regimes" / f"{'a' * 12}.json").read_bytes()
        )
    assert len(regimes(both)) == 1 and len(values_of(both.folder)) == 2
    again, _ = merged([both], tmp_path / "again")
    assert regimes(again) == regimes(both) and len([*(again.folder / "regimes").iterdir()]) == 1


DEFAULT = {s: record("cnn", TASK, s, 0.50 + 0.001 * (s * s % 7)) for s in range(10)}
OTHER = {
    lr: {s: record("cnn", TASK, s, 0.5 + lr + 0.001 * (s * s % 5), recipe=Recipe(lr=lr))
         for s in range(10)}
    for lr in (0.01, 0.02)
}  # fmt: skip


def searched(folder, seeds, lr=0.01, tried=3, models=("cnn",)):
    """A folder of `dnabench tune` whose search chose lr, and tested it with these seeds."""
    store, choices = Store(folder), []
    store.check_writable()
    for model in models:
        own = {s: (renamed(DEFAULT[s], model), renamed(OTHER[lr][s], model)) for s in seeds}
        for pair in own.values():
            for one in pair:
                store.append(one)
        candidates = [Candidate(number=0, settings=(), scores={TASK: (0.5,)}, trials=("x0",))]
        for n, value in enumerate([0.01, 0.02, 0.03, 0.04][: tried - 1], 1):
            score = 0.8 if value == lr else 0.6
            candidates.append(Candidate(
                number=n, settings=(f"lr={value}",), scores={TASK: (score,)}, trials=(f"x{n}",)
            ))  # fmt: skip
        chosen = next(c.number for c in candidates if c.settings == (f"lr={lr}",))
        choices.append(Choice(
            model=model, regime="scratch", tasks=(TASK,), candidates=tuple(candidates),
            chosen=chosen, final={a.trial.id: b.trial.id for a, b in own.values()},
        ))  # fmt: skip
    save_search(store, Search(
        budget=3, search="random", search_seed=0, per="task", tuning_seeds=(1000,),
        seeds=tuple(seeds), spaces={model: {"lr": "log"} for model in models},
        metrics={TASK: "mcc"}, choices=tuple(choices),
    ))  # fmt: skip
    return store


def renamed(one, model):
    return replace(one, trial=replace(one.trial, model=model))


def columns_of(folder):
    """Name -> number of runs."""
    table = evidence_of(folder).table
    return {
        c.name: len(cell.runs) for c, cell in zip(table.columns, table.rows[0].cells, strict=True)
    }


@pytest.mark.parametrize("how", ["again", "merge"])
def test_more_final_seeds_are_in_the_same_column(tmp_path, how):
    first = searched(tmp_path / "a", range(5))
    if how == "again":
        both = searched(tmp_path / "a", range(5, 10))
    else:
        both, said = merged([first, searched(tmp_path / "b", range(5, 10))], tmp_path / "both")
        assert not said
    (search,) = searches(both)
    assert search.seeds == tuple(range(10)) and len(search.choices[0].final) == 10
    assert columns_of(both.folder) == {"cnn": 10, "cnn tuned": 10}
    remarks, section = tuning_of(evidence_of(both.folder))
    assert not any("earlier search" in remark or "no record" in remark for remark in remarks)
    assert "Final seeds: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in section.notes[0]
    assert "more than once" not in section.notes[0]


@pytest.mark.parametrize("how", ["again", "merge"])
def test_another_choice_of_the_same_search_is_kept_and_said(tmp_path, how):
    first = searched(tmp_path / "a", range(5))
    if how == "again":  # as where trials of tuning ran anew
        both = searched(tmp_path / "a", range(5), lr=0.02)
    else:
        other = searched(tmp_path / "b", range(5), lr=0.02)
        both, said = merged([first, other], tmp_path / "both")
        assert len(said) == 1 and "the same search chose otherwise in" in said[0]
    before, newest = searches(both)
    assert [s.choices[0].best.settings for s in (before, newest)] == [("lr=0.01",), ("lr=0.02",)]
    remarks, section = tuning_of(evidence_of(both.folder))
    assert any("an earlier search" in x and "lr=0.01 is no untuned model" in x for x in remarks)
    assert "cnn was searched more than once" in section.notes[0]


def test_only_what_differs_is_kept_twice(tmp_path):
    """Two models; one of them is chosen alike on both machines."""
    a = searched(tmp_path / "a", range(5), models=("cnn", "kmer"))
    b = searched(tmp_path / "b", range(5, 10), models=("cnn", "kmer"))
    (search,) = searches(b)
    cnn, kmer = search.choices
    (b.folder / "tuning" / f"{search.id}.json").unlink()
    save_search(b, replace(search, choices=(replace(cnn, chosen=2), kmer)))
    both, said = merged([a, b], tmp_path / "both")
    first, second = searches(both)
    assert len(said) == 1
    assert [(c.model, len(c.final)) for c in first.choices] == [("cnn", 5), ("kmer", 10)]
    assert [(c.model, len(c.final)) for c in second.choices] == [("cnn", 5)]


def test_the_machine_that_tried_more_in_its_hours_says_how_many(tmp_path):
    a, b = searched(tmp_path / "a", range(5)), searched(tmp_path / "b", range(5, 10), tried=5)
    both, said = merged([a, b], tmp_path / "both")
    (search,) = searches(both)
    assert not said and len(search.choices[0].candidates) == 5
    assert columns_of(both.folder) == {"cnn": 10, "cnn tuned": 10}


def test_searches_that_an_older_merge_left_are_one(tmp_path):
    a, b = searched(tmp_path / "a", range(5)), searched(tmp_path / "b", range(5, 10))
    both, _ = merged([a, b], tmp_path / "both")
    (name,) = (path.name for path in (a.folder / "tuning").iterdir())
    for store, to in ((a, name), (b, name.replace(".json", "-2.json"))):
        (both.folder / "tuning" / to).write_bytes((store.folder / "tuning" / name).read_bytes())
    assert len(searches(both)[0].choices[0].final) == 10
    assert columns_of(both.folder) == {"cnn": 10, "cnn tuned": 10}


def test_merging_twice_changes_nothing(tmp_path):
    sources = [
        machine(tmp_path / "a", ["aa"]), machine(tmp_path / "b", ["b0", "b1"]),
        searched(tmp_path / "c", (3, 1)), searched(tmp_path / "d", range(5, 10)),
        searched(tmp_path / "e", range(5), lr=0.02), searched(tmp_path / "f", range(9), lr=0.02),
    ]  # fmt: skip
    before = [files(store.folder) for store in sources]
    both, _ = merged(sources, tmp_path / "both")
    once = files(both.folder)
    merged(sources, both.folder)
    assert files(both.folder) == once and [files(store.folder) for store in sources] == before
    assert len([*(both.folder / "tuning").iterdir()]) == 2


def test_order_of_searches_stays_that_of_their_times(tmp_path):
    a, b = searched(tmp_path / "a", range(5)), searched(tmp_path / "b", range(5, 10))
    for store, at in ((a, 3), (b, 2)):
        for path in (store.folder / "tuning").iterdir():
            os.utime(path, ns=(at * 10**18, at * 10**18))
    both, _ = merged([b, a], tmp_path / "both")
    (path,) = (both.folder / "tuning").iterdir()
    assert path.stat().st_mtime_ns == 3 * 10**18


def test_searches_and_regimes_come_before_records(tmp_path):
    """As when they are made: what was stopped in between is told as tuned, and as nested."""
    sources = [searched(tmp_path / "a", range(5)), machine(tmp_path / "b", ["aa"])]
    both = Store(tmp_path / "both")
    for kind, source in zip(("tuning", "regimes"), sources, strict=True):
        (path,) = (source.folder / kind).iterdir()
        (both.folder / kind).mkdir(parents=True)
        (both.folder / kind / path.name).write_text("{}")
        with pytest.raises(ValueError, match=f"{path.name}.* is no regime|{path.name}: not a sea"):
            merge([source], both)
        assert not list(both) and (both.folder / kind / path.name).read_text() == "{}"


def test_a_file_that_is_no_search_is_said_and_left(tmp_path):
    a = searched(tmp_path / "a", range(5))
    (a.folder / "tuning" / "bad.json").write_text("{}")
    both, said = merged([a], tmp_path / "both")
    assert len(said) == 1 and "bad.json: not a search" in said[0] and "not copied" in said[0]
    assert len(searches(both)) == 1
