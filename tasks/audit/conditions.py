"""Conditions on an audit, such as train-test-duplicates>0, for automatic checks."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnabench.registry import explain_miss

_CONDITION = re.compile(r"\s*([\w-]+)\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*")
_COMPARE = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq,
    "!=": operator.ne,
}  # fmt: skip


def facts(document: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of an audit by name, for conditions; None where not measured.

    Args:
        document: an audit as stored in JSON.

    Returns:
        train-duplicates, train-test-near-duplicates and the like, leaked, leaked-share,
        train-test-shared-windows, shortcut-gc and the like, class-shift (largest difference of a
        class's share between train and test).
    """
    out: dict[str, float | None] = {}
    for part in (document["within"], document["across"]):
        for where, counts in part.items():
            for what in ("near_duplicates", *counts):
                out[f"{where}-{what.replace('_', '-')}"] = counts.get(what)
    leaked = sum(map(len, document["leaked"].values()))
    out |= {"leaked": leaked, "leaked-share": leaked / document["splits"]["test"]["examples"]}
    found = document["windows"]
    out["train-test-shared-windows"] = found["overlapping"] if found else None
    out |= {f"shortcut-{name}": value for name, value in document["shortcuts"].items()}
    if document["kind"] in ("binary", "multiclass"):
        one, two = (np.array(document["splits"][s]["labels"]) for s in ("train", "test"))
        out["class-shift"] = float(np.abs(one / one.sum() - two / two.sum()).max())
    return out


def fail_on(document: Mapping[str, Any], conditions: Sequence[str]) -> list[str]:
    """Which conditions hold.

    Args:
        document: an audit as stored in JSON.
        conditions: such as train-test-duplicates>0 or shortcut-gc>=0.5; the names are those of
            `facts`.

    Returns:
        The conditions that hold, each with the measured number.

    Raises:
        ValueError: a condition cannot be parsed, its name is unknown, or it was not measured.
    """
    known, out = facts(document), []
    for text in conditions:
        parts = _CONDITION.fullmatch(text)
        if not parts:
            raise ValueError(
                f"condition {text!r}; write NAME>NUMBER, such as train-test-duplicates>0"
            )
        name, sign, limit = parts.groups()
        if name not in known:
            listed = f"there are {', '.join(known)}"
            raise ValueError(explain_miss("count", name, list(known), listed))
        value = known[name]
        if value is None:
            why = "; ".join(f"{what}: {reason}" for what, reason in document["skipped"].items())
            raise ValueError(f"condition {text!r}: {name} was not measured ({why or 'undefined'})")
        if _COMPARE[sign](value, float(limit)):
            out.append(f"{document['task']}: {text}: it is {value:g}")
    return out
