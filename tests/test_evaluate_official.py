"""`dnabench evaluate` of official weights, against the same in a folder and in transformers."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_transformers as tiny
import torch
import transformers
from hub import REVISION
from safetensors.torch import load_file, save_file
from test_evaluate import GENES
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, SHORT, training
from test_transformers import with_code
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.models.outside.references import model_named
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.objectives import Masked
from dnabench.pretraining.pretrain import pretrain
from dnabench.tensors import content_hash
from dnabench.types import IGNORED
from dnabench.weights import resolve

__all__ = ["own_cache"]  # a fixture
# here -> in the file that the authors published; the tied table of DNABERT-2 is there twice
NAMES = {
    "gpn-smol": {"backbone.": "model.", "head.": "cls."},
    "hyenadna-tiny-1k": {"backbone.": "hyena.backbone.", "head.": "lm_head."},
    "convnova-386k": {"backbone.": "", "head.": "out_linear."},
    "dnabert2": {"backbone.": "bert.", "head.": "cls.predictions."},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Files without a folder of their own are written there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def call(tmp_path, network, *more):
    words = ["evaluate", network, "--genome", tmp_path / "g.fa", "--device", "cpu", *more]
    return CliRunner().invoke(app, [*map(str, words)])


def done(tmp_path, network, *more):
    """What the file says, and what was printed."""
    found = call(tmp_path, network, *more)
    assert found.exit_code == 0, found.output
    file = found.output.splitlines()
    (line,) = [line for line in file if line.startswith("all chains")]
    return json.loads((tmp_path / "here" / line.rpartition(": ")[2]).read_text()), found.output


def said_by(found):
    return " ".join(found.output.split())


def published(name, folder, to):
    """The weights of a folder as the authors' file has them, and the flags that name it."""
    tensors = load_file(folder / "model.safetensors")
    file = {}
    for ours, value in tensors.items():
        (old,) = [old for old in NAMES[name] if ours.startswith(old)]
        file[NAMES[name][old] + ours.removeprefix(old)] = value
    to.mkdir()
    save_file(file, to / "a.safetensors")
    if (folder / "tokenizer.json").exists():
        (to / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    words = [w for k, v in CASES[name].items() for w in ("--set", f"{k}={v}")]
    return ["--regime", f"checkpoint:{to / 'a.safetensors'}", *words]


def genes(tmp_path):
    (tmp_path / "g.gff").write_text(
        GENES.format(a=1201, b=1300, c=1401, d=1460, s="+").replace("chr1", "chr2")
    )
    return ["--regions", tmp_path / "g.gff"]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_those_of_the_same_weights_in_a_folder(tmp_path, here, name):
    pretrain(training(tmp_path, name, steps=3, looks=1), tmp_path / "net")
    flags = published(name, tmp_path / "net", tmp_path / "official")
    more = ["--sequence", "chr2", *genes(tmp_path)]
    own, _ = done(tmp_path, tmp_path / "net", *more)
    found, printed = done(tmp_path, name, *flags, *more, "--length", 60)
    assert found["rows"] == own["rows"] and len(own["rows"]) > 6
    assert found["rows"][-1]["loss"] > 0 and found["majority"] == own["majority"]
    assert not own["warning"]  # chr2 was held out
    assert "what these weights were trained on is not known here" in found["warning"]
    assert "held out" not in printed and found["warning"] in printed
    weights = f"checkpoint:a.safetensors@{content_hash(tmp_path / 'official' / 'a.safetensors')}"
    assert (found["weights"], found["model"], found["network"]) == (weights, name, name)
    assert found["options"] == {**MODELS[name].options, **CASES[name]}
    assert f"weights {weights}, windows of 60 bp\n" in printed
    assert (found["length"], found["trained"]) == (60, None)
    assert (own["length"], own["trained"]) == (60, 60) and own["weights"].startswith("sha256:")
    causal = name.startswith("hyenadna")
    what = "hidden words" if name == "dnabert2" else "next bases" if causal else "hidden bases"
    assert f"{name} on chr2 of g.fa: {what}; accuracy" in printed
    assert "Markov chains: of the other sequences of g.fa" in " ".join(printed.split())
    assert [file.name for file in here.iterdir()] == [f"{name}-evaluation-mask-1.json"]
    # windows of another length are others; 0 = what `probe variants` takes
    other, printed = done(tmp_path, name, *flags, *more)
    assert other["length"] == 512 and other["windows"] == 3 and "windows of 512 bp\n" in printed
    assert len([*here.iterdir()]) == 2


def exported(tmp_path, name):
    """A network of transformers that learned here, and the folder that transformers loads."""
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    theirs = tiny.make(tmp_path / name, name)
    model = model_named(f"hf:{tmp_path / name}")
    train = gathered(
        model, dict(model.options), SHORT, [path], 5 * 240, holdout=["chr2"], looks=1
    )  # fmt: skip
    pretrain(train, tmp_path / "net")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "net"), "--format", "hf"])
    assert done.exit_code == 0, done.output
    return theirs, tmp_path / "net" / "hf"


@pytest.mark.parametrize("name", ["bert-bpe", "bert-bases", "esm-6mer"])
def test_a_masked_model_of_transformers_has_the_numbers_of_its_folder(tmp_path, here, name):
    _, folder = exported(tmp_path, name)
    own, _ = done(tmp_path, tmp_path / "net", "--sequence", "chr2", *genes(tmp_path))
    found, printed = done(
        tmp_path, f"hf:{folder}", "--sequence", "chr2", "--length", 60, *genes(tmp_path)
    )
    assert found["of"] == ("bases" if name == "bert-bases" else "words")
    for a, b in zip(found["rows"], own["rows"], strict=True):
        assert a["accuracy"] == b["accuracy"] and a["loss"] == pytest.approx(b["loss"], abs=1e-6)
        assert a["chance"] == b["chance"]
    assert found["weights"].startswith("pretrained:./hf@") and "is not known here" in printed
    assert [file.name for file in here.iterdir()] == ["hf-evaluation-mask-1.json"]


def test_hidden_bases_are_those_of_transformers(tmp_path, monkeypatch):
    """Window by window, with transformers' own model and the letters of its vocabulary."""
    text = random_contigs([4000, 2000])["chr2"]
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    theirs, drawn, asked = tiny.make(tmp_path / "m", "bert-bases"), [], Masked.asked

    def remembered(self, ids, seen, generator):
        wanted, read = asked(self, ids, seen, generator)
        drawn.extend(np.flatnonzero(row).tolist() for row in (wanted != IGNORED).numpy())
        return wanted, read

    monkeypatch.setattr(Masked, "asked", remembered)
    found, _ = done(tmp_path, f"hf:{tmp_path / 'm'}", "--sequence", "chr2", "--length", 100)
    assert len(drawn) == found["windows"] == 20
    ids = {token: i for i, token in enumerate(tiny.BASES)}
    letters, n, right, loss = [ids[base] for base in "ACGT"], 0, 0, 0.0
    for w, places in enumerate(drawn):
        window = text[100 * w : 100 * w + 100].upper()
        own = torch.tensor([[ids["[CLS]"], *(ids[base] for base in window), ids["[SEP]"]]])
        own[0, places] = ids["[MASK]"]
        with torch.no_grad():
            logs = theirs(input_ids=own).logits[0][:, letters].double().log_softmax(-1)
        for at in places:
            base = "ACGT".index(window[at - 1])  # [CLS] stands before the first
            n, right = n + 1, right + (int(logs[at].argmax()) == base)
            loss -= float(logs[at, base])
    row = found["rows"][-1]
    assert row["bases"] == n and 0.12 < n / 2000 < 0.18
    assert row["accuracy"] == pytest.approx(right / n)
    assert row["loss"] == pytest.approx(loss / n, abs=1e-5)


def test_next_bases_are_those_of_transformers(tmp_path):
    text = random_contigs([4000, 2000])["chr2"].upper()
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    torch.manual_seed(0)
    more = {"num_key_value_heads": 2, "pad_token_id": 0, "tie_word_embeddings": True}
    config = transformers.LlamaConfig(vocab_size=len(tiny.BASES), **more, **tiny.SMALL)
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "m")
    tiny.base_files(tmp_path / "m")
    found, printed = done(tmp_path, f"hf:{tmp_path / 'm'}", "--sequence", "chr2", "--length", 100)
    assert "next bases" in printed
    ids = {token: i for i, token in enumerate(tiny.BASES)}
    letters, right, loss = [ids[base] for base in "ACGT"], 0, 0.0
    for a in range(0, 2000, 100):
        own = [ids["[CLS]"], *(ids[base] for base in text[a : a + 100])]
        with torch.no_grad():
            logs = theirs(input_ids=torch.tensor([own])).logits[0][:, letters].double()
        for at, base in enumerate(text[a : a + 100]):
            each = logs[at].log_softmax(-1)
            right += "ACGT"[int(each.argmax())] == base
            loss -= float(each["ACGT".index(base)])
    row = found["rows"][-1]
    assert (row["bases"], row["accuracy"]) == (2000, pytest.approx(right / 2000))
    assert row["loss"] == pytest.approx(loss / 2000, abs=1e-5)


def add_language_model(path):
    """To a model of `with_code` its class of a language model."""
    (path / "modeling_own.py").write_text(
        "from transformers import BertForMaskedLM, BertModel\n"
        "from .configuration_own import OwnConfig\n\n\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n\n\n"
        "class OwnLanguage(BertForMaskedLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((path / "config.json").read_text())
    config["auto_map"]["AutoModelForMaskedLM"] = "modeling_own.OwnLanguage"
    (path / "config.json").write_text(json.dumps(config))


def test_code_that_a_model_brings_is_run_if_it_is_trusted(tmp_path):
    """The architecture is that of BERT under another name, so the numbers are."""
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    tiny.make(tmp_path / "plain", "bert-bases")
    path = with_code(tmp_path / "m")
    where = ["--sequence", "chr2", "--length", 100]
    found = call(tmp_path, f"hf:{path}", *where)
    assert found.exit_code == 2 and "write --trust-remote-code" in said_by(found)
    found = call(tmp_path, f"hf:{path}", *where, "--trust-remote-code")
    assert found.exit_code == 2
    assert "has no AutoModelForMaskedLM of own-dna" in said_by(found)
    add_language_model(path)
    own, _ = done(tmp_path, f"hf:{path}", *where, "--trust-remote-code")
    plain, _ = done(tmp_path, f"hf:{tmp_path / 'plain'}", *where)
    assert own["rows"] == plain["rows"] and own["options"]["code"]
    for name in (tmp_path / "plain", "gpn"):
        text = f"hf:{name}" if name != "gpn" else name
        found = call(tmp_path, text, *where, "--trust-remote-code")
        assert found.exit_code == 2 and "brings no code that would be run" in said_by(found)


def test_what_cannot_be_scored_says_why(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), net := tmp_path / "net")
    tiny.make(tmp_path / "llama", "llama-6mer")
    tiny.make(tmp_path / "words", "bert-bpe")
    bert = tiny.make(tmp_path / "bert", "bert-bases")
    bert.bert.save_pretrained(tmp_path / "bert")  # without the head
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    config["architectures"] = ["BertForMaskedLM"]
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    on, short = ["--sequence", "chr2"], ["--length", 100]
    for network, more, says in (
        ("gpn", [], "gpn: nothing is known to be held out from the training of official weights"),
        (f"hf:{tmp_path / 'llama'}", [], "name with --sequence those to score"),
        ("gpn", [*on, "--regime", "scratch"], "random weights know no sequences"),
        ("cnn", on, "cnn has no language-model head"),
        ("convnova", on, "no official weights of convnova were published: write --regime "
                         "checkpoint:FILE, with the language-model head in it"),
        ("gpn", on, "write --regime gpn=pretrained@REVISION"),
        ("convnova", [*on, "--regime", f"checkpoint:{net}"], "name it in place of convnova"),
        ("nothing", on, "there is no folder nothing, and no model named 'nothing'"),
        ("./nothing", [], "there is no folder ./nothing, and no model named './nothing'"),
        (net, ["--regime", "scratch"], "has weights of its own; leave it out"),
        (net, ["--set", "width=8"], "has the options it was trained with; leave them out"),
        (net, ["--trust-remote-code"], "brings no code that would be run; leave it out"),
        (f"hf:{tmp_path / 'llama'}", on + short, "where a token ends depends on the bases after"),
        (f"hf:{tmp_path / 'words'}", [*on, *short, "--protocol", "thesis"], "--protocol mask"),
        (f"hf:{tmp_path / 'words'}", [*on, "--length", 2000], "reads 200 at most; take shorter"),
        (f"hf:{tmp_path / 'words'}", [*on, "--regime", f"checkpoint:{net}"],
         "has the weights of its own folder or repository"),
        (f"hf:{tmp_path / 'bert'}", on + short, "a network without its language-model head"),
        ("hyenadna", [*on, "--length", 1025], "hyenadna reads 1,024 bp at most"),
    ):  # fmt: skip
        found = call(tmp_path, network, *more)
        assert found.exit_code == 2 and says in said_by(found), (network, more, found.output)
    assert not [*(tmp_path / "here").iterdir()] and not [*net.glob("evaluation*")]
    assert "metrics.jsonl" not in said_by(call(tmp_path, f"hf:{tmp_path / 'llama'}", *on, *short))


def test_overlapping_words_are_refused(tmp_path):
    pretrain(training(tmp_path, "dnabert-3", steps=1, looks=1), tmp_path / "net")
    NAMES["dnabert-3"] = {"backbone.": "bert.", "head.": "cls.predictions."}
    flags = published("dnabert-3", tmp_path / "net", tmp_path / "official")
    found = call(tmp_path, "dnabert-3", *flags, "--sequence", "chr2", "--length", 60)
    assert found.exit_code == 2
    assert "dnabert-3 predicts kmer3 tokens, which overlap" in said_by(found)


def test_no_evaluation_replaces_that_of_other_weights_or_windows(tmp_path, here):
    flags = []
    for seed in (0, 1):
        pretrain(training(tmp_path, "gpn-smol", steps=1, looks=1, seed=seed), tmp_path / f"n{seed}")
        flags.append(published("gpn-smol", tmp_path / f"n{seed}", tmp_path / f"o{seed}"))
    calls = [
        (flags[0], "--length", 60), (flags[1], "--length", 60), (flags[0], "--length", 61),
        (flags[0], "--length", 60, "--seed", 1),
    ]  # fmt: skip
    for _ in range(2):  # the same once more is written where it was
        for own, *more in calls:
            done(tmp_path, "gpn-smol", *own, "--sequence", "chr2", *more)
        files = sorted(here.iterdir())
        assert len(files) == 4
    said = [json.loads(file.read_text()) for file in files]
    assert len({(one["weights"], one["length"], one["seed"]) for one in said}) == 4
    # a folder's windows are those of its training, also in files from before windows were named
    done(tmp_path, tmp_path / "n0")
    (file,) = (tmp_path / "n0").glob("evaluation*")
    old = json.loads(file.read_text())
    for key in ("weights", "options", "length", "trained"):
        del old[key]
    file.write_text(json.dumps(old))
    longer, printed = done(tmp_path, tmp_path / "n0", "--length", 61)
    assert longer["length"] == 61 and longer["trained"] == 60
    assert "61 bp are more than the windows of its training, 60 bp" in printed
    assert json.loads(file.read_text()) == old
    assert len([*(tmp_path / "n0").glob("evaluation*")]) == 2
    done(tmp_path, tmp_path / "n0")
    assert json.loads(file.read_text())["length"] == 60


def test_a_revision_in_the_name_is_the_one_that_is_read():
    other = "ab" * 20
    ours = model_named(f"hf:zhihan1996/DNABERT-2-117M@{other}")
    assert resolve(ours, "pretrained")[0] == f"pretrained:zhihan1996/DNABERT-2-117M@{other}"
    named = f"pretrained:zhihan1996/DNABERT-2-117M@{REVISION}"
    assert resolve(ours, f"pretrained@{REVISION}")[0] == named
    assert resolve(ours, f"dnabert2=pretrained@{REVISION}")[0] == named
    pinned = model_named("hf:zhihan1996/DNABERT-2-117M")
    assert resolve(pinned, "pretrained")[0] == (
        f"pretrained:zhihan1996/DNABERT-2-117M@{pinned.weights.revision}"
    )


def test_variants_are_scored_by_a_model_of_transformers(tmp_path, here):
    """By the same seam: the base is hidden, on both strands."""
    text = random_contigs([4000, 2000])["chr2"].upper()
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    theirs = tiny.make(tmp_path / "m", "bert-bases")
    at, length = 1000, 60
    alt = "ACGT"[("ACGT".index(text[at]) + 1) % 4]
    (tmp_path / "v.vcf").write_text(f"chr2\t{at + 1}\t.\t{text[at]}\t{alt}\t.\t.\t.\n")
    words = ["variants", f"hf:{tmp_path / 'm'}", "--vcf", tmp_path / "v.vcf", "--genome",
             tmp_path / "g.fa", "--length", length, "--device", "cpu"]  # fmt: skip
    said = CliRunner().invoke(app, ["probe", *map(str, words)])
    assert said.exit_code == 0, said.output
    (row,) = pq.read_table(here / "v.scores.parquet").to_pylist()
    ids, both = {token: i for i, token in enumerate(tiny.BASES)}, []
    window, turn = text[at - 30 : at + 30], str.maketrans("ACGT", "TGCA")
    for own, place, ref, other in (
        (window, 30, text[at], alt),
        (window.translate(turn)[::-1], 29, text[at].translate(turn), alt.translate(turn)),
    ):
        assert own[place] == ref
        read = torch.tensor([[ids["[CLS]"], *(ids[base] for base in own), ids["[SEP]"]]])
        read[0, place + 1] = ids["[MASK]"]
        with torch.no_grad():
            logs = theirs(input_ids=read).logits[0, place + 1].double().log_softmax(-1)
        both.append(float(logs[ids[other]] - logs[ids[ref]]))
    assert row["score"] == pytest.approx(np.mean(both), abs=1e-5) and abs(row["score"]) > 1e-4


def test_of_a_file_with_several_sets_of_weights_the_others_are_named(tmp_path, capfd):
    pretrain(training(tmp_path, "gpn-smol", steps=1, looks=1), tmp_path / "net")
    flags = published("gpn-smol", tmp_path / "net", tmp_path / "official")
    tensors = load_file(tmp_path / "official" / "a.safetensors")
    torch.save({"model": tensors, "ema": tensors}, tmp_path / "w.pt")
    capfd.readouterr()
    one, _ = done(tmp_path, "gpn-smol", *flags, "--length", 60, "--sequence", "chr2")
    flags[1] = f"checkpoint:{tmp_path / 'w.pt'}"
    two, printed = done(tmp_path, "gpn-smol", *flags, "--length", 60, "--sequence", "chr2")
    assert one["rows"] == two["rows"]
    said = printed + capfd.readouterr().err
    assert said.count("note: w.pt holds several sets of weights: model was read, ema was not") == 1
