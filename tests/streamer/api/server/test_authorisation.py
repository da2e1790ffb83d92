"""Authorisation: tokens, scopes, logins, and open routes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from streamer.api.server import authorisation as authorisation_module
from streamer.api.server.authorisation import LOGINS_PER_TOKEN, Authorisation
from streamer.api.server.principals import LoginEndedError, Principal, Scope
from streamer.api.server.problems import ProblemError
from streamer.config.network import ApiConfig, TokenConfig
from streamer.errors import ConfigError
from tests.streamer.api.serving import (
    CONTROL,
    PUBLISH,
    READ,
    WAIT_S,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    with_tokens,
)

OPEN = ("/healthz", "/readyz", "/", "/static/main.js", "/openapi.json")
STREAM = {"id": "yard", "url": "synthetic://match"}


async def test_without_tokens_everything_is_open() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        assert (await client.get("/v1/streams")).status_code == 200
        assert (await client.delete("/v1/streams/gate")).status_code == 204
        info = (await client.get("/v1/info")).json()
    assert info["open"] is True
    assert info["scopes"] == ["control", "publish", "read"]


@pytest.mark.parametrize("path", OPEN)
async def test_health_and_page_need_no_token(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        assert (await client.get(path)).status_code == 200
        # An expired login must not block the page.
        cookie = {"Cookie": "masklet_login_0=ended"}
        assert (await client.get(path, headers=cookie)).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/v1/info", "/v1/streams", "/v1/events"])
async def test_everything_else_needs_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        refused = await client.get(path)
        problem(refused, 401, "unauthenticated")
        assert refused.headers["www-authenticate"] == 'Bearer realm="masklet"'


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong-token-of-a-good-length",
        "Bearer",
        f"Basic {CONTROL}",
        f"Bearer {CONTROL[:-1]}",
        f"Bearer {CONTROL}x",
        f"Bearer {CONTROL.upper()}",
    ],
)
async def test_wrong_credential_is_reported(
    authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        refused = await client.get("/v1/streams", headers={"Authorization": authorization})
        problem(refused, 401, "unauthenticated")
        assert 'error="inv' in refused.headers["www-authenticate"]
        assert CONTROL[:-1] not in refused.text


async def test_scheme_may_be_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        given = {"Authorization": f"bearer {READ}"}
        assert (await client.get("/v1/streams", headers=given)).status_code == 200


async def test_two_credentials_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        twice = [("Authorization", f"Bearer {READ}"), ("Authorization", f"Bearer {CONTROL}")]
        problem(await client.get("/v1/streams", headers=twice), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("token", "reads", "controls", "publishes"),
    [(READ, 200, 403, 403), (CONTROL, 200, 201, 403), (PUBLISH, 403, 403, 415)],
)
async def test_scopes(
    token: str, reads: int, controls: int, publishes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        client.headers.update(bearer(token))
        assert (await client.get("/v1/streams")).status_code == reads
        added = await client.post("/v1/streams", json=STREAM)
        assert added.status_code == controls
        if controls == 403:
            problem(added, 403, "insufficient_scope")
            assert 'scope="control"' in added.headers["www-authenticate"]
        assert (await client.post("/v1/streams/gate/whip")).status_code == publishes


async def test_login_gives_a_cookie_that_scripts_cannot_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        problem(await client.post("/v1/login"), 401, "unauthenticated")
        logged_in = await client.post("/v1/login", headers=bearer(READ))
        assert logged_in.json() == {"name": "viewer", "scopes": ["read"]}
        cookie = logged_in.headers["set-cookie"]
        assert f"masklet_login_{client.base_url.port}=" in cookie
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            assert attribute in cookie
        assert "Secure" not in cookie  # it is plain HTTP
        assert READ not in cookie
        assert (await client.get("/v1/streams")).status_code == 200
        problem(await client.post("/v1/streams", json=STREAM), 403, "insufficient_scope")
        # A cookie is no token: it cannot make another login.
        problem(await client.post("/v1/login"), 401, "unauthenticated")
        kept = dict(client.cookies)
        assert (await client.post("/v1/logout")).status_code == 204
        assert not client.cookies
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}
        problem(await client.get("/v1/streams", headers=header), 401, "unauthenticated")


async def test_cookie_cannot_be_used_by_other_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        await client.post("/v1/login", headers=bearer(CONTROL))
        foreign = {"Origin": "https://evil.example"}
        problem(
            await client.post("/v1/streams", json=STREAM, headers=foreign),
            403,
            "origin_not_allowed",
        )
        own = {"Origin": str(client.base_url)}
        assert (await client.post("/v1/streams", json=STREAM, headers=own)).status_code == 201
        # A token in a header is nothing that a browser adds by itself.
        token = foreign | bearer(CONTROL)
        assert (await client.delete("/v1/streams/yard", headers=token)).status_code == 204


def tokens(*configs: TokenConfig, environment: dict[str, str] | None = None) -> Authorisation:
    return Authorisation(configs, environment or {})


def of_cookie(authorisation: Authorisation, secret: str) -> Principal | None:
    """The principal of a request with this cookie; None for a login that has ended."""
    try:
        return authorisation.principal(Headers(), secret)
    except ProblemError:
        return None


async def test_login_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorisation_module, "LOGIN_LIFETIME_S", 0.05)
    config = TokenConfig(name="viewer", scopes=["read"], token_env="TOKEN")
    authorisation = tokens(config, environment={"TOKEN": READ})
    secret = authorisation.log_in(authorisation.of_header(f"Bearer {READ}"))
    principal = of_cookie(authorisation, secret)
    assert principal is not None
    assert principal.name == "viewer"
    ended = asyncio.Event()
    with principal.closing(ended.set):
        await asyncio.wait_for(ended.wait(), WAIT_S)
    assert of_cookie(authorisation, secret) is None
    with pytest.raises(LoginEndedError):
        async with principal.lasting():  # a request that was admitted a moment before
            await asyncio.Event().wait()


async def test_token_ends_its_own_oldest_login_and_no_other() -> None:
    authorisation = tokens(
        TokenConfig(name="wall", scopes=["read"], token_env="READ"),
        TokenConfig(name="me", scopes=["read"], token_env="CONTROL"),
        environment={"READ": READ, "CONTROL": CONTROL},
    )
    mine = authorisation.log_in(authorisation.of_header(f"Bearer {CONTROL}"))
    wall = authorisation.of_header(f"Bearer {READ}")
    logins = [authorisation.log_in(wall) for _ in range(LOGINS_PER_TOKEN + 1)]
    assert of_cookie(authorisation, mine)
    assert of_cookie(authorisation, logins[0]) is None
    assert all(of_cookie(authorisation, each) for each in logins[1:])


def test_control_implies_read_and_not_publish() -> None:
    authorisation = tokens(
        TokenConfig(name="operator", scopes=["control"], token_env="TOKEN"),
        environment={"TOKEN": CONTROL},
    )
    assert authorisation.of_header(f"Bearer {CONTROL}").scopes == {Scope.CONTROL, Scope.READ}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters, at least 20 are needed"),
        (b"short\n", "has 5 characters, at least 20 are needed"),
        (b"two words of some length\n", "one token and nothing else"),
        (b"first-token-of-a-good-length\nsecond\n", "one token and nothing else"),
        (b"\xff" * 30, "one token and nothing else"),
        (b"x" * 5000, "larger than 4096 bytes"),
    ],
)
def test_wrong_token_file_is_refused_by_its_key(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    config = TokenConfig(name="me", scopes=["read"], token_file=str(file))
    with pytest.raises(ConfigError, match=r"api\.tokens\[0\]\.token_file: ") as raised:
        tokens(config)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
    assert "second" not in str(raised.value)


def test_missing_tokens_are_refused_by_their_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokens\[0\]\.token_env: .* NOT_SET is not set"):
        tokens(TokenConfig(name="me", scopes=["read"], token_env="NOT_SET"))
    missing = TokenConfig(name="me", scopes=["read"], token_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"tokens\[0\]\.token_file: .*none cannot be read"):
        tokens(missing)
    twice = [TokenConfig(name=name, scopes=["read"], token_env="TOKEN") for name in ("one", "two")]
    with pytest.raises(ConfigError, match="the same token as that of one"):
        tokens(*twice, environment={"TOKEN": READ})


def test_token_file_may_end_in_a_newline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text(READ + "\n")
    file.chmod(0o600)
    config = TokenConfig(name="me", scopes=["read"], token_file=str(file))
    assert tokens(config).of_header(f"Bearer {READ}").name == "me"
    assert not caplog.records
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        tokens(config)
    assert "every user of this machine can read" in caplog.text


def test_nothing_of_a_token_is_kept_or_shown() -> None:
    authorisation = tokens(
        TokenConfig(name="me", scopes=["read"], token_env="TOKEN"), environment={"TOKEN": READ}
    )
    assert READ not in repr(vars(authorisation))


def test_open_server_on_another_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"api\.host '0\.0\.0\.0'.*give api\.tokens"):
        ApiConfig.read({"host": "0.0.0.0"}, "api")
