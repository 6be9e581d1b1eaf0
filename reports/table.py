"""Records to tables: tasks are rows, models are columns, a cell is the seeds of both.

A table holds one protocol, one limit and one share of train, a row one state of the data, a column
one configuration of a model. Nothing is averaged over any of these; what a cell lacks, it says.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.registry import MODELS
from dnabench.reports.cells import INVALID as INVALID
from dnabench.reports.cells import NONE, REGIME, cell_of, podium
from dnabench.reports.cells import Cell as Cell
from dnabench.reports.settings import option_text
from dnabench.types import Published, Recipe, Record

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
BASELINE = "kmer"  # the model that stands first: no network should lose to it
DIGITS = 3
TUNED = "tuned"  # flag of a record that stands for its tuned model: the budget of its search
NOT_KNOWN = "metric not known"  # all runs failed
UNSET = object()  # a setting that a column does not have, or not the same everywhere
UNKNOWN = "UNKNOWN PROTOCOL {}: how the checkpoint was chosen is not known here."


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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task in one state of its data."""

    task: str
    name: str  # task, with data and metric where another row has the same: no two are equal
    data: str
    family: str
    metric: str
    label: str  # of the metric
    rope: float  # smallest relevant difference of the metric
    n_test: int  # examples; 0 = unknown
    cells: tuple[Cell, ...]  # one a column
    best: frozenset[int]  # columns that share the best printed mean; empty below two models
    second: frozenset[int]  # columns that share the next
    chosen_by: str = ""  # metric that the runs had, where another one is shown

    @property
    def sign(self) -> int:
        """-1 where lower is better; 1 elsewhere, and where the metric is not known."""
        known = METRICS.get(self.metric)
        return known.sign if known else 1

    def turned(self, column: int) -> list[float]:
        """The scores of a column, with the other sign where lower is better."""
        return [self.sign * x for x in self.cells[column].values]

    @property
    def heading(self) -> str:
        """The label, with an arrow where lower is better."""
        known = METRICS.get(self.metric)
        return known.heading if known else self.label


@dataclass(frozen=True, kw_only=True)
class Table:
    """One protocol at one limit and one share of train."""

    protocol: str
    why: str  # what the protocol is for
    watermark: str  # empty when there is nothing to warn of
    limit: float
    train_share: float  # NaN = several, each of which has its columns
    digits: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    records: tuple[Record, ...]
    failures: Mapping[tuple[str, str, str], list[int]]  # column name, task, last line -> seeds

    @property
    def n(self) -> int:
        """Seeds, or pretrainings where they stand for them, of the fullest cell."""
        return max((len(c.values) for r in self.rows for c in r.cells), default=0)

    @property
    def nested(self) -> bool:
        """Whether pretrainings stand for seeds somewhere."""
        return any(c.units for r in self.rows for c in r.cells)

    def matching(self, name: str) -> list[int]:
        """Columns of that name; without one, the columns of that model or label."""
        exact = [k for k, c in enumerate(self.columns) if c.name == name]
        return exact or [k for k, c in enumerate(self.columns) if name in (c.model, c.label)]

    @property
    def families(self) -> Mapping[str, list[Row]]:
        """Rows by family, both in order."""
        return grouped(self.rows, lambda r: r.family)


def tables(records: Iterable[Record], digits: int = DIGITS, metric: str = "") -> list[Table]:
    """Sort records into a table for each (protocol, limit, share of train).

    Tables are in the order of these, the largest share first. `metric` is shown in place of that of
    each task; see `shown.check_shown`.

    Failed records are counted, not averaged; means that print alike are tied. Rows are in the order
    of suite, family, name; models in the order in which they appear, `kmer` first; configurations
    of one model by their label. Runs of a model whose recipes differ within a suite are different
    configurations; recipes that differ only between suites are not. Trials of tuning, which have no
    test score, are left out.
    """
    records = (r for r in records if not r.trial.tuning)
    groups = grouped(records, lambda r: (r.trial.protocol, r.trial.limit, -r.trial.train_share))
    return [_table(groups[key], digits, metric, -key[2]) for key in sorted(groups)]


def across_shares(
    records: Iterable[Record], digits: int = DIGITS, metric: str = ""
) -> list[Table]:  # fmt: skip
    """All shares of train in one table, as columns of their own, where there are several.

    For learning curves: columns that were trained on less are no rivals in a test.
    """
    records = (r for r in records if not r.trial.tuning)
    groups = grouped(records, lambda r: (r.trial.protocol, r.trial.limit))
    several = {k: len({r.trial.train_share for r in of}) > 1 for k, of in groups.items()}
    return [_table(groups[k], digits, metric, math.nan) for k in sorted(groups) if several[k]]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by key, both in order of appearance."""
    out: dict[Key, list[Item]] = {}
    for item in items:
        out.setdefault(key(item), []).append(item)
    return out


def suite_of(thing: Record | Row) -> str:
    """The part of the task's name before the slash."""
    return (thing.trial.task if isinstance(thing, Record) else thing.task).partition("/")[0]


def _table(records: Sequence[Record], digits: int, metric: str, train_share: float) -> Table:
    protocol, limit = records[0].trial.protocol, float(records[0].trial.limit)
    recipes = _suite_recipes(records)
    key_of = _column_keys(records, recipes)
    columns = _columns(grouped(records, key_of), recipes)
    place = {key: i for i, key in enumerate(columns)}
    rows = _rows(records, lambda r: place[key_of(r)], len(columns), digits, metric)
    lineup, known = tuple(columns.values()), PROTOCOLS.get(protocol)

    def failure_of(r: Record) -> tuple[str, str, str]:
        why = r.reason if r.error else f"invalid: {r.flags.get(INVALID)}"
        return columns[key_of(r)].name, r.trial.task, why

    failures = grouped((r for r in records if r.error or r.flags.get(INVALID)), failure_of)
    return Table(
        protocol=protocol, limit=limit, train_share=train_share, digits=digits, columns=lineup,
        rows=rows, why=known.why if known else "not a protocol of this version of dnabench",
        watermark=known.watermark if known else UNKNOWN.format(protocol),
        records=tuple(records),
        failures={k: sorted(r.trial.seed for r in failed) for k, failed in failures.items()},
    )  # fmt: skip


def _column_keys(
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


def _suite_recipes(records: Sequence[Record]) -> dict[str, Recipe]:
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


def _columns(
    groups: Mapping[tuple[str, ...], list[Record]], recipes: Mapping[str, Recipe]
) -> dict[tuple[str, ...], Column]:
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
    order = sorted(groups, key=lambda k: (models.index(k[0]), _natural(labels[k]), k))
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


def _rows(
    records: Sequence[Record], column_of: Callable[[Record], int], n_columns: int, digits: int,
    shown: str,
) -> tuple[Row, ...]:  # fmt: skip
    ended = [r for r in records if r.task]  # failed runs do not say the task's own metric
    about = {(r.trial.task, r.trial.data): r.task for r in ended}
    own = {(r.trial.task, r.trial.data): r.task for r in ended if not r.trial.metric}

    def row_of(r: Record) -> tuple[str, str, str]:
        at = r.trial.task, r.trial.data
        chosen_by = r.task.get("metric") or r.trial.metric or own.get(at, {}).get("metric", "")
        return *at, chosen_by

    groups = grouped(records, row_of)
    measures = Counter(key[:2] for key in groups)
    states = Counter(task for task, _ in measures)
    out = []
    for (task, data, chosen_by), mine in groups.items():
        found, metric = grouped(mine, column_of), shown or chosen_by
        cells = [cell_of(found.get(i, []), metric) for i in range(n_columns)]
        facts, known = about.get((task, data), {}), METRICS.get(metric)
        sign = known.sign if known else 1
        best, second = podium(cells, digits, sign) if known or not metric else (NONE, NONE)
        name = task + f" @{data[:6]}" * (states[task] > 1)
        out.append(
            Row(
                task=task, data=data,
                name=name + f" ({chosen_by or NOT_KNOWN})" * (measures[task, data] > 1),
                family=str(facts.get("family", "")), metric=metric,
                label=known.label if known else metric, rope=known.rope if known else 0.0,
                n_test=int(facts.get("n_test", 0)), cells=tuple(cells), best=best, second=second,
                chosen_by=chosen_by if chosen_by != metric else "",
            )
        )  # fmt: skip
    order = sorted(out, key=lambda r: (suite_of(r), _natural(r.family), _natural(r.name), r.metric))
    return tuple(order)


def _varying(settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names whose values differ; a missing one is a value of its own."""
    settings = list({_json(s): s for s in settings}.values())
    names = {name for s in settings for name in s}
    return {n for n in names if len({_json(s[n]) if n in s else "" for s in settings}) > 1}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=dict)


def _natural(text: str) -> list[tuple[str, float]]:
    """Sorts k9 before k10, and lr=0.0003 before lr=0.001 before lr=1e-2."""
    found = re.findall(r"(\D*?)((?:(?<![\w.])\d+\.\d+|\d+)(?:e[+-]?\d+\b)?|$)", text)
    return [(word, float(digits or 0)) for word, digits in found]
