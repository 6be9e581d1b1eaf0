"""Published tables: the tables of the ConvNova paper, made from what the package holds.

The CSVs list the values in the order of print, row by row, so a rendered table must give them back
in that order; where ../shared is there, also label by label against the paper's text.
"""

import csv
import io
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dnabench.reports.papers import published
from dnabench.reports.papers.grid import fill, plain
from dnabench.reports.papers.layouts import LAYOUTS
from dnabench.reports.papers.published_text import FORMATS, show

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
TEXT = SHARED / "papers" / "convnova-2502.18538.md"
needs_reference = pytest.mark.skipif(
    not (SHARED / "reference" / "published_means.csv").is_file() or not TEXT.is_file(),
    reason=f"{SHARED}/reference and {TEXT} are not here; the package's own copy is still checked",
)
CELLS = {
    "1": 90, "2": 32, "3": 5, "4": 10, "5": 30, "6": 8, "10": 56, "11": 20, "12": 320, "13": 144,
    "14": 48, "15": 6, "16": 400, "17": 480, "18": 120,
}  # fmt: skip
EVERY = [f"convnova/table{t}" for t in CELLS]
NUMBER = re.compile(r"(?:<u>|\*\*)?(\d+(?:\.\d+)?)(?:</u>|\*\*)?(?: (?:±|\\pm) (\d+\.\d+))?")


def package_rows(table):
    """(mean, spread) of a table as the files of the package have them, in their order."""
    out = []
    for name, number in (("means", "mean"), ("kernel_dilation", "mean"), ("seeds", "value")):
        with (ROOT / "results" / "published" / f"{name}.csv").open(newline="") as f:
            out += [(row[number], row.get("spread", "")) for row in csv.DictReader(f)
                    if (row["source"], row["table"]) == ("arxiv:2502.18538", table)]  # fmt: skip
    return out


def pipes(text):
    """Rows of the Markdown tables of a text, cells without the pad."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set(":-")]


def numbers(row):
    """(mean, spread) of the cells after the first; None where one is not a number."""
    found = [NUMBER.fullmatch(cell) for cell in row[1:]]
    return [(m[1], m[2] or "") for m in found] if found and all(found) else None


def plain_label(text):
    return re.sub(r"</?i>|(?<!\\)\*|\\(?=\*)", "", text)


def body(rows, corner):
    """(label, numbers) of the rows that hold values, and (group, None) of those above them.

    Both tables whose columns are numbers have their heads in a row that begins with the corner.
    """
    out = []
    for row in rows:
        if row[0].replace("\\\\", "\\") == corner and (corner or not numbers(row)):
            continue
        if (found := numbers(row)) is not None:
            out.append((plain_label(row[0]), found))
        elif row[0] and not any(row[1:]):
            out.append((plain_label(row[0]), None))
    return out


def paper_rows(table):
    """Rows of a table in the paper's text, up to the next caption."""
    text = TEXT.read_text()
    start = text.index(f"\nTable {table}:") + 1
    rest = text[start:].partition("\nTable ")[0]
    return pipes(rest)


def test_every_table_of_the_issue_has_a_layout():
    assert set(LAYOUTS) == set(CELLS) == {str(i) for i in [*range(1, 7), *range(10, 19)]}
    assert sum(CELLS.values()) == 1769
    assert {t: len(package_rows(t)) for t in CELLS} == CELLS


@pytest.mark.parametrize("table", CELLS)
def test_markdown_gives_back_the_numbers_of_the_package_in_their_order(table):
    rows = body(pipes(show(f"convnova/table{table}")), LAYOUTS[table].corner)
    found = [cell for _, cells in rows for cell in cells or ()]
    assert len(found) == CELLS[table]
    assert found == package_rows(table)


@needs_reference
@pytest.mark.parametrize("table", CELLS)
def test_markdown_has_the_rows_groups_and_numbers_of_the_paper(table):
    corner = LAYOUTS[table].corner
    ours = body(pipes(show(f"convnova/table{table}")), corner)
    theirs = body(paper_rows(table), corner)
    assert ours == theirs
    assert sum(len(cells or ()) for _, cells in theirs) == CELLS[table]


@needs_reference
@pytest.mark.parametrize("table", [t for t in CELLS if t not in ("10", "12")])
def test_markdown_has_the_columns_of_the_paper(table):
    theirs = [head.replace("7.4N", "7.4M") for head in paper_rows(table)[0][1:]]
    assert [plain_label(h) for h in pipes(show(f"convnova/table{table}"))[0][1:]] == [
        plain_label(h.replace("*", r"\*")) for h in theirs
    ]


def test_columns_of_the_tables_with_several_lines_of_heads():
    ten = LAYOUTS["10"].columns
    assert Counter(h[0] for h in ten) == {"Pretrain": 10, "From Scratch": 4}
    assert [h[1:] for h in ten[:3]] == [
        ("ConvNova", "6.8M"), ("ConvNova", "27.4M"), ("Hyena-DNA", "0.4M"),
    ]  # fmt: skip
    twelve = LAYOUTS["12"]
    assert [len(block) for block in twelve.blocks] == [8, 8]
    # Table 12's k9_d4 is Table 13's ConvNova* on all 16 tasks, so the columns have the right tasks
    grid = fill("convnova", twelve)
    mine = {c.value.task: c.printed[0] for c in grid.cells if c.row == "k9_d4"}
    scratch = {v.task: v.printed.split()[0] for v in published.values("convnova", "13")
               if v.model == "convnova" and v.regime == "scratch"}  # fmt: skip
    assert len(mine) == 16 and mine.items() <= scratch.items()
    assert all(round(100 * c.value.mean) % 2 == 0 for c in grid.cells)  # as its note says


def marked(cell):
    return "best" if cell.startswith("**") else "second" if cell.startswith("<u>") else ""


@pytest.mark.parametrize("table", [t for t in CELLS if LAYOUTS[t].along == "row"])
def test_bold_and_underline_are_the_two_highest_of_each_row(table):
    rule = LAYOUTS[table].rule
    for row in pipes(show(f"convnova/table{table}")):
        if (found := numbers(row)) and row[0] != LAYOUTS[table].corner.replace("\\", "\\\\"):
            means = [float(mean) for mean, _ in found]
            first, *rest = sorted(set(means), reverse=True)
            second = rest[0] if rest and rule == "best and second" else None
            expected = ["" if rule == "none" else "best" if m == first else
                        "second" if m == second else "" for m in means]  # fmt: skip
            assert [marked(cell) for cell in row[1:]] == expected, row


@pytest.mark.parametrize("table", ["16", "17", "18"])
def test_the_best_run_of_each_task_is_bold(table):
    best, top, now = Counter(), {}, ""
    for row in pipes(show(f"convnova/table{table}"))[1:]:
        if found := numbers(row):
            best[now] += sum(marked(cell) == "best" for cell in row[1:])
            values = [float(m) for m, _ in found]
            top.setdefault(now, []).append(max(values))
            assert all(float(m) == max(values) for (m, _), cell in zip(found, row[1:], strict=True)
                       if marked(cell))  # fmt: skip
        else:
            now = row[0]
    assert len(best) == {"16": 8, "17": 8, "18": 2}[table] and set(best.values()) == {1}
    for cell in fill("convnova", LAYOUTS[table]).cells:
        if cell.mark:
            assert cell.value.mean == max(top[f"*{cell.group}*"])


# Cells where ours and the underlines of print disagree, found by hand.
DISAGREE = {
    "1": {("Promoter All", "HyenaDNA (1.6M)")},
    "2": {("Human Regulatory", "CNN (264K)")},
    "5": {("H3K4me1", "Single Branch"), ("H3K4me1", "ConvNova"), ("H3K4me2", "w/o Gate")},
    "10": {
        ("TF", "Pretrain ConvNova 6.8M"), ("TF", "From Scratch ConvNova 27.4M"),
        ("TF", "Pretrain NTv2 500M"), ("DHS", "Pretrain ConvNova 6.8M"),
        ("DHS", "Pretrain NTv2 250M"), ("Avg.", "Pretrain NTv2 250M"),
        ("Avg.", "Pretrain NTv2 500M"),
    },
    "13": {
        ("H3K4me2", "Caduceus-Ph (1.9M)"), ("H3K4me3", "Caduceus-Ph (1.9M)"),
        ("H3K14ac", "ConvNova* (1.7M)"), ("Promoter All", "ConvNova* (1.7M)"),
        ("Enhancer", "ConvNova (1.7M)"), ("Enhancer", "ConvNova* (1.7M)"),
    },
    "14": {("Human Regulatory", "CNN (264K)"), ("Human OCR Ensembl", "ConvNova (386K)")},
    "16": {("ConvNova (4 dilation)", "45")},
}  # fmt: skip


@pytest.mark.parametrize("table", CELLS)
def test_our_second_places_differ_from_print_only_where_the_audit_says_so(table):
    cells = fill("convnova", LAYOUTS[table]).cells
    differ = {(c.row, c.column) for c in cells
              if (c.mark == "second") != (c.value.mark == "second")}  # fmt: skip
    assert differ == DISAGREE.get(table, set())


def test_underlines_of_print_are_all_there():
    marks = Counter(v.table for v in published.values("convnova") if v.mark)
    assert marks == {"1": 19, "2": 8, "5": 9, "10": 4, "13": 14, "14": 9}
    assert [(s.table, s.task, s.seed) for s in published.seeds() if s.mark] == [
        ("16", "nt/splice_sites_donors", 45)
    ]


@pytest.mark.parametrize("name", EVERY)
def test_what_stands_under_a_table(name):
    text = show(name)
    said = text.rpartition("|\n\n")[2]
    about = published.named(name)
    assert f"Source: arxiv:2502.18538, Table {about.table}: " in said
    for part in ("±", "Metric: ", "Selection: ", "n (seeds): " if "one run" not in said else "run"):
        assert part in said
    assert {"percent": "in percent", "fraction": "in fractions of 1"}[about.unit] in said
    assert ("found here from the printed means" in said) == (LAYOUTS[about.table].rule != "none")


def test_what_is_said_where_columns_differ():
    said = show("convnova/table13").rpartition("|\n\n")[2]
    assert "5 (Basenji (7.4M), LegNet (2.1M), ConvNova\\* (1.7M)); 10 (NTv2 (500M), " in said
    assert "unknown (Basenji (7.4M), LegNet (2.1M), ConvNova\\* (1.7M))" in said
    assert "mcc (all others)" in show("convnova/table1")


@pytest.mark.parametrize("name", EVERY)
def test_csv_has_a_line_a_cell(name):
    rows = list(csv.DictReader(io.StringIO(show(name, "csv"))))
    table = name.rpartition("table")[2]
    found = [(r["value"], r["spread"]) for r in rows]
    # Table 12 is printed in two blocks; here each row of it is on end
    ordered = sorted if table == "12" else list
    assert ordered(found) == ordered(package_rows(table))
    assert all(r["unit"] and r["metric"] and r["selection"] and r["task"] for r in rows)
    assert all(r["spread_is"] for r in rows if r["spread"])


@pytest.mark.parametrize("table", CELLS)
def test_latex_holds_the_same_numbers_and_is_rectangular(table):
    text = show(f"convnova/table{table}", "latex")
    widths, found = set(), []
    for block in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        head, _, rows = block.partition(r"\midrule")
        shape = re.match(r"\{(l[c]+)\}", head)[1]
        for line in block.splitlines():
            if line.endswith(r"\\"):
                spans = re.findall(r"\\multicolumn\{(\d+)\}", line)
                widths.add(line.count(" & ") + 1 + sum(int(n) - 1 for n in spans) - len(shape))
        for line in rows.splitlines():
            cells = line.removesuffix(r" \\").split(" & ")[1:]
            found += [re.sub(r"\\(?:textbf|underline)\{(.*?)\}", r"\1", c) for c in cells if c]
    assert widths == {0}
    pairs = [tuple((c + r" $\pm$ ").split(r" $\pm$ ")[:2]) for c in found]
    assert pairs == package_rows(table)


def test_latex_compiles_on_one_page_a_table(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on PATH")
    every = [show(t.name, "latex") for t in published.tables()]
    body = "\\clearpage\n".join(every)
    assert {text.splitlines()[0] for text in every} == {r"% \usepackage{booktabs,graphicx}"}
    start = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    (tmp_path / "t.tex").write_text(f"{start}\n\\begin{{document}}\n{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Float too large" not in said


def test_tables_without_a_layout():
    rows = body(pipes(show("gpn-thesis/table1")), "metric")
    assert rows == [
        ("accuracy_eval", [("42.78", "0.62"), ("51.48", "0.63"), ("51.89", "0.63")]),
        ("accuracy_test", [("42.95", "1.25"), ("56.03", "1.26"), ("56.25", "1.26")]),
    ]
    assert "99 % CI half-width" in show("gpn-thesis/table1")
    sizes = [fill("embeddings", plain(published.values("embeddings", t))).rows for t in "123"]
    assert [len(rows) for rows in sizes] == [24, 10, 12]
    facts = ("convnova/table7", "convnova/table8", "convnova/table9", "gpn-thesis/table3")
    assert [len(pipes(show(name))) - 1 for name in facts] == [8, 4, 25, 12]
    assert "50 mins" in show("convnova/table8", "csv")


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_listed_table_can_be_shown(fmt):
    for about in published.tables():
        assert show(about.name, fmt).count("\n") > 1, about.name


def test_a_layout_that_does_not_fit_is_refused():
    good, (block,) = LAYOUTS["3"], LAYOUTS["3"].blocks
    for bad, why in (
        (replace(good, blocks=(block[:-1],)), "labels 4 columns, the values have 5"),
        (replace(good, blocks=((*block, block[0]),)), "labels 6 columns, the values have 5"),
        (replace(good, rows={"": ("a", "b")}), "labels 2 rows, the values have 1"),
        (replace(good, column_by=("task",), blocks=((("all",),),)), "row '', column 'all': 5 val"),
        (
            replace(good, row_by=("model",), rows={"": "abcde"}),
            r"row 'a', column 'DNABERT-2 \(117M\)': 0 values",
        ),
    ):
        with pytest.raises(ValueError, match=f"convnova table 3.*{why}"):
            fill("convnova", bad)
