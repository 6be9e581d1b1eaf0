"""Recipes of bend, deepsea and deepstarr: values of their sources, what is open, who has one."""

import pytest
from test_recipes import chosen

from dnabench import MODELS, Recipe
from dnabench.cli.explain import explained
from dnabench.types import Published

SUITES = ("bend", "deepsea", "deepstarr")
TASK = {
    "bend": "bend/gene_finding", "deepsea": "deepsea/chromatin_profile",
    "deepstarr": "deepstarr/enhancer_activity",
}  # fmt: skip
# Read off the sources on 2026-11-29: arXiv 2502.18538 A.2.2, A.2.3 and table 7 (AdamW,
# decay 0.1, cosine, 10 epochs; "official" rates: those of the models' own configurations);
# HazyResearch/hyena-dna chromatin_profile.yaml; GENA_LM finetune_deepsea.sh, finetune_deepstarr.sh;
# open-genome/dna deepstarr_{denoise,hyena,caduceus}.yaml; BEND conf/supervised_tasks/gene_finding
# model, recipe: rate, decay, batch (None: no source states one), epochs or steps, schedule, warm-up
VALUES = {
    ("convnova", "deepsea"): (1e-3, 0.1, None, 10, "cosine", 0.01),
    ("hyenadna", "deepsea"): (6e-4, 0.1, 1000, 10, "cosine", 0.01),
    ("dnabert2", "deepsea"): (3e-5, 0.1, 32, 10, "cosine", 0.01),
    ("ntv2-50m", "deepsea"): (1e-4, 0.1, None, 10, "cosine", 0.01),
    ("deepatt", "deepsea"): (1e-3, 0.1, 64, 10, "cosine", 0.01),
    ("hyenadna", "deepsea-official"): (6e-4, 0.1, 1000, 100, "cosine", 0.01),
    ("gena_lm-base", "deepsea"): (1e-4, 1e-4, 256, 1_000_000, "linear", 5000),
    ("convnova-7.4m", "bend"): (1e-3, 0.1, None, 10, "cosine", 0.01),
    ("hyenadna", "bend-probe"): (3e-3, 0.01, 64, 100, "constant", 0.0),
    ("convnova", "deepstarr"): (1e-3, 0.1, 2 * 256, 20, "cosine", 0.01),
    ("hyenadna", "deepstarr"): (1e-5, 1e-4, 128, 100, "cosine", 0.01),
    ("caduceus_ph", "deepstarr"): (1e-3, 0.1, 2 * 2048, 100, "cosine", 0.01),
    ("gena_lm-base", "deepstarr"): (5e-5, 1e-4, 64, 50_000, "constant", 1500),
}
FAMILIES = {
    "bend": {"convnova"},
    "deepsea": {"convnova", "hyenadna", "dnabert2", "ntv2", "deepatt", "gena_lm"},
    "deepstarr": {"convnova", "hyenadna", "caduceus_ph", "gena_lm"},
    "bend-probe": {"hyenadna", "dnabert", "dnabert2", "gena_lm", "nt_h", "ntv2"},
}
SCHEDULED = {"warmup", "warmup_from", "lr_floor", "clip"}


@pytest.mark.parametrize(("model", "name"), VALUES)
def test_values_are_those_of_the_sources(model, name):
    recipe = MODELS[model].recipes[name]
    assert isinstance(recipe, Published) and recipe.optimizer == "adamw"
    rate, decay, batch, length, schedule, warmup = VALUES[model, name]
    assert (recipe.lr, recipe.weight_decay, recipe.schedule, recipe.warmup) == (
        rate, decay, schedule, warmup,
    )  # fmt: skip
    assert (recipe.max_steps or recipe.epochs) == length
    assert recipe.batch == (batch or Recipe().batch)
    assert (batch is None) == recipe.why.get("batch", "").startswith("house: ")


def test_each_suite_has_the_recipes_of_the_families_that_a_source_names():
    ablations = {"convnova_no_gate", "convnova_single_branch", "convnova_unet"}  # take ConvNova's
    for name, families in FAMILIES.items():
        found = {MODELS[m].family for m in MODELS if name in MODELS[m].recipes}
        assert found - ablations == families, name


def test_a_trial_of_the_suite_takes_its_recipe_and_options():
    for suite, task in TASK.items():
        for family in FAMILIES[suite] - {"ntv2"}:  # whose weights are frozen but for LoRA
            (model, *_) = (m for m in MODELS if MODELS[m].family == family)
            recipe, options = chosen(model, task)
            wanted = MODELS[model].recipes[suite]
            assert (recipe.source, recipe.differs) == (wanted.source, wanted.differs)
            assert recipe.numbers == wanted.numbers and options.items() >= wanted.options.items()
    assert chosen("hyenadna", TASK["deepsea"])[1]["embed_dropout"] == 0.1
    assert chosen("hyenadna", TASK["deepsea"])[1]["shift"] == 0.0
    assert chosen("gena_lm", TASK["deepsea"])[0].max_length == 192  # of finetune_deepsea.sh
    assert chosen("gena_lm", TASK["deepstarr"])[0].max_length == 128  # of finetune_deepstarr.sh
    assert chosen("gena_lm", TASK["deepsea"], epochs=3)[0].max_steps == 0


def test_what_nobody_states_is_the_default_and_bends_probe_is_never_taken_unasked():
    for model, suite in (("cnn", "deepsea"), ("nt_h", "deepsea"), ("caduceus_ps", "deepstarr"),
                         ("hyenadna-large-1m", "bend"), ("gpn", "bend")):  # fmt: skip
        assert chosen(model, TASK[suite])[0].source == MODELS[model].recipes["default"].source
    probe, _ = chosen("hyenadna-large-1m", TASK["bend"], recipe="bend-probe")
    assert probe.finetune == "probe" and probe.clip == 0
    assert probe.head == "conv"  # hidden_size 64, kernel_size 3 of bend.models.downstream.CNN


# model, recipe -> fields that its source itself states, as --explain tells them
STATED = {
    ("convnova-386k", "deepsea"): {"optimizer", "weight_decay", "epochs", "schedule", "precision"},
    ("convnova-386k", "bend"): {"optimizer", "lr", "weight_decay", "epochs", "schedule"},
    ("convnova-386k", "deepstarr"): {
        "optimizer", "lr", "weight_decay", "epochs", "schedule", "rc", *SCHEDULED,
    },
    ("gena_lm-base", "deepstarr"): {
        "optimizer", "lr", "weight_decay", "batch", "max_steps", "schedule", "horizon", "warmup",
        "max_length",
    },
}  # fmt: skip


@pytest.mark.parametrize(("model", "suite"), STATED)
def test_explain_tells_what_is_the_sources_from_what_it_leaves_open(model, suite):
    first, *rows, last = explained([model, suite]).splitlines()
    assert first == f"{model} {suite}: {MODELS[model].recipes[suite].source}"
    said = {row.split()[0] for row in rows if row.endswith("  the source")}
    assert said == STATED[model, suite]
    assert last.startswith("Differs: ")
