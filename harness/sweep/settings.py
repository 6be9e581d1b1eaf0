"""What `--set` and `--sweep` say: model options and recipe fields."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dnabench.models.outside.references import model_named
from dnabench.registry import explain_miss
from dnabench.sweep.numbers import LARGEST, digits
from dnabench.types import Model, Recipe

_RECIPE: dict[str, Any] = Recipe().numbers


def chosen(
    model: Model, settings: Sequence[str], own: Mapping[str, Any] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All options of a model, and the recipe fields that the settings name.

    `own` are options that a recipe sets. What is for this model alone counts before what is for
    all. ValueError for a value of another type, or one that the model does not take.
    """
    options, fields = {**model.options, **own}, dict[str, Any]()
    for setting in sorted(settings, key=lambda setting: "." in setting.partition("=")[0]):
        key, _, value = setting.partition("=")
        key = own_key(key, model)
        if key in options:
            options[key] = _allowed(model, key, typed(setting, value, options[key]))
        elif key in _RECIPE and model.reads(key):
            fields[key] = typed(setting, value, _RECIPE[key])
    return options, fields


def given_options(name: str, settings: Sequence[str], trust: bool = False) -> dict[str, Any]:
    """The options that settings give a model that is not trained.

    Args:
        name: of a model, or the folder of a kept network.
        settings: name=value.
        trust: whether code that an hf: model brings may be run.

    Raises:
        KeyError: no such model.
        ValueError: as `check_settings` and `chosen`; settings for a kept network, which has its
            own; a recipe field, which only training has.
    """
    if not settings:
        return {}
    if Path(name).is_dir():
        raise ValueError(
            f"{', '.join(settings)}: {name} is a kept network, which has the options it was "
            "trained with; leave them out"
        )
    check_once(settings)
    model = model_named(name, trust=trust)
    for setting in settings:
        key = setting.partition("=")[0].rpartition(".")[2]
        known = ", ".join(model.options) or "none"
        if key in _RECIPE:
            raise ValueError(
                f"{setting}: of training, and nothing is trained; options of {model.name}: {known}"
            )
        if key not in model.options:
            raise ValueError(explain_miss("option", key, [*model.options], f"there are {known}"))
    check_settings([model], settings)
    options, _ = chosen(model, settings)
    return {key: value for key, value in options.items() if value != model.options[key]}


def own_key(key: str, model: Model) -> str:
    """The option or recipe field that a key names; "" if it names one of another model."""
    owner, dot, option = key.rpartition(".")
    return option if not dot or owner in (model.name, *model.aliases) else ""


def check_once(settings: Iterable[str], flags: Mapping[str, Any] | None = None) -> None:
    """ValueError for one setting with two values, of which one would be lost.

    Args:
        settings: name=value or model.name=value, as the user wrote them; sweeps too.
        flags: recipe field -> value of a flag that sets it; None = the command trains no trials.
    """
    seen = {key: str(value) for key, value in (flags or {}).items()}
    for setting in settings:
        key, _, value = setting.partition("=")
        if not _alike(seen.setdefault(key, value), value):
            both = f"{seen[key]},{value}"
            more = f"; `dnabench run --sweep {key}={both}` has a column of each"
            raise ValueError(
                f"{key} has two values, {seen[key]} and {value}: leave out one"
                f"{'' if flags is None else more}"
            )


def _alike(a: str, b: str) -> bool:
    try:
        return a == b or float(a) == float(b)
    except ValueError:
        return False


def check_settings(
    models: Sequence[Model], settings: Sequence[str], more: Iterable[str] = ()
) -> None:
    """ValueError for a setting that is no option or recipe field of a model; it suggests names.

    `more` are names of settings that the caller has taken out.
    """
    for setting in settings:
        key, equals, _ = setting.partition("=")
        owner, _, option = key.rpartition(".")
        if not equals or not option:
            raise ValueError(f"{setting!r} is not a setting; write name=value, e.g. lr=0.001")
        named = [m for m in models if own_key(key, m)]
        if not named:
            raise ValueError(f"{setting!r}: no model {owner!r} in this run")
        fields = [f for f in _RECIPE if any(m.reads(f) for m in named)]
        known = sorted({*fields, *more, *(o for m in named for o in m.options)})
        if option not in known:
            where = f"there are {', '.join(known)}"
            raise ValueError(explain_miss("option", option, known, where))


def _allowed(model: Model, option: str, value: Any) -> Any:
    """The value, if the model takes it; a tokenizer may have the path of a file behind it."""
    allowed = model.choices.get(option, ())
    with_file = option == "tokenizer" and str(value).startswith("bpe:") and "bpe" in allowed
    if allowed and value not in allowed and not with_file:
        raise ValueError(f"{option}={value!r}: {model.name} takes {', '.join(allowed)}")
    return value


def typed(setting: str, text: str, example: Any) -> Any:
    """The text of a setting as the type of `example`; ValueError for a text that is none."""
    try:
        if isinstance(example, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(example, str):
            return text
        value = type(example)(digits(text))
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError
        return value
    except (ValueError, KeyError):
        kinds = {"bool": "true or false", "int": "a whole number below 2^63", "float": "a number"}
        raise ValueError(f"{setting!r}: {text!r} is not {kinds[type(example).__name__]}") from None
