"""README.md: its first screen, and the screen of the demo in it; its commands: test_docs.py."""

import re
import shlex
from pathlib import Path

from conftest import dnabench

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_first_screen_has_exactly_the_two_commands():
    first = README.split("<!-- begin")[0]
    assert re.findall(r"^    (\S.*?)  +#", first, re.M) == ["make demo", "make test"]
    assert "\ndemo:" in MAKEFILE and "\ntest:" in MAKEFILE


def test_the_gate_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_it_is_short():
    assert len(README.encode()) <= 9 * 1024 and len(README.splitlines()) <= 150


def lines_of(text):
    """What does not hang on numbers: headings, heads of tables, names of rows."""
    rows = [[c.strip() for c in x.split("|")[1:-1]] for x in text.splitlines() if x[:1] == "|"]
    heads = [x.strip("# ") for x in text.splitlines() if x.startswith("#")]
    return heads, rows[0], [row[:2] for row in rows[2:]]


def test_the_screen_in_it_is_that_of_the_demo(tmp_path):
    """The demo's own command on a few examples prints the same but for the numbers."""
    (run,) = re.findall(r"^\t\$\(BIN\)/dnabench (run .*)$", MAKEFILE, re.M)
    words = shlex.split(run.replace("runs/demo", str(tmp_path)))
    done = dnabench(*words, "--limit", "60", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    ours = dnabench("report", "--out", tmp_path).stdout
    shown = README.split("<!-- begin: output of make demo -->")[1].split("<!-- end -->")[0]
    (heads, head, rows), (real_heads, real_head, real_rows) = lines_of(shown), lines_of(ours)
    assert (head, rows) == (real_head, real_rows[: len(rows)])
    assert heads[1:] == real_heads[1 : len(heads)]  # the first says that examples were limited
