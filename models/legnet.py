"""LegNet as compared with ConvNova: seven convolutional stages with squeeze-and-excitation.

B batch, T tokens (bp), C channels, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dnabench.models.convnova import FILE, LENGTHS, LOADER, NT_LENGTHS, TF32
from dnabench.models.heads import LETTER_CHOICES, READS_LETTERS, network
from dnabench.registry import MODELS
from dnabench.types import Model, Published, Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (256, 128, 128, 64, 64, 64, 64)
KERNEL = 7
SPREAD = 4  # expansion: channels inside a stage over the channels of the stage
TRUNK = 2_126_640
OPTIONS: dict[str, Any] = {**READS_LETTERS, "double_softmax": False}


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """LegNet; its last 1 x 1 convolution is the head.

    Args:
        task: gives K.
        options: pooling; tokenizer, with words instead of letters a learned embedding of
            `vocabulary` rows; double_softmax: return probabilities as logits, as ConvNova's copy
            does, so that the loss applies softmax twice.

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`.
        `backbone(ids, mask)` gives float32 (B, T, 64). Weights are drawn from the global generator
        of torch, PyTorch's default initialisation.

    Raises:
        ValueError: for double_softmax on a task without exclusive classes.

    Accuracy:
        With equal weights within 1e-6 of the logits of autosome-ru/LegNet@2c7e0f3 in this form,
        and within 1e-4 of ConvNova's copy (a golden record, which depends on little but the last
        stage). Padding enters no convolution, mean or batch statistic.

    Source:
        Penzar et al. 2023, Bioinformatics 39:btad457, in the form of aim-uofa/ConvNova@c606027:
        convnova/src/models/LegNet/LegNet.py (7 stages, 5 input channels, one output per class).
        Ours: logits (theirs are probabilities); the mean over positions is taken before the last
        layer, which is linear; the mask.
    """
    from torch import nn

    layers: list[Any] = [nn.Linear(WIDTHS[-1], task.n_outputs)]
    if options["double_softmax"]:
        if task.kind not in ("binary", "multiclass"):
            raise ValueError(
                f"double_softmax is {options['double_softmax']!r}, but {task.name} is "
                f"{task.kind}: leave it out; a softmax is for classes that exclude each other"
            )
        layers.append(nn.Softmax(-1))
    return network(task, backbone(options), WIDTHS[-1], options["pooling"], nn.Sequential(*layers))


def backbone(options: Mapping[str, Any]) -> Any:
    """The network up to its last layer, under the authors' tensor names; see `build`."""
    import torch
    from torch import nn

    from dnabench.models._layers import input_layer

    o, (batch_norm, run) = {**OPTIONS, **options}, masked_layers()

    class Squeeze(nn.Module):
        """Scale each channel by a factor in (0, 1) computed from the means of all channels."""

        def __init__(self, channels: int, hidden: int) -> None:
            super().__init__()
            self.fc = nn.Sequential(
                nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, channels), nn.Sigmoid()
            )

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            mean = x.mean(2) if mask is None else (x * mask).sum(2) / mask.sum(2)
            return x * self.fc(mean)[..., None]  # type: ignore[no-any-return]

    def unit(before: int, after: int, kernel: int, groups: int = 1) -> list[Any]:
        conv = nn.Conv1d(before, after, kernel, padding="same", groups=groups, bias=False)
        return [conv, batch_norm(after), nn.SiLU()]

    def named(**parts: Any) -> nn.ModuleDict:
        return nn.ModuleDict(parts)

    def stage(p: int, q: int) -> nn.ModuleList:
        wide = SPREAD * p
        inside = [*unit(p, wide, 1), *unit(wide, wide, KERNEL, groups=wide)]
        inside += [Squeeze(wide, p // 4), *unit(wide, p, 1)]
        mix = nn.Sequential(*unit(2 * p, q, KERNEL))
        return nn.ModuleList(
            [named(fn=named(block=nn.Sequential(*inside))), named(block=mix)]
        )  # fmt: skip

    class LegNet(nn.Module):
        main: Any

        def __init__(self) -> None:
            super().__init__()
            self.input = input_layer(o, WIDTHS[0])
            stem = unit(self.input.channels, WIDTHS[0], KERNEL)
            self.stem_block = named(block=nn.Sequential(*stem))
            self.main = nn.ModuleList(stage(p, q) for p, q in pairwise(WIDTHS))

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            mask = None if mask is None else mask[:, None]
            x = self.input(ids).transpose(1, 2)
            x = run(self.stem_block["block"], x, mask)
            for inside, mix in self.main:
                x = torch.cat([run(inside["fn"]["block"], x, mask), x], 1)
                x = run(mix["block"], x, mask)
            return x.transpose(1, 2)  # type: ignore[no-any-return]

    return LegNet()


def masked_layers() -> tuple[Any, Any]:
    """A batch norm that ignores padding, and a function that runs layers on padded sequences.

    Returns:
        A class and a function. `BatchNorm(channels, eps)` is nn.BatchNorm1d with training
        statistics over the positions where mask is 1; where a channel has a single value, the
        output is the bias. `run(layers, x (B, C, T), mask (B, 1, T) or None)` gives the output of
        the last layer; convolutions read zeros where mask is 0.

    Accuracy:
        Equal to nn.BatchNorm1d on the unpadded positions alone, to float32 rounding.
    """
    import torch
    from torch import nn

    class BatchNorm(nn.BatchNorm1d):
        running_mean: Tensor
        running_var: Tensor
        num_batches_tracked: Tensor

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            single = x.shape[0] * x.shape[2] == 1
            if not self.training or (mask is None and not single):
                return super().forward(x)
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            weight = torch.ones_like(wide[:, :1]) if mask is None else mask
            n = weight.sum()
            mean = (wide * weight).sum((0, 2)) / n
            centred = wide - mean[:, None]
            variance = (centred.square() * weight).sum((0, 2)) / n
            self._remember(mean.detach(), variance.detach() * n / (n - 1).clamp(min=1))
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None] + self.bias[:, None]).to(x.dtype)

        def _remember(self, mean: Tensor, variance: Tensor) -> None:
            share = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)
            self.num_batches_tracked.add_(1)

    def run(layers: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in layers:
            if isinstance(layer, nn.Conv1d):
                x = layer(x if mask is None or layer.kernel_size == (1,) else x * mask)
            elif isinstance(layer, nn.BatchNorm1d) or hasattr(layer, "fc"):
                x = layer(x, mask)
            else:
                x = layer(x)
        return x

    return BatchNorm, run


WHY = LOADER | {
    "double_softmax": "aim-uofa/ConvNova@c606027 convnova/src/models/LegNet/LegNet.py",
    "norm_batch": "the batch of one GPU, whose statistics are its own",
}
NT = Published(
    lr=6e-4, weight_decay=1e-5, batch=256, norm_batch=128, epochs=20, padding="left-n",
    horizon="train", options={"double_softmax": True}, tasks=NT_LENGTHS, why=WHY,
    source=FILE.format("nt-benchmark", "legnet"), differs=TF32,
)  # fmt: skip
BENCHMARKS = Published(
    lr=6e-4, weight_decay=0.1, batch=256, norm_batch=64, epochs=10, padding="left-n",
    horizon="train+test", options={"double_softmax": True}, tasks=LENGTHS, why=WHY,
    source=FILE.format("genomic-benchmark", "legnet"),
    differs="theirs is fp16 (--precision fp16 on CUDA), ours fp32",
)  # fmt: skip

MODELS.add(
    Model(
        name="legnet",
        family="legnet",
        build=build,
        options=OPTIONS,
        choices=LETTER_CHOICES,
        n_params=TRUNK,
        min_length=1,
        context=1_000_000,
        source="doi:10.1093/bioinformatics/btad457, as compared in arXiv 2502.18538",
        license="Apache-2.0 (our implementation; the authors' LegNet is MIT)",
        recipes={
            "default": Recipe(
                lr=6e-4, source="house, with the rate of ConvNova's two legnet.yaml"
            ),
            "nt": NT,
            "nt-house": NT.house("nt"),
            "genomic_benchmarks": BENCHMARKS,
            "genomic_benchmarks-house": BENCHMARKS.house("genomic_benchmarks"),
        },
    )
)  # fmt: skip
