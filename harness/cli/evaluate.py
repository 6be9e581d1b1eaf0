"""`dnabench evaluate`: how well a language model knows a genome, by region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import Device, Language, Regime, Settings, Trust, Window, identified
from dnabench.cli.table import Rows, print_table

if TYPE_CHECKING:
    from dnabench.pretraining.chance import Chance
    from dnabench.pretraining.language_nets import LanguageNet
    from dnabench.tasks.io.annotation import Annotation
    from dnabench.tasks.io.packed import Genome

THESIS = ", the thesis's interval"


def evaluate(
    network: Language,
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    sequence: Annotated[
        list[str],
        typer.Option(help="Sequence to score, may be repeated; default: those the training held "
                     "out, of a folder."),
    ] = [],  # noqa: B006
    regions: Annotated[Path | None, typer.Option(help="GFF3 or GTF file of genes.")] = None,
    protocol: Annotated[
        str, typer.Option(help="mask: predicted bases are hidden; thesis: 80/10/10, not for words.")
    ] = "mask",
    seed: Annotated[int, typer.Option(help="Seed of the choice of hidden bases.")] = 0,
    to: Annotated[
        Path | None, typer.Option(help="JSON file to write; default in the network's folder, or "
                                  "here.")
    ] = None,
    length: Window = 0,
    regime: Regime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Score a language model by region, against chance baselines.

    Accuracy, cross-entropy and perplexity of hidden bases (of next bases in a causal model), with
    99 % intervals; beside them the majority base of each region and the best of Markov chains, of
    the whole genome (order 0 to 11) and of each region (0 to 8), fitted on the other sequences of
    the genome. Of a masked network of multi-base tokens that do not overlap: accuracy of hidden
    tokens and loss in nats per base. What official weights were trained on is not known, so name
    the sequences to score.
    """
    from dnabench.cli.bars import bar
    from dnabench.pretraining.chance import chance_for
    from dnabench.pretraining.evaluate import letters_of, write
    from dnabench.pretraining.saving import check_genes, held_out
    from dnabench.pretraining.words import check_words
    from dnabench.tasks.io.annotation import read_annotation
    from dnabench.tasks.io.packed import packed

    _check_protocol(protocol)
    loaded = _loaded(network, sequence, length, regime, set_, device, trust_remote_code)
    what = identified(network, regime, set_, trust_remote_code)
    if not (letters := letters_of(loaded)):
        check_words(loaded, protocol)
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        annotation = read_annotation(regions, coding=True) if regions else None
        numbers = _numbers(read, sequence or held_out(loaded.card, read))
        check_genes(annotation, read, numbers)
        show(description="counting k-mers")
        chance = chance_for(read, numbers, annotation)
        show(description="scoring", completed=0)
        windows, rows = _scored(
            (loaded, read, numbers, annotation, chance.chains), bool(letters), protocol, seed, show
        )
    named = ", ".join(read.contigs[i] for i in numbers)
    about = {
        **what, "sequences": named, "seed": seed, "protocol": protocol,
        **_read(loaded, read, numbers, regions), "windows": windows,
        "of": "bases" if letters else "words", **_counted(chance, annotation),
    }  # fmt: skip
    title = f"{loaded.model.name} on {named} of {read.name}"
    (_print if letters else _print_words)(rows, title, _card(loaded), read.name)
    _notes(about, annotation, read, numbers)
    file = to or _file(network, loaded, about, numbers)
    write(rows, about, file)
    typer.echo(f"all chains{THESIS if letters else ''}: {file}")


def _check_protocol(protocol: str) -> None:
    from dnabench.pretraining.evaluate import PROTOCOLS

    if protocol not in PROTOCOLS:
        fail(f"--protocol {protocol!r}: write {' or '.join(PROTOCOLS)}")


def _loaded(
    network: str, sequence: Sequence[str], length: int, regime: str, set_: list[str], device: str,
    trust: bool,
) -> LanguageNet:  # fmt: skip
    """The language model on its device."""
    from dnabench.host.machine import device_named
    from dnabench.pretraining.language_nets import is_folder, language_net, named_model
    from dnabench.sweep.settings import given_options

    if not sequence and not is_folder(network):
        named_model(network, trust)  # a misspelt folder is not one
        fail(
            f"{network}: nothing is known to be held out from the training of official weights; "
            "name with --sequence those to score (may be repeated). Chance is fitted on the other "
            "sequences of the genome"
        )
    on, options = device_named(device), given_options(network, set_, trust)
    found = language_net(network, length, regime, options, trust)
    found.net.to(on)
    return found


def _card(loaded: LanguageNet) -> Mapping[str, Any]:
    """What is known of the training."""
    from dnabench.models.language import language_of

    causal = language_of(loaded.model).causal
    return loaded.card or {"objective": "causal" if causal else "masked", "genomes": []}


def _read(
    loaded: LanguageNet, read: Genome, numbers: Sequence[int], regions: Path | None
) -> dict[str, Any]:
    """What the file says of genome, genes and windows."""
    from dnabench.cache import file_sha256

    return {
        "genome": read.sha256, "regions": file_sha256(regions) if regions else "",
        "warning": _warning(loaded, read, numbers), "length": loaded.length,
        "trained": loaded.trained or None,
    }  # fmt: skip


def _warning(loaded: LanguageNet, read: Genome, numbers: Sequence[int]) -> str:
    """What is wrong with scoring these sequences; "" = they were held out."""
    from dnabench.pretraining.saving import trained_on

    if loaded.card:
        return trained_on(loaded.card, read, numbers)
    return (
        "what these weights were trained on is not known here, so they may have seen these "
        "sequences; the chains beside them have not"
    )


def _file(
    network: str, loaded: LanguageNet, about: Mapping[str, Any], numbers: Sequence[int]
) -> Path:
    """Where the table is written: the network's folder, of official weights the current one."""
    from dnabench.pretraining.evaluate import file_of

    if loaded.card:
        return file_of(Path(network), about, numbers)
    bare = loaded.model.name.removeprefix("hf:").rpartition("/")[2]
    return file_of(Path(), about, numbers, f"{bare}-")


def _numbers(read: Genome, names: Sequence[str]) -> list[int]:
    """Of sequences, each once: intervals of one that is scored twice would be too narrow."""
    numbers = [read.number(name) for name in names]
    for i, number in enumerate(numbers):
        if number in numbers[:i]:
            fail(
                f"--sequence {names[numbers.index(number)]} and --sequence {names[i]} are the same "
                f"sequence of {read.name}, {read.contigs[number]}: name it once"
            )
    return numbers


def _counted(chance: Chance, annotation: Annotation | None) -> dict[str, Any]:
    """What the file says of chance and of genes that were left out."""
    left_out = annotation.left_out if annotation else {}
    return {"counted": chance.bases, "majority": chance.majority, "left_out": left_out}


def _notes(
    about: Mapping[str, Any], annotation: Annotation | None, read: Genome, numbers: Sequence[int]
) -> None:
    """Weights and windows, what the annotation lacks, and what is wrong with the sequences."""
    from dnabench.pretraining.classes import left_out
    from dnabench.pretraining.language_nets import beyond

    if not about["trained"]:
        typer.echo(f"weights {about['weights']}, windows of {about['length']:,} bp")
    if longer := beyond(about["length"], about["trained"] or 0):
        typer.echo(longer)
    if never := [name for name, bases in about["counted"].items() if not bases]:
        typer.echo(
            f"the other sequences have no base of {'; '.join(never)}: chains by region are "
            "those of their forward strand as a whole there"
        )
    if annotation and (said := left_out(annotation, read, numbers)):
        typer.echo(said)
    if about["warning"]:
        typer.echo(f"warning: {about['warning']}", err=True)


def _scored(
    asked: tuple[Any, ...], letters: bool, protocol: str, seed: int, show: Callable[..., None]
) -> tuple[int, list[dict[str, Any]]]:
    """How many windows were read, and the rows; `asked` is what both kinds of network need."""
    from dnabench.pretraining.evaluate import score, table
    from dnabench.pretraining.words import score_words, table_of_words

    def progress(done: int, total: int) -> None:
        show(completed=done, total=total)

    if letters:
        scored = score(*asked, protocol=protocol, seed=seed, progress=progress)
    else:
        scored = score_words(*asked, seed=seed, progress=progress)
    return scored.windows, (table if letters else table_of_words)(scored, asked[3] is not None)


def _print(
    rows: Sequence[Mapping[str, Any]], title: str, card: Mapping[str, Any], counted: str
) -> None:
    """The table; `counted` names the genome of the chains."""
    from dnabench.pretraining.chance import best_of, column
    from dnabench.pretraining.classes import CLASSES

    what = "next bases" if card["objective"] == "causal" else "hidden bases"
    typer.echo(
        f"{title}: {what}; accuracy, and loss in nats over A, C, G and T, with 99 % intervals"
    )
    chance, by_class = rows[-1]["chance"], any(row["region"] in CLASSES for row in rows)
    best = best_of(chance, "loss")
    most = "of each region" if by_class else "of the forward strand"
    typer.echo(f"majority base {most}, and Markov chains: {_fitted(card, counted)}")
    typer.echo(_chosen(chance, "loss"))
    lines: Rows = [
        [
            row["region"], f"{row['bases']:,}", _with(row, "accuracy"), _with(row, "loss"),
            f"{row['perplexity']:.3f}", f"{row['majority']:.3f}",
            f"{row['chance'][best]['accuracy']:.3f}  {row['chance'][best]['loss']:.3f}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["region", "bases", "accuracy", "loss", "perpl.", "majority"]
    heads += [_in_lines(column(best))]  # accuracy and loss
    print_table(heads, lines, "the JSON file has all", numbers=True)
    if by_class:
        typer.echo(f"a base in several regions is in the first of: {'; '.join(CLASSES)}")


def _print_words(
    rows: Sequence[Mapping[str, Any]], title: str, card: Mapping[str, Any], counted: str
) -> None:
    """As `_print`, of a network of words."""
    from dnabench.pretraining.chance import best_of, column
    from dnabench.pretraining.words import REGIONS

    typer.echo(
        f"{title}: hidden words; accuracy of words, and loss in nats per base, with 99 % intervals"
    )
    typer.echo(
        "each hidden word is predicted with no base of it seen: do not compare these losses with "
        "those of letters"
    )
    typer.echo(f"Markov chains: {_fitted(card, counted)}; nats per base on the same bases")
    best = best_of(rows[-1]["chance"], "nats_per_base")
    typer.echo(_chosen(rows[-1]["chance"], "nats_per_base"))
    lines: Rows = [
        [
            row["region"], f"{row['tokens']:,}", f"{row['bases']:,}", _with(row, "accuracy"),
            _with(row, "nats_per_base"), f"{row['chance'][best]['nats_per_base']:.3f}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["region", "words", "bases", "accuracy", "nats per base"]
    heads += [_in_lines(column(best))]
    print_table(heads, lines, "the JSON file has all", numbers=True)
    if any(row["region"] in REGIONS for row in rows):
        typer.echo(
            f"{rows[-1]['mixed']:,} words have bases in several regions; such a word is in the "
            f"first of: {'; '.join(REGIONS)}"
        )


def _chosen(chance: Mapping[str, Mapping[str, float]], measure: str) -> str:
    """Which chain is printed, and the best that knows no region, from the values of all bases."""
    from dnabench.pretraining.chance import BY_REGION, best_of, column

    best = best_of(chance, measure)
    said = f"{column(best)}: the chain with the lowest loss over all bases"
    if not best.endswith(BY_REGION):
        return said
    plain = {name: values for name, values in chance.items() if not name.endswith(BY_REGION)}
    of_all = best_of(plain, measure)
    return (
        f"{said}; it is told the region of each base, which the network is not; the best without "
        f"is {column(of_all)}, {plain[of_all][measure]:.3f} over all bases"
    )


def _in_lines(head: str) -> str:
    """A chain's name in two lines, "Markov 3" and "by region": so the table stays narrow."""
    chain, order, *where = head.split(" ", 2)
    return "\n".join([f"{chain} {order}", *where])


def _fitted(card: Mapping[str, Any], counted: str) -> str:
    """What chains were fitted on, and what the network was trained on if that is more."""
    from dnabench.weights import trainings_of

    parts = trainings_of(card)
    trained = [*dict.fromkeys(one["name"] for part in parts for one in part["genomes"])]
    more = f"; the network was trained on {', '.join(trained)}" if len(trained) > 1 else ""
    return f"of the other sequences of {counted}{more}"


def _with(row: Mapping[str, Any], name: str) -> str:
    if row[f"{name}_interval"] is None:  # too few blocks
        return f"{row[name]:.3f}"
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.3f} {low:.3f}-{high:.3f}"
