"""The Triton kernels of the selective scan, by Triton's interpreter on the CPU."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs triton, which is for Linux on x86-64")


def done(code, *words, **env):
    """What a process of its own prints, as JSON."""
    env = {**os.environ, **env}
    env["PYTHONPATH"] = os.pathsep.join([*sys.path, os.path.dirname(__file__)])  # noqa: PTH120
    argv = [sys.executable, "-c", code, *words]
    ran = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


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
    found = done(CODE, TRITON_INTERPRET="1")
    assert len(found["shapes"]) == 4 and max(found["shapes"]) < 1e-5
    assert found["large"] < 1e-5  # the decay underflows
    assert found["wrong"] > 0.1


LEFT = """
import json
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from dnabench.models.kernels import triton_scan

class Made(TorchDispatchMode):
    shapes = []
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and "zeros" in str(function):
            self.shapes.append(list(out.shape))
        return out

triton_scan.CHANNELS, triton_scan.BETWEEN = 8, 8
x, delta = (torch.rand(1, 17, 2, 8, requires_grad=True) for _ in range(2))
a, (b, c) = -torch.rand(2, 8, 16), torch.randn(2, 1, 17, 2, 16)
y = triton_scan.scan(x, delta, a, b, c)
with Made() as made:
    y.sum().backward()
print(json.dumps(made.shapes))
"""


@pytest.mark.slow
def test_the_way_back_makes_no_gradient_of_the_states_that_were_kept():
    """They have none, and of 1,000,000 bp it would take as many gigabytes as they do."""
    assert done(LEFT, TRITON_INTERPRET="1") == []


COMPILED = """
import json, subprocess, sys, warnings
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dnabench.models.kernels import triton_scan
from dnabench.models.kernels.scan import STATES

warnings.simplefilter("ignore")
folder, tool = Path(sys.argv[1]), Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
FIXED = {"S": STATES, "E": triton_scan.CHANNELS, "K": triton_scan.BETWEEN}
NUMBERS, LARGE = ("length", "ways", "channels", "size", "part"), ("size", "part")
# as Triton specialises numbers: a 1 is built in, one of 2^31 and more has 64 bits
ways = {"usual": {}, "one base": {"length": 1}, "one way": {"ways": 1}, "large": LARGE}
out = {}
for capability, names in ((80, ["usual"]), (90, ways)):
    for kernel in (triton_scan._forward, triton_scan._backward):
        for name in names:
            own = ways[name]
            kinds = {n: "i64" if own is LARGE and n in own else "i32" for n in NUMBERS}
            built = {} if own is LARGE else own
            kinds |= dict.fromkeys({**FIXED, **built}, "constexpr")
            takes = {n: kinds.get(n, "*fp32") for n in kernel.arg_names}
            made = triton.compile(
                ASTSource(fn=kernel, signature=takes, constexprs={**FIXED, **built}),
                target=GPUTarget("cuda", capability, 32), options={"num_warps": 1},
            )
            file = folder / "kernel.cubin"
            file.write_bytes(made.asm["cubin"])
            said = subprocess.run(
                [tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True
            ).stdout.split()
            used = dict(word.split(":")[:2] for word in said if word.startswith(("REG", "STACK")))
            key = f"{kernel.fn.__name__} {capability} {name}"
            out[key] = [int(used["REG"]), int(used["STACK"]), made.metadata.shared]
print(json.dumps(out))
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    """Triton's own compiler and NVIDIA's assembler, for A100 and H100: what the interpreter lets
    pass may be refused there, and states that do not fit into registers would be slow.
    """
    found = done(COMPILED, str(tmp_path), TRITON_CACHE_DIR=str(tmp_path / "cache"))
    assert len(found) == 10
    for name, (registers, stack, shared) in found.items():
        assert registers <= 255 and stack <= 128 and shared <= 4096, (name, registers, stack)
