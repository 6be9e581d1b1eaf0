"""`dnabench regimes`: that each column is held against controls of its own, and loses no run."""

from dataclasses import replace

from test_genomes import own_cache
from test_regimes import asked, genomes

from dnabench.reports.analysis import analyze
from dnabench.reports.regimes import regime_section, with_regimes
from dnabench.reports.table import tables
from dnabench.results.regimes import COMPUTE, FROZEN, SHUFFLED, save_regime
from dnabench.results.regimes import regimes as kept_regimes
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.regimes import columns_of, jobs_of, regime_of
from dnabench.types import Record

__all__ = ["genomes", "own_cache"]  # fixtures
GRID = {
    "models": ["convnova-386k"], "settings": ("width=8", "blocks=2"), "overrides": {"epochs": 3},
}  # fmt: skip


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
