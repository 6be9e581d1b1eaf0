"""A U-Net for DNA, of our design: convolutions at 1, 2, 4 and 8 bp per position and back.

B batch, L sequence length (bp), T positions of a level, C channels, D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models.heads import LETTER_CHOICES, READS_LETTERS, network
from dnabench.models.language import linear
from dnabench.registry import MODELS
from dnabench.types import Language, Model, Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

LETTERS = 5  # A, C, G, T and N
OPTIONS: dict[str, Any] = {
    "width": 32, "levels": 4, "kernel_size": 9, "dropout": 0.1, **READS_LETTERS,
}  # fmt: skip


def shapes(options: Mapping[str, Any], channels: int = LETTERS) -> list[tuple[int, int]]:
    """Channels into and out of each pair of convolutions: down, bottom, up."""
    o = {**OPTIONS, **options}
    widths = [o["width"] * 2**i for i in range(o["levels"])]
    down = list(zip([channels, *widths], widths, strict=False))
    up = [(widths[i] + widths[i + 1], widths[i]) for i in reversed(range(o["levels"] - 1))]
    return down + up


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters of a network that reads letters.

    Source:
        Ours, from the layer shapes: a pair has two convolutions with bias and two layer norms.
    """
    k = {**OPTIONS, **options}["kernel_size"]
    return int(sum(k * (a * b + b * b) + 6 * b for a, b in shapes(options)))


def receptive_field(options: Mapping[str, Any]) -> int:
    """How many bp one output depends on: its group of 2^(levels - 1) bp and those on both sides."""
    o = {**OPTIONS, **options}
    group = 2 ** (o["levels"] - 1)
    scales = 2 * (group - 1) + group  # 1 + 2 + ... + bottom + ... + 2 + 1
    return int(group + 2 * (o["kernel_size"] - 1) * scales)


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """A plain U-Net with a pooled linear head, or per base a linear head at full resolution.

    Each level is 2 x (convolution, layer norm over channels, GELU), then dropout. On the way down
    positions are max-pooled in pairs and the channels double; on the way up every position is
    repeated, and the values from before that pooling are concatenated. With the defaults the
    receptive field is 360 bp: a group of 8 bp and 176 bp on either side.

    Args:
        task: gives K.
        options: width D of the first level, levels (1 = no pooling), kernel_size (odd), dropout,
            pooling of the head; tokenizer, with words instead of letters a learned embedding of
            `vocabulary` rows.

    Returns:
        A torch module: `forward(ids (B, L), mask (B, L) or None) -> logits float32 (B, K)`, per
        base (B, L, K). `backbone(ids, mask)` gives float32 (B, L, D). Any L. Weights are drawn
        from the global generator of torch, PyTorch's default initialisation.

    Raises:
        ValueError: for an even kernel size or an option below its minimum.

    Accuracy:
        Padding enters no convolution and no maximum: a sequence has the logits it has alone,
        unpadded, to float32 rounding. A length that pooling cannot halve is padded in the same
        way.

    Source:
        Ronneberger et al. 2015, arXiv 1505.04597, for the shape. The rest is ours. No parity with
        the DNA U-Net of Karpinsky et al. (arXiv 2606.30140) is claimed: only its abstract was
        available. ConvNova's downsampling variant is another model: convnova_unet.
    """
    return network(task, backbone(options), int(options["width"]), str(options["pooling"]))


def backbone(options: Mapping[str, Any]) -> Any:
    """`(ids (B, L), mask (B, L) or None) -> float32 (B, L, D)`; see `build`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import channels_last_conv1d, input_layer

    o = {**OPTIONS, **options}
    _check(o)
    k, levels = o["kernel_size"], o["levels"]

    class Pair(nn.Module):
        def __init__(self, channels_in: int, channels: int) -> None:
            super().__init__()
            ins = (channels_in, channels)
            self.convs = nn.ModuleList(nn.Conv1d(c, channels, k) for c in ins)
            self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in ins)

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = x if mask is None else x * mask[..., None]
                x = F.gelu(norm(channels_last_conv1d(conv, x)))  # type: ignore[arg-type]
            return F.dropout(x, o["dropout"], self.training)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input = input_layer(o, o["width"])
            pairs = [Pair(a, b) for a, b in shapes(o, self.input.channels)]
            self.down, self.up = nn.ModuleList(pairs[:levels]), nn.ModuleList(pairs[levels:])

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            x: Tensor = self.input(ids)
            length = ids.shape[1]
            rest = -length % 2 ** (levels - 1)
            if rest:
                mask = torch.ones_like(x[..., 0]) if mask is None else mask
                x, mask = F.pad(x, (0, 0, 0, rest)), F.pad(mask, (0, rest))
            skips: list[tuple[Tensor, Tensor | None]] = []
            for pair in self.down:
                if skips:
                    x, mask = halved(x, mask)
                x = pair(x, mask)
                skips.append((x, mask))
            skips.pop()
            for pair in self.up:
                skip, mask = skips.pop()
                x = pair(torch.cat([x.repeat_interleave(2, 1), skip], -1), mask)
            return x[:, :length]

    def halved(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The maximum of each pair of positions, (B, T / 2, C), without padding, and their mask."""
        if mask is None:
            return torch.maximum(x[:, ::2], x[:, 1::2]), None
        x = x.masked_fill(mask[..., None] == 0, -torch.inf)
        coarse = torch.maximum(mask[:, ::2], mask[:, 1::2])
        x = torch.maximum(x[:, ::2], x[:, 1::2])
        return x.masked_fill(coarse[..., None] == 0, 0.0), coarse

    return UNet()


def _check(o: Mapping[str, Any]) -> None:
    if o["kernel_size"] % 2 == 0:
        raise ValueError(f"kernel_size is {o['kernel_size']}; it must be odd, to keep the length")
    for name in ("width", "levels", "kernel_size"):
        if o[name] < 1:
            raise ValueError(f"{name} is {o[name]}; unet needs at least 1")


MODELS.add(
    Model(
        name="unet",
        family="unet",
        build=build,
        options=OPTIONS,
        choices=LETTER_CHOICES,
        n_params=count(OPTIONS),
        min_length=1,
        context=1_000_000,
        source="arXiv 1505.04597 for the shape; the architecture is our choice",
        license="Apache-2.0 (our implementation)",
        recipes={"default": Recipe()},
        language=Language(head=linear(5), prefix="head.", letters=(0, 1, 2, 3, 4)),
    )
)
