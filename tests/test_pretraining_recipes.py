"""The recipes of pretraining, number for number as their sources have them."""

import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from test_genomes import own_cache
from test_pretraining_budgets import small_command
from typer.testing import CliRunner

from dnabench.cli.app import app
from dnabench.cli.pretrain import pretraining_chosen
from dnabench.pretraining.hiding import Hiding
from dnabench.pretraining.planning import budget_named
from dnabench.pretraining.recipes import RECIPES, named_of
from dnabench.types import Recipe

__all__ = ["own_cache"]  # a fixture
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "pretraining.md"
INTERVALS = 34_021  # of training in human-sequences.bed; so Enformer, and arXiv 2403.03234
N_FOR_ALL = Hiding(share=0.1, as_mask=1.0, as_random=0.0)
# timm cosine from 1e-6 over 1 % to lr and down to a tenth, norm clipped at 1, betas PyTorch's: the
# configurations of ConvNova, HyenaDNA and Caduceus
HYENA = Recipe(schedule="cosine", warmup=0.01, warmup_from=1e-6, lr_floor=0.1, clip=1.0)
HUGGING = Recipe(schedule="constant", warmup=1000, warmup_from=0.0)  # of the Trainer

# name -> recipe, hiding, bp of a window, weight of soft-masked bases, what random tokens are of
SOURCES = {
    # aim-uofa/ConvNova@c606027 configs/experiment/hg38-pretrain/convnova.yaml: 6 x 128, no decay;
    # hg38_dataset.py hides twice
    "convnova": (replace(HYENA, lr=1e-3, weight_decay=0.0, batch=768), Hiding(passes=2), 1024, 1.0,
                 "known"),
    # arXiv 2502.18538 3.3 and A.1: 10 % as N, 512, 1e-3
    "convnova-paper": (replace(HYENA, lr=1e-3, weight_decay=0.1, batch=512), N_FOR_ALL, 1024, 1.0,
                       "known"),
    # its table 7: 256, 0.1, 1e-3, cosine
    "convnova-table7": (replace(HYENA, lr=1e-3, weight_decay=0.1, batch=256), N_FOR_ALL, 1024, 1.0,
                        "known"),
    # songlab-cal/gpn README, gpn.ss.run_mlm: 1e-3, 1,000 steps, 2,048, 0.1 of soft-masked bases
    "gpn": (replace(HUGGING, lr=1e-3, weight_decay=0.01, batch=2048), Hiding(), 512, 0.1, "all"),
    # Buedenbender 2025, 4.3: constant 1e-3, repeats at 0.1; its notes: 4 x 256
    "gpn-thesis": (replace(HUGGING, lr=1e-3, weight_decay=0.01, batch=1024), Hiding(), 512, 0.1,
                   "all"),
    # HazyResearch/hyena-dna configs/experiment/hg38/hg38_hyena.yaml
    "hyenadna": (replace(HYENA, lr=6e-4, weight_decay=0.1, batch=256), Hiding(), 1024, 1.0,
                 "known"),
    # kuleshov-group/caduceus hg38.yaml and run_pretrain_caduceus.sh: 2^20 tokens of 1,024 each
    "caduceus": (replace(HYENA, lr=8e-3, weight_decay=0.1, batch=1024), Hiding(), 1024, 1.0, "all"),
    # arXiv 2306.15006, 4: 4,096, 5e-4 after 30,000 of 500,000 steps, then linear; decay 1e-5
    "bert": (replace(HUGGING, lr=5e-4, weight_decay=1e-5, batch=4096, schedule="linear",
                     warmup=30_000 / 500_000), Hiding(), 512, 1.0, "all"),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_recipes_have_the_numbers_of_their_sources(name):
    how = RECIPES[name]
    recipe, *others = SOURCES[name]
    assert how.recipe.numbers == recipe.numbers
    assert [how.hiding, how.length, how.small_weight, how.random] == others
    assert how.hiding.share in (0.15, 0.1) and how.source and how.differs


def test_every_recipe_has_a_source():
    assert {*RECIPES} == {*SOURCES, "house"}
    assert Hiding() == Hiding(share=0.15, as_mask=0.8, as_random=0.1, span=1, passes=1)


@pytest.mark.parametrize(
    ("name", "places", "epochs"),
    [("convnova-paper", ("text:3.3", "text:A.1"), 400), ("convnova-table7", ("7",), 200)],
)
def test_recipes_of_the_paper_have_the_numbers_that_are_published_here(name, places, epochs):
    with (ROOT / "results" / "published" / "hyperparameters.csv").open() as file:
        said = {row["parameter"]: row["value"] for row in csv.DictReader(file)
                if row["scope"] == "pretraining" and row["table"] in places}  # fmt: skip
    how = RECIPES[name]
    assert int(said["batch_size"]) == how.recipe.batch and float(said["learning_rate"]) == 1e-3
    assert int(said["training_epochs"]) == epochs
    assert float(said.get("weight_decay", 0.1)) == how.recipe.weight_decay
    assert said.get("mask_fraction", "10%") == f"{how.hiding.share:.0%}"


def test_the_budgets_of_the_docs_are_those_of_the_sources():
    """Epochs of one crop an interval in bp, to the digits given, and steps as they are."""
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    said = {name.strip(" `"): budget_named(budget.strip(" `")) for _, name, _, budget, _ in rows}
    assert {*said} == {*SOURCES}
    epochs = {"convnova": 2000, "convnova-paper": 400, "convnova-table7": 200, "hyenadna": 100}
    for name, n in epochs.items():
        assert said[name].amount == pytest.approx(n * INTERVALS * 1024, abs=5e6), name
        assert said[name].unit == "bp"
    steps = {"gpn": 120_000, "gpn-thesis": 270_000, "caduceus": 10_000, "bert": 500_000}
    assert {name: said[name].amount for name in steps} == steps
    assert {said[name].unit for name in steps} == {"steps"}


def test_numbers_of_hidden_tokens_and_soft_masked_bases_can_be_set(tmp_path):
    words = small_command(tmp_path, "--budget", "2 steps")
    words += ["--set", "hidden_share=0.5", "--set", "hidden_as_mask=1", "--set"]
    said = CliRunner().invoke(app, [*words, "hidden_as_random=0", "--plan"])
    assert "convnova-386k, 50% hidden" in said.output
    done = CliRunner().invoke(app, [*words, "hidden_as_random=0", "--set", "soft_masked_weight=0"])
    assert done.exit_code == 0, done.output
    how = json.loads((tmp_path / "net" / "network.json").read_text())["how"]
    assert how["hiding"] == {**asdict(Hiding()), "share": 0.5, "as_mask": 1.0, "as_random": 0.0}
    assert how["small_weight"] == 0


@pytest.mark.parametrize(
    ("model", "setting", "message"),
    [
        ("convnova-386k", "hidden_share=1.5", "hidden_share=1.5: a share is a number from 0 to 1"),
        ("convnova-386k", "hidden_share=0", "hidden_share=0: no token is predicted"),
        ("convnova-386k", "hidden_as_mask=1", "hidden_as_mask=1 and hidden_as_random=0.1"),
        ("convnova-386k", "hidden_span=0", "hidden_span=0: give 1 or more"),
        ("convnova-386k", "hidden_passes=two", "'two' is not a whole number"),
        ("convnova-386k", "hidden_shar=1", "did you mean hidden_share"),
        ("convnova-386k", "soft_masked_weight=-1", "soft_masked_weight=-1: a weight is a number"),
        ("hyenadna-tiny-1k", "hidden_share=0.3", "predicts the next token and none is hidden"),
        ("dnabert", "hidden_span=3", "of overlapping 6-mers 6 neighbours are hidden together"),
    ],
)
def test_numbers_that_cannot_be_or_have_no_part_are_refused(model, setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pretraining_chosen(model, "house", [setting], 0)


def test_weights_and_shares_go_where_they_fit():
    _, _, how = pretraining_chosen("hyenadna-tiny-1k", "gpn", ["soft_masked_weight=1"], 0)
    assert how == replace(RECIPES["gpn"], small_weight=1.0)
    _, _, how = pretraining_chosen("dnabert", "house", ["hidden_share=0.3"], 0)
    assert how.hiding == Hiding(share=0.3)
    _, _, how = pretraining_chosen("dnabert", "house", ["dnabert.hidden_share=0.3"], 0)
    assert how.hiding == Hiding(share=0.3)


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_changed_is_known_again(name):
    settings = ["hidden_share=0.4", "soft_masked_weight=0.5", "lr=0.007"]
    _, _, how = pretraining_chosen("convnova-386k", name, settings, 100)
    again, fields = named_of(how)
    assert pretraining_chosen(
        "convnova-386k", again, [f"{k}={v}" for k, v in fields.items()], 100
    )[2] == how  # fmt: skip
    assert again == name
