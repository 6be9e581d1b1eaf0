"""Activation checkpointing: the layers of a network run again in the backward pass."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(net: nn.Module, name: str) -> int:
    """Keep of each layer its input alone; its activations are computed again when they are needed.

    Layers are what the outermost lists of modules hold, so a network with few large layers gains
    less. Random numbers are the same again, so that no number changes.

    Args:
        net: changed in place; names of tensors stay.
        name: of the model, for the message.

    Returns:
        The number of layers.

    Raises:
        ValueError: a network without such a list.
    """
    lists = _outermost(net)
    layers = [layer for one in lists for layer in one]
    if not layers:
        raise ValueError(f"--recompute: {name} has no list of layers; omit it")
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return len(layers)


def _outermost(net: nn.Module) -> list[nn.ModuleList]:
    """Lists of modules that are in no other list."""
    if isinstance(net, nn.ModuleList):
        return [net]
    return [found for child in net.children() for found in _outermost(child)]
