"""A model of transformers: its files, from the hub at a pinned revision or in a folder.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.cache import file_sha256
from dnabench.tensors import checkpoint_files
from dnabench.tokens.vocabulary import FILES

PREFIX = "hf:"
REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^@]+))?")
WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)  # fmt: skip
_MODULE = re.compile(r"^\s*from\s+\.(\w+)\s+import|^\s*import\s+\.(\w+)", re.M)


class Source(NamedTuple):
    """Where a model's files are.

    name: ORG/NAME, or ./FOLDER for a folder of the user's.
    revision: 40 hex, the commit; of a folder the hash of all files.
    code: the files of remote code that are run, none unless they are trusted.
    """

    name: str
    folder: Path
    revision: str
    config: Mapping[str, Any]
    code: tuple[str, ...]

    @property
    def reference(self) -> str:
        """How `-m` names exactly these files, from any folder."""
        mine = self.name.startswith("./")
        return PREFIX + (str(self.folder) if mine else f"{self.name}@{self.revision}")

    def hash_of(self, names: Iterable[str], more: str = "") -> str:
        """16 hex digits over those of the files that exist, and over what is told of them."""
        digest = hashlib.sha256()
        for name in sorted(names):
            if (self.folder / name).is_file():
                digest.update(f"{name} {file_sha256(self.folder / name)}\n".encode())
        digest.update(more.encode())
        return digest.hexdigest()[:16]

    def weights(self) -> Path:
        """The file of the weights, or their index with all shards beside it, downloaded if need be.

        Raises:
            ValueError: there are none, or they cannot be had.
        """
        get = _getter(self.name, self.revision, self.folder)
        for name in WEIGHTS:
            if path := get(name):
                for shard in _shards(path):
                    get(shard)
                checkpoint_files(path)  # all shards are there
                return path
        raise ValueError(f"{PREFIX}{self.name}: has no weights: none of {', '.join(WEIGHTS)}")


def find_source(text: str, trust: bool = False) -> Source:
    """The files that describe a model: configuration and tokenizer, and code where it is trusted.

    Args:
        text: `hf:ORG/NAME`, `hf:ORG/NAME@REVISION` (a branch, a tag or 40 hex) or `hf:./folder`.
        trust: whether remote code may be run.

    Raises:
        ValueError: nothing there, or it cannot be reached; the message says what to do.
    """
    named = text.removeprefix(PREFIX)
    folder = Path(named).expanduser()
    found = REPOSITORY.fullmatch(named)
    local = named.startswith((".", "/", "~")) or (found is None and folder.is_dir())
    if not local and found is None:
        raise ValueError(f"-m {text}: write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:./folder")
    name, revision = f"./{folder.resolve().name}", ""
    if found and not local:
        name, revision = found["repo"], found["revision"] or "main"
    get = _getter(name, revision, folder.resolve())
    path = get("config.json")
    if path is None:
        raise ValueError(f"-m {text}: has no config.json, so it is no model of transformers")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"-m {text}: {path}: not JSON: {e}") from None
    revision = "" if local else path.parent.name  # the commit that the name stood for
    get = _getter(name, revision, path.parent)
    for file in FILES:
        get(file)
    code = _code(get, config) if trust else ()
    source = Source(name, path.parent, revision, config, code)
    if local:
        every = [p.name for p in path.parent.iterdir() if p.is_file()]
        digest = f"{source.hash_of(every)}{len(every)}".encode()
        source = source._replace(revision=hashlib.sha256(digest).hexdigest()[:40])
    return source


Get = Callable[[str], Path | None]  # from a file's name to the file; None = there is none


def _getter(name: str, revision: str, folder: Path) -> Get:
    if name.startswith("./"):
        return lambda file: (folder / file) if (folder / file).is_file() else None
    return lambda file: _download(name, file, revision)


def _download(repo: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except LocalEntryNotFoundError as e:
        if constants.HF_HUB_OFFLINE and file != "config.json" and file not in WEIGHTS[:1]:
            return None
        why: Exception = e
    except EntryNotFoundError:
        return None
    except Exception as e:  # what its HTTP library raises differs by version
        why = e
    reason = (str(why).strip() or type(why).__name__).splitlines()[0].rstrip(".")
    offline = "HF_HUB_OFFLINE is set; " if constants.HF_HUB_OFFLINE else ""
    raise ValueError(
        f"{PREFIX}{repo}: cannot get {file} at {revision}: {offline}{reason}. Download the files "
        f"of https://huggingface.co/{repo}/tree/{revision} into a folder and write hf:./FOLDER"
    ) from why


def _shards(path: Path) -> list[str]:
    if not path.name.endswith(".index.json"):
        return []
    index = json.loads(path.read_text(encoding="utf-8"))
    return sorted(set(index.get("weight_map", {}).values()))


def _code(get: Get, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of remote code that a configuration names, and those that they import."""
    named = config.get("auto_map", {}).values()
    todo = [f"{str(v).rpartition('--')[2].partition('.')[0]}.py" for v in named]
    found: list[str] = []
    while todo:
        file = todo.pop()
        if file not in found and (path := get(file)):
            found.append(file)
            inner = _MODULE.findall(path.read_text(encoding="utf-8"))
            todo += [f"{a or b}.py" for a, b in inner]
    return tuple(sorted(found))
