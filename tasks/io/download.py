"""One file over HTTP from the first mirror that serves it: resumable and checked.

Beside the part lies `<part>.json`: url, validator (ETag or Last-Modified), total bytes, sha256
expected. With these a later process can resume.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnabench.cache import file_sha256, read_json, replacing, room
from dnabench.tasks.io.bounds import RAISE, raised

if TYPE_CHECKING:
    from email.message import Message
    from urllib.error import HTTPError
    from urllib.request import OpenerDirector

Observe = Callable[[str, int, int], None]  # what, bytes done, bytes in all (0 = not known)

TRIES = 4  # in a row without a new byte
PAUSE = 0.5  # seconds before the second try; doubled while nothing new arrives
TIMEOUT = 30  # seconds without a byte
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # status: come back later
_CHUNK = 1 << 18
MOST_UNSAID = 8 << 30  # bytes of an answer without a length


class RefusedError(Exception):
    """A file cannot be had from a place; the message says why."""


class _CutError(Exception):
    """The connection ended early, or the server asked to come back."""


class Got(NamedTuple):
    """A complete file: where it came from, its sha256 and its size in bytes."""

    place: str
    sha256: str
    size: int


def download(mirrors: Mapping[str, str], part: Path, what: str, observe: Observe) -> Got:
    """Download a file to `part`; after a failure it is kept for a later call.

    Args:
        mirrors: URL -> sha256 in hex, "" = not known; tried in this order.
        part: temporary name; a partial file of an earlier call is completed.
        what: passed to `observe`.
        observe: called with progress.

    Raises:
        RefusedError: no mirror served the file; with the reason of each.
        OSError: `part` cannot be written.
    """
    reasons = []
    for url, sha256 in mirrors.items():
        try:
            got = _from(url, sha256, part, what, observe)
            _note(part).unlink(missing_ok=True)
            return got
        except RefusedError as e:
            reasons.append(f"{url}: {e}")
    raise RefusedError("; ".join(reasons))


def check_room(folder: Path, need: int) -> None:
    """RefusedError when `need` bytes do not fit on the disk of `folder`."""
    if need > (free := room(folder)):
        raise RefusedError(f"it needs {need:,} bytes of disk, {free:,} are free in {folder}")


def check_start(start: bytes) -> None:
    """Refuse an empty file, and a page where data should be. No format of ours begins with `<`."""
    if not start:
        raise RefusedError("the answer is empty")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        title = re.search(rb"<title[^>]*>([^<]{1,200})", start, re.IGNORECASE)
        named = f" titled {title[1].decode(errors='replace').strip()!r}" if title else ""
        raise RefusedError(
            f"the answer is an HTML page{named}, not data: a login, a proxy or a page about "
            "the file"
        )


def _from(url: str, sha256: str, part: Path, what: str, observe: Observe) -> Got:
    """From one mirror: requests for as long as they bring new bytes, then the checksum."""
    resumed = _kept(part, url, sha256)[0] > 0
    _all_of(url, sha256, part, what, observe)
    found = file_sha256(part)
    if sha256 and found != sha256 and resumed:  # the earlier part may be of another file
        _drop(part)
        _all_of(url, sha256, part, what, observe)
        found = file_sha256(part)
    if sha256 and found != sha256:
        _drop(part)
        raise RefusedError(f"wrong checksum: sha256 {found}, not {sha256}")
    return Got(url, found, part.stat().st_size)


def _all_of(url: str, sha256: str, part: Path, what: str, observe: Observe) -> None:
    most, idle = _size(part), 0
    while True:
        try:
            return _request(url, sha256, part, what, observe)
        except _CutError as e:
            idle = 0 if _size(part) > most else idle + 1
            most = max(most, _size(part))
            if idle == TRIES:
                raise RefusedError(f"{e} ({TRIES} times in a row)") from e
            time.sleep(PAUSE * 2**idle)


def _request(url: str, sha256: str, part: Path, what: str, observe: Observe) -> None:
    """One request for the missing bytes of a part, which are appended."""
    start, validator = _kept(part, url, sha256)
    headers = {"User-Agent": "dnabench", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    headers |= {"If-Range": validator} if start and validator else {}
    with _open(url, headers, start, part) as response:
        if response is None:
            return
        start, total = _extent(response, start, validator, part)
        check_room(part.parent, total - start)
        chunk = _read(response)
        if not chunk and total > start:
            raise _CutError(f"truncated: it ended after {start:,} of {total:,} bytes")
        if start == 0:  # before anything is overwritten
            _check_encoding(response.headers)
            check_start(chunk)
            _remember(part, url, response.headers, total, sha256)
        done, most = start, raised(MOST_UNSAID)
        with part.open("ab" if start else "wb") as f:
            while chunk:
                done += len(chunk)
                if not total and done > most:
                    _drop(part)
                    raise RefusedError(
                        f"it goes on after {most:,} bytes and does not say how long it is; get it "
                        f"by hand, or {RAISE}"
                    )
                if not total:
                    check_room(part.parent, len(chunk))
                f.write(chunk)
                observe(what, done, total)
                chunk = _read(response)
        if done < total:
            raise _CutError(f"truncated: it ended after {done:,} of {total:,} bytes")


@contextmanager
def _open(url: str, headers: dict[str, str], start: int, part: Path) -> Iterator[Any]:
    """The response; None when nothing is missing."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    if not url.startswith(("http://", "https://")):
        raise RefusedError("only http and https are supported")
    try:
        response = _opener().open(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as e:
        with e:
            if e.code != 416:
                raise (_CutError if e.code in _AGAIN else RefusedError)(_status(e)) from e
            ended = re.fullmatch(r"bytes \*/(\d+)", e.headers.get("Content-Range", ""))
        if not start or not ended or int(ended[1]) != start:
            _drop(part)
            raise _CutError("the server does not let the download resume") from e
        response = None
    except (OSError, HTTPException) as e:
        why = getattr(e, "reason", e)
        passing = isinstance(why, TimeoutError | ConnectionResetError | HTTPException)
        raise (_CutError if passing else RefusedError)(
            f"no answer: {why or type(why).__name__}"
        ) from e
    if response is None:
        yield None
        return
    with response:
        yield response


def _status(e: HTTPError) -> str:
    meaning = {404: "no such file", 410: "it was removed", 401: "it needs a login",
               403: "access is denied, perhaps without a login"}  # fmt: skip
    return f"status {e.code} {meaning.get(e.code, e.reason)}"


def _extent(response: Any, start: int, validator: str, part: Path) -> tuple[int, int]:
    """Offset of the bytes to come, and size of the whole file (0 = unknown)."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdigit() else 0
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
    known = _read_note(part).get("total") or 0
    total = int(found[3]) if found and found[3] != "*" else known
    other = validator.startswith('"') and headers.get("ETag", validator) != validator
    if not found or int(found[1]) != start or (known and total != known) or other:
        _drop(part)
        raise _CutError("the server does not resume where the download stopped")
    return start, total or int(found[2]) + 1


def _check_encoding(headers: Message) -> None:
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusedError(
            f"it arrives encoded as {headers['Content-Encoding']}, which was not requested"
        )


def _read(response: Any) -> bytes:
    from http.client import HTTPException

    try:
        return bytes(response.read1(_CHUNK))
    except (OSError, HTTPException) as e:
        raise _CutError(f"the connection was cut: {e or type(e).__name__}") from e


def _kept(part: Path, url: str, sha256: str) -> tuple[int, str]:
    """How many bytes of a part are valid for this URL, and the value of If-Range."""
    size, note = _size(part), _read_note(part)
    if size and note.get("url") == url and note.get("validator"):
        return size, str(note["validator"])
    if size and sha256 and note.get("sha256") == sha256:  # the same bytes from any place
        return size, ""
    return 0, ""


def _remember(part: Path, url: str, headers: Message, total: int, sha256: str) -> None:
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    note = {"url": url, "validator": validator, "total": total, "sha256": sha256}
    with replacing(_note(part)) as f:
        f.write(json.dumps(note).encode())


def _read_note(part: Path) -> dict[str, Any]:
    note = read_json(_note(part))
    return note if isinstance(note, dict) else {}


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


@cache
def _opener() -> OpenerDirector:
    """HTTP and HTTPS only, with the proxies of the environment."""
    from urllib import request

    class Redirects(request.HTTPRedirectHandler):
        """Follow, but never from https to http."""

        def redirect_request(
            self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Any:
            if req.full_url.startswith("https:") and not newurl.startswith("https:"):
                raise RefusedError(f"it redirects from https to {newurl}")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, Redirects,
        request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor, request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener
