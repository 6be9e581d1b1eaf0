"""Records whose scores do not follow from their stored predictions: named, and never averaged."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from dnabench.metrics import METRICS
from dnabench.reports.memo import Memo, stamp
from dnabench.reports.table import INVALID, grouped
from dnabench.results.store import Store
from dnabench.types import Record

CLOSE = 1e-6  # scores are stored in full, so any larger difference is a change


def checked(records: Iterable[Record], store: Store, memo: Memo) -> list[Record]:
    """The same records; those that are invalid carry the reason as the flag INVALID.

    A record without stored predictions cannot be checked and stays as it is.
    """
    records = list(records)
    why: dict[str, str] = {}
    for _, own in grouped(records, lambda r: (r.trial.task, r.trial.model)).items():
        known = [r for r in own if not r.error]
        key = [[r.trial.id, stamp(store.predictions_path(r.trial.id)), _score(r)] for r in known]
        reasons = memo.get("validity", key, partial(_reasons, known, store))
        why |= {r.trial.id: x for r, x in zip(known, reasons, strict=True) if x}
    return [
        replace(r, flags={**r.flags, INVALID: why[r.trial.id]}) if r.trial.id in why else r
        for r in records
    ]


def _score(record: Record) -> float | None:
    return record.scores.get("test", {}).get(str(record.task.get("metric")))


def _reasons(records: Sequence[Record], store: Store) -> list[str]:
    return [reason(record, store) for record in records]


def reason(record: Record, store: Store) -> str:
    """Why the primary score on test does not follow from the predictions; empty when it does."""
    metric, said = str(record.task.get("metric")), _score(record)
    if metric not in METRICS or said is None:
        return ""
    path = store.predictions_path(record.trial.id)
    try:
        with store.open_predictions(record.trial.id) as file:
            gives = METRICS[metric].function(file["labels"], file["logits"])
    except OSError:
        return ""
    except ValueError as e:
        return f"{e}".replace("; run the trial again", "")
    if abs(gives - said) < CLOSE:
        return ""
    return f"its record says {metric} {said:.6f}, {path} gives {gives:.6f}: one was changed"
