"""A disk that is really full: a file system in memory of some kB, mounted for the command alone."""

import shutil
import subprocess

import pytest
from conftest import command, gue, popen
from test_sweep import completions, wait_for

from dnabench.results.store import Store

PRIVATE = ["unshare", "--map-root-user", "--mount"]


def can_mount():
    words = [*PRIVATE, "sh", "-c", "mount -t tmpfs none /tmp"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="this user may mount nothing, not even privately"),
]


def on_small_disk(tmp_path, script, *words, cache=None):
    """Run a script of sh, in which $disk is a full file system soon and "$@" the command."""
    disk = tmp_path / "disk"
    disk.mkdir()
    argv, env = command(*words, cache=cache)
    return subprocess.run(
        [*PRIVATE, "sh", "-c", script, "sh", *argv], env={**env, "disk": str(disk)},
        capture_output=True, text=True, timeout=240, cwd=tmp_path,
    )  # fmt: skip


def test_a_sweep_stops_with_one_message_and_goes_on_when_there_is_room(csv, tmp_path):
    """What was stored is whole, and each trial ends once."""
    script = """
        mount -t tmpfs -o size=100k none $disk
        "$@"; echo status $?; ls $disk/runs/records | wc -l
        (cd $disk/runs; ls -A */.*.tmp .locks/*.[0-9])
        mount -o remount,size=50M none $disk
        "$@"; echo status $?
        cp -r $disk/runs runs
    """
    out = tmp_path / "disk" / "runs"
    done = on_small_disk(
        tmp_path, script, "run", "-m", "kmer", "--data", csv, "--seeds", "20", "--jobs", "2",
        "--out", out,
    )  # fmt: skip
    first, _, then = done.stdout.partition("status 2\n")
    n = int(then.split()[0])
    assert 0 < n < 20 and f"{n} ran, 0 already done, 0 failed" in first, done.stdout
    assert f"{20 - n} ran, {n} already done, 0 failed" in then and "status 0" in then
    (line,) = [x for x in done.stderr.splitlines() if not x.startswith(("[", "warning", "ls:"))]
    assert line == (
        f"error: cannot write to {out}: No space left on device; make room or give access, or name "
        "another folder with --out. Finished trials are kept: the same command runs the others"
    )
    store = Store(tmp_path / "runs")
    assert len(store.done()) == 20 and not store.unreadable
    assert ".tmp" not in then and ".locks" not in then
    assert all(store.predictions(i)["logits"].shape == (32, 2) for i in store.done())
    ended = completions(store.folder)
    assert set(ended.values()) == {1} and len(ended) == 20


def test_a_folder_that_is_removed_stops_a_sweep_with_one_message(csv, tmp_path):
    out = tmp_path / "runs"
    argv, env = command("run", "-m", "kmer", "--data", csv, "--seeds", "5000", "--out", out)
    sweep = popen(argv, env, stderr=subprocess.PIPE, text=True)
    with sweep:
        wait_for(lambda: list(out.glob("records/*.json")))
        while out.exists():
            shutil.rmtree(out, ignore_errors=True)
        said = sweep.stderr.read()
    (line,) = [x for x in said.splitlines() if not x.startswith(("[", "warning"))]
    assert sweep.returncode == 2 and line.startswith(f"error: cannot write to {out}: No such file")


@pytest.mark.parametrize("size", ["4k", "20k"])
def test_a_full_cache_is_named_by_an_import(tmp_path, size):
    gue(tmp_path)
    script = f'mount -t tmpfs -o size={size} none $disk; "$@"'
    cache = tmp_path / "disk"
    done = on_small_disk(tmp_path, script, "data", "import", tmp_path / "GUE", cache=cache)
    assert done.returncode == 1
    says = f"gue/mouse_0: not imported: cannot write to {cache}: No space left on device; make room"
    assert says in done.stdout + done.stderr
