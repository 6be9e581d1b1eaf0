"""The CUDA check of tests/gpu/ in its dry mode: every section, small, on the CPU."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import HERE, gue
from gpu.check import BUDGETS, LEAST, PROCESSES, ended, files_of_gpu_tests, run
from gpu.environment import asked
from gpu.report import ORDER, code_digest, earlier_parts, machine, report
from gpu.section import Section

pytestmark = pytest.mark.slow


def check(out, *words):
    argv = [sys.executable, HERE / "gpu" / "check.py", "--device", "cpu", "--tiny", "--out", out]
    argv += ["--limit", "900"]  # on a busy machine; where a test gives another, that counts
    env = {**os.environ, "DNABENCH_CONVOLUTION": "direct"}  # nothing is timed to choose a form
    return subprocess.run([*argv, *words], env=env, capture_output=True, text=True, timeout=1200)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """Section -> rows, and the text of check.md."""
    out = tmp_path_factory.mktemp("gpu")
    done = check(out)
    assert done.returncode == 0, done.stderr
    return rows_in(out / "check.json"), (out / "check.md").read_text()


def rows_in(path):
    """Section -> rows of the last occasion."""
    last = json.loads(path.read_text())["occasions"][-1]
    return {part["section"]: part["rows"] for part in last["parts"]}


def test_every_section_measures_and_nothing_fails(dry):
    rows, text = dry
    assert list(rows) == list(ORDER) and all(rows.values())
    assert not [row for part in rows.values() for row in part if "error" in row]
    headings = [x for x in text.splitlines() if x.startswith("### ")]
    assert [x.split()[1] for x in headings] == list(ORDER) and "Not measured: nothing." in text


def test_what_it_asserts_of_numbers_holds_here(dry):
    rows, text = dry
    assert all(row["ok"] for row in rows["records"]) and "fp32: 5 of 5 within tolerance" in text
    assert rows["memory"][0]["ok"] and rows["memory"][0]["micro"] == [8, 2]
    assert all(row["same"] and row["same_deterministic"] for row in rows["repeats"])
    assert all(row["rc"] == 0 and row["ran"] == 1 for row in rows["runs"])
    assert all(row["off"] < 1e-5 for row in rows["ranks"])
    assert all(row["ok"] for row in rows["probes"])
    assert {row["probe"] for row in rows["probes"]} == {"fields", "variants", "maps", "contexts"}
    assert {row["form"] for row in rows["steps"]} == {
        "eager", "authors' form and ours", "one graph", "--compile auto", "dropout in replays",
        "a network that waits", "a network that raises", "a network that synchronises",
        "one graph, small, of the other families",
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
    over = [x.split(":")[0] for x in said[0].stdout.splitlines() if "(time was over)" in x]
    assert over[:2] == ["- mouse/2, honest/1", "- mouse/2, test-selected/1"] and len(over) == 6
    assert said[1].returncode == 0, said[1].stderr
    text = (tmp_path / "table" / "table.md").read_text()
    assert "not all ran" not in text and text.count("- 4 trials of ") == 6
    assert "honest/1" in text and "test-selected/1" in text


def test_without_time_it_reports_what_it_left_out(tmp_path):
    done = check(tmp_path, "--limit", "0")
    assert done.returncode == 0 and done.stdout.count("no time left") == len(ORDER)
    assert rows_in(tmp_path / "check.json") == {}
    assert f"Not measured: {', '.join(ORDER)}." in (tmp_path / "check.md").read_text()


def test_a_row_that_fails_keeps_its_error_and_an_interrupted_check_can_be_read(tmp_path):
    s = Section("lengths", tmp_path, "cpu", True, budget=60)
    s.row(lambda: {"ms": 1.5}, model="a")
    s.row(lambda: 1 / 0, model="b")
    s.budget = 0
    assert s.row(lambda: {"ms": 2.0}, model="c") is None and s.left_out == ["c"]
    s.save()
    text = report(tmp_path, 3)
    assert "| a | 1.5 |" in text and "ZeroDivisionError: division by zero" in text
    assert "lengths: c." in text and not list(tmp_path.glob("part-*"))


def test_the_suites_own_tests_need_no_package_that_a_user_has_not():
    """A machine with a GPU may have no network, and one file that fails to load stops pytest."""
    files = files_of_gpu_tests()
    assert {f.name for f in files} == {"test_evaluate.py", "test_meter.py", "test_scan.py"}
    absent = ["captum", "logomaker", "optuna", "peft", "playwright", "pysam", "ray", "umap"]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}))\nimport pytest\n"
    code += "sys.exit(pytest.main(['-m', 'gpu', '--collect-only', *sys.argv[1:]]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *files, "-p", "no:cacheprovider"],
        capture_output=True, text=True, cwd=HERE.parent,
    )  # fmt: skip
    assert done.returncode == 0 and "4/" in done.stdout, done.stdout


def test_a_package_that_is_missing_costs_the_section_that_needs_it(tmp_path):
    """transformers and pytest are not on every machine that has PyTorch."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    for name in ("records", "environment", "report"):
        code = "import sys; sys.modules.update(dict.fromkeys(['pytest', 'transformers']))\n"
        code += "from gpu.__main__ import main; main()"
        words = [name, "--out", tmp_path, "--device", "cpu", "--tiny", "--budget", "30"]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    rows = rows_in(tmp_path / "check.json")
    assert len(rows["environment"]) > 3 and "pytest" in rows["records"][0]["error"]
    assert "- the whole section: ModuleNotFoundError" in (tmp_path / "check.md").read_text()


def test_what_a_run_asks_of_a_gpu_is_asked_where_it_is_measured(tmp_path, monkeypatch):
    """It is not `torch.empty` on the device, which takes hundreds of MB; here nothing is asked."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho x >> "$0.n"; expr 100 + 7 "*" $(wc -l < "$0.n")\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = asked()
    assert found["MiB"] == 7 and found["initialised"] is False, found


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path):
    """Or trials of one section would disturb what the next one measures."""
    code = (
        "import subprocess as s; p = s.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    )
    with (tmp_path / "pid").open("w") as file:
        said = ended([sys.executable, "-c", code], 3, stdout=file)
    assert said == "more than 3 s"
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    for _ in range(100):  # killed, it has still to end
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it runs on")


def test_a_section_goes_on_behind_the_row_that_ended_it(tmp_path):
    """As a CUDA error does after which a process can do no more."""
    s = Section("lengths", tmp_path, "cpu", True, budget=60)
    s.row(lambda: {"ms": 1.0}, model="a")
    with pytest.raises(SystemExit):
        s.row(lambda: sys.exit(1), model="b")
    begun = json.loads((tmp_path / "part-lengths.json").read_text())["rows"]
    assert "ended while this was measured" in begun[1]["error"]
    s = Section("lengths", tmp_path, "cpu", True, budget=60, begun=begun)
    measured = [s.row(lambda: {"ms": 2.0}, model=name) for name in "abc"]
    assert [row.get("ms") for row in measured] == [1.0, None, 2.0]
    assert measured[1] == begun[1]


def test_a_row_that_hangs_ends_its_process_and_says_where(tmp_path):
    """A compiler, or a kernel, that never returns must not cost the other rows."""
    code = (
        "import sys, time; from pathlib import Path; from gpu.section import Section\n"
        "s = Section('lengths', Path(sys.argv[1]), 'cpu', True, budget=60)\n"
        "s.longest = 1\n"
        "def hangs(): time.sleep(300)\n"
        "s.row(lambda: {'ms': 1.0}, model='a'); s.row(hangs, model='b')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "in hangs" in done.stderr
    rows = json.loads((tmp_path / "part-lengths.json").read_text())["rows"]
    assert rows[0]["ms"] == 1 and "ended while this was measured" in rows[1]["error"]


NOTED = """
import json, pathlib, sys
name, words = sys.argv[1], sys.argv[2:]
print(*sys.argv[1:], file=open("called", "a"))
part = pathlib.Path(words[words.index("--out") + 1], f"part-{name}.json")
part.write_text(json.dumps({"late": int(name == "steps" and "--again" not in words)}))
sys.exit(name == "memory")
"""


def called(tmp_path, monkeypatch, left, sections=None):
    """How sections were called, by a `gpu` package that notes it: memory fails, steps is late."""
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "__main__.py").write_text(NOTED)
    args = SimpleNamespace(
        sections=sections, out=tmp_path, device="cuda", tiny=False, earlier=tmp_path / "none"
    )
    monkeypatch.chdir(tmp_path)
    run(args, lambda: left, {**os.environ, "PYTHONPATH": str(tmp_path)})
    return [line.split() for line in (tmp_path / "called").read_text().splitlines()]


@pytest.mark.parametrize("sections", [None, ["memory"]])
def test_a_failed_section_is_begun_again_and_a_late_one_in_the_end(sections, tmp_path, monkeypatch):
    words = called(tmp_path, monkeypatch, 400.0, sections)
    first = [w[0] for w in words if "--again" not in w]
    assert first == (sections or list(ORDER)) == [n for n in BUDGETS if n in first]
    again = [w[0] for w in words if "--again" in w]
    assert again == ["memory"] * (PROCESSES - 1) + ["steps"] * (not sections)


def test_budgets_shrink_together_where_time_is_short(tmp_path, monkeypatch):
    """Until none is worth a process: the last sections are not left with nothing."""
    words = called(tmp_path, monkeypatch, 100.0)
    given = {w[0]: int(w[w.index("--budget") + 1]) for w in words if "--again" not in w}
    assert given["steps"] == pytest.approx(94 * 170 / (sum(BUDGETS.values()) - 110), abs=2)
    assert min(given.values()) >= LEAST - 1 and given["environment"] < BUDGETS["environment"]


def test_a_report_asks_no_device_which_may_have_failed_for_good(tmp_path):
    this = {**machine("cpu"), "device": "NVIDIA H200"}
    s = Section("lengths", tmp_path, "cpu", True, budget=60, machine=this)
    s.row(lambda: {"ms": 1.0}, model="a")
    assert "## NVIDIA H200, " in report(tmp_path, 3, device="cuda")


def test_occasions_are_of_one_code_and_one_size(tmp_path):
    """A commit of results changes no digest, any edit of what is measured does."""
    (tmp_path / "harness").mkdir()
    source = tmp_path / "harness" / "a.py"
    source.write_text("x = 1")
    found = [code_digest(tmp_path)]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "gpu.json").write_text("{}")
    found.append(code_digest(tmp_path))
    source.write_text("x = 2")
    found.append(code_digest(tmp_path))
    assert found[0] == found[1] != found[2]
    assert machine("cpu")["code"] == code_digest() and "commit" not in machine("cpu")
    for folder, tiny, tests in (("1", True, "12 passed"), ("2", True, ""), ("3", False, "")):
        out = tmp_path / folder
        out.mkdir()
        s = Section("lengths", out, "cpu", tiny, budget=60)
        s.row(lambda: {"ms": 1.0}, model=folder)
        if tests:
            (out / "pytest.txt").write_text(tests)
        earlier = tmp_path / str(int(folder) - 1) / "check.json"
        report(out, 100, "cpu", earlier, tiny)
    said = json.loads((tmp_path / "3" / "check.json").read_text())["occasions"]
    assert [(o["machine"]["tiny"], o["seconds"], o["pytest"]) for o in said] == [
        (True, 200, "12 passed"), (False, 100, ""),
    ]  # fmt: skip
    assert (
        len(earlier_parts(tmp_path / "3" / "check.json", machine("cpu", True))["lengths"]["rows"])
        == 2
    )
    assert len(earlier_parts(tmp_path / "3" / "check.json", machine("cpu"))["lengths"]["rows"]) == 1


def test_occasions_add_up_on_one_machine_and_others_stay_below(tmp_path):
    """The second measures what the first lacked or failed at, and keeps the rest."""
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    s = Section("lengths", first, "cpu", True, budget=60)
    s.row(lambda: {"ms": 1.0}, model="a")
    s.row(lambda: 1 / 0, model="b")
    report(first, 3)
    other = json.loads((first / "check.json").read_text())
    other["occasions"].insert(0, {**other["occasions"][0], "machine": {
        "device": "Another", "torch": "2", "tiny": False, "code": "c"}})  # fmt: skip
    (first / "check.json").write_text(json.dumps(other))
    had = earlier_parts(first / "check.json", machine("cpu"))["lengths"]["rows"]
    s = Section("lengths", second, "cpu", True, budget=60, earlier=had)
    s.row(lambda: {"ms": 2.0}, model="b")
    s.row(lambda: {"ms": 9.0}, model="a")
    text = report(second, 3, "cpu", first / "check.json")
    assert {r["model"]: r["ms"] for r in rows_in(second / "check.json")["lengths"]} == {
        "a": 1.0, "b": 2.0
    }  # fmt: skip
    assert text.index("## Another") > text.index("| b | 2 |") and text.count("ZeroDivision") == 1
    s = Section("lengths", second, "cpu", True, budget=60)  # killed before its second row
    s.row(lambda: {"ms": 3.0}, model="b")
    report(second, 3, "cpu", second / "check.json")
    assert {r["model"]: r["ms"] for r in rows_in(second / "check.json")["lengths"]} == {
        "a": 1.0, "b": 3.0
    }  # fmt: skip
