"""The zoo from the command line: presets, tokenizers, profile, fine-tuning modes in a real run."""

import dataclasses
import json

import pytest
from conftest import dnabench, planted_split, planted_task

from dnabench import MODELS
from dnabench.sweep.grid import Request, grid, models_of


def fasta(path, seed, n=300):
    split = planted_split(n, seed)
    path.write_text("".join(f">{i}\n{split.seqs[i]}\n" for i in range(n)))
    return path


def records(folder):
    return [json.loads(p.read_text()) for p in sorted((folder / "records").glob("*.json"))]


def test_the_smallest_of_each_family():
    names = {m.name: m for m in models_of(Request(models=["all"], preset="smallest"))}
    families = {m.family for m in map(MODELS.__getitem__, MODELS)}
    assert {m.family for m in names.values()} == families and len(names) == len(families)
    assert {"convnova-386k", "hyenadna-tiny-1k", "caduceus_ph-470k", "ntv2-50m"} <= names.keys()
    some = models_of(Request(models=["convnova", "convnova-27m", "kmer"], preset="smallest"))
    assert [m.name for m in some] == ["convnova", "kmer"]
    with pytest.raises(ValueError, match="--preset 'tiny': write smallest"):
        models_of(Request(models=["all"], preset="tiny"))


def test_an_alias_is_the_model_in_every_flag():
    request = Request(
        models=["ntv2"], suite="demo", tasks=["splice_junctions"], seeds="1",
        regime="ntv2=pretrained", settings=["ntv2.lr=0.1"],
    )  # fmt: skip
    (job,) = grid(request)
    revision = MODELS["ntv2-500m"].weights.revision
    assert job.trial.model == "ntv2-500m" and job.trial.regime.endswith(revision)
    assert job.trial.recipe.lr == 0.1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--regime", "kmre=pretrained"], "no model 'kmre' in this run"),
        (["--regime", "pretrained"], "no official weights of cnn were published"),
        (["--set", "pooling=sum", "-m", "convnova"], "pooling='sum': convnova takes mean, cls"),
        (["--set", "tokenizer=bpe:/no/such.json"], "no tokenizer file /no/such.json"),
        (["--set", "finetune=half"], "finetune='half': must be one of full, lora, probe"),
        (["--set", "lora_r=0"], "lora_r=0: must be above 0"),
        (["--set", "lora_r=4"], "lora_r=4 does nothing without finetune=lora"),
        (["--set", "vocabulary=64"], "vocabulary=64 does nothing without tokenizer=bpe"),
        (
            ["-m", "dnabert2", "--set", "tokenizer=char-cls-sep", "--set", "vocabulary=8"],
            "char-cls-sep needs 9; write --set vocabulary=9",
        ),
        (["--set", "tokenizer=6mer:x"], "tokenizer='6mer:x': cnn takes char, 6mer, bpe"),
        (["--set", "finetune=lora"], "cnn names no layers for LoRA"),
        (["--regime", "scratch@" + "a" * 40], "write scratch, pretrained"),
        (
            ["-m", "hyenadna", "--regime", "pretrained", "--set", "tokenizer=bpe"],
            "official weights of hyenadna have no BPE tokenizer",
        ),
    ],
)
def test_slips_in_the_new_words_are_explained(words, says, csv, tmp_path):
    models = [] if "-m" in words else ["-m", "cnn"]
    done = dnabench("run", *models, *words, "--data", csv, "--out", tmp_path, "--dry-run")
    assert done.returncode == 2 and says in done.stderr


def test_every_combination_of_two_sweeps_is_a_column():
    request = Request(
        models=["convnova"], suite="demo", tasks=["splice_junctions"], seeds="1",
        sweeps=["dilation=1,2,3,4", "kernel_size=3,5,7,9,11"],
    )  # fmt: skip
    columns = {(j.trial.options["dilation"], j.trial.options["kernel_size"]) for j in grid(request)}
    assert columns == {(d, k) for d in (1, 2, 3, 4) for k in (3, 5, 7, 9, 11)}


@pytest.mark.slow
def test_a_tokenizer_is_trained_and_used_and_named_by_its_bytes(csv, tmp_path):
    genome, out = fasta(tmp_path / "g.fa", 3), tmp_path / "tokenizer.json"
    done = dnabench("tokenizer", "train", "--vocab", 64, genome, "--to", out)
    assert done.returncode == 0 and f"{out}: 64 tokens" in done.stdout
    words = ["run", "-m", "convnova-386k", "--data", csv, "--seeds", "1", "--epochs", "1",
             "--executor", "inline", "--out", tmp_path / "runs"]  # fmt: skip
    for tokenizer in (f"bpe:{out}", "bpe", "6mer"):
        entries = [] if tokenizer == "6mer" else ["--set", "vocabulary=64"]
        done = dnabench(*words, "--set", f"tokenizer={tokenizer}", *entries)
        assert done.returncode == 0, done.stderr
    renamed = tmp_path / "same bytes.json"
    renamed.write_bytes(out.read_bytes())
    same = dnabench(*words, "--set", f"tokenizer=bpe:{renamed}", "--set", "vocabulary=64")
    assert "0 ran, 1 already done" in same.stdout  # a file counts by its bytes
    used = {r["trial"]["options"]["tokenizer"] for r in records(tmp_path / "runs")}
    assert used == {next(u for u in used if u.startswith("bpe:tokenizer.json@")), "bpe", "6mer"}
    small = dnabench(*words, "--set", f"tokenizer=bpe:{out}", "--set", "vocabulary=32")
    assert small.returncode == 1 and "write --set vocabulary=64" in small.stderr


@pytest.mark.parametrize("finetune", ["lora", "probe"])
def test_fine_tuning_modes_run_and_are_recorded(finetune, csv, tmp_path):
    pytest.importorskip("peft")
    done = dnabench(
        "run", "-m", "hyenadna-tiny-1k", "--set", f"finetune={finetune}", "--set", "width=16",
        "--data", csv, "--seeds", "1", "--epochs", "2", "--executor", "inline", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path)
    assert record["trial"]["recipe"]["finetune"] == finetune and len(record["curve"]) == 2
    assert f"finetune={finetune}" in dnabench("report", "--out", tmp_path, "--full").stdout


@pytest.mark.slow
def test_profile_prints_a_table_and_draws_it(tmp_path):
    picture = tmp_path / "cost.png"
    done = dnabench("profile", "-m", "convnova-386k,cnn", "--lengths", "60,120", "--to", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| convnova-386k |") == 2 and "x convnova-386k" in done.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "cost.md").read_text() in done.stdout
    bad = dnabench("profile", "--lengths", "1k", "--to", picture)
    assert bad.returncode == 2 and "give comma-separated lengths in bp" in bad.stderr


def test_models_are_listed_with_the_licence_of_their_weights():
    text = dnabench("list", "models").stdout
    assert "CC BY-NC-SA 4.0 (non-commercial)" in text and "none published" in text


def planned(model, suite, **changes):
    """The recipe of a model on a suite, without its data."""
    from dnabench.sweep.grid import _recipe, _weights

    task = dataclasses.replace(planted_task(), name=f"{suite}/x")
    weights = _weights([MODELS[model]], changes.get("regime", "scratch"), to_come=False)
    ((regime, _),) = weights[MODELS[model].name]
    return _recipe(MODELS[model], task, "", regime)


def test_no_recipe_freezes_weights_that_were_drawn_at_random():
    assert planned("ntv2-50m", "nt", regime="pretrained").finetune == "lora"
    assert planned("ntv2-50m", "nt") == MODELS["ntv2-50m"].recipes["default"]


def test_a_revised_or_reduced_suite_has_the_recipes_of_its_suite():
    for suite in ("nt", "nt_revised", "nt_reduced"):
        assert planned("convnova", suite) == MODELS["convnova"].recipes["nt"]
    assert planned("convnova", "gue") == MODELS["convnova"].recipes["default"]


def test_a_tokenizer_that_changed_since_the_plan_is_refused(csv, tmp_path):
    from dnabench.sweep.trial import run_trial

    out = tmp_path / "tokenizer.json"
    dnabench("tokenizer", "train", "--vocab", 64, fasta(tmp_path / "a.fa", 3), "--to", out)
    request = Request(
        models=["convnova-386k"], data=str(csv), seeds="1", overrides={"epochs": 1},
        settings=[f"tokenizer=bpe:{out}", "vocabulary=64", "width=8"],
    )  # fmt: skip
    (job,) = grid(request)
    dnabench("tokenizer", "train", "--vocab", 60, tmp_path / "a.fa", "--to", out)
    with pytest.raises(ValueError, match="changed since the run was planned"):
        run_trial(job)


def test_predictions_of_bases_can_be_given_back_to_their_sequences(tmp_path):
    from dnabench.results.store import Store

    done = dnabench(
        "run", "-m", "majority", "-t", "demo/yeast_genes", "--limit", "20", "--seeds", "1",
        "--out", tmp_path, "--executor", "inline",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path)
    found = Store(tmp_path).predictions(record["id"])
    assert len(found["ids"]) == len(found["bases"]) == 20
    assert found["bases"].sum() == len(found["labels"]) == len(found["logits"])
