"""Nucleotide Transformer version 2: rotary attention over 6-mers, native.

B batch, T length in tokens (one <cls>, then 6 bp each), D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabench.models import _suite_recipes
from dnabench.models.heads import POOLINGS, network
from dnabench.registry import MODELS
from dnabench.spaces import FINE_TUNING
from dnabench.types import Language, Model, Recipe, Task, Weights

VOCABULARY = 4107  # 6 special tokens, 4096 6-mers, 5 letters
MAX_TOKENS = 2048
OPTIONS: dict[str, Any] = {
    "width": 1024,
    "layers": 29,
    "heads": 16,
    "inner": 4096,
    "pooling": "cls",
}
REDUCED = {"width": 128, "layers": 2, "heads": 4, "inner": 256}
LORA_TARGETS = ("query", "key", "value", "dense")
LICENSE = "CC BY-NC-SA 4.0 (non-commercial)"


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters.

    Source:
        docs/models.md#nucleotide-transformer-v2. The authors' module has more, on which its
        output does not depend: 2050 D in a position table, layers x heads + 1 in a contact head.
    """
    o = {**OPTIONS, **options}
    d, inner = o["width"], o["inner"]
    layer = 4 * (d * d + d) + 3 * inner * d + 4 * d
    return int(VOCABULARY * d + o["layers"] * layer + 2 * d)


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """Nucleotide Transformer v2 with the authors' two-layer classification head.

    Args:
        task: gives K.
        options: width D, layers, heads, inner (width of the gated layers), pooling ("cls" in the
            authors' head; "mean", "max", "last").

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, per base
        (B, T, K). `backbone(ids, mask)` gives (B, T, D), `head` is linear, tanh, linear. Weights
        are drawn from the global generator of torch: N(0, 0.02), biases 0.

    Raises:
        ValueError: for an option below 1, a width that the heads cannot share evenly, or an unknown
            pooling.

    Accuracy:
        With equal weights the backbone is within 1e-4 of the authors' code (golden record
        ntv2_h64_l3). A score does not depend on padding, apart from float32 rounding. In bf16 the
        rotary angles stay float32.

    Source:
        Dalla-Torre et al. 2025, doi:10.1038/s41592-024-02523-z; docs/models.md; tensor names
        of instadeepai/nucleotide-transformer. Ours: written from the equations, since their code is
        for non-commercial use; no position table and no contact head, which theirs does not use.
    """
    return classifier(task, backbone(options), {**OPTIONS, **options})


def classifier(task: Task, net: Any, options: Mapping[str, Any]) -> Any:
    """A backbone of this family with its head; see `build`."""
    from dnabench.models._esm import ClassificationHead

    head = ClassificationHead(options["width"], task.n_outputs)
    return network(task, net, options["width"], options["pooling"], head)


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    from dnabench.models._esm import Esm, rotary_frequencies

    o = {**OPTIONS, **options}
    return Esm(o, VOCABULARY, rotary_frequencies(head_width(o)))


def head_width(options: Mapping[str, Any]) -> int:
    """Width of an attention head; ValueError for impossible options."""
    for name in ("width", "layers", "heads", "inner"):
        if options[name] < 1:
            raise ValueError(f"{name} is {options[name]}; it must be at least 1")
    width, heads = options["width"], options["heads"]
    if width % (2 * heads):
        raise ValueError(
            f"width is {width} and heads is {heads}; the width must be a multiple of "
            f"{2 * heads}, so that every head gets an even width"
        )
    return int(width // heads)


def language_head(backbone: Any, options: Mapping[str, Any], vocabulary: int = VOCABULARY) -> Any:
    """The head of masked tokens, with an output table of its own."""
    from dnabench.models._esm import LanguageHead

    return LanguageHead(int(options["width"]), vocabulary)


LANGUAGE = Language(
    head=language_head, prefix="lm_head.", same={"lm_head.decoder.bias": "head.bias"}
)


def rename(name: str) -> str:
    """Our name of a tensor of the authors' file; "" where the output does not depend on it."""
    unused = ("position_embeddings.weight", "position_ids", "inv_freq")
    if name.startswith(("lm_head.", "esm.contact_head.")) or name.endswith(unused):
        return ""
    return name.removeprefix("esm.")


def lora(lr: float, epochs: int, source: str, **numbers: Any) -> Recipe:
    """LoRA with rank 8, alpha 16 and dropout 0.05, as ConvNova and GUE ran these models."""
    return Recipe(
        finetune="lora", lora_r=8, lora_alpha=16, lora_dropout=0.05,
        lr=lr, epochs=epochs, source=source, **numbers,
    )  # fmt: skip


FROM_SCRATCH = Recipe(
    lr=1e-4,
    source="house; learning rate 1e-4 for training from scratch, as for ntv2_star: our choice, "
    "ConvNova's A.5 (arXiv 2502.18538) names no number",
)
RECIPES = {
    "default": FROM_SCRATCH,
    "nt": lora(
        1e-4, 20,
        "LoRA of aim-uofa/ConvNova@c606027's baseline (rank 8, alpha 16, dropout 0.05 on query, "
        "key, value, dense) and its 20 epochs",
        differs="its paper only says 'official learning rate': 1e-4 of DNABERT_2 "
        "finetune/scripts/run_nt.sh taken; batch and decay are the house's; theirs passes no "
        "attention mask, ours masks padding",
    ),
    "gue": lora(
        1e-4, 3,
        "MAGICS-LAB/DNABERT_2 finetune/scripts/run_nt.sh and train.py, written for version 1: 8 "
        "examples a device (batch 32 = 4 devices)",
        differs="epochs of its EMP and TF for all tasks (theirs: promoter 4, TATA 10, splice and "
        "mouse 5, covid 3); warm-up as a share, theirs 50 steps (about 4 % of EMP's); theirs is "
        "fp16, ours fp32",
        batch=32, weight_decay=0.01, schedule="linear", warmup=0.04,
    ),
    **_suite_recipes.NTV2, **_suite_recipes.BEND_PROBE,
}  # fmt: skip


def add(size: str, revision: str, aliases: tuple[str, ...] = (), **options: Any) -> None:
    """Register one preset."""
    full = {**OPTIONS, **options}
    MODELS.add(
        Model(
            name=f"ntv2-{size}",
            aliases=aliases,
            family="ntv2",
            build=build,
            options=full,
            space=FINE_TUNING,
            choices={"pooling": POOLINGS},
            reduced=REDUCED,
            n_params=count(full),
            min_length=1,
            context=(MAX_TOKENS - 1) * 6,
            max_tokens=MAX_TOKENS,
            tokenizer="6mer",
            source=f"doi:10.1038/s41592-024-02523-z, v2-{size}-multi-species",
            license="Apache-2.0 (our implementation; the authors' code and weights are "
            "CC BY-NC-SA 4.0)",
            recipes=RECIPES,
            lora_targets=LORA_TARGETS,
            language=LANGUAGE,
            weights=Weights(
                repo=f"InstaDeepAI/nucleotide-transformer-v2-{size}-multi-species",
                files=("model.safetensors", "pytorch_model.bin"),
                rename=rename,
                license=LICENSE,
                revision=revision,
            ),
        )
    )


# Revisions of the hub's main branch, as pinned in tcztzy/evo.cpp@c281681 and other registries
add("50m", "81b29e5786726d891dbf929404ef20adca5b36f1", width=512, layers=12, inner=2048)
add("100m", "f34324c6fde36a4f635f0f1f06cac5d25acd6798", width=512, layers=22, inner=2048)
add("250m", "c0f0359229f36ff6bc3a021247eefe0a9c344bd1", width=768, layers=24, inner=3072)
add("500m", "06615c1660c892fc199840c18123f8385b3542a8", aliases=("ntv2",))
