"""The same few steps twice, then with PyTorch's deterministic algorithms: the same bytes?"""

import torch

from gpu.section import SHAPES, learner


def section(s):
    for name in list(SHAPES)[:: 3 if s.tiny else 1]:
        for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
            if not s.over(f"{name} {precision}", 10):
                s.row(
                    lambda name=name, precision=precision: twice(s, name, precision),
                    model=name, precision=precision,
                )  # fmt: skip


def twice(s, name, precision):
    a, b = (weights(s, name, precision) for _ in range(2))
    out = {
        "same": equal(a, b),
        "off": max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)),
    }
    if not out["same"]:
        torch.use_deterministic_algorithms(True)
        try:
            out["same_deterministic"] = equal(*(weights(s, name, precision) for _ in range(2)))
        except RuntimeError as e:
            out["deterministic_says"] = str(e).splitlines()[0][:200]
        finally:
            torch.use_deterministic_algorithms(False)
    return out


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def weights(s, name, precision):
    """After one epoch of three steps, or two."""
    batch, length, options = s.shape(name)
    shape = (min(batch, 32), min(length, 250), options)
    one, _ = learner(s, name, shape, precision, steps=3)
    for _ in range(1 if name.startswith("caduceus") else 2):
        one.train_epoch()
    return [p.detach().float().cpu() for p in one.net.parameters()]
