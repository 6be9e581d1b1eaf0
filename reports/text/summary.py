"""What a table supports and what it does not, in sentences."""

import math
from collections import Counter
from collections.abc import Sequence

from dnabench.reports import stats
from dnabench.reports.columns import BASELINE
from dnabench.reports.evidence import Best, Comparison, Detectable, Evidence
from dnabench.reports.grid import count, fixed, listed, p_value
from dnabench.reports.grouping import grouped, suite_of
from dnabench.reports.table import Row
from dnabench.reports.text.leads import lead_sentences, tally
from dnabench.reports.text.methods import sampling

FEW_PAIRS = 6  # comparisons that get a sentence each


def summary_sentences(evidence: Evidence, chosen: bool = False) -> list[str]:
    """The sentences of all suites, each naming its suite where there are several."""
    found = summary(evidence, chosen)
    several = sum(bool(suite) for suite, _ in found) > 1
    return [
        f"{suite}: {text}" if suite and several else text
        for suite, sentences in found
        for text in sentences
    ]


def summary(evidence: Evidence, chosen: bool = False) -> list[tuple[str, list[str]]]:
    """Sentences by suite, in the order of rows; what concerns all stands last under "".

    Where the pairs were `chosen`, these come first, and no model is held against all others.
    """
    out = []
    for suite, rows in grouped(evidence.table.rows, suite_of).items():
        names = {row.name for row in rows}
        comparisons = [d for d in evidence.comparisons if d.row.name in names]
        best = [b for b in evidence.best if b.row.name in names]
        if not comparisons:
            out.append((suite, [_nothing_compared(rows)]))
            continue
        over = [one for one in evidence.suites if one.suite == suite]
        sentences = [text for one in over for text in lead_sentences(evidence, one)]
        claimed = any(min(d.n) >= stats.MIN_SEEDS for d in comparisons)
        pairs = _pairs(evidence, comparisons)
        few = _too_few_seeds(comparisons) if claimed or not sentences else []
        winners = _winners(evidence, best, bool(over))
        sentences += [*pairs, *few] if chosen else [*few, *winners, *pairs]
        sentences += _families(evidence, comparisons)
        sentences += [text for one in over for text in (*tally(evidence, one), one.note) if text]
        compared = {d.row.name for d in comparisons}
        sentences += _baseline(evidence, comparisons)
        sentences += _resolution(evidence, [row for row in rows if row.name in compared])
        out.append((suite, sentences))
    general = sampling(evidence.comparisons) + _incomplete(evidence, chosen)
    return [*out, ("", general)] if general else out


def _nothing_compared(rows: Sequence[Row]) -> str:
    scored = [{k for k, c in enumerate(row.cells) if c.scores} for row in rows]
    if not any(scored):
        return "No model has a score here."
    if any(len(columns) > 1 for columns in scored):
        return "None of the requested pairs has scores on the same task."
    one = len(set().union(*scored)) == 1
    who = "Only one model has scores here" if one else "No two models have scores on the same task"
    return f"{who}, so there is nothing to compare."


def _too_few_seeds(comparisons: Sequence[Comparison]) -> list[str]:
    comparisons = [d for d in comparisons if not d.same]
    least = [min(d.n) for d in comparisons if min(d.n) < stats.MIN_SEEDS]
    few, n = f"fewer than {stats.MIN_SEEDS} seeds of a model", len(comparisons)
    if not least:
        return []
    if len(least) < n:
        return [f"{len(least)} of {n} comparisons have {few}; these are descriptive only."]
    return [
        f"Nothing is claimed: every comparison has {few} (as few as {min(least)}), so the "
        "numbers are descriptive only."
    ]


def _winners(evidence: Evidence, best: Sequence[Best], over_tasks: bool) -> list[str]:
    """On which tasks one model beats every other; if on none, only where no more is said."""
    clear = [b for b in best if b.beats_all]
    tested = [
        b for b in best if min(len(c.values) for c in b.row.cells if c.scores) >= stats.MIN_SEEDS
    ]
    if not tested:
        return []
    where = best[0].row.name if len(best) == 1 else f"{len(clear)} of {len(best)} tasks"
    if not clear and over_tasks:
        return []
    if not clear:
        where = where if len(best) == 1 else f"any of the {len(best)} tasks"
        return [f"No model is better than every other on {where}."]
    winners = Counter(evidence.table.columns[b.column].name for b in clear).most_common()
    names = listed(f"{name} ({n})" for name, n in winners)
    out = [f"One model is better than every other on {where}: {names}."]
    if len(winners) == 1:
        out = [f"{winners[0][0]} is better than every other model on {where}."]
    if unclear := [b.row.name for b in tested if not b.beats_all]:
        out += [f"No clear winner on {listed(unclear)}."]
    if untested := [b.row.name for b in best if b not in tested]:
        few = f"a model has fewer than {stats.MIN_SEEDS} seeds"
        out += [f"Not tested on {listed(untested)}, where {few}."]
    return out


def _pairs(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[str]:
    """Every difference with its interval, where they are few."""
    out, several = [], len({d.row.name for d in comparisons}) > 1
    for d in comparisons if len(comparisons) <= FEW_PAIRS else ():
        if d.same:
            names = listed(evidence.table.columns[k].name for k in (d.i, d.j))
            out.append(f"{names} are the same runs on {d.row.name}.")
            continue
        d = d if d.row.sign * d.welch.difference >= 0 else d.flipped()
        a, b = (evidence.table.columns[k].name for k in (d.i, d.j))
        digits = evidence.table.digits
        lead, more = d.row.sign * d.welch.difference, "higher" if d.row.sign > 0 else "lower"
        size = f"{fixed(lead, digits)} {d.row.label}{_details(d, digits)}"
        where = f" on {d.row.name}" if several else ""
        if d.verdict == "win":
            out.append(f"{a} beats {b}{where} by {size}.")
        elif d.verdict == "descriptive" and not round(lead, digits):
            to = f" to {digits} decimals" if lead > 1e-12 else ""
            out.append(f"{a} and {b} have the same mean{to}{where}: {size}, {d.verdict_text}.")
        elif d.verdict == "descriptive":
            out.append(f"{a} scores {more} than {b}{where} by {size}: {d.verdict_text}.")
        else:
            out.append(f"{a} vs {b}{where}: {d.verdict_text}, {size}.")
    return out


def _families(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[str]:
    """Which tests p is adjusted for where pairs were declared, or chosen for this report."""
    declared = [d for d in comparisons if d.declared]
    chosen = [(d, d.other) for d in comparisons if d.other and not d.declared]
    out = []
    if declared:
        pairs = grouped(dict.fromkeys((d.i, d.j) for d in declared), lambda pair: pair[0])
        names = [c.name for c in evidence.table.columns]
        said = [
            f"{names[i]} and {'each of ' * (len(own) > 1)}{listed(names[j] for _, j in own)}"
            for i, own in pairs.items()
        ]
        out = [f"{'; '.join(said)} were declared before results existed: p of these is adjusted "
               f"for their {count(declared[0].tests, 'test')} alone."]  # fmt: skip
    gained = [(d, other) for d, other in chosen if other.verdict != d.verdict]
    if chosen:
        full, alone = (max(x) for x in zip(*((d.tests, o.tests) for d, o in chosen), strict=True))
        which = "No pair was declared" if not declared else "The others were not declared"
        would = "no verdict would differ"
        if gained:
            d, other = gained[0]
            pair = " v ".join(evidence.table.columns[k].name for k in (d.i, d.j))
            more = f" and {len(gained) - 1} more" * (len(gained) > 1)
            would = (f"{pair} on {d.row.name}{more} would be a {other.verdict} (p = "
                     f"{p_value(other.p_holm)}, here {p_value(d.p_holm)})")  # fmt: skip
        if alone < full:
            if_so = f"had it been declared, as {count(alone, 'test')}"
            out += [f"{which} before results existed, so the verdicts count all {full} tests of "
                    f"the table; {if_so}, {would}."]  # fmt: skip
    return out


def _details(d: Comparison, digits: int) -> str:
    """Interval of the lead, p and effect size in parentheses; empty for single runs."""
    ends = d.nested[1:] if d.nested else (d.welch.low, d.welch.high)
    low, high = ends if d.row.sign > 0 else (-ends[1], -ends[0])
    numbers = {
        "95 % CI": f"{fixed(low, digits)} to {fixed(high, digits)}" if math.isfinite(low) else "",
        "Holm p =": f"{p_value(d.p_holm)} of {count(d.tests, 'test')}" * math.isfinite(d.p_holm),
        "Hedges g =": fixed(d.row.sign * d.g, 2) if math.isfinite(d.g) else "",
    }
    known = ", ".join(f"{name} {text}" for name, text in numbers.items() if text)
    return f" ({known})" if known else ""


def _baseline(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[str]:
    """Where no model is shown to beat the k-mer baseline."""
    simple = {i for i, c in enumerate(evidence.table.columns) if c.model == BASELINE}
    tested = [d if d.j in simple else d.flipped() for d in comparisons
              if (d.i in simple) != (d.j in simple) and d.verdict != "descriptive"]  # fmt: skip
    held = []
    for name, several in grouped(tested, lambda d: d.row.name).items():
        scored = {k for k, c in enumerate(several[0].row.cells) if c.scores}
        won = any(d.verdict == "win" for d in several)
        if not won and {k for d in several for k in (d.i, d.j)} >= scored:
            held.append(name)
    where = f"{len(held)} of {len(evidence.table.rows)} tasks" if len(held) > 2 else listed(held)
    return [f"No model is shown to beat the k-mer baseline on {where}."] if held else []


def _resolution(evidence: Evidence, rows: Sequence[Row]) -> list[str]:
    """Which differences a verdict sees here, and what the smallest of interest would need."""
    found = [(evidence.detectable[r.name], r) for r in rows if r.name in evidence.detectable]
    found = [(one, row) for one, row in found if one.n >= stats.MIN_SEEDS]
    if not found:
        return []
    found.sort(key=lambda pair: pair[0].difference)
    n = sorted({one.n for one, _ in found})
    seeds = " to ".join(map(str, dict.fromkeys((n[0], n[-1]))))
    ends = [fixed(one.difference, evidence.table.digits) for one, _ in (found[0], found[-1])]
    labels = listed(dict.fromkeys(row.label for _, row in found))
    counted = "test examples" if any(one.error for one, _ in found) else "no test examples"
    tests = count(found[0][0].tests, "test")
    return [
        f"A verdict sees differences of {' to '.join(dict.fromkeys(ends))} {labels} with 80 % "
        f"power ({seeds} seeds, {tests}, {counted} counted){_smaller(found)}."
    ]


def _smaller(found: Sequence[tuple[Detectable, Row]]) -> str:
    """What the smallest difference of interest would need; begins with a semicolon."""
    open_ = [(one, row) for one, row in found if row.rope and one.difference > row.rope]
    never = [row.name for one, row in open_ if one.hopeless]
    if not open_:
        return ""
    if never:
        sizes = sorted({one.examples for one, row in open_ if one.hopeless})
        span = " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1])))
        where = "" if len(found) == 1 else f" ({len(never)} of {count(len(found), 'task')})"
        return f"; {open_[0][1].rope:g} cannot be detected with these {span} test examples{where}"
    most = max((one.needed for one, _ in open_), key=lambda x: math.inf if math.isnan(x) else x)
    seeds = "over 1,000" if math.isnan(most) else f"{most:.0f}"
    return f"; {open_[0][1].rope:g} would need {'up to ' * (len(found) > 1)}{seeds} seeds"


def _incomplete(evidence: Evidence, chosen: bool) -> list[str]:
    """Of all runs; of chosen pairs, those on the tasks on which they are compared."""
    cells = [c for row in evidence.table.rows for c in row.cells]
    if chosen:
        columns = {k for d in evidence.comparisons for k in (d.i, d.j)}
        rows = {d.row.name: d.row for d in evidence.comparisons}
        cells = [row.cells[k] for row in rows.values() for k in columns]
    counts = {
        "failed (excluded)": sum(c.failed for c in cells),
        "invalid (excluded: the score does not follow from the predictions)": sum(
            len(c.invalid) for c in cells
        ),
        "undefined (excluded: no value of the metric on test)": sum(c.undefined for c in cells),
        "collapsed to one predicted class or value (included)": sum(c.collapsed for c in cells),
        f"of {count(len(cells), 'cell')} not run": sum(c.missing for c in cells),
    }
    parts = [f"{n} {what}" for what, n in counts.items() if n]
    return [f"Runs: {listed(parts)}."] if parts else []
