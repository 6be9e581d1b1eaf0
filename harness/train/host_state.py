"""What a training step changes on the host, which its recorded form would not change again."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

OFF = "the network draws random numbers or counts on the host, where a replay does nothing"


class Watched:
    """A step of a network that says whether it changed anything on the host."""

    def __init__(self, step: Callable[[], Tensor], net: torch.nn.Module) -> None:
        self._step, self._net = step, net
        self.changed = False

    def __call__(self) -> Tensor:
        """Take the step."""
        before = host_state(self._net)
        loss = self._step()
        self.changed = host_state(self._net) != before
        return loss


def host_state(net: torch.nn.Module) -> list[Any]:
    """What Python knows of random numbers and of a network, to be compared before and after a step.

    Random numbers of PyTorch for the CPU count where the network is on another device. Of a network
    its numbers and words count, such as a number of calls; tensors are not of the host.
    """
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    drawn: list[Any] = [random.getstate(), bytes(state[1]), state[2]]
    if any(p.device.type != "cpu" for p in net.parameters()):
        drawn.append(bytes(torch.get_rng_state().numpy()))
    kept = (bool, int, float, str)
    said = [
        {k: v for k, v in vars(module).items() if isinstance(v, kept)} for module in net.modules()
    ]
    return [drawn, said]
