"""NTv2*: Nucleotide Transformer v2 that starts by attending to neighbours, in our reading.

B batch, T length in tokens (one <cls>, then 6 bp each), D width, K task outputs, d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dnabench.models import ntv2
from dnabench.models.heads import POOLINGS
from dnabench.registry import MODELS
from dnabench.types import Model, Task

if TYPE_CHECKING:
    from torch import Tensor

OPTIONS: dict[str, Any] = {
    **ntv2.OPTIONS,
    "width": 512,
    "layers": 12,
    "inner": 2048,
    "nearest": 16.0,
    "farthest": 128.0,
}


def reaches(options: Mapping[str, Any]) -> list[float]:
    """For each head the distance in tokens at which its initial bias is lowest.

    Args:
        options: heads; nearest and farthest, the values of the first and the last head; those
            between are spaced geometrically.

    Raises:
        ValueError: unless 4 <= nearest <= farthest.
    """
    n, near, far = options["heads"], options["nearest"], options["farthest"]
    if not 4 <= near <= far:
        raise ValueError(
            f"nearest is {near} and farthest is {far} tokens; they must be 4 or more, in that order"
        )
    return [near * (far / near) ** (h / max(n - 1, 1)) for h in range(n)]


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """NTv2* with the two-layer classification head of NTv2.

    The paper says: each attention head has its own theta; the biases of the query and key
    projections start at [0, ..., 0, 1]; everything else is NTv2. It gives neither the thetas, nor
    whether the vector belongs to a head or to the layer, nor size, optimiser or epochs.

    Our reading: the size of ntv2-50m; one vector per head. Its last component rotates at the
    slowest rate w of the head, so the score of queries and keys i - j tokens apart starts with a
    term cos(w (i - j)) / sqrt(d). The usual base 10000 gives w = 1.8e-4, flat over the length of
    any task. Here w = pi / r with r from 16 tokens in the first head to 128 in the last, spaced
    geometrically, and the head's base is w^(-d / (d - 2)). In sequences longer than 2 r, tokens
    2 r apart are favoured again.

    Args:
        task: gives K.
        options: width D, layers, heads, inner, pooling as for ntv2; nearest and farthest, the r of
            the first and of the last head, in tokens.

    Returns:
        As for ntv2; the biases of query and key are 1 in the last component of every head.

    Raises:
        ValueError: as for ntv2; for heads of fewer than 4 components; unless
            4 <= nearest <= farthest.

    Accuracy:
        The authors have not released their code, so only the effect they show can be compared: at
        initialisation, neighbouring tokens get more attention than distant ones. For the rest see
        ntv2.

    Source:
        arXiv 2502.18538 A.5 (without numbers); docs/models.md#ntv2-star. No weights exist.
    """
    return ntv2.classifier(task, backbone(options), {**OPTIONS, **options})


def frequencies(options: Mapping[str, Any]) -> Tensor:
    """Radians per token of each head: float32 (heads, 1, d / 2); see `build`."""
    import torch

    from dnabench.models._esm import rotary_frequencies

    d = ntv2.head_width(options)
    if d < 4:
        raise ValueError(
            f"width is {options['width']} and heads is {options['heads']}; a head must be at "
            "least 4 wide, to have a theta of its own: take fewer heads"
        )
    bases = [(math.pi / r) ** (-d / (d - 2)) for r in reaches(options)]
    return torch.stack([rotary_frequencies(d, base) for base in bases])[:, None]


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under NTv2's tensor names; see `build`."""
    import torch

    from dnabench.models._esm import Esm

    o = {**OPTIONS, **options}
    net = Esm(o, ntv2.VOCABULARY, frequencies(o))
    with torch.no_grad():
        for layer in net.encoder.layer:
            attention: Any = layer.attention.self  # type: ignore[union-attr]
            for linear in (attention.query, attention.key):
                linear.bias.view(o["heads"], -1)[:, -1] = 1.0
    return net


MODELS.add(
    Model(
        name="ntv2_star",
        family="ntv2_star",
        build=build,
        options=OPTIONS,
        choices={"pooling": POOLINGS},
        reduced=ntv2.REDUCED,
        n_params=ntv2.count(OPTIONS),
        min_length=1,
        context=(ntv2.MAX_TOKENS - 1) * 6,
        max_tokens=ntv2.MAX_TOKENS,
        tokenizer="6mer",
        source="arXiv 2502.18538 A.5, in our reading",
        license="Apache-2.0 (our implementation; the authors' code is not out)",
        recipes={
            "default": replace(
                ntv2.FROM_SCRATCH,
                optimizer="adamw",
                epochs=20,
                source="house; AdamW, 1e-4, 20 epochs from scratch: our choice, arXiv 2502.18538 "
                "A.5 names no number; compare with ntv2-50m under its recipe 'default'",
            )
        },
        lora_targets=ntv2.LORA_TARGETS,
        language=ntv2.LANGUAGE,
    )
)
