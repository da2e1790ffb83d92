"""TLS as FFmpeg's options describe it, for connections that we make in its place."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from streamer.errors import ConfigError

OPTIONS = ("tls_verify", "ca_file", "cert_file", "key_file", "verifyhost")


def tls_context(key: str, options: Mapping[str, str]) -> ssl.SSLContext:
    """The context that ``options`` ask for; ``key`` is the stream's in the configuration.

    Raises ``ConfigError`` for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "ca_file"
    try:
        if options.get("tls_verify", "0") == "0":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            # Old cameras: to a peer that is not authenticated, a weak cipher protects as little.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        elif name in options:
            context.load_verify_locations(options[name])
        else:
            context.load_default_certs()
        name = "cert_file"
        if name in options:
            context.load_cert_chain(options[name], options.get("key_file"))
    except OSError as error:
        raise ConfigError(
            f"{key}.options.{name} {options[name]} holds no certificates: {error.strerror or error}"
        ) from None
    return context
