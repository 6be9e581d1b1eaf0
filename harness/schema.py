"""The JSON of trials and records: ids, types of the fields, fields of newer versions.

This file imports nothing from dnabench.
"""

import hashlib
import itertools
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal, NamedTuple, TypedDict

RECORD = "dnabench.record/1"
DEEPEST = 50  # levels of a record; ours have six
LARGEST = 2**64  # of an integer
SUBSETS = 1024  # of unknown fields that are tried, to find those that an id counts

# Recipe fields that came later: where they have these values, records are as before them
_LATER = {
    "no_decay": "model", "norm_batch": 0, "max_steps": 0, "horizon": "own", "warmup_from": 1e-6,
    "max_length": 0, "class_weight": "none", "head": "own", "differs": "",
}  # fmt: skip
# ... and ids, of these and of fields that every record has
_ADDED = {"finetune": "full", "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05, **_LATER}
# fields of a trial that came later, likewise
_OF_TRIAL = {"metric": "", "train_share": 1.0, "scored": "test"}
_NESTED = frozenset((dict, list))
_SAID = ("source", "differs")  # recipe fields that decide nothing


class Trained(TypedDict):
    """What every row of `Record.curve` has."""

    epoch: int
    loss: float


class Epoch(Trained, total=False):
    """A row of `Record.curve`; of the splits, those that were looked at."""

    val_loss: float
    val: Mapping[str, float]
    test: Mapping[str, float]


class Alternative(TypedDict):
    """A value of `Record.alternatives`."""

    epoch: int
    test: Mapping[str, float]


class About(TypedDict, total=False):
    """`Record.task`."""

    kind: str
    classes: Sequence[str]
    clusters: str
    metric: str
    reported: str
    suite: str
    family: str
    length: int
    n_test: int
    notes: Sequence[str]
    groups: Mapping[str, Sequence[int]]  # of outputs scored apart: start, stop and step


class Fields(NamedTuple):
    """The fields of an object: those of this version, checked, and those of a newer one."""

    known: dict[str, Any]
    unknown: dict[str, Any]


def trial_id(values: Mapping[str, Any]) -> str:
    """The id of a trial: 16 hex digits of SHA-256 over its fields as JSON with sorted keys.

    Args:
        values: the fields of `Trial`. Those in `unknown` count as if they stood beside the others,
            `recipe.NAME` as if in the recipe.
    """
    top = {k: v for k, v in values.items() if k not in _OF_TRIAL or _OF_TRIAL[k] != v}
    unknown = top.pop("unknown", {})
    recipe = {
        k: v for k, v in top["recipe"].items()
        if k not in _SAID and (k not in _ADDED or _ADDED[k] != v)
    }  # fmt: skip
    newer = nested(unknown)
    recipe |= newer.pop("recipe", {})
    top |= newer
    options = {k: _nameless(v) for k, v in top["options"].items()}
    top |= {"recipe": recipe, "options": options, "regime": _nameless(top["regime"])}
    return hashlib.sha256(json.dumps(top, sort_keys=True).encode()).hexdigest()[:16]


def written(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a trial as a record has them: later ones only where they say something."""
    recipe = {k: v for k, v in trial["recipe"].items() if k not in _LATER or _LATER[k] != v}
    top = {k: v for k, v in trial.items() if k not in _OF_TRIAL or _OF_TRIAL[k] != v}
    return top | {"recipe": recipe}


def nested(unknown: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Trial.unknown` where a trial's JSON has them: `recipe.NAME` in the recipe."""
    out = {k: v for k, v in unknown.items() if not k.startswith("recipe.")}
    recipe = {k.removeprefix("recipe."): v for k, v in unknown.items() if k not in out}
    return out | ({"recipe": recipe} if recipe else {})


def _nameless(value: Any) -> Any:
    """`bpe:NAME@HASH` and `checkpoint:NAME@HASH` without the name."""
    if isinstance(value, str) and value.startswith(("bpe:", "checkpoint:")):
        kind, _, rest = value.partition(":")
        return f"{kind}:@{rest.rpartition('@')[2]}"
    return value


def counted(values: Mapping[str, Any], unknown: Mapping[str, Any], claimed: Any) -> dict[str, Any]:
    """Which unknown fields of a trial its id counts.

    A newer version leaves a field that it added out of the id where the field has its default, as
    this one does: such a trial is the same trial without the field.

    Args:
        values: the known fields.
        unknown: the others, named as `trial_id` reads them.
        claimed: the id that the record states.

    Raises:
        ValueError: when no choice of the unknown fields gives that id.
    """
    sizes = range(len(unknown), -1, -1)
    subsets = itertools.chain.from_iterable(itertools.combinations(unknown, n) for n in sizes)
    for names in itertools.chain(itertools.islice(subsets, SUBSETS), [()]):
        chosen = {name: unknown[name] for name in names}
        if trial_id({**values, "unknown": chosen}) == claimed:
            return chosen
    found = trial_id({**values, "unknown": unknown})
    raise ValueError(f"it says id {claimed}, its fields give {found}")


def parse(text: str) -> dict[str, Any]:
    """The object that a record's text holds, its nesting and letters checked.

    Raises:
        ValueError: for any other text; the message says what is wrong with it.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != RECORD:
        other = f"its schema is {_short(schema)}" if schema is not None else "it names no schema"
        raise ValueError(f"not a {RECORD}: {other}")
    level: list[Any] = [found]  # objects and lists of one depth
    depth = 1
    while level and depth < DEEPEST:
        inside = itertools.chain.from_iterable(v.values() if type(v) is dict else v for v in level)
        level, depth = [v for v in inside if type(v) in _NESTED], depth + 1
    if any(level):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    if not text.isascii() or "\\u" in text:
        json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate cannot be printed
    return dict(found)


def known_fields(kind: Any, values: Any, place: str) -> Fields:
    """Sort the fields of an object into those of a dataclass and others.

    Args:
        kind: the dataclass.
        values: what the JSON has in its place.
        place: what messages call it; "" = the record itself.

    Raises:
        ValueError: no object, a field without a default that is missing, a value of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{place} is {_short(values)}, not an object")
    hints = _hints(kind)
    if missing := _needed(kind) - values.keys():
        raise ValueError(f"missing in {place or 'the record'}: {', '.join(sorted(missing))}")
    known = {name: value for name, value in values.items() if name in hints}
    for name, value in known.items():
        if not _surely(hints[name])(value):
            _check(value, hints[name], f"{place}.{name}".removeprefix("."))
    return Fields(known, {name: value for name, value in values.items() if name not in hints})


@cache
def _needed(kind: Any) -> frozenset[str]:
    """Names of a dataclass's fields that have no default."""
    return frozenset(f.name for f in fields(kind) if f.default is f.default_factory is MISSING)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Name -> type of a dataclass's fields; other dataclasses in it are checked apart."""
    nested = {"curve": Sequence[Epoch], "alternatives": Mapping[str, Alternative], "task": About}
    hints = typing.get_type_hints(kind)
    hints.pop("unknown", None)
    return hints | {k: v for k, v in nested.items() if typing.get_origin(hints.get(k))}


def _check(value: Any, hint: Any, place: str) -> None:
    """Compare a value of JSON with a type.

    Raises:
        ValueError: for another type, an integer beyond LARGEST, or a number that is not finite,
            which only a learning curve may have.
    """
    kind, inner = _shape(hint)
    if kind == "fields":
        _is(value, dict, place)
        if missing := hint.__required_keys__ - value.keys():
            raise ValueError(f"missing in {place}: {', '.join(sorted(missing))}")
        for name, item in value.items():
            if name in inner:
                _check(item, inner[name], f"{place}.{name}")
    elif kind == "text":
        _is(value, str, place)  # a newer version may know more words
    elif kind == "mapping":
        _is(value, dict, place)
        for name, item in value.items():
            _check(item, inner, f"{place}.{name}")
    elif kind == "list":
        _is(value, list, place)
        for i, item in enumerate(value):
            _check(item, inner, f"{place}[{i}]")
    elif kind == "number":
        _is(value, (int,) if hint is int else (int, float), place)
        if isinstance(value, int) and not -LARGEST < value < LARGEST:
            raise ValueError(f"{place} is an integer of {value.bit_length()} bits")
        if not math.isfinite(value) and not place.startswith("curve"):
            raise ValueError(f"{place} is {value}; it must be finite")


@cache
def _surely(hint: Any) -> Callable[[Any], bool]:
    """A quick test of a value of JSON: what it lets pass, `_check` lets pass too."""
    kind, inner = _shape(hint)
    if kind == "fields":
        tests = {name: _surely(own) for name, own in inner.items()}
        needed = hint.__required_keys__
        return lambda x: (
            type(x) is dict
            and needed <= x.keys()
            and all(tests[name](item) for name, item in x.items() if name in tests)
        )
    if kind == "mapping" and inner is float:
        return lambda x: (
            type(x) is dict
            and {float}.issuperset(map(type, x.values()))
            and math.isfinite(sum(x.values()))
        )
    if kind in ("mapping", "list"):
        test = _surely(inner)
        if kind == "list":
            return lambda x: type(x) is list and all(map(test, x))
        return lambda x: type(x) is dict and all(map(test, x.values()))
    if kind == "number" and hint is float:
        return lambda x: type(x) is float and math.isfinite(x)
    if kind == "number":
        return lambda x: type(x) is int and -LARGEST < x < LARGEST
    return lambda x: kind == "any" or type(x) is str


@cache
def _shape(hint: Any) -> tuple[str, Any]:
    """What a type is in JSON, and the type of what is inside: by name where it has fields."""
    if typing.is_typeddict(hint):
        return "fields", typing.get_type_hints(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal or hint is str:
        return "text", None
    if origin is not None:
        return ("mapping", inner[1]) if issubclass(origin, Mapping) else ("list", inner[0])
    return "number" if hint in (int, float) else "any", None


def _is(value: Any, kinds: type | tuple[type, ...], place: str) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        words = {dict: "an object", list: "a list", str: "text", (int,): "a whole number"}
        raise ValueError(f"{place} is {_short(value)}, not {words.get(kinds, 'a number')}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both, objects of the same name merged too."""
    out = dict(values)
    for name, value in more.items():
        both = isinstance(value, Mapping) and isinstance(out.get(name), Mapping)
        out[name] = merged(out[name], value) if both else value
    return out
