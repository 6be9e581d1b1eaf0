"""DNABERT: BERT on overlapping k-mers, k from 3 to 6.

B batch, T length in tokens, D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dnabench.models import _suite_recipes
from dnabench.models.heads import POOLINGS
from dnabench.models.outside.native import Native, bert_like
from dnabench.registry import MODELS
from dnabench.spaces import FINE_TUNING
from dnabench.types import Language, Model, Recipe, Task, Weights

POSITIONS = 512  # tokens, including the special ones
EPS = 1e-12  # of the layer norms
OPTIONS: dict[str, Any] = {
    "width": 768,
    "layers": 12,
    "heads": 12,
    "inner": 3072,
    "dropout": 0.1,
    "pooling": "cls",
}


def count(options: Mapping[str, Any], vocabulary: int) -> int:
    """Exact number of backbone parameters, which leaves out the pooler.

    Source:
        docs/models.md#dnabert; equal to transformers' BertModel without its pooler (tests).
    """
    d, inner, n = options["width"], options["inner"], options["layers"]
    layer = 4 * (d * d + d) + (2 * d * inner + inner + d) + 4 * d
    return int((vocabulary + POSITIONS + 2) * d + 2 * d + n * layer)


def build(task: Task, options: Mapping[str, Any], k: int) -> Any:
    """DNABERT with BERT's classification head.

    Args:
        task: gives K.
        options: width D, layers, heads, inner (width of the feed-forward parts), dropout; pooling
            "cls" (then a linear layer and tanh, the pooler, in the head), "mean", "max" or "last".
        k: letters of a k-mer.

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`, per
        base (B, T, K). `backbone(ids, mask)` gives float32 (B, T, D). Weights are drawn from the
        global generator of torch, N(0, 0.02).

    Raises:
        ValueError: when heads do not divide the width, a number is below 1, or dropout is not in
            [0, 1); in `forward` for more than 512 tokens.

    Accuracy:
        With equal weights that of transformers' BertModel to float rounding (1e-12 in float64). A
        score does not depend on padding, apart from that rounding.

    Source:
        Ji et al. 2021, Bioinformatics 37:2112; tensor names of zhihan1996/DNA_bert_6. Ours: the
        pooler is randomly initialised too, since masked pretraining never trained the checkpoint's.
    """
    from dnabench.models._bert import classifier

    o = {**OPTIONS, **options}
    return classifier(task, backbone(o, k), o)


def backbone(options: Mapping[str, Any], k: int) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    from dnabench.models._bert import Bert, Embeddings, Encoder, Layer

    o = {**OPTIONS, **options, "vocabulary": 4**k + 5, "norm_eps": EPS}
    check(o, "DNABERT")
    layers = (Layer(o, norm_first=False) for _ in range(o["layers"]))
    return Bert(Embeddings(o, POSITIONS), Encoder(layers))


def language_head(backbone: Any, options: Mapping[str, Any]) -> Any:
    """BERT's head of masked tokens; `norm_eps` is an option or that of DNABERT."""
    from dnabench.models._bert import LanguageHead

    return LanguageHead(backbone, int(options["width"]), float(options.get("norm_eps", EPS)))


LANGUAGE = Language(
    head=language_head,
    prefix="cls.predictions.",
    same={
        "cls.predictions.decoder.weight": "backbone.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "head.bias",
        "cls.seq_relationship.weight": "",
        "cls.seq_relationship.bias": "",
    },
)


def in_transformers(options: Mapping[str, Any], pad: int, per_base: bool, *, k: int) -> Native:
    """BertForSequenceClassification, per base BertForTokenClassification."""
    dropout = options["dropout"]
    config = bert_like(
        "bert",
        options,
        4**k + 5,
        max_position_embeddings=POSITIONS,
        layer_norm_eps=EPS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=pad,
    )
    return Native(config, {"backbone.": "bert.", "head.pooler.": "bert.pooler.", "head.": ""})


def check(o: Mapping[str, Any], what: str) -> None:
    """Check the options of a BERT-like network.

    Raises:
        ValueError: naming the option, its value and what it may be.
    """
    for name in ("vocabulary", "width", "layers", "heads", "inner"):
        if o[name] < 1:
            raise ValueError(f"{name} is {o[name]}; {what} needs at least 1")
    if o["width"] % o["heads"]:
        raise ValueError(
            f"width is {o['width']} and heads {o['heads']}; {what} shares the width among its "
            "heads, so heads must divide width"
        )
    if not 0 <= o["dropout"] < 1:
        raise ValueError(f"dropout is {o['dropout']}; it must be at least 0 and below 1")


def rename(name: str) -> str:
    """Our name of a tensor of a BERT checkpoint; "" for heads, the pooler and position numbers."""
    name = name.removeprefix("bert.")
    unused = name.startswith(("cls.", "classifier.", "pooler."))
    numbers = name in ("embeddings.position_ids", "embeddings.token_type_ids")
    return "" if unused or numbers else name


README = "jerryji1993/DNABERT README: lr 2e-4, batch 32, 5 epochs, warm-up 10 %, weight decay 0.01"
RECIPES = {
    "default": Recipe(
        lr=2e-4, weight_decay=0.01, batch=32, epochs=5, schedule="linear", warmup=0.1,
        source=README,
        differs="meant for the pretrained weights; biases and layer norms have weight decay here",
    ),
    "gue": Recipe(
        lr=3e-5, weight_decay=0.01, batch=32, epochs=3, schedule="linear", warmup=0.02,
        source="MAGICS-LAB/DNABERT_2 finetune/scripts/run_dnabert1.sh: lr 3e-5, batch 8 a device, "
        "here four devices",
        differs="meant for the pretrained weights; epochs and warm-up are those of EMP for all "
        "tasks, biases and layer norms have weight decay, theirs is fp16",
    ),
    **_suite_recipes.BEND_PROBE,
}  # fmt: skip


def add(name: str, k: int, revision: str) -> None:
    """Register one preset."""
    MODELS.add(
        Model(
            name=name,
            family="dnabert",
            build=partial(build, k=k),
            options=OPTIONS,
            space=FINE_TUNING,
            choices={"pooling": POOLINGS},
            reduced={"width": 192, "layers": 2, "inner": 384},
            n_params=count(OPTIONS, 4**k + 5),
            min_length=k,
            context=POSITIONS - 2 + k - 1,
            max_tokens=POSITIONS,
            tokenizer=f"kmer{k}",
            source=f"doi:10.1093/bioinformatics/btab083, the {k}-mer model",
            license="Apache-2.0 (our implementation; the authors' code is Apache-2.0)",
            recipes=RECIPES,
            weights=Weights(
                repo=f"zhihan1996/DNA_bert_{k}",
                files=("model.safetensors", "pytorch_model.bin"),
                rename=rename,
                license="Apache-2.0",
                revision=revision,
            ),
            lora_targets=("query", "key", "value", "dense"),
            in_transformers=partial(in_transformers, k=k),
            language=LANGUAGE,
        )
    )


# Revisions as pinned in MultiMolecule/upstream@0dcc693, which checks the file's SHA-256
add("dnabert", 6, "c56e67ea5827e0ddc67ef059addcf71569b1216e")
add("dnabert-3", 3, "6531a531c2fba495bc9bf4ec6518f99ed0032fb1")
add("dnabert-4", 4, "1a4946417c1e08e588616bf9c8f999a543bb2c8b")
add("dnabert-5", 5, "4c35c45a815a80e02fd44b9dcd69d32bcef90d5e")
