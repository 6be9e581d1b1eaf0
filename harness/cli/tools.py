"""Commands beside the run: measuring models, making tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.errors import fail, report_errors, split_commas

tokenizer = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make tokenizers.")


@report_errors
def profile(
    models: Annotated[
        str, typer.Option("--models", "-m", help="Networks, with commas between.")
    ] = "convnova,hyenadna,caduceus_ph",
    lengths: Annotated[str, typer.Option(help="bp, with commas between.")] = "200,1000",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Of each process, on a CPU.")] = 1,
    to: Annotated[
        Path, typer.Option(help="Figure to write, .png, .pdf or .svg; the table goes beside it.")
    ] = Path("profile.png"),
) -> None:
    """Seconds and peak memory by sequence length, of a forward pass and a training step."""
    from rich.console import Console
    from rich.progress import Progress

    from dnabench.forecast.profile import profile as measured
    from dnabench.forecast.profile import table
    from dnabench.reports.figures.profile import draw

    names = split_commas(models)
    if not all(word.isdigit() for word in split_commas(lengths)) or not split_commas(lengths):
        fail(f"--lengths {lengths!r}: give bp with commas between: 1000,10000")
    if to.suffix.lower() not in (".png", ".pdf", ".svg") or not to.parent.is_dir():
        fail(f"--to {to}: name a .png, .pdf or .svg file in a folder that is there")
    bp = [int(word) for word in split_commas(lengths)]
    with Progress(console=Console(stderr=True)) as bar:
        line = bar.add_task("profile", total=len(names) * len(bp))
        rows = measured(names, bp, device, on_row=lambda cost: bar.advance(line), threads=threads)
    text = table(rows)
    typer.echo(text)
    to.with_suffix(".md").write_text(text, encoding="utf-8")
    draw([row._asdict() for row in rows], to)
    typer.echo(str(to))
    if any(row.error for row in rows):
        raise typer.Exit(1)


@tokenizer.callback()
def group() -> None:
    """Make tokenizers."""


@tokenizer.command(
    epilog="Example: dnabench tokenizer train --vocab 4096 genome.fa, then: dnabench run "
    "-m convnova --set tokenizer=bpe:tokenizer.json --data my.csv"
)
@report_errors
def train(
    files: Annotated[list[Path], typer.Argument(help="FASTA, plain or .gz.")],
    vocab: Annotated[int, typer.Option(help="Entries of the vocabulary.")] = 4096,
    to: Annotated[Path, typer.Option(help="File to write.")] = Path("tokenizer.json"),
) -> None:
    """Learn byte-pair tokens from genomes; the same files give the same tokens."""
    from rich.console import Console

    from dnabench.tokens.bpe import save, train_from_files

    with Console(stderr=True).status("reading") as status:
        learned = train_from_files(
            files, vocab, lambda bp: status.update(f"read {bp / 1e6:,.0f} Mbp")
        )
    save(learned, to)
    typer.echo(f"{to}: {learned.size} tokens")
