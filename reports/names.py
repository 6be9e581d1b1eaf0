"""One name for the same weights, whatever file or folder the user named them by."""

from collections.abc import Iterable
from dataclasses import replace

from dnabench.types import Record


def alike_named(records: Iterable[Record]) -> list[Record]:
    """The records, where `checkpoint:NAME@HASH` has the first name of those with that hash.

    Ids do not count the name, so runs of both names are seeds of one column.
    """
    first = dict[str, str]()

    def named(regime: str) -> str:
        known = regime.startswith("checkpoint:")
        return first.setdefault(regime.rpartition("@")[2], regime) if known else regime

    found = ((r, named(r.trial.regime)) for r in records)
    return [
        r if name == r.trial.regime else replace(r, trial=replace(r.trial, regime=name))
        for r, name in found
    ]
