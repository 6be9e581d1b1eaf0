"""The columns of a table: which records make one, and what tells it apart in a word or two."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnabench.registry import MODELS
from dnabench.reports.cells import REGIME
from dnabench.reports.grouping import grouped, natural, suite_of
from dnabench.reports.settings import option_text
from dnabench.types import Published, Recipe, Record

BASELINE = "kmer"  # the model that stands first: no network should lose to it
TUNED = "tuned"  # flag of a record that stands for its tuned model: the budget of its search
UNSET = object()  # a setting that a column does not have, or not the same everywhere


@dataclass(frozen=True, kw_only=True)
class Column:
    """One configuration of a model."""

    model: str
    regime: str
    label: str  # model, and what tells this configuration from the others of the model
    name: str  # label, with the regime when another column has the same label
    options: Mapping[str, Any]  # without those that recipes set differently for its suites
    recipes: Mapping[str, Recipe]  # suite -> recipe, without values of single tasks
    n_params: tuple[int, int]  # smallest and largest over tasks, heads differ; 0, 0 = unknown
    variants: int = 1  # columns of this model and regime, which differ in options or recipe
    train_share: float = 1.0
    named: str = ""  # what its label has in place of options: TUNED, or a regime
    # options and fields of the recipe that differ between columns of its model, as the label says
    apart: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, name: str) -> Any:
        """The value of an option or of a recipe's field; UNSET."""
        if name in self.options:
            return self.options[name]
        values = {recipe.numbers.get(name, UNSET) for recipe in self.recipes.values()}
        return values.pop() if len(values) == 1 else UNSET


def column_keys(
    records: Sequence[Record], recipes: Mapping[str, Recipe]
) -> Callable[[Record], tuple[str, ...]]:
    """What tells columns apart: model, regime, options, recipe fields that vary in a suite, share.

    Options that a recipe of the model sets count as fields of the recipe.
    """

    def numbers(r: Record) -> dict[str, Any]:
        options, own = r.trial.options, _of_recipes(r.trial.model)
        return recipes[r.trial.id].numbers | {k: options[k] for k in own & options.keys()}

    usual = [r for r in records if not named(r)]
    groups = grouped(usual, lambda r: (r.trial.model, r.trial.regime, suite_of(r)))
    varying: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (model, regime, _), several in groups.items():
        varying[model, regime] |= _varying([numbers(r) for r in several])
    shares = len({r.trial.train_share for r in records}) > 1

    def found(r: Record) -> tuple[str, ...]:
        share = {"train_share": r.trial.train_share} if shares else {}
        if regime := r.flags.get(REGIME):
            return r.trial.model, regime["column"], named(r), _json(share)
        if name := named(r):
            return r.trial.model, r.trial.regime, name, _json(share)
        known, fields = numbers(r), sorted(varying[r.trial.model, r.trial.regime])
        recipe = {name: known[name] for name in fields if name in known}
        recipe |= share
        own = _of_recipes(r.trial.model)
        options = {k: v for k, v in r.trial.options.items() if k not in own}
        options |= r.trial.unknown  # of a newer version
        return r.trial.model, r.trial.regime, _json(options), _json(recipe)

    def one(r: Record) -> tuple[str, bool, str]:
        column = r.flags.get(REGIME, {}).get("column", "")
        return r.trial.id, bool(r.flags.get(TUNED)), column

    keys = {one(r): found(r) for r in records}
    return lambda r: keys[one(r)]


def named(record: Record) -> str:
    """What stands for options and recipe in the label of its column, where something does."""
    if regime := record.flags.get(REGIME):
        return str(regime["label"])
    return TUNED if record.flags.get(TUNED) else ""


def suite_recipes(records: Sequence[Record]) -> dict[str, Recipe]:
    """Trial id -> its recipe, but the suite's value where the model's recipe has several.

    Where every trial of the model on the suite has the value of that recipe for its task.
    """
    out: dict[str, Recipe] = {}
    groups = grouped(records, lambda r: (r.trial.model, r.trial.regime, suite_of(r)))
    for several in groups.values():
        trials = [r.trial for r in several]
        named = MODELS[trials[0].model].recipes.values() if trials[0].model in MODELS else ()
        for trial in trials:
            out[trial.id] = trial.recipe
        for recipe in named:
            own = [t for t in trials if t.recipe.source == recipe.source]
            here = {t.id: recipe.for_task(t.task)[0].numbers for t in own}
            followed = {
                name: value
                for name, value in recipe.numbers.items()
                if all(getattr(t.recipe, name) == here[t.id][name] for t in own)
            }
            out |= {t.id: replace(t.recipe, **followed) for t in own}
    return out


def _of_recipes(model: str) -> set[str]:
    recipes = MODELS[model].recipes.values() if model in MODELS else ()
    return {name for r in recipes if isinstance(r, Published) for name in r.options}


def columns_of(
    groups: Mapping[tuple[str, ...], list[Record]], recipes: Mapping[str, Recipe]
) -> dict[tuple[str, ...], Column]:
    """Key -> column of the records of each, in the order of the table."""
    by_model = grouped(groups, lambda key: key[0])
    models = sorted(by_model, key=lambda m: m != BASELINE)
    labels, apart = {}, {}
    for model, mine in by_model.items():
        usual = [key for key in mine if _by_options(key)]
        options = [json.loads(key[2]) for key in usual]
        vary = _varying(options)
        for key in mine:
            apart[key] = said = json.loads(key[3])
            labels[key] = " ".join([model, key[2], *_words(said)])
        for key, chosen in zip(usual, options, strict=True):
            apart[key] = said = {k: chosen.get(k, "unset") for k in sorted(vary)} | apart[key]
            labels[key] = " ".join([model, *_words(said)])
    order = sorted(groups, key=lambda k: (models.index(k[0]), natural(labels[k]), k))
    times = Counter(labels.values())
    variants = Counter(key[:2] for key in groups if _by_options(key))
    out = {}
    for key in order:
        label, sizes = labels[key], [r.n_params for r in groups[key] if r.n_params]
        out[key] = Column(
            model=key[0], regime=key[1], label=label, options=_options(groups[key]),
            name=label if times[label] == 1 else f"{label} ({key[1]})",
            recipes={suite_of(r): recipes[r.trial.id] for r in groups[key] if _by_options(key)},
            n_params=(min(sizes, default=0), max(sizes, default=0)),
            variants=variants[key[:2]] if _by_options(key) else 1,
            train_share=groups[key][0].trial.train_share, named="" if _by_options(key) else key[2],
            apart=apart[key],
        )  # fmt: skip
    return out


def _words(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={option_text(value)}" for name, value in settings.items()]


def _by_options(key: Sequence[str]) -> bool:
    """Whether the options tell a column apart, and no name of it."""
    return key[2].startswith("{")


def _options(records: Sequence[Record]) -> dict[str, Any]:
    """Those that all records share; recipes may set others for each suite."""
    every = [{**r.trial.options, **r.trial.unknown} for r in records]
    vary = _varying(every)
    return {k: v for k, v in every[0].items() if k not in vary}


def _varying(settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names whose values differ; a missing one is a value of its own."""
    settings = list({_json(s): s for s in settings}.values())
    names = {name for s in settings for name in s}
    return {n for n in names if len({_json(s[n]) if n in s else "" for s in settings}) > 1}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=dict)
