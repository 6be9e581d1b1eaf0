"""From a published table to the trials that repeat it: `dnabench reproduce convnova/table13`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dnabench.protocols import protocol_named
from dnabench.registry import MODELS, TASKS, explain_miss
from dnabench.reports.papers import matching
from dnabench.reports.papers.matching import OurModel, our_model
from dnabench.reports.papers.published import About, Value, named, values
from dnabench.reports.papers.reproduction import PlannedCell
from dnabench.sweep.grid import Request, grid, incompatibility
from dnabench.sweep.numbers import parse_limit, parse_seeds
from dnabench.sweep.settings import check_settings
from dnabench.types import Job
from dnabench.weights import regimes

STAND_INS = ("_reduced", "_revised")  # suites whose tasks may replace the suite's own
MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """A table, and what to run for it.

    Of the grid, `models` and `tasks` choose cells, by the paper's names or ours (none = all;
    nt_reduced/h3 replaces nt/h3). An empty `protocol` or `regime` is that of the cell.
    """

    table: str  # convnova/table1
    grid: Request


@dataclass(frozen=True, kw_only=True)
class ReproducePlan:
    """The cells of a table and what has to be run for them."""

    about: About
    cells: tuple[PlannedCell, ...]
    jobs: tuple[Job, ...]


def plan_reproduction(request: ReproduceRequest) -> ReproducePlan:
    """Find the cells, and the trials of each.

    Returns:
        A cell for each requested value; where nothing can be run, it says why. Jobs are in the
        order of the cells, each once.

    Raises:
        KeyError: an unknown table, task, model, protocol or setting; the message suggests.
        ValueError: a table without scores, bad seeds, limit, regime or settings.
    """
    about, wanted = named(request.table), request.grid
    if about.paper != matching.PAPER or about.table not in matching.TABLES:
        raise ValueError(
            f"{about.name} cannot be reproduced here; choose from {matching.PAPER}/table"
            f"{', '.join(matching.TABLES[:-1])} and {matching.TABLES[-1]}"
        )
    parse_seeds(wanted.seeds)
    parse_limit(wanted.limit)
    if wanted.protocol:
        protocol_named(wanted.protocol)
    chosen = _chosen(values(about.paper, about.table), wanted)
    presets = [preset for value, _ in chosen if (preset := our_model(value).preset)]
    check_settings([MODELS[preset] for preset in presets], wanted.settings)
    weights = _regimes(wanted.regime, presets)
    cells, jobs = [], {}
    for value, tasks in chosen:
        ours = our_model(value)
        regime = weights.get(ours.preset, weights.get("", "")) or matching.regime_of(value)
        mine, why_not = _jobs(wanted, value, tasks, ours, regime)
        jobs.update({job.trial.id: job for job in mine})
        trials, label = tuple(job.trial.id for job in mine), _label(wanted, ours, regime)
        cells.append(PlannedCell(value=value, trials=trials, model=label, why_not=why_not))
    return ReproducePlan(about=about, cells=tuple(cells), jobs=tuple(jobs.values()))


def _chosen(found: Sequence[Value], wanted: Request) -> list[tuple[Value, tuple[str, ...]]]:
    """The requested values, each with the tasks to run for it."""
    tasks = list(dict.fromkeys(v.task for v in found))
    replaced = dict(_task(name, tasks) for name in wanted.tasks)
    models = {_model(name, found) for name in wanted.models}
    out = []
    for v in found:
        if replaced and v.task not in replaced:
            continue
        if not models or models & {v.model, our_model(v).preset}:
            own = replaced.get(v.task, v.task)
            out.append((v, matching.tasks_of(v) if own == v.task else (own,)))
    return out


def _task(name: str, known: Sequence[str]) -> tuple[str, str]:
    """(task of the table, task to run in its place)."""
    suites = dict.fromkeys(task.partition("/")[0] for task in known)
    for full in (name, *(f"{suite}/{name}" for suite in suites if "/" not in name)):
        full = TASKS[full].name if full in TASKS else full
        suite, slash, rest = full.partition("/")
        for ending in ("", *STAND_INS):
            task = suite.removesuffix(ending) + slash + rest
            if task in known and (task == full or full in TASKS):
                return task, full
    near = [*known, *(task.partition("/")[2] for task in known)]
    some = ", ".join(known[:MOST_NAMED]) + (", ..." if len(known) > MOST_NAMED else "")
    raise KeyError(explain_miss("task of the table", name, near, f"it has {some}"))


def _model(name: str, found: Sequence[Value]) -> str:
    names = [*(v.model for v in found), *(our_model(v).preset for v in found)]
    known = list(dict.fromkeys(filter(None, names)))
    full = MODELS[name].name if name in MODELS and name not in known else name
    if full not in known:
        where = f"it has {', '.join(known)}"
        raise KeyError(explain_miss("model of the table", name, known, where))
    return full


def _jobs(
    wanted: Request, value: Value, tasks: Sequence[str], ours: OurModel, regime: str
) -> tuple[list[Job], str]:
    """The trials of a cell, or why there are none."""
    if not ours.preset or not regime:
        return [], ""
    absent = [t for t in tasks if not TASKS[t].data or not {"train", "test"} <= {*TASKS[t].counts}]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return [], (
            f"the data of {absent[0]}{more} are not here: `dnabench data fetch {absent[0]}`, or "
            "`dnabench data import FOLDER`"
        )
    for task in tasks:
        if why := incompatibility(MODELS[ours.preset], TASKS[task]):
            return [], why
    as_published = replace(
        wanted, models=[ours.preset], tasks=tasks, regime=regime,
        protocol=wanted.protocol or matching.protocol_of(value),
        settings=[f"{k}={v}" for k, v in ours.options.items()], overrides={},
    )  # fmt: skip
    settings = [*as_published.settings, *_for_model(ours.preset, wanted.settings)]
    try:
        return grid(replace(as_published, settings=settings, overrides=wanted.overrides)), ""
    except ValueError as problem:
        try:
            grid(as_published)
        except ValueError:
            return [], str(problem)
        raise  # it can be planned without the user's settings, so they are the problem


def _for_model(preset: str, settings: Sequence[str]) -> list[str]:
    """The settings that a model has."""
    known = []
    for setting in settings:
        with suppress(ValueError):
            check_settings([MODELS[preset]], [setting])
            known.append(setting)
    return known


def _regimes(text: str, presets: Sequence[str]) -> dict[str, str]:
    """Our model -> regime; "" -> that of the others."""
    if not text:
        return {}
    chosen = {MODELS[m].name if m else "": named[-1] for m, named in regimes(text).items()}
    for name in chosen:
        if name and name not in presets:
            raise ValueError(
                f"--regime {name}=...: {name} is not in the requested cells; they have "
                f"{', '.join(dict.fromkeys(presets))}"
            )
    return chosen


def _label(wanted: Request, ours: OurModel, regime: str) -> str:
    """Our model, its options that differ from the usual, and the initial weights."""
    if not ours.preset or not regime:
        return ours.preset
    usual = MODELS[ours.preset].options
    settings = [f"{k}={v}" for k, v in ours.options.items() if usual.get(k) != v]
    settings += _for_model(ours.preset, wanted.settings)
    return f"{' '.join([ours.preset, *settings])} ({regime.partition(':')[0]})"
