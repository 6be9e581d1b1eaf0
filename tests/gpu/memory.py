"""A cap on memory must halve the micro-batch and still give the gradients of the whole batch."""

import contextlib
import gc
import weakref

import numpy as np
import torch

from dnabench.train import rows
from dnabench.train.batches import ran_out
from gpu.section import learner, timed_steps

SHARE = 0.4  # of the peak without a cap
MESSAGES = (
    "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cuFFT error: CUFFT_ALLOC_FAILED",
)  # fmt: skip


def section(s):
    s.row(lambda: capped(s), what="cap of 40 % of the peak")
    s.row(
        lambda: {m: ran_out(RuntimeError(m)) for m in MESSAGES},
        what="messages known as out of memory",
    )
    s.row(lambda: far(s), what="sequences on the host")
    s.row(lambda: stale(s), what="a finished learner without gc.collect()")


def shape(s):
    return (8, 60, {"width": 16, "blocks": 3}) if s.tiny else (256, 500, {})


def capped(s):
    loss, whole, logits, micro, _ = gradients(s, 0)
    peak = s.peak_gb()
    s.clear()
    loss2, parts, logits2, halved, evaluated = gradients(s, SHARE * peak if s.cuda else 2)
    off = max(float((parts[k] - v).norm() / (v.norm() + 1e-6)) for k, v in whole.items())
    return {
        "whole_peak_GB": peak, "micro": [micro, halved], "eval_batch": evaluated,
        "gradients_off": off, "loss": [loss, loss2],
        "logits_off": float(np.abs(logits - logits2).max()), "ok": halved < micro and off < 1e-3,
    }  # fmt: skip


def gradients(s, cap):
    """Loss, gradients, logits, micro-batch and evaluation batch of one step, under a cap."""
    one, train = learner(s, "convnova", shape(s), steps=1)
    every = one._data.rows(np.arange(len(train.y)))
    with limit(s, cap, one):
        one.net.train()
        with one.kernels, one._arithmetic.products():
            loss = one._gradients(every, *one._targets(every))
        found = {k: p.grad.detach().clone() for k, p in one.net.named_parameters()}
        logits = one.predictor(train)()
    return float(loss), found, logits, one.micro_batch, one.eval_batch


@contextlib.contextmanager
def limit(s, cap, one):
    """So many GB for this process; on a CPU, for the dry mode, so many rows at once; 0 = no cap."""
    if cap and s.cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap * 1e9 / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    if cap:
        real = one._forward

        def bounded(batch):
            if len(batch.ids) > cap:
                raise torch.OutOfMemoryError("planted")
            return real(batch)

        one._forward = bounded
    yield


def far(s):
    """As for data that the device has no room for: the same losses, and what a step then takes."""
    found, n, usual = [], 2 if s.tiny else 12, rows.fits
    for fits in (usual, lambda size, device: False):
        rows.fits = fits
        try:
            one, _ = learner(s, "convnova", shape(s), steps=n)
        finally:
            rows.fits = usual
        losses = [one.train_epoch() for _ in range(2)]
        found.append((losses, timed_steps(s, one, n)["ms"], one._data.here))
    (a, near, _), (b, distant, here) = found
    return {
        "losses": [a, b], "ms": [near, distant],
        "ok": not here and max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-4,
    }  # fmt: skip


def stale(s):
    """Whether a finished learner lives on before the collector runs, and its bytes."""
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated() if s.cuda else 0
        one, _ = learner(s, "convnova", shape(s), steps=1)
        one.train_epoch()
        ref = weakref.ref(one)
        del one
        held = (torch.cuda.memory_allocated() if s.cuda else 0) - before
        return {"alive": ref() is not None, "held_MB": held / 1e6}
    finally:
        gc.enable()
