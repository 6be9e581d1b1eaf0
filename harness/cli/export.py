"""`dnabench export`: a kept network as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.network_flags import Code, Kept, Trust


def export(
    network: Kept,
    format: Annotated[
        str,
        typer.Option("--format", "-f", help="onnx (needs 'dnabench[export]'), torch-export, hf."),
    ] = "onnx",
    to: Annotated[
        Path | None,
        typer.Option(help="File, of hf folder, to write; default: beside the network's weights."),
    ] = None,
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:
    """Write a kept network for other programs, and check the file.

    Its logits are compared with the network's own. Inputs are `ids` int64 and `mask` float32,
    both batch x tokens: docs/networks.md says which id a letter has. The output is the logits
    of the strand that is given, for effects of variants those of one allele's window. hf writes
    a folder with tokenizer, for transformers' AutoTokenizer and
    AutoModelForSequenceClassification, per base AutoModelForTokenClassification. Of a language
    model from `dnabench pretrain` hf writes AutoModelForMaskedLM or AutoModelForCausalLM.
    """
    from dnabench.networks.export import FORMS, export, reading
    from dnabench.networks.network import load_network
    from dnabench.pretraining.saving import is_language

    if is_language(network):
        _language(network, format, to or network / "hf", trust_remote_code)
        return
    loaded = load_network(network, model=model, trust_remote_code=trust_remote_code)
    done = export(loaded, format, to or network / FORMS.get(format, ""))
    width = f"{done.tokens} tokens, padded"
    if format == "hf":
        width = "a folder for transformers"
    elif done.any_length:
        width = "any number of tokens" if done.longer else f"up to {done.tokens} tokens"
    typer.echo(f"{done.path}: {width}; logits off by {done.difference:.1g} at most")
    if format == "hf" and loaded.tokenizer and (k := loaded.tokenizer.spaced):
        typer.echo(f"note: give its tokenizer {k}-mers with spaces between, as published", err=True)
    for note in reading(loaded):
        typer.echo(f"note: {note}", err=True)


def _language(network: Path, form: str, to: Path, trust: bool) -> None:
    from dnabench.cli.errors import fail
    from dnabench.networks.export_language import LanguageNet, write_language
    from dnabench.pretraining.saving import load_pretrained

    if form != "hf":
        fail(f"--format {form}: {network} is a language model; write --format hf")
    loaded = load_pretrained(network, trust)
    own = LanguageNet(
        loaded.model, loaded.options, loaded.tokenizer, loaded.net.float(), loaded.length
    )
    about = {"model": loaded.model.name, "weights": loaded.card["weights"]}
    _, difference = write_language(own, to, about)
    typer.echo(f"{to}: a folder for transformers; logits off by {difference:.1g} at most")
    if k := loaded.tokenizer.spaced:
        typer.echo(f"note: give its tokenizer {k}-mers with spaces between, as published", err=True)
