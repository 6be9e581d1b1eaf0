"""`dnabench regimes`: that each column is held against controls of its own, and loses no run."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench, planted_split, planted_task
from test_genomes import own_cache
from test_regimes import TINY, a_record, asked, genomes, words

from dnabench import TASKS
from dnabench.protocols import protocol_named
from dnabench.reports.analysis import analyze
from dnabench.reports.cells import REGIME, cell_of
from dnabench.reports.regimes import regime_section, with_regimes
from dnabench.reports.table import tables
from dnabench.reports.text.methods import methods
from dnabench.results.regimes import COMPUTE, FROZEN, SHUFFLED, save_regime
from dnabench.results.regimes import regimes as kept_regimes
from dnabench.results.store import Store
from dnabench.splits import cut, streams
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.regimes import columns_of
from dnabench.sweep.regimes_trials import bp_of_epoch, jobs_of, planned, regime_of, seeds_of
from dnabench.sweep.trial import run_trial
from dnabench.tasks.io.once import own_task
from dnabench.types import OwnData, Recipe, Record

__all__ = ["genomes", "own_cache"]  # fixtures
GRID = {
    "models": ["convnova-386k"], "settings": ("width=8", "blocks=2"), "overrides": {"epochs": 3},
}  # fmt: skip
QUICK = Recipe(epochs=1)


def alone(csv, files, **changes):
    """A request for one model that reads letters."""
    own = Request(data=[str(csv)], seeds="5", **GRID)
    fields = {"grid": own, "genomes": {"one": [str(files[0])]}, "tokenizers": ["char"]}
    return asked(csv, files, **{**fields, "pretrain_seeds": 1, **changes})


def scored(trial, score):
    return Record(
        trial=trial, scores={"test": {"mcc": score + trial.seed / 1000}},
        task={"metric": "mcc", "n_test": 32}, n_examples={"train": 64}, seconds=1.0,
    )  # fmt: skip


def ended(request, out, scores):
    """The columns of a command as kept, and records with these scores by regime."""
    columns, found, records = columns_of(request, out), [], []
    for column in columns:
        jobs = {None: grid(request.grid)} if column.kept else jobs_of(column, request)
        for k, kept in enumerate(column.kept):  # as if they had been trained
            regime = f"checkpoint:{kept.folder.name}"
            jobs = {k: [j._replace(trial=replace(j.trial, regime=regime)) for j in jobs[None]]}
        made = regime_of(column, columns, request, jobs)
        found.append(replace(made, seconds={"0": 60.0} if column.kept else {}))
        own = [job.trial for some in jobs.values() for job in some]
        records += [scored(trial, scores[column.regime]) for trial in own]
    return found, records


def test_a_pretraining_is_held_against_controls_of_its_own_budget(csv, genomes, tmp_path):
    store, records = Store(tmp_path / "runs"), {}
    for budget, one, control in ((2000, 0.7, 0.6), (40_000, 0.95, 0.9)):
        scores = {"scratch": 0.5, "one": one, COMPUTE: control, "one shuffled": control - 0.1}
        request = alone(csv, genomes, budget=budget)
        regimes, made = ended(request, store.folder, {**scores, FROZEN: 0.1})
        for regime in regimes:
            save_regime(store, regime)
        records |= {r.trial.id: r for r in made}
    found = kept_regimes(store)
    (table,) = tables(with_regimes(list(records.values()), found))
    section = regime_section(analyze(table), found)
    assert {len(line) for line in section.rows} == {len(section.heads)}
    lines = [dict(zip(section.heads, line, strict=True)) for line in section.rows]
    against = {
        (line["regime"], line["pretraining: Mbp"]): [
            line[f"against {kind}"].partition(" ")[0] for kind in (COMPUTE, SHUFFLED, FROZEN)
        ]
        for line in lines
    }  # fmt: skip
    assert against["one", "0.00216"] == ["+0.1000", "+0.2000", "+0.6000"]
    assert against["one", "0.04008"] == ["+0.0500", "+0.1500", "+0.8500"]
    extra = {name for name, _ in against if name.startswith(COMPUTE)}
    assert extra == {"same compute (+0.00216 Mbp)", "same compute (+0.04008 Mbp)"}


def seeds(column, request):
    """Of the trials of a column, pretraining by pretraining."""
    return [[job.trial.seed for job in own] for own in jobs_of(column, request).values()]


def test_more_compute_counts_what_is_trained_on(csv, genomes, tmp_path):
    """Sequences of different lengths, of which a tenth is validation, and a recipe that stops."""
    lines = [line for line in csv.read_text().splitlines() if not line.endswith("dev")]
    bases = [line.split(",") for line in lines[1:]]
    cut_short = [f"{seq[: 10 + 50 * (i % 8 == 0)]},{y},{s}" for i, (seq, y, s) in enumerate(bases)]
    csv.write_text("\n".join([lines[0], *cut_short]) + "\n")
    own = Request(data=[str(csv)], seeds="1", **{**GRID, "overrides": {"epochs": 3, "patience": 2}})
    request = alone(csv, genomes, grid=own, budget=20_000)
    columns = {c.regime: c for c in columns_of(request, tmp_path / "runs")}
    (scratch,), (longer,) = (jobs_of(columns[name], request)[None] for name in ("scratch", COMPUTE))
    record, _ = run_trial(longer._replace(trial=replace(longer.trial, recipe=QUICK)))
    train = own_task(str(csv), OwnData()).load("train")
    protocol = protocol_named(longer.trial.protocol)
    whole, _ = cut(
        own_task(str(csv), OwnData()), protocol, streams(0, longer.trial.task, protocol).cut
    )
    read = int(whole.seqs.lengths.sum())
    assert record.n_examples["train"] == len(whole.y) < len(train.y)
    more = longer.trial.recipe.epochs - scratch.trial.recipe.epochs
    assert (more - 1) * read < 20_000 <= more * read
    assert (scratch.trial.recipe.patience, longer.trial.recipe.patience) == (2, 0)


def test_both_sequences_of_pairs_count(monkeypatch):
    def load(split):
        found = planted_split(40, 0, 60)
        return found._replace(other=found.seqs.reverse_complement().take(np.arange(40)))

    task = planted_task(40, pairs=True, load=load)
    monkeypatch.setitem(TASKS._entries, task.name, task)
    (job,) = grid(Request(tasks=[task.name], seeds="1", **GRID))
    assert bp_of_epoch(job) == 2 * 40 * 60


def test_more_seeds_and_pretrainings_add_to_what_is_there(csv, genomes, tmp_path):
    def asked_for(n, pretrainings):
        own = Request(data=[str(csv)], seeds=str(n), **GRID)
        request = alone(csv, genomes, grid=own, pretrain_seeds=pretrainings)
        return [seeds_of(request, k) for k in range(pretrainings)], seeds_of(request)

    few, many = asked_for(3, 2), asked_for(5, 4)
    assert all({*a} < {*b} for a, b in zip(few[0], many[0], strict=False))
    every = [seed for own in many[0] for seed in own]
    assert len({*every}) == len(every)
    of_first = {*few[0][0], *few[0][1]}
    assert not of_first & {seed for own in many[0][2:] for seed in own}
    assert (few[1], asked_for(3, 5)[1], many[1]) == ([0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    own = Request(data=[str(csv)], seeds="1,7", **GRID)
    assert seeds_of(alone(csv, genomes, grid=own, pretrain_seeds=4)) == [1, 7, 0, 2]


def test_trials_are_checked_before_anything_is_trained(csv, genomes, tmp_path):
    out = tmp_path / "runs"
    for change, message in (
        ({"recipe": "nowhere"}, "nowhere"),
        ({"tasks": ["demo/nothing"]}, "demo/nothing"),
        ({"overrides": {"max_steps": 5}}, "counts steps, not epochs"),
    ):
        request = alone(csv, genomes)
        request = replace(request, grid=replace(request.grid, **change))
        with pytest.raises((KeyError, ValueError), match=message):
            planned(columns_of(request, out), request)
    request = alone(csv, genomes, pretrain_seeds=2)
    columns = columns_of(request, out)
    assert [len(own) for own in planned(columns, request)] == [5, 10, 10, 5, 5]
    sizes = [len(own) for c in columns if not c.kept for own in jobs_of(c, request).values()]
    assert sizes == [5, 5, 5]


def test_a_setting_that_fits_some_columns_is_said_of_the_others(csv, genomes, tmp_path):
    given = ("dnabert2.schedule=constant", "convnova-386k.schedule=cosine", "lr_floor=0.1")
    request = asked(csv, genomes, tokenizers=["char"], pretrain_seeds=1)
    request = replace(request, grid=replace(request.grid, settings=(*TINY, *given)))
    columns = columns_of(request, tmp_path)
    assert all(planned(columns, request))
    notes = []
    for column in columns:
        if not column.kept:
            floors = {
                job.trial.recipe.lr_floor for job in jobs_of(column, request, notes.append)[None]
            }
            assert floors == {0.1}
    assert set(notes) == {
        "dnabert2: lr_floor=0.1 does nothing with schedule=constant; leave it out, or write --set "
        "schedule=cosine"
    }  # fmt: skip
    none = replace(
        request, grid=replace(request.grid, settings=(*TINY, "schedule=constant", given[2]))
    )
    with pytest.raises(ValueError, match=r"^lr_floor=0\.1 does nothing with schedule=constant"):
        planned(columns_of(none, tmp_path), none)


def test_a_bad_recipe_ends_the_command_before_pretraining(csv, genomes, tmp_path):
    out = tmp_path / "runs"
    ended_at = dnabench(*words(csv, genomes, out, "--recipe", "nowhere"))
    assert ended_at.returncode == 2 and "nowhere" in ended_at.stderr
    assert "pretraining 1 of" not in ended_at.stderr and not [*out.glob("pretrained/*/*")]


def test_a_dry_run_writes_nothing(csv, genomes, tmp_path):
    out = tmp_path / "runs"
    planned_now = dnabench(*words(csv, genomes, out, "--dry-run", "--pretrain-seeds", "3"))
    assert planned_now.returncode == 0, planned_now.stderr
    assert "27 pretrainings of 0.00216 Mbp and 81 of 81 trials to run" in planned_now.stdout
    assert "run with 3 seeds, not 2" in planned_now.stderr
    assert not out.exists()


def columns_in(records, found):
    """Name -> seeds with a score, of the one table."""
    (table,) = tables(with_regimes(records, found))
    (row,) = table.rows
    return {c.name: sorted(row.cells[k].scores) for k, c in enumerate(table.columns)}


def test_runs_of_other_commands_stay_in_their_own_column(csv, genomes, tmp_path):
    """`dnabench run` before with the same seeds or others, afterwards with more, or never."""
    request = alone(csv, genomes, controls=())
    found, records = ended(request, tmp_path / "runs", {"scratch": 0.5, "one": 0.7})
    scratch, one = "convnova-386k char scratch", "convnova-386k char one"
    assert columns_in(records, found) == {scratch: [*range(5)], one: [*range(5)]}
    more = [scored(job.trial, 0.5) for job in grid(replace(request.grid, seeds="8"))]
    every = list({r.trial.id: r for r in [*more, *records]}.values())
    plain, *others = sorted(columns_in(every, found).items())
    assert plain[1] == [*range(8)] and dict(others) == columns_in(records, found)
    before = {r.trial.id for r in more[:5]}
    marked = [replace(r, ordinary=sorted(before & {*r.trials})) for r in found]
    assert sorted(columns_in(records, marked).values()) == [[*range(5)]] * 3


def test_the_ordinary_runs_are_told_from_those_of_the_command(csv, genomes, tmp_path):
    request, store = alone(csv, genomes, controls=()), Store(tmp_path / "runs")
    columns = columns_of(request, store.folder)
    jobs = jobs_of(columns[0], request)
    ids = [job.trial.id for job in jobs[None]]
    save_regime(store, regime_of(columns[0], columns, request, jobs, {ids[3], "another"}))
    save_regime(store, regime_of(columns[0], columns, request, jobs))
    (found,) = kept_regimes(store)
    assert list(found.ordinary) == [ids[3]]


def test_no_run_of_a_cell_drops_out_where_seeds_meet():
    """The seeds of two pretrainings were once 0-2, 3-5, and with more of them 0-4, 5-9."""
    runs = [(k, seed + k * n) for n in (3, 5) for k in range(2) for seed in range(n)]
    runs = list(dict.fromkeys(runs))
    records = [
        replace(a_record(seed, k / 10, unit=k), trial=replace(a_trial(seed), regime=f"net{k}"))
        for k, seed in runs
    ]
    cell = cell_of(records, "mcc")
    assert len(cell.scores) == len(cell.runs) == len(cell.units) == len(runs) == 12
    assert cell.values == (0.0, 0.1)


def test_the_methods_name_pretrainings_as_the_units():
    records = [a_record(seed, seed / 10, label="char scratch") for seed in range(5)]
    for record in records:
        record.flags[REGIME]["column"] = "scratch"
    nested = [a_record(1000 * k + i, k / 10, unit=k) for k in range(5) for i in range(2)]
    (table,) = tables([*records, *nested])
    assert "pretrainings stand for seeds" in " ".join(methods(analyze(table).comparisons))
    alone = [replace(r, flags={REGIME: {**r.flags[REGIME], "unit": None}}) for r in nested[::2]]
    (table,) = tables([*records, *alone])
    assert "pretrainings stand" not in " ".join(methods(analyze(table).comparisons))


def test_nothing_is_prepared_for_a_folder_that_cannot_be_written(csv, genomes, tmp_path):
    out = tmp_path / "runs"
    out.mkdir()
    (out / "records").touch()
    refused = dnabench(*words(csv, genomes, out))
    assert refused.returncode == 2 and "cannot write to" in refused.stderr
    assert not (out / "pretrained").exists()


def a_trial(seed):
    return a_record(seed, 0.0).trial
