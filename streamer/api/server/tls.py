"""TLS for the HTTP server: the user's certificate, or one that the daemon makes for itself.

A browser gives its camera only to a page that came over TLS (or from its own machine). Both are
checked while the daemon runs: a renewed file is loaded, the daemon's own is renewed before it
expires.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from streamer.api.server.self_signed import SelfSignedCertificate, empty_tls_context
from streamer.config.network import ApiConfig
from streamer.errors import ConfigError
from streamer.runtime.clock import Clock
from streamer.runtime.private_files import make_private_folder

FOLDER = "tls"
_log = logging.getLogger(__name__)


class Certificate(Protocol):
    """A certificate in use."""

    context: ssl.SSLContext

    def refresh(self) -> bool:
        """Load or make a newer certificate if needed; whether it changed."""


class UserCertificate:
    """The user's PEM files; read again when they change."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ``ConfigError`` for files that are no certificate with its key."""
        self._certificate = certificate
        self._key = key
        self.context = empty_tls_context()
        self._check_key()
        self._load()
        self._seen = self._state()

    def refresh(self) -> bool:
        """Load files that changed. If that fails, log it and keep the old certificate."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self._load()
        except ConfigError as error:
            _log.error("keeping the old certificate, the renewed one is not usable: %s", error)
            return False
        _log.info("the certificate in %s was renewed", self._certificate)
        return True

    def _load(self) -> None:
        # Tried in a context of its own first: a pair that does not fit must not reach the one
        # that is in use.
        for context in (empty_tls_context(), self.context):
            try:
                context.load_cert_chain(self._certificate, self._key, password=_no_password)
            except (OSError, ssl.SSLError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise ConfigError(
                    f"api.tls_certificate {self._certificate}, api.tls_key {self._key}: no "
                    f"certificate with its key in PEM ({reason})"
                ) from None

    def _check_key(self) -> None:
        with contextlib.suppress(OSError):  # loading reports it
            if stat.S_IMODE(self._key.stat().st_mode) & 0o007:
                raise ConfigError(
                    f"api.tls_key {self._key}: every user of this machine can read it; run "
                    f"`chmod o= {self._key}`"
                )

    def _state(self) -> tuple[tuple[int, int], ...]:
        found = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                found.append((0, 0))  # being replaced
            else:
                found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)


def make_certificate(
    api: ApiConfig, state_folder: Path | None, further_names: Sequence[str], clock: Clock
) -> Certificate | None:
    """The certificate that ``api`` asks for; None: the server speaks plain HTTP.

    Raises ``ConfigError``.
    """
    if api.tls_certificate is not None and api.tls_key is not None:
        return UserCertificate(Path(api.tls_certificate), Path(api.tls_key))
    if not api.self_signed:
        return None
    folder = None
    if state_folder is not None:
        # First, since mkdir makes missing parents with the default mode.
        make_private_folder("state_directory", state_folder)
        folder = state_folder / FOLDER
    certificate = SelfSignedCertificate(folder, further_names, clock)
    _log.info(
        "browsers will warn of the daemon's own certificate; its SHA-256 is %s",
        certificate.fingerprint,
    )
    return certificate


def _no_password() -> str:
    """An encrypted key must not make the daemon ask for its password on the terminal."""
    raise ValueError("the key is encrypted; write it without a password")
