"""Whether a record is as it was written: its numbers follow from what is kept beside them."""

import math
from collections.abc import Mapping
from typing import Any

from dnabench.cache import read_json
from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.reports.validity import CLOSE, reason
from dnabench.results.store import NETWORK, Store
from dnabench.types import Record

SPLITS = {"best-val": "val", "best-test": "test"}  # that a checkpoint is chosen on, by a metric
CHANGED = "one was changed"


def unsound(record: Record, store: Store) -> str:
    """Why a record does not go with its predictions, curve or kept network; "" = it does."""
    return reason(record, store) or _of_curve(record) or _of_network(record, store)


def _of_curve(record: Record) -> str:
    """Of the epoch that was chosen, and of its scores on validation."""
    best = chosen_epoch(record)
    if best and record.best_epoch != best:
        return f"its record says best_epoch {record.best_epoch}, its curve {best}: {CHANGED}"
    val = record.curve[best - 1].get("val", {}) if best else {}
    for name, told in record.scores.get("val", {}).items() if val else ():
        given = val.get(name, math.nan)
        if not abs(given - told) < CLOSE:
            return f"its record says val {name} {told:.6f}, its curve {given:.6f}: {CHANGED}"
    return ""


def chosen_epoch(record: Record) -> int:
    """The epoch, from 1, that the protocol chooses of the curve, the earliest of equals.

    0 where there is no curve, or it lacks what chooses, as under a protocol of a newer version.
    """
    protocol = PROTOCOLS.get(record.trial.protocol)
    if protocol is None or not record.curve:
        return 0
    if protocol.checkpoint == "last":
        return len(record.curve)
    metric = METRICS.get(str(record.task.get("metric")))
    found = [_criterion(row, protocol.checkpoint, metric) for row in record.curve]
    return max(range(len(found)), key=found.__getitem__) + 1 if max(found) > -math.inf else 0


def _criterion(row: Mapping[str, Any], checkpoint: str, metric: Any) -> float:
    """Of an epoch, the more the better; -inf where there is none."""
    if checkpoint == "least-val-loss":
        value = -row.get("val_loss", math.inf)
    else:
        score = row.get(SPLITS[checkpoint], {}).get(metric.name) if metric else None
        value = -math.inf if score is None else metric.sign * score
    return -math.inf if math.isnan(value) else float(value)


def _of_network(record: Record, store: Store) -> str:
    """Of the numbers of parameters, which the card of a kept network repeats."""
    card = read_json(store.network_path(record.trial.id) / NETWORK[0])
    copy = card.get("record") if isinstance(card, dict) else None
    kept = copy.get("n_params") if isinstance(copy, dict) else None
    if kept in (None, record.n_params):
        return ""
    return f"its record says n_params {record.n_params}, its kept network {kept}: {CHANGED}"
