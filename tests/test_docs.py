"""README.md, CONTRIBUTING.md and docs/: commands work, shown output is real, names exist."""

import ast
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import yaml
from conftest import annotated_genome, gue, planted_split
from yeast_part import write_yeast

from dnabench import MODELS
from dnabench.cli import main
from dnabench.tasks.io.vcf import COLUMNS as VCF

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PAGES = [*GUIDE, ROOT / "CHANGES.md", *sorted((DOCS / "benchmarks").glob("*.md"))]
QUICK = ["--limit", "40", "--epochs", "1", "--seeds", "2", "--executor", "inline"]
FOLDERS = "docs|tests|harness|models|tasks|results|reports"
PATH = rf"(?:{FOLDERS})/[\w./-]+\.(?:md|py|csv|json|png|svg)(?:\.gz)?"


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str
    not_run: str  # the reason, where a comment before the block gives one
    output: str  # of the block of text that follows at once


def blocks(page):
    """Fenced blocks in their order; a block of text behind one of bash is what it prints."""
    fence = r"(?:<!-- not run: (.+?) -->\s*\n)?^```(\w+)\n(.*?)^```$"
    found = list(re.finditer(fence, page.read_text(), re.M | re.S))
    for this, following in zip(found, [*found[1:], None], strict=False):
        shown = ""
        if following and following[2] == "text":
            between = page.read_text()[this.end() : following.start()]
            shown = "" if between.strip() else following[3]
        yield Block(page, this[2], this[3], this[1] or "", shown)


def lines(text):
    """The commands of a block, without remarks and with continued lines joined."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]


ALL = [block for page in GUIDE for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "bash"]
WORKFLOW = next(block for block in ALL if block.language == "yaml")
STEPS = yaml.safe_load(WORKFLOW.text)["jobs"]["smoke"]["steps"]
WRITTEN = [  # (block, line) of each dnabench command that runs
    *((block, line) for block in SHELL if not block.not_run for line in lines(block.text)),
    *((WORKFLOW, step["run"]) for step in STEPS if "run" in step),
]
COMMANDS = [  # (block, words behind `dnabench`)
    (block, shlex.split(line, comments=True)[1:])
    for block, line in WRITTEN
    if line.startswith("dnabench ")
]


def label(value):
    return " ".join(value[1]) if isinstance(value, tuple) else str(value)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the pages take for granted, and the plugin of own-model.md."""
    folder = tmp_path_factory.mktemp("docs")
    rows = ["sequence,label,split"]
    for split, n in (("train", 64), ("dev", 24), ("test", 32)):
        part = planted_split(n, ("train", "dev", "test").index(split))
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    (folder / "my.csv").write_text("\n".join(rows) + "\n")
    gue(folder)
    annotated_genome(folder, "fly.fa.gz", "fly.gff3.gz")
    annotated_genome(folder, "genome.fa", "genome.gff3")
    write_yeast(folder)
    write_variants(folder)
    scores = [f"{0.80 + (7 * i % 13) / 100:.4f}" for i in range(20)]
    (folder / "seeds.csv").write_text(
        "model,task,seed,score\n"
        + "".join(f"{'ab'[i // 10]},t,{i % 10},{s}\n" for i, s in enumerate(scores))
    )
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    (net,) = re.findall(r"^`net.py`\n\n```python\n(.*?)^```$", guide, re.M | re.S)
    (folder / "net.py").write_text(net)
    page = (DOCS / "own-model.md").read_text()
    for name, text in re.findall(r"^`mymodel/(\S+)`\n\n```\w+\n(.*?)^```$", page, re.M | re.S):
        target = folder / "mymodel" / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    for block in ALL:
        if block.language == "toml" and block.page.name == "quickstart.md":
            (folder / "sweep.toml").write_text(block.text)
    install(folder / "mymodel")
    return folder


def write_variants(folder):
    """A VCF file of the genome with a label in INFO, and places of genomes as BED."""
    rows = []
    for name, seq in re.findall(r"^>(\S+)\n(\S+)$", (folder / "genome.fa").read_text(), re.M):
        for k, p in enumerate(range(100, 600, 100)):
            ref, alt = seq[p - 1], "CGTA"["ACGT".index(seq[p - 1])]
            rows.append(f"{name}\t{p}\t.\t{ref}\t{alt}\t.\t.\tpathogenic={k % 2}\n")
    (folder / "my.vcf").write_text("#" + "\t".join(VCF) + "\n" + "".join(rows))
    (folder / "places.bed").write_text("chr1\t1100\t1101\nchr2\t1500\t1501\n")
    rows = [f"V\t{i}\t{i + 50}\t{'ab'[i // 900 % 2]}\n" for i in range(9_000, 99_000, 900)]
    (folder / "regions.bed").write_text("".join(rows))
    gene = "V\tx\tCDS\t9001\t9400\t.\t-\t0\tID=c;Parent=t\n"
    (folder / "genes.gff3").write_text(gene)


def install(package):
    """What pip makes of a package with one module and entry points, without a network."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = package / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = "".join(
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)


def quickened(words):
    """The same command in less time: few examples, one epoch, two seeds."""
    if words[0] == "run" and "--dry-run" not in words:
        return [*words, *QUICK]
    if words[0] == "tune" and "--dry-run" not in words:
        return [*words, *QUICK, "--budget", "3", "--tuning-seeds", "1"]
    if words[0] == "regimes" and "--dry-run" not in words:
        return [*words, *QUICK]
    return [*words, "--probe-seconds", "0.1", "--limit", "40"] if words[0] == "plan" else words


@pytest.fixture(scope="module")
def results(place):
    """Every command of the pages, run in their order in one folder; equal ones once."""
    unique = list({tuple(quickened(words)): None for _, words in COMMANDS})
    env = {
        **os.environ, "DNABENCH_CACHE": str(place / "cache"), "COLUMNS": "100",
        "PYTHONPATH": os.pathsep.join(
            [str(place / "mymodel"), os.environ.get("PYTHONPATH", "")]
        ).rstrip(os.pathsep),
    }  # fmt: skip
    # a process knows the tasks that were there when it looked, so those that make tasks go first
    makes = [words for words in unique if words[:2] in (("data", "genes"), ("data", "import"))]
    found = {}
    for part in (makes, [words for words in unique if words not in makes]):
        (place / "commands.json").write_text(json.dumps(part))
        argv = [sys.executable, ROOT / "tests" / "run_docs.py", "commands.json", "results.json"]
        done = subprocess.run(argv, cwd=place, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed = json.loads((place / "results.json").read_text())
        found |= dict(zip(part, printed, strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=label)
def test_a_command_of_the_pages_runs(command, results):
    done = results[tuple(quickened(command[1]))]
    assert done["code"] == 0, done["err"] or done["out"]


SHOWN = [block for block in SHELL if block.output and not block.not_run]


@pytest.mark.slow
@pytest.mark.parametrize("block", SHOWN, ids=lambda b: b.text.strip())
def test_shown_output_is_what_is_printed(block, results, place):
    printed = ""
    for line in lines(block.text):
        if line.startswith("dnabench "):
            printed += results[tuple(quickened(shlex.split(line)[1:]))]["out"]
        else:
            printed += subprocess.run(
                line, shell=True, cwd=place, capture_output=True, text=True, check=True
            ).stdout
    pieces = [re.escape(piece) for piece in block.output.strip().split("...")]
    shown = ".*".join(pieces)
    assert re.search(shown, printed, re.S), printed


@functools.cache
def command_tree():
    return typer.main.get_command(main)


def parse(words):
    """Read the words as the command line would, without running anything.

    Raises:
        AssertionError: for a command or flag that does not exist.
    """
    command = command_tree()
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"no command {words[:1]} in {command.name}"
        command, words = command.commands[words[0]], words[1:]
    known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        flag = word.partition("=")[0]
        assert not re.match(r"--?[a-zA-Z]", flag) or flag in known, f"{command.name}: no {flag}"


def mentioned(page):
    """Commands in the text of a page, in all its blocks, and in workflow files."""
    text = page.read_text()
    yield from re.findall(r"`(dnabench [^`]+)`", text)
    indented = re.findall(r"(?:^    .*\n)+", text, re.M)
    for block in [*indented, *(block.text for block in blocks(page))]:
        for line in lines(block):
            if found := re.match(r"\s*(?:- run: )?(dnabench .+)", line):
                yield found[1]


MENTIONED = sorted({(page, text) for page in PAGES for text in mentioned(page)})


@pytest.mark.parametrize(
    "where", MENTIONED, ids=lambda w: f"{w[0].name}: {w[1]}"[:90] if isinstance(w, tuple) else ""
)
def test_a_command_that_is_only_named_exists_with_its_flags(where):
    text = re.sub(r"(\w+)\|[\w|]+", r"\1", where[1].replace("...", ""))  # one|other
    words = shlex.split(text, comments=True)[1:]
    if words and not words[0].startswith("-"):
        parse(words)


def test_a_wrong_flag_is_caught():
    with pytest.raises(AssertionError, match="no --sedes"):
        parse(["run", "--sedes", "3"])
    with pytest.raises(AssertionError, match="no command"):
        parse(["data", "fech"])


@pytest.mark.parametrize(
    "page", [p for p in GUIDE if p.name != "CONTRIBUTING.md"], ids=lambda p: p.name
)
def test_every_flag_in_a_page_for_users_is_a_flag(page):
    known = {"--help", "--editable", "--no-build-isolation", "--version"}
    todo = [command_tree()]
    while todo:
        command = todo.pop()
        todo += getattr(command, "commands", {}).values()
        known |= {flag for p in command.params for flag in p.opts}
    others = r"<!--.*?-->|python tests/\S+.*|ray start.*|torchrun --nproc-per-node"
    text = re.sub(others, "", page.read_text())
    for flag in set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text)):
        assert flag in known, flag


def test_other_commands_of_the_pages_are_known_ones():
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for block in SHELL:
        for line in lines(block.text):
            words = shlex.split(line)
            if words[0] == "make":
                assert f"\n{words[1]}:" in makefile, line
            elif words[:2] == ["pip", "install"] and "[" in words[-1]:
                assert words[-1].strip(".[]") in extras["optional-dependencies"], line
            elif words[0] == "python":
                assert (ROOT / words[1]).is_file(), line
            else:
                known = (
                    "dnabench", "pip", "source", "head", "export", "openssl", "ray", "torchrun",
                )  # fmt: skip
                assert words[0] in known, line


@pytest.mark.slow
def test_the_workflow_file_keeps_a_report_that_its_commands_write(results, place):
    assert sum(block is WORKFLOW for block, _ in COMMANDS) == 2
    kept = [step["with"]["path"] for step in STEPS if "upload-artifact" in step.get("uses", "")]
    assert [(place / path).is_file() for path in kept] == [True]


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]+))?\)", page.read_text()):
        path = page.parent / target if target else page
        if "generated" in target:  # written when the site is built, which checks these
            continue
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


SOURCES = [
    path
    for part in ("harness", "models", "tasks", "results", "reports", "tests", "docs")
    for path in sorted((ROOT / part).rglob("*.py"))
    if "build" not in path.parts
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    text = re.sub(r"\w[\w.-]+/[\w.-]+@[0-9a-f]{7,}\S*( \S+)?|https?://\S+", "", page.read_text())
    for path in set(re.findall(rf"(?<![\w./-]){PATH}", text)):
        assert (ROOT / path).exists(), path


def test_files_and_headings_that_docstrings_cite_exist():
    cited = 0
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            doc = ast.get_docstring(node) or ""
            for path, anchor in re.findall(
                r"(?<![\w./-])((?:docs|tests)/[\w/-]+\.\w+)#?([\w-]*)", doc
            ):
                cited += 1
                assert (ROOT / path).exists(), f"{source}: {path}"
                assert not anchor or anchor in anchors(ROOT / path), f"{source}: {path}#{anchor}"
            foreign = re.findall(r"\b[A-Z]{3,}\.md\b", doc)
            for name in foreign:
                assert list(ROOT.rglob(name)), f"{source}: {name}"
    assert cited > 30


def test_messages_on_the_page_of_troubles_are_those_of_the_code():
    code = "".join(path.read_text() for path in SOURCES if path.parts[-2] != "tests")
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    rows = re.findall(r"^\| `([^`]+)` ", (DOCS / "troubleshooting.md").read_text(), re.M)
    quoted = [row for row in rows if " " in row]
    assert len(quoted) >= 4
    for message in quoted:
        for piece in re.split(r"\.\.\.|\d+", message):
            assert piece.strip(" ;?") in code, (message, piece)


def test_the_tree_of_rooms_is_that_of_the_repository():
    top, named = ROOT, set()
    for line in (DOCS / "architecture.md").read_text().splitlines():
        if found := re.match(r"    ([a-z_]+)/(?: |$)", line):
            top = ROOT / found[1]
            named.add(top)
        elif found := re.match(r"      ([a-z_]+)/(?: |$)", line):
            named.add(top / found[1])
    assert all(folder.is_dir() for folder in named)
    parts = ("harness", "models", "tasks", "results", "reports", "probes")
    rooms = {path.parent for part in parts for path in (ROOT / part).rglob("__init__.py")}
    assert rooms <= named, rooms - named


def test_parameter_counts_on_the_page_of_models_are_those_of_the_registry():
    table = (DOCS / "models.md").read_text().split("## ")[0]
    rows = re.findall(r"^\| (`.*`) \| ([\d,]+) \|", table, re.M)
    assert len(rows) >= 20
    for names, count in rows:
        whole, *others = re.findall(r"`([^`]+)`", names)
        family = whole.partition("-")[0]
        for name in [whole, *(o if o[0] != "-" else family + o for o in others)]:
            assert f"{MODELS[name].n_params:,}" == count, name


def test_no_placeholder_is_left():
    for page in GUIDE:
        assert not re.search(r"TODO|DEMO_|XXX", page.read_text()), page.name
