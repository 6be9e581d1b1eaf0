"""All searches of the models in a table: what each had, whether that was equal, earlier choices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from dnabench.registry import MODELS
from dnabench.reports.grid import count, listed
from dnabench.reports.table import Table
from dnabench.results.searches import Choice, Search, budget_text, different
from dnabench.types import Recipe, Record

Found = tuple[Search, Choice]
Place = tuple[str, str, str, int]  # model, regime, task, fold
Tuned = tuple[str, str]  # model and regime


def all_choices(table: Table, found: Sequence[Search]) -> dict[Place, list[Found]]:
    """The choices whose default or tuned runs are in a table; for each place the newest last."""
    here = {r.trial.id for r in table.records}
    out: dict[Place, list[Found]] = {}
    for search in found:
        for choice in search.choices:
            if here & {*choice.final, *choice.final.values()}:
                for task in choice.tasks:
                    place = choice.model, choice.regime, task, choice.fold
                    out.setdefault(place, []).append((search, choice))
    return out


def choices_in(table: Table, found: Sequence[Search]) -> list[Found]:
    """The choices whose runs are in a table; of several searches the newest."""
    newest = [several[-1] for several in all_choices(table, found).values()]
    return list({id(choice): (search, choice) for search, choice in newest}.values())


def names_of(choices: Iterable[Choice]) -> dict[Tuned, str]:
    """How the models of choices are called, with the regime where one was tuned in several."""
    regimes: dict[str, dict[str, None]] = {}
    for c in choices:
        regimes.setdefault(c.model, {})[c.regime] = None
    return {
        (model, regime): f"{model} ({regime})" if len(own) > 1 else model
        for model, own in regimes.items() for regime in own
    }  # fmt: skip


def tried_text(table: Table, task: str, choice: Choice, found: Sequence[Search]) -> str:
    """How many configurations all searches of a model tried on a task; "" = there is one search."""
    place = choice.model, choice.regime, task, choice.fold
    several = all_choices(table, found)[place]
    n = different((c for _, c in several), task)
    return f" ({n} in {len(several)} searches)" * (len(several) > 1)


def before_text(table: Table, found: Sequence[Search]) -> list[str]:
    """A sentence for each model that was searched before, on tasks where it was so alike."""
    names = names_of(c for _, c in choices_in(table, found))
    said: dict[tuple[str, str], dict[str, None]] = {}
    for (model, regime, task, fold), several in all_choices(table, found).items():
        if len(several) < 2:
            continue
        n = different((c for _, c in several), task)
        newest, spaces = several[-1][0], several[-1][0].spaces.get(model)
        what = [
            _search(search, newest) + f" chose {_settings(choice)}"
            + f" from {_space(search, model)}" * (search.spaces.get(model) != spaces)
            for search, choice in several[:-1]
        ]  # fmt: skip
        text = f"{n} different configurations in {len(several)} searches; before, {listed(what)}."
        where = task + f" (fold {fold})" * (fold >= 0)
        said.setdefault((names[model, regime], text), {})[where] = None
    return [
        f"{name} was searched more than once on {listed(tasks)}: {text}"
        for (name, text), tasks in said.items()
    ]


def _search(search: Search, newest: Search) -> str:
    """A search by its budget, kind and seeds."""
    more = ", its tuning seeds " + ", ".join(map(str, search.tuning_seeds))
    return (
        f"that of {budget_text(search)} ({search.search}, search seed {search.search_seed}"
        f"{more * (search.tuning_seeds != newest.tuning_seeds)})"
    )


def _settings(choice: Choice) -> str:
    return " ".join(choice.best.settings) or "its default"


def _space(search: Search, model: str) -> str:
    return " ".join(f"{k}={v}" for k, v in search.spaces.get(model, {}).items()) or "nothing"


class _Effort(NamedTuple):
    """What a model in a regime had on a task."""

    several: Sequence[Found]
    different: int  # configurations of all its searches

    @property
    def budget(self) -> str:
        """In words, over all searches."""
        searches = [search for search, _ in self.several]
        sizes = [search.budget for search in searches]
        if len(searches) == 1 or self.different == max(sizes):  # they are parts of the largest
            return budget_text(max(searches, key=lambda search: search.budget))
        if all(sizes):
            return f"{self.different} configurations in {len(searches)} searches"
        return " and ".join(map(budget_text, searches))

    @property
    def kinds(self) -> str:
        """Of search."""
        return listed(dict.fromkeys(search.search for search, _ in self.several))

    @property
    def seeds(self) -> str:
        """How many of tuning, of each configuration."""
        numbers = [len(c.default.trials) // max(1, len(c.tasks)) for _, c in self.several]
        return listed(dict.fromkeys(map(str, sorted(numbers))))

    def spaces(self, model: str) -> dict[str, str]:
        """Those that the user gave, of settings of the model; "" = as the model declares it."""
        out: dict[str, str] = {}
        for search, _ in self.several:
            own = search.spaces.get(model, {})
            given = [text.partition("=")[::2] for text in search.by_hand]
            of = [(key.rpartition(".")[2], space) for key, space in given]
            out |= {name: space for name, space in of if own.get(name) == space}
            named = [key.rpartition(".")[::2] for key, space in given if not space]
            out |= {name: "" for owner, name in named if owner in ("", model) and name in own}
        return out


Efforts = dict[str, dict[Tuned, _Effort]]  # task -> model and regime


def _efforts(table: Table, found: Sequence[Search]) -> Efforts:
    out: Efforts = {}
    for (model, regime, task, _), several in all_choices(table, found).items():
        new = _Effort(several, different((c for _, c in several), task))
        own = out.setdefault(task, {})
        if (model, regime) not in own or own[model, regime].different < new.different:  # of folds
            own[model, regime] = new
    return out


def tuned_line(table: Table, found: Sequence[Search]) -> str:
    """With which budgets models were tuned, in a line; "" = none was."""
    efforts = _efforts(table, found).values()
    budgets = dict.fromkeys(effort.budget for own in efforts for effort in own.values())
    said = f"tuned: {' or '.join(budgets)} each, chosen on validation; see --full"
    return said if budgets else ""


def tuning_remarks(
    table: Table, found: Sequence[Search], tried: Sequence[Record],
    written: Collection[str],
) -> tuple[str, ...]:  # fmt: skip
    """What makes the tuning of models unequal on a task, and which columns earlier searches chose.

    Args:
        table: what is shown.
        found: the searches of its folder, the newest last.
        tried: the trials of tuning of the folder.
        written: ids of all trials of the folder that have a record, failed ones too.
    """
    efforts = _efforts(table, found)
    names = names_of(choice for _, choice in choices_in(table, found))
    return (
        *_untuned(table, efforts, names),
        *_unequal(efforts, names, "budgets of tuning differ", "the same", lambda e: e.budget),
        *_unequal(efforts, names, "kinds of search differ", "the same", lambda e: e.kinds),
        *_unequal(efforts, names, "numbers of tuning seeds differ", "as many", lambda e: e.seeds),
        *_spaces(efforts, names),
        *_chosen_before(table, found, names),
        *_untested(table, found, names, written),
        *_unfinished(table, found, tried),
    )


def _on(tasks: Iterable[str], every: Iterable[str]) -> str:
    """Where a remark holds; "" = everywhere."""
    return "" if {*every} <= {*tasks} else f"on {listed(dict.fromkeys(tasks))}: "


def _untuned(table: Table, efforts: Efforts, names: Mapping[Tuned, str]) -> list[str]:
    said: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in table.rows:
        tuned = efforts.get(row.task, {})
        here = [c for c, cell in zip(table.columns, row.cells, strict=True) if not cell.missing]
        others = dict.fromkeys(c.name for c in here if (c.model, c.regime) not in tuned)
        if tuned and others:
            said.setdefault((tuple(names[k] for k in tuned), tuple(others)), []).append(row.task)
    return [
        f"{_on(tasks, (row.task for row in table.rows))}{listed(tuned)} "
        f"{'was' if len(tuned) == 1 else 'were'} tuned and {listed(others)} not: a tuned model "
        "against an untuned one is no fair comparison; give all of them to `dnabench tune`, or "
        "compare defaults"
        for (tuned, others), tasks in said.items()
    ]


def _unequal(
    efforts: Efforts, names: Mapping[Tuned, str], what: str, how: str, of: Callable[[_Effort], str]
) -> list[str]:
    """Where models were given different amounts; not where they were in the same searches."""
    said: dict[str, list[str]] = {}
    for task, own in efforts.items():
        given: dict[str, list[str]] = {}
        for key, effort in own.items():
            given.setdefault(of(effort), []).append(names[key])
        together = len({tuple(search.id for search, _ in e.several) for e in own.values()}) == 1
        if len(given) > 1 and not together:
            text = "; ".join(f"{n} for {listed(models)}" for n, models in sorted(given.items()))
            said.setdefault(text, []).append(task)
    return [f"{_on(tasks, efforts)}{what}: {text}; tune all with {how}"
            for text, tasks in said.items()]  # fmt: skip


def _spaces(efforts: Efforts, names: Mapping[Tuned, str]) -> list[str]:
    """Spaces that were given for a model, of settings that others have and were not searched in."""
    said: dict[str, list[str]] = {}
    for task, own in efforts.items():
        for key, effort in own.items():
            others = [k for k in own if k[0] != key[0]]
            alone = [
                f"{name}={space}".rstrip("=") for name, space in effort.spaces(key[0]).items()
                if any(_lacks(own[k], k[0], name, space) for k in others)
            ]  # fmt: skip
            if alone:
                said.setdefault(f"{names[key]} ({' '.join(alone)})", []).append(task)
    return [
        f"{_on(tasks, efforts)}a space was given by hand for {who} and not for the other models: "
        "equal budgets in unequal spaces are no equal tuning"
        for who, tasks in said.items()
    ]


def _lacks(effort: _Effort, model: str, name: str, space: str) -> bool:
    """Whether a model has a setting and no search of it had that space, given or declared.

    "" stands for any.
    """
    spaces = [search.spaces.get(model, {}).get(name) for search, _ in effort.several]
    has = any(spaces) or (model in MODELS and (
        name in MODELS[model].options
        or (name in Recipe().numbers and MODELS[model].reads(name))
    ))  # fmt: skip
    return has and not (any(spaces) if not space else space in spaces)


def _chosen_before(table: Table, found: Sequence[Search], names: Mapping[Tuned, str]) -> list[str]:
    """Columns that look untuned, since only the choice of the newest search is "tuned"."""
    here = {r.trial.id for r in table.records}
    said: dict[tuple[str, str, str], dict[str, None]] = {}
    for (model, regime, task, _), several in all_choices(table, found).items():
        newest = several[-1][1].final
        for search, choice in several[:-1]:
            if here & {*choice.final.values()} - {*newest, *newest.values()}:
                by = f"{budget_text(search)}, {search.search}, search seed {search.search_seed}"
                said.setdefault((names[model, regime], _settings(choice), by), {})[task] = None
    return [
        f"{name} with {settings} is no untuned model: an earlier search ({by}) chose it on "
        f"{listed(tasks)}, and it was tested; of several choices that read test, the best is "
        "chosen on test"
        for (name, settings, by), tasks in said.items()
    ]


def _untested(
    table: Table, found: Sequence[Search], names: Mapping[Tuned, str], written: Collection[str]
) -> list[str]:
    """Newest searches whose final runs have not all been made."""
    final: dict[str, tuple[set[str], set[str]]] = {}  # runs of the default, and all
    for (model, regime, *_), several in all_choices(table, found).items():
        pairs = several[-1][1].final
        default, every = final.setdefault(names[model, regime], (set(), set()))
        default.update(pairs)
        every.update(pairs, pairs.values())
    said = []
    for name, (default, every) in final.items():
        missing = every - {*written}
        if not missing:
            continue
        whose = {"its default": missing & default, "what was chosen": missing - default}
        which = listed(f"{len(ids)} of {what}" for what, ids in whose.items() if ids)
        said.append(
            f"{len(missing)} of {count(len(every), 'final run')} of {name} "
            f"{'has' if len(missing) == 1 else 'have'} no record ({which}), so what its newest "
            "search chose is not or not wholly compared with the default; run its `dnabench tune` "
            "again"
        )
    return said


def _unfinished(table: Table, found: Sequence[Search], trials: Sequence[Record]) -> list[str]:
    """Configurations that no search counts: it has not chosen, or its hours or FLOP were over."""
    known = {i for s in found for c in s.choices for one in c.candidates for i in one.trials}
    shown = {row.task for row in table.rows}
    tried: dict[str, set[str]] = {}
    for t in (r.trial for r in trials):
        at = t.protocol, t.limit, t.train_share
        if (
            t.id not in known and t.task in shown
            and at == (table.protocol, table.limit, table.train_share)
        ):  # fmt: skip
            tried.setdefault(f"{t.model} on {t.task}", set()).add(replace(t, seed=0).id)
    return [
        f"{count(len(ids), 'configuration')} of {where} {'was' if len(ids) == 1 else 'were'} tried "
        "by a search that has not chosen, or beyond the budget of one: in no number of "
        "configurations here"
        for where, ids in tried.items()
    ]
