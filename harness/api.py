"""The Python interface: the same engine, flags and folder of results as the command line.

import dnabench as db

results = db.run(models=["kmer", "cnn"], data="my.csv", seeds=5, keep="best")
results.scores()
tuned = db.tune(models=["kmer", "cnn"], data="my.csv", budget=16)
tuned.choices()
compared = db.regimes("convnova-386k", "my.csv", genomes={"yeast": "yeast.fa"}, holdout="chrXI")
compared.table()
db.load_network("runs/networks/0123456789abcdef").predict(["ACGT..."])
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.frames import Compared, Results, Tuned
from dnabench.networks.network import Network, load_network
from dnabench.types import Array, Sequences

if TYPE_CHECKING:
    from dnabench.networks.export import Exported

__all__ = [
    "Compared", "Network", "Results", "Tuned", "embed", "export", "load_network", "regimes", "run",
    "tune",
]  # fmt: skip

Names = str | Sequence[str]


def run(
    models: Names = ("kmer", "cnn", "convnova-386k"), data: Names | Path = (), *,
    suite: Names = (), tasks: Names = (), seeds: int | str | Sequence[int] = 5, keep: str = "no",
    out: str | Path = "runs", **flags: Any,
) -> Results:  # fmt: skip
    """Train and score models on tasks over several seeds; finished trials are not run again.

    In a script, call it under `if __name__ == "__main__":`, since trials run in processes of their
    own; `executor="inline"` runs them in this one.

    Args:
        models: names, comma-separated or in a list, or "all".
        data: your file or folder, or several; see "Your own data".
        suite: all tasks of a suite, or of several, or those named by `tasks`.
        tasks: names.
        seeds: how many, which, or as `--seeds` takes them: "2222,42-50".
        keep: trained networks to keep: no, best or all.
        out: folder of results.
        flags: other flags of `dnabench run` with _ for -, e.g. `epochs=2`, `set=["cnn.lr=0.01"]`,
            `regime="pretrained"`, `train_share=[0.1, 1]`, `device="cuda"`, `jobs=2`.

    Returns:
        What is in the folder of these trials. Those that failed are in `failed`; progress and
        warnings go to stderr.

    Raises:
        KeyError: an unknown name; the message suggests others.
        ValueError: a value that no flag takes, bad data.
        TypeError: a flag that does not exist.
        KeyboardInterrupt: finished trials are kept.
    """
    from dnabench.cli.sweep import run_sweep
    from dnabench.sweep.grid import grid
    from dnabench.sweep.keeping import check_keep

    _read_again()
    choice, reading, execution = _options(
        {"models": models, "data": data, "suite": suite, "tasks": tasks, **flags}, seeds
    )
    request, notes = choice.request(reading), list[str]()
    jobs = [job._replace(keep=keep) for job in grid(request, notes.append)]
    check_keep(keep, jobs)
    with _interrupts():
        run_sweep(request, jobs, notes, Path(out), execution, to_stderr=True)
    return Results(out, [job.trial.id for job in jobs])


def tune(
    models: Names = ("kmer", "cnn", "convnova-386k"), data: Names | Path = (), *,
    suite: Names = (), tasks: Names = (), budget: int = 0, per: str = "task",
    tuning_seeds: int | str | Sequence[int] = 2, seeds: int | str | Sequence[int] = 5,
    search: str = "random", search_seed: int = 0, space: Names = (), out: str | Path = "runs",
    budget_hours: float = 0.0, budget_flops: float = 0.0, **flags: Any,
) -> Tuned:  # fmt: skip
    """Tune every model with the same budget on validation, then test; as `dnabench tune`.

    The trials of the search never read test. The same call again goes on where it was killed.

    Args:
        models: as for `run`.
        data: as for `run`.
        suite: as for `run`.
        tasks: as for `run`.
        budget: configurations of each model and regime, its default among them; 0 = 16.
        per: what gets settings of its own: each task, suite or model.
        tuning_seeds: how many, from 1000 on, or which.
        seeds: of the final runs: how many, or which.
        search: random, grid, tpe or halving.
        search_seed: draws other configurations.
        space: values to search, `["lr=log:1e-4..3e-3", "cnn.batch=one:32,64"]`, or the name alone
            of what a model declares beyond its usual space, `["rc"]`.
        out: folder of results.
        budget_hours: in place of `budget`, hours that the trials of each choice may take.
        budget_flops: likewise, FLOP of their training.
        flags: as for `run`. Settings that they fix are not searched.

    Returns:
        The trials of the default and of the chosen settings, which alone have read test, and the
        choices. What failed, in the search too, is in `failed`.

    Raises:
        KeyError: as `run`.
        ValueError: as `run`; a budget, space or protocol that cannot be searched; a model all of
            whose configurations failed.
        TypeError: a flag that does not exist.
        KeyboardInterrupt: finished trials are kept.
    """
    from dnabench.cli.tune import run_search
    from dnabench.sweep.search import TuneRequest

    _read_again()
    choice, reading, execution = _options(
        {"models": models, "data": data, "suite": suite, "tasks": tasks, **flags},
        seeds,
        of="tune",
    )
    request = TuneRequest(
        grid=choice.request(reading), budget=budget, hours=budget_hours, flops=budget_flops,
        per=per, search=search,
        tuning_seeds=_seeds_text(tuning_seeds), search_seed=search_seed,
        spaces=[space] if isinstance(space, str) else list(space),
    )  # fmt: skip
    with _interrupts():
        chosen, failed = run_search(request, Path(out), execution)
    return Tuned(out, chosen.search, failed)


def regimes(
    models: Names = "convnova-386k", data: Names | Path = (), *,
    genomes: Mapping[str, str | Path | Sequence[str | Path]], holdout: Names, budget: str = "20M",
    suite: Names = (), tasks: Names = (), seeds: int | str | Sequence[int] = 5,
    out: str | Path = "runs", **flags: Any,
) -> Compared:  # fmt: skip
    """Compare scratch with pretraining, and with controls; as `dnabench regimes`.

    Networks that are there are not pretrained again. The same call again goes on where it was
    killed.

    Args:
        models: as for `run`.
        data: as for `run`.
        genomes: name -> FASTA file, or several that are read together.
        holdout: sequences to evaluate on, "chr8" or "hg38.fa:chr8".
        budget: bp that each pretraining sees.
        suite: as for `run`.
        tasks: as for `run`.
        seeds: of the fine-tunings: how many, or which.
        out: folder of results.
        flags: other flags of `dnabench regimes` with _ for -, e.g. `tokenizers=["char", "bpe"]`,
            `pretrain_seeds=5`, `controls="none"`, `exclude_task="nt/h3"`, `epochs=3`.

    Returns:
        The trials of all columns. Those that failed are in `failed`.

    Raises:
        KeyError: as `run`.
        ValueError: as `run`; genomes, budgets or seeds that do not fit.
        TypeError: a flag that does not exist.
        KeyboardInterrupt: what is finished is kept.
    """
    from dnabench.cli.regimes import PretrainingOptions, run_regimes

    files = {
        name: [str(paths)] if isinstance(paths, str | Path) else [*map(str, paths)]
        for name, paths in genomes.items()
    }  # fmt: skip
    _read_again()
    own = {"holdout": holdout, "budget": budget}
    choice, reading, execution, pretraining = _options(
        {"models": models, "data": data, "suite": suite, "tasks": tasks, **own, **flags}, seeds,
        PretrainingOptions, of="regimes",
    )  # fmt: skip
    request = pretraining.request(choice, reading, files)
    with _interrupts():
        jobs, _ = run_regimes(request, Path(out), execution)
    return Compared(out, [job.trial.id for job in jobs])


def embed(
    network: Network | str | Path = "", seqs: Sequence[str] | Sequences | Path = (), *,
    model: str = "", layer: int = 0, pool: str = "own", strands: str = "one",
    regime: str = "pretrained", set: str | Sequence[str] = (), device: str = "cpu",
    to: str | Path | None = None, trust_remote_code: bool = False, genome: str | Path = "",
) -> Array:  # fmt: skip
    """What a network makes of sequences before its head.

    Args:
        network: a kept network as loaded, or its folder; or a model, with the weights that `regime`
            names.
        seqs: sequences, or the path of a file of them.
        model: a model, in place of `network`; beside a kept network, its model again, if that is
            a file of yours or an hf: folder.
        layer: output of that block, from 1; 0 = of the whole backbone.
        pool: own (as the network's head sees it), mean, max, cls, or none: a row for each base.
        strands: one, or mean: with the other strand's.
        regime: scratch, pretrained, pretrained@REVISION or checkpoint:PATH.
        set: options of a model, `["width=256"]`.
        device: auto, cpu, cuda or cuda:N; the default is the CPU, that of `dnabench embed` auto. A
            network as loaded stays where it is.
        to: a file for the result, .npy or .parquet; needs the path of a file.
        trust_remote_code: run the code that an hf: model brings.
        genome: FASTA that the regions of a BED file lie on (kept networks).

    Returns:
        float32 (N, D), or a row for each base; with `to` as an .npy, opened from that file. Regions
        that are left out have no row, and a note says so; `to` as a .parquet names the others.

    Raises:
        KeyError, ValueError, OSError: an unknown model, weights that cannot be had, a layer that
            there is not, bad sequences.
    """
    from dnabench.networks.embed_file import embed_file, source_of
    from dnabench.networks.embedding import Embedder, of_network
    from dnabench.sweep.settings import given_options
    from dnabench.tensors import note

    if not isinstance(seqs, Path | Sequences):
        seqs = Sequences.parse(seqs)
    if isinstance(network, Network):
        if model or set or regime != "pretrained" or device not in ("cpu", network.device):
            raise ValueError(
                "embed: a network as loaded has its model, weights, options and device; leave out "
                "model=, regime=, set= and device=, or give its folder"
            )
        source, device = of_network(network), network.device
    elif name := str(network) or model:
        options = given_options(name, [set] if isinstance(set, str) else set, trust_remote_code)
        code = model if network else ""
        source = source_of(name, seqs, regime, device, code, trust_remote_code, options)
    else:
        raise ValueError("embed: give a kept network, or model=NAME")
    embedder = Embedder(source, layer, pool, strands, device)
    if isinstance(seqs, Sequences):
        if to is not None:
            raise ValueError("to=...: give the path of a file of sequences")
        if genome:
            raise ValueError("genome=...: give the path of a BED file")
        note(embedder.unmasked())
        return embedder(seqs)
    with TemporaryDirectory() as folder:
        file = Path(to) if to is not None else Path(folder) / "rows.npy"
        embed_file(embedder, seqs, file, genome=str(genome))
        if file.suffix != ".npy":
            import pandas as pd

            return pd.read_parquet(file).filter(regex=r"^e\d+$").to_numpy()
        return np.load(file, mmap_mode=None if to is None else "r")  # type: ignore[no-any-return]


def export(
    network: Network | str | Path, to: str | Path = "", *, format: str = "onnx", model: str = "",
    trust_remote_code: bool = False,
) -> Exported:  # fmt: skip
    """Write a kept network for other programs; its logits are compared with the network's own.

    Args:
        network: as loaded, or its folder.
        to: the file, of hf the folder; "" = beside the network's weights.
        format: onnx, torch-export or hf.
        model: the network's model again, if that is a file of yours or an hf: folder.
        trust_remote_code: run the code that an hf: model brings.

    Returns:
        `path`, and `difference`, the largest of a logit over the largest logit. Warns if the
        network reads both strands or two alleles, which the file does not.

    Raises:
        ValueError: a format that the model's family lacks, with the reason; a network as loaded
            without `to`.
        FileNotFoundError, KeyError: as `load_network`.
        ModuleNotFoundError: onnx is missing.
    """
    from dnabench.networks.export import FORMS, reading
    from dnabench.networks.export import export as written

    if not isinstance(network, Network):
        to = to or Path(network) / FORMS.get(format, "")
        network = load_network(network, model=model, trust_remote_code=trust_remote_code)
    if not to:
        raise ValueError("export: say where to, to=...; a network as loaded has no folder")
    done = written(network, format, Path(to))
    for note in reading(network):
        warnings.warn(f"{done.path}: {note}", stacklevel=2)
    return done


def _read_again() -> None:
    """Forget the user's data, whose files may have changed since an earlier call."""
    from dnabench.sweep.tasks import as_each_needs
    from dnabench.tasks.io.once import own_task

    as_each_needs.cache_clear()
    own_task.cache_clear()


@contextmanager
def _interrupts() -> Iterator[None]:
    """What ends a command as Ctrl-C does is a KeyboardInterrupt here."""
    import typer

    try:
        yield
    except typer.Exit as e:
        raise KeyboardInterrupt(f"exit status {e.exit_code}") from None


def _seeds_text(seeds: int | str | Sequence[int]) -> str:
    """As `--seeds` takes them."""
    if isinstance(seeds, int | str):
        return str(seeds)
    return f"{','.join(map(str, seeds))},"


def _options(
    given: Mapping[str, Any],
    seeds: int | str | Sequence[int],
    *more: Callable[..., Any],
    of: str = "run",
) -> tuple[Any, ...]:
    """The flags of `dnabench run`, and of `more`, from Python values."""
    from dnabench.cli.execution import ExecutionOptions
    from dnabench.cli.options import DataOptions, GridOptions

    every: list[Callable[..., Any]] = [GridOptions, DataOptions, ExecutionOptions, *more]
    kinds = {kind: signature(kind).parameters for kind in every}
    usual = {name: p.default for known in kinds.values() for name, p in known.items()}
    values: dict[str, Any] = {"seeds": _seeds_text(seeds)}
    for name, value in given.items():
        field = "set_" if name == "set" else name
        if field not in usual:
            known = ", ".join(sorted(usual.keys() - {"set_"}))
            raise TypeError(f"{of}() has no {name!r}; there are set, {known}")
        if isinstance(usual[field], list):
            one = isinstance(value, str | Path | int | float)
            value = [str(value)] if one else list(map(str, value))
        values[field] = str(value) if isinstance(usual[field], str) else value
    return tuple(
        kind(**{k: v for k, v in values.items() if k in known}) for kind, known in kinds.items()
    )
