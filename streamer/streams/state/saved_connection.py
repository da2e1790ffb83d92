"""Whether a saved address, with its options, may still be used at this start.

A credential in the file is for the place and the options that the file has beside it: an address
that was changed over the API must not receive a credential that was configured later. What was
set over the API also obeys the rules of today, not those of the day it was set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from streamer.config.streams import StreamConfig
from streamer.config.url_rules import ConnectionRules, NotAllowedError
from streamer.errors import ConfigError

# What the API's rules are about.
Ruled = Literal["url", "options"]
RULED: tuple[Ruled, ...] = get_args(Ruled)
_CONNECTION = (*RULED, "username_env", "password_env", "password_file")


def owner_set_after(
    before: Collection[str], settings: Mapping[str, Any], *, by_owner: bool
) -> frozenset[str]:
    """Which of ``RULED`` the daemon's user set, after a change to ``settings``.

    Options stay marked: the API can set others beside them, and changes none of them.
    """
    changed = {name for name in RULED if name in settings}
    return frozenset({*before, *changed} if by_owner else {*before} - (changed & {"url"}))


def connection_fingerprint(config: StreamConfig) -> str:
    """A hash of a stream's place, options and credential."""
    address = config.url
    parts = [address.place, address.username, address.password, config.options]
    parts += [config.username_env, config.password_env, config.password_file]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def check_saved(
    rules: ConnectionRules,
    base: StreamConfig | None,
    saved: StreamConfig,
    fingerprint: str | None,
    owner_set: Collection[str],
) -> None:
    """Raise ``ConfigError`` where the connection of ``saved`` must not be used.

    ``base`` is the stream in the file, ``fingerprint`` that of its connection at the time when
    the other one was saved.
    """
    if base is not None and fingerprint != connection_fingerprint(base):
        raise ConfigError(
            "the address, the options or the credential in the configuration file are others now"
        )
    before = {} if base is None else base.options
    changed = {name: value for name, value in saved.options.items() if before.get(name) != value}
    try:
        if "url" not in owner_set and (base is None or saved.url != base.url):
            rules.check_address(saved.url)
        if "options" not in owner_set:
            rules.check_options(changed)
    except NotAllowedError as error:
        raise ConfigError(f"{error.where}: {error}") from None


def has_connection(settings: Mapping[str, Any]) -> bool:
    """Whether ``settings`` change the connection."""
    return not settings.keys().isdisjoint(_CONNECTION)


def without_connection(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` less those of the connection."""
    return {name: value for name, value in settings.items() if name not in _CONNECTION}
