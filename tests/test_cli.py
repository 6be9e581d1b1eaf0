"""The command, as a user types it: what it prints, how it ends, and what it says of bad words."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import dnabench, planted_split


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A finished sweep: two models, one CSV, three seeds, two protocols."""
    folder = tmp_path_factory.mktemp("ran")
    rows = ["sequence,label"]
    part = planted_split(300, 3)
    rows += [f"{part.seqs[i]},{['no', 'yes'][part.y[i]]}" for i in range(300)]
    (folder / "motif.csv").write_text("\n".join(rows) + "\n")
    out = folder / "runs"
    words = ["run", "-m", "kmer,cnn", "--data", folder / "motif.csv", "--seeds", "3", "--out", out]
    done = dnabench(*words, "--epochs", "3")
    assert done.returncode == 0, done.stderr
    selected = dnabench(*words, "--epochs", "3", "--protocol", "test-selected")
    assert selected.returncode == 0, selected.stderr
    return out, done


def test_a_run_says_what_it_understood_and_what_comes_next(ran):
    out, done = ran
    assert "data/motif: binary, 2 classes" in done.stdout and "yes" in done.stdout
    assert "20 % of train in each class, set aside" in done.stdout
    assert "6 ran, 0 already done, 0 failed" in done.stdout
    assert f"dnabench report --out {out}" in done.stdout


def test_progress_without_a_terminal_is_one_line_a_trial_with_an_eta(ran):
    lines = [line for line in ran[1].stderr.splitlines() if line.startswith("[")]
    assert len(lines) == 6
    assert all(
        re.match(r"\[\d/6\] \w+( epochs=3)? data/motif seed \d: test mcc .* left$", x)
        for x in lines
    )


def test_the_report_has_a_table_for_each_protocol_and_a_watermark_for_one(ran):
    report = dnabench("report", "--out", ran[0], "--full")
    assert report.returncode == 0
    honest, selected = report.stdout.split("## test-selected/1")
    assert "data/motif" in honest and "±" in honest and "TEST-SELECTED" not in honest
    assert "TEST-SELECTED" in selected


@pytest.mark.parametrize("format", ["md", "csv", "latex", "html"])
def test_every_format_goes_to_a_file(ran, tmp_path, format):
    path = tmp_path / "table"
    done = dnabench("report", "--out", ran[0], "--format", format, "--to", path)
    assert done.returncode == 0 and done.stdout.strip() == str(path)
    assert "kmer" in path.read_text()


def test_the_html_report_goes_beside_the_records(ran):
    done = dnabench("report", "--out", ran[0], "--format", "html")
    assert done.stdout.strip() == str(ran[0] / "report.html")
    assert (ran[0] / "report.html").stat().st_size > 5000


def test_compare_names_both_and_their_difference(ran):
    done = dnabench("compare", "kmer", "cnn", "--out", ran[0])
    assert done.returncode == 0 and "kmer vs cnn" in done.stdout and "Hedges" in done.stdout


def test_a_run_keeps_its_resolved_configuration(ran):
    (first, *_) = sorted((ran[0] / "configs").iterdir())
    config = json.loads(first.read_text())
    assert config["request"]["models"] == ["kmer", "cnn"] and len(config["trials"]) == 6
    assert config["argv"][0] == "run" and config["resources"]["device"] == "cpu"


def test_a_config_file_is_the_flags_and_flags_win(csv, tmp_path):
    config = tmp_path / "sweep.toml"
    config.write_text(f'models = ["kmer"]\nseeds = 4\ndata = "{csv}"\nset = ["k_max=4"]\n')
    words = ["run", "--config", config, "--dry-run", "--out", tmp_path / "r"]
    assert "4 trials: 0 done, 4 to run" in dnabench(*words).stdout
    assert "2 trials: 0 done, 2 to run" in dnabench(*words, "--seeds", "2").stdout


def test_flags_that_take_lists_accumulate():
    words = ["run", "--dry-run", "-s", "demo", "--seeds", "1"]
    once = dnabench(*words, "-m", "kmer,cnn", "-t", "cell_type,splice_junctions").stdout
    more = ["-m", "kmer", "-m", "cnn", "-t", "cell_type", "-t", "splice_junctions"]
    assert dnabench(*words, *more).stdout == once and "4 trials: 0 done" in once


GOOD = "sequence,label\nACGT,0\nACGA,1\n"
BAD_FILES = [
    ("", "the file is empty"),
    ("sequence,label\n", "no rows"),
    ("dna,label\nACGT,0\n", "no column 'sequence'; found dna, label"),
    ("sequence,label\nACGT,0\nACGA,0\n", "every label is 0; a task needs two classes"),
    (
        "sequence,label\nACGT,0\nAXGA,1\nACCA,0\nCCGA,1\n",
        ":3: sequence has 'X' at position 1 (from 0)",
    ),
    (
        "sequence,label\nACGT,0\nACGA,-1\n",
        "labels are -1, 0: not numbered from 0 or 1 without gaps; give --kind",
    ),
    (
        "sequence,label\nACGT,0\nACGA,2\n",
        "labels are 0, 2: not numbered from 0 or 1 without gaps; give --kind",
    ),
    ("sequence,label\nACGT,a\nACGA,NA\n", ":3: label 'NA' looks like a missing value"),
    ("sequence,label\nACGT,0\nACGA\n", ":3: 1 field, the header has 2"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES)
def test_bad_data_get_one_clear_message(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = dnabench("run", "-m", "kmer", "--data", path, "--out", tmp_path / "runs")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path}") and says in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "convnov", "--suite", "demo"], "no model named 'convnov'; did you mean convnova"),
        (["-t", "demo/cells"], "no task named 'demo/cells'"),
        (["-s", "demos"], "no suite named 'demos'; did you mean demo"),
        (["-s", "demo", "--protocol", "honset"], "no protocol named 'honset'; did you mean honest"),
        (["-s", "demo", "--seeds", "x"], "--seeds 'x': give how many (10)"),
        (["-s", "demo", "--limit", "x"], "--limit 'x': give a number"),
        (["-s", "demo", "--set", "dilatoin=1"], "no option named 'dilatoin'; did you mean"),
        (["-s", "demo", "--device", "tpu7"], "--device 'tpu7' cannot be used here"),
        (["-s", "demo", "--executor", "slrum"], "no executor named 'slrum'; choose from local"),
        (["--data", "nowhere.csv"], "nowhere.csv: no such file or directory"),
        (["--config", "nowhere.toml"], "nowhere.toml: no such file"),
        ([], "no tasks; write --suite demo"),
    ],
)
def test_bad_words_get_one_clear_message(tmp_path, words, says):
    done = dnabench("run", *words, "--out", tmp_path / "runs")
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_an_output_folder_that_cannot_be_written_is_named_before_anything_runs(csv, tmp_path):
    out = tmp_path / "locked" / "runs"
    out.parent.mkdir(mode=0o555)
    if os.geteuid() == 0:  # root may write anywhere but here
        out = "/proc/dnabench-runs"
    done = dnabench("run", "-m", "kmer", "--data", csv, "--out", out)
    assert done.returncode == 2 and f"cannot write to {out}" in done.stderr
    assert "name another folder with --out" in done.stderr and "Traceback" not in done.stderr


def test_what_a_spreadsheet_writes_is_read(tmp_path):
    rows = "sequence;label\nACGTACGTAC;a\nACGTACGTAG;b\n;\n ; \n"
    (tmp_path / "my file.csv").write_text(
        rows.replace("\n", "\r\n") + "GGGTACGTAC;a\nCCGTACGTAG;b\nTTGTACGAAC;a\nAAGTACGCAG;b\n"
    )
    done = dnabench("run", "-m", "kmer", "--data", tmp_path / "my file.csv", "--dry-run")
    assert done.returncode == 0 and "2 classes" in done.stdout and "all" in done.stdout


@pytest.mark.parametrize(
    ("extra", "says"),
    [("ACCA,typo\n", "warning: class 'typo' has 1 example in train and none in test"),
     ("ACCA,NO\nACCT,NO\n", "labels 'NO' and 'no' look alike; write them in one way, or give")],
)  # fmt: skip
def test_labels_that_look_like_slips_are_said(tmp_path, extra, says):
    rows = "".join(f"ACGTAC{a}{b},{'no' if a < b else 'yes'}\n" for a in "ACGT" for b in "ACGT")
    (tmp_path / "x.csv").write_text("sequence,label\n" + rows + extra)
    done = dnabench("run", "-m", "kmer", "--data", tmp_path / "x.csv", "--dry-run")
    assert says in (done.stderr if done.returncode else done.stdout)


def test_a_report_of_nothing_says_how_to_make_something(tmp_path):
    done = dnabench("report", "--out", tmp_path)
    assert done.returncode == 2 and f"no records in {tmp_path}; make some" in done.stderr


def test_a_store_that_is_a_file_is_named(tmp_path):
    (tmp_path / "records").write_text("")
    done = dnabench("report", "--out", tmp_path)
    assert (
        done.returncode == 2 and f"cannot read {tmp_path}/records: Not a directory" in done.stderr
    )


def test_a_store_of_unreadable_records_is_named(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "0123456789abcdef.json").write_text("{}")
    done = dnabench("report", "--out", tmp_path)
    assert done.returncode == 2 and "0123456789abcdef.json: not a record" in done.stderr


OFFLINE = """import sys
def forbid(event, args):
    if event in ("socket.connect", "socket.getaddrinfo") and not isinstance(args[-1], (str, bytes)):
        raise SystemExit(f"network use: {event} {args}")
sys.addaudithook(forbid)
"""


@pytest.mark.slow
def test_the_demo_uses_no_network(tmp_path):
    """An audit hook in this process and its workers ends them at the first connection."""
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    words = [
        "-s",
        "demo",
        "--seeds",
        "1",
        "--limit",
        "60",
        "--epochs",
        "1",
        "--out",
        tmp_path / "r",
    ]
    done = dnabench("run", *words, plugin=tmp_path)
    assert done.returncode == 0 and "network use" not in done.stderr, done.stderr
    report = dnabench("report", "--out", tmp_path / "r", "--format", "html", plugin=tmp_path)
    assert report.returncode == 0, report.stderr
    html = (tmp_path / "r" / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", html) and "@import" not in html
    probe = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    caught = subprocess.run(probe, env=env, capture_output=True, text=True)
    assert "network use" in caught.stderr  # the hook is there, and it catches


def test_a_model_is_left_out_of_sequences_that_are_too_short_for_it(tmp_path):
    path = tmp_path / "short.csv"
    rows = "".join(f"ACGT{a}{b}GT,{i % 2}\n" for i, a in enumerate("ACGT") for b in "ACGT")
    path.write_text("sequence,label\n" + rows)
    done = dnabench(
        "run", "-m", "cnn,kmer", "--data", path, "--seeds", "1", "--out", tmp_path / "r"
    )
    why = "cnn is left out of data/short: it needs 57 bp, the longest sequence has 8"
    assert done.returncode == 0 and why in done.stderr
    assert "1 ran, 0 already done, 0 failed" in done.stdout
    alone = dnabench("run", "-m", "cnn", "--data", path, "--seeds", "1", "--out", tmp_path / "r")
    assert alone.returncode == 2 and f"error: {why}" in alone.stderr


def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "dnabench", "list", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 1 and said.strip() == ""


def test_comparing_with_a_model_that_did_not_run(ran):
    done = dnabench("compare", "kmer", "hyenadna", "--out", ran[0])
    assert done.returncode == 2 and "hyenadna" in done.stderr and "Traceback" not in done.stderr
