"""What ended a trial, in the words of its record."""

from __future__ import annotations

from dnabench.executors.base import UNUSABLE, last_line
from dnabench.host.machine import device_label
from dnabench.records import printable
from dnabench.results.provenance import here
from dnabench.types import Job, Record, Resources

LONGEST_ERROR = 20_000  # bytes that are kept
NO_MEMORY = (
    "the process may have no more memory; run fewer trials at once (--jobs), take a smaller batch, "
    "or give it more"
)
MEMORY_WORDS = (  # as Python, C++, the kernel, the loader of libraries and oneDNN say it
    "MemoryError", "bad_alloc", "Cannot allocate memory", "failed to map segment",
    "could not create a primitive",
)  # fmt: skip


def no_memory(error: Exception, resources: Resources) -> tuple[str, ...]:
    """What a MemoryError should say in place of this error; () = memory did not run out.

    One line, wherever it ran out: in a pass forward or backward, or in a step of the optimiser.
    """
    from dnabench.train.batches import ran_out

    if isinstance(error, MemoryError):
        return (str(error),)
    if not (isinstance(error, RuntimeError) and ran_out(error)):
        return ()
    where, said = device_label(resources.device), str(error).strip().partition("\n")[0]
    how = "run fewer trials at once (--jobs), or set a smaller --micro-batch"
    return (f"no memory is left on {where}; {how} ({said})",)


def device_lost(error: Exception, device: str) -> str:
    """That CUDA failed for good in this process, as after an invalid index; "" = it did not."""
    import torch

    if not (device.startswith("cuda") and isinstance(error, RuntimeError)):
        return ""
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as e:
        said = str(e).strip().partition("\n")[0]
        how = "with CUDA_LAUNCH_BLOCKING=1 the traceback names the operation that failed"
        return f"{device_label(device)} {UNUSABLE} ({said}); {how}"
    return ""


def failed_record(job: Job, resources: Resources, error: str) -> Record:
    """The record of a job that failed; `error` is a traceback or its last line."""
    said = last_line(error)
    if any(word in said for word in MEMORY_WORDS) and "run fewer trials" not in said:
        said = said.removeprefix("MemoryError").removeprefix(": ")
        error = f"{error.rstrip()}\nMemoryError: {NO_MEMORY}{f' ({said})' if said else ''}\n"
    where = {**here(), "device": device_label(resources.device)}
    return Record(trial=job.trial, error=_readable(error), where=where)


def _readable(error: str) -> str:
    """At most 20 kB as UTF-8, the first and last half, without what a terminal would obey."""
    half = LONGEST_ERROR // 2 - 50
    few = error if len(error) <= LONGEST_ERROR else error[:half] + error[-half:]
    text = printable(few).encode()
    if few is error and len(text) <= LONGEST_ERROR:
        return text.decode()
    first, last = text[:half].decode(errors="ignore"), text[-half:].decode(errors="ignore")
    return f"{first}\n... [most of {len(error)} characters left out] ...\n{last}"
