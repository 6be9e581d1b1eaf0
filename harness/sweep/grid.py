"""From flags to a grid of jobs: models x tasks x seeds, each with its options and recipe."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dnabench.cache import file_sha256
from dnabench.models.outside.loaded import own_weights
from dnabench.models.outside.references import model_named
from dnabench.protocols import asked_metric, check_protocol, folds_of, protocol_for
from dnabench.registry import MODELS, explain_miss
from dnabench.splits import size_under, streams
from dnabench.sweep.checks import (
    check_cut,
    check_fine_tuning,
    check_official_tokenizer,
    check_recipe,
    check_shares,
)
from dnabench.sweep.effects import effects
from dnabench.sweep.numbers import parse_limit, parse_seeds, parse_shares
from dnabench.sweep.settings import check_settings, chosen
from dnabench.sweep.tasks import own_paths, tasks_of
from dnabench.types import Job, Model, OwnData, Protocol, Recipe, Task, Trial
from dnabench.weights import regimes, resolve


@dataclass(frozen=True, kw_only=True)
class Request:
    """The flags of `dnabench run` that choose trials."""

    models: Sequence[str]  # names, or "all" alone
    preset: str = ""  # "smallest": only the smallest model of each family
    tasks: Sequence[str] = ()
    suite: Sequence[str] | str = ()
    data: Sequence[str] | str = ()  # paths of the user's own files
    own: OwnData = field(default_factory=OwnData)  # how these are read
    seeds: str = "3"
    protocol: str = "honest"
    regime: str = ""  # scratch, pretrained, checkpoint:PATH, or model=regime, comma-separated
    trust_remote_code: bool = False  # of models of the hub
    recipe: str = ""  # name; "" = the suite's, else the model's default
    limit: str = "0"
    metric: str = ""  # chooses the epoch; "" = each task's own
    train_share: Sequence[str] = ()  # several are trials each; () = all of train
    settings: Sequence[str] = ()  # k=v or model.k=v
    sweeps: Sequence[str] = ()  # k=v1,v2
    overrides: Mapping[str, Any] = field(default_factory=dict)  # recipe field -> value
    scored: Literal["test", "val"] = "test"  # val: trials of tuning
    to_come: bool = False  # the files that `regime` names are not there yet, and are not read


def grid(
    request: Request, on_skip: Callable[[str], object] = lambda why: None,
    searched: Sequence[str] | None = None,
) -> list[Job]:  # fmt: skip
    """Every model on every task at every seed.

    Args:
        request: what to run.
        on_skip: called with the reason for each model and task that do not go together, and with
            what `effects` says.
        searched: settings that a trial of a search has beside the user's, () = its default; None =
            there is no search. Only the default is remarked on, and nothing refused for no effect.

    Returns:
        Jobs ordered by task, then seed, then model.

    Raises:
        KeyError: an unknown model, task, suite, protocol or recipe; the message suggests names.
        ValueError: bad seeds, limit, preset or settings, bad data, or no model that can do any of
            the tasks; the message says what to write instead.
    """
    given, request = request, replace(request, settings=[*request.settings, *(searched or ())])
    if not request.models:
        raise ValueError("--models is empty; name some, e.g. kmer,cnn, or all")
    models, tasks = models_of(request, on_skip), tasks_of(request)
    protocols = {task.name: protocol_for(request.protocol, task) for task in tasks}
    seeds, paths = parse_seeds(request.seeds), own_paths(request)
    check_settings(models, [*request.settings, *request.sweeps])
    weights = _weights(models, request.regime, request.to_come)
    choices = _choices(request.settings, request.sweeps)
    shares = parse_shares(request.train_share)
    columns = [
        (m, s, w, share)
        for m in models for s in choices for w in weights[m.name] for share in shares
    ]  # fmt: skip
    incompatible = {
        (m.name, t.name): why
        for t, m in itertools.product(tasks, models)
        if (why := incompatibility(m, t, _longest(m, t, request, weights[m.name][0][0])))
    }
    if len(incompatible) == len(tasks) * len({m.name for m in models}):
        others = "name others with --models (`dnabench list models`)"
        raise ValueError("; ".join([*incompatible.values(), others]))
    for why in incompatible.values():
        on_skip(why)
    for task in tasks:
        first = streams(seeds[0], task.name, protocols[task.name]).cut
        first = folds_of(first)[1] if protocols[task.name].validation == "fold" else first
        limit, mine = parse_limit(request.limit), task.name in paths
        check_shares(shares, task, protocols[task.name], first, limit, mine)
        if mine:
            cuts = (streams(seed, task.name, protocols[task.name]).cut for seed in seeds)
            check_cut(cuts, task, protocols[task.name], limit, request.scored == "val")
    jobs = {}
    for task, seed in itertools.product(tasks, seeds):
        protocol = protocols[task.name]
        check_protocol(protocol, task, seed, request.scored == "val")
        for model, settings, (regime, checkpoint), share in columns:
            if (model.name, task.name) not in incompatible:
                trial = _trial(model, task, protocol, request, settings, seed, regime)
                trial = replace(trial, train_share=share)
                trial, tokenizer = _with_tokenizer(trial, checkpoint)
                path, own = paths.get(task.name, ("", request.own))
                size = _size(task, trial)
                job = Job(trial, path, size, checkpoint, tokenizer, model.reference, own)
                jobs[trial.id] = job
    if not searched:
        trials = [job.trial for job in jobs.values() if job.trial.seed == seeds[0]]
        written = [*given.settings, *given.sweeps]
        strict = searched is None
        for note in effects(trials, models, tasks, written, given.overrides, strict):
            on_skip(note)
    return list(jobs.values())


def incompatibility(model: Model, task: Task, longest: int = 0) -> str:
    """Why the model cannot do the task; "" if it can, as far as is known without the data.

    `longest` is how many bp it reads of a sequence; 0 = all of them.
    """
    length = longest or task.length
    left_out = f"{model.name} is left out of {task.name}"
    if task.kind not in model.kinds:
        return f"{left_out}, a {task.kind} task: it does {', '.join(model.kinds)}"
    if task.pairs and model.custom_trainer and not model.pairs:
        return f"{left_out}: it reads one sequence of an example, there are two"
    if task.length < model.least:
        return f"{left_out}: it needs {model.least} bp, the longest sequence has {task.length}"
    most = f"it reads {model.context:,} bp at most, the longest sequence has {length:,}"
    return f"{left_out}: {most}" if length > model.context else ""


def _longest(model: Model, task: Task, request: Request, regime: str) -> int:
    """Bp that the model reads of the longest sequence, which a recipe may cut."""
    recipe, options = _settled(model, task, request, request.settings, regime)
    letters = model.tokenizer_name(options) == "char"
    return recipe.max_length if letters and recipe.max_length else task.length


def models_of(
    request: Request, say: Callable[[str], object] = lambda note: None
) -> list[Model]:  # fmt: skip
    """The models that a request names, reduced by its preset; errors as from `grid`.

    `say` is called where a model is not what was written.
    """
    names = MODELS if list(request.models) == ["all"] else request.models
    models = [model_named(name, say, request.trust_remote_code) for name in names]
    for a, b in itertools.combinations(models, 2):
        if a.name == b.name and a.reference != b.reference:
            raise ValueError(
                f"{a.reference} and {b.reference} would both be called {a.name}: rename one"
            )
    if not request.preset:
        return models
    if request.preset != "smallest":
        raise ValueError(
            f"--preset {request.preset!r}: write smallest, for the smallest model of each family"
        )
    families: dict[str, Model] = {}
    for model in sorted(models, key=lambda m: (m.n_params, m.name)):
        families.setdefault(model.family, model)
    return [m for m in models if m in families.values()]


def _weights(
    models: Sequence[Model], text: str, to_come: bool
) -> dict[str, list[tuple[str, str]]]:  # fmt: skip
    """Model name -> its regimes, each with the user's file."""
    named = regimes(text) if text else {}
    chosen = {MODELS[m].name if m in MODELS else m: r for m, r in named.items()}
    unknown = [name for name in chosen if name and name not in {m.name for m in models}]
    if unknown:
        raise ValueError(f"--regime {unknown[0]}=...: no model {unknown[0]!r} in this run")
    usual = {m.name: chosen.get("", [m.usual_regime]) for m in models}
    return {
        m.name: [(r, "") if to_come else resolve(m, r) for r in chosen.get(m.name, usual[m.name])]
        for m in models
    }


def _with_tokenizer(trial: Trial, checkpoint: str) -> tuple[Trial, str]:
    """The trial with the hash of its tokenizer file, and the path of that file.

    The file is named in the option, or lies beside the user's weights.
    """
    value = str(trial.options.get("tokenizer", ""))
    if value.partition(":")[0] != "bpe":
        return trial, ""
    path = Path(value.removeprefix("bpe").removeprefix(":")).expanduser()
    if value == "bpe":
        path = Path(checkpoint).parent / "tokenizer.json"
        if not checkpoint:
            check_official_tokenizer(MODELS[trial.model], trial.regime)
            return trial, ""
    if not path.is_file():
        raise ValueError(
            f"no tokenizer file {path}; write --set tokenizer=bpe:PATH with the tokenizer.json "
            "that the weights were trained with"
        )
    named = f"bpe:{path.name}@{file_sha256(path)[:16]}"
    return replace(trial, options={**trial.options, "tokenizer": named}), str(path.resolve())


def label(trial: Trial) -> str:
    """The model and what this trial changes of its defaults: `convnova dilation=1 lr=0.002`."""
    model = MODELS[trial.model]
    recipe, own = model.recipe_for(trial.task.partition("/")[0]).for_task(trial.task)
    usual = {**recipe.numbers, **model.options, **own}
    chosen = {**trial.recipe.numbers, **trial.options}
    changes = [f"{k}={v}" for k, v in chosen.items() if usual.get(k) != v]
    changes += [f"metric={trial.metric}"] * bool(trial.metric)
    changes += [f"train_share={trial.train_share:g}"] * (trial.train_share != 1)
    kind, named = trial.regime.partition(":")[0], trial.regime.partition("@")[0]
    if kind not in ("own", model.usual_regime.partition("@")[0]):
        changes.append(f"regime={kind if kind == 'pretrained' else named}")
    return " ".join([trial.model, *changes])


def _choices(settings: Sequence[str], sweeps: Sequence[str]) -> list[list[str]]:
    """The settings with every combination of the sweeps' values."""
    parts = [sweep.partition("=") for sweep in sweeps]
    axes = [[f"{key}={value}" for value in values.split(",")] for key, _, values in parts]
    return [[*settings, *combination] for combination in itertools.product(*axes)]


def _trial(
    model: Model, task: Task, protocol: Protocol, request: Request, settings: list[str], seed: int,
    regime: str,
) -> Trial:  # fmt: skip
    recipe, options = _settled(model, task, request, settings, regime)
    check_recipe(recipe)
    check_fine_tuning(model, task, recipe, options)
    if regime == "scratch" and (share := own_weights(model, task, options)):
        regime = f"own:{100 * share:.3g}%"
    if recipe.patience and protocol.checkpoint == "last":
        never = f"{protocol.name} never stops early"
        raise ValueError(f"patience={recipe.patience}: {never}; leave it out")
    return Trial(
        model=model.name, options=options, regime=regime, task=task.name, data=task.data,
        protocol=protocol.name, recipe=recipe, seed=seed, limit=parse_limit(request.limit),
        metric=asked_metric(request.metric, protocol, task), scored=request.scored,
    )  # fmt: skip


def _settled(
    model: Model, task: Task, request: Request, settings: Sequence[str], regime: str
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and the options of a trial: the recipe's, with what the user sets above them."""
    recipe, own = _recipe(model, task, request.recipe, regime).for_task(task.name)
    options, fields = chosen(model, settings, own)
    changes = {k: v for k, v in request.overrides.items() if model.reads(k)} | fields
    if "epochs" in changes:
        changes.setdefault("max_steps", 0)  # which would decide in their place
    return replace(recipe, **changes), options


def _size(task: Task, trial: Trial) -> float:
    """Base pairs that training reads, about: as if all of train were as long as its longest."""
    n, recipe = size_under(trial.limit, task.counts["train"]), trial.recipe
    length = min(task.length, recipe.max_length or task.length)
    n = max(1, round(trial.train_share * n))
    return float(max(1, length * recipe.examples_in(n, recipe.epochs_over(n))))


def _recipe(model: Model, task: Task, name: str, regime: str) -> Recipe:
    """By name; else the suite's, but with random weights none that leaves them frozen."""
    if not name:
        suites_own = model.recipe_for(task.suite)
        frozen = regime == "scratch" and suites_own.finetune != "full"
        return model.recipes["default"] if frozen else suites_own
    if name not in model.recipes:
        where = f"{model.name} has {', '.join(model.recipes)}"
        raise KeyError(explain_miss("recipe", name, list(model.recipes), where))
    return model.recipes[name]
