"""Pretraining in two processes that torchrun starts, by NCCL where there are two GPUs.

The loss of one process, to rounding.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

MODEL = ["convnova-386k", "--length", "120", "--set", "batch=16", "--looks", "3"]


def section(s):
    if s.cuda and torch.cuda.device_count() < 2:
        s.left_out.append("NCCL, which needs two GPUs")
        return
    for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
        s.row(lambda precision=precision: compared(s, precision), needs=20, precision=precision)


def compared(s, precision):
    with tempfile.TemporaryDirectory() as folder:
        genome = Path(folder, "g.fa")
        rng = np.random.default_rng(0)
        genome.write_text("".join(f">c{i}\n{''.join(rng.choice(list('ACGT'), 20_000))}\n"
                                  for i in range(2)))  # fmt: skip
        small = ["--set", "width=8", "--set", "blocks=2"] if s.tiny else []
        words = [*MODEL, *small, "--set", f"precision={precision}", "--genome", genome,
                 "--holdout", "c1", "--budget", "20k" if s.tiny else "200k",
                 "--device", "cuda" if s.cuda else "cpu"]  # fmt: skip
        one, two = (curve(words, Path(folder, str(n)), n) for n in (1, 2))
    return {
        "backend": "nccl" if s.cuda else "gloo", "processes": 2, "loss": one[-1],
        "off": max(abs(a - b) for a, b in zip(one, two, strict=True)),
    }  # fmt: skip


def curve(words, to, processes):
    """Losses on held-out windows."""
    begin = [sys.executable]
    if processes > 1:
        begin += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    argv = [*begin, "-m", "dnabench", "pretrain", *words, "--to", to]
    env = {**os.environ, "DNABENCH_CACHE": str(to.parent)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    lines = (to / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["held_out_loss"] for line in lines]
