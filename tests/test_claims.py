"""Claims between hosts: what another host's process leaves in the folder, as real files."""

import json
import multiprocessing as mp
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from dnabench.results import claims
from dnabench.results.claims import STALE, claimed

THEIRS = {"host": "elsewhere-0000", "pid": 1, "token": "f" * 16}


def left_by(folder, owner, seconds, number=1):
    """A claim file of that owner, last touched so many seconds ago."""
    path = folder / f"t.{number}"
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_claim_of_another_host_holds_while_it_is_touched(tmp_path):
    left_by(tmp_path, THEIRS, STALE - 20)
    with claimed(tmp_path, "t") as mine:
        assert mine is None
    assert json.loads((tmp_path / "t.1").read_text()) == THEIRS


def test_a_claim_that_nobody_touches_is_taken_over_and_then_released(tmp_path):
    left_by(tmp_path, THEIRS, STALE + 20)
    with claimed(tmp_path, "t") as mine:
        assert mine is not None and not mine.lost()
        assert json.loads((tmp_path / "t.2").read_text()) == mine.owner
    assert not list(tmp_path.glob("t.*")) and not list(tmp_path.glob(".clock*"))


def test_a_dead_process_of_this_host_is_taken_over_at_once(tmp_path):
    left_by(tmp_path, {**THEIRS, "host": claims.host()}, 0)
    with claimed(tmp_path, "t") as mine:
        assert mine is not None


APART = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def test_a_process_of_another_container_is_not_taken_for_dead(tmp_path):
    """It has the name of this host, and its number is nobody's here."""
    code = "from dnabench.results import claims; print(claims.host())"
    done = subprocess.run([*APART, sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr}")
    there = done.stdout.strip()
    assert there.rpartition("-")[0] == claims.host().rpartition("-")[0] != there != claims.host()
    left_by(tmp_path, {**THEIRS, "host": there, "pid": 2**22 + 1}, 0)
    assert claims._take(tmp_path / "t.1", locks=False) is None
    assert [one.gone for one in claims.holders(tmp_path).values()] == [False]


def test_the_clock_that_counts_is_that_of_the_file_server(tmp_path, monkeypatch):
    """Hosts whose clocks are an hour apart do not take each other's trials."""
    left_by(tmp_path, THEIRS, 0)
    real = time.time
    for ahead in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda ahead=ahead: real() + ahead)
        with claimed(tmp_path, "t") as mine:
            assert mine is None
        assert [one.gone for one in claims.holders(tmp_path).values()] == [False]
    monkeypatch.undo()
    left_by(tmp_path, THEIRS, STALE + 20)
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    with claimed(tmp_path, "t") as mine:
        assert mine is not None


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"host": 3}'])
def test_a_claim_that_cannot_be_read_is_judged_by_its_age(tmp_path, text):
    for seconds, taken in ((0, False), (STALE + 20, True)):
        path = tmp_path / "t.1"
        path.write_text(text)
        os.utime(path, (time.time() - seconds,) * 2)
        with claimed(tmp_path, "t") as mine:
            assert (mine is not None) is taken


def test_an_owner_that_comes_back_after_a_takeover_has_lost(tmp_path):
    with claimed(tmp_path, "t") as mine:
        left_by(tmp_path, THEIRS, 0, number=2)
        assert mine.lost()
    assert json.loads((tmp_path / "t.2").read_text()) == THEIRS  # it is not ours to remove
    (tmp_path / "t.2").unlink()
    (tmp_path / "t.1").unlink()
    with claimed(tmp_path, "t") as mine:
        left_by(tmp_path, THEIRS, 0)  # the other released, and claimed again
        assert mine.lost()


def test_a_long_trial_touches_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    with claimed(tmp_path, "t"):
        path = tmp_path / "t.1"
        os.utime(path, (0, 0))
        end = time.monotonic() + 20
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_of_processes_that_take_over_at_once_one_wins(tmp_path):
    """Without the kernel's locks between them: each race is for another host's stale claim."""
    names = [f"r{n}" for n in range(40)]
    for name in names:
        left_by(tmp_path, THEIRS, STALE + 20).rename(tmp_path / f"{name}.1")
    context = mp.get_context("spawn")
    wins = context.SimpleQueue()
    racers = [context.Process(target=race, args=(tmp_path, names, wins)) for _ in "ab"]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    found = Counter(wins.get() for _ in range(0 if wins.empty() else 40))
    assert found == dict.fromkeys(names, 1)


def race(folder, names, wins):
    for name in names:
        path = claims._take(folder / f"{name}.1", locks=False)
        if path is not None:
            wins.put(name)
