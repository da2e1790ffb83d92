"""Checks a request against the rules of ``config/url_rules``, and asks DNS for the names in it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from streamer.api.server.problems import InvalidField, ProblemError
from streamer.config.streams import StreamConfig
from streamer.config.url_rules import (
    ConnectionRules,
    NotAllowedError,
    bound_by,
    foreign_options,
)
from streamer.runtime.address import Address, AddressError

Resolve = Callable[[str], Sequence[str]]

RESOLVE_TIMEOUT_S = 5.0


class UrlRules:
    """``ConnectionRules`` for requests. Every method raises ``ProblemError`` (403, 422)."""

    def __init__(
        self, schemes: Sequence[str], hosts: Sequence[str], resolve: Resolve | None = None
    ) -> None:
        """``resolve`` gives the addresses of a name; by default this machine's resolver."""
        self._rules = ConnectionRules(schemes, hosts)
        self._resolve = resolve or _addresses_of

    async def check_new(self, settings: Mapping[str, Any]) -> None:
        """Settings of a stream to begin."""
        with _as_problem():
            self._rules.check_options(settings.get("options", {}))
            await self._check_address(Address.parse(settings["url"]))

    async def check_change(
        self, config: StreamConfig, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The changes to ``config`` to carry out: options that a client may not change stay."""
        allowed = dict(settings)
        with _as_problem():
            if "options" in settings:
                self._rules.check_options(settings["options"])
                allowed["options"] = {**settings["options"], **foreign_options(config)}
            if "url" in settings:
                address = Address.parse(settings["url"])
                bound = bound_by(config)
                if bound is not None and address.place != config.url.place:
                    raise NotAllowedError(
                        "url",
                        f"this stream has {bound}, which is for the configured host only; change "
                        "both in the configuration file",
                    )
                await self._check_address(address)
        return allowed

    async def _check_address(self, address: Address) -> None:
        name = self._rules.check_address(address)
        if name is None:
            return
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await asyncio.to_thread(self._resolve, name)
        except (OSError, UnicodeError, TimeoutError):
            raise AddressError(f"names the host {name}, which has no address") from None
        self._rules.check_resolved(name, found)


@contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except NotAllowedError as error:
        raise _problem(403, f"/{error.where}", str(error), "url_not_allowed") from None
    except AddressError as error:
        raise _problem(422, "/url", str(error), "invalid_settings") from None


def _problem(status: int, location: str, detail: str, kind: str) -> ProblemError:
    return ProblemError(
        status, f"{location}: {detail}", kind, errors=[InvalidField(location, detail)]
    )


def _addresses_of(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
