"""The Triton kernels of the selective scan, by Triton's interpreter on the CPU."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs triton, which is for Linux on x86-64")

CODE = """
import json, sys
import torch
from dnabench.models.kernels import triton_scan
from dnabench.models.kernels.scan import selective_scan
from test_scan import scan_inputs, value_and_gradients

def off(form, *inputs):
    # largest difference of the value and of each gradient, as a share of the largest number
    wanted = value_and_gradients(selective_scan, [t.double() for t in inputs])
    found = value_and_gradients(form, list(inputs))
    return max(float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted))

triton_scan.CHANNELS, triton_scan.BETWEEN = 8, 8
compiled = torch.compile(triton_scan.scan, backend="aot_eager", fullgraph=True)
torch.manual_seed(0)
out = {"shapes": [], "nothing": 0.0}
for form, batch, length, channels in (
    (triton_scan.scan, 1, 1, 8), (triton_scan.scan, 2, 8, 8), (triton_scan.scan, 1, 17, 11),
    (compiled, 1, 9, 5),
):
    x, delta = torch.randn(batch, length, 2, channels), torch.rand(batch, length, 2, channels)
    a = -3 * torch.rand(2, channels, 16) - 0.1
    b, c = torch.randn(2, batch, length, 2, 16)
    out["shapes"].append(off(form, x, delta + 0.01, a, b, c))
large = off(triton_scan.scan, x, 100 * delta + 1, a, b, c)
wrong = off(lambda x, *rest: triton_scan.scan(x.roll(1, 1), *rest), x, delta + 0.01, a, b, c)
print(json.dumps(out | {"large": large, "wrong": wrong}))
"""


@pytest.mark.slow
def test_value_and_gradients_are_those_of_the_recurrence_in_float64():
    """Short, one chunk, a chunk and one more position, channels that fill no block; compiled."""
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    env["PYTHONPATH"] = os.pathsep.join([*sys.path, os.path.dirname(__file__)])  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["shapes"]) == 4 and max(found["shapes"]) < 1e-5
    assert found["large"] < 1e-5  # the decay underflows
    assert found["wrong"] > 0.1
