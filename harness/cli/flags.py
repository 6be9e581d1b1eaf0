"""A command's flags from the fields of named tuples."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_type_hints


def with_flags(
    command: Callable[..., None], hidden: Collection[str] = (),
    texts: Mapping[str, str] | None = None, **usual: Any,
) -> Callable[..., None]:  # fmt: skip
    """Turn every parameter whose type is a NamedTuple into the flags that its fields are.

    Args:
        command: the function.
        hidden: fields that its help leaves out, as the command refuses these flags or sets them
            aside with a note.
        texts: field -> help of this command that differs from that of the field.
        usual: defaults of this command that differ from those of the fields.
    """
    flags: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        options: Any = parameter.annotation
        if not hasattr(options, "_field_defaults"):
            flags.append(parameter)
            continue
        groups[parameter.name] = options
        hints = get_type_hints(options, include_extras=True)
        defaults = {**options._field_defaults, **usual}
        flags += [
            parameter.replace(
                name=n, default=defaults[n],
                annotation=_said(hints[n], n in hidden, (texts or {}).get(n, "")),
            )
            for n in hints
        ]  # fmt: skip

    @functools.wraps(command)
    def inner(**given: Any) -> None:
        for name, options in groups.items():
            given[name] = options(**{field: given.pop(field) for field in options._fields})
        command(**given)

    inner.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    inner.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return inner


def _said(hint: Any, hidden: bool, text: str) -> Any:
    """The same flag, left out of the help or with another text."""
    info = copy.copy(hint.__metadata__[0])
    info.hidden, info.help = hidden, text or info.help
    return Annotated[hint.__origin__, info]
