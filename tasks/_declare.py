"""Tasks whose data are not in the package: declared here, read from the cache after import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from dnabench.registry import TASKS
from dnabench.tasks.io.imported import cached, open_split
from dnabench.types import Kind, Split, SplitName, Task


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the files of a task are published, for `dnabench data fetch`.

    repo: data set of the Hugging Face hub; revision: its 40 hex digits, "" = none is known.
    files: split -> paths in that repository. urls: mirrors of one file or archive that holds the
    whole task or suite. sha256: path or URL -> hex. by_hand: instructions where the
    files cannot be fetched by a program.
    """

    repo: str = ""
    revision: str = ""
    files: Mapping[SplitName, tuple[str, ...]] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    by_hand: str = ""


ORIGINS: dict[str, Origin] = {}  # task -> where its files are
LENGTHS: dict[str, int] = {}  # task -> bp of the longest published sequence
Counts = Mapping[SplitName, int]
SOURCES: dict[str, Mapping[str, Counts]] = {}  # task -> source -> counts, where sources disagree


def declare(
    name: str, *, kind: Kind, classes: tuple[str, ...], metric: str, length: int,
    official: Mapping[SplitName, int], source: str, license: str, origin: Origin,
    family: str = "", groups: Mapping[str, slice] | None = None, aliases: tuple[str, ...] = (),
    opposite: tuple[int, ...] = (), symmetric: bool = False, reported: str = "",
    sources: Mapping[str, Counts] | None = None,
) -> Task:  # fmt: skip
    """Register a task. Counts, length and hash come from the imported data, if there are any.

    Args:
        name: suite/task.
        kind: of the task; the other arguments as in `Task`.
        classes: names of the K outputs, in the order of the labels.
        metric: primary.
        length: bp, the longest sequence of the official files.
        official: number of examples of each official split.
        source: authors and paper.
        license: of the data.
        origin: where the files are published.
        family: tasks of a family are not independent evidence.
        groups: of outputs that are also scored separately.
        opposite: for a per-base task, the class that each class is on the other strand.
        symmetric: whether a sequence and its reverse complement have the same label.
        reported: metric of the authors' own tables, where it is not `metric`.
        aliases: other names of the same task, suite/task.
        sources: who publishes which counts, where sources disagree; `official` is one of them.
    """
    ORIGINS[name], LENGTHS[name], SOURCES[name] = origin, length, sources or {}
    here = cached(name)
    return TASKS.add(
        Task(
            name=name, kind=kind, classes=classes, metric=metric, source=source, license=license,
            length=here.length if here else length, counts=here.counts if here else official,
            official=official, data=here.data if here else "", family=family, groups=groups or {},
            aliases=aliases, opposite=opposite, symmetric=symmetric, reported=reported,
            load=partial(open_split, name, data=here.data) if here else partial(_absent, name),
        )
    )  # fmt: skip


def _absent(name: str, split: SplitName) -> Split:
    raise FileNotFoundError(
        f"the data of {name} are not here; run `dnabench data fetch {name}`, or "
        f"`dnabench data import FOLDER` with files you have"
    )
