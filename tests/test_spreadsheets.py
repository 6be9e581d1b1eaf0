"""No text of a record or of a user's file is run by the spreadsheet that opens a CSV of it."""

import csv
import io

import pyarrow as pa
import pytest

from dnabench import Recipe, Record, Trial
from dnabench.reports.analysis import analyze
from dnabench.reports.table import tables
from dnabench.reports.tidy import csv_text
from dnabench.spreadsheets import as_text, table_as_text

FORMULAS = ["=cmd|' /C calc'!A0", "+SUM(A1)", "-2+3+cmd|x", "@SUM(1)", "\t=1", "\r=1", "=1\n2"]
PLAIN = ["", "-", "+", "=", "-1.5", "+2e-3", "1e5", "kmer", "chr1:5-9", "a=b", "-.5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text):
    assert as_text(text) == f"'{text}"


def test_numbers_signs_and_other_text_stay():
    assert [as_text(x) for x in [*PLAIN, -1.5, None, 3]] == [*PLAIN, -1.5, None, 3]


def test_a_table_is_treated_as_its_cells_are():
    every = [*FORMULAS, *PLAIN]
    found = table_as_text(pa.table({"=id": every, "n": range(len(every))}))
    assert found.column_names == ["'=id", "n"]
    assert found.column(0).to_pylist() == [as_text(x) for x in every]
    assert found.column(1).to_pylist() == list(range(len(every)))


def test_reports_in_csv_hold_no_formula():
    records = [
        Record(
            trial=Trial(
                model=model, options={}, regime="scratch", task="demo/x", data="0" * 16,
                protocol="honest/1", recipe=Recipe(), seed=seed,
            ),
            scores={"test": {"mcc": 0.5 + seed / 10}}, task={"metric": "mcc", "family": "@f"},
        )
        for model in ("=cmd|x", "cnn") for seed in (0, 1)
    ]  # fmt: skip
    head, *rows = csv.reader(io.StringIO(csv_text([analyze(one) for one in tables(records)])))
    assert {row[head.index("model")] for row in rows} == {"'=cmd|x", "cnn"}
    assert {row[head.index("family")] for row in rows} == {"'@f"}
