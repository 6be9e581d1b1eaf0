"""A headless Chromium for tests: the fixture `chromium`, one browser for all files of a process.

Chromium is $DNABENCH_CHROMIUM, or the first of its usual names on PATH.
"""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (  # nothing of its own goes to the network
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def executable():
    """Where it is; None when there is none."""
    named = os.environ.get("DNABENCH_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def chromium():
    """A running browser of playwright."""
    path = executable()
    if path is None:
        pytest.skip(
            f"no Chromium: none of {', '.join(NAMES)} is on PATH and DNABENCH_CHROMIUM is unset; "
            "`apt-get install chromium`, or name one in DNABENCH_CHROMIUM"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
