"""GENA-LM: a pre-norm BERT on BPE tokens.

B batch, T length in tokens, D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dnabench.models import _suite_recipes, dnabert
from dnabench.models.dnabert import LANGUAGE, POSITIONS, check, rename
from dnabench.models.dnabert2 import READABLE
from dnabench.models.heads import POOLINGS
from dnabench.models.outside.native import Native, bert_like
from dnabench.registry import MODELS
from dnabench.spaces import FINE_TUNING
from dnabench.types import Model, Recipe, Task, Weights

OPTIONS: dict[str, Any] = {
    "tokenizer": "bpe",
    "vocabulary": 32_000,
    "width": 1024,
    "layers": 24,
    "heads": 16,
    "inner": 4096,
    "norm_eps": 1e-5,
    "last_layer_norm": True,
    "dropout": 0.1,
    "pooling": "cls",
}


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters, which leaves out the pooler.

    Source:
        docs/models.md#gena-lm; equal to the counts of the authors' code (golden records).
    """
    last = 2 * options["width"] if options["last_layer_norm"] else 0
    return dnabert.count(options, options["vocabulary"]) + last


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """GENA-LM with its classification head.

    Args:
        task: gives K.
        options: tokenizer (bpe:PATH for your own; not read here) and vocabulary, its number
            of ids; width D, layers, heads, inner (width of the feed-forward parts), dropout;
            norm_eps of the layer norms;
            last_layer_norm, one more after the last layer: the authors' large model has it, their
            code as copied by BEND does not (False: as in BEND's table; with the large weights take
            the preset gena_lm-bend); pooling "cls" (then a linear layer and tanh, the pooler,
            in the head), "mean", "max" or "last".

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`, per
        base (B, T, K). `backbone(ids, mask)` gives float32 (B, T, D). Weights are drawn from the
        global generator of torch, N(0, 0.02).

    Raises:
        ValueError: when heads do not divide the width, a number is below 1, or dropout is not in
            [0, 1); in `forward` for more than 512 tokens.

    Accuracy:
        With equal weights within 1e-5 of the authors' code and of BEND's copy, as is the pooler
        (four golden records). A score does not depend on padding, apart from float32 rounding.

    Source:
        Fishman et al. 2025, Nucleic Acids Research 53:gkae1310; tensor names of
        AIRI-Institute/GENA_LM src/gena_lm/modeling_bert.py.
    """
    from dnabench.models._bert import classifier

    o = {**OPTIONS, **options}
    return classifier(task, backbone(o), o)


def backbone(options: Mapping[str, Any]) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    from torch import nn

    from dnabench.models._bert import Bert, Embeddings, Encoder, Layer

    o = {**OPTIONS, **options}
    check(o, "GENA-LM")
    layers = (Layer(o, norm_first=True) for _ in range(o["layers"]))
    last = nn.LayerNorm(o["width"], eps=o["norm_eps"]) if o["last_layer_norm"] else None
    return Bert(Embeddings(o, POSITIONS), Encoder(layers, last))


def in_transformers(options: Mapping[str, Any], pad: int, per_base: bool) -> Native:
    """RobertaPreLayerNormForSequenceClassification, whose positions begin after the padding's id.

    Raises:
        ValueError: without the last layer norm, which it always has.
    """
    if not options["last_layer_norm"]:
        raise ValueError("transformers has this architecture only with last_layer_norm=True")
    first, dropout = pad + 1, options["dropout"]
    config = bert_like(
        "roberta-prelayernorm", options, options["vocabulary"], type_vocab_size=2,
        max_position_embeddings=POSITIONS + first, layer_norm_eps=options["norm_eps"],
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, pad_token_id=pad,
    )  # fmt: skip
    base = "roberta_prelayernorm."
    names = dict[str, str]()
    for i in range(options["layers"]):
        here, there = f"backbone.encoder.layer.{i}.", f"{base}encoder.layer.{i}."
        names[f"{here}pre_attention_ln."] = f"{there}attention.LayerNorm."
        names[f"{here}post_attention_ln."] = f"{there}intermediate.LayerNorm."
    names |= {
        "backbone.encoder.last_layer_ln.": f"{base}LayerNorm.", "backbone.": base,
        "head.pooler.": "classifier.",
        "head.classifier.": "classifier." if per_base else "classifier.out_proj.",
    }  # fmt: skip
    return Native(config, names, {"backbone.embeddings.position_embeddings.weight": first})


RECIPES = {
    "default": Recipe(
        lr=5e-5, weight_decay=1e-4, batch=64, epochs=20, warmup=0.03, lr_floor=0.0,
        source="AIRI-Institute/GENA_LM downstream_tasks/SpliceAI/finetune_spliceai_large.sh: "
        "cosine, 1,500 of at most 50,000 steps of warm-up",
        differs="epochs are the house's; meant for the pretrained weights, a fresh network learns "
        "little at this rate",
    ),
    **_suite_recipes.GENA_LM, **_suite_recipes.BEND_PROBE,
}  # fmt: skip


def without_last_norm(name: str) -> str:
    """`rename` for a network without the last norm of the file."""
    ours = rename(name)
    return "" if ours.startswith("encoder.last_layer_ln.") else ours


def add(name: str, checkpoint: str, names: Callable[[str], str] = rename, **options: Any) -> None:
    """Register one preset; `names` gives our name of a tensor of the checkpoint."""
    full = {**OPTIONS, **options}
    MODELS.add(
        Model(
            name=name,
            family="gena_lm",
            build=build,
            options=full,
            space=FINE_TUNING,
            choices={"pooling": POOLINGS, "tokenizer": READABLE},
            reduced={"vocabulary": 4096, "width": 192, "layers": 2, "inner": 384},
            n_params=count(full),
            min_length=2,  # no tokens can be learned from single bases
            context=4_500,  # about 512 tokens, according to the authors' model card
            max_tokens=POSITIONS,
            tokenizer="bpe",
            source=f"doi:10.1093/nar/gkae1310, {checkpoint}",
            license="Apache-2.0 (our implementation; the authors' code is MIT)",
            recipes=RECIPES,
            weights=Weights(
                repo=f"AIRI-Institute/{checkpoint}",
                files=("model.safetensors", "pytorch_model.bin"),
                rename=names,
                license="none stated (the authors' code is MIT)",
                revision=REVISIONS[checkpoint],
                tokenizer="tokenizer.json",
            ),
            lora_targets=("query", "key", "value", "dense"),
            in_transformers=in_transformers,
            language=LANGUAGE,
        )
    )


LARGE, BASE = "gena-lm-bert-large-t2t", "gena-lm-bert-base-t2t"
REVISIONS = {  # as pinned in tcztzy/evo.cpp@c281681 and two registries of public code
    LARGE: "f997a8a7c1ba5feb6d11de46354a41c51ffe9660",
    BASE: "4f1352bd4e820f1dba341047f54ad7795e083bf2",
}
add("gena_lm", LARGE)
add("gena_lm-bend", LARGE, names=without_last_norm, last_layer_norm=False)
add(
    "gena_lm-base", BASE,
    width=768, layers=12, heads=12, inner=3072, norm_eps=1e-12, last_layer_norm=False,
)  # fmt: skip
