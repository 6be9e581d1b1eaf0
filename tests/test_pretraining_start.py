"""Trainings that go on from weights: of a folder, official ones, those of a file."""

import json
from dataclasses import replace

import pytest
import tiny_transformers as tiny
import torch
from safetensors.torch import load_file, save_file
from test_evaluate_official import NAMES, published
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import SHORT, options_of, random_codes, training
from test_pretraining_ranks import in_two
from test_weights import hub
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.models.language import language_model
from dnabench.models.outside.references import model_named
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.language_nets import language_net
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.pretrain import learner_of, pretrain
from dnabench.pretraining.saving import load_pretrained
from dnabench.splits import streams
from dnabench.sweep.regimes import identity
from dnabench.tensors import content_hash
from dnabench.types import Recipe
from dnabench.weights import resolve

__all__ = ["hub", "own_cache"]  # fixtures
FAMILIES = ["convnova-386k", "hyenadna-tiny-1k", "gpn-smol", "caduceus_ph", "dnabert2", "dnabert-3"]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def further(tmp_path, regime, name="convnova-386k", genome="h.fa", contigs=None, **more):
    """A training of tiny networks on a genome of its own, which begins with weights."""
    folder = tmp_path / genome.removesuffix(".fa")
    folder.mkdir(exist_ok=True)
    if not (folder / "g.fa").exists():
        fasta(folder / "g.fa", contigs or random_contigs([5000, 1500], seed=7))
    return training(folder, name, regime=regime, **more)


def tensors_of(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", FAMILIES)
def test_it_begins_where_the_other_ended(tmp_path, name):
    """The same windows and hidden tokens have the loss that the other training ended with."""
    ended = pretrain(training(tmp_path, name, steps=4, looks=1), tmp_path / "a")
    train = training(tmp_path, name, steps=4, looks=2, regime=f"checkpoint:{tmp_path / 'a'}")
    done = pretrain(train, tmp_path / "b")
    start, own = done["start"], tensors_of(tmp_path / "a")
    assert start["scores"]["val"] == ended["scores"]["val"]
    first, *rest = rows_of(tmp_path / "b")
    assert first == {
        "step": 0, **{f"held_out_{key}": value for key, value in ended["scores"]["val"].items()}
    }  # fmt: skip
    assert [row["step"] for row in rest] == [2, 4] and all("loss" in row for row in rest)
    assert sorted(start["read"]) == sorted(own) and not start["anew"] and not start["unused"]
    assert start["weights"] == f"checkpoint:a@{content_hash(tmp_path / 'a' / 'model.safetensors')}"
    assert start["weights"].endswith(start["sha256"])
    begun = learner_of(train).net.state_dict()
    assert all(torch.equal(begun[key], value) for key, value in own.items())
    words = [tmp_path / n / "tokenizer.json" for n in "ab"]
    assert [w.exists() for w in words] == [name == "dnabert2"] * 2
    back = load_pretrained(tmp_path / "b")
    assert any(not torch.equal(back.net.state_dict()[key], value) for key, value in own.items())
    # byte pairs are those of the weights, also on another genome
    other = further(tmp_path, f"checkpoint:{tmp_path / 'a'}", name)
    if name == "dnabert2":
        assert other.tokenizer.text() == words[0].read_text() == words[1].read_text()


@pytest.mark.parametrize("name", ["convnova-386k", "unet"])
def test_the_loss_before_the_first_step_is_that_of_evaluate(tmp_path, monkeypatch, name):
    """Where both hide the same bases, and all probability is that of A, C, G and T."""
    monkeypatch.setitem(NAMES, "unet", {"backbone.": "", "head.": "head."})
    pretrain(training(tmp_path, name, steps=3, looks=1), tmp_path / "a")
    tensors = tensors_of(tmp_path / "a")
    letters = list(MODELS[name].language.letters[:4])
    others = [i for i in range(len(tensors["head.bias"])) if i not in letters]
    assert others
    tensors["head.bias"][others] = -1e4
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    flags = published(name, tmp_path / "a", tmp_path / "official")
    how = replace(SHORT, hiding=replace(SHORT.hiding, as_mask=1.0, as_random=0.0))
    train = training(tmp_path, name, how=how, looks=1, regime=flags[1])
    first = pretrain(train, tmp_path / "b")
    seed = streams(0, "pretraining").order
    words = ["evaluate", name, *flags, "--genome", tmp_path / "g.fa", "--device", "cpu"]
    words += ["--sequence", "chr2", "--length", 60, "--seed", seed, "--to", tmp_path / "e.json"]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "e.json").read_text())["rows"][-1]
    begun = first["start"]["scores"]["val"]
    assert begun["loss"] == pytest.approx(row["loss"], abs=1e-6)
    assert begun["accuracy"] == pytest.approx(row["accuracy"], abs=1e-12)
    assert first["start"]["license"] == "not stated" and first["start"]["pretraining"] is None


def test_going_on_lowers_the_loss_and_is_better_than_the_start(tmp_path):
    how = replace(SHORT, recipe=Recipe(batch=8, lr=0.01))
    pretrain(training(tmp_path, how=how, steps=20, looks=1), tmp_path / "a")
    strange = {"chr1": "ACGT" * 500, "chr2": "ACGT" * 100}
    more = {"how": how, "steps": 60, "looks": 1, "contigs": strange}
    done = pretrain(further(tmp_path, f"checkpoint:{tmp_path / 'a'}", **more), tmp_path / "b")
    start, end = done["start"]["scores"]["val"], done["scores"]["val"]
    assert start["accuracy"] < 0.5 and start["loss"] > 1.2
    assert end["accuracy"] > 0.95 and end["loss"] < 0.2


def killed(train, folder, at):
    """End a training after an evaluation, 0 = that before the first step, as if it were killed."""

    def stop(done, total, row):
        if row and row["epoch"] >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(train, folder, told=stop)


def kept_of(folder):
    """What a folder has, but for times and places."""
    card = json.loads((folder / "network.json").read_text())
    for key in ("seconds", "where", "command"):
        card.pop(key)
    curve = rows_of(folder)
    for row in curve[1:]:
        row.pop("bp_per_s")
    return (folder / "model.safetensors").read_bytes(), card, curve


@pytest.mark.parametrize("name", ["convnova-386k", "dnabert2"])
def test_a_killed_one_goes_on_to_the_same_bytes(tmp_path, name):
    pretrain(training(tmp_path, name, steps=2, looks=1), tmp_path / "a")
    regime = f"checkpoint:{tmp_path / 'a'}"

    def train():
        return further(tmp_path, regime, name, steps=6, looks=3)

    pretrain(train(), tmp_path / "whole")
    killed(train(), tmp_path / "b", 0)  # before the first step
    assert len(rows_of(tmp_path / "b")) == 1 and not (tmp_path / "b" / "checkpoint.pt").exists()
    killed(train(), tmp_path / "b", 2)
    (tmp_path / "b" / "metrics.jsonl").unlink()
    pretrain(train(), tmp_path / "b")
    assert kept_of(tmp_path / "b") == kept_of(tmp_path / "whole")
    assert len(rows_of(tmp_path / "b")) == 4


def test_two_processes_go_on_as_one_does(tmp_path):
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "a")

    def make(rank):
        return further(tmp_path, f"checkpoint:{tmp_path / 'a'}", looks=3)

    pretrain(make(0), tmp_path / "one")
    assert in_two(make, tmp_path / "two") == ["", ""]
    one, two = (rows_of(tmp_path / name) for name in ("one", "two"))
    losses = [[row["held_out_loss"] for row in rows] for rows in (one, two)]
    assert len(losses[0]) == 4 and losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_another_start_is_another_network(tmp_path):
    for seed in (0, 1):
        pretrain(training(tmp_path, steps=1, looks=1, seed=seed), tmp_path / f"a{seed}")
    regimes = ["scratch", *(f"checkpoint:{tmp_path / f'a{seed}'}" for seed in (0, 1))]
    three = [further(tmp_path, regime) for regime in regimes]
    assert len({identity(one) for one in three}) == 3
    assert "start" not in three[0].said()  # ids of those from scratch are what they were
    (tmp_path / "a0").rename(tmp_path / "named-anew")
    again = further(tmp_path, f"checkpoint:{tmp_path / 'named-anew'}")
    assert identity(again) == identity(three[1])
    killed(three[2], tmp_path / "b", 1)
    for other in (three[0], again):
        with pytest.raises(ValueError, match="an unfinished training that differs in start"):
            pretrain(other, tmp_path / "b")
    pretrain(three[2], tmp_path / "b")


def test_a_file_without_the_head_gets_a_new_one(tmp_path):
    for name in ("convnova-386k", "gpn-smol", "dnabert2"):
        folder = tmp_path / name
        folder.mkdir()
        pretrain(training(folder, name, steps=1, looks=1), folder / "a")
        published(name, folder / "a", folder / "official")
        file = folder / "official" / "a.safetensors"
        tensors = load_file(file)
        own = tensors_of(folder / "a")
        head = NAMES[name]["head."]
        save_file({k: v for k, v in tensors.items() if not k.startswith(head)}, file)
        train = training(folder, name, steps=1, looks=1, regime=f"checkpoint:{file}")
        anew = {key for key in own if key.startswith("head.")}
        assert {*train.start.anew} == anew
        assert {*train.start.read} == own.keys() - anew
        begun, new = (
            learner_of(one).net.state_dict() for one in (train, replace(train, start=None))
        )
        assert all(torch.equal(begun[key], own[key]) for key in train.start.read)
        assert all(torch.equal(begun[key], new[key]) for key in anew)
        assert pretrain(train, folder / "b")["start"]["anew"] == [*train.start.anew]


def test_what_does_not_fit_is_refused(tmp_path):
    """With one message, and nothing is written."""
    pretrain(training(tmp_path, steps=1, looks=1), net := tmp_path / "net")
    own = {"vocabulary": 9, "tokenizer": "char-cls-sep"}
    pretrain(training(tmp_path, "dnabert2", steps=1, looks=1, own=own), tmp_path / "letters")
    pretrain(training(tmp_path, "dnabert2", steps=1, looks=1), tmp_path / "words")
    pairs = further(tmp_path, "scratch", "dnabert2", seed=5).tokenizer.text()
    (tmp_path / "other.json").write_text(pairs)
    tensors = tensors_of(net)
    save_file(
        {k: v for k, v in tensors.items() if k.startswith("head.")}, tmp_path / "head.safetensors"
    )
    body = {k.removeprefix("backbone."): v for k, v in tensors.items() if k[:5] != "head."}
    save_file({**body, "classifier.weight": torch.zeros(2, 8)}, tmp_path / "task.safetensors")
    words, conv = tmp_path / "words", "convnova-386k"
    for name, regime, more, says in (
        (conv, f"checkpoint:{net}", {"width": 16}, "write --set convnova-386k.width=8"),
        (conv, f"checkpoint:{net}/model.safetensors", {"width": 16}, "convnova-386k.width=8"),
        ("unet", f"checkpoint:{net}", {}, "a network of convnova-386k, not of unet"),
        ("dnabert2", f"checkpoint:{tmp_path / 'letters'}", {},
         "was trained with the tokenizer char-cls-sep, and here it is bpe; write --set tokenizer="),
        ("dnabert2", f"checkpoint:{words}", own, "trained with the tokenizer bpe, and here"),
        ("dnabert2", f"checkpoint:{words}", {"tokenizer": f"bpe:{tmp_path / 'other.json'}"},
         "was trained with other byte pairs, which are beside its file"),
        (conv, f"checkpoint:{tmp_path / 'head.safetensors'}", {}, "does not fit convnova-386k"),
        (conv, f"checkpoint:{tmp_path / 'task.safetensors'}", {},
         r"classifier.weight \(2, 8\) is not a tensor of convnova-386k"),
        (conv, "pretrained", {}, "no official weights of convnova-386k were published"),
        (conv, f"scratch,checkpoint:{net}", {}, "begins with one set of weights"),
        (conv, "gpn=scratch", {}, "begins with one set of weights of convnova-386k"),
        (conv, "nonsense", {}, "write scratch, pretrained"),
        (conv, f"checkpoint:{tmp_path / 'nowhere'}", {}, "there is no .*nowhere"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            training(tmp_path, name, own=more, regime=regime)
    save_file(tensors_of(words), net / "model.safetensors")
    with pytest.raises(ValueError, match=r"is not the file that network\.json describes"):
        training(tmp_path, regime=f"checkpoint:{net}")


def test_the_card_says_what_else_was_in_the_file(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    regime = published("convnova-386k", tmp_path / "a", tmp_path / "official")[1]
    tensors = load_file(regime.removeprefix("checkpoint:"))
    torch.save({"model": tensors, "ema": tensors}, tmp_path / "w.pt")
    for file, says in ((tmp_path / "w.pt", "w.pt holds several"), (regime.partition(":")[2], "")):
        train = training(tmp_path, steps=1, looks=1, regime=f"checkpoint:{file}")
        start = pretrain(train, tmp_path / f"of-{bool(says)}")["start"]
        assert ("beside" in start) == bool(says)
        assert start.get("beside", "").startswith(says)
    card = load_pretrained(tmp_path / "of-True").card
    assert "model was read, ema was not" in card["start"]["beside"]


def test_a_folder_is_found_by_a_dot_and_by_a_link_to_its_weights(tmp_path, monkeypatch):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    (tmp_path / "a" / "inner").mkdir()
    link, elsewhere = tmp_path / "mine.safetensors", tmp_path / "stored"
    link.symlink_to(tmp_path / "a" / "model.safetensors")
    by_name = training(tmp_path, steps=1, regime=f"checkpoint:{tmp_path / 'a'}").start
    for folder, regime in (("a", "."), ("a/inner", ".."), (".", link), (".", "a/inner/..")):
        monkeypatch.chdir(tmp_path / folder)
        start = training(tmp_path, steps=1, regime=f"checkpoint:{regime}").start
        assert start.weights == by_name.weights and start.weights.startswith("checkpoint:a@")
        assert start.pretraining == by_name.pretraining is not None
    # and where the weights of a folder lie elsewhere, under a name of their hash, say
    (tmp_path / "a" / "model.safetensors").rename(elsewhere)
    (tmp_path / "a" / "model.safetensors").symlink_to(elsewhere)
    regime = f"checkpoint:{tmp_path / 'a' / 'model.safetensors'}"
    assert training(tmp_path, steps=1, regime=regime).start.weights == by_name.weights


def test_a_head_of_another_shape_is_refused(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    published("convnova-386k", tmp_path / "a", tmp_path / "official")
    file = tmp_path / "official" / "a.safetensors"
    tensors = load_file(file)
    tensors["out_linear.weight"] = tensors["out_linear.weight"][:4].clone()
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"out_linear\.weight is \(4, 8\), convnova-386k has"):
        training(tmp_path, regime=f"checkpoint:{file}")


def test_a_network_of_a_task_is_refused(tmp_path):
    import dnabench as db

    seqs = ["".join("ACGT"[i] for i in row) for row in random_codes(60, 50, any_base=0)]
    lines = [f"{seq},{i % 2}" for i, seq in enumerate(seqs)]
    (tmp_path / "my.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    (record,) = db.run(
        models=["convnova-386k"], data=str(tmp_path / "my.csv"), seeds=1, epochs=1, keep="all",
        set=["width=8", "blocks=2", "kernel_size=3"], out=str(tmp_path / "runs"),
        executor="inline",
    ).records  # fmt: skip
    kept = tmp_path / "runs" / "networks" / record.trial.id
    with pytest.raises(ValueError, match="a network of a task, which has no language-model head"):
        training(tmp_path, regime=f"checkpoint:{kept}")


@pytest.mark.parametrize("name", ["bert-bases", "bert-bpe", "esm-6mer"])
def test_a_model_of_transformers_goes_on_from_its_weights(tmp_path, name):
    """Its logits are those of transformers before the first step; so is its loss."""
    theirs = tiny.make(tmp_path / "m", name)
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    model = model_named(f"hf:{tmp_path / 'm'}")

    def made(regime):
        return gathered(
            model, dict(model.options), SHORT, [tmp_path / "g.fa"], 5 * 240, holdout=["chr2"],
            looks=1, regime=regime,
        )  # fmt: skip

    train = made("pretrained")
    assert not train.start.anew and {*train.start.read} == {*learner_of(train).net.state_dict()}
    assert train.start.weights == resolve(model, "pretrained")[0]
    ids = torch.from_numpy(train.tokenizer(as_sequences(random_codes(3, 60)), 60, "mask").ids)
    with torch.no_grad():
        net = learner_of(train).net.eval()
        torch.testing.assert_close(
            net(ids.long(), None), theirs.eval()(input_ids=ids.long()).logits, atol=1e-5, rtol=1e-5
        )
    done = pretrain(train, tmp_path / "b")
    begun = done["start"]["scores"]["val"]["loss"]
    assert begun != pretrain(made("scratch"), tmp_path / "c")["scores"]["val"]["loss"]
    # and from a folder of its own
    again = pretrain(made(f"checkpoint:{tmp_path / 'b'}"), tmp_path / "d")
    assert again["start"]["scores"]["val"] == pytest.approx(done["scores"]["val"])
    for other in (f"checkpoint:{tmp_path / 'm' / 'model.safetensors'}", f"pretrained@{'0' * 40}"):
        with pytest.raises(ValueError, match="has the weights of its own folder or repository"):
            made(other)
    if name == "bert-bases":
        theirs.bert.save_pretrained(tmp_path / "m")  # without the head
        config = json.loads((tmp_path / "m" / "config.json").read_text())
        config["architectures"] = ["BertForMaskedLM"]
        (tmp_path / "m" / "config.json").write_text(json.dumps(config))
        model = model_named(f"hf:{tmp_path / 'm'}")
        with pytest.raises(ValueError, match="a network without its language-model head"):
            made("pretrained")


def test_official_weights_from_the_hub(tmp_path, hub):
    """From the command: what is planned, what is read, and what is not known of them."""
    name, options = "hyenadna-tiny-1k", {"width": 8}
    model = MODELS[name]
    torch.manual_seed(1)
    net = language_model(model, options_of(name, **options), 60)
    inside = NAMES[name]["backbone."]
    state = {f"{inside}{k}": v.clone() for k, v in net.backbone.state_dict().items()}
    state |= {f"lm_head.{k}": v.clone() for k, v in net.head.state_dict().items()}
    state["score.weight"] = torch.ones(2, 8)  # a head of classes
    save_file(state, tmp_path / "official.safetensors")
    (file,) = [f for f in model.weights.files if f.endswith(".safetensors")][:1]
    data = (tmp_path / "official.safetensors").read_bytes()
    hub.put(model.weights.repo, file, data, model.weights.revision)
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    words = [
        "pretrain", name, "--regime", "pretrained", "--set", "width=8", "--set", "batch=4",
        "--length", "60", "--holdout", "chr2", "--genome", tmp_path / "g.fa", "--budget", "480",
        "--looks", "1", "--device", "cpu", "--to", tmp_path / "net",
    ]  # fmt: skip
    weights = f"pretrained:{model.weights.repo}@{model.weights.revision}"
    for plan in (["--plan"], []):
        done = CliRunner().invoke(app, [*map(str, words), *plan])
        said = " ".join(done.output.split())
        assert done.exit_code == 0, done.output
        assert f"begins with {weights}: {len(net.backbone.state_dict())} tensors of the" in said
        assert "not used: score.weight" in said
        assert f"what {weights} was trained on is not known here, so it may have seen" in said
        assert (tmp_path / "net").exists() == (not plan)
    assert "before the first step" in said and (tmp_path / "net" / "loss.png").exists()
    card = load_pretrained(tmp_path / "net").card
    assert (card["start"]["weights"], card["start"]["license"]) == (weights, model.weights.license)
    assert card["start"]["sha256"] == content_hash(tmp_path / "official.safetensors")
    found = language_net(name, 60, "pretrained", options)
    begun = learner_of(
        gathered(
            model, options_of(name, **options), SHORT, [tmp_path / "g.fa"], 480, holdout=["chr2"],
            regime="pretrained",
        )
    ).net.state_dict()  # fmt: skip
    assert all(torch.equal(begun[k], v) for k, v in found.net.state_dict().items())
