"""Tokenizers: sequences -> one small-integer array, made once and kept on the device.

N examples, L length in tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from dnabench.types import PAD, Array, Sequences
from dnabench.types import N as ANY_BASE


class Encoded(NamedTuple):
    """Token ids.

    ids: uint8 (N, L).
    lengths: int64 (N,), tokens that are no padding; None when every row is full.
    """

    ids: Array
    lengths: Array | None


def char(seqs: Sequences, length: int, padding: Literal["mask", "left-n"]) -> Encoded:
    """One token a base: A0 C1 G2 T3 N4.

    Args:
        seqs: N sequences.
        length: bp, the task's longest.
        padding: "mask" pads with 5 on the right, as far as the longest of these sequences;
            "left-n" fills with N on the left up to `length`, and nothing marks it as padding: what
            the HyenaDNA/Caduceus/ConvNova loaders do.

    Raises:
        ValueError: when a sequence is longer than `length`.

    Source:
        MODELS.md 0.4; aim-uofa/ConvNova@c606027 subtracts 7 from HyenaDNA's ids and turns PAD to N.
    """
    longest = int(seqs.lengths.max(initial=0))
    if longest > length:
        raise ValueError(f"a sequence has {longest} bp, the task at most {length}")
    if padding == "left-n":
        return Encoded(seqs.padded(length, fill=ANY_BASE, side="left"), None)
    full = bool((seqs.lengths == longest).all())
    return Encoded(seqs.padded(longest, fill=PAD), None if full else seqs.lengths)


Tokenizer = Callable[[Sequences, int, Literal["mask", "left-n"]], Encoded]
TOKENIZERS: dict[str, Tokenizer] = {"char": char}


def longest_of(lengths: Array | None, rows: Array, width: int) -> int:
    """How many columns a batch of these rows needs."""
    return width if lengths is None else int(np.max(lengths[rows]))
