"""The flags that name a network, each defined once, and what they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dnabench.probes.likelihood import Likelihood

Kept = Annotated[Path, typer.Argument(help="A kept network: runs/networks/TRIAL.")]
NewFile = Annotated[
    Path, typer.Argument(help="Sequences: FASTA, CSV, TSV (each also .gz) or Parquet.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
CpuDevice = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N; here the default is the CPU.")
]
Code = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="The model file (net.py:Net), if the network's code is your own."
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run the code that an hf: model brings; read it first."
    ),
]
Layer = Annotated[
    int, typer.Option(help="Output of that layer, from 1; 0 = of the whole backbone.")
]
Output = Annotated[
    str, typer.Option(help="Class, label or value that is followed; default: the only one.")
]
Language = Annotated[
    str, typer.Argument(help="Folder of `dnabench pretrain`, or a model with official weights.")
]
AnyNetwork = Annotated[
    str,
    typer.Argument(help="Folder of `dnabench pretrain`, a kept network (runs/networks/TRIAL), or a "
                   "model."),
]  # fmt: skip
Window = Annotated[
    int,
    typer.Option(help="Bp of a window; 0 = those it was trained on, 512 of official weights.",
                 min=0),
]  # fmt: skip
Regime = Annotated[
    str,
    typer.Option(help="Weights of a model: pretrained or checkpoint:FILE, with its head; not for a "
                 "folder."),
]  # fmt: skip
AnyRegime = Annotated[
    str, typer.Option(help="Weights of a model: pretrained, scratch or checkpoint:FILE.")
]
Settings = Annotated[list[str], typer.Option("--set", help="Option of a model: may be repeated.")]


def likelihood_of(
    network: str, length: int, regime: str, set_: list[str], device: str, trust: bool = False
) -> Likelihood:
    """The language model that the words of a command name, on its device."""
    from dnabench.host.machine import device_named
    from dnabench.pretraining.language_nets import language_net
    from dnabench.probes.likelihood import Likelihood
    from dnabench.sweep.settings import given_options

    on, options = device_named(device), given_options(network, set_, trust)
    return Likelihood(language_net(network, length, regime, options, trust), on)


def identified(
    network: str, regime: str = "pretrained", set_: Sequence[str] = (), trust: bool = False
) -> dict[str, Any]:
    """What identifies the network that the words of a command name, for a JSON file."""
    from dnabench.networks.identity import identity
    from dnabench.sweep.settings import given_options

    return identity(network, regime, given_options(network, set_, trust), trust)
