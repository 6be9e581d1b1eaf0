"""`dnabench compare`: two models on every task both have run."""

from __future__ import annotations

from pathlib import Path

import typer

from dnabench.cli.bars import bar
from dnabench.cli.options import OneModel, Out, Shown
from dnabench.cli.report import records_in


def compare(a: OneModel, b: OneModel, out: Out = Path("runs"), metric: Shown = "") -> None:
    """Compare two models on every task both have run; "cnn tuned" is what `tune` chose."""
    from dnabench.reports.memo import Memo
    from dnabench.reports.regimes import with_regimes
    from dnabench.reports.render import compare_text, compared
    from dnabench.reports.resampling import Resampler
    from dnabench.reports.tuning import check_tuned, with_tuned
    from dnabench.reports.validity import checked, left_out, unread
    from dnabench.results.regimes import regimes
    from dnabench.results.searches import searches

    store, records = records_in(out)
    tuning = searches(store)
    for name in (a, b):
        check_tuned(name, tuning, with_tuned(records, tuning))
    with bar("reading", len({r.trial.task for r in records})) as show:
        resampler = Resampler(store, observe=lambda what: show(description=what, advance=1))
        memo = Memo(store.folder / ".cache" / "report")
        found = with_tuned(checked(records, store, memo, [metric]), tuning)
        found = with_regimes(found, regimes(store))
        text = compare_text(found, a, b, resampler, memo, store.declared(), metric)
    shown = compared(found, a, b)
    typer.echo("\n\n".join([*unread(shown), *left_out(shown), text]))
