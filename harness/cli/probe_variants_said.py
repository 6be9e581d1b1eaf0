"""What `dnabench probe variants` prints: what was scored, and areas under curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dnabench.cli.table import between

if TYPE_CHECKING:
    from dnabench.probes.changes import Scorer
    from dnabench.probes.labelled import Areas
    from dnabench.probes.variants import Done


def say_scores(done: Done, scorer: Scorer, vcf: Path) -> None:
    """What was scored, what was not and why, and how the scores lie."""
    import numpy as np

    from dnabench.reports.grid import count

    source = scorer.source
    if not done.header:
        typer.echo(f"{vcf} has no header; its columns are read as those of VCF")
    typer.echo(
        f"{source.name}, {scorer.how}, windows of {source.length} bp: "
        f"{done.scored:,} of {count(done.alleles, 'alternative allele')} of "
        f"{count(done.lines, 'variant')} scored, in {scorer.unit}; "
        f"{count(done.passes, 'window')} run"
    )
    for line in (*(f"no score: {n:,}, {why}" for why, n in done.why.most_common()), *done.doubts):
        typer.echo(f"  {line}")
    if done.scored:
        low, middle, high = np.nanquantile(done.scores, [0.05, 0.5, 0.95])
        size = max(abs(low), abs(high))
        digits = max(3, 1 - math.floor(math.log10(size))) if size else 3
        low, middle, high = (f"{score:.{digits}f}" for score in (low, middle, high))
        typer.echo(f"  scores: half lie below {middle}, 5 % below {low} and above {high}")


def say_areas(found: Mapping[str, Areas | str]) -> None:
    """Areas of the network and of baselines, or why one has none."""
    from tabulate import tabulate

    from dnabench.probes.labelled import DIRECTIONS

    (name, first), *_ = [(k, v) for k, v in found.items() if not isinstance(v, str)]
    typer.echo(
        f"{first.variants:,} labelled variants of {first.chromosomes} sequences, "
        f"{first.positive:,} of class 1; left out: {first.unscored:,} without a score, "
        f"{first.unlabelled:,} without a label"
    )
    lines = [
        [name, DIRECTIONS[one.direction], f"{one.variants:,}", f"{one.auprc:.3f}",
         between(one.auprc_interval),
         "" if one.by_chromosome is None else f"{one.by_chromosome:.3f}",
         between(one.by_chromosome_interval), f"{one.auroc:.3f}", between(one.auroc_interval)]
        for name, one in found.items() if not isinstance(one, str)
    ]  # fmt: skip
    heads = ["", "high in class 1", "n", "AUPRC", "95 %", "by sequence", "95 %", "AUROC", "95 %"]
    typer.echo(
        tabulate(lines, heads, disable_numparse=True,
                 colalign=("left", "left", *["right"] * 7))
    )  # fmt: skip
    for name, why in found.items():
        if isinstance(why, str):
            typer.echo(f"{name}: {why}")
    typer.echo(
        f"chance: AUPRC {first.prevalence:.3f}, AUROC 0.500; by sequence: mean AUPRC of "
        f"{first.mixed} sequences with both classes, weighted by their variants; {_drawn(first)}"
    )
    for name, one in found.items():
        if not isinstance(one, str) and _drawn(one) != _drawn(first):
            typer.echo(f"  of {name}: {_drawn(one)}")


def _drawn(one: Areas) -> str:
    """What was drawn again for intervals, or why there are none."""
    from dnabench.pretraining.blocks import FEWEST

    if one.draws:
        within = " within sequences" if one.within else ""
        return f"95 %: {one.units:,} {one.unit}, bootstrapped{within}"
    return (
        f"no intervals: one of the classes lies in only {one.least} {one.unit}, and {FEWEST} are "
        "needed"
    )
