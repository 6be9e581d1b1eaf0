"""The same few steps twice, as usual and with `--deterministic`: the same bytes? At what cost?"""

import torch

from gpu.section import SHAPES, learner, timed_steps

STEPS = 3


def section(s):
    for name in list(SHAPES)[:: 3 if s.tiny else 1]:
        for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
            s.row(
                lambda name=name, precision=precision: twice(s, name, precision),
                needs=10, model=name, precision=precision,
            )  # fmt: skip


def twice(s, name, precision):
    out, ms = {}, []
    for strict in (False, True):
        try:
            (a, took), (b, _) = (weights(s, name, precision, strict) for _ in range(2))
        except RuntimeError as e:  # an operation without a deterministic form
            return out | {"deterministic_says": str(e).splitlines()[0][:200]}
        out["same_deterministic" if strict else "same"] = all(map(torch.equal, a, b))
        if not strict:
            out["off"] = max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))
        ms.append(took)
    return out | {"ms": ms[0], "deterministic_ms": ms[1], "ratio": ms[1] / ms[0]}


def weights(s, name, precision, strict):
    """After one epoch of three steps, or two; and milliseconds of a step."""
    batch, length, options = s.shape(name)
    shape = (min(batch, 32), min(length, 250), options)
    one, _ = learner(s, name, shape, precision, STEPS, strict=strict)
    for _ in range(1 if name.startswith("caduceus") else 2):
        one.train_epoch()
    found = [p.detach().float().cpu() for p in one.net.parameters()]
    return found, timed_steps(s, one, STEPS)["ms"]
