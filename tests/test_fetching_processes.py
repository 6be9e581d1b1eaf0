"""Fetching as real processes: two at once, killed, in other environments, then imported."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import planted_split
from fetch_cases import NT, SPLITS, csv_of, fasta, gue_zip, noise, put_nt, visible, web, zipped

from dnabench import TASKS
from dnabench.tasks._declare import ORIGINS
from dnabench.tasks.io.fetching import fetch

SCRIPT = """
import json, sys
from pathlib import Path
from dnabench.tasks._declare import Origin, declare
from dnabench.tasks.io.fetching import fetch
name, origin, folder = json.loads(sys.argv[1])
declare(name, kind="binary", classes=("0", "1"), metric="mcc", length=500, official={},
        source="here", license="CC0-1.0", origin=Origin(**origin))
seen = []
try:
    got = fetch(name, Path(folder), lambda *w: seen.append(w))
    print(json.dumps({"fresh": got.fresh, "files": [str(p) for p in got.files], "seen": seen}))
except ValueError as e:
    print(json.dumps({"error": str(e)}))
"""


def process(name, origin, folder, **env):
    argv = [sys.executable, "-c", SCRIPT, json.dumps([name, origin, str(folder)])]
    env = {**os.environ, **env}
    return subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(started):
    out, err = started.communicate(timeout=120)
    assert started.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_two_processes_share_one_download(server, tmp_path):
    data = gue_zip()
    server.put_file("/GUE.zip", data, slow=0.2)
    origin = {"urls": [f"{server.url}/GUE.zip"]}
    both = [process("standin/mouse_0", origin, tmp_path / "d") for _ in range(2)]
    one, two = (said(p) for p in both)
    assert sorted([one["fresh"], two["fresh"]]) == [False, True] and len(server.gets()) == 1
    assert one["files"] == two["files"]
    path = Path(one["files"][0]) / "GUE/mouse/0/train.csv"
    assert path.read_bytes() == csv_of(30, 0)
    late = one if two["fresh"] else two
    assert [w[0] for w in late["seen"]] in ([], ["GUE.zip: waiting for another process"])


def test_a_killed_download_is_completed_by_a_later_process(server, tmp_path):
    data = noise(2_000_000)
    served = server.put_file("/h3.fna", data, slow=0.5)
    origin = {"urls": [f"{server.url}/h3.fna"]}
    part = tmp_path / "d/standin/h3/.h3.fna.part"
    first = process("standin/h3", origin, tmp_path / "d")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = part.stat().st_size
    assert 0 < kept < len(data) and visible(tmp_path / "d") == []
    served.slow = 0.0
    second = said(process("standin/h3", origin, tmp_path / "d"))
    assert Path(second["files"][0]).read_bytes() == data
    assert server.gets() == ["", f"bytes={kept}-"]


def test_the_environment_names_hub_cache_and_token(server, tmp_path):
    data = put_nt(server)
    env = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    both = [process("standin/h3", NT, tmp_path / f"{i}", **env) for i in range(2)]  # one cache
    for got in map(said, both):
        assert [Path(p).read_bytes() for p in got["files"]] == list(data.values())
    asked = zip(server.asked, server.tokens, strict=True)
    assert {t for (_, path, _), t in asked if "/resolve/" in path} == {"Bearer hf_secret"}
    assert (tmp_path / "home" / "hub").is_dir()
    env |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    got = said(process("standin/h3", NT, tmp_path / "third", **env))
    assert [Path(p).read_bytes() for p in got["files"]] == list(data.values())
    env["HF_HOME"] = str(tmp_path / "empty")
    assert (
        "HF_HUB_OFFLINE is set" in said(process("standin/h3", NT, tmp_path / "4", **env))["error"]
    )


def test_a_hub_that_is_not_there_is_named(tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    error = said(process("standin/h3", NT, tmp_path / "d", **env))["error"]
    assert "http://127.0.0.1:9 cannot be reached" in error and "Connection refused" in error


IMPORT = """
import dataclasses, json, sys
from dnabench import TASKS
from dnabench.tasks._declare import ORIGINS
from dnabench.tasks.io.fetching import fetch_and_import
names, url = json.loads(sys.argv[1])
list(TASKS)
gb = "genomic_benchmarks/human_nontata_promoters"
ORIGINS[gb] = dataclasses.replace(ORIGINS[gb], urls=(url,))
seen = []
out = fetch_and_import(names, lambda *w: seen.append(w))
assert [w for w in seen if "importing" in w[0]] == [
    (f"importing {o.task}", 0, 0) for o in out if o.imported], seen
for o in out:
    counts = o.imported.counts if o.imported else {}
    print(json.dumps([o.task, counts, o.fetched.place if o.fetched else "", o.error]))
"""
LOAD = """
import json, sys
from dnabench import TASKS
for name in sys.argv[1:]:
    t = TASKS[name]
    print(json.dumps([len(t.load("train").y), str(t.load("test").seqs[0]), t.data]))
"""


def test_nt_gue_and_genomic_benchmarks_are_fetched_and_imported(server, tmp_path):
    nt, gue = (ORIGINS[TASKS[name].name] for name in ("nt/h3", "gue/mouse_0"))
    for path, data in (("H3/train.fna", fasta(40, 0)), ("H3/test.fna", fasta(20, 1))):
        server.put_dataset(nt.repo, path, data, nt.revision)
    for i, split in enumerate(SPLITS):
        server.put_dataset(gue.repo, f"GUE/mouse_0/{split}.csv", csv_of(30, i), gue.revision)
    server.put_file("/gb_v0.zip", zipped(
        {f"human_nontata_promoters/{split}/{c}/{i}.txt": str(planted_split(9, 3).seqs[i])
         for split in ("train", "test") for c in ("negative", "positive") for i in range(4)}
    ))  # fmt: skip
    names = ["nt/H3", "gue/mouse_0", "gue/mouse_1", "genomic_benchmarks/human_nontata_promoters"]
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"),
           "DNABENCH_CACHE": str(tmp_path / "cache")}  # fmt: skip

    def run(code, *words):
        argv = [sys.executable, "-c", code, *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    words = json.dumps([names, f"{server.url}/gb_v0.zip?download=1"])
    h3, mouse, absent, gb = run(IMPORT, words)
    assert h3 == ["nt/h3", {"train": 40, "test": 20}, f"{nt.repo}@{nt.revision}", ""]
    assert mouse[:2] == ["gue/mouse_0", {"train": 30, "dev": 30, "test": 30}] and not mouse[3]
    assert absent[:3] == ["gue/mouse_1", {}, ""]
    assert "GUE/mouse_1/train.csv" in absent[3] and "no such file (404" in absent[3]
    assert gb == [names[3], {"train": 8, "test": 8}, f"{server.url}/gb_v0.zip?download=1", ""]
    loaded = run(LOAD, "nt/h3", "gue/mouse_0", names[3])
    assert [n for n, _, _ in loaded] == [40, 30, 8] and all(data for _, _, data in loaded)
    assert loaded[0][1] == str(planted_split(20, 1, length=500).seqs[0])
    n = len(server.asked)
    assert run(IMPORT, json.dumps([names[::3], f"{server.url}/gb_v0.zip?download=1"])) == [h3, gb]
    assert len(server.asked) == n  # imported again from what is there


def test_without_locks_two_downloads_do_not_meet(server, task, tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    data = noise(1000)
    name, _ = web(server, task, data)
    other = tmp_path / "standin/h3/.h3.fna.part"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of somebody else")
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert other.read_bytes() == b"of somebody else"


def test_declaring_and_looking_imports_no_network_library():
    code = (
        "import sys, dnabench\nfrom dnabench import TASKS\nlist(TASKS)\n"
        "print([m for m in ('huggingface_hub', 'urllib.request', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
