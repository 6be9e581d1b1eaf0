"""tests/bench/mutations.py: what it changes is still there, and so are the tests that it runs."""

import ast
import importlib
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCH = str(ROOT / "tests" / "bench")


def mutations():
    """What the bench lists; its folder is on the path meanwhile only, where it hides `coverage`."""
    sys.path.insert(0, BENCH)
    try:
        return importlib.import_module("mutations").MUTATIONS
    finally:
        sys.path.remove(BENCH)


@pytest.mark.parametrize("mutation", mutations(), ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_and_leaves_python(mutation):
    text = (ROOT / mutation.file).read_text()
    assert text.count(mutation.old) == 1
    ast.parse(text.replace(mutation.old, mutation.new))
    files = [ROOT / word for word in shlex.split(mutation.tests) if word.endswith(".py")]
    assert files and all(file.is_file() for file in files)
