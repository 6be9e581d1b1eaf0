"""The weights that a training begins with, where they are those of another training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnabench.cache import read_json
from dnabench.loading import Loaded, copy_into
from dnabench.models.language import language_model
from dnabench.pretraining.language_nets import weights_of
from dnabench.pretraining.saving import CARD, LANGUAGE, WEIGHTS, tensors_in, tokenizer_in
from dnabench.tensors import content_hash
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Model
from dnabench.weights import check_files, differing, pretraining_of, regimes, resolve, trained_as

SCRATCH = "scratch"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that were found and that fit.

    Args:
        weights: as a trial's regime names them.
        sha256: 16 hex digits, of the file's bytes.
        tokenizer: that they were trained with.
        load: puts them into a `language_model`.
        read: tensors of the network that the file has.
        anew: those of a head that the file lacks, which begin as those of a new network.
        unused: tensors of the file that the network has no use for.
        beside: what is to be said of other weights in the file, see `tensors.TensorSet`.
        licence: of the weights; "not stated" of a user's file.
        pretraining: what they were trained on, see `weights.pretraining_of`; None = not known.
    """

    weights: str
    sha256: str
    tokenizer: Tokenizer
    load: Callable[[Any], Loaded]
    read: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    beside: str = ""
    licence: Any = "not stated"
    pretraining: Mapping[str, Any] | None = None

    def said(self) -> dict[str, Any]:
        """What the card says of it, beside the held-out scores before the first step."""
        return {
            "weights": self.weights, "sha256": self.sha256, "license": self.licence,
            "read": list(self.read), "anew": list(self.anew), "unused": list(self.unused),
            **({"beside": self.beside} if self.beside else {}), "pretraining": self.pretraining,
        }  # fmt: skip


def start_of(model: Model, options: Mapping[str, Any], regime: str, length: int) -> Start | None:
    """The weights that a regime names; None = random ones.

    Args:
        model: with a language-model head.
        options: of the model, all of them.
        regime: scratch, pretrained, pretrained@REVISION, or checkpoint: and a folder of `dnabench
            pretrain` or a file; MODEL= may stand before it.
        length: bp of a window.

    Raises:
        ValueError: several regimes, or one of another model; weights that cannot be had, of other
            options, another tokenizer or other shapes, or without a part of the trunk; a file whose
            head is of another shape; a kept network of a task. A model of transformers must have
            its head in its own weights.
    """
    ((owner, named), *more) = regimes(regime).items()
    if more or len(named) != 1 or owner not in ("", model.name, *model.aliases):
        raise ValueError(
            f"--regime {regime}: one training begins with one set of weights of {model.name}; "
            "write scratch, pretrained or checkpoint:PATH"
        )
    (regime,) = named
    if regime == SCRATCH:
        return None
    folder = _folder(regime)
    if folder is not None:
        found = _of_folder(model, options, f"checkpoint:{folder}", folder)
    else:
        found = _of_file(model, options, regime)
    return _tried(found, model, options, length)


def _folder(regime: str) -> Path | None:
    """The folder with a card that a regime names, or the file of it."""
    kind, _, rest = regime.partition(":")
    path = Path(rest).expanduser()
    if kind != "checkpoint":
        return None
    if path.is_dir():
        return path
    # a link to the weights of a folder, and a folder whose weights are a link
    files = [file for file in (path, path.resolve()) if file.name == WEIGHTS]
    return next((file.parent for file in files if (file.parent / CARD).is_file()), None)


def _of_folder(model: Model, options: Mapping[str, Any], regime: str, folder: Path) -> Start:
    card = read_json(folder / CARD)
    if isinstance(card, dict) and (trained := trained_as(card)[0]) != model.name:
        raise ValueError(
            f"--regime {regime}: that is a network of {trained}, not of {model.name}; name "
            f"{trained} as the model, or a folder of {model.name}"
        )
    named, _ = resolve(model, regime)  # which wants a card
    if card.get("schema") != LANGUAGE:
        raise ValueError(
            f"--regime {regime}: that is a network of a task, which has no language-model head; "
            "name a folder of `dnabench pretrain`, or a file of weights"
        )
    tokenizer = tokenizer_in(folder, card, model)
    _check_tokenizer(tokenizer, named, model, options)
    check_files(model, card["options"], options, f"--regime {regime}")
    if other := differing(model, card["options"], options):
        raise ValueError(
            f"--regime {regime}: that network was trained with other options; write "
            f"{' '.join(other)}"
        )

    def load(net: Any) -> Loaded:
        return copy_into(net, model.name, tensors_in(folder, card), str(folder / WEIGHTS), str)

    return Start(
        weights=named, sha256=named.rpartition("@")[2], tokenizer=tokenizer, load=load,
        licence=card.get("license", "not stated"), pretraining=pretraining_of(card),
    )  # fmt: skip


def _of_file(model: Model, options: Mapping[str, Any], regime: str) -> Start:
    if model.own_tokenizer is not None and regime != "pretrained":
        raise ValueError(
            f"--regime {regime}: {model.name} has the weights of its own folder or repository; "
            "write --regime pretrained, or name another model: hf:ORG/NAME@REVISION, hf:./FOLDER"
        )
    found = weights_of(model, regime, options, whole=False)
    _check_tokenizer(found.tokenizer, found.named, model, options)
    published = found.named.startswith("pretrained:")
    return Start(
        weights=found.named, sha256=content_hash(found.file), tokenizer=found.tokenizer,
        load=found.load,
        licence=model.weights.license if published and model.weights else "not stated",
    )  # fmt: skip


def _check_tokenizer(
    read: Tokenizer, weights: str, model: Model, options: Mapping[str, Any]
) -> None:
    """ValueError unless the options name the tokenizer that the weights were trained with."""
    if model.own_tokenizer is not None:
        return
    name, file = model.tokenizer_name(options), str(options.get("tokenizer", "")).partition(":")[2]
    if read.name != name:
        raise ValueError(
            f"{weights} was trained with the tokenizer {read.name}, and here it is {name}; "
            f"write --set tokenizer={read.name}"
        )
    if not file or read.text is None:
        return
    own = tokenizer_named(name, file=Path(file).expanduser())
    if own.text is None or own.text() != read.text():
        raise ValueError(
            f"--set tokenizer={name}:{file}: {weights} was trained with other byte pairs, "
            f"which are beside its file; write --set tokenizer={name}"
        )


def _tried(found: Start, model: Model, options: Mapping[str, Any], length: int) -> Start:
    """With what the file has of a network, found out by loading it into one without any weights."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        net = language_model(model, options, length)
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(math.nan)
        loaded = found.load(net)
        own = net.state_dict()
        anew = [name for name, tensor in own.items() if bool(tensor.isnan().any())]
    read = tuple(name for name in own if name not in anew)
    unused, beside = tuple(loaded.unused), loaded.beside
    return replace(found, read=read, anew=tuple(anew), unused=unused, beside=beside)
