"""GPN, the Genomic Pretrained Network: residual dilated convolutions at full length, native.

B batch, T tokens (bp), D width, K task outputs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from dnabench.models.heads import LETTER_CHOICES, READS_LETTERS, n_words, network
from dnabench.registry import MODELS
from dnabench.types import Language, Model, Recipe, Task, Weights
from dnabench.weights import prefixed

if TYPE_CHECKING:
    from torch import Tensor

    Encoder = Literal["convnet", "bytenet", "legacy"]

VOCABULARY = 7  # [PAD] [MASK] [UNK] a c g t
IDS = [3, 4, 5, 6, 2, 0, 2, 2, 1]  # of A, C, G, T, N, padding, CLS, SEP and MASK in it
INITIAL_SPREAD = 0.02
OPTIONS: dict[str, Any] = {
    "width": 512, "layers": 25, "first_kernel": 9, "kernel_size": 5,
    "dilation_base": 2, "dilation_cycle": 8, "dilation_max": 128, **READS_LETTERS,
}  # fmt: skip
INNER = 2048  # width between the two linear layers of a convnet block; option "inner"


def windows(options: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Kernel size in taps and dilation in bp of each layer's convolution, in order.

    The first layer has first_kernel, the others kernel_size; dilations are base^0, base^1, ..., at
    most dilation_max, and start over after every cycle.

    Raises:
        ValueError: for an even kernel, or layers, base, cycle or largest dilation below 1.

    Source:
        songlab-cal/gpn@7091a97: gpn/ss/modules.py.
    """
    o = {**OPTIONS, **options}
    for name in ("layers", "dilation_base", "dilation_cycle", "dilation_max"):
        if o[name] < 1:
            raise ValueError(f"{name} is {o[name]}; GPN needs at least 1")
    for name in ("first_kernel", "kernel_size"):
        if o[name] % 2 == 0:
            raise ValueError(f"{name} is {o[name]}; it must be odd, to keep the length")
    sizes = [o["first_kernel"], *[o["kernel_size"]] * (o["layers"] - 1)]
    steps = (o["dilation_base"] ** (i % o["dilation_cycle"]) for i in range(o["layers"]))
    return [(k, min(o["dilation_max"], step)) for k, step in zip(sizes, steps, strict=True)]


def receptive_field(options: Mapping[str, Any]) -> int:
    """How many bp one output position depends on: 1 + the sum of (k - 1) x dilation."""
    return 1 + sum((k - 1) * step for k, step in windows(options))


def count(options: Mapping[str, Any], encoder: Encoder = "convnet") -> int:
    """Exact number of backbone parameters: without the language-model head.

    Source:
        docs/models.md#gpn; with that head equal to the counts of the authors' code.
    """
    o = {**OPTIONS, "inner": INNER, **options}
    d, n, taps = o["width"], o["layers"], sum(k for k, _ in windows(o))
    if encoder == "legacy":
        return int(taps * d * d + n * (d * d + 6 * d))
    if encoder == "bytenet":
        h = d // 2
        return int(VOCABULARY * d + taps * h * h + n * (2 * d * h + d + 2 * h) + d)
    return int(taps * d * d + n * (d * d + 2 * d + 2 * d * o["inner"]) + d)


def build(task: Task, options: Mapping[str, Any], encoder: Encoder) -> Any:
    """GPN with the authors' classification head on its pooled output.

    Args:
        task: gives K.
        options: width D (7 or more), inner (convnet only), layers, first_kernel and kernel_size
            (odd), dilation_base, dilation_cycle, dilation_max, pooling.
        encoder: "convnet" (the current architecture), "bytenet" (GPN-Promoter) or "legacy" (the
            first GPN).

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`.
        `backbone(ids, mask)` gives float32 (B, T, D). The head is LayerNorm, linear, GELU, linear;
        for a per-base task one linear layer, as in the authors' code. Weights are drawn from the
        global generator of torch: N(0, 0.02), in convolutions PyTorch's default.

    Raises:
        ValueError: for an even kernel, a width below 7 or odd for "bytenet", or counts below 1.

    Accuracy:
        With equal weights within 1e-4 of the authors' code (two golden records, with the
        language-model head). A sequence has the logits it has alone, to float32 rounding.

    Source:
        Benegas et al. 2023, PNAS 120:e2311219120; tensor names and initialisation of
        songlab-cal/gpn@7091a97: gpn/ss/model.py, gpn/ss/modules.py. Ours: the mask (theirs
        reads [PAD] like a base); the LayerNorm of the current head, for "legacy" too.
    """
    from torch import nn

    d, head = int(options["width"]), None
    if task.kind != "per_base":
        head = nn.Sequential(
            nn.LayerNorm(d, bias=False), nn.Linear(d, d, bias=False), nn.GELU(),
            nn.Linear(d, task.n_outputs, bias=False),
        )  # fmt: skip
    net = network(task, backbone(options, encoder), d, options["pooling"], head)
    _draw(net.head)
    return net


def backbone(options: Mapping[str, Any], encoder: Encoder = "convnet") -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    import torch
    from torch import nn

    o = {**OPTIONS, "inner": INNER, **options}
    d, sizes, letters = o["width"], windows(o), str(o["tokenizer"]).startswith("char")
    if d < VOCABULARY or (encoder == "bytenet" and d % 2):
        raise ValueError(f"width is {d}; GPN needs at least 7, gpn-promoter an even width")
    layer = _layers()[encoder]

    class Gpn(nn.Module):
        vocabulary: Tensor
        ln_f: Any

        def __init__(self) -> None:
            super().__init__()
            blocks = nn.ModuleList(layer(d, o["inner"], k, step) for k, step in sizes)
            if encoder == "legacy":
                self.encoder: Any = blocks
            else:
                self.encoder = nn.ModuleDict({"layer": blocks})
                self.ln_f = nn.LayerNorm(d, bias=False)
            if encoder == "bytenet" or not letters:
                rows = VOCABULARY if letters else n_words(o)
                words = nn.Embedding(rows, d, padding_idx=0 if letters else None)
                self.embeddings = nn.ModuleDict({"word_embeddings": words})
            self.register_buffer("vocabulary", torch.tensor(IDS), persistent=False)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            mask = None if mask is None else mask[..., None]
            x = self.embed(self.vocabulary[ids.long()] if letters else ids.long())
            for block in self.encoder if encoder == "legacy" else self.encoder["layer"]:
                x = block(x, mask)
            return x if encoder == "legacy" else self.ln_f(x)

        def embed(self, ids: Tensor) -> Tensor:
            """One-hot letters in D channels, or learned embeddings."""
            if encoder == "bytenet" or not letters:
                return self.embeddings["word_embeddings"](ids)  # type: ignore[no-any-return]
            one_hot = torch.zeros(*ids.shape, d, device=ids.device)
            return one_hot.scatter_(-1, ids[..., None], 1.0)  # F.one_hot makes int64 first

    return _draw(Gpn())


def language_head(backbone: Any, options: Mapping[str, Any], encoder: Encoder) -> Any:
    """The head that the authors pretrain with, under their tensor names."""
    from torch import nn

    letters = str(options["tokenizer"]).startswith("char")
    d, bias = int(options["width"]), encoder == "legacy"
    last = nn.Linear(d, VOCABULARY if letters else n_words(options), bias=bias)
    layers = [nn.Linear(d, d, bias=bias), nn.GELU(), nn.LayerNorm(d, bias=bias)]
    if encoder == "legacy":
        return _draw(nn.Sequential(OrderedDict({"decoder": nn.Sequential(*layers, last)})))
    if encoder == "bytenet":
        return _draw(nn.Sequential(OrderedDict({"decoder": last})))
    parts = {"transform": nn.Sequential(*layers), "decoder": last}
    return _draw(nn.Sequential(OrderedDict(parts)))


def _draw(net: Any) -> Any:
    """Initialise linear layers and embeddings as the authors do."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=INITIAL_SPREAD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
    return net


def _layers() -> dict[Encoder, Any]:
    """The residual layer of each encoder; made from (width, inner width, kernel, dilation).

    The keys of their dictionaries are positions in the authors' sequences, which also contain
    activations and transpositions.
    """
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import channels_last_conv1d

    norm: Any = partial(nn.LayerNorm, bias=False)
    linear: Any = partial(nn.Linear, bias=False)
    conv: Any = partial(nn.Conv1d, bias=False)

    class Layer(nn.Module):
        step: int

        def mixed(self, conv: Any, x: Tensor, mask: Tensor | None) -> Tensor:
            """Convolve; padding reads as zeros, like what lies beyond the tensor."""
            return channels_last_conv1d(conv, x if mask is None else x * mask, self.step)

    class ConvNet(Layer):
        def __init__(self, d: int, inner: int, kernel: int, step: int) -> None:
            super().__init__()
            self.step = step
            self.conv = nn.ModuleDict({"0": norm(d), "2": conv(d, d, kernel), "5": linear(d, d)})
            self.ffn = nn.ModuleDict({"0": norm(d), "1": linear(d, inner), "3": linear(inner, d)})

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            mix, ffn = self.conv, self.ffn
            x = x + mix["5"](F.gelu(self.mixed(mix["2"], mix["0"](x), mask)))
            return x + ffn["3"](F.gelu(ffn["1"](ffn["0"](x))))  # type: ignore[no-any-return]

    class ByteNet(Layer):
        def __init__(self, d: int, inner: int, kernel: int, step: int) -> None:
            super().__init__()
            self.step = step
            self.layer = nn.ModuleDict({
                "0": norm(d), "2": linear(d, d // 2), "3": norm(d // 2),
                "6": conv(d // 2, d // 2, kernel), "8": norm(d // 2), "10": linear(d // 2, d),
            })  # fmt: skip

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            part = self.layer
            h = part["2"](F.gelu(part["0"](x)))
            h = self.mixed(part["6"], F.gelu(part["3"](h)), mask)
            return x + part["10"](F.gelu(part["8"](h)))  # type: ignore[no-any-return]

    class Legacy(Layer):
        def __init__(self, d: int, inner: int, kernel: int, step: int) -> None:
            super().__init__()
            self.step = step
            self.conv = nn.ModuleDict({"1": nn.Conv1d(d, d, kernel), "4": nn.LayerNorm(d)})
            self.ffn = nn.ModuleDict({"0": nn.Linear(d, d), "2": nn.LayerNorm(d)})

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            x = x + self.conv["4"](F.gelu(self.mixed(self.conv["1"], x, mask)))
            return x + self.ffn["2"](F.gelu(self.ffn["0"](x)))  # type: ignore[no-any-return]

    return {"convnet": ConvNet, "bytenet": ByteNet, "legacy": Legacy}


def lora_targets(encoder: Encoder, layers: int) -> tuple[str, ...]:
    """Name endings of the linear layers, long enough not to match a layer's own number."""
    if encoder == "bytenet":
        return tuple(f"{i}.layer.{part}" for i in range(layers) for part in (2, 10))
    return ("ffn.0",) if encoder == "legacy" else ("conv.5", "ffn.1", "ffn.3")


def add(
    name: str, source: str, encoder: Encoder = "convnet", repo: str = "", terms: str = "MIT",
    **options: Any,
) -> None:  # fmt: skip
    """Register one preset; `repo` holds its official weights, "" = there are none."""
    convnet = encoder == "convnet"
    full = {**OPTIONS, **({"inner": INNER} if convnet else {}), **options}
    MODELS.add(
        Model(
            name=name,
            family="gpn",
            build=partial(build, encoder=encoder),
            options=full,
            choices=LETTER_CHOICES,
            reduced={"layers": 3, "width": 64, **({"inner": 128} if convnet else {})},
            n_params=count(full, encoder),
            min_length=1,
            context=1_000_000,
            source=source,
            license="Apache-2.0 (our implementation; the authors' code is MIT)",
            recipes=RECIPES,
            weights=Weights(
                repo=repo, revision=REVISIONS.get(repo, ""), license=terms,
                files=("model.safetensors", "pytorch_model.bin"),
                rename=prefixed({"model.": ""}, unused=("cls.",)),  # cls: the language-model head
            ),
            lora_targets=lora_targets(encoder, full["layers"]),
            language=Language(
                head=partial(language_head, encoder=encoder), prefix="cls.",
                letters=tuple(IDS[:5]), strands="random",
            ),
        )
    )  # fmt: skip


RECIPES = {
    "default": Recipe(
        lr=1e-4, weight_decay=0.01, batch=32, epochs=10,
        source="house: the weight decay and a tenth of the rate that the authors pretrain with "
        "(songlab-cal/gpn README); they publish no fine-tuning settings for these tasks",
    )
}  # fmt: skip
REVISIONS = {  # audited by the authors, songlab-cal/gpn hub/audits/2026-08-19.json
    "songlab/gpn-animal-promoter": "7cf3276a03b5e243efd421b8939ed3d1e7dcf9cc",
    "songlab/gpn-brassicales": "eb9c35d0d18571abe84390d22e74f2b21d319ce3",
}
PNAS, THESIS = "doi:10.1073/pnas.2311219120", "Büdenbender 2025, thesis, University of Cologne"
WIDE: dict[str, Any] = {"kernel_size": 9, "dilation_base": 3}
SMOL: dict[str, Any] = {"width": 256, "inner": 1024, "dilation_cycle": 7, "dilation_max": 64}
LEGACY: dict[str, Any] = {"kernel_size": 9, "dilation_cycle": 6, "dilation_max": 32}

add(
    "gpn", f"{PNAS}, defaults of songlab-cal/gpn@7091a97, as GPN-C1 of {THESIS}",
    repo="sbuedenb/beetle-gpn", terms="see the model card",
)  # fmt: skip
add("gpn-c2", f"{THESIS}, GPN-C2", layers=20, dilation_cycle=5, dilation_max=81, **WIDE)
add("gpn-cl", f"{THESIS}, GPN-CL", layers=18, dilation_cycle=6, dilation_max=243, **WIDE)
add("gpn-smol", f"{THESIS}, 'smol' of its training notes, without dropout", layers=21, **SMOL)
add(
    "gpn-promoter", "doi:10.1101/2025.02.11.637758, GPN-Promoter", "bytenet",
    "songlab/gpn-animal-promoter", layers=64, width=1024,
)  # fmt: skip
add("gpn-legacy", f"{PNAS}, GPN-Brassicales", "legacy", "songlab/gpn-brassicales", **LEGACY)
