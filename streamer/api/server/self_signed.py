"""A certificate that the daemon makes and signs itself, for this machine's names and addresses."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamer.errors import ConfigError
from streamer.runtime.clock import NANOSECONDS_PER_SECOND, Clock
from streamer.runtime.private_files import make_private_folder

LIFETIME = timedelta(days=365)
RENEWED_BEFORE_END = timedelta(days=30)
CERTIFICATE_FILE, KEY_FILE = "certificate.pem", "key.pem"
_log = logging.getLogger(__name__)


def empty_tls_context() -> ssl.SSLContext:
    """The TLS settings of every server here; still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class SelfSignedCertificate:
    """A certificate for this machine's names and addresses, renewed before it expires.

    It is kept in a folder of this user alone, so that a client has to trust it only once;
    without a folder it is new at every start.
    """

    def __init__(self, folder: Path | None, further_names: Sequence[str], clock: Clock) -> None:
        """Load or make it. Raises ``ConfigError`` for a folder that cannot be used."""
        self._folder = folder
        self._names = own_names(further_names)
        self._clock = clock
        self.context = empty_tls_context()
        if folder is not None:
            make_private_folder("state_directory", folder)
        self._certificate = self._load()

    @property
    def fingerprint(self) -> str:
        """SHA-256, as browsers show it."""
        digest = self._certificate.fingerprint(hashes.SHA256())
        return ":".join(f"{byte:02X}" for byte in digest)

    def refresh(self) -> bool:
        """Make a new one if this one expires soon; whether it did."""
        if not _expires_soon(self._certificate, self._now()):
            return False
        self._certificate = self._load()
        _log.info("made a new certificate; its SHA-256 is %s", self.fingerprint)
        return True

    def _load(self) -> x509.Certificate:
        with contextlib.ExitStack() as stack:
            # OpenSSL reads files only.
            folder = self._folder or Path(stack.enter_context(TemporaryDirectory()))
            if not self._is_usable(folder):
                make_pair(folder, self._names, self._now())
            self.context.load_cert_chain(folder / CERTIFICATE_FILE, folder / KEY_FILE)
            return x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())

    def _is_usable(self, folder: Path) -> bool:
        """Whether the folder holds a pair that fits, is for every name, and lasts."""
        try:
            empty_tls_context().load_cert_chain(folder / CERTIFICATE_FILE, folder / KEY_FILE)
            pem = (folder / CERTIFICATE_FILE).read_bytes()
        except FileNotFoundError:
            return False
        except (OSError, ssl.SSLError) as error:
            _log.warning("making a new certificate in %s: %s", folder, error)
            return False
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        has_all = {_general_name(name) for name in self._names} <= set(names)
        return has_all and not _expires_soon(certificate, self._now())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_ns() / NANOSECONDS_PER_SECOND, UTC)


def own_names(further: Sequence[str]) -> list[str]:
    """This machine's host names and addresses, and ``further`` ones; wildcards left out."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host, socket.getfqdn(), *further]
    with contextlib.suppress(OSError):
        names += [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    usable = (_usable(name) for name in names)
    return list(dict.fromkeys(name for name in usable if name is not None))


def make_pair(folder: Path, names: Sequence[str], now: datetime) -> None:
    """Write a new key and a certificate for ``names``, signed with it, both of mode 0600."""
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
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(folder / KEY_FILE, key_pem)
    _write_private(folder / CERTIFICATE_FILE, certificate.public_bytes(pem))


def _expires_soon(certificate: x509.Certificate, now: datetime) -> bool:
    return now >= certificate.not_valid_after_utc - RENEWED_BEFORE_END


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


def _write_private(path: Path, content: bytes) -> None:
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
