"""Attributions and seqlets of kept networks: probes/attribution.py, soft_letters.py, seqlets.py."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import MOTIF, dnabench, planted_split
from kept_cases import job_of, kept, put, task_of_kind, tiny_network  # noqa: F401
from test_probe_contract import NAMES, tiny
from test_probe_variants import letters

from dnabench import MODELS
from dnabench.host.machine import bf16_flags
from dnabench.networks.network import load_network
from dnabench.probes.attribution import How, attribution, attribution_of_file, mixed
from dnabench.probes.mutagenesis import Answer, answer_of, answers
from dnabench.probes.seqlets import limit_of, null_of, seqlets, window_means
from dnabench.probes.soft_letters import SoftAnswer
from dnabench.results.store import Store
from dnabench.types import Sequences

LENGTH = 62
READS_LETTERS = [
    name for name in NAMES
    if MODELS[name].tokenizer.startswith("char") and not MODELS[name].custom_trainer
]  # fmt: skip

TURNED = {"caduceus_ps": "flip", "convnova_unet": "pad", "deepatt": "pad"}  # letters are moved


def codes_of(text):
    return Sequences.parse([text]).codes


def shares_of(soft, codes):
    return soft.shares(codes)[None]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A network that has learned to find MOTIF, and sequences that it has not seen."""
    from dnabench import TASKS

    list(TASKS)
    task = task_of_kind("binary", LENGTH)
    sizes = {"train": 1200, "dev": 50, "test": 100}
    task = replace(
        task, counts=sizes, load=lambda split: planted_split(sizes[split], len(split), LENGTH)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS._entries, task.name, task)
        job = job_of(MODELS["cnn"], task, epochs=15, lr=0.004, batch=32)
        found = kept(job, tmp_path_factory.mktemp("kept"), keep="all")
        yield found[0], found[1]


def test_sums_are_what_the_answer_gains(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "binary", LENGTH, {"width": 8})[0]
    answer, codes = answer_of(network), codes_of(planted_split(2, 5, LENGTH).seqs[1])
    found = attribution(network, codes, answer, How(3, 64, 1))
    others = np.concatenate([mixed(codes, [1, 0, i]) for i in range(3)])
    many = Sequences(np.concatenate([codes, others]), np.arange(5) * LENGTH)
    own, *rest = answers(network, many, answer).tolist()
    assert found.answer == pytest.approx(own, abs=1e-5)
    assert found.baseline == pytest.approx(np.mean(rest), abs=1e-5)
    gained, size = own - np.mean(rest), np.nansum(np.abs(found.values))
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [0, LENGTH - 1]
    assert np.nansum(found.values) == pytest.approx(gained, abs=1e-3 * size)
    assert found.error == pytest.approx(np.nansum(found.values) - gained, abs=1e-5)
    rough = attribution(network, codes, answer, How(3, 2, 1))
    assert abs(found.error) <= abs(rough.error) + 1e-4 * size


@pytest.mark.slow
def test_planted_motifs_are_seqlets(learned, tmp_path):
    network, record = learned
    assert record.scores["test"]["mcc"] > 0.8
    part = planted_split(40, 9, LENGTH)
    (tmp_path / "x.fa").write_text("".join(f">s{i}\n{part.seqs[i]}\n" for i in range(40)))
    how = How(2, 16)
    found, null = attribution_of_file(network, tmp_path / "x.fa", answer_of(network), how)
    assert len(found) == 40 and len(null) >= 10_000
    inside, outside, hits = [], [], 0
    for i in range(1, 40, 2):  # those with the motif
        start = part.seqs[i].index(MOTIF)
        motif = np.arange(LENGTH)
        motif = (motif >= start) & (motif < start + len(MOTIF))
        covered = np.zeros(LENGTH, bool)
        for one in found[i].seqlets:
            covered[one.start : one.end] |= one.attribution > 0
        inside.append(covered[motif].mean())
        outside.append(covered[~motif].mean())
        hits += covered[motif].mean() > 0.5
    assert hits >= 17  # of 20
    assert np.mean(inside) > 5 * np.mean(outside) and np.mean(outside) < 0.15
    without = sum(bool(one.seqlets) for one in found[::2])
    assert without <= 6  # of 20 that have none to find


@pytest.mark.parametrize("name", [n for n in READS_LETTERS if n not in TURNED])
def test_letters_as_numbers_give_the_answer_of_letters(name, tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, name, "binary", LENGTH, tiny(name), rc="conjoin")[0]
    answer, codes = answer_of(network), codes_of("ACGTNACGGTCATTACGGATNN" + "GATTACACCA" * 4)
    soft = SoftAnswer(network, codes, answer)
    assert len(soft.known) == 59
    own = Sequences(codes, np.array([0, len(codes)]))
    wanted = float(answers(network, own, answer)[0])
    with torch.no_grad():
        assert soft(shares_of(soft, codes)).item() == pytest.approx(wanted, abs=1e-4)
    # a small step changes the answer by gradient x step
    x = shares_of(soft, codes).requires_grad_()
    (slope,) = torch.autograd.grad(soft(x).sum(), x)
    assert slope.shape == x.shape and slope.isfinite().all() and slope.abs().max() > 0


@pytest.mark.parametrize(("name", "why"), [
    ("dnabert-3", "reads words of several bases"), ("kmer", "has no gradients"),
])  # fmt: skip
def test_other_networks_are_refused_with_a_way_out(name, why, tmp_path, put):  # noqa: F811
    options = tiny(name)
    network = tiny_network(tmp_path, put, name, "binary", LENGTH, options)[0]
    with pytest.raises(ValueError, match=rf"{why}.*use `dnabench probe mutagenesis`"):
        SoftAnswer(network, codes_of("ACGT" * 10), answer_of(network))


@pytest.mark.parametrize("name", TURNED)
def test_letters_that_are_moved_are_refused(name, tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, name, "binary", LENGTH, tiny(name))[0]
    soft = SoftAnswer(network, codes_of("ACGT" * 10), answer_of(network))
    with pytest.raises(ValueError, match=f"does {TURNED[name]} with letters, which is not follow"):
        soft(shares_of(soft, codes_of("ACGT" * 10)))


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_every_kind_of_answer(kind, tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", kind, LENGTH)[0]
    codes = codes_of("ACGTTACGGTCATTACGGAT" * 2)
    names = network.card.task["classes"]
    own = Sequences(codes, np.array([0, len(codes)]))
    for k, name in enumerate(names):
        answer = answer_of(network, name)
        assert isinstance(answer, Answer) and answer.output == k
        soft = SoftAnswer(network, codes, answer)
        with torch.no_grad():
            found = soft(shares_of(soft, codes)).item()
        assert found == pytest.approx(answers(network, own, answer)[0], abs=1e-4)


def test_attributions_are_in_the_unit_of_the_labels(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "regression", LENGTH)[0]
    codes, answer = codes_of("ACGTTACGGTCATTACGGAT" * 2), answer_of(network, "1")
    plain = attribution(network, codes, answer, How(2, 8))
    found = attribution(network, codes, answer._replace(mean=1e6, scale=25.0), How(2, 8))
    np.testing.assert_allclose(found.values, 25 * plain.values, atol=1e-5)
    assert found.answer == pytest.approx(1e6 + 25 * plain.answer, abs=1e-5)
    assert found.baseline == pytest.approx(1e6 + 25 * plain.baseline, abs=1e-5)
    assert found.error == pytest.approx(25 * plain.error, abs=1e-5)


def test_shuffled_sequences_keep_dinucleotides_and_n():
    codes = codes_of("ACGTNNACGGTCATTACGGATTNACGACGTTTACC")
    other = mixed(codes, [0, 1])
    assert (np.flatnonzero(other == 4) == [4, 5, 22]).all() and (other != codes).any()
    pairs = [np.bincount(5 * c[:-1].astype(int) + c[1:], minlength=25) for c in (codes, other)]
    assert (pairs[0] == pairs[1]).all()
    runs = codes_of("ACNNGT" * 6)  # no run has another order
    assert (mixed(runs, [0, 1]) == runs).all()


def test_ends_of_runs_have_no_value_and_sequences_are_named(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "cnn", "binary", LENGTH)[0]
    answer, how = answer_of(network), How(2, 2)
    codes = codes_of("NN" + letters(20) + "NNN" + letters(30, 1) + "NACNACG")
    found = attribution(network, codes, answer, how)
    empty = np.flatnonzero(np.isnan(found.values)).tolist()
    assert empty == [0, 1, 2, 21, 22, 23, 24, 25, 54, 55, 56, 57, 58, 59, 61]
    inner = found.values[3:21], found.values[26:54]
    assert all((np.abs(part) > 0).mean() > 0.5 for part in inner)
    assert found.error == pytest.approx(np.nansum(found.values) - found.answer + found.baseline)
    (tmp_path / "x.fa").write_text(f">good\n{letters(LENGTH)}\n>bad\n{'ACGN' * 15}NN\n")
    with pytest.raises(ValueError, match="bad has no 4 bases in a row that are not N"):
        attribution_of_file(network, tmp_path / "x.fa", answer, how)


@pytest.mark.skipif(not bf16_flags(), reason="this processor has no bfloat16")
def test_networks_of_other_precisions_answer_in_fp32(tmp_path, put):  # noqa: F811
    task = put(task_of_kind("binary", LENGTH))
    job = job_of(MODELS["cnn"], task, precision="bf16")
    network = kept(job, tmp_path)[0]
    codes, how = codes_of(letters(LENGTH)), How(2, 16)
    with pytest.raises(ValueError, match="is to run in bf16; load it with precision='fp32'"):
        attribution(network, codes, answer_of(network), how)
    again = load_network(Store(tmp_path).network_path(job.trial.id), precision="fp32")
    assert np.nansum(np.abs(attribution(again, codes, answer_of(again), how).values)) > 0


def test_seqlets_by_hand():
    null = null_of([np.linspace(-1, 1, 2001)], 1)
    assert limit_of(null, 0.1) == pytest.approx(0.9, abs=0.002) and null[-1] == 1
    codes, values = codes_of("ACGT" * 5), np.zeros(20)
    values[3:6], values[12] = 2.0, -9.0
    values[19] = np.nan
    assert window_means(values, 3)[[2, 3, 4, 6]] == pytest.approx([2 / 3, 4 / 3, 2, 2 / 3])
    found = seqlets(codes, values, null, 0.1, 3)
    assert [(one.start, one.end) for one in found] == [(10, 15), (2, 7)]
    assert [one.letters for one in found] == ["GTACG", "GTACG"]
    assert [one.attribution for one in found] == pytest.approx([-9, 6])
    assert [one.p for one in found] == pytest.approx([1 / 2002] * 2)
    assert seqlets(codes, np.zeros(20), null, 0.1, 3) == []


def test_n_are_no_part_of_the_null():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5_000)
    known = null_of([values])
    many = np.full(100_000, np.nan)
    many[:5_000] = values
    null = null_of([many])
    assert len(null) == len(known) == 5_000
    assert limit_of(null) == pytest.approx(limit_of(known), abs=0.02)


@pytest.mark.slow
def test_the_command(learned, tmp_path):
    network, record = learned
    del network
    folder = next(p for p in tmp_path.parent.glob(f"kept*/networks/{record.trial.id}"))
    part = planted_split(4, 9, LENGTH)
    ids = ["chr1:100-162", "chr1:300-362(-)", "b", "c"]
    rows = "".join(f">{name}\n{part.seqs[i]}\n" for i, name in enumerate(ids))
    (tmp_path / "x.fa").write_text(rows)
    words = ["probe", "attribution", folder, tmp_path / "x.fa", "--to", tmp_path / "out"]
    done = dnabench(*words, "--steps", "16", "--shuffles", "2")
    assert done.returncode == 0, done.stderr
    assert "log odds of" in done.stdout and "seqlets in 4 sequences" in done.stdout
    table = pq.read_table(tmp_path / "out" / "attribution.parquet").to_pandas()
    assert len(table) == 240  # without the ends
    minus = table[table.id == ids[1]]
    assert minus.position.tolist() == list(range(360, 300, -1))
    assert "".join(minus.base) == part.seqs[1][1:-1]
    graph = (tmp_path / "out" / "attribution.bedgraph").read_text().splitlines()
    assert len(graph) == 240 and graph[60].startswith("chr1\t301\t302\t")
    stretches = pq.read_table(tmp_path / "out" / "seqlets.parquet").to_pandas()
    here = stretches[stretches.id == ids[1]].iloc[0]
    start = part.seqs[1].index(MOTIF)
    assert here.start < 362 - start and here.end > 362 - start - len(MOTIF)
    assert here.letters in part.seqs[1] and here.strand == "-"
    assert f"    {here.start}-{here.end} {here.letters}  " in done.stdout
    assert "on the chromosome where the name of a sequence says where it lies" in done.stdout
    assert (tmp_path / "out" / "seqlets.bed").read_text().count("\n") == len(stretches)
    about = json.loads((tmp_path / "out" / "attribution.json").read_text())
    assert about["steps"] == 16 and about["null windows"] >= 10_000
    assert len(list((tmp_path / "out").glob("figure-*.png"))) == 4
