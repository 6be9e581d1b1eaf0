"""Arrays that one trial computes and others read: on disk, under the hash of what decides them.

<cache>/<kind>/<32 hex>    SHA-256 of the rest, then numpy's .npz; written whole or not at all

Processes do not wait for each other: those that need the same arrays at once all compute them, the
same bytes.
"""

import ast
import hashlib
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dnabench.cache import made_folder, remove_drafts, replacing
from dnabench.types import Array

LARGEST = 2**31  # bytes of the arrays of a file; larger ones are not kept
Arrays = Mapping[str, Array]
_START = time.time()  # code that is edited later is not the code that runs


def kept(
    kind: str,
    made_from: Sequence[str],
    make: Callable[[], Arrays],
    code: Sequence[str],
    worth: Callable[[], bool] = lambda: True,
    fits: Callable[[Arrays], bool] = lambda arrays: True,
) -> Arrays:
    """The arrays of `make`, computed once for all processes that share the cache folder.

    Args:
        kind: a folder of the cache.
        made_from: everything that decides the bytes of the arrays, except code, numpy and
            tokenizers.
        make: arrays by name, numbers or text; called when there are none, or damaged ones.
        code: modules of dnabench that compute the arrays; of a package, all its modules. What they
            import counts too, wherever the import stands.
        worth: whether the computed arrays may be kept; asked after `make`.
        fits: whether the arrays that were read may be used; if not, they are computed again.

    Returns:
        The arrays, the same bytes whether computed or read.

    Raises:
        What `make` raises. When the cache cannot be written, or the code was edited since this
        process began, the arrays are computed each time.
    """
    modules = tuple(sorted(set(code)))
    digest = hashlib.sha256(repr([*made_from, code_digest(modules)]).encode()).hexdigest()[:32]
    try:
        file = made_folder(kind) / digest
    except (OSError, RuntimeError):
        return make()
    if edited(modules):
        return make()
    found = _read(file)
    if found is None or not fits(found):
        found = make()
        small = sum(a.nbytes for a in found.values()) <= LARGEST
        if worth() and small and not edited(modules):
            _write(found, file)
    return found


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 of the source of these modules and of all that they import from dnabench."""
    digest = hashlib.sha256(f"{np.__version__} {version('tokenizers')}".encode())
    for name, path in sources(modules).items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def sources(modules: tuple[str, ...]) -> dict[str, Path]:
    """Module -> file, sorted, of these modules and of all that they import from dnabench.

    Raises:
        ValueError: for a module that is not dnabench's.
    """
    found: dict[str, Path] = {}
    todo = [inner for name in modules for inner in _modules(name)]
    while todo:
        name = todo.pop()
        path = _file(name)
        if path is not None and name not in found:
            found[name] = path
            todo += [*_imports(path), name.rpartition(".")[0]]
    return dict(sorted(found.items()))


def _for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _modules(name: str) -> list[str]:
    """The module and, of a package, all that are in it."""
    path = _file(name)
    if path is None:
        raise ValueError(f"{name} is no module of dnabench; its code cannot be followed")
    if path.name != "__init__.py":
        return [name]
    inside = pkgutil.walk_packages([str(path.parent)], f"{name}.")
    return [name, *(module.name for module in inside)]


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, those for types alone left out."""
    tree = ast.parse(path.read_bytes())
    tree.body = [node for node in tree.body if not _for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            package = _file(node.module)
            if package is not None and package.name == "__init__.py":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file(name: str) -> Path | None:
    """The file of a module of dnabench; None for any other name."""
    spec = find_spec(name) if name.partition(".")[0] == "dnabench" else None
    return Path(spec.origin) if spec is not None and spec.origin else None


def edited(modules: tuple[str, ...]) -> bool:
    """Whether a file of the code was changed since this process began."""
    return any(path.stat().st_ctime > _START for path in sources(modules).values())


def _read(file: Path) -> Arrays | None:
    """None when there is no file, or one that is not as it was written."""
    try:
        with file.open("rb") as stream:
            stated = stream.read(32)
            if hashlib.file_digest(stream, "sha256").digest() != stated:
                return None
            stream.seek(32)
            with np.load(stream, allow_pickle=False) as arrays:
                return dict(arrays)
    except OSError:
        return None


def _write(arrays: Arrays, file: Path) -> None:
    with suppress(OSError):  # a full disk, another user's folder: nothing is kept
        with replacing(file) as stream:
            stream.write(bytes(32))
            np.savez(stream, **arrays)  # type: ignore[arg-type]
            stream.seek(32)
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0)
            stream.write(digest)
        remove_drafts(file.parent)
