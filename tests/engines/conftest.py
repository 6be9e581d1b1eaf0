"""Tests with real daemons; those marked `engines` take minutes and run under `make engines`."""

import os

import pytest


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="takes minutes: make engines")
    for item in items:
        if item.get_closest_marker("engines") and not os.environ.get("DNABENCH_ENGINES"):
            item.add_marker(skip)
