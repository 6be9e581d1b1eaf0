"""What the host does for one training step: operations, copies and waits, counted on a CPU.

    python tests/bench/host_work.py [MODEL ...]

An operation of PyTorch, of forward, backward or update, is at least one kernel launch on a GPU,
about 5 microseconds of the host. A copy is one of row numbers to the device, a wait is a value that
the host reads back. The counts do not depend on the size of a batch; they are taken at 2 x 96 bp,
with the optimiser that CUDA devices get. "Beside a graph" are the operations of a step that is
replayed as one CUDA graph: they look up its batch and put it in place.
"""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import torch
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gpu.section import learner, with_graph

from dnabench.train import graphs, rows

USUAL = ("convnova-386k", "convnova", "hyenadna", "gpn", "dnabert-5", "ntv2-50m", "legnet", "cnn")
CPU = SimpleNamespace(device="cpu")
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


def no_work(step, device):
    """In place of a CUDA graph: the step while it is checked, later nothing that the host does."""
    out, left = step(), [graphs.REPLAYS]

    def replay():
        if left[0]:
            left[0] -= 1
            out.copy_(step())
        return out

    return replay


def counted(name, copies):
    """Operations that launch something, those that do not, copies, waits; those beside a graph."""
    found = []
    for graph in (False, True):
        one, _ = learner(CPU, name, SHAPE, steps=STEPS, compiling="auto" if graph else "off")
        with_graph(one, no_work)
        one.train_epoch()
        assert one._graph.on is graph, one._graph.said
        copies.clear()
        with Count() as count:
            one.train_epoch()
        free = sum(n for call, n in count.calls.items() if call.startswith(FREE))
        waits = sum(n for call, n in count.calls.items() if WAIT in call)
        work = count.calls.total() - free - waits
        found += [work] if graph else [work, free, len(copies), waits]
    return [f"{n / STEPS:.4g}" for n in found]


def main():
    copies, real = [], rows.sent

    def noted(values, device):
        copies.append(len(values))
        return real(values, device)

    rows.sent = noted
    table = [(name, *counted(name, copies)) for name in sys.argv[1:] or USUAL]
    heads = ("model", "operations", "views", "copies", "waits", "beside a graph")
    print(tabulate(table, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
