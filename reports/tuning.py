"""Default against tuned: what searches chose, what test says of it, and what a budget is worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.columns import TUNED
from dnabench.reports.evidence import Evidence
from dnabench.reports.grid import NONE, Grid, fixed, interval, p_value, signed
from dnabench.reports.table import Row
from dnabench.reports.tuning_all import Found, before_text, choices_in, names_of, tried_text
from dnabench.results.searches import Choice, Search, budget_text, choose, values
from dnabench.types import Record, Trial

HOW = {
    "random": "random search, the same quantiles for all models",
    "grid": "every point of the grid",
    "tpe": "TPE, which learns from the scores of the configurations before",
    "halving": "successive halving: the best third is trained for three times the epochs, and only "
    "what was trained for all of them can be chosen",
}
TITLES = ("Default against tuned", "Expected best validation score")
NO_SHARES = (
    "What a part of the budget would have found is shown for random search and grids with a budget "
    "of configurations alone: what TPE and halving try depends on what came before, and so many "
    "configurations are no fixed part of hours or FLOP."
)


def with_tuned(records: Sequence[Record], found: Sequence[Search]) -> list[Record]:
    """The records, those of chosen configurations as a column "tuned" of their model.

    Where a search chose the default, its runs are in both columns. Of several searches of a model
    on a task only the choice of the newest is "tuned", also where its default has no record yet.
    """
    pairs = final_pairs(records, found)
    budgets = {tuned: budget_text(search) for tuned, search in pairs.values()}
    out = []
    for record in records:
        trial_id = record.trial.id
        if trial_id not in budgets or trial_id in pairs:
            out.append(record)
        if trial_id in budgets:
            out.append(replace(record, flags={**record.flags, TUNED: budgets[trial_id]}))
    other = {i for default, (tuned, _) in pairs.items() if tuned != default
             for i in (default, tuned)}  # fmt: skip
    chose = {(r.trial.model, r.trial.regime) for r in records if r.trial.id in other}
    return [r for r in out if not r.flags.get(TUNED) or (r.trial.model, r.trial.regime) in chose]


def final_pairs(
    records: Sequence[Record], found: Sequence[Search]
) -> dict[str, tuple[str, Search]]:
    """Trial id of a default -> the tuned trial beside it, of the newest search of its model there.

    Args:
        records: what is shown; choices without a record among them are left out.
        found: searches, the newest last.
    """
    known = {r.trial.id: r.trial for r in records}
    newest: dict[tuple[object, ...], dict[str, tuple[str, Search]]] = {}
    for search in found:
        for choice in search.choices:
            own: dict[tuple[object, ...], dict[str, tuple[str, Search]]] = {}
            for default, tuned in choice.final.items():
                trial = known.get(default) or known.get(tuned)
                if trial is not None:
                    place = (choice.fold, *_where(trial))
                    own.setdefault(place, {})[default] = tuned, search
            newest |= own
    return {default: pair for pairs in newest.values() for default, pair in pairs.items()}


def _where(trial: Trial) -> tuple[object, ...]:
    return (
        trial.model, trial.regime, trial.task, trial.data, trial.protocol, trial.limit,
        trial.train_share, trial.metric,
    )  # fmt: skip


def check_tuned(name: str, found: Sequence[Search], records: Sequence[Record] = ()) -> None:
    """Refuse a column "tuned" that there is not, since the newest searches chose the default.

    Args:
        name: of a column, such as "cnn tuned".
        found: searches, the newest last.
        records: as `with_tuned` gives them; a column among them is never refused.

    Raises:
        ValueError: there is no such column.
    """
    newest = {
        (c.regime, task, c.fold): c for search in found for c in search.choices
        if f"{c.model} {TUNED}" == name for task in c.tasks
    }  # fmt: skip
    there = any(r.flags.get(TUNED) and f"{r.trial.model} {TUNED}" == name for r in records)
    if newest and not there and all(c.best is c.default for c in newest.values()):
        model = name.removesuffix(f" {TUNED}")
        raise ValueError(
            f"there is no column {name!r}: its newest search chose the default on every task, so "
            f"what is shown as {model!r} is the tuned model, too"
        )


def tuning_sections(evidence: Evidence, found: Sequence[Search]) -> list[Grid]:
    """Default against tuned, and the expected best validation score; none without a search."""
    table, own = evidence.table, choices_in(evidence.table, found)
    if not own:
        return []
    rows = {row.task: row for row in table.rows}
    names = names_of([choice for _, choice in own])
    lines = [
        [rows[task].name + fold_text(choice), names[choice.model, choice.regime],
         *_line(evidence, rows[task], search, choice, found)]
        for search, choice in own for task in choice.tasks if task in rows
    ]  # fmt: skip
    heads = ["task", "model", "tried", "chosen", "seeds agree", "validation: default", "chosen"]
    heads += ["test: default", "tuned", "tuned - default", "95 % CI", "Holm p", "verdict of tuned"]
    searches = list({id(search): search for search, _ in own}.values())
    shown = {r.trial.seed for r in table.records}
    said = [replace(s, seeds=tuple(x for x in s.seeds if x in shown)) for s in searches]
    notes = [" ".join([*map(caption, said), *before_text(table, found)])]
    if not all(map(_alike, searches)):
        notes.append(NO_SHARES)
    return [Grid(TITLES[0], heads, lines, notes), *expected_grids(own, table.digits)]


def fold_text(choice: Choice) -> str:
    """Which fold a choice is for, where each has its own."""
    return f", fold {choice.fold}" if choice.fold >= 0 else ""


def caption(search: Search) -> str:
    """Budget, space, rule and seeds."""
    spaces = "; ".join(
        f"{model}: {' '.join(f'{k}={v}' for k, v in space.items()) or 'nothing'}"
        for model, space in search.spaces.items()
    )
    how = HOW[search.search]
    costs = " Configurations count in their order until their trials have cost that much, so a " \
        "model whose trials are cheaper tries more of them; the last may exceed it."  # fmt: skip
    costs = costs if search.hours or search.flops else ""
    if any(c.fold >= 0 for c in search.choices):
        costs += (
            " Each fold has a choice of its own, made on other folds of train: tuning seed 1000 + "
            "10 k + j leaves fold k out and validates on fold j."
        )
    if any(c.regime != "scratch" for c in search.choices):
        costs += f" What pretraining took is not counted{_pretraining(search)}."
    over = "" if search.per == "task" else (
        f" and the tasks of a {search.per}, of the ranks where their metrics differ")  # fmt: skip
    return (
        f"Budget: {budget_text(search)} of each model and regime, the default "
        f"among them ({how}, search seed {search.search_seed}), for each {search.per}.{costs} "
        "Chosen: the best mean validation score over the tuning seeds "
        f"{', '.join(map(str, search.tuning_seeds))}{over}; of equal ones that with fewer "
        "parameters, then fewer FLOP. These trials never read test. Final seeds: "
        f"{', '.join(map(str, search.seeds))}. Seeds agree: tuning seeds that alone choose the "
        f"same. Spaces: {spaces}."
    )


def _pretraining(search: Search) -> str:
    """What is known of it."""
    said = [
        f"{regime.partition('@')[0]} read {took['bp'] / 1e6:.4g} Mbp in "
        f"{took['seconds'] / 60:.3g} minutes{_unknown(took)}"
        for regime, took in search.pretraining.items()
    ]  # fmt: skip
    return ": " * bool(said) + "; ".join(said)


def _unknown(took: Mapping[str, Any]) -> str:
    """What a pretraining began with, where it is not known what that took."""
    begun = str(took.get("began_with", "")).rpartition("@")[0]
    return f" after {begun}, of which that is not known" if begun else ""


def _line(
    evidence: Evidence, row: Row, search: Search, choice: Choice, found: Sequence[Search]
) -> list[str]:
    """One task of a choice, without its names; `found` are all searches of the folder."""
    digits, best = evidence.table.digits, choice.best
    columns = [
        _column(row, ids, tuned)
        for ids, tuned in ((choice.final.keys(), False), (set(choice.final.values()), True))
    ]
    i, j = columns[1], columns[0]
    words = " ".join(best.settings) or "default"
    tested = [fixed(_tested(row, k, choice), digits) if k is not None else NONE for k in (j, i)]
    if best is choice.default:
        compared = [NONE, NONE, NONE, "default chosen"]
        tested[1] = tested[0]
    elif choice.fold >= 0:
        compared = [NONE, NONE, NONE, "one run"]
    else:
        compared = _compared(evidence, row, i, j)
    return [
        _tried(choice) + tried_text(evidence.table, row.task, choice, found), words,
        agreeing(choice, search),
        *(fixed(_mean(c.scores.get(row.task, ())), digits) for c in (choice.default, best)),
        *tested, *compared,
    ]  # fmt: skip


def _tested(row: Row, column: int, choice: Choice) -> float:
    """The mean score on test of a column, of a fold that of its run."""
    cell = row.cells[column]
    return cell.scores.get(choice.fold, math.nan) if choice.fold >= 0 else cell.summary.mean


def _column(row: Row, ids: Iterable[str], tuned: bool) -> int | None:
    """The column that has these runs on a row."""
    ids = set(ids)
    for k, cell in enumerate(row.cells):
        if any(r.trial.id in ids and bool(r.flags.get(TUNED)) is tuned for r in cell.runs):
            return k
    return None


def _compared(evidence: Evidence, row: Row, i: int | None, j: int | None) -> list[str]:
    for d in evidence.comparisons:
        if d.row.name == row.name and {d.i, d.j} == {i, j}:
            d = d if d.i == i else d.flipped()
            low, high = (d.nested or d.welch)[-2:] if d.nested else (d.welch.low, d.welch.high)
            return [
                signed(d.welch.difference, 4), interval(low, high, 4), p_value(d.p_holm),
                d.verdict_text,
            ]  # fmt: skip
    return [NONE, NONE, NONE, "not compared"]


def _tried(choice: Choice) -> str:
    """How many configurations, of halving those that were trained for all epochs, too."""
    failed = sum(bool(c.failed) for c in choice.candidates)
    numbers = {c.number for c in choice.candidates}
    whole = f" ({len(choice.whole)} whole)" * (len(choice.whole) < len(choice.candidates))
    return f"{len(numbers)}{whole}" + f" ({failed} failed)" * bool(failed)


def agreeing(choice: Choice, search: Search) -> str:
    """How many tuning seeds would alone have made the same choice."""
    n, same = max((len(x) for x in choice.default.scores.values()), default=0), 0
    whole = [c for c in choice.whole if not c.failed]
    for seed in range(n):
        alone = [
            replace(c, scores={task: (found[seed],) for task, found in c.scores.items()})
            for c in whole
        ]
        same += choose(alone, search.metrics).number == choice.chosen
    return f"{same} of {n}"


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores) if scores else math.nan


def expected_grids(own: Sequence[Found], digits: int) -> list[Grid]:
    """The best validation score to expect of 1, 2, 4, ... configurations, the default among them.

    Only where configurations were drawn alike and the budget is a number of them; none without.
    """
    alike = [(search, choice) for search, choice in own if _alike(search)]
    most = max((len(choice.candidates) for _, choice in alike), default=0)
    sizes = sorted({*(2**p for p in range(most.bit_length()) if 2**p < most), most})
    lines, names = [], names_of([choice for _, choice in own])
    for search, choice in alike:
        metrics = {search.metrics.get(task, "") for task in choice.tasks}
        tried = values(choice.candidates, search.metrics)  # of the default first
        known = [x for x in tried if not math.isnan(x)]
        if len(metrics) > 1 or not known:
            continue
        (metric,) = metrics
        sign = METRICS[metric].sign if metric in METRICS else 1
        every = [min(known) if math.isnan(x) else x for x in tried]
        found = [stats.expected_best(every, k) if k <= len(every) else None for k in sizes]
        lines.append([
            ", ".join(choice.tasks) + fold_text(choice), names[choice.model, choice.regime],
            *(_expected(x, sign, digits) for x in found),
        ])  # fmt: skip
    if not lines:
        return []
    note = (
        "The best mean validation score of the default and k - 1 others, drawn without replacement "
        "from those tried: its exact expectation, with a 95 % interval over them (bootstrap). "
        "k = 1 is the default alone, as every search tries it. A failed configuration counts as "
        "the worst. The best of many noisy scores is too high: read the test scores for the size "
        "of a gain, and this table for whether half the budget would have changed the order of the "
        "models."
    )
    heads = ["task", "model", *(f"k = {k}" for k in sizes)]
    return [Grid(TITLES[1], heads, lines, [note])]


def _alike(search: Search) -> bool:
    return bool(search.size) and search.search in ("random", "grid")


def _expected(x: stats.Expected | None, sign: int, digits: int) -> str:
    if x is None:
        return NONE
    if x.k == 1:
        return fixed(sign * x.value, digits)
    low, high = sorted((sign * x.low, sign * x.high))
    return f"{fixed(sign * x.value, digits)} [{fixed(low, digits)}, {fixed(high, digits)}]"
