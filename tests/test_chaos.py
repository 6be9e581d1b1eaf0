"""tests/bench/chaos.py in its short form: five random faults over sweeps on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_full_disk import can_mount

BENCH = Path(__file__).parent / "bench" / "chaos.py"


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="this user may mount nothing, not even privately")
def test_random_faults_lose_double_and_tear_nothing():
    words = ["--engine", "local", "--faults", "5", "--seed", "3", "--stop", "3"]
    done = subprocess.run([sys.executable, BENCH, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 faults over" in done.stdout
    assert "0 lost, 0 double, 0 torn, 0 with other results, 0 other ends" in done.stdout
    assert "0 failed without a kill; " in done.stdout
