"""A kept network as a folder that transformers itself loads, with its configuration and tokenizer.

B batch, T tokens, K task outputs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from dnabench.cache import read_json
from dnabench.models.outside.classes import classifier_of
from dnabench.models.outside.native import Native
from dnabench.models.outside.transformer import quiet
from dnabench.networks.network import Network
from dnabench.tokens.engines import READ_AS, file_for_all_letters
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.types import Sequences

PROBLEMS = {"regression": "regression", "multilabel": "multi_label_classification"}
LIBRARY: Any = transformers
SEEDS = (0, 1)  # of the two batches that are compared
ANY = READ_AS["N"]


def write_folder(
    network: Network, to: Path, about: Mapping[str, Any], rounding: float
) -> tuple[int, float]:
    """Write the folder, load it with transformers alone, and compare tokens and logits.

    Args:
        network: on the CPU.
        to: the folder; an earlier export there is replaced.
        about: what config.json says of the network, under "dnabench".
        rounding: by how much of the largest logit one may differ.

    Returns:
        Tokens of the longest sequence that was tried, and the largest difference of a logit over
        the largest logit.

    Raises:
        ValueError: transformers has no such architecture or head, or gives other tokens or logits;
            a folder with something else in it. Nothing is written then.
    """
    tokenizer = network.tokenizer or TOKENIZERS[network.model.tokenizer]
    limits = [n for n in (network.recipe.max_length, network.model.max_tokens) if n]
    with quiet(), placed(to) as draft:
        net = _classifier(network, tokenizer, about)
        net.save_pretrained(draft)
        words_of(tokenizer, min(limits, default=0)).save_pretrained(draft)
        tried = [_compared(network, tokenizer, draft, seed) for seed in SEEDS]
        tokens, difference = max(n for n, _ in tried), float(np.max([d for _, d in tried]))
        if not difference <= rounding:
            raise ValueError(
                f"{network.model.name} cannot be exported to hf: {type(net).__name__} gives "
                f"other logits, off by {difference:.2g}.{_way_out(network)}"
            )
    return tokens, difference


@contextmanager
def placed(to: Path) -> Iterator[Path]:
    """An empty folder, which takes the place of `to` if all goes well.

    Raises:
        ValueError: `to` is there and is no network that dnabench exported.
    """
    if to.exists() and "dnabench" not in (read_json(to / "config.json") or {}):
        raise ValueError(f"{to} exists and is no network that dnabench exported; give another --to")
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        yield draft / "new"
        if to.exists():
            to.rename(draft / "old")
        (draft / "new").rename(to)
    finally:
        shutil.rmtree(draft)


def _native(network: Network, tokenizer: Tokenizer) -> Native:
    model = network.model
    per_base, options = network.task.kind == "per_base", network.card.record.trial.options
    if model.in_transformers is None or tokenizer.published is None:
        what = "architecture" if model.in_transformers is None else f"tokenizer ({tokenizer.name})"
        raise ValueError(f"{model.name} cannot be exported to hf: transformers has no such {what}")
    try:
        found = model.in_transformers({**model.options, **options}, tokenizer.pad, per_base)
    except ValueError as e:
        raise ValueError(f"{model.name} cannot be exported to hf: {e}") from None
    assert isinstance(found, Native)
    return found


def _classifier(network: Network, tokenizer: Tokenizer, about: Mapping[str, Any]) -> Any:
    """The model of transformers with the network's tensors."""
    native, task = _native(network, tokenizer), network.task
    config = LIBRARY.CONFIG_MAPPING[native.config["model_type"]].from_dict(dict(native.config))
    config.num_labels = task.n_outputs
    config.id2label = dict(enumerate(task.classes))
    config.label2id = {name: i for i, name in enumerate(task.classes)}
    config.problem_type = PROBLEMS.get(task.kind, "single_label_classification")
    config.dnabench = dict(about)
    auto = classifier_of(task.kind == "per_base")
    if type(config) not in auto._model_mapping:
        raise ValueError(f"transformers has no {auto.__name__} of {native.config['model_type']}")
    with torch.random.fork_rng(devices=[]):
        net = auto.from_config(config).float().eval()
    _fill(net, network, native)
    return net


def _fill(net: Any, network: Network, native: Native) -> None:
    head = _linear(net) if isinstance(network.net.head, nn.Linear) else ""
    tensors = dict[str, Tensor]()
    for ours, value in network.net.state_dict().items():
        name = f"{head}.{ours.removeprefix('head.')}" if head and ours.startswith("head.") else (
            native.name(ours)
        )  # fmt: skip
        if before := native.rows.get(ours, 0):
            value = torch.cat([value.new_zeros(before, *value.shape[1:]), value])
        tensors[name] = value
    own = net.state_dict()
    lacks = [n for n in own if n not in tensors and not n.startswith(native.unused or ("?",))]
    wrong = [n for n in tensors if n not in own or own[n].shape != tensors[n].shape]
    if lacks or wrong:
        shown = ", ".join([*(f"without {n}" for n in lacks[:2]), *(f"with {n}" for n in wrong[:2])])
        raise ValueError(
            f"{network.model.name} cannot be exported to hf: its head is not that of "
            f"{type(net).__name__} ({shown}).{_way_out(network)}"
        )
    net.load_state_dict(tensors, strict=False)


def _way_out(network: Network) -> str:
    trial, model = network.card.record.trial, network.model
    if trial.recipe.head == "conv":
        return " Its head is two convolutions; export to onnx"
    if trial.recipe.finetune == "probe":
        return " Its head is that of a probe, one linear layer; export to onnx"
    now = trial.options.get("pooling")
    better = "transformers" if "transformers" in model.choices.get("pooling", ()) else (
        model.options.get("pooling")
    )  # fmt: skip
    if now == better:
        return " Export to onnx"
    return (
        f" It was trained with pooling={now}; train with --set pooling={better}, or export to onnx"
    )


def _linear(net: Any) -> str:
    """The name of a head that is one linear layer, "" for another."""
    parts = {k: m for k, m in net.named_children() if k != net.base_model_prefix}
    linear = [k for k, m in parts.items() if isinstance(m, nn.Linear)]
    others = [m for m in parts.values() if not isinstance(m, nn.Linear | nn.Dropout)]
    return linear[0] if len(linear) == 1 and not others else ""


def words_of(tokenizer: Tokenizer, most: int) -> Any:
    """The tokenizer for transformers; `most` tokens a sequence, 0 = as many as it has."""
    from tokenizers import Tokenizer as Engine

    assert tokenizer.published is not None
    engine = Engine.from_str(file_for_all_letters(tokenizer.published()))
    hidden = {"mask_token": engine.id_to_token(tokenizer.mask)} if tokenizer.mask >= 0 else {}
    return LIBRARY.PreTrainedTokenizerFast(
        tokenizer_object=engine, pad_token=engine.id_to_token(tokenizer.pad),
        padding_side="right", model_input_names=["input_ids", "attention_mask"],
        **({"model_max_length": most} if most else {}), **hidden,
    )  # fmt: skip


def _compared(network: Network, tokenizer: Tokenizer, folder: Path, seed: int) -> tuple[int, float]:
    """Tokens and difference for random sequences; see `_random`."""
    task, rows = network.task, random_rows(network.task.length, seed, network.model.min_length)
    auto = classifier_of(task.kind == "per_base")
    words, net = LIBRARY.AutoTokenizer.from_pretrained(folder), auto.from_pretrained(folder).eval()
    texts = [spaced(row, tokenizer.spaced) for row in rows]
    most = network.recipe.max_length
    cut = {"truncation": True, "max_length": most} if most else {}
    given = words(texts, padding=True, return_tensors="pt", **cut)
    encoded = tokenizer.shortened(Sequences.parse(rows), task.length, "mask", most)
    ids, width = torch.from_numpy(encoded.ids).long(), encoded.ids.shape[1]
    mask = (torch.arange(width) < torch.from_numpy(encoded.tokens)[:, None]).float()
    same = given["input_ids"].shape == ids.shape and torch.equal(given["attention_mask"], mask)
    if not same or not torch.equal(given["input_ids"] * mask, ids * mask):
        raise ValueError(f"{network.model.name} exported to hf has a tokenizer of other ids")
    with torch.no_grad():
        own, found = network.net(ids, mask), net(**given).logits
    if task.kind == "per_base":
        own, found = own[mask.bool()], found[mask.bool()]
    scale = max(1.0, float(own.abs().max()))
    return width, float((found - own).abs().max()) / scale


def random_rows(length: int, seed: int, shortest: int) -> list[str]:
    """Sequences; with an odd seed of uneven lengths, with N and every letter that is read as one.

    Of those one has small letters, one U, one single ambiguous letters, and one a run of them.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(shortest, length // 2), length + 1, 5) if seed % 2 else [length] * 3
    rows = ["".join(rng.choice(list("ACGT"), n)) for n in lengths]
    if seed % 2:
        rows[0] = f"{rows[0][:-3]}NA{rows[0][-1]}"
        rows[1] = rows[1].lower()
        rows[2] = rows[2].replace("T", "U").replace("CU", "cu")
        rows[3] = "".join(rng.choice(list("ACGT" * 12 + ANY), len(rows[3])))
        rows[4] = f"{rows[4][: len(rows[4]) // 3]}{ANY}{rows[4]}"[: len(rows[4])]
    return rows


def spaced(text: str, k: int) -> str:
    """Overlapping k-mers with spaces between; the text itself without k."""
    return " ".join(text[i : i + k] for i in range(len(text) - k + 1)) if k else text
