"""Nucleotide Transformer version 1, 500M, human reference: attention over 6-mers, native.

B batch, T length in tokens (one <cls>, then 6 bp each), D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dnabench.models import ntv2
from dnabench.models.heads import POOLINGS
from dnabench.models.outside.native import Native, bert_like
from dnabench.registry import MODELS
from dnabench.spaces import FINE_TUNING
from dnabench.types import Model, Task, Weights

VOCABULARY = 4105  # 4 special tokens, 4096 6-mers, 5 letters
HIDDEN = 2  # <mask>
MAX_TOKENS = 1000
TABLE = MAX_TOKENS + 2  # rows of the position table; the first two are for padding
OPTIONS: dict[str, Any] = {
    "width": 1280,
    "layers": 24,
    "heads": 20,
    "inner": 5120,
    "pooling": "cls",
}


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters, including the position table.

    Source:
        docs/models.md#nucleotide-transformer-v1, whose 478,798,561 has layers x heads + 1 = 481
        more: the contact head, on which the output of the authors' module does not depend.
    """
    o = {**OPTIONS, **options}
    d, inner = o["width"], o["inner"]
    layer = 4 * (d * d + d) + 2 * inner * d + inner + d + 4 * d
    return int((VOCABULARY + TABLE) * d + o["layers"] * layer + 2 * d)


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """Nucleotide Transformer v1 with the authors' two-layer classification head.

    Args:
        task: gives K.
        options: width D, layers, heads, inner (width of the GELU layers), pooling ("cls" in the
            authors' head; "mean", "max", "last").

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, per base
        (B, T, K). `backbone(ids, mask)` gives (B, T, D), `head` is linear, tanh, linear. Weights
        are drawn from the global generator of torch: N(0, 0.02), biases 0.

    Raises:
        ValueError: for an option below 1, a width that the heads cannot share evenly, an unknown
            pooling, or, in `forward`, more than 1000 tokens.

    Accuracy:
        With equal weights the backbone is within 1e-4 of the authors' code (golden record
        ntv1_h64_l3). A score does not depend on padding, apart from float32 rounding.

    Source:
        Dalla-Torre et al. 2025, doi:10.1038/s41592-024-02523-z; docs/models.md; tensor names of
        instadeepai/nucleotide-transformer. Embeddings are always scaled by 0.88, as theirs are
        when no token is masked; in a language model hidden tokens are zeros, and the others are
        scaled by 0.88 / (1 - the share of hidden tokens), as theirs.
    """
    return ntv2.classifier(task, backbone(options), {**OPTIONS, **options})


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    from dnabench.models._esm import Esm

    o = {**OPTIONS, **options}
    ntv2.head_width(o)
    return Esm(o, VOCABULARY, None)


def language_head(backbone: Any, options: Mapping[str, Any]) -> Any:
    """That of version 2; from now on the backbone reads hidden tokens as the authors' does."""
    backbone.embeddings.hides = HIDDEN
    return ntv2.language_head(backbone, options, VOCABULARY)


def in_transformers(options: Mapping[str, Any], pad: int, per_base: bool) -> Native:
    """EsmForSequenceClassification; its contact head has no part in the answer."""
    config = bert_like(
        "esm", options, VOCABULARY, max_position_embeddings=TABLE, layer_norm_eps=1e-12,
        position_embedding_type="absolute", emb_layer_norm_before=False, token_dropout=True,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=pad,
        mask_token_id=2,
    )  # fmt: skip
    names = {"backbone.": "esm.", "head.": "classifier."}
    return Native(config, names, unused=("esm.contact_head.",))


def rename(name: str) -> str:
    """Our name of a tensor of the authors' file; "" where the output does not depend on it."""
    if name.endswith("position_embeddings.weight"):
        return name.removeprefix("esm.")
    return ntv2.rename(name)


MODELS.add(
    Model(
        name="nt_h",
        family="nt_h",
        build=build,
        options=OPTIONS,
        space=FINE_TUNING,
        choices={"pooling": POOLINGS},
        reduced=ntv2.REDUCED,
        n_params=count(OPTIONS),
        min_length=1,
        context=(MAX_TOKENS - 1) * 6,
        max_tokens=MAX_TOKENS,
        tokenizer="6mer-v1",
        source="doi:10.1038/s41592-024-02523-z, 500m-human-ref",
        license="Apache-2.0 (our implementation; the authors' code and weights are "
        "CC BY-NC-SA 4.0)",
        recipes={k: v for k, v in ntv2.RECIPES.items() if k != "deepsea"},  # not in that table
        lora_targets=ntv2.LORA_TARGETS,
        in_transformers=in_transformers,
        language=replace(ntv2.LANGUAGE, head=language_head),
        weights=Weights(
            repo="InstaDeepAI/nucleotide-transformer-500m-human-ref",
            files=("model.safetensors", "pytorch_model.bin"),
            rename=rename,
            license=ntv2.LICENSE,
            revision="f87b5d7233295242e79c951873d290f4cf992045",  # of one public user's code
        ),
    )
)
