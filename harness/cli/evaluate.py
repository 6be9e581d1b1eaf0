"""`dnabench evaluate`: how well a language model knows a genome, by region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.predict import Device
from dnabench.cli.table import Rows, print_table

THESIS = ", the thesis's interval"


def evaluate(
    network: Annotated[Path, typer.Argument(help="Folder that `dnabench pretrain` wrote.")],
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    sequence: Annotated[
        list[str],
        typer.Option(help="Sequence to score; default: those the training held out."),
    ] = [],  # noqa: B006
    regions: Annotated[
        Path | None, typer.Option(help="GFF3 or GTF file of genes.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="mask: predicted bases are hidden; thesis: 80/10/10, not for words.")
    ] = "mask",
    seed: Annotated[int, typer.Option(help="Seed of the choice of hidden bases.")] = 0,
    to: Annotated[
        Path | None, typer.Option(help="JSON file to write; default in the network's folder.")
    ] = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Score a language model by region, against chance baselines.

    Accuracy, cross-entropy and perplexity of hidden bases (of next bases in a causal model), with
    99 % intervals; beside them the majority base and the best of Markov chains of order 0 to 11,
    fitted on the other sequences of the genome. Of a masked network of multi-base tokens that do
    not overlap: accuracy of hidden tokens and loss in nats per base.
    """
    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.models.language import entries
    from dnabench.pretraining.evaluate import PROTOCOLS, chains_for, write
    from dnabench.pretraining.saving import check_genes, held_out, load_pretrained, trained_on
    from dnabench.pretraining.words import check_words
    from dnabench.tasks.io.annotation import read_annotation
    from dnabench.tasks.io.packed import packed

    if protocol not in PROTOCOLS:
        fail(f"--protocol {protocol!r}: write {' or '.join(PROTOCOLS)}")
    loaded = load_pretrained(network)
    if not (letters := entries(loaded.model, loaded.options)):
        check_words(loaded, protocol)
    loaded.net.to(device_named(device))
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        annotation = read_annotation(regions, coding=True) if regions else None
        numbers = [read.number(name) for name in sequence or held_out(loaded.card, read)]
        check_genes(annotation, read, numbers)
        show(description="counting k-mers")
        chains = chains_for(read, numbers)
        show(description="scoring", completed=0)
        windows, rows = _scored(
            (loaded, read, numbers, annotation, chains), bool(letters), protocol, seed,
            lambda done, total: show(completed=done, total=total),
        )  # fmt: skip
    named = ", ".join(read.contigs[i] for i in numbers)
    told = _print if letters else _print_words
    told(rows, f"{loaded.model.name} on {named} of {read.name}", loaded.card, read.name)
    _warn(warned := trained_on(loaded.card, read, numbers))
    file = to or network / f"evaluation-{protocol}-{'-'.join(map(str, numbers))[:40]}.json"
    about = {
        "network": str(network), "genome": read.sha256, "sequences": named, "seed": seed,
        "regions": file_sha256(regions) if regions else "", "warning": warned,
        "protocol": protocol, "windows": windows, "of": "bases" if letters else "words",
    }  # fmt: skip
    write(rows, about, file)
    typer.echo(f"all chains{THESIS if letters else ''}: {file}")


def _warn(warned: str) -> None:
    if warned:
        typer.echo(f"warning: {warned}", err=True)


def _scored(
    asked: tuple[Any, ...], letters: bool, protocol: str, seed: int,
    progress: Callable[[int, int], None],
) -> tuple[int, list[dict[str, Any]]]:  # fmt: skip
    """How many windows were read, and the rows; `asked` is what both kinds of network need."""
    from dnabench.pretraining.evaluate import score, table
    from dnabench.pretraining.words import score_words, table_of_words

    if letters:
        scored = score(*asked, protocol=protocol, seed=seed, progress=progress)
    else:
        scored = score_words(*asked, seed=seed, progress=progress)
    return scored.windows, (table if letters else table_of_words)(scored, asked[3] is not None)


def _print(
    rows: Sequence[Mapping[str, Any]], title: str, card: Mapping[str, Any], counted: str
) -> None:
    """The table; `counted` names the genome of the chains."""
    from dnabench.pretraining.classes import CLASSES

    what = "next bases" if card["objective"] == "causal" else "hidden bases"
    typer.echo(
        f"{title}: {what}; accuracy, and loss in nats over A, C, G and T, with 99 % intervals"
    )
    typer.echo(f"majority base and Markov chains: {_fitted(card, counted)}")
    best = min(rows[-1]["chance"], key=lambda name: rows[-1]["chance"][name]["loss"])
    lines: Rows = [
        [
            row["region"], f"{row['bases']:,}", _with(row, "accuracy"), _with(row, "loss"),
            f"{row['perplexity']:.3f}", f"{row['chance']['order 0']['accuracy']:.3f}",
            f"{row['chance'][best]['accuracy']:.3f}  {row['chance'][best]['loss']:.3f}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["region", "bases", "accuracy", "loss", "perpl.", "majority"]
    heads += [f"Markov {best.removeprefix('order ')}"]  # accuracy and loss
    print_table(heads, lines, "the JSON file has all", numbers=True)
    if any(row["region"] in CLASSES for row in rows):
        typer.echo(f"a base in several regions is in the first of: {'; '.join(CLASSES)}")


def _print_words(
    rows: Sequence[Mapping[str, Any]], title: str, card: Mapping[str, Any], counted: str
) -> None:
    """As `_print`, of a network of words."""
    from dnabench.pretraining.words import REGIONS

    typer.echo(
        f"{title}: hidden words; accuracy of words, and loss in nats per base, with 99 % intervals"
    )
    typer.echo(
        "each hidden word is predicted with no base of it seen: do not compare these losses with "
        "those of letters"
    )
    typer.echo(f"Markov chains: {_fitted(card, counted)}; nats per base on the same bases")
    best = min(rows[-1]["chance"], key=lambda name: rows[-1]["chance"][name]["nats_per_base"])
    lines: Rows = [
        [
            row["region"], f"{row['tokens']:,}", f"{row['bases']:,}", _with(row, "accuracy"),
            _with(row, "nats_per_base"), f"{row['chance'][best]['nats_per_base']:.3f}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["region", "words", "bases", "accuracy", "nats per base"]
    heads += [f"Markov {best.removeprefix('order ')}"]
    print_table(heads, lines, "the JSON file has all", numbers=True)
    if any(row["region"] in REGIONS for row in rows):
        typer.echo(
            f"{rows[-1]['mixed']:,} words have bases in several regions; such a word is in the "
            f"first of: {'; '.join(REGIONS)}"
        )


def _fitted(card: Mapping[str, Any], counted: str) -> str:
    """What chains were fitted on, and what the network was trained on if that is more."""
    trained = [one["name"] for one in card["genomes"]]
    more = f"; the network was trained on {', '.join(trained)}" if len(trained) > 1 else ""
    return f"of the other sequences of {counted}{more}"


def _with(row: Mapping[str, Any], name: str) -> str:
    if row[f"{name}_interval"] is None:  # too few blocks
        return f"{row[name]:.3f}"
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.3f} {low:.3f}-{high:.3f}"
