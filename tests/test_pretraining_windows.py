"""Windows in turn, N in windows, and what a training says: bits a base, bp/s, licences, locks."""

import errno
import json
import os
import time

import numpy as np
import pytest
import torch
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import BERT, CASES, SHORT, TINY, begun, bytes_of, options_of, training

from dnabench import MODELS
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.pretrain import learner_of, pretrain
from dnabench.pretraining.vocabulary import vocabulary_of
from dnabench.pretraining.windows import Drawn, draw, held_out, in_turn, source
from dnabench.tasks.io.packed import packed
from dnabench.tokens.bpe import tokenizer_named
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture


def two(tmp_path, stride=60):
    """Tiles of two genomes of several sequences, and the windows that they should be."""
    found, expected = [], []
    for name, lengths in (("a", [601, 59, 240]), ("b", [300])):
        contigs = random_contigs(lengths, seed=len(name) + lengths[0])
        found.append(source(packed(fasta(tmp_path / f"{name}.fa", contigs)), 60, stride=stride))
        expected += [
            seq[at : at + 60].upper() for seq in contigs.values()
            for at in {min(at, len(seq) - 60) for at in range(0, len(seq), stride)}
            if len(seq) >= 60
        ]  # fmt: skip
    return found, sorted(expected)


def texts(drawn):
    return ["".join("ACGTN"[c] for c in row) for row in drawn.codes.tolist()]


@pytest.mark.parametrize("stride", [60, 25])
def test_windows_in_turn_are_all_windows_once_before_any_comes_again(tmp_path, stride):
    sources, expected = two(tmp_path, stride)
    n = len(expected)
    passes = [texts(in_turn(sources, k * n, n, seed=3)) for k in range(2)]
    assert all(sorted(one) == expected for one in passes)
    assert passes[0] != passes[1]
    # a step that lies in two passes, and another seed
    assert texts(in_turn(sources, n - 2, 4, seed=3)) == [*passes[0][-2:], *passes[1][:2]]
    assert texts(in_turn(sources, 0, n, seed=4)) not in passes


@pytest.mark.parametrize("stride", [60, 25, 20])
def test_windows_in_turn_reach_every_base_that_a_window_can_have(tmp_path, stride):
    """Ends of sequences, and both sides of what is left out; never two sequences in one window."""
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([601, 59, 240, 300, 77])))
    gap = np.array([[290, 317]])
    one = source(genome, 60, stride=stride, left_out=gap + genome.starts[0])
    reached, reachable = (np.zeros((5, 601), bool) for _ in range(2))
    for c, n in enumerate(genome.lengths):
        for at in range(n - 59):
            if c or at + 60 <= 290 - 60 or at >= 317 + 60:
                reachable[c, at : at + 60] = True
    inside = 0
    for c, (start, n) in enumerate(zip(genome.starts, genome.lengths, strict=True)):
        for at in one.tiles - start:
            if 0 <= at <= n - 60:
                reached[c, at : at + 60] = True
                inside += 1
    assert inside == len(one.tiles) and (reached == reachable).all()
    assert one.covered == reachable.sum()
    places = [*zip(genome.starts, genome.starts + genome.lengths, strict=True)]
    for first, end in one.free:  # as a card says them: each in one sequence
        assert any(a <= first and end + 59 <= b for a, b in places)


@pytest.mark.parametrize("name", CASES)
def test_each_family_reads_the_strands_that_its_authors_read(tmp_path, name):
    """Of a genome of A alone, windows of T are reverse complements."""
    letters = {"tokenizer": "char-cls-sep"} if "vocabulary" in CASES[name] else {}
    train = gathered(
        MODELS[name], options_of(name, **{**CASES[name], **letters}), SHORT,
        [fasta(tmp_path / "a.fa", {"chr1": "A" * 4000, "chr2": "A" * 400})], 1e6, holdout=["chr2"],
    )  # fmt: skip
    learner, turned = learner_of(train), []
    forward, reverse = (
        train.tokenizer(as_sequences(np.full((1, 60), code)), 60, "mask").ids for code in (0, 3)
    )
    for learner._step in range(100):
        learner._draw()
        ids = learner._data.batch(learner._data.rows(np.arange(4))).ids.numpy()
        turned += (ids == reverse).all(1).tolist()
        assert ((ids == forward).all(1) | (ids == reverse).all(1)).all()
    share = 0.5 if name in ("gpn-smol", "caduceus_ph") else 0.0
    assert np.mean(turned) == pytest.approx(share, abs=0.12 * (share > 0))  # 400 draws: 5 sd


@pytest.mark.parametrize("stride", [0, 60])
def test_what_is_left_out_takes_no_window_of_the_next_sequence(tmp_path, stride):
    """At the very ends of a sequence, which lie beside other sequences in the packed file."""
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([500, 500, 500])))
    for at, middle in ((0, [500 + 110, 941]), (450, [500, 500 + 331])):
        left_out = genome.starts[1] + np.array([[at, at + 50]])
        one = source(genome, 60, stride=stride, left_out=left_out)
        assert one.free.tolist() == [[0, 441], middle, [1000, 1441]]


def test_byte_pairs_are_learned_from_all_tiles(tmp_path, monkeypatch):
    genome, learned = fasta(tmp_path / "g.fa", random_contigs([600] * 9 + [300])), []

    def kept(name, train, **more):
        learned.append(train)
        return tokenizer_named(name, train=train, **more)

    monkeypatch.setattr("dnabench.pretraining.gathering.tokenizer_named", kept)
    model = MODELS["dnabert2"]
    train = gathered(
        model, options_of("dnabert2", **BERT), SHORT, [genome], 1, holdout=["chr10"], stride=60
    )  # fmt: skip
    (tiles,) = (one.tiles for one in train.sources)
    assert len(learned[0]) == len(tiles) == 90
    whole = train.sources[0].genome.windows(tiles, 60)[0]
    assert sorted(learned[0].codes.reshape(-1, 60).tolist()) == sorted(whole.tolist())


def test_windows_in_turn_carry_their_soft_masked_bases(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": "ACGTacgt" * 3, "chr2": "aaaaCCCC"}))
    drawn = in_turn([source(genome, 8, stride=8)], 0, 4, seed=0)
    rows = sorted(zip(texts(drawn), drawn.small.tolist(), strict=True))
    upper = [False] * 4
    assert rows == [("AAAACCCC", [True] * 4 + upper)] + [("ACGTACGT", upper + [True] * 4)] * 3


def test_windows_in_turn_keep_off_n_and_say_where_they_are(tmp_path):
    seq = "ACGT" * 25 + "N" * 40 + "ACGT" * 15
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    one = source(genome, 20, stride=20)
    assert one.tiles.tolist() == [0, 20, 40, 60, 80, 140, 160, 180]
    assert one.free.tolist() == [[0, 81], [140, 181]]
    assert source(genome, 20, stride=20, most_n=0.99).free.tolist() == one.free.tolist()
    assert source(genome, 30, stride=30, most_n=0.34).tiles.tolist() == [0, 30, 60, 150, 170]
    genome = packed(fasta(tmp_path / "n.fa", {"chr1": "ACGTN" * 20}))
    with pytest.raises(ValueError, match="all windows of 50 bp, one every 50 bp, have more than 0"):
        source(genome, 50, stride=50, most_n=0.0)


def test_the_share_of_n_decides_which_windows_are_drawn(tmp_path):
    contigs = {"chr1": "ACGTNACGNN" * 40}
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="100 draws found windows of 50 bp with more than 10% N"):
        draw([source(genome, 50)], 4, rng)
    both = packed(fasta(tmp_path / "b.fa", {"a": "ACGT" * 40, "b": contigs["chr1"]}))
    with pytest.raises(ValueError, match="b: shorter than 50 bp, or all with more than 10% N"):
        held_out([source(both, 50, ["b"])], 9)
    assert len(held_out([source(both, 50, ["b"], most_n=0.3)], 9).codes) == 8
    codes, _ = draw([source(genome, 50, most_n=0.3)], 4, rng)
    assert ((codes == 4).mean(1) == 0.3).all()


def test_flags_of_windows_that_do_not_fit_are_refused(tmp_path):
    for more, message in (
        ({"stride": 61}, "--stride 61: write 1 to 60, the bp of a window"),
        ({"stride": 30, "weights": [2.0]}, "--stride 30 reads every window in turn, and --weight"),
        ({"most_n": 1.0}, "--most-n 1.0: write a share of N from 0 to below 1"),
        ({"licences": ["MIT", "MIT"]}, "2 --licence for 1 --genome: give one for each"),
    ):
        with pytest.raises(ValueError, match=message):
            training(tmp_path, **more)


def test_a_training_in_turn_reads_each_window_and_goes_on_with_the_same_bytes(tmp_path):
    train = training(tmp_path, steps=20, stride=60)
    (tiles,) = (one.tiles for one in train.sources)
    assert len(tiles) == 67  # of 4,000 bp; 80 are read
    learner = learner_of(train)
    read = []
    learner._data.put = lambda drawn, flipped: read.append(texts(drawn))
    for learner._step in range(20):
        learner._draw()
    every = [text for step in read for text in step]
    assert len({*every[:67]}) == 67 and {*every[67:]} < {*every[:67]}
    begun(tmp_path, steps=20, stride=60)
    with pytest.raises(ValueError, match="differs in genomes"):
        pretrain(training(tmp_path, steps=20), tmp_path / "net")
    pretrain(train, tmp_path / "net")
    pretrain(train, tmp_path / "whole")
    assert bytes_of(tmp_path / "net") == bytes_of(tmp_path / "whole")
    card = json.loads((tmp_path / "net" / "network.json").read_text())
    assert card["genomes"][0]["stride"] == 60 and "most_n" not in card["genomes"][0]


def test_bits_a_base_are_those_of_the_words_that_are_asked_for(tmp_path):
    train = training(tmp_path, "dnabert2")
    learner = learner_of(train)
    codes = np.random.default_rng(5).integers(0, 4, (9, 60)).astype(np.uint8)
    drawn = Drawn(codes, np.zeros(codes.shape, bool))
    made = learner.objective
    scores = made.scores(None, learner.held_out(drawn)())
    # the same from the tokens themselves: text of each, probabilities of the network
    learner._data.put(drawn)
    rows = learner._data.rows(np.arange(9))
    batch = made.questions(None, learner._data)(rows)
    with torch.no_grad():
        logs = learner.net.eval()(batch.ids, batch.mask).log_softmax(-1)
    words = {i: text for text, i in json.loads(train.tokenizer.text())["model"]["vocab"].items()}
    nats = bases = 0.0
    for i, t in (batch.target[..., 0] >= 0).nonzero().tolist():
        word = int(batch.target[i, t, 0])
        nats -= float(logs[i, t, word])
        bases += len(words[word])
    assert bases > 0
    assert scores["bits_per_base"] == pytest.approx(nats / bases / np.log(2), rel=1e-5)
    assert scores["bits_per_base"] < scores["bits"]


@pytest.mark.parametrize(("name", "words"), [("nt_h", True), ("dnabert-3", False)])
def test_bits_a_base_are_said_of_words_that_do_not_overlap(tmp_path, name, words):
    done = pretrain(training(tmp_path, name, steps=2, looks=1), tmp_path / "net")
    assert ("bits_per_base" in done["scores"]["val"]) == words
    (line,) = (tmp_path / "net" / "metrics.jsonl").read_text().splitlines()
    assert ("held_out_bits_per_base" in json.loads(line)) == words


@pytest.mark.parametrize(
    ("name", "tokenizer", "words"),
    [("dnabert2", "char-cls-sep", False), ("dnabert2", "bpe", True),
     ("dnabert2", "6mer", True), ("convnova-386k", "char", False)],
)  # fmt: skip
def test_the_tokenizer_says_whether_tokens_are_words(name, tokenizer, words):
    options = options_of(name, tokenizer=tokenizer)
    train = Sequences.parse(["".join(random_contigs([3000]).values()).upper()])
    more = {"vocabulary": 64, "train": train} if tokenizer == "bpe" else {}
    made = tokenizer_named(MODELS[name].tokenizer_name(options), **more)
    assert vocabulary_of(MODELS[name], options, made, "cpu").words == words


def test_each_evaluation_says_how_fast_it_went(tmp_path):
    """As fast as the slowest look at the clock allows; after a resumption those before too.

    The clock stops when the steps are done, not when the last one was sent: here, told.
    """
    pretrain(training(tmp_path, steps=4), tmp_path / "slow", told=lambda *of: time.sleep(0.1))
    lines = (tmp_path / "slow" / "metrics.jsonl").read_text().splitlines()
    assert all(2 * 4 * 60 / json.loads(line)["bp_per_s"] >= 0.2 for line in lines)
    begun(tmp_path, steps=5)
    first = json.loads((tmp_path / "net" / "metrics.jsonl").read_text())["bp_per_s"]
    done = pretrain(training(tmp_path, steps=5), tmp_path / "net")
    lines = (tmp_path / "net" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["bp_per_s"] for line in lines]
    assert rates[0] == first and len(rates) == 2
    spent = sum(n * 4 * 60 / rate for n, rate in zip((3, 2), rates, strict=True))
    assert 0 < spent <= done["seconds"] + 0.1


def test_the_card_says_whose_licence_the_genomes_have(tmp_path):
    paths = [fasta(tmp_path / f / "g.fa", random_contigs([900, 300])) for f in "ab"]
    model, options = MODELS["convnova-386k"], options_of("convnova-386k", **TINY)
    for licences, expected in ((["MIT", "CC0"], ["MIT", "CC0"]), ((), ["not stated"] * 2)):
        train = gathered(
            model, options, SHORT, paths, 240, holdout=[f"{paths[1]}:chr2"], licences=licences
        )
        found = pretrain(train, tmp_path / str(len(licences)))["license"]
        assert [one["license"] for one in found["genomes"]] == expected
        assert found["model"] == model.license


def test_a_folder_that_cannot_be_locked_is_not_called_taken(tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(ValueError, match=r"net cannot be locked \(No locks available\)"):
        pretrain(training(tmp_path), tmp_path / "net")
