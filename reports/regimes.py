"""Regimes of training side by side: what a pretraining costs, and what test says it buys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from dnabench.reports.cells import REGIME
from dnabench.reports.columns import TUNED
from dnabench.reports.costs import costs
from dnabench.reports.evidence import Comparison, Evidence
from dnabench.reports.grid import NONE, Grid, fixed, interval, p_value, signed
from dnabench.reports.table import Row, Table
from dnabench.results.regimes import COMPUTE, CONTROLS, PRETRAINED, SCRATCH, Regime
from dnabench.types import Record, Trial

TITLE = "What pretraining costs and buys"
NOTE = (
    "Gain: the regime minus scratch of the same model and tokenizer, with the 95 % interval and "
    "the verdict of the report. Same compute: scratch with so many more epochs that at least as "
    "many bp are read in training as by pretraining and fine-tuning together. Shuffled: pretrained "
    "as on the first genome, with its dinucleotides shuffled. Frozen random: a linear head on "
    "untrained features."
)
NESTED = (
    "Of several pretrainings each counts once, with the mean of its fine-tunings: intervals, p and "
    "verdicts are over pretrainings, at least five for a verdict."
)
ALONE = (
    "One pretraining of each network: how networks of other pretraining seeds differ is in no "
    "interval."
)


def with_regimes(records: Sequence[Record], found: Sequence[Regime]) -> list[Record]:
    """The records, those of regimes in a column of each.

    What `dnabench run` has run before, or has other seeds or tasks of, is in its ordinary column,
    too.
    """
    of: dict[str, dict[str, Regime]] = {}
    for regime in found:
        for trial_id in regime.trials:
            of.setdefault(trial_id, {})[regime.id] = regime
    ordinary = {trial_id for regime in found for trial_id in regime.ordinary}
    kinds = {_kind(r) for r in records if r.trial.id not in of} if of else set()
    out, placed = [], set[str]()
    known = {record.trial.id: record for record in records}
    units = {regime.id: _units(known, regime) for regime in found}
    for record in records:
        trial_id = record.trial.id
        own, tuned = of.get(trial_id), record.flags.get(TUNED)
        if not own or tuned or trial_id in ordinary or _kind(record) in kinds:
            out.append(record)
        if own and trial_id not in placed:  # of which a tuned model may have a second one
            out += [
                _in_column(record, regime, units[regime.id].get(trial_id))
                for regime in own.values()
            ]
            placed.add(trial_id)
    return out


def _units(known: Mapping[str, Record], regime: Regime) -> dict[str, int]:
    """Trial id -> number of the network that it began with; none where runs stand for themselves.

    A seed of pretraining gives another network on another machine, so both tell networks apart.
    """
    networks = {
        i: (seed, known[i].trial.regime.rpartition("@")[2])
        for i, seed in regime.trials.items()
        if seed is not None and i in known
    }
    numbers = {network: k for k, network in enumerate(sorted(set(networks.values())))}
    of: dict[tuple[object, ...], set[int]] = {}
    for i, network in networks.items():
        if not known[i].error:
            of.setdefault(_where(known[i].trial), set()).add(numbers[network])
    return {
        i: numbers[network]
        for i, network in networks.items()
        if regime.nested or len(of.get(_where(known[i].trial), ())) > 1
    }


def _where(trial: Trial) -> tuple[object, ...]:
    """The same for runs that are averaged."""
    return trial.task, trial.data, trial.protocol, trial.limit, trial.train_share


def _in_column(record: Record, regime: Regime, unit: int | None) -> Record:
    flag = {"column": _key(regime), "label": regime.label, "unit": unit}
    kept = {name: value for name, value in record.flags.items() if name != TUNED}
    return replace(record, flags={**kept, REGIME: flag})


def _kind(record: Record) -> str:
    """The same for trials that differ in task or seed alone."""
    return replace(record.trial, task="", data="", seed=0).id


def _key(regime: Regime) -> str:
    return f"{regime.regime} @{regime.id[:6]}"


def regime_section(evidence: Evidence, found: Sequence[Regime]) -> Grid:
    """A line a task and column; no lines without regimes."""
    own = _columns(evidence.table, found)
    lines = [
        _line(evidence, row, k, own)
        for row in evidence.table.rows for k in own if row.cells[k].scores
    ]  # fmt: skip
    heads = ["task", "model", "tokenizer", "regime", "runs", "score", "gain", "95 % CI", "Holm p"]
    heads += ["verdict", *(f"against {kind}" for kind in CONTROLS)]
    heads += ["pretraining: Mbp", "minutes", "fine-tuning: minutes"]
    cells = [(r, row.cells[k]) for row in evidence.table.rows for k, r in own.items()]
    alone = any(r.seconds and c.scores and not c.units for r, c in cells)
    nested = any(c.units for _, c in cells)
    return Grid(TITLE, heads, lines, [NOTE, *[NESTED] * nested, *[ALONE] * alone])


def tables_of(evidence: Sequence[Evidence]) -> list[Grid]:
    """Those of `regime_section` in a report, one for each protocol."""
    return [grid for one in evidence for grid in one.sections if grid.title == TITLE]


def _columns(table: Table, found: Sequence[Regime]) -> dict[int, Regime]:
    """The columns of the table that are regimes, by model, tokenizer and kind."""
    known = {(regime.model, _key(regime)): regime for regime in found}
    named = {k: known.get((c.model, c.regime)) for k, c in enumerate(table.columns)}
    own = [(k, regime) for k, regime in named.items() if regime is not None]
    kinds = (SCRATCH, PRETRAINED, *CONTROLS)
    return dict(
        sorted(own, key=lambda one: (one[1].model, one[1].tokenizer, kinds.index(one[1].kind)))
    )


def _line(evidence: Evidence, row: Row, k: int, own: Mapping[int, Regime]) -> list[str]:
    regime, cell, digits = own[k], row.cells[k], evidence.table.digits
    sizes = sorted(Counter(cell.units.values()).values())
    each = "-".join(map(str, dict.fromkeys([*sizes[:1], *sizes[-1:]])))
    runs = f"{cell.summary.n} x {each}" if cell.units else str(len(cell.scores))
    at, controls = {r.id: i for i, r in own.items()}, regime.controls or {}
    tested = _tested(_between(evidence, row, k, at.get(regime.base)))
    pretrained = bool(regime.seconds)
    name = regime.regime + f" (+{regime.bp / 1e6:.4g} Mbp)" * (regime.kind == COMPUTE)
    against = [
        _short(_between(evidence, row, k, at.get(controls.get(kind, "")))) for kind in CONTROLS
    ]
    spent = fmean(regime.seconds.values()) / 60 if regime.seconds else None
    tuning = costs(cell.runs)["seconds"]
    return [
        row.name, regime.model, regime.tokenizer, name, runs,
        fixed(cell.summary.mean, digits), *tested, *against,
        f"{regime.bp / 1e6:.4g}" if pretrained else NONE,
        NONE if spent is None else f"{spent:.3g}", NONE if tuning is None else f"{tuning / 60:.3g}",
    ]  # fmt: skip


def _between(evidence: Evidence, row: Row, i: int, j: int | None) -> Comparison | None:
    for d in evidence.comparisons:
        if d.row.name == row.name and {d.i, d.j} == {i, j}:
            return d if d.i == i else d.flipped()
    return None


def _tested(d: Comparison | None) -> list[str]:
    if d is None:
        return [NONE] * 4
    low, high = d.nested[1:] if d.nested else (d.welch.low, d.welch.high)
    return [
        signed(d.welch.difference, 4), interval(low, high, 4), p_value(d.p_holm), d.verdict_text
    ]  # fmt: skip


def _short(d: Comparison | None) -> str:
    return NONE if d is None else f"{signed(d.welch.difference, 4)} {d.verdict_text}"
