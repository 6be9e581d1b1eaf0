"""What a recipe makes training do, against PyTorch, transformers and formulae by hand."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from conftest import planted_split, planted_task
from torch import nn

from dnabench import MODELS, TASKS, Recipe, Sequences, Split
from dnabench.splits import streams
from dnabench.sweep.trial import run_trial
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.tokens.vocabulary import vocabulary_tokenizer
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.schedule import horizon, learning_rate
from dnabench.types import PAD, Job, N, Trial

SMALL = {"width": 16, "d_inner": 1, "kernel_size": 5, "blocks": 3}


def learner(
    recipe, model="convnova", n=40, task=None, split=None, net=None, scheduled=0, **options
):
    task, model = task or planted_task(), MODELS[model]
    torch.manual_seed(0)
    small = SMALL if model.name == "convnova" else {}
    net = net or model.build(task, {**model.options, **small})
    examples = Examples(model, task, split or planted_split(n, 0), scheduled=scheduled)
    return NetLearner(net, examples, Supervised(task), recipe, streams(0, task.name))


def rates(one, epochs=None):
    """The learning rate of every step of a training."""
    seen = []
    hook = one._optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"])
    )
    for _ in range(epochs or one.epochs):
        one.train_epoch()
    hook.remove()
    return seen


def counted(train, test):
    return dataclasses.replace(planted_task(), counts={"train": train, "test": test})


# human_nontata_promoters: 27,097 + 9,034, of which caduceus-cv trains on 24,387, batch 128
def test_the_cosine_of_genomic_benchmarks_spans_train_and_test_and_is_cut_short():
    task = counted(27_097, 9_034)
    spans = [horizon(Recipe(horizon=h), task, 0) for h in ("own", "train", "train+test")]
    assert spans == [0, 27_097, 36_131]
    total, own = math.ceil(36_131 / 128) * 10, math.ceil(24_387 / 128) * 10
    last = learning_rate(own - 1, total, Recipe())
    assert last == pytest.approx(1e-4 + 0.45e-3 * (1 + math.cos(math.pi * (own - 1) / total)))
    assert 0.31 < last / 1e-3 < 0.32  # with its own steps it would end at 0.10
    mean = np.mean([learning_rate(s, total, Recipe()) for s in range(own)])
    ours = np.mean([learning_rate(s, own, Recipe()) for s in range(own)])
    assert 0.74 < ours / mean < 0.76


def test_a_limit_shortens_the_schedule_as_it_shortens_training():
    task, recipe = counted(1000, 400), Recipe(horizon="train+test")
    assert horizon(recipe, task, 0.1) == 140 and horizon(recipe, task, 50) == 100


def test_training_follows_a_schedule_that_is_longer_than_it():
    recipe = Recipe(batch=10, epochs=3, warmup=0.2, horizon="train+test")
    found = rates(learner(recipe, n=40, scheduled=61))  # seven steps, the last of one example
    expected = [learning_rate(s, 21, recipe) for s in range(12)]
    assert found == expected and len(found) == 12
    assert rates(learner(recipe, n=40)) == [learning_rate(s, 12, recipe) for s in range(12)]


@pytest.mark.parametrize("step", [100, 150])
def test_a_schedule_stays_where_it_ended(step):
    assert learning_rate(step, 100, Recipe()) == pytest.approx(1e-4)
    assert learning_rate(step, 100, Recipe(schedule="linear")) == 0
    assert learning_rate(step, 100, Recipe(schedule="linear", warmup=100)) == 0


def test_warm_up_in_steps_from_zero_is_that_of_transformers():
    from transformers import get_linear_schedule_with_warmup

    recipe = Recipe(lr=3e-5, schedule="linear", warmup=50, warmup_from=0.0)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=3e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, 50, 1000)
    for step in range(1001):
        here = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, 1000, recipe) == pytest.approx(here, rel=1e-12, abs=1e-18)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("steps", "epochs", "last"), [(7, 2, 3), (8, 2, 4), (3, 1, 3), (100, 25, 4)]
)
def test_steps_in_place_of_epochs(steps, epochs, last):
    recipe = Recipe(batch=10, epochs=3, max_steps=steps)
    one = learner(recipe, n=40)
    assert one.epochs == epochs == recipe.epochs_over(40)
    found = rates(one)
    assert found == [learning_rate(s, steps, recipe) for s in range(steps)]
    assert len(found) - 4 * (epochs - 1) == last


def test_the_loss_of_an_epoch_that_ends_early_is_the_mean_of_what_it_saw():
    one, two = (learner(Recipe(batch=40, max_steps=s), n=40) for s in (1, 2))
    assert one.train_epoch() == pytest.approx(two.train_epoch(), rel=1e-6)


def test_biases_and_layer_norms_of_dnabert2_have_no_weight_decay():
    """The names that transformers' Trainer gives weight decay, by its own functions."""
    from transformers.trainer_pt_utils import get_parameter_names

    model, task = MODELS["dnabert2"], planted_task()
    net = model.build(task, {**model.options, **model.reduced})
    theirs = {n for n in get_parameter_names(net, [nn.LayerNorm]) if "bias" not in n}
    recipe, split = model.recipes["gue"].for_task("gue/mouse_0")[0], planted_split(16, 0)
    words = tokenizer_named("bpe", vocabulary=64, train=split.seqs)
    examples = Examples(model, task, split, words)
    one = NetLearner(net, examples, Supervised(task), recipe, streams(0, "x"))
    names = {id(p): n for n, p in net.named_parameters()}
    groups = {g["weight_decay"]: [names[id(p)] for p in g["params"]] for g in optimizer_of(one)}
    assert set(groups[0.01]) == theirs and len(groups[0.01]) == len(theirs)
    assert sum(map(len, groups.values())) == len(names)
    # two layers: 7 a layer, 2 of the embeddings, biases of pooler and classifier
    assert len(groups[0.0]) == 2 * 7 + 2 + 2


def optimizer_of(one):
    return one._optimizer.param_groups


@pytest.mark.parametrize(("padding", "fill"), [("left-n", N), ("left-pad", PAD)])
def test_padding_on_the_left_is_read_as_it_is_named(padding, fill):
    seqs = Sequences.parse(["ACG", "ACGTA"])
    ids, lengths = TOKENIZERS["char"](seqs, 6, padding)
    assert lengths is None
    assert ids.tolist() == [[fill, fill, fill, 0, 1, 2], [fill, 0, 1, 2, 3, 0]]


@pytest.mark.parametrize("name", ["hyenadna", "caduceus_ph"])
def test_models_with_a_pad_token_read_it(name):
    """Id 4 of their vocabulary, as an embedding that counts in the mean; not N, which is 11."""
    model = MODELS[name]
    split = Split(Sequences.parse(["ACGTACGT", "ACGTA"]), np.array([0, 1]), np.array(["a", "b"]))
    task = planted_task(length=10)
    reduced = {**model.options, "width": 16, "layers": 1}
    found = {}
    for padding, pad in (("left-pad", 4), ("left-n", 11)):
        torch.manual_seed(0)
        net = model.build(task, reduced)
        one = learner(Recipe(padding=padding), name, task=task, split=split, net=net)
        found[padding] = one.predictor(split)()
        words = [[pad] * 2 + [7, 8, 9, 10] * 2, [pad] * 5 + [7, 8, 9, 10, 7]]
        table = net.backbone.vocabulary
        net.backbone.vocabulary = torch.arange(16)
        with torch.no_grad():
            expected = net(torch.tensor(words), None).numpy()
        net.backbone.vocabulary = table
        np.testing.assert_allclose(found[padding], expected, atol=1e-6)
    assert np.abs(found["left-pad"] - found["left-n"]).max() > 1e-4


def test_letters_beyond_max_length_are_cut_and_shorter_rows_padded_to_it():
    seqs = Sequences.parse(["ACGTACGT", "ACG"])
    cut = TOKENIZERS["char"].shortened(seqs, 8, "left-pad", 5)
    assert cut.ids.tolist() == [[0, 1, 2, 3, 0], [5, 5, 0, 1, 2]] and cut.n_cut == 1
    # theirs reverses the string and then cuts it: the other strand keeps another part
    other = TOKENIZERS["char"].shortened(seqs.reverse_complement(), 8, "left-pad", 5)
    assert other.ids.tolist() == [[0, 1, 2, 3, 0], [5, 5, 1, 2, 3]]
    assert TOKENIZERS["char"].shortened(seqs, 8, "left-n", 12).ids.shape == (2, 12)


@pytest.mark.parametrize(
    ("name", "end"), [("char-sep", 7), ("char-cls-sep", 7), ("kmer3", 3), ("6mer", None)]
)
def test_a_last_special_token_stays_when_tokens_are_cut(name, end):
    seqs = Sequences.parse(["ACGTACGTACGTACGTAAAAAAACA", "ACGTA", "A"])
    whole, cut = TOKENIZERS[name](seqs, 25, "mask"), TOKENIZERS[name].shortened(seqs, 25, "mask", 5)
    assert cut.ids.shape[1] == 5 and cut.n_cut == int((whole.tokens > 5).sum()) > 0
    for row, (ids, n) in enumerate(zip(cut.ids, cut.tokens, strict=True)):
        kept = whole.ids[row, :n].copy()
        if whole.tokens[row] > 5 and end is not None:
            kept[-1] = end
        assert ids[:n].tolist() == kept.tolist()


def test_byte_pairs_are_cut_as_transformers_cuts_them():
    from transformers import PreTrainedTokenizerFast

    split = planted_split(40, 1)
    ours = tokenizer_named("bpe", vocabulary=64, train=split.seqs)
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=copy.deepcopy(ours.encode.engine), pad_token="[PAD]"
    )
    texts = [split.seqs[i] for i in range(40)]
    expected = theirs(texts, max_length=12, truncation=True, padding="longest", return_tensors="np")
    cut = ours.shortened(split.seqs, 60, "mask", 12)
    np.testing.assert_array_equal(cut.ids, expected["input_ids"])
    assert cut.n_cut == sum(len(theirs(t)["input_ids"]) > 12 for t in texts) > 0


@pytest.mark.parametrize("files", [tiny.bpe_files, tiny.base_files])
def test_tokens_of_a_folder_are_cut_as_transformers_cuts_them(files, tmp_path):
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    files(tmp_path)
    split, bases = planted_split(20, 1), files is tiny.base_files
    texts = [split.seqs[i] for i in range(20)]
    if bases:  # which transformers reads with a blank between
        theirs = BertTokenizerFast(str(tmp_path / "vocab.txt"), do_lower_case=False)
        texts = map(" ".join, texts)
    else:
        theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
        theirs.pad_token = "[PAD]"
    expected = theirs(
        [*texts], max_length=12, truncation=True, padding="longest", return_tensors="np"
    )
    cut = vocabulary_tokenizer(tmp_path, {}).shortened(split.seqs, 60, "mask", 12)
    np.testing.assert_array_equal(cut.ids, expected["input_ids"])
    assert cut.n_cut and cut.ids[0, -1] == theirs.convert_tokens_to_ids("[SEP]")


def trial_of(task, monkeypatch, model="convnova-386k", **recipe):
    list(TASKS)
    monkeypatch.setitem(TASKS._entries, task.name, task)
    options = {**MODELS[model].options, **(SMALL if model.startswith("convnova") else {})}
    trial = Trial(
        model=model, options=options, regime="scratch", task=task.name, data=task.data,
        protocol="honest/1", recipe=Recipe(epochs=1, **recipe), seed=0,
    )  # fmt: skip
    return run_trial(Job(trial))[0]


def test_a_record_says_which_share_of_the_sequences_was_cut(monkeypatch):
    assert trial_of(planted_task(), monkeypatch, max_length=50).flags["truncated"] == 1.0
    assert "truncated" not in trial_of(planted_task(), monkeypatch, max_length=60).flags
    assert "truncated" not in trial_of(planted_task(), monkeypatch).flags


def test_a_model_of_less_context_reads_the_start(monkeypatch):
    record = trial_of(planted_task(length=1500), monkeypatch, "hyenadna", max_length=64)
    assert record.flags["truncated"] == 1.0 and record.scores["test"]


class Normed(nn.Module):
    """A network with batch norm: (B, L) to (B, 2)."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(8, 6), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, ids, mask):
        return self.head(torch.relu(self.norm(self.embed(ids.long()).transpose(1, 2))).mean(2))


@pytest.mark.parametrize("rows", [32, 20])
def test_batch_norm_by_parts_is_that_of_two_gpus(rows):
    """Two copies, gradients averaged as under DistributedDataParallel; buffers of the first."""
    split = planted_split(rows, 3)
    torch.manual_seed(0)
    net = Normed()
    replicas = [copy.deepcopy(net), copy.deepcopy(net)]
    recipe = Recipe(batch=32, norm_batch=16, epochs=1, weight_decay=0.0, clip=0.0, optimizer="adam")
    one = learner(recipe, split=split, net=net)
    one.train_epoch()
    order = np.random.default_rng(streams(0, planted_task().name).order).permutation(rows)
    for replica, part in zip(replicas, np.array_split(order, 2), strict=True):
        replica.train()
        ids = torch.from_numpy(split.seqs.take(part).codes.reshape(len(part), 60).copy())
        nn.functional.cross_entropy(replica(ids, None), torch.from_numpy(split.y[part])).backward()
    first, second = replicas
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        p.grad = (p.grad + q.grad) / 2
    torch.optim.Adam(first.parameters(), lr=1e-6).step()
    for (name, a), b in zip(net.state_dict().items(), first.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-5, msg=name)
    whole = learner(dataclasses.replace(recipe, norm_batch=0), split=split, net=Normed())
    assert whole._ghost.parts == 1


def test_norm_batch_of_legnet_changes_what_it_learns_and_no_more():
    task, split = planted_task(), planted_split(16, 0)
    losses = [
        learner(Recipe(batch=16, norm_batch=n), "legnet", split=split, task=task).train_epoch()
        for n in (0, 16, 8)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("model", "numbers", "says"),
    [
        ("convnova", {"norm_batch": 8}, "norm_batch=8: convnova has no batch norm"),
        ("legnet", {"norm_batch": 12, "batch": 32}, "does not divide the batch of 32 evenly"),
    ],
)
def test_norm_batch_where_it_means_nothing_is_refused(model, numbers, says):
    with pytest.raises(ValueError, match=says):
        learner(Recipe(**numbers), model)
