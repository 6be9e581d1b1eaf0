"""reports: captions, watermarks and every format of a table, and the text of compare."""

import csv
import io
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from test_reports import NASTY, failed, md, only, record, render, runs

from dnabench.protocols import PROTOCOLS
from dnabench.reports.analysis import analyze
from dnabench.reports.render import FORMATS, compare_text
from dnabench.reports.table import tables
from dnabench.reports.text.captions import caption, short_count
from dnabench.reports.text.latex_letters import escaped
from dnabench.reports.text.methods import methods

# --- captions, watermark --------------------------------------------------------------------------


def test_caption_says_what_the_numbers_are():
    found = analyze(only(runs("a", 0.7) + runs("b", 0.8)))
    text = " ".join(caption(found.table) + methods(found.comparisons))
    for words in (
        "sample standard deviation (ddof = 1)", "n = 5",
        "Protocol honest/1 – for results you publish",
        "MCC (Matthews", "cover variation between seeds only", "sampling of the test examples",
        "Welch", "Holm-adjusted p < 0.05", "0.01 MCC",
    ):  # fmt: skip
        assert words in text


def test_a_limit_is_in_title_and_caption():
    for limit, words in [(0.1, "10 % of each split"), (200, "at most 200 examples of each split")]:
        text = md([record(limit=limit)])
        assert text.startswith(f"## honest/1, {words}\n") and f"Only {words} were used" in text


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_watermark_is_on_test_selected_tables_only(fmt):
    mark = "TEST-SELECTED"
    assert mark in PROTOCOLS["test-selected/1"].watermark
    chosen = runs("a", 0.7, protocol="test-selected/1") + runs("b", 0.7, protocol="test-selected/1")
    assert mark in render(tables(chosen), fmt)
    assert mark not in render(tables(runs("a", 0.7)), fmt)
    assert mark in compare_text(chosen, "a", "b")


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_an_unknown_protocol_is_watermarked(fmt):
    assert "UNKNOWN PROTOCOL x/9" in render(tables([record(protocol="x/9")]), fmt)


def test_counts_are_short():
    counts = [
        0,
        7,
        999,
        1000,
        4161,
        9_960,
        12_300,
        386_120,
        999_600,
        1_700_000,
        7_000_000,
        117_000_000,
    ]
    assert [short_count(n) for n in counts] == [
        "0", "7", "999", "1K", "4.2K", "10K", "12K", "386K", "1M", "1.7M", "7M", "117M",
    ]  # fmt: skip
    assert "a (386K, scratch)" in md([record()])
    heads = [record(n_params=386_000), record(n_params=391_000, task="demo/u")]
    assert "a (386K–391K, scratch)" in md(heads)
    assert "a (scratch)" in md([failed("a")])


# --- formats --------------------------------------------------------------------------------------


def messy():
    """Everything at once, names included."""
    records = runs("a", 0.7, family="x & y") + runs(NASTY, 0.75, options={"k%": "1_<i>"})
    records += runs(NASTY, 0.8, range(3), options={"k%": 2}, task="demo/[u]_#")
    records += [failed("a", seed=9), record("kmer", metric="no_such_metric", task="*z")]
    records += runs("a", 0.5, protocol="test-selected/1", limit=0.25)
    where = {"host": "<script>alert(1)</script>", "nested": {"a": [1, NASTY]}}
    return [replace(r, where=where) for r in records]


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_no_records_is_a_text_too(fmt):
    text = render([], fmt)
    assert text.endswith("\n") or fmt == "html"
    starts = {"csv": "protocol,", "json": '{\n "cells": []'}
    assert text.startswith(starts[fmt]) if fmt in starts else "No records" in text


def test_markdown_rows_have_as_many_cells_as_heads():
    text = md(messy())
    for block in re.split(r"\n\n", text):
        widths = {len(re.findall(r"(?<!\\)\|", x)) for x in block.splitlines() if x.startswith("|")}
        assert len(widths) <= 1
    assert not re.search(r"(?<!\\)<(?!/?u>)\w", text)


def test_csv_has_a_line_a_cell_with_full_precision():
    scores = {3: 0.1 + 0.2, 1: 1 / 3}
    records = [record(seed=s, score=x, family="f,g", options={"k": 1}) for s, x in scores.items()]
    records += [record("b", seed=5, family="f,g"), failed("b", seed=6), record("b", task="demo/u")]
    lines = list(csv.DictReader(io.StringIO(render(tables(records), "csv"))))
    assert [(x["task"], x["model"], x["n"]) for x in lines] == [
        ("demo/u", "a", "0"), ("demo/u", "b", "1"), ("demo/t", "a", "2"), ("demo/t", "b", "1"),
    ]  # fmt: skip
    a, b = lines[2], lines[3]
    assert {int(k): float(v) for k, v in (x.split(":") for x in a["scores"].split())} == scores
    assert a["scores"].startswith("1:") and float(a["mean"]) == (1 / 3 + 0.1 + 0.2) / 2
    assert (a["protocol"], a["family"], a["metric"], a["regime"], a["n_params"], a["options"]) == (
        "honest/1", "f,g", "mcc", "scratch", "386120", '{"k": 1}',
    )  # fmt: skip
    assert float(a["min"]) == 0.1 + 0.2 and float(a["max"]) == 1 / 3
    assert float(a["sd"]) == pytest.approx((1 / 3 - 0.3) / 2**0.5)
    assert (b["failed"], b["sd"], lines[0]["mean"]) == ("1", "", "")
    assert '"lr": 0.001' in a["recipe"]


def test_latex_is_balanced_and_escaped():
    text = render(tables(messy()), "latex")
    plain = re.sub(r"\\[\\{}%]", "", text)
    assert plain.count("{") == plain.count("}")
    depth = 0
    for letter in plain:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    for body in re.findall(r"\\begin\{(?:tabular|longtable)\}(.*?)\\bottomrule", text, re.DOTALL):
        widths = set()
        for line in body.splitlines():
            if line.endswith((r" \\", r" \\*")):
                spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
                widths.add(len(re.findall(r"(?<!\\)&", line)) + spanned)
        assert len(widths) == 1
    ours = ("%", r"\medskip\resizebox", r"\begin{longtable}")
    for line in text.splitlines():
        assert line.startswith(ours) or not re.search(r"(?<!\\)[#_^~<>|\"]", line), line
    assert r"m\&\textless{}b\textgreater{}\textbar{}x\_y\%\$\#\{{[}{*}\textasciitilde{}" in text
    assert r"\underline{" in text and r"\textbf{0." in text and r"$\pm$" in text


def test_latex_writes_letters_that_its_fonts_lack():
    assert escaped("TNF-α → β ≤ 2 µm, é") == (
        r"TNF-$\alpha$ $\rightarrow$ $\beta$ $\leq$ 2 $\mu$m, é"
    )
    assert escaped("中\n x") == "{[}U+4E2D{]} x"


def test_latex_compiles(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on PATH")
    body = render(tables(messy()), "latex") + escaped("αβγδεζηθικλμνξπρστυφχψω éøß 中")
    body += escaped("± † – ≥ ≤ µ → ← ≈ − … × [x] * \\")
    packages = re.match(r"% (\\usepackage\{.*\})\n", body)[1]
    preamble = rf"\documentclass{{article}}\usepackage[T1]{{fontenc}}{packages}"
    source = tmp_path / "t.tex"
    source.write_text(preamble + "\\begin{document}\n" + body + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="no format 'pdf'; there are md, csv, json, latex, html"):
        render([], "pdf")


# --- compare --------------------------------------------------------------------------------------


def comparison(text):
    lines = [x for x in text.splitlines() if x.startswith("| ") and "Holm" not in x]
    return [[x.strip() for x in line.split("|")[1:-1]] for line in lines]


def test_compare_worked_by_hand():
    # as above: t = 10, df = 8; g = 0.1/0.0158114 x (1 - 3/31) = 5.7125; every run of a is above;
    # of the three pairs c v b has a smaller p and c v a the same, so Holm doubles it
    records = runs("a", 0.8) + runs("b", 0.7) + runs("c", 0.9)
    records += runs("a", 0.6, task="demo/u") + runs("b", 0.598, task="demo/v")
    text = compare_text(records, "a", "b")
    assert comparison(text) == [
        ["demo/t", "MCC", "a", "b", "5", "0.8000", "0.7000", "+0.1000", "[+0.0769, +0.1231]",
         "–", "8.5e-06", "1.7e-05", "8.5e-06", "0.008", "5.71", "1.00", "win"],
    ]  # fmt: skip
    assert "cover variation between seeds only" in text
    assert comparison(compare_text(records, "b", "a"))[0][-1] == "loss"


def test_compare_takes_all_configurations_or_one():
    records = runs("a", 0.8, options={"k": 1}) + runs("a", 0.7, options={"k": 2}) + runs("b", 0.6)
    assert [x[2:4] for x in comparison(compare_text(records, "a", "b"))] == [
        ["a k=1", "b"],
        ["a k=2", "b"],
    ]
    assert [x[2:4] for x in comparison(compare_text(records, "a k=2", "b"))] == [["a k=2", "b"]]
    assert [x[2:4] for x in comparison(compare_text(records, "a", "a"))] == [["a k=1", "a k=2"]]
    assert [x[2:4] for x in comparison(compare_text(records, "a k=2", "a"))] == [["a k=2", "a k=1"]]


def test_compare_keeps_protocols_apart():
    records = runs("a", 0.8) + runs("b", 0.7) + runs("a", 0.8, protocol="last-epoch/1")
    text = compare_text(records, "a", "b")
    assert "## honest/1" in text and "last-epoch/1" not in text
    alone = compare_text(runs("a", 0.8) + runs("b", 0.7, protocol="last-epoch/1"), "a", "b")
    assert "share no task" in alone


def test_compare_names_the_models_there_are():
    with pytest.raises(KeyError, match="no records of 'x'; there are a, b"):
        compare_text(runs("a", 0.8) + runs("b", 0.7), "a", "x")


# --- speed, imports -------------------------------------------------------------------------------


def test_1440_records_take_under_two_seconds():
    grid = [(m, t, s) for m in range(8) for t in range(18) for s in range(10)]
    records = [
        record(f"m{m}", f"nt/t{t}", s, 0.5 + (m * 7 + t * 3 + s) % 11 / 50) for m, t, s in grid
    ]
    start = time.process_time()
    assert md(records)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("fmt", ["md", "html"])
def test_reports_import_neither_torch_nor_pandas(fmt):
    code = (
        "import sys; from dnabench.reports.render import render; from dnabench.reports.evidence "
        f"import Report; render(Report(evidence=()), {fmt!r}); "
        "print(sorted({'torch', 'pandas', 'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
