"""`dnabench regimes`: what is refused before pretraining, test sequences left out, and Python."""

from dataclasses import replace

import pytest
import typer
from conftest import planted_split, planted_task
from test_genomes import fasta, own_cache, random_contigs
from test_regimes import asked, genomes
from test_regimes_controls import alone

import dnabench as db
from dnabench import MODELS, TASKS
from dnabench.cli.app import app
from dnabench.pretraining.mapping import seen
from dnabench.pretraining.recipes import RECIPES
from dnabench.sweep.grid import Request
from dnabench.sweep.regimes import columns_of
from dnabench.sweep.regimes_trials import planned

__all__ = ["genomes", "own_cache"]  # fixtures


def with_test_of(path):
    """A genome whose first sequence has the test sequences of a task between random ones."""
    seqs = planted_split(32, 2).seqs
    between, held = (seq.upper() for seq in random_contigs([9000, 2000], seed=8).values())
    parts = [seqs[i] + between[200 * i : 200 * i + 200] for i in range(len(seqs))]
    return fasta(path, {"chr1": between + "".join(parts), "chr2": held})


@pytest.fixture
def planted(monkeypatch):
    task = planted_task(64)
    monkeypatch.setitem(TASKS._entries, task.name, task)
    return task


def test_no_trial_is_in_two_columns(csv, genomes, tmp_path):
    """Which a probe of random weights would be, and what is named twice."""
    said = []
    request = alone(csv, genomes)
    grid = replace(
        request.grid, models=["convnova-386k"] * 2,
        settings=(*request.grid.settings, "finetune=probe"),
    )  # fmt: skip
    request = replace(request, grid=grid, tokenizers=["char", "char"])
    columns = columns_of(request, tmp_path / "runs", say=said.append)
    assert [c.regime for c in columns] == ["scratch", "one", "one shuffled", "same compute"]
    note = "frozen random is left out: with finetune=probe, scratch of convnova-386k is the same"
    assert said == [note]
    trials = [job.trial.id for jobs in planned(columns, request) for job in jobs]
    assert len(trials) == len(set(trials)) == 4 * 5
    twice = replace(request, genomes={"one": [str(genomes[0])], "two": [str(genomes[0])]})
    with pytest.raises(ValueError, match="--genomes: one and two are the same bases"):
        columns_of(twice, tmp_path / "runs")


def test_test_sequences_are_left_out_of_every_pretraining(tmp_path, planted):
    genome, said = with_test_of(tmp_path / "a.fa"), []
    grid = Request(
        models=["convnova-386k"], tasks=[planted.name], seeds="1",
        settings=("width=8", "blocks=2", "vocabulary=64"),
    )  # fmt: skip
    request = asked("", [genome, genome], grid=grid, genomes={"one": [str(genome)]})
    request = replace(request, controls=(), tokenizers=["char", "bpe"], pretrain_seeds=2)
    tests = planted.load("test").seqs
    folders, byte_pairs = set(), set()
    for exclude, share in (((), 1.0), ((planted.name,), 0.0)):
        columns = columns_of(replace(request, exclude=exclude), tmp_path / "runs", say=said.append)
        kept = [one for column in columns for one in column.kept]
        assert len(kept) == 4
        for one in kept:
            (source,) = one.training.sources
            assert seen(tests, source.genome, source.free, 60).mean() == share
        folders |= {one.folder for one in kept}
        byte_pairs |= {column.settings[-1] for column in columns if column.tokenizer == "bpe"}
    assert len(folders) == 8 and len(byte_pairs) == 2
    assert said == ["32 of the 32 test sequences of planted/motif that were looked up are on a.fa"]


def test_a_task_that_is_not_there_is_refused(csv, genomes, tmp_path):
    with pytest.raises(KeyError, match="nt/h33"):
        columns_of(alone(csv, genomes, exclude=["nt/h33"]), tmp_path)


def test_a_warm_up_that_outlasts_the_pretraining_is_refused(csv, genomes, tmp_path):
    how = replace(RECIPES["gpn"], length=60)  # 2,048 windows a step, 1,000 steps of warm-up
    with pytest.raises(ValueError, match=r"1 steps of 122,880 bp.* --pretrain-set warmup=0\.02"):
        columns_of(alone(csv, genomes, how=how), tmp_path)


def test_a_recipe_with_other_options_than_are_pretrained_is_refused(genomes, tmp_path, monkeypatch):
    task = planted_task(64, name="nt/h3")
    monkeypatch.setitem(TASKS._entries, "nt/h3", task)
    grid = Request(models=["convnova-386k"], tasks=["nt/h3"], seeds="1", settings=("width=8",))
    request = alone("", genomes, grid=grid)
    with pytest.raises(ValueError, match="other options than its recipe for nt/h3 has") as e:
        planned(columns_of(request, tmp_path), request)
    words = [w for w in str(e.value).replace(",", "").split() if "=" in w]
    assert words == ["convnova-386k.dilation_schedule=code", "convnova-386k.final_conv=False"]
    for change in ({"settings": ("width=8", *words)}, {"recipe": "default"}):
        other = replace(request, grid=replace(grid, **change))
        assert [len(own) for own in planned(columns_of(other, tmp_path), other)] == [1] * 5


def test_a_recipe_for_weights_is_checked_before_there_are_any(genomes, tmp_path, monkeypatch):
    """That of nt_h has LoRA on the tasks of nt, but for random weights."""
    monkeypatch.setitem(TASKS._entries, "nt/h3", planted_task(64, name="nt/h3"))
    grid = Request(models=["nt_h"], tasks=["nt/h3"], seeds="1", settings=("width=16", "heads=2"))
    request = alone("", genomes, grid=grid, tokenizers=())
    scratch, one, *_ = planned(columns_of(request, tmp_path), request)
    assert [own[0].trial.recipe.finetune for own in (scratch, one)] == ["full", "lora"]


def test_a_precision_that_is_not_there_ends_it_before_pretraining(csv, genomes, tmp_path):
    with pytest.raises(ValueError, match="fp16"):
        small("", csv, genomes, tmp_path, precision="fp16")
    assert not [*(tmp_path / "runs").glob("pretrained/*/*")]


def test_the_usual_models_can_be_pretrained():
    command = typer.main.get_command(app).commands["regimes"]
    (models,) = (p.default for p in command.params if p.name == "models")
    assert models and all(MODELS[name].language for name in models)


def small(models, csv, files, tmp_path, **flags):
    usual = {
        "genomes": {"one": files[0], "both": files}, "holdout": "a.fa:chr2", "budget": "480",
        "seeds": 1, "epochs": 1, "set": ["width=8", "blocks=2"], "pretrain_length": 60,
        "pretrain_set": "batch=4", "looks": 1, "executor": "inline", "out": tmp_path / "runs",
    } | ({"models": models} if models else {})  # fmt: skip
    return db.regimes(data=csv, **(usual | flags))


def test_python_says_what_is_wrong_as_a_value_error(csv, genomes, tmp_path):
    for flags, message in (
        ({"genomes": {"a=b": genomes[0]}}, "--genomes: 'a=b' is no name"),
        ({"genomes": {"a,b": genomes[0]}}, "--genomes: 'a,b' is no name"),
        ({"pretrain_set": "width=8"}, "--pretrain-set width: an option of convnova-386k"),
        ({"pretrain_set": "epochs=8"}, "--set epochs: --budget says how long"),
        (
            {"models": "convnova-386k,hyenadna-tiny-1k", "pretrain_set": "hidden_share=0.3"},
            "hyenadna-tiny-1k predicts the next token",
        ),
        ({"models": ","}, "--models is empty"),
        ({"budget": "2h"}, "--budget '2h': write the bp to see"),
    ):
        with pytest.raises(ValueError, match=message):
            small(flags.pop("models", ""), csv, genomes, tmp_path, **flags)
    with pytest.raises(KeyError, match="nt/h33"):
        small("", csv, [tmp_path / "none.fa"], tmp_path, exclude_task="nt/h33")
    with pytest.raises(TypeError, match=r"regimes\(\) has no 'genome_files'"):
        small("", csv, genomes, tmp_path, genome_files=[])


def test_python_has_the_command(csv, genomes, tmp_path, monkeypatch):
    folder = tmp_path / "x+y, z=1"  # a mapping of Python is never read as text
    folder.mkdir()
    genomes = [path.rename(folder / path.name) for path in genomes]
    found = small("", csv, genomes, tmp_path, controls="same compute")
    table = found.table()
    names = ["scratch", "both", "one", "same compute (+0.00048 Mbp)"]
    assert sorted(table["regime"]) == sorted(names)
    assert {*table["model"]} == {"convnova-386k"} and {*table["runs"]} == {"1"}
    shown, scores = sorted(map(float, table["score"])), sorted(found.scores()["score"])
    assert shown == pytest.approx(scores, abs=5e-4) and len(scores) == 4 and not found.failed
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("pretrained/*/*")}
    again = small("convnova-386k", csv, genomes, tmp_path, controls="same compute")
    assert again.table().equals(table)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("pretrained/*/*")}
    # what is finished is shown where its precision cannot be trained; what is not is refused
    monkeypatch.setattr("dnabench.cli.allowed.precision_problem", lambda *of: "no fp16 here")
    assert small("", csv, genomes, tmp_path, controls="same compute").table().equals(table)
    with pytest.raises(ValueError, match="no fp16 here"):
        small("", csv, genomes, tmp_path, controls="frozen random")
