"""Scores of variants by language models, against a slow loop over one variant at a time."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from test_genomes import fasta, own_cache
from test_pretraining import CASES, SHORT, training

from dnabench import MODELS
from dnabench.models.language import entries, language_model
from dnabench.pretraining.language_nets import LanguageNet, language_net
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes.alleles import (
    COMPLEMENT,
    PALINDROMIC,
    SAME,
    SWAPPED,
    UNKNOWN,
    WRONG,
    Allele,
)  # fmt: skip
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.variants import score_alleles, score_file
from dnabench.tasks.io.packed import packed
from dnabench.tokens.bpe import train_bpe
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.types import MASK, Recipe, Sequences

__all__ = ["own_cache"]  # a fixture
W = 24
TURNED = str.maketrans("ACGTN", "TGCAN")


def rc(seq):
    return seq.translate(TURNED)[::-1]


def genome_of(tmp_path, contigs):
    return packed(fasta(tmp_path / "g.fa", contigs))


def letters(n, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


def allele(at, ref, alt, chrom="chr1", line=1):
    return Allele(line, chrom, at, ".", ref, alt, "")


def source(name, length=W, **more):
    """A tiny network with drawn weights."""
    model, tokenizer = MODELS[name], None
    options = {**model.options, **CASES.get(name, {}), **more}
    spoken = model.tokenizer_name(options)
    if spoken == "bpe":
        tokenizer = train_bpe(Sequences.parse([letters(2000, 3)]), 40)
    torch.manual_seed(0)
    net = language_model(model, options, length)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return LanguageNet(name, model, options, tokenizer or TOKENIZERS[spoken], net.eval(), length)


def window(seq, at, length=W):
    """Around a base, N beyond the ends."""
    first = at - length // 2
    return "".join(seq[i] if 0 <= i < len(seq) else "N" for i in range(first, first + length))


def slow_site(one, text, index, base):
    """Log p of a base at a hidden place, up to what all four share."""
    seqs = Sequences.parse([text[:index] + b + text[index + 1 :] for b in "ACGT"])
    versions = one.tokenizer(seqs, len(text), "mask").ids
    hidden = [t for t in range(len(versions[0])) if versions[0][t] != versions[1][t]]
    ids = torch.tensor(versions[0].astype(int))
    ids[hidden] = one.tokenizer.mask
    with torch.no_grad():
        logits = one.net(ids[None], None)[0].double()
    own = entries(one.model, one.options)
    wanted = [int(versions["ACGT".index(base)][t]) for t in hidden]
    wanted = [own[w] for w in wanted] if own else wanted
    return np.mean(
        [logits[t].log_softmax(-1)[w].item() for t, w in zip(hidden, wanted, strict=True)]
    )


def slow_window(one, text):
    ids = one.tokenizer(Sequences.parse([text]), len(text), "mask").ids
    ids = torch.tensor(ids.astype(int))
    specials, total = {*one.tokenizer.specials, one.tokenizer.unknown}, 0.0
    with torch.no_grad():
        if one.model.language.causal:
            logits = one.net(ids, None)[0].double()[:, list(entries(one.model, one.options)[:4])]
            for t, b in enumerate(ids[0, 1:].tolist()):
                total += logits[t].log_softmax(-1)[b].item() if b < 4 else 0.0
            return total
        for t, w in enumerate(ids[0].tolist()):
            if w not in specials:
                hidden = ids.clone()
                hidden[0, t] = one.tokenizer.mask
                total += one.net(hidden, None)[0, t].double().log_softmax(-1)[w].item()
    return total


class Fixed(torch.nn.Module):
    """The worked example: at the hidden centre of A?G one row of logits, of C?T another."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, ids, mask):
        assert (ids[:, 1] == MASK).all()
        out = torch.zeros(len(ids), 3, 5)
        rows = {(0, 2): [0.2, 1.5, -0.3, 0.1, 0.0], (1, 3): [-0.2, 0.4, 1.1, 0.3, 0.0]}
        for i, (a, _, b) in enumerate(ids.tolist()):
            out[i, 1] = torch.tensor(rows[a, b])
        return out


def test_the_worked_example(tmp_path):
    genome = genome_of(tmp_path, {"chr1": "ACG"})
    model = MODELS["unet"]
    one = LanguageNet("fixed", model, model.options, TOKENIZERS["char"], Fixed(), 3)
    found = score_alleles(Likelihood(one), genome, [allele(1, "C", b) for b in "AGT"])
    assert [x.score for x in found] == pytest.approx([-1.05, -1.25, -1.35], abs=1e-6)
    forward, reverse = (
        np.exp(v) / np.exp(v).sum()
        for v in (np.array([0.2, 1.5, -0.3, 0.1]), np.array([-0.2, 0.4, 1.1, 0.3]))
    )
    p = (forward + reverse[::-1]) / 2  # averaging probabilities is another number
    averaged = [np.log(p[i] / p[1]) for i in (0, 2, 3)]
    assert averaged == pytest.approx([-1.053, -1.177, -1.356], abs=5e-4)
    assert averaged != pytest.approx([x.score for x in found], abs=1e-3)


FAMILIES = [*CASES, "dnabert-5"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_what_a_loop_over_variants_gives(name, tmp_path):
    more = CASES["dnabert-3"] if name == "dnabert-5" else {}
    one = source(name, **more)
    seq = letters(90)
    genome = genome_of(tmp_path, {"chr1": seq, "chr2": letters(31, 5)})
    places = [0, 3, 40, 41, 89] if one.tokenizer.name != "bpe" else [40]
    alleles = [allele(p, seq[p], b) for p in places for b in "ACGT" if b != seq[p]]
    likelihood = Likelihood(one)
    found = score_alleles(likelihood, genome, alleles)
    for x in found:
        at, ref, alt = x.allele.at, x.allele.ref, x.allele.alt
        text = window(seq, at)
        both = []
        for turned, index in ((False, W // 2), (True, W // 2 - 1)):
            own = rc(text) if turned else text
            a, b = (rc(alt), rc(ref)) if turned else (alt, ref)
            assert own[index] == b
            if likelihood.by_site:
                both.append(slow_site(one, own, index, a) - slow_site(one, own, index, b))
            else:
                other = own[:index] + a + own[index + 1 :]
                both.append(slow_window(one, other) - slow_window(one, own))
        assert x.why == ""
        assert x.score == pytest.approx(
            np.mean(both), abs=1e-6 * max(1, 24 * (not likelihood.by_site))
        )
    assert any(abs(x.score) > 1e-3 for x in found)
    if likelihood.by_site:
        assert likelihood.passes == 2 * len(places)  # a window, a masked base and a strand each
    elif likelihood.causal:
        assert likelihood.passes == 2 * 4 * len(places)


def test_indels_are_for_causal_models_alone(tmp_path):
    seq = letters(40, 1) + "CTATATATG" + letters(41, 2)
    genome = genome_of(tmp_path, {"chr1": seq})
    at = 40
    same = [
        allele(at, "CTA", "C"),
        allele(at + 4, "ATA", "A"),
        allele(at + 1, "TAT", "T"),
    ]  # one deletion of TA in the repeat, written in three ways
    masked = score_alleles(Likelihood(source("convnova-386k")), genome, same)
    assert {x.why for x in masked} == {"of several bases, for causal models only"}
    one = source("hyenadna-tiny-1k")
    found = score_alleles(Likelihood(one), genome, same)
    assert found[0].score == found[1].score == found[2].score
    other = window(seq[: at + 1] + seq[at + 3 :], at)
    text = window(seq, at)
    expected = np.mean([slow_window(one, f(other)) - slow_window(one, f(text)) for f in (str, rc)])
    assert found[0].score == pytest.approx(expected, abs=1e-5)
    (longer,) = score_alleles(Likelihood(one), genome, [allele(at, seq[at], seq[at] + "ACG" * 3)])
    other = window(seq[: at + 1] + "ACG" * 3 + seq[at + 1 :], at)
    expected = np.mean([slow_window(one, f(other)) - slow_window(one, f(text)) for f in (str, rc)])
    assert longer.score == pytest.approx(expected, abs=1e-5)
    (too,) = score_alleles(Likelihood(one), genome, [allele(at, seq[at], letters(13))])
    assert too.why == "an allele longer than half a window"


@pytest.fixture
def net(tmp_path):
    """A folder of `dnabench pretrain`, of 60 bp windows."""
    how = replace(SHORT, recipe=Recipe(batch=4), length=60)
    pretrain(training(tmp_path, steps=2, how=how, looks=1), tmp_path / "net")
    return tmp_path / "net"


NAMES = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT s1".replace(" ", "\t")
HEADER = f"##fileformat=VCFv4.2\n##contig=<ID=1>\n{NAMES}\n"


def put_vcf(path, rows, header=HEADER):
    text = header + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as f:
        f.write(text)
    return path


def test_a_file_with_everything_in_it(tmp_path, net):
    a, b = letters(400), "ACGTNNNNACGT" + letters(100, 4)
    path = fasta(tmp_path / "x.fa", {"chr1": a, "two": b})
    other = {x: next(y for y in "ACGT" if y not in (x, rc(x))) for x in "ACGT"}
    rest = ["GT", "0/1"]
    rows = [
        ("1", 100, "rs1", a[99], other[a[99]], ".", "PASS", "."),  # without chr
        ("chr1", 100, ".", a[99], ",".join(x for x in "ACGT" if x != a[99]), 3, ".", "AC=2;DB"),
        ("chr1", 1, ".", a[0], other[a[0]], ".", ".", "."),
        ("chr1", 400, ".", a[399], other[a[399]], ".", ".", "."),
        ("chr1", 401, ".", "A", "C", ".", ".", "."), ("two", 5, ".", "A", "C", ".", ".", "."),
        ("two", 4, "n", "T", "G", ".", ".", "."), ("chr9", 4, ".", "T", "G", ".", ".", "."),
        ("chr1", 50, ".", other[a[49]], a[49], ".", ".", "."),
        ("chr1", 60, ".", rc(a[59]), a[59], ".", ".", "."),
        ("chr1", 70, ".", rc(a[69]), rc(other[a[69]]), ".", ".", "."),
        ("chr1", 10, ".", a[9], "<DEL>", ".", ".", "."),
        ("chr1", 11, ".", a[10], "*", ".", ".", "."),
        ("chr1", 99, ".", a[98:101], a[98], ".", ".", "."),  # overlaps the first
        ("chr1", 30, ".", a[29].lower(), other[a[29]].lower(), ".", ".", "."),
    ]  # fmt: skip
    vcf = put_vcf(tmp_path / "v.vcf.gz", [(*row, *rest) for row in rows])
    genome = packed(path)
    likelihood = Likelihood(language_net(str(net)))
    done = score_file(likelihood, vcf, genome, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [t["line"] for t in table] == [4, 5, 5, 5, *range(6, 19)]  # nothing lost, in order
    assert (done.lines, done.alleles, done.scored) == (15, 17, 8)
    assert done.said == {
        SAME: 9, SWAPPED: 1, PALINDROMIC: 1, COMPLEMENT: 1, WRONG: 1, UNKNOWN: 1
    }  # fmt: skip
    reasons = {t["line"]: t["reason"].partition(":")[0] for t in table if t["score"] is None}
    assert reasons == {
        8: "beyond the end of its sequence", 9: "REF", 11: "its sequence is not in the genome",
        12: "REF", 13: "REF", 14: "REF", 15: "alleles that are not written in letters",
        16: "alleles that are not written in letters",
        17: "of several bases, for causal models only",
    }  # fmt: skip
    assert table[0]["score"] == next(t["score"] for t in table[1:4] if t["alt"] == table[0]["alt"])
    assert done.passes == 2 * 5  # places with a score
    for t, i in ((table[0], 99), (table[4], 0), (table[5], 399)):
        one, (text, alt) = likelihood.source, (window(a, i, 60), t["alt"])
        slow = [
            slow_site(one, rc(text), 29, rc(alt)) - slow_site(one, rc(text), 29, rc(a[i])),
            slow_site(one, text, 30, alt) - slow_site(one, text, 30, a[i]),
        ]
        assert t["score"] == pytest.approx(np.mean(slow), abs=1e-6)
    score_file(likelihood, vcf, genome, tmp_path / "out.vcf")
    lines = (tmp_path / "out.vcf").read_text().splitlines()
    assert next(x for x in lines if not x.startswith("##")) == NAMES
    body = [x.split("\t") for x in lines if not x.startswith("#")]
    assert [x[:7] + x[8:] for x in body] == [[*map(str, (*r[:7], *rest))] for r in rows]
    info = [dict(p.partition("=")[::2] for p in x[7].split(";")) for x in body]
    assert info[1]["AC"] == "2" and "DB" in info[1]
    assert [float(v) for v in info[1]["DNABENCH_LLR"].split(",")] == pytest.approx(
        [t["score"] for t in table[1:4]], rel=1e-8
    )
    assert (info[8]["DNABENCH_LLR"], info[8]["DNABENCH_REF"]) == (".", SWAPPED)
    again = tmp_path / "again.vcf"
    score_file(likelihood, tmp_path / "out.vcf", genome, again)
    assert again.read_text() == (tmp_path / "out.vcf").read_text()


def test_a_name_that_several_sequences_may_have_is_not_guessed(tmp_path, net):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{n} [chromosome=IV]\n{letters(99)}\n" for n in ("a", "b")))
    genome, ref = packed(path), letters(99)[49]
    alt = "ACGT"[("ACGT".index(ref) + 1) % 4]
    both = [allele(49, ref, alt, "IV"), allele(49, ref, alt, "b")]
    first, second = score_alleles(Likelihood(language_net(str(net))), genome, both)
    assert first.why == "its name may be that of several sequences of the genome"
    assert np.isnan(first.score) and second.why == ""


def test_parts_of_a_file_change_nothing(tmp_path, net, monkeypatch):
    a = letters(300)
    genome = packed(fasta(tmp_path / "x.fa", {"chr1": a}))
    rows = [
        ("chr1", p + 1, ".", a[p], b, ".", ".", ".")
        for p in range(20, 80) for b in "ACGT" if b != a[p]
    ]  # fmt: skip
    vcf = put_vcf(tmp_path / "v.vcf", rows, "")  # a VCF without a header
    likelihood = Likelihood(language_net(str(net)))
    whole = score_file(likelihood, vcf, genome, tmp_path / "a.parquet")
    monkeypatch.setattr("dnabench.probes.variants.AT_ONCE", 10 * 60)
    seen = []
    parts = score_file(
        likelihood, vcf, genome, tmp_path / "b.vcf", progress=lambda n, of: seen.append((n, of))
    )
    assert parts.scores == pytest.approx(whole.scores, abs=1e-6)
    assert parts.passes == whole.passes == 2 * 60
    assert len(seen) > 10 and seen[-1] == (180, 180)
    lines = (tmp_path / "b.vcf").read_text().splitlines()
    assert lines[0] == "##fileformat=VCFv4.2" and lines[3].startswith("#CHROM\tPOS")
    assert not whole.header


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "no variants, the file has only a header"),
        (HEADER + "chr1\t5\t.\tA\n", "v.vcf:4: 4 tab-separated columns"),
        (HEADER + "chr1\tx\t.\tA\tC\t.\t.\t.\n", "v.vcf:4: POS 'x' is no position"),
        (HEADER + "chrX\t4\t.\tA\tC\t.\t.\t.\n", "no sequence has the same name in both files"),
        ("", "the file is empty"),
    ],
)  # fmt: skip
def test_bad_files_get_one_message_and_lose_nothing(text, message, tmp_path, net):
    genome = packed(fasta(tmp_path / "x.fa", {"chr1": letters(100)}))
    (tmp_path / "v.vcf").write_text(text)
    (tmp_path / "out.vcf").write_text("mine")
    with pytest.raises(ValueError, match=message):
        score_file(
            Likelihood(language_net(str(net))), tmp_path / "v.vcf", genome, tmp_path / "out.vcf"
        )
    assert (tmp_path / "out.vcf").read_text() == "mine"


@pytest.mark.slow
def test_the_command(tmp_path, net):
    a = letters(300)
    path = fasta(tmp_path / "x.fa", {"chr1": a, "chr2": a[::-1]})
    rows = []
    for i, p in enumerate(range(20, 80)):
        ref = (a, a[::-1])[i % 2][p]
        rows.append((f"chr{1 + i % 2}", p + 1, ".", ref, rc(ref), ".", ".", f"Y={i // 2 % 2}"))
    put_vcf(tmp_path / "v.vcf", [*rows, ("chr1", 5, ".", a[4], "<DEL>", ".", ".", "Y=1")], "")
    said = dnabench(
        "probe", "variants", net, "--vcf", tmp_path / "v.vcf", "--genome", path, "--labels", "Y",
        "--to", tmp_path / "out.parquet", "--device", "cpu",
    )  # fmt: skip
    assert "60 of 61 alternative alleles of 61 variants scored" in said.stdout
    assert "no score: 1, alleles that are not written in letters" in said.stdout
    assert "chance: AUPRC 0.500, AUROC 0.500" in said.stdout
    said_why = "one of the classes lies in only 2 stretches of 10 kbp, and 20 are needed"
    assert f"no intervals: {said_why}" in said.stdout
    assert "distance to a start: needs --gff, or a column tss_dist" in said.stdout
    about = json.loads((tmp_path / "out.parquet.json").read_text())["labels"]
    assert about["net"]["variants"] == about["Markov chain of order 6"]["variants"] == 60


def test_networks_that_cannot_be_asked_are_refused(tmp_path, net):
    with pytest.raises(ValueError, match=r"--length 1000001: .* reads 1,000,000 bp at most"):
        language_net(str(net), 1_000_001)
    longer = Likelihood(language_net(str(net), 61))
    assert "61 bp are more than the windows of its training, 60 bp" in longer.how
    assert "training" not in Likelihood(language_net(str(net))).how
    with pytest.raises(ValueError, match=r"--regime scratch: .* has weights of its own"):
        language_net(str(net), regime="scratch")
    with pytest.raises(ValueError, match="has no language-model head"):
        language_net("cnn")
    with pytest.raises(ValueError, match="random weights know no sequences"):
        language_net("gpn", regime="scratch")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no language model"):
        language_net(str(tmp_path / "empty"))
