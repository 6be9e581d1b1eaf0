"""What an executor tells of trials of cnn: python contract.py ENGINE OUT CSV ADDRESS.

Prints as JSON the events of two that run, of two that are held before anything begins, and of two
that are cancelled at the first event, of which there must be no more; then how many trials ended.
"""

import json
import sys

from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.sweep import config_of, executor_elsewhere
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import executor_for


def main(engine, out, csv, address):
    request = Request(models=["cnn"], data=[csv], seeds="6", overrides={"epochs": 3})
    jobs = grid(request)
    asked = [f"address={address}"] if engine == "ray" else []
    execution = ExecutionOptions(
        executor=engine, device="cpu", jobs="1", set_resource=asked, task_time="1h"
    )
    store, resources = Store(out), execution.resources()
    store.check_writable()
    store.save_config(config_of(request, jobs, resources, []))

    before = {job.trial.id: 0 for job in jobs}
    executor = executor_elsewhere(store, resources, execution, False)
    executor = executor or executor_for(store, resources, before)
    told = [(e.kind, e.job, str(getattr(e.value, "kind", ""))) for e in executor.run(jobs[:2])]
    print(json.dumps(told))
    for held, some in ((True, jobs[2:4]), (False, jobs[4:])):
        handle = executor.submit(some)
        assert handle and "\n" not in handle
        events = executor.events(handle)
        told = [] if held else [next(events).kind]
        (executor.hold if held else executor.cancel)(handle)
        if held or engine == "local":  # elsewhere a job may be heard of once more
            told += [e.kind for e in events]
        executor.cancel(handle)
        executor.cancel(handle)
        print(json.dumps(told))
    print(len(store.done()))


if __name__ == "__main__":
    main(*sys.argv[1:])
