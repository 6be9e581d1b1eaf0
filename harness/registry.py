"""Registries of models and tasks: no duplicates, and suggestions for unknown names."""

import difflib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from dnabench.types import Model, Task

Entry = TypeVar("Entry", Model, Task)


class Registry(Generic[Entry]):
    """Entries by name, filled by importing a package's modules and its plugins.

    Args:
        noun: what the entries are, for messages ("model").
        package: the package whose modules call `add` when imported, and the entry-point group of
            plugins. Modules that begin with "_" and sub-packages are not imported.
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun, self.package = noun, package
        self.broken: dict[str, str] = {}  # module or plugin -> why it did not load
        self._entries: dict[str, Entry] = {}
        self._aliases: dict[str, str] = {}
        self._brought: dict[str, Entry] = {}  # by the user, for this process
        self._loaded = False

    def add(self, entry: Entry) -> Entry:
        """Add under its name and aliases; ValueError when one is taken."""
        names = [entry.name, *getattr(entry, "aliases", ())]
        for name in names:
            if name in self._entries or name in self._aliases:
                raise ValueError(f"{self.noun} {name!r} is already registered")
        self._entries[entry.name] = entry
        self._aliases.update(dict.fromkeys(names[1:], entry.name))
        return entry

    def bring(self, entry: Entry) -> Entry:
        """Make an entry known in this process by its name and aliases; no list shows it.

        It takes the place of one that was brought before.
        """
        names = [entry.name, *getattr(entry, "aliases", ())]
        self._brought.update(dict.fromkeys(names, entry))
        return entry

    def __getitem__(self, name: str) -> Entry:
        if name in self._brought:
            return self._brought[name]
        self._load()
        name = self._aliases.get(name, name)
        if name not in self._entries:
            broken = [f"; {what} did not load: {why}" for what, why in self.broken.items()]
            known = [*self._entries, *self._aliases]
            raise KeyError(explain_miss(self.noun, name, known) + "".join(broken))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._entries or name in self._aliases or name in self._brought

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True  # first, so that a module may look something up while it loads
        for module in pkgutil.iter_modules(import_module(self.package).__path__):
            if not (module.ispkg or module.name.startswith("_")):
                self._try(module.name, partial(import_module, f"{self.package}.{module.name}"))
        for plugin in entry_points(group=self.package):
            self._try(f"plugin {plugin.name}", partial(_load_plugin, plugin))

    def _try(self, name: str, load: Callable[[], object]) -> None:
        """Record a file or plugin that does not load, which `list` prints; the others load."""
        try:
            load()
        except Exception as e:
            self.broken[name] = f"{type(e).__name__}: {e}"


def _load_plugin(plugin: EntryPoint) -> None:
    loaded = plugin.load()
    if callable(loaded):
        loaded()


def explain_miss(noun: str, name: str, known: list[str], where: str = "") -> str:
    """The message for an unknown name: similar names, and where all are listed."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"no {noun} named {name!r}; {hint}{where or f'`dnabench list {noun}s` prints all'}"


MODELS: Registry[Model] = Registry("model", "dnabench.models")
TASKS: Registry[Task] = Registry("task", "dnabench.tasks")
