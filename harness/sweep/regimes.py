"""Regimes of training: which networks are pretrained, and the trials that compare them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.cache import read_json, replacing
from dnabench.models.language import language_of
from dnabench.pretraining.gathering import copies, gathered, unsaid
from dnabench.pretraining.recipes import Pretraining, check_warmup, named_of
from dnabench.pretraining.saving import CARD
from dnabench.pretraining.shuffling import shuffled_genome
from dnabench.pretraining.training import Training, steps_for
from dnabench.protocols import protocol_named
from dnabench.registry import TASKS
from dnabench.results.regimes import (
    COMPUTE,
    CONTROLS,
    FROZEN,
    PRETRAINED,
    PRETRAININGS,
    SCRATCH,
    SHUFFLED,
)
from dnabench.sweep.grid import Request, models_of
from dnabench.sweep.numbers import parse_seeds
from dnabench.sweep.settings import check_settings, chosen
from dnabench.sweep.tasks import tasks_of
from dnabench.tasks.io.packed import packed
from dnabench.types import Model, Progress, Recipe

STRIDE = 1000  # between the seeds of the fine-tunings of one pretraining and of the next
Held = tuple[Path, str]  # a genome and a sequence of it


@dataclass(frozen=True, kw_only=True)
class RegimesRequest:
    """The flags of `dnabench regimes` that decide anything."""

    grid: Request
    genomes: Mapping[str, Sequence[str]]  # name -> FASTA files
    budget: float  # bp that a pretraining sees
    how: Pretraining
    holdout: Sequence[str] = ()
    exclude: Sequence[str] = ()  # tasks whose test sequences no pretraining reads
    tokenizers: Sequence[str] = ()  # char, bpe; () = each model's own
    pretrain_seeds: int = 1
    controls: Sequence[str] = CONTROLS
    looks: int = 5


class Kept(NamedTuple):
    """A pretraining and its folder."""

    training: Training
    folder: Path

    @property
    def card(self) -> Mapping[str, Any] | None:
        """Of the network; None until it is trained."""
        found = read_json(self.folder / CARD)
        return found if isinstance(found, dict) else None


class Column(NamedTuple):
    """A model with a tokenizer under a regime."""

    model: Model
    tokenizer: str
    settings: tuple[str, ...]  # name=value, those of the tokenizer too
    regime: str
    kind: str
    kept: tuple[Kept, ...] = ()  # by seed


def columns_of(
    request: RegimesRequest, out: Path, progress: Progress = lambda done, total: None,
    shuffling: Progress = lambda done, total: None, drafts: Path | None = None,
    say: Callable[[str], object] = unsaid,
) -> list[Column]:  # fmt: skip
    """All columns of the table; genomes are packed and shuffled, byte pairs learned, as needed.

    Args:
        request: what to compare.
        out: results folder.
        progress: of reading genomes, in bp.
        shuffling: of shuffling them, in bp.
        drafts: where byte pairs go that `out` lacks, in which nothing is then written, and no
            genome is shuffled; a network that needs one has a folder that is not there.
        say: called with a sentence for each genome and task that is left out of it.

    Raises:
        KeyError, OSError, ValueError: as `grid` and `pretraining.gathering.gathered`; a tokenizer
            that no model takes, a control that does not exist, sequences that nothing holds out,
            seeds that no pretraining can have.
    """
    models = list({model.name: model for model in models_of(request.grid)}.values())
    for model in models:
        language_of(model)
    _check(request, models)
    genomes = {
        name: (tuple(map(Path, files)), _held_in(request, name))
        for name, files in request.genomes.items()
    }
    for path in dict.fromkeys(path for paths, _ in genomes.values() for path in paths):
        genome = packed(path, progress)
        for task in request.exclude:
            say(copies(task, genome).said)
    _check_apart(genomes)
    first = next(iter(genomes))
    kinds = dict.fromkeys(genomes, PRETRAINED)
    if SHUFFLED in request.controls:
        name = f"{first} {SHUFFLED}"
        genomes[name], kinds[name] = (
            _shuffled(*genomes[first], out, shuffling, drafts is None), SHUFFLED
        )  # fmt: skip
    found = []
    for model in models:
        for tokenizer, settings in _tokenizers(model, request, genomes[first], out, drafts):
            made = Column(model, tokenizer, settings, SCRATCH, SCRATCH)
            found.append(made)
            for name, (paths, held) in genomes.items():
                kept = tuple(
                    _kept(made, request, name, paths, held, seed, out)
                    for seed in range(request.pretrain_seeds)
                )
                found.append(made._replace(regime=name, kind=kinds[name], kept=kept))
            controls = [kind for kind in (COMPUTE, FROZEN) if kind in request.controls]
            if FROZEN in controls and _frozen(made, request):
                controls.remove(FROZEN)
                same = f"with finetune=probe, {SCRATCH} of {model.name} is the same"
                say(f"{FROZEN} is left out: {same}")
            found += [made._replace(regime=kind, kind=kind) for kind in controls]
    return found


def _check_apart(genomes: Mapping[str, tuple[tuple[Path, ...], tuple[Held, ...]]]) -> None:
    """ValueError where two names stand for the same bases, of which the same are held out."""
    seen = dict[str, str]()
    for name, (paths, held) in genomes.items():
        files = sorted(packed(path).sha256 for path in paths)
        out = sorted((packed(path).sha256, sequence) for path, sequence in held)
        other = seen.setdefault(f"{files} {out}", name)
        if other != name:
            raise ValueError(
                f"--genomes: {other} and {name} are the same bases, which would be pretrained on "
                "once; leave out one of the two"
            )


def _frozen(column: Column, request: RegimesRequest) -> bool:
    """Whether a column trains a head on frozen features, whatever its regime."""
    recipe = column.model.recipes.get(request.grid.recipe, Recipe())
    _, fields = chosen(column.model, column.settings)
    return bool(fields.get("finetune", recipe.finetune) == "probe")


def _check(request: RegimesRequest, models: Sequence[Model]) -> None:
    if not request.genomes:
        raise ValueError("--genomes is empty; write human=hg38.fa,multi=hg38.fa+mm10.fa")
    if wrong := [name for name in request.genomes if {*name} & {*"/,="} or not name.strip()]:
        raise ValueError(
            f"--genomes: {wrong[0]!r} is no name for genomes, which is part of a folder's; write "
            "one without / , ="
        )
    if unknown := [c for c in request.controls if c not in CONTROLS]:
        raise ValueError(f"--controls {unknown[0]!r}: choose from {', '.join(CONTROLS)}, or none")
    if request.grid.regime or request.grid.sweeps:
        raise ValueError("--regime and --sweep have no part in this: --genomes says the regimes")
    if len(request.grid.train_share) > 1:
        raise ValueError("--train-share: give one")
    if request.pretrain_seeds < 1:
        raise ValueError(f"--pretrain-seeds {request.pretrain_seeds}: give 1 or more")
    if any(s.partition("=")[0].rpartition(".")[2] == "tokenizer" for s in request.grid.settings):
        raise ValueError("--set tokenizer: write --tokenizers char,bpe")
    check_settings(models, request.grid.settings)
    tasks_of(request.grid)
    for task in request.exclude:
        TASKS[task]  # KeyError
    _check_seeds(request)
    check_warmup(request.how, steps_for(request.budget, request.how), "--pretrain-set")
    for name in request.tokenizers:
        if not any(name in (*m.choices.get("tokenizer", ()), m.tokenizer) for m in models):
            raise ValueError(f"--tokenizers {name!r}: none of the models takes it")


def _check_seeds(request: RegimesRequest) -> None:
    protocol, most = protocol_named(request.grid.protocol), max(parse_seeds(request.grid.seeds))
    if most >= STRIDE:
        raise ValueError(
            f"--seeds: {most} is too large; the fine-tunings of pretraining k have the seeds from "
            f"{STRIDE} k on, so give seeds below {STRIDE}"
        )
    if protocol.validation == "fold" and request.pretrain_seeds > 1:
        raise ValueError(
            f"--pretrain-seeds {request.pretrain_seeds}: the seeds of {protocol.name} are folds, "
            "and each pretraining needs seeds of its own; write --pretrain-seeds 1, or --protocol "
            "honest"
        )


def _held_in(request: RegimesRequest, name: str) -> tuple[Held, ...]:
    """What a set of genomes holds out."""
    paths, every = [*map(Path, request.genomes[name])], {
        str(path) for files in request.genomes.values() for path in files
    }  # fmt: skip
    known, found = every | {Path(path).name for path in every}, list[Held]()
    for text in request.holdout:
        file, _, sequence = text.rpartition(":")
        if file in known:
            found += [(path, sequence) for path in paths if file in (str(path), path.name)]
        elif len(paths) == 1:
            found.append((paths[0], text))
        else:
            raise ValueError(f"--holdout {text}: {name} has several files; write FILE:{text}")
    if not found:
        raise ValueError(
            f"--genomes {name}: nothing of it is held out to evaluate on; write --holdout "
            f"{paths[0].name}:SEQUENCE"
        )
    return tuple(found)


def _shuffled(
    paths: tuple[Path, ...], held: tuple[Held, ...], out: Path, progress: Progress, write: bool
) -> tuple[tuple[Path, ...], tuple[Held, ...]]:
    """The same with the dinucleotides of each file shuffled, once for all seeds.

    Unless it may `write`, the files themselves where some are not there yet.
    """
    new, names = dict[Path, Path](), list[Held]()
    for path in paths:
        genome = packed(path)
        to = out / PRETRAININGS / f"shuffled-{genome.sha256[:12]}.fa"
        if not (write or to.is_file()):
            return paths, held
        new[path] = shuffled_genome(genome, 0, to, progress)
        names += [(to, genome.contigs[genome.number(name)]) for of, name in held if of == path]
    return tuple(new.values()), tuple(names)


def _own(model: Model, settings: Sequence[str]) -> list[str]:
    """The settings that are for a model and that it has."""
    found = []
    for setting in settings:
        owner, _, name = setting.partition("=")[0].rpartition(".")
        mine = owner in (model.name, *model.aliases)
        takes = name in model.options or (name in Recipe().numbers and model.reads(name))
        if mine or (not owner and takes):
            found.append(setting)
    return found


def _tokenizers(
    model: Model, request: RegimesRequest, data: tuple[tuple[Path, ...], tuple[Held, ...]],
    out: Path, drafts: Path | None,
) -> list[tuple[str, tuple[str, ...]]]:  # fmt: skip
    """Each tokenizer of a model, with the settings of its trials; byte pairs are learned once.

    A model that takes none of --tokenizers has its own.
    """
    own = tuple(_own(model, request.grid.settings))
    if "tokenizer" not in model.options:
        return [(model.tokenizer, own)]
    allowed, found = model.choices.get("tokenizer", ()), list[tuple[str, tuple[str, ...]]]()
    named = dict.fromkeys(request.tokenizers)
    asked = [name for name in named if not allowed or name in allowed]
    for name in asked or [model.tokenizer_name(model.options)]:
        if name == "bpe":
            file = _byte_pairs(model, own, request, data, out, drafts)
            found.append((name, (*own, f"tokenizer=bpe:{file}")))
        else:  # which have a vocabulary of their own
            kept = [s for s in own if s.partition("=")[0].rpartition(".")[2] != "vocabulary"]
            found.append((name, (*kept, f"tokenizer={name}")))
    return found


def _byte_pairs(
    model: Model, settings: Sequence[str], request: RegimesRequest,
    data: tuple[tuple[Path, ...], tuple[Held, ...]], out: Path, drafts: Path | None,
) -> Path:  # fmt: skip
    """The file of byte pairs of the first genome; the same in every regime and for every seed."""
    options, _ = chosen(model, [*settings, "tokenizer=bpe"])
    paths, held = data
    size = int(options["vocabulary"])
    said = [size, request.how.length, [packed(p).sha256 for p in paths], sorted(
        (packed(path).sha256, name) for path, name in held
    )]  # fmt: skip
    said += [[TASKS[task].data for task in request.exclude]] * bool(request.exclude)
    path = out / PRETRAININGS / f"bpe-{size}-{digest(said)}.json"
    path = drafts / path.name if drafts and not path.is_file() else path
    if not path.is_file():
        training = gathered(
            model, options, request.how, paths, request.budget, holdout=_texts(held),
            exclude=request.exclude,
        )  # fmt: skip
        assert training.tokenizer.text is not None  # byte pairs have one
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(training.tokenizer.text().encode())
    return path.resolve()


def _texts(held: Sequence[Held]) -> list[str]:
    return [f"{path}:{name}" for path, name in held]


def _kept(
    made: Column, request: RegimesRequest, name: str, paths: Sequence[Path],
    held: Sequence[Held], seed: int, out: Path,
) -> Kept:  # fmt: skip
    options, _ = chosen(made.model, made.settings)
    training = gathered(
        made.model, options, request.how, paths, request.budget, holdout=_texts(held),
        exclude=request.exclude, looks=request.looks, seed=seed,
    )  # fmt: skip
    words = [made.model.name, made.tokenizer, name.replace(" ", "-"), f"s{seed}"]
    folder = out / PRETRAININGS / "-".join([*words, identity(training)])
    command = _command(training, request, paths, held, folder)
    return Kept(replace(training, command=command), folder)


def _command(
    training: Training, request: RegimesRequest, paths: Sequence[Path], held: Sequence[Held],
    folder: Path,
) -> str:  # fmt: skip
    """What makes the same network alone."""
    model, bp = training.model, request.budget
    named = named_of(request.how)
    if named is None:  # not from a recipe, as only Python can ask for
        return "dnabench regimes"
    recipe, fields = named
    changed = {k: v for k, v in training.options.items() if v != model.options[k]}
    flags: dict[str, Sequence[object]] = {
        "--set": [f"{k}={v}" for k, v in {**changed, **fields}.items()],
        "--recipe": [recipe], "--length": [request.how.length],
        "--genome": paths, "--holdout": _texts(held), "--exclude-task": request.exclude,
        "--budget": [int(bp) if bp == int(bp) else bp], "--looks": [request.looks],
        "--seed": [training.seed], "--to": [folder],
    }  # fmt: skip
    words = [str(word) for flag, values in flags.items() for one in values for word in (flag, one)]
    words += ["--trust-remote-code"] * ("code" in training.options)
    return shlex.join(["dnabench", "pretrain", model.reference or model.name, *words])


def identity(training: Training) -> str:
    """12 hex digits over all that decides a network, not what its files are called."""
    said = training.said()
    said["options"] = {k: v for k, v in said["options"].items() if k != "tokenizer"}
    said["genomes"] = [{**one, "name": ""} for one in said["genomes"]]
    return digest(said)


def digest(said: Any) -> str:
    """12 hex digits over what JSON can hold."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
