"""Ablations of ConvNova: without the gate, the second branch, or the dilation.

B batch, L sequence length (bp), D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models import convnova
from dnabench.models.heads import READS_LETTERS, network
from dnabench.registry import MODELS
from dnabench.types import PAD, Model, N, Task

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "width", "blocks", "kernel_size", "dilation", "dilation_schedule", "d_inner", "dropout",
    *READS_LETTERS,
)  # fmt: skip
OPTIONS: dict[str, Any] = {name: convnova.OPTIONS[name] for name in NAMES}
SINGLE_BRANCH = {**OPTIONS, "width": 172}
UNET_NAMES = ("width", "kernel_size", "d_inner", "dropout", *READS_LETTERS)
UNET = {name: OPTIONS[name] for name in UNET_NAMES}
UNET_FIXED = {"blocks": 5, "dilation": 1}  # one block for each of the five places
SHRINK = 4  # bp per position at the bottom of the U-Net


def build_no_gate(task: Task, options: Mapping[str, Any]) -> Any:
    """ConvNova that adds its branches instead of gating, with a mean-pooled linear head.

    In a block h = GELU(conv(LN A)), g = GELU(conv'(LN' B)), A <- A + h + g, B <- B + g.

    Args:
        task: gives K.
        options: width D, blocks, kernel_size (odd), dilation, dilation_schedule, d_inner, dropout.

    Returns:
        A torch module, as from `convnova.build`; the tensors have the same names and shapes.

    Raises:
        ValueError: for an even kernel size, an unknown schedule or fewer than two blocks.

    Accuracy:
        With a mask a sequence has the logits it has alone, unpadded, to float32 rounding.

    Source:
        arXiv 2502.18538 equation 4 and section 4.5. Ours: the layer norms, which ConvNova has
        and the equation leaves out, the mask, and the paper's dilation schedule as the default.
    """
    return network(
        task, no_gate(options), int(options["width"]), str(options.get("pooling", "mean"))
    )


def no_gate(options: Mapping[str, Any]) -> Any:
    """`(ids (B, L), mask (B, L) or None) -> float32 (B, L, D)`; see `build_no_gate`."""
    from torch.nn.functional import gelu

    def added(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        g = gelu(w)
        return h + g, g

    return convnova.backbone(options, added)


def build_single_branch(task: Task, options: Mapping[str, Any]) -> Any:
    """ConvNova with a single branch that gates itself, and a mean-pooled linear head.

    In a block z = conv(LN A), A <- A + GELU(z) * sigmoid(z). The complement strand is not read.

    Args:
        task: gives K.
        options: width D, blocks, kernel_size (odd), dilation, dilation_schedule, d_inner, dropout.

    Returns:
        A torch module, as from `convnova.build`, without the tensors of the second branch.

    Raises:
        ValueError: for an even kernel size, an unknown schedule or fewer than two blocks.

    Accuracy:
        With a mask a sequence has the logits it has alone, unpadded, to float32 rounding.

    Source:
        arXiv 2502.18538 equation 2 and section 4.5. Ours: width 172, which comes nearest to
        ConvNova's size (+0.6 %), because the widths in the appendix (d and d / sqrt 2 are added)
        contradict each other; the layer norm, the mask and the paper's dilation schedule.
    """
    return network(
        task, single_branch(options), int(options["width"]), str(options.get("pooling", "mean"))
    )


def single_branch_count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters.

    Source:
        Ours, from the layer shapes.
    """
    o = {**SINGLE_BRANCH, **options}
    d, n, k = o["width"], o["blocks"], o["kernel_size"]
    stem, convolutions, norms = 5 * convnova.STEM_KERNEL * d + d, n * (k * d * d + d), 2 * n * d
    return int(stem + convolutions + norms + convnova.channel_mlp_count(d, d * o["d_inner"]))


def single_branch(options: Mapping[str, Any]) -> Any:
    """`(ids (B, L), mask (B, L) or None) -> float32 (B, L, D)`; see `build_single_branch`."""
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import channels_last_conv1d, input_layer

    o = {**SINGLE_BRANCH, **options}
    d, n = o["width"], o["blocks"]
    steps = convnova.block_dilations(o)

    class SingleBranch(nn.Module):
        convs: Any  # module list, which torch does not type

        def __init__(self) -> None:
            super().__init__()
            self.input = input_layer(o, d)
            self.linear = nn.Conv1d(self.input.channels, d, convnova.STEM_KERNEL)
            self.convs = nn.ModuleList(nn.Conv1d(d, d, o["kernel_size"]) for _ in range(n))
            self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(n))
            self.milinear = convnova.channel_mlp(d, d * o["d_inner"])

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            x = self.input(ids)
            x = x if mask is None else x * mask[..., None]
            a = F.gelu(channels_last_conv1d(self.linear, x))
            for conv, norm, step in zip(self.convs, self.norms, steps, strict=True):
                x = norm(F.dropout(a, o["dropout"], self.training) if o["dropout"] else a)
                z = channels_last_conv1d(conv, x if mask is None else x * mask[..., None], step)
                a = a + F.gelu(z) * z.sigmoid()
            return a + self.milinear(a)  # type: ignore[no-any-return]

    return SingleBranch()


def build_unet(task: Task, options: Mapping[str, Any]) -> Any:
    """ConvNova with down- and upsampling instead of dilation, and a mean-pooled linear head.

    Five gated blocks without dilation, at 1, 2, 4, 2 and 1 bp per position. On the way down both
    branches are max-pooled in pairs; on the way up every position is repeated, and the values of
    its branch from before that pooling are added. The sequence is first extended with N on the
    right to a multiple of 4 bp; the outputs of these N are cut off at the end. With the default
    kernel the receptive field is 92 bp: a group of 4 bp and 44 bp on either side.

    Args:
        task: gives K.
        options: width D, kernel_size (odd), d_inner, dropout.

    Returns:
        A torch module, as from `convnova.build`; the tensors have the same shapes, and the same
        names after the prefix "net.".

    Raises:
        ValueError: for an even kernel size.

    Accuracy:
        With a mask a sequence has the logits it has alone, unpadded, to float32 rounding.

    Source:
        arXiv 2502.18538 section 4.4 and Table 4, which give only "U-Net style, maintaining the
        gating mechanism" and the size. The rest is ours, chosen so that every parameter has the
        shape it has in ConvNova; max pooling as in the U-Net (Ronneberger et al. 2015).
    """
    return network(task, unet(options), int(options["width"]), str(options.get("pooling", "mean")))


def unet(options: Mapping[str, Any]) -> Any:
    """`(ids (B, L), mask (B, L) or None) -> float32 (B, L, D)`; see `build_unet`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    letters = str({**UNET, **options}["tokenizer"]).startswith("char")
    unknown, padding = (N, PAD) if letters else (0, 0)  # 0 is [UNK] of every tokenizer of words

    def extended(ids: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Sequences extended with N to a multiple of 4 bp; the masks at 1, 2 and 4 bp per position.

        The N count as part of the sequence, so no pooled pair is half masked.
        """
        rest = -ids.shape[1] % SHRINK
        ids = F.pad(ids.long(), (0, rest), value=unknown)
        if mask is None:
            return ids, [None, None, None]
        mask = F.pad(mask, (0, rest))
        coarse = mask.reshape(mask.shape[0], -1, SHRINK).amax(2)
        fine = coarse.repeat_interleave(SHRINK, 1)
        ids = torch.where(mask > 0, ids, torch.where(fine > 0, unknown, padding))
        return ids, [fine, coarse.repeat_interleave(2, 1), coarse]

    def pooled(x: Tensor) -> Tensor:
        return torch.maximum(x[:, ::2], x[:, 1::2])

    def raised(x: Tensor, skipped: Tensor) -> Tensor:
        return x.repeat_interleave(2, 1) + skipped

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convnova.backbone({**options, **UNET_FIXED})

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            length, block = ids.shape[1], self.net.block
            ids, (fine, middle, coarse) = extended(ids, mask)
            a1, b1 = block(0, *self.net.stems(ids, fine), fine)
            a2, b2 = block(1, pooled(a1), pooled(b1), middle)
            a, b = block(2, pooled(a2), pooled(b2), coarse)
            a, b = block(3, raised(a, a2), raised(b, b2), middle)
            a, _ = block(4, raised(a, a1), raised(b, b1), fine)
            return self.net.tail(a[:, :length])  # type: ignore[no-any-return]

    return UNet()


def add(name: str, build: Callable[..., Any], n: int, source: str, options: dict[str, Any]) -> None:
    """Register one ablation as a family of its own: `--preset smallest` takes one per family."""
    choices = {k: v for k, v in convnova.CHOICES.items() if k in options}
    MODELS.add(
        Model(
            name=name,
            family=name,
            build=build,
            options=options,
            n_params=n,
            min_length=1,
            context=1_000_000,
            source=source,
            license="Apache-2.0 (our implementation; the authors' code has no licence)",
            choices=choices,
            reduced={"width": 64} | ({} if name == "convnova_unet" else {"blocks": 3}),
            recipes=convnova.recipes_for(options),
            weights=convnova.WEIGHTS,
            language=convnova.LANGUAGE,
        )
    )


PAPER = "arXiv 2502.18538"
add("convnova_no_gate", build_no_gate, convnova.count(OPTIONS), f"{PAPER} eq. 4", OPTIONS)
add(
    "convnova_single_branch",
    build_single_branch,
    single_branch_count(SINGLE_BRANCH),
    f"{PAPER} eq. 2; width 172 is our choice, nearest to ConvNova's size",
    SINGLE_BRANCH,
)
add(
    "convnova_unet",
    build_unet,
    convnova.count({**UNET, **UNET_FIXED}),
    f"{PAPER} Table 4 names a U-Net style; the architecture is our choice",
    UNET,
)
