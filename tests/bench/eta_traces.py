"""Record when the events of small real sweeps happen, for the test of the ETA.

    python tests/bench/eta_traces.py tests/eta_traces.json

Two trials run at once. The times are those of the machine and of whatever else it does.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import run
from dnabench.sweep.trial import Resources

WORKERS = 2
SPLICE = "demo/splice_junctions"
SWEEPS = {
    "demo": {"models": ["kmer", "cnn", "convnova-386k"], "tasks": [SPLICE], "seeds": "5"},
    "two tasks": {
        "models": ["kmer", "cnn"], "tasks": [SPLICE, "demo/cell_type"], "seeds": "4",
        "overrides": {"epochs": 4},
    },
    "fast after slow": {
        "models": ["convnova-386k", "kmer"], "tasks": [SPLICE], "seeds": "4",
        "overrides": {"epochs": 3},
    },
}  # fmt: skip


def trace(request: Request) -> dict[str, object]:
    """Model, task and size of each job; seconds, kind, job and progress of each event."""
    jobs, events = grid(request), []
    number = {job.trial.id: i for i, job in enumerate(jobs)}
    begin = time.monotonic()

    def note(event, job, outcome):
        at = [round(time.monotonic() - begin, 2), event.kind, number[job.trial.id]]
        events.append([*at, event.value if event.kind == "progress" else None])

    with tempfile.TemporaryDirectory() as folder:
        found = run(jobs, Store(Path(folder)), Resources(workers=WORKERS), note)
    assert len(found.finished) == len(jobs)
    rows = [[job.trial.model, job.trial.task, job.size] for job in jobs]
    return {"workers": WORKERS, "jobs": rows, "events": events}


if __name__ == "__main__":
    chosen = sys.argv[2:] or SWEEPS
    traces = {name: trace(Request(**SWEEPS[name])) for name in chosen}
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in traces.items()]
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")
