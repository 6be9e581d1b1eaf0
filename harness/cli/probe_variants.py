"""`dnabench probe variants`: what a language model makes of the variants of a VCF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.predict import Device

if TYPE_CHECKING:
    from dnabench.probes.changes import Scorer
    from dnabench.probes.labelled import Areas
    from dnabench.probes.likelihood import Likelihood
    from dnabench.probes.variants import Done

SCORES = ("likelihood", "embedding", "output")
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
    network: Annotated[
        str,
        typer.Argument(help="Folder of `dnabench pretrain`, a model with official weights, or a "
                       "kept network (runs/networks/TRIAL)."),
    ],
    vcf: Annotated[Path, typer.Option(help="VCF file, plain or gzipped.")],
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    to: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, or .vcf with the score in INFO; default "
                     "VCF.scores.parquet here."),
    ] = None,
    score: Annotated[
        str,
        typer.Option(help="likelihood, embedding (distance) or output (of a kept network); auto = "
                     "output of a kept network, else likelihood."),
    ] = "auto",
    output: Annotated[
        str, typer.Option(help="Class, label or value of a kept network that is followed.")
    ] = "",
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
    """Score variants by a network.

    log p(alternative) - log p(reference) in nats, the mean of both strands: negative = less likely.
    Masked models are asked at the hidden base, causal ones for the whole window. Or the distance
    of embeddings, or the change of a kept network's answer. Variants whose REF is not what the
    genome has are counted by kind and have no score.
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
    scorer = _scorer(network, score, output, length, regime, set_, device)
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        show(description="scoring", completed=0)
        done = score_vcf(
            scorer, vcf, read, file, labels,
            lambda lines, total: show(completed=lines, total=total),
        )  # fmt: skip
    _say(done, scorer, vcf)
    found = areas(done.scores, done.labels, done.chroms, direction) if labels else None
    if found:
        _say_areas(found, DIRECTIONS[direction])
    about = file.with_suffix(".json")
    _write(about, network, scorer, vcf, read.sha256, done, found)
    typer.echo(f"{file}, {about}")


def _scorer(
    network: str, score: str, output: str, length: int, regime: str, set_: list[str], device: str
) -> Scorer:
    from dnabench.host.machine import device_named
    from dnabench.networks.card import is_kept
    from dnabench.networks.network import load_network
    from dnabench.probes.changes import embedding_change, output_change
    from dnabench.probes.embed import language_source
    from dnabench.probes.mutagenesis import answer_of
    from dnabench.sweep.settings import given_options

    name, kept = Path(network).name, is_kept(network)
    score = score if score != "auto" else "output" if kept else "likelihood"
    if score not in SCORES:
        fail(f"--score {score!r}: write auto, {', '.join(SCORES)}")
    if score == "likelihood":
        return likelihood_of(network, length, regime, set_, device)
    if score == "output":
        if not kept:
            fail(f"--score output: {network} is no kept network, which `dnabench run --keep` makes")
        loaded = load_network(network, device=device_named(device))
        return output_change(loaded, answer_of(loaded, output), name, length)
    options, on = given_options(network, set_), device_named(device)
    source, _ = language_source(network, length, regime, on, "", False, options)
    return embedding_change(source, name, on)


def _say(done: Done, scorer: Scorer, vcf: Path) -> None:
    source = scorer.source
    if not done.header:
        typer.echo(f"{vcf} has no header; its columns are read as those of VCF")
    typer.echo(
        f"{source.name}, {scorer.how}, windows of {source.length} bp: "
        f"{done.scored:,} of {done.alleles:,} alternative alleles of {done.lines:,} variants "
        f"scored, in {scorer.unit}; {done.passes:,} windows run"
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
    file: Path, network: str, scorer: Scorer, vcf: Path, genome: str, done: Done,
    found: Areas | None,
) -> None:  # fmt: skip
    from dnabench.cache import file_sha256, replacing

    about: dict[str, Any] = {
        "network": network, "how": scorer.how, "window": scorer.source.length,
        "unit": scorer.unit, "vcf": file_sha256(vcf), "genome": genome, "lines": done.lines,
        "alleles": done.alleles, "scored": done.scored, "passes": done.passes,
        "ref": dict(done.said), "no score": dict(done.why),
    }  # fmt: skip
    if found:
        about["labels"] = {**found._asdict(), "prevalence": found.prevalence}
    with replacing(file) as out:
        out.write(json.dumps(about, indent=1).encode())
