"""Packed genomes, windows and exact places on them, against a slow reading of the same FASTA."""

import gzip

import numpy as np
import pytest

from dnabench.pretraining.mapping import places, seen
from dnabench.pretraining.regions import regions
from dnabench.pretraining.windows import draw, held_out, inside, merged, source, without
from dnabench.tasks.io import packed as module
from dnabench.tasks.io.packed import packed
from dnabench.types import Sequences

CODES = {letter: i for i, letter in enumerate("ACGTN")}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))


def random_contigs(lengths, seed=0, n=0.0):
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACGTacgtNn"))
    p = np.array([(1 - n) / 8] * 8 + [n / 2] * 2)
    return {
        f"chr{i + 1}": "".join(rng.choice(letters, length, p=p))
        for i, length in enumerate(lengths)
    }  # fmt: skip


def fasta(path, contigs, width=61):
    text = "".join(
        f">{name} [chromosome=c{i}]\n" + "\n".join(
            seq[a : a + width] for a in range(0, len(seq), width)
        ) + "\n"
        for i, (name, seq) in enumerate(contigs.items())
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)
    return path


def slowly(seq):
    """Codes and soft-masked bases of a string, letter by letter."""
    return [CODES[c.upper()] for c in seq], [c.islower() for c in seq]


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz"])
@pytest.mark.parametrize("chunk", [64, 1 << 22])
def test_windows_are_the_letters_of_the_file(tmp_path, monkeypatch, name, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    contigs = random_contigs([301, 500, 77, 64], n=0.05)
    genome = packed(fasta(tmp_path / name, contigs))
    assert genome.contigs == tuple(contigs) and genome.bp == 942
    assert genome.lengths.tolist() == [301, 500, 77, 64]
    assert genome.small == sum(c.islower() for seq in contigs.values() for c in seq)
    assert genome.number("c1") == 1 and genome.number("3") == 2
    for length in (1, 2, 33, 64):
        for i, seq in enumerate(contigs.values()):
            at = np.arange(len(seq) - length + 1)
            codes, small = genome.windows(genome.starts[i] + at, length)
            wanted = [slowly(seq[a : a + length]) for a in at]
            np.testing.assert_array_equal(codes, [c for c, _ in wanted])
            np.testing.assert_array_equal(small, [s for _, s in wanted])


def test_a_genome_is_packed_once_and_a_damaged_one_is_named(tmp_path):
    path = fasta(tmp_path / "g.fa", random_contigs([300]))
    told = []
    first = packed(path, lambda done, total: told.append(done))
    assert told[-1] == 300
    packed(path, lambda done, total: told.append(done))
    assert len(told) == 1
    (first.folder / "letters.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"is damaged; delete this folder"):
        packed(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nACGT\n>a\nAC\n", r"g\.fa:3: a second sequence is called a"),
        (">a\nACGT\nACXT\n", r"sequence a has 'X' at position 7 \(from 1\)"),
        (">a\n\n", "has no bases"),
        ("ACGT\n", "a FASTA record begins with '>name'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path, text, message):
    (tmp_path / "g.fa").write_text(text)
    with pytest.raises(ValueError, match=message):
        packed(tmp_path / "g.fa")
    assert not list((tmp_path / "cache").rglob("genome.json"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        packed(tmp_path / "other.fa")


def test_intervals_are_those_of_sets():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sets = []
        for _ in range(2):
            starts = rng.integers(0, 60, 4)
            sets.append(merged(np.stack([starts, starts + rng.integers(1, 9, 4)], 1)))
        a, b = ({i for s, e in part for i in range(s, e)} for part in sets)
        for found, wanted in ((without(*sets), a - b), (inside(*sets), a & b)):
            assert {i for s, e in found for i in range(s, e)} == wanted
            assert (found[1:, 0] > found[:-1, 1]).all()


def test_windows_keep_off_what_is_held_out_and_left_out(tmp_path):
    contigs = random_contigs([2000, 1500, 40])
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    left_out = np.array([[700, 760]])
    one = source(genome, 50, ["chr2"], left_out=left_out)
    assert one.holdout == ("chr2",)
    free = {i for s, e in one.free for i in range(s, e)}
    # one window of 50 bp between the left out bases and the next that is trained on
    assert free == {i for i in range(1951) if i + 50 <= 700 - 50 or i >= 760 + 50}
    rng = np.random.default_rng(1)
    codes, _ = draw([one], 400, rng)
    text = contigs["chr1"]
    known = {tuple(slowly(text[a : a + 50])[0]) for a in free}
    assert {tuple(row) for row in codes.tolist()} <= known
    held = held_out([one], 100)
    assert len(held.codes) == 30
    np.testing.assert_array_equal(held.codes[3], slowly(contigs["chr2"][150:200])[0])
    np.testing.assert_array_equal(held.small[3], slowly(contigs["chr2"][150:200])[1])


def test_windows_are_drawn_evenly_and_by_the_weights_of_genomes(tmp_path):
    a = packed(fasta(tmp_path / "a.fa", {"x": "A" * 1000}))
    c = packed(fasta(tmp_path / "c.fa", {"y": "C" * 200, "z": "G" * 200}))
    sources = [source(a, 100), source(c, 100, weight=901.0)]
    codes, _ = draw(sources, 4000, np.random.default_rng(0))
    share = [(codes[:, 0] == letter).mean() for letter in (0, 1, 2)]
    # 901 places in the first, the same weight for the second, whose contigs are alike
    np.testing.assert_allclose(share, [0.5, 0.25, 0.25], atol=0.03)


def test_windows_of_n_are_drawn_again_or_refused(tmp_path):
    text = "A" * 150 + "N" * 850
    genome = packed(fasta(tmp_path / "g.fa", {"x": text}))
    codes, _ = draw([source(genome, 100)], 200, np.random.default_rng(0))
    assert ((codes == 4).mean(1) <= 0.1).all() and (codes == 4).any()
    alone = packed(fasta(tmp_path / "n.fa", {"x": "N" * 500}))
    with pytest.raises(ValueError, match="more than 10% N only"):
        draw([source(alone, 100)], 3, np.random.default_rng(0))


def test_what_is_not_there_is_named(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([200])))
    with pytest.raises(ValueError, match=r"g\.fa has no sequence 'chr9'; it has chr1"):
        source(genome, 50, ["chr9"])
    with pytest.raises(ValueError, match="has no window of 500 bp to train on"):
        source(genome, 500)
    with pytest.raises(ValueError, match=r"no window is held out \(none named\); name a sequence"):
        held_out([source(genome, 50)], 10)


GFF = """chr1\ts\tgene\t401\t900\t.\t{strand}\t.\tID=g
chr1\ts\tmRNA\t401\t900\t.\t{strand}\t.\tID=t;Parent=g
chr1\ts\texon\t401\t500\t.\t{strand}\t.\tParent=t
chr1\ts\texon\t801\t900\t.\t{strand}\t.\tParent=t
chr1\ts\tCDS\t401\t500\t.\t{strand}\t0\tParent=t
chr1\ts\tCDS\t801\t900\t.\t{strand}\t0\tParent=t
"""


@pytest.mark.parametrize(("strand", "promoter"), [("+", (300, 400)), ("-", (900, 1000))])
def test_regions_are_around_exons_and_before_genes(tmp_path, strand, promoter):
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([960 if strand == "-" else 2000])))
    (tmp_path / "g.gff3").write_text(GFF.format(strand=strand))
    found = regions(f"{tmp_path}/g.gff3:exons=10,promoters=100", genome)
    end = min(promoter[1], genome.bp)
    assert sorted(map(tuple, found.tolist())) == sorted(
        [(390, 510), (790, min(910, genome.bp)), (promoter[0], end)]
    )
    near = source(genome, 20, regions=np.array([[390, 510]])).regions
    assert near.tolist() == [[380, 500]]  # windows whose middle is there
    with pytest.raises(ValueError, match="write FILE:exons=256,promoters=1000"):
        regions("genes.gff3", genome)
    other = packed(fasta(tmp_path / "o.fa", {"scaffold9": "ACGT" * 9}))
    with pytest.raises(ValueError, match=r"has no gene on a sequence of o\.fa: it has chr1"):
        regions(f"{tmp_path}/g.gff3:exons=10", other)


def test_sequences_are_found_on_both_strands_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr("dnabench.pretraining.mapping.CHUNK", 256)
    contigs = {k: v.upper() for k, v in random_contigs([900, 701], n=0.002).items()}
    contigs["chr2"] = contigs["chr2"][:300] + contigs["chr1"][100:180] + contigs["chr2"][380:]
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    wanted = [contigs["chr1"][100:180], contigs["chr1"][100:179] + "A", contigs["chr2"][5:45]]
    other = Sequences.parse(["ACGT" * 20, "ACGTACGT" * 3])
    turned = Sequences.parse([contigs["chr1"][850:900]]).reverse_complement()
    texts = [*wanted, other[0], other[1], turned[0]]
    found = places(Sequences.parse(texts), genome)
    slow = []
    for i, text in enumerate(texts):
        both = {text, Sequences.parse([text]).reverse_complement()[0]}
        for start, name in zip(genome.starts.tolist(), contigs, strict=True):
            body = contigs[name]
            slow += [
                (i, start + a, start + a + len(text)) for a in range(len(body))
                if body[a : a + len(text)] in both and len(text) >= 32 and "N" not in text
            ]  # fmt: skip
    assert sorted(zip(*map(np.ndarray.tolist, found), strict=True)) == sorted(slow)
    assert len(slow) >= 3
    one = source(genome, 50, ["chr2"])
    touched = seen(Sequences.parse(texts), genome, one.free, one.length)
    assert touched.tolist() == [True, False, False, False, False, True]


def test_repeats_are_found_everywhere(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", {"x": "ACGT" * 25}))
    found = places(Sequences.parse(["ACGT" * 10]), genome)
    # its reverse complement is itself
    assert found.start.tolist() == list(range(0, 61, 4))


def test_an_exact_name_counts_before_an_alias(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">1\nACGT\n>chr1\nACG\n>2 [chromosome=x]\nAC\n>3 [chromosome=x]\nA\n")
    genome = packed(path)
    assert genome.number("chr1") == 1 and genome.number("1") == 0 and genome.number("chr2") == 2
    with pytest.raises(ValueError, match=r"'x' may be any of 2, 3; write one of these"):
        genome.number("x")
