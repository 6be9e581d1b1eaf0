"""Which tokens of a language model are hidden or asked for, and what each weighs in the loss."""

import numpy as np
import pytest
import torch
from test_genomes import own_cache
from test_pretraining import options_of, random_codes, training

from dnabench import MODELS
from dnabench.pretraining.hiding import Hiding
from dnabench.pretraining.learner import WindowData, as_sequences, of_tokens, opposite
from dnabench.pretraining.objectives import Causal, Masked
from dnabench.pretraining.recipes import RECIPES
from dnabench.pretraining.vocabulary import vocabulary_of
from dnabench.pretraining.windows import Drawn
from dnabench.tokens.bpe import train_bpe
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.types import IGNORED, MASK

__all__ = ["own_cache"]  # a fixture


def objective(name="convnova-386k", hiding=None, random="known", tokenizer=None, **more):
    model = MODELS[name]
    tokenizer = tokenizer or TOKENIZERS[model.tokenizer_name(model.options)]
    vocabulary = vocabulary_of(model, options_of(name), tokenizer, "cpu", random)
    made = (Causal if model.language.causal else Masked)(vocabulary, 5, **more)
    if hiding:
        made.hiding = hiding
    return made


def asked(made, ids, seed=0):
    return made.asked(
        ids, torch.ones_like(ids, dtype=torch.bool), torch.Generator().manual_seed(seed)
    )


def test_the_shares_of_hidden_tokens_are_those_asked_for():
    ids = torch.from_numpy(random_codes(400, 1000)).long()
    wanted, read = asked(objective(), ids)
    chosen = wanted != IGNORED
    assert not (chosen & (ids == 4)).any()  # N is never asked for
    assert (wanted[chosen] == ids[chosen]).all()
    assert (read[~chosen] == ids[~chosen]).all()
    n = int((ids < 4).sum())
    assert chosen.sum() / n == pytest.approx(0.15, abs=0.003)
    masked, same = (read == MASK)[chosen].float().mean(), (read == ids)[chosen].float().mean()
    assert masked == pytest.approx(0.8, abs=0.005)
    assert same == pytest.approx(0.1 + 0.1 / 4, abs=0.005)  # a random letter is the same in 1 of 4


def test_all_hidden_bases_are_the_mask_where_the_paper_says_so():
    ids = torch.from_numpy(random_codes(50, 1000)).long()
    made = objective(hiding=RECIPES["convnova-paper"].hiding)
    wanted, read = asked(made, ids)
    chosen = wanted != IGNORED
    assert (read[chosen] == MASK).all()
    assert chosen.float().mean() == pytest.approx(0.1 * 0.95, abs=0.004)


def test_hiding_twice_hides_more_than_is_asked_for():
    ids = torch.from_numpy(random_codes(400, 1000, any_base=0)).long()
    wanted, read = asked(objective(hiding=Hiding(passes=2)), ids)
    chosen, changed = wanted != IGNORED, read == MASK
    assert chosen.float().mean() == pytest.approx(0.15, abs=0.002)
    # in one pass or the other; what the second draws may put a letter in place of the mask
    assert (changed & ~chosen).float().mean() == pytest.approx(0.85 * 0.15 * 0.8, abs=0.003)
    assert (wanted[chosen] == ids[chosen]).all()


def test_overlapping_words_are_hidden_together(tmp_path):
    """Each token that is asked for has a base that no token shows."""
    train = training(tmp_path, "dnabert-3")
    assert train.hiding == Hiding(span=3, as_mask=1.0, as_random=0.0)
    made = objective("dnabert-3", train.hiding, tokenizer=train.tokenizer)
    ids = torch.from_numpy(train.tokenizer(as_sequences(random_codes(40, 300)), 300, "mask").ids)
    wanted, read = asked(made, ids.long())
    hidden = (wanted != IGNORED).numpy()
    assert (read[wanted != IGNORED] == 4).all()
    known = made.vocabulary.known[ids.long()].float().mean()
    assert hidden.mean() == pytest.approx(0.15 * float(known), abs=0.01)
    bare = 0
    for row, one in zip(ids.tolist(), hidden, strict=True):
        shown = np.zeros(300, bool)  # bases that some token shows; the first token is [CLS]
        for t in range(1, len(row) - 1):
            if not one[t] and row[t] > 4:
                shown[t - 1 : t + 2] = True
        asked_for = np.flatnonzero(one)
        bare += sum(shown[t - 1 : t + 2].all() for t in asked_for)
    # an unknown token next to a run shortens it
    assert bare / hidden.sum() < 0.02


def test_random_tokens_come_from_the_whole_vocabulary_where_the_authors_draw_so():
    ids = torch.zeros(300, 1000, dtype=torch.long)
    hiding = Hiding(as_mask=0.0, as_random=1.0)
    for random, n in (("known", 4), ("all", 7)):
        wanted, read = asked(objective("gpn", hiding, random), ids)
        values, counts = read[wanted != IGNORED].unique(return_counts=True)
        assert len(values) == n
        np.testing.assert_allclose(counts / counts.sum(), 1 / n, atol=0.01)


def test_the_next_token_is_asked_for_and_never_n():
    made = objective("hyenadna-tiny-1k")
    ids = torch.tensor([[0, 1, 2, 4, 3, 3]])
    wanted, read = asked(made, ids)
    assert wanted.tolist() == [[1, 2, IGNORED, 3, 3, IGNORED]]
    assert torch.equal(read, ids)
    assert made.vocabulary.entries[:6].tolist() == [7, 8, 9, 10, IGNORED, IGNORED]


@pytest.mark.parametrize("name", ["6mer", "6mer-v1", "kmer3", "bpe"])
def test_special_and_unknown_tokens_are_never_asked_for(name):
    seqs = as_sequences(random_codes(20, 200, any_base=0.02))
    learned = name == "bpe"
    tokenizer = (
        train_bpe(as_sequences(random_codes(20, 400, 1, 0)), 40) if learned else TOKENIZERS[name]
    )
    model = MODELS[
        {"6mer": "ntv2-50m", "6mer-v1": "nt_h", "kmer3": "dnabert-3"}.get(name, "dnabert2")
    ]
    vocabulary = vocabulary_of(model, model.options, tokenizer, "cpu")
    known = {i for i, yes in enumerate(vocabulary.known.tolist()) if yes}
    special = {"6mer": {*range(6), 4106}, "6mer-v1": {*range(4), 4104}, "kmer3": {*range(5)}}
    expected = special.get(name, {*range(5)})
    assert known == set(range(tokenizer.size)) - expected
    ids = torch.from_numpy(tokenizer(seqs, 200, "mask").ids).long()
    made = Masked(vocabulary, tokenizer.size)
    wanted, read = asked(made, ids)
    assert set(wanted.unique().tolist()) <= known | {IGNORED}
    assert set(read.unique().tolist()) <= known | set(ids.unique().tolist()) | {tokenizer.mask}


def test_the_loss_weighs_soft_masked_bases(tmp_path):
    codes, rng = random_codes(6, 40), np.random.default_rng(3)
    small = rng.random(codes.shape) < 0.5
    data = WindowData(TOKENIZERS["char"], 40, "cpu")
    data.put(Drawn(codes, small))
    made = objective(small_weight=0.1, seed=5)
    made.begin(0, torch.device("cpu"))
    target = made.targets(None, data, rng)(data.rows(np.arange(6)))
    batch = made.inputs(data.batch(data.rows(np.arange(6))), target.values)
    logits = torch.randn(6, 40, 5)
    slow, weight = 0.0, 0.0
    for i in range(6):
        for j in range(40):
            letter = int(target.values[i, j, 0])
            if letter != IGNORED:
                assert letter == codes[i, j]
                one = 0.1 if small[i, j] else 1.0
                slow -= one * float(logits[i, j].log_softmax(-1)[letter])
                weight += one
    assert float(made.loss(logits, batch)) == pytest.approx(slow, rel=1e-5)
    assert float(target.weight) == pytest.approx(weight, rel=1e-5)
    sums = made.answers(logits, batch).sum(0)
    assert float(sums[1]) == int((target.values[..., 0] != IGNORED).sum())  # all count alike here
    plain = made.scores(None, made.answers(logits, batch).numpy())
    assert plain["perplexity"] == pytest.approx(np.exp(plain["loss"]))
    assert plain["bits"] == pytest.approx(plain["loss"] / np.log(2))


def test_the_next_base_has_the_weight_of_its_own_mask():
    codes = np.array([[0, 1, 2, 3, 0, 1]], np.uint8)
    data = WindowData(TOKENIZERS["char"], 6, "cpu")
    data.put(Drawn(codes, np.array([[0, 0, 0, 1, 1, 0]], bool)))
    made = objective("hyenadna-tiny-1k", small_weight=0.1)
    target = made.targets(None, data, np.random.default_rng(0))(data.rows(np.arange(1))).values
    weights = made._weights(target, 0.1)[0]
    assert weights.tolist() == pytest.approx([1, 1, 0.1, 0.1, 1, 0])


def test_held_out_tokens_do_not_depend_on_batches():
    data = WindowData(TOKENIZERS["char"], 40, "cpu")
    data.put(Drawn(random_codes(300, 40), np.zeros((300, 40), bool)))
    one = objective(seed=3).questions(None, data)
    whole = one(data.rows(np.arange(300))).target
    parts = torch.cat(
        [
            objective(seed=3).questions(None, data)(data.rows(np.arange(a, a + 50))).target
            for a in range(0, 300, 50)
        ]
    )
    assert torch.equal(whole, parts)


def test_no_held_out_padding_is_asked_for_where_words_are_of_unequal_number():
    """The last 44 of 300 windows have fewer words than the others, and share batches with them."""
    tokenizer = train_bpe(as_sequences(np.tile(np.array([0, 1, 2], np.uint8), (20, 40))), 12)
    codes = random_codes(300, 60, any_base=0)
    codes[256:] = np.tile([0, 1, 2], 20)
    data = WindowData(tokenizer, 60, "cpu")
    data.put(Drawn(codes, np.zeros(codes.shape, bool)))
    ends = data.batch(data.rows(np.arange(300))).mask.sum(1)
    assert ends[256:].max() < ends[:256].max()
    asked_for = objective("dnabert2", tokenizer=tokenizer).questions(None, data)
    together = asked_for(data.rows(np.arange(300))).target[..., 0] != IGNORED
    beyond = torch.arange(together.shape[1]) >= ends[:, None]
    assert together.any(1).sum() > 200 and not (together & beyond).any()
    apart = asked_for(data.rows(np.arange(256, 300))).target[..., 0] != IGNORED
    assert together[256:].sum() == apart.sum() > 0


def test_a_batch_that_asks_for_nothing_has_no_loss():
    data = WindowData(TOKENIZERS["char"], 6, "cpu")
    data.put(Drawn(np.full((2, 6), 4, np.uint8), np.zeros((2, 6), bool)))
    made = objective()
    target = made.targets(None, data, np.random.default_rng(0))(data.rows(np.arange(2)))
    batch = made.inputs(data.batch(data.rows(np.arange(2))), target.values)
    assert float(made.loss(torch.randn(2, 6, 5), batch) / target.weight) == 0


def test_strands_and_words_carry_the_soft_mask():
    codes, small = random_codes(4, 30), np.random.default_rng(0).random((4, 30)) < 0.5
    data = WindowData(TOKENIZERS["char"], 30, "cpu")
    data.put(Drawn(codes, small), np.array([True, False, True, False]))
    rows = data.rows(np.arange(4))
    turned = as_sequences(codes).reverse_complement().codes.reshape(4, 30)
    expected = [turned[0], codes[1], turned[2], codes[3]]
    np.testing.assert_array_equal(data.batch(rows).ids, expected)
    np.testing.assert_array_equal(data.small(rows)[0], small[0, ::-1])
    np.testing.assert_array_equal(opposite(opposite(codes)), codes)
    widths = np.array([[0, 6, 6, 1, 0], [0, 6, 1, 6, 0]])
    small = np.array([[1] * 6 + [0] * 4 + [1] * 3, [0] * 6 + [1] + [1] * 3 + [0] * 3], bool)
    assert of_tokens(small, widths).tolist() == [
        [False, True, False, True, False], [False, False, True, True, False]
    ]  # fmt: skip
