"""The code of a user's file: loaded as a script's would be, and known by a hash.

The hash is over the file and all that it imports from its own folder.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

HEX = 16  # digits of a hash


def code_files(path: Path) -> list[Path]:
    """The file and what it imports from its own folder, directly or not; of a package, all of it.

    Raises:
        ValueError: for a file that is not Python; path and line.
    """
    folder, found, todo = path.parent, list[Path](), [path]
    while todo:
        file = todo.pop()
        if file not in found:
            found.append(file)
            todo += [inner for name in _imports(file) for inner in _beside(folder, name)]
    return [path, *sorted(set(found) - {path})]


def code_hash(path: Path) -> str:
    """16 hex digits; what the file itself is called does not count."""
    digest = hashlib.sha256()
    for file in code_files(path):
        name = "" if file == path else str(file.relative_to(path.parent))
        data = file.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:HEX]


def load_code(path: Path) -> ModuleType:
    """Run the file as a module of its own; it may import what lies beside it.

    Raises:
        ValueError: whatever it raises, with the path; a file beside it that cannot be imported
            because another module of that name was found first.
    """
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no installed package is hidden
    beside = code_files(path)[1:]
    for place in {str(file.parent) for file in beside}:
        loaders = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES)
        sys.path_importer_cache[place] = FileFinder(place, *loaders)
    names = {".".join(_parts(f.relative_to(path.parent))): f for f in beside}
    for name, file in names.items():  # it may have changed since it was imported
        module = sys.modules.get(name)
        if module is not None and _origin(module) == file:
            del sys.modules[name]
    importlib.invalidate_caches()
    module = ModuleType(f"dnabench_file_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as e:
        raise ValueError(f"{path} does not load: {type(e).__name__}: {e}") from e
    for name, file in names.items():
        other = sys.modules.get(name)
        if other is not None and _origin(other) != file:
            raise ValueError(
                f"{path} imports {name}, which is not {file} but {_origin(other)}: rename the file "
                "beside it"
            )
    return module


class _FromSource(SourceFileLoader):
    """Reads no bytecode: that of a file as long, and changed within a second, is taken for it."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is now."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _origin(module: ModuleType) -> Path | None:
    return Path(module.__file__).resolve() if module.__file__ else None


def _parts(relative: Path) -> tuple[str, ...]:
    parts = relative.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imports(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as e:
        raise ValueError(f"{file}: not Python: {e}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


def _beside(folder: Path, name: str) -> list[Path]:
    """The files of the folder that importing this name reads."""
    top = name.partition(".")[0]
    if (module := folder / f"{top}.py").is_file():
        return [module]
    return sorted((folder / top).rglob("*.py"))
