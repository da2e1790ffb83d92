"""Fetches one large file whose size and sha256 are known: resumed, checked, put in place whole.

Knows no checkpoint by name. An interrupted download stays beside the target as ``<name>.part``;
the next call resumes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from streamer.errors import MaskletError

BLOCK_BYTES = 1 << 20
ProgressReport = Callable[[int, int], None]  # bytes so far, bytes in all


class DownloadError(MaskletError):
    """A file could not be fetched; the message says what to do."""


def download(
    url: str,
    target: Path,
    size_bytes: int,
    sha256: str,
    report: ProgressReport,
    timeout_s: float = 30.0,
    *,
    exact: bool = True,
    accepts: Callable[[Path], bool] | None = None,
) -> Path:
    """Fetch ``url`` to ``target``; returns ``target``, complete and with the right hash.

    ``sha256`` may be the first digits only, where no more is published. Without ``exact``
    ``size_bytes`` is an upper bound, and an interrupted download starts again: how much is missing
    is not known. ``accepts`` judges the complete file, where no sha256 is published. Raises
    ``DownloadError`` when the network, the server, the disk or the content fails. ``target`` is
    never seen half written.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as file:
            _lock(file, part)
            digest = _fetch(url, file, size_bytes, report, timeout_s, exact)
            file.flush()
            if not digest.startswith(sha256) or not (accepts is None or accepts(part)):
                part.unlink()
                expected = f", expected {sha256}" if sha256 else ""
                raise DownloadError(
                    f"{url}: the content is not the published file (sha256 {digest}{expected}"
                    "); it was deleted. Try again; if it happens again, something "
                    "between here and the server changes it"
                )
            os.fsync(file.fileno())
            part.replace(target)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise DownloadError(
            f"{url}: not reachable ({error}). Is this machine online? The file can also be "
            f"fetched elsewhere and copied to {target}"
        ) from None
    except httpx.HTTPError as error:
        raise DownloadError(
            f"{url}: no answer ({error or type(error).__name__}); run the command again"
        ) from None
    except OSError as error:
        raise DownloadError(_disk_message(error, target, size_bytes)) from None
    return target


def file_sha256(path: Path, report: ProgressReport) -> str:
    """The sha256 of a file, read once."""
    total = path.stat().st_size
    with path.open("rb") as file:
        return _hash_rest(file, total, report).hexdigest()


def _fetch(
    url: str, file: BinaryIO, size_bytes: int, report: ProgressReport, timeout_s: float, exact: bool
) -> str:
    """Append what is missing to ``file``; the sha256 of all of it."""
    start = file.seek(0, os.SEEK_END)
    if start > size_bytes or not exact:
        start = 0
        file.truncate(0)
    missing = size_bytes - start
    free = shutil.disk_usage(file.name).free if isinstance(file.name, str | Path) else missing
    if free < missing:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free")
    file.seek(0)
    digest = _hash_rest(file, size_bytes, report)
    if start == size_bytes:
        return digest.hexdigest()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    trusted = ssl.create_default_context()  # the machine's certificates, not those of a package
    with httpx.stream(
        "GET", url, headers=headers, timeout=timeout_s, follow_redirects=True, verify=trusted
    ) as response:
        if response.is_error:
            raise DownloadError(
                f"{url}: the server answered {response.status_code} {response.reason_phrase}"
            )
        length = response.headers.get("Content-Length") or ""
        if not exact and length.isdigit():
            size_bytes, exact = min(size_bytes, int(length)), True
        if start and _range_start(response) != start:
            file.truncate(0)  # the server sends all of it again
            digest, start = hashlib.sha256(), 0
        received = start
        try:
            for block in response.iter_raw():
                received += len(block)
                if received > size_bytes:
                    file.truncate(0)
                    raise DownloadError(
                        f"{url}: the server sends more than the {size_bytes} bytes of the "
                        "published file; nothing was kept"
                    )
                file.write(block)
                digest.update(block)
                report(received, size_bytes)
        except httpx.TransportError:
            exact = True
    if exact and received < size_bytes:
        raise DownloadError(
            f"{url}: the connection ended after {received} of {size_bytes} bytes; run the command "
            "again to resume"
        )
    return digest.hexdigest()


def _range_start(response: httpx.Response) -> int | None:
    """The first byte of ``Content-Range: bytes 5-9/10`` (RFC 9110, 14.4), if it is a part."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT and unit == "bytes"
    return int(first) if is_part and first.isdigit() else None


def _hash_rest(file: BinaryIO, total: int, report: ProgressReport) -> hashlib._Hash:
    digest = hashlib.sha256()
    done = 0
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        done += len(block)
        report(done, total)
    return digest


def _lock(file: BinaryIO, part: Path) -> None:
    """Lock the file itself: a lock file beside it would stay in the user's folder."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DownloadError(
            f"{part} is being written by another process; wait for it to end"
        ) from None


def _disk_message(error: OSError, target: Path, size_bytes: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{target}: the disk is full; {size_bytes / 1e6:.0f} MB are needed. Make room, or set "
            "MASKLET_CHECKPOINTS to a folder on another disk, and run the command again"
        )
    return f"{target}: cannot be written ({error.strerror})"
