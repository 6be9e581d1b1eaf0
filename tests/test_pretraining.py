"""The training of language models, and the folders that it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from conftest import completed, planted_task, popen
from test_genomes import fasta, own_cache, random_contigs

from dnabench import MODELS, TASKS
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.mapping import seen
from dnabench.pretraining.overlap import with_pretraining
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.recipes import RECIPES, pretraining_named
from dnabench.pretraining.saving import load_pretrained
from dnabench.sweep.trial import _of_test
from dnabench.types import Job, Recipe, Sequences, Split, Trial
from dnabench.weights import load_regime, resolve

__all__ = ["own_cache"]  # a fixture

TINY = {"width": 8, "blocks": 2, "kernel_size": 3}
BERT = {"width": 16, "layers": 1, "heads": 2, "inner": 16}


def options_of(name, **options):
    return {**MODELS[name].options, **options}


def random_codes(n, length, seed=0, any_base=0.05):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (n, length)).astype(np.uint8)
    codes[rng.random(codes.shape) < any_base] = 4
    return codes


CASES = {
    "convnova-386k": TINY, "unet": {"width": 4, "levels": 2}, "hyenadna-tiny-1k": {"width": 8},
    "gpn-smol": {"width": 8, "inner": 8, "layers": 2}, "caduceus_ps": {"width": 8, "layers": 1},
    "caduceus_ph": {"width": 8, "layers": 1}, "dnabert-3": BERT, "nt_h": BERT,
    "dnabert2": {**BERT, "vocabulary": 64}, "ntv2-50m": {**BERT, "heads": 2},
    "gena_lm": {**BERT, "vocabulary": 64}, "convnova_no_gate": TINY,
}  # fmt: skip
SHORT = replace(RECIPES["house"], recipe=Recipe(batch=4), length=60)


def training(
    tmp_path, name="convnova-386k", steps=6, how=SHORT, looks=2, own=MappingProxyType({}), **more
):
    path = tmp_path / "g.fa"
    if not path.exists():
        fasta(path, random_contigs([4000, 2000]))
    options = options_of(name, **{**CASES[name], **own})
    bp = steps * how.recipe.batch * how.length
    return gathered(
        MODELS[name], options, how, [path], bp, holdout=["chr2"], looks=looks, **more
    )  # fmt: skip


@pytest.mark.parametrize("name", ["dnabert2", "gena_lm"])
def test_letters_need_a_row_for_the_mask(tmp_path, name):
    own = {"tokenizer": "char-cls-sep", "vocabulary": 8}
    says = f"vocabulary=8 is too small: {name} .* char-cls-sep needs 9; write --set vocabulary=9"
    with pytest.raises(ValueError, match=says):
        training(tmp_path, name, own=own)
    train = training(tmp_path, name, steps=2, looks=1, own={**own, "vocabulary": 9})
    assert train.unused_rows == 0
    assert pretrain(train, tmp_path / "net")["scores"]["val"]["loss"] > 0
    assert training(tmp_path, name, own={**own, "vocabulary": 4096}).unused_rows == 4087
    assert training(tmp_path, name).unused_rows == 0  # byte pairs are learned to fill it


@pytest.mark.parametrize("name", CASES)
def test_every_family_learns_and_comes_back_from_its_folder(tmp_path, name):
    done = pretrain(training(tmp_path, name, steps=2, looks=1), tmp_path / "net")
    assert done["scores"]["val"]["loss"] > 0 and done["bp"] == 480
    back = load_pretrained(tmp_path / "net")
    assert (back.model.name, back.length) == (name, 60)
    seqs = as_sequences(random_codes(3, 60))
    ids = torch.from_numpy(back.tokenizer(seqs, 60, "mask").ids).long()
    with torch.no_grad():
        assert back.net(ids, None).isfinite().all()
    regime, file = resolve(back.model, f"checkpoint:{tmp_path / 'net'}")
    task_net = back.model.build(planted_task(length=60), back.options)
    load_regime(task_net, back.model, regime, file, back.options)
    for key, value in back.net.backbone.state_dict().items():
        assert torch.equal(task_net.backbone.state_dict()[key], value), key
    (tmp_path / "net" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not the file that network\.json describes"):
        load_pretrained(tmp_path / "net")


def test_a_network_learns_what_can_be_learned(tmp_path):
    """Of ACGT repeated every hidden base follows from its neighbours."""
    fasta(tmp_path / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGT" * 100})
    how = replace(SHORT, recipe=Recipe(batch=8, lr=0.01))
    for name in ("convnova-386k", "hyenadna-tiny-1k"):
        done = pretrain(training(tmp_path, name, steps=60, how=how, looks=1), tmp_path / name)
        assert done["scores"]["val"]["accuracy"] > 0.95


def bytes_of(folder):
    """What a folder has, but for times and places."""
    card = json.loads((folder / "network.json").read_text())
    for key in ("seconds", "where", "command"):
        card.pop(key)
    curve = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("bp_per_s") > 0 for row in curve)
    return (folder / "model.safetensors").read_bytes(), card, curve


def test_the_same_training_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(training(tmp_path, seed=seed), tmp_path / name)
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    assert a[0] != c[0]


COMMAND = [
    sys.executable, "-m", "dnabench", "pretrain", "convnova-386k", "--set", "width=8", "--set",
    "blocks=2", "--set", "batch=4", "--length", "60", "--holdout", "chr2", "--looks", "40",
    "--budget", "96k",
]  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))

    def command(to):
        return [*COMMAND, "--genome", path, "--to", tmp_path / to]

    completed(command("whole"), os.environ).check_returncode()
    with popen(command("killed"), os.environ, stderr=subprocess.DEVNULL) as killed:
        curve = tmp_path / "killed" / "metrics.jsonl"
        while not curve.exists() and killed.poll() is None:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode, "it ended before it could be killed"
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    completed(command("killed"), os.environ).check_returncode()
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert sorted(f.name for f in (tmp_path / "killed").iterdir()) == [
        "loss.png", "metrics.jsonl", "model.safetensors", "network.json"
    ]  # fmt: skip
    again = completed(command("killed"), os.environ)
    assert again.returncode == 2
    assert "has a network already; name another folder" in again.stderr


def begun(tmp_path, budget="", **more):
    """A training that ends after its first evaluation, as if it had been killed."""

    def stop(done, total, row):
        if row:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train = replace(training(tmp_path, **more), budget=budget)
        pretrain(train, tmp_path / "net", told=stop)


def test_the_network_of_each_evaluation_can_be_kept(tmp_path):
    """Also across a resumption; that of N steps is the network that N steps alone would give."""
    constant = replace(SHORT, recipe=Recipe(batch=4, schedule="constant", warmup=0.0))
    more = {"how": constant, "steps": 6, "looks": 3}
    train = replace(training(tmp_path, **more), keep_looks=True)

    def stop(done, total, row):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(train, tmp_path / "net", told=stop)
    assert [path.name for path in (tmp_path / "net" / "steps").iterdir()] == ["2"]
    pretrain(train, tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net" / "steps").iterdir()) == ["2", "4"]
    pretrain(training(tmp_path, **more), tmp_path / "plain")
    assert bytes_of(tmp_path / "net") == bytes_of(tmp_path / "plain")
    assert not (tmp_path / "plain" / "steps").exists()
    for steps, looks in ((2, 1), (4, 2)):
        alone = training(tmp_path, how=constant, steps=steps, looks=looks)
        scores = pretrain(alone, tmp_path / str(steps))["scores"]
        kept = tmp_path / "net" / "steps" / str(steps)
        card = load_pretrained(kept).card
        assert (card["steps"], card["bp"], card["of_steps"]) == (steps, steps * 240, 6)
        assert card["scores"] == scores
        weights = (tmp_path / str(steps) / "model.safetensors").read_bytes()
        assert (kept / "model.safetensors").read_bytes() == weights
        regime, file = resolve(MODELS["convnova-386k"], f"checkpoint:{kept}")
        assert regime.startswith(f"checkpoint:{steps}@") and file.startswith(str(kept))


def test_another_training_in_an_unfinished_folder_is_refused(tmp_path):
    begun(tmp_path)
    before = (tmp_path / "net" / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match="an unfinished training that differs in seed"):
        pretrain(training(tmp_path, seed=3), tmp_path / "net")
    assert (tmp_path / "net" / "checkpoint.pt").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"mine is not empty \(thesis\.tex\)"):
        pretrain(training(tmp_path), tmp_path / "mine")


def test_a_damaged_checkpoint_is_named(tmp_path):
    begun(tmp_path)
    (tmp_path / "net" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged; delete it"):
        pretrain(training(tmp_path), tmp_path / "net")


def test_nothing_is_left_where_nothing_could_begin(tmp_path):
    nowhere = replace(training(tmp_path), sources=[
        replace(one, held=one.held[:0], holdout=()) for one in training(tmp_path).sources
    ])  # fmt: skip
    with pytest.raises(ValueError, match="no window is held out"):
        pretrain(nowhere, tmp_path / "net")
    pretrain(training(tmp_path), tmp_path / "net")


def test_a_curve_that_was_not_written_is_written_again(tmp_path):
    """Killed between the last checkpoint and its line of the curve."""
    begun(tmp_path, looks=1)
    (tmp_path / "net" / "metrics.jsonl").unlink()
    pretrain(training(tmp_path, looks=1), tmp_path / "net")
    assert len((tmp_path / "net" / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "net" / "checkpoint.pt").exists()


def test_one_folder_is_one_training_at_a_time(tmp_path):
    def again(done, total, row):
        with pytest.raises(ValueError, match="another process trains there"):
            pretrain(training(tmp_path), tmp_path / "net")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(training(tmp_path), tmp_path / "net", told=again)


@pytest.mark.parametrize("wrong", ["chr2", "other.fa:chr2", "g.fa:chr2"])
def test_a_held_out_sequence_of_no_genome_is_refused(tmp_path, wrong):
    paths = [fasta(tmp_path / name / "g.fa", random_contigs([900, 300])) for name in ("a", "b")]
    model = MODELS["convnova-386k"]
    options = options_of("convnova-386k", **TINY)
    with pytest.raises(ValueError, match=f"--holdout {wrong}: .* write FILE:NAME with one of"):
        gathered(model, options, SHORT, paths, 1e4, holdout=[wrong])
    train = gathered(model, options, SHORT, paths, 1e4, holdout=[f"{paths[1]}:chr2"])
    assert [one.holdout for one in train.sources] == [(), ("chr2",)]


def test_recipes_by_name():
    assert pretraining_named("gpn").small_weight == 0.1
    with pytest.raises(KeyError, match="convnova"):
        pretraining_named("convnovva")
    assert all(how.source for how in RECIPES.values())


def test_micro_batches_give_the_same_weights(tmp_path):
    from dnabench.types import Resources

    for name, micro in (("a", 0), ("b", 2)):
        pretrain(training(tmp_path), tmp_path / name, Resources(micro_batch=micro))
    a, b = (load_pretrained(tmp_path / name).net.state_dict() for name in "ab")
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-4, atol=1e-5)


def test_test_sequences_can_be_left_out(tmp_path):
    test = TASKS["demo/splice_junctions"].load("test").seqs
    longest = "".join(test[i] for i in range(len(test)))
    fasta(
        tmp_path / "g.fa", {"chr1": longest + random_contigs([9000])["chr1"], "chr2": "ACGT" * 99}
    )
    every, without = (
        training(tmp_path, exclude=exclude).sources[0]
        for exclude in ([], ["demo/splice_junctions"])
    )
    known = ["N" not in test[i] for i in range(len(test))]
    assert seen(test, every.genome, every.free, 60).tolist() == known
    assert not seen(test, without.genome, without.free, 60).any()
    assert without.places < every.places


def test_both_sequences_of_pairs_are_looked_up(tmp_path, monkeypatch):
    """Of 6 pairs 4 lie on chr1, which is trained on: 2 with their first, 2 with their second."""
    chr1 = random_contigs([4000, 2000])["chr1"].upper()
    strange = random_contigs([3000], seed=9)["chr1"].upper()
    first = [chr1[100:160], chr1[900:960], *(strange[i : i + 60] for i in (0, 60, 120, 180))]
    second = [strange[i : i + 60] for i in (300, 360)] + [chr1[1800:1860], chr1[2600:2660]]
    second += [strange[600:660], strange[700:720]]  # the last is too short, its first one is not
    parsed = [Sequences.parse(one) for one in (first, second)]
    test = Split(parsed[0], np.zeros(6, np.int64), np.arange(6).astype(str), other=parsed[1])
    task = planted_task(60, pairs=True, symmetric=False, load=lambda split: test)
    monkeypatch.setitem(TASKS._entries, task.name, task)
    said = []
    every, without = (
        training(tmp_path, exclude=exclude, steps=2, looks=1, told=said.append)
        for exclude in ([], [task.name])
    )
    genome, free = (getattr(without.sources[0], name) for name in ("genome", "free"))
    assert said == [
        "4 of the 6 test pairs (one sequence at least) of planted/motif that were looked up are on "
        "g.fa"
    ]
    assert not any(seen(one, genome, free, 60).any() for one in parsed)
    pretrain(every, tmp_path / "net")
    trial = Trial(
        model="convnova-386k", options={}, regime="scratch", task=task.name, data="0" * 16,
        protocol="honest/1", recipe=Recipe(), seed=0,
    )  # fmt: skip
    job = Job(trial, checkpoint=str(tmp_path / "net" / "model.safetensors"))
    found = _of_test(job, task, None, test, None, {})
    assert found["pretraining"]["looked_up"] == 6
    assert found["pretraining"]["test_seen"] == pytest.approx(4 / 6)
    assert "66.7% of the 6 test pairs (one sequence at least)" in found["contract"][0]
    again = with_pretraining({}, job, test.seqs)  # not the share that the cache has of the pairs
    assert again["pretraining"]["test_seen"] == pytest.approx(2 / 6)


def check_the_share_goes_on(record, tmp_path):
    """Fine-tuned and kept, twice in a row: each says what the pretraining saw."""
    import dnabench as db

    kept, said = tmp_path / "runs" / "networks" / record.trial.id, record.flags["pretraining"]
    for i in range(2):
        (again,) = db.run(
            models=["convnova-386k"], data=str(tmp_path / "my.csv"), seeds=1, epochs=1,
            set=["width=8", "blocks=2", "kernel_size=3"], out=str(tmp_path / f"again-{i}"),
            regime=f"checkpoint:{kept}", executor="inline", keep="all",
        ).records  # fmt: skip
        assert again.flags["pretraining"] == said
        assert "and 33.3% of the 12 test sequences of" in again.flags["contract"][-1]
        kept = tmp_path / f"again-{i}" / "networks" / again.trial.id


def test_fine_tuning_from_the_folder_says_what_was_seen(tmp_path):
    """A third of the test sequences lies on a part that was trained on, a third is held out."""
    import dnabench as db

    contigs = {name: seq.upper() for name, seq in random_contigs([4000, 2000]).items()}
    fasta(tmp_path / "g.fa", contigs)
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    rows = ["sequence,label,split"]
    other = random_contigs([3000], seed=9)["chr1"].upper()
    sources = [contigs["chr1"], contigs["chr2"], other]
    for split, n, first in (("train", 30, 0), ("dev", 12, 600), ("test", 12, 1000)):
        for i in range(n):
            at = first + 20 * i
            rows.append(f"{sources[i % 3][at : at + 60]},{i % 2},{split}")
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")
    results = db.run(
        models=["convnova-386k"], data=str(tmp_path / "my.csv"), seeds=1, epochs=1,
        set=["width=8", "blocks=2", "kernel_size=3"], out=str(tmp_path / "runs"),
        regime=f"checkpoint:{tmp_path / 'net'}", executor="inline", keep="all",
    )  # fmt: skip
    (record,) = results.records
    said = record.flags["pretraining"]
    assert said == {
        "genomes": ["g.fa"], "bp": 480, "looked_up": 12, "test_seen": pytest.approx(1 / 3),
    }  # fmt: skip
    assert "and 33.3% of the 12 test sequences of" in record.flags["contract"][-1]
    check_the_share_goes_on(record, tmp_path)
    job = Job(record.trial, checkpoint=str(tmp_path / "net" / "model.safetensors"))
    short = with_pretraining({}, job, as_sequences(random_codes(3, 30)))["pretraining"]
    assert short["test_seen"] is None and short["looked_up"] == 0
    (genome,) = (tmp_path / "cache" / "genomes").iterdir()
    (genome / "letters.bin").write_bytes(b"")
    known = with_pretraining({}, job, as_sequences(random_codes(3, 60, any_base=0)))
    assert known["pretraining"]["test_seen"] is None  # and the trial is not lost
    assert "is not known" in known["contract"][0] and "damaged" in known["contract"][0]
