"""What the host does for one training step: operations, copies and waits, counted on a CPU.

    python tests/bench/host_work.py [MODEL ...]

An operation of PyTorch, of forward, backward or update, is at least one kernel launch on a GPU,
about 5 microseconds of the host. A copy is one of row numbers to the device, a wait is a value that
the host reads back. The counts do not depend on the size of a batch; they are taken at 2 x 96 bp,
with the optimiser that CUDA devices get.
"""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import torch
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gpu.section import learner

from dnabench.train import rows

USUAL = ("convnova-386k", "convnova", "hyenadna", "gpn", "dnabert-5", "ntv2-50m", "legnet", "cnn")
SHAPE, STEPS = (2, 96, {}), 4
FREE = ("view", "reshape", "transpose", "permute", "slice", "select", "expand", "detach", "alias",
        "unsqueeze", "squeeze", "split", "unbind", "as_strided", "t.default")  # fmt: skip
WAIT = "_local_scalar_dense"


class Count(TorchDispatchMode):
    """Counts every operation that is called inside."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[str(function).removeprefix("aten.")] += 1
        return function(*args, **(kwargs or {}))


def counted(name, copies):
    """Operations that launch something, those that do not, copies and waits, of one step."""
    one, _ = learner(SimpleNamespace(device="cpu"), name, SHAPE, steps=STEPS)
    one.device = "cuda"
    one._optimizer = one._new_optimizer()  # the fused form, which CPUs have too
    one.device = "cpu"
    one.train_epoch()
    copies.clear()
    with Count() as count:
        one.train_epoch()
    free = sum(n for call, n in count.calls.items() if call.startswith(FREE))
    waits = sum(n for call, n in count.calls.items() if WAIT in call)
    work = count.calls.total() - free - waits
    return [round(n / STEPS, 1) for n in (work, free, len(copies), waits)]


def main():
    copies, real = [], rows.sent

    def noted(values, device):
        copies.append(len(values))
        return real(values, device)

    rows.sent = noted
    table = [(name, *counted(name, copies)) for name in sys.argv[1:] or USUAL]
    heads = ("model", "operations", "views", "copies", "waits")
    print(tabulate(table, heads, tablefmt="github"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
