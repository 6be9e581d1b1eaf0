"""`dnabench list recipes --explain`: each value of a recipe with its source, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dnabench.registry import MODELS, explain_miss
from dnabench.types import Model, Published, Recipe

# do nothing so
OFF = {"max_steps": 0, "norm_batch": 0, "max_length": 0, "patience": 0, "head": "own"}
# not of the source, unless set
FREE = ("finetune", "lora_r", "lora_alpha", "lora_dropout", "class_weight")


def explained(names: Sequence[str]) -> str:
    """The recipes of a model; with a second name only that recipe, or that of the suite so named.

    Raises:
        KeyError: an unknown model, recipe or suite; the message suggests names.
        ValueError: no name, or more than two.
    """
    if not 0 < len(names) < 3:
        raise ValueError("--explain: give a model and, if you like, a recipe or suite: cnn default")
    model, chosen = MODELS[names[0]], names[1:]
    if not chosen:
        return "\n\n".join(_explained(model, name) for name in model.recipes)
    if chosen[0] in model.recipes:
        return _explained(model, chosen[0])
    found = [name for name, r in model.recipes.items() if r is model.recipe_for(chosen[0])]
    if found == ["default"]:
        where = f"{model.name} has {', '.join(model.recipes)}"
        raise KeyError(explain_miss("recipe", chosen[0], list(model.recipes), where))
    return _explained(model, found[0])


def _explained(model: Model, name: str) -> str:
    from tabulate import tabulate

    recipe = model.recipes[name]
    rows = tabulate(list(_rows(model, recipe)), tablefmt="plain", disable_numparse=True)
    out = [f"{model.name} {name}: {recipe.source}", rows]
    if isinstance(recipe, Published) and recipe.tasks:
        tasks = [
            (pattern, ", ".join(f"{k}={_text(v)}" for k, v in values.items()))
            for pattern, values in recipe.tasks.items()
        ]
        out += ["for single tasks:", tabulate(tasks, tablefmt="plain", disable_numparse=True)]
    if recipe.source.startswith("house"):
        return "\n".join([*out, "A recipe of the house."])
    return "\n".join([*out, f"Differs: {recipe.differs}." if recipe.differs else "Exact."])


def _rows(model: Model, recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    published = recipe if isinstance(recipe, Published) else None
    why = published.why if published else {}
    house = Recipe().numbers
    usual = "house" if recipe.source.startswith("house") else "the source"
    for name, value in recipe.numbers.items():
        inside = any(name in values for values in published.tasks.values()) if published else False
        idle = OFF.get(name) == value and not inside
        if not model.reads(name) or idle or (name == "lr_floor" and recipe.schedule != "cosine"):
            continue
        if name in FREE and value == house[name]:
            if name != "finetune" and recipe.finetune != "lora":
                continue
            yield name, _text(value), why.get(name, "house")
        else:
            each = " (by task, below)" * inside
            yield name, _text(value), why.get(name, usual) + each
    for name, value in published.options.items() if published else ():
        default = model.options[name]
        instead = f"; {_text(default)} without a recipe" if default != value else ""
        yield f"option {name}", _text(value), why.get(name, usual) + instead


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
