"""Which weights learn: all of them, low-rank additions (LoRA), or a head alone (probe)."""

from collections.abc import Mapping
from typing import Any

from dnabench.models.heads import with_convolutions
from dnabench.models.kernels.context import Kernels
from dnabench.types import Model, Recipe, Task

SOME = 64  # tokens that a network is given to see how wide its features are


def adapted(net: Any, model: Model, recipe: Recipe) -> Any:
    """Freeze the weights that the recipe's `finetune` does not train.

    The network, fresh or loaded, has submodules `backbone` and `head`; the model names the linear
    layers that LoRA may change.

    Returns:
        The network, changed in place. "full": everything learns. "lora": W x becomes
        W x + (alpha / r) B A x in the targets, A and B learn beside the head, B starts at zero.
        "probe": the head learns; see `probed`.

    Raises:
        ValueError: LoRA for a model that names no targets, or without peft; a probe of a network
            that has no `features`.

    Source:
        Hu et al. 2022, arXiv 2106.09685; through peft, as in ConvNova's NTv2 baseline (r 8,
        alpha 16, dropout 0.05 on query, key, value, dense; docs/models.md#convnova).
    """
    if recipe.finetune == "full":
        return net
    if recipe.finetune == "lora":
        _add_lora(net, model, recipe)
    elif not hasattr(net, "features"):
        raise ValueError(f"{model.name} has no features to probe; use finetune=full")
    for name, p in net.named_parameters():
        p.requires_grad_(name.startswith("head.") or ".lora_" in name)
    return net


def without_biases_and_norms(net: Any) -> list[dict[str, Any]]:
    """The optimiser's groups of the parameters that learn: no decay for biases and layer norms.

    Source:
        transformers' Trainer (get_decay_parameter_names): every parameter of an nn.LayerNorm, and
        every one with "bias" in its name.
    """
    from torch import nn

    norms = {p for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    groups: dict[bool, list[Any]] = {False: [], True: []}
    for name, p in net.named_parameters():
        if p.requires_grad:
            groups[p in norms or "bias" in name].append(p)
    return [{"params": groups[False]}, {"params": groups[True], "weight_decay": 0.0}]


def probed(net: Any, width: int, n_outputs: int) -> Any:
    """The network, changed in place, as a probe: one linear layer on its `features`.

    Its own head stays if it is such a layer. `forward` is that layer on the features, whatever
    else a network does with them, as DeepATT's attends to positions that `features` average. A
    class that says `answers_by_head` has such a `forward`, perhaps one of less memory, and stays.
    """
    from torch import nn

    if not isinstance(net.head, nn.Linear):
        net.head = nn.Linear(width, n_outputs)
    own: Any = type(net)
    if vars(own).get("answers_by_head"):
        return net

    class Probed(own):  # type: ignore[misc]
        __module__ = own.__module__  # whose code its features are

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.head(self.features(ids, mask))

    net.__class__ = Probed
    return net


def with_head(
    net: Any, model: Model, task: Task, options: Mapping[str, Any], recipe: Recipe
) -> Any:  # fmt: skip
    """The network with the head that the recipe names; see `with_convolutions` for "conv".

    Args:
        net: fresh or loaded, changed in place.
        model: of the network.
        task: gives K; per base for "conv".
        options: of the model.
        recipe: "own" changes nothing here.

    Raises:
        ValueError: a network whose features are not there, or have no row for each token.
    """
    if recipe.head == "own":
        return net
    words = model.own_tokenizer is not None or model.tokenizer_name(options) != "char"
    return with_convolutions(net, _width(net, model, task), task, words)


def _width(net: Any, model: Model, task: Task) -> int:
    """Features of a token; draws no random numbers of the trial."""
    import torch

    if not hasattr(net, "features"):
        raise ValueError(f"head=conv: {model.name} has no features to read; write --set head=own")
    ids = torch.zeros(1, min(SOME, task.length, model.max_tokens or SOME), dtype=torch.int16)
    before = net.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]), Kernels("direct"):
        try:
            features = net.eval().features(ids, None)
        except Exception:  # code of others may read the task's length alone
            ids = torch.zeros(1, task.length, dtype=torch.int16)
            features = net.features(ids, None)
    net.train(before)
    if features.shape[:2] != ids.shape:
        raise ValueError(
            f"head=conv: the features of {model.name} are {tuple(features.shape)} for "
            f"{ids.shape[1]} tokens; it needs (sequences, tokens, width): write --set head=own"
        )
    return int(features.shape[2])


def without_head(net: Any) -> Any:
    """The network, changed in place, without a head that `probed` would replace."""
    from torch import nn

    if not isinstance(net.head, nn.Linear):
        net.head = nn.Identity()
    return net


def _add_lora(net: Any, model: Model, recipe: Recipe) -> None:
    if not model.lora_targets:
        raise ValueError(f"{model.name} names no layers for LoRA; use finetune=full or probe")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError("finetune=lora needs peft: pip install 'dnabench[lora]'") from None
    inject_adapter_in_model(
        LoraConfig(
            r=recipe.lora_r, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout,
            target_modules=list(model.lora_targets),
        ),
        net.backbone,
    )  # fmt: skip
