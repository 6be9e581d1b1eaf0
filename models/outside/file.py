"""A model in a user's own file: `-m path/to/net.py:Name`.

B batch, L sequence length (bp), K task outputs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any

from dnabench.models.outside.code import code_hash, load_code
from dnabench.types import Model, Task

FILE = re.compile(r"(?P<path>.+\.py):(?P<name>[^\W\d]\w*)")
LONGEST = 10**9  # bp; a file says nothing of its context
_EITHER = Parameter.POSITIONAL_OR_KEYWORD
_IDS = ("ids", "input_ids", "tokens", "token_ids")


def model_in_file(file: str, name: str, text: str) -> Model:
    """The model that a class or function of a file gives.

    Args:
        file: its path.
        name: of a class or function: `Name(task, width=64) -> torch module`. Arguments after the
            first become options, if their defaults are numbers, text, True or False.
        text: both, as the user wrote them.

    Raises:
        ValueError: no such file or name, an argument without a default, a file that does not load.
    """
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"-m {text}: there is no file {path}")
    make = getattr(load_code(path), name, None)
    if not callable(make):
        raise ValueError(f"-m {text}: {path} has no class or function {name}")
    chosen, full, code = (
        _options(make, f"{path.name}:{name}"),
        f"{path.name}:{name}",
        code_hash(path),
    )
    return Model(
        name=full, family=full, build=partial(build, make=make, name=full), n_params=0,
        min_length=1, context=LONGEST, source=str(path), license="your own",
        options={**chosen, "code": code}, choices={"code": (code,)}, reference=f"{path}:{name}",
        aliases=(text,),
    )  # fmt: skip


def _options(make: Callable[..., Any], name: str) -> dict[str, Any]:
    """Its arguments after the task, with their defaults."""
    arguments = [*inspect.signature(make).parameters.values()]
    if not arguments or arguments[0].kind not in (Parameter.POSITIONAL_ONLY, _EITHER):
        raise ValueError(
            f"{name} takes no task: write `def {name.partition(':')[2]}(task, width=64)`, or a "
            "class with `__init__(self, task, width=64)`; task has n_outputs, length and kind"
        )
    for p in arguments[1:]:
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise ValueError(f"{name}: give {p.name} a default; --set {p.name}=... changes it")
        if p.name == "code":
            raise ValueError(f"{name}: the argument code has another meaning here; rename it")
    return {
        p.name: p.default for p in arguments[1:] if isinstance(p.default, bool | int | float | str)
    }


def build(task: Task, options: Mapping[str, Any], *, make: Callable[..., Any], name: str) -> Any:
    """Call what the user wrote, and let it read what it reads.

    Returns:
        Its torch module, for `forward(ids (B, L) uint8, mask (B, L) float32 or None)`; around one
        with `forward(onehot)` a module that gives it float32 (B, 4, L), zeros for N and padding.

    Raises:
        ValueError: no torch module, a lazy layer, or a `forward` with other arguments.
    """
    from torch import nn
    from torch.nn.parameter import is_lazy

    from dnabench.models.outside.onehot import ReadsOneHot

    net = make(task, **{k: v for k, v in options.items() if k != "code"})
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name} gave a {type(net).__name__}; it must give a torch.nn.Module")
    if any(map(is_lazy, net.parameters())):
        raise ValueError(
            f"{name} has a lazy layer, such as nn.LazyLinear, whose size nothing has said yet: "
            "write the size, as in nn.Linear(width, task.n_outputs)"
        )
    reads = needed(net.forward)
    if len(reads) == 1 and reads[0] not in _IDS:
        return ReadsOneHot(net, task)
    if len(reads) != 2:
        raise ValueError(
            f"{name}: forward({', '.join(reads)}) is neither forward(ids, mask) nor "
            "forward(onehot); mask is 1 on bases, 0 on padding, or None when nothing is padded"
        )
    return net


def needed(forward: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a call must give, or may give by place when all are optional."""
    given = inspect.signature(forward).parameters.values()
    placed = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    must = [p.name for p in placed if p.default is p.empty]
    return [p.name for p in placed[:2]] if [p.name for p in placed[:2]][1:] == ["mask"] else must
