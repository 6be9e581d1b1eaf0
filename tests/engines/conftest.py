"""Tests with real daemons; those marked `engines` take minutes and run under `make engines`."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import STARTED


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="takes minutes: make engines")
    for item in items:
        if item.get_closest_marker("engines") and not os.environ.get("DNABENCH_ENGINES"):
            item.add_marker(skip)
