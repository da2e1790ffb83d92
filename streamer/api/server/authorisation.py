"""Authorisation: bearer tokens with scopes, and the login cookie that replaces one in a browser.

``read`` sees everything, ``control`` changes streams and objects and reads, ``publish`` sends a
camera by WHIP. A route says what it needs with ``Depends(reads)`` and its like; a route without
one of them is a mistake that a test finds.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Scope_

from streamer.api.server.problems import forbidden, unauthenticated
from streamer.config.network import TokenConfig
from streamer.errors import ConfigError
from streamer.runtime.clock import Clock, seconds_to_ns

SHORTEST_TOKEN = 20
LONGEST_TOKEN = 4096
# RFC 6750, section 2.1: what a bearer token may be made of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
LOGIN_LIFETIME_S = 12 * 3600.0
# Bound: the oldest login goes when another comes.
LOGINS_KEPT = 256
# Keys of a request's state: its principal, and the problem with its credential.
PRINCIPAL = "principal"
CREDENTIAL_PROBLEM = "credential_problem"
_MAKE_ONE = "make one with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
_log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    CONTROL = "control"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request: the name of its token, and its scopes."""

    name: str
    scopes: frozenset[Scope]


ANONYMOUS = Principal("anonymous", frozenset())
# Without any token configured the server is on loopback only, and open there.
UNRESTRICTED = Principal("unrestricted", frozenset(Scope))
# On the Unix socket of mode 0600.
OWNER = Principal("owner", frozenset(Scope))


@dataclass(frozen=True, slots=True)
class _Token:
    principal: Principal
    digest: bytes


class Authorisation:
    """Holds the tokens, as SHA-256 only, and the logins."""

    def __init__(
        self,
        tokens: Sequence[TokenConfig],
        clock: Clock,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that is missing, short or malformed."""
        self._clock = clock
        self._tokens: list[_Token] = []
        for index, token in enumerate(tokens):
            self._add(f"api.tokens[{index}]", token, environment)
        self._logins: OrderedDict[bytes, tuple[Principal, int]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether every request may do everything, for lack of tokens."""
        return not self._tokens

    def principal(self, headers: Headers, login: str | None) -> Principal:
        """The principal of a request with these headers and the secret of a login, if any.

        ``ANONYMOUS`` without a credential.

        Raises ``ProblemError`` (401) for a credential that is wrong: silently treating it as none
        would hide an expired login or a mistyped token.
        """
        if self.is_open:
            return UNRESTRICTED
        given = headers.getlist("authorization")
        if len(given) > 1:
            raise unauthenticated("more than one Authorization header", "invalid_request")
        if given:
            return self.of_header(given[0])
        return ANONYMOUS if login is None else self._of_login(login)

    def of_header(self, value: str) -> Principal:
        """The principal of an Authorization header. Raises ``ProblemError`` (401)."""
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated(
                "only 'Authorization: Bearer TOKEN' is understood", "invalid_request"
            )
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found: Principal | None = None
        for known in self._tokens:  # all of them, so that the time reveals nothing
            if hmac.compare_digest(known.digest, digest):
                found = known.principal
        if found is None:
            raise unauthenticated("the token is not one of api.tokens", "invalid_token")
        return found

    def log_in(self, principal: Principal) -> str:
        """A new secret for a cookie, valid as ``principal`` for ``LOGIN_LIFETIME_S``."""
        secret = secrets.token_urlsafe(32)
        expires_ns = self._clock.monotonic_ns() + seconds_to_ns(LOGIN_LIFETIME_S)
        self._logins[_digest(secret)] = (principal, expires_ns)
        if len(self._logins) > LOGINS_KEPT:
            self._logins.popitem(last=False)
        return secret

    def log_out(self, secret: str) -> None:
        """Forget a login; one that is not known is no error."""
        self._logins.pop(_digest(secret), None)

    def _of_login(self, secret: str) -> Principal:
        # Looked up by its digest, about which the time of a lookup reveals nothing useful.
        digest = _digest(secret)
        principal, expires_ns = self._logins.get(digest, (ANONYMOUS, 0))
        if principal is ANONYMOUS or self._clock.monotonic_ns() >= expires_ns:
            self._logins.pop(digest, None)
            raise unauthenticated("the login has expired; log in again", "invalid_token")
        return principal

    def _add(self, key: str, config: TokenConfig, environment: Mapping[str, str]) -> None:
        if config.token_env is not None:
            key = f"{key}.token_env"
            value = environment.get(config.token_env)
            if value is None:
                raise ConfigError(
                    f"{key}: the environment variable {config.token_env} is not set; export it"
                )
            where = config.token_env
        else:
            key, where = f"{key}.token_file", str(config.token_file)
            value = _read(key, Path(where))
        value = value.strip("\r\n")
        if len(value) < SHORTEST_TOKEN:
            raise ConfigError(
                f"{key}: the token in {where} has {len(value)} characters, at least "
                f"{SHORTEST_TOKEN} are needed; {_MAKE_ONE}"
            )
        if not _TOKEN.fullmatch(value):
            raise ConfigError(
                f"{key}: {where} must hold one token and nothing else, of letters, digits and "
                f"-._~+/ (RFC 6750); {_MAKE_ONE}"
            )
        digest = _digest(value)
        for known in self._tokens:
            if hmac.compare_digest(known.digest, digest):
                raise ConfigError(
                    f"{key}: the same token as that of {known.principal.name}; each needs its own"
                )
        scopes = frozenset(Scope(scope) for scope in config.scopes)
        if Scope.CONTROL in scopes:
            scopes |= {Scope.READ}
        self._tokens.append(_Token(Principal(config.name, scopes), digest))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _read(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TOKEN + 2)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from None
    if len(content) > LONGEST_TOKEN:
        raise ConfigError(
            f"{key}: {path} is larger than {LONGEST_TOKEN} bytes; it must hold one token and "
            "nothing else"
        )
    if mode & 0o007:
        _log.warning(
            "%s: every user of this machine can read %s; run `chmod o= %s`", key, path, path
        )
    return content.decode("utf-8", "replace")


def for_owner(application: ASGIApp) -> ASGIApp:
    """``application`` for a Unix socket of mode 0600, whose permissions are the credential.

    Its requests carry their principal already: no token, host name, origin or rate is checked.
    """

    async def serve(scope: Scope_, receive: Receive, send: Send) -> None:
        scope["state"] = {**scope.get("state", {}), PRINCIPAL: OWNER, CREDENTIAL_PROBLEM: None}
        await application(scope, receive, send)

    return serve


_BEARER = HTTPBearer(scheme_name="bearer", description="A token of `api.tokens`.", auto_error=False)
_COOKIE = APIKeyCookie(
    name="masklet_login",
    scheme_name="login",
    description="Set by `POST /v1/login`; its name ends in the server's port, and over TLS "
    "begins with `__Host-`.",
    auto_error=False,
)


def _require(connection: HTTPConnection, needed: SecurityScopes) -> Principal:
    """Raises ``ProblemError``: 401 without a credential, 403 when it lacks a scope."""
    principal: Principal = connection.scope["state"][PRINCIPAL]
    for scope in needed.scopes:
        if scope in principal.scopes:
            continue
        if (problem := connection.scope["state"][CREDENTIAL_PROBLEM]) is not None:
            raise problem
        if principal is ANONYMOUS:
            raise unauthenticated(f"a token with the scope {scope} is needed")
        raise forbidden(f"the token {principal.name} lacks the scope {scope}", scope)
    return principal


def _described(
    connection: HTTPConnection,
    needed: SecurityScopes,
    _bearer: Annotated[object, Security(_BEARER)],
    _cookie: Annotated[object, Security(_COOKIE)],
) -> Principal:
    """``_require``, with the two ways to give a credential in the OpenAPI document."""
    return _require(connection, needed)


reads = Security(_described, scopes=[Scope.READ])
controls = Security(_described, scopes=[Scope.CONTROL])
publishes = Security(_described, scopes=[Scope.PUBLISH])
# For WebSockets: OpenAPI does not describe them, and HTTPBearer wants a request.
reads_websocket = Security(_require, scopes=[Scope.READ])
controls_websocket = Security(_require, scopes=[Scope.CONTROL])
