"""The page where the daemon wants tokens and speaks TLS with a certificate of its own making, and
behind nginx under a prefix."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.deploy.nginx import nginx
from tests.integration.browser.chromium import visit
from tests.integration.browser.conftest import SCENE, Served, serving
from tests.integration.browser.live_page import LivePage

OWNER, GUEST = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
TOKENS = (
    "api.tokens=[{name: me, scopes: [control, publish], token_env: OWNER_TOKEN},"
    "{name: guest, scopes: [read], token_env: GUEST_TOKEN}]"
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that knows an owner and a guest."""
    with serving(
        tmp_path_factory.mktemp("guarded"),
        TOKENS,
        "api.self_signed=true",
        "api.trusted_proxies=[127.0.0.1]",
        scheme="https",
        token=OWNER,
        environment={"OWNER_TOKEN": OWNER, "GUEST_TOKEN": GUEST},
    ) as made:
        yield made


def sign_in(page: LivePage, token: str) -> None:
    page.page.get_by_label("Token").fill(token)
    page.page.get_by_role("button", name="Sign in").click()


def test_owner_signs_in_publishes_and_points_and_guest_only_watches(
    guarded: Served, browser: Browser, tmp_path: Path
) -> None:
    origin = guarded.http.origin
    with (
        nginx(tmp_path, origin.replace("localhost", "127.0.0.1")) as prefixed,
        visit(browser, origin, ignore_https_errors=True) as visitor,
    ):
        page = LivePage(visitor, SCENE)
        page.open()
        sign_in(page, "wrong-token-that-was-never-issued")
        expect(page.page.get_by_role("alert").filter(has_text="not known")).to_be_visible()
        visitor.screenshot("sign in")
        sign_in(page, OWNER)
        page.publish("camera")
        page.wait_for_picture()
        page.click(3)
        expect(page.rows).to_have_count(1)
        # The token is nowhere that a script of the page could read it.
        kept = page.page.evaluate(
            "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
        )
        assert OWNER not in kept

        with visit(browser, prefixed, ignore_https_errors=True) as other:
            guest = LivePage(other, SCENE)
            guest.page.goto(f"{prefixed}#/streams/camera")
            sign_in(guest, GUEST)
            guest.wait_for_picture()
            expect(guest.rows).to_have_count(1)
            expect(guest.page.get_by_role("button", name="Remove stream")).to_have_count(0)
            expect(guest.page.get_by_role("button", name="Use this device")).to_be_hidden()
            guest.click(1)
            expect(guest.notes).to_contain_text("may look, not change")
            guest.page.get_by_role("button", name="Sign out").click()
            expect(guest.page.get_by_label("Token")).to_be_visible()
            guest.page.reload()
            expect(guest.page.get_by_label("Token")).to_be_visible()
            addresses = [request.url for request in other.requested]
            assert [each for each in addresses if not each.startswith(prefixed)] == []
        assert guarded.http.stream("camera")["object_ids"] == [1]
        # What was refused is all that the browser complained about.
        assert [each for each in visitor.complaints if "401" not in each] == []
        assert visitor.foreign_requests() == []
    assert OWNER not in guarded.daemon.log_file.read_text()
