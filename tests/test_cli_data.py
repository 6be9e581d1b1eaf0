"""`dnabench data` and `dnabench audit data` as a user types them, on real files."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import annotated_genome, command, gue

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data not at {SHARED}")


@pytest.fixture
def run(tmp_path):
    """The real command with a cache of its own."""

    def call(*words):
        argv, env = command(*words)
        env["DNABENCH_CACHE"] = str(tmp_path / "cache")
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)

    return call


@pytest.mark.slow
def test_import_list_verify_audit_and_run(run, tmp_path):
    done = run("data", "import", gue(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "gue/mouse_0: 120/40/40 (train/dev/test); CSV" in done.stdout
    assert "6,478 were published" in done.stdout and "not here, of the same suites" in done.stdout
    listed = run("data", "list", "gue").stdout
    assert "120/40/40" in listed and "6478/810/810" in listed and "not here" in listed
    differ = run("data", "verify", "gue")
    assert differ.returncode == 1 and "6,478" in differ.stdout
    found = run("audit", "data", "gue", "--fail-on", "train-test-duplicates>0", "--to", tmp_path)
    assert found.returncode == 1 and "train-test-duplicates>0: it is 2" in found.stderr
    assert re.search(r"\| train and test \| 2 +\|", found.stdout)
    document = json.loads((tmp_path / "gue_mouse_0.json").read_text())
    assert document["schema"] == "dnabench.audit/1" and document["leaked"]["exact"] == [0, 1]
    assert "<section" in (tmp_path / "audit.html").read_text()
    assert run("data", "audit", "gue/mouse_0", "--fail-on", "leaked>2").returncode == 0
    ran = run("run", "-m", "kmer", "-t", "gue/mouse_0", "--seeds", "1", "--out", tmp_path / "runs")
    assert ran.returncode == 0, ran.stderr
    record = json.loads(next((tmp_path / "runs/records").glob("*.json")).read_text())
    assert len(record["trial"]["data"]) == 16 and record["n_examples"]["train"] == 120


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "-m", "kmer", "-t", "gue/mouse_0"], "data fetch gue/mouse_0` gets them"),
        (["plan", "-m", "kmer", "--suite", "bend"], "bend/gene_finding` gets them or says where"),
        (["data", "verify", "gue"], "no data of gue here; get them: dnabench data fetch gue"),
        (["data", "fetch", "gue/mouse_9"], "no task named 'gue/mouse_9'; did you mean gue/mouse_"),
        (["data", "import", "/no/such"], "/no/such"),
        (["audit", "data", "demo", "--fail-on", "train-test-duplicate>0"], "train-test-duplicate"),
        (
            ["data", "genes", "--fasta", "a", "--gff", "b", "--name", "x", "--keep", "no"],
            "--keep no",
        ),
    ],
)
def test_bad_words_are_explained(run, words, says):
    done = run(*words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_an_import_of_nothing_says_what_is_expected(run, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("data", "import", tmp_path / "empty")
    assert done.returncode == 1 and "nothing here was recognised" in done.stdout


def test_a_genome_becomes_a_task(run, tmp_path):
    annotated_genome(tmp_path, "g.fa", "g.gff3")
    words = ["data", "genes", "--fasta", tmp_path / "g.fa", "--gff", tmp_path / "g.gff3"]
    made = run(*words, "--name", "mini", "--length", "1000", "--dev", "chr2", "--test", "chr3")
    assert made.returncode == 0, made.stderr
    assert "genes/mini: " in made.stdout
    listed = run("data", "list", "genes")
    assert "genes/mini" in listed.stdout, listed.stderr
    ran = run("run", "-m", "convnova-386k", "-t", "genes/mini", "--set", "width=8", "--set",
              "blocks=3", "--epochs", "1", "--seeds", "1", "--out", tmp_path / "runs",
              "--executor", "inline")  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
@needs_data
def test_the_real_files_are_recognised_with_their_counts(run):
    done = run("data", "import", SHARED)
    assert done.returncode == 0, done.stderr
    for line in (
        "gue/prom_core_tata: 4904/613/613 (train/dev/test), content as published",
        "gue/prom_300_tata: 4904/613/613 (train/dev/test), content as published",
        "nt/h3: -/-/1497",
        "genomic_benchmarks/human_nontata_promoters: -/-/9034",
        "test: 1 row has letters other than ACGT",
        "nt_reduced/h3: 3964/-/1497",
    ):
        assert line in done.stdout
    refused = run("run", "-m", "kmer", "-t", "nt/h3")
    assert refused.returncode == 2 and "train" in refused.stderr
    for task, shared, conflicts in (("prom_core_tata", 16, 12), ("prom_300_tata", 6, 10)):
        found = run("audit", "data", f"gue/{task}").stdout
        rows = {r.split("|")[1].strip(): r.split("|") for r in found.splitlines() if r[:2] == "| "}
        assert int(rows["train and test"][2]) == shared
        assert int(rows["within train"][5]) == conflicts
