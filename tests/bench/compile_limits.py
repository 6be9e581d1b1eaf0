"""Compile small networks, each with a time limit at random, and see whether the process survives.

    python tests/bench/compile_limits.py            # a minute
    python tests/bench/compile_limits.py 75 2       # seconds, seed

An end of the time that raises where PyTorch's C++ waits for Python ends the process: exit status
134 and "terminate called after throwing an instance of 'python_error'".
"""

import random
import sys
import time

import torch
from torch import Tensor, nn

from dnabench.train.compiled import limited

LIMITS = 0.02, 0.6  # seconds; one compilation takes about as long


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.norm(x)).relu().transpose(0, 1).contiguous().transpose(0, 1)


def compiled_in_time(seconds: float) -> bool:
    net = nn.Sequential(*[Block(8) for _ in range(12)])
    torch.compiler.reset()
    try:
        with limited(seconds):
            torch.compile(net, fullgraph=True, backend="aot_eager")(torch.ones(4, 8)).sum()
    except TimeoutError:
        return False
    return True


def main(seconds: float = 60, seed: int = 0) -> None:
    draw, until = random.Random(int(seed)), time.monotonic() + float(seconds)
    found = list[bool]()
    while time.monotonic() < until:
        found.append(compiled_in_time(draw.uniform(*LIMITS)))
    print(f"{len(found)} compilations, {found.count(False)} of them ended by their limit")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
