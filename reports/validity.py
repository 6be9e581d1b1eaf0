"""What the stored predictions say of a score: that it does not follow, or means nothing."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dnabench.host.processes import each
from dnabench.metrics import METRICS, score
from dnabench.registry import TASKS
from dnabench.reports.calibration import FLIPS, KINDS, calibration
from dnabench.reports.cells import INVALID
from dnabench.reports.grid import count, listed
from dnabench.reports.grouping import grouped
from dnabench.reports.homology import by_homology, on_part_of_train
from dnabench.reports.memo import Memo, stamp
from dnabench.results.store import Store
from dnabench.tasks.audit.audit import Audit, kept
from dnabench.types import Record

ONE_CLASS = "one_class"  # flag of a record whose test labels are all of one class
UNREAD = "unread"  # flag of a record whose predictions are there and could not be read now: why
OF_CLASSES = ("mcc",)  # metrics that need two
Examined = tuple[str, bool, dict[str, float], str]
NOTHING: Examined = ("", False, {}, "")
CLOSE = 1e-6  # scores are stored in full, so any larger difference is a change


def checked(
    records: Iterable[Record], store: Store, memo: Memo, also: Collection[str] = ()
) -> list[Record]:
    """The same records, beside their stored predictions.

    The task's own metric is checked, and those named by `also`, which are shown beside it or in
    its place. An invalid record carries the reason as the flag INVALID. One whose test labels are
    all of one class has the flag ONE_CLASS, and no score in the metrics that are undefined then, as
    MCC, which would be 0 whatever a model does. `calibration` of classes, scores `by_homology` and
    the share of answers that the other strand changes are added to the scores on test. A record
    without predictions stays as it is; one whose predictions cannot be read now, as for lack of
    memory, has the reason as the flag UNREAD, and is examined again the next time.
    """
    records = list(records)
    found: dict[str, Examined] = {}
    states = {(r.trial.task, r.trial.data) for r in records}
    audits = {at: audit for at in states if (audit := kept(*at))}

    def examined(own: Sequence[Record]) -> Sequence[Examined]:
        key: list[Any] = [
            [r.trial.id, stamp(store.predictions_path(r.trial.id)), _said(r, also)] for r in own
        ]
        audited = sorted({at for r in own if (at := (r.trial.task, r.trial.data)) in audits})
        key += [[*at, audits[at].leaked] for at in audited]
        reasons: Sequence[Examined] = memo.get(
            "beside", key, partial(_found, own, store, audits, also), _all_read
        )
        return reasons

    ended = [r for r in records if not r.error]
    groups = list(grouped(ended, lambda r: (r.trial.task, r.trial.model)).values())
    for own, reasons in zip(groups, each(examined, groups), strict=True):
        found |= {r.trial.id: x for r, x in zip(own, reasons, strict=True)}
    return [_marked(r, *found.get(r.trial.id, NOTHING)) for r in records]


def left_out(records: Iterable[Record]) -> tuple[str, ...]:
    """A sentence that names the invalid runs, and says why the first is."""
    found = list({r.trial.id: r for r in records if INVALID in r.flags}.values())
    if not found:
        return ()
    names = listed(f"{r.trial.model} on {r.trial.task}, seed {r.trial.seed}" for r in found)
    return (
        f"{count(len(found), 'run')} left out as invalid ({names}): {found[0].flags[INVALID]}. "
        "`dnabench store check` names every such record.",
    )


def unread(records: Iterable[Record]) -> tuple[str, ...]:
    """A sentence that names the runs whose predictions could not be read now, and why."""
    found = grouped((r for r in records if UNREAD in r.flags), lambda r: r.trial.model)
    if not found:
        return ()
    names, every = listed(found), [r for several in found.values() for r in several]
    return (
        f"Stored predictions of {count(len(every), 'run')} not read ({names}): their scores are "
        f"those of the records, not checked. {every[0].flags[UNREAD]}. The next report tries "
        "again.",
    )


def _all_read(found: Sequence[Examined]) -> bool:
    return not any(unread for *_, unread in found)


def _marked(
    record: Record, why: str, one_class: bool, calibrated: Mapping[str, float], unread: str
) -> Record:
    flags, scores = dict(record.flags), dict(record.scores)
    if isinstance(flips := flags.get(FLIPS), float):
        calibrated = {**calibrated, FLIPS: flips}
    if not (why or one_class or calibrated or unread):
        return record
    if unread:
        flags[UNREAD] = unread
    if why:
        flags[INVALID] = why
    if one_class:
        flags[ONE_CLASS] = True
        test = scores.get("test", {})
        scores["test"] = {name: x for name, x in test.items() if name not in OF_CLASSES}
    scores["test"] = {**calibrated, **scores.get("test", {})}
    return replace(record, flags=flags, scores=scores)


def _said(record: Record, also: Collection[str]) -> dict[str, float]:
    """The scores on test that are checked, by metric: the task's own first, of groups all."""
    test, names = record.scores.get("test", {}), [str(record.task.get("metric")), *also]
    names = [name for name in names if name in METRICS]
    if _groups(record):
        names += [name for name in test if ":" in name and name.partition(":")[0] in METRICS]
    return {name: test[name] for name in dict.fromkeys(names) if test.get(name) is not None}


def _groups(record: Record) -> dict[str, slice]:
    """The groups of outputs that were scored apart; of older records as the task has them."""
    if not any(":" in name for name in record.scores.get("test", {})):
        return {}
    name, found = record.trial.task, record.task.get("groups")
    if found is None:
        return dict(TASKS[name].groups) if name in TASKS else {}
    return {group: slice(*ends) for group, ends in found.items()}


def _found(
    records: Sequence[Record], store: Store, audits: Mapping[tuple[str, str], Audit],
    also: Collection[str],
) -> list[Examined]:  # fmt: skip
    return [_examined(r, store, audits.get((r.trial.task, r.trial.data)), also) for r in records]


def reason(record: Record, store: Store) -> str:
    """Why a score on test, of any metric, does not follow from the predictions; "" = all do."""
    return _examined(record, store, also=METRICS)[0]


def _examined(
    record: Record, store: Store, audit: Audit | None = None, also: Collection[str] = ()
) -> Examined:
    """Why a score is invalid, whether the test has one class, scores beside it, why unread."""
    metric, said = str(record.task.get("metric")), _said(record, also)
    if metric not in said:
        return NOTHING
    path = store.predictions_path(record.trial.id)
    try:
        with store.open_predictions(record.trial.id) as file:
            y, logits = file["labels"], file["logits"]
            wanted = list(dict.fromkeys(name.partition(":")[0] for name in said))
            gives = score(y, logits, wanted, _groups(record))
            part = on_part_of_train(record.trial)
            near = by_homology(audit, metric, file) if audit and not part else {}
    except FileNotFoundError:
        return NOTHING
    except OSError as e:
        return "", False, {}, f"{e.filename}: {e.strerror}"
    except ValueError as e:
        return f"{e}".replace("; run the trial again", ""), False, {}, ""
    for name, told in said.items():
        given = gives.get(name, math.nan)
        if not abs(given - told) < CLOSE:
            why = f"its record says {name} {told:.6f}, {path} gives {given:.6f}"
            return f"{why}: one was changed", False, {}, ""
    calibrated = calibration(y, logits) if record.task.get("kind") in KINDS else {}
    one_class = metric in OF_CLASSES and len(np.unique(y)) == 1
    return "", one_class, calibrated | near, ""
