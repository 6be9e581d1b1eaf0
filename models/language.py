"""Language models: a backbone with the head that its authors pretrain it with.

B batch, T length in tokens, D width, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dnabench.loading import Loaded, copy_into, target_of
from dnabench.models.heads import n_words
from dnabench.registry import MODELS
from dnabench.types import Language, Model, N, Split, SplitName, Task

if TYPE_CHECKING:
    from torch import Tensor


def language_model(model: Model, options: Mapping[str, Any], length: int) -> Any:
    """A network that predicts letters or tokens.

    Args:
        model: with a `language`.
        options: of the model, all of them.
        length: bp of the longest sequence it will read.

    Returns:
        A torch module with submodules `backbone`, that of the model's `build`, and `head`.
        `forward(ids (B, T), mask (B, T) or None)` gives logits float32 (B, T, V). Weights are drawn
        from the global generator of torch, those of the backbone first.

    Raises:
        ValueError: for a model without a language-model head, and as its `build`.
    """
    from torch import nn

    language, backbone = language_of(model), model.build(_task(length), options).backbone

    class LanguageModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = backbone, language.head(backbone, options)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.head(self.backbone(ids, mask))  # type: ignore[no-any-return]

    return LanguageModel()


def language_of(model: Model) -> Language:
    """The language-model head of a model; ValueError if it has none."""
    if model.language is None:
        families = sorted({MODELS[name].family for name in MODELS if MODELS[name].language})
        raise ValueError(
            f"{model.name} has no language-model head; these families have one: "
            f"{', '.join(families)}"
        )
    return model.language


def _task(length: int) -> Task:
    """What `build` is told: one value for each base, of which only the backbone is kept."""

    def nothing(name: SplitName) -> Split:
        raise ValueError("a language model has no labels")

    return Task(
        name="language/model", kind="per_base", classes=("",), metric="accuracy", length=length,
        counts={}, data="", load=nothing, source="", license="",
    )  # fmt: skip


def entries(model: Model, options: Mapping[str, Any]) -> tuple[int, ...]:
    """The entry of A, C, G, T and N among the logits; () where a token is no single letter."""
    if not reads_letters(options, model):
        return ()
    return language_of(model).letters or tuple(range(N + 1))  # whose entries are token ids


def reads_letters(options: Mapping[str, Any], model: Model) -> bool:
    """Whether a token is one letter."""
    return model.tokenizer_name(options).startswith("char")


def load_language(
    net: Any, model: Model, tensors: Mapping[str, Tensor], source: str, whole: bool = True
) -> Loaded:
    """Copy an official file into a `language_model`, its head too, and account for every tensor.

    Args:
        net: from `language_model`.
        model: of it.
        tensors: from `tensors.read_set`.
        source: the file's name in messages.
        whole: whether the file must have the head; else that stays as it is where the file has
            nothing of it.

    Raises:
        ValueError: as `loading.load`; a file without the head.
    """
    language, official = language_of(model), model.weights

    def rename(name: str) -> str:
        if name in language.same:
            return language.same[name]
        if name.startswith(language.prefix):
            return f"head.{name.removeprefix(language.prefix)}"
        ours = official.rename(name) if official else name
        return f"backbone.{ours}" if ours else ""

    if hasattr(net.backbone, "check_weights"):
        net.backbone.check_weights(tensors)
    own = net.state_dict()
    head = {name for name in own if name.startswith("head.")}
    spare = head if not (whole or any(target_of(t, rename, own) in head for t in tensors)) else ()
    return copy_into(net, model.name, tensors, source, rename, spare)


def linear(letters: int, bias: bool = True, std: float = 0.0) -> Callable[..., Any]:
    """A `Language.head` of one linear layer.

    Args:
        letters: V where tokens are letters.
        bias: whether it has one.
        std: of its normal initial weights, then biases are 0; 0 = PyTorch's default.
    """

    def head(backbone: Any, options: Mapping[str, Any]) -> Any:
        from torch import nn

        own = str(options["tokenizer"]).startswith("char")
        layer = nn.Linear(int(options["width"]), letters if own else n_words(options), bias)
        if std:
            nn.init.normal_(layer.weight, std=std)
        return layer

    return head
