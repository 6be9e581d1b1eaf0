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


def test_the_gate_runs_the_readmes_test_command_with_what_it_leaves_out():
    assert '\nmake test SELECT="slow or not slow" ' in (ROOT / ".ci" / "run").read_text()
    assert "\nSELECT ?= not slow\n" in MAKEFILE
    assert re.findall(r"^\t\$\(PYTEST\) -m (.*)$", MAKEFILE, re.M) == ['"$(SELECT)"', "slow"]


def test_it_is_short():
    assert len(README.encode()) <= 9 * 1024 and len(README.splitlines()) <= 150


def frame(text):
    """What does not depend on numbers: the first words of the table, and the titles."""
    table, _, rest = text.partition("Verdict")
    titles = [line.split(":")[0] for line in rest.splitlines() if line and line[0] not in "- `"]
    return [line.split()[:2] for line in table.split("task", 1)[1].splitlines()], titles


def test_the_screen_in_it_is_that_of_the_demo(tmp_path):
    """The demo's own command on a few examples prints the same but for the numbers."""
    (run,) = re.findall(r"^\t\$\(BIN\)/dnabench (run .*)$", MAKEFILE, re.M)
    words = shlex.split(run.replace("runs/demo", str(tmp_path)))
    done = dnabench(*words, "--limit", "60", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    ours = dnabench("report", "--out", tmp_path).stdout
    shown = README.split("<!-- begin: output of make demo -->")[1].split("<!-- end -->")[0]
    (table, titles), (real_table, real_titles) = frame(shown), frame(ours)
    assert table[3:] == [["splicing:"], ["demo/splice_junctions", "MCC"], []]
    assert [line[0] for line in table[3:5]] == [line[0] for line in real_table[3:5]]
    assert titles == ["Assumptions (see docs/verdict.md)", "More"]
    assert set(titles) <= set(real_titles)
    assert table[0] == real_table[0] and " beats " in shown
