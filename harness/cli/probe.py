"""`dnabench probe ...`: what a network sees, and what a mutation does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.help import command, group
from dnabench.cli.network_flags import Code, CpuDevice, Device, Output, Trust, identified
from dnabench.cli.options import names_of
from dnabench.cli.probe_dependency import Genome, Region, read_region

if TYPE_CHECKING:
    from dnabench.probes.field import Field
    from dnabench.probes.mutagenesis import Answer, Mutated

USUAL_LENGTH = 513  # bp
STACK = re.compile(r"k(\d+)\.b(\d+)\.l(\d+)")

FIGURES = 10  # sequences that are drawn

probe = group("probe", "What a network sees, and what a mutation does.")


def field(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="A model, a kept network (runs/networks/TRIAL) or a folder of `dnabench "
            "pretrain`, or stacks of convolutions: k9.b2.l6 has 9 taps, dilations 1, 2, 4 ... and "
            "6 layers.",
            autocompletion=names_of("models"), show_default=False,
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder to write; default field-MODEL.")
    ] = None,
    length: Annotated[
        int,
        typer.Option(
            help="Bp of the sequences that are run; 0 = 513, or the longest that a kept network "
            "was trained on if that is shorter.", min=0,
        ),
    ] = 0,
    sequences: Annotated[int, typer.Option(help="Random sequences that are run.", min=1)] = 2,
    places: Annotated[
        int, typer.Option(help="Bases that are replaced, closest in the middle.", min=5)
    ] = 33,
    regime: Annotated[
        str, typer.Option(help="Weights of a model: scratch, pretrained or checkpoint:PATH.")
    ] = "scratch",
    set_: Annotated[
        list[str], typer.Option("--set", help="Option of a model: dilation=2; may be repeated.")
    ] = [],  # noqa: B006
    device: CpuDevice = "cpu",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show how far a network sees.

    The receptive field and the paths through its convolutions come from the layers; the effective
    field is measured on random sequences, by gradients and by replacing bases.
    """
    from dnabench.reports.figures.style import save

    folder = to or Path(f"field-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(networks[0]).name)}")
    if all(STACK.fullmatch(name) for name in networks):
        _stacks(networks, folder)
        return
    if len(networks) > 1:
        fail("one network at a time; only stacks such as k9.b2.l6 are drawn together")
    from dnabench.probes.field import rows, write
    from dnabench.probes.figures import field_figure

    found = _measured(
        networks[0], length, sequences, places, regime, set_, device, model, trust_remote_code
    )
    weights = f", {regime} weights" if not Path(networks[0]).is_dir() else ""
    typer.echo(f"{found.name}{weights}")
    _print(rows(found))
    files = write(found, folder, identified(networks[0], regime, set_, trust_remote_code))
    save(lambda: field_figure(found.paths, found.effect), folder / "field.png")
    typer.echo(f"\n{', '.join(f.name for f in files)}, field.png in {folder}")


def _measured(
    name: str, length: int, sequences: int, places: int, regime: str, set_: list[str],
    device: str, code: str, trust: bool,
) -> Field:  # fmt: skip
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.networks.embed_file import source_of
    from dnabench.pretraining.saving import is_language
    from dnabench.probes.effective import passes
    from dnabench.probes.embed import language_source
    from dnabench.probes.field import field as probe_field
    from dnabench.probes.field import random_sequences
    from dnabench.sweep.settings import given_options

    device, given, length = device_named(device), length, length or USUAL_LENGTH
    seqs = random_sequences(sequences, length)
    options = given_options(name, set_, trust)
    if Path(name).is_dir() and regime != "scratch":
        fail(f"--regime {regime}: {name} has weights of its own; leave it out")
    if is_language(Path(name)):
        source, _ = language_source(name, length, device=device, code=code, trust=trust)
    else:
        source = source_of(name, seqs, regime, device, code, trust, options)
        if length > source.length:  # of a kept network
            if given:
                fail(f"--length {length}: {name} was trained on {source.length:,} bp at most")
            length = source.length
            seqs = random_sequences(sequences, length)
    source.net.to(device)
    label = Path(name).name if Path(name).is_dir() else " ".join([source.model.name, *set_])
    with bar("probing", total=passes(sequences, length, places)) as show:
        return probe_field(label, source, seqs, places, lambda n: show(advance=n))


def _stacks(names: list[str], folder: Path) -> None:
    from dnabench.probes.field import of_paths, write_paths
    from dnabench.probes.figures import paths_figure
    from dnabench.probes.paths import Convolution, count_paths
    from dnabench.reports.figures.style import save

    found = []
    for name in names:
        kernel, base, layers = map(int, name[1:].replace(".b", " ").replace(".l", " ").split())
        if not (kernel and layers and base):
            fail(f"{name}: a stack has at least one layer, one tap and base 1")
        stack = [Convolution(kernel, base**i) for i in range(layers)]
        paths = count_paths(stack)
        found.append((name, paths))
        typer.echo(name)
        _print(of_paths(stack, paths))
        write_paths(paths, folder / f"{name}.parquet")
    save(lambda: paths_figure(found), folder / "field.png")
    typer.echo(f"\n{', '.join(f'{name}.parquet' for name in names)}, field.png in {folder}")


def _print(pairs: list[tuple[str, Any]]) -> None:
    wide = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        typer.echo(f"  {name:<{wide}}  {value}")


def mutagenesis(
    network: Annotated[str, typer.Argument(help="A kept network: runs/networks/TRIAL.")],
    file: Annotated[
        Path | None,
        typer.Argument(help="Sequences: FASTA, CSV, TSV (each also .gz) or Parquet.",
                       show_default=False),
    ] = None,
    genome: Genome = None,
    region: Region = "",
    output: Output = "",
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("mutagenesis"),
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show what every substitution does to an answer.

    Every base of every sequence, or of a region of a genome, is replaced by the three others: the
    log odds of a class in nats, the logit of a label, or a value changes. Three predictions per
    base, on both strands if the network was trained so.
    """
    from dnabench.cache import file_sha256, replacing
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.networks.identity import identity
    from dnabench.networks.network import load_network
    from dnabench.probes.mutagenesis import answer_of, mutagenesis_of, mutagenesis_of_file
    from dnabench.probes.places import place_of

    if (genome is None) == (file is None) or (genome is None) != (not region):
        fail("say what to mutate: a file of sequences, or --genome FASTA --region chr1:101-200")
    loaded = load_network(
        network, model=model, device=device_named(device), trust_remote_code=trust_remote_code
    )
    answer = answer_of(loaded, output)
    with bar("mutating") as show:
        if file is not None:
            source = {"file": file_sha256(file)}
            found = mutagenesis_of_file(
                loaded, file, answer, to, FIGURES, lambda n: show(advance=n)
            )  # fmt: skip
        else:
            place, codes, sha, _ = read_region(genome, region, None)
            name = f"{place.chromosome}:{place.first + 1}-{place.first + len(codes)}"
            if place_of(name, len(codes)) != place:
                fail(f"--region {region}: with :: in it, the name of a sequence cannot be read "
                     "back from files; rename it in the FASTA file")  # fmt: skip
            source = {"genome": sha, "region": name}
            found = mutagenesis_of(
                loaded, [(name, codes)], answer, to, FIGURES, lambda n: show(advance=n)
            )  # fmt: skip
    about = {
        **identity(network), "answer": answer.name, **source, "sequences": found.sequences
    }  # fmt: skip
    with replacing(to / "mutagenesis.json") as out:
        out.write(json.dumps(about, indent=1).encode())
    _say_stretches(answer, found)
    typer.echo(f"\nmutagenesis.parquet, importance.bedgraph, mutagenesis.json, figures in {to}")


def _say_stretches(answer: Answer, found: Mutated) -> None:
    from dnabench.probes.places import counted

    typer.echo(
        f"{answer.name}, and the bases that hold it up: by how much it falls, a mean of three"
    )
    typer.echo(counted([one.place for one in found.first], [one.name for one in found.first]))
    for one in found.first:
        typer.echo(f"  {one.name}: {answer.text(one.answer)}")
        for part in one.stretches:
            fall = answer.text(part.importance, "+")
            typer.echo(f"    {part.start}-{part.end} {part.letters}  {fall}")
    if found.sequences > len(found.first):
        typer.echo(f"  ... and {found.sequences - len(found.first):,} more")


command(
    probe, "mutagenesis", "runs/networks/TRIAL my.fa", "runs/networks/TRIAL my.fa --output donor",
    "runs/networks/TRIAL --genome genome.fa --region chr1:101-200",
)(mutagenesis)  # fmt: skip
command(
    probe, "field", "convnova", "gpn --set layers=8 --length 1025", "runs/networks/TRIAL",
    "k9.b2.l6 k5.b2.l8 k9.b3.l5 --to paths",
)(field)  # fmt: skip
