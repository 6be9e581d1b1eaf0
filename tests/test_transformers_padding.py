"""Networks of transformers that read padding: `check-model` and every run say so."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import transformers
from conftest import planted_task
from kept_cases import job_of, kept, put, task_of_kind  # noqa: F401
from test_transformers import SEQS, TASK, UNEVEN, learner, pretrained
from test_transformers_architectures import saved, small

from dnabench import MODELS, Sequences, embed
from dnabench.models.outside.references import model_named
from dnabench.networks.embed_file import embed_file
from dnabench.networks.embedding import Embedder, of_network
from dnabench.networks.predicting import predict_file
from dnabench.networks.unmasked import said_of_padding
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


@pytest.mark.parametrize("kind", ["binary", "per_base"])
@pytest.mark.parametrize("name", ["fnet", "convbert", "bert"])
def test_predict_and_embed_say_it_again(
    name, kind, put, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path, task = made(tmp_path / name, name, tiny.base_files), put(task_of_kind(kind))
    network, *_ = kept(job_of(model_named(f"hf:{path}"), task), tmp_path / "runs")
    fasta, lines = tmp_path / "x.fa", []
    fasta.write_text("".join(f">{n}\n{'ACGGTCAT' * n}\n" for n in (4, 7, 10)))
    form = "bed" if kind == "per_base" else "csv"
    predict_file(network, fasta, io.BytesIO(), form, None, lines.append)
    embed_file(Embedder(of_network(network)), fasta, tmp_path / "e.npy")
    padding = "does not mask padding everywhere: the answer to a sequence depends on the others"
    found = [any(padding in said for said in lines), padding in capsys.readouterr().err]
    # what is said is so: the answers of a sequence alone and beside longer ones
    seqs = Sequences.parse(["ACGGTCAT" * n for n in (4, 7, 10)])
    embedder = Embedder(of_network(network), pool="mean")
    apart = np.abs(embedder(seqs)[:1] - embedder(seqs.take(np.array([0])))).max()
    assert found == [name != "bert"] * 2 and (apart > 1e-4) == (name != "bert")


def test_embed_says_it_once_of_a_network_as_loaded(put, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    path = made(tmp_path / "fnet", "fnet", tiny.base_files)
    network, *_ = kept(job_of(model_named(f"hf:{path}"), put(task_of_kind("binary"))), tmp_path)
    (tmp_path / "x.fa").write_text(">a\nACGGTCATACGGTCAT\n")
    said = []
    for more in ({}, {}, {"pool": "max"}, {"pool": "max"}, {}):
        for seqs in (["ACGGTCAT"], tmp_path / "x.fa"):
            embed(network, seqs, **more)
            said.append("does not mask padding" in capsys.readouterr().err)
    assert said == [True, False, False, False, True, *[False] * 5]


def test_of_a_network_that_reads_one_length_nothing_is_said():
    asked, model = [], replace(MODELS["cnn"], reference="net.py:Net", min_length=1, max_tokens=100)

    def answers(seqs):
        asked.append(seqs.lengths.max())
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    assert said_of_padding(model, "fp32", 80, answers) == "" and asked == [80]
    assert said_of_padding(model, "fp32", 200, answers) == "" and asked == [80, 92]
    assert said_of_padding(MODELS["cnn"], "fp32", 80, answers) == "" and asked == [80, 92]
