"""Training in several processes that torchrun started, each with its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


class Ranks(NamedTuple):
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1

    def part(self, n: int) -> slice:
        """The rows of this process, of n; parts differ by one row at most.

        Raises:
            ValueError: fewer rows than processes.
        """
        if n < self.size:
            raise ValueError(
                f"a batch of {n} windows for {self.size} processes: start fewer with torchrun, or "
                "set a larger batch"
            )
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def add_up(self, parameters: Iterable[Parameter], loss: Tensor) -> Tensor:
        """Replace each gradient by its sum over the processes; the sum of the losses."""
        if self.size == 1:
            return loss
        import torch
        from torch.distributed import all_reduce

        held = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.reshape(1).float(), *(grad.ravel().float() for grad in held)])
        all_reduce(flat)
        start = 1
        for grad in held:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()
        return flat[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            from torch.distributed import barrier

            barrier()

    def largest(self, number: float, device: str) -> float:
        """The largest of the processes' numbers, as float32."""
        if self.size == 1:
            return number
        import torch
        from torch.distributed import ReduceOp, all_reduce

        most = torch.tensor(float(number), device=device)
        all_reduce(most, ReduceOp.MAX)
        return float(most)

    def check_same(self, digest: bytes, device: str) -> None:
        """ValueError unless all processes have the same digest."""
        if self.size == 1:
            return
        import torch
        from torch.distributed import ReduceOp, all_reduce

        number = int.from_bytes(digest[:7], "big")
        most = torch.tensor([number, -number], device=device)
        all_reduce(most, ReduceOp.MAX)
        if int(most[0]) != -int(most[1]):
            raise ValueError(
                "the processes that torchrun started do not train the same: they read other "
                "genomes, tokenizers or options; give all the same command and files"
            )


ALONE = Ranks()


def ranks_here() -> Ranks:
    """What torchrun says of this process."""
    return Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def device_here(device: str) -> str:
    """Of several processes on a machine each has a GPU of its own."""
    if ranks_here().size > 1 and device == "cuda":
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return device


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Inside, the processes that torchrun started are connected: by NCCL on GPUs, else by Gloo.

    Raises:
        ValueError: one GPU is named for several processes.
    """
    ranks = ranks_here()
    if ranks.size == 1:
        yield ranks
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        yield ranks
        return
    cuda = device.startswith("cuda")
    if cuda:
        own = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        if device != own:
            raise ValueError(f"--device {device} for {ranks.size} processes: write cuda or auto")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
