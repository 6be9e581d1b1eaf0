"""The Python interface: the same engine, flags and folder of results as the command line.

import dnabench as db

results = db.run(models=["kmer", "cnn"], data="my.csv", seeds=5, keep="best")
results.scores()
db.load_network("runs/networks/0123456789abcdef").predict(["ACGT..."])
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.networks.network import Network, load_network
from dnabench.types import Array, Record, Sequences

if TYPE_CHECKING:
    import pandas as pd

    from dnabench.networks.export import Exported

__all__ = ["Network", "Results", "embed", "export", "load_network", "run"]

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
    import typer

    from dnabench.cli.sweep import run_sweep
    from dnabench.sweep.grid import grid
    from dnabench.sweep.keeping import check_keep

    choice, reading, execution = _options(
        {"models": models, "data": data, "suite": suite, "tasks": tasks, **flags}, seeds
    )
    request, notes = choice.request(reading), list[str]()
    jobs = [job._replace(keep=keep) for job in grid(request, notes.append)]
    check_keep(keep, jobs)
    try:
        run_sweep(request, jobs, notes, Path(out), execution, to_stderr=True)
    except typer.Exit as e:
        raise KeyboardInterrupt(f"exit status {e.exit_code}") from None
    return Results(out, [job.trial.id for job in jobs])


def embed(
    network: str | Path = "", seqs: Sequence[str] | Sequences | Path = (), *, model: str = "",
    layer: int = 0, pool: str = "own", strands: str = "one", regime: str = "pretrained",
    set: str | Sequence[str] = (), device: str = "cpu", to: str | Path | None = None,
    trust_remote_code: bool = False,
) -> Array:  # fmt: skip
    """What a network makes of sequences before its head.

    Args:
        network: folder of a kept network, or a model, with the weights that `regime` names.
        seqs: sequences, or the path of a file of them.
        model: a model, in place of `network`; beside a kept network, its model again, if that is
            a file of yours or an hf: folder.
        layer: output of that block, from 1; 0 = of the whole backbone.
        pool: own (as the network's head sees it), mean, max, cls, or none: a row for each base.
        strands: one, or mean: with the other strand's.
        regime: scratch, pretrained, pretrained@REVISION or checkpoint:PATH.
        set: options of a model, `["width=256"]`.
        device: cpu, cuda or cuda:N.
        to: a file for the result, .npy or .parquet; needs the path of a file.
        trust_remote_code: run the code that an hf: model brings.

    Returns:
        float32 (N, D), or a row for each base; with `to` as an .npy, opened from that file.

    Raises:
        KeyError, ValueError, OSError: an unknown model, weights that cannot be had, a layer that
            there is not, bad sequences.
    """
    from dnabench.networks.embed_file import embed_file, source_of
    from dnabench.networks.embedding import Embedder
    from dnabench.sweep.settings import given_options

    name, code = (str(network), model) if network else (model, "")
    if not name:
        raise ValueError("embed: give a kept network, or model=NAME")
    if not isinstance(seqs, Path | Sequences):
        seqs = Sequences.parse(seqs)
    options = given_options(name, [set] if isinstance(set, str) else set, trust_remote_code)
    source = source_of(name, seqs, regime, device, code, trust_remote_code, options)
    embedder = Embedder(source, layer, pool, strands, device)
    if isinstance(seqs, Sequences):
        if to is not None:
            raise ValueError("to=...: give the path of a file of sequences")
        return embedder(seqs)
    with TemporaryDirectory() as folder:
        file = Path(to) if to is not None else Path(folder) / "rows.npy"
        embed_file(embedder, seqs, file)
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


def _options(given: Mapping[str, Any], seeds: int | str | Sequence[int]) -> tuple[Any, ...]:
    """The flags of `dnabench run`, from Python values."""
    from dnabench.cli.options import DataOptions, ExecutionOptions, GridOptions

    text = f"{','.join(map(str, seeds))}," if isinstance(seeds, Sequence) and not isinstance(
        seeds, str
    ) else str(seeds)  # fmt: skip
    every = (GridOptions, DataOptions, ExecutionOptions)
    kinds = {kind: signature(kind).parameters for kind in every}
    usual = {name: p.default for known in kinds.values() for name, p in known.items()}
    values: dict[str, Any] = {"seeds": text}
    for name, value in given.items():
        field = "set_" if name == "set" else name
        if field not in usual:
            known = ", ".join(sorted(usual.keys() - {"set_"}))
            raise TypeError(f"run() has no {name!r}; there are set, {known}")
        if isinstance(usual[field], list):
            one = isinstance(value, str | Path | int | float)
            value = [str(value)] if one else list(map(str, value))
        values[field] = str(value) if isinstance(usual[field], str) else value
    return tuple(
        kind(**{k: v for k, v in values.items() if k in known}) for kind, known in kinds.items()
    )


class Results:
    """Records in a folder, as tables.

    Args:
        out: the folder of results, as of `dnabench run --out`.
        trials: ids of the trials that count; None = all that are there.
    """

    def __init__(self, out: str | Path = "runs", trials: Sequence[str] | None = None) -> None:
        from dnabench.results.store import Store

        self.store = Store(out)
        chosen = None if trials is None else set(trials)
        tested = (r for r in self.store if not r.trial.tuning)
        every = [r for r in tested if chosen is None or r.trial.id in chosen]
        self.records: list[Record] = [r for r in every if not r.error]
        self.failed: list[Record] = [r for r in every if r.error]

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<Results: {len(self.records)} trials in {self.store.folder}{failed}>"

    def scores(self) -> pd.DataFrame:
        """A row for each trial: what it was, and every metric of the test split.

        Columns task, model (with the options that differ from its defaults), regime, protocol,
        train_share, n_train (examples), seed, trial, network (its folder if kept, else ""), metric
        (the task's), score (its value), then every metric by its name.
        """
        import pandas as pd

        rows = []
        for record in self.records:
            test, metric = record.scores["test"], record.task["metric"]
            row = {**self._what(record), "network": self._network(record.trial.id)}
            rows.append({**row, "metric": metric, "score": test.get(metric), **test})
        return pd.DataFrame(rows)

    def curves(self) -> pd.DataFrame:
        """A row for each epoch of each trial: loss, and the metrics of the splits looked at.

        Columns as in `scores`, then epoch, chosen (whether it was scored), loss and `val_<metric>`.
        """
        import pandas as pd

        rows = []
        for record in self.records:
            for epoch in record.curve:
                row = {**self._what(record), "epoch": epoch["epoch"]}
                row |= {"chosen": epoch["epoch"] == record.best_epoch, "loss": epoch["loss"]}
                for split in ("val", "test"):
                    row |= {f"{split}_{k}": v for k, v in epoch.get(split, {}).items()}
                rows.append(row)
        return pd.DataFrame(rows)

    def verdicts(self) -> pd.DataFrame:
        """A row for each pair of models on each task: what `dnabench report` says of them.

        Columns protocol, task, metric, a, b, mean_a, mean_b, difference, low, high (95 % interval
        over seeds, and test examples where there are predictions), p, p_holm, verdict of a.
        """
        import pandas as pd

        rows = []
        for evidence in self._report().evidence:
            names = [column.name for column in evidence.table.columns]
            for c in evidence.comparisons:
                span = c.nested or (c.welch.difference, c.welch.low, c.welch.high)
                rows.append(
                    {
                        "protocol": evidence.table.protocol, "task": c.row.name,
                        "metric": c.row.metric, "a": names[c.i], "b": names[c.j],
                        "mean_a": c.means[0], "mean_b": c.means[1],
                        "difference": c.welch.difference, "low": span[1], "high": span[2],
                        "p": c.p, "p_holm": c.p_holm, "verdict": c.verdict_text,
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def report(
        self, format: str = "md", to: str | Path | None = None, metric: str = "",
        all_metrics: bool = False,
    ) -> str | bytes:  # fmt: skip
        """What `dnabench report` makes of these records.

        Args:
            format: md, csv, latex, html, json or parquet.
            to: a file to write too.
            metric: a recorded one, shown instead of each task's own.
            all_metrics: every recorded one, in csv, json and parquet.
        """
        from dnabench.reports.render import render

        found = render(self._report(metric), format, all_metrics)
        if to is not None:
            Path(to).write_bytes(found if isinstance(found, bytes) else found.encode())
        return found

    def best(self, task: str, model: str = "") -> Network:
        """The kept network with the best validation score on a task.

        Args:
            task: its name.
            model: of this model alone; "" = of any.

        Raises:
            KeyError: no trial of that task or model.
            ValueError: none of them kept its network; validation scores that cannot be compared,
                of several protocols, metrics or numbers of training examples.
        """
        from dnabench.sweep.keeping import validation

        own = [r for r in self.records if r.trial.task == task and model in ("", r.trial.model)]
        if not own:
            known = sorted({f"{r.trial.model} on {r.trial.task}" for r in self.records})
            raise KeyError(f"no trial of {model or 'a model'} on {task}; there are {known}")
        kept = [r for r in own if self._network(r.trial.id)]
        if not kept:
            raise ValueError(f"no network of {task} is kept; run the same with keep='best'")
        kinds = {(r.trial.protocol, r.task["metric"], r.trial.limit) for r in kept}
        if len(kinds) > 1:
            listed = "; ".join(f"{p}, {m}, limit {n or 'none'}" for p, m, n in sorted(kinds))
            raise ValueError(
                f"the validation scores of {task} cannot be compared, they are of several "
                f"protocols, metrics or limits ({listed}); give Results the trials of one: "
                "db.Results(out, trials=[...])"
            )
        return load_network(self._network(max(kept, key=validation).trial.id))

    def _what(self, record: Record) -> dict[str, Any]:
        from dnabench.sweep.grid import label

        t = record.trial
        return {
            "task": t.task, "model": label(t), "regime": t.regime, "protocol": t.protocol,
            "train_share": t.train_share, "n_train": record.n_examples.get("train"),
            "seed": t.seed, "trial": t.id,
        }  # fmt: skip

    def _network(self, trial_id: str) -> str:
        has = self.store.has_network(trial_id)
        return str(self.store.network_path(trial_id)) if has else ""

    def _report(self, metric: str = "") -> Any:
        from dnabench.reports.report import report
        from dnabench.reports.resampling import Resampler

        if not self.records:
            raise ValueError(f"no finished trials in {self.store.folder}")
        every = [*self.records, *self.failed]
        return report(every, self.store, Resampler(self.store), metric=metric)
