"""What is said of a training that goes on from weights, and of what these had seen before."""

import json
import re
from dataclasses import replace

import pytest
import tiny_transformers as tiny
from conftest import planted_task
from test_evaluate_official import published
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, SHORT, random_codes, training
from test_pretraining_start import further
from test_tuning_told import evidence_of, tune, tuning_of
from test_weights import hub
from typer.testing import CliRunner

import dnabench as db
from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.models.outside.references import model_named
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.language_nets import language_net
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.overlap import with_pretraining
from dnabench.pretraining.planning import Budget, Cost, bought
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.saving import load_pretrained, trained_on
from dnabench.results.searches import searches
from dnabench.results.store import Store
from dnabench.tasks.io.packed import packed
from dnabench.types import Job, Recipe, Sequences, Trial
from dnabench.weights import (
    begun_with,
    check_files,
    licence_begun_with,
    load_regime,
    pretraining_of,
    resolve,
)

__all__ = ["hub", "own_cache"]  # fixtures


def command(tmp_path, begun, to, *more):
    """A training of a tiny network that begins with the weights of a folder."""
    own = [w for k, v in CASES["convnova-386k"].items() for w in ("--set", f"{k}={v}")]
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    return [*map(str, [
        "pretrain", "convnova-386k", *own, "--set", "batch=4", "--length", 60, "--device", "cpu",
        "--regime", f"checkpoint:{tmp_path / begun}", "--genome", tmp_path / "g.fa",
        "--holdout", "chr2", "--budget", 480, "--to", tmp_path / to, *more,
    ])]  # fmt: skip


def test_the_evaluation_before_the_first_step_takes_time(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    train = training(tmp_path, looks=2, regime=f"checkpoint:{tmp_path / 'a'}")
    cost = Cost(step=0.5, evaluation=6.0, peak=0, params=0)
    # an hour of 3,600 s less three evaluations of 6 s
    assert bought(Budget(1, "h"), train, tmp_path / "b", lambda: cost).steps == 3582 * 2
    pretrain(train, tmp_path / "b")
    evaluated = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    done = CliRunner().invoke(app, command(tmp_path, "a", "c", "--looks", 2, "--plan"))
    assert done.exit_code == 0, done.output
    (planned,) = re.findall(r"(\d+) evaluations of", done.output)
    assert int(planned) == len(evaluated) == 3


def test_the_caption_of_tune_counts_all_trainings(tmp_path):
    """By the cards, also where the first began with weights of which nothing is known."""
    pretrain(training(tmp_path, steps=4, looks=1), tmp_path / "a")
    published("convnova-386k", tmp_path / "a", tmp_path / "official")
    file = tmp_path / "official" / "a.safetensors"
    for begun, known in ((tmp_path / "a", True), (file, False)):
        folders = [tmp_path / f"{'uv'[known]}{i}" for i in range(2)]
        for steps, start, to in zip((3, 1), (begun, folders[0]), folders, strict=True):
            pretrain(training(tmp_path, steps=steps, looks=1, regime=f"checkpoint:{start}"), to)
        behind = [tmp_path / "a"] * known + folders
        cards = [json.loads((one / "network.json").read_text()) for one in behind]
        out = tmp_path / f"runs-{known}"
        tuned = tune(
            out, "convnova-386k", regime=f"checkpoint:{folders[-1]}", seeds=1, tuning_seeds=1,
            set=["width=8", "blocks=2", "kernel_size=3"],
        )  # fmt: skip
        (took,) = tuned.search.pretraining.values()
        assert took["bp"] == sum(card["bp"] for card in cards) == (1920 if known else 960)
        assert took["seconds"] == pytest.approx(sum(card["seconds"] for card in cards))
        assert took.get("began_with") == (None if known else begun_with(cards[0]))
        assert searches(Store(out)) == [tuned.search]
        _, section = tuning_of(evidence_of(out))
        after = " after checkpoint:a.safetensors, of which that is not known" * (not known)
        assert re.search(rf"read {took['bp'] / 1e6:.4g} Mbp in [\d.e-]+ minutes{after}\. Chosen",
                         section.notes[0])  # fmt: skip


def test_the_licence_of_the_first_weights_goes_along(tmp_path, hub):
    """Official weights, then two trainings, then a task: each names them and their licence."""
    name = "hyenadna-tiny-1k"
    weights = MODELS[name].weights
    pretrain(training(tmp_path, name, steps=1, looks=1), tmp_path / "own")
    published(name, tmp_path / "own", tmp_path / "official")
    (file,) = [f for f in weights.files if f.endswith(".safetensors")][:1]
    data = (tmp_path / "official" / "a.safetensors").read_bytes()
    hub.put(weights.repo, file, data, weights.revision)
    official = f"pretrained:{weights.repo}@{weights.revision}"
    regime = "pretrained"
    for to in "ab":
        train = training(tmp_path, name, steps=1, looks=1, regime=regime)
        card, regime = pretrain(train, tmp_path / to), f"checkpoint:{tmp_path / to}"
        assert begun_with(card) == official
        assert licence_begun_with(card) == weights.license != "not stated"
    flags = [w for k, v in CASES[name].items() for w in ("--set", f"{k}={v}")]
    done = CliRunner().invoke(app, [*map(str, [
        "pretrain", name, *flags, "--set", "batch=4", "--length", 60, "--device", "cpu",
        "--regime", regime, "--genome", tmp_path / "g.fa", "--holdout", "chr2", "--budget", 480,
        "--to", tmp_path / "c", "--plan",
    ])])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"licence of {official}: {weights.license}" in " ".join(done.output.split())
    (record,) = db.run(
        name, tasks="demo/splice_junctions", seeds=1, keep="all", out=tmp_path / "runs",
        regime=regime, executor="inline", epochs=1,
        set=[f"{k}={v}" for k, v in CASES[name].items()],
    ).records  # fmt: skip
    kept = json.loads(
        (tmp_path / "runs" / "networks" / record.trial.id / "network.json").read_text()
    )
    assert not record.error
    assert kept["licenses"]["weights"].endswith(f"began with {official}: {weights.license}")
    assert licence_begun_with(kept) == weights.license


def test_other_files_of_a_model_of_transformers_are_refused_with_a_way_out(tmp_path):
    """Files beside its configuration and tokenizer, and its own weights, may be others."""
    folder = tmp_path / "hbert"
    tiny.make(folder, "bert-bases")
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))

    def made(regime):
        model = model_named(f"hf:{folder}")
        return gathered(
            model, dict(model.options), SHORT, [tmp_path / "g.fa"], 240, holdout=["chr2"],
            looks=1, regime=regime,
        )  # fmt: skip

    pretrain(made("pretrained"), tmp_path / "p")
    regime = f"checkpoint:{tmp_path / 'p'}"
    (folder / "notes.txt").write_text("of mine")
    train = made(regime)
    assert train.options["revision"] != load_pretrained(tmp_path / "p").card["options"]["revision"]
    pretrain(train, tmp_path / "q")
    net = language_net(f"hf:{folder}", 60).net
    assert load_regime(
        net, train.model, *resolve(train.model, f"checkpoint:{tmp_path / 'q'}"),
        {**train.options, "revision": "0" * 40},
    )  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}))
    says = r"another configuration, tokenizer or code of hf:\./hbert; put back the files of hf:\./h"
    with pytest.raises(ValueError, match=says) as told:
        made(regime)
    assert "--set" not in str(told.value)
    # of the hub, another revision
    hub_model = replace(train.model, name="hf:me/bert")
    now = {**train.options, "revision": "1" * 40, "files": "2" * 16}
    was = {**train.options, "revision": "0" * 40}
    with pytest.raises(ValueError, match=f"name hf:me/bert@{'0' * 40} in place of hf:me/bert"):
        check_files(hub_model, was, now, "checkpoint:p")
    check_files(hub_model, was, now | {"files": was["files"]}, "checkpoint:p")


def test_a_network_of_another_model_is_refused_with_a_way_out(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "a" / "model.safetensors"):
        with pytest.raises(
            ValueError, match="a network of convnova-386k, not of hyenadna-tiny"
        ) as e:
            training(tmp_path, "hyenadna-tiny-1k", regime=f"checkpoint:{path}")
        assert str(e.value).endswith(
            "name convnova-386k as the model, or a folder of hyenadna-tiny-1k"
        )


def test_what_the_start_saw_was_seen(tmp_path):
    """In records of runs, in `evaluate`, and through several trainings."""
    one = random_contigs([4000, 2000])
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "a")
    contigs = random_contigs([5000, 1500], seed=7)
    pretrain(further(tmp_path, f"checkpoint:{tmp_path / 'a'}", steps=3, looks=1), tmp_path / "b")
    more = {"genome": "third.fa", "contigs": random_contigs([3000, 900], seed=8), "looks": 1}
    pretrain(further(tmp_path, f"checkpoint:{tmp_path / 'b'}", steps=1, **more), tmp_path / "c")
    seqs = [one["chr1"][100:160], one["chr2"][100:160], contigs["chr1"][60:120]]
    parsed = Sequences.parse([seq.upper() for seq in seqs])
    trial = Trial(
        model="convnova-386k", options={}, regime="scratch", task=planted_task(60).name,
        data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=0,
    )  # fmt: skip
    for name, share, bp in (("a", 1 / 3, 480), ("b", 2 / 3, 1200), ("c", 2 / 3, 1440)):
        job = Job(trial, checkpoint=str(tmp_path / name / "model.safetensors"))
        found = with_pretraining({}, job, parsed)
        assert found["pretraining"]["test_seen"] == pytest.approx(share)
        card = load_pretrained(tmp_path / name).card
        again = pretraining_of({"record": {}, "pretraining": pretraining_of(card)})
        assert again == pretraining_of(card)  # of one that was fine-tuned and kept
        assert found["pretraining"]["bp"] == bp and "began_with" not in found["pretraining"]
    here, there = packed(tmp_path / "g.fa"), packed(tmp_path / "h" / "g.fa")
    cards = {name: load_pretrained(tmp_path / name).card for name in "abc"}
    assert trained_on(cards["a"], here, [1]) == ""
    assert "trained on chr1; the chains" in trained_on(cards["b"], here, [0, 1])
    said = trained_on(cards["b"], there, [1])
    assert said == "it was also trained on g.fa, which may have copies of these sequences"
    # held out by the last training, and trained on by the one before
    turned = training(tmp_path, steps=1, looks=1, regime=f"checkpoint:{tmp_path / 'a'}")
    turned = replace(turned, sources=[replace(turned.sources[0], holdout=("chr1",))])
    pretrain(turned, tmp_path / "d")
    said = trained_on(load_pretrained(tmp_path / "d").card, here, [0])
    assert said == "the network was trained on chr1; the chains beside it were not"


def test_weights_of_which_nothing_is_known_stay_unknown(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    published("convnova-386k", tmp_path / "a", tmp_path / "official")
    regime = f"checkpoint:{tmp_path / 'official' / 'a.safetensors'}"
    pretrain(training(tmp_path, steps=1, looks=1, regime=regime), tmp_path / "b")
    pretrain(
        training(tmp_path, steps=1, looks=1, regime=f"checkpoint:{tmp_path / 'b'}"), tmp_path / "c"
    )
    weights = resolve(MODELS["convnova-386k"], regime)[0]
    trial = Trial(
        model="convnova-386k", options={}, regime="scratch", task="my/task", data="0" * 16,
        protocol="honest/1", recipe=Recipe(), seed=0,
    )  # fmt: skip
    for name in "bc":
        job = Job(trial, checkpoint=str(tmp_path / name / "model.safetensors"))
        found = with_pretraining({}, job, as_sequences(random_codes(4, 60, any_base=0)))
        assert found["pretraining"]["began_with"] == weights
        assert found["pretraining"]["test_seen"] == 0
        said = f"it began with {weights}, and what these weights were trained on is not known"
        assert said in found["contract"][0]
        card = load_pretrained(tmp_path / name).card
        assert said in trained_on(card, packed(tmp_path / "g.fa"), [1])


def test_the_command_warns_of_what_is_held_out(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    own = [w for k, v in CASES["convnova-386k"].items() for w in ("--set", f"{k}={v}")]
    words = [
        "pretrain", "convnova-386k", *own, "--set", "batch=4", "--length", 60, "--budget", 480,
        "--regime", f"checkpoint:{tmp_path / 'a'}", "--device", "cpu", "--looks", 1,
    ]  # fmt: skip
    fasta(tmp_path / "h.fa", random_contigs([5000, 1500], seed=7))
    copies = "trained on g.fa, which may have copies of what is held out of h.fa"
    for i, (begun, genome, holdout, says) in enumerate((
        ("a", "g.fa", "chr2", ""),
        ("a", "g.fa", "chr1", "these weights were trained on chr1 of g.fa, held out here"),
        ("a", "h.fa", "chr2", copies),
        ("b2", "h.fa", "chr2", copies),  # which read h.fa, too
    )):  # fmt: skip
        words[words.index("--regime") + 1] = f"checkpoint:{tmp_path / begun}"
        more = ["--genome", tmp_path / genome, "--holdout", holdout, "--to", tmp_path / f"b{i}"]
        done = CliRunner().invoke(app, [*map(str, [*words, *more])])
        said = " ".join(done.output.split())
        assert done.exit_code == 0 and f"begins with checkpoint:{begun}@" in said, done.output
        assert says in said and ("warning:" in said) == bool(says)
