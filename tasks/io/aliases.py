"""Which sequence a name means, where files name the same ones in different ways."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from dnabench.tasks.io.genome import few


class Aliases:
    """Sequences by their own name, or by an alias that one of them alone has.

    Args:
        aliases: name -> other names of the sequence.
    """

    def __init__(self, aliases: Mapping[str, Collection[str]]) -> None:
        self._exact, self._others = aliases.keys(), dict[str, list[str]]()
        for name, others in aliases.items():
            for other in dict.fromkeys(others):
                self._others.setdefault(other, []).append(name)

    def find(self, name: str, path: Path) -> str:
        """The sequence that a file means; "" = none.

        Raises:
            ValueError: several have that alias.
        """
        found = [name] if name in self._exact else self._others.get(name, [])
        if len(found) > 1:
            raise ValueError(f"{path}: {name!r} may be any of {few(found)}; write one of these")
        return found[0] if found else ""
