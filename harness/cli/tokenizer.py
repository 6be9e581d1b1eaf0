"""`dnabench tokenizer ...`: byte-pair tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.help import command, group

tokenizer = group("tokenizer", "Train tokenizers.")


@command(
    tokenizer, "train", "genome.fa", "--vocab 4096 fly.fa.gz worm.fa.gz",
    "--to human.json chr20.fa.gz chr21.fa.gz",
)  # fmt: skip
def train(
    files: Annotated[list[Path], typer.Argument(help="FASTA files, plain or .gz.")],
    vocab: Annotated[int, typer.Option(help="Size of the vocabulary.")] = 4096,
    to: Annotated[Path, typer.Option(help="File to write.")] = Path("tokenizer.json"),
) -> None:
    """Train a byte-pair tokenizer.

    The same files give the same tokens.
    """
    from rich.console import Console

    from dnabench.tokens.bpe import save, train_from_files

    with Console(stderr=True).status("reading") as status:
        learned = train_from_files(
            files, vocab, lambda bp: status.update(f"read {bp / 1e6:,.0f} Mbp")
        )
    save(learned, to)
    typer.echo(f"{to}: {learned.size} tokens")
