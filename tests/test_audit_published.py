"""`dnabench audit published` and `audit tables` on real, clean and planted tables."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dnabench.cli import audit_papers
from dnabench.reports.papers import rules, rules_labels, rules_seeds
from dnabench.reports.papers.audit import SCHEMA, audit, of_paper, to_json
from dnabench.reports.papers.claims import margins, wins
from dnabench.reports.papers.rules import Cell
from dnabench.reports.papers.rules_runs import paired, pairing

ROOT = Path(__file__).resolve().parent.parent
SPLICE = {f"nt/splice_sites_{k}" for k in ("all", "acceptors", "donors")}


@pytest.fixture(scope="module")
def paper():
    return of_paper("convnova")


def of(audit, rule, where="", severity=None):
    return [
        f for f in audit.findings
        if f.rule == rule and where in f.where and severity in (None, f.severity)
    ]  # fmt: skip


def one(found):
    (only,) = found
    return only


# 1. what ± is


def test_the_spread_is_the_largest_deviation(paper):
    numbers = one(of(paper, "spread", "Table 1")[:1]).numbers
    assert numbers["cells"] == 90 and numbers["follow"] == 72 and numbers["both"] == 65
    counts = numbers["counts"]
    assert counts["largest deviation"] == 70
    assert (counts["lower side"], counts["upper side"], counts["half range"]) == (51, 31, 13)
    assert counts["sample sd"] == 0
    assert 1.65 < numbers["ratio"] < 1.8
    assert {f.where for f in of(paper, "spread")} == {f"Table {t}" for t in (1, 5, 6, 13)}


def test_the_means_are_over_ten_seeds(paper):
    claim = one(of(paper, "claims", "Sections 4.1.1 and A.2.1"))
    assert claim.numbers["fits"] == {5: 5, 10: 69} and claim.severity == "note"
    five = one(of(paper, "claims", "Caption of Table 1"))
    assert five.severity == "finding"


@pytest.mark.parametrize(
    ("where", "printed", "true"),
    [
        ("nt/h3k4me1, convnova", 1.01, 2.28), ("nt/h4, convnova", 0.93, 1.24),
        ("nt/promoter_tata, convnova", 0.38, 0.42), ("nt/h4ac, convnova", 1.90, 2.31),
        ("nt/h3, caduceus_ph", 1.04, 1.84), ("nt/h3k4me1, caduceus_ph", 0.96, 1.715),
        ("nt/h3k79me3, dnabert2", 0.48, 0.74), ("nt/promoter_no_tata, dnabert2", 0.17, 0.148),
    ],
)  # fmt: skip
def test_spreads_that_do_not_follow(paper, where, printed, true):
    found = one(of(paper, "spreads", where))
    assert found.numbers["printed"] == printed
    assert found.numbers["computed"] == pytest.approx(true, abs=0.006)
    smaller = found.numbers["fits"] in (["lower side"], ["upper side"])
    assert smaller == (where != "nt/promoter_no_tata, dnabert2")


# 2. the printed table against its runs and against other tables


@pytest.mark.parametrize("model", ["convnova", "hyenadna", "caduceus_ph", "dnabert2"])
def test_splice_rows_fit_another_label(paper, model):
    found = one(of(paper, "labels", f", {model}"))
    assert found.where == f"Table 1 and Table 13, {model}"
    assert found.numbers["labels"] == {
        "nt/splice_sites_acceptors": "nt/splice_sites_all",
        "nt/splice_sites_donors": "nt/splice_sites_acceptors",
        "nt/splice_sites_all": "nt/splice_sites_donors",
    }
    left = {k.rpartition("_")[2]: v for k, v in found.numbers["left"].items()}
    expected = {"caduceus_ph": {"acceptors": -2.0, "donors": -2.0}, "dnabert2": {"acceptors": 3.41}}
    assert left == pytest.approx(expected.get(model, {}))


def test_one_column_keeps_its_splice_labels(paper):
    assert not of(paper, "labels", "ntv2")
    table = one([f for f in of(paper, "labels") if f.where == "Table 1 and Table 13"])
    assert table.numbers["stay"] == ["ntv2"] and len(table.numbers["moved"]) == 4


@pytest.mark.parametrize(
    ("where", "printed", "computed", "severity"),
    [
        ("nt/h3k14ac, dnabert2", 54.49, 54.515, "finding"),
        ("nt/h3k36me3, dnabert2", 57.58, 57.617, "finding"),
        ("nt/h4, dnabert2", 78.18, 78.211, "finding"),
        ("nt/h4ac, dnabert2", 51.80, 51.826, "finding"),
        ("nt/promoter_tata, dnabert2", 96.99, 97.010, "finding"),
        ("nt/h4, caduceus_ph", 80.10, 80.128, "finding"),
        ("nt/promoter_all, dnabert2", 96.23, 96.218, "note"),
        ("nt/h3k79me3, dnabert2", 64.38, 64.391, "note"),
        ("nt/h3, caduceus_ph", 80.48, 80.465, "note"),
        ("nt/enhancers_types, hyenadna", 48.16, 48.169, "note"),
    ],
)
def test_means_that_do_not_follow(paper, where, printed, computed, severity):
    found = one(of(paper, "means", where))
    assert found.severity == severity and "Table 1 and Table 13" in found.where
    assert found.numbers["printed"] == printed
    assert found.numbers["computed"] == pytest.approx(computed, abs=6e-4)


def test_six_means_of_table_1_do_not_follow(paper):
    assert len(of(paper, "means", "Table 1 and Table 13", "finding")) == 6


def test_three_cells_are_means_of_three_values_of_one_decimal(paper):
    found = one(of(paper, "means", "Table 1 and Table 13, dnabert2"))
    assert found.numbers["cells"] == {
        "nt/h4ac": [51.7, 51.8, 51.9], "nt/promoter_all": [96.1, 96.2, 96.4],
        "nt/promoter_no_tata": [97.0, 97.2, 97.3],
    }  # fmt: skip


def test_one_column_is_of_two_dilations(paper):
    found = one(of(paper, "variants"))
    assert found.where == "Table 1 and Table 13, convnova"
    four = {f"nt/{t}" for t in ("h3k4me2", "h3k4me3", "h3k14ac", "h4ac")}
    assert set(found.numbers["dilation=1"]) == four
    assert not four & set(found.numbers["dilation=4"])


def test_tables_5_and_6_follow_from_one_dilation_each(paper):
    means = [f for f in of(paper, "means", severity="finding") if "Table 5" in f.where]
    assert not means and not of(paper, "means", "Table 6") and not of(paper, "spreads", "Table 6")


def test_cells_that_differ_between_tables(paper):
    first, second = of(paper, "across")
    assert first.where == "Table 1 against Table 13, convnova"
    assert first.numbers["cells"] == {"nt/enhancers_types": ["49.75 ± 2.82", "52.67 ± 2.94"]}
    assert first.numbers["both"] == 18 and "49.745" in first.says
    assert second.where.startswith("Table 1 against Table 5")
    assert len(second.numbers["cells"]) == 4 and second.numbers["both"] == 10


def test_a_cell_of_table_13_does_not_follow(paper):
    found = one(of(paper, "means", "Table 13, nt/enhancers_types, convnova"))
    assert (found.numbers["printed"], round(found.numbers["computed"], 3)) == (52.67, 49.745)


def test_copied_cells(paper):
    found = one(of(paper, "copies"))
    assert found.where == "Table 13, nt/enhancers_types" and "basenji and legnet" in found.says
    assert (found.numbers["mean"], found.numbers["spread"]) == (44.72, 2.04)
    assert found.numbers["expected"] < 0.05


def test_coarse_steps_and_constant_cells(paper):
    assert {(f.where, f.numbers["count"], f.numbers["step"]) for f in of(paper, "steps")} == {
        ("Table 12", 320, 0.02), ("Table 13, convnova scratch", 36, 0.02),
    }  # fmt: skip
    assert [f.where.partition(", ")[0] for f in of(paper, "constant")] == ["Table 13", "Table 14"]


def test_pretraining_with_one_dilation(paper):
    numbers = one(of(paper, "claims", "Table 13", "finding")).numbers
    gains = numbers["gains"]
    assert [round(gains[k], 2) for k in ("all", "histone", "others")] == [0.97, 2.02, -0.34]
    worse = {k.removeprefix("nt/"): round(v, 2) for k, v in numbers["worse"].items()}
    assert worse == {
        "enhancers": -1.00, "promoter_tata": -0.58, "splice_sites_acceptors": -0.46,
        "splice_sites_all": -0.31, "enhancers_types": -0.26, "splice_sites_donors": -0.15,
        "promoter_no_tata": -0.06,
    }  # fmt: skip
    assert round(numbers["one"], 2) == 3.83
    scratch = one(of(paper, "claims", "Table 13", "note"))
    assert scratch.numbers["won"] == 10


# 3. runs


@pytest.mark.parametrize(
    ("rule", "where", "says"),
    [
        ("runs: period", "dnabert2", "in 8 of 18 rows"),
        ("runs: period", "ntv2", "in 2 of 18 rows"),
        ("runs: period", "convnova dilation=1", "modulo 5"),
        ("runs: repeated", "convnova dilation=4, nt/h3k9ac", "3 to 5 come again as scores 6 to 8"),
        ("runs: repeated", "dnabert2, nt/h4ac", "come again"),
        ("runs: rounding", "dnabert2, nt/h3k4me3", "10 of 10"),
        ("runs: rounding", "dnabert2, nt/h3k4me2", "9 of 10"),
        ("runs: rounding", "ntv2, nt/enhancers_types", "multiples of 0.05"),
        ("runs: last digits", "dnabert2", "31, 29, 35"), ("runs: last digits", "ntv2", "last"),
        ("runs: correlated", "promoter_tata, splice_sites_all", "r = 0.990"),
    ],
)  # fmt: skip
def test_runs_that_do_not_look_independent(paper, rule, where, says):
    assert says in one(of(paper, rule, where)).says


def test_seeds_do_not_pair_models():
    from dnabench.reports.papers import published

    runs = {}
    for s in published.seeds("convnova"):
        if s.variant != "dilation=1":
            runs.setdefault((s.model, s.task), []).append(s.mean)
    found = pairing(runs)
    assert found.pairs == 180 and found.mean == pytest.approx(-0.017, abs=5e-4)
    assert found.p == pytest.approx(0.41, abs=0.005)


def test_seeds_that_pair_models_are_found():
    rng = np.random.default_rng(0)
    runs = {}
    for t in range(10):
        shared = rng.normal(size=10)
        runs |= {(f"m{m}", f"t{t}"): 80 + shared + rng.normal(size=10) for m in range(4)}
    assert list(paired(runs))
    assert not list(paired({k: rng.permutation(x) for k, x in runs.items()}))


# 4. marks


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("Table 1, nt/promoter_all", "hyenadna 95.57 is marked as second and is the lowest of 5"),
        ("Table 1, nt/promoter_all", "best is ntv2 (96.82) and convnova (96.82)"),
        ("Table 2 and Table 14, genomic_benchmarks/human_ensembl_regulatory",
         "cnn (0.872) and caduceus_ph (0.872), but cnn has no mark"),
        ("Table 5, nt/h3k4me1", "convnova_single_branch 56.45 is marked as second"),
        ("Table 5, nt/h3k4me1", "best is convnova_no_gate (57.83), second is convnova (56.60)"),
        ("Table 5, nt/h3k4me2", "no second mark; second is convnova_no_gate (52.52)"),
        ("auroc_tf", "ntv2 500M 96.76 is marked"),
        ("auroc_tf", "second is convnova 6.8M (96.77) and convnova 27.4M scratch (96.77)"),
        ("auroc_dhs", "ntv2 250M 93.13 is marked as second and ranks 4"),
        ("auroc_dhs", "second is convnova 6.8M (93.42)"),
        ("auroc_avg", "ntv2 250M 92.19 is marked as second and ranks 4"),
        ("auroc_avg", "second is ntv2 500M (92.30)"),
        ("Table 13, nt/h3k4me2", "no second mark"), ("Table 13, nt/h3k4me3", "no second mark"),
        ("Table 13, nt/h3k14ac", "no second mark"), ("Table 13, nt/promoter_all", "no second mark"),
        ("Table 13, nt/enhancers", "convnova scratch 58.60 is marked as second and is the highest"),
        ("Table 14, genomic_benchmarks/human_ocr_ensembl", "convnova 0.793 is marked as second"),
        ("Table 14, genomic_benchmarks/human_ocr_ensembl", "legnet (0.802); the row has 2"),
        ("Table 16, nt/splice_sites_donors, convnova", "seed 45, 96.44"),
    ],
)  # fmt: skip
def test_second_best_marks(paper, where, says):
    assert any(says in f.says for f in of(paper, "marks", where))


def test_no_other_marks_are_named(paper):
    assert len(of(paper, "marks")) == 14 and not of(paper, "marks", "auroc_hm")


# 5. claims


@pytest.mark.parametrize(
    ("where", "claim", "holds", "values"),
    [
        ("Section 1", "12 of the 18", True,
         {"won": 12, "tied": ["nt/promoter_all"], "dilation=4": 13}),
        ("Section 4.1.1", "DNABERT-2", True, {"won": 15, "dilation=4": 16}),
        ("Section 4.1.1", "NTv2", True, {"won": 12, "dilation=4": 13}),
        ("Section 4.1.2", "Genomic Benchmarks", True, {"won": 5}),
        ("with the columns of Table 14", "Genomic Benchmarks", False, {"won": 4}),
        ("Section 4.1.1", "HyenaDNA", False,
         {"lost": ["nt/splice_sites_acceptors"], "dilation=4": ["nt/splice_sites_all"]}),
        ("Section 4.2.2", "all baselines", False, {"behind": ["auroc_hm"]}),
        ("Section 4.2.2", "DeepATT", False, {"behind": ["auroc_hm"]}),
        ("Section 4.2.2", "HyenaDNA models", True, {"behind": []}),
        ("Section 4.2.2", "51.1M", False, {"sizes": ["6.8M", "27.4M", "1.7M"]}),
        ("Section 4.5", "Gate", False, {"behind": ["nt/h3k4me1"]}),
    ],
)  # fmt: skip
def test_claims(paper, where, claim, holds, values):
    found = one(
        [f for f in of(paper, "claims") if f.where.endswith(where) and claim in f.numbers["claim"]]
    )
    assert found.numbers["holds"] is holds
    for key, value in values.items():
        assert found.numbers[key] == value, key


@pytest.mark.parametrize(
    ("claim", "points", "relative", "fixed", "fixed_relative"),
    [("5.8 %", 5.745, 9.8, 4.09, 6.8), ("10.5 %", 10.43, 18.4, 3.48, 6.1),
     ("10 points", 3.92, None, 2.78, None)],
)  # fmt: skip
def test_margins(paper, claim, points, relative, fixed, fixed_relative):
    n = one([f for f in of(paper, "claims") if claim in f.numbers["claim"]]).numbers
    assert n["points"] == pytest.approx(points, abs=0.006) and not n["holds"]
    assert n["dilation=4"]["points"] == pytest.approx(fixed, abs=0.006)
    if relative:
        assert 100 * n["relative"] == pytest.approx(relative, abs=0.06)
        assert 100 * n["dilation=4"]["relative"] == pytest.approx(fixed_relative, abs=0.06)


def test_margin_with_the_other_dilation(paper):
    n = one([f for f in of(paper, "claims") if "5.8 %" in f.numbers["claim"]]).numbers
    assert n["dilation=1"]["points"] == pytest.approx(4.43, abs=0.006)
    assert n["dilation=1"]["behind"] == ["nt/h3", "nt/h4"]


def test_single_runs(paper):
    found = {f.where: f.numbers for f in of(paper, "single runs")}
    assert found["Table 4, nt/h3k4me1, convnova"]["found"] == [3]  # seed 43
    assert found["Table 4, nt/splice_sites_all, convnova"]["found"] == []
    assert len(found) == 2 and all(n["count"] == 3 for n in found.values())


def test_averages_of_the_ablation(paper):
    n = one(of(paper, "claims", "Section 4.5")).numbers["averages"]
    assert {k: round(v, 2) for k, v in n.items()} == {
        "convnova": 67.26, "convnova_single_branch": 66.01, "convnova_no_gate": 64.60,
    }  # fmt: skip


def test_wins_and_margins_by_hand():
    means = {"a": {"x": 2.0, "y": 1.0, "z": 0.5}, "b": {"x": 1.0, "y": 1.0, "z": 4.0}}
    assert wins(means, "x") == (["a"], [], ["b"])
    assert wins(means, "x", ["y"]) == (["a"], ["b"], [])
    assert margins(means, "x", ["a", "b"]) == pytest.approx((-1.0, (1.0 - 0.75) / 2))


# clean and planted tables


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


# the command


@pytest.fixture(scope="module")
def command():
    app = typer.Typer()
    app.command("published")(audit_papers.published)
    app.command("tables")(audit_papers.tables)

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
