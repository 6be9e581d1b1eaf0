"""Protocols: how validation is made, which checkpoint is scored, when test may be read.

A trial's number means nothing without this name, so every table prints it.
"""

from __future__ import annotations

from dnabench.registry import explain_miss
from dnabench.types import Protocol

_ALL = [
    Protocol(
        name="honest/1",
        cuts_validation=True,
        checkpoint="best-val",
        watermark="",
        why="what you should publish: the epoch is chosen on validation, test is scored once",
    ),
    Protocol(
        name="last-epoch/1",
        cuts_validation=True,
        checkpoint="last",
        watermark="",
        why="no selection at all: the last epoch is scored, test is scored once",
    ),
    Protocol(
        name="test-selected/1",
        cuts_validation=False,
        checkpoint="best-test",
        watermark=(
            "TEST-SELECTED: the epoch was chosen on the test split, so these numbers are too high. "
            "For comparison with tables made the same way only."
        ),
        why="what the HyenaDNA/ConvNova code family does; only to compare with their tables",
    ),
]
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in _ALL}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name; the version may be left out.

    Raises:
        KeyError: no such protocol; the message suggests the nearest.
    """
    full = name if "/" in name else f"{name}/1"
    if full not in PROTOCOLS:
        raise KeyError(explain_miss("protocol", name, list(PROTOCOLS)))
    return PROTOCOLS[full]
