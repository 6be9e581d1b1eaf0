"""Any model of transformers as a `Model`: `-m hf:ORG/NAME` or `hf:./folder`.

B batch, T length in tokens, D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dnabench.loading import Loaded
from dnabench.models.heads import POOLINGS, network
from dnabench.models.outside.file import LONGEST
from dnabench.models.outside.hub import PREFIX, Source, find_source
from dnabench.models.outside.native import Native
from dnabench.spaces import FINE_TUNING
from dnabench.tokens.vocabulary import FILES, unnamed_tokens, vocabulary_tokenizer
from dnabench.types import Language, Model, Recipe, Task, Weights

THEIRS = "transformers"  # pooling and head of transformers' own classification model
# Linear layers of the attention that LoRA changes, by `model_type`
LORA = {
    **dict.fromkeys(
        ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "olmo"),
        ("q_proj", "k_proj", "v_proj", "o_proj"),
    ),
    **dict.fromkeys(
        ("bert", "esm", "roberta", "electra", "camembert"), ("query", "key", "value", "dense")
    ),
    "modernbert": ("Wqkv", "Wo"),
}  # fmt: skip
SEES_ALL = ("xlnet",)  # predicts next tokens in any order, and reads a whole sequence else
RECIPES = {
    "default": Recipe(
        lr=3e-5, weight_decay=0.01, batch=32, epochs=4, schedule="linear", warmup=0.1,
        source="Devlin et al. 2019, appendix A.3: batch 16 or 32, lr 2e-5 to 5e-5, 2 to 4 epochs; "
        "meant for pretrained weights",
    )
}  # fmt: skip


def model_of_hub(text: str, trust: bool = False) -> Model:
    """The model of transformers that `hf:` names.

    Its options: `pooling` (the last token of a causal model, else the mean), and, fixed, the
    revision (40 hex), the hash of configuration and tokenizer, and that of remote code.

    Raises:
        ValueError: as `find_source`; an architecture that transformers does not know, which needs
            code of its own: the message says how to allow it; one that reads no tokens.
    """
    from transformers import CONFIG_MAPPING

    from dnabench.models.outside.transformer import outline

    source = find_source(text, trust)
    kind = str(source.config.get("model_type", ""))
    if kind not in CONFIG_MAPPING and not source.code:
        own = ", ".join(sorted(map(str, source.config.get("auto_map", {}).values())))
        way_out = "Update transformers, if it is a newer architecture"
        if own:
            way_out = (
                f"The model brings code of its own ({own}): if you have read it and trust it, "
                "write --trust-remote-code; every record will say so"
            )
        raise ValueError(f"-m {text}: transformers does not know model_type {kind!r}. {way_out}")
    if kind in CONFIG_MAPPING:
        _check_vocabulary(text, kind)
    tokens = vocabulary_tokenizer(source.folder, source.config)
    files = source.hash_of(["config.json", *FILES], unnamed_tokens(source.folder, source.config))
    fixed = {"revision": source.revision, "files": files}
    if kind in CONFIG_MAPPING:
        source = source._replace(code=())  # transformers' own code serves it
    if source.code:
        _check_own_code(text, source)
        fixed["code"] = source.hash_of(source.code)
    trusted = bool(source.code)
    net = outline(source.folder, trusted)
    causal = _causal(source.config, net)
    name = PREFIX + source.name
    return Model(
        name=name, family=kind, n_params=0, min_length=1, context=LONGEST,
        build=partial(build, folder=str(source.folder), trust=trusted),
        options={"pooling": "last" if causal else "mean", **fixed},
        choices={"pooling": (*POOLINGS, THEIRS), **{k: (v,) for k, v in fixed.items()}},
        max_tokens=longest(source.config, net), tokenizer="its own",
        recipes=RECIPES, space=FINE_TUNING,
        source=f"https://huggingface.co/{source.name}" if name[3] != "." else str(source.folder),
        license="that of its publisher", lora_targets=LORA.get(kind, ()),
        weights=Weights(
            repo=source.name, revision=source.revision, files=(), license="that of its publisher",
            rename=str,
        ),
        own_tokenizer=lambda: tokens, usual_regime="pretrained", reference=source.reference,
        fetch_official=source.weights,
        load_official=partial(load, source=source), aliases=(text,),
        in_transformers=None if trusted else partial(in_transformers, config=source.config),
        language=Language(
            head=partial(language_head, causal=causal, trust=trusted), prefix="", causal=causal,
            load=partial(load_language, source=source, causal=causal),
        ),
    )  # fmt: skip


def _check_vocabulary(text: str, kind: str) -> None:
    """Raise ValueError for an architecture of images, sound or numbers."""
    from transformers import CONFIG_MAPPING

    try:
        usual = CONFIG_MAPPING[kind]().get_text_config()
    except (ValueError, TypeError):
        return  # it is made of other models
    if not hasattr(usual, "vocab_size"):
        raise ValueError(
            f"-m {text}: {kind} has no vocabulary: it reads images, sound or numbers, and no DNA; "
            "take a model that reads tokens, such as bert, esm or llama"
        )


def _check_own_code(text: str, source: Source) -> None:
    """Raise ValueError if code is named as REPOSITORY--FILE.CLASS.

    transformers takes that from the hub at its newest version, even where the repository is this
    one, so neither the revision nor the hash of a record would be that of the code that is run.
    """
    for name in map(str, source.config["auto_map"].values()):
        repo, elsewhere, rest = name.rpartition("--")
        if elsewhere:
            raise ValueError(
                f"-m {text}: config.json takes code from {repo} ({name}), at whatever version it "
                f"has there, so it is not run. Download the model and the .py files of {repo} into "
                f"one folder, write {rest} in its config.json, and give hf:./FOLDER"
            )


def _causal(config: Mapping[str, Any], net: Any) -> bool:
    """Whether a position sees only those before it.

    By what its attention says; else an architecture of transformers that predicts next tokens and
    has no variant for hidden ones, or that the configuration makes a decoder. Of remote code that
    says nothing, by the classes that it has, or that was saved.

    Args:
        config: as written in the folder.
        net: from `transformer.outline`, or None.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as auto

    from dnabench.models.outside.transformer import looks_back

    if net is not None and (said := looks_back(net)) is not None:
        return said
    kind = str(config.get("model_type", ""))
    if kind in CONFIG_MAPPING:
        both = (*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *SEES_ALL)
        next_alone = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in both
        return next_alone or bool(config.get("is_decoder"))
    named = " ".join([*(config.get("architectures") or ()), *config.get("auto_map", {})])
    next_token = "CausalLM" in named or "LMHead" in named or bool(config.get("is_decoder"))
    return next_token and "MaskedLM" not in named


def longest(config: Mapping[str, Any], net: Any) -> int:
    """Tokens that the model reads, special ones included; 0 = the configuration names no limit.

    `net` is from `transformer.outline`, or None.
    """
    from dnabench.models.outside.transformer import positions_before

    n = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)
    return n - positions_before(net) if n and net is not None else n


def build(task: Task, options: Mapping[str, Any], *, folder: str, trust: bool) -> Any:
    """The base model of a configuration with random weights, pooling and a head.

    Args:
        task: gives K.
        options: pooling; "transformers" = that of transformers' own classification model for this
            architecture, with its head.
        folder: with config.json.
        trust: whether code in the folder is run.

    Returns:
        A torch module: `forward(ids (B, T), mask (B, T) or None) -> logits float32 (B, K)`, per
        base (B, T, K). `backbone(ids, mask)` gives the last hidden state, float32 (B, T, D).

    Accuracy:
        With the official weights the hidden states of transformers' own AutoModel.
    """
    from dnabench.models.outside.transformer import Transformer

    backbone, pooling, head = Transformer(folder, trust), str(options["pooling"]), None
    if pooling == THEIRS:
        from dnabench.models.outside.classes import own_head

        config = backbone.model.config
        pooling, head = own_head(str(config.model_type), config, task)
    return network(task, backbone, backbone.width, pooling, head)


def load(net: Any, source: Source) -> Any:
    """Put the official weights into a network from `build`; see `Transformer.load`.

    With pooling "transformers" their pooler, if they have one, goes into its head.
    """
    from dnabench.models.outside.classes import OwnHead, load_pooler

    loaded = net.backbone.load(source.weights())
    if not isinstance(net.head, OwnHead):
        return loaded
    pooler = load_pooler(net.head, str(source.folder))
    copied = sorted({*loaded.copied, *pooler})
    return loaded._replace(copied=copied, unused=[n for n in loaded.unused if n not in pooler])


def language_head(backbone: Any, options: Mapping[str, Any], *, causal: bool, trust: bool) -> Any:
    """That of transformers' own language model; see `outside.language.language_head`."""
    from dnabench.models.outside import language

    return language.language_head(backbone, causal, trust)


def load_language(net: Any, *, source: Source, causal: bool) -> Loaded:
    """Put the official weights into a `language_model`, its head too; see `outside.language`."""
    from dnabench.models.outside import language

    return language.load(net, source.folder, source.weights(), causal, bool(source.code))


def in_transformers(
    options: Mapping[str, Any], pad: int, per_base: bool, *, config: Mapping[str, Any]
) -> Native:
    """The configuration of the model itself."""
    from dnabench.models.outside.classes import native

    return native(config, pad)
