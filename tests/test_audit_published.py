"""`dnabench audit published` and `audit tables` on real, clean and planted tables."""

import numpy as np
import pytest
from table_cases import one

from dnabench.reports.papers.claims import margins, wins
from dnabench.reports.papers.rules_runs import paired, pairing


def of(audit, rule, where="", severity=None):
    return [
        f for f in audit.findings
        if f.rule == rule and where in f.where and severity in (None, f.severity)
    ]  # fmt: skip


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


@pytest.mark.parametrize(
    ("rule", "where", "says"),
    [
        ("runs: period", "dnabert2", "in 8 of 18 rows"),
        ("runs: period", "ntv2", "in 2 of 18 rows"),
        ("runs: period", "convnova dilation=1", "modulo 5"),
        ("runs: repeated", "convnova dilation=4, nt/h3k9ac", "3 to 5 repeat as scores 6 to 8"),
        ("runs: repeated", "dnabert2, nt/h4ac", "repeat"),
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
