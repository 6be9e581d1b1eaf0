"""Networks of transformers that read padding: `check-model` and every run say so."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import transformers
from conftest import planted_task
from test_transformers import SEQS, TASK, UNEVEN, learner, pretrained
from test_transformers_architectures import saved, small

from dnabench.models.outside.references import model_named
from dnabench.splits import streams
from dnabench.train.check_model import check_model
from dnabench.train.contract import quick_checks
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.pool import Pool

READ_PADDING = {
    "convbert": ("ConvBert", {"embedding_size": 32}),
    "nystromformer": ("Nystromformer", {"conv_kernel_size": 9}),
    "fnet": ("FNet", {}),
}
MASK_IT = {"bert": ("Bert", {}), "mistral": ("Mistral", {})}
PER_BASE = planted_task(classes=3, length=60, kind="per_base")


def made(path, name, files=tiny.bpe_files):
    kind, more = {**READ_PADDING, **MASK_IT}[name]
    torch.manual_seed(0)
    config = small(kind, initializer_range=0.2, **more)
    saved(path, transformers.AutoModel.from_config(config), files)
    return path


def said(path, split, task=TASK, **recipe):
    """What the checks of a trial say."""
    model, net, _ = pretrained(path, task=task)
    one = learner(model, net, split, task, **recipe)
    return quick_checks(one, Examples(model, task, split, model.own_tokenizer()))


def a_label_a_base(split):
    return split._replace(y=np.zeros((6, 60), np.int8))


@pytest.mark.parametrize("finetune", ["full", "probe"])
@pytest.mark.parametrize("name", [*READ_PADDING, *MASK_IT])
def test_a_trial_says_that_scores_depend_on_padding(name, finetune, tmp_path):
    path = made(tmp_path, name)
    found = [line for line in said(path, UNEVEN, finetune=finetune) if "padding" in line]
    if name in MASK_IT:
        assert found == []
    else:
        (line,) = found
        assert line.startswith(f"a score depends on padding, which {name} does not mask")
        assert line.endswith("or take another architecture, such as bert, esm or llama")


def test_a_trial_with_a_label_a_base_says_it_too(tmp_path):
    (line,) = said(made(tmp_path / "fnet", "fnet"), a_label_a_base(UNEVEN), PER_BASE)
    assert "depends on padding, which fnet" in line
    assert said(made(tmp_path / "bert", "bert"), a_label_a_base(UNEVEN), PER_BASE) == []


@pytest.mark.parametrize("uneven", ["first", "second"])
def test_of_pairs_both_sequences_of_a_probe_are_looked_at(uneven, tmp_path):
    one, two = (UNEVEN, SEQS) if uneven == "first" else (SEQS, UNEVEN)
    split, task = one._replace(other=two.seqs), replace(TASK, pairs=True)
    for name, n in (("fnet", 1), ("bert", 0)):
        model, net, _ = pretrained(made(tmp_path / name, name, tiny.base_files))  # a token a base
        found = quick_checks(*probe(model, net, split, task))
        assert len(found) == n and all("depends on padding, which fnet" in line for line in found)


def probe(model, net, split, task=TASK, key=""):
    """A learner and its examples, with the pool that a trial makes."""
    parts = [seqs for seqs in (split.seqs, split.other) if seqs is not None]
    examples = Examples(model, task, split, model.own_tokenizer(), Pool(parts), key)
    recipe = replace(model.recipes["default"], epochs=1, finetune="probe")
    return NetLearner(net, examples, Supervised(task), recipe, streams(0, task.name)), examples


def test_probes_that_share_features_are_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    calls, lines = [], []
    cases = (
        ("fnet", "a"),
        ("fnet", "a"),
        ("fnet", "b"),
        ("bert", "a"),
        ("bert", "a"),
        ("fnet", ""),
    )
    for name in ("fnet", "bert"):
        made(tmp_path / name, name)
    for name, key in cases:
        model, net, _ = pretrained(tmp_path / name)
        one, examples = probe(model, net, UNEVEN, key=key)
        ran = []
        hook = one.net.backbone.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        lines.append(quick_checks(one, examples))
        hook.remove()
        calls.append(len(ran))
    wanted = calls[0]
    assert wanted > 1 and calls == [wanted, 0, wanted, wanted, 0, wanted]
    assert len(lines[0]) == 1 and lines[3] == lines[4] == []
    assert lines[0] == lines[1] == lines[2] == lines[5]


@pytest.mark.parametrize("finetune", ["full", "probe"])
def test_tokens_of_one_number_are_not_padded(finetune, tmp_path):
    path = made(tmp_path, "fnet", tiny.base_files)  # a token a base
    assert not any("padding" in line for line in said(path, SEQS, finetune=finetune))
    assert any("padding" in line for line in said(path, UNEVEN, finetune=finetune))


@pytest.mark.parametrize("name", list(READ_PADDING))
def test_check_model_names_the_padding_and_no_statistics_of_batches(name, tmp_path):
    model = model_named(f"hf:{made(tmp_path, name)}")
    checks = {}
    for check in check_model(model, model.options, 60):
        checks[check.name] = check
        if check.name == "neighbours":  # the others are not asked for
            break
    for one in ("padding", "neighbours"):  # words of equal length are not equally many tokens
        assert checks[one].ok is False
        assert f"depends on padding, which {name} does not mask" in checks[one].says
