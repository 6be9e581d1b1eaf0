"""How time grows with length: `python tests/bench/scaling.py`. Not collected by pytest.

The selective scan of Caduceus should take time in proportion to n, the long convolution and the
whole mixer of HyenaDNA to n log n. One thread, own CPU seconds; the lengths take turns for
several rounds, and of the rounds the lower quartile counts. Prints Markdown: seconds, the fitted
exponent, the distance from n log n, and how far value and gradients are from a sequential reference
in float64.

From arrays of some 16 MB on, glibc gives freed memory back and the kernel clears it again for the
next array: system time that is no arithmetic. Without it:
MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=10000000000 python tests/bench/scaling.py
"""

import math
import os
import platform
import statistics
import sys
import time

import torch

from dnabench.models.caduceus import backbone as caduceus
from dnabench.models.hyenadna import OPTIONS, causal_convolution, positions
from dnabench.models.hyenadna import backbone as hyenadna
from dnabench.models.kernels.scan import selective_scan
from dnabench.results.provenance import here

LENGTHS = (1024, 2048, 4096, 8192)
ROUNDS = 9
DIRECTIONS, STATES, CHANNELS = 2, 16, 512  # of caduceus_ph: channels are twice its width of 256
WIDTH = 256  # of hyenadna
LEAST = 0.2  # CPU seconds of a measurement; shorter ones are repeated


def scan_inputs(length, channels, dtype=torch.float64):
    """x, delta, a, b, c of `selective_scan` for one sequence, steps as large as at the start."""
    g = torch.Generator().manual_seed(length)
    x, delta = torch.randn(2, 1, length, DIRECTIONS, channels, generator=g, dtype=dtype)
    a = -torch.arange(1, STATES + 1, dtype=dtype).repeat(DIRECTIONS, channels, 1)
    b, c = torch.randn(2, 1, length, DIRECTIONS, STATES, generator=g, dtype=dtype)
    return [x, torch.nn.functional.softplus(delta - 3), a, b, c]


def scan_ref(x, delta, a, b, c):
    """The recurrence, one position after the other."""
    h, out = torch.zeros(x.shape[0], *a.shape, dtype=x.dtype), []
    rows = (t.unbind(1) for t in (x, delta, b, c))
    for xt, dt, bt, ct in zip(*rows, strict=True):
        h = torch.exp(dt[..., None] * a) * h + (dt * xt)[..., None] * bt[..., None, :]
        out.append((h * ct[..., None, :]).sum(-1))
    return torch.stack(out, 1)


def convolution_ref(x, kernel):
    """y[t] = sum over s <= t of kernel[s] x[t - s], as a matrix of kernel[t - s]."""
    length = x.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)
    matrix = kernel[:, lag.clamp(min=0)] * (lag >= 0)
    return torch.einsum("dts,...ds->...dt", matrix, x)


def value_and_gradients(function, inputs):
    """The output, then the gradient of a weighted sum of it for each input."""
    inputs = [t.clone().requires_grad_() for t in inputs]
    y = function(*inputs)
    weight = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), inputs)]


def differences(function, reference, inputs):
    """Largest difference of the value and of each gradient, relative to the largest number."""
    pairs = zip(
        value_and_gradients(function, inputs), value_and_gradients(reference, inputs), strict=True
    )
    return [float((a - b).abs().max() / max(1.0, float(b.abs().max()))) for a, b in pairs]


def scan(length):
    """Forward and backward of the scan alone."""
    inputs = [t.requires_grad_() for t in scan_inputs(length, CHANNELS, torch.float32)]
    return lambda: torch.autograd.grad(selective_scan(*inputs).sum(), inputs)


def bimamba(length):
    """Forward and backward of a whole mixer of caduceus_ph."""
    torch.manual_seed(0)
    mixer = caduceus({"width": CHANNELS // 2, "layers": 1}, both_strands=False).layers[0].mixer
    return both_ways(lambda u: mixer(u, None), mixer, length, CHANNELS // 2)


def convolution(length):
    """Forward and backward of HyenaDNA's long convolution alone."""
    torch.manual_seed(0)
    x, kernel = torch.randn(1, WIDTH, length), torch.randn(WIDTH, length)
    inputs = [x.requires_grad_(), kernel.requires_grad_()]
    return lambda: torch.autograd.grad(causal_convolution(*inputs).sum(), inputs)


def hyena(length):
    """Forward and backward of a whole mixer of HyenaDNA, its filter network included."""
    torch.manual_seed(0)
    options = {**OPTIONS, "width": WIDTH, "layers": 1, "l_max": max(LENGTHS) + 2}
    mixer = hyenadna(options).layers[0].mixer
    parts = positions(length, torch.zeros(1), options)
    return both_ways(lambda u: mixer(u, *parts), mixer, length, WIDTH)


def both_ways(forward, module, length, width):
    u = torch.randn(1, length, width, requires_grad=True)
    inputs = [u, *module.parameters()]
    return lambda: torch.autograd.grad(forward(u).sum(), inputs)


SUBJECTS = {
    "selective scan": (scan, "n"), "BiMamba mixer": (bimamba, "n"),
    "causal convolution": (convolution, "n log n"), "Hyena mixer": (hyena, "n log n"),
}  # fmt: skip


def cpu_seconds(step, times):
    start = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - start) / times


def measured(make):
    """Lower quartile, median and range over rounds of each length, which take turns."""
    steps = {n: make(n) for n in LENGTHS}
    times = {n: max(1, math.ceil(LEAST / cpu_seconds(step, 2))) for n, step in steps.items()}
    seconds = {n: [] for n in LENGTHS}
    for _ in range(ROUNDS):
        for n, step in steps.items():
            seconds[n].append(cpu_seconds(step, times[n]))
    return seconds


def quartile(values):
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def exponent(seconds):
    """Slope of log seconds on log n, least squares."""
    xs, ys = [math.log(n) for n in seconds], [math.log(s) for s in seconds.values()]
    return statistics.linear_regression(xs, ys).slope


def from_n_log_n(seconds):
    """Largest relative distance from the c n log n that is nearest in logarithms."""
    logs = [math.log(s / (n * math.log(n))) for n, s in seconds.items()]
    return max(abs(math.exp(x - statistics.mean(logs)) - 1) for x in logs)


def report(name, make, law):
    rounds = measured(make)
    low = {n: quartile(values) for n, values in rounds.items()}
    spread = max(statistics.median(v) / quartile(v) for v in rounds.values()) - 1
    cells = " | ".join(f"{s * 1000:.1f}" for s in low.values())
    print(
        f"| {name} | {cells} | {exponent(low):.3f} | {from_n_log_n(low):.1%} | {law} | "
        f"{spread:.0%} |",
        flush=True,
    )


def exactness():
    """Differences at every length, in float64, with fewer channels: the reference is slow."""
    print("\n| length (bp) | scan: value, gradients | convolution: value, gradients |")
    print("|---:|---:|---:|")
    for n in LENGTHS:
        of_scan = differences(selective_scan, scan_ref, scan_inputs(n, 8))
        g = torch.Generator().manual_seed(n)
        inputs = [torch.randn(1, n, generator=g, dtype=torch.float64) for _ in range(2)]
        of_sum = differences(causal_convolution, convolution_ref, inputs)
        values = [f"{d[0]:.1e}, {max(d[1:]):.1e}" for d in (of_scan, of_sum)]
        print(f"| {n:,} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = here()
    print(
        f"{where['cpu']}, {platform.system()}, CPython {where['python']}, torch {where['torch']}, "
        f"commit {where['commit']}, one thread, {ROUNDS} rounds, "
        f"{' '.join(k for k in os.environ if k.startswith('MALLOC_')) or 'malloc as it comes'}\n"
    )
    heads = " | ".join(f"{n:,} bp (ms)" for n in LENGTHS)
    print(f"| forward and backward | {heads} | exponent | from n log n | expected | spread |")
    print(f"|---|{'---:|' * len(LENGTHS)}---:|---:|---|---:|")
    for subject in sys.argv[1:] or SUBJECTS:
        report(subject, *SUBJECTS[subject])
    exactness()
