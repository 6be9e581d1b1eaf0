"""Embeddings of regions by class: probes/embed.py and probes/separation.py."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from kept_cases import put, tiny_network  # noqa: F401
from sklearn.metrics import balanced_accuracy_score, silhouette_score
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, training
from test_probe_variants import letters, rc

from dnabench.networks.embedding import Embedder, of_model, of_network
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes.changes import embedding_change
from dnabench.probes.embed import Windows, embeddings, kinds_of, language_source, windows_of
from dnabench.probes.embed_files import SHOWN, embed_figure
from dnabench.probes.separation import (
    MATCHED,
    comparable,
    components,
    folds_of,
    gc_of,
    matched,
    separation,
    umap_of,
    words_of,
)
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed
from dnabench.tasks.io.regions import read_regions
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture


def regions(tmp_path, *rows):
    path = tmp_path / "r.bed"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return read_regions(path)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("dnabert2", "gena_lm")])
def test_every_family_embeds_the_bases_of_a_region_on_both_strands(name, tmp_path):
    seq = letters(400)
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq, "chr2": rc(seq)}))
    rows = [("1", 100, 112, "a"), ("1", 366, 378, "b"), ("2", 288, 300, "a")]
    windows = windows_of(regions(tmp_path, *rows), genome, 60, ["a", "b", "a"], 10)
    assert windows.first.tolist() == [24, 24, 24]
    assert (windows.codes[1, 58:] == 4).all()  # beyond the end
    source = of_model(name, "scratch", 60, options=CASES[name])
    x = embeddings(source, windows)
    assert x.shape[0] == 3 and np.isfinite(x).all() and np.abs(x[0] - x[1]).max() > 1e-5
    # the same bases on the other strand, in a window that is the other's reverse complement
    np.testing.assert_allclose(x[0], x[2], atol=2e-5)


def test_a_mean_over_the_region_alone(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "binary", 60)[0]
    seq = letters(200)
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    windows = windows_of(
        regions(tmp_path, ("1", 97, 103), ("1", 50, 51)), genome, 60, ["a", "b"], 10
    )
    source = of_network(network)
    found = embeddings(source, windows)
    each = [
        Embedder(source._replace(key=""), 0, "none")(Sequences.parse([text]))
        for text in (seq[70:130], rc(seq[70:130]))
    ]
    expected = (each[0][27:33].mean(0) + each[1][27:33].mean(0)) / 2
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_words_and_gc_are_those_of_both_strands():
    codes = Sequences.parse(["ACGTNGGCC"]).codes[None]
    assert gc_of(codes).tolist() == [pytest.approx(6 / 8)]
    words = words_of(codes)[0]
    assert words.sum() == pytest.approx(1) and (words > 0).sum() == 2  # each is its own opposite
    index = int("".join("0123"["ACGT".index(b)] for b in "GGCC"), 4)
    assert words[index] == pytest.approx(0.5)


def test_matching_takes_as_many_of_every_class_at_each_gc():
    rng = np.random.default_rng(0)
    kinds = np.repeat(["a", "b"], [300, 200])
    gc = np.concatenate([rng.normal(0.4, 0.05, 300), rng.normal(0.5, 0.05, 200)])
    some = matched(gc, kinds)
    assert (kinds[some] == "a").sum() == (kinds[some] == "b").sum() > 50
    assert abs(gc[some & (kinds == "a")].mean() - gc[some & (kinds == "b")].mean()) < 0.005


def planted(n=1000, apart=3.0, by_gc=False):
    """Windows of two classes; x tells them apart, or follows GC alone."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(["a", "b"], n // 2)
    high = np.where(kinds == "b", 0.54, 0.46)[:, None]
    strong = rng.random((n, 200)) < high
    codes = np.where(strong, rng.integers(1, 3, (n, 200)), 3 * rng.integers(0, 2, (n, 200)))
    start = rng.permutation(n) * 1_000
    windows = Windows(["chr1"] * n, start, start + 200, codes.astype(np.uint8), kinds, {})
    x = rng.normal(size=(n, 5)) * 0.1 + 1
    x[:, 0] += 10 * (gc_of(windows.own) - 0.5) if by_gc else apart * (kinds == "b")
    return windows, x


def test_numbers_are_those_of_scikit_learn():
    windows, x = planted()
    found = separation(windows, x)
    first = found.rows[0]
    assert first.silhouette == pytest.approx(silhouette_score(x, windows.kinds, metric="cosine"))
    assert found.silhouettes.mean() == pytest.approx(first.silhouette)
    assert first.accuracy == pytest.approx(balanced_accuracy_score(windows.kinds, found.predicted))
    assert first.accuracy > 0.99 and first.chance == 0.5
    low, high = first.silhouette_interval
    assert low < first.silhouette < high
    assert [row.features for row in found.rows[:3]] == ["network", "GC", "words of 4 bp"]


def test_what_follows_gc_alone_is_lost_when_gc_is_matched():
    windows, x = planted(by_gc=True)
    rows = {(row.regions, row.features): row for row in separation(windows, x).rows}
    assert rows["all", "network"].accuracy > 0.8
    assert rows[MATCHED, "network"].accuracy < 0.65
    windows, x = planted()
    rows = {(row.regions, row.features): row for row in separation(windows, x).rows}
    assert rows[MATCHED, "network"].accuracy > 0.99 and rows[MATCHED, "GC"].accuracy < 0.65


def test_composition_is_that_of_the_region_and_not_of_what_lies_around():
    rng, n = np.random.default_rng(0), 400
    kinds = np.repeat(["a", "b"], n // 2)
    codes = rng.integers(0, 4, (n, 200)).astype(np.uint8)
    codes[:, 50:150] = np.where(kinds == "b", 1, 0)[:, None]  # poly-C in poly-A's place
    codes[:, :50] = codes[:, 150:] = np.where(kinds == "b", 3, 2)[:, None]  # GC is the same then
    start = rng.permutation(n) * 1_000
    windows = Windows(["c"] * n, start, start + 100, codes, kinds, {})
    assert gc_of(windows.own).tolist() == [0.0] * 200 + [1.0] * 200
    found = separation(windows, rng.normal(size=(n, 3)))
    assert found.rows[1].features == "GC" and found.rows[1].silhouette == pytest.approx(1)
    assert not found.matched.any() and len(found.rows) == 3
    assert "0 regions of every class" in found.unmatched


def test_no_region_answers_for_a_window_that_it_shares():
    windows, _ = planted(300)
    start = np.arange(300) * 100  # end to end, windows twice as wide
    windows = replace(windows, start=start, end=start + 100)
    with pytest.raises(ValueError, match="lie in 3 stretches"):
        folds_of(windows)
    start = np.arange(300) * 250
    for width in (200, 2000):
        codes = np.zeros((300, width), np.uint8)
        windows = replace(windows, start=start, end=start + 100, codes=codes)
        dropped = 0
        for answer, asked in folds_of(windows):
            apart = np.abs(start[answer][:, None] - start[asked]).min(1)
            assert apart.min() >= width and not set(answer) & set(asked)
            others = np.setdiff1d(np.arange(300), asked)
            left = np.abs(start[others][:, None] - start[asked]).min(1) >= width
            np.testing.assert_array_equal(np.sort(answer), others[left])
            dropped += (~left).sum()
        assert (dropped > 0) == (width == 2000)
    # the same places on two sequences are no neighbours
    two = replace(windows, chrom=[f"c{i // 40 % 2}" for i in range(300)])
    assert min(len(answer) for answer, _ in folds_of(two)) > 100
    with pytest.raises(ValueError, match="overlap those of all others"):
        folds_of(replace(windows, codes=np.zeros((300, 90_000), np.uint8)))


def test_few_regions_are_asked_of_fewer_neighbours():
    rng = np.random.default_rng(0)
    start = np.arange(10) * 20_000
    windows = Windows(
        ["c"] * 10, start, start + 10, rng.integers(0, 4, (10, 60)).astype(np.uint8),
        np.array(["a", "b"] * 5), {},
    )  # fmt: skip
    found = separation(windows, rng.normal(size=(10, 3)))
    assert {row.neighbours for row in found.rows[:3]} == {4}  # half of the eight that answer


def test_what_is_left_out_is_counted(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": letters(300) + "N" * 8 + letters(292)}))
    rows = [("1", 20 * i + 60, 20 * i + 68) for i in range(10)] + [("1", 300, 308)]
    kinds = ["a", "b"] * 4 + ["rare", None, "a"]
    windows = windows_of(regions(tmp_path, *rows), genome, 100, kinds, 100)
    with pytest.raises(ValueError, match="lie in 1 stretches"):
        comparable(windows)
    windows = comparable(replace(windows, start=windows.start * 500, end=windows.end * 500))
    assert windows.kinds.tolist() == ["a", "b"] * 4
    said = {why: n for why, n in windows.left_out.items() if n}
    assert [*said.values()] == [1, 1, 1] and "the only region of its class (rare)" in said
    assert "on sequences that the annotation lacks" in said
    windows = windows_of(regions(tmp_path, *rows[:3]), genome, 60, ["a", "a", "b"], 10)
    with pytest.raises(
        ValueError, match=r"1 class has two regions or more, .* column 4 .* one region: b"
    ):
        comparable(windows)


def test_windows_longer_than_a_network_reads_are_refused(tmp_path, put):  # noqa: F811
    with pytest.raises(ValueError, match=r"--length 99999: dnabert-3 reads 5.. bp at most"):
        language_source("dnabert-3", 99_999, "scratch")
    tiny_network(tmp_path, put, "convnova-386k", "binary", 60)
    folder = next(path.parent for path in tmp_path.rglob("network.json"))
    with pytest.raises(ValueError, match=r"reads .* bp at most"):
        language_source(str(folder), 1 << 30)


def test_as_many_classes_are_shown_as_there_are_colours():
    kinds = np.repeat([f"k{i}" for i in range(9)], range(20, 11, -1))
    at = np.random.default_rng(0).normal(size=(len(kinds), 2))
    figure = embed_figure({"PCA": (at, "")}, kinds)
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    colours = [handle.get_color() for handle in legend.legend_handles]
    assert len(names) == SHOWN + 1 and names[-1] == "other, of 2 classes (25)"
    assert len(set(colours)) == len(colours)


def test_components_and_umap():
    _, x = planted()
    at, shares = components(x)
    centred = x - x.mean(0)
    s = np.linalg.svd(centred, compute_uv=False)
    assert shares[0] == pytest.approx(s[0] ** 2 / (s**2).sum())
    assert np.abs(at[:, 0]).max() > np.abs(at[:, 1]).max()


@pytest.mark.slow
def test_umap_is_the_same_again_and_keeps_classes_apart():
    windows, x = planted(100)
    one, two = umap_of(x), umap_of(x)
    np.testing.assert_array_equal(one, two)
    assert silhouette_score(one, windows.kinds) > 0.5


def test_classes_by_annotation_and_bad_input(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([4000])))
    gff = tmp_path / "g.gff3"
    rows = [("+", 2001, 2300), ("-", 2601, 2900)]
    gff.write_text(
        "".join(f"chr1\tx\tCDS\t{a}\t{b}\t.\t{s}\t0\tID=c{a};Parent=t{a}\n" for s, a, b in rows)
    )
    places = [(2050, 2060), (2290, 2310), (2700, 2710), (1500, 1510), (100, 110), (3000, 3010)]
    found = regions(tmp_path, *(("1", a, b) for a, b in places))
    kinds = kinds_of(read_annotation(gff), genome, found)
    assert kinds == ["CDS +", "", "CDS -", "promoter", "intergenic", "promoter"]
    other = packed(fasta(tmp_path / "h.fa", random_contigs([4000, 4000])))
    two = regions(tmp_path, ("1", 100, 110), ("2", 100, 110))
    assert kinds_of(read_annotation(gff), other, two) == ["intergenic", None]
    found = regions(tmp_path, *(("1", a, b) for a, b in places))
    windows = windows_of(found, genome, 60, kinds, 4)
    assert len(windows.kinds) == 4
    assert windows.left_out["of several kinds, or of none"] == 1
    assert windows.left_out["drawn from (--most)"] == 1
    for row, why in (
        (("1", 3990, 4001), "ends beyond its sequence"),
        (("1", 0, 100), r"longer than a window of .* give a larger --length"),
    ):
        with pytest.raises(ValueError, match=why):
            windows_of(regions(tmp_path, row), genome, 60, ["a"], 10)
    with pytest.raises(ValueError, match="two classes or more"):
        windows_of(found, genome, 60, ["a"] * 6, 10)
    few = Windows(
        ["c"] * 20, np.arange(20), np.arange(20) + 9, np.zeros((20, 60), np.uint8),
        np.repeat(["a", "b"], 10), {},
    )  # fmt: skip
    with pytest.raises(ValueError, match="lie in 1 stretches of 10 kbp"):
        separation(few, np.random.default_rng(0).normal(size=(20, 3)))


def test_windows_are_padded_as_the_network_was_trained(tmp_path, put):  # noqa: F811
    network = tiny_network(
        tmp_path, put, "convnova-386k", "per_base", 60, options=CASES["convnova-386k"],
        padding="left-n",
    )[0]  # fmt: skip
    folder = tmp_path / "networks" / network.card.record.trial.id
    source, length = language_source(str(folder), 40)
    assert (length, source.length, source.padded) == (40, 40, 60)
    text = letters(40)
    found = embedding_change(source, "net").windows(Sequences.parse([text]).codes[None])
    ids = Sequences.parse(["N" * 20 + text]).codes[None]
    with torch.no_grad():
        expected = network.net.backbone(torch.from_numpy(ids), None)[0].mean(0)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_model_from_a_folder_is_found_wherever_it_is(tmp_path, monkeypatch):
    """Its name in the card, hf:./NAME, is one of the folder that the training began in."""
    from test_export_language import trained

    card, _ = trained(tmp_path, "llama-6mer")
    assert card["model"] == "hf:./llama-6mer"
    monkeypatch.chdir(tmp_path / "net")
    source, length = language_source(str(tmp_path / "net"), 0)
    assert (source.model.name, length) == (card["model"], 60)
    assert Embedder(source, 0, "mean")(Sequences.parse([letters(60)])).shape == (1, 32)


@pytest.mark.slow
def test_the_command(tmp_path):
    fasta(tmp_path / "g.fa", random_contigs([80_000, 2000]))
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    rows = [f"1\t{i}\t{i + 20}\t{'ab'[i // 500 % 2]}\n" for i in range(500, 79_000, 500)]
    (tmp_path / "r.bed").write_text("".join(rows))
    words = ["probe", "embed", tmp_path / "net", "--bed", tmp_path / "r.bed", "--device", "cpu"]
    words += ["--genome", tmp_path / "g.fa", "--to", tmp_path / "out"]
    said = dnabench(*words)
    assert said.returncode == 0, said.stderr
    assert "windows of 60 bp" in said.stdout and "GC-matched" in said.stdout
    table = pq.read_table(tmp_path / "out" / "embed.parquet").to_pandas()
    assert len(table) == len(rows) and {"pc1", "pc2", "e0", "class"} <= set(table)
    about = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert about["rows"][0]["n"] == len(rows) and about["window"] == 60
    assert (tmp_path / "out" / "embed.png").stat().st_size > 1000
    source, length = language_source(str(tmp_path / "net"), 0)
    assert length == 60 and source.length == 60
    source, length = language_source(str(tmp_path / "net"), 80)
    assert (length, source.length, source.trained) == (80, 80, 60)
    assert "60 bp" in embedding_change(source, "net").how
    with pytest.raises(ValueError, match=r"--length 1000001: .* reads 1,000,000 bp at most"):
        language_source(str(tmp_path / "net"), 1_000_001)
    said = dnabench(*words, "--length", "80")
    assert "80 bp are more than the windows of its training, 60 bp" in said.stdout
    with pytest.raises(ValueError, match="no kept network; leave it out"):
        language_source(str(tmp_path / "net"), 60, code="net.py:Net")
    (tmp_path / "r.bed").write_text("".join(rows).replace("b\n", "a\n"))
    assert "regions, of 1 classes (a); two classes" in dnabench(*words).stderr.replace("\n", " ")
