"""A genome and its annotation become labels: checked base by base against strings drawn by hand."""

import gzip
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from dnabench.tasks.genes import CLASSES, import_genes, windows
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.fasta import names_of
from dnabench.tasks.io.gene_windows import Cutting, split_of
from dnabench.types import IGNORED

# One letter a class, in the order of CLASSES; . is intergenic, - is IGNORED
LETTERS = "EDIAedia."
RNG = np.random.default_rng(0)
ONE = Cutting(longest=1000, shortest=1, keep="all", dev=(), test=("two",), labels="certain")
BEND = Cutting(**{**vars(ONE), "labels": "bend"})


def random_dna(n):
    return "".join(np.array(list("ACGT"))[RNG.integers(0, 4, n)])


def gff(*rows):
    """Rows `type first last strand attributes` of sequence one, and a gene on sequence two."""
    rows = [f"one {row}" for row in rows] + [
        "two gene 1 90 + ID=z",
        "two CDS 10 39 + ID=c;Parent=z",
    ]
    lines = ["##gff-version 3"]
    for row in rows:
        name, kind, first, last, strand, attributes = row.split(" ", 5)
        lines.append("\t".join([name, "x", kind, first, last, ".", strand, ".", attributes]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def genome(tmp_path):
    """A function that writes a genome and an annotation; returns the labels of sequence one."""

    def make(annotation, cutting=ONE, one=None, suffix="gff3"):
        one = one or random_dna(100)
        fasta, path = tmp_path / "g.fa", tmp_path / f"g.{suffix}"
        fasta.write_text(f">one first\n{one[:60]}\n{one[60:]}\n>two\n{random_dna(90)}\n")
        path.write_text(annotation)
        split = windows(fasta, path, cutting)["train"]
        assert [split.seqs[i] for i in range(len(split.y))] == [one] and split.y.dtype == np.int8
        return "".join("-" if c == IGNORED else LETTERS[c] for c in split.y[0])

    return make


WHOLE = "repeat 1 100 . ID=r"  # so that the ends of sequence one are looked at


def test_a_spliced_gene_on_each_strand(genome):
    forward = genome(gff(
        WHOLE, "gene 11 70 + ID=g", "mRNA 11 70 + ID=t;Parent=g", "exon 11 30 + Parent=t",
        "CDS 15 30 + ID=c;Parent=t", "CDS 51 60 + ID=c;Parent=t", "exon 51 70 + Parent=t",
    ))  # fmt: skip
    assert forward == "." * 14 + "E" * 16 + "D" + "I" * 18 + "A" + "E" * 10 + "." * 40
    reverse = genome(gff(
        WHOLE, "gene 11 70 - ID=g", "mRNA 11 70 - ID=t;Parent=g",
        "CDS 51 60 - ID=c;Parent=t", "CDS 15 30 - ID=c;Parent=t",
    ))  # fmt: skip
    assert reverse == "." * 14 + "e" * 16 + "a" + "i" * 18 + "d" + "e" * 10 + "." * 40


def test_all_exons_and_wider_sites(genome):
    rows = (
        WHOLE, "mRNA 11 70 + ID=t", "exon 11 30 + Parent=t", "CDS 15 30 + ID=c;Parent=t",
        "CDS 51 60 + ID=c;Parent=t", "exon 51 70 + Parent=t",
    )  # fmt: skip
    cutting = Cutting(**{**vars(ONE), "exons": "all", "site": 2})
    assert genome(gff(*rows), cutting) == (
        "." * 10 + "E" * 20 + "DD" + "I" * 16 + "AA" + "E" * 20 + "." * 30
    )
    joint = gff(WHOLE, "CDS 11 30 - ID=c", "CDS 33 40 - ID=c")  # a gap shorter than a site
    assert genome(joint, Cutting(**{**vars(ONE), "site": 10})) == (
        "." * 10 + "e" * 20 + "--" + "e" * 8 + "." * 60
    )


def test_gtf_has_its_stop_codon_beside_the_cds(genome):
    def line(name, kind, first, last, attributes):
        return "\t".join([name, "x", kind, str(first), str(last), ".", "+", ".", attributes])

    of = 'gene_id "g"; transcript_id "t";'
    text = "\n".join([
        line("one", "gene", 1, 100, 'gene_id "g";'), line("one", "exon", 15, 63, of),
        line("one", "CDS", 15, 30, of), line("one", "CDS", 51, 60, of),
        line("one", "stop_codon", 61, 63, of), line("two", "CDS", 1, 9, of),
    ])  # fmt: skip
    assert genome(text + "\n", suffix="gtf") == (
        "." * 14 + "E" * 16 + "D" + "I" * 18 + "A" + "E" * 13 + "." * 37
    )


def test_the_transcript_with_the_longest_cds_stands_for_a_gene(genome):
    rows = [WHOLE, "gene 1 90 + ID=g"]
    for name, last in (("a", 40), ("b", 60), ("c", 60), ("d", 20)):
        rows += [f"mRNA 1 90 + ID={name};Parent=g", f"CDS 11 {last} + ID=c{name};Parent={name}"]
    rows += ["mRNA 1 95 + ID=n;Parent=g", "exon 1 95 + Parent=n"]  # longest of all, no CDS
    assert genome(gff(*rows)) == "." * 10 + "E" * 50 + "." * 40
    path_free = gff(WHOLE, "CDS 11 13 + ID=x", "CDS 21 23 + ID=x", "CDS 61 63 + ID=y")
    assert genome(path_free)[60:63] == "EEE"  # without a parent, lines of one ID are one gene


def test_where_two_genes_disagree_nothing_counts_whatever_their_order(genome):
    rows = ["CDS 11 40 + ID=a", "CDS 31 60 - ID=b", "CDS 35 39 + ID=c"]
    expected = "." * 10 + "E" * 20 + "-" * 10 + "e" * 20 + "." * 40
    assert genome(gff(WHOLE, *rows)) == expected
    assert genome(gff(*rows[::-1], WHOLE)) == expected
    same = gff(WHOLE, "CDS 11 40 + ID=a", "CDS 31 60 + ID=b")
    assert genome(same) == "." * 10 + "E" * 50 + "." * 40


def test_what_nobody_can_know_is_ignored(genome):
    one = random_dna(100)
    one = one[:13] + "N" + one[14:]
    rows = [
        "CDS 11 20 + ID=a",
        "CDS 31 40 + ID=a",
        "pseudogene 81 85 + ID=p",
        "exon 92 93 + Parent=q",
    ]
    # before the first and behind the last feature, an N, a gap of 10 bp, a pseudogene
    assert genome(gff(*rows), one=one) == (
        "-" * 10 + "EEE-" + "E" * 6 + "-" * 10 + "E" * 10 + "." * 40 + "-" * 5 + "." * 8 + "-" * 7
    )


def with_letters(**places):
    """100 bp without a stop codon on either strand, and these letters (from 1)."""
    one = list("ACC" * 33 + "A")
    for place, letters in places.items():
        start = int(place[1:]) - 1
        one[start : start + len(letters)] = letters
    return "".join(one)


@pytest.mark.parametrize("stop", ["TAA", "TAG", "TGA"])
def test_a_stop_codon_is_not_coding_as_in_bend(genome, stop):
    other = stop[::-1].translate(str.maketrans("ACGT", "TGCA"))
    one = with_letters(p38=stop, p71=other)
    rows = ["CDS 11 40 + ID=a", "CDS 71 90 - ID=b"]
    assert genome(gff(*rows), BEND, one) == "." * 10 + "E" * 27 + "." * 36 + "e" * 17 + "." * 10
    assert genome(gff(*rows), BEND, with_letters()) == (  # incomplete: the end is not annotated
        "." * 10 + "E" * 30 + "." * 30 + "e" * 20 + "." * 10
    )
    parted = gff("CDS 11 40 + ID=a", "CDS 66 67 + ID=a")  # by an intron, which goes with it
    assert genome(parted, BEND, with_letters(p40=stop[0], p66=stop[1:])) == (
        "." * 10 + "E" * 29 + "." * 61
    )
    utr = gff("mRNA 1 99 + ID=t", "exon 5 50 + Parent=t", "CDS 11 40 + ID=c;Parent=t")
    everything = Cutting(**{**vars(BEND), "exons": "all"})
    assert genome(utr, everything, one) == "." * 4 + "E" * 46 + "." * 50


def test_a_stop_codon_of_its_own_line_is_the_same(genome):
    of = 'gene_id "g"; transcript_id "t";'
    rows = [("gene", 1, 100, 'gene_id "g";'), ("CDS", 11, 37, of), ("stop_codon", 38, 40, of)]
    lines = ["\t".join(["one", "x", k, str(a), str(b), ".", "+", ".", o]) for k, a, b, o in rows]
    two = "\t".join(["two", "x", "CDS", "1", "9", ".", "+", ".", of])
    text = "\n".join([*lines, two]) + "\n"
    found = genome(text, BEND, with_letters(p38="TAG"), suffix="gtf")
    assert found == "." * 10 + "E" * 27 + "." * 63


def test_the_longer_of_two_genes_and_no_unknown_ends_as_in_bend(genome):
    rows = ["CDS 11 40 + ID=a", "CDS 31 70 - ID=b", "CDS 35 39 + ID=c"]
    expected = "." * 10 + "E" * 20 + "e" * 40 + "." * 30
    for order in (rows, rows[::-1]):
        assert genome(gff(*order), BEND, with_letters()) == expected
    tie = gff("CDS 11 40 + ID=a", "CDS 31 60 - ID=b")
    assert genome(tie, BEND, with_letters()) == "." * 10 + "E" * 20 + "e" * 30 + "." * 40


def test_turning_the_genome_round_turns_the_labels_round(genome):
    one, rows, turned = random_dna(100), [WHOLE], [WHOLE]
    for gene, strand, exons in (("a", "+", [(3, 9), (31, 40)]), ("b", "-", [(43, 50), (81, 95)])):
        for first, last in exons:
            rows.append(f"CDS {first} {last} {strand} ID={gene}")
            turned.append(f"CDS {101 - last} {101 - first} {'-+'[strand == '-']} ID={gene}")
    here = genome(gff(*rows), one=one)
    there = genome(gff(*turned), one=one.translate(str.maketrans("ACGT", "TGCA"))[::-1])
    assert here == there[::-1].swapcase() and {"D", "a", "I", "d"} <= set(here)


@pytest.fixture
def files(tmp_path):
    """Six chromosomes of 300 to 800 bp with a gene each, and one without."""
    text, rows = "", ["##gff-version 3"]
    for i, n in enumerate((300, 400, 500, 600, 700, 800)):
        text += f">chr{i + 1} x\n{random_dna(n)}\n"
        rows.append("\t".join([f"{i + 1}", "x", "CDS", "101", "160", ".", "+", "0", f"ID=c{i}"]))
        rows.append("\t".join([f"{i + 1}", "x", "repeat", "1", f"{n}", ".", ".", ".", f"ID=r{i}"]))
    text += f">chrM\n{random_dna(300)}\n>scaffold\n{random_dna(900)}\n"
    rows += ["\t".join(["M", "x", "CDS", "1", "90", ".", "+", "0", "ID=m"])]
    rows += ["\t".join(["scaffold", "x", "repeat", "1", "90", ".", "+", ".", "ID=s"])]
    fasta, annotation = tmp_path / "genome.fa.gz", tmp_path / "genes.gff3.gz"
    fasta.write_bytes(gzip.compress(text.encode()))
    annotation.write_bytes(gzip.compress("\n".join(rows).encode()))
    return fasta, annotation


def chromosomes(splits):
    return {k: sorted({i.split(":")[0] for i in s.ids.tolist()}) for k, s in splits.items()}


def test_windows_of_a_range_of_lengths_split_by_chromosome(files):
    cutting = Cutting(longest=250, shortest=100, keep="all", dev=("chr2",), test=("1",))
    splits = windows(*files, cutting)
    assert chromosomes(splits) == {"train": ["3", "4", "5", "6"], "dev": ["2"], "test": ["1"]}
    assert splits["dev"].ids.tolist() == ["2:1-250", "2:251-400"]
    assert splits["test"].ids.tolist() == ["1:1-250"]  # the other 50 bp are too short
    assert all(s.y.shape == (len(s.ids), 250) for s in splits.values())
    dev = splits["dev"]
    assert dev.seqs.lengths.tolist() == [250, 150] and (dev.y[1, 150:] == IGNORED).all()
    assert (dev.y[0] == 0).sum() == 60 and (dev.y[1, :150] == CLASSES.index("intergenic")).all()
    genes = windows(*files, Cutting(longest=250, shortest=100, dev=("2",), test=("1",)))
    assert genes["dev"].ids.tolist() == ["2:1-250"]
    assert [s.endswith(":1-250") for s in genes["train"].ids.tolist()] == [True] * 4


def test_windows_do_not_reach_over_runs_of_n(tmp_path):
    fasta, annotation = tmp_path / "n.fa", tmp_path / "n.gff"
    middle = random_dna(40) + "N" * 9 + random_dna(51)
    fasta.write_text(f">a\n{'N' * 30}{middle}{'N' * 10}{random_dna(25)}\n>b\n{random_dna(60)}\n")
    rows = [f"{n}\tx\tCDS\t{a}\t{b}\t.\t+\t0\tID=c" for n, a, b in (("a", 31, 165), ("b", 1, 60))]
    annotation.write_text("\n".join(rows))
    train = windows(fasta, annotation, Cutting(longest=80, shortest=20, test=("b",)))["train"]
    assert train.ids.tolist() == ["a:31-110", "a:111-130", "a:141-165"]
    assert (train.y[0, 40:49] == IGNORED).all() and (train.y[0, 49:] == 0).all()


def test_the_house_split_is_by_hash_and_size_and_does_not_depend_on_order():
    lengths = {f"chr{i}": 1000 - 10 * i for i in range(40)}
    splits = split_of(lengths, (), ())
    assert splits == split_of(dict(reversed(lengths.items())), (), ())
    share = {s: sum(lengths[n] for n in lengths if splits[n] == s) for s in ("dev", "test")}
    total = sum(lengths.values())
    assert all(0.07 * total < bp <= 0.1 * total for bp in share.values())
    assert split_of({"a": 5, "b": 9}, (), ()) == {"a": "test", "b": "train"}
    assert split_of({"a": 5, "b": 9, "c": 7}, (), ()) == {"a": "test", "b": "train", "c": "dev"}
    assert split_of(lengths, (), ("chr1",)) == dict.fromkeys(lengths, "train") | {"chr1": "test"}


IMPORT = """
import json, sys
from pathlib import Path
from dnabench.tasks.genes import Cutting, import_genes
cutting = Cutting(longest=250, shortest=100)
task = import_genes("mini", Path(sys.argv[1]), Path(sys.argv[2]), cutting)
print(json.dumps([task.name, task.kind, task.data, task.counts, task.length]))
"""
LOOK = """
import json
from dnabench import TASKS
task = TASKS["genes/mini"]
train = task.load("train")
print(json.dumps([task.name, task.kind, task.data, task.counts, task.length]))
seqs = [train.seqs[i] for i in range(len(train.y))]
print(json.dumps([train.ids.tolist(), train.y.tolist(), seqs]))
print(TASKS.broken)
"""


def test_an_imported_genome_is_a_task_of_every_later_process(files, tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))

    def python(code, *words):
        argv = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    (made,) = python(IMPORT, *files)
    again, content, broken = python(LOOK)
    assert again == made and broken == "{}"
    name, kind, data, counts, length = json.loads(made)
    assert (name, kind, length) == ("genes/mini", "per_base", 250) and len(data) == 16
    train = windows(*files, Cutting(longest=250, shortest=100))["train"]
    ids, y, seqs = json.loads(content)
    assert ids == train.ids.tolist() and y == train.y.tolist() and len(ids) == counts["train"]
    assert seqs == [train.seqs[i] for i in range(len(ids))]


def test_the_import_remembers_what_it_found(files, tmp_path, monkeypatch):
    from dnabench.tasks.io.imported import cached

    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    seen = []
    task = import_genes("mini", *files, Cutting(longest=250), lambda *a: seen.append(a))
    notes = cached(task.name).notes
    assert notes["bases"]["exon_forward"] == 360 and notes["cutting"]["longest"] == 250
    assert [s[1] for s in seen] == [300, 700, 1200, 1800, 2500, 3300]
    assert {s[2] for s in seen} == {3300}
    before = task.data
    with pytest.raises(ValueError, match="no such sequence"):
        import_genes("mini", *files, Cutting(test=("chr9",)))
    assert cached(task.name).data == before
    with pytest.raises(ValueError, match="belong to the suite genes"):
        import_genes("demo/mine", *files)


GOOD = "one\tx\tCDS\t1\t9\t.\t+\t0\tID=c"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("one x CDS 1 9 . + 0 ID=c", "1 tab-separated column, GFF3 and GTF have 9"),
        ("one\tx\tCDS\t1\tnine\t.\t+\t0\tID=c", "start '1' and end 'nine' must be whole numbers"),
        ("one\tx\tCDS\t9\t1\t.\t+\t0\tID=c", "start 9, end 1; positions are from 1"),
        ("one\tx\tCDS\t0\t1\t.\t+\t0\tID=c", "start 0, end 1; positions are from 1"),
        ("one\tx\tCDS\t1\t9\t.\t.\t0\tID=c", "strand '.' of a CDS"),
        ("one\tx\tCDS\t1\t9\t.\t+\t0\tName=c", "a CDS with neither Parent= nor ID=: 'Name=c'"),
        ("one\tx\tCDS\t1\t999\t.\t+\t0\tID=c", "a feature ends at 999, but one has 100 bp"),
    ],
)
def test_a_bad_line_is_named(genome, tmp_path, second, reason):
    with pytest.raises(ValueError, match=re.escape(f"g.gff3:2: {reason}")):
        genome(f"{GOOD}\n{second}\n{GOOD.replace('one', 'two')}\n")


def test_windows_longer_than_what_there_is_say_so(files):
    with pytest.raises(
        ValueError, match="no stretch of 900 bp without N contains a base of a gene"
    ):
        windows(*files, Cutting(longest=1000, shortest=900))


def test_files_that_do_not_fit_or_hold_nothing_say_so(genome, tmp_path):
    with pytest.raises(
        ValueError, match="no CDS lines, which define genes; the types here are exon"
    ):
        genome(GOOD.replace("CDS", "exon"))
    with pytest.raises(ValueError, match=r"g.fa has one, two, .*g.gff3 has chrX"):
        genome(GOOD.replace("one", "chrX"))
    with pytest.raises(ValueError, match="only one has genes; splits are by sequence"):
        genome(GOOD, Cutting(longest=100))
    with pytest.raises(ValueError, match=r"g.gff3: the file is empty"):
        genome("")
    with pytest.raises(ValueError, match=r"g.fa:1: sequence one has 'E' at position 3"):
        genome(gff(WHOLE, "CDS 1 9 + ID=c"), one="ACE" + random_dna(97))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        windows(tmp_path / "g.fa", tmp_path / "nowhere.gff")
    (tmp_path / "page.fa").write_text("<html>\n")
    with pytest.raises(
        ValueError, match=r"page.fa:1: a FASTA record begins with '>name', not '<html>'"
    ):
        windows(tmp_path / "page.fa", tmp_path / "g.gff3")
    (tmp_path / "cut.gff.gz").write_bytes(gzip.compress(gff(WHOLE).encode())[:40])
    with pytest.raises(ValueError, match=r"cut.gff.gz: not a complete gzip file"):
        windows(tmp_path / "g.fa", tmp_path / "cut.gff.gz")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="windows of 10 to 5 bp"):
        Cutting(shortest=10, longest=5)
    with pytest.raises(ValueError, match="site 11"):
        Cutting(site=11)
    with pytest.raises(ValueError, match="X is named for both dev and test"):
        Cutting(dev=("X",), test=("X",))


def test_names_of_a_record_as_annotations_write_them():
    assert {"ref|NC_001133|", "NC_001133", "I", "chrI"} <= set(
        names_of("ref|NC_001133| [org=S. cerevisiae] [chromosome=I]")
    )
    assert names_of("chr7 AC:CM000669.2")[:2] == ["chr7", "7"]
    ncbi = "Homo sapiens chromosome 1{}, GRCh38.p14 Primary Assembly"
    assert {"1", "chr1"} <= {*names_of("NC_000001.11 " + ncbi.format(""))}
    scaffold = names_of("NT_187361.1 " + ncbi.format(" unlocalized genomic scaffold"))
    assert not {"1", "chr1"} & {*scaffold}


def test_gff3_ends_where_its_fasta_begins(tmp_path):
    path = tmp_path / "with.gff3"
    path.write_text(f"{GOOD}\n##FASTA\n>one\nACGT\n")
    (gene,) = read_annotation(path).genes["one"]
    assert gene.exons == ((0, 9),) and not gene.reverse and gene.line == 1
