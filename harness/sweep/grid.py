"""From words to a grid of jobs: models x tasks x seeds, each with its options and recipe."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dnabench.protocols import check_protocol, protocol_named
from dnabench.registry import MODELS, TASKS, explain_miss
from dnabench.sweep.checks import check_fine_tuning, check_official_tokenizer, check_recipe
from dnabench.types import Job, Model, Protocol, Recipe, Task, Trial
from dnabench.weights import file_hash, regimes, resolve

MOST_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a call of `dnabench run` asks for, in the words of its flags."""

    models: Sequence[str]  # names, or "all" alone
    preset: str = ""  # "smallest": of each family the smallest of them
    tasks: Sequence[str] = ()
    suite: str = ""
    data: str = ""
    seeds: str = "3"
    protocol: str = "honest/1"
    regime: str = "scratch"  # or pretrained, checkpoint:PATH; model=regime with commas between
    recipe: str = ""  # a recipe's name; "" = the suite's, else the model's default
    limit: str = "0"
    settings: Sequence[str] = ()  # k=v or model.k=v
    sweeps: Sequence[str] = ()  # k=v1,v2
    overrides: Mapping[str, Any] = field(default_factory=dict)  # recipe field -> value


def grid(request: Request, left_out: Callable[[str], object] = lambda why: None) -> list[Job]:
    """Every model on every task at every seed.

    Args:
        request: what is asked for.
        left_out: told why, of each model and task that cannot go together.

    Returns:
        Jobs ordered by task, then seed, then model.

    Raises:
        KeyError: an unknown model, task, suite, protocol or recipe; the message suggests.
        ValueError: bad seeds, limit or settings, bad data, no model that can do any of the tasks;
            the message says the way out.
    """
    if not request.models:
        raise ValueError("--models is empty; name some, e.g. kmer,cnn, or all")
    models = models_of(request)
    protocol = protocol_named(request.protocol)
    tasks = tasks_of(request)
    check_settings(models, [*request.settings, *request.sweeps])
    weights = _weights(models, request.regime)
    columns = [
        (model, chosen) for model in models for chosen in _choices(request.settings, request.sweeps)
    ]
    incompatible = {
        (m.name, t.name): why for t in tasks for m in models if (why := incompatibility(m, t))
    }
    if len(incompatible) == len(tasks) * len({m.name for m in models}):
        raise ValueError("; ".join(incompatible.values()))
    for why in incompatible.values():
        left_out(why)
    jobs = []
    for task, seed in itertools.product(tasks, parse_seeds(request.seeds)):
        check_protocol(protocol, task, seed)
        for model, chosen in columns:
            if (model.name, task.name) in incompatible:
                continue
            regime, checkpoint = weights[model.name]
            trial = _trial(model, task, protocol, request, chosen, seed, regime)
            trial, tokenizer = _with_tokenizer(trial, checkpoint)
            path = request.data if task.name.startswith("data/") else ""
            jobs.append(Job(trial, path, _size(task, trial), checkpoint, tokenizer))
    return list({job.trial.id: job for job in jobs}.values())


def incompatibility(model: Model, task: Task) -> str:
    """Why the model cannot do the task; "" if it can, as far as is known without its data."""
    if task.kind not in model.kinds:
        return (
            f"{model.name} is left out of {task.name}, a {task.kind} task: it does "
            f"{', '.join(model.kinds)}"
        )
    if task.length > model.context:
        return (
            f"{model.name} is left out of {task.name}: it reads {model.context:,} bp at most, the "
            f"longest sequence has {task.length:,}"
        )
    return ""


def models_of(request: Request) -> list[Model]:
    """The models that a request names; "all" and a preset pick from the families.

    Raises:
        KeyError: an unknown model; the message suggests.
        ValueError: an unknown preset rule.
    """
    models = [
        MODELS[name] for name in (MODELS if list(request.models) == ["all"] else request.models)
    ]
    if not request.preset:
        return models
    if request.preset != "smallest":
        raise ValueError(f"--preset {request.preset!r}: there is smallest, of each family one")
    families: dict[str, Model] = {}
    for model in sorted(models, key=lambda m: (m.n_params, m.name)):
        families.setdefault(model.family, model)
    return [m for m in models if m in families.values()]


def _weights(models: Iterable[Model], text: str) -> dict[str, tuple[str, str]]:
    """Of each model the regime and the user's file."""
    models = list(models)
    chosen = {MODELS[m].name if m in MODELS else m: r for m, r in regimes(text).items()}
    unknown = [name for name in chosen if name and name not in {m.name for m in models}]
    if unknown:
        raise ValueError(f"--regime {unknown[0]}=...: no model {unknown[0]!r} in this run")
    usual = chosen.get("", "scratch")
    return {m.name: resolve(m, chosen.get(m.name, usual)) for m in models}


def _with_tokenizer(trial: Trial, checkpoint: str) -> tuple[Trial, str]:
    """A tokenizer file named in the option, or beside the user's weights, by its bytes."""
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
            f"no tokenizer file {path}; write --set tokenizer=bpe:PATH of the tokenizer.json "
            "that the weights were trained with"
        )
    named = f"bpe:{path.name}@{file_hash(path)}"
    return replace(trial, options={**trial.options, "tokenizer": named}), str(path.resolve())


def label(trial: Trial) -> str:
    """The model and what this trial changes of its defaults: `convnova dilation=1 lr=0.002`."""
    model = MODELS[trial.model]
    usual = {**asdict(model.recipe_for(trial.task.partition("/")[0])), **model.options}
    chosen = {**asdict(trial.recipe), **trial.options}
    changes = [f"{k}={v}" for k, v in chosen.items() if usual.get(k) != v and k != "source"]
    return " ".join([trial.model, *changes])


def tasks_of(request: Request) -> list[Task]:
    """The tasks that a request names by --tasks, --suite or --data."""
    if request.data:
        if request.tasks or request.suite:
            raise ValueError("--data is a task of its own; leave out --tasks and --suite")
        from dnabench.tasks.io.files import task_from_path

        return [task_from_path(Path(request.data))]
    names = [f"{request.suite}/{name}" if request.suite and "/" not in name else name
             for name in request.tasks]  # fmt: skip
    tasks = [TASKS[name] for name in names]
    if request.suite:
        of_suite = suites().get(request.suite)
        if of_suite is None:
            raise KeyError(explain_miss("suite", request.suite, list(suites())))
        unknown = [task.name for task in tasks if task.name not in of_suite]
        if unknown:
            raise ValueError(f"{unknown[0]} is no task of the suite {request.suite}")
        tasks = tasks or [TASKS[name] for name in of_suite]
    if not tasks:
        raise ValueError("nothing to run on: name --suite demo, --tasks NAME,... or --data FILE")
    absent = [task.name for task in tasks if not task.data]
    if absent:
        raise ValueError(
            f"the data of {', '.join(absent)} are not here; `dnabench data fetch {absent[0]}` gets "
            "them, `dnabench data import FOLDER` takes the files you have"
        )
    for task in tasks:
        if lacking := [split for split in ("train", "test") if split not in task.counts]:
            raise ValueError(
                f"the data of {task.name} that are here have no {' and no '.join(lacking)} split; "
                f"`dnabench data fetch {task.name}` gets all of it"
            )
    return list({task.name: task for task in tasks}.values())


def suites() -> dict[str, tuple[str, ...]]:
    """Every suite and its tasks: those whose names begin with the suite's."""
    names = sorted(TASKS, key=lambda name: name.partition("/"))
    return {s: tuple(g) for s, g in itertools.groupby(names, lambda n: n.partition("/")[0])}


def parse_seeds(text: str) -> list[int]:
    """`10` -> 0..9; `0,3,7` -> these; `2222,42-50` -> 2222, 42, 43, ..., 50.

    Raises:
        ValueError: when the text is none of these, or names a seed twice.
    """
    try:
        if text.strip().isdigit():
            seeds = list(range(min(int(text), MOST_SEEDS + 1)))
        else:
            seeds = []
            for part in text.rstrip(",").split(","):
                low, dash, high = part.partition("-")
                first, last = int(low), int(high if dash else low)
                seeds += range(first, min(last, first + MOST_SEEDS) + 1)
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or len(seeds) > MOST_SEEDS:
        raise ValueError(
            f"--seeds {text!r}: give how many (10), which (0,3,7; one seed 5 is '5,') "
            f"or ranges (2222,42-50), none of them twice, at most {MOST_SEEDS}"
        )
    return seeds


def parse_limit(text: str) -> float:
    """`200` examples a split, or a share such as `0.1`; 0 or 1.0 = all.

    Raises:
        ValueError: when it is neither.
    """
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if text.strip() == "1.0":
        return 0.0
    if not (0 <= limit <= 1 or limit.is_integer()) or limit < 0:
        raise ValueError(f"--limit {text!r}: give a number of examples (200) or a share (0.1)")
    return limit


def parse_duration(text: str) -> float:
    """Seconds of `3600`, `90s`, `30m` or `2h`; 0 when the text is empty.

    Raises:
        ValueError: any other text, or a duration that is not above 0.
    """
    if not text:
        return 0.0
    number, unit = (text[:-1], text[-1]) if text[-1] in "smh" else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"--trial-timeout {text!r}: give seconds (3600), minutes (30m) or hours (2h)"
        )
    return seconds


def _choices(settings: Sequence[str], sweeps: Sequence[str]) -> list[list[str]]:
    """All combinations of the sweeps, each behind the settings."""
    axes = []
    for sweep in sweeps:
        key, _, values = sweep.partition("=")
        axes.append([f"{key}={value}" for value in values.split(",")])
    return [[*settings, *combination] for combination in itertools.product(*axes)]


def _trial(
    model: Model, task: Task, protocol: Protocol, request: Request, chosen: list[str], seed: int,
    regime: str,
) -> Trial:  # fmt: skip
    mine = {k: v for k, v in request.overrides.items() if model.reads(k)}
    recipe = replace(_recipe(model, task, request.recipe, regime), **mine)
    options = dict(model.options)
    for setting in chosen:
        key, value = _split_setting(setting, model)
        if key in options:
            options[key] = _chosen(model, key, _typed(setting, value, options[key]))
        elif key in _RECIPE and model.reads(key):
            recipe = replace(recipe, **{key: _typed(setting, value, _RECIPE[key])})
    check_recipe(recipe)
    check_fine_tuning(model, task, recipe, options)
    if recipe.patience and protocol.checkpoint == "last":
        raise ValueError(
            f"patience={recipe.patience}: {protocol.name} never stops early; leave it out"
        )
    return Trial(
        model=model.name,
        options=options,
        regime=regime,
        task=task.name,
        data=task.data,
        protocol=protocol.name,
        recipe=recipe,
        seed=seed,
        limit=parse_limit(request.limit),
    )


def _size(task: Task, trial: Trial) -> float:
    n, limit = task.counts["train"], trial.limit
    shown = n * limit if 0 < limit < 1 else min(n, limit or n)
    return max(1.0, shown * task.length * trial.recipe.epochs)


_RECIPE: dict[str, Any] = asdict(Recipe())


def _recipe(model: Model, task: Task, name: str, regime: str) -> Recipe:
    """By name; else the suite's, but from scratch none that leaves the drawn weights frozen."""
    if not name:
        usual = model.recipe_for(task.suite)
        frozen = regime == "scratch" and usual.finetune != "full"
        return model.recipes["default"] if frozen else usual
    if name not in model.recipes:
        raise KeyError(
            explain_miss(
                "recipe", name, list(model.recipes), f"{model.name} has {', '.join(model.recipes)}"
            )
        )
    return model.recipes[name]


def _split_setting(setting: str, model: Model) -> tuple[str, str]:
    """(key, value); the key is "" when the setting is another model's."""
    key, _, value = setting.partition("=")
    owner, dot, option = key.rpartition(".")
    if not dot:
        return key, value
    return (option if owner in (model.name, *model.aliases) else ""), value


def check_settings(models: Iterable[Model], settings: Sequence[str]) -> None:
    """Check that every setting is an option of one of the models or a recipe field they read.

    Raises:
        ValueError: it is not; the message suggests.
    """
    models = list(models)
    for setting in settings:
        key, equals, _ = setting.partition("=")
        owner, dot, option = key.rpartition(".")
        mine = [m for m in models if not dot or owner in (m.name, *m.aliases)]
        of_recipe = [f for f in _RECIPE if f != "source" and any(m.reads(f) for m in mine)]
        known = sorted({*of_recipe, *(o for m in mine for o in m.options)})
        if not equals:
            raise ValueError(f"{setting!r} is not a setting; write name=value, e.g. lr=0.001")
        if not mine:
            raise ValueError(f"{setting!r}: no model {owner!r} in this run")
        if (option if dot else key) not in known:
            raise ValueError(
                explain_miss(
                    "option", option if dot else key, known, f"here are {', '.join(known)}"
                )
            )


def _chosen(model: Model, option: str, value: Any) -> Any:
    """The value, when the model allows it; of `tokenizer` the part before the file's path."""
    allowed = model.choices.get(option, ())
    with_file = option == "tokenizer" and str(value).startswith("bpe:") and "bpe" in allowed
    if allowed and value not in allowed and not with_file:
        raise ValueError(f"{option}={value!r}: {model.name} takes {', '.join(allowed)}")
    return value


def _typed(setting: str, text: str, example: Any) -> Any:
    """`text` as the type of `example`."""
    try:
        if isinstance(example, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(example)(text)
    except (ValueError, KeyError):
        kind = {"bool": "true or false"}.get(type(example).__name__, type(example).__name__)
        raise ValueError(f"{setting!r}: {text!r} is no {kind}") from None
