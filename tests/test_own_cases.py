"""Inputs from public bug reports: each right, or refused with its place and the way out."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnabench.registry import TASKS
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.dividing import find_files
from dnabench.tasks.io.files import task_from_path
from dnabench.tasks.io.importing import import_tree, report
from dnabench.tasks.io.verifying import as_published, verify
from dnabench.tokens.bpe import bpe_from_file
from dnabench.types import OwnData, Sequences

CASES = Path(__file__).resolve().parents[1].parent / "shared" / "cases"


def case(name):
    if not (CASES / name).exists():
        pytest.skip(f"input missing: {CASES / name}")
    return CASES / name


REFUSED = {
    "give-01-na-sequence/data.csv": r":9: sequence 'NA' looks like a missing value",
    "give-01-na-sequence/data_nan.csv": r":9: sequence 'nan' looks like a missing value",
    "give-03-quote-swallows-rows/data.csv": r":12: a quote .* opens in this line",
    "give-04-quote-wrong-line/data.csv": r":5: a quote .* opens in this line",
    "give-19-folder-test-txt/data": r"test.txt: its name says test, but the extension is none of",
    "give-20-column-set/fold.csv": r"column 'fold' \(0, 1, 2, 3, 4\) looks like a split; .*"
    r"--split-by fold --test-groups 4; .*--split-column none",
    "give-22-parquet-list-label/data.parquet": r"column 'label' holds list.* --label-column A,B,C",
    "fault-parquet-UnicodeDecodeError-b5bafe.parquet": r"column 'sequence' holds list",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_place_and_way_out(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        task_from_path(case(name))


READ = {
    "give-05-fasta-split-word-as-label/data.fa": ({"train": 45, "test": 15}, ("0", "1")),
    "give-07-fasta-description-in-label/data.fa": ({"train": 48, "test": 12}, ("0", "1")),
    "give-17-folder-testing-csv/data": ({"train": 40, "test": 20}, ("0", "1")),
    "give-20-column-set/data.csv": ({"train": 36, "dev": 12, "test": 12}, ("0", "1")),
    "give-20-column-set/partition.csv": ({"train": 36, "dev": 12, "test": 12}, ("0", "1")),
    "give-23-parquet-binary-sequence/data.parquet": ({"train": 48, "test": 12}, ("0", "1")),
    "give-25-hub-layout/repo": ({"train": 40, "test": 20}, ("0", "1")),
    "give-25-hub-layout/saved": ({"train": 40, "test": 20}, ("0", "1")),
    "give-28-positive-class/data.csv": ({"train": 48, "test": 12}, ("-", "+")),
    "give-29-unicode-minus/labels.csv": ({"train": 48, "test": 12}, ("-1", "1")),
}


@pytest.mark.parametrize("name", READ)
def test_read_as_meant(name):
    task = task_from_path(case(name))
    assert (task.counts, task.classes) == READ[name]
    assert f"positive class: {task.classes[1]} (--positive chooses)" in describe(task)


def test_quoted_sequences_of_any_length_are_read(tmp_path):
    rng = np.random.default_rng(0)
    rows = ['"sequence","label"']
    for i in range(10):
        rows.append(f'"{"".join(rng.choice(list("ACGT"), 140_000))}","{i % 2}"')
    (tmp_path / "data.csv").write_text("\n".join(rows))
    assert task_from_path(tmp_path / "data.csv", own=OwnData(leak_check=False)).length == 140_000


def test_the_positive_class_can_be_chosen(tmp_path):
    path = case("give-28-positive-class/data.csv")
    assert task_from_path(path, own=OwnData(positive="-")).classes == ("+", "-")
    with pytest.raises(ValueError, match=r"--positive x: .* has the classes \+ and -"):
        task_from_path(path, own=OwnData(positive="x"))


def test_a_wordpiece_file_is_no_bpe():
    with pytest.raises(ValueError, match="its model is WordPiece, not BPE"):
        bpe_from_file(case("give-16-wordpiece-all-unknown/wp.json"))
    try:  # whether it loads depends on the version of tokenizers
        tokenizer = bpe_from_file(case("fault-bpe-TypeError-03f17b.json"))
    except ValueError as e:
        assert "fault-bpe-TypeError" in str(e)
    else:
        seqs = Sequences.parse(["ACGTNNACGT" * 5])
        assert (tokenizer(seqs, 50, "mask").ids < tokenizer.size).all()


def genes(name, file="g.gff3"):
    found = read_annotation(case(name) / file)
    return {chromosome: len(genes) for chromosome, genes in found.genes.items()}, found


def test_only_a_line_fasta_ends_the_features(tmp_path):
    counts, _ = genes("give-08-gff-comment-begins-FASTA")
    assert sum(counts.values()) == 9 and set(counts) == {"chr1", "chr2", "chr3"}
    text = (case("give-08-gff-comment-begins-FASTA") / "g.gff3").read_text()
    for end in ("##FASTA\n>x\nACGT\n", ">x\nACGT\n"):
        (tmp_path / "g.gff3").write_text(text.rstrip("\n") + "\n" + end)
        assert sum(map(len, read_annotation(tmp_path / "g.gff3").genes.values())) == 9


def test_a_trans_spliced_gene_is_masked_and_counted_and_its_neighbours_stay():
    counts, found = genes("give-09-gff-trans-same-strand")
    assert counts["chr3"] == 3 and found.left_out == {"trans-spliced": ["nad"]}
    assert sorted(found.masked["chr3"]) == [(199, 299), (5499, 5650), (5749, 5800)]


def test_an_id_at_two_places_is_refused_with_both_lines():
    with pytest.raises(ValueError, match=r":38: the gene ID=chr1g0 is also in line 2, 4,199 bp"):
        genes("give-11-gff-one-id-two-loci")


def test_augustus_gtf_is_gtf():
    counts, found = genes("give-12-gtf-augustus", "g.gtf")
    assert sum(counts.values()) == 9
    assert found.genes["chr1"][0].exons == ((499, 700), (899, 1100))


def test_a_gene_over_the_origin_of_a_circle_is_masked():
    counts, found = genes("give-14-gff-circular-plasmid")
    assert list(found.left_out) == ["over the origin of a circular sequence"]
    assert sum(counts.values()) >= 9
    (last,) = {end for _, end in found.masked["p1"] if end > 1000} or {0}
    assert min(found.masked["p1"])[0] == 0 and last <= found.last["p1"][0]


@pytest.mark.parametrize("name", ["IndexError-37b5df", "KeyError-bdfe96", "RuntimeError-b539fc",
                                  "UnicodeDecodeError-53f678"])  # fmt: skip
def test_a_damaged_bend_file_costs_its_own_task_only(name, tmp_path, monkeypatch):
    beside_intact(case(f"fault-bend-{name}"), "bend", "bend/gene_finding", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["KeyError-2b875d", "RuntimeError-b383e8", "ValueError-fbb252"])
def test_a_damaged_deepsea_file_costs_its_own_task_only(name, tmp_path, monkeypatch):
    beside_intact(case(f"fault-deepsea-{name}"), "deepsea", "deepsea", tmp_path, monkeypatch)


def beside_intact(folder, into, task, tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(folder, tmp_path / "tree" / into)
    intact = tmp_path / "tree" / "mouse" / "0"
    intact.mkdir(parents=True)
    rows = "".join(f"ACGT{a}{b}ACGT,{i % 2}\n" for i, a in enumerate("ACGT") for b in "ACGT")
    for split in ("train", "dev", "test"):
        (intact / f"{split}.csv").write_text("sequence,label\n" + rows)
    found = {one.task: one for one in import_tree(tmp_path / "tree")}
    assert found["gue/mouse_0"].counts == {"train": 16, "dev": 16, "test": 16}
    (other,) = (one for name, one in found.items() if name.startswith(task))
    assert other.error and not other.counts
    assert any(
        line.startswith(f"{other.task}: not imported: ") for line in report(tmp_path, [other])
    )


def test_swapped_test_labels_are_not_as_published(tmp_path, monkeypatch):
    source = CASES.parent / "data" / "gue" / "mouse" / "0"
    if not source.exists():
        pytest.skip(f"real benchmark data missing: {source}")
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(source, tmp_path / "GUE" / "mouse" / "0")
    (one,) = import_tree(tmp_path / "GUE")
    assert not one.problems and as_published(TASKS["gue/mouse_0"]) == "content as published"
    test = tmp_path / "GUE" / "mouse" / "0" / "test.csv"
    test.chmod(0o644)
    head, *rows = test.read_text().splitlines()
    test.write_text("\n".join([head, *(f"{r[:-1]}{1 - int(r[-1])}" for r in rows)]))
    (one,) = import_tree(tmp_path / "GUE", only=["gue/mouse_0"])
    assert any(
        "test: sequences or labels differ from the published ones" in p for p in one.problems
    )
    assert any("content" in line for line in verify(TASKS["gue/mouse_0"]))


def test_json_lines_are_read_and_a_broken_line_is_named(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"sequence": "".join(rng.choice(list("ACGT"), 60)), "label": i % 2} for i in range(20)]
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert sum(task_from_path(path).counts.values()) == 20
    path.write_text('{"sequence": "ACGT"\n')
    with pytest.raises(ValueError, match=r"my.jsonl: cannot be read as jsonl"):
        task_from_path(path)


def test_a_small_parquet_file_that_says_it_is_huge_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1 << 20, np.int32)), ["A" * 300])
    label = pa.array(np.zeros(1 << 20, np.int8))
    path = tmp_path / "my.parquet"
    schema = pa.table({"sequence": one, "label": label}).schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(2):
            writer.write_table(pa.table({"sequence": one, "label": label}))
    with pytest.raises(
        ValueError, match=r"bytes in 2,097,152 rows; at most .* made to fill memory"
    ):
        task_from_path(path)


def test_a_gzip_file_that_unpacks_to_far_more_is_refused(tmp_path):
    path = tmp_path / "my.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"sequence,label\n")
        for _ in range(33):
            file.write(b"A" * (1 << 23))
    with pytest.raises(
        ValueError, match=r"my.csv.gz: its .* bytes unpack to more than .* unpack it yourself"
    ):
        task_from_path(path)


def saved(folder, names, state=None):
    """A split as `save_to_disk` writes it: three examples a file."""
    pa = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for name in names:
        texts = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(3)]
        table = pa.table({"sequence": texts, "label": [0, 1, 1]})
        with pa.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table)
    if state is not None:
        listed = {"_data_files": [{"filename": name} for name in state]}
        (folder / "state.json").write_text(json.dumps(listed))


SHARDS = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]


@pytest.mark.parametrize("state", [SHARDS, None])
def test_caches_beside_saved_data_are_not_data(tmp_path, state):
    saved(tmp_path / "train", [*SHARDS, "cache-4f3a.arrow"], state)
    saved(tmp_path / "test", SHARDS, state)
    task = task_from_path(tmp_path)
    assert [len(task.load(split).y) for split in ("train", "test")] == [6, 6]
    files, notes = find_files(tmp_path, OwnData())
    assert len(files) == 4 and notes == ("ignored files: cache-4f3a.arrow",)


@pytest.mark.parametrize(
    ("names", "state", "says"),
    [
        (SHARDS[:1], None, "the train split lacks shard data-00001-of-00002 .1 of 2 are missing"),
        (SHARDS[:1], SHARDS, "lists data-00001-of-00002.arrow, which is not there"),
        ([*SHARDS, "data-00000-of-00001.arrow"], None, "files of two series"),
        (["cache-1.arrow"], None, "no file data-00000-of-00001.arrow and no state.json"),
    ],
)
def test_saved_data_that_are_not_whole_are_refused(tmp_path, names, state, says):
    saved(tmp_path / "train", names, state)
    with pytest.raises(ValueError, match=says):
        find_files(tmp_path, OwnData())


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "lacks shard train-00001-of-0"),
        (["train-00000-of-00001.csv", "train-00000-of-00002.csv"], "files of two series"),
        (["train-00000-of-00001.csv", "train-00000-of-00001-ab.csv"], "-ab.csv; remove one"),
        (["train-00000-of-00001.csv", "train-00001-of-00001.csv"], "no such shard of 1"),
        (["Train.csv", "train-00000-of-00001.csv"], "both claim the train split"),
    ],
)
def test_shards_of_a_split_are_one_whole_series(tmp_path, names, says):
    for name in names:
        (tmp_path / name).write_text("sequence,label\nACGT,0\n")
    with pytest.raises(ValueError, match=says):
        find_files(tmp_path, OwnData())


def test_a_minus_of_unicode_is_a_minus_in_tables_too():
    from dnabench.reports.papers.read_table import read

    _, scores = read(case("give-29-unicode-minus/seeds.csv"))
    assert min(min(values) for values in scores.values()) == -0.0847
