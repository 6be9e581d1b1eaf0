"""Records of a folder as pandas tables, for Python: of a run, and of a search of settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.networks.network import Network, load_network
from dnabench.types import Record

if TYPE_CHECKING:
    import pandas as pd

    from dnabench.results.searches import Search


_WHAT = ("task", "model", "regime", "protocol", "train_share", "n_train", "seed", "trial")


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
        train_share, n_train (examples), seed, trial, network (its folder if kept, else ""), invalid
        (why a report leaves the run out: its scores do not follow from its stored predictions; ""
        = it counts), metric (the task's), score (its value), then every metric by its name. As in
        `report --all-metrics`, an invalid run has no score, nor has MCC a value where all test
        labels are of one class: they are NaN, which means skip; `records` has what was written.
        Failed trials, those of `failed`, have no row. The first call computes every score again;
        what it finds is kept in the folder's .cache.
        """
        import pandas as pd

        from dnabench.metrics import METRICS
        from dnabench.reports.cells import INVALID
        from dnabench.reports.memo import Memo
        from dnabench.reports.validity import checked

        rows, memo = [], Memo(self.store.folder / ".cache" / "report")
        beside = checked(self.records, self.store, memo, METRICS)
        for record, read in zip(self.records, beside, strict=True):
            why, metric = read.flags.get(INVALID, ""), record.task["metric"]
            test = {} if why else read.scores["test"]
            row = {**self._what(record), "network": self._network(record.trial.id)}
            row |= {"invalid": why, "metric": metric, "score": test.get(metric, math.nan)}
            rows.append(row | {name: test.get(name, math.nan) for name in record.scores["test"]})
        none = [*_WHAT, "network", "invalid", "metric", "score"]
        return pd.DataFrame(rows, columns=None if rows else none)

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
        none = [*_WHAT, "epoch", "chosen", "loss"]
        return pd.DataFrame(rows, columns=None if rows else none)

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

        found = render(self._report(metric, all_metrics), format, all_metrics)
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

    def _report(self, metric: str = "", all_metrics: bool = False) -> Any:
        from dnabench.reports.report import report
        from dnabench.reports.resampling import Resampler

        if not self.records:
            raise ValueError(f"no finished trials in {self.store.folder}")
        every = [*self.records, *self.failed]
        resampler = Resampler(self.store)
        return report(every, self.store, resampler, metric=metric, all_metrics=all_metrics)


class Compared(Results):
    """The trials of regimes of training, as `Results`, and what pretraining costs and buys."""

    def table(self) -> pd.DataFrame:
        """What `dnabench regimes` prints, as text: a row for each task and column.

        `verdicts` has the numbers of all pairs.
        """
        import pandas as pd

        from dnabench.reports.regimes import tables_of

        found = tables_of(self._report().evidence)
        return pd.concat(
            [pd.DataFrame(one.rows, columns=list(one.heads)) for one in found], ignore_index=True
        )


class Tuned(Results):
    """The trials of a search that read test, as `Results`, and what it chose.

    Args:
        out: the folder of results.
        search: as it is kept there.
        failed: records of its trials that failed.
    """

    def __init__(self, out: str | Path, search: Search, failed: Sequence[Record] = ()) -> None:
        pairs = [pair for choice in search.choices for pair in choice.final.items()]
        super().__init__(out, [trial for pair in pairs for trial in pair])
        self.search, self.failed = search, list(failed)

    def choices(self) -> pd.DataFrame:
        """A row for each training of a configuration for each model, regime, task and fold.

        Columns model, regime, task, fold (-1 = a choice for all), number (0 = the default),
        settings, partial (trained for a part of its epochs, under halving), validation (mean over
        tuning seeds), failed (trials without a score), chosen.
        """
        import pandas as pd

        rows = []
        for choice in self.search.choices:
            for task in choice.tasks:
                for tried in choice.candidates:
                    scores = tried.scores[task]
                    rows.append({
                        "model": choice.model, "regime": choice.regime, "task": task,
                        "fold": choice.fold, "number": tried.number,
                        "settings": " ".join(tried.settings), "partial": tried.partial,
                        "validation": float(np.mean(scores)) if scores else math.nan,
                        "failed": tried.failed, "chosen": tried is choice.best,
                    })  # fmt: skip
        return pd.DataFrame(rows)
