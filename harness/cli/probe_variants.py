"""`dnabench probe variants`: what a language model makes of the variants of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import (
    Code,
    Device,
    Regime,
    Settings,
    Trust,
    Window,
    identified,
    likelihood_of,
)
from dnabench.cli.probe_variants_said import say_areas, say_scores

if TYPE_CHECKING:
    from dnabench.probes.changes import Scorer
    from dnabench.probes.labelled import Areas
    from dnabench.probes.variants import Asked, Done
    from dnabench.tasks.io.packed import Genome

SCORES = ("likelihood", "embedding", "output")


Variants = Annotated[
    Path,
    typer.Option(help="VCF file, plain or gzipped, or a .parquet file with chrom, pos (from 1), "
                 "ref and alt."),
]  # fmt: skip
Scores = Annotated[
    Path | None,
    typer.Option(help="File to write: .parquet, or .vcf or .vcf.gz with scores in INFO; default "
                 "NAME.scores.parquet here."),
]  # fmt: skip
Place = Annotated[
    str,
    typer.Option(help="Only variants there: chr1:101-200, from 1 with the end. Needs a VCF file "
                 "packed by bgzip, its index, and 'dnabench[vcf]'."),
]  # fmt: skip
Score = Annotated[
    str,
    typer.Option(help="likelihood, embedding (distance) or output (of a kept network); auto = "
                 "output of a kept network, else likelihood."),
]  # fmt: skip
Labels = Annotated[
    str,
    typer.Option(help="Field of INFO, or column, with 0 or 1: AUPRC and AUROC are printed, and "
                 "those of baselines."),
]  # fmt: skip
Groups = Annotated[
    str,
    typer.Option(help="Field or column of match groups, which are bootstrapped for intervals; "
                 "default: match_group of a .parquet file that has it."),
]  # fmt: skip
Genes = Annotated[
    Path | None,
    typer.Option(help="GFF3 or GTF file: distance to the start of a gene as a baseline."),
]


def variants(
    network: Annotated[
        str,
        typer.Argument(help="Folder of `dnabench pretrain`, a model with official weights, or a "
                       "kept network (runs/networks/TRIAL)."),
    ],
    vcf: Variants,
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    to: Scores = None,
    region: Place = "",
    score: Score = "auto",
    output: Annotated[
        str, typer.Option(help="Class, label or value of a kept network to follow.")
    ] = "",
    length: Window = 0,
    labels: Labels = "",
    direction: Annotated[
        str,
        typer.Option(help="How class 1 scores: minus (low), plus (high) or abs (large); default "
                     "minus, plus for embedding distances."),
    ] = "",
    groups: Groups = "",
    gff: Genes = None,
    regime: Regime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Score variants by a network.

    log p(alternative) - log p(reference) in nats, the mean of both strands: negative = less likely.
    Masked models predict the hidden base, causal ones the whole window. Or the distance of
    embeddings, or the change of a kept network's answer. Variants whose REF is not what the
    genome has are counted by kind and have no score.
    """
    from dnabench.cli.bars import bar
    from dnabench.probes.variants import score_file
    from dnabench.tasks.io.packed import packed

    file = _checked(vcf, to, labels, direction, {"--groups": groups, "--gff": gff})
    given = {"--output": output, "--regime": regime if regime != "pretrained" else "",
             "--set": " ".join(set_), "--model": model}  # fmt: skip
    score = _score_of(network, score, given)
    scorer = _scorer(network, score, output, length, regime, set_, device, model, trust_remote_code)
    what = identified(network, regime, set_, trust_remote_code)
    direction = direction or ("plus" if score == "embedding" else "minus")
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        asked = _asked(vcf, labels, groups, gff, read, scorer)._replace(region=region)
        flags = _flags(score, output, asked, direction, gff)
        show(description="scoring", completed=0)
        done = score_file(
            scorer, vcf, read, file, asked,
            lambda lines, total: show(completed=lines, total=total),
        )  # fmt: skip
    say_scores(done, scorer, vcf)
    about = file.with_name(f"{file.name}.json")
    known = {**what, **_about(scorer, vcf, read.sha256, done), "asked": flags}
    _write(about, known, {})
    found = _compared(done, scorer, direction, bool(asked.group))
    if found:
        say_areas(found)
        _write(about, known, found)
    typer.echo(", ".join(map(str, [file, about, *_draw(file, done, scorer, found)])))


def _checked(
    vcf: Path, to: Path | None, labels: str, direction: str, others: Mapping[str, object]
) -> Path:
    """The file to write."""
    from dnabench.probes.labelled import DIRECTIONS

    if direction and direction not in DIRECTIONS:
        fail(f"--direction {direction!r}: write {', '.join(DIRECTIONS)}")
    others = {**others, "--direction": direction}
    for flag, given in others.items():
        if given and not labels:
            fail(f"{flag} {given}: nothing is compared without --labels")
    bare = vcf.name.removesuffix(".gz").removesuffix(".vcf").removesuffix(".parquet")
    file = to or Path(f"{bare}.scores.parquet")
    if file.exists() and vcf.exists() and file.samefile(vcf):
        fail(f"--to {file}: that is the file of variants; name another")
    return file


def _asked(
    vcf: Path, labels: str, groups: str, gff: Path | None, genome: Genome, scorer: Scorer
) -> Asked:
    """Labels, match groups and baselines."""
    from dnabench.probes.baselines import Baselines, starts_of
    from dnabench.probes.variant_tables import GROUP, is_table, read_table
    from dnabench.probes.variants import Asked
    from dnabench.tasks.io.annotation import read_annotation

    if not labels:
        return Asked()
    if not groups and is_table(vcf) and GROUP in read_table(vcf).column_names:
        groups = GROUP
    starts = starts_of(read_annotation(gff, coding=False), genome) if gff else None
    return Asked(labels, groups, Baselines(genome, scorer.source.length, starts))


def _compared(done: Done, scorer: Scorer, direction: str, grouped: bool) -> dict[str, Areas | str]:
    """Areas of the network and of what needs none; {} without labels."""
    from dnabench.probes.baselines import chain_direction, compared
    from dnabench.probes.labelled import areas

    if done.labelled is None:
        return {}
    labels, chroms, groups, at, beside = done.labelled
    own = groups if grouped else ()
    found: dict[str, Areas | str] = {
        scorer.source.name: areas(done.scores, labels, chroms, direction, own, at)
    }
    if beside:
        high = chain_direction(scorer, direction)
        found |= compared(done.scores, high, labels, chroms, own, beside, at)
    return found


def _score_of(network: str, score: str, given: Mapping[str, str]) -> str:
    """One of SCORES; flags that it does not read end the program."""
    from dnabench.networks.card import is_kept

    kept = is_kept(network)
    score = score if score != "auto" else "output" if kept else "likelihood"
    if score not in SCORES:
        fail(f"--score {score!r}: write auto, {', '.join(SCORES)}")
    if score == "output" and not kept:
        fail(f"--score output: {network} is no kept network, which `dnabench run --keep` makes")
    if given["--output"] and score != "output":
        fail(f"--output {given['--output']}: --score {score} follows no answer; leave it out")
    folder = kept or Path(network).is_dir()
    for flag in ("--regime", "--set"):
        if given[flag] and folder:
            fail(f"{flag} {given[flag]}: {network} has its own weights and options; leave it out")
    if given["--model"] and not kept:
        fail(
            f"--model {given['--model']}: {network} is no kept network, whose code may be a file "
            "of yours; leave it out"
        )
    return score


def _scorer(
    network: str, score: str, output: str, length: int, regime: str, set_: list[str], device: str,
    code: str, trust: bool,
) -> Scorer:  # fmt: skip
    from dnabench.host.machine import device_named
    from dnabench.networks.network import load_network
    from dnabench.probes.changes import embedding_change, output_change
    from dnabench.probes.embed import language_source
    from dnabench.probes.mutagenesis import answer_of
    from dnabench.sweep.settings import given_options

    name, on = Path(network).name, device_named(device)
    if score == "likelihood":
        return likelihood_of(network, length, regime, set_, device, trust)
    if score == "output":
        loaded = load_network(network, model=code, device=on, trust_remote_code=trust)
        return output_change(loaded, answer_of(loaded, output), name, length)
    options = given_options(network, set_, trust)
    source, _ = language_source(network, length, regime, on, code, trust, options)
    return embedding_change(source, name, on)


def _draw(file: Path, done: Done, scorer: Scorer, found: Mapping[str, Areas | str]) -> list[Path]:
    """The figure, if anything has a score; one of an earlier call is removed."""
    from dnabench.probes.labelled import Areas
    from dnabench.probes.variant_figures import labelled_figure, scores_figure
    from dnabench.reports.figures.style import save

    to, name, unit = file.with_name(f"{file.name}.png"), scorer.source.name, scorer.unit
    own = found.get(name)
    if done.labelled and isinstance(own, Areas):
        labels = done.labelled.labels
        save(lambda: labelled_figure(name, unit, done.scores, labels, own), to)
    elif done.scored:
        save(lambda: scores_figure(name, unit, done.scores), to)
    else:
        to.unlink(missing_ok=True)
        return []
    return [to]


def _flags(
    score: str, output: str, asked: Asked, direction: str, gff: Path | None
) -> dict[str, str]:
    """What decides the scores and areas that are printed, beside network and files."""
    from dnabench.cache import file_sha256

    return {
        "score": score, "output": output, "labels": asked.label, "groups": asked.group,
        "direction": direction if asked.label else "", "gff": file_sha256(gff) if gff else "",
    }  # fmt: skip


def _about(scorer: Scorer, vcf: Path, genome: str, done: Done) -> dict[str, Any]:
    from dnabench.cache import file_sha256

    return {
        "how": scorer.how, "window": scorer.source.length,
        "unit": scorer.unit, "vcf": file_sha256(vcf), "genome": genome,
        "region": done.region, "lines": done.lines,
        "alleles": done.alleles, "scored": done.scored, "passes": done.passes,
        "ref": dict(done.said), "no score": dict(done.why),
    }  # fmt: skip


def _write(file: Path, known: Mapping[str, Any], found: Mapping[str, Areas | str]) -> None:
    from dnabench.cache import replacing

    labels = {
        name: one if isinstance(one, str) else {**one._asdict(), "prevalence": one.prevalence}
        for name, one in found.items()
    }
    about = {**known, **({"labels": labels} if labels else {})}
    with replacing(file) as out:
        out.write(json.dumps(about, indent=1, allow_nan=False).encode())
