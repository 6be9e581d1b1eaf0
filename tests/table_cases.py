"""Findings in the tables of papers, for the tests of reports/papers/."""

import pytest

from dnabench.reports.papers.audit import of_paper


@pytest.fixture(scope="module")
def paper():
    return of_paper("convnova")


def one(found):
    (only,) = found
    return only
