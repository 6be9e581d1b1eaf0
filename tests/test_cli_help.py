"""What the command says of itself: help, examples, lists cut to a terminal, completion."""

import contextlib
import fcntl
import gzip
import os
import pty
import re
import shlex
import struct
import subprocess
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
from dnabench.sweep.tasks import suites

ROOT = get_command(main)


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


def test_a_list_of_tasks_takes_a_suite():
    done = dnabench("list", "tasks", "demo", "gue/mouse_0")
    named = re.findall(r"^task +(\S+)$", done.stdout, re.M)
    assert done.returncode == 0 and named == [*suites()["demo"], "gue/mouse_0"]
    bad = dnabench("list", "models", "demo")
    assert bad.returncode == 2 and "no model named 'demo'" in bad.stderr


@pytest.mark.parametrize("words", [["report"], ["compare", "kmer", "cnn"], ["figure", "strip"]])
def test_a_folder_without_records_names_those_that_have_some(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    bad = dnabench(*words)
    assert bad.returncode == 2
    assert bad.stderr.endswith(
        "no records in runs; make some: dnabench run --suite demo --out runs\n"
    )
    for name in ("runs/demo", "runs/empty", "other"):
        (tmp_path / name / "records").mkdir(parents=True)
    for name in ("runs/demo", "other"):
        (tmp_path / name / "records" / "a.json").write_text("{}")
    bad = dnabench(*words)
    assert bad.returncode == 2
    said = "no records in runs; there are some in other, runs/demo (--out), or make some: dnabench"
    assert said in bad.stderr and "empty" not in bad.stderr


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


REFUSED = {  # what a command's help leaves out, as the command refuses it or says it is not used
    "regimes": ("regime", "sweep"), "tune": ("sweep",), "worker": ("set-resource", "task-time"),
    "plan": ("set-resource", "task-time"), "run": (),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_the_help_has_no_flags_that_the_command_refuses(name):
    page = PAGES[name,]
    shown = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", page.get_help(typer.Context(page)), re.M))
    every = {o.removeprefix("--") for p in page.params for o in p.opts if o[:2] == "--"}
    assert every - shown == {*REFUSED[name]} and {"executor", "jobs"} <= shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("regimes -s demo --genomes a=a.fa --sweep lr=1,2", "--regime and --sweep have no part"),
        ("regimes -s demo --genomes a=a.fa --regime pretrained", "--regime and --sweep have no"),
        ("tune -s demo --sweep lr=1,2 --dry-run", "--sweep lr=1,2: write --space for values"),
        ("worker --set-resource gres=gpu:1", "--set-resource 'gres=gpu:1' is for --executor slurm"),
        ("worker --task-time 1h", "--task-time 1h: it divides trials into tasks of Slurm; leave"),
        ("worker --executor ray", "--executor ray: a worker runs trials on its own machine"),
        ("plan -s demo --executor slrum", "no executor named 'slrum'; choose from local"),
    ],
)
def test_flags_that_the_help_leaves_out_are_refused(words, says, tmp_path):
    done = dnabench(*words.split(), "--out", tmp_path / "runs")
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def write_examples(folder, csv):
    """The files that the examples of `run` name."""
    (folder / "my.csv").write_bytes(csv.read_bytes())
    part = planted_split(200, 7)
    texts = [part.seqs[i] for i in range(200)]
    for name, some in (("enhancers.fa", texts[:60]), ("others.fa", texts[60:120])):
        (folder / name).write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(some)))
    chroms = {
        name: "".join(texts[k:] + texts[:k])
        for k, name in enumerate(("chr1", "chr2", "chr8", "chr9"))
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
