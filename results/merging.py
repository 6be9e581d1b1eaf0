"""Stores as a whole: what is wrong in one, two made one, all records as a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from dnabench.cache import json_files, replacing
from dnabench.results.checkpoints import checkpoints, damage
from dnabench.results.regimes import FOLDER as REGIMES
from dnabench.results.regimes import PRETRAININGS, add_regime, read_regime
from dnabench.results.searches import FOLDER as SEARCHES
from dnabench.results.searches import add_search, read_search
from dnabench.results.store import NETWORK, Store
from dnabench.types import Record

Say = Callable[[str], object]
Item = TypeVar("Item")
AT_ONCE = 4096  # records of an export that are objects at a time
A_RECORD = 10_000  # bytes of predictions that are checked in the time of a record without


class Fault(NamedTuple):
    """A file that is not what it should be, why, and what to do."""

    path: Path
    why: str
    way: str


def faults(
    store: Store, progress: Callable[[int], object] = lambda n: None,
    unsound: Callable[[Record], str] = lambda record: "",
) -> Iterator[Fault]:  # fmt: skip
    """Read every file of a store and give those that are wrong.

    Args:
        store: is not changed but for the index in .cache.
        unsound: why a record does not go with what is kept beside it, of which its predictions can
            be read; "" = it does.
        progress: called with the work that was done since the last call; all is `work_in`.

    Raises:
        ValueError: when the folder of records cannot be read.
    """
    again = "`dnabench run --again ID` runs its trial anew"
    known: dict[str, bool] = {}
    for record in store:
        trial_id = record.trial.id
        known[trial_id] = not record.error
        if not record.error:
            yield from _of_record(store, record, again, unsound)
        progress(_work(store, trial_id))
    for path, why in sorted(store.unreadable.items()):
        yield Fault(path, why, "move it away, or give access to it")
    yield from _gone(store, known)
    for path in sorted((store.folder / "predictions").glob("*.npz")):
        if not known.get(path.stem, store.record_path(path.stem).exists()):
            yield Fault(path, "predictions of no finished trial", "harmless; it may be removed")
    for folder in sorted((store.folder / "networks").glob("*")):
        if folder.is_dir() and not (folder / NETWORK[0]).is_file():
            yield Fault(folder, f"a network without {NETWORK[0]}", "remove it; `run --keep` anew")
    for trial_id, path in checkpoints(store.folder).items():
        if known.get(trial_id, False):
            why = "the checkpoint of a trial that has ended"
            yield Fault(path, why, "harmless; `dnabench store compact` removes it")
        elif why := _damage(path):
            yield Fault(path, why, "its trial starts anew; it may be removed")


def work_in(store: Store) -> int:
    """How much `faults` has to do, about as much a second."""
    return sum(_work(store, row.id) for row in store.rows())


def _work(store: Store, trial_id: str) -> int:
    """Bytes of the predictions of a record, and A_RECORD for all else."""
    with suppress(OSError):
        return A_RECORD + store.predictions_path(trial_id).stat().st_size
    return A_RECORD


def _gone(store: Store, known: Collection[str]) -> Iterator[Fault]:
    """Journals of trials that ended and have no record any more."""
    for path in sorted(store.folder.glob("journal-*.jsonl")):
        ended = set[str]()
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as e:
            yield Fault(path, e.strerror or str(e), "move it away, or give access to it")
            continue
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # as of a disk that was full
                entry = json.loads(line)
                ended |= {entry["trial"]} if entry["event"] == "ended" else set()
        # others may have ended since the records were read
        if lost := sorted(i for i in ended - {*known} if not store.record_path(i).exists()):
            several = "1 trial" if len(lost) == 1 else f"{len(lost):,} trials"
            why = f"{several} ended and left no record here, such as {lost[0]}"
            way = "the same `dnabench run` runs it anew; if removed on purpose, move this away"
            yield Fault(path, why, way)


def _damage(path: Path) -> str:
    try:
        return damage(path)
    except FileNotFoundError:  # its trial ended meanwhile
        return ""
    except OSError as e:
        return e.strerror or str(e)


def _of_record(
    store: Store, record: Record, way: str, unsound: Callable[[Record], str]
) -> Iterator[Fault]:
    path = store.predictions_path(record.trial.id)
    try:
        if not record.trial.tuning:
            store.predictions(record.trial.id)
        if why := unsound(record):
            yield Fault(store.record_path(record.trial.id), why, way)
    except FileNotFoundError:
        yield Fault(path, "the predictions of this trial are missing", way)
    except (OSError, ValueError) as e:
        yield Fault(path, str(e), way)


class Merged(NamedTuple):
    """What became of the trials of the sources: ids, by what was done."""

    copied: list[str]
    equal: list[tuple[str, Path]]  # with the source, as what follows
    conflicts: list[tuple[str, Path]]
    replaced: list[str]  # failed in the target, finished in a source
    running: list[str]  # of the target, by another process
    failed: list[tuple[str, Path]]  # failed in a source, finished in the target


def merge(sources: list[Store], target: Store, say: Say = lambda line: None) -> Merged:
    """Copy the trials of several stores into one.

    Nothing in the sources is changed but the index in .cache.

    A record goes after its predictions and its network, so a merge that was cut off goes on when it
    is started again. Where the target has the trial, its record stays, unless it failed and the
    source's did not; then it is renamed to `.replaced-<n>`. Of a trial with the same scores, what
    the target lacks of predictions and network is copied. Searches and columns of regimes come
    before all records, as they do when they are made; those that several folders have become one.
    So do the networks of regimes; where two of a name differ, the target's stays.

    Args:
        sources: in order of precedence.
        target: may hold trials, and may be new.
        say: called with a line for each file that could not be read, for each search that chose
            otherwise than in the target, and for each network of regimes that is not copied.

    Raises:
        ValueError: when the target cannot be written, or has a search or a column of regimes that
            cannot be read.
    """
    target.check_writable()
    out = Merged([], [], [], [], [], [])
    for source in sources:
        _merge_described(source, target, say)
    for source in sources:
        for record in source:
            with target.claim(record.trial.id) as claim:
                if claim is None:
                    out.running.append(record.trial.id)
                else:
                    _merge_one(source, target, record, out)
        for path, why in sorted(source.unreadable.items()):
            say(f"{path}: {why}; not copied")
        for path in sorted(source.folder.glob("journal-*.jsonl")):
            _copy_beside(path, target.folder / path.name)
    return out


def _merge_described(source: Store, target: Store, say: Say) -> None:
    """What was asked for, searches, columns of regimes and the networks of these."""
    for path in sorted(source.folder.glob("configs/*.json")):
        _copy_beside(path, target.folder / path.relative_to(source.folder))
    for path in json_files(source.folder / SEARCHES):
        with _explained(path, target.folder):
            search = _read_or_said(read_search, path, say)
            if search and not add_search(target, search, path.stat().st_mtime_ns):
                say(f"{path}: the same search chose otherwise in {target.folder}; both are kept")
    for path in json_files(source.folder / REGIMES):
        with _explained(path, target.folder):
            regime = _read_or_said(read_regime, path, say)
            if regime:
                add_regime(target, regime, path.stat().st_mtime_ns)
    for path in sorted((source.folder / PRETRAININGS).glob("[!.]*")):
        _merge_pretrained(path, target.folder / PRETRAININGS / path.name, say)


def _merge_pretrained(path: Path, to: Path, say: Say) -> None:
    """A network of `dnabench regimes`, a shuffled genome or byte pairs; names say what it is of."""
    if path.is_file():
        if not to.exists():
            _copy(path, to)
        return
    card, there = path / NETWORK[0], to / NETWORK[0]
    if not card.is_file():
        say(f"{path}: its pretraining has not ended, so it is not copied; `dnabench regimes` in "
            "that folder ends it")  # fmt: skip
    elif not there.is_file():
        files = [p for p in path.rglob("[!.]*") if p.is_file() and p != card]
        for file in [*sorted(files), card]:  # last, as it makes a network of the folder
            _copy(file, to / file.relative_to(path))
    elif _weights(card) != _weights(there):
        say(f"{path}: {to} is another pretraining of that name and stays as it is; to have this "
            "one too, copy it under another name")  # fmt: skip


def _weights(card: Path) -> Any:
    """The SHA-256 of the weights; the text where the file is no card."""
    text = card.read_text(encoding="utf-8")
    try:
        return json.loads(text)["weights"]
    except (ValueError, KeyError, TypeError):
        return text


def _read_or_said(read: Callable[[Path], Item], path: Path, say: Say) -> Item | None:
    try:
        return read(path)
    except ValueError as e:
        say(f"{e}; not copied")
        return None


def _merge_one(source: Store, target: Store, record: Record, out: Merged) -> None:
    trial_id = record.trial.id
    there = target.read(trial_id)
    if there is not None:
        if not (there.error and not record.error):
            if record.error and not there.error:
                out.failed.append((trial_id, source.folder))
            elif there.scores != record.scores:
                out.conflicts.append((trial_id, source.folder))
            else:
                out.equal.append((trial_id, source.folder))
                if not record.error:
                    _copy_results(source, target, trial_id, over=False)
            return
        target.set_aside(trial_id)
        out.replaced.append(trial_id)
    elif target.record_path(trial_id).exists():  # one that cannot be read
        out.conflicts.append((trial_id, source.folder))
        return
    else:
        out.copied.append(trial_id)
    _copy_results(source, target, trial_id, over=True)
    _copy(source.record_path(trial_id), target.record_path(trial_id))


def _copy_results(source: Store, target: Store, trial_id: str, over: bool) -> None:
    """Copy predictions and network of a trial, what the target has too only if `over` is set."""
    if over or not target.predictions_path(trial_id).exists():
        _copy(source.predictions_path(trial_id), target.predictions_path(trial_id))
    if over or not target.has_network(trial_id):
        for name in reversed(NETWORK):  # network.json last
            _copy(source.network_path(trial_id) / name, target.network_path(trial_id) / name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, if it exists, whole or not at all; its time of change goes with it."""
    if not source.is_file():
        return
    with _explained(source, target):
        with source.open("rb") as read, replacing(target, sync=True) as write:
            shutil.copyfileobj(read, write)
        shutil.copystat(source, target)


@contextmanager
def _explained(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise ValueError(
            f"cannot copy {source} to {target}: {e.strerror or e}; make room or give access, then "
            "run the same command again: it goes on where it stopped"
        ) from e


def _copy_beside(source: Path, target: Path) -> None:
    """Copy a file, under another name where a file of other content has its name."""
    n, wanted = 1, target
    while wanted.exists():
        if wanted.read_bytes() == source.read_bytes():
            return
        n += 1
        wanted = target.with_name(f"{target.stem}-{n}{target.suffix}")
    _copy(source, wanted)


def export(store: Store, out: IO[bytes]) -> int:
    """Write all readable records as Parquet, a row each; returns how many.

    Columns: what names the trial, the scores as `test.mcc` and so on, `error`, and the whole record
    as JSON in `record`. Options and recipe are JSON.
    """
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    records, tables = iter(store), list[pa.Table]()
    while some := [_row(record) for record in islice(records, AT_ONCE)]:
        tables.append(pa.Table.from_pandas(pd.DataFrame(some), preserve_index=False))
    table = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    pq.write_table(table, out, compression="zstd")
    return len(table)


def _row(record: Record) -> dict[str, Any]:
    trial, whole = record.trial, record.to_json()
    scores = {
        f"{split}.{metric}": value
        for split, values in record.scores.items() for metric, value in values.items()
    }  # fmt: skip
    return {
        "id": trial.id, "model": trial.model, "task": trial.task, "seed": trial.seed,
        "protocol": trial.protocol, "regime": trial.regime, "data": trial.data,
        "options": json.dumps(dict(trial.options), sort_keys=True, default=str),
        "recipe": json.dumps(json.loads(whole)["trial"]["recipe"], sort_keys=True),
        "error": record.reason if record.error else "", "seconds": record.seconds, **scores,
        "record": whole,
    }  # fmt: skip
