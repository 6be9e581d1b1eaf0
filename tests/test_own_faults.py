"""Faults of a user's own network: what `check-model` and `run` find, and what they say."""

import itertools
import json
import re

import numpy as np
import pytest
from conftest import dnabench
from test_own_file import EXAMPLE, TASK, checks, net

from dnabench.models.outside.hub import Source
from dnabench.models.outside.references import model_named
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import run_trial
from dnabench.tokens.vocabulary import FILES, unnamed_tokens, vocabulary_tokenizer
from dnabench.types import Sequences

__all__ = ["net"]  # a fixture
BEFORE_HEAD = "self.head = nn.Linear"


@pytest.mark.parametrize(
    "text",
    [
        "self.scale = 1 + torch.rand(width)\n        ",
        "self.register_buffer('scale', 1 + torch.rand(width), persistent=False)\n        ",
    ],
)
def test_what_a_state_dict_lacks_is_found(net, text):
    text = EXAMPLE.replace(BEFORE_HEAD, text + BEFORE_HEAD)
    lacks = text.replace("self.embedding(ids.long())", "self.embedding(ids.long()) * self.scale")
    found = checks(model_named(f"{net(lacks)}:Net"))
    assert [name for name, check in found.items() if not check.ok] == ["save/load"]
    assert "register buffers" in found["save/load"].says
    holds = lacks.replace(", persistent=False", "")
    if holds != lacks:
        assert checks(model_named(f"{net(holds)}:Net"))["save/load"].ok


def run_one(path, csv):
    """The record of one short trial, and its predictions."""
    (job,) = grid(Request(models=[f"{path}:Net"], data=str(csv), seeds="1", limit="40",
                          overrides={"epochs": 1}))  # fmt: skip
    return run_trial(job)


def test_a_table_that_forward_keeps_serves_predicting_and_training(net, csv):
    """As rotary positions are often kept: those of predicting serve training."""
    text = EXAMPLE.replace(
        "        if mask is not None:\n            x = x * mask",
        "        if not hasattr(self, 'table'):\n"
        "            self.table = torch.arange(1.0, 1001.0).cos()[:, None]\n"
        "        x = x * self.table[: x.shape[1]]\n"
        "        if mask is not None:\n            x = x * mask",
    )
    _, predictions = run_one(net(text), csv)
    assert np.isfinite(predictions["logits"]).all()


LATE = EXAMPLE.replace(
    "return self.head(self.features(ids, mask))",
    "x = self.features(ids, mask)\n"
    "        if not hasattr(self, 'late'):\n"
    "            self.late = nn.Linear(x.shape[-1], x.shape[-1])\n"
    "        return self.head(self.late(x))",
)


def test_a_layer_made_in_forward_is_refused_since_it_would_not_learn(net, csv):
    says = "net.py:Net makes late.weight, late.bias in its first forward"
    found = checks(model_named(f"{net(LATE)}:Net"))
    assert not found["builds"].ok and says in found["builds"].says
    with pytest.raises(ValueError, match=says):
        run_one(net(LATE), csv)


@pytest.mark.parametrize(
    ("instead", "says"),
    [("return self.head(self.features(ids, mask))[:, :2]", r"^12 sequences give logits \(12, 2\)"),
     ("return self.head(self.features(ids, mask)), mask", "forward gives a tuple, not a tensor; "
      "return the logits alone")],
)  # fmt: skip
def test_a_wrong_answer_is_said_once_and_what_needs_it_is_skipped(instead, says, net):
    path = net(EXAMPLE.replace(ANSWER, instead))
    found = checks(model_named(f"{path}:Net"))
    assert not found["builds"].ok and re.search(says, found["builds"].says)
    assert len(found) == 10 and [c.ok for c in found.values()] == [False, *[None] * 9]
    done = dnabench("check-model", f"{path}:Net")
    assert done.returncode == 1
    assert [line[:4] for line in done.stdout.splitlines()] == ["FAIL", *["skip"] * 9]


def test_a_lazy_layer_is_refused_by_name(net):
    text = EXAMPLE.replace("nn.Linear(width, task.n_outputs)", "nn.LazyLinear(task.n_outputs)")
    model = model_named(f"{net(text)}:Net")
    with pytest.raises(ValueError, match=r"net.py:Net has a lazy layer, such as nn.LazyLinear"):
        model.build(TASK, model.options)


ANSWER = "return self.head(self.features(ids, mask))"


@pytest.mark.parametrize(
    ("instead", "failing", "says"),
    [("return self.head(nn.functional.dropout(self.features(ids, mask)))", "padding",
      "when they are read again"),
     ("return self.head(self.features(ids, mask)) / 0", "padding", "scores are not finite"),
     ("return self.head(self.features(ids, mask))  # bits",
      "builds", "its parameters are bfloat16")],
)  # fmt: skip
def test_the_fault_itself_is_said_not_what_follows_from_it(net, instead, failing, says):
    text = EXAMPLE.replace(ANSWER, instead)
    if "bits" in instead:
        text = text.replace("task.n_outputs)\n", "task.n_outputs)\n        self.bfloat16()\n")
    path = net(text)
    found = checks(model_named(f"{path}:Net"))[failing]
    assert not found.ok and says in found.says


def test_what_follows_from_a_fault_is_not_checked(net):
    comparing = {"neighbours", "strands", "bf16", "save/load"}
    for instead, skipped in (
        ("return self.head(nn.functional.dropout(self.features(ids, mask)))", comparing),
        ("return self.head(self.features(ids, mask)) / 0", {*comparing, "gradients", "first loss"}),
    ):
        found = checks(model_named(f"{net(EXAMPLE.replace(ANSWER, instead))}:Net"))
        assert {name for name, c in found.items() if c.ok is None} == skipped
        assert {name for name, c in found.items() if c.ok is False} == {"padding"}


@pytest.mark.parametrize(
    ("instead", "failing", "says"),
    [(f"{ANSWER}.squeeze()", "padding", r"tensor of shape \(3,\) for 1 sequence; return the log"),
     (f"{ANSWER}.T", "builds", r"tensor of shape \(3, 12\) for 12 sequences; return the logits"),
     (f"{ANSWER}.softmax(1)", "first loss", "add up to 1, as after a softmax: return what goes")],
)  # fmt: skip
def test_answers_that_are_no_logits_are_told(instead, failing, says, net):
    found = checks(model_named(f"{net(EXAMPLE.replace(ANSWER, instead))}:Net"))[failing]
    assert found.ok is False and re.search(says, found.says)


def test_layers_in_a_list_and_too_few_ids_are_told(net):
    text = EXAMPLE.replace(
        BEFORE_HEAD, f"self.more = [nn.Linear(width, width)]\n        {BEFORE_HEAD}"
    )
    text = text.replace(ANSWER, "return self.head(self.more[0](self.features(ids, mask)))")
    assert "nn.ModuleList" in checks(model_named(f"{net(text)}:Net"))["save/load"].says
    text = EXAMPLE.replace("nn.Embedding(8,", "nn.Embedding(5,")
    assert "; ids are 0 to 7: A C G T N" in checks(model_named(f"{net(text)}:Net"))["padding"].says


def test_what_a_network_prints_is_not_among_its_answers(net, csv, tmp_path):
    path = net("print('loaded')\n" + EXAMPLE.replace(ANSWER, f"print('seen')\n        {ANSWER}"))
    out = tmp_path / "runs"
    done = dnabench("run", "-m", f"{path}:Net", "--data", csv, "--limit", "40", "--epochs", "1",
                    "--seeds", "1", "--keep", "all", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = (out / "networks").iterdir()
    (tmp_path / "new.csv").write_text("sequence\nACGTACGTACGT\nTTTTACGTACGT\n")
    found = dnabench("predict", kept, tmp_path / "new.csv", "-m", f"{path}:Net")
    assert len(found.stdout.splitlines()) == 3 and "seen" not in found.stdout, found.stdout
    assert "loaded" in found.stderr and "seen" in found.stderr


def test_a_run_says_that_answers_are_probabilities(net, csv):
    record, _ = run_one(net(EXAMPLE.replace(ANSWER, f"{ANSWER}.softmax(1)")), csv)
    assert any("as after a softmax" in says for says in record.flags["contract"])


def test_a_run_says_that_scores_are_random(net, csv):
    instead = "return self.head(nn.functional.dropout(self.features(ids, mask)))"
    record, _ = run_one(net(EXAMPLE.replace(ANSWER, instead)), csv)
    assert any("when they are read again" in says for says in record.flags["contract"])


KMERS = ["".join(letters) for letters in itertools.product("ACGT", repeat=2)]


@pytest.mark.parametrize(
    ("settings", "ids"),
    [({}, [0, 4, 5, 2]),  # EsmTokenizer's own tokens
     ({"eos_token": None}, [0, 4, 5]), ({"cls_token": "<unk>"}, [3, 4, 5, 2])],
)  # fmt: skip
def test_special_tokens_that_no_file_names_are_those_of_the_class(settings, ids, tmp_path):
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *KMERS]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = vocabulary_tokenizer(tmp_path, {"model_type": "esm"})
    assert tokenizer(Sequences.parse(["AAAC"]), 4, "mask").ids.tolist() == [ids]


def test_tokens_that_no_file_names_are_in_the_ids_of_trials(tmp_path):
    """Results with and without them are not of one trial."""
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"ACGT"]))
    (tmp_path / "config.json").write_text(json.dumps(config := {"model_type": "bert"}))
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    for more, unnamed in (({}, "[SEP]"), ({"sep_token": None}, "")):
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(named | more))
        assert unnamed_tokens(tmp_path, config) == unnamed
        plain = Source("./x", tmp_path, "", {}, ()).hash_of(["config.json", *FILES])
        found = model_named(f"hf:{tmp_path}").options["files"]
        assert (found == plain) == (not unnamed)


def test_k_mers_of_bert_which_may_overlap_are_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *KMERS]))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(ValueError, match="whether 2-mers overlap, as DNABERT's do"):
        vocabulary_tokenizer(tmp_path, {"model_type": "bert"})


@pytest.mark.parametrize(
    ("files", "config", "ids", "says"),
    [({"tokenizer_class": None}, {}, [2, 4, 5, 3], "[CLS] first and [SEP] last added"),
     ({}, {"tokenizer_class": "DNATokenizer"}, [4, 5], "no special tokens added"),
     ({"sep_token": "<none>"}, {}, [2, 4, 5], "[CLS] first added")],
)  # fmt: skip
def test_the_class_of_a_tokenizer_may_be_in_either_file(files, config, ids, says, tmp_path):
    """And what is called added is what the vocabulary has."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"ACGT"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(files))
    tokenizer = vocabulary_tokenizer(tmp_path, {"model_type": "bert", **config})
    assert tokenizer(Sequences.parse(["AC"]), 2, "mask").ids.tolist() == [ids]
    assert f"; {says}" in tokenizer.name


def test_k_mers_without_a_named_class_are_refused_with_words(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *KMERS]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": null}')
    with pytest.raises(ValueError, match="whether 2-mers overlap"):
        vocabulary_tokenizer(tmp_path, {"model_type": "bert"})
