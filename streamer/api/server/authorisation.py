"""Authorisation: bearer tokens with scopes, and the login cookie that replaces one in a browser.

``read`` sees everything, ``control`` changes streams and objects and reads, ``publish`` sends a
camera by WHIP. A token may be bound to streams. A route says what it needs with one of the
dependencies at the end of this file, which are the only place that decides on both; a route
without one is a mistake that a test finds.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Scope_

from streamer.api.server.principals import (
    ANONYMOUS,
    CREDENTIAL_PROBLEM,
    OWNER,
    PRINCIPAL,
    UNRESTRICTED,
    Login,
    Principal,
    Scope,
)
from streamer.api.server.problems import ProblemError, forbidden, unauthenticated
from streamer.config.network import TokenConfig
from streamer.errors import ConfigError
from streamer.runtime.credentials import from_environment

SHORTEST_TOKEN = 20
LONGEST_TOKEN = 4096
# RFC 6750, section 2.1: what a bearer token may be made of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
LOGIN_LIFETIME_S = 12 * 3600.0
# Bound: the oldest login of a token ends when another comes; those of other tokens stay.
LOGINS_PER_TOKEN = 64
_MAKE_ONE = "make one with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    principal: Principal
    digest: bytes


class Authorisation:
    """Holds the tokens, as SHA-256 only, and the logins."""

    def __init__(
        self,
        tokens: Sequence[TokenConfig],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that is missing, short or malformed."""
        self._tokens: list[_Token] = []
        for index, token in enumerate(tokens):
            self._add(f"api.tokens[{index}]", token, environment)
        self._logins: OrderedDict[bytes, Principal] = OrderedDict()

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
                "only 'Authorization: Bearer TOKEN' is understood; a proxy that asks for a "
                "password must not pass it on",
                "invalid_request",
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
        of_token = [each.login for each in self._logins.values() if each == principal]
        if len(of_token) >= LOGINS_PER_TOKEN and of_token[0] is not None:
            of_token[0].end()
        secret = secrets.token_urlsafe(32)
        digest = _digest(secret)
        login = Login(LOGIN_LIFETIME_S, on_ended=lambda: self._forget(digest))
        self._logins[digest] = replace(principal, login=login)
        return secret

    def log_out(self, secret: str) -> None:
        """End a login and what was opened with it; one that is not known is no error."""
        # Looked up by its digest, about which the time of a lookup reveals nothing useful.
        principal = self._logins.get(_digest(secret))
        if principal is not None and principal.login is not None:
            principal.login.end()

    def _of_login(self, secret: str) -> Principal:
        principal = self._logins.get(_digest(secret))
        if principal is None:
            raise unauthenticated("the login has expired; log in again", "invalid_token")
        return principal

    def _forget(self, digest: bytes) -> None:
        del self._logins[digest]

    def _add(self, key: str, config: TokenConfig, environment: Mapping[str, str]) -> None:
        if config.token_env is not None:
            key = f"{key}.token_env"
            value = from_environment(key, config.token_env, environment)
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
        streams = None if config.streams is None else tuple(config.streams)
        self._tokens.append(_Token(Principal(config.name, scopes, streams), digest))


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


def check_stream(principal: Principal, stream_id: str) -> None:
    """Raise ``ProblemError`` (403) for a stream that the principal is not bound to.

    It is the same for streams that exist and that do not: it reveals nothing.
    """
    if not principal.may_use(stream_id):
        raise ProblemError(
            403,
            f"the token {principal.name} is bound to other streams than {stream_id[:64]!r} "
            "(api.tokens, streams)",
            "stream_not_allowed",
        )


def _require_scope(connection: HTTPConnection, needed: SecurityScopes) -> Principal:
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


def _require(connection: HTTPConnection, needed: SecurityScopes) -> Principal:
    """``_require_scope``, and 403 when it is bound to other streams than the one in the path.

    A path without a stream concerns all of them: a bound token is refused.
    """
    principal = _require_scope(connection, needed)
    stream_id = connection.path_params.get("stream_id")
    if stream_id is not None:
        check_stream(principal, stream_id)
    elif principal.streams is not None:
        raise ProblemError(
            403,
            f"the token {principal.name} is bound to streams (api.tokens, streams), and this "
            "concerns all of them",
            "stream_not_allowed",
        )
    return principal


def may_publish(connection: HTTPConnection) -> bool:
    """Whether the sender may publish to the stream in the path.

    Raises ``ProblemError`` (401) for a credential that is wrong.
    """
    if (problem := connection.scope["state"][CREDENTIAL_PROBLEM]) is not None:
        raise problem
    try:
        _require(connection, SecurityScopes([Scope.PUBLISH]))
    except ProblemError:
        return False
    return True


_Bearer = Annotated[object, Security(_BEARER)]
_Cookie = Annotated[object, Security(_COOKIE)]


def _described(
    connection: HTTPConnection, needed: SecurityScopes, _bearer: _Bearer, _cookie: _Cookie
) -> Principal:
    """``_require``, with the two ways to give a credential in the OpenAPI document."""
    return _require(connection, needed)


def _described_scope(
    connection: HTTPConnection, needed: SecurityScopes, _bearer: _Bearer, _cookie: _Cookie
) -> Principal:
    """``_require_scope``, likewise."""
    return _require_scope(connection, needed)


# For routes that concern the stream in their path, or all streams.
reads = Security(_described, scopes=[Scope.READ])
controls = Security(_described, scopes=[Scope.CONTROL])
publishes = Security(_described, scopes=[Scope.PUBLISH])
# For WebSockets: OpenAPI does not describe them, and HTTPBearer wants a request.
reads_websocket = Security(_require, scopes=[Scope.READ])
controls_websocket = Security(_require, scopes=[Scope.CONTROL])
# Parameters of routes that show or change only what ``may_use`` and ``check_stream`` allow.
Reader = Annotated[Principal, Security(_described_scope, scopes=[Scope.READ])]
Controller = Annotated[Principal, Security(_described_scope, scopes=[Scope.CONTROL])]
Publisher = Annotated[Principal, Security(_described_scope, scopes=[Scope.PUBLISH])]
