"""The tensors of a checkpoint file, however a framework wrapped them. No code in it is ever run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnabench.cache import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
INDEX = ".index.json"  # ends the name of a file that says which shard has which tensor
SUFFIXES = (*PICKLED, ".safetensors", INDEX)
WRAPPED = ("state_dict", "model_state_dict", "model", "module", "net", "network")  # the usual keys
DEEPEST = 3  # dictionaries inside each other
# keys of what an optimiser keeps for each weight, in its shape
_OPTIMISER = re.compile(r".*optim.*|adamw?|(max_)?exp_avg(_sq)?|square_avg|momentum(_buffer)?")
_WEIGHT = re.compile(r"(.*[._])?weight(_.*)?")  # of a layer, as PyTorch names it
_COMPILED = r"(?:_orig_mod\.|module\.)*"  # of torch.compile, DDP, FSDP, DeepSpeed


def is_checkpoint(path: Path) -> bool:
    """Whether there is a file whose name ends as that of a checkpoint does."""
    return path.is_file() and path.name.endswith(SUFFIXES)


def checkpoint_files(path: Path) -> list[Path]:
    """The file, or an index and its shards.

    Raises:
        ValueError: for an index that is none, or lacks a shard; the message names it.
    """
    if not path.name.endswith(INDEX):
        return [path]
    shards = sorted(set(_index(path).values()))
    if absent := [name for name in shards if not (path.parent / name).is_file()]:
        raise ValueError(
            f"{path}: lists {', '.join(absent[:3])}, which {'is' if len(absent) == 1 else 'are'} "
            f"not beside it ({len(absent)} of {len(shards)} shards missing)"
        )
    return [path, *(path.parent / name for name in shards)]


def content_hash(path: Path) -> str:
    """16 hex digits of the bytes: of a file, or of an index and its shards; names do not count."""
    hashes = [file_sha256(file) for file in checkpoint_files(path)]
    joined = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return (hashes[0] if len(hashes) == 1 else joined)[:16]


def _index(path: Path) -> dict[str, str]:
    """Tensor -> shard."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {str(k): str(v) for k, v in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path}: is not an index of shards: it has no weight_map ({e})") from None
    if odd := [shard for shard in names.values() if Path(shard).name != shard]:
        raise ValueError(f"{path}: names {odd[0]!r}, which is no file beside it")
    return names


class TensorSet(NamedTuple):
    """The tensors of a network by name, and what is to be said of others beside them."""

    tensors: dict[str, Tensor]
    beside: str = ""  # a sentence: which weights were read and which were not; "" = there is one


def read_set(path: Path) -> TensorSet:
    """All tensors of a checkpoint by name, on the CPU.

    Args:
        path: .safetensors, a pickle of tensors only (.bin, .pt, .pth, .ckpt), or the index of such
            shards. Tensors may lie in a dictionary of the file, as in {"model_state_dict": ...}.
            What torch.compile and parallel training put before names is taken off, and inside a
            dictionary a `model.`.

    Returns:
        Of several sets of tensors, such as the weights and their moving average, those under the
        first of the names WRAPPED; `beside` names the others.

    Raises:
        ValueError: a pickle with anything but tensors and plain values, a damaged file, one without
            tensors, with several networks, or with two tensors of one name; path and reason.
    """
    if not path.name.endswith(INDEX):
        return _named(path, _read_file(path))
    index, shards = _index(path), checkpoint_files(path)[1:]
    found: dict[str, Tensor] = {}
    for shard in shards:
        found |= _read_file(shard)
    if absent := [name for name in index if name not in found]:
        raise ValueError(f"{path}: lists {absent[0]}, which is not in {index[absent[0]]}")
    return _named(path, found)


def _read_file(path: Path) -> Any:
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as e:
        reason = str(e).strip().splitlines()[0]
        raise ValueError(
            f"{path}: refused: this pickle holds more than tensors, and none of it was run "
            f"({reason}). If you trust it, save it again as safetensors"
        ) from e
    except Exception as e:
        raise ValueError(f"{path}: cannot be read as weights: {e}") from e


def _is_zip(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(2) == b"PK"


def _named(path: Path, found: Any) -> TensorSet:
    """The tensors under names without what frameworks put before them."""
    where, named = _network(path, found)
    before = re.compile(f"^{_COMPILED}(?:model\\.)?{_COMPILED}" if where else f"^{_COMPILED}")
    tensors: dict[str, Tensor] = {}
    full: dict[str, str] = {}
    for name, value in named.items():
        short = before.sub("", name)
        if short in tensors:
            raise ValueError(
                f"{path}: {full[short]} and {name} are the same name without framework prefixes"
            )
        tensors[short], full[short] = value, name
    return TensorSet(tensors, _beside(path, found, where, named))


def _beside(path: Path, found: Any, where: str, named: Mapping[str, Tensor]) -> str:
    """What is to be said of sets of weights in a file beside the tensors at a place in it.

    They may be in a dictionary, of this network or of another, or in a list, where a moving average
    is without names.
    """
    read = _shapes(named.values())
    sets = [
        place for place, tensors in _inside(found)
        if place != where and (_alike(read, _shapes(tensors.values())) or _has_layers(tensors))
    ]  # fmt: skip
    lists = [
        f"{place} (a list without names)"
        for place, tensors in _lists(found)
        if _alike(read, _shapes(tensors))
    ]
    if not (others := [*sets, *lists]):
        return ""
    key = next((place for place in sets if place in found), "")
    how = f": torch.save(torch.load({path.name!r})[{key!r}], 'other.pt')" if key else ""
    return (
        f"{path.name} holds several sets of weights: {where or 'the outermost'} was read, "
        f"{' and '.join(others)} {'was' if len(others) == 1 else 'were'} not; to read another, "
        f"save its named tensors alone{how}"
    )


def _shapes(tensors: Iterable[Tensor]) -> Counter[tuple[int, ...]]:
    """How often floating tensors have a shape."""
    return Counter(tuple(t.shape) for t in tensors if t.is_floating_point())


def _alike(read: Counter[tuple[int, ...]], other: Counter[tuple[int, ...]]) -> bool:
    """Whether others are weights of the same network: half of its shapes, and the largest one.

    A moving average may be of parameters alone, without the statistics of batch norms.
    """
    largest = max(read, key=math.prod, default=None)
    return largest in other and 2 * (read & other).total() >= read.total()


def _has_layers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there is the weight of a layer, floating and of two dimensions or more."""
    floating = {name: t for name, t in tensors.items() if t.is_floating_point()}
    return any(t.ndim > 1 and _WEIGHT.fullmatch(name) for name, t in floating.items())


def _network(path: Path, found: Any) -> tuple[str, dict[str, Tensor]]:
    """The dictionary that holds the tensors of a network, and its place in the file."""
    own, inside = _tensors(found), dict(_inside(found))
    usual = [place for key in WRAPPED for place in inside if place.rpartition(".")[2] == key]
    few = any(2 * len(own) < len(inside[place]) for place in usual)  # a generator's state, say
    if any(t.ndim for t in own.values()) and not few:
        return "", own
    if not inside:
        raise ValueError(f"{path}: holds no named tensors")
    if len(inside) > 1 and not usual:
        raise ValueError(
            f"{path}: holds several sets of tensors, {', '.join(sorted(inside))}: save the one "
            "that is meant alone"
        )
    place = usual[0] if usual else next(iter(inside))
    return place, inside[place]


def note(said: str) -> None:
    """Say on stderr what a user must know, if anything.

    Of the processes that torchrun started, the first one says it.
    """
    if said and os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"note: {said}\n")


def _inside(found: Any, place: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    """The dictionaries inside that hold tensors by name, outer ones first; no optimiser's."""
    if not isinstance(found, Mapping) or not depth:
        return
    named = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Mapping)}
    inner = {f"{place}{k}": v for k, v in named.items() if not _OPTIMISER.fullmatch(k)}
    for name, value in inner.items():
        own = _tensors(value)
        if any(t.ndim for t in own.values()):
            yield name, own
    for name, value in inner.items():
        if not _tensors(value):
            yield from _inside(value, f"{name}.", depth - 1)


def _lists(found: Any, place: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, list[Any]]]:
    """The lists of tensors inside; no optimiser's."""
    import torch

    if not isinstance(found, Mapping) or not depth:
        return
    for key, value in found.items():
        if not isinstance(key, str) or _OPTIMISER.fullmatch(key):
            continue
        if isinstance(value, list | tuple):
            if tensors := [t for t in value if isinstance(t, torch.Tensor) and t.ndim]:
                yield f"{place}{key}", tensors
        else:
            yield from _lists(value, f"{place}{key}.", depth - 1)


def _tensors(found: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(found, Mapping):
        return {}
    named = {k: v for k, v in found.items() if isinstance(k, str)}
    return {k: v for k, v in named.items() if isinstance(v, torch.Tensor)}
