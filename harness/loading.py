"""Copy the tensors of a file into a network, and account for every tensor of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnabench.tensors import WRAPPED
from dnabench.types import Model

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 8  # names in a message, with two lines more


class Loaded(NamedTuple):
    """Names of the file's tensors; every one of the backbone is copied, the head stays random."""

    copied: list[str]
    unused: list[str]
    beside: str = ""  # what is to be said of other weights in the file, see `tensors.TensorSet`


def load_kept(net: Any, model: Model, file: Path) -> Loaded:
    """Copy the tensors of a kept network into one of the same model, all but its head's.

    Raises:
        ValueError: unknown, missing or differently shaped tensors, by name, with both shapes.
    """
    import torch
    from safetensors.torch import load_file

    tensors, source = load_file(file), f"{file.parent.name}/{file.name}"
    head = "head." if hasattr(net, "head") else "backbone.head."  # of a file that reads one-hot
    own = {k: v for k, v in net.state_dict().items() if not k.startswith(head)}
    taken = {k: v for k, v in tensors.items() if not k.startswith(head)}
    wrong = [f"{k} is not in both" for k in sorted(own.keys() ^ taken.keys())]
    wrong += [
        f"{k} is {tuple(taken[k].shape)}, here it is {tuple(own[k].shape)}"
        for k in own.keys() & taken.keys() if own[k].shape != taken[k].shape
    ]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"{source} does not fit {model.name} as it is set here: {'; '.join(wrong[:SHOWN])}"
            f"{more}. Give the options of the kept network with --set"
        )
    with torch.no_grad():
        for name, tensor in taken.items():
            own[name].copy_(tensor)
    return Loaded(list(taken), [name for name in tensors if name not in taken])


def load(net: Any, model: Model, tensors: Mapping[str, Tensor], source: str) -> Loaded:
    """Copy a file's tensors into `net.backbone` and account for every tensor of both.

    Tensors that are tied in the network may be in the file under any of their names, or under
    several if they are equal. Where a name is not known, what it has before its first dot is taken
    off if it is the usual name of a wrapped network (`model.`), and the rest looked up.

    Args:
        net: with a submodule `backbone`, and then its head stays as it is. Without one, a user's
            network, it is loaded as a whole; of its head what the file has in the same shape.
        model: its `weights` map the names.
        tensors: from `tensors.read_set`.
        source: the file's name in messages.

    Raises:
        ValueError: unknown, missing or differently shaped tensors, integers for weights, values
            that are not finite, by name; at most ten lines, of which the last is a summary.
    """
    body = getattr(net, "backbone", net)
    if hasattr(body, "check_weights"):  # what a file's names and shapes do not tell
        body.check_weights(tensors)
    spare = set() if hasattr(net, "head") and body is not net else set(body.state_dict())
    spare = {name for name in spare if name.startswith("head.")}
    rename = model.weights.rename if model.weights else str
    return copy_into(body, model.name, tensors, source, rename, spare)


def copy_into(
    net: Any, model: str, tensors: Mapping[str, Tensor], source: str,
    rename: Callable[[str], str], spare: Collection[str] = (),
) -> Loaded:  # fmt: skip
    """Copy a file's tensors into a module and account for every tensor of both; see `load`.

    Args:
        net: a torch module.
        model: its name in messages.
        tensors: from `tensors.read_set`.
        source: the file's name in messages.
        rename: from a name in the file to one of `net`, "" for one that is not used.
        spare: tensors of `net` that need not be in the file, or may be there in another shape.
    """
    import torch

    own = net.state_dict()
    out, taken, wrong = Loaded([], []), dict[str, "Tensor"](), list[str]()
    for name, tensor in tensors.items():
        target = target_of(name, rename, own)
        if not target or (target in spare and own[target].shape != tensor.shape):
            out.unused.append(name)
        elif target not in own:
            wrong.append(f"{name} {tuple(tensor.shape)} is not a tensor of {model}")
        elif why := _unfit(tensor, own[target], model):
            wrong.append(f"{name} {why}")
        elif target in taken and not torch.equal(taken[target], tensor):
            wrong.append(f"{name} and another tensor both map to {target} and differ")
        else:
            taken[target] = tensor
            out.copied.append(name)
    wrong += _missing(own, taken, spare, model)
    if wrong:
        raise ValueError(_in_few_lines(wrong, f"{source} does not fit {model}"))
    with torch.no_grad():
        for name, tensor in taken.items():
            own[name].copy_(tensor)
    return out


def target_of(name: str, rename: Callable[[str], str], own: Mapping[str, Tensor]) -> str:
    """Our name of a tensor of the file, "" for one that is not used; without a match, as renamed.

    Older files, and transformers 5 where it saves ESM, call the numbers of a layer norm gamma and
    beta.
    """
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    short = name
    while (target := rename(short)) and target not in own:
        first, dot, rest = short.partition(".")
        if not dot or first not in WRAPPED:
            return rename(name)
        short = rest
    return target


def _unfit(tensor: Tensor, own: Tensor, model: str) -> str:
    """Why a tensor cannot be copied into ours; "" if it can."""
    if own.shape != tensor.shape:
        return f"is {tuple(tensor.shape)}, {model} has {tuple(own.shape)}"
    kind = str(tensor.dtype).removeprefix("torch.")
    if own.is_floating_point() != tensor.is_floating_point() or "float8" in kind:
        ours = str(own.dtype).removeprefix("torch.")
        return f"has values of type {kind}, {model} {ours}: save it in {ours}, not quantised"
    bad = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
    return f"has {bad:,} of {tensor.numel():,} values that are not finite" if bad else ""


def _missing(
    own: Mapping[str, Tensor], taken: Mapping[str, Tensor], spare: Collection[str], model: str
) -> list[str]:
    """Tensors of ours that got none, those that are tied being one, and tied ones that differ."""
    import torch

    groups: dict[int, list[str]] = {}
    for name, tensor in own.items():
        groups.setdefault(tensor.data_ptr() if tensor.numel() else id(tensor), []).append(name)
    wrong = []
    for names in groups.values():
        have = [n for n in names if n in taken]
        if not have and names[0] not in spare:
            wrong.append(f"{names[0]} {tuple(own[names[0]].shape)} is not in the file")
        elif any(not torch.equal(taken[n], taken[have[0]]) for n in have[1:]):
            wrong.append(f"{' and '.join(have)} must be equal: they are tied in {model}")
    return wrong


def _in_few_lines(wrong: Sequence[str], summary: str) -> str:
    """What is wrong, a line each, and last a line that stands alone in a table of failures."""
    if len(wrong) == 1:
        return f"{summary}: {wrong[0]}"
    more = [f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN)
    return "\n".join([*wrong[:SHOWN], *more, f"{summary} in {len(wrong)} tensors, see above"])
