"""harness/train/flops.py against formulas written down by hand."""

import math
import time

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from conftest import planted_task
from scipy.fft import next_fast_len

from dnabench.registry import MODELS
from dnabench.train.flops import flops_per_sequence, n_tokens
from dnabench.types import Model

K = 2  # outputs of the planted task


def flops(name, length=512, **changes):
    model = MODELS[name]
    return flops_per_sequence(model, {**model.options, **changes}, planted_task(length=length))


@pytest.mark.parametrize(("width", "kernel", "blocks"), [(128, 9, 5), (64, 5, 3), (32, 9, 4)])
def test_convnova_is_the_formula_of_the_performance_study(width, kernel, blocks):
    """docs/speed.md#flop: forward per token 2 [2 n k d^2 + 12 d^2 + 2 k 5 d], the stem's k is 9."""
    d, n = width, blocks
    per_token = 2 * (2 * n * kernel * d**2 + 12 * d**2 + 2 * 9 * 5 * d)
    if (width, kernel, blocks) == (128, 9, 5):
        assert per_token == 3_365_376
    found = flops("convnova", 500, width=d, kernel_size=kernel, blocks=n)
    assert found == 500 * per_token + 2 * d * K


def test_hyenadna_has_its_fourier_transforms():
    length, d, layers, hidden = 512, 256, 2, 64
    n = next_fast_len(2 * length - 1, real=True)
    transforms = 3 * d * 2.5 * n * math.log2(n)  # of the input, of the filter, and back
    drawing = 2 * length * (5 * hidden + 2 * hidden**2 + hidden * d)
    linear = 2 * length * (3 * d**2 + d**2 + 8 * d**2) + 2 * length * 3 * 3 * d
    expected = layers * (transforms + drawing + linear) + 2 * d * K
    assert flops("hyenadna", length) == pytest.approx(expected, abs=10)


@pytest.mark.parametrize(("name", "strands"), [("caduceus_ph", 1), ("caduceus_ps", 2)])
def test_caduceus_has_its_scans_by_formula(name, strands):
    length, d, layers = 320, 256, 2
    e, s, rank, taps = 2 * d, 16, math.ceil(d / 16), 4
    projections = 2 * length * (2 * e * d + e * d)
    direction = 2 * length * (e * (rank + 2 * s) + rank * e + taps * e) + 9 * length * e * s
    expected = strands * layers * (projections + 2 * direction) + 2 * d * K
    assert flops(name, length, layers=layers) == expected


def test_attention_is_counted():
    model, length = MODELS["dnabert"], 100
    t = n_tokens(model, model.options, length)
    d, layers = 768, 12
    of_layer = 2 * t * (4 * d**2 + 8 * d**2) + 2 * 2 * t**2 * d
    rest = flops("dnabert", length) - layers * of_layer
    assert 0 <= rest <= 2 * d * d + 2 * d * K  # at most the pooler and the head


def test_what_cannot_be_counted_is_none():
    assert flops("kmer") is None
    assert flops("dnabert2") is None  # how many tokens depends on the letters
    short, model = planted_task(length=60), MODELS["dnabert2"]
    assert flops_per_sequence(model, model.options, short, tokens=20) > 0
    model = MODELS["dnabert"]
    assert flops_per_sequence(model, model.options, short, tokens=model.max_tokens + 1) is None


def test_long_sequences_and_large_models_take_no_time_and_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(3).tolist()
    torch.manual_seed(0)
    start = time.process_time()
    million = flops("convnova", 1_000_000, width=64)
    assert flops("caduceus_ph", 131_072, layers=1) > 1e11
    assert flops("ntv2-500m", 600) > 1e10
    assert time.process_time() - start < 10
    assert million == pytest.approx(1e6 * flops("convnova", 1000, width=64) / 1000, rel=1e-4)
    assert torch.rand(3).tolist() == expected


def test_a_network_that_runs_nowhere_without_its_data_is_none():
    class Curious(torch.nn.Module):
        head = torch.nn.Linear(1, K)

        def forward(self, ids, mask):
            raise RuntimeError("only on a device that is not here")

    model = Model(
        name="curious", family="test", build=lambda task, options: Curious(), n_params=0,
        min_length=1, context=1000, source="here", license="CC0-1.0",
    )  # fmt: skip
    assert flops_per_sequence(model, {}, planted_task()) is None


@pytest.mark.parametrize("name", ["llama-6mer", "bert-bases", "mistral-bpe"])
def test_models_of_transformers_are_counted(name, tmp_path):
    from dnabench.models.outside.references import model_named

    tiny.make(tmp_path / name, name)
    model, length = model_named(f"hf:{tmp_path / name}"), 96
    tokens = {"llama-6mer": 17, "bert-bases": 98, "mistral-bpe": 0}[name]  # special ones included
    assert n_tokens(model, model.options, length) == tokens
    found = flops_per_sequence(model, model.options, planted_task(length=length), tokens or 40)
    t, d, inner, layers, gates = tokens or 40, 32, 48, 2, 2 if name == "bert-bases" else 3
    keys = d if name == "bert-bases" else d // 2  # two key-value heads of four
    of_layer = 2 * t * (2 * d * d + 2 * d * keys + gates * d * inner) + 2 * 2 * t * t * d
    assert found == pytest.approx(layers * of_layer + 2 * d * K, rel=0.02)
    if name == "mistral-bpe":
        assert flops_per_sequence(model, model.options, planted_task(length=length)) is None


def test_of_words_the_longest_test_sequence_counts():
    import dataclasses

    from conftest import planted_split
    from kept_cases import job_of

    from dnabench.tokens.bpe import train_bpe
    from dnabench.train.flops import tokens_of_longest
    from dnabench.train.meter import flops as counted

    model, task = MODELS["convnova-386k"], planted_task(length=60)
    seqs = planted_split(20, 2).seqs
    words = train_bpe(seqs, 64)
    trial = job_of(model, task, {"tokenizer": "bpe", "vocabulary": 64}).trial
    tokens = words(seqs.take(np.array([0])), 60, "mask").ids.shape[1]
    assert tokens_of_longest(words, seqs, 60, trial.recipe) == tokens > 0
    assert tokens_of_longest(None, seqs, 60, trial.recipe) == 0
    assert counted(trial, task, tokens) == flops_per_sequence(model, trial.options, task, tokens)
    letters = dataclasses.replace(trial, options={**model.options, **model.reduced})
    assert counted(letters, task) == flops_per_sequence(model, letters.options, task)
