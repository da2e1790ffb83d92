"""Login and logout: a cookie for requests to which a browser adds no header."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from streamer.api.access import Access
from streamer.api.schemas.common import Login
from streamer.api.server.authorisation import LOGIN_LIFETIME_S
from streamer.api.server.principals import (
    ANONYMOUS,
    CREDENTIAL_PROBLEM,
    OWNER,
    PRINCIPAL,
    Principal,
)
from streamer.api.server.problems import problems, unauthenticated


def session_router(access: Access) -> APIRouter:
    """``/v1/login`` and ``/v1/logout``."""
    router = APIRouter(tags=["session"])

    @router.post("/v1/login", responses=problems(401, 403))
    async def log_in(request: Request, response: Response) -> Login:
        """Exchange a token (``Authorization: Bearer TOKEN``) for a cookie.

        Browsers send no header with ``EventSource``, ``WebSocket`` and ``img``; they send the
        cookie. Scripts cannot read it, other sites cannot use it, and it ends after 12 hours, with
        the daemon, or when the same token has made 64 newer ones.
        """
        principal: Principal = request.scope["state"][PRINCIPAL]
        if problem := request.scope["state"][CREDENTIAL_PROBLEM]:
            raise problem
        if access.authorisation.is_open or principal is OWNER:
            return Login(name=principal.name, scopes=sorted(principal.scopes))
        if principal is ANONYMOUS or "authorization" not in request.headers:
            raise unauthenticated("send the token as 'Authorization: Bearer TOKEN'")
        secret = access.authorisation.log_in(principal)
        access.cookie.set(response, request, secret, LOGIN_LIFETIME_S)
        return Login(name=principal.name, scopes=sorted(principal.scopes))

    @router.post("/v1/logout", status_code=204, responses=problems(403))
    async def log_out(request: Request, response: Response) -> None:
        """End the login of this browser, and the connections it opened."""
        if secret := access.cookie.read(request):
            access.authorisation.log_out(secret)
        access.cookie.delete(response, request)

    return router
