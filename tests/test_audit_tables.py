"""Rules and command of `audit tables` on clean and planted tables of our own making."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from table_cases import one
from typer.testing import CliRunner

from dnabench.cli.audit import audit as app
from dnabench.reports.papers import rules, rules_labels, rules_seeds
from dnabench.reports.papers.audit import SCHEMA, audit, to_json
from dnabench.reports.papers.rules import Cell

ROOT = Path(__file__).resolve().parent.parent


def table(seed, models=5, tasks=12, n=10, spread=lambda x: np.std(x, ddof=1)):
    """Runs of one table, and cells printed of them as they should be."""
    rng, runs, cells = np.random.default_rng(seed), {}, []
    for t in range(tasks):
        level, row = rng.uniform(45, 95), []
        for m in range(models):
            x = np.round(rng.normal(level + rng.normal(0, 2), rng.choice([0.3, 1, 1.5]), n), 2)
            runs[f"m{m}", f"t{t}"] = x.tolist()
            row.append((round(float(x.mean()), 2), round(float(spread(x)), 2)))
        order = sorted({mean for mean, _ in row}, reverse=True)
        for m, (mean, sd) in enumerate(row):
            mark = {order[0]: "best", order[1]: "second"}.get(mean, "")
            cells.append(
                Cell(
                    table="Table 1",
                    task=f"t{t}",
                    metric="mcc",
                    model=f"m{m}",
                    mean=mean,
                    spread=sd,
                    n=n,
                    mark=mark,
                    runs={"": tuple(runs[f"m{m}", f"t{t}"])},
                    config=f"m{m}",
                )
            )
    return cells, runs


def changed(cells, model, task, **fields):
    from dataclasses import replace

    return [replace(c, **fields) if (c.model, c.task) == (model, task) else c for c in cells]


def test_clean_tables_raise_nothing():
    findings = [f for seed in range(8) for f in audit(*table(seed)).findings]
    # the runs' share of a chance of 5 % a table is all there may be
    assert all(f.rule.startswith("runs: ") for f in findings) and len(findings) <= 1
    assert not audit(*table(0)).findings


def test_a_clean_paper_in_two_tables_raises_nothing():
    from dataclasses import replace

    cells, runs = table(0)
    assert not audit([*cells, *(replace(c, table="Table 2") for c in cells)], runs).findings


def test_another_definition_is_all_that_is_found():
    cells, runs = table(0, spread=lambda x: np.max(np.abs(x - x.mean())))
    found = one(audit(cells, runs).findings)
    assert found.rule == "spread" and found.numbers["counts"]["largest deviation"] == 60


def test_two_swapped_labels_are_found_and_nothing_else():
    cells, _ = table(0)
    a, b = (next(c for c in cells if (c.model, c.task) == ("m2", t)) for t in ("t3", "t8"))
    swapped = changed(cells, "m2", "t3", mean=b.mean, spread=b.spread)
    swapped = changed(swapped, "m2", "t8", mean=a.mean, spread=a.spread)
    found = list(rules_labels.labels(swapped))
    assert found[0].where == "Table 1, m2" and found[0].numbers["labels"] == {
        "t3": "t8",
        "t8": "t3",
    }
    assert not list(rules_seeds.means(rules_labels.relabelled(swapped, found)))
    assert not list(rules_labels.labels(changed(cells, "m2", "t3", mean=b.mean)))


def test_a_wrong_digit_and_a_wrong_spread():
    cells, runs = table(0)
    c = cells[0]
    found = one(rules_seeds.means(changed(cells, "m0", "t0", mean=c.mean + 0.1)))
    assert found.numbers["difference"] == pytest.approx(0.1, abs=0.006)
    x = np.array(runs["m0", "t0"])
    wide = changed(cells, "m0", "t0", spread=round(float(np.ptp(x)), 2))
    assert one(rules_seeds.spreads(wide)).numbers["fits"] == ["range"]


def test_means_of_fewer_runs_than_stated_or_more():
    from dataclasses import replace

    cells, _ = table(0)
    found = one(rules_seeds.runs_counted([replace(c, n=5) for c in cells]))
    assert found.numbers["all"] == 10 and found.numbers["fits"][10] == 60
    assert not list(rules_seeds.runs_counted(cells))


def test_marks_by_hand():
    def marks(cells):
        return list(rules.marks(cells))

    def row(*pairs):
        return [
            Cell(table="T", task=f"t{t}", metric="f1", model=f"m{i}", mean=mean, mark=mark)
            for t in range(3)
            for i, (mean, mark) in enumerate(pairs)
        ]

    assert not marks(row((3, "best"), (2, "second"), (1, "")))
    assert not marks(row((3, "best"), (3, "best"), (1, "second")))
    assert not marks(row((3, ""), (2, ""), (1, "")))
    assert {f.severity for f in marks(row((3, ""), (3, ""), (1, "second")))} == set()
    wrong = marks(row((3, ""), (2, "best"), (1, "")))
    assert len(wrong) == 3 and "m1 2.00 is marked as best and ranks 2 of 3" in wrong[0].says
    half = row((3, "best"), (2, ""), (1, ""))
    missing = marks([*half[:6], *(changed(half[6:], "m0", "t2", mark=""))])
    assert [f.says for f in missing] == ["no best mark; best is m0 (3.00)"]


def test_equal_cells_of_coarse_tables_are_no_copies():
    rng = np.random.default_rng(0)
    cells = [
        Cell(
            table="T", task=f"t{t}", metric="accuracy", model=f"m{m}", decimals=3,
            mean=round(rng.uniform(0.9, 0.95), 3), spread=round(rng.uniform(0.001, 0.006), 3),
        )
        for t in range(20) for m in range(6)
    ]  # fmt: skip
    pairs = {(c.task, c.mean, c.spread) for c in cells}
    assert len(pairs) < len(cells) and not list(rules.copies(cells))


@pytest.fixture(scope="module")
def command():
    def run(*words):
        return CliRunner().invoke(app, [str(w) for w in words])

    return run


@pytest.fixture(scope="module")
def printed(command, tmp_path_factory):
    to = tmp_path_factory.mktemp("audit") / "audit.json"
    done = command("published", "--paper", "convnova", "--to", to, "--fail-on-findings")
    return done, json.loads(to.read_text(encoding="utf-8"))


def test_the_page_is_what_the_command_prints(printed):
    page = (ROOT / "docs" / "benchmarks" / "audit-convnova.md").read_text(encoding="utf-8")
    assert printed[0].stdout == page
    assert "Printed by `dnabench audit published --paper convnova`" in page


def test_words_name_no_cause(printed):
    text = printed[0].stdout.lower().replace("standard error", "")
    for word in ("fraud", "fabricat", "fake", "manipulat", "cheat", "suspicious", "mistake",
                 "pasted", "copied", "wrong", "error", "invent"):  # fmt: skip
        assert word not in text, word


def test_json_and_exit_status(command, printed, tmp_path, paper):
    done, document = printed
    assert done.exit_code == 1 and done.stderr == f"{len(paper.found)} findings\n"
    assert document["schema"] == SCHEMA == "dnabench.table-audit/1"
    assert len(document["findings"]) == len(paper.findings)
    assert {"rule", "where", "says", "numbers", "severity"} == set(document["findings"][0])
    elsewhere = command("published", "--to", tmp_path / "no" / "a.json")
    assert elsewhere.exit_code == 2 and "there is no folder" in elsewhere.stderr


def test_a_paper_without_runs_and_one_that_is_unknown(command):
    assert command("published", "--paper", "embeddings").exit_code == 0
    done = command("published", "--paper", "convnov")
    assert done.exit_code == 2 and "convnova" in done.stderr and "Traceback" not in done.stderr


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def files(tmp_path):
    cells, runs = table(0)
    lines = [
        {"task": t, "model": m, "seed": s, "value": f"{v:.2f}"}
        for (m, t), x in runs.items() for s, v in enumerate(x)
    ]  # fmt: skip
    printed = [
        {"task": c.task, "model": c.model, "mean": c.show(c.mean), "spread": c.show(c.spread),
         "mark": c.mark}
        for c in cells
    ]  # fmt: skip
    return write(tmp_path / "runs.csv", lines), write(tmp_path / "printed.csv", printed)


def test_a_clean_file_raises_nothing(command, files):
    done = command("tables", files[0], "--printed", files[1], "--fail-on-findings")
    assert done.exit_code == 0 and "Nothing was found." in done.stdout
    assert "60 printed values and 600 runs" in done.stdout
    assert command("tables", files[0], "--fail-on-findings").exit_code == 0


def test_what_is_planted_in_a_file_is_found(command, files, tmp_path):
    printed = read(files[1])
    printed[7]["mean"] = f"{float(printed[7]['mean']) + 0.2:.2f}"
    lines = read(files[0])
    for line in lines:
        if (line["model"], line["task"]) == ("m1", "t1"):
            line["value"] = "70.50"
    done = command("tables", write(files[0], lines), "--printed", write(files[1], printed),
                   "--to", tmp_path / "a.json", "--fail-on-findings")  # fmt: skip
    assert done.exit_code == 1
    found = json.loads((tmp_path / "a.json").read_text())["findings"]
    where = {f["rule"]: f["where"] for f in found}
    assert where["runs: zero variance"] == "m1, t1"
    name = f"{printed[7]['model']}"
    assert any(f["rule"] == "means" and name in f["where"] for f in found)


def test_printed_means_beside_the_runs(command, files, tmp_path):
    means = {(r["task"], r["model"]): r for r in read(files[1])}
    lines = [
        {**r, "mean": means[r["task"], r["model"]]["mean"],
         "spread": means[r["task"], r["model"]]["spread"], "variant": "x"}
        for r in read(files[0])
    ]  # fmt: skip
    path = write(tmp_path / "both.csv", lines)
    assert command("tables", path, "--fail-on-findings").exit_code == 0
    lines[3]["mean"] = "1.00"
    done = command("tables", write(path, lines))
    assert done.exit_code == 2 and f"{path}, line 5: mean of m0 x on t0" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks column task, model, seed, value; it has none"),
        ("task,model,seed,value\n", "has a header only"),
        ("task,model,seed\na,b,1\n", "lacks column value; it has task, model, seed"),
        ("task,model,seed,value\na,b,1,x\n", "line 2: value is 'x'; give a finite number"),
        ("task,model,seed,value\na,b,1,nan\n", "line 2: value is 'nan'"),
        ("task,model,seed,value\na,b,1,2\na,b,1,3\n", "line 3: seed 1 of b on a occurs twice"),
        ("task,model,seed,value\na,b,1\n", "line 2: more or fewer fields"),
        ("task,model,seed,value,mean,mark\na,b,1,2,2,third\n", "mark is 'third'; give best"),
        ("task,model,seed,value,mean,spread\na,b,1,2,2,wide\n", "spread is 'wide'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(command, tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    done = command("tables", path)
    assert done.exit_code == 2 and message in done.stderr and str(path) in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_a_missing_file_and_one_that_is_no_text(command, tmp_path):
    assert "no.csv" in command("tables", tmp_path / "no.csv").stderr
    path = tmp_path / "a.csv"
    path.write_bytes(b"task,model,seed,value\n\xff\xfe,b,1,2\n")
    assert "is not UTF-8 text" in command("tables", path).stderr


def test_numbers_of_findings_are_finite_or_null(paper):
    def leaves(value):
        if isinstance(value, dict):
            return [x for v in value.values() for x in leaves(v)]
        return [x for v in value for x in leaves(v)] if isinstance(value, list) else [value]

    numbers = [x for x in leaves(json.loads(to_json(paper))) if isinstance(x, float)]
    assert len(numbers) > 100 and all(map(math.isfinite, numbers))
