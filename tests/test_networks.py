"""harness/networks: a kept network gives the stored logits again, whatever its family and task."""

import json

import numpy as np
import pytest
import torch
from conftest import planted_task
from kept_cases import flat, job_of, kept, smallest, task_of_kind, tiny_network
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from dnabench import MODELS, Sequences
from dnabench.networks.calibration import fit_temperature, mean_surprise, probabilities
from dnabench.networks.card import card_of
from dnabench.networks.network import load_network
from dnabench.networks.predicting import base_logits
from dnabench.sweep.trial import run_trial
from dnabench.tasks.io.unlabelled import read_parts

KINDS = ("multiclass", "per_base", "multilabel", "regression")


@pytest.mark.parametrize("name", smallest())
def test_a_kept_network_gives_the_stored_logits(name, put, tmp_path):
    model = MODELS[name]
    for kind in KINDS[: 1 if model.custom_trainer else 2]:
        if kind not in model.kinds:
            continue
        task = put(task_of_kind(kind))
        network, _, stored = kept(job_of(model, task), tmp_path)
        logits = flat(task, network.logits(task.load("test").seqs))
        np.testing.assert_allclose(logits, stored["logits"], atol=1e-5, rtol=1e-5)
        assert name == "majority" or np.ptp(stored["logits"]) > 0


@pytest.mark.parametrize("kind", KINDS[2:])
@pytest.mark.parametrize("rc", ["none", "conjoin"])
def test_every_kind_of_task_and_both_strands(kind, rc, put, tmp_path):
    task = put(task_of_kind(kind))
    network, record, stored = kept(job_of(MODELS["cnn"], task, rc=rc), tmp_path)
    np.testing.assert_allclose(
        network.logits(task.load("test").seqs), stored["logits"], atol=1e-5, rtol=1e-5
    )
    assert (network.card.temperature is None) == (kind == "regression")
    assert network.card.strands == rc and network.card.record == record


@pytest.mark.parametrize("part", [13, 1 << 20])
@pytest.mark.parametrize("model", ["dnabert", "hyenadna-tiny-1k", "ntv2-50m"])
def test_a_file_of_the_length_of_the_training_gets_the_answers_of_whole_sequences(
    model, part, put, tmp_path
):
    """Also of a network that sees all of its input, which has its sequences cut where longer."""
    network, *_ = tiny_network(tmp_path, put, model, options=MODELS[model].reduced)
    seqs = [task_of_kind("per_base").load("test").seqs[i][:n] for i, n in enumerate((80, 79, 41))]
    file = tmp_path / "q.fa"
    file.write_text("".join(f">{len(seq)}\n{seq}\n" for seq in [*seqs, seqs[0] + "A"]))
    found = list(base_logits(network, read_parts(file, part)))
    assert [(tile.name, tile.start, tile.size) for tile, _ in found[:4]] == [
        ("80", 0, 80), ("79", 0, 79), ("41", 0, 41), ("81", 0, 40)
    ]  # fmt: skip
    whole = network.logits(seqs)
    for seq, answer, (_, logits) in zip(seqs, whole, found, strict=False):
        np.testing.assert_allclose(logits, answer[: len(seq)], atol=1e-5)


def test_per_base_on_both_strands(put, tmp_path):
    network, _, stored = tiny_network(tmp_path, put, rc="conjoin")
    task = task_of_kind("per_base")
    logits = flat(task, network.logits(task.load("test").seqs))
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5, rtol=1e-5)


def test_a_probe_answers_by_its_head_on_features_whatever_forward_does(put, tmp_path):
    task = put(task_of_kind("multiclass"))  # DeepATT's forward has a row for each position
    network, _, stored = kept(job_of(MODELS["deepatt"], task, finetune="probe"), tmp_path)
    found = network.logits(task.load("test").seqs)
    np.testing.assert_allclose(found, stored["logits"], atol=1e-5, rtol=1e-5)


def test_low_rank_additions_to_a_layer_in_two_places_are_merged(put, tmp_path):
    task, model = put(task_of_kind("multiclass")), MODELS["caduceus_ph-470k"]
    network, _, stored = kept(job_of(model, task, finetune="lora", lr=0.01, epochs=3), tmp_path)
    found = network.logits(task.load("test").seqs)
    np.testing.assert_allclose(found, stored["logits"], atol=1e-4, rtol=1e-4)


def test_low_rank_additions_are_merged(put, tmp_path):
    task, model = put(task_of_kind("multiclass")), MODELS["ntv2-50m"]
    one = job_of(model, task, finetune="lora", lr=0.01, epochs=3)
    network, _, stored = kept(one, tmp_path)
    assert not any("lora" in name for name in network.net.state_dict())
    fresh = kept(job_of(model, task, finetune="lora", lr=1e-9), tmp_path)[0]
    moved = [
        name for name, value in network.net.backbone.state_dict().items()
        if not torch.equal(value, fresh.net.backbone.state_dict()[name])
    ]  # fmt: skip
    assert moved and all(name.split(".")[-2] in model.lora_targets for name in moved)
    np.testing.assert_allclose(
        network.logits(task.load("test").seqs), stored["logits"], atol=1e-4, rtol=1e-4
    )


def test_a_probe_of_random_weights_is_kept_whole(put, tmp_path):
    for name in ("convnova-386k", "cnn"):  # a linear head, and one that the probe replaces
        task = put(task_of_kind("multiclass"))
        network, _, stored = kept(job_of(MODELS[name], task, finetune="probe"), tmp_path)
        assert network.card.backbone == ""
        np.testing.assert_allclose(
            network.logits(task.load("test").seqs), stored["logits"], atol=1e-5, rtol=1e-5
        )


def test_tokens_learned_in_training_are_kept(put, tmp_path):
    task = put(task_of_kind("multiclass"))
    options = {"tokenizer": "bpe", "vocabulary": 40}
    network, record, stored = kept(job_of(MODELS["cnn"], task, options), tmp_path)
    assert (tmp_path / "networks" / record.trial.id / "tokenizer.json").is_file()
    np.testing.assert_allclose(
        network.logits(task.load("test").seqs), stored["logits"], atol=1e-5, rtol=1e-5
    )


def test_loading_draws_no_random_numbers(put, tmp_path):
    _, record, _ = tiny_network(tmp_path, put)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_network(tmp_path / "networks" / record.trial.id)
    assert torch.equal(before, torch.get_rng_state())


def test_keeping_changes_no_record(put):
    one = job_of(MODELS["cnn"], put(task_of_kind("multiclass")))
    plain, predictions = run_trial(one)
    other, same = run_trial(one, keep=lambda trained: None)
    assert plain.scores == other.scores and plain.curve == other.curve
    np.testing.assert_array_equal(predictions["logits"], same["logits"])


def test_the_card_says_what_it_is(put, tmp_path):
    network, record, _ = tiny_network(tmp_path, put)
    folder = tmp_path / "networks" / record.trial.id
    card = json.loads((folder / "network.json").read_text())
    assert card["schema"] == "dnabench.network/1" and card["id"] == record.trial.id
    assert card["task"] == {
        "name": "planted/per_base", "kind": "per_base", "classes": ["0", "1", "2"],
        "metric": "mcc", "length": 80, "opposite": [0, 1, 2],
    }  # fmt: skip
    assert card["licenses"] == {"model": MODELS["unet"].license, "weights": ""}
    assert card["record"]["trial"]["recipe"]["epochs"] == 1
    assert card["record"]["where"]["torch"] == torch.__version__
    assert card_of(folder)[1] == card_of(folder / "network.json")[1] == network.card


def test_what_is_no_kept_network_is_refused(put, tmp_path):
    _, record, _ = tiny_network(tmp_path, put, "cnn", "multiclass")
    folder = tmp_path / "networks" / record.trial.id
    with pytest.raises(FileNotFoundError, match=f"no kept network here.*there are {folder}"):
        load_network(tmp_path)
    with pytest.raises(FileNotFoundError, match="--keep best"):
        load_network(tmp_path / "records")
    card = json.loads((folder / "network.json").read_text())
    for wrong, says in (
        ({**card, "schema": "dnabench.network/2"}, "its schema is 'dnabench.network/2'"),
        ({**card, "id": "0" * 16}, "its id is not that of its record"),
        ({k: v for k, v in card.items() if k != "task"}, "task"),
    ):
        (folder / "network.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=says):
            load_network(folder)
    (folder / "network.json").write_text(json.dumps(card))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"?")
    with pytest.raises(ValueError, match="its SHA-256 is another"):
        load_network(folder)


def test_sequences_that_do_not_fit_are_refused(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put, "cnn", "multiclass")
    assert network.logits([]).shape == (0, 3)
    assert network.logits(["ACGT" * 20]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"sequence 1 has 81 bp; .*80 at most.*--window 80"):
        network.logits(["ACGT" * 20, "A" * 81])
    with pytest.raises(ValueError, match="sequence 1 has 0 bp"):
        network.logits(["ACGT" * 20, ""])


def test_a_per_base_network_takes_longer_sequences(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put)
    seqs = Sequences.parse(["ACGTT" * 40, "ACG"])
    assert network.logits(seqs).shape == (2, 200, 3)
    assert not network.logits(seqs)[1, 3:].any()


def test_the_padding_of_a_sequence_depends_on_no_neighbour(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put, "convnova-386k", padding="left-n")
    short, long = "ACGTT" * 5, "ACGTT" * 40
    both = network.logits([short, long])
    np.testing.assert_allclose(both[0, :25], network.logits([short])[0], atol=1e-5)
    np.testing.assert_allclose(both[1], network.logits([long])[0], atol=1e-5)
    assert not both[0, 25:].any()


def test_a_learner_without_named_arrays_cannot_be_kept(put, tmp_path):
    from dnabench.networks.saving import tensors_of

    class Odd:
        def state(self):
            return 1

    with pytest.raises(ValueError, match=r"kmer cannot be kept: the state\(\) of its learner"):
        tensors_of(Odd(), MODELS["kmer"], job_of(MODELS["kmer"], planted_task()).trial)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities_and_temperature_are_those_of_scipy(kind):
    rng = np.random.default_rng(0)
    k = 2 if kind == "binary" else 4
    logits = rng.normal(0, 3, (500, k))
    if kind == "multilabel":
        y = (rng.random((500, k)) < expit(logits / 2.5)).astype(np.float32)
        expected, surprise = expit(logits), -np.where(y > 0, np.log(expit(logits)),
                                                      np.log(expit(-logits))).mean()  # fmt: skip
    else:
        y = np.array([rng.choice(k, p=softmax(row / 2.5)) for row in logits])
        expected = softmax(logits, axis=1)
        surprise = -log_softmax(logits, axis=1)[np.arange(500), y].mean()
    np.testing.assert_allclose(probabilities(kind, logits), expected, rtol=1e-12)
    assert mean_surprise(kind, y, logits, 1.0) == pytest.approx(surprise, rel=1e-12)
    found = fit_temperature(kind, y, logits)
    other = minimize(lambda t: mean_surprise(kind, y, logits, t[0]), [1.0], method="Nelder-Mead")
    assert found == pytest.approx(other.x[0], rel=2e-3) and 2 < found < 3.2
    assert fit_temperature("regression", y, logits) is None


def test_the_stored_temperature_is_of_validation_not_of_test(put, tmp_path):
    network, _, _ = tiny_network(tmp_path, put, "cnn", "multiclass", epochs=3)
    task = task_of_kind("multiclass")
    dev = task.load("dev")
    expected = fit_temperature("multiclass", dev.y, network.logits(dev.seqs))
    assert network.card.temperature == pytest.approx(expected, rel=1e-3)


def test_another_precision_is_asked_for_by_name(put, tmp_path):
    _, record, _ = tiny_network(tmp_path, put, "cnn", "multiclass")
    folder = tmp_path / "networks" / record.trial.id
    assert load_network(folder, precision="fp32").recipe == record.trial.recipe
    with pytest.raises(ValueError, match="only CUDA devices"):
        load_network(folder, precision="fp16")
