"""From a folder of real runs to a report: every format, the declared control, what is kept."""

import csv
import io
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from test_reports import record, runs

from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.memo import Memo, stamp
from dnabench.reports.render import render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.findings import matrix_grid
from dnabench.reports.text.overview import WIDTH, overview
from dnabench.reports.tidy import COLUMNS
from dnabench.results.store import Store

WANTED = ("task", "model", "metric", "n", "mean", "sd", "min", "max", "ci_low", "ci_high")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five seeds of two quick models under two protocols."""
    out = tmp_path_factory.mktemp("report") / "runs"
    for protocol in ("honest", "test-selected"):
        done = dnabench("run", "-m", "kmer,majority", "-t", "demo/splice_junctions", "--seeds", "5",
                        "--limit", "400", "--protocol", protocol, "--out", out)  # fmt: skip
        assert done.returncode == 0, done.stderr
    return out


def made(folder, **other):
    store = Store(folder)
    return report(list(store), store, Resampler(store, replicates=200), **other)


def test_csv_and_parquet_are_the_same_lines(folder, tmp_path):
    found = made(folder)
    lines = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    path = tmp_path / "x.parquet"
    path.write_bytes(render(found, "parquet"))
    table = pq.read_table(path)
    assert table.column_names == list(COLUMNS) == list(lines[0])
    assert set(WANTED) <= set(COLUMNS) and len(lines) == table.num_rows == 4
    for line, typed in zip(lines, table.to_pylist(), strict=True):
        for name, value in typed.items():
            text = line[name]
            same = text == "" if value is None else type(value)(text) == value
            assert same, (name, text, value)
        assert typed["n"] == 5 and typed["seconds"] > 0 and typed["peak_memory"] > 2**20
        assert typed["ci_low"] <= typed["mean"] <= typed["ci_high"]


def test_every_format_from_the_command_line(folder, tmp_path):
    for fmt, start in (("csv", b"protocol,"), ("parquet", b"PAR1"), ("latex", b"% "),
                       ("json", b"{"), ("md", b"## "), ("html", b"<!doctype")):  # fmt: skip
        to = tmp_path / f"x.{fmt}"
        done = dnabench("report", "--out", folder, "-f", fmt, "--to", to)
        assert done.returncode == 0 and done.stdout.strip() == str(to), done.stderr
        assert to.read_bytes().startswith(start)
    done = dnabench("report", "--out", folder, "-f", "parquet")
    assert done.stdout.strip() == str(folder / "report.parquet")
    wrong = dnabench("report", "--out", folder, "-f", "xlsx")
    assert wrong.returncode == 2 and "no format 'xlsx'; choose from md, csv" in wrong.stderr


def test_the_first_screen_has_scores_verdict_assumptions_and_the_way_to_the_rest(folder):
    (folder / "report.html").unlink(missing_ok=True)
    done = dnabench("report", "--out", folder)
    assert done.returncode == 0, done.stderr
    honest, chosen = done.stdout.split("\ntest-selected/1, at most 400")
    for text in (
        "demo/splice_junctions  MCC", "\nVerdict\n- kmer is better than every other model on ",
        "\n- kmer beats majority by 0.", "(95 % CI 0.", ", Holm p = ",
        ": the epoch is chosen on validation, ", "± sd over 5 seeds, * best mean",
        "\nAssumptions (see docs/verdict.md)\n- Win: Holm p < 0.05 of 1 test (seeds and test ",
    ):  # fmt: skip
        assert text in honest, text
    assert "TEST-SELECTED" in chosen and "TEST-SELECTED" not in honest
    more = f"\nMore: dnabench report --out {folder} --full; figures: --format html\n"
    assert " ".join(chosen.split()).endswith(" ".join(more.split()))
    assert (
        max(map(len, done.stdout.split("\nMore")[0].splitlines())) <= WIDTH
        and "Recipes" not in done.stdout
    )


def test_full_and_a_file_have_every_table(folder, tmp_path):
    full, md = (dnabench("report", "--out", folder, *x) for x in (["--full"], ["--format", "md"]))
    assert full.stdout == md.stdout and "### Recipes" in full.stdout
    dnabench("report", "--out", folder, "--to", tmp_path / "x")
    assert (tmp_path / "x").read_text() == full.stdout


def test_the_first_screen_names_a_page_newer_than_the_records(tmp_path):
    store = Store(tmp_path)
    for one in runs("a", 0.7) + runs("b", 0.8):
        store.append(one)
    page = tmp_path / "report.html"
    page.write_text("")
    assert overview(made(tmp_path), tmp_path).split()[-2:] == ["figures:", str(page)]
    os.utime(page, (0, 0))  # where the line is folded depends on the name of the folder
    assert overview(made(tmp_path), tmp_path).split()[-3:] == ["figures:", "--format", "html"]


@pytest.fixture(autouse=True)
def _wide_enough(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def screen(records, folder, width=WIDTH):
    found = Report(evidence=tuple(analyze(table) for table in tables(records)))
    text = overview(found, folder).splitlines()
    assert max(len(x) for x in text if str(folder) not in x) <= width
    return text


def test_the_demo_fits_a_screen_and_many_models_are_folded(folder):
    def lines(models):
        return screen([r for m, x in models for r in runs(m, x, task="demo/x")], folder)

    assert 20 < len(lines([("kmer", 0.4), ("cnn", 0.9), ("convnova-386k", 0.8)])) <= 30
    rows = [x for x in lines((f"m{k:02}", 0.5 + k / 50) for k in range(12)) if x[:5] == "demo/"]
    assert len(rows) > 1 and sum(row.count("±") for row in rows) == 12
    assert rows[-1].endswith("0.720 ± 0.016 *") and "*" not in rows[0]


def test_the_first_screen_says_what_its_marks_mean(folder):
    swept = [r for lr, x in ((0.1, 0.7), (0.2, 0.6)) for r in runs("net", x, options={"lr": lr})]
    text = screen(swept + runs("flat", 0.0, flags={"collapsed": True}), folder)
    marks = "† runs that predict one class or value", "‡ best of several variants: chosen after"
    assert f"{'; '.join(marks)} seeing test" in text
    assert not any("†" in x or "‡" in x for x in screen(runs("a", 0.7) + runs("b", 0.5), folder))


def grid_of(models, tasks, named="nt/task", **other):
    """Models of one mean each on tasks of four families."""
    places, rng = [(f"{named}_{k}", f"f{k % 4}", k / 100) for k in range(tasks)], random.Random(0)
    return [
        record(m, t, seed, x + d + rng.gauss(0, 0.01), family=f, **other)
        for m, x in models for t, f, d in places for seed in range(5)
    ]  # fmt: skip


def test_three_models_on_18_tasks_take_40_lines(folder, monkeypatch):
    models = [("kmer", 0.4), ("convnova-386k", 0.5), ("hyenadna-1.6m", 0.497)]
    text = screen(grid_of(models, 18), folder)
    assert len(text) <= 40
    assert sum(x.startswith("nt/task_") for x in text) == 18
    sentences = "\n".join(text).partition("\nVerdict")[2].partition("\n\n")[0].count("\n- ") + 1
    assert 3 <= sentences <= 6
    wide = max(len(x) for x in text if x.startswith("nt/task_"))
    monkeypatch.setenv("COLUMNS", f"{wide - 1}")  # still one table: the metric is in its head
    narrow = screen(grid_of(models, 18), folder, wide - 1)
    assert sum(x.startswith("nt/task_") for x in narrow) == 18
    assert any(x.startswith("task, MCC ") for x in narrow)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("remarks", [0, 1, 5])
def test_40_lines_are_enough_on_a_narrow_screen(folder, monkeypatch, width, remarks):
    monkeypatch.setenv("COLUMNS", f"{width}")
    monkeypatch.chdir(folder.parent)  # its path is in the last line
    models = [("kmer", 0.4), ("hyenadna-small-32k", 0.497), ("convnova-386k", 0.5)]
    records = grid_of(models, 18, "nt/splice_sites_donors")
    (evidence,) = (analyze(table) for table in tables(records))
    said = tuple(f"remark {k} of some words" for k in range(remarks))
    found = Report(evidence=(replace(evidence, remarks=said),))
    text = overview(found, Path(folder.name)).splitlines()
    most = 43 if remarks and width == 80 else 40  # of real ones, a narrow line holds few words
    assert len(text) <= most and max(map(len, text)) <= width
    assert sum(x.startswith("nt/splice_sites_donors_") for x in text) == 18
    sentences = "\n".join(text).partition("\nVerdict")[2].partition("\n\n")[0].count("\n- ") + 1
    assert 3 <= sentences <= 6 and any(x.startswith("Look at these") for x in text) == bool(remarks)


@pytest.mark.slow
def test_25_models_have_a_line_each(folder, monkeypatch):
    models = [(f"a-long-name-of-a-model-{k}", 0.3 + k / 50) for k in range(25)]
    text = screen(grid_of(models, 18), folder)
    assert len(text) <= 60
    names = [x.split()[0] for x in text if x.startswith("a-long")]
    assert names[:2] == ["a-long-name-of-a-model-24", "a-long-name-of-a-model-23"]
    assert len(names) == 25 and any("25 models on 18 tasks" in x for x in text)
    monkeypatch.setenv("COLUMNS", "60")
    screen(grid_of(models[:3], 18), folder, 60)


@pytest.mark.slow
def test_a_test_of_one_class_is_undefined(tmp_path):
    """MCC of one class is 0 for every model: no score, not bold, and named."""
    case = Path(__file__).parent.parent.parent / "shared/cases/give-31-one-class-test/data.csv"
    if not case.exists():
        pytest.skip(f"no {case}")
    shutil.copy(case, tmp_path / "data.csv")
    out = tmp_path / "out"
    done = dnabench("run", "-m", "kmer,cnn", "--data", tmp_path / "data.csv", "--seeds", "2",
                    "--epochs", "2", "-o", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = dnabench("report", "--out", out).stdout
    assert text.count("2 undefined") == 2 and "0.000" not in text and " *\n" not in text
    words = "data/data: all test labels are of one class, so the metric is undefined"
    assert words in " ".join(text.split())
    full = dnabench("report", "--out", out, "--full").stdout
    assert "2 undefined" in full and "**" not in full


def test_an_unknown_metric_has_no_best_and_no_verdict():
    found = analyze(*tables(runs("a", 0.7, metric="mae") + runs("b", 0.8, metric="mae")))
    (d,) = found.comparisons
    assert d.verdict == "descriptive" and "unknown metric mae" in d.reason
    assert math.isnan(d.p_holm) and not found.table.rows[0].best


def test_an_iqm_without_a_spread_says_so():
    found = analyze(*tables(grid_of([("a", 0.5), ("b", 0.5001)], 8)))
    (suite,) = found.suites
    assert {row[2] for row in matrix_grid(found.table, suite).rows} == {"no spread between models"}
    equal = [record(m, f"nt/{k}", s, 0.5) for m in "ab" for k in range(3) for s in range(5)]
    found = analyze(*tables(equal))
    assert "no spread" in matrix_grid(found.table, found.suites[0]).rows[0][2]
    found = analyze(*tables(grid_of([("a", 0.5), ("b", 0.7)], 8)))
    assert "no spread" not in str(matrix_grid(found.table, found.suites[0]).rows)


def test_latex_of_25_models_is_three_tables():
    found = analyze(*tables(grid_of([(f"m{k}", 0.3 + k / 50) for k in range(25)], 3)))
    text = render(Report(evidence=(found,)), "latex")
    heads = re.findall(r"\\toprule\n(task.*?)\\\\\n", text, re.S)
    assert [x.count("shortstack") for x in heads] == [9, 9, 7] and "(part 3 of 3: best and" in text


def test_intervals_count_the_test_examples(folder):
    for e in made(folder).evidence:
        (comparison,) = e.comparisons
        assert comparison.nested.low < comparison.welch.difference < comparison.nested.high
        # kmer is deterministic; only where the seed cuts its validation data does it vary
        varies = e.table.protocol == "honest/1"
        assert comparison.verdict == ("win" if varies else "descriptive")
        assert not varies or comparison.p >= comparison.welch.p > 0


def test_what_choosing_on_test_added_stands_under_its_watermark(folder):
    found = made(folder).evidence
    titles = {e.table.protocol: [s.title for s in e.sections] for e in found}
    assert "Efficiency" in titles["honest/1"]
    assert len(titles["test-selected/1"]) == len(titles["honest/1"]) + 1
    text = render(made(folder), "md")
    assert "TEST-SELECTED" in text and titles["test-selected/1"][-1] in text


def test_only_pairs_with_the_control(folder, tmp_path):
    store = Store(tmp_path)
    for one in runs("a", 0.7) + runs("b", 0.8) + runs("c", 0.6):
        store.append(one)
    assert len(made(tmp_path).evidence[0].comparisons) == 3
    (e,) = made(tmp_path, against="a").evidence
    assert {(e.table.columns[d.i].name, e.table.columns[d.j].name) for d in e.comparisons} == {
        ("a", "b"), ("a", "c"),
    }  # fmt: skip
    done = dnabench("report", "--out", tmp_path, "--against", "nobody")
    assert done.returncode == 2 and "no records of 'nobody'; there are a, b, c" in done.stderr


def test_the_commands_that_made_the_records_are_named(folder):
    found = made(folder).commands
    assert len(found) == 2 and all(c.startswith("dnabench run -m kmer,majority") for c in found)
    assert "--protocol test-selected" in render(made(folder), "html")


def test_groups_of_outputs_have_their_own_lines(tmp_path):
    store = Store(tmp_path)
    for seed, x in enumerate((0.7, 0.8)):
        one = record("a", "deepsea/x", seed, metric="auroc_mean")
        scores = {"auroc_mean": x, "auroc_mean:tf": x + 0.1, "auroc_mean:groups": x}
        scores |= {"auroc_median:tf": x + 0.15, "auprc_mean:tf": 0.1}
        object.__setattr__(one, "scores", {"test": scores})
        object.__setattr__(one, "task", {**one.task, "reported": "auroc_median"})
        store.append(one)
    text = render(made(tmp_path), "md")
    authors, ours = (
        "| AUROC (median), authors' | tf            |",
        "| AUROC                    | tf            |",
    )
    assert "### By group of outputs" in text and f"{authors} 0.900 ± 0.071 |" in text
    assert f"{ours} 0.850 ± 0.071 |" in text and text.index(authors) < text.index(ours)
    assert "Authors': the metric of the authors' own tables" in text and "AUPRC" not in text
    assert "AUROC (median), authors' & tf & 0.900" in render(made(tmp_path), "latex")
    screen = overview(made(tmp_path), tmp_path)
    assert "deepsea/x  AUROC (median), authors'  tf" in screen
    lines = list(csv.DictReader(io.StringIO(render(made(tmp_path), "csv"))))
    found = {(d["metric"], d["group"]): d["scores"] for d in lines}
    assert list(found) == [
        ("auroc_mean", ""), ("auroc_median", "tf"), ("auroc_mean", "tf"), ("auroc_mean", "groups"),
        ("auprc_mean", "tf"),
    ]  # fmt: skip
    assert found["auroc_median", "tf"] == "0:0.85 1:0.9500000000000001"


def test_a_folder_that_cannot_be_written_is_read_all_the_same(folder, tmp_path):
    store = Store(tmp_path / "runs")
    for one in runs("a", 0.7) + runs("b", 0.8):
        store.append(one)
    first = render(made(store.folder), "md")
    memo = Memo(tmp_path / "file" / "x")
    (tmp_path / "file").write_text("not a folder")
    assert memo.get("x", 1, lambda: [1]) == [1] == memo.get("x", 1, lambda: [1])
    shutil.rmtree(store.folder / ".cache")
    (store.folder / ".cache").write_text("in the way")
    assert render(made(store.folder), "md") == first


def test_a_memo_keeps_by_content(tmp_path):
    memo, calls = Memo(tmp_path), []

    def compute():
        calls.append(1)
        return [0.1, float("nan")]

    for key in ("a", "a", ["a"]):
        assert memo.get("x", key, compute)[0] == 0.1
    assert len(calls) == 2 and len(list(tmp_path.iterdir())) == 2
    path = tmp_path / "file"
    assert stamp(path) is None
    path.write_text("ab")
    assert stamp(path)[0] == 2 and json.dumps(stamp(path))


def test_a_process_with_triton_ends_without_a_word(tmp_path):
    """As of `regimes`, which trains and then reports: what is frozen is never freed."""
    pytest.importorskip("triton")
    for one in runs("a", 0.5):
        Store(tmp_path).append(one)
    code = (
        "import sys, torch._dynamo, triton\nfrom pathlib import Path\n"
        "from dnabench.cli.report import records_in\n"
        "assert len(records_in(Path(sys.argv[1]))[1]) == 5"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
