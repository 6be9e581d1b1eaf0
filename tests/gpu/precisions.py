"""Three seeds of a real task in each arithmetic: do the metrics agree?"""

import statistics

import numpy as np

from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import run_trial
from dnabench.types import Resources

SAID = ("skipped_steps", "compile", "micro_batch")  # flags that are worth a cell


def section(s):
    fp32 = {}  # model -> logits of each seed
    for model in ("convnova-386k", "cnn", "hyenadna-tiny-1k"):
        for precision in ("fp32", "tf32", "bf16", "fp16") if s.cuda else ("fp32",):
            s.row(
                lambda model=model, precision=precision: trials(s, model, precision, fp32),
                needs=12, again=precision == "fp32", model=model, precision=precision,
            )  # fmt: skip


def trials(s, model, precision, fp32):
    limit, epochs, seeds = ("60", 1, "1") if s.tiny else ("2000", 3, "3")
    request = Request(
        models=[model], suite="demo", tasks=["splice_junctions"], seeds=seeds, limit=limit,
        overrides={"epochs": epochs, "precision": precision},
    )  # fmt: skip
    records, logits = [], []
    for job in grid(request, print):
        record, arrays = run_trial(job, Resources(s.device, compile="off"))
        records.append(record)
        logits.append(arrays["logits"])
    metric = records[0].task["metric"]
    values = [r.scores["test"][metric] for r in records]
    pairs = list(zip(fp32.setdefault(model, logits), logits, strict=True))
    return {
        "metric": metric, "values": values, "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0,
        "logits_off_fp32": max(float(np.abs(a - b).max()) for a, b in pairs),
        "labels_as_fp32": min(float((a.argmax(1) == b.argmax(1)).mean()) for a, b in pairs),
        "flags": {k: v for r in records for k, v in r.flags.items() if k in SAID},
        "seconds": statistics.mean(r.seconds for r in records),
        "peak_GB": records[-1].peak_memory / 1e9, "joules": [r.joules for r in records],
    }  # fmt: skip
