"""BED and narrowPeak with a genome: windows, strands, names of sequences, what is left out."""

import gzip
from collections import Counter

import numpy as np
import pytest
from conftest import dnabench
from yeast_part import write_yeast

from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.files import task_from_path
from dnabench.tasks.io.regions import read_regions
from dnabench.types import OwnData

COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Two sequences of 30,000 bp, soft-masked in parts; and what they are in capitals."""
    rng = np.random.default_rng(3)
    folder, texts = tmp_path_factory.mktemp("genome"), {}
    for name in ("1", "2"):
        share = np.repeat(rng.uniform(0.2, 0.6, 30), 1000)  # of G and C
        strong = rng.random(30_000) < share
        letters = np.where(strong, rng.choice(list("CG"), 30_000), rng.choice(list("AT"), 30_000))
        text = "".join(letters)
        texts[name] = text[:12_000] + "N" * 500 + text[12_500:]
    soft = {n: t[:5_000] + t[5_000:9_000].lower() + t[9_000:] for n, t in texts.items()}
    with gzip.open(folder / "g.fa.gz", "wt") as file:
        file.write("".join(f">{n} a sequence\n{t}\n" for n, t in soft.items()))
    return folder / "g.fa.gz", texts


def written(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def rows_of(task):
    """Id -> (sequence, label) of all splits."""
    splits = [task.load(split) for split in task.counts]
    return {
        str(name): (split.seqs[i], int(split.y[i]))
        for split in splits for i, name in enumerate(split.ids)
    }  # fmt: skip


def scattered(n, seed=0, length=30):
    """Regions of chr1 and chr2 away from the ends and from N."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([rng.integers(300, 11_000, n), rng.integers(13_000, 29_000, n)])
    return [(f"chr{1 + i % 2}", s, s + length, f"r{i}", 0, "+-."[i % 3])
            for i, s in enumerate(starts)]  # fmt: skip


def test_windows_are_the_genome_around_the_middle_on_the_strand(genome, tmp_path):
    fasta, texts = genome
    rows = scattered(20)
    task = task_from_path(
        written(tmp_path / "a.bed", rows), own=OwnData(genome=str(fasta), length=101)
    )
    found = rows_of(task)
    for chrom, start, end, _, _, strand in rows:
        text = texts[chrom.removeprefix("chr")]
        if strand == "-":
            middle = end - 1 - (end - start) // 2
            expected = text[middle - 50 : middle + 51].translate(COMPLEMENT)[::-1]
        else:
            middle = start + (end - start) // 2
            expected = text[middle - 50 : middle + 51]
        sign = "-" if strand == "-" else "+"
        assert found[f"{chrom}:{middle - 50}-{middle + 51}({sign})"] == (expected, 1)


@pytest.mark.parametrize(
    ("length", "forward", "reverse"),
    [(40, "1980-2020", "2981-3021"), (41, "1980-2021", "2980-3021"), (0, "2000-2031", "3000-3031")],
)
def test_the_middle_has_one_place_whatever_the_strand(genome, tmp_path, length, forward, reverse):
    fasta, texts = genome
    bp = 1 if length else 31
    rows = [("chr1", 2_000, 2_000 + bp, ".", 0, "+"), ("chr1", 3_000, 3_000 + bp, ".", 0, "-")]
    own = OwnData(genome=str(fasta), length=length)
    found = rows_of(task_from_path(written(tmp_path / "a.bed", [*rows, *scattered(20)]), own=own))
    one, two = found[f"chr1:{forward}(+)"][0], found[f"chr1:{reverse}(-)"][0]
    assert len(one) == len(two) == (length or bp)
    half = len(one) // 2
    middle = texts["1"][3_000 + bp - 1 - bp // 2]
    assert one[half] == texts["1"][2_000 + bp // 2] and two[half] == middle.translate(COMPLEMENT)


def test_negatives_are_alike_off_the_positives_and_off_unknown_bases(genome, tmp_path):
    fasta, texts = genome
    rows = scattered(60, length=100)
    path = written(tmp_path / "a.bed", rows)
    own = OwnData(genome=str(fasta), length=100)
    task = task_from_path(path, own=own)
    places = {1: [], 0: []}
    for name, (seq, y) in rows_of(task).items():
        chrom, _, place = name.partition(":")
        start, end = (int(x) for x in place.split("(")[0].split("-"))
        assert "N" not in seq and end - start == 100
        text = texts[chrom.removeprefix("chr")][start:end]
        assert seq == (text.translate(COMPLEMENT)[::-1] if "(-)" in name else text)
        soft = sum(5_000 <= b < 9_000 for b in range(start, end)) / 100
        gc = (seq.count("G") + seq.count("C")) / 100
        places[y].append((chrom, start, end, "(-)" in name, gc, soft))
    busy = Counter((c, b) for c, s, e, *_ in places[0] for b in range(s, e))
    assert max(busy.values()) == 1  # negatives do not overlap
    busy = {(c, b) for c, s, e, *_ in places[1] for b in range(s, e)}
    assert not any((c, b) in busy for c, s, e, *_ in places[0] for b in range(s, e))
    missing = len(places[1]) - len(places[0])
    assert 0 <= missing < 10
    pairs = [
        any(c == k and r == t and abs(g - h) < 0.0201 and abs(m - n) < 0.101
            for k, _, _, t, h, n in places[1]) for c, _, _, r, g, m in places[0]
    ]  # fmt: skip
    assert all(pairs)
    assert abs(np.mean([p[4] for p in places[1]]) - np.mean([p[4] for p in places[0]])) < 0.02
    again, other = (task_from_path(path, own=o) for o in (own, OwnData(
        genome=str(fasta), length=100, negatives_seed=1)))  # fmt: skip
    assert again.data == task.data != other.data
    assert rows_of(other).keys() != rows_of(task).keys()
    assert f"negatives: {len(places[0])} drawn (--negatives-seed 0)" in describe(task)


def test_what_cannot_be_used_is_counted_with_its_first_line(genome, tmp_path):
    fasta, _ = genome
    good = scattered(20)
    rows = [*good, ("chrX", 5, 9, ".", 0, "."), ("chr1", 20, 40, ".", 0, "+"), good[3],
            ("chr1", 12_100, 12_130, ".", 0, "+"), ("chr2", 29_980, 29_999, ".", 0, "-"),
            ("chr1", 12_300, 12_330, ".", 0, "+")]  # fmt: skip
    notes = "\n".join(
        task_from_path(written(tmp_path / "a.bed", rows), own=OwnData(genome=str(fasta))).notes
    )
    assert "positives: 40 of 46 regions in a.bed, windows of 200 bp around their middles" in notes
    assert "left out: 1 region on sequences that are not in the genome (chrX) (line 41)" in notes
    assert "left out: 2 regions with a window beyond the end of the sequence" in notes
    assert "left out: 1 region with the same window as an earlier one (line 43)" in notes
    assert "left out: 2 regions with N in the window (the first in line 44)" in notes


def peaks(rows, offset=7):
    return [(*r[:5], ".", 12.5, 3.1, 2.2, offset) for r in rows]


@pytest.mark.parametrize("name", ["p.narrowPeak", "p.bed"])
def test_peaks_are_centred_on_their_summits(genome, tmp_path, name):
    fasta, texts = genome
    rows = [*peaks(scattered(20)), *peaks([("chr1", 7_000, 7_400, ".", 0)], -1)]
    task = task_from_path(written(tmp_path / name, rows), own=OwnData(genome=str(fasta)))
    assert any("around their summits" in note for note in task.notes)
    found = rows_of(task)
    for chrom, start, end, *_, offset in rows:
        middle = start + offset if offset >= 0 else (start + end) // 2
        expected = texts[chrom.removeprefix("chr")][middle - 100 : middle + 100]
        assert found[f"{chrom}:{middle - 100}-{middle + 100}"] == (expected, 1)


def test_a_bed_of_ten_columns_that_are_no_scores_has_no_summits(tmp_path):
    rows = [(*row[:5], ".", 12.5, "gene", 2.2, 7) for row in scattered(3)]
    found = read_regions(written(tmp_path / "p.bed", rows))
    assert not found.summits and (found.middle == (found.start + found.end) // 2).all()
    assert read_regions(written(tmp_path / "q.bed", peaks(scattered(3)))).summits


def test_only_summits_that_the_file_gives_are_called_so(genome, tmp_path):
    for share, says in ((1, "their summits,"), (0, "their middles"), (3, "their summits (")):
        rows = [
            (*row[:9], row[9] if share and i % share == 0 else -1)
            for i, row in enumerate(peaks(scattered(20)))
        ]
        path = written(tmp_path / "p.narrowPeak", rows)
        n = sum(row[9] >= 0 for row in rows)
        task = task_from_path(path, own=OwnData(genome=str(genome[0])))
        (said,) = (note for note in task.notes if note.startswith("positives: "))
        assert f"windows of 200 bp around {says}" in said + ","
        if 0 < n < len(rows):
            assert f"({n} of {len(rows)}; the others have none, and their middles" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chr1\t5\n", ":1: 2 columns, BED has chromosome, start and end first"),
        ("#x\ntrack n\nchr1\t5\tx\n", ":3: end 'x' is no position"),
        ("chr1\t5\t9\nchr1\t9\t9\n", ":2: start 9, end 9; BED counts from 0"),
        ("chr1\t5\t9\t.\t0\t*\n", ":1: strand '\\*' in column 6"),
        ("chr1\t5\t9\nchr1\t5\t9\t.\n", ":2: 4 columns, the first region has 3"),
        ("#\n\n", "no regions"),
        ("chr1\t40000\t40100\n", ":1: a region begins at 40,000, but chr1 has 30,000 bp in"),
        ("chrX\t40\t100\n", "no sequence has the same name in both files.* has 1, 2, asked for"),
        ("chr1\t4\t10\n", "no region can be used; .*beyond the end"),
    ],
)
def test_other_files_are_refused_with_their_line(genome, tmp_path, text, says):
    (tmp_path / "a.bed").write_text(text)
    with pytest.raises(ValueError, match=says):
        task_from_path(tmp_path / "a.bed", own=OwnData(genome=str(genome[0])))


def test_wrong_summits_and_missing_genomes_are_refused(genome, tmp_path):
    path = written(tmp_path / "p.narrowPeak", peaks(scattered(3), 30))
    with pytest.raises(ValueError, match=r":1: summit '30' in the tenth column; .* has 30, or -1"):
        read_regions(path)
    written(path, scattered(3))
    with pytest.raises(ValueError, match=r":1: 6 columns, narrowPeak has 10"):
        read_regions(path)
    with pytest.raises(ValueError, match="regions need the genome they are on: --genome FASTA"):
        task_from_path(path)
    (tmp_path / "a.csv").write_text("sequence,label\nACGT,0\n")
    with pytest.raises(ValueError, match=r"--genome .* is for regions .* and variants"):
        task_from_path(tmp_path / "a.csv", own=OwnData(genome=str(genome[0])))


def test_negatives_of_a_file_are_taken_and_a_difference_in_gc_is_said(genome, tmp_path):
    fasta, texts = genome
    places = [(c, s) for c in "12" for s in range(300, 29_000, 100) if not 8_900 < s < 12_600]
    gc = [texts[c][s : s + 100].count("G") + texts[c][s : s + 100].count("C") for c, s in places]
    order = np.argsort(gc)
    rich, poor = (
        [(f"chr{places[i][0]}", places[i][1], places[i][1] + 100) for i in some]
        for some in (order[-60:], order[:60])
    )
    pos, neg = written(tmp_path / "p.bed", rich), written(tmp_path / "n.bed", [*poor, rich[0]])
    own = OwnData(genome=str(fasta), length=100, negatives=str(neg))
    task = task_from_path(pos, own=own)
    assert Counter(y for _, y in rows_of(task).values()) == {1: 60, 0: 60}
    text = describe(task)
    assert "left out: 1 region of the negatives that overlap one of the positives (line 61)" in text
    assert "warning: positives and negatives differ in GC content" in text
    with pytest.raises(ValueError, match=r"--negatives n.csv: give regions too"):
        task_from_path(pos, own=OwnData(genome=str(fasta), negatives="n.csv"))


def test_overlapping_windows_and_chromosomes_stay_on_one_side(genome, tmp_path):
    fasta, _ = genome
    rows = [(f"chr{c}", s + d, s + d + 100) for c in (1, 2) for s in range(500, 11_000, 700)
            for d in (0, 60, 120)]  # fmt: skip
    path = written(tmp_path / "p.bed", rows)
    task = task_from_path(path, own=OwnData(genome=str(fasta), length=100))
    home = {}
    for split in task.counts:
        for name in task.load(split).ids[task.load(split).y == 1]:
            chrom, start = name.split(":")[0], int(name.split(":")[1].split("-")[0])
            home.setdefault((chrom, (start - 500) // 700), set()).add(split)
    assert len(home) == 30 and all(len(splits) == 1 for splits in home.values())
    by = task_from_path(path, own=OwnData(genome=str(fasta), length=100, test_groups=("chr2",)))
    assert {n.split(":")[0] for n in by.load("test").ids} == {"chr2"}
    assert {n.split(":")[0] for n in by.load("train").ids} == {"chr1"}


@pytest.mark.parametrize("own", [{"split_by": "name", "test_groups": ("test",)}, {}])
def test_other_names_of_regions_that_say_the_split_are_other_data(genome, tmp_path, own):
    fasta, _ = genome
    places = [(100 + 300 * i, 160 + 300 * i) for i in range(30)]
    negatives = written(tmp_path / "n.bed", [
        ("1", a + 150, b + 150, ("train", "test")[i % 2]) for i, (a, b) in enumerate(places)
    ])  # fmt: skip

    def task(*names, **own):
        rows = [("1", *place, names[i % len(names)]) for i, place in enumerate(places)]
        how = OwnData(genome=str(fasta), length=60, negatives=str(negatives), **own)
        return task_from_path(written(tmp_path / "p.bed", rows), own=how)

    one, other = task("train", "test", **own), task("test", "train", **own)
    assert one.counts == other.counts and one.data != other.data
    assert not {*one.load("test").ids} >= {*other.load("test").ids}
    alike = [task(*names, split="none").data for names in ("ab", "ba")]  # they say nothing
    assert alike[0] == alike[1]


def test_start_codons_of_yeast_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    write_yeast(tmp_path)
    bed, fasta = tmp_path / "starts.bed", tmp_path / "yeast.fa"
    task = task_from_path(bed, own=OwnData(genome=str(fasta), test_groups=("chrIII",)))
    for sign in "+-":
        codons = [s[100:103] for n, (s, y) in rows_of(task).items() if y and f"({sign})" in n]
        assert len(codons) > 300 and codons.count("ATG") / len(codons) > 0.9
    others = [s[100:103] for s, y in rows_of(task).values() if not y]
    assert others.count("ATG") / len(others) < 0.1
    words = ("--data", bed, "--genome", fasta, "--test-groups", "chrIII", "--dev-groups", "chrVI")
    done = dnabench(
        "run", "-m", "kmer", *words, "--seeds", "2", "--executor", "inline",
        "-o", tmp_path / "runs", cache=tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "split by chrom: 4 groups" in done.stdout and "2 ran" in done.stdout + done.stderr
    shown = dnabench("report", "--out", tmp_path / "runs", cache=tmp_path / "cache")
    assert shown.returncode == 0 and "\ndata/starts  MCC       0.393" in shown.stdout
    audited = dnabench("audit", "data", *words, cache=tmp_path / "cache")
    assert audited.returncode == 0 and "data/starts" in audited.stdout
