"""Which metric a report may show in place of the one that the runs had."""

from collections.abc import Iterable

from dnabench.metrics import METRICS, metrics_for
from dnabench.reports.grid import listed
from dnabench.reports.grouping import grouped
from dnabench.types import KINDS, Record


def check_shown(records: Iterable[Record], metric: str) -> None:
    """Raise ValueError for a metric that does not fit a task, or that no record of a task has.

    Those that all of the tasks have are listed.
    """
    if not metric:
        return
    by_task = grouped((r for r in records if not r.error), lambda r: r.trial.task)
    kinds = {task: str(own[0].task.get("kind", "")) for task, own in by_task.items()}
    has = {
        task: {m for r in own for m in r.scores.get("test", {})} for task, own in by_task.items()
    }
    fits = [
        name for name in METRICS if all(name in has[t] and _fits(name, kinds[t]) for t in by_task)
    ]
    known = f"these records can show {listed(fits)}" if fits else "no metric is in all records"
    if metric not in METRICS:
        raise ValueError(f"--metric {metric}: no metric has this name; {known}")
    for task, kind in kinds.items():
        if not _fits(metric, kind):
            raise ValueError(f"--metric {metric} does not fit {task}, a {kind} task; {known}")
    if lacking := [task for task in by_task if metric not in has[task]]:
        raise ValueError(
            f"--metric {metric}: no record of {listed(lacking)} has it, since it is undefined on "
            f"that test split or the runs are older than it; {known}"
        )


def _fits(metric: str, kind: str) -> bool:
    return kind not in KINDS or metric in metrics_for(kind)
