"""train/rows.py: numbers known on both sides, and data for which a device has no room."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task
from test_fidelity import learner

from dnabench import Sequences
from dnabench.train import rows as rows_
from dnabench.train.batches import Batch
from dnabench.train.rows import Rows, Values, fits, numbered
from dnabench.types import IGNORED, Recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_part_is_the_same_numbers_on_both_sides():
    all_rows = numbered(np.array([5, 0, 7, 3]), CPU)
    part = all_rows[1:3].map(lambda r: r % 4)
    assert len(part) == 2 and part.host.tolist() == part.index.tolist() == [0, 3]
    assert all_rows[1:3].index.data_ptr() == all_rows.index[1:].data_ptr()  # a view, no copy


@pytest.fixture
def full(monkeypatch):
    """A GPU with 100 MB free; what it is sent stays on the CPU and is listed, in bytes."""
    sent = []

    def send(values, device):
        sent.append(values.nbytes)
        return values

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * 10**6, 8 * 10**9))
    monkeypatch.setattr(rows_, "sent", send)
    return sent


def test_what_fits_leaves_half_of_the_free_memory_to_the_training(full, monkeypatch):
    monkeypatch.setattr(rows_, "SMALL", 10**6)
    assert fits(10**6, CUDA) and fits(5 * 10**7, CUDA) and not fits(5 * 10**7 + 1, CUDA)
    assert fits(10**15, CPU)  # it is there already
    monkeypatch.setattr(rows_, "free_memory", lambda device: pytest.fail("asked for a small one"))
    assert fits(10**6, CUDA)


@pytest.mark.parametrize("width", [None, 3])
def test_values_are_the_same_from_either_side(width, full, monkeypatch):
    table = torch.arange(40).reshape(8, 5)
    rows = numbered(np.array([6, 1, 1]), CPU)
    near = Values(table, CPU)
    monkeypatch.setattr(rows_, "SMALL", 0)
    monkeypatch.setattr(rows_, "SHARE", 0)
    full.clear()
    far = Values(table, CUDA)
    assert near.here and not far.here and not full
    blind = Rows(rows.host, torch.full((3,), -9))  # of numbers on the device nothing is asked
    found = far.take(blind, width)
    assert torch.equal(near.take(rows, width), found) and full == [found.nbytes]


def uneven(n, seed):
    split, lengths = planted_split(n, seed), np.random.default_rng(seed).integers(30, 61, n)
    texts = [str(split.seqs[i])[:length] for i, length in enumerate(lengths)]
    return split._replace(seqs=Sequences.parse(texts))


def each_base(split, length=60):
    y = np.full((len(split.y), length), IGNORED, np.int8)
    for i, n in enumerate(split.seqs.lengths):
        y[i, :n] = split.seqs.codes[split.seqs.offsets[i] : split.seqs.offsets[i + 1]] % 2
    return split._replace(y=y)


BASES = {"kind": "per_base", "metric": "mcc", "opposite": (0, 1)}
CASES = {
    "one strand": ({}, planted_split(40, 0), "convnova"),
    "both strands, uneven": ({"rc": "augment"}, uneven(40, 0), "convnova"),
    "bases": ({"rc": "augment"}, each_base(uneven(40, 0)), "convnova"),
    "pairs": ({"rc": "conjoin"}, uneven(40, 0)._replace(other=uneven(40, 1).seqs), "convnova"),
    "probe": ({"finetune": "probe"}, planted_split(40, 0), "convnova"),
}


@pytest.mark.parametrize(("changes", "split", "model"), CASES.values(), ids=CASES)
def test_training_and_predictions_do_not_depend_on_where_the_data_lie(
    changes, split, model, monkeypatch
):
    task = planted_task()
    if split.y.ndim == 2:
        task = dataclasses.replace(task, **BASES)
    found = []
    for here in (True, False):
        monkeypatch.setattr(rows_, "fits", lambda size, device, here=here: here)
        one = learner(Recipe(batch=16, epochs=2, **changes), model, task=task, split=split)
        losses = [one.train_epoch() for _ in range(2)]
        found.append((losses, one.predictor(split)(), one.net.state_dict()))
        probe = changes.get("finetune") == "probe"
        assert one.notes.get("host_data", False) is (not here and not probe)
    (a, near, x), (b, far, y) = found
    assert a == b and near.tobytes() == far.tobytes()
    assert all(torch.equal(x[k], y[k]) for k in x)


def test_an_epoch_copies_its_order_once(monkeypatch):
    one = learner(Recipe(batch=8, epochs=1, rc="augment"), split=uneven(40, 0))
    copied, real = [], rows_.sent
    monkeypatch.setattr(
        rows_, "sent", lambda values, device: (copied.append(len(values)), real(values, device))[1]
    )
    seen, batch = [], one._data.batch

    def noted(rows):
        seen.append(rows.host)
        return batch(rows)

    one._data.batch = noted
    one.train_epoch()
    assert copied == [40] and [len(rows) for rows in seen] == [8] * 5
    assert isinstance(batch(one._data.rows(seen[0])), Batch)
