"""HyenaDNA: causal long convolutions whose filters a small network generates, native.

B batch, L sequence length (bp), D width, K task outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models import _suite_recipes
from dnabench.models.convnova import LENGTHS, NT_LENGTHS, TF32
from dnabench.models.heads import (
    LETTER_CHOICES,
    READS_LETTERS,
    n_words,
    network,
    spare_weight_decay,
)
from dnabench.models.kernels.filters import (
    BANDS,
    causal_convolution,
    places,
    positions,
    window_over,
)
from dnabench.models.language import linear
from dnabench.registry import MODELS
from dnabench.types import Language, Model, Published, Recipe, Task, Weights

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY = 16  # 12 ids, rounded up to a multiple of 8
IDS = [7, 8, 9, 10, 11, 4, 0, 1]  # of A, C, G, T, N, padding, [CLS] and [SEP] in it
CHANNELS = 8, 64  # convolved at once, in a long sequence: on a CPU, and elsewhere
HIDDEN = 64  # width of the network that generates the filters
OPTIONS: dict[str, Any] = {
    "width": 256, "layers": 2, "l_max": 1026, "shift": 0.05, "resid_dropout": 0.0,
    "embed_dropout": 0.1, **READS_LETTERS,
}  # fmt: skip


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters.

    Source:
        docs/models.md#hyenadna; equal to the counts of the authors' code (golden records).
    """
    d, n = {**OPTIONS, **options}["width"], {**OPTIONS, **options}["layers"]
    return int(VOCABULARY * d + n * (12 * d * d + 90 * d + 8768) + 2 * d)


def without_decay(name: str) -> bool:
    """Whether a parameter goes without weight decay: the networks that generate the filters.

    Source:
        docs/models.md#fine-tuning-hyenadna; the authors call it very important in
        HazyResearch/hyena-dna issue 19.
    """
    return ".implicit_filter." in name


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """HyenaDNA with a mean-pooled linear head.

    Args:
        task: gives K and the longest L.
        options: width D; layers; l_max, the unit of the filters' time, so it must be that of the
            checkpoint; it limits L to l_max - 2 (two special tokens in the original);
            shift, the floor of the filters' window: 0.05 in the authors' released model, 0.0 in
            their training code and its copies in Caduceus and ConvNova; resid_dropout;
            embed_dropout; pooling; tokenizer, with any other than "char" the table has `vocabulary`
            rows.

    Returns:
        A torch module: `forward(ids (B, L), mask (B, L) or None) -> logits float32 (B, K)`.
        `backbone(ids, mask)` gives float32 (B, L, D); a position depends on those to its left.
        `param_groups(recipe)` gives the optimiser's groups. Weights are drawn from the global
        generator of torch.

    Raises:
        ValueError: when the task is longer than l_max - 2, or for an impossible option.

    Accuracy:
        With equal weights the backbone is within 2e-4 of the authors' code (two golden records).
        Padding is on the right, which causal layers never see: a score does not depend on it.
        In bf16 the filters and the Fourier transforms stay float32. In evaluation beyond 8,192 bp
        layers work on parts of the positions and channels, exact apart from rounding.

    Source:
        Nguyen et al. 2023, arXiv 2306.15794; tensor names of HazyResearch/hyena-dna@d553021:
        standalone_hyenadna.py. Ours: padding on the right, left out of the mean (theirs is on the
        left, read by the layers, and part of the mean: padding=left-pad); no special tokens.
    """
    o = {**OPTIONS, **options}
    _check_length(task.length, o["l_max"], f"the longest of {task.name}")
    net = network(task, backbone(o), int(o["width"]), o["pooling"])
    return spare_weight_decay(net, without_decay)


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import exact, lean
    from dnabench.models.kernels import parts
    from dnabench.models.kernels.parts import by_position

    o = {**OPTIONS, **options}
    d, letters = o["width"], str(o["tokenizer"]).startswith("char")
    for name, least in (("width", 1), ("layers", 1), ("l_max", 3)):
        if o[name] < least:
            raise ValueError(f"{name} is {o[name]}; HyenaDNA needs at least {least}")

    class Sine(nn.Module):
        def __init__(self, freq: nn.Parameter) -> None:
            super().__init__()
            self.freq = freq

        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(self.freq * x)

    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.randn(d))
            sine = Sine(nn.Parameter(torch.full((1, HIDDEN), 10.0)))
            self.implicit_filter = nn.Sequential(
                nn.Linear(1 + 2 * BANDS, HIDDEN), sine, nn.Linear(HIDDEN, HIDDEN), sine,
                nn.Linear(HIDDEN, HIDDEN), sine, nn.Linear(HIDDEN, d, bias=False),
            )  # fmt: skip

        def forward(self, x: Tensor, features: Tensor, window: Tensor) -> Tensor:
            with exact(x):
                kernel = (self.implicit_filter(features) * window).T
                x = x.to(kernel.dtype)
                return causal_convolution(x, kernel) + self.bias[:, None] * x

        def drawn(self, features: Tensor) -> Tensor:
            """The functions whose weighted sums are the channels' filters, (L, HIDDEN)."""
            with exact(features):
                return by_position(self.implicit_filter[:-1], features[None])[0]

        def some(self, x: Tensor, drawn: Tensor, t: Tensor, part: slice) -> Tensor:
            """`forward` for some channels: x (B, channels, L)."""
            with exact(x):
                weight: Any = self.implicit_filter[-1].weight
                kernel = (F.linear(drawn, weight[part]) * window_over(t, o, part)).T
                x = x.to(kernel.dtype)
                return causal_convolution(x, kernel) + self.bias[part, None] * x

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_proj, self.out_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.short_filter = nn.Conv1d(3 * d, 3 * d, 3, groups=3 * d)
            self.filter_fn = Filter()

        def forward(self, x: Tensor, features: Tensor, window: Tensor) -> Tensor:
            gate, first, v = self.short(self.in_proj(x)).chunk(3, 1)
            y = self.filter_fn(v * first, features, window) * gate
            return self.out_proj(y.transpose(1, 2))  # type: ignore[no-any-return]

        def short(self, u: Tensor, rows: Any = slice(None)) -> Tensor:
            """Apply the short filters of these channels: (B, L, channels) to (B, channels, L)."""
            # Two-dimensional with height 1, so that the channels-last layout can stay
            image = F.pad(u.transpose(1, 2).unsqueeze(2), (2, 0))
            weight, bias = self.short_filter.weight.unsqueeze(2)[rows], self.short_filter.bias
            assert bias is not None  # Conv1d's default
            return F.conv2d(image, weight, bias[rows], groups=len(weight)).squeeze(2)

        def gated(self, u: Tensor, features: Tensor) -> Tensor:
            """The input of out_proj, (B, L, D), some channels at a time; overwrites the gates in u.

            Args:
                u: (B, L, 3 D), from in_proj.
                features: of `places`.
            """
            drawn, some = self.filter_fn.drawn(features), CHANNELS[u.device.type != "cpu"]
            of = torch.arange(3 * d, device=u.device).view(3, d)
            for at in range(0, d, some):
                part = slice(at, min(at + some, d))
                rows = of[:, part].flatten()
                gate, first, v = self.short(u[..., rows], rows).chunk(3, 1)
                y = self.filter_fn.some(v * first, drawn, features[:, :1], part) * gate
                u[..., part] = y.transpose(1, 2)
            return u[..., :d]

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))  # type: ignore[no-any-return]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer, self.norm1 = Mixer(), nn.LayerNorm(d)
            self.mlp, self.norm2 = Mlp(), nn.LayerNorm(d)

        def forward(self, x: Tensor, features: Tensor, window: Tensor) -> Tensor:
            x = x + self.drop(self.mixer(self.norm1(x), features, window))
            return x + self.drop(self.mlp(self.norm2(x)))

        def to_long(self, x: Tensor, features: Tensor) -> None:
            """`forward` in evaluation, in place, with 4 L D values in memory at once."""
            u = by_position(lambda part: self.mixer.in_proj(self.norm1(part)), x)
            u, n = self.mixer.gated(u, features), parts.POSITIONS
            for part, change in zip(torch.split(x, n, 1), torch.split(u, n, 1), strict=True):
                part += self.mixer.out_proj(change)
                part += self.mlp(self.norm2(part))

        def drop(self, x: Tensor) -> Tensor:
            return F.dropout(x, o["resid_dropout"], self.training)

    class HyenaDna(nn.Module):
        vocabulary: Tensor

        def __init__(self) -> None:
            super().__init__()
            table = nn.Embedding(VOCABULARY if letters else n_words(o), d)
            self.embeddings = nn.ModuleDict({"word_embeddings": table})
            self.layers = nn.ModuleList(Block() for _ in range(o["layers"]))
            self.ln_f = nn.LayerNorm(d)
            self.register_buffer("vocabulary", torch.tensor(IDS), persistent=False)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            _check_length(ids.shape[1], o["l_max"], "a sequence")
            words = self.vocabulary[ids.long()] if letters else ids.long()
            x = self.embeddings["word_embeddings"](words)
            small = x.is_meta or x.shape[1] <= parts.POSITIONS
            if not (small or self.training or torch.is_grad_enabled()):
                return self.long(x)
            features, window = positions(ids.shape[1], x, o)  # the same for every layer
            x = F.dropout(x, o["embed_dropout"], self.training)
            for layer in self.layers:
                x = lean(layer, x, features, window)
            return self.ln_f(x)  # type: ignore[no-any-return]

        def long(self, x: Tensor) -> Tensor:
            features = places(x.shape[1], x, o)
            for layer in self.layers:
                layer.to_long(x, features)  # type: ignore[operator]
            return by_position(self.ln_f, x)

        def check_weights(self, tensors: Mapping[str, Tensor]) -> None:
            """ValueError when a checkpoint's filters are for another l_max."""
            for name, z in tensors.items():
                if name.endswith("pos_emb.z") and z.shape[1] != o["l_max"]:
                    raise ValueError(
                        f"{name} is for l_max={z.shape[1]}, the model has l_max={o['l_max']}: take "
                        "the preset of that checkpoint or --set l_max"
                    )

    net = HyenaDna()
    _initialise(net, o["layers"])
    return net


def _initialise(net: Any, layers: int) -> None:
    """N(0, 0.02) for linear layers and embeddings; smaller where a layer adds to the residual."""
    from torch import nn

    for name, module in net.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            adds = name.endswith((".out_proj", ".fc2"))
            nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * layers) if adds else 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_length(length: int, l_max: int, what: str) -> None:
    if length > l_max - 2:
        raise ValueError(
            f"HyenaDNA with l_max={l_max} reads {l_max - 2} bp at most; {what} has {length} bp: "
            "take shorter sequences or a preset with more context, up to hyenadna-large-1m"
        )


def rename(name: str) -> str:
    """Our name of a tensor of an -hf repository or of the training code; see `types.Weights`.

    Positions and decay follow from l_max; activation checkpointing adds `.layer` to names.
    """
    name = name.removeprefix("hyena.").removeprefix("backbone.")
    name = name.replace("mixer.layer.", "mixer.").replace("mlp.layer.", "mlp.")
    computed = (".pos_emb.z", ".pos_emb.t", ".modulation.deltas")
    heads = ("lm_head.", "score.", "decoder.", "head.")
    return "" if name.endswith(computed) or name.startswith(heads) else name


def add(name: str, checkpoint: str, revision: str, **options: Any) -> None:
    """Register one preset."""
    full = {**OPTIONS, **options}
    weights = Weights(
        repo=f"LongSafari/hyenadna-{checkpoint}-hf", files=("model.safetensors",), rename=rename,
        license="BSD-3-Clause", revision=revision,
    )  # fmt: skip
    MODELS.add(
        Model(
            name=name,
            family="hyenadna",
            build=build,
            options=full,
            n_params=count(full),
            min_length=1,
            context=full["l_max"] - 2,
            source=f"arXiv 2306.15794, the shape of hyenadna-{checkpoint}",
            license="Apache-2.0 (our implementation; the authors' code is Apache-2.0)",
            choices=LETTER_CHOICES,
            reduced={"layers": 2, "width": 64},
            recipes=RECIPES,
            weights=weights,
            lora_targets=("in_proj", "out_proj", "fc1", "fc2"),
            language=Language(  # not tied, as in the -hf repositories
                head=linear(VOCABULARY, bias=False, std=0.02),
                prefix="lm_head.",
                letters=tuple(IDS[:5]),
                causal=True,
            ),
        )
    )


def published(
    source: str, differs: str, dropouts: tuple[float, float], **numbers: Any
) -> Published:
    """A recipe that repeats a configuration; dropouts of the residuals and of the embedding."""
    why = {
        "shift": _suite_recipes.HYENA_SHIFT,
        "padding": "the loader of HazyResearch/hyena-dna: left, [PAD]",
        "precision": "house: any device; see what differs",
        "horizon": "train_len of the configured data set",
    }
    options = {"shift": 0.0, "resid_dropout": dropouts[0], "embed_dropout": dropouts[1]}
    return Published(
        lr=6e-4, weight_decay=0.1, padding="left-pad", source=source, differs=differs, why=why,
        options=options, **numbers,
    )  # fmt: skip


OFFICIAL = "HazyResearch/hyena-dna@d553021 configs/experiment/hg38/{}.yaml"
RERUN = "aim-uofa/ConvNova@c606027 configs/experiment/{}"
HALF = "theirs is fp16 (--precision fp16 on CUDA), ours fp32"
SMALL = "its width is 128: hyenadna-tiny-1k"
NT = published(
    RERUN.format("nt-benchmark/hyena1.6M.yaml"), TF32, (0.1, 0.2), batch=256, epochs=20,
    horizon="train", tasks=NT_LENGTHS,
)  # fmt: skip
BENCHMARKS = published(
    RERUN.format("genomic-benchmark/hyena.yaml"), f"{HALF}; {SMALL}", (0.1, 0.2), batch=64,
    epochs=10, horizon="train+test", tasks=LENGTHS,
)  # fmt: skip
RECIPES = {
    "default": Recipe(
        lr=6e-4, source="house; learning rate and no decay on the filters as the authors'"
    ),
    "nt": NT, "nt-house": NT.house("nt"),
    "nt-official": published(
        OFFICIAL.format("nucleotide_transformer"), f"{HALF}; values for single tasks are not out",
        (0.0, 0.1), batch=128, epochs=100, horizon="train",
    ),
    "genomic_benchmarks": BENCHMARKS,
    "genomic_benchmarks-house": BENCHMARKS.house("genomic_benchmarks"),
    "genomic_benchmarks-official": published(
        OFFICIAL.format("genomic_benchmark"),
        f"{HALF}; {SMALL}; its max_length of 256 is an example and the lengths used are not out, "
        "so sequences are padded to the longest of the task",
        (0.0, 0.1), batch=128, epochs=100, horizon="train+test",
    ),
    **_suite_recipes.HYENADNA, **_suite_recipes.BEND_PROBE,
}  # fmt: skip

# Revisions of the hub's main branch, as pinned in MultiMolecule/upstream@0dcc693 and tcztzy/evo.cpp
add("hyenadna", "tiny-1k-seqlen-d256", "6036d4e144922b44470294f510cbfd2539ba3b7e")
add("hyenadna-tiny-1k", "tiny-1k-seqlen", "e8c1effa8673814e257e627d2e1eda9ea5a373f6", width=128)
add(
    "hyenadna-small-32k", "small-32k-seqlen", "8fe770c78eb13fe33bf81501612faeddf4d6f331",
    layers=4, l_max=32_770,
)  # fmt: skip
add(
    "hyenadna-medium-160k", "medium-160k-seqlen", "7ebf71773d22c0ede2cc55cb2be15ee8c289e1ce",
    layers=8, l_max=160_002,
)  # fmt: skip
add(
    "hyenadna-medium-450k", "medium-450k-seqlen", "42dedd4d374eac0fb8168549e546a3472fbd27ae",
    layers=8, l_max=450_002,
)  # fmt: skip
add(
    "hyenadna-large-1m", "large-1m-seqlen", "0a629abf9c7f85b4ec9aa6a1aefa3adcf1907446",
    layers=8, l_max=1_000_002,
)  # fmt: skip
