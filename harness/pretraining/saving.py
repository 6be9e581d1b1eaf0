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


def load_pretrained(folder: Path | str) -> Pretrained:
    """A language model that `dnabench pretrain` wrote, on the CPU.

    Raises:
        FileNotFoundError: there is none in the folder.
        ValueError: its files are damaged or of another version.
    """
    from safetensors.torch import load

    folder = Path(folder)
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("schema") != LANGUAGE:
        raise FileNotFoundError(
            f"{folder} has no language model, which `dnabench pretrain` writes; a kept network of "
            "a task has none either"
        )
    data = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card["weights"]:
        raise ValueError(f"{folder / WEIGHTS} is not the file that {CARD} describes")
    model, options = model_named(reference_of(card)), card["options"]
    if model.own_tokenizer is not None:
        tokenizer = model.own_tokenizer()
    else:
        file = folder / card["tokenizer"] if card["tokenizer"] else None
        name = model.tokenizer_name(options)
        tokenizer = tokenizer_named(name, vocabulary=int(options.get("vocabulary", 0)), file=file)
    net = language_model(model, options, card["length"])
    copy_into(net, model.name, load(data), str(folder / WEIGHTS), str)
    return Pretrained(folder, card, model, options, tokenizer, net.eval())


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
    """What is wrong with scoring these sequences; "" if they were held out."""
    own = [one for one in card["genomes"] if one["sha256"] == genome.sha256]
    if not own:
        return (
            f"the training did not read this very file ({genome.name}), so what it saw of these "
            "sequences is not known"
        )
    held = {name for one in own for name in one["held_out"]}
    seen = [genome.contigs[i] for i in contigs if genome.contigs[i] not in held]
    if not seen:
        return ""
    return f"the network was trained on {', '.join(seen)}; the chains beside it were not"


def check_genes(annotation: Annotation | None, genome: Genome, contigs: Sequence[int]) -> None:
    """ValueError if none of the sequences has a gene."""
    if annotation is not None and not any(genes_of(annotation, genome, i) for i in contigs):
        raise ValueError(
            f"{annotation.path} has no gene on {few([genome.contigs[i] for i in contigs])}: it has "
            f"{few([*annotation.genes])}"
        )
