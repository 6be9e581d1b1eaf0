"""What a table supports and what it does not, in plain sentences, before any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dnabench.reports import stats
from dnabench.reports.evidence import Best, Comparison, Evidence, OverTasks, SuiteEvidence
from dnabench.reports.table import ROW_ZERO, Row, fixed, grouped, suite_of

NAMED = 5  # names of a list that are written out


def summary_sentences(evidence: Evidence) -> list[str]:
    """The sentences of all suites, each naming its suite where there are several."""
    found = summary(evidence)
    several = sum(bool(suite) for suite, _ in found) > 1
    return [
        f"{suite}: {text}" if suite and several else text
        for suite, sentences in found
        for text in sentences
    ]


def summary(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """Sentences by suite.

    Returns:
        (suite, sentences) in the order of rows; what concerns all of them stands last under "".
    """
    out = []
    for suite, rows in grouped(evidence.table.rows, suite_of).items():
        names = {row.name for row in rows}
        comparisons = [d for d in evidence.comparisons if d.row.name in names]
        best = [b for b in evidence.best if b.row.name in names]
        if not comparisons:
            out.append((suite, [_nothing(evidence, rows)]))
            continue
        said = _seeds(comparisons) + _best(evidence, best, comparisons)
        for one in evidence.suites:
            said += _over_tasks(evidence, one) if one.suite == suite else []
        said += _row_zero(evidence, comparisons) + _resolution(evidence, rows)
        out.append((suite, said))
    general = _examples(evidence.comparisons) + _lost(evidence)
    return [*out, ("", general)] if general else out


def _nothing(evidence: Evidence, rows: Sequence[Row]) -> str:
    """Why no two models were compared on these rows."""
    scored = [{k for k, c in enumerate(row.cells) if c.scores} for row in rows]
    n = len(set().union(*scored))
    if not n:
        return "No model has scores here."
    if n == 1:
        return "Only one model has scores here, so there is nothing to compare."
    if all(len(columns) < 2 for columns in scored):
        return "No two models have scores on the same task, so there is nothing to compare."
    return "None of the pairs that were asked for has scores on the same task."


def _seeds(comparisons: Sequence[Comparison]) -> list[str]:
    """Whether anything may be claimed at all."""
    open_ = [d for d in comparisons if d.verdict == "descriptive"]
    few = [d for d in open_ if min(d.n) < stats.MIN_SEEDS]
    if not few:
        return []
    least = min(min(d.n) for d in few)
    if len(few) == len(comparisons):
        return [
            f"On no task is anything claimed: every comparison has fewer than {stats.MIN_SEEDS} "
            f"seeds of one model ({least} at least), which describes these runs and no more."
        ]
    return [
        f"{len(few)} of {len(comparisons)} comparisons have fewer than {stats.MIN_SEEDS} seeds of "
        "one model; these are described, not tested."
    ]


def _best(evidence: Evidence, best: Sequence[Best], comparisons: Sequence[Comparison]) -> list[str]:
    clear = [b for b in best if b.separable]
    testable = [b for b in best if min(_counts(b.row)) >= stats.MIN_SEEDS]
    if not testable:
        return []
    of = f"{len(clear)} of {_count(len(best), 'task')}"
    columns = evidence.table.columns
    if not clear:
        return [
            f"On {of} one model is better than every other: the highest mean is nowhere separable "
            "from all the rest."
        ]
    winners = Counter(columns[b.column].name for b in clear).most_common()
    who = _listed([f"{name} on {n}" for name, n in winners])
    text = f"On {of} one model is better than every other: {who}."
    left = [b.row.name for b in testable if not b.separable]
    few = [b.row.name for b in best if b not in testable]
    out = [text]
    if left:
        out += [f"Not separable from at least one rival: the best of {_listed(left)}."]
    if few:
        least = f"a model has fewer than {stats.MIN_SEEDS} seeds"
        out += [f"Not claimed, since {least}: the best of {_listed(few)}."]
    return out


def _over_tasks(evidence: Evidence, suite: SuiteEvidence) -> list[str]:
    names = [evidence.table.columns[k].name for k in suite.columns]
    top = min(range(len(names)), key=lambda place: suite.ranks[place])
    leader, n = suite.columns[top], len(suite.rows)
    tied = [name for name, rank in zip(names, suite.ranks, strict=True) if rank == suite.ranks[top]]
    if len(tied) > 1:
        said = f"Over {n} tasks no model leads: {_listed(tied)} share the best average rank"
        return [f"{said}, {suite.ranks[top]:.2f} of {len(names)}."]
    mine = [p for p in suite.pairs if leader in (p.i, p.j)]
    text = f"Over {n} tasks {names[top]} has the best average rank, {suite.ranks[top]:.2f} of "
    out = [f"{text}{len(names)}{_score_line(evidence, leader, mine)}."]
    if suite.friedman and not suite.friedman.p_f < stats.ALPHA:
        out += [
            "Over tasks no difference between the models is shown "
            f"(Iman-Davenport p = {suite.friedman.p_f:.2f})."
        ]
    better = [_rival(evidence, p, leader) for p in mine if p.p_holm < stats.ALPHA]
    open_ = [
        f"{_rival(evidence, p, leader)} (p = {p.p_holm:.2f})"
        for p in mine
        if not p.p_holm < stats.ALPHA
    ]
    if better:
        out += [f"Over tasks it is separable from {_listed(better, 9)} (Wilcoxon, Holm)."]
    if open_:
        out += [f"Over tasks it is not separable from {_listed(open_, 9)}."]
    turned = [_rival(evidence, p, leader) for p in mine if p.lead * p.lead_of_families < 0]
    if turned:
        out += [f"Its lead over {_listed(turned)} turns its sign when families count alike."]
    return [*out, *([suite.note[0].upper() + suite.note[1:] + "."] if suite.note else [])]


def _score_line(evidence: Evidence, leader: int, pairs: Sequence[OverTasks]) -> str:
    """Wins, losses and open verdicts of the leader over all its rivals."""
    won = sum(p.wins if p.i == leader else p.losses for p in pairs)
    lost = sum(p.losses if p.i == leader else p.wins for p in pairs)
    undecided = sum(p.open for p in pairs)
    return (
        f"; of its {won + lost + undecided} comparisons it wins {won}, loses {lost} and leaves "
        f"{undecided} open"
        if pairs
        else ""
    )


def _row_zero(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[str]:
    """Where nothing is shown to beat the simplest model."""
    zero = {i for i, c in enumerate(evidence.table.columns) if c.model == ROW_ZERO}
    compared = grouped(
        (d for d in comparisons if (d.i in zero) != (d.j in zero) and d.verdict != "descriptive"),
        lambda d: d.row.name,
    )
    scored = {
        row.name: {k for k, c in enumerate(row.cells) if c.scores} for row in evidence.table.rows
    }
    held = [
        name
        for name, several in compared.items()
        if {k for d in several for k in (d.i, d.j)} >= scored[name]
        and not any(_won(d, d.j if d.i in zero else d.i) for d in several)
    ]
    return [f"No model is shown to beat {ROW_ZERO} on {_listed(held)}."] if held else []


def _resolution(evidence: Evidence, rows: Sequence[Row]) -> list[str]:
    """What the seeds at hand could have seen."""
    seen = {row.name: evidence.detectable[row.name] for row in rows if row.name in (
        evidence.detectable)}  # fmt: skip
    labels = {row.name: row.label for row in rows}
    if not seen:
        return []
    low, high = (f(seen, key=lambda name: seen[name].difference) for f in (min, max))
    digits = evidence.table.digits
    n = sorted({one.n for one in seen.values()})
    seeds = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    least = f"{fixed(seen[low].difference, digits)} {labels[low]}"
    if low != high:
        least += f" ({low}) to {fixed(seen[high].difference, digits)} {labels[high]} ({high})"
    return [
        f"With {seeds} seeds one test, alone and of the noise of seeds only, sees differences of "
        f"{least}, four times in five."
    ]


def _examples(comparisons: Sequence[Comparison]) -> list[str]:
    """Whether the noise of the test examples is known."""
    without = [d for d in comparisons if d.nested is None]
    if not without:
        return []
    why = _listed(list(dict.fromkeys(d.why_not for d in without if d.why_not)))
    because = f" ({why})" if why else ""
    if len(without) == len(comparisons):
        return [
            "No interval here counts the noise of having drawn these test examples"
            f"{because}: all of this is about the noise of seeds."
        ]
    return [
        f"{len(without)} of {len(comparisons)} comparisons count the noise of seeds only, not that "
        f"of the test examples{because}."
    ]


def _lost(evidence: Evidence) -> list[str]:
    cells = [c for row in evidence.table.rows for c in row.cells]
    failed, collapsed = (sum(getattr(c, k) for c in cells) for k in ("failed", "collapsed"))
    missing = sum(not c.scores and not c.failed and not c.undefined for c in cells)
    said = [f"{_count(failed, 'run')} failed and count nowhere"] if failed else []
    if collapsed:
        said += [f"{_count(collapsed, 'run')} collapsed to one answer and count"]
    said += [f"{missing} of {len(cells)} cells were never run"] if missing else []
    return [_sentence(_listed(said))] if said else []


def _counts(row: Row) -> list[int]:
    return [len(c.scores) for c in row.cells if c.scores]


def _won(comparison: Comparison, column: int) -> bool:
    return comparison.verdict == ("win" if comparison.i == column else "loss")


def _rival(evidence: Evidence, pair: OverTasks, leader: int) -> str:
    return evidence.table.columns[pair.j if pair.i == leader else pair.i].name


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n != 1 else ''}"


def _listed(names: Iterable[str], most: int = NAMED) -> str:
    """A, b and c; beyond `most` the rest is counted."""
    names = list(names)
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
