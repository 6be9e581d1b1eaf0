"""DNABERT-2: BERT with linear attention biases (ALiBi) and gated feed-forward layers, native.

B batch, T length in tokens, D width, H attention heads, K task outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models import _suite_recipes
from dnabench.models.dnabert import LANGUAGE, check, rename
from dnabench.models.heads import POOLINGS
from dnabench.registry import MODELS
from dnabench.spaces import FINE_TUNING
from dnabench.types import Model, Published, Recipe, Task, Weights

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-12  # of the layer norms
READABLE = ("bpe", "char-cls-sep")  # tokenizers that begin a sequence with [CLS]
OPTIONS: dict[str, Any] = {
    "tokenizer": "bpe",
    "vocabulary": 4096,
    "width": 768,
    "layers": 12,
    "heads": 12,
    "inner": 3072,
    "dropout": 0.1,
    "pooling": "cls",
}


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters, which leaves out the pooler.

    Source:
        docs/models.md#dnabert-2; equal to the count of the authors' code (golden record).
    """
    d, inner, n = options["width"], options["inner"], options["layers"]
    attention = (3 * d * d + 3 * d) + (d * d + d) + 2 * d
    gated = 2 * d * inner + (inner * d + d) + 2 * d
    return int((options["vocabulary"] + 2) * d + 2 * d + n * (attention + gated))


def slopes(heads: int) -> list[float]:
    """The slope of each head: how fast its attention falls with distance.

    Args:
        heads: H, at least 1.

    Returns:
        If H is a power of two, 2^(-8/H), 2^(-16/H), ..., 2^-8. Otherwise those of the next lower
        power P, then every other one of 2 P, H - P of them: for 12 heads 2^-1 to 2^-8, then
        2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5.

    Source:
        Press et al. 2022, arXiv 2108.12409; docs/models.md#dnabert-2.
    """
    power = 2 ** int(math.log2(heads))
    first = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    return first + [2 ** (-4 * i / power) for i in range(1, 2 * (heads - power), 2)]


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """DNABERT-2 with its classification head.

    Args:
        task: gives K.
        options: tokenizer (bpe:PATH for your own; not read here) and vocabulary, its number
            of ids; width D, layers, heads H, inner (width of the gated feed-forward parts), dropout
            (attention weights have none); pooling "cls" (then a linear layer and tanh, the pooler,
            in the head), "mean", "max" or "last".

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`, per
        base (B, T, K). `backbone(ids, mask)` gives float32 (B, T, D), zero on padding. Weights are
        drawn from the global generator of torch, N(0, 0.02).

    Raises:
        ValueError: when heads do not divide the width, a number is below 1, or dropout is not in
            [0, 1).

    Accuracy:
        With equal weights within 1e-5 of the authors' code, as is the pooler (two golden records).
        A score does not depend on padding, apart from float32 rounding.

    Source:
        Zhou et al. 2024, ICLR, arXiv 2306.15006; tensor names of zhihan1996/DNABERT-2-117M. Ours:
        PyTorch's attention (theirs calls a kernel that current triton cannot compile); the
        embedding of [UNK] is trained (theirs is not, as its configuration takes it for padding).
    """
    from dnabench.models._bert import classifier

    o = {**OPTIONS, **options}
    return classifier(task, backbone(o), o)


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._bert import Embeddings, Encoder, Output, attend, padding_bias
    from dnabench.models._layers import initialise

    o = {**OPTIONS, **options, "norm_eps": EPS}
    check(o, "DNABERT-2")
    d, inner = o["width"], o["inner"]

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.self = nn.ModuleDict({"Wqkv": nn.Linear(d, 3 * d)})
            self.output = Output(d, d, o["dropout"], EPS)

        def forward(self, h: Tensor, bias: Tensor) -> Tensor:
            q, k, v = self.self["Wqkv"](h).chunk(3, -1)
            return self.output(attend(q, k, v, o["heads"], bias), h)  # type: ignore[no-any-return]

    class GatedMlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gated_layers = nn.Linear(d, 2 * inner, bias=False)
            self.wo, self.dropout = nn.Linear(inner, d), nn.Dropout(o["dropout"])
            self.layernorm = nn.LayerNorm(d, eps=EPS)

        def forward(self, h: Tensor) -> Tensor:
            gate, value = self.gated_layers(h).chunk(2, -1)
            return self.layernorm(h + self.wo(self.dropout(F.gelu(gate) * value)))  # type: ignore[no-any-return]

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.mlp = Attention(), GatedMlp()

        def forward(self, h: Tensor, bias: Tensor) -> Tensor:
            return self.mlp(self.attention(h, bias))  # type: ignore[no-any-return]

    class DnaBert2(nn.Module):
        slopes: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.embeddings = Embeddings(o)
            self.encoder = Encoder(Layer() for _ in range(o["layers"]))
            self.register_buffer("slopes", torch.tensor(slopes(o["heads"])), persistent=False)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            h = self.encoder(self.embeddings(ids), self.bias(ids.shape[1], mask))
            return h if mask is None else h * mask[..., None]  # type: ignore[no-any-return]

        def bias(self, length: int, mask: Tensor | None) -> Tensor:
            """Float (1 or B, H, T, T): -slope x distance, and -10000 on padding."""
            at = torch.arange(length, device=self.slopes.device)
            distance = (at[:, None] - at).abs()
            alibi = -self.slopes[None, :, None, None] * distance
            padding = padding_bias(mask)
            return alibi if padding is None else alibi + padding

    net = DnaBert2()
    initialise(net)
    return net


SCRIPT = "MAGICS-LAB/DNABERT_2@d87d29f finetune/scripts/run_dnabert2.sh"
TRAINER = "transformers' Trainer, which train.py uses"
GUE = {  # task -> what its block of the script sets; max_length counts [CLS] and [SEP]
    "emp_*": {"max_length": 128},
    "prom_core_*": {"max_length": 20, "epochs": 4},
    "prom_300_*": {"max_length": 70, "epochs": 4},
    "prom_*_tata": {"epochs": 10},
    "splice_reconstructed": {"max_length": 80, "epochs": 5},
    "virus_covid": {"max_length": 256, "epochs": 8, "batch": 128},
    "mouse_*": {"max_length": 30, "max_steps": 1000, "warmup": 30},
    "tf_*": {"max_length": 30, "warmup": 30},
}
RECIPES = {
    "default": Recipe(
        lr=3e-5, weight_decay=0.01, batch=32, epochs=5, schedule="linear", warmup=0.02,
        source=f"house: rate, decay, batch and schedule of {SCRIPT}, warm-up as a share and epochs "
        "between its 3 and 10; meant for the pretrained weights, a fresh network learns little at "
        "this rate",
    ),
    "gue": Published(
        lr=3e-5, weight_decay=0.01, no_decay="biases-norms", batch=32, epochs=3, schedule="linear",
        warmup=50, warmup_from=0.0, source=SCRIPT, tasks=GUE,
        why={
            "no_decay": TRAINER, "warmup_from": TRAINER, "schedule": TRAINER, "clip": TRAINER,
            "weight_decay": "train.py",
            "batch": "8 a device (covid 32) on the four devices of the README",
            "precision": "house: any device; theirs is fp16",
        },
        differs="theirs is fp16 (--precision fp16 on CUDA), ours fp32; it compares checkpoints "
        "every 200 or 400 steps, ours after each epoch; its embedding of [UNK] is not trained",
    ),
    "nt": Recipe(
        lr=3e-5, weight_decay=0.1, batch=32, epochs=20,
        source="ConvNova, arXiv 2502.18538 appendix A.2.1: AdamW as in its table 7, cosine, 20 "
        "epochs, the official learning rate, fp32",
        differs=f"it states no batch: the 32 of {SCRIPT}; warm-up and floor are the house's",
    ),
    **_suite_recipes.DNABERT2,
    **_suite_recipes.BEND_PROBE,
}  # fmt: skip

MODELS.add(
    Model(
        name="dnabert2",
        family="dnabert2",
        build=build,
        options=OPTIONS,
        space=FINE_TUNING,
        choices={"pooling": POOLINGS, "tokenizer": READABLE},
        reduced={"width": 192, "layers": 2, "inner": 384},
        n_params=count(OPTIONS),
        min_length=2,  # no tokens can be learned from single bases
        context=10_000,  # the longest that the authors fine-tuned with; the network has no limit
        tokenizer="bpe",
        source="arXiv 2306.15006, DNABERT-2-117M",
        license="Apache-2.0 (our implementation; the authors' code is Apache-2.0)",
        recipes=RECIPES,
        weights=Weights(
            repo="zhihan1996/DNABERT-2-117M",
            files=("model.safetensors", "pytorch_model.bin"),
            rename=rename,
            license="Apache-2.0",
            revision="7bce263b15377fc15361f52cfab88f8b586abda0",  # of tcztzy/evo.cpp@c281681
            tokenizer="tokenizer.json",
        ),
        lora_targets=("Wqkv", "dense", "gated_layers", "wo"),
        language=LANGUAGE,
    )
)
