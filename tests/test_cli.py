"""The command, as a user types it: what it prints, how it ends, and what it says of bad words."""

import contextlib
import fcntl
import gzip
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios

import pytest
import typer
from conftest import command, dnabench, planted_split, popen
from typer.main import get_command
from typer.testing import CliRunner

from dnabench import MODELS, TASKS
from dnabench.cli.app import main
from dnabench.cli.errors import split_commas
from dnabench.cli.figure import KINDS
from dnabench.cli.listing import LISTINGS
from dnabench.reports.papers.published import tables
from dnabench.sweep.grid import suites

ROOT = get_command(main)


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


@pytest.mark.parametrize(
    "what", ["models", "tasks", "suites", "protocols", "recipes", "metrics", "spaces"]
)  # fmt: skip
def test_lists(what):
    done = dnabench("list", what)
    expected = {
        "models": "convnova-386k", "tasks": "demo/cell_type", "suites": "demo/splice_junctions",
        "protocols": "test-selected/1", "recipes": "nt-benchmark/convnova.yaml", "metrics": "AUROC",
        "spaces": "one:32,64,128",
    }  # fmt: skip
    assert done.returncode == 0 and expected[what] in done.stdout


def test_the_help_starts_with_the_benchmark_and_the_version_is_there():
    text = dnabench("--help").stdout
    assert re.search(r"\n\nBenchmark:\n +run .*\n +report .*\n", text)
    assert text.index("Benchmark:") < text.index("Planning") < text.index("Published tables:")
    assert "\n    dnabench run --suite demo --seeds 3\n    dnabench report\n" in text
    assert not re.search(r"[^\x00-\x7f]", text)  # no boxes in pipes
    assert dnabench("--version").stdout.strip() == "dnabench 0.1.0"


def pages(group=ROOT, path=()):
    """(words, command) of every command and group."""
    yield path, group
    for name, page in getattr(group, "commands", {}).items():
        yield from pages(page, (*path, name))


PAGES = dict(pages())
EXAMPLES = {
    line.strip(): (path, page)
    for path, page in PAGES.items()
    for line in (page.epilog or "").splitlines()[2:]
}


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_every_help_has_three_examples_and_cuts_no_sentence(path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # CliRunner prints two columns more
    text = PAGES[path].get_help(typer.Context(PAGES[path]))
    text, examples = text.split("\nExamples:\n")
    examples = [line.strip() for line in examples.splitlines()]
    assert len(set(examples)) == 3 and set(examples) <= EXAMPLES.keys()
    _, _, rest = text.partition("\n\n")
    assert not re.search(r"\w\.\.\.\n", rest) and max(map(len, rest.splitlines())) <= 80


def write_examples(folder, csv):
    """The files that the examples of `run` name."""
    (folder / "my.csv").write_bytes(csv.read_bytes())
    part = planted_split(200, 7)
    texts = [part.seqs[i] for i in range(200)]
    for name, some in (("enhancers.fa", texts[:60]), ("others.fa", texts[60:120])):
        (folder / name).write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(some)))
    chroms = {
        name: "".join(texts[k:] + texts[:k]) for k, name in enumerate(("chr1", "chr8", "chr9"))
    }
    with gzip.open(folder / "hg38.fa.gz", "wt") as file:
        file.write("".join(f">{name}\n{text}\n" for name, text in chroms.items()))
    rows = [(name, at, at + 40, ".", 0, ".", 9, 5, 3, 20) for name in chroms
            for at in range(1_000, len(chroms[name]) - 1_000, 1_500)]  # fmt: skip
    lines = ["\t".join(map(str, row)) + "\n" for row in rows]
    (folder / "peaks.narrowPeak").write_text("".join(lines))


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_has_flags_and_names_that_exist(line, csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text('models = "kmer"\nsuite = "demo"\n')
    path, page = EXAMPLES[line]
    program, *words = shlex.split(line)
    assert (program, *words[: len(path)]) == ("dnabench", *path)
    named = page.make_context("dnabench", words[len(path) :]).params
    models = [*split_commas(named.get("models") or []), named.get("a"), named.get("b")]
    assert {*filter(None, models), named.get("against") or "cnn"} <= {*MODELS}
    known = {*TASKS, *suites(), *MODELS, "fetched", "task:gue", "h3k4me3"}
    assert {*split_commas(named.get("tasks") or []), *(named.get("names") or [])} <= known
    assert {*split_commas(named.get("suite") or [])} <= {*suites()}
    assert (named.get("kind") or "strip") in (*LISTINGS, *KINDS)
    if "table" in named:
        assert named["table"] in [table.name for table in tables("")]
    if named.get("paper"):
        assert tables(named["paper"])
    if path == ("run",):
        write_examples(tmp_path, csv)
        done = CliRunner().invoke(main, [*words, "--dry-run"])
        assert done.exit_code == 0, done.output
    if path == ("list",):
        assert CliRunner().invoke(main, words).exit_code == 0


def test_flags_that_take_lists_accumulate():
    words = ["run", "--dry-run", "-s", "demo", "--seeds", "1"]
    once = dnabench(*words, "-m", "kmer,cnn", "-t", "cell_type,splice_junctions").stdout
    more = ["-m", "kmer", "-m", "cnn", "-t", "cell_type", "-t", "splice_junctions"]
    assert dnabench(*words, *more).stdout == once and "4 trials: 0 done" in once


def in_a_terminal(*words, columns):
    """What the command prints on a terminal of that width."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    argv, env = command(*words)
    env.pop("COLUMNS")
    done = popen(argv, env, stdout=child, stdin=child, stderr=subprocess.PIPE)
    os.close(child)
    text = b""
    with contextlib.suppress(OSError):  # Linux: the other end was closed
        while read := os.read(parent, 65536):
            text += read
    os.close(parent)
    assert done.wait() == 0, done.stderr.read()
    done.stderr.close()
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("what", LISTINGS)
def test_a_list_is_cut_to_the_terminal_and_whole_in_a_pipe(what):
    for columns in (80, 60):
        lines = in_a_terminal("list", what, columns=columns).splitlines()
        assert 40 < max(map(len, lines)) <= columns
    whole = dnabench("list", what).stdout.splitlines()
    first = whole[2].split()[0]
    assert first in lines[2] and not any("…" in line for line in whole)
    if max(map(len, whole)) > 60:
        assert lines[-1] == f"cut to fit: `dnabench list {what} NAME` shows all"
    wide = in_a_terminal("list", what, columns=1000)
    assert wide.splitlines() == whole


@pytest.mark.parametrize("words", [("data", "list"), ("published", "list"), ("cache", "list")])
def test_other_lists_are_cut_to_the_terminal_too(words):
    lines = in_a_terminal(*words, columns=60).splitlines()
    table = lines[: next((i for i, line in enumerate(lines) if not line), len(lines))]
    assert max(map(len, table)) <= 60
    whole = dnabench(*words).stdout
    assert "…" not in whole and in_a_terminal(*words, columns=1000) == whole
    if words[0] != "cache":  # which is empty here
        assert "cut to fit: add `| cat` to see all" in lines


def test_one_name_of_a_list_is_shown_in_full():
    text = in_a_terminal("list", "models", "convnova-386k", columns=60)
    row = next(x for x in dnabench("list", "models").stdout.splitlines() if "convnova-386k" in x)
    fields = set(dnabench("list", "models").stdout.splitlines()[0].split())
    assert set(row.split()) == set(text.split()) - fields
    assert max(map(len, text.splitlines())) <= 60
    wrong = dnabench("list", "models", "convnov")
    assert wrong.returncode == 2 and "no model named 'convnov'; did you mean conv" in wrong.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [("dnabench run -m convnova-3", "convnova-386k"),
     ("dnabench run -m kmer,convnova-3", "kmer,convnova-386k"),
     ("dnabench plan --tasks demo/ce", "demo/cell_type"), ("dnabench run -s dem", "demo"),
     ("dnabench run --protocol test", "test-selected/1"), ("dnabench compare kme", "kmer"),
     ("dnabench data verify demo/sp", "demo/splice_junctions"), ("dnabench pl", "plan")],
)  # fmt: skip
def test_the_shell_completes_names(line, expected):
    argv, env = command("--help")
    env |= {"_DNABENCH_COMPLETE": "complete_bash", "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1)}  # fmt: skip
    code = "from dnabench.cli import main; main(prog_name='dnabench')"
    done = subprocess.run([argv[0], "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == [expected]


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
    ("sequence,label\nACGT,0\nACGA\n", ":3: 1 fields, the header has 2"),
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
        rows.replace("\n", "\r\n") + "GGGTACGTAC;a\nCCGTACGTAG;b\n"
    )
    done = dnabench("run", "-m", "kmer", "--data", tmp_path / "my file.csv", "--dry-run")
    assert done.returncode == 0 and "2 classes" in done.stdout and "all" in done.stdout


@pytest.mark.parametrize(
    ("extra", "says"),
    [("ACCA,typo\n", "warning: class 'typo' has 1 examples in train and none in test"),
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


def test_a_short_sequence_for_a_model_is_a_failed_record(tmp_path):
    path = tmp_path / "short.csv"
    rows = "".join(f"ACGT{a}{b}GT,{i % 2}\n" for i, a in enumerate("ACGT") for b in "ACGT")
    path.write_text("sequence,label\n" + rows)
    done = dnabench(
        "run", "-m", "cnn,kmer", "--data", path, "--seeds", "1", "--out", tmp_path / "r"
    )
    assert (
        done.returncode == 1 and "cnn needs 57 bp; the longest of data/short has 8" in done.stderr
    )
    assert "1 ran, 0 already done, 1 failed" in done.stdout


def test_comparing_with_a_model_that_did_not_run(ran):
    done = dnabench("compare", "kmer", "hyenadna", "--out", ran[0])
    assert done.returncode == 2 and "hyenadna" in done.stderr and "Traceback" not in done.stderr
