"""`dnabench regimes`: what is pretrained, which trials follow, and that pretrainings are units."""

import json
import re
import shlex
import signal
from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench, start
from scipy.stats import ttest_ind
from test_genomes import fasta, own_cache, random_contigs
from test_sweep import wait_for
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.pretraining.recipes import RECIPES
from dnabench.reports.cells import REGIME, cell_of
from dnabench.reports.regimes import TITLE, with_regimes
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler, _by_unit
from dnabench.results.regimes import COMPUTE, FROZEN, SCRATCH, Regime, regimes, save_regime
from dnabench.results.store import Store
from dnabench.sweep.grid import Request
from dnabench.sweep.regimes import RegimesRequest, columns_of, identity
from dnabench.sweep.regimes_trials import jobs_of
from dnabench.types import Recipe, Record, Trial

__all__ = ["own_cache"]  # a fixture
TINY = (
    "convnova-386k.width=8", "blocks=2", "dnabert2.width=16", "layers=1", "heads=2", "inner=16",
    "vocabulary=64",
)  # fmt: skip
HOW = replace(RECIPES["house"], recipe=Recipe(batch=4), length=60)


@pytest.fixture
def genomes(tmp_path):
    return [
        fasta(tmp_path / "a.fa", random_contigs([6000, 2000])),
        fasta(tmp_path / "b.fa", random_contigs([5000, 1500], seed=3)),
    ]


def asked(csv, files, **changes):
    a, b = map(str, files)
    grid = Request(
        models=["convnova-386k", "dnabert2"], data=[str(csv)], settings=TINY, seeds="2",
        overrides={"epochs": 3},
    )  # fmt: skip
    fields = {
        "grid": grid, "genomes": {"one": [a], "both": [a, b]}, "budget": 2000, "how": HOW,
        "holdout": ["a.fa:chr2"], "tokenizers": ["char", "bpe"], "pretrain_seeds": 2, "looks": 1,
    }  # fmt: skip
    return RegimesRequest(**{**fields, **changes})


def test_the_columns_are_models_tokenizers_and_regimes(csv, genomes, tmp_path):
    columns = columns_of(asked(csv, genomes), tmp_path / "runs")
    names = [SCRATCH, "one", "both", "one shuffled", COMPUTE, FROZEN]
    expected = [("convnova-386k", "char"), ("convnova-386k", "bpe"), ("dnabert2", "bpe")]
    assert [(c.model.name, c.tokenizer, c.regime) for c in columns] == [
        (*pair, name) for pair in expected for name in names
    ]
    kept = [one for c in columns for one in c.kept]
    assert len({one.folder for one in kept}) == 3 * 3 * 2
    shuffled = columns[3].kept[0].training
    assert [len(c.kept[0].training.sources) for c in columns[1:4]] == [1, 2, 1]
    assert shuffled.sources[0].genome.sha256 != columns[1].kept[0].training.sources[0].genome.sha256
    assert shuffled.sources[0].holdout == ("chr2",)
    tokenizers = {one.training.tokenizer.text() for c in columns[6:] for one in c.kept}
    assert len(tokenizers) == 1  # one file of byte pairs for every regime and seed


@pytest.mark.parametrize(
    ("column", "seed"), [(1, 0), (8, 1), (9, 0)], ids=["char", "bpe of two", "shuffled"]
)
def test_the_command_of_a_card_makes_the_same_network(csv, genomes, tmp_path, column, seed):
    """It is typed as it stands, and trains in the folder that the regimes would have trained in."""
    recipe = replace(RECIPES["gpn"].recipe, batch=4, warmup=0.1)
    how = replace(RECIPES["gpn"], recipe=recipe, length=60)
    found = columns_of(asked(csv, genomes, how=how, looks=2), tmp_path / "runs")
    kept = found[column].kept[seed]
    program, *words = shlex.split(kept.training.command)
    assert program == "dnabench" and kept.card is None
    assert kept.training.how.recipe.batch == 4 and "--recipe gpn" in kept.training.command
    done = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    said = json.loads(json.dumps(kept.training.said()))
    assert kept.card is not None and {k: kept.card[k] for k in said} == said


def test_a_pretraining_is_known_by_what_decides_it(csv, genomes, tmp_path):
    def folders(**changes):
        grid = Request(models=["convnova-386k"], data=[str(csv)], settings=TINY[:2], seeds="2")
        request = asked(csv, genomes, grid=grid, tokenizers=["char"], **changes)
        return [k.folder.name for c in columns_of(request, tmp_path / "runs") for k in c.kept]

    first = folders()
    assert folders() == first
    assert not {*folders(budget=4000)} & {*first}
    assert not {*folders(how=replace(HOW, length=64))} & {*first}
    assert {*first} < {*folders(pretrain_seeds=3)}
    moved = genomes[0].rename(tmp_path / "renamed.fa")
    same = columns_of(
        asked(csv, [moved, genomes[1]], holdout=["renamed.fa:chr2"]), tmp_path / "runs"
    )
    assert identity(same[1].kept[0].training) == first[0].rpartition("-")[2]


def test_the_control_reads_as_many_bp(csv, genomes, tmp_path):
    request = asked(csv, genomes, tokenizers=["char"], budget=20_000)
    columns = {c.regime: c for c in columns_of(request, tmp_path / "runs")[:6]}
    (scratch, *_), (longer, *_) = (jobs_of(columns[k], request)[None] for k in (SCRATCH, COMPUTE))
    bp = scratch.size / 3  # of an epoch; 64 sequences of 60 bp
    assert bp == 64 * 60
    more = longer.trial.recipe.epochs - 3
    assert (more - 1) * bp < 20_000 <= more * bp and longer.size == bp * (3 + more)
    assert replace(longer.trial, recipe=scratch.trial.recipe) == scratch.trial
    frozen = jobs_of(columns[FROZEN], request)[None][0].trial
    assert (frozen.recipe.finetune, frozen.regime) == ("probe", "scratch")


GRID = Request(models=["convnova-386k"], data=["-"], settings=TINY[:2], seeds="2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genomes": {}}, "--genomes is empty"),
        ({"holdout": []}, "--genomes one: nothing of it is held out"),
        ({"holdout": ["chr2"]}, "both has several files; write FILE:chr2"),
        ({"controls": ["none at all"]}, "--controls 'none at all': choose from same compute"),
        ({"tokenizers": ["words"]}, "--tokenizers 'words': none of the models takes it"),
        ({"pretrain_seeds": 0}, "--pretrain-seeds 0"),
        ({"grid": replace(GRID, seeds="3,1000")}, "--seeds: 1000 is too large"),
        ({"grid": replace(GRID, protocol="nt-cv10")}, "--pretrain-seeds 2: the seeds of nt-cv10/1"),
    ],
)
def test_bad_requests_are_refused(csv, genomes, tmp_path, changes, message):
    if "grid" in changes:
        changes = {**changes, "grid": replace(changes["grid"], data=[str(csv)])}
    with pytest.raises(ValueError, match=re.escape(message)):
        columns_of(asked(csv, genomes, **changes), tmp_path / "runs")


def test_settings_that_have_no_part_are_refused(csv, genomes, tmp_path):
    request = asked(csv, genomes)
    for change, message in (
        ({"regime": "scratch"}, "--regime and --sweep have no part in this"),
        ({"settings": ("tokenizer=char",)}, "--set tokenizer: write --tokenizers"),
        ({"models": ["kmer"]}, "kmer has no language-model head"),
    ):
        with pytest.raises(ValueError, match=message):
            columns_of(replace(request, grid=replace(request.grid, **change)), tmp_path / "runs")


def a_record(seed, score, unit=None, label="char one"):
    trial = Trial(
        model="convnova-386k", options=dict(MODELS["convnova-386k"].options), regime="scratch",
        task="gue/mouse_0", data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=seed,
    )  # fmt: skip
    flags = {REGIME: {"column": f"{label} @abc", "label": label, "unit": unit}}
    return Record(
        trial=trial, scores={"test": {"mcc": score}}, flags=flags,
        task={"metric": "mcc", "n_test": 40},
    )  # fmt: skip


def test_pretrainings_are_the_units_of_a_cell():
    scores = np.random.default_rng(0).random((5, 3))
    cell = cell_of(
        [a_record(3 * p + s, scores[p, s], unit=p) for p in range(5) for s in range(3)], "mcc"
    )
    assert cell.values == pytest.approx(tuple(scores.mean(1)))
    assert (cell.summary.n, len(cell.scores)) == (5, 15)
    assert cell.summary.sd == pytest.approx(scores.mean(1).std(ddof=1))
    alone = cell_of([a_record(s, scores[0, s]) for s in range(3)], "mcc")
    assert alone.values == tuple(scores[0])


def test_replicates_are_averaged_over_the_runs_of_a_pretraining():
    records = [a_record(s, 0.0, unit=unit) for s, unit in enumerate((1, 0, 1, 0))]
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(_by_unit(records, x), [(x[1] + x[3]) / 2, (x[0] + x[2]) / 2])
    np.testing.assert_array_equal(_by_unit([a_record(s, 0.0) for s in range(4)], x), x)


def test_later_trials_join_a_column(tmp_path):
    store, one = Store(tmp_path), a_record(0, 0.5)
    made = Regime(
        id="a" * 12, base="b" * 12, model="convnova-386k", tokenizer="char", regime="one",
        kind="pretrained", trials={one.trial.id: 0}, bp=10, seconds={"0": 1.0},
    )  # fmt: skip
    save_regime(store, made)
    save_regime(store, replace(made, trials={"x": 1}, seconds={"1": 2.0}))
    (found,) = regimes(store)
    assert found.trials == {one.trial.id: 0, "x": 1} and found.seconds == {"0": 1.0, "1": 2.0}
    assert found.nested and not made.nested
    (flagged,) = with_regimes([one], [found])
    assert flagged.flags[REGIME] == {"column": "one @aaaaaa", "label": "char one", "unit": 0}
    (tmp_path / "regimes" / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json is no regime"):
        regimes(store)


def words(csv, genomes, out, *more, models="convnova-386k,dnabert2", settings=TINY):
    a, b = genomes
    chosen = [word for setting in settings for word in ("--set", setting)]
    return [
        "regimes", "-m", models, "--data", csv, *chosen, "--genomes",
        f"one={a},both={a}+{b}", "--holdout", "a.fa:chr2", "--tokenizers", "char,bpe",
        "--budget", "2000", "--pretrain-length", "60", "--pretrain-set", "batch=4", "--looks",
        "1", "--pretrain-seeds", "2", "--seeds", "2", "--epochs", "2", "--out", out,
        "--executor", "inline", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_from_genomes_to_the_table_and_not_twice(csv, genomes, tmp_path):
    out = tmp_path / "runs"
    planned = dnabench(*words(csv, genomes, out, "--dry-run"))
    assert "18 pretrainings of 0.00216 Mbp and 54 of 54 trials to run" in planned.stdout
    done = dnabench(*words(csv, genomes, out))
    assert done.returncode == 0, done.stderr
    assert f"### {TITLE}" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("| data/motif")]
    assert len(lines) == 18 and sum(" 2 x 2 " in line for line in lines) == 9
    store = Store(out)
    records = {r.trial.id: r for r in store}
    assert len(records) == 54 and not any(r.error for r in records.values())
    weights = {path: path.stat().st_mtime_ns for path in out.glob("pretrained/*/*.safetensors")}
    assert len(weights) == 18
    for one in regimes(store):
        own = [records[trial_id].trial for trial_id in one.trials]
        begun = {trial.regime.partition(":")[0] for trial in own}
        assert begun == {"checkpoint" if one.seconds else "scratch"}
        assert len({trial.seed for trial in own}) == len(own)  # nested: no seed twice
        for trial_id, unit in one.trials.items():
            assert unit is None or f"-s{unit}-" in records[trial_id].trial.regime
    evidence = report(list(records.values()), store, Resampler(store)).evidence[0]
    table = evidence.table
    assert len(table.columns) == 18 and "convnova-386k char one shuffled" in {
        c.name for c in table.columns
    }
    assert {d.declared for d in evidence.comparisons} == {True, False}
    for d in evidence.comparisons:
        sides = [table.rows[0].cells[k] for k in (d.i, d.j)]
        means = [float(np.mean(c.values)) for c in sides]
        assert d.welch.difference == pytest.approx(means[0] - means[1])
        test = ttest_ind(*(c.values for c in sides), equal_var=False)
        assert np.isnan(d.welch.p) or d.welch.p == pytest.approx(test.pvalue)
        assert d.nested is not None and d.verdict == "descriptive"
    again = dnabench(*words(csv, genomes, out))
    assert "0 ran, 54 already done" in again.stderr and again.stdout == done.stdout
    assert weights == {p: p.stat().st_mtime_ns for p in out.glob("pretrained/*/*.safetensors")}


@pytest.mark.slow
def test_a_killed_command_goes_on(csv, genomes, tmp_path):
    out, folder = tmp_path / "runs", tmp_path / "runs" / "pretrained"
    command = words(csv, genomes, out, models="convnova-386k", settings=TINY[:2])
    running = start(*command, plugin=None)
    wait_for(lambda: len([*folder.glob("*/network.json")]) > 1)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    before = {p: p.read_bytes() for p in folder.glob("*/network.json")}
    assert 1 < len(before) < 12
    done = dnabench(*command)
    assert done.returncode == 0, done.stderr
    assert len([*folder.glob("*/network.json")]) == 12
    assert all(p.read_bytes() == content for p, content in before.items())
    assert "36 ran" in done.stderr
