"""Basenji2 as compared with ConvNova: pooled convolutions, then dilated residual blocks.

B batch, T tokens (bp), C channels, K task outputs; a bin is 16 bp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models.convnova import FILE, LENGTHS, LOADER
from dnabench.models.heads import LETTER_CHOICES, POOLINGS, READS_LETTERS, pooled
from dnabench.models.legnet import masked_layers
from dnabench.registry import MODELS
from dnabench.types import Model, Published, Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

STEM, TOWER, NARROW, WIDTH = 288, (339, 399, 470), 384, 512
BIN = 16  # bp; halved four times
OPTIONS: dict[str, Any] = {"blocks": 7, **READS_LETTERS}


def rates(blocks: int) -> list[int]:
    """Dilation of each residual block, in bins: 1, 2, 3, 4, 6, 9, 14, ...

    Raises:
        ValueError: for a negative number of blocks.

    Source:
        calico/basenji: each is 1.5 times the one before, rounded half to even.
    """
    if blocks < 0:
        raise ValueError(f"blocks is {blocks}; it must be 0 or more")
    out = [1]
    while len(out) < blocks:
        out.append(round(1.5 * out[-1]))
    return out[:blocks]


def count(options: Mapping[str, Any]) -> int:
    """Exact number of trunk parameters.

    Source:
        Ours, from the layer shapes; at the defaults equal to the authors' code (golden record).
    """

    def unit(before: int, after: int, kernel: int) -> int:
        return before * after * kernel + 2 * after

    tower = sum(unit(p, q, 5) for p, q in zip((STEM, *TOWER[:-1]), TOWER, strict=True))
    block = unit(TOWER[-1], NARROW, 3) + unit(NARROW, TOWER[-1], 1)
    blocks = {**OPTIONS, **options}["blocks"]
    return int(unit(5, STEM, 15) + tower + blocks * block + unit(TOWER[-1], WIDTH, 1))


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """Basenji2's trunk with a linear head on its pooled bins.

    Args:
        task: gives K.
        options: blocks, the number of dilated residual blocks; pooling, over bins;
            tokenizer, with words instead of letters a learned embedding of `vocabulary` rows.

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`, for a
        per-base task (B, T, K): every base has the logits of its bin. `backbone(ids, mask)` gives
        float32 (B, T / 16 rounded up, 512). Weights are drawn from the global generator of torch,
        PyTorch's default initialisation.

    Raises:
        ValueError: for a negative number of blocks or an unknown pooling.

    Accuracy:
        With equal weights the trunk is that of basenji2-pytorch 0.1.2 to float32 rounding, and
        within 1e-4 of ConvNova's copy of it (one golden record).
        A sequence has the logits it has alone: padding enters no convolution, pooling, mean or
        batch statistic.

    Source:
        Kelley et al. 2018, Genome Res 28:739, and Kelley 2020, PLoS Comput Biol 16:e1008050; in
        the form of aim-uofa/ConvNova@c606027: convnova/src/models/basenji2 (5 input channels, no
        cropping). Ours: the mask; a base takes the logits of its bin; no unused second head.
    """
    from torch import nn

    pooling = options["pooling"]
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone(options)
            self.head = nn.Linear(WIDTH, task.n_outputs)

        def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            bins = self.backbone(ids, mask)
            if task.kind == "per_base":
                bases = bins[:, :, None].expand(-1, -1, BIN, -1).flatten(1, 2)
                return bases[:, : ids.shape[1]]  # type: ignore[no-any-return]
            return pooled(bins, None if mask is None else mask[:, ::BIN], pooling)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.head(self.features(ids, mask))  # type: ignore[no-any-return]

    return Network()


def backbone(options: Mapping[str, Any]) -> Any:
    """The trunk, under the authors' tensor names; see `build`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import input_layer

    o, (batch_norm, run) = {**OPTIONS, **options}, masked_layers()
    steps = rates(o["blocks"])

    def unit(before: int, after: int, kernel: int, step: int = 1, drop: float = 0.0) -> Any:
        conv = nn.Conv1d(before, after, kernel, padding="same", dilation=step, bias=False)
        layers = [nn.GELU(), conv, batch_norm(after, 1e-3), nn.Dropout(drop)]
        return nn.ModuleDict({"block": nn.Sequential(*layers)})

    def residual(step: int) -> Any:
        last = TOWER[-1]
        pair = [unit(last, NARROW, 3, step), unit(NARROW, last, 1, drop=0.3)]
        return nn.ModuleDict({"module": nn.ModuleList(pair)})

    def halved(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The maximum of each pair of positions, padding excluded."""
        if mask is None:
            return F.max_pool1d(x, 2, ceil_mode=True), None
        x, mask = x.masked_fill(mask == 0, -torch.inf), mask[..., ::2]
        return F.max_pool1d(x, 2, ceil_mode=True).masked_fill(mask == 0, 0.0), mask

    class Basenji(nn.ModuleList):
        def __init__(self) -> None:
            reads = input_layer(o, STEM)
            tower = [unit(p, q, 5) for p, q in zip((STEM, *TOWER[:-1]), TOWER, strict=True)]
            dilated = [residual(step) for step in steps]
            super().__init__([
                unit(reads.channels, STEM, 15),
                nn.ModuleDict({"tower": nn.ModuleList(tower)}),
                nn.ModuleDict({"block": nn.ModuleList(dilated)}),
                unit(TOWER[-1], WIDTH, 1, drop=0.05),
            ])  # fmt: skip
            self.reads = reads

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            parts: Any = self
            stem, tower, dilated, last = (parts[i] for i in range(4))
            mask = None if mask is None else mask[:, None]
            x = self.reads(ids).transpose(1, 2)
            for part in (stem, *tower["tower"]):
                x, mask = halved(run(part["block"], x, mask), mask)
            for part in dilated["block"]:
                first, second = part["module"]
                x = x + run(second["block"], run(first["block"], x, mask), mask)
            return F.gelu(run(last["block"], x, mask)).transpose(1, 2)

    return Basenji()


BENCHMARKS = Published(
    lr=6e-4, weight_decay=0.1, batch=256, norm_batch=64, epochs=10, padding="left-n",
    horizon="train+test", tasks=LENGTHS,
    why=LOADER | {"norm_batch": "the batch of one GPU, whose statistics are its own"},
    source=FILE.format("genomic-benchmark", "basenji"),
    differs="theirs is fp16 (--precision fp16 on CUDA), ours fp32",
)  # fmt: skip

MODELS.add(
    Model(
        name="basenji",
        family="basenji",
        build=build,
        options=OPTIONS,
        choices=LETTER_CHOICES,
        reduced={"blocks": 2},
        n_params=count(OPTIONS),
        min_length=1,
        context=1_000_000,
        source="doi:10.1371/journal.pcbi.1008050, as compared in arXiv 2502.18538",
        license="Apache-2.0 (our implementation; calico/basenji is Apache-2.0)",
        recipes={
            "default": Recipe(lr=6e-4, source="house, with the rate of ConvNova's basenji.yaml"),
            "nt": Recipe(
                lr=6e-4, weight_decay=0.1, batch=256, epochs=20, padding="left-n",
                source="house: ConvNova publishes no NT configuration of Basenji; batch and epochs "
                "of its LegNet there, rate and weight decay of its basenji.yaml",
            ),
            "genomic_benchmarks": BENCHMARKS,
            "genomic_benchmarks-house": BENCHMARKS.house("genomic_benchmarks"),
        },
    )
)  # fmt: skip
