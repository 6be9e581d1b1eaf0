"""Dinucleotide shuffles: exact counts, every sequence equally likely, files that hold both."""

import itertools
from collections import Counter

import numpy as np
import pytest
from test_genomes import fasta, own_cache, random_contigs

from dnabench.pretraining.shuffling import shuffled, shuffled_genome
from dnabench.tasks.io.packed import packed

__all__ = ["own_cache"]  # a fixture


def pairs(codes):
    return Counter(itertools.pairwise(np.asarray(codes).tolist()))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 7, 50, 20_000])
@pytest.mark.parametrize("letters", [1, 2, 4])
def test_pairs_are_as_frequent_as_before(length, letters):
    rng = np.random.default_rng(length)
    codes = rng.choice(letters, length, p=np.arange(1, letters + 1) / sum(range(letters + 1)))
    codes = codes.astype(np.uint8)
    out = shuffled(codes, rng)
    assert pairs(out) == pairs(codes) and out.dtype == np.uint8
    if length:
        assert (out[0], out[-1]) == (codes[0], codes[-1])
    if length > 1000 and letters > 1:
        assert (out != codes).mean() > 0.2


@pytest.mark.parametrize("text", ["0102012", "001101", "0123012301", "3213210012", "0000100"])
def test_every_sequence_with_these_pairs_is_equally_likely(text):
    """Against all orders of the letters, by a chi-squared test at 1e-4."""
    from scipy.stats import chisquare

    codes = np.array(list(map(int, text)), np.uint8)
    every = {
        (int(codes[0]), *middle)
        for middle in set(itertools.permutations(codes[1:].tolist()))
        if pairs((codes[0], *middle)) == pairs(codes)
    }
    rng = np.random.default_rng(1)
    found = Counter(tuple(shuffled(codes, rng).tolist()) for _ in range(400 * len(every)))
    assert found.keys() == every
    if len(every) > 1:
        assert chisquare(list(found.values())).pvalue > 1e-4


def test_a_shuffled_genome_keeps_names_lengths_n_and_small_letters(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([5001, 320, 80, 7], n=0.02)))
    path = shuffled_genome(genome, 0, tmp_path / "other" / "g.fa")
    text = path.read_bytes()
    made = packed(path)
    assert made.contigs == genome.contigs and made.lengths.tolist() == genome.lengths.tolist()
    for start, length in zip(genome.starts, genome.lengths, strict=True):
        (a, small_a), (b, small_b) = (g.windows(np.array([start]), length) for g in (genome, made))
        np.testing.assert_array_equal(small_a, small_b)
        np.testing.assert_array_equal(a == 4, b == 4)
        assert pairs(a[0]) == pairs(b[0])
    assert made.sha256 != genome.sha256
    assert shuffled_genome(genome, 1, path).read_bytes() == text  # what is there stays
    path.unlink()
    assert shuffled_genome(genome, 0, path).read_bytes() == text
    path.unlink()
    assert shuffled_genome(genome, 1, path).read_bytes() != text
