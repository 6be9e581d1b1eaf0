"""`dnabench export --format hf`: transformers alone loads the folder, with the same logits."""

import json

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import transformers
from conftest import dnabench
from kept_cases import flat, job_of, kept, task_of_kind
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Engine

import dnabench as db
from dnabench import MODELS, Sequences
from dnabench.models.outside.references import model_named
from dnabench.networks.export import export
from dnabench.networks.network import load_network
from dnabench.tokens import engines
from dnabench.tokens.engines import file_for_all_letters
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.weights import load_regime, resolve

BUNDLED = {
    "dnabert-3": {"width": 32, "layers": 2, "heads": 4, "inner": 48},
    "gena_lm": {"vocabulary": 40, "width": 32, "layers": 2, "heads": 4, "inner": 48},
    "nt_h": {"width": 32, "layers": 2, "heads": 4, "inner": 48},
}
AUTO = {
    "multiclass": transformers.AutoModelForSequenceClassification,
    "per_base": transformers.AutoModelForTokenClassification,
}
SHORT = "ACGTTGCA" * 8 + "AGGT"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    made = {}

    def get(name):
        if name not in made:
            tiny.make(place / name, name)
            made[name] = place / name
        return made[name]

    return get


def trained(name, kind, put, tmp_path, options=None, **recipe):
    """A kept network that learned for an epoch, and gives the stored logits again."""
    model = MODELS[name] if name in BUNDLED else model_named(f"hf:{name}")
    options = BUNDLED.get(name, {}) | (options or {})
    task, recipe = put(task_of_kind(kind)), {"lr": 1e-2, **recipe}
    network, _, stored = kept(job_of(model, task, options, **recipe), tmp_path)
    logits = flat(task, network.logits(task.load("test").seqs))
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-4, rtol=1e-4)
    return network


def answers(path, kind, text):
    """What transformers alone says of a sequence."""
    words = transformers.AutoTokenizer.from_pretrained(path)
    net = AUTO[kind].from_pretrained(path).eval()
    with torch.no_grad():
        return net(**words(text, return_tensors="pt")).logits[0].numpy(), net.config


@pytest.mark.parametrize("kind", list(AUTO))
@pytest.mark.parametrize("name", list(BUNDLED))
def test_bundled_families_that_transformers_knows(name, kind, put, tmp_path):
    network = trained(name, kind, put, tmp_path)
    if (name, kind) == ("nt_h", "per_base"):
        with pytest.raises(ValueError, match="its head is not that of EsmForTokenClass"):
            export(network, "hf", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    done = export(network, "hf", tmp_path / "out")
    assert done.difference < 1e-5
    text = SHORT
    if name.startswith("dnabert-"):
        text = " ".join(SHORT[i : i + 3] for i in range(len(SHORT) - 2))
    found, config = answers(tmp_path / "out", kind, text)
    if kind == "multiclass":
        np.testing.assert_allclose(found, network.logits([SHORT])[0], atol=1e-5)
    assert config.id2label == {0: "0", 1: "1", 2: "2"}
    assert config.dnabench["task"] == network.card.task["name"]


def test_sequences_are_cut_as_in_training(put, tmp_path):
    network = trained("dnabert-3", "multiclass", put, tmp_path, max_length=20)
    done = export(network, "hf", tmp_path / "out")
    assert done.tokens == 20 and done.difference < 1e-5
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    net = AUTO["multiclass"].from_pretrained(tmp_path / "out").eval()
    text = " ".join(SHORT[i : i + 3] for i in range(len(SHORT) - 2))
    with torch.no_grad():
        found = net(**words(text, truncation=True, return_tensors="pt")).logits
    np.testing.assert_allclose(found, network.logits([SHORT]), atol=1e-5)
    about = json.loads((tmp_path / "out/config.json").read_text())["dnabench"]
    assert "the first 19 and the last, as in training" in about["reading"]


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_every_family_of_transformers_with_its_own_head(name, folder, put, tmp_path, monkeypatch):
    monkeypatch.chdir(folder(name).parent)
    options = {"pooling": "transformers"}
    for kind in AUTO:
        network = trained(folder(name), kind, put, tmp_path, options)
        done = export(network, "hf", tmp_path / kind)
        assert done.difference < 1e-5
        found, config = answers(tmp_path / kind, kind, SHORT)
        theirs = transformers.AutoConfig.from_pretrained(folder(name))
        assert config.model_type == theirs.model_type
        if kind == "multiclass":
            np.testing.assert_allclose(found, network.logits([SHORT])[0], atol=1e-5)
            assert np.ptp(found) > 0


@pytest.mark.parametrize("name", ["bert-bases", "llama-6mer", "esm-6mer"])
def test_a_linear_head_fits_tokens_and_not_sequences(name, folder, put, tmp_path, monkeypatch):
    monkeypatch.chdir(folder(name).parent)
    network = trained(folder(name), "per_base", put, tmp_path)
    assert export(network, "hf", tmp_path / "out").difference < 1e-5
    if name == "bert-bases":  # [CLS], then a token a base
        found, _ = answers(tmp_path / "out", "per_base", SHORT)
        np.testing.assert_allclose(found[1:-1], network.logits([SHORT])[0], atol=1e-5)
    network = trained(folder(name), "multiclass", put, tmp_path)
    with pytest.raises(ValueError, match="; train with --set pooling=transformers, or export"):
        export(network, "hf", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("regression", "regression"), ("multilabel", "multi_label_classification"),
     ("binary", "single_label_classification")],
)  # fmt: skip
def test_the_kind_of_task_is_in_the_configuration(kind, problem, put, tmp_path):
    network = trained("dnabert-3", kind, put, tmp_path)
    export(network, "hf", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["problem_type"] == problem
    assert list(config["id2label"].values()) == network.card.task["classes"]
    net = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert net.num_labels == (2 if kind == "binary" else 3)


def test_low_rank_additions_are_in_the_weights(folder, put, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(folder("bert-bpe").parent)
    options = {"pooling": "transformers"}
    network = trained(folder("bert-bpe"), "multiclass", put, tmp_path, options, finetune="lora")
    export(network, "hf", tmp_path / "out")
    found, _ = answers(tmp_path / "out", "multiclass", SHORT)
    np.testing.assert_allclose(found, network.logits([SHORT])[0], atol=1e-5)


def test_the_folder_is_one_of_ours_or_nothing_is_replaced(put, tmp_path):
    network = trained("dnabert-3", "multiclass", put, tmp_path)
    path, out = tmp_path / "networks" / network.card.record.trial.id, tmp_path / "out"
    for _ in range(2):
        export(network, "hf", out)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in out.iterdir()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    done = dnabench("export", path, "--format", "hf", "--to", tmp_path / "mine")
    assert done.returncode == 2 and "is no network that dnabench exported" in done.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    done = dnabench("export", path, "--format", "hf")
    assert done.returncode == 0 and f"{path / 'hf'}: a folder for transformers" in done.stdout
    assert "3-mers" in done.stderr and (path / "hf/config.json").is_file()
    assert not [p for p in tmp_path.rglob(".*") if p.is_dir()]
    np.testing.assert_array_equal(load_network(path).logits([SHORT]), network.logits([SHORT]))


@pytest.mark.parametrize("name", ["bert-bpe", "llama-6mer", "bert-bases", "gena_lm", "nt_h"])
def test_every_letter_of_dna_is_read_as_in_training(name, folder, put, tmp_path, monkeypatch):
    if name not in BUNDLED:
        name = folder(name)
        monkeypatch.chdir(name.parent)
    network = trained(name, "per_base" if name != "nt_h" else "multiclass", put, tmp_path,
                      {} if name != "nt_h" else {"pooling": "cls"})  # fmt: skip
    export(network, "hf", tmp_path / "out")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    tokenizer = network.tokenizer or TOKENIZERS[network.model.tokenizer]
    ids = []
    for text in (
        SHORT,
        SHORT.lower(),
        SHORT.replace("T", "U"),
        SHORT.lower().replace("t", "u"),
        SHORT[:20] + "RYSWKMBDHVNryswkmbdhvn" + SHORT[:20],
        "ACGTRACGTUNNACGTkACGTA",
    ):
        ids.append(words(text)["input_ids"])
        assert ids[-1] == tokenizer(Sequences.parse([text]), 80, "mask").ids[0].tolist()
    assert ids[0] == ids[1] == ids[2] == ids[3] and len({*ids[0]}) > 3


@pytest.mark.parametrize("name", ["char-cls-sep", "kmer3"])
def test_every_published_file_reads_every_letter(name):
    tokenizer = TOKENIZERS[name]
    engine = Engine.from_str(file_for_all_letters(tokenizer.published()))
    text = "acgtUuACGTRYSWKMBDHVNryswkmbdhvnACGTA"
    k = tokenizer.spaced
    given = " ".join(text[i : i + k] for i in range(len(text) - k + 1)) if k else text
    assert (
        engine.encode(given).ids == tokenizer(Sequences.parse([text]), 80, "mask").ids[0].tolist()
    )


def test_the_comparison_tries_letters_beyond_the_five(put, tmp_path, monkeypatch):
    network = trained("nt_h", "multiclass", put, tmp_path)
    for letters in ("acgtnu", "RYSWKMBDHV", "U"):
        few = {x: "".join(set(y) - set(letters)) or x for x, y in engines.READ_AS.items()}
        with monkeypatch.context() as patch:
            patch.setattr(engines, "READ_AS", few)
            with pytest.raises(ValueError, match="exported to hf has a tokenizer of other ids"):
                export(network, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "says"),
    [("cnn", "cnn cannot be exported to hf: transformers has no such architecture"),
     ("ntv2-50m", "ntv2-50m cannot be exported to hf: transformers has no such architecture"),
     ("gena_lm-base", "transformers has this architecture only with last_layer_norm=True"),
     ("gena_lm", r"its head is not that of RobertaPreLayerNormForSequenceClassification \(without "
                 r"classifier.dense.*was trained with pooling=mean; train with --set pooling=cls")],
)  # fmt: skip
def test_others_are_refused_with_the_reason(model, says, put, tmp_path):
    options = {"pooling": "mean"} if model == "gena_lm" else {}
    options |= BUNDLED["gena_lm"] if model.startswith("gena") else {}
    network = kept(job_of(MODELS[model], put(task_of_kind("multiclass")), options), tmp_path)[0]
    with pytest.raises(ValueError, match=says):
        export(network, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_of_transformers_is_drawn_as_transformers_draws_it(folder):
    model = model_named(f"hf:{folder('bert-bpe')}")
    task = task_of_kind("multiclass")
    options = {**model.options, "pooling": "transformers"}
    torch.manual_seed(1)
    heads = [model.build(task, options).head for _ in range(2)]
    torch.manual_seed(1)
    again = model.build(task, options).head
    weight = heads[0].pooler.dense.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)  # BERT's initializer_range
    assert torch.equal(weight, again.pooler.dense.weight)
    assert not torch.equal(weight, heads[1].pooler.dense.weight)


def classifier_in(path, kind, **more):
    """A folder with a classification model of three classes and a byte-pair tokenizer."""
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=128, pad_token_id=3, num_labels=3, **tiny.SMALL, **more
    )
    torch.manual_seed(3)
    net = AUTO["multiclass"].from_config(config).eval()
    net.save_pretrained(path)
    tiny.bpe_files(path)
    return net


@pytest.mark.parametrize(
    ("kind", "more"),
    [("bert", {}), ("deberta", {"pooler_hidden_size": 32, "pooler_dropout": 0.3}),
     ("deberta-v2", {"pooler_hidden_size": 32, "cls_dropout": 0.4})],
)  # fmt: skip
def test_pooler_and_dropout_are_those_of_transformers(kind, more, put, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = classifier_in(tmp_path / "m", kind, **more)
    model, task = model_named(f"hf:{tmp_path / 'm'}"), put(task_of_kind("multiclass"))
    options = {**model.options, "pooling": "transformers"}
    net = model.build(task, options).eval()
    drawn = net.head.pooler.dense.weight.clone()
    state = torch.get_rng_state()
    loaded = load_regime(net, model, *resolve(model, "pretrained"))
    assert torch.equal(torch.get_rng_state(), state)
    assert any("pooler.dense.weight" in name for name in loaded.copied)
    assert not any("pooler" in name for name in loaded.unused)
    pooler = theirs.get_submodule("bert.pooler" if kind == "bert" else "pooler")
    assert torch.equal(net.head.pooler.dense.weight, pooler.dense.weight)
    assert not torch.equal(net.head.pooler.dense.weight, drawn)

    net.head.classifier.load_state_dict(theirs.classifier.state_dict())
    ids, mask, found = torch.randint(5, 128, (6, 20)), torch.ones(6, 20), []
    for part in (net.head, pooler, theirs.dropout):  # in training, with the same dropout
        part.train()
    for logits in (lambda: net(ids, mask), lambda: theirs(ids, mask.long()).logits):
        torch.manual_seed(5)
        found.append(logits())
    torch.testing.assert_close(*found)

    network = kept(job_of(model, task, options), tmp_path)[0]
    assert export(network, "hf", tmp_path / "out").difference < 1e-5


def test_a_probe_loads_no_pooler_and_says_that_it_is_unused(put, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier_in(tmp_path / "m", "bert")
    model, task = model_named(f"hf:{tmp_path / 'm'}"), put(task_of_kind("multiclass"))
    options, regime = {**model.options, "pooling": "transformers"}, resolve(model, "pretrained")[0]
    job = job_of(model, task, options, regime=regime, finetune="probe", precision="fp32")
    network, record, stored = kept(job, tmp_path / "runs")
    loaded = record.flags["weights"]
    assert [n for n in loaded["unused"] if "pooler" in n] == [
        "bert.pooler.dense.bias", "bert.pooler.dense.weight"
    ]  # fmt: skip
    assert not any("pooler" in name for name in loaded["copied"])
    assert isinstance(network.net.head, torch.nn.Linear)
    logits = network.logits(task.load("test").seqs)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5, rtol=1e-4)


def test_a_folder_without_a_pooler_draws_one_and_a_part_of_one_is_refused(folder, tmp_path):
    model, task = model_named(f"hf:{folder('bert-bpe')}"), task_of_kind("multiclass")
    net = model.build(task, {**model.options, "pooling": "transformers"})
    drawn = net.head.pooler.dense.weight.clone()
    load_regime(net, model, *resolve(model, "pretrained"))
    assert torch.equal(net.head.pooler.dense.weight, drawn)

    classifier_in(tmp_path / "m", "bert")
    file = tmp_path / "m/model.safetensors"
    tensors = load_file(file)
    del tensors["bert.pooler.dense.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    model = model_named(f"hf:{tmp_path / 'm'}")
    net = model.build(task, {**model.options, "pooling": "transformers"})
    with pytest.raises(ValueError, match=r"its pooler lacks bert\.pooler\.dense\.bias"):
        load_regime(net, model, *resolve(model, "pretrained"))


def test_a_pooler_that_is_only_a_part_is_refused(tmp_path):
    classifier_in(tmp_path / "m", "albert", embedding_size=16)
    model = model_named(f"hf:{tmp_path / 'm'}")
    with pytest.raises(ValueError, match=r"AlbertForSequenceClassification pools is not known"):
        model.build(task_of_kind("multiclass"), {**model.options, "pooling": "transformers"})


def test_python_too_says_that_both_strands_are_read(put, tmp_path):
    network = trained("dnabert-3", "multiclass", put, tmp_path, rc="conjoin")
    with pytest.warns(UserWarning, match="give it both strands and take the mean"):
        db.export(network, tmp_path / "out", format="hf")
