"""Masked networks of words by region, and chains on the same bases, against slow references."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from test_evaluate import GENES
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, SHORT, options_of, training
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.models.outside.references import model_named
from dnabench.pretraining import blocks, evaluate, words
from dnabench.pretraining.blocks import Sums
from dnabench.pretraining.chance import ByClass, chains_for, chance_for
from dnabench.pretraining.classes import CLASSES, classes_of
from dnabench.pretraining.evaluate import score
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.objectives import Masked
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.saving import load_pretrained
from dnabench.pretraining.words import REGIONS, check_words, score_words, table_of_words
from dnabench.tasks.io.annotation import read_annotation
from dnabench.types import IGNORED, Sequences

__all__ = ["own_cache"]
LENGTH = 60  # bp of a window
TOP, BOTTOM = "CDS +", "CDS -"


def region_of(kind):
    """The name of the region that a class of letters is part of."""
    return CLASSES[kind].partition(",")[0]


def words_in(net, text, ids):
    """The start, the bp and the place among the ids of each word, from what the ids are called."""
    if net.tokenizer.name == "bpe":
        names = {i: name for name, i in json.loads(net.tokenizer.text())["model"]["vocab"].items()}
        bp = [0 if names[i].startswith("[") and names[i] != "[UNK]" else len(names[i]) for i in ids]
        bp = [1 if names[i] == "[UNK]" else n for i, n in zip(ids, bp, strict=True)]
    else:
        first, singles = {"6mer": (6, 4102), "6mer-v1": (4, 4100)}[net.tokenizer.name]
        bp = [0 if i < first else 6 if i < singles else 1 for i in ids]
    assert sum(bp) == len(text)
    ends = np.cumsum(bp)
    return [(int(ends[t]) - n, n, t) for t, n in enumerate(bp) if n]


def chain_loss(chain, text, at, kind):
    """Nats of the base at a place, from the bases before it in the whole sequence and its class."""
    k, logs, plain = chain.order, chain.logs, chain.plain
    if isinstance(chain, ByClass):
        logs, plain = logs[kind], plain[kind]
    context = text[at - k : at] if at >= k else "N"
    letter = "ACGT".index(text[at])
    if "N" in context or (k and not context):
        return -float(plain[letter])
    number = 0
    for base in context:
        number = 4 * number + "ACGT".index(base)
    return -float(logs[number, letter])


def slow_rows(net, text, kinds, chains, drawn):
    """The sums of each region, of soft-masked words, of all and of each block of the sequence.

    Args:
        drawn: (ids of the window, places asked for) of each window.
    """
    rows = {}
    for w, (ids, chosen) in enumerate(drawn):
        begin = LENGTH * w
        here = text[begin : begin + LENGTH]
        upper = here.upper()
        own = net.tokenizer(Sequences.parse([here]), LENGTH, "mask").ids[0].tolist()
        assert ids[: len(own)] == own  # the rest is padding
        hidden = torch.tensor([own])
        hidden[0, chosen] = net.tokenizer.mask
        with torch.no_grad():
            logits = net.net(hidden, None)[0].double()
        known = sorted(set(range(net.tokenizer.size)) - specials_of(net))
        for start, bp, t in words_in(net, here, own):
            if t not in chosen:
                continue
            assert "N" not in upper[start : start + bp]
            said = logits[t, known]
            loss = float(said.logsumexp(0) - logits[t, own[t]])
            best = known[int(said.argmax())]
            bases = range(begin + start, begin + start + bp)
            found = [region_of(kinds[at]) for at in bases]
            region = min(found, key=REGIONS.index)
            small = 2 * sum(text[at].islower() for at in bases) >= bp
            of_chains = [
                sum(chain_loss(c, text.upper(), at, kinds[at]) for at in bases) for c in chains
            ]
            sums = [1, bp, len(set(found)) > 1, best == own[t], loss, *of_chains]
            masked = "soft-masked" if small else "not soft-masked"
            for name in (region, masked, "all", (begin + start) // blocks.BLOCK):
                rows[name] = rows.get(name, 0) + np.array(sums, float)
    return rows


def specials_of(net):
    """Ids that are no words: special ones, and those with an N or of no vocabulary."""
    if net.tokenizer.name == "bpe":
        return set(range(5))
    return {*range(6), 4106} if net.tokenizer.name == "6mer" else {*range(4), 4104}


def trained(tmp_path, name, n=0.02):
    """A network that learned for some steps, its genome, and genes on both sequences."""
    fasta(tmp_path / "g.fa", contigs := random_contigs([4000, 2000, 1010], n=n))
    train = training(tmp_path, name, steps=3, looks=1)
    pretrain(train, tmp_path / "net")
    plus = GENES.format(a=1201, b=1300, c=1401, d=1460, s="+").replace("chr1", "chr2")
    minus = GENES.format(a=1281, b=1390, c=1451, d=1630, s="-").replace("chr1", "chr2")
    for old in ("ID=g", "ID=t", "Parent=g", "Parent=t"):
        minus = minus.replace(old, f"{old}2")
    (tmp_path / "g.gff").write_text(plus + minus)
    return load_pretrained(tmp_path / "net"), train.sources[0].genome, contigs


@pytest.mark.parametrize("name", ["dnabert2", "ntv2-50m", "nt_h"])
def test_scores_are_those_of_each_window_alone(tmp_path, monkeypatch, name):
    net, genome, contigs = trained(tmp_path, name)
    annotation = read_annotation(tmp_path / "g.gff", coding=True)
    chance = chance_for(genome, [0], annotation).chains  # genes are on chr2, which is scored
    chains = [c for c in chains_for(genome, [1, 2]) if c.order in (0, 1, 4)]
    chains += [c for c in chance if isinstance(c, ByClass) and c.order in (0, 2)]
    names = ["order 0", "order 1", "order 4", "order 0 by region", "order 2 by region"]
    drawn, asked = [], Masked.asked

    def remembered(self, ids, seen, generator):
        wanted, read = asked(self, ids, seen, generator)
        chosen = [np.flatnonzero(row).tolist() for row in (wanted != IGNORED).numpy()]
        drawn.extend(zip(ids.tolist(), chosen, strict=True))
        return wanted, read

    monkeypatch.setattr(Masked, "asked", remembered)
    for module in (blocks, evaluate):
        monkeypatch.setattr(module, "BLOCK", 25)  # many words lie over an edge
    monkeypatch.setattr(words, "AT_ONCE", 10_000)  # several passes for the windows of a batch
    sums = score_words(net, genome, [1, 2], annotation, chains, seed=3)
    assert sums.windows == 33 + 16 == len(drawn) and sums.blocks == 80 + 41
    expected = {}
    for i, part in ((1, drawn[:33]), (2, drawn[33:])):
        kinds = classes_of(annotation, genome, i)
        text = contigs[f"chr{i + 1}"]
        for region, values in slow_rows(net, text, kinds, chains, part).items():
            key = region + 80 * (i == 2) if isinstance(region, int) else region
            expected[key] = expected.get(key, 0) + values
    for block in range(121):
        found = [values for key, values in sums.totals.items() if key[2] == block]
        np.testing.assert_allclose(sum(found, np.zeros(10)), expected.pop(block, 0), rtol=1e-6)
    rows = {row["region"]: row for row in table_of_words(sums)}
    assert rows.keys() == expected.keys() >= {TOP, BOTTOM, "promoter", "soft-masked", "all"}
    for region, (tokens, bases, mixed, right, nats, *of_chains) in expected.items():
        row = rows[region]
        assert (row["tokens"], row["bases"], row["mixed"]) == (tokens, bases, mixed)
        assert row["accuracy"] == pytest.approx(right / tokens)
        assert row["loss"] == pytest.approx(nats / tokens, abs=1e-6)
        assert row["nats_per_base"] == pytest.approx(nats / bases, abs=1e-6)
        assert (row["nats_per_base_interval"] is None) == (row["blocks"] < 20)
        assert [*row["chance"]] == names
        for name, loss in zip(names, of_chains, strict=True):
            assert row["chance"][name]["nats_per_base"] == pytest.approx(loss / bases, abs=1e-6)
    every = rows["all"]
    assert every["mixed"] and every["bases"] > every["tokens"]
    n_words = sum(
        len(words_in(net, text[a : a + LENGTH], row))
        for text in (contigs["chr2"], contigs["chr3"])
        for a in range(0, len(text) - LENGTH + 1, LENGTH)
        for row in [net.tokenizer(Sequences.parse([text[a : a + LENGTH]]), LENGTH, "mask").ids[0]]
    )
    assert every["tokens"] / n_words == pytest.approx(0.15, abs=0.03)


def test_the_same_seed_hides_the_same_words(tmp_path):
    net, genome, _ = trained(tmp_path, "ntv2-50m")
    first, same, other = (score_words(net, genome, [1], None, [], seed=s) for s in (0, 0, 1))
    assert first.totals.keys() == same.totals.keys()
    for key, values in first.totals.items():
        np.testing.assert_array_equal(values, same.totals[key])
    assert table_of_words(first)[-1]["loss"] != table_of_words(other)[-1]["loss"]
    assert [row["region"] for row in table_of_words(first, by_region=False)] == [
        "soft-masked", "not soft-masked", "all"
    ]  # fmt: skip


def test_a_sequence_of_n_has_no_words(tmp_path):
    fasta(tmp_path / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGTTGCA" * 100, "chr3": "N" * 300})
    pretrain(train := training(tmp_path, "ntv2-50m", steps=1, looks=1), tmp_path / "net")
    net, genome = load_pretrained(tmp_path / "net"), train.sources[0].genome
    with pytest.raises(ValueError, match="no word could be scored in windows of 60 bp"):
        score_words(net, genome, [2], None, [])
    with pytest.raises(ValueError, match="windows of 2000 bp"):
        score_words(replace(net, card={**net.card, "length": 2000}), genome, [1], None, [])


def test_the_intervals_hold_the_truth_of_blocks(monkeypatch):
    """Of nats a base, where blocks differ and words have 1 to 8 bases, in 99 % of the cases."""
    monkeypatch.setattr(blocks, "DRAWS", 500)
    rng, inside = np.random.default_rng(0), 0
    for _ in range(80):
        sums = Sums(("network",), {}, windows=100)
        level = np.repeat(rng.gamma(16, 1 / 16, 60), 100)  # nats a base of a block, 1 in the mean
        bases = rng.integers(1, 9, 6000)
        nats = bases * level * rng.gamma(4, 1 / 4, 6000)
        ones, zeros = np.ones(6000), np.zeros(6000)
        values = np.stack([ones, bases, zeros, ones, nats], 1)
        block = np.repeat(np.arange(60), 100)
        sums.add(np.full(6000, 4, np.uint8), np.zeros(6000, bool), block, values)
        row = table_of_words(sums, by_region=False)[-1]
        assert row["nats_per_base"] == pytest.approx(nats.sum() / bases.sum())
        assert row["accuracy_interval"] == [1, 1] and row["blocks"] == 60
        low, high = row["nats_per_base_interval"]
        inside += low <= 1 <= high
    assert 0.95 <= inside / 80 <= 1


def test_the_command_prints_a_table_and_writes_it(tmp_path, monkeypatch):
    for module in (blocks, evaluate):
        monkeypatch.setattr(module, "BLOCK", 60)  # so that there are intervals
    trained(tmp_path, "dnabert2")
    call = ["evaluate", str(tmp_path / "net"), "--genome", str(tmp_path / "g.fa")]
    done = CliRunner().invoke(app, [*call, "--regions", str(tmp_path / "g.gff")])
    assert done.exit_code == 0, done.output
    assert "dnabert2 on chr2 of g.fa: hidden words; accuracy of words" in done.output
    assert "do not compare these losses with those of letters\n" in done.output
    assert "Markov chains: of the other sequences of g.fa; nats per base on the same" in done.output
    said = json.loads((tmp_path / "net" / "evaluation-mask-1.json").read_text())
    assert said["of"] == "words" and said["sequences"] == "chr2" and said["windows"] == 33
    every = said["rows"][-1]
    assert f"\n{every['mixed']} words have bases in several regions" in done.output
    assert f"is in the first of: {'; '.join(REGIONS)}\n" in done.output
    best = min(every["chance"], key=lambda name: every["chance"][name]["nats_per_base"])
    assert f"\nMarkov {best.removeprefix('order ')}: the chain with the lowest loss" in done.output
    low, high = every["nats_per_base_interval"]
    (line,) = [line for line in done.output.splitlines() if line.startswith("all  ")]
    assert line.split()[1:] == [
        str(every["tokens"]), str(every["bases"]), f"{every['accuracy']:.3f}",
        "{:.3f}-{:.3f}".format(*every["accuracy_interval"]), f"{every['nats_per_base']:.3f}",
        f"{low:.3f}-{high:.3f}", f"{every['chance'][best]['nats_per_base']:.3f}",
    ]  # fmt: skip
    table = done.output[done.output.index("\nregion ") :].splitlines()
    assert max(map(len, table[: table.index(line) + 1])) <= 100
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0 and "intergenic" not in done.output
    done = CliRunner().invoke(app, [*call, "--protocol", "thesis"])
    assert done.exit_code == 2 and "write --protocol mask" in done.output


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dnabert-3", "dnabert-3 predicts kmer3 tokens, which overlap: a hidden one is seen in"),
        ("llama-6mer", "where a token ends depends on the bases after it"),
        ("dnabert2", "dnabert2 predicts bpe tokens of one base each"),
    ],
)
def test_what_is_not_scored_says_why(tmp_path, name, reason):
    path, to = fasta(tmp_path / "g.fa", random_contigs([4000, 2000])), tmp_path / "net"
    if name in MODELS:
        small = {"vocabulary": 9} if name == "dnabert2" else {}  # letters alone
        model, options = MODELS[name], options_of(name, **CASES[name] | small)
    else:
        tiny.make(tmp_path / name, name)
        model = model_named(f"hf:{tmp_path / name}")
        options = dict(model.options)
    train = gathered(model, options, SHORT, [path], 240, holdout=["chr2"], looks=1)
    pretrain(train, to)
    with pytest.raises(ValueError, match=reason):
        score_words(load_pretrained(to), train.sources[0].genome, [1], None, [])
    done = CliRunner().invoke(app, ["evaluate", str(to), "--genome", str(path)])
    assert done.exit_code == 2 and reason in " ".join(done.output.split()), done.output


def test_letters_and_words_are_scored_apart(tmp_path):
    """Each by its own function."""
    pretrain(train := training(tmp_path, "dnabert2", steps=1, looks=1), tmp_path / "net")
    net = load_pretrained(tmp_path / "net")
    check_words(net)
    with pytest.raises(ValueError, match=r"predicts bpe tokens, not bases.*words scores it"):
        score(net, train.sources[0].genome, [1], None, [])
