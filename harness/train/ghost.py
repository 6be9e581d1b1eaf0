"""Batch norm over parts of a batch, as on several GPUs that do not share statistics."""

import math
from collections.abc import Iterator, Sized

from torch import nn

from dnabench.types import Recipe

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Ghost:
    """How a training step divides its batch among the batch norms of a network.

    With `norm_batch`, each part has its own statistics and the gradients add up to those of the
    mean loss, as under DistributedDataParallel; the running statistics, which evaluation uses, are
    those of the first part, as there of the first GPU.

    Args:
        net: needs no numbers: it may be on the device "meta".
        recipe: gives `batch`, `norm_batch` and `finetune`.
        name: of the model, for messages.
        micro_batch: examples in memory at once; 0 = the whole batch.

    Raises:
        ValueError: for a network without batch norm, parts that do not divide the batch, or a
            micro-batch where batch norms learn, as numbers would change.

    Source:
        PyTorch's DistributedDataParallel, broadcast_buffers=True: the buffers are those of rank 0.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, name: str, micro_batch: int = 0) -> None:
        self.norms = [m for m in net.modules() if isinstance(m, BATCH_NORMS)]
        self._momenta = [m.momentum for m in self.norms]
        own = recipe.norm_batch
        self.parts = recipe.batch // own if 0 < own < recipe.batch else 1
        if own and not self.norms:
            raise ValueError(f"norm_batch={own}: {name} has no batch norm; write norm_batch=0")
        if self.parts > 1 and recipe.batch % own:
            raise ValueError(
                f"norm_batch={own} does not divide the batch of {recipe.batch} evenly; set one of "
                "them so that it does, or norm_batch=0 for one batch norm over the whole batch"
            )
        # a probe has the features of a backbone that evaluates, and a head without norms
        self.whole = bool(self.norms) and recipe.finetune != "probe"
        if self.whole and 0 < micro_batch < recipe.batch:
            raise ValueError(
                f"{name} has batch norm, which must see all {recipe.batch} examples of a batch at "
                f"once; omit --micro-batch {micro_batch} or set a smaller batch"
            )

    def divided(self, rows: Sized) -> Iterator[slice]:
        """The part of each: as equal as the rows allow; the last of an epoch may have fewer."""
        size = math.ceil(len(rows) / self.parts)
        yield slice(0, size)
        if size >= len(rows):
            return
        counts = [n.num_batches_tracked for n in self.norms if n.num_batches_tracked is not None]
        of_first = [count.clone() for count in counts]  # momentum=None averages over the count
        for norm in self.norms:
            norm.momentum = 0.0
        for start in range(size, len(rows), size):
            yield slice(start, start + size)
        for norm, momentum in zip(self.norms, self._momenta, strict=True):
            norm.momentum = momentum
        for count, kept in zip(counts, of_first, strict=True):
            count.copy_(kept)
