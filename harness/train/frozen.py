"""The features of a frozen backbone, computed once for all trials that learn a head on them.

B batch, L bp, T tokens, D features, M different sequences.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import processor, would_take
from dnabench.train.batches import Anew, Features, Resident, for_all, per_base
from dnabench.train.kept import kept
from dnabench.train.pool import Pool, find_rows
from dnabench.train.precision import Arithmetic, guarded
from dnabench.train.rows import Rows
from dnabench.types import Array, Sequences

LIBRARY = "transformers"  # its code is known by its version


class Frozen:
    """The features of sequences: in memory for those of the pool, on disk where that helps.

    Args:
        net: `features(ids, mask) -> (B, D)`, or (B, T, D) for one row a base.
        encode: from sequences to batches on the device.
        pool: computed as a whole when one of its sequences is asked for, so that the rounding of
            features depends neither on the seed nor on what is on disk.
        made_from: decides the features, with weights and sequences: model, options, encoding; "" =
            nothing is stored on disk, as for random weights. Nor is anything of a network with
            parts or hooks that are not of dnabench, PyTorch or transformers: their code could have
            changed.
        length: L, for one row a base; 0 = one row a sequence.
        most: bytes of such rows that may be in memory at once. More are computed anew for each
            batch, and are not on disk; 0 = as many as there are.
    """

    def __init__(
        self, net: Any, arithmetic: Arithmetic, encode: Callable[[Sequences], Resident],
        pool: Pool, made_from: str, kernels: Kernels, length: int, most: int = 0,
    ) -> None:  # fmt: skip
        self._net, self._arithmetic, self._encode = net, arithmetic, encode
        self.pool, self._kernels, self._length, self.most = pool, kernels, length, most
        self.anew = False  # whether features of the pool are computed for each batch
        self._of_pool: Tensor | None = None
        keep = made_from and _known(net)
        self._made_from = [made_from, *self._all_else(net)] if keep else []
        self.read = False  # whether features came from the disk
        self.eval_batch = 0  # examples; 0 = as many as `Resident.eval_batches` gives

    def __call__(self, strands: Sequence[Sequences]) -> Features:
        """Features of N sequences, and of their other strands where there are two."""
        pool, rows = find_rows(self.pool, strands)
        if 0 < self.most < self.each * len(pool.seqs):
            self.anew = self.anew or pool is self.pool
            data, features = self._prepared(pool.seqs)
            return Anew(data, features, self._width, rows, self._lengths(pool))
        if pool is not self.pool:
            return Features(self._values(pool), rows, self._lengths(pool))
        if self._of_pool is None:
            self._of_pool = self._values(pool)
        return Features(self._of_pool, rows, self._lengths(pool))

    @property
    def each(self) -> int:
        """Bytes of the features of a sequence; 0 = a single row, or a head that does not tell."""
        return 4 * self._length * self._width

    @property
    def _width(self) -> int:
        """D, of the first tensor of the head; 0 = it has none."""
        first = next(self._net.head.parameters(), None)
        return 0 if first is None or first.ndim < 2 else int(first.shape[1])

    def _lengths(self, pool: Pool) -> Array | None:
        """Bp of the sequences, where rows of bases are padded."""
        lengths = pool.seqs.lengths
        return lengths if self._length and (lengths < self._length).any() else None

    def fresh(self, seqs: Sequences) -> Array:
        """Features (M, D) computed now, in batches of these sequences alone."""
        found: Array = self._computed(seqs).cpu().numpy()
        return found

    def once(self, kind: str, make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """What is found out about the features: on disk, like them, where they are stored.

        Args:
            kind: a folder of the cache.
            make: arrays by name; called where none are stored.
        """
        if not self._made_from:
            return make()
        code = ["dnabench.models", "dnabench.tokens", "dnabench.train.contract"]
        return kept(kind, [*self._made_from, self.pool.digest], make, code)

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

    def _prepared(self, seqs: Sequences) -> tuple[Resident, Callable[[Rows], Tensor]]:
        """The sequences as the backbone reads them, and the features of some rows of these."""
        data = self._encode(seqs)

        @torch.no_grad()
        def features(rows: Rows) -> Tensor:
            self._net.eval()
            batch = data.batch(rows)
            with self._arithmetic.forward():
                values = self._net.features(batch.ids, batch.mask).float()
            return per_base(values, batch, self._length) if self._length else values

        return data, features

    def _computed(self, seqs: Sequences) -> Tensor:
        data, features = self._prepared(seqs)
        with self._kernels, self._arithmetic.products():
            values, self.eval_batch = for_all(data, 0, self.eval_batch, features)
        return values.to(self._arithmetic.device)

    def _all_else(self, net: Any) -> list[str]:
        """The rest of what decides features to the byte: weights, arithmetic, machine."""
        device = self._arithmetic.device
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
        return [
            _digest(net), *_library(net), str(self._length), self._arithmetic.precision,
            torch.__version__, name, str(torch.get_num_threads()), self._kernels.form,
            *self._arithmetic.float32_layers,
        ]  # fmt: skip


def built_by(build: Callable[..., Any]) -> str:
    """The part of `made_from` that says what built a network; "" = a plugin's code, or may be.

    What partials hand to a function counts. `functools.wraps` copies `__module__`, so the code of a
    function is known by where its names are looked up.
    """
    given: list[tuple[Any, Any]] = []
    while isinstance(build, functools.partial):
        given += [*enumerate(build.args), *sorted(build.keywords.items())]
        build = build.func
    module = getattr(build, "__globals__", {"__name__": ""})["__name__"]
    if not (_ours(module) and all(isinstance(value, str | int | float) for _, value in given)):
        return ""
    return f"{module}.{build.__qualname__} {given}"


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "dnabench"


def _known(net: torch.nn.Module) -> bool:
    """Whether a network's parts are dnabench's or PyTorch's, and nothing was done to one of them.

    Hooks and replaced methods are other code, but for those of `Arithmetic.guard`.
    """
    return all(
        (_ours(type(m).__module__) or type(m).__module__.partition(".")[0] in ("torch", LIBRARY))
        and not (m._forward_hooks or m._forward_pre_hooks or "features" in vars(m))
        and ("forward" not in vars(m) or guarded(m))
        for m in net.modules()
    )


def _library(net: torch.nn.Module) -> list[str]:
    """The version of transformers, where it is part of the network."""
    parts = {type(m).__module__.partition(".")[0] for m in net.modules()}
    return [f"{LIBRARY} {version(LIBRARY)}"] if LIBRARY in parts else []


def _digest(net: torch.nn.Module) -> str:
    """SHA-256 of all weights and buffers but the head's."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        if not name.startswith("head."):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
