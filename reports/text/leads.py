"""Who is better over the tasks of a suite, and by how much, in sentences."""

import math
from collections.abc import Sequence

from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.across import on_one_scale
from dnabench.reports.evidence import Evidence, OverTasks, SuiteEvidence
from dnabench.reports.grid import count, fixed, listed, p_value
from dnabench.reports.table import Table

MOST = 3  # rivals that are written out, the nearest first


def leader(suite: SuiteEvidence) -> int | None:
    """The column with the best mean over the tasks of one metric; by rank where most differ.

    None where several share the best rank, or where the larger score of a metric may be the worse.
    """
    compared = {k for pair in suite.pairs for k in (pair.i, pair.j)} or set(suite.columns)
    if rows := on_one_scale(suite.rows):
        means = {
            k: rows[0].sign * math.fsum(row.cells[k].summary.mean for row in rows) for k in compared
        }
        return max(means, key=means.__getitem__)
    if _unknown(suite):
        return None
    ranks = {k: r for k, r in zip(suite.columns, suite.ranks, strict=True) if k in compared}
    first = [k for k, rank in ranks.items() if rank == min(ranks.values())]
    return first[0] if len(first) == 1 else None


def lead_sentences(evidence: Evidence, suite: SuiteEvidence) -> list[str]:
    """The best model against each other: over these tasks, and over tasks like these."""
    best, table = leader(suite), evidence.table
    found = [p for k in suite.columns if best is not None and (p := suite.between(best, k))]
    pairs = sorted((p for p in found if not p.same), key=lambda p: p.lead.value)
    if not on_one_scale(suite.rows):
        return _by_rank(table, suite, best, pairs)
    if not pairs:
        return []
    if few := [p.n for p in pairs if p.n < stats.MIN_SEEDS]:
        tested = [p for p in pairs if p.n >= stats.MIN_SEEDS]
        if not tested:
            return [_descriptive(table, suite, pairs)]
        out = [f"Not tested against {_names(table, [p for p in pairs if p not in tested])}: fewer "
               f"than {stats.MIN_SEEDS} seeds (as few as {min(few)})."]  # fmt: skip
        return _claims(table, suite, tested) + out
    return _claims(table, suite, pairs)


def tally(evidence: Evidence, suite: SuiteEvidence) -> list[str]:
    """Verdicts of the best model on single tasks, the size of their family, and its rank."""
    best = leader(suite)
    pairs = [p for k in suite.columns if best is not None and (p := suite.between(best, k))]
    if best is None or not pairs:
        return []
    rows = {row.name for row in suite.rows}
    tests = max(d.tests for d in evidence.comparisons if d.row.name in rows)
    won, lost, undecided = (sum(getattr(p, k) for p in pairs)
                            for k in ("wins", "losses", "undecided"))  # fmt: skip
    rank = suite.ranks[suite.columns.index(best)]
    family = f" (Holm over {count(tests, 'test')})" if tests else ""
    return [
        f"On single tasks{family}: {count(won, 'win')}, {lost} loss{'es' * (lost != 1)}, "
        f"{undecided} undecided; mean rank {rank:.2f} of {len(suite.columns)}."
    ]


def _claims(table: Table, suite: SuiteEvidence, pairs: Sequence[OverTasks]) -> list[str]:
    rows = on_one_scale(suite.rows)
    name, label = table.columns[pairs[0].i].name, rows[0].label
    won = [p for p in pairs if p.p_claim < stats.ALPHA]
    undecided = [p for p in pairs if not p.p_claim < stats.ALPHA]
    over = f"over {_tasks(suite)} ({_how(pairs)})"
    out = []
    if won:
        sizes = [f"than {table.columns[p.j].name} by {_size(table, p, label)}" for p in won[:MOST]]
        more = [f"than {count(len(won) - MOST, 'other model')}"] * (len(won) > MOST)
        out = [f"{name} is better {listed([*sizes, *more])} {over}{_likewise(table, won)}."]
    if undecided:
        sizes = [
            f"{table.columns[p.j].name} ({_size(table, p, '')}, {_p(p)})" for p in undecided[:MOST]
        ]
        rest = [count(len(undecided) - MOST, "other model")] * (len(undecided) > MOST)
        rivals = listed([*sizes, *rest])
        out += [
            f"It is not clearly better than {rivals}."
            if won
            else f"No model is clearly the best {over}: {name} leads {rivals}."
        ]
    if (k := table.columns[pairs[0].i].variants) > 1:
        out += [f"{name} is one of {k} variants of its model, chosen after seeing test: its lead "
                "is too large."]  # fmt: skip
    rope = rows[0].rope
    if small := [p for p in won if p.lead.value < rope - stats.TIE]:
        out += [f"The lead over {_names(table, small)} is below {rope:g} {label}, which hardly "
                "matters."]  # fmt: skip
    if turned := [p for p in pairs if p.lead.value * p.lead_of_families.value < 0]:
        out += [f"The lead over {_names(table, turned)} changes sign when every family of tasks "
                "counts alike."]  # fmt: skip
    return out


def _tasks(suite: SuiteEvidence) -> str:
    rows = on_one_scale(suite.rows)
    if len(rows) == len(suite.rows):
        return count(len(rows), "task")
    return f"the {len(rows)} of {len(suite.rows)} tasks whose metric is {rows[0].label}"


def _how(pairs: Sequence[OverTasks]) -> str:
    """Seeds, and the pairs of models that p is adjusted for, whether they are shown or not."""
    n = sorted({p.n for p in pairs})
    seeds = " to ".join(map(str, dict.fromkeys((n[0], n[-1]))))
    tested = {p.pairs_tested for p in pairs if p.pairs_tested} or {0}
    fewest, most = min(tested), max(tested)
    declared = f" or the {fewest} declared" * (fewest < most)
    return f"{seeds} seeds" + f", Holm over {most} pairs of models{declared}" * (most > 1)


def _likewise(table: Table, won: Sequence[OverTasks]) -> str:
    """What the intervals over other tasks say; begins with a semicolon."""
    if won[0].like_these.families < 2:
        return "; these are of one family, so nothing is said of other tasks"
    behind = [p for p in won if p.like_these.high < 0]
    held = [p for p in won if not p.like_these.low > 0 and p not in behind]
    if len(won) == 1:
        low, high = (fixed(x, table.digits) for x in won[0].like_these[1:3])
        word = "the interval holds 0:" if held else "the interval is"
        word = f"{_names(table, behind)} is ahead:" if behind else word
        return f"; over tasks like these {word} [{low}, {high}]"
    if not held and not behind:
        return "; over tasks like these no interval holds 0 either"
    if len(held) == len(won):
        return "; over tasks like these each interval holds 0"
    said = [f"{_names(table, behind)} {'is' if len(behind) == 1 else 'are'} ahead"] * bool(behind)
    said += [f"the interval against {_names(table, held)} holds 0"] * bool(held)
    return f"; over tasks like these {listed(said)}"


def _descriptive(table: Table, suite: SuiteEvidence, pairs: Sequence[OverTasks]) -> str:
    least, first = min(p.n for p in pairs), on_one_scale(suite.rows)[0]
    label, word = first.label, "above" if first.sign > 0 else "below"
    sizes = [
        f"{table.columns[p.j].name} by {fixed(p.lead.value, table.digits)} {label}"
        for p in pairs[:MOST]
    ]
    rest = [count(len(pairs) - MOST, "other model")] * (len(pairs) > MOST)
    return (
        f"Nothing is claimed over {_tasks(suite)}, since a model has "
        f"{count(least, 'seed')} and a claim needs {stats.MIN_SEEDS}: "
        f"{table.columns[pairs[0].i].name} scores {word} {listed([*sizes, *rest])}."
    )


def _by_rank(
    table: Table, suite: SuiteEvidence, best: int | None, pairs: Sequence[OverTasks]
) -> list[str]:
    if unknown := _unknown(suite):
        return [f"Nothing is said over tasks. Metrics unknown to this version: {listed(unknown)}; "
                "their larger score may be the worse."]  # fmt: skip
    labels = listed(dict.fromkeys(row.label or "unknown" for row in suite.rows))
    tasks, k = count(len(suite.rows), "task"), len(suite.columns)
    why = f"The metrics differ ({labels}), so {tasks} give no mean difference"
    if best is None:
        top = min(suite.ranks)
        shared = [c for c, r in zip(suite.columns, suite.ranks, strict=True) if r == top]
        names = listed(table.columns[c].name for c in shared)
        return [f"{why}: {names} share the best mean rank ({top:.2f} of {k})."]
    name, rank = table.columns[best].name, suite.ranks[suite.columns.index(best)]
    clear = [p for p in pairs if p.p_claim < stats.ALPHA]
    won = [p for p in clear if p.ranks_above > 0]
    rest = [p for p in pairs if p not in won]
    out = [f"{why}: {name} has the best mean rank ({rank:.2f} of {k})."]
    if won:
        out += [f"It ranks above {_names(table, won)} (Wilcoxon over families of tasks, Holm)."]
    if rest:
        needs = f"{stats.MIN_SEEDS} seeds and {stats.MIN_TASKS} families of tasks"
        short = all(math.isnan(p.p_claim) and not p.undefined[0] for p in rest)
        out += [f"It is not shown to rank above {_names(table, rest)}"
                + f", which would need {needs}" * short + "."]  # fmt: skip
    if turned := [p for p in clear if p.ranks_above < 0]:
        out += [f"Its lead over {_names(table, turned)} changes sign when every family of tasks "
                "counts alike."]  # fmt: skip
    return out


def _unknown(suite: SuiteEvidence) -> list[str]:
    return [*dict.fromkeys(row.metric for row in suite.rows if row.metric not in METRICS)]


def _names(table: Table, pairs: Sequence[OverTasks]) -> str:
    return listed(table.columns[p.j].name for p in pairs)


def _size(table: Table, p: OverTasks, label: str) -> str:
    value, low, high = (fixed(x, table.digits) for x in p.lead[:3])
    ends = f"[{low}, {high}]" if math.isfinite(p.lead.low) else "without an interval"
    return " ".join(filter(None, [f"{value}", label, ends]))


def _p(p: OverTasks) -> str:
    if not math.isnan(p.p_claim):
        return f"p = {p_value(p.p_claim)}"
    left_out = f"the better mean leaves out {count(p.undefined[0], 'undefined run')}"
    return left_out if p.undefined[0] else "no variation between seeds"
