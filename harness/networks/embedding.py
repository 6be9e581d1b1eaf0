"""What a network makes of sequences before its head: embeddings, by layer, pooling and strand.

B batch, T tokens, D features, N sequences.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from copy import copy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dnabench.cache import file_sha256
from dnabench.models.heads import pooled
from dnabench.models.kernels.context import Kernels
from dnabench.models.outside.references import model_named
from dnabench.networks.card import Card
from dnabench.networks.network import Network
from dnabench.networks.unmasked import said_of_padding
from dnabench.tensors import note
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.train.batches import Resident
from dnabench.train.build import build_tokenizer
from dnabench.train.frozen import Frozen, built_by
from dnabench.train.pool import Pool
from dnabench.train.precision import Arithmetic, check_precision
from dnabench.types import Array, Job, Model, Recipe, Sequences, Split, Task, Trial
from dnabench.weights import load_regime, resolve

NO_ROWS = "{} has no layers with a row for each token, which could be pooled or cut out; {}"
OWN_POOL = "`dnabench embed --pool own` gives what its head sees"
POOLS = ("own", "mean", "max", "cls", "none")
STRANDS = ("one", "mean")


class Source(NamedTuple):
    """A network whose embeddings are wanted.

    length: bp of the longest sequence that it takes. padded: bp up to which a recipe that pads on
    the left does so; longer sequences are not padded. key: decides the features, with weights and
    sequences, for the cache; "" = nothing is stored. trained: bp of the windows of a language
    model's training; 0 = that is not known, or it is none. per_base: its head sees a row a base.
    told: `Network.told`; None = nothing was looked at before. card: of a kept network.
    """

    net: Any
    model: Model
    tokenizer: Tokenizer
    recipe: Recipe
    length: int
    padded: int
    key: str
    trained: int = 0
    per_base: bool = False
    told: set[Hashable] | None = None
    card: Card | None = None


def of_network(network: Network) -> Source:
    """A kept network.

    Raises:
        ValueError: a model that trains itself, so has no features.
    """
    model, trial = network.model, network.card.record.trial
    if model.custom_trainer:
        raise ValueError(f"{model.name} has no features before its answers; embed another model")
    tokenizer = network.tokenizer or TOKENIZERS[model.tokenizer]
    key = json.dumps([trial.model, dict(trial.options), "kept"])
    longest, padded = network.longest, network.task.length
    per_base = network.task.kind == "per_base"
    return Source(
        network.net, model, tokenizer, network.recipe, longest, padded, key, per_base=per_base,
        told=network.told, card=network.card,
    )  # fmt: skip


def of_model(
    name: str, regime: str, length: int, trust: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Source:  # fmt: skip
    """A model with the weights that a regime names.

    Args:
        name: of the model.
        regime: as the user writes it; under "scratch" random weights of seed 0.
        length: bp of the longest sequence.
        trust: whether code that an hf: model brings may be run.
        options: those that are not the model's defaults; tokenizer may be bpe:PATH.

    Raises:
        KeyError: no such model.
        ValueError: weights that cannot be had or do not fit the options, a model without features,
            no tokenizer file.
    """
    model = model_named(name, trust=trust)
    if model.custom_trainer:
        raise ValueError(f"{model.name} has no features before its answers; embed another model")
    named, path = resolve(model, regime)
    options = {**model.options, **options}
    words = _tokenizer_file(str(options.get("tokenizer", "")), path)
    if words is None and model.tokenizer_name(options) == "bpe" and named == "scratch":
        raise ValueError(
            f"{model.name} reads byte-pair tokens, which are learned from data: write --set "
            "tokenizer=bpe:PATH, or --regime pretrained"
        )
    if words is not None:
        options["tokenizer"] = f"bpe:{words.name}@{file_sha256(words)[:16]}"
    recipe = replace(model.recipes["default"], rc="none", precision="fp32")
    trial = Trial(
        model=model.name, options=options, regime=named, task="embed", data="", seed=0,
        protocol="honest/1", recipe=recipe,
    )  # fmt: skip
    job = Job(trial, checkpoint=path, tokenizer=str(words or ""))
    nothing = Split(Sequences.parse([]), np.zeros(0, np.int64), np.zeros(0, dtype="U1"))
    task = Task(
        name="embed", kind="binary", classes=("0", "1"), metric="mcc", length=length, counts={},
        data="", load=_no_data, source="", license="",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = model.build(task, options)
    if loaded := load_regime(net, model, named, path, options):
        note(loaded.beside)
    key = "" if named == "scratch" else json.dumps([model.name, options, named])
    return Source(net, model, build_tokenizer(job, nothing), recipe, length, length, key)


def _tokenizer_file(value: str, checkpoint: str) -> Path | None:
    """The file that the option tokenizer names, or that lies beside a checkpoint; None = neither.

    Raises:
        ValueError: the named file is missing.
    """
    if value == "bpe":
        beside = Path(checkpoint).parent / "tokenizer.json"
        return beside if checkpoint and beside.is_file() else None
    if not value.startswith("bpe:"):
        return None
    file = Path(value.removeprefix("bpe:")).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"no tokenizer file {file}; write tokenizer=bpe:PATH")
    return file


def _no_data(split: str) -> Split:
    raise ValueError(f"there is no {split} split")


class Embedder:
    """Embeddings of sequences, which the cache of features keeps.

    Args:
        source: the network.
        layer: output of that block, from 1; 0 = of the whole backbone.
        pool: one of POOLS: "own" = what the network's head sees, a row for each base where it
            answers each; "none" = a row for each base.
        strands: "mean" = the mean with the other strand's, for each base turned around.
        device: where it runs.
        instead: what a message advises for a network without a row for each token.

    Raises:
        ValueError: another word, a layer that there is not, a network without what is asked for.
    """

    def __init__(
        self, source: Source, layer: int = 0, pool: str = "own", strands: str = "one",
        device: str = "cpu", instead: str = OWN_POOL,
    ) -> None:  # fmt: skip
        for flag, word, known in (("pool", pool, POOLS), ("strands", strands, STRANDS)):
            if word not in known:
                raise ValueError(f"--{flag} {word!r}: write {', '.join(known)}")
        check_precision(source.recipe.precision, device)
        self._way, net = (layer, pool, strands), source.net
        own = pool == "own" and layer == 0
        if own and source.per_base:  # its head sees a row a base
            own, pool = not hasattr(net, "backbone"), "none"
        if not own:
            how = "mean" if pool == "own" else pool
            net = Before(net, source.model.name, layer, how, instead)
        elif not hasattr(net, "features"):
            raise ValueError(f"{source.model.name} has no features before its answers")
        self._net, self._source = net.to(device).eval(), source
        self.each_base, self.longest, self.card = pool == "none", source.length, source.card
        self._both = strands == "mean"
        self._arithmetic, self._kernels = Arithmetic(source.recipe.precision, device), Kernels()
        self._arithmetic.guard(self._net)
        built = built_by(source.model.build)
        what = f"{layer} {pool} {source.recipe.padding} {source.padded}"
        what += f" {source.recipe.max_length}" * (source.recipe.max_length > 0)
        self._key = f"{source.key} {built} {what}" if source.key and built else ""

    def __call__(self, seqs: Sequences) -> Array:
        """Float32 (N, D), or, without pooling, (bp of all, D), sequence after sequence."""
        longest = int(seqs.lengths.max(initial=0))
        if longest > self._source.length:
            raise ValueError(f"a sequence has {longest:,} bp, {self._source.length:,} at most fit")
        long = seqs.lengths > self._source.padded
        if self._source.recipe.padding == "mask" or long.all() or not long.any():
            return self._alike(seqs)
        short, others = (self._alike(seqs.take(np.flatnonzero(rows))) for rows in (~long, long))
        rows = long.repeat(seqs.lengths) if self.each_base else long
        out = np.empty((len(rows), short.shape[1]), np.float32)
        out[~rows], out[rows] = short, others
        return out

    def unmasked(self) -> str:
        """What is to be said, once, of a network that does not mask padding; "" = it does."""
        afresh, source = copy(self), self._source
        if source.told is not None:
            if self._way in source.told:
                return ""
            source.told.add(self._way)
        afresh._key = ""  # nothing of random sequences is stored
        return said_of_padding(source.model, source.recipe.precision, source.padded, afresh)

    def _alike(self, seqs: Sequences) -> Array:
        """As `__call__`, of sequences that are padded in the same way."""
        strands = [seqs, seqs.reverse_complement()][: 1 + self._both]
        longest = int(seqs.lengths.max(initial=0))
        frozen = Frozen(
            self._net, self._arithmetic, self._encode, Pool([seqs], self._both), self._key,
            self._kernels, longest if self.each_base else 0,
        )  # fmt: skip
        data = frozen(strands)
        n = len(seqs)
        rows = data.rows(np.arange(n * len(strands)))
        parts = [
            data.batch(rows[s * n : (s + 1) * n]).ids.cpu().numpy() for s in range(len(strands))
        ]
        if self.each_base:
            inside = np.arange(longest) < seqs.lengths[:, None]
            if self._both:
                place = np.arange(longest)
                turned = np.where(inside, seqs.lengths[:, None] - 1 - place, place)
                parts[1] = np.take_along_axis(parts[1], turned[..., None], axis=1)
            parts = [part[inside] for part in parts]
        return np.asarray(np.mean(parts, axis=0), np.float32)

    def _encode(self, seqs: Sequences) -> Resident:
        source = self._source
        recipe, length = source.recipe, source.padded
        padding = recipe.padding
        if not recipe.max_length and int(seqs.lengths.max(initial=0)) > length:
            length, padding = source.length, "mask"  # as `Network` reads what is longer
        encoded = source.tokenizer.shortened(seqs, length, padding, recipe.max_length)
        if encoded.n_cut and self.each_base:
            raise ValueError(
                f"--pool none: {source.model.name} was trained with max_length={recipe.max_length} "
                f"and reads no further, so {encoded.n_cut} sequences lose bases: shorten them"
            )
        if source.model.max_tokens and encoded.ids.shape[1] > source.model.max_tokens:
            raise ValueError(
                f"{source.model.name} reads at most {source.model.max_tokens} tokens; a sequence "
                f"has {encoded.ids.shape[1]}: leave it out"
            )
        return Resident([encoded], self._arithmetic.device, source.tokenizer.pad, self.each_base)


class Before(nn.Module):
    """A network up to a layer, with another pooling than its own.

    Args:
        net: with a submodule `backbone`.
        name: of the model, for messages.
        layer: block of the backbone, from 1; 0 = all of it.
        pool: mean, max, cls or none.
        instead: what messages advise, as of `Embedder`.
    """

    def __init__(self, net: Any, name: str, layer: int, pool: str, instead: str) -> None:
        super().__init__()
        if not (hasattr(net, "backbone") and len(signature(net.backbone.forward).parameters) > 1):
            raise ValueError(NO_ROWS.format(name, instead))
        self._instead = instead
        self.backbone, self._pool, self._layer, self._name = net.backbone, pool, layer, name
        blocks = blocks_of(net.backbone)
        if layer and not 1 <= layer <= len(blocks):
            have = f"has layers 1 to {len(blocks)}" if blocks else "has no layers by number"
            raise ValueError(f"--layer {layer}: {name} {have}; 0 = all of them")
        self._block = [blocks[layer - 1]] if layer else []  # in a list: no second parent

    def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, D), or (B, T, D) without pooling."""
        hidden = self._hidden(ids, mask)
        if hidden.shape[:2] != ids.shape and (self._pool == "none" or mask is not None):
            raise ValueError(NO_ROWS.format(self._name, self._instead))  # bins of several bases
        return hidden if self._pool == "none" else pooled(hidden, mask, self._pool)

    def _hidden(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        found: list[Tensor] = []

        def keep(module: Any, given: tuple[Any, ...], out: Any) -> None:
            first = out[0] if isinstance(out, tuple) else out
            if isinstance(first, Tensor) and first.dim() == 3:
                found.append(first)

        hooks = [block.register_forward_hook(keep) for block in self._block]
        try:
            hidden: Tensor = self.backbone(ids, mask)
        finally:
            for hook in hooks:
                hook.remove()
        if not self._block:
            return hidden
        if len(found) != 1 or found[0].shape[:2] != ids.shape:
            raise ValueError(f"--layer {self._layer}: its output has no row for each token; use 0")
        return found[0]


def blocks_of(backbone: Any) -> list[Any]:
    """The longest list of layers in a backbone that are more than single operations of PyTorch."""
    lists = [
        list(m) for m in backbone.modules()
        if isinstance(m, nn.ModuleList) and len(m)
        and not any(type(x).__module__.startswith("torch.nn.modules") for x in m)
    ]  # fmt: skip
    return max(lists, key=len, default=[])
