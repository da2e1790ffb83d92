"""Fetching one large file whose size and sha256 are known: resumed, checked, put in place whole.

Knows no checkpoint by name. What is left of an interrupted download stays beside the target as
``<name>.part`` and the next call goes on from there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

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
) -> Path:
    """Fetch ``url`` to ``target``; returns ``target``, complete and with the right hash.

    ``sha256`` may be the first digits only, where no more is published. Without ``exact``
    ``size_bytes`` is the most that is taken, and what is left of an interrupted download is
    fetched again: nobody knows how much is missing.
    Raises ``DownloadError`` when the network, the server, the disk or the content fails.
    ``target`` is never seen half written.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as file:
            _lock(file, part)
            digest = _fetch(url, file, size_bytes, report, timeout_s, exact)
            if not digest.startswith(sha256):
                part.unlink()
                raise DownloadError(
                    f"{url}: the content is not the published file (sha256 {digest}, expected "
                    f"{sha256}); it was deleted. Try again; if it happens again, something "
                    "between here and the server changes it"
                )
            file.flush()
            os.fsync(file.fileno())
            part.replace(target)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise DownloadError(
            f"{url}: not reachable ({_reason(error)}). Is this machine online? The file can also "
            f"be fetched elsewhere and copied to {target}"
        ) from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{url}: the connection broke ({_reason(error)}); run the command again to go on "
            "where it stopped"
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
    request = urllib.request.Request(url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        length = response.headers.get("Content-Length") or ""
        if not exact and length.isdigit():
            size_bytes, exact = min(size_bytes, int(length)), True
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if start and not (resumed and _range_start(response) == start):
            file.truncate(0)  # the server sends all of it again
            digest, start = hashlib.sha256(), 0
        received = start
        while block := response.read(BLOCK_BYTES):
            received += len(block)
            if received > size_bytes:
                file.truncate(0)
                raise DownloadError(
                    f"{url}: the server sends more than the {size_bytes} bytes of the published "
                    "file; nothing was kept"
                )
            file.write(block)
            digest.update(block)
            report(received, size_bytes)
    if exact and received < size_bytes:
        raise DownloadError(
            f"{url}: the connection ended after {received} of {size_bytes} bytes; run the command "
            "again to go on where it stopped"
        )
    return digest.hexdigest()


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """The first byte of ``Content-Range: bytes 5-9/10`` (RFC 9110, 14.4)."""
    unit, _, span = (response.headers.get("Content-Range") or "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def _hash_rest(file: BinaryIO, total: int, report: ProgressReport) -> hashlib._Hash:
    digest = hashlib.sha256()
    done = 0
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        done += len(block)
        report(done, total)
    return digest


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DownloadError(
            f"{part} is being written by another process; wait for it to end"
        ) from None


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    return str(inner or error) or type(error).__name__


def _disk_message(error: OSError, target: Path, size_bytes: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{target}: the disk is full; {size_bytes / 1e6:.0f} MB are needed. Make room, or set "
            "MASKLET_CHECKPOINTS to a folder on another disk, and run the command again"
        )
    return f"{target}: cannot be written ({error.strerror})"
