"""Which declared task a folder or file is, from its name and those around it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnabench.types import Task

# other names of the folder of a suite; letters and digits only
SUITE_WORDS = {
    "nt": (
        "nucleotidetransformer", "nucleotidetransformerdownstreamtasks", "ntdownstreamtasks",
        "ntbenchmark",
    ),
    "nt_revised": ("nucleotidetransformerdownstreamtasksrevised", "ntdownstreamtasksrevised"),
    "nt_reduced": ("nthistonereduced",),
    "gue": ("dnabert2gue",),
    "genomic_benchmarks": ("genomicbenchmark", "gb"),
}  # fmt: skip
_SAYS_NOTHING = re.compile(r"data|datasets|default|snapshots|raw|main|[0-9a-f]{40}", re.IGNORECASE)
_VERSION = re.compile(r"_v\d+$")  # of the archives of Genomic Benchmarks on Zenodo


def plain(text: str) -> str:
    """Lower-case letters and digits only; names that agree in these are the same."""
    return re.sub(r"[\W_]+", "", text.lower())


class Names:
    """Looks up tasks by the end of a path.

    Args:
        tasks: the tasks to look up.
        root: the path that the user gave. A suite named in it or below it decides; folders above
            it only where several suites have a task of that name.
    """

    def __init__(self, tasks: Iterable[Task], root: Path) -> None:
        self._above = len(_telling(root.absolute().parent.parts))
        self._suites: dict[str, str] = {}
        self._tasks: dict[str, set[str]] = defaultdict(set)
        for task in tasks:
            words = {plain(task.suite), *SUITE_WORDS.get(task.suite, ())}
            self._suites.update(dict.fromkeys(words, task.suite))
            for name in (task.name, *task.aliases):
                suite, _, own = name.rpartition("/")
                for word in {"", plain(suite), *words}:
                    self._tasks[word + plain(own)].add(task.name)

    def match(self, path: Path, *more: str) -> list[str]:
        """The tasks that this folder, or a name inside it, may be; more than one = ambiguous.

        The last one to three parts of the path together form a name: EMP/H3, mouse/0.
        """
        parts = [*_telling(path.absolute().parts), *(_VERSION.sub("", p) for p in more)]
        inside, above = parts[self._above :], parts[: self._above][-3:]
        for n in (3, 2, 1):
            found = self._tasks.get(plain("".join(parts[-n:])), set())
            if suite := self.suite(*inside):
                found = {name for name in found if name.startswith(f"{suite}/")}
            elif len(found) > 1 and (suite := self.suite(*above)):
                found = {name for name in found if name.startswith(f"{suite}/")} or found
            if found:
                return sorted(found)
        return []

    def suite(self, *parts: str) -> str:
        """The suite named by the last of these folders that names one; "" when none does."""
        named = (self._suites.get(plain(part), "") for part in reversed(parts))
        return next(filter(None, named), "")


def _telling(parts: Sequence[str]) -> list[str]:
    """Without uninformative parts, versions (cohn_v0) and the hub's datasets--owner--."""
    named = [p.rpartition("--")[2] for p in parts if not _SAYS_NOTHING.fullmatch(p)]
    return [_VERSION.sub("", p) for p in named]
