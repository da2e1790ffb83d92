"""Files that several machines can write, of which only the newest holder's writes count.

A file is a folder of versions, named ``TOKEN-COUNT-WRITER-DIGEST``. A fencing token is a number
that grows each time the file gets another holder (Kleppmann, *Designing Data-Intensive
Applications*, chapter 8). The version of the greatest token is the content, whatever an earlier
holder writes later, at any moment: that is true of any store that lists what was written, without
locks or conditional writes, and is why tokens are in the names.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

from streamer.errors import ControlError
from streamer.streams.state.places import WRITING, Place

MAXIMUM_BYTES = 1 << 30
SET_ASIDE_KEPT = 5
# No stream is named so.
_ASIDE = ".aside"
_PROBE = ".probe"
_NAME = re.compile(
    rf"(\d{{16}})-(\d{{10}})-([0-9a-f]{{8}})-([0-9a-f]{{32}})({re.escape(WRITING)})?"
)
_READS = 5  # of a file that is replaced between listing and reading
_log = logging.getLogger(__name__)
Decoded = TypeVar("Decoded")


class StaleTokenError(ControlError):
    """Another holder has a greater token, ``newest``: what this one writes does not count."""

    def __init__(self, name: str, token: int, newest: int) -> None:
        super().__init__(
            f"{name}: token {token} is stale, another daemon has {newest} and goes on with it"
        )
        self.token = token
        self.newest = newest


@dataclass(frozen=True, slots=True, order=True)
class _Version:
    """Writers with one token can only be two daemons that started together: either may win."""

    token: int
    writer: str
    count: int
    digest: str
    unfinished: bool

    @classmethod
    def parse(cls, name: str) -> Self | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        return cls(int(found[1]), found[3], int(found[2]), found[4], found[5] is not None)

    @property
    def name(self) -> str:
        end = WRITING if self.unfinished else ""
        return f"{self.token:016}-{self.count:010}-{self.writer}-{self.digest}{end}"


class FencedFiles:
    """The fenced files below one place. Not for the event loop: every method waits for the store.

    Bounds: two versions of each file, the newest and the one before it, in case that is damaged,
    and the ``SET_ASIDE_KEPT`` newest folders of what was set aside. A write is one listing, one
    removal and one write of the store.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._writer = secrets.token_hex(4)

    def names(self) -> list[str]:
        """The files that are there. Raises ``OSError``."""
        return sorted(name for name in self._place.names("") if not name.startswith("."))

    def token(self, name: str) -> int:
        """The greatest token that a file was written with; 0: none. Raises ``OSError``."""
        return max((each.token for each in self._versions(name)), default=0)

    def read(self, name: str, decode: Callable[[bytes], Decoded]) -> tuple[int, Decoded] | None:
        """The newest readable version and its token; None without a version.

        ``decode`` raises ``ValueError`` for content that is none of its own. Raises ``OSError``,
        and ``ValueError`` if there are versions and none is readable.
        """
        for _ in range(_READS):
            finished = [each for each in self._versions(name) if not each.unfinished]
            if not finished:
                return None
            replaced = False
            for version in reversed(finished):
                try:
                    return version.token, decode(self._content(name, version))
                except FileNotFoundError:
                    replaced = True
                except ValueError as error:
                    _log.warning("%s/%s cannot be read: %s", name, version.name, error)
            if not replaced:
                raise ValueError(f"none of the {len(finished)} versions of {name} can be read")
        raise OSError(f"{name} is replaced faster than it can be read")

    def write(self, name: str, token: int, content: bytes) -> None:
        """Make ``content`` the newest version. Raises ``StaleTokenError`` and ``OSError``."""
        versions = self._check(name, token)
        finished = [each for each in versions if not each.unfinished]
        # Before the write: a store that removes nothing must not fill up.
        for each in versions:
            if each not in finished[-1:]:
                self._place.remove(f"{name}/{each.name}")
        count = 0
        if finished and (finished[-1].token, finished[-1].writer) == (token, self._writer):
            count = finished[-1].count + 1
        digest = hashlib.sha256(content).hexdigest()[:32]
        version = _Version(token, self._writer, count, digest, False)
        self._place.write(f"{name}/{version.name}", content)

    def remove(self, name: str, token: int) -> None:
        """Remove a file. Raises ``StaleTokenError`` and ``OSError``."""
        self._check(name, token)
        self._place.remove_folder(name)

    def copy_aside(self, names: Iterable[str], reason: str) -> str:
        """Copy files into a new folder below ``.aside``; returns its path. Raises ``OSError``."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        target = f"{_ASIDE}/{stamp}.{nanoseconds:09}Z-{reason}"
        for name in names:
            for each in self._versions(name):
                self._place.copy(f"{name}/{each.name}", f"{target}/{name}/{each.name}")
        for old in sorted(self._place.names(_ASIDE))[:-SET_ASIDE_KEPT]:
            self._place.remove_folder(f"{_ASIDE}/{old}")
        return target

    def probe(self) -> None:
        """Raises ``OSError`` if nothing can be written and removed here."""
        path = f"{_PROBE}/{self._writer}"
        self._place.write(path, b"probe")
        self._place.remove(path)

    def _check(self, name: str, token: int) -> list[_Version]:
        versions = self._versions(name)
        if versions and (versions[-1].token, versions[-1].writer) > (token, self._writer):
            raise StaleTokenError(name, token, versions[-1].token)
        return versions

    def _versions(self, name: str) -> list[_Version]:
        parsed = map(_Version.parse, self._place.names(name))
        return sorted(each for each in parsed if each is not None)

    def _content(self, name: str, version: _Version) -> bytes:
        content = self._place.read(f"{name}/{version.name}", MAXIMUM_BYTES)
        if hashlib.sha256(content).hexdigest()[:32] != version.digest:
            raise ValueError("damaged: its sha256 differs")
        return content
