"""harness/host/doctor.py and machine.py: what is found here, and in trees that stand for others."""

import errno
import importlib.util
import json
import os
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from conftest import dnabench

from dnabench.cache import existing
from dnabench.host.doctor import EXTRAS, Finding, _extras, _hub_settings, _tested, examine, locks
from dnabench.host.machine import (
    affinity,
    bf16_flags,
    bf16_flags_in,
    cgroup_room,
    cpu_quota,
    free_memory,
    meminfo,
    memory_limit,
    usable_cores,
)
from dnabench.results.claims import claimed

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder that anybody may write."""
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def planted(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_limits_of_cgroups_version_2_are_the_least_on_the_way_up(tmp_path):
    top = "sys/fs/cgroup"
    root = planted(tmp_path, {
        "proc/self/cgroup": "0::/user/job\n", f"{top}/user/job/cpu.max": "max 100000\n",
        f"{top}/user/cpu.max": "250000 100000\n", f"{top}/cpu.max": "400000 100000\n",
        f"{top}/user/job/memory.max": "8000000000\n", f"{top}/user/memory.max": "max\n",
    })  # fmt: skip
    assert cpu_quota(root) == 2.5 and memory_limit(root) == 8_000_000_000


def test_limits_of_cgroups_version_1(tmp_path):
    top = "sys/fs/cgroup"
    root = planted(tmp_path, {
        "proc/self/cgroup": "4:memory:/docker/ab\n3:cpuset:/\n1:cpu,cpuacct:/docker/ab\n0::/\n",
        f"{top}/cpu/cpu.cfs_quota_us": "150000\n", f"{top}/cpu/cpu.cfs_period_us": "100000\n",
        f"{top}/memory/docker/ab/memory.limit_in_bytes": "9223372036854771712\n",
        f"{top}/memory/memory.limit_in_bytes": "2000000000\n",
    })  # fmt: skip
    assert memory_limit(root) == 2_000_000_000
    (root / top / "cpu,cpuacct").symlink_to(root / top / "cpu")
    assert cpu_quota(root) == 1.5


@pytest.mark.parametrize(
    ("top", "line", "names", "cached"),
    [
        ("sys/fs/cgroup", "0::/\n", ("memory.max", "memory.current"), "inactive_file"),
        ("sys/fs/cgroup/memory", "4:memory:/\n",
         ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ],
)  # fmt: skip
def test_cached_files_of_a_cgroup_count_as_free(tmp_path, top, line, names, cached):
    limit, used = (f"{top}/{name}" for name in names)
    root = planted(tmp_path, {"proc/self/cgroup": line, limit: "8000\n", used: "7900\n"})
    assert cgroup_room(root) == 100
    planted(tmp_path, {f"{top}/memory.stat": f"anon 900\n{cached} 6000\nactive_file 1000\n"})
    assert cgroup_room(root) == 6100
    assert cgroup_room(planted(tmp_path / "x", {"proc/self/cgroup": line})) is None


def test_no_limit_is_none(tmp_path):
    root = planted(tmp_path, {
        "proc/self/cgroup": "1:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert cpu_quota(root) == 0 and memory_limit(root) == 0 and cpu_quota(tmp_path / "x") == 0


def test_this_machine_has_cores_and_memory():
    assert 1 <= usable_cores() <= affinity() <= (os.cpu_count() or 1)
    if meminfo():
        assert 0 < free_memory() <= meminfo()["MemTotal"]


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", ["amx_bf16", "avx512_bf16"]),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\nflags : fpu\n", []),
        ("Features\t: fp asimd bf16 i8mm\n", ["bf16"]),
        ("model name\t: a bf16 machine\nflags : fpu\n", []),
    ],
)
def test_bf16_is_what_the_flags_say(cpuinfo, flags):
    assert bf16_flags_in(cpuinfo) == flags


def test_torch_agrees_about_bf16_here():
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if ask is None or bf16_flags() is None:
        pytest.skip("this torch or system does not say")
    assert ask() == ("avx512_bf16" in bf16_flags())


def test_locks_work_here_and_a_folder_that_is_not_there_is_not_made(tmp_path):
    found = locks(tmp_path / "a" / "b", "--out")
    assert found.state == "ok" and str(tmp_path) in found.says
    assert list(tmp_path.iterdir()) == [] and existing(tmp_path / "a") == tmp_path


def test_a_folder_that_cannot_be_written_is_broken():
    found = locks(Path("/proc"), "--out")
    assert found.state == "broken" and "cannot write" in found.says and "--out" in found.way_out


def no_locks(file, how):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(
    ("flock", "twice", "out", "cache"),
    [(no_locks, False, "ok", "note"), (lambda file, how: None, True, "broken", "broken")],
)
def test_what_locks_mean_is_what_claims_do(flock, twice, out, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", flock)
    with claimed(tmp_path, "trial") as first, claimed(tmp_path, "trial") as second:
        assert first and bool(second) is twice
    found = locks(tmp_path, "--out")
    assert found.state == out and ("trials twice" in found.says) is twice
    assert locks(tmp_path, "the cache").state == cache


def test_every_extra_is_listed_once():
    extras = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {*EXTRAS} == extras.keys() - {"test", "docs"}
    lines = [finding.says for finding in _extras()]
    assert len(lines) <= 2
    for name, (packages, gives) in EXTRAS.items():
        (line,) = (line for line in lines if f"{name} ({gives})" in line)
        there = all(map(importlib.util.find_spec, packages))
        assert line.startswith("installed: " if there else "not installed: ")
        for package in packages:
            known = packages_distributions().get(package, [package.replace("_", "-")])
            assert any(need.startswith(known[0]) for need in extras[name])


def test_a_token_is_never_shown():
    found = _hub_settings({"HF_TOKEN": "hf_secret", "HF_ENDPOINT": "http://mirror", "HOME": "/x"})
    assert found.says == "HF_ENDPOINT=http://mirror, HF_TOKEN=(set)"
    assert "huggingface.co" in _hub_settings({}).says


def test_everything_is_looked_at_and_nothing_here_is_broken(tmp_path):
    found = examine(tmp_path)
    assert {f.topic for f in found} >= {
        "versions", "packages", "extras", "processor", "memory", "bf16 on the CPU",
        "cache", "hub cache", "locks in the cache", "locks in --out", "models", "tasks",
        "hub settings",
    }  # fmt: skip
    assert not [f for f in found if f.state == "broken"]
    assert all(isinstance(f, Finding) and f.says for f in found)
    assert not [f for f in found if f.topic == "hub"]  # the network is not asked
    assert _tested()["torch"].startswith("2.")


def test_the_command_prints_a_line_each_and_json(tmp_path):
    done = dnabench("doctor", "--out", tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"(?m)^ok +versions: python 3", done.stdout) and "cores usable" in done.stdout
    found = json.loads(dnabench("doctor", "--json", "--out", tmp_path).stdout)
    assert {f["state"] for f in found} <= {"ok", "note"} and found[0]["topic"] == "versions"


def test_a_broken_plugin_is_exit_1_with_a_way_out(plugin, tmp_path):
    done = dnabench("doctor", "--out", tmp_path, plugin=plugin)
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("BROKEN"))
    assert done.returncode == 1 and "plugin broken did not load" in line and " -> " in line


def test_online_asks_the_hub_and_says_what_came(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = dnabench("doctor", "--online", "--json", "--out", tmp_path)
    (hub,) = (f for f in json.loads(done.stdout) if f["topic"] == "hub")
    assert done.returncode == 1 and hub["state"] == "broken" and "127.0.0.1:9" in hub["says"]
    assert "HF_ENDPOINT" in hub["way_out"]
