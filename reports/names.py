"""One name for the same weights or tokenizer, whatever file or folder the user named them by."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dnabench.types import Record


def alike_named(records: Iterable[Record]) -> list[Record]:
    """The records, where `checkpoint:NAME@HASH` has the first name of those with that hash.

    So have options that are `bpe:NAME@HASH`. Ids do not count the name, so runs of both names are
    seeds of one column.
    """
    first = dict[tuple[str, str], str]()

    def named(value: Any) -> Any:
        known = isinstance(value, str) and value.startswith(("checkpoint:", "bpe:"))
        return first.setdefault((value[:4], value.rpartition("@")[2]), value) if known else value

    def alike(record: Record) -> Record:
        trial, regime = record.trial, named(record.trial.regime)
        options = {name: named(value) for name, value in trial.options.items()}
        if (regime, options) == (trial.regime, trial.options):
            return record
        return replace(record, trial=replace(trial, regime=regime, options=options))

    return [alike(record) for record in records]
