"""Alleles on a genome, and areas of labelled scores: probes/alleles.py and probes/labelled.py."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dnabench.probes.alleles import (
    COMPLEMENT,
    PALINDROMIC,
    SAME,
    SWAPPED,
    UNKNOWN,
    WRONG,
    Allele,
    compare,
    left_normalised,
    on_genome,
)  # fmt: skip
from dnabench.probes.labelled import areas
from dnabench.tasks.io.packed import packed


@pytest.mark.parametrize(
    ("at", "ref", "alt", "before", "expected"),
    [
        (5, "A", "C", "GGG", (5, "A", "C")), (5, "AC", "AT", "GGG", (6, "C", "T")),
        (5, "CA", "TA", "", (5, "C", "T")), (8, "ACA", "A", "GGGCACAC", (2, "GCA", "G")),
        (3, "T", "TT", "GTT", (0, "G", "GT")), (4, "TT", "T", "", (4, "T", "")),
    ],
)  # fmt: skip
def test_left_normalised(at, ref, alt, before, expected):
    assert left_normalised(at, ref, alt, before) == expected


def test_how_ref_compares_with_the_genome():
    said = {
        ("A", "C", "A"): SAME, ("A", "C", "C"): SWAPPED, ("A", "C", "T"): COMPLEMENT,
        ("A", "C", "G"): COMPLEMENT, ("A", "T", "T"): PALINDROMIC, ("C", "G", "G"): PALINDROMIC,
        ("A", "T", "A"): SAME, ("A", "T", "C"): WRONG, ("A", "C", "N"): UNKNOWN,
    }  # fmt: skip
    for (ref, alt, has), expected in said.items():
        assert compare(ref, alt, has, has) == expected
    assert compare("AT", "A", "AC", "A") == SWAPPED
    assert compare("AC", "A", "GT", "G") == COMPLEMENT
    # an N in the place of ALT matters where the other bases fit
    for alt, has, expected in (
        ("CGG", "CNN", UNKNOWN), ("CTG", "CNN", UNKNOWN), ("GGG", "CNN", UNKNOWN),
        ("TGT", "CNN", WRONG), ("TGT", "TNN", UNKNOWN), ("GGG", "TNN", COMPLEMENT),
    ):  # fmt: skip
        assert compare("A", alt, has[0], has) == expected, (alt, has)


def test_a_wrong_ref_at_the_end_of_a_sequence_is_wrong(tmp_path, monkeypatch):
    """ALT reaches beyond the end, where nothing is unknown."""
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    fasta = tmp_path / "g.fa"
    fasta.write_text(">s\n" + "ACGT" * 5 + "C\n>n\n" + "ACGT" * 5 + "CNN\n")
    genome = packed(fasta)
    said = [("s", "A", "AGG"), ("s", "A", "CGG"), ("n", "A", "CGG"), ("s", "G", "GGG"),
            ("s", "C", "CGG")]  # fmt: skip
    alleles = [Allele(1, name, 20, "", ref, alt, "") for name, ref, alt in said]
    found = [one.said for one in on_genome(alleles, genome, 16, True)]
    assert found == [WRONG, WRONG, UNKNOWN, COMPLEMENT, SAME]


def test_areas_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.random(400) < 0.2
    scores = np.round(rng.normal(size=400) - y, 1)  # ties
    chroms = [f"chr{i % 7}" for i in range(400)]
    labels = [*map(str, y.astype(int))]
    found = areas(scores, labels, chroms, at=rng.integers(0, 30_000_000, 400))
    assert found.auprc == pytest.approx(average_precision_score(y, -scores), abs=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(y, -scores), abs=1e-12)
    assert found.prevalence == y.mean() and found.chromosomes == 7
    assert found.auprc_interval[0] < found.auprc < found.auprc_interval[1]
    assert areas(scores, labels, chroms, "plus").auroc == pytest.approx(1 - found.auroc)
    assert areas(scores, labels, chroms, "abs").auroc == pytest.approx(
        roc_auc_score(y, abs(scores))
    )
    assert areas(scores, labels, ["chr1"] * 400).auprc_interval is None
    scores[:3], labels[3] = np.nan, "."
    part = areas(scores, labels, chroms)
    assert (part.variants, part.unscored, part.unlabelled) == (396, 3, 1)
    with pytest.raises(ValueError, match="'yes' is neither 0 nor 1"):
        areas(scores, ["yes", *labels[1:]], chroms)
    with pytest.raises(ValueError, match="both classes are needed"):
        areas(scores, ["0"] * 400, chroms)
