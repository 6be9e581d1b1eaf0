"""What of an annotation gets no label: masked for a reason that is counted, never an intron."""

import numpy as np
import pytest
from conftest import dnabench, planted_split

from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.gene_windows import Cutting, cut
from dnabench.tasks.io.masking import GAP, Account
from dnabench.types import IGNORED


def line(name, kind, start, end, strand, attributes):
    return f"{name}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t0\t{attributes}\n"


def both_files(folder):
    """Two sequences of 3,000 bp and an annotation with something of every reason."""
    genome = planted_split(2, 5, 3000)
    texts = [genome.seqs[i] for i in range(2)]
    texts[1] = texts[1][:2000] + "N" * 30 + texts[1][2030:]
    (folder / "g.fa").write_text("".join(f">c{i}\n{t}\n" for i, t in enumerate(texts)))
    rows = [
        line("c0", "CDS", 101, 200, "+", "ID=a;Parent=t1"),
        line("c0", "CDS", 301, 400, "+", "ID=a;Parent=t1"),
        line("c0", "CDS", 501, 600, "+", "ID=b;Parent=t2"),  # both strands, not said
        line("c0", "CDS", 2001, 2100, "-", "ID=b;Parent=t2"),
        line("c0", "gene", 701, 800, "+", "ID=g3;exception=trans-splicing"),
        line("c0", "gene", 2501, 2600, "+", "ID=g3;exception=trans-splicing"),
        line("c0", "CDS", 701, 800, "+", "ID=d;Parent=g3"),
        line("c0", "CDS", 2501, 2600, "+", "ID=d;Parent=g3"),
        line("c1", "CDS", 101, 150, "-", "ID=e;Parent=t5"),
        line("c1", "CDS", 156, 200, "-", "ID=e;Parent=t5"),  # 5 bp: a frameshift
        line("c1", "pseudogene", 301, 330, "-", "ID=p"),
        line("c1", "pseudogene", 321, 340, "-", "ID=q"),
    ]
    (folder / "g.gff3").write_text("##gff-version 3\n" + "".join(rows))
    return folder / "g.fa", folder / "g.gff3"


def test_every_base_without_a_label_has_one_reason(tmp_path):
    fasta, gff = both_files(tmp_path)
    account = Account()
    parts = list(cut(fasta, gff, Cutting(longest=3000, keep="all"), account=account))
    inside = [np.arange(p.y.shape[1]) < p.seqs.lengths[:, None] for _, p in parts]
    ignored = sum(int((p.y[i] == IGNORED).sum()) for (_, p), i in zip(parts, inside, strict=True))
    assert account.masked == {
        "with parts on both strands": (2, 200), "trans-spliced": (2, 200), "pseudogene": (2, 40),
        GAP: (1, 5), "N": (0, 30),
    }  # fmt: skip
    # the windows leave out the 30 N, which are longer than a gap
    assert ignored == sum(bases for _, bases in account.masked.values()) - 30
    assert account.left_out == {"with parts on both strands": ["t2"], "trans-spliced": ["g3"]}
    introns = sum(int(np.isin(part.y, [1, 2, 3, 5, 6, 7]).sum()) for _, part in parts)
    assert introns == 100


def test_the_command_prints_the_table(tmp_path):
    fasta, gff = both_files(tmp_path)
    words = ("data", "genes", "--fasta", fasta, "--gff", gff, "--name", "x", "--length", 3000)
    done = dnabench(*words, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("bases without a label:\n")[1].splitlines()
    assert table[0].split() == ["reason", "places", "bases"]
    assert [row.rsplit(maxsplit=2) for row in table[2:6]] == [
        ["with parts on both strands", "2", "200"], ["trans-spliced", "2", "200"],
        ["pseudogene", "2", "40"], [GAP, "1", "5"],
    ]  # fmt: skip
    assert table[6].split() == ["N", "30"]
    done = dnabench(*words, "--labels", "certain", cache=tmp_path / "cache")
    assert "two genes that differ, or outside the first and last feature" in done.stdout


GTF = 'gene_id "g1"; transcript_id "t1";'


def test_trans_splicing_in_gtf_is_masked(tmp_path):
    odd = f'{GTF} exception "trans-splicing";'
    rows = [line("c0", "CDS", 101, 200, "+", odd), line("c0", "CDS", 2001, 2100, "+", odd),
            line("c0", "CDS", 501, 600, "+", 'gene_id "g2"; transcript_id "t2";')]  # fmt: skip
    (tmp_path / "g.gtf").write_text("".join(rows))
    found = read_annotation(tmp_path / "g.gtf")
    assert [gene.name for gene in found.genes["c0"]] == ["g2"]
    assert found.left_out == {"trans-spliced": ["g1"]}
    assert found.masked["c0"] == [(100, 200), (2000, 2100)]


def test_a_transcript_of_gtf_at_two_places_is_refused(tmp_path):
    rows = [line("c0", kind, start, start + 99, "+", GTF)
            for start in (101, 2001) for kind in ("transcript", "CDS")]  # fmt: skip
    (tmp_path / "g.gtf").write_text("".join(rows))
    with pytest.raises(ValueError, match=r"g.gtf:3: the transcript ID=t1 is also in line 1, 1,80"):
        read_annotation(tmp_path / "g.gtf")
