"""tasks/io/unlabelled.py: what `predict`, `embed` and the probes read is what `--data` reads."""

import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from kept_cases import tiny_network

from dnabench import Sequences
from dnabench.networks.predicting import predict_file
from dnabench.tasks.io.lines import text_lines
from dnabench.tasks.io.parsing import read_table
from dnabench.tasks.io.unlabelled import read_parts

ROWS = [
    (f"s{i}", "".join(np.random.default_rng(i).choice(list("ACGT"), 30)), i % 2) for i in range(12)
]


def table(change=lambda i, fields: fields, separator=",", end="\n", head="id,sequence,label,note"):
    """Rows with a note; `change` may make others of them."""
    lines = [head.replace(",", separator)]
    for i, (name, seq, label) in enumerate(ROWS):
        lines.append(separator.join(map(str, change(i, [name, seq, label, "ok"]))))
    return end.join(lines) + end


def noted(**notes):
    return lambda i, fields: [*fields[:3], notes.get(f"n{i}", "ok")]


def with_sequence(text):
    return lambda i, fields: [fields[0], text if i == 5 else fields[1], *fields[2:]]


def fasta(bodies, end="\n", names="s"):
    return end.join(f">{names}{i}|{i % 2}{end}{body}" for i, body in enumerate(bodies)) + end


SEQS = [seq for _, seq, _ in ROWS]
ODD = {
    "plain": ("a.csv", table()),
    "quotes over lines": ("a.csv", table(noted(n2='"5 prime', n7='3"'))),
    "a quote to the end": ("a.csv", table(noted(n2='"open'))),
    "a quote within": ("a.csv", table(noted(n2='5" end'))),
    "quotes that close": ("a.csv", table(noted(n2='"a, b"', n3=' "c ""d"", e"'))),
    "two quotes, one open": ("a.csv", table(noted(n2='a",",b'))),
    "old Mac": ("a.csv", table(end="\r")),
    "Windows": ("a.tsv", table(separator="\t", end="\r\n")),
    "semicolons": ("a.csv", table(separator=";")),
    "UTF-16": ("a.csv", table().encode("utf-16")),
    "Latin-1": ("a.csv", table(noted(n4="é")).encode("latin-1")),
    "Latin-1, old Mac": ("a.csv", table(noted(n4="é"), end="\r").encode("latin-1")),
    "byte order mark": ("a.csv", table().encode("utf-8-sig")),
    "blank lines": ("a.csv", "\n  \n" + table() + "\n   \n,,,\n"),
    "a blank line, semicolons": ("a.csv", "\n" + table(separator=";")),
    "a field less": ("a.csv", table(lambda i, fields: fields[: 3 if i == 4 else 4])),
    "NA": ("a.csv", table(with_sequence("NA"))),
    "nan": ("a.csv", table(with_sequence("nan"))),
    "empty": ("a.csv", table(with_sequence(" "))),
    "two sequences": ("a.csv", table(head="id,sequence,label,seq")),
    "cut gzip": ("a.csv.gz", gzip.compress(table().encode())[:-9]),
    "fasta": ("a.fa", fasta(SEQS)),
    "fasta, old Mac": ("a.fa", fasta(SEQS, "\r")),
    "fasta, Windows": ("a.fa", fasta(SEQS, "\r\n")),
    "fasta, byte order mark": ("a.fa", fasta(SEQS).encode("utf-8-sig")),
    "fasta, NA": ("a.fa", fasta([*SEQS[:5], "N\nA", *SEQS[5:]])),
    "fasta, nan at the end": ("a.fa", fasta([*SEQS, "nan"])),
    "fasta, empty": ("a.fa", fasta([*SEQS[:5], "\n", *SEQS[5:]])),
    "fasta, short": ("a.fa", fasta(["AN", "A", "NNA", "ACGTACGT", *SEQS, "NAA"])),
    "fasta, UTF-16": ("a.fa", fasta(SEQS).encode("utf-16")),
    "fasta, Latin-1": ("a.fa", fasta(SEQS, names="é").encode("latin-1")),
    "fasta, no header": ("a.fa", "\n\nA\n" + fasta(SEQS)),
}


def outcome(read):
    try:
        return read()
    except ValueError as e:
        return str(e).replace(" of the file is", " is")


def labelled(path):
    found = read_table(path)
    return [found.encode(np.array([i]))[0] for i in range(len(found.labels))]


def unlabelled(path, size):
    found = dict[str, str]()
    for part in read_parts(path, size):
        for name, start, codes, _ in part.segments():
            text = Sequences(codes, np.array([0, len(codes)]))[0]
            assert start == len(found.get(name, ""))
            found[name] = found.get(name, "") + text
    return list(found.values())


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 22])
@pytest.mark.parametrize("name", ODD)
def test_a_file_is_read_or_refused_as_data_are(name, size, tmp_path):
    file, content = ODD[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected, found = outcome(lambda: labelled(path)), outcome(lambda: unlabelled(path, size))
    if isinstance(expected, str):  # an offset is in the message where the whole file was read
        head, _, rest = expected.partition(" at offset")
        expected = head + " is not" + rest.partition(" is not")[2] if rest else expected
    assert found == expected
    if isinstance(found, str):
        assert str(path) in found


SAID = {
    "quotes over lines": "a.csv:4: a quote",
    "a quote to the end": "a.csv:4: a quote",
    "two quotes, one open": "a.csv:4: a quote",
    "Latin-1": "a.csv:6: byte 0xe9 is not UTF-8; save it as UTF-8",
    "Latin-1, old Mac": "a.csv:6: byte 0xe9 is not UTF-8",
    "UTF-16": "a.csv:1: byte 0xff is not UTF-8",
    "NA": "a.csv:7: sequence 'NA' looks like a missing value; remove the row",
    "empty": "a.csv:7: empty sequence; remove the row",
    "a field less": "a.csv:6: 3 fields, the header has 4",
    "fasta, NA": "a.fa:11: sequence 'NA' looks",
    "fasta, nan at the end": "a.fa:25: sequence 'nan' looks",
    "fasta, UTF-16": "a.fa:1: byte 0xff is not UTF-8",
    "fasta, no header": "a.fa:3: a FASTA file begins with '>', not 'A'",
}


@pytest.mark.parametrize("name", SAID)
def test_the_message_names_the_line(name, tmp_path):
    file, content = ODD[name]
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    for size in (5, 1 << 22):
        with pytest.raises(ValueError) as e:
            list(read_parts(tmp_path / file, size))
        assert SAID[name] in str(e.value)


def test_a_line_that_is_no_text_is_counted_across_buffers(tmp_path):
    text = "".join(f"{i},{'A' * 50}\r\n" for i in range(2000)).encode()
    (tmp_path / "a").write_bytes(text + b"caf\xe9\r\n")
    with pytest.raises(ValueError, match=r"a:2001: byte 0xe9 is not UTF-8; save it as UTF-8"):
        list(text_lines(tmp_path / "a", (tmp_path / "a").open("rb")))


def test_a_letter_that_is_not_dna_is_named_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text(table(with_sequence("ACGTACG!")))
    with pytest.raises(ValueError, match=r"a.csv:7: s5 has '!' at position 7"):
        list(read_parts(tmp_path / "a.csv"))
    (tmp_path / "a.fa").write_text(fasta([*SEQS[:5], "ACGT\nACGTA!", *SEQS[5:]]))
    for size in (5, 1 << 22):
        with pytest.raises(ValueError, match=r"a.fa:11: s5\|1 has '!' at position 9"):
            list(read_parts(tmp_path / "a.fa", size))


def test_parquet_holds_text_or_bytes_and_no_id_is_none(tmp_path):
    ids = pa.array([b"a", None, b"c"])
    seqs = pa.array([b"ACGT", b"AC", b"GGT"])
    pq.write_table(pa.table({"id": ids, "sequence": seqs}), tmp_path / "a.parquet")
    (part,) = read_parts(tmp_path / "a.parquet")
    assert part.ids == ["a", "", "c"] and [part.seqs[i] for i in range(3)] == ["ACGT", "AC", "GGT"]
    for bad, says in (
        (None, "row 2: empty sequence"), ("NA", "row 2: sequence 'NA'"), ("A!", "row 2: b has '!'"),
        (b"\xff", "row 2: column 'sequence' is binary, not text"),
    ):  # fmt: skip
        values = [b"AC", bad, b"GT"] if isinstance(bad, bytes) else ["AC", bad, "GT"]
        pq.write_table(pa.table({"id": list("abc"), "sequence": values}), tmp_path / "b.parquet")
        with pytest.raises(ValueError, match=f"b.parquet:{says}"):
            list(read_parts(tmp_path / "b.parquet"))


def test_a_column_may_be_there_twice_unless_it_is_read(tmp_path):
    def write(*names):
        columns = [pa.array(["ACGT", "AC"]) for _ in names]
        pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    (part,) = read_parts(write("sequence", "x", "x"))
    assert [part.seqs[i] for i in range(2)] == ["ACGT", "AC"]
    with pytest.raises(ValueError, match=r"a.parquet: two columns are named 'sequence'"):
        list(read_parts(write("sequence", "Sequence")))
    with pytest.raises(ValueError, match=r"a.parquet: two columns are named 'id'"):
        list(read_parts(write("sequence", "id", "id")))


def test_predict_refuses_rows_that_a_quote_would_swallow(put, tmp_path):
    _, record, _ = tiny_network(tmp_path, put, "cnn", "binary")
    network = tmp_path / "networks" / record.trial.id
    (tmp_path / "q.csv").write_text(table(noted(n2='"5 prime', n7='3"')))
    done = dnabench("predict", network, tmp_path / "q.csv", "--to", tmp_path / "out.csv")
    assert done.returncode and "q.csv:4: a quote" in done.stderr
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "q.csv").write_text(table(noted(n2='"5 prime"'), end="\r"))
    done = dnabench("predict", network, tmp_path / "q.csv")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 13


@pytest.mark.parametrize("name", ["a.fa", "a.csv"])
def test_letters_that_are_no_bases_are_counted(name, put, tmp_path):
    """By the file's end: what was read as N, and rows that have nothing else."""
    network, *_ = tiny_network(tmp_path / "runs", put, "cnn", "multiclass")
    seqs = ["ACGTR" * 16, "N" * 80, "acgty" * 16, "RN" * 40, "A" * 80]
    rows = {"a.fa": "".join(f">{i}\n{x}\n" for i, x in enumerate(seqs))}
    rows["a.csv"] = "\n".join(["sequence", *seqs, ""])
    (tmp_path / name).write_text(rows[name])
    said, out = [], io.BytesIO()
    assert predict_file(network, tmp_path / name, out, "csv", say=said.append) == 5
    assert said == [
        "IUPAC ambiguity letters read as N: 72",
        "2 rows of N alone: nothing can be predicted of them",
    ]
    said = []
    (tmp_path / name).write_text(rows[name].translate(str.maketrans("RYry", "ACac")))
    predict_file(network, tmp_path / name, out, "csv", say=said.append)
    assert said == ["1 row of N alone: nothing can be predicted of them"]
