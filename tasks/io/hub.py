"""A checked file of a data set on the Hugging Face hub, with failures in plain words."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

from dnabench.cache import file_sha256
from dnabench.tasks.io.download import (
    Got,
    Observe,
    RefusedError,
    check_room,
    check_start,
)


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def get(repo: str, revision: str, path: str, sha256: str, part: Path, observe: Observe) -> Got:
    """Copy a file from the hub, or from the hub's cache, to `part`.

    Its sha256 must be the declared one and, for a large file, the one by which the hub names it.
    If not, the copy in the cache may be damaged, and is replaced once.

    Args:
        repo: of a data set.
        revision: 40 hex digits.
        path: of the file in it.
        sha256: in hex, "" = unknown.
        part: the file to write.
        observe: called with progress.

    Raises:
        RefusedError: the file cannot be had; says why.
    """
    for again in (False, True):
        source = _from_cache_or_hub(repo, revision, path, observe, again=again)
        with source.open("rb") as f:
            check_start(f.read(4096))
        found, want = file_sha256(source), sha256 or _named_by_hub(source)
        if want in ("", found):
            check_room(part.parent, source.stat().st_size)
            shutil.copyfile(source, part)
            return Got(f"{repo}@{revision}", found, source.stat().st_size)
        if offline():
            break
    raise RefusedError(f"wrong checksum: sha256 {found}, not {want}; the file is {source}")


def _named_by_hub(source: Path) -> str:
    blob = source.resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else ""


def _from_cache_or_hub(
    repo: str, revision: str, path: str, observe: Observe, *, again: bool
) -> Path:
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub import try_to_load_from_cache as from_cache

    here: dict[str, Any] = {"revision": revision, "repo_type": "dataset"}
    progress: dict[str, Any] = {}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        progress["tqdm_class"] = _bar(path, observe)
    try:
        cached = isinstance(from_cache(repo, path, **here), str)
        if not offline() and (again or not cached):
            check_room(Path(constants.HF_HUB_CACHE), _size(hf_hub_url(repo, path, **here)))
        return Path(hf_hub_download(repo, path, **here, force_download=again, **progress))
    except RefusedError:
        raise
    except Exception as e:  # what its HTTP library raises differs by version
        raise RefusedError(_why(e)) from e


def _size(url: str) -> int:
    """Size of a file on the hub in bytes, 0 = unknown."""
    from huggingface_hub import constants, errors, get_hf_file_metadata

    try:
        return get_hf_file_metadata(url).size or 0
    except errors.HfHubHTTPError:
        raise
    except Exception as e:
        raise RefusedError(f"{constants.ENDPOINT} cannot be reached: {_first_line(e)}") from e


def _first_line(e: BaseException) -> str:
    return next(iter(str(e).strip().splitlines()), type(e).__name__)


def _why(e: Exception) -> str:
    """The meaning of a failure of huggingface_hub."""
    from huggingface_hub import constants, errors

    if offline():
        return (
            f"HF_HUB_OFFLINE is set, and it is not in the cache {constants.HF_HUB_CACHE}; unset it "
            "to download"
        )
    first = _first_line(e)
    if isinstance(e, errors.LocalEntryNotFoundError):
        if isinstance(e.__cause__, errors.FileMetadataError):
            return (
                f"{constants.ENDPOINT} answers, but not as the hub does: an HTML page of a proxy "
                "or a login page?"
            )
        return f"{constants.ENDPOINT} cannot be reached: {e.__cause__ or first}"
    meanings: dict[type[Exception], str] = {
        errors.GatedRepoError: "the data set is gated: accept its terms on its page, set HF_TOKEN",
        errors.RepositoryNotFoundError: "the hub knows no such data set; if it is private, set "
        "HF_TOKEN",
        errors.RevisionNotFoundError: "the data set has no such revision",
        errors.EntryNotFoundError: "the data set has no such file",
    }
    for kind, meaning in meanings.items():
        if isinstance(e, kind):
            return f"{meaning} ({first})"
    short = "Consistency check failed" in first or "complete message body" in first
    return f"truncated: {first}" if short else first


def _bar(what: str, observe: Observe) -> Any:
    """A progress bar for huggingface_hub that shows nothing and calls `observe`."""
    from huggingface_hub.utils.tqdm import tqdm

    silent: Any = tqdm

    class Bar(silent):  # type: ignore[misc]
        def __init__(self, *args: Any, **words: Any) -> None:
            super().__init__(*args, **{**words, "disable": True})
            self.done, self.all = words.get("initial") or 0, words.get("total") or 0

        def update(self, n: float | None = 1) -> None:
            self.done += int(n or 0)
            observe(what, self.done, self.all)

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes received of a file in pieces; only bytes written count."""

        def set_transfer_postfix_str(self, *args: Any, **words: Any) -> None:
            """Ignored."""

    return Bar
