"""The CUDA check of tests/gpu/ in its dry mode: every section, small, on the CPU."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import HERE, gue
from gpu.report import ORDER, report
from gpu.section import Section

pytestmark = pytest.mark.slow


def check(out, *words):
    argv = [sys.executable, HERE / "gpu" / "check.py", "--device", "cpu", "--tiny", "--out", out]
    env = {**os.environ, "DNABENCH_CONVOLUTION": "direct"}  # nothing is timed to choose a form
    return subprocess.run([*argv, *words], env=env, capture_output=True, text=True, timeout=960)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """Section -> rows, and the text of check.md."""
    out = tmp_path_factory.mktemp("gpu")
    done = check(out)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "check.json").read_text())
    return {part["section"]: part["rows"] for part in found["parts"]}, (
        out / "check.md"
    ).read_text()


def test_every_section_measures_and_nothing_fails(dry):
    rows, text = dry
    assert list(rows) == list(ORDER) and all(rows.values())
    assert not [row for part in rows.values() for row in part if "error" in row]
    assert [x for x in text.splitlines() if x.startswith("## ")] == [
        x for x in text.splitlines() if x.startswith(tuple(f"## {name} (" for name in ORDER))
    ]


def test_what_it_asserts_of_numbers_holds_here(dry):
    rows, text = dry
    assert all(row["ok"] for row in rows["records"]) and "fp32: 5 of 5 within tolerance" in text
    assert rows["memory"][0]["ok"] and rows["memory"][0]["micro"] == [8, 2]
    assert all(row["same"] and row["same_deterministic"] for row in rows["repeats"])
    assert all(row["rc"] == 0 and row["ran"] == 1 for row in rows["runs"])
    assert all(row["off"] < 1e-5 for row in rows["ranks"])
    assert {row["form"] for row in rows["steps"]} == {
        "eager", "authors' form and ours", "one graph", "--compile auto", "dropout in replays",
        "a network that waits", "a network that raises",
    }  # fmt: skip
    assert all(row["ok"] for name in ("steps", "memory") for row in rows[name] if "ok" in row)
    assert max(row.get("logits_off", 0) for row in rows["steps"]) < 1e-5


def test_the_real_table_by_commands_goes_on_and_lists_what_is_missing(tmp_path):
    """On planted sequences in the layout of GUE: two models, two seeds, both protocols."""
    data = gue(tmp_path)
    for task in ("mouse/2", "prom/prom_core_tata", "prom/prom_300_tata"):
        shutil.copytree(data / "mouse" / "0", data / task)
    argv = [sys.executable, HERE / "gpu" / "table.py", "--device", "cpu", "--tiny", "--jobs", "1"]
    argv += ["--data", data, "--out", tmp_path / "table", "--seconds"]
    env = {**os.environ, "DNABENCH_CONVOLUTION": "direct"}
    said = [subprocess.run([*argv, seconds], env=env, capture_output=True, text=True, timeout=960)
            for seconds in ("0", "900")]  # fmt: skip
    assert said[0].stdout.count("not all ran (time was over)") == 6
    assert said[1].returncode == 0, said[1].stderr
    text = (tmp_path / "table" / "table.md").read_text()
    assert "not all ran" not in text and text.count("- 4 trials of ") == 6
    assert "honest/1" in text and "test-selected/1" in text


def test_without_time_it_reports_what_it_left_out(tmp_path):
    done = check(tmp_path, "--limit", "0")
    assert done.returncode == 0 and done.stdout.count("no time left") == len(ORDER)
    assert json.loads((tmp_path / "check.json").read_text())["parts"] == []


def test_a_row_that_fails_keeps_its_error_and_an_interrupted_check_can_be_read(tmp_path, capsys):
    s = Section("lengths", tmp_path, "cpu", True, budget=60)
    s.row(lambda: {"ms": 1.5}, model="a")
    s.row(lambda: 1 / 0, model="b")
    s.budget = 0
    assert s.over("model c") and s.left_out == ["model c"]
    s.save()
    text = report(tmp_path, 3)
    assert "| a | 1.5 |" in text and "ZeroDivisionError: division by zero" in text
    assert "Left out for time: model c" in text and not list(tmp_path.glob("part-*"))
