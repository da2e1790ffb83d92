"""Who may do what over HTTP: what a daemon's API and a fleet's gateway have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.api.server.authorisation import Authorisation
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.server.principals import OWNER
from streamer.config.network import ApiConfig
from streamer.runtime.shares import Shares


@dataclass(slots=True)
class Access:
    """Who may do what over HTTP: the tokens, the streams that may be open, and the login's cookie,
    which is renewed once the port is known.
    """

    authorisation: Authorisation = field(init=False)
    open_streams: Shares = field(init=False)
    cookie: LoginCookie = field(init=False)

    def read(self, api: ApiConfig) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that cannot be used."""
        self.authorisation = Authorisation(api.tokens if api.enabled else ())
        self.open_streams = Shares(
            api.limits.open_streams,
            (OWNER.name, *api.token_names("read")) if api.tokens else (),
            "event, picture and result connections (api.limits.open_streams)",
        )
        self.cookie = LoginCookie(api.port)
