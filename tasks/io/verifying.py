"""`dnabench data verify`: whether imported data are undamaged and as published.

N examples, K outputs, L bp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dnabench.tasks._declare import LENGTHS, ORIGINS, SOURCES
from dnabench.tasks.io import splice_sites
from dnabench.tasks.io.contents import CONTENT, content_hash
from dnabench.tasks.io.imported import SPLITS, Cached, cached, check, open_split
from dnabench.types import IGNORED, Array, N, Split, SplitName, Task

_ROWS = 8192  # at a time, when letters and labels are checked
_COMMON = 0.99  # share of sequences of one length from which other lengths are suspicious


def verify(task: Task, length: int | None = None) -> list[str]:
    """Compare the data of a task with the published ones, and the files with the manifest.

    Counts of each split, labels, lengths, letters, ids, SHA-256 of the stored arrays and, where
    declared, of the imported files.

    Args:
        task: imported, or built in (demo).
        length: bp of the longest published sequence; None = as declared, 0 = not known.

    Returns:
        The differences as text; empty when there are none.
    """
    here = cached(task.name)
    if here is None:
        if task.data and task.name not in ORIGINS:
            counts = dict(task.counts)
            return differences(task, counts, {s: task.load(s) for s in counts}, task.length)
        return [f"{why}; run `dnabench data fetch {task.name}`" for why in check(task.name)]
    if damaged := check(task.name):
        return damaged  # damaged arrays are not compared any further
    splits = {split: open_split(task.name, split, here.data) for split in here.counts}
    longest = LENGTHS.get(task.name, 0) if length is None else length
    found = differences(task, here.counts, splits, longest)
    return found + _published_files(task.name, here) + content_differences(task, splits)


def as_published(task: Task) -> str:
    """How far a task without differences is known to be as published, in words."""
    if known := CONTENT.get(task.name):
        whole = set(known) >= set(task.counts)
        return (
            "content as published"
            if whole
            else (f"content of {' and '.join(known)} as published, counts of the others")
        )
    origin, here = ORIGINS.get(task.name), cached(task.name)
    if origin is None or here is None:
        return "as published"
    hashes, imported = set(origin.sha256.values()), set(here.notes.get("files", {}).values())
    if imported and imported <= hashes:
        return "files as published"
    return "counts as published, content unknown"


def content_differences(task: Task, splits: Mapping[SplitName, Split]) -> list[str]:
    """Splits of the published size whose sequences and labels are not the published ones."""
    same = {s for s, part in splits.items() if len(part.y) == task.official.get(s)}
    known = {s: content for s, content in CONTENT.get(task.name, {}).items() if s in same}
    return [
        f"{split}: sequences or labels differ from the published ones (content {found}, published "
        f"{known[split]})"
        for split, part in splits.items()
        if split in known and (found := content_hash(part)) != known[split]
    ]


def differences(
    task: Task, counts: Mapping[SplitName, int], splits: Mapping[SplitName, Split], length: int = 0
) -> list[str]:
    """Differences from the task's declaration, as text.

    Args:
        task: its `official` counts are compared, if there are any.
        counts: examples of each split.
        splits: the data.
        length: bp of the longest published sequence; 0 = unknown.
    """
    out = [] if source_of_counts(task, counts) else [*_counts(counts, task.official)]
    longest = 0
    for split, part in splits.items():
        out += [f"{split}: {text}" for text in _of_split(task, part)]
        longest = max(longest, int(part.seqs.lengths.max(initial=0)))
    if length and longest != length:
        out.append(f"the longest sequence has {longest:,} bp, the longest published {length:,}")
    if splice_sites.has_sites(task.classes):
        out += splice_sites.problems(splice_sites.counted(splits.values()), task.classes)
    return out


def source_of_counts(task: Task, counts: Mapping[SplitName, int]) -> str:
    """Which source publishes these counts, where sources disagree; "" where none does."""
    published = SOURCES.get(task.name, {})
    return next((source for source, of in published.items() if dict(of) == dict(counts)), "")


def counts_in_words(task: Task, counts: Mapping[SplitName, int]) -> str:
    """Which source these counts follow and what the others say; "" where sources agree."""
    follows = source_of_counts(task, counts)
    others = [
        f"{source}: {'/'.join(f'{n:,}' for n in of.values())}"
        for source, of in SOURCES.get(task.name, {}).items()
        if source != follows
    ]
    if not others:
        return ""
    return (f"counts of {follows}; " if follows else "sources disagree; ") + "; ".join(others)


def _counts(counts: Mapping[SplitName, int], official: Mapping[SplitName, int]) -> Iterator[str]:
    for split in SPLITS if official else ():
        here, published = counts.get(split, 0), official.get(split, 0)
        if published and not here:
            yield f"there is no {split} split; {published:,} examples were published"
        elif here and not published:
            yield f"there is a {split} split of {here:,} examples, but none was published"
        elif here != published:
            yield f"{split} has {here:,} examples, {published:,} were published"


def _are(n: int, noun: str) -> str:
    return f"1 {noun} is" if n == 1 else f"{n:,} {noun}s are"


def _of_split(task: Task, part: Split) -> Iterator[str]:
    offsets = part.seqs.offsets
    wrong = empty = 0
    for first in range(0, len(part.ids), _ROWS):
        bounds = offsets[first : first + _ROWS + 1]
        codes = part.seqs.codes[bounds[0] : bounds[-1]]
        wrong += int((codes > N).sum())
        known = np.concatenate([[0], np.cumsum(codes < N)])
        ends = bounds - bounds[0]
        empty += int((known[ends[1:]] == known[ends[:-1]]).sum())
    if wrong:
        yield "1 code is not a base" if wrong == 1 else f"{wrong:,} codes are not bases"
    if empty:
        yield f"{_are(empty, 'sequence')} all N"
    yield from _lengths(part.seqs.lengths)
    if (distinct := len(np.unique(part.ids))) < len(part.ids):
        yield f"{_are(len(part.ids) - distinct, 'id')} repeated"
    if task.kind in ("binary", "multiclass"):
        yield from _classes(task, part.y)
    else:
        yield from _many(task, part)


def _lengths(lengths: Array) -> Iterator[str]:
    """A truncated file ends with a short sequence, though some published files do too."""
    values, n = np.unique(lengths, return_counts=True)
    usual = values[n.argmax()]
    if lengths[-1] < usual and n.max() >= _COMMON * len(lengths):
        yield f"the last sequence has {lengths[-1]:,} bp, most have {usual:,}: is it truncated?"


def _classes(task: Task, y: Array) -> Iterator[str]:
    values, n = np.unique(y, return_counts=True)
    here = dict(zip(values.tolist(), n.tolist(), strict=True))
    for code in here.keys() - set(range(task.n_outputs)):
        have = "example has" if here[code] == 1 else "examples have"
        yield f"{here[code]:,} {have} label {code}; labels are 0 to {task.n_outputs - 1}"
    for code, name in enumerate(task.classes):
        if code not in here:
            yield f"class {name!r} has no example"


def _many(task: Task, part: Split) -> Iterator[str]:
    """Labels with a row per example: (N, K), or (N, L) per base."""
    columns = part.seqs.lengths.max() if task.kind == "per_base" else task.n_outputs
    if part.y.shape != (len(part.ids), columns):
        yield f"the labels are {part.y.shape}, not {(len(part.ids), int(columns))}"
        return
    bad = beyond = 0
    for first in range(0, len(part.y), _ROWS):
        rows = slice(first, first + _ROWS)
        y = part.y[rows]
        if task.kind == "multilabel":
            bad += int(((y != 0) & (y != 1)).sum())
        elif task.kind == "regression":
            bad += int((~np.isfinite(y)).sum())
        else:
            bad += int(((y != IGNORED) & ((y < 0) | (y >= task.n_outputs))).sum())
            outside = np.arange(y.shape[1]) >= part.seqs.lengths[rows, None]
            beyond += int((y[outside] != IGNORED).sum())
    what = {"multilabel": "neither 0 nor 1", "regression": "not finite"}
    if bad:
        yield f"{_are(bad, 'label')} {what.get(task.kind, f'not 0 to {task.n_outputs - 1}')}"
    if beyond:
        yield f"{_are(beyond, 'label')} beyond the end of a sequence"


def _published_files(name: str, here: Cached) -> list[str]:
    """Imported files whose SHA-256 is not that of the published file of the same name."""
    origin, files = ORIGINS.get(name), here.notes.get("files", {})
    published = dict(origin.sha256) if origin else {}
    out = []
    for path, expected in published.items():
        own = path.rpartition("/")[2]
        found = [sha for file, sha in files.items() if file.rpartition("/")[2] == own]
        if found and expected not in found:
            out.append(f"{own}: sha256 {found[0][:16]}, the published file has {expected[:16]}")
    return out
