"""What the text of a paper claims about its tables, and what the tables and their runs give.

A claim is data: where it stands, what it says in our words, and the check that gives the number it
names. Percent and points are kept apart: points are differences of the metric in percent, relative
is a difference over the baseline.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from dnabench.reports.papers.rules import Cell, Finding, Findings, listed
from dnabench.reports.papers.rules_seeds import counted, fitting

Means = Mapping[str, Mapping[str, float]]  # task -> column -> mean
Runs = Mapping[tuple[str, str, str], Sequence[float]]  # model, task, variant -> by seed
TIE = 1e-9


class Outcome(NamedTuple):
    """The result of checking a claim."""

    printed: str  # from the printed tables
    runs: str  # from the runs, with one configuration for every task; empty = no runs
    holds: bool
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A paper's cells and runs."""

    cells: Sequence[Cell]
    runs: Runs

    def table(self, name: str) -> list[Cell]:
        """Cells of "1", "13" and so on."""
        return [c for c in self.cells if c.table == f"Table {name}"]

    def printed(self, name: str) -> Means:
        """Means of a table by task and column."""
        out: dict[str, dict[str, float]] = {}
        for c in self.table(name):
            out.setdefault(c.task, {})[c.model] = c.mean
        return out

    def fixed(self, variant: str) -> Means:
        """Means of runs; a model that has the variant takes part with it only."""
        varied = {model for model, _, v in self.runs if v == variant}
        out: dict[str, dict[str, float]] = {}
        for (model, task, v), x in self.runs.items():
            if v == variant or model not in varied:
                out.setdefault(task, {})[model] = float(np.mean(x))
        return {task: row for task, row in out.items() if varied <= row.keys()}


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper that its tables can answer."""

    where: str
    says: str
    check: Callable[[Evidence], Outcome]


class Wins(NamedTuple):
    """Tasks by who has the higher mean."""

    won: list[str]
    tied: list[str]
    lost: list[str]

    @property
    def text(self) -> str:
        """Counts, and the ties by name."""
        tied = f", {len(self.tied)} tied ({listed(self.tied)})" if self.tied else ""
        return f"{len(self.won)} of {sum(map(len, self))}{tied}"


def wins(means: Means, ours: str, others: Sequence[str] = ()) -> Wins:
    """Count tasks on which a column is above all others, or above those named."""
    out = Wins([], [], [])
    for task, row in means.items():
        lead = row[ours] - max(v for k, v in row.items() if k != ours and k in (others or row))
        (out.tied if abs(lead) < TIE else out.won if lead > 0 else out.lost).append(task)
    return out


def margins(means: Means, ours: str, tasks: Iterable[str], other: str = "") -> tuple[float, float]:
    """Mean lead over the best other column, or over one, in points and relative to it."""
    points, relative = [], []
    for task in tasks:
        row = means[task]
        base = row[other] if other else max(v for k, v in row.items() if k != ours)
        points.append(row[ours] - base)
        relative.append((row[ours] - base) / base)
    return fmean(points), fmean(relative)


def checked(claims: Iterable[Claim], evidence: Evidence) -> Findings:
    """A finding for each claim: a note where the tables agree with it."""
    for claim in claims:
        printed, runs, holds, found = claim.check(evidence)
        says = f"{claim.says}. Printed tables: {printed}" + (f". Runs: {runs}" if runs else "")
        numbers = {**found, "claim": claim.says, "printed": printed, "runs": runs, "holds": holds}
        yield Finding("claims", claim.where, says, numbers, "note" if holds else "finding")


def _count(
    evidence: Evidence, table: str, ours: str, claimed: int | None = None,
    others: Sequence[str] = (), variants: Sequence[str] = (),
) -> Outcome:  # fmt: skip
    found = wins(evidence.printed(table), ours, others)
    fixed = {v: wins(evidence.fixed(v), ours, others) for v in variants}
    numbers = {"won": len(found.won), "tied": found.tied}
    numbers |= {v: len(w.won) for v, w in fixed.items()}
    runs = "; ".join(f"{v} throughout: {w.text}" for v, w in fixed.items())
    return Outcome(found.text, runs, claimed in (None, len(found.won)), numbers)


def _lead(
    evidence: Evidence, claimed: float, decimals: int, tasks: str,
    variants: Sequence[str] = (), other: str = "",
) -> Outcome:  # fmt: skip
    def lead(means: Means, tasks: Iterable[str]) -> tuple[float, float]:
        return margins(means, OURS, tasks, other)

    printed = evidence.printed("1")
    chosen = [t for t in printed if t.startswith(tasks)]
    points, relative = lead(printed, chosen)
    numbers: dict[str, Any] = {"points": points, "relative": relative}
    runs = []
    for variant in variants:
        means = evidence.fixed(variant)
        known = [t for t in chosen if t in means]
        found, behind = lead(means, known), [t for t in known if lead(means, [t])[0] < 0]
        numbers[variant] = {"points": found[0], "relative": found[1], "behind": behind}
        text = f"{variant} throughout: {found[0]:.2f} points ({found[1]:.1%} relative)"
        runs.append(text + (f", behind on {listed(behind)}" if behind and not other else ""))
    text = f"{points:.3f} points ({relative:.1%} relative)"
    if other:
        above = {t: d for t in chosen if (d := lead(printed, [t])[0]) >= claimed}
        where = ", ".join(f"{t} {d:.2f}" for t, d in above.items())
        text += f" on average; {claimed:g} or more on {len(above)} of {len(chosen)} ({where})"
        numbers["above"] = above
    return Outcome(text, "; ".join(runs), round(points, decimals) == claimed, numbers)


def _all_but(evidence: Evidence, other: str, claimed: Sequence[str], variant: str) -> Outcome:
    lost, fixed = (
        wins(means, OURS, [other]).lost
        for means in (evidence.printed("1"), evidence.fixed(variant))
    )
    runs = f"{variant} throughout: all but {listed(fixed)}"
    numbers = {"lost": lost, variant: fixed}
    return Outcome(f"all but {listed(lost)}", runs, lost == fixed == list(claimed), numbers)


def _highest(evidence: Evidence, table: str, ours: str, others: str) -> Outcome:
    """Whether on every row the best column named `ours` is above every one named `others`."""
    parts, behind, numbers = [], [], {}
    for task, row in evidence.printed(table).items():
        mine = max((v, k) for k, v in row.items() if _is(k, ours))
        theirs = sorted(((v, k) for k, v in row.items() if _is(k, others)), reverse=True)
        above = [f"{k} {v:.2f}" for v, k in theirs if v >= mine[0]]
        row_name = task.rpartition(" ")[2]
        numbers[row_name] = mine[0] - theirs[0][0]
        if above:
            behind.append(row_name)
            parts.append(f"on {row_name} {mine[1]} {mine[0]:.2f} is not above {', '.join(above)}")
    rest = [name for name in numbers if name not in behind]
    parts.append(f"above on {', '.join(rest)}" if rest else "above on none")
    return Outcome("; ".join(parts), "", not behind, {"leads": numbers, "behind": behind})


def _is(column: str, words: str) -> bool:
    """Whether a column has all of the words, or none of those after "not"."""
    wanted, _, unwanted = words.partition("not ")
    has = column.split()
    return all(w in has for w in wanted.split()) and not any(w in has for w in unwanted.split())


def _sizes(evidence: Evidence, table: str, ours: str, claimed: str) -> Outcome:
    columns = dict.fromkeys(c.model for c in evidence.table(table) if _is(c.model, ours))
    sizes = list(dict.fromkeys(column.split()[1] for column in columns))
    return Outcome(f"sizes printed: {', '.join(sizes)}", "", claimed in sizes, {"sizes": sizes})


def _sd(evidence: Evidence) -> Outcome:
    cells = evidence.table("1")
    counts = counted(cells)
    best = max(counts, key=counts.__getitem__)
    runs = f"sample sd fits {counts['sample sd']} of {len(cells)} cells, {best} {counts[best]}"
    return Outcome("", runs, best == "sample sd", {"counts": counts})


def _seeds(evidence: Evidence, table: str, claimed: int) -> Outcome:
    cells = [c for c in evidence.table(table) if c.runs and "splice" not in c.task]
    fits = {n: fitting(cells, n) for n in (5, 10)}
    runs = (
        f"of {len(cells)} means, {fits[5]} follow from the first 5 runs and {fits[10]} from the "
        "first 10 (without the splice rows)"
    )
    return Outcome("", runs, fits[claimed] == max(fits.values()), {"fits": fits})


def _averages(evidence: Evidence, table: str, ours: str) -> Outcome:
    means = evidence.printed(table)
    columns = next(iter(means.values()))
    average = {c: fmean(row[c] for row in means.values()) for c in columns}
    behind = wins(means, ours).lost
    text = "averages " + ", ".join(f"{c} {v:.2f}" for c, v in average.items())
    text += f"; {ours} is behind on {listed(behind)}" if behind else ""
    return Outcome(text, "", not behind, {"averages": average, "behind": behind})


def _pretraining(evidence: Evidence) -> Outcome:
    """The pretrained column against the scratch one, as printed and with one dilation."""
    printed, fixed = evidence.printed("13"), evidence.fixed(D4)
    scratch = {t: row[f"{OURS} scratch"] for t, row in printed.items()}
    mean = fmean(printed[t][OURS] - scratch[t] for t in printed)
    matched = {t: fixed[t][OURS] - scratch[t] for t in scratch}
    gains = {
        "all": fmean(matched.values()),
        "histone": fmean(d for t, d in matched.items() if t.startswith(HISTONE)),
        "others": fmean(d for t, d in matched.items() if not t.startswith(HISTONE)),
    }
    worse = {t: d for t, d in matched.items() if d < 0}
    one, kernels = evidence.fixed(D1), evidence.printed("12")
    gained = [one[t][OURS] - kernels[t][f"{OURS} kernel=9,{D1}"] for t in one if t in kernels]
    lower = ", ".join(f"{t.rpartition('/')[2]} {d:+.2f}" for t, d in worse.items())
    runs = (
        f"{D4} in both: {gains['all']:+.2f} on average, histone {gains['histone']:+.2f}, others "
        f"{gains['others']:+.2f}; lower with pretraining on {len(worse)} of {len(matched)} "
        f"({lower}); {D1} in both, Table 12: {fmean(gained):+.2f} over {len(gained)} histone tasks"
    )
    numbers = {"printed": mean, "gains": gains, "one": fmean(gained), "worse": worse}
    return Outcome(f"{mean:+.2f} points on average", runs, abs(mean - gains["all"]) < 0.05, numbers)


OURS, HISTONE, D4, D1 = "convnova", "nt/h", "dilation=4", "dilation=1"
PRETRAINED = ("ntv2", "hyenadna", "dnabert2", "caduceus_ph")
CLAIMS: Mapping[str, Sequence[Claim]] = {
    "convnova": (
        Claim("Section 1", "Best on 12 of the 18 NT tasks",
              lambda e: _count(e, "1", OURS, 12, variants=[D4])),
        Claim("Section 1", "Ahead of the second best on histone tasks by 5.8 % on average",
              lambda e: _lead(e, 5.8, 1, HISTONE, [D4, D1])),
        Claim("Section 1", "Ahead of the second best on H3K4me3 by 10.5 %",
              lambda e: _lead(e, 10.5, 1, "nt/h3k4me3", [D4])),
        Claim("Section 4.1.1", "Ahead of Caduceus-Ph by 10 points",
              lambda e: _lead(e, 10, 0, "nt/", [D4], other="caduceus_ph")),
        Claim("Section 4.1.1", "Above DNABERT-2 on 15 of 18 tasks",
              lambda e: _count(e, "1", OURS, 15, ["dnabert2"], [D4])),
        Claim("Section 4.1.1", "Above NTv2 on 12 of 18 tasks",
              lambda e: _count(e, "1", OURS, 12, ["ntv2"], [D4])),
        Claim("Section 4.1.1", "Above HyenaDNA on all tasks but splice acceptors",
              lambda e: _all_but(e, "hyenadna", ["nt/splice_sites_acceptors"], D4)),
        Claim("Section 4.1.1", "± is the standard deviation", _sd),
        Claim("Sections 4.1.1 and A.2.1", "Means of Table 1 are over ten seeds",
              lambda e: _seeds(e, "1", 10)),
        Claim("Caption of Table 1", "± is the range over five seeds", lambda e: _seeds(e, "1", 5)),
        Claim("Section 4.1.2", "Best on 5 of the 8 Genomic Benchmarks",
              lambda e: _count(e, "2", OURS, 5)),
        Claim("Section 4.1.2, with the columns of Table 14",
              "Best on 5 of the 8 Genomic Benchmarks", lambda e: _count(e, "14", OURS, 5)),
        Claim("Section 4.2.2", "Above all baselines on chromatin profiles",
              lambda e: _highest(e, "10", OURS, f"not {OURS}")),
        Claim("Section 4.2.2", "From scratch above DeepATT",
              lambda e: _highest(e, "10", f"{OURS} scratch", "deepatt")),
        Claim("Section 4.2.2", "From scratch above all HyenaDNA models",
              lambda e: _highest(e, "10", f"{OURS} scratch", "hyenadna")),
        Claim("Section 4.2.2", "Better as parameters grow from 6.8M to 51.1M",
              lambda e: _sizes(e, "10", OURS, "51.1M")),
        Claim("Section 4.5", "Gate and dual branch matter (histone tasks)",
              lambda e: _averages(e, "5", OURS)),
        Claim("Table 13", "Pretrained against from scratch", _pretraining),
        Claim("Table 13", "From scratch against the four pretrained baselines",
              lambda e: _count(e, "13", f"{OURS} scratch", others=PRETRAINED)),
    ),
}  # fmt: skip
