"""Versions, requirements that are missing, and the device's ceilings: arithmetic and memory."""

import importlib.metadata
import json
import os
import subprocess
import sys

import numpy as np
import torch
from packaging.requirements import Requirement
from packaging.version import Version

from dnabench.train.rows import numbered

TELLING = ("CUBLAS_", "CUDA_", "NVIDIA_TF32", "PYTORCH_", "TORCH_", "TRITON_")  # variables
FIRST_CALL = "from dnabench.host import memory; memory.reset_peak({!r}); print('ok')"
USED = """
import json, subprocess, sys
from dnabench.cli.allowed import precision_problem
from dnabench.host.machine import devices_named
def used():
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.check_output(query).split()[0])
before = used()
why = precision_problem("cnn", "bf16", devices_named("auto"))  # all that `dnabench run` asks
print(json.dumps({"MiB": used() - before, "initialised": sys.modules["torch"].cuda.is_initialized(),
                  "refused": why}))
"""
OWN = """
import json, subprocess, torch
def used():
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.check_output(query).split()[0])
before, x = used(), torch.ones(8, 64, 64, device="cuda", requires_grad=True)
y = torch.fft.rfft(torch.nn.functional.conv1d(x, x[:, :, :3]) @ x[:, :62]).abs().sum()
y.backward()
torch.cuda.synchronize()
print(json.dumps({"MiB": used() - before, "of_tensors": torch.cuda.memory_reserved() / 2**20}))
"""


def section(s):
    s.row(versions, what="versions")
    s.row(
        lambda: first_call("cuda:0" if s.cuda else "cpu"),
        what="memory.reset_peak('cuda:0') as the first CUDA call of a process",
    )
    s.row(
        lambda: asked() if s.cuda else {"MiB": 0},
        what="device memory of a process that only asks for a device",
    )
    s.row(lambda: ceilings(s), what="ceilings")
    s.row(doctor, what="doctor")
    s.row(
        lambda: asked(OWN) if s.cuda else {"MiB": 0},
        what="device memory of a process that computes, which no plan counts",
    )


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def versions():
    found, missing = {}, []
    for line in importlib.metadata.requires("dnabench") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found[need.name] = have = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(line)
            continue
        if not need.specifier.contains(Version(have), prereleases=True):
            missing.append(f"{need.name} {have}, needs {need.specifier}")
    return {
        "python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(), "have": found, "missing": missing,
        **{name: version_of(name) for name in ("mamba_ssm", "triton")},
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(TELLING)},
    }  # fmt: skip


def version_of(package):
    """Of a package that may be there; "" = it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def asked(code=USED):
    """MiB that a process took; USED: `dnabench run`, which only starts workers on the device."""
    done = python(code)
    return json.loads(done.stdout) if not done.returncode else {"error": done.stderr[-300:]}


def first_call(device):
    done = python(FIRST_CALL.format(device))
    return {
        "ok": done.returncode == 0,
        "says": (done.stderr.strip().splitlines() or ["ok"])[-1][:200],
    }


def ceilings(s):
    n, out = 4096 if s.cuda else 256, {}
    x = torch.randn(n, n, device=s.device)
    for name, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        y = x.to(dtype)
        out[f"{name}_tflops"] = 2 * n**3 / s.best(lambda y=y: y @ y) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    big = torch.empty(2**28 if s.cuda else 2**20, device=s.device)
    other = torch.empty_like(big)
    out["copy_TBps"] = 2 * big.numel() * 4 / s.best(lambda: other.copy_(big)) / 1e12
    small, index = torch.zeros(8, device=s.device), np.arange(256)

    def launch():
        for _ in range(1000):
            small.add_(1)

    def copy():
        for _ in range(200):
            numbered(index, small.device)

    out["launch_us"] = 1e3 * s.best(launch)
    out["rows_copied_us"] = 1e6 * s.best(copy) / 200
    return out


def doctor():
    argv = [sys.executable, "-m", "dnabench", "doctor"]
    done = subprocess.run(argv, capture_output=True, text=True)
    words = ("cuda", "package", "mamba", "broken")
    lines = [x for x in done.stdout.splitlines() if any(w in x.lower() for w in words)]
    return {"rc": done.returncode, "lines": lines[:12], "stderr": done.stderr[-300:]}
