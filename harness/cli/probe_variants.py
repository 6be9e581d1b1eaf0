"""`dnabench probe variants`: what a language model makes of the variants of a VCF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.predict import Device

if TYPE_CHECKING:
    from dnabench.probes.labelled import Areas
    from dnabench.probes.likelihood import Likelihood
    from dnabench.probes.variants import Done

Language = Annotated[
    str, typer.Argument(help="Folder of `dnabench pretrain`, or a model with official weights.")
]
Window = Annotated[
    int,
    typer.Option(help="Bp of a window; 0 = those it was trained on, 512 of official weights.",
                 min=0),
]  # fmt: skip
Regime = Annotated[
    str, typer.Option(help="Weights of a model: pretrained or checkpoint:FILE, with its head.")
]
Settings = Annotated[list[str], typer.Option("--set", help="Option of a model: may be repeated.")]


def likelihood_of(
    network: str, length: int, regime: str, set_: list[str], device: str
) -> Likelihood:
    """The language model that the words of a command name, on its device."""
    from dnabench.host.machine import device_named
    from dnabench.probes.likelihood import Likelihood, language_net
    from dnabench.sweep.settings import given_options

    options = given_options(network, set_)
    return Likelihood(language_net(network, length, regime, options), device_named(device))


def variants(
    network: Language,
    vcf: Annotated[Path, typer.Option(help="VCF file, plain or gzipped.")],
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    to: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, or .vcf with the score in INFO; default "
                     "VCF.scores.parquet here."),
    ] = None,
    length: Window = 0,
    labels: Annotated[
        str, typer.Option(help="Field of INFO with 0 or 1: AUPRC and AUROC are printed.")
    ] = "",
    direction: Annotated[
        str, typer.Option(help="What is high in class 1: minus (the score), abs or plus.")
    ] = "minus",
    regime: Regime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
) -> None:  # fmt: skip
    """Score variants by a language model.

    log p(alternative) - log p(reference) in nats, the mean of both strands: negative = less likely.
    Masked models are asked at the hidden base, causal ones for the whole window. Variants whose
    REF is not what the genome has are counted by kind and have no score.
    """
    from dnabench.cli.bars import bar
    from dnabench.probes.labelled import DIRECTIONS, areas
    from dnabench.probes.variants import score_vcf
    from dnabench.tasks.io.packed import packed

    if direction not in DIRECTIONS:
        fail(f"--direction {direction!r}: write {', '.join(DIRECTIONS)}")
    file = to or Path(vcf.name.removesuffix(".gz").removesuffix(".vcf") + ".scores.parquet")
    if file.exists() and file.samefile(vcf):
        fail(f"--to {file}: that is the file of variants; name another")
    likelihood = likelihood_of(network, length, regime, set_, device)
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        show(description="scoring", completed=0)
        done = score_vcf(
            likelihood, vcf, read, file, labels,
            lambda lines, total: show(completed=lines, total=total),
        )  # fmt: skip
    _say(done, likelihood, vcf)
    found = areas(done.scores, done.labels, done.chroms, direction) if labels else None
    if found:
        _say_areas(found, DIRECTIONS[direction])
    about = file.with_suffix(".json")
    _write(about, network, likelihood, vcf, read.sha256, done, found)
    typer.echo(f"{file}, {about}")


def _say(done: Done, likelihood: Likelihood, vcf: Path) -> None:
    source = likelihood.source
    if not done.header:
        typer.echo(f"{vcf} has no header; its columns are read as those of VCF")
    typer.echo(
        f"{source.name}, {likelihood.how}, windows of {source.length} bp: "
        f"{done.scored:,} of {done.alleles:,} alternative alleles of {done.lines:,} variants "
        f"scored, in nats; {done.passes:,} windows run"
    )
    for why, n in done.why.most_common():
        typer.echo(f"  no score: {n:,}, {why}")


def _say_areas(found: Areas, high: str) -> None:
    typer.echo(
        f"{found.variants:,} labelled variants of {found.chromosomes} sequences, "
        f"{found.positive:,} of class 1, by {high}; left out: {found.unscored:,} without a score, "
        f"{found.unlabelled:,} without a label"
    )
    for name, value, between in (
        (f"AUPRC (chance {found.prevalence:.3f})", found.auprc, found.auprc_interval),
        ("AUROC (chance 0.500)", found.auroc, found.auroc_interval),
    ):
        said = "no interval from one sequence"
        if between:
            said = f"95 % interval {between[0]:.3f} to {between[1]:.3f}, sequences drawn again"
        typer.echo(f"  {name}: {value:.3f}, {said}")


def _write(
    file: Path, network: str, likelihood: Likelihood, vcf: Path, genome: str, done: Done,
    found: Areas | None,
) -> None:  # fmt: skip
    from dnabench.cache import file_sha256, replacing

    about: dict[str, Any] = {
        "network": network, "how": likelihood.how, "window": likelihood.source.length,
        "unit": "nats", "vcf": file_sha256(vcf), "genome": genome, "lines": done.lines,
        "alleles": done.alleles, "scored": done.scored, "passes": done.passes,
        "ref": dict(done.said), "no score": dict(done.why),
    }  # fmt: skip
    if found:
        about["labels"] = {**found._asdict(), "prevalence": found.prevalence}
    with replacing(file) as out:
        out.write(json.dumps(about, indent=1).encode())
