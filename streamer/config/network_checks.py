"""Settings of what listens and connects: ports, the HTTP server's tokens and TLS, WebRTC."""

from __future__ import annotations

import ipaddress
import re
from itertools import combinations
from urllib.parse import urlsplit

from streamer.config.control_endpoint import control_path
from streamer.config.network import (
    ApiConfig,
    WebRTCConfig,
)
from streamer.config.schema import (
    URL_SCHEMES,
    MaskletConfig,
)
from streamer.errors import ConfigError
from streamer.runtime.sockets import is_loopback

_ORIGIN = re.compile(r"https?://[^/\s*]+")
_HOST_NAME = re.compile(
    r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)


def check_listeners(config: MaskletConfig) -> None:
    """Refuse two listeners on one address; port 0 and ``*`` take any free port."""
    listeners = []
    if config.metrics.enabled:
        listeners.append(("metrics.port", config.metrics.host, config.metrics.port))
    if config.api.enabled:
        listeners.append(("api.port", config.api.host, config.api.port))
    results = _check_endpoints(config)
    if results is not None:
        listeners.insert(0, ("zeromq.endpoint", *results))
    for (key, host, port), (other_key, other_host, other_port) in combinations(listeners, 2):
        if port and port == other_port and _same_address(host, other_host):
            raise ConfigError(
                f"{key} and {other_key} both listen on port {port}: give one of them another port"
            )


def _check_endpoints(config: MaskletConfig) -> tuple[str, int] | None:
    """The address and port of the publisher, None where it has no port of its own choice."""
    control = config.control.endpoint
    control_path(control)
    if control == config.zeromq.endpoint:
        raise ConfigError(f"zeromq.endpoint and control.endpoint are both {control}")
    return _address_of("zeromq.endpoint", config.zeromq.endpoint)


def _address_of(key: str, endpoint: str) -> tuple[str, int] | None:
    address = urlsplit(endpoint)
    if address.scheme != "tcp" or address.netloc.endswith(":*"):
        return None
    try:
        port = address.port
    except ValueError:
        port = -1
    if port is None or not 0 <= port <= 65_535:
        raise ConfigError(f"{key} must have a port between 0 and 65535, got {endpoint}")
    return address.hostname or "", port


def check_api(api: ApiConfig) -> None:
    """Refuse tokens, certificates and allow-lists that cannot work, and an open server."""
    names: set[str] = set()
    for index, token in enumerate(api.tokens):
        key = f"api.tokens[{index}]"
        if token.name in names:
            raise ConfigError(f"{key}.name {token.name!r} is used twice")
        names.add(token.name)
        if not token.scopes:
            raise ConfigError(f"{key}.scopes must hold one or more of read, control, publish")
        if (token.token_env is None) == (token.token_file is None):
            raise ConfigError(
                f"{key} must have token_env (the name of an environment variable) or token_file, "
                "one of the two"
            )
    if api.enabled and not api.tokens and not is_loopback(api.host):
        raise ConfigError(
            f"api.host {api.host!r} can be reached from other machines, and nobody would have to "
            "prove who they are: give api.tokens, such as [{name: me, scopes: [control, "
            "publish], token_env: MASKLET_TOKEN}], or listen on 127.0.0.1"
        )
    if (api.tls_certificate is None) != (api.tls_key is None):
        raise ConfigError("api.tls_certificate and api.tls_key: give both, or neither")
    if api.self_signed and api.tls_certificate is not None:
        raise ConfigError("api.self_signed excludes api.tls_certificate: choose one of them")
    _check_api_lists(api)


def _check_api_lists(api: ApiConfig) -> None:
    for index, origin in enumerate(api.cors_origins):
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"api.cors_origins[{index}] must be https://HOST[:PORT] (or http://…), without a "
                f"path and never '*', got {origin!r}"
            )
    for index, scheme in enumerate(api.url_schemes):
        if scheme not in URL_SCHEMES:
            raise ConfigError(
                f"api.url_schemes[{index}] must be one of {', '.join(URL_SCHEMES)}, got {scheme!r}"
            )
    for index, host in enumerate(api.url_hosts):
        if not _HOST_NAME.fullmatch(host) and not _is_network(host):
            raise ConfigError(
                f"api.url_hosts[{index}] must be a name, *.NAME, an address or a network such as "
                f"10.0.0.0/8, got {host!r}"
            )


def check_webrtc(webrtc: WebRTCConfig) -> None:
    """Refuse a port range, an address or an ICE server that cannot work."""
    lowest, highest = webrtc.port_minimum, webrtc.port_maximum
    if lowest > highest or (lowest == 0) != (highest == 0):
        raise ConfigError(
            "webrtc.port_minimum must be at most port_maximum, or both 0 for any port, got "
            f"{lowest} and {highest}"
        )
    if webrtc.advertised_address is not None and not _is_address(webrtc.advertised_address):
        raise ConfigError(
            "webrtc.advertised_address must be an IP address, such as 192.0.2.7, got "
            f"{webrtc.advertised_address!r}"
        )
    if webrtc.start_bitrate_kbps > webrtc.maximum_bitrate_kbps:
        raise ConfigError(
            f"webrtc.start_bitrate_kbps must be at most maximum_bitrate_kbps "
            f"({webrtc.maximum_bitrate_kbps}), got {webrtc.start_bitrate_kbps}"
        )
    for index, server in enumerate(webrtc.ice_servers):
        key = f"webrtc.ice_servers[{index}]"
        if server.password_env and server.password_file:
            raise ConfigError(f"{key}.password_env and {key}.password_file: give only one of them")
        has_password = server.password_env is not None or server.password_file is not None
        is_turn = server.url.startswith("turn")
        if is_turn and (server.username is None or not has_password):
            raise ConfigError(
                f"{key}: a TURN server needs username, and password_env or password_file"
            )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _same_address(first: str, second: str) -> bool:
    every = {"0.0.0.0", "::", "*", ""}
    loopback = {"localhost": "127.0.0.1"}
    return (
        first in every
        or second in every
        or loopback.get(first, first) == loopback.get(second, second)
    )
