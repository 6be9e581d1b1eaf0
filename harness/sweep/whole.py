"""A whole sweep: trials first, then those that run again because their networks are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from dnabench.executors.base import Executor
from dnabench.results.store import Store
from dnabench.sweep.keeping import keep_for_good, wanted
from dnabench.sweep.sweep import OnEvent, Summary, run, run_for_networks
from dnabench.types import Job, Resources

Show = Callable[[Sequence[Job]], AbstractContextManager[OnEvent]]


def run_and_keep(
    jobs: Sequence[Job],
    left: Sequence[Job],
    store: Store,
    resources: Resources,
    show: Show,
    summary: Summary,
    executor: Executor | None = None,
) -> None:
    """Run the jobs that have no record, then keep the networks that `Job.keep` asks for.

    Args:
        jobs: the grid.
        left: those of it that had no record a moment ago, to show how many there are.
        store: where records and networks are.
        resources: where to run.
        show: from the jobs about to run to what shows their progress.
        summary: filled meanwhile.
        executor: None = the one that the resources name, on this machine. Another keeps the
            networks of the trials that it runs, and none of those that have a record.

    Raises:
        ValueError: as `sweep.run`.
    """
    with show(left) as on_event:
        run(jobs, store, resources, on_event, summary, executor)
    to_keep = wanted(jobs, [*summary.finished, *summary.skipped])
    for job in to_keep:
        if job.keep == "all":
            keep_for_good(job.trial.id, store)
    again = [job for job in to_keep if not store.has_network(job.trial.id)]
    if executor is not None:
        return
    if again := [job for job in again if not summary.networks.get(job.trial.id)]:
        with show(again) as on_event:
            run_for_networks(again, store, resources, on_event, summary)
