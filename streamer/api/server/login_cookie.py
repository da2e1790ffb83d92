"""The cookie that holds a login, by how the browser reaches the server: over TLS or not."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response


class LoginCookie:
    """Reads, sets and deletes the cookie of a server at ``port``.

    A browser keeps cookies by host, not by port: two daemons on one machine need two names. Over
    TLS the name begins with ``__Host-``: neither a page over plain HTTP nor a neighbouring host
    can set such a cookie (RFC 6265bis, section 4.1.3.2).
    """

    def __init__(self, port: int) -> None:
        self._name = f"masklet_login_{port}"

    def read(self, connection: HTTPConnection) -> str | None:
        """The secret that a request carries."""
        return connection.cookies.get(self._name_for(connection))

    def set(
        self, response: Response, connection: HTTPConnection, secret: str, lifetime_s: float
    ) -> None:
        """Let the browser that sent ``connection`` keep ``secret``."""
        response.set_cookie(
            self._name_for(connection),
            secret,
            max_age=round(lifetime_s),
            secure=is_secure(connection),
            httponly=True,
            samesite="strict",
        )

    def delete(self, response: Response, connection: HTTPConnection) -> None:
        """Let the browser forget it."""
        response.delete_cookie(
            self._name_for(connection),
            secure=is_secure(connection),
            httponly=True,
            samesite="strict",
        )

    def _name_for(self, connection: HTTPConnection) -> str:
        return f"__Host-{self._name}" if is_secure(connection) else self._name


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the client reached the server over TLS, ended here or by a trusted proxy."""
    return connection.scope["scheme"] in ("https", "wss")
