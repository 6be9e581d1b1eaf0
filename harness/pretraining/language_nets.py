"""The language model that a user names: a folder of `dnabench pretrain`, or official weights.

B windows, W bp of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dnabench.loading import Loaded
from dnabench.models.language import language_model, language_of, load_language
from dnabench.models.outside.references import model_named
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.saving import CARD, Pretrained, load_pretrained
from dnabench.tensors import note, read_set
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Encoded, Tokenizer
from dnabench.types import Array, Model
from dnabench.weights import fetch, resolve

WINDOW = 512  # bp that official weights read, unless told


class LanguageNet(NamedTuple):
    """A language model.

    length: bp of the windows that it reads here. trained: bp of those of its training; 0 = that is
    not known, as of official weights. card: network.json of its folder; official weights have none.
    """

    name: str
    model: Model
    options: Mapping[str, Any]
    tokenizer: Tokenizer
    net: Any
    length: int
    trained: int = 0
    card: Mapping[str, Any] = MappingProxyType({})

    @property
    def longest(self) -> int:
        """Bp of the longest window that it can read, whatever it was trained on."""
        return max(self.trained, longest_of(self.model, self.options))


def longest_of(model: Model, options: Mapping[str, Any]) -> int:
    """Bp of the longest window that a model with these options can read."""
    own = options.get("l_max")  # of HyenaDNA, whose filters end there; two places are special
    return int(own) - 2 if own else model.context


def beyond(length: int, trained: int) -> str:
    """What is to be said of windows that are longer than those of the training; "" = nothing."""
    if not trained or length <= trained:
        return ""
    return f"{length:,} bp are more than the windows of its training, {trained:,} bp"


def check_own_weights(name: str, regime: str) -> None:
    """ValueError for a regime that is named beside a folder, which has its weights."""
    if regime != "pretrained":
        raise ValueError(f"--regime {regime}: {name} has weights of its own; leave it out")


def is_folder(name: str) -> bool:
    """Whether a name means a folder, so no model."""
    return Path(name).is_dir() or (Path(name) / CARD).exists()


def named_model(name: str, trust: bool = False) -> Model:
    """The model of a name that is no folder's; a KeyError says that there is no such folder."""
    try:
        return model_named(name, trust=trust)
    except KeyError as e:
        raise KeyError(f"there is no folder {name}, and {e.args[0]}") from None


def language_net(
    name: str, length: int = 0, regime: str = "pretrained",
    options: Mapping[str, Any] = MappingProxyType({}), trust: bool = False,
) -> LanguageNet:  # fmt: skip
    """The language model that a name means: a folder of `dnabench pretrain`, else a model.

    Args:
        name: folder or model.
        length: bp of the windows; 0 = those it was trained on, of a model WINDOW.
        regime: of a model: pretrained, or checkpoint:FILE with the head in it.
        options: of a model, those that are not its defaults.
        trust: whether code that an hf: model brings may be run.

    Raises:
        FileNotFoundError: a folder without a language model.
        KeyError: no such folder or model.
        ValueError: longer windows than it can read, random weights, a regime of a folder, `trust`
            of what brings no code, or as `load_language`.
    """
    if not is_folder(name):
        return _official(name, length or WINDOW, regime, options, trust)
    check_own_weights(name, regime)
    kept = load_pretrained(name, trust)
    check_trust(name, trust, kept.options)
    found = LanguageNet(
        Path(name).name, kept.model, kept.options, kept.tokenizer, kept.net,
        length or kept.length, kept.length, kept.card,
    )  # fmt: skip
    if length > found.longest:
        raise ValueError(f"--length {length}: {name} reads {found.longest:,} bp at most")
    return found


def check_trust(name: str, trust: bool, options: Mapping[str, Any]) -> None:
    """ValueError where code is trusted and the options of a model name none."""
    if trust and "code" not in options:
        raise ValueError(
            f"--trust-remote-code: {name} brings no code that would be run; leave it out"
        )


def _official(
    name: str, length: int, regime: str, given: Mapping[str, Any], trust: bool
) -> LanguageNet:
    model = named_model(name, trust)
    language_of(model)
    check_trust(name, trust, model.options)
    _check_regime(model, regime := regime.removeprefix(f"{model.name}="))
    options = {**model.options, **given}
    if length > (most := longest_of(model, options)):
        raise ValueError(f"--length {length}: {model.name} reads {most:,} bp at most")
    found = weights_of(model, regime, options)
    net = language_model(model, options, length)
    found.load(net)
    name = f"{model.name} {regime}"
    return LanguageNet(name, model, options, found.tokenizer, net.eval(), length)


class Found(NamedTuple):
    """Weights of a language model that are in no folder of `dnabench pretrain`.

    named: as a trial's regime names them. file: of them, or the index of its shards. tokenizer:
    that they were trained with. load: puts them into a `language_model`, the head too.
    """

    named: str
    file: Path
    tokenizer: Tokenizer
    load: Callable[[Any], Loaded]


def weights_of(model: Model, regime: str, options: Mapping[str, Any], whole: bool = True) -> Found:
    """The official weights of a model, or those of a file.

    Args:
        model: with a language-model head.
        regime: pretrained, or checkpoint:FILE.
        options: of the model, all of them.
        whole: whether the head must be there; see `load_language`. That of a model of transformers
            must.

    Raises:
        ValueError: as `resolve`, `fetch` and `tokenizer_named`.
    """
    named, path = resolve(model, regime)
    language = language_of(model)
    if language.load is not None and model.own_tokenizer is not None:
        assert model.fetch_official is not None  # a model of transformers has all three
        return Found(named, model.fetch_official(), model.own_tokenizer(), language.load)
    official = named.startswith("pretrained:")
    file = fetch(model, named) if official else Path(path)
    words, spoken = None, model.tokenizer_name(options)
    if spoken == "bpe":
        beside = file.parent / "tokenizer.json"
        words = fetch(model, named, tokenizer=True) if official else beside
    vocabulary = int(options.get("vocabulary", 0))
    tokenizer = tokenizer_named(spoken, vocabulary=vocabulary, file=words)
    noted = set[str]()  # once, however often it is loaded

    def load(net: Any) -> Loaded:
        found = read_set(file)
        loaded = load_language(net, model, found.tensors, file.name, whole)
        if found.beside not in noted:
            note(found.beside)
        noted.add(found.beside)
        return loaded._replace(beside=found.beside)

    return Found(named, file, tokenizer, load)


def _check_regime(model: Model, regime: str) -> None:
    """ValueError for weights that no language model is read from."""
    if regime == "scratch":
        raise ValueError("--regime scratch: random weights know no sequences; write pretrained")
    if model.own_tokenizer is not None and regime != "pretrained":
        raise ValueError(
            f"--regime {regime}: {model.name} has the weights of its own folder or repository; "
            "leave it out, or name another: hf:ORG/NAME@REVISION, hf:./FOLDER"
        )
    if regime == "pretrained" and not (model.weights and model.weights.repo):
        raise ValueError(
            f"no official weights of {model.name} were published: write --regime checkpoint:FILE, "
            "with the language-model head in it, or name a folder of `dnabench pretrain`"
        )
    folder = Path(regime.removeprefix("checkpoint:")).expanduser()
    if regime.startswith("checkpoint:") and is_folder(str(folder)):
        raise ValueError(
            f"--regime {regime}: that is a folder, which has its own options; name it in place of "
            f"{model.name}"
        )


def tokens_of(net: Pretrained | LanguageNet, codes: Array) -> Encoded:
    """The tokens of windows, uint8 (B, W); ValueError if they are more than the network reads."""
    found = net.tokenizer(as_sequences(codes), codes.shape[1], "mask")
    most = net.model.max_tokens
    if most and found.ids.shape[1] > most:
        raise ValueError(
            f"windows of {codes.shape[1]:,} bp are {found.ids.shape[1]} tokens, and "
            f"{net.name} reads {most} at most; take shorter ones (--length)"
        )
    return found
