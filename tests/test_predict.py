"""`dnabench predict`: the stored answers for new files, however they are cut."""

import copy
import csv
import gzip
import io
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench, planted_split
from kept_cases import job_of, kept, task_of_kind, tiny_network

from dnabench import MODELS, Sequences
from dnabench.networks import predicting
from dnabench.networks.answers import Joiner, columns, interval_lines
from dnabench.networks.calibration import probabilities
from dnabench.networks.export import reading
from dnabench.networks.field import GROUP, field_of
from dnabench.networks.predicting import Asked, base_logits, predict_file, tiling
from dnabench.networks.tiles import tiles, windows
from dnabench.tasks.io.unlabelled import Part, read_parts, whole_sequences

SEQS = planted_split(7, 11, 80, 3).seqs
GENOME = Sequences.parse(["".join(np.random.default_rng(i).choice(list("ACGTN"), n))
                          for i, n in enumerate((2777, 31, 1024, 1))])  # fmt: skip


def fasta(path, seqs, width=60):
    lines = []
    for i in range(len(seqs)):
        rows = [seqs[i][a : a + width] for a in range(0, len(seqs[i]), width)]
        lines.append("\n".join([f">s{i} more words", *rows]))
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def written(folder, seqs):
    """The same sequences in every format."""
    texts = [seqs[i] for i in range(len(seqs))]
    ids = [f"s{i}" for i in range(len(seqs))]
    (folder / "a.csv").write_text(
        "id,sequence,label\n" + "".join(f'{i},"{s}",x\n' for i, s in zip(ids, texts, strict=True))
    )
    (folder / "a.tsv").write_text(
        "SEQ\tid\n" + "".join(f"{s}\t{i}\n" for i, s in zip(ids, texts, strict=True))
    )
    pq.write_table(pa.table({"name": ids, "sequence": texts}), folder / "a.parquet")
    fasta(folder / "a.fa", seqs)
    fasta(folder / "a.fna.gz", seqs, 7)
    return [folder / name for name in ("a.csv", "a.tsv", "a.parquet", "a.fa", "a.fna.gz")]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("size", [1, 13, 64, 1 << 22])
def test_parts_are_the_file_whatever_their_size(size, tmp_path):
    for path in written(tmp_path, SEQS):
        found = {}
        for part in read_parts(path, size):
            for name, start, codes, _ in part.segments():
                assert start == sum(map(len, found.get(name, [])))
                found.setdefault(name, []).append(codes)
        assert [*found] == [f"s{i}" for i in range(7)]
        every = [codes for own in found.values() for codes in own]
        assert np.array_equal(np.concatenate(every), SEQS.codes), path
        whole = list(whole_sequences(read_parts(path, size), 80))
        assert [name for p in whole for name in p.ids] == [*found]
        assert np.array_equal(np.concatenate([p.seqs.codes for p in whole]), SEQS.codes)


@pytest.mark.parametrize("size", [1, 13, 64, 1 << 22])
def test_a_sequence_that_is_too_long_is_refused_whatever_the_parts(size, tmp_path):
    path = fasta(tmp_path / "a.fa", Sequences.parse(["ACGT" * 5, "ACGT" * 20, "ACGT" * 4]))
    assert sum(len(p.ids) for p in whole_sequences(read_parts(path, size), 80)) == 3
    with pytest.raises(ValueError, match=r"^s1 has (79|80) bp or more, the network reads 78 at"):
        list(whole_sequences(read_parts(path, size), 78))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.fa", "ACGT\n", "a FASTA file begins with '>'"),
        ("a.fa", "", "no sequences"),
        ("a.fa", ">x\nAC\nG!T\n", "x has '!' at position 3"),
        ("a.csv", "id,Label\n1,2\n", "no column 'sequence'; found id, Label"),
        ("a.csv", "sequence\n", "the file has no rows"),
        ("a.csv", "sequence,id\nACG\n", "a.csv:2: 1 fields, the header has 2"),
        ("a.csv", "sequence,id\nAC1,q\n", "q has '1' at position 2"),
        ("a.parquet", "x", "not a Parquet file"),
        ("a.xlsx", "x", r"unknown extension '.xlsx'; .* \.parquet$"),
        ("a.narrowPeak", "x", "regions, where sequences are needed; .*: bedtools getfasta -s"),
        ("a.fa.gz", "x", "the gzip file is damaged"),
    ],
)
def test_files_that_cannot_be_read_say_why(name, text, says, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        list(read_parts(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="no such file"):
        list(read_parts(tmp_path / "b.fa"))


def test_a_letter_is_placed_in_its_sequence_across_parts(tmp_path):
    (tmp_path / "a.fa").write_text(">x\n" + "ACGT\n" * 20 + "A*\n")
    with pytest.raises(ValueError, match=r"x has '\*' at position 81"):
        list(read_parts(tmp_path / "a.fa", 16))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_a_file_gets_the_answers_of_its_sequences(kind, put, tmp_path):
    network, record, _ = tiny_network(tmp_path, put, "cnn", kind, epochs=2)
    logits = network.logits(SEQS)
    first = None
    for path in written(tmp_path, SEQS):
        done = dnabench("predict", tmp_path / "networks" / record.trial.id, path)
        assert done.returncode == 0, done.stderr
        first = first or done.stdout
        assert done.stdout == first
    rows = read_csv(first)
    assert [row["id"] for row in rows] == [f"s{i}" for i in range(7)]
    names = network.task.classes
    if kind == "regression":
        expected = logits
        found = [[float(row[name]) for name in names] for row in rows]
    else:
        expected = probabilities(kind, logits)
        found = [[float(row[f"p_{name}"]) for name in names] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if kind == "multilabel":
        assert [row["labels"] for row in rows] == [
            ";".join(np.array(names)[p > 0.5]) for p in expected
        ]
    elif kind != "regression":
        assert [row["class"] for row in rows] == [names[i] for i in logits.argmax(1)]
        top = np.sort(expected, 1)
        margins = [float(row["margin"]) for row in rows]
        np.testing.assert_allclose(margins, top[:, -1] - top[:, -2], atol=1e-5)


def test_parquet_out_and_calibration(put, tmp_path):
    network, record, _ = tiny_network(tmp_path, put, "cnn", "multiclass", epochs=2)
    folder, (path, *_) = tmp_path / "networks" / record.trial.id, written(tmp_path, SEQS)
    out = tmp_path / "out.parquet"
    done = dnabench("predict", folder, path, "--to", out, "--calibrated")
    assert done.returncode == 0 and "7 rows" in done.stdout, done.stderr
    table = pq.read_table(out)
    expected = probabilities("multiclass", network.logits(SEQS), network.card.temperature)
    for k, name in enumerate(network.task.classes):
        np.testing.assert_allclose(table[f"p_{name}"], expected[:, k], atol=1e-7)
    assert table["p_0"].type == pa.float64() and network.card.temperature != 1


def test_windows_of_a_genome(put, tmp_path):
    network, record, _ = tiny_network(tmp_path, put, "unet", "multiclass")
    folder, path = tmp_path / "networks" / record.trial.id, fasta(tmp_path / "g.fa", GENOME)
    done = dnabench("predict", folder, path, "--window", 80, "--stride", 37)
    assert done.returncode == 0, done.stderr
    rows = read_csv(done.stdout)
    texts = [GENOME[int(r["id"][1:])][int(r["start"]) : int(r["end"])] for r in rows]
    expected = probabilities("multiclass", network.logits(texts))
    np.testing.assert_allclose([float(r["p_0"]) for r in rows], expected[:, 0], atol=1e-5)
    of_first = [int(r["start"]) for r in rows if r["id"] == "s0"]
    assert of_first == [*range(0, 2777 - 80 + 1, 37), 2777 - 80]
    assert [(r["start"], r["end"]) for r in rows if r["id"] == "s1"] == [("0", "31")]
    refused = dnabench("predict", folder, path)
    assert refused.returncode == 2 and "s0 has 2,777 bp or more" in refused.stderr
    assert "--window 80" in refused.stderr


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize(("length", "stride"), [(10, 10), (10, 3), (10, 25), (2000, 100)])
def test_windows_are_slices_that_reach_the_end(size, length, stride, tmp_path):
    path = fasta(tmp_path / "g.fa", GENOME)
    places = []
    for names, starts, seqs in windows(read_parts(path, size), length, stride):
        for i, (name, start) in enumerate(zip(names, starts, strict=True)):
            assert seqs[i] == GENOME[int(name[1:])][start : start + length]
            places.append((name, start))
    for i, n in enumerate(GENOME.lengths.tolist()):
        own = [start for name, start in places if name == f"s{i}"]
        expected = list(range(0, n - length + 1, stride))
        if not expected or expected[-1] + length < n:
            expected.append(max(n - length, 0))
        assert own == expected


@pytest.mark.parametrize("size", [1, 700, 1 << 22])
def test_tiles_cover_every_base_once_with_what_is_around(size, tmp_path):
    path = fasta(tmp_path / "g.fa", GENOME)
    done = [0] * len(GENOME)
    for name, start, codes, lead, n in tiles(read_parts(path, size), 128, 48):
        i = int(name[1:])
        whole = GENOME.codes[GENOME.offsets[i] : GENOME.offsets[i + 1]]
        assert start == done[i] and lead == min(start, 48)
        assert np.array_equal(codes, whole[start - lead : start + n + 48])
        done[i] += n
    assert done == GENOME.lengths.tolist()


FINITE = {"unet": {}, "convnova-386k": {}, "gpn": {}, "basenji": {}, "convnova_unet": {}}


@pytest.mark.parametrize("model", FINITE)
def test_stretches_give_what_the_whole_sequence_gives(model, put, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "TILE", 2 * GROUP)
    network, *_ = tiny_network(tmp_path, put, model)
    cut = tiling(network)
    assert cut.size == 2 * GROUP and not cut.note
    network.device = "cuda"  # where its stretches are to be the same
    assert tiling(network) == cut
    network.device = "cpu"
    path = fasta(tmp_path / "g.fa", GENOME)
    rows = {}
    for tile, logits in base_logits(network, read_parts(path)):
        rows.setdefault(tile.name, []).append(logits)
    for i in range(len(GENOME)):
        whole = network.logits([GENOME[i]])[0]
        np.testing.assert_allclose(np.concatenate(rows[f"s{i}"]), whole, atol=2e-5, rtol=1e-4)
    assert len(rows["s0"]) == 6


@pytest.mark.parametrize("dilation", [1, 4])
def test_the_field_is_that_of_the_architecture(dilation):
    from dnabench.models.convnova import receptive_field

    model = MODELS["convnova-386k"]
    options = {**model.options, "dilation": dilation}
    field = field_of(model.build(task_of_kind("per_base"), options))
    half = receptive_field(options) // 2
    assert field.every_base and field.beyond == -(-half // GROUP) * GROUP


def test_a_field_that_is_measured_behind_convolutions_is_not_believed():
    class ChannelsFirst(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv1d(4, 8, 9, padding=4)
            self.head = torch.nn.Linear(8, 3)

        def forward(self, ids, mask):
            onehot = torch.nn.functional.one_hot(ids.long(), 4).float().transpose(1, 2)
            return self.head(self.convolution(onehot).relu().transpose(1, 2))

    torch.manual_seed(0)
    assert field_of(ChannelsFirst()) is None


def test_a_network_that_sees_everything_says_so(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put, "hyenadna-tiny-1k")
    assert field_of(network.net) is None
    path, notes = fasta(tmp_path / "g.fa", GENOME), []
    found = list(base_logits(network, read_parts(path), notes.append))
    assert len(notes) == 1 and "stretches of 40 bp with 20 bp around" in notes[0]
    tile, logits = found[3]
    np.testing.assert_allclose(logits, network.logits([GENOME[0][100:180]])[0][20:60], atol=1e-5)
    assert (tile.start, tile.size) == (120, 40)


def test_both_strands_of_a_pooling_network_are_noted(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put, "unet", rc="conjoin")
    assert "on the second strand, pooling begins" in tiling(network).note
    other, *_ = tiny_network(tmp_path / "b", put, "convnova-386k", rc="conjoin")
    assert not tiling(other).note


@pytest.mark.parametrize("name", ["a.bed", "a.bedgraph"])
def test_intervals_say_what_every_base_got(name, put, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "TILE", GROUP)
    network, record, _ = tiny_network(tmp_path, put)
    folder, path = tmp_path / "networks" / record.trial.id, fasta(tmp_path / "g.fa", GENOME)
    words = ["--class", "1"] if "graph" in name else []
    done = dnabench("predict", folder, path, "--to", tmp_path / name, *words)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in (tmp_path / name).read_text().splitlines()]
    assert f"{len(lines):,} intervals" in done.stdout
    for i in range(len(GENOME)):
        own = [line for line in lines if line[0] == f"s{i}"]
        assert [own[0][1], own[-1][2]] == ["0", str(len(GENOME[i]))]
        assert all(a[2] == b[1] and a[3] != b[3] for a, b in pairwise(own))
        sizes = [int(line[2]) - int(line[1]) for line in own]
        logits = network.logits([GENOME[i]])[0]
        p = probabilities("per_base", logits)
        values = np.repeat([float(line[3]) for line in own], sizes)
        if words:
            np.testing.assert_allclose(values, p[:, 1], atol=6e-4)
        else:
            assert (values == logits.argmax(1)).mean() > 0.999
            scores = [float(line[4]) for line in own]
            means = [p.max(1)[int(s) : int(e)].mean() * 1000 for _, s, e, *_ in own]
            np.testing.assert_allclose(scores, means, atol=1)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_network_that_cannot_be_copied_is_cut_as_any_other(put, tmp_path):
    network, *_ = tiny_network(tmp_path, put)
    cut = tiling(network)
    for module in [m for m in network.net.modules() if isinstance(m, torch.nn.Conv1d)]:
        torch.nn.utils.weight_norm(module)
    with torch.enable_grad():
        network.net(torch.zeros(1, 80, dtype=torch.uint8), None)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(network.net)
    assert tiling(network) == cut


def test_runs_join_across_tiles():
    joiner = Joiner()
    found = joiner.add("a", 0, np.array([1, 1, 2]), np.array([0.5, 0.7, 1.0]))
    found += joiner.add("a", 3, np.array([2]), np.array([0.0]))
    found += joiner.add("b", 0, np.array([2]), np.array([0.25]))
    found += joiner.add("b", 0, np.array([2]), np.array([0.25]))  # another of that name
    found += joiner.rest()
    text = b"".join(interval_lines(one, ("x", "y", "z")) for one in found).decode()
    expected = [("a", 0, 2, "y", 600), ("a", 2, 4, "z", 500), *[("b", 0, 1, "z", 250)] * 2]
    assert text == "".join("\t".join(map(str, row)) + "\n" for row in expected)
    assert interval_lines(found[0]).decode() == "a\t0\t2\t1\n" and not joiner.rest()


def test_values_of_standardised_labels_are_told_with_mean_and_deviation(put, tmp_path):
    """Of a network that was kept before its card had them with all digits."""
    note = "labels are standardised; mean and standard deviation in train: gc 7.937 and 0.6132"
    for name, notes in (("own", ("a remark", note)), ("other", ("a remark",))):
        task = put(task_of_kind("regression", notes=notes))
        network, record, _ = kept(job_of(MODELS["cnn"], task), tmp_path / name)
        done = dnabench("predict", tmp_path / name / "networks" / record.trial.id,
                        fasta(tmp_path / "a.fa", SEQS))  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = [n for n in reading(network) if "values are standardised" in n]
        if name == "other":
            assert not said and "standardised" not in done.stderr
        else:
            assert said and f"note: {said[0]}" in done.stderr
            assert said[0].endswith("; mean and standard deviation in train: gc 7.937 and 0.6132")


@pytest.mark.parametrize("pairs", [False, True])
def test_values_are_in_the_unit_of_the_labels(pairs, put, tmp_path):
    """Text has a millionth of the standard deviation, however small the labels are."""
    scale = np.array([(100.0, 12.5), (0.0, 2e-7), (3.0, 4e9)])
    note = "labels are standardised; mean and standard deviation in train: x 1 and 2"
    task = task_of_kind("regression", notes=(note,), scale=tuple(map(tuple, scale)), pairs=pairs)
    network, record, _ = kept(job_of(MODELS["cnn"], put(task)), tmp_path)
    texts = [SEQS[i] for i in range(len(SEQS))]
    seqs, other = texts[:3], texts[3:6] if pairs else None
    expected = scale[:, 0] + scale[:, 1] * network.logits(seqs, other=other)
    own = network.predict(seqs, other=other)
    np.testing.assert_allclose(own[list(task.classes)], expected, rtol=1e-9)
    columns = {"reference": seqs, "alternative": other} if pairs else {"sequence": seqs}
    pd.DataFrame(columns).to_csv(tmp_path / "a.csv", index=False)
    done = dnabench("predict", tmp_path / "networks" / record.trial.id, tmp_path / "a.csv")
    assert done.returncode == 0 and "standardised" not in done.stderr, done.stderr
    text = pd.read_csv(io.StringIO(done.stdout))[list(task.classes)].to_numpy()
    assert (np.abs(text - expected) <= 1e-5 * scale[:, 1]).all()
    (said,) = [n for n in reading(network) if "values are standardised" in n]  # of an export
    assert said.endswith("0 100 and 12.5, 1 0 and 2e-07, 2 3 and 4e+09")


def test_what_does_not_go_together_is_refused(put, tmp_path):
    per_base, record, _ = tiny_network(tmp_path, put)
    task = put(task_of_kind("regression"))
    whole, *_ = kept(job_of(MODELS["cnn"], task), tmp_path)
    path, out = fasta(tmp_path / "a.fa", SEQS), io.BytesIO()
    for network, form, asked, says in (
        (per_base, "csv", Asked(), "answers each base; name a file that ends in .bed or .bedgraph"),
        (whole, "bed", Asked(), "whole sequences; name a file that ends in .csv or .parquet"),
        (per_base, "bed", Asked(window=5), "--window: this network answers each base"),
        (per_base, "bedgraph", Asked(graph="exon"), "the classes are 0, 1, 2"),
        (whole, "csv", Asked(window=81), "--window 81: the network reads 80 bp at most"),
        (whole, "csv", Asked(calibrated=True), "a regression has no probabilities"),
    ):
        with pytest.raises(ValueError, match=says):
            predict_file(network, path, out, form, asked)
    path.write_text(">x\nACGT\n>y\nACGT\n>x\nACGT\n")
    with pytest.raises(ValueError, match=r"a\.fa: two sequences are named x, and intervals"):
        predict_file(per_base, path, out, "bed", Asked())
    done = dnabench("predict", tmp_path / "networks" / record.trial.id, tmp_path / "b.fa",
                    "--to", tmp_path / "b.bed")  # fmt: skip
    assert done.returncode == 2 and "b.fa: no such file" in done.stderr
    assert not (tmp_path / "b.bed").exists()


def test_columns_and_parts_have_the_names_that_help_says():
    class Card:
        kind, task = "binary", {"classes": ["no", "yes"]}

    found = columns(Card, np.array([[0.0, 2.0]]))
    assert [*found] == ["class", "margin", "p_no", "p_yes"] and found["class"][0] == "yes"
    assert Part(["x"], SEQS.take(np.array([0]))).whole
