"""A kept network, loaded: its logits for new sequences.

N sequences, L length in bp of the longest, K task outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.models.outside.hub import PREFIX
from dnabench.models.outside.references import FIXED, model_named
from dnabench.networks.answers import Columns, beside, columns, temperature_of
from dnabench.networks.card import WEIGHTS, Card, card_of
from dnabench.registry import MODELS
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Array, Learner, Model, Recipe, Sequences, Split, Task

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


class Network:
    """A network that predicts as it did when its test split was scored.

    Args:
        card: what it is.
        model: of the registry.
        net: a torch module, or a learner for a model that trains itself.
        tokenizer: None = the model's own.
        recipe: as it was trained; the precision may be another.
        device: where it runs.

    Raises:
        ValueError: a precision that the device lacks.
    """

    def __init__(
        self, card: Card, model: Model, net: Any, tokenizer: Tokenizer | None, recipe: Recipe,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self.card, self.model, self.net, self.device = card, model, net, device
        self.task, self.tokenizer, self.recipe = card.task_without_data(), tokenizer, recipe
        self._predictors: dict[int, Any] = {}
        self.told = set[Hashable]()  # what was looked at once for a remark
        if not model.custom_trainer:
            self._predictor(self.task.length)

    def logits(
        self, seqs: Sequences | Iterable[str], other: Sequences | Iterable[str] | None = None
    ) -> Array:
        """What the network answers, on both strands if it was trained so.

        Args:
            seqs: N sequences; per base they may be longer than those it was trained on.
            other: of a task whose examples are pairs, the second sequence of each, such as the
                alternative allele; the logits are f(other) - f(seqs).

        Returns:
            float32 (N, K), per base (N, L, K) with zeros beyond a sequence's end; of a regression
            the predicted values.

        Raises:
            ValueError: a sequence that is too short or too long; the message says what is allowed.
                `other` is missing, or there is one more.
        """
        seqs, other = _parsed(seqs), None if other is None else _parsed(other)
        self.check_pairs(other is not None)
        if other is not None and len(other) != len(seqs):
            raise ValueError(f"{len(other)} second sequences for {len(seqs)} first ones")
        if not len(seqs):
            shape = (0, 0) if self.task.kind == "per_base" else (0,)
            return np.zeros((*shape, self.task.n_outputs), np.float32)
        for part in filter(None, (seqs, other)):
            self.check(part, [f"sequence {i}" for i in range(len(seqs))])
        return self.prepared(seqs, other)()

    def predict(
        self, seqs: Sequences | Iterable[str], ids: Sequence[str] = (), calibrated: bool = False,
        other: Sequences | Iterable[str] | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """The answers as a table; columns as `answers.columns` names them.

        Args:
            seqs: as for `logits`.
            ids: names of the sequences; () = their numbers from 0.
            calibrated: divide logits by the temperature that was fitted on validation.
            other: as for `logits`.

        Returns:
            A row for each sequence, with its `id`; per base a row for each base, with the `id` of
            its sequence and its `position` from 0.

        Raises:
            ValueError: as `logits`; another number of ids; no temperature.
        """
        import pandas as pd

        seqs = _parsed(seqs)
        names = np.array(list(ids) or [str(i) for i in range(len(seqs))])
        if len(names) != len(seqs):
            raise ValueError(f"{len(names)} ids for {len(seqs)} sequences")
        logits = self.logits(seqs, other)
        rows: Columns = {"id": names}
        if self.task.kind == "per_base":
            inside = np.arange(logits.shape[1]) < seqs.lengths[:, None]
            logits, places = logits[inside], np.nonzero(inside)[1]
            rows = {"id": names.repeat(seqs.lengths), "position": places}
        temperature = temperature_of(self.card, calibrated)
        found = columns(self.card, logits, temperature)
        return pd.DataFrame(beside(rows, found, self.task.pairs))

    def prepared(self, seqs: Sequences, other: Sequences | None = None) -> Callable[[], Array]:
        """Encode the sequences; the function gives their logits, of each as if it were alone.

        Of pairs `other` has the second ones, as many.
        """
        short = seqs.lengths <= self.task.length
        alike = self.task.kind != "per_base" or self.recipe.padding == "mask"
        if alike or short.all() or not short.any():
            return self._prepared(seqs, other)
        groups = [np.flatnonzero(short), np.flatnonzero(~short)]  # they are padded differently
        parts = [(rows, self._prepared(seqs.take(rows))) for rows in groups]

        def together() -> Array:
            shape = (len(seqs), int(seqs.lengths.max()), self.task.n_outputs)
            out = np.zeros(shape, np.float32)
            for rows, predict in parts:
                found = predict()
                out[rows, : found.shape[1]] = found
            return out

        return together

    def _prepared(self, seqs: Sequences, other: Sequences | None = None) -> Callable[[], Array]:
        longest = int(seqs.lengths.max())
        split = _unlabelled(seqs, self.task, longest)._replace(other=other)
        if self.model.custom_trainer:
            learner: Learner = self.net
            return learner.predictor(split)
        per_base = self.task.kind == "per_base"  # of others, only those that are cut are longer
        predictor = self._predictor(max(longest if per_base else 0, self.task.length))
        prepared: Callable[[], Array] = predictor.predictor(split)
        return prepared

    def check_pairs(self, pairs: bool) -> None:
        """Raise ValueError unless examples are pairs exactly where the network's are."""
        if self.task.pairs and not pairs:
            raise ValueError(
                f"{self.task.name}: an example is two sequences, and the network answers "
                "f(second) - f(first): give a VCF with --genome, or a table with the columns "
                "reference and alternative; in Python other=..."
            )
        if pairs and not self.task.pairs:
            score = ", and `dnabench probe variants` scores variants by this one"
            raise ValueError(
                f"{self.task.name}: an example is one sequence, and pairs were given; a network "
                f"of pairs is trained on a VCF{score * (self.task.kind != 'per_base')}"
            )

    def check(self, seqs: Sequences, names: Sequence[str]) -> None:
        """Raise ValueError for a sequence, by its name, that is too short or too long."""
        shortest, longest = int(seqs.lengths.min()), int(seqs.lengths.max())
        least, most = max(1, self.model.min_length), self.longest
        model = self.card.record.trial.model
        if shortest < least:
            raise ValueError(
                f"{names[int(seqs.lengths.argmin())]} has {shortest} bp; {model} needs {least} or "
                "more: leave it out"
            )
        if longest > most:
            advice = f"cut it into windows (--window {most})"
            if self.task.pairs:
                advice = "give that much of both sequences, with the difference in the middle"
            raise ValueError(
                f"{names[int(seqs.lengths.argmax())]} has {longest:,} bp; this network of {model} "
                f"reads {most:,} at most: {advice}"
            )

    @property
    def longest(self) -> int:
        """The longest sequence that it takes, in bp: as trained, per base the model's context.

        The task's longest, also where the recipe's `max_length` cuts it.
        """
        whole = int(self.card.record.task.get("length", 0))
        return self.model.context if self.task.kind == "per_base" else max(whole, self.task.length)

    def _predictor(self, length: int) -> Any:
        from dnabench.train.objectives import Supervised
        from dnabench.train.predictor import Predictor, Reading

        if length not in self._predictors:
            task = replace(self.task, length=length)
            reading, recipe = Reading(self.model, task, self.tokenizer), self.recipe
            if length > self.task.length:  # nothing in training was padded to this length
                recipe = replace(recipe, padding="mask")
            objective = Supervised(task, of_bases=recipe.head == "conv")
            self._predictors = {
                length: Predictor(self.net, reading, objective, recipe, self.device)
            }
        return self._predictors[length]


def _parsed(seqs: Sequences | Iterable[str]) -> Sequences:
    return seqs if isinstance(seqs, Sequences) else Sequences.parse(seqs)


def _unlabelled(seqs: Sequences, task: Task, longest: int) -> Split:
    """A split with labels that nothing reads."""
    shape = (len(seqs), longest) if task.kind == "per_base" else (len(seqs),)
    return Split(seqs, np.zeros(shape, np.int8), np.zeros(len(seqs), dtype="U1"))


def load_network(
    path: Path | str, *, model: str = "", device: str = "cpu", precision: str = "",
    trust_remote_code: bool = False,
) -> Network:  # fmt: skip
    """Load a network that `run --keep` kept.

    Args:
        path: its folder, `runs/networks/<trial id>`.
        model: the model again, for one whose code is a file of yours or of a hub; its trial names
            the hash of that code, which must be the same. "" = as the trial names it.
        device: cpu, cuda or cuda:N.
        precision: another than it was trained with: fp32, tf32, bf16 or fp16.
        trust_remote_code: run the code that an hf: model brings, as its training did.

    Raises:
        FileNotFoundError: there is no kept network.
        KeyError: its model is not registered here.
        ValueError: a file that is damaged or does not fit, weights of its backbone that cannot be
            had, a precision that the device lacks.
    """
    folder, card = card_of(path)
    found = _model_of(card, model, trust_remote_code)
    tensors = _read(folder / WEIGHTS, card)
    net = assembled(card, found, tensors, folder / WEIGHTS)
    tokenizer = None
    name = found.tokenizer_name(card.record.trial.options)
    if card.tokenizer:
        tokenizer = tokenizer_named(name, file=folder / card.tokenizer)
    elif not found.custom_trainer:
        tokenizer = found.own_tokenizer() if found.own_tokenizer else tokenizer_named(name)
    changes: dict[str, Any] = {"precision": precision} if precision else {}
    recipe = replace(card.record.trial.recipe, **changes)
    return Network(card, found, net, tokenizer, recipe, device)


def _model_of(card: Card, given: str, trust: bool) -> Model:
    """The model, its code the same as in training if that is a file or of a hub."""
    trial = card.record.trial
    on_hub = trial.model.startswith(PREFIX) and not trial.model.startswith(f"{PREFIX}./")
    mine = not on_hub and ("code" in trial.options or trial.model.startswith(PREFIX))
    if not given and trial.model not in MODELS and mine:
        raise ValueError(
            f"the code of {trial.model} is not part of dnabench; give it again: "
            f"--model PATH/{trial.model}, in Python model=..."
        )
    pinned = f"@{trial.options['revision']}" if on_hub else ""
    found = model_named(given or f"{trial.model}{pinned}", trust=trust)
    if found.name != trial.model:
        raise ValueError(f"--model {given}: this network is one of {trial.model}")
    for name, what in FIXED.items():
        trained, now = (o.get(name) for o in (trial.options, found.options))
        if trained != now:
            raise ValueError(
                f"--model {given}: {what} is {now}, that of the network was {trained}; give it as "
                "it was"
            )
    return found


def _read(file: Path, card: Card) -> dict[str, Tensor]:
    from safetensors.torch import load

    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.weights:
        raise ValueError(
            f"{file}: not the file that was kept, its SHA-256 is another; remove the folder and "
            "run the same command again"
        )
    return load(data)


def assembled(card: Card, model: Model, tensors: Mapping[str, Tensor], source: Path | str) -> Any:
    """The network, or the learner, with its weights; `source` is their name in messages."""
    import torch

    from dnabench.train.adapt import probed, with_head
    from dnabench.weights import load_regime

    task, trial = card.task_without_data(), card.record.trial
    with torch.random.fork_rng(devices=[]):
        net = model.build(task, trial.options)
    if model.custom_trainer:
        empty = _unlabelled(Sequences.parse([]), task, 0)
        learner = net(empty, trial.recipe)
        learner.restore({name: value.numpy() for name, value in tensors.items()})
        return learner
    if trial.recipe.finetune == "probe" and trial.recipe.head == "own":
        width = tensors["head.weight"].shape[1]
        probed(net, width, task.n_outputs)
    if card.backbone:
        load_regime(net, model, card.backbone, "")
    with torch.random.fork_rng(devices=[]):
        net = with_head(net, model, task, trial.options, trial.recipe)
    try:
        missing, unknown = net.load_state_dict(tensors, strict=not card.backbone)
    except RuntimeError as e:
        why = str(e).splitlines()
        raise ValueError(
            f"{source} does not fit {model.name} of this version: "
            f"{' '.join(line.strip() for line in why[1:4])}"
        ) from e
    if unknown or any(name.startswith("head.") for name in missing):
        raise ValueError(f"{source} does not fit {model.name}: {[*unknown, *missing]}")
    return net.eval()
