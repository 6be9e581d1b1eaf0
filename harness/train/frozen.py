"""The features of a frozen backbone, computed once for all trials that learn a head on them.

B batch, L bp, T tokens, D features, M different sequences.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import processor, would_take
from dnabench.train.batches import Features, Resident, for_all, per_base
from dnabench.train.kept import kept
from dnabench.train.pool import Pool, find_rows
from dnabench.train.precision import Arithmetic
from dnabench.types import Array, Sequences


class Frozen:
    """The features of sequences: in memory for those of the pool, on disk where that helps.

    Args:
        net: `features(ids, mask) -> (B, D)`, or (B, T, D) for one row a base.
        encode: from sequences to batches on the device.
        pool: computed as a whole when one of its sequences is asked for, so that the rounding of
            features depends neither on the seed nor on what is on disk.
        made_from: decides the features, with weights and sequences: model, options, encoding; "" =
            nothing is stored on disk, as for random weights. Nor is anything of a network with
            parts that are neither dnabench's nor PyTorch's: their code could have changed.
        length: L, for one row a base; 0 = one row a sequence.
    """

    def __init__(
        self, net: Any, arithmetic: Arithmetic, encode: Callable[[Sequences], Resident],
        pool: Pool, made_from: str, kernels: Kernels, length: int,
    ) -> None:  # fmt: skip
        self._net, self._arithmetic, self._encode = net, arithmetic, encode
        self._pool, self._kernels, self._length = pool, kernels, length
        self._of_pool: Tensor | None = None
        keep = made_from and _known(net)
        self._made_from = [made_from, *self._all_else(net)] if keep else []
        self.read = False  # whether features came from the disk
        self.eval_batch = 0  # examples; 0 = as many as `Resident.eval_batches` gives

    def __call__(self, strands: Sequence[Sequences]) -> Features:
        """Features of N sequences, and of their other strands where there are two."""
        pool, rows = find_rows(self._pool, strands)
        if pool is not self._pool:
            return Features(self._values(pool), rows)
        if self._of_pool is None:
            self._of_pool = self._values(pool)
        return Features(self._of_pool, rows)

    def _values(self, pool: Pool) -> Tensor:
        """(M, D), per base (M, L, D), on the device."""
        if not self._made_from:
            return self._computed(pool.seqs)
        made: list[Tensor] = []

        def make() -> dict[str, Array]:
            with self._kernels.recording() as used:
                made.append(self._computed(pool.seqs))
            forms = np.array(json.dumps(used, sort_keys=True))
            return {"values": made[0].cpu().numpy(), "forms": forms}

        found = kept(
            "frozen", [*self._made_from, pool.digest], make,
            code=["dnabench.models", "dnabench.tokens", __name__, self._encode.__module__],
            worth=lambda: not self.eval_batch,  # smaller batches round differently
            fits=self._same_forms,
        )  # fmt: skip
        self._kernels.used |= json.loads(str(found["forms"]))
        self.read = self.read or not made
        return made[0] if made else torch.from_numpy(found["values"]).to(self._arithmetic.device)

    def _same_forms(self, found: Mapping[str, Array]) -> bool:
        with self._kernels:
            return would_take(json.loads(str(found["forms"])))

    @torch.no_grad()
    def _computed(self, seqs: Sequences) -> Tensor:
        data = self._encode(seqs)
        self._net.eval()

        def features(rows: Array) -> Tensor:
            batch = data.batch(rows)
            with self._arithmetic.forward():
                values = self._net.features(batch.ids, batch.mask).float()
            return per_base(values, batch, self._length) if self._length else values

        with self._kernels, self._arithmetic.products():
            values, self.eval_batch = for_all(data, 0, self.eval_batch, features)
        return values

    def _all_else(self, net: Any) -> list[str]:
        """The rest of what decides features to the byte: weights, arithmetic, machine."""
        device = self._arithmetic.device
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
        return [
            _digest(net), str(self._length), self._arithmetic.precision, torch.__version__, name,
            str(torch.get_num_threads()), self._kernels.form,
        ]  # fmt: skip


def _known(net: torch.nn.Module) -> bool:
    return {type(m).__module__.partition(".")[0] for m in net.modules()} <= {"torch", "dnabench"}


def _digest(net: torch.nn.Module) -> str:
    """SHA-256 of all weights and buffers but the head's."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        if not name.startswith("head."):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
