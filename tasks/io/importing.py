"""`dnabench data import`: take the files that people have, whole trees of them, into the cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.cache import FULL, cache_folder, file_sha256
from dnabench.registry import TASKS
from dnabench.tasks._declare import LENGTHS, ORIGINS
from dnabench.tasks.io.imported import SPLITS, Cached, Writer, cached, open_split
from dnabench.tasks.io.layouts import CLASS_FOLDERS, OWN_FILES, Found, import_own, read
from dnabench.tasks.io.trees import Tree, tree, trees
from dnabench.tasks.io.verifying import as_published, content_differences, differences
from dnabench.types import SplitName

Observe = Callable[[str, int, int], None]


class Imported(NamedTuple):
    """What became of one task.

    task: suite/task; of an archive that could not be unpacked its name. layout: how the files were
    recognised. origin: path, or repository@revision. counts: examples of each split; {} when
    nothing was written. data: 16 hex, as in `Cached`. notes: of `Cached`. problems: differences
    from what is published, and files left out. error: why nothing was written; what the cache held
    before is still there.
    """

    task: str
    layout: str
    origin: str
    counts: dict[SplitName, int]
    data: str
    notes: dict[str, Any]
    problems: tuple[str, ...]
    error: str = ""


def recognise(root: Path) -> tuple[list[Found], list[Path]]:
    """What a tree holds, by names and columns alone. Archives are looked into by `import_tree`.

    Returns:
        What was found, by task; and the readable files that are nothing found, or could be several
        tasks.

    Raises:
        FileNotFoundError: there is nothing at `root`.
    """
    here = tree(Path(root))
    sure, _ = _doubts(here.found())
    used = {path for found in sure for paths in found.files.values() for path in paths}
    left = [path for place in here.places for path in place.files if path not in used]
    return sorted(sure, key=lambda found: found.task), left


def import_tree(
    root: Path, only: Sequence[str] = (), observe: Observe = lambda *_: None
) -> list[Imported]:
    """Import every task in a tree. A problem with one task never stops the others.

    Archives named after a task or a suite are searched, and `root` may be one. A task that is found
    twice is taken from the place with more of its splits, and a problem says so. Data that lack
    splits which the cache has are refused, unless the task is named in `only`.

    Args:
        root: folder, file, .zip or .tar.gz.
        only: import only these. With a single task, files not named after any task are taken as it.
        observe: called with (task, number done, number in all) before each and at the end.

    Returns:
        One result per task, by name; [] when nothing was recognised.

    Raises:
        FileNotFoundError: there is nothing at `root`.
        KeyError: a name in `only` is not a task.
        ValueError: `root` is an archive that cannot be unpacked.
    """
    wanted = {TASKS[name].name for name in only}
    with trees(Path(root)) as (here, failed):
        out = [
            Imported(path.name, "archive", str(path), {}, "", {}, (), f"{path}: {why}")
            for path, why in failed.items()
        ]
        jobs, doubts = _jobs(here, wanted)
        for done, task in enumerate(sorted(jobs)):
            observe(task, done, len(jobs))
            out.append(_import(jobs[task], task in wanted))
        if jobs:
            observe("", len(jobs), len(jobs))
    return sorted([*out, *doubts], key=lambda imported: imported.task)


def missing(imported: Sequence[Imported]) -> list[str]:
    """Declared tasks of the imported suites that are neither in the tree nor in the cache."""
    here = {i.task for i in imported if i.counts}
    suites = {TASKS[name].suite for name in here}
    absent = (name for name in TASKS if name in ORIGINS and TASKS[name].suite in suites)
    return [name for name in absent if name not in here and cached(name) is None]


def report(root: Path, imported: Sequence[Imported]) -> list[str]:
    """A report of what was recognised, by task, and what is missing: lines of text."""
    if not imported:
        return [
            f"{root}: nothing here was recognised as a declared task. Folders or files must be "
            "named after one (`dnabench data list` prints them), as in H3/H3_train.fasta, "
            "EMP/H3/train.csv, mouse/0/test.csv or <task>/train/<class>/*.txt; or name the one "
            "task that the files are"
        ]
    lines = []
    for i in imported:
        if i.error:
            lines.append(f"{i.task}: not imported: {i.error}")
            continue
        counts = "/".join(str(i.counts.get(split, "-")) for split in SPLITS)
        task = TASKS[i.task]
        official = "" if i.problems or not task.official else f", {as_published(task)}"
        lines.append(f"{i.task}: {counts} (train/dev/test){official}; {i.layout}, {i.origin}")
        lines += [f"  {text}" for text in (*letters(i.notes), *i.problems)]
    if absent := missing(imported):
        lines.append(f"not here, of the same suites: {', '.join(absent)}")
    return lines


def letters(notes: Mapping[str, Any]) -> list[str]:
    """Counts of rows with letters other than A, C, G and T, by split, as text."""
    out = []
    for split, of in notes.get("not_acgt", {}).items():
        if n := of["rows"]:
            rows = "1 row has" if n == 1 else f"{n:,} rows have"
            iupac = f"; {of['iupac']:,} IUPAC letters became N" if of["iupac"] else ""
            out.append(f"{split}: {rows} letters other than ACGT, {of['letters']:,} in all{iupac}")
    return out


def _jobs(
    here: Sequence[Tree], wanted: set[str]
) -> tuple[dict[str, list[tuple[Tree, Found]]], list[Imported]]:
    """The places to read each task from, and the files that are ambiguous."""
    pairs = [(one, found) for one in here for found in one.found()]
    if wanted:
        pairs = [(one, found) for one, found in pairs if found.task in wanted]
        if not pairs and len(wanted) == 1:
            (task,) = wanted
            pairs = [(one, found) for one in here for found in one.found(forced=task)]
    sure, unsure = _doubts([found for _, found in pairs])
    jobs: dict[str, list[tuple[Tree, Found]]] = defaultdict(list)
    for one, found in pairs:
        if found in sure:
            jobs[found.task].append((one, found))
    doubts = [_doubt(one, found, unsure) for one, found in pairs if found.task not in jobs]
    return jobs, list({doubt.task: doubt for doubt in doubts}.values())


def _doubts(all_found: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """Finds that are one task, and finds that could be several."""
    tasks = defaultdict(set)
    for found in all_found:
        tasks[str(found.files), found.pick].add(found.task)
    sure = [f for f in all_found if len(tasks[str(f.files), f.pick]) == 1]
    return sure, [f for f in all_found if f not in sure]


def _doubt(one: Tree, found: Found, unsure: Sequence[Found]) -> Imported:
    same = sorted({f.task for f in unsure if f.files == found.files})
    origin = one.origin(found)
    error = (
        f"{origin} may be {' or '.join(same)}; put it into a folder that is named after the suite, "
        "or name the one task that it is"
    )
    return Imported(found.task, found.layout, origin, {}, "", {}, (), error)


def _import(places: Sequence[tuple[Tree, Found]], replace: bool) -> Imported:
    """Import a task from the best of its places."""
    one, found = min(places, key=lambda place: (-len(place[1].files), place[0].origin(place[1])))
    others = [tree.origin(f) for tree, f in places if f is not found]
    task, origin, before = TASKS[found.task], one.origin(found), cached(found.task)
    blank = Imported(found.task, found.layout, origin, {}, "", {}, ())
    lost = [split for split in before.counts if split not in found.files] if before else []
    if before and lost and not replace:
        return blank._replace(
            error=f"{origin} has no {' and no '.join(lost)} split, the cache has, from "
            f"{before.origin}; it was left as it is. Name {found.task} to replace it all the same"
        )
    try:
        result = import_own(found) if found.layout == OWN_FILES else _write(one, found, origin)
        splits = {split: open_split(found.task, split, result.data) for split in result.counts}
    except Exception as e:  # of any reader: a damaged file costs its own task only
        if isinstance(e, OSError) and e.errno in FULL:
            return blank._replace(
                error=f"cannot write to {cache_folder()}: {e.strerror}; make room there, or name "
                "another folder with DNABENCH_CACHE, and import again"
            )
        known = isinstance(e, ValueError | OSError) and bool(str(e))
        place = "" if known else f"{origin}: the file is damaged: {type(e).__name__}: "
        return blank._replace(error=one.words(f"{place}{e}"))
    problems = differences(task, result.counts, splits, LENGTHS.get(task.name, 0))
    problems += content_differences(task, splits)
    if absent := [split for split in ("train", "test") if split not in result.counts]:
        problems.append(f"without {' and '.join(absent)} no model can be run on it")
    problems += [f"also found, and not read: {other}" for other in others]
    return blank._replace(
        counts=result.counts, data=result.data, notes=result.notes, problems=tuple(problems)
    )


def _write(one: Tree, found: Found, origin: str) -> Cached:
    with Writer(found.task, origin) as writer:
        for split, part in read(found):
            writer.add(split, part)
        writer.note("layout", found.layout)
        if found.layout != CLASS_FOLDERS:
            paths = sorted({path for paths in found.files.values() for path in paths})
            writer.note("files", {one.words(str(path)): file_sha256(path) for path in paths})
    if writer.result is None:
        raise ValueError(f"{origin}: nothing was written")
    return writer.result
