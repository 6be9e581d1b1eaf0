"""How a job of a sweep came out."""

from __future__ import annotations

from typing import Literal, NamedTuple

from dnabench.types import Record


class Outcome(NamedTuple):
    """How a job came out.

    kind: "finished" here; "failed" here, or in another process since the sweep began; "skipped", it
    had a record; "elsewhere", another process is running it, so there is no record yet;
    "unwritable", the folder takes no record, which ends the sweep.

    not_kept: why its network is not kept, if it was to be, or why nothing is.
    """

    kind: Literal["finished", "failed", "skipped", "elsewhere", "unwritable"]
    record: Record | None = None
    not_kept: str = ""
