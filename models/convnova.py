"""ConvNova: gated two-branch dilated convolutions, native.

B batch, L sequence length (bp), D width, K task outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dnabench.models import _suite_recipes
from dnabench.models.heads import LETTER_CHOICES, READS_LETTERS, network
from dnabench.models.language import linear
from dnabench.registry import MODELS
from dnabench.spaces import DROPOUT, HOUSE
from dnabench.types import Language, Model, Published, Recipe, Task, Weights
from dnabench.weights import prefixed

if TYPE_CHECKING:
    from torch import Tensor

    Join = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

SCHEDULES = ("paper", "stages", "code")
CHOICES = {**LETTER_CHOICES, "dilation_schedule": SCHEDULES}
STAGE = 5  # blocks of a stage, the paper's default
STEM_KERNEL = 9  # whatever kernel_size is
OPTIONS: dict[str, Any] = {
    "width": 128,
    "blocks": 5,
    "stacks": 1,
    "kernel_size": 9,
    "dilation": 4,
    "dilation_schedule": "paper",
    "d_inner": 2,
    "ffn": False,
    "final_conv": False,
    "dropout": 0.0,
    **READS_LETTERS,
}


def dilations(blocks: int, stacks: int, base: int, schedule: str) -> list[int]:
    """Dilation of each of the blocks x stacks convolutions, in order.

    Args:
        blocks: at least 2.
        stacks: how often each dilation is repeated in a row.
        base: growth factor from block to block; 1 = no growth.
        schedule: "paper" gives 1, 1, b, b^2, b^3, ...; "stages" starts that over after every five
            blocks; "code" gives 1, 1, 1, b, b^2, ... with every entry at most 1024.

    Raises:
        ValueError: for an unknown schedule or fewer than two blocks.

    Source:
        ConvNova paper (arXiv 2502.18538) section 3; aim-uofa/ConvNova@c606027:
        convnova/src/models/ConvNova/convnova.py. The released code does not follow the paper:
        its users report a macro-F1 of 0.867 on splice acceptors where the paper has 0.971.
    """
    if schedule not in SCHEDULES:
        raise ValueError(
            f"dilation_schedule is {schedule!r}; it must be one of {', '.join(SCHEDULES)}"
        )
    if blocks < 2:
        raise ValueError(f"blocks is {blocks}; ConvNova has at least 2")
    first = 0 if schedule == "code" else 1
    each = [1, 1, *(base**j for j in range(first, first + blocks - 2))]
    if schedule == "code":
        each = [min(1024, d) for d in each]
    if schedule == "stages":
        each = [each[i % STAGE] for i in range(blocks)]
    return [d for d in each for _ in range(stacks)]


def receptive_field(options: Mapping[str, Any]) -> int:
    """How many bp one output position depends on: 1 + 8 (stem) + (k - 1) x sum of dilations."""
    o = {**OPTIONS, **options}
    spread = sum(dilations(o["blocks"], o["stacks"], o["dilation"], o["dilation_schedule"]))
    return STEM_KERNEL + (int(o["kernel_size"]) - 1) * spread


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters.

    Source:
        Ours, from the layer shapes; equal to the counts of the authors' code (golden records).
    """
    o = {**OPTIONS, **options}
    d, n, k = o["width"], o["blocks"] * o["stacks"], o["kernel_size"]
    e = d * o["d_inner"]
    stems, convolutions, norms = 2 * (5 * STEM_KERNEL * d + d), 2 * n * (k * d * d + d), 4 * n * d
    ffn = n * (d * d + 3 * d) if o["ffn"] else 0
    final = 2 * (d * d + d) if o["final_conv"] else 0
    return int(stems + convolutions + norms + channel_mlp_count(d, e) + ffn + final)


def channel_mlp_count(d: int, e: int) -> int:
    """Exact number of parameters of `channel_mlp`."""
    return (d * e + e) + 2 * (e * e + e) + 2 * e + (e * d + d) + 2 * d


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """ConvNova with a mean-pooled linear head.

    Args:
        task: gives K.
        options: width D, blocks, stacks, kernel_size (odd), dilation, dilation_schedule, d_inner,
            ffn, final_conv, dropout; pooling; tokenizer, with any other than "char" both branches
            read the same embedding of `vocabulary` words, since a word has no complement.

    Returns:
        A torch module: `forward(ids (B, L), mask (B, L) or None) -> logits float32 (B, K)`.
        `backbone(ids, mask)` gives float32 (B, L, D). Weights are drawn from the global generator
        of torch with PyTorch's default initialisation, as in the authors' code.

    Raises:
        ValueError: for an even kernel size, an unknown schedule or fewer than two blocks.

    Accuracy:
        With equal weights the backbone is within 1e-4 of the authors' code (seven golden records).
        With a mask a sequence has the logits it has alone, unpadded, to float32 rounding; so has a
        long one that is read in parts (`in_parts`) in evaluation.

    Source:
        arXiv 2502.18538; tensor names of aim-uofa/ConvNova@c606027. Ours: the mask (theirs pools
        padding as N; recipe padding=left-n does so), the paper's dilation schedule as the default.
    """
    from dnabench.models.kernels.parts import in_parts

    pooling = str(options.get("pooling", "mean"))
    net = network(task, backbone(options), int(options["width"]), pooling)
    return in_parts(net, receptive_field(options) // 2, task.kind == "per_base", pooling)


def gated(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """What a block adds to branches A and B, each (B, L, D): h * g and g, with g = sigmoid(w)."""
    g = w.sigmoid()
    return h * g, g


def channel_mlp(d: int, e: int) -> Any:
    """The network after the blocks, applied to each position: D to D through e channels."""
    from torch import nn

    from dnabench.models._layers import Linear

    return nn.Sequential(
        Linear(d, e), nn.GELU(), Linear(e, e), nn.LayerNorm(e),
        Linear(e, e), nn.GELU(), Linear(e, d), nn.LayerNorm(d),
    )  # fmt: skip


def block_dilations(options: Mapping[str, Any]) -> list[int]:
    """`dilations` of these options; also ValueError for a kernel that would change the length."""
    o = {**OPTIONS, **options}
    if o["kernel_size"] % 2 == 0:
        raise ValueError(f"kernel_size is {o['kernel_size']}; it must be odd, to keep the length")
    return dilations(o["blocks"], o["stacks"], o["dilation"], o["dilation_schedule"])


def backbone(options: Mapping[str, Any], join: Join = gated) -> Any:
    """The network without its head, under the authors' tensor names; see `build`.

    Args:
        options: as for `build`.
        join: what a block adds to A and to B, given h, the GELU of A's convolution, and w, B's
            convolution; all float (B, L, D).
    """
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import OneHot, channels_last_conv1d, input_layer
    from dnabench.models.kernels.parts import by_position

    o = {**OPTIONS, **options}
    d, k, n = o["width"], o["kernel_size"], o["blocks"] * o["stacks"]
    steps = block_dilations(o)

    def convolutions() -> nn.ModuleList:
        """The stacks of a block start as copies of each other, as in the authors' code."""
        first = [nn.Conv1d(d, d, k) for _ in range(o["blocks"])]
        return nn.ModuleList(copy.deepcopy(conv) for conv in first for _ in range(o["stacks"]))

    class ConvNova(nn.Module):
        convs: Any  # module lists, which torch does not type
        gates: Any
        final_conv: Any

        def __init__(self) -> None:
            super().__init__()
            self.input = input_layer(o, d)
            letters = isinstance(self.input, OneHot)
            self.rc_input = OneHot([3, 2, 1, 0, 4]) if letters else self.input
            self.linear = nn.Conv1d(self.input.channels, d, STEM_KERNEL)
            self.rc_linear = nn.Conv1d(self.input.channels, d, STEM_KERNEL)
            self.convs, self.gates = convolutions(), convolutions()
            self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(n))
            self.rc_norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(n))
            self.milinear = channel_mlp(d, d * o["d_inner"])
            if o["ffn"]:
                self.mlpgroup2 = nn.ModuleList(
                    nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d)) for _ in range(n)
                )
            if o["final_conv"]:
                self.final_conv = nn.Sequential(nn.Conv1d(d, d, 1), nn.GELU(), nn.Conv1d(d, d, 1))

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            a, b = self.stems(ids, mask)
            for i in range(n):
                a, b = self.block(i, a, b, mask)
            return self.tail(a)

        def stems(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
            a = F.gelu(self.mixed(self.linear, self.input(ids), 1, mask))
            b = F.gelu(self.mixed(self.rc_linear, self.rc_input(ids), 1, mask))
            return a, b

        def block(self, i: int, a: Tensor, b: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
            h = F.gelu(self.mixed(self.convs[i], self.norms[i](self.drop(a)), steps[i], mask))
            w = self.mixed(self.gates[i], self.rc_norms[i](self.drop(b)), steps[i], mask)
            to_a, to_b = join(h, w)
            a = a + to_a
            if i < n - 1:  # nobody reads the last b
                b = b + to_b
            return (a + self.mlpgroup2[i](a) if o["ffn"] else a), b

        def tail(self, a: Tensor) -> Tensor:
            return by_position(self.each, a)

        def each(self, a: Tensor) -> Tensor:
            """The layers that work on each position alone."""
            a = a + self.milinear(a)
            if o["final_conv"]:
                first, _, last = self.final_conv
                a = channels_last_conv1d(last, F.gelu(channels_last_conv1d(first, a)))
            return a

        def drop(self, x: Tensor) -> Tensor:
            return F.dropout(x, o["dropout"], self.training) if o["dropout"] else x

        def mixed(self, conv: nn.Conv1d, x: Tensor, step: int, mask: Tensor | None) -> Tensor:
            """Convolve; padding reads as zeros, like what lies beyond the tensor."""
            return channels_last_conv1d(conv, x if mask is None else x * mask[..., None], step)

    return ConvNova()


def add(name: str, size: str, **options: Any) -> None:
    """Register one preset."""
    full = {**OPTIONS, **options}
    MODELS.add(
        Model(
            name=name,
            family="convnova",
            build=build,
            options=full,
            space={**HOUSE, "dropout": DROPOUT, "dilation": "one:1,2,4"},
            n_params=count(full),
            min_length=1,
            context=1_000_000,
            source=f"arXiv 2502.18538, the paper's {size}",
            license="Apache-2.0 (our implementation; the authors' code has no licence)",
            choices=CHOICES,
            reduced={"blocks": 3, "width": 64},
            recipes=RECIPES,
            weights=WEIGHTS,
            language=LANGUAGE,
        )
    )


WEIGHTS = Weights(  # none were published; this reads checkpoints of the authors' training code
    repo="", files=(), license="", rename=prefixed({}, unused=("out_linear.", "decoder."))
)
LANGUAGE = Language(head=linear(5), prefix="out_linear.", letters=(0, 1, 2, 3, 4))
# of tasks whose longest sequences have another length, in the loaders of ConvNova
LENGTHS = {"dummy_mouse_*": {"max_length": 2500}} | {
    f"human_{name}": {"max_length": 512}
    for name in ("enhancers_ensembl", "ensembl_regulatory", "ocr_ensembl")
}
NT_LENGTHS = {"splice_sites_all": {"max_length": 600}}
TF32 = "theirs lets fp32 products take TF32 on GPUs that have it (--precision tf32 on CUDA)"
FILE = "aim-uofa/ConvNova@c606027 configs/experiment/{}/{}.yaml"
LOADER = {
    "padding": "aim-uofa/ConvNova@c606027: its loader pads on the left and reads [PAD] as N",
    "horizon": "train_len of the configured data set",
    "max_length": "max_length of the configured data set",
    "precision": "house: any device; see what differs",
}
OPEN = "which the published tables do not follow, see docs/models.md#receptive-field"
OWN: dict[str, Any] = {
    "options": {"dilation_schedule": "code", "final_conv": False},
    "why": LOADER | {"dilation_schedule": f"convnova/src/models/ConvNova/convnova.py, {OPEN}"},
    "lr": 1e-3, "weight_decay": 0.1, "padding": "left-n",
}  # fmt: skip
NT = Published(
    **OWN, batch=256, epochs=20, horizon="train", tasks=NT_LENGTHS,
    source=FILE.format("nt-benchmark", "convnova"), differs=TF32,
)  # fmt: skip
BENCHMARKS = Published(
    **OWN, batch=128, epochs=10, horizon="train+test", tasks=LENGTHS,
    source=FILE.format("genomic-benchmark", "convnova"),
    differs="theirs is fp16 (--precision fp16 on CUDA), ours fp32",
)  # fmt: skip
RECIPES = {
    "default": Recipe(),
    "demo": Recipe(
        batch=16, epochs=6, source="house: a first result within minutes on two CPU cores"
    ),
    "nt": NT,
    "nt-house": NT.house("nt"),
    "genomic_benchmarks": BENCHMARKS,
    "genomic_benchmarks-house": BENCHMARKS.house("genomic_benchmarks"),
    **_suite_recipes.CONVNOVA,
}


def recipes_for(options: Mapping[str, Any]) -> dict[str, Recipe]:
    """ConvNova's recipes for a model that has only some of its options."""
    known = {*Recipe().numbers, *options}

    def some(recipe: Recipe) -> Recipe:
        if not isinstance(recipe, Published):
            return recipe
        own, why = (
            {k: v for k, v in part.items() if k in known} for part in (recipe.options, recipe.why)
        )
        return replace(recipe, options=own, why=why)

    return {name: some(recipe) for name, recipe in RECIPES.items()}


add("convnova", "1.7M")
add("convnova-386k", "386K", width=64, kernel_size=5, d_inner=4, final_conv=True)
add("convnova-7.4m", "7.4M", width=196, blocks=10, dilation_schedule="stages")
add("convnova-6.8m", "6.8M", width=256)
add("convnova-27m", "27.4M", width=512, final_conv=True)
