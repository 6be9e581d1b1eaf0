"""All 25 golden records, the families of transformers, and the table that is committed."""

from pathlib import Path

import golden
import parity
import pytest
import tiny_transformers as tiny

PARITIES = parity.parities()


def test_every_golden_record_has_a_network():
    assert sorted(PARITIES) == sorted(golden.RECORDS) and len(PARITIES) == 25


@pytest.mark.parametrize("name", PARITIES)
def test_matches_the_authors_code(name):
    row = parity.row(name, PARITIES[name])
    assert row["largest difference"] < row["tolerance"], row
    assert row["parameters, ours"] == row["parameters, theirs"]


def test_the_committed_table_names_every_record():
    table = (Path(__file__).parent / "PARITY.md").read_text()
    assert all(f"| {name} |" in table for name in (*PARITIES, *tiny.FAMILIES))


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_hidden_states_are_those_of_transformers(name, tmp_path):
    row = parity.row_of_transformers(name, tmp_path / name)
    assert row["largest difference"] < row["tolerance"] == 1e-5, row
    assert row["parameters, ours"] == row["parameters, theirs"]
    assert row["buffers, equal"] == row["buffers, theirs"]
