"""The folder of a pretrained network: what was trained, on what, and the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabench.cache import read_json, replacing
from dnabench.loading import copy_into
from dnabench.models.language import language_model
from dnabench.models.outside.references import model_named
from dnabench.pretraining.classes import genes_of
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Model
from dnabench.weights import begun_with, check_files, trainings_of

if TYPE_CHECKING:
    from torch import Tensor

LANGUAGE = "dnabench.language/1"
CARD, WEIGHTS, TOKENIZER = "network.json", "model.safetensors", "tokenizer.json"


@dataclass(frozen=True)
class Pretrained:
    """A language model from a folder.

    Args:
        folder: that it is in.
        card: network.json.
        model: its family.
        options: of the model, all of them.
        tokenizer: of the model.
        net: from `models.language.language_model`, in evaluation.
    """

    folder: Path
    card: Mapping[str, Any]
    model: Model
    options: Mapping[str, Any]
    tokenizer: Tokenizer
    net: Any

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    @property
    def length(self) -> int:
        """Bp of the windows that it was trained on."""
        return int(self.card["length"])


def save(
    folder: Path, card: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: Tokenizer
) -> None:
    """Write weights, tokenizer and, last, network.json."""
    from safetensors.torch import save as to_bytes

    weights = to_bytes({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
    files = {WEIGHTS: weights}
    if tokenizer.text is not None:
        files[TOKENIZER] = tokenizer.text().encode()
    said = {
        "schema": LANGUAGE, **card, "weights": hashlib.sha256(weights).hexdigest(),
        "tokenizer": TOKENIZER if TOKENIZER in files else "",
    }  # fmt: skip
    files[CARD] = json.dumps(said, sort_keys=True, indent=1).encode()
    for name, content in files.items():
        with replacing(folder / name) as file:
            file.write(content)


def reference_of(card: Mapping[str, Any]) -> str:
    """What -m names the model: of one from outside, where it is."""
    return str(card.get("reference") or card["model"])


def is_language(folder: Path) -> bool:
    """Whether `dnabench pretrain` wrote the folder."""
    card = read_json(folder / CARD)
    return isinstance(card, dict) and card.get("schema") == LANGUAGE


def load_pretrained(folder: Path | str, trust: bool = False) -> Pretrained:
    """A language model that `dnabench pretrain` wrote, on the CPU.

    Args:
        folder: with its network.json.
        trust: whether code that an hf: model brings may be run.

    Raises:
        FileNotFoundError: there is none in the folder.
        ValueError: its files are damaged or of another version; the configuration, tokenizer or
            code of its hf: model is another.
    """
    folder = Path(folder)
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("schema") != LANGUAGE:
        raise FileNotFoundError(
            f"{folder} has no language model, which `dnabench pretrain` writes; a kept network of "
            "a task has none either"
        )
    tensors = tensors_in(folder, card)
    model, options = model_named(reference_of(card), trust=trust), card["options"]
    check_files(model, options, model.options, str(folder))
    tokenizer = tokenizer_in(folder, card, model)
    net = language_model(model, options, card["length"])
    copy_into(net, model.name, tensors, str(folder / WEIGHTS), str)
    return Pretrained(folder, card, model, options, tokenizer, net.eval())


def tensors_in(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in a folder; ValueError if they are not those of the card."""
    from safetensors.torch import load

    data = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card["weights"]:
        raise ValueError(f"{folder / WEIGHTS} is not the file that {CARD} describes")
    return load(data)


def tokenizer_in(folder: Path, card: Mapping[str, Any], model: Model) -> Tokenizer:
    """The tokenizer of the network in a folder."""
    if model.own_tokenizer is not None:
        own: Tokenizer = model.own_tokenizer()
        return own
    options, file = card["options"], folder / card["tokenizer"] if card["tokenizer"] else None
    name = model.tokenizer_name(options)
    return tokenizer_named(name, vocabulary=int(options.get("vocabulary", 0)), file=file)


def held_out(card: Mapping[str, Any], genome: Genome) -> list[str]:
    """The sequences of a genome that the training held out.

    Raises:
        ValueError: there are none, or the training knew another genome.
    """
    found = dict.fromkeys(
        name for one in card["genomes"] if one["sha256"] == genome.sha256
        for name in one["held_out"]
    )  # fmt: skip
    if not found:
        raise ValueError(
            f"the training held out no sequence of this very file ({genome.name}); name one with "
            "--sequence"
        )
    return [*found]


def trained_on(card: Mapping[str, Any], genome: Genome, contigs: Sequence[int]) -> str:
    """What is wrong with scoring these sequences; "" if they were held out.

    A network that went on from other weights has seen what these had seen.
    """
    seen = seen_in(card, genome, contigs)
    if seen is None:
        return (
            f"the training did not read this very file ({genome.name}), so what it saw of these "
            "sequences is not known"
        )
    said = list[str]()
    if seen:
        said.append(f"the network was trained on {', '.join(seen)}; the chains beside it were not")
    if also := elsewhere(card, genome):
        said.append(f"it was also {also} these sequences")
    if unknown := begun_with(card):
        said.append(
            f"it began with {unknown}, and what these weights were trained on is not known here, "
            "so they may have seen these sequences"
        )
    return "; ".join(said)


def seen_in(
    card: Mapping[str, Any], genome: Genome, contigs: Sequence[int]
) -> list[str] | None:  # fmt: skip
    """Which sequences of a genome the trainings behind a network did not hold out.

    None = that is not known, since none of them read this very file.
    """
    parts = trainings_of(card) or [card]
    held = [of for part in parts if (of := _held_by(part, genome)) is not None]
    names = [genome.contigs[i] for i in contigs]
    return [name for name in names if any(name not in of for of in held)] if held else None


def elsewhere(card: Mapping[str, Any], genome: Genome) -> str:
    """The other files that a network was trained on, and that they may have copies; "" = none."""
    others = [part for part in trainings_of(card) if _held_by(part, genome) is None]
    files = dict.fromkeys(one["name"] for part in others for one in part["genomes"])
    return f"trained on {', '.join(files)}, which may have copies of" if files else ""


def _held_by(part: Mapping[str, Any], genome: Genome) -> set[str] | None:
    """What a training held out of a genome; None = it did not read this very file."""
    own = [one for one in part["genomes"] if one["sha256"] == genome.sha256]
    return {name for one in own for name in one["held_out"]} if own else None


def check_genes(annotation: Annotation | None, genome: Genome, contigs: Sequence[int]) -> None:
    """ValueError if none of the sequences has a gene."""
    if annotation is not None and not any(genes_of(annotation, genome, i) for i in contigs):
        raise ValueError(
            f"{annotation.path} has no gene on {few([genome.contigs[i] for i in contigs])}: it has "
            f"{few([*annotation.genes])}"
        )
