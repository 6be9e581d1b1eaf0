"""Language models by region, and chance beside them, against slow references."""

import json

import numpy as np
import pytest
import torch
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import SHORT, random_codes, training
from typer.testing import CliRunner

from dnabench.cli.app import app
from dnabench.models.language import entries
from dnabench.pretraining import evaluate, markov
from dnabench.pretraining.blocks import Sums
from dnabench.pretraining.chance import chains_for
from dnabench.pretraining.classes import CLASSES, classes_of
from dnabench.pretraining.evaluate import of_windows, score, table
from dnabench.pretraining.markov import fit
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.saving import load_pretrained
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed
from dnabench.types import CLS, MASK, SEP, Sequences

__all__ = ["own_cache"]


def slow_counts(texts, size):
    counts = {}
    for text in texts:
        for strand in (text, Sequences.parse([text]).reverse_complement()[0]):
            for i in range(len(strand) - size + 1):
                mer = strand[i : i + size]
                if "N" not in mer:
                    counts[mer] = counts.get(mer, 0) + 1
    return counts


@pytest.mark.parametrize("chunk", [50, 1 << 22])
def test_chains_are_the_counted_mers(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(markov, "CHUNK", chunk)
    contigs = {k: v.upper() for k, v in random_contigs([300, 211, 90], n=0.02).items()}
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    chains = fit(genome, [0, 1], orders=(0, 1, 3))
    texts = [contigs["chr1"], contigs["chr2"]]
    for chain in chains:
        # shorter mers are counted where the longest fits, as a chain of one order would at ends
        k = chain.order
        longest = slow_counts(texts, 4)
        for number in range(4**k):
            context = np.base_repr(number, 4).zfill(k)[-k:] if k else ""
            letters = "".join("ACGT"[int(c)] for c in context)
            row = [
                1 + sum(n for mer, n in longest.items() if mer.endswith(letters + base))
                for base in "ACGT"
            ]
            np.testing.assert_allclose(
                np.exp(chain.logs[number]), np.array(row) / sum(row), rtol=1e-5
            )
        assert np.exp(chain.logs).sum(1) == pytest.approx(1)


def test_a_chain_predicts_from_the_bases_before(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", {"x": "ACGT" * 50, "y": "A" * 40}))
    (chain,) = fit(genome, [0], orders=(2,))
    codes = np.array([[0, 1, 2, 3, 0, 4, 1, 2, 3]], np.uint8)
    said = chain.predict(codes)
    assert said.shape == (1, 9, 4)
    assert said[0, 2:5].argmax(-1).tolist() == [2, 3, 0]
    assert said[0, 8].argmax() == 3
    # the first two, and the two behind the N, have no context: the frequencies of the bases
    for i in (0, 1, 6, 7):
        np.testing.assert_allclose(np.exp(said[0, i]), 0.25, atol=0.01)
    assert np.exp(said).sum(-1) == pytest.approx(1, abs=1e-5)


GENES = """chr1\ts\tgene\t{a}\t{d}\t.\t{s}\t.\tID=g
chr1\ts\tmRNA\t{a}\t{d}\t.\t{s}\t.\tID=t;Parent=g
chr1\ts\tCDS\t{a}\t{b}\t.\t{s}\t0\tParent=t
chr1\ts\tCDS\t{c}\t{d}\t.\t{s}\t0\tParent=t
"""


@pytest.mark.parametrize("strand", "+-")
def test_every_base_has_the_class_of_its_gene(tmp_path, strand):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([4000])))
    (tmp_path / "g.gff").write_text(GENES.format(a=1501, b=1507, c=1601, d=1610, s=strand))
    found = classes_of(read_annotation(tmp_path / "g.gff"), genome, 0)
    coding = [*range(1500, 1507), *range(1600, 1610)]
    if strand == "-":
        coding.reverse()
    expected = np.full(4000, CLASSES.index("intergenic"))
    before = range(500, 1500) if strand == "+" else range(1610, 2610)
    expected[before] = CLASSES.index("promoter")
    expected[1507:1600] = CLASSES.index("intron")
    for i, at in enumerate(coding):
        expected[at] = CLASSES.index(f"CDS {strand}, codon {i % 3 + 1}")
    np.testing.assert_array_equal(found, expected)


def test_the_first_class_counts_where_genes_overlap(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([4000])))
    plus = GENES.format(a=1501, b=1560, c=1601, d=1660, s="+")
    minus = GENES.format(a=1531, b=1590, c=1631, d=1690, s="-").replace("ID=g", "ID=h")
    minus = minus.replace("=t", "=u").replace("Parent=g", "Parent=h")
    (tmp_path / "g.gff").write_text(plus + minus)
    names = [CLASSES[i] for i in classes_of(read_annotation(tmp_path / "g.gff"), genome, 0)]
    assert names[1540] == "CDS +, codon 2"  # 40 bases into the first, in both
    assert names[1570].startswith("CDS -")  # in an intron of the first
    assert names[1595] == "intron" and names[1400] == "promoter"


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("phase", [1, 2])
def test_codons_begin_where_the_phase_says(tmp_path, strand, phase):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([4000])))
    text = GENES.format(a=1501, b=1507, c=1601, d=1610, s=strand)
    first = "1501" if strand == "+" else "1601"
    lines = [
        line.replace("\t0\tParent", f"\t{phase}\tParent") if f"CDS\t{first}" in line else line
        for line in text.splitlines()
    ]
    (tmp_path / "g.gff").write_text("\n".join(lines) + "\n")
    found = classes_of(read_annotation(tmp_path / "g.gff"), genome, 0)
    coding = [*range(1500, 1507), *range(1600, 1610)]
    if strand == "-":
        coding.reverse()
    assert [CLASSES[found[at]] for at in coding] == [
        f"CDS {strand}, codon {(i - phase) % 3 + 1}" for i in range(17)
    ]


@pytest.mark.parametrize("name", ["convnova-386k", "hyenadna-tiny-1k"])
def test_scores_are_those_of_each_base_alone(tmp_path, monkeypatch, name):
    train = training(tmp_path, name, steps=2, looks=1)
    pretrain(train, tmp_path / "net")
    net, genome = load_pretrained(tmp_path / "net"), train.sources[0].genome
    chains = chains_for(genome, [1])
    asked, ask = [], evaluate._asker(net, entries(net.model, net.options), "mask", 0)

    def remembered(codes):
        found = ask(codes)
        asked.append((codes, *found))
        return found

    monkeypatch.setattr(evaluate, "_asker", lambda *args: remembered)
    sums = score(net, genome, [1], None, chains)
    assert sums.windows == 2000 // 60 and sums.blocks == 1
    rows = table(sums)
    assert [row["region"] for row in rows] == [
        "intergenic", "soft-masked", "not soft-masked", "all"
    ]  # fmt: skip
    assert [row["region"] for row in table(sums, by_class=False)] == [
        "soft-masked", "not soft-masked", "all"
    ]  # fmt: skip
    text = random_contigs([4000, 2000])["chr2"]
    ((codes, wanted, _),) = asked
    share, causal = wanted.mean(), name == "hyenadna-tiny-1k"
    # all but the first of a window, or 15 %
    assert share == pytest.approx(59 / 60 if causal else 0.15, abs=1e-9 if causal else 0.02)
    letters = [7, 8, 9, 10] if causal else [0, 1, 2, 3]
    loss, right, small, n = 0.0, 0, 0, 0
    for i in range(len(codes)):
        assert codes[i].tolist() == Sequences.parse([text[60 * i : 60 * i + 60]]).codes.tolist()
        ids = torch.from_numpy(codes[i]).long()[None]
        if not causal:  # all that is asked for in that window is hidden
            ids[0, torch.from_numpy(wanted[i])] = MASK
        with torch.no_grad():
            logits = net.net(ids, None)[0]
        for j in np.flatnonzero(wanted[i]):
            logs = logits[j - causal][letters].log_softmax(-1)
            loss -= float(logs[codes[i, j]])
            right += int(logs.argmax()) == codes[i, j]
            small += text[60 * i + j].islower()
            n += 1
    row = rows[-1]
    assert row["bases"] == n and rows[1]["bases"] == small
    assert row["loss"] == pytest.approx(loss / n, abs=1e-5)
    assert row["accuracy"] == pytest.approx(right / n)
    assert row["loss_interval"] is None  # of the one block there is
    assert row["chance"]["order 0"]["loss"] == pytest.approx(np.log(4), abs=0.01)
    assert row["majority"] == row["chance"]["order 0"]["accuracy"]


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [("caduceus_ph", "char-cls-sep"), ("convnova-386k", "char-sep"),
     ("hyenadna-tiny-1k", "char-cls-sep"), ("dnabert2", "char-cls-sep")],
)  # fmt: skip
def test_bases_are_asked_for_between_the_special_tokens_of_the_training(tmp_path, name, tokenizer):
    own = {"tokenizer": tokenizer} | ({"vocabulary": 9} if name == "dnabert2" else {})
    train = training(tmp_path, name, steps=2, looks=1, own=own)
    pretrain(train, tmp_path / "net")
    net = load_pretrained(tmp_path / "net")
    letters, causal = entries(net.model, net.options), name.startswith("hyenadna")
    codes = random_codes(3, 60, any_base=0)
    wanted, logs = evaluate._asker(net, letters, "mask", 0)(codes)
    assert wanted.shape == codes.shape and logs.shape == (*codes.shape, 4)
    lead = int(tokenizer == "char-cls-sep")
    for i in range(3):
        read = torch.from_numpy(codes[i]).long()
        if not causal:
            read[torch.from_numpy(wanted[i])] = MASK
        ids = torch.tensor([CLS] * lead + read.tolist() + [SEP])[None]
        with torch.no_grad():
            all_logs = net.net(ids, None)[0][:, list(letters[:4])].log_softmax(-1).numpy()
        for j in np.flatnonzero(wanted[i]):
            np.testing.assert_allclose(logs[i, j], all_logs[j + lead - causal], atol=1e-5)
    # [CLS] is asked for the first base
    assert wanted.all() if causal else 0 < wanted.mean() < 0.4


def test_chains_read_the_bases_before_a_window(tmp_path):
    """Of ACGT repeated every base follows from the one before, also at the start of a window."""
    fasta(tmp_path / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGT" * 400})
    train = training(tmp_path, "hyenadna-tiny-1k", steps=1, looks=1)
    pretrain(train, tmp_path / "net")
    genome = train.sources[0].genome
    chains = [c for c in chains_for(genome, [1]) if c.order in (0, 5)]
    sums = score(load_pretrained(tmp_path / "net"), genome, [1], None, chains)
    assert table(sums)[-1]["chance"]["order 5"]["accuracy"] == pytest.approx(1, abs=0.004)


def test_the_thesis_prints_this_interval():
    assert 100 * of_windows(0.560279, 10_381) == pytest.approx(1.257, abs=5e-4)


def test_the_intervals_hold_the_truth_of_blocks():
    """Of blocks that are drawn whole, in 99 % of the cases."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(200):
        p = rng.beta(6, 6, 60)  # accuracy of each block; its mean is one half
        right = rng.random((60, 200)) < p[:, None]
        sums = Sums(("network",), {}, windows=100)
        values = np.stack([np.ones(12_000), right.ravel(), 1.0 - right.ravel()], 1)
        block = np.repeat(np.arange(60), 200)
        sums.add(np.full(12_000, 8, np.uint8), np.zeros(12_000, bool), block, values)
        row = table(sums)[-1]
        assert row["accuracy"] == pytest.approx(right.mean()) and row["blocks"] == 60
        low, high = row["accuracy_interval"]
        inside += low <= 0.5 <= high
    assert 0.95 <= inside / 200 <= 1


def test_sums_are_those_of_every_class_and_block():
    rng = np.random.default_rng(0)
    sums, slow = Sums(("network",), {}), {}
    for _ in range(3):
        kind, small = rng.integers(0, 9, 50).astype(np.uint8), rng.random(50) < 0.5
        block, values = rng.integers(0, 4, 50), rng.random((50, 3))
        sums.add(kind, small, block, values)
        for i in range(50):
            key = int(kind[i]), bool(small[i]), int(block[i])
            slow[key] = slow.get(key, 0) + values[i]
    assert sums.totals.keys() == slow.keys()
    for key, value in slow.items():
        np.testing.assert_allclose(sums.totals[key], value)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_scores_are_the_same_on_every_device(tmp_path, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    words = ["evaluate", str(tmp_path / "net"), "--genome", str(tmp_path / "g.fa")]
    for to, more in (("here", ["--device", "cpu"]), ("there", ["--device", device])):
        done = CliRunner().invoke(app, [*words, *more, "--to", str(tmp_path / to)])
        assert done.exit_code == 0, done.output
    here, there = (json.loads((tmp_path / to).read_text())["rows"] for to in ("here", "there"))
    for a, b in zip(here, there, strict=True):
        assert a["bases"] == b["bases"] > 0
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    done = CliRunner().invoke(app, [*words, "--device", "cuda:99"])
    assert done.exit_code == 2 and "--device 'cuda:99' cannot be used here" in done.output


def test_the_table_fits_a_hundred_columns(capsys):
    """The longest names and numbers, with intervals; a narrower terminal gets fewer columns."""
    from dnabench.cli.evaluate import _print

    chance = {
        "order 0": {"accuracy": 0.25, "loss": 1.386},
        "order 11": {"accuracy": 0.3, "loss": 1.3},
        "order 8 by region": {"accuracy": 0.31, "loss": 1.29},
    }
    rows = [
        {"region": name, "bases": 1_234_567, "accuracy": 0.5, "accuracy_interval": [0.49, 0.51],
         "loss": 1.25, "loss_interval": [1.2, 1.3], "perplexity": 3.49, "majority": 0.25,
         "chance": chance}
        for name in (*CLASSES, "soft-masked", "not soft-masked", "all")
    ]  # fmt: skip
    genomes = [{"name": "g.fa"}, {"name": "h.fa"}]
    card = {"objective": "masked", "genomes": genomes, "length": 1024, "bp": 20_000_000}
    _print(rows, "convnova-386k on chr2 of g.fa", card, "g.fa")
    _, fitted, chosen, *rest = capsys.readouterr().out.splitlines()
    assert chosen.startswith(
        "Markov 8 by region: the chain with the lowest loss over all bases; it"
    )
    assert chosen.endswith("the best without is Markov 11, 1.300 over all bases")
    assert "of the other sequences of g.fa; the network was trained on g.fa, h.fa" in fitted
    lines = [fitted, *rest[:-1]]  # the last names the classes in order
    assert max(map(len, lines[1:])) <= 100
    assert lines[1].split()[-3:] == ["majority", "Markov", "8"]
    assert lines[2].split() == ["by", "region"]
    assert "0.500 0.490-0.510" in lines[4] and "1.250 1.200-1.300" in lines[4]
    assert lines[4].split()[-3:] == ["0.250", "0.310", "1.290"]


def test_the_command_prints_a_table_and_writes_it(tmp_path):
    fasta(tmp_path / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGT" * 400})
    train = training(tmp_path, steps=40, looks=1)
    pretrain(train, tmp_path / "net")
    (tmp_path / "g.gff").write_text(
        GENES.format(a=1201, b=1260, c=1301, d=1360, s="-").replace("chr1", "chr2")
    )
    words = ["evaluate", str(tmp_path / "net"), "--genome", str(tmp_path / "g.fa")]
    done = CliRunner().invoke(app, [*words, "--regions", str(tmp_path / "g.gff")])
    assert done.exit_code == 0, done.output
    assert "convnova-386k on chr2 of g.fa: hidden bases" in done.output
    assert "CDS -, codon 1" in done.output and "soft-masked" in done.output
    assert "chains: of the other sequences of g.fa\n" in done.output
    assert f"is in the first of: {'; '.join(CLASSES)}\n" in done.output
    said = json.loads((tmp_path / "net" / "evaluation-mask-1.json").read_text())
    assert said["sequences"] == "chr2" and said["protocol"] == "mask" and not said["warning"]
    # a chain of order 1 knows ACGT repeated
    assert said["rows"][-1]["chance"]["order 1"]["accuracy"] > 0.95
    for more, message in (
        (["--protocol", "both"], "write mask or thesis"),
        (["--sequence", "chrX"], "has no sequence 'chrX'"),
    ):
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == 2 and message in done.output
    done = CliRunner().invoke(app, [*words, "--sequence", "chr1", "--sequence", "chr2"])
    assert done.exit_code == 2 and "every sequence is evaluated" in done.output
    third = {"chr1": "ACGT" * 500, "chr2": "ACGT" * 400, "chr3": "ACGT" * 100}
    fasta(tmp_path / "other.fa", third)
    other = [*words[:3], str(tmp_path / "other.fa")]
    done = CliRunner().invoke(app, other)
    assert done.exit_code == 2 and "held out no sequence of this very file" in done.output
    done = CliRunner().invoke(app, [*other, "--sequence", "chr3"])
    assert "what it saw of these sequences is not known" in done.output
    assert "intergenic" not in done.output  # no annotation, no classes
    (tmp_path / "g.gff").write_text((tmp_path / "g.gff").read_text().replace("chr2", "chr9"))
    done = CliRunner().invoke(app, [*words, "--regions", str(tmp_path / "g.gff")])
    assert done.exit_code == 2 and "has no gene on chr2: it has chr9" in done.output
    wrong = CliRunner().invoke(app, ["evaluate", str(tmp_path), *words[2:]])
    assert wrong.exit_code == 2 and "no language model, which `dnabench pretrain`" in wrong.output


def test_a_network_of_words_is_not_compared_with_bases(tmp_path):
    train = training(tmp_path, "dnabert-3", steps=1, looks=1, how=SHORT)
    pretrain(train, tmp_path / "net")
    net = load_pretrained(tmp_path / "net")
    with pytest.raises(ValueError, match="predicts kmer3 tokens, not bases"):
        score(net, train.sources[0].genome, [1], None, [])
