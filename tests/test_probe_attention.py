"""Maps of attention: probes/attention.py."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from test_genomes import own_cache
from test_pretraining import BERT, CASES, training
from test_probe_variants import letters

from dnabench.cli.probe_dependency import read_region
from dnabench.networks.embedding import of_model
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes import attention as _attention
from dnabench.probes.attention import Attention, attention, of_bases, profile, rollout
from dnabench.probes.attention_files import distance_figure, write
from dnabench.probes.figures import Along, map_figure
from dnabench.tokens.bpe import save, train_bpe
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture
TRANSFORMERS = {
    "dnabert-3": {**BERT, "layers": 2}, "nt_h": BERT, "ntv2-50m": {**BERT, "layers": 2},
}  # fmt: skip
LENGTH = 40


def codes_of(text):
    return Sequences.parse([text]).codes


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_weights_are_those_that_the_network_uses(name, monkeypatch):
    """The weights times the values are what PyTorch's attention returned."""
    source = of_model(name, "scratch", LENGTH, options=TRANSFORMERS[name])
    plain, calls = torch.nn.functional.scaled_dot_product_attention, []

    def kept(q, k, v, *args, **kwargs):
        calls.append((v, plain(q, k, v, *args, **kwargs)))
        return calls[-1][1]

    found = attention(source, codes_of(letters(LENGTH)))
    options = TRANSFORMERS[name]
    assert found.weights.shape[:2] == (options["layers"], options["heads"])
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert found.end[found.own][-1] == LENGTH and found.start[found.own][0] == 0
    assert (found.start == -1).sum() == (2 if name.startswith("dnabert") else 1)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kept)
    encoded = source.tokenizer.shortened(Sequences.parse([letters(LENGTH)]), LENGTH, "mask", 0)
    with torch.no_grad():
        source.net.eval()(torch.from_numpy(encoded.ids), None)
    assert len(calls) == len(found.weights)
    for own, (v, out) in zip(found.weights, calls, strict=True):
        np.testing.assert_allclose(torch.from_numpy(own) @ v[0], out[0], atol=1e-5)


@pytest.mark.parametrize("name", ["dnabert2", "gena_lm"])
def test_masks_and_biases_are_part_of_the_weights(name, tmp_path):
    save(train_bpe(Sequences.parse([letters(2000, 3)]), 64), tmp_path / "t.json")
    options = {**CASES[name], "tokenizer": f"bpe:{tmp_path / 't.json'}"}
    found = attention(of_model(name, "scratch", LENGTH, options=options), codes_of(letters(LENGTH)))
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert found.end.max() == LENGTH
    assert np.nansum(of_bases(found, rollout(found), LENGTH)) > 0


@pytest.mark.parametrize(
    "name", ["convnova-386k", "gpn-smol", "hyenadna-tiny-1k", "caduceus_ph", "unet"]
)
def test_networks_without_attention_are_refused(name):
    source = of_model(name, "scratch", LENGTH, options=CASES[name])
    with pytest.raises(ValueError, match="no attention between tokens"):
        attention(source, codes_of(letters(LENGTH)))


def test_too_large_maps_are_refused_before_they_are_made(monkeypatch):
    calls, plain = [], torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        out = plain(*args, **kwargs)
        calls.append(1)
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    options = TRANSFORMERS["dnabert-3"]
    source = of_model("dnabert-3", "scratch", LENGTH, options=options)
    monkeypatch.setattr(_attention, "LARGEST", options["heads"] * (LENGTH + 2) ** 2)
    with pytest.raises(ValueError, match=r"of 2 layers, .* more than fits; name a shorter"):
        attention(source, codes_of(letters(LENGTH)))
    assert len(calls) == 1  # the first layer alone


def attending(weights, start=None, end=None):
    n = len(weights)
    start = np.arange(n) if start is None else np.array(start)
    end = start + 1 if end is None else np.array(end)
    return Attention(np.array(weights, np.float32)[None, None], start, end)


def test_distances_are_in_bins_that_double():
    shift = np.eye(16, k=5)
    shift[11:, 0] = 1  # the last five look at the first base: 11 to 15 bp
    found = profile(attending(shift))
    assert found.low.tolist() == [0, 1, 2, 4, 8] and found.high.tolist() == [1, 2, 4, 8, 16]
    np.testing.assert_allclose(found.share[0, 0], [0, 0, 0, 11 / 16, 5 / 16])
    assert found.mean[0, 0] == pytest.approx((11 * 5 + 11 + 12 + 13 + 14 + 15) / 16)
    assert found.even.sum() == pytest.approx(1) and found.even[0] == pytest.approx(1 / 16)
    even = profile(attending(np.full((16, 16), 1 / 16)))
    np.testing.assert_allclose(even.share[0, 0], even.even)


def test_special_tokens_are_left_out_and_words_are_their_bases():
    """[CLS], a word of three bases, one base."""
    weights = [[0.2, 0.4, 0.4], [0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]
    found = attending(weights, [-1, 0, 3], [0, 3, 4])
    assert found.to_special[0, 0] == pytest.approx(0.25)
    of = of_bases(found, found.weights[0, 0], 4)
    np.testing.assert_allclose(of[0], [0.25 / 3, 0.25 / 3, 0.25 / 3, 0.25])
    np.testing.assert_allclose(of[3], [0.5 / 3, 0.5 / 3, 0.5 / 3, 0.5])
    assert profile(found).mean[0, 0] == pytest.approx(2 * (0.5 + 0.5) / 2)  # of 2 bp apart


def test_the_figure_of_distances_has_the_bins_that_tokens_have_up_to_the_largest_share():
    found = profile(attending(np.full((16, 16), 1 / 16), 4 * np.arange(16), 4 * np.arange(1, 17)))
    assert found.low.tolist()[:4] == [0, 1, 2, 4] and (found.even[1:3] == 0).all()
    (ax,) = distance_figure(found).axes
    head, even = ax.lines
    there = [0, *range(3, len(found.low))]
    assert head.get_xdata().tolist() == even.get_xdata().tolist() == there
    np.testing.assert_allclose(head.get_ydata(), found.share[0, 0][there])
    assert head.get_ydata().max() < ax.get_ylim()[1] < 1.1 * head.get_ydata().max()
    assert [x.get_text() for x in ax.get_xticklabels()] == [f"{found.low[i]}" for i in there]


def test_colours_of_a_map_end_below_its_largest_values():
    values = np.arange(100.0).reshape(10, 10)
    for beyond, most in ((0.0, 99), (0.1, 89.1)):
        figure = map_figure("x", "share", Along(5, 1), values, ("a", "b"), beyond=beyond)
        image = figure.axes[0].images[0]
        assert image.get_clim() == pytest.approx((0, most))
        assert (image.colorbar.extend == "max") == bool(beyond)
    assert map_figure("x", "", Along(5, 1), 0 * values, ("a", "b")).axes[0].images[0].get_clim()


def test_rollout_multiplies_layers_with_residuals():
    one, two = np.array([[1.0, 0], [1, 0]]), np.array([[0, 1.0], [0, 1]])
    found = Attention(np.array([[one], [two]], np.float32), np.arange(2), np.arange(1, 3))
    half = np.eye(2) / 2
    np.testing.assert_allclose(rollout(found), (two / 2 + half) @ (one / 2 + half))


def test_a_sequence_of_the_other_strand_has_the_positions_of_its_id(tmp_path):
    (tmp_path / "one.fa").write_text(f">chr1:101-130(-)\n{letters(30)}\n")
    place, codes, *_ = read_region(None, "", tmp_path / "one.fa")
    found = attention(of_model("dnabert-3", "scratch", 30, options=BERT), codes)
    mean = of_bases(found, found.weights.mean((0, 1)), 30)
    write(found, profile(found), {"mean": mean}, place, {}, tmp_path)
    table = pq.read_table(tmp_path / "maps.parquet").to_pandas()
    assert {*table["from"]} == set(range(100, 130)) and {*table["chrom"]} == {"chr1"}
    i, j = 129 - table["from"], 129 - table["to"]
    np.testing.assert_allclose(table["mean"], mean[i, j])
    assert np.nanmax(np.abs(mean - mean[::-1, ::-1])) > 1e-4  # turned round it is another map


@pytest.mark.slow
def test_the_command(tmp_path):
    pretrain(training(tmp_path, "dnabert-3", steps=2, looks=1), tmp_path / "net")
    (tmp_path / "g.gff3").write_text("chr1\tx\tgene\t1\t120\t.\t+\t.\tID=g\n")
    words = ["probe", "attention", tmp_path / "net", "--device", "cpu", "--to", tmp_path / "out"]
    words += ["--genome", tmp_path / "g.fa", "--region"]
    said = dnabench(*words, "chr1:101-150", "--gff", tmp_path / "g.gff3")
    assert said.returncode == 0, said.stderr
    assert "mean distance" in said.stdout
    maps = pq.read_table(tmp_path / "out" / "maps.parquet").to_pandas()
    assert len(maps) == 50 * 50 and maps["from"].min() == 100 and maps["to"].max() == 149
    table = pq.read_table(tmp_path / "out" / "distance.parquet").to_pandas()
    np.testing.assert_allclose(table.groupby(["layer", "head"])["share"].sum(), 1)
    assert json.loads((tmp_path / "out" / "attention.json").read_text())["tokens"] == 50
    assert (tmp_path / "out" / "rollout.png").stat().st_size > 1000
    assert "training" not in said.stdout
    longer = dnabench(*words, "chr1:101-200")
    assert "100 bp are more than the windows of its training, 60 bp" in longer.stdout
    wrong = dnabench(*words, "chr1:101-700")
    assert "the region has 600 bp: " in wrong.stderr and "reads 512 bp at most" in wrong.stderr
