"""README.md: its commands work, its links lead somewhere, its names exist."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import annotated_genome, dnabench, gue

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    (dnabench .*?)(?:  +#.*)?$", README, re.M)


def test_the_first_screen_has_exactly_the_two_commands():
    first = README.split("\n## ")[0].split("printed:")[0]
    assert re.findall(r"^    (\S.*?)  +#", first, re.M) == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert "\ndemo:" in makefile and "\ntest:" in makefile


def test_the_gate_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_commands_of_the_readme_work_in_its_order(tmp_path, monkeypatch, csv):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_bytes(csv.read_bytes())
    gue(tmp_path)
    annotated_genome(tmp_path, "fly.fa.gz", "fly.gff3.gz")
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "run":
            words += ["--seeds", "1", "--epochs", "1"]
        if words[0] == "reproduce":
            words += ["--out", "reproduced"]
        if words[0] == "profile":  # a minute and 20 GB as it stands
            words = ["profile", "--models", "cnn", "--lengths", "60", "--to", "p.png"]
        done = dnabench(*words)
        # the small stand-in for GUE has other counts than the real one, and planted copies
        finds = words[:2] in (["data", "verify"], ["audit", "data"])
        assert done.returncode == (1 if finds else 0), (command, done.stderr)


@pytest.mark.parametrize("what", ["models", "tasks", "suites", "protocols", "recipes", "metrics"])
def test_the_lists_it_names_exist(what):
    assert what in README and dnabench("list", what).returncode == 0


def test_every_flag_it_names_is_a_flag():
    pages = ["run", "report", "data genes", "audit data", "profile", "tokenizer train", "figure"]
    pages += ["audit published", "reproduce", "plan", "doctor"]
    known = "".join(dnabench(*page.split(), "--help").stdout for page in pages)
    for flag in set(re.findall(r"(--[a-z][a-z-]+)", README)):
        assert flag in known, flag


def test_every_link_leads_to_a_file():
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), target


def test_every_file_that_contributing_names_exists():
    named = re.findall(
        r"`((?:models|tasks|harness|tests)/\w+\.py)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert named and all((ROOT / name).exists() for name in named)


def test_the_output_in_it_is_what_a_report_of_the_demo_looks_like(tmp_path):
    """Every line but the numbers: the same sweep on a few examples prints the same document."""
    out = tmp_path / "runs"
    words = ["run", "-s", "demo", "-t", "cell_type,splice_junctions", "--limit", "60"]
    words += ["-m", "kmer,cnn,convnova-386k", "--seeds", "3"]
    assert dnabench(*words, "--epochs", "1", "--out", out).returncode == 0
    ours = dnabench("report", "--out", out).stdout
    shown = README.split("<!-- begin: output of make demo -->")[1].split("the same with figures")[0]
    for text in ("### Against the best of each task", "### Recipes"):
        assert text in ours and text in shown

    def first_cells(text):
        rows = [x for x in text.splitlines() if x.startswith("|")]
        return {tuple(c.strip() for c in x.split("|")[1:3]) for x in rows if "MCC" in x}

    assert first_cells(ours) == first_cells(shown) and len(first_cells(shown)) == 2
    for sentence in ("± is the sample standard deviation", "Welch's t, two-sided; where pred"):
        assert sentence in ours and sentence in shown


def test_no_placeholder_is_left():
    assert not re.search(r"TODO|DEMO_|XXX", README)
