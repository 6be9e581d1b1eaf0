"""Long sequences: many chunks of the scan, and gradients through the long convolution.

What a step is at short lengths is in test_scan.py and test_hyenadna.py; how time grows is
measured by bench/scaling.py, in docs/benchmarks/scaling.md.
"""

import pytest
import torch
from bench.scaling import convolution_ref, differences, scan_inputs, scan_ref

from dnabench.models.hyenadna import causal_convolution
from dnabench.models.kernels.scan import selective_scan


@pytest.mark.parametrize("length", [1_000, 1_025])
def test_scan_over_many_chunks_is_the_recurrence(length):
    """So many channels that the scan itself takes chunks of 40 bp, which divide L or do not."""
    worst = differences(selective_scan, scan_ref, scan_inputs(length, 200))
    assert len(worst) == 6 and max(worst) < 1e-10, worst


@pytest.mark.parametrize("length", [999, 1_024])
def test_long_convolution_and_its_gradients_are_the_sum(length):
    g = torch.Generator().manual_seed(length)
    inputs = [torch.randn(shape, generator=g, dtype=torch.float64)
              for shape in ((2, 3, length), (3, length))]  # fmt: skip
    worst = differences(causal_convolution, convolution_ref, inputs)
    assert len(worst) == 3 and max(worst) < 1e-10, worst


def test_the_comparison_would_notice_another_recurrence():
    inputs = scan_inputs(40, 3)

    def one_late(x, delta, a, b, c):
        return selective_scan(x.roll(1, 1), delta, a, b, c)

    assert max(differences(one_late, scan_ref, inputs)) > 0.1
