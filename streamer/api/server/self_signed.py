"""A certificate that the daemon makes and signs itself, for this machine's names and addresses."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamer.errors import ConfigError
from streamer.runtime.clock import (
    NANOSECONDS_PER_SECOND,
    Clock,
)
from streamer.runtime.private_files import make_private_folder

LIFETIME = timedelta(days=365)
RENEWED_BEFORE_END = timedelta(days=30)
# Names of networks that the machine was in before are kept, up to so many.
NAMES_KEPT = 64
_CERTIFICATE, _KEY = "certificate.pem", "key.pem"
_log = logging.getLogger(__name__)


def empty_tls_context() -> ssl.SSLContext:
    """What every server of ours asks of TLS; still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class SelfSignedCertificate:
    """A certificate of our own for this machine's names and addresses.

    Kept in a folder of this user's alone, so that who trusted it need not trust another one at
    every start; without a folder it is new with every start.
    """

    def __init__(self, folder: Path | None, further_names: Sequence[str], clock: Clock) -> None:
        """Load or make it. Raises ``ConfigError`` for a folder that cannot be used."""
        self._folder = folder
        self._further_names = further_names
        self._clock = clock
        self.context = empty_tls_context()
        if folder is not None:
            make_private_folder("state_directory", folder)
        pair = self._kept()
        if pair is None or self._has_to_be_made(pair):
            pair = self._make(pair)
        self._pair = pair
        self._use(pair)

    @property
    def fingerprint(self) -> str:
        """SHA-256, as browsers show it."""
        digest = self._pair.certificate.fingerprint(hashes.SHA256())
        return ":".join(f"{byte:02X}" for byte in digest)

    def refresh(self) -> bool:
        """Make another one before this one ends."""
        if not self._has_to_be_made(self._pair):
            return False
        self._pair = self._make(self._pair)
        self._use(self._pair)
        _log.info("made a new certificate; its SHA-256 is %s", self.fingerprint)
        return True

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_ns() / NANOSECONDS_PER_SECOND, UTC)

    def _has_to_be_made(self, pair: _Pair) -> bool:
        """Whether it ends soon, or lacks a name that this machine has now."""
        if self._now() >= pair.certificate.not_valid_after_utc - RENEWED_BEFORE_END:
            return True
        return not set(own_names(self._further_names)) <= set(pair.names)

    def _make(self, before: _Pair | None) -> _Pair:
        names = own_names(self._further_names)
        names += [name for name in (before.names if before else ()) if name not in names]
        pair = make_pair(names[:NAMES_KEPT], self._now())
        if self._folder is not None:
            # The certificate last: a key without it is made anew, the other way round as well.
            _write_private(self._folder / _KEY, pair.key_pem)
            _write_private(self._folder / _CERTIFICATE, pair.certificate_pem)
        return pair

    def _kept(self) -> _Pair | None:
        if self._folder is None:
            return None
        try:
            key_pem = (self._folder / _KEY).read_bytes()
            certificate_pem = (self._folder / _CERTIFICATE).read_bytes()
            return _Pair(x509.load_pem_x509_certificate(certificate_pem), key_pem)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("the certificate in %s is made anew: %s", self._folder, error)
            return None

    def _use(self, pair: _Pair) -> None:
        with _as_files(pair) as (certificate, key):
            try:
                self.context.load_cert_chain(certificate, key)
            except ssl.SSLError:  # the key is another one's, or was damaged
                self._pair = pair = self._make(pair)
            else:
                return
        with _as_files(pair) as (certificate, key):
            self.context.load_cert_chain(certificate, key)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key_pem: bytes

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def names(self) -> list[str]:
        """Host names and addresses that it is for."""
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        dns = found.value.get_values_for_type(x509.DNSName)
        return dns + [str(each) for each in found.value.get_values_for_type(x509.IPAddress)]


def own_names(further: Sequence[str]) -> list[str]:
    """This machine's host names and addresses, and ``further`` ones; wildcards left out."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host, socket.getfqdn(), *further]
    with contextlib.suppress(OSError):
        names += [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    usable = (_usable(name) for name in names)
    return list(dict.fromkeys(name for name in usable if name is not None))


def make_pair(names: Sequence[str], now: datetime) -> _Pair:
    """A new key and a certificate for ``names`` that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "masklet")])
    alternatives = [_general_name(name) for name in names]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of clients may be behind
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return _Pair(certificate, key_pem)


def _usable(name: str) -> str | None:
    """``name`` as a certificate can hold it."""
    name = name.partition("%")[0].strip("[]").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        is_name = name.isascii() and 0 < len(name) < 254 and " " not in name
        return name if is_name else None
    return None if address.is_unspecified or address.is_link_local else str(address)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextlib.contextmanager
def _as_files(pair: _Pair) -> Iterator[tuple[Path, Path]]:
    """The pair where OpenSSL's loader wants it: in files, for a moment."""
    with TemporaryDirectory(prefix="masklet-tls-") as folder:
        certificate, key = Path(folder) / _CERTIFICATE, Path(folder) / _KEY
        _write_private(key, pair.key_pem)
        certificate.write_bytes(pair.certificate_pem)
        yield certificate, key


def _write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step; it has mode 0600 from its first moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
