"""One daemon, one browser and one camera for the tests of this folder; a page for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import find_free_port
from tests.integration.browser.chromium import chromium, visit
from tests.integration.browser.live_page import LivePage
from tests.integration.browser.scene import Scene
from tests.integration.webrtc.http_client import HttpClient
from tests.masklet_process import Daemon, Masklet

# Only used up by a test that fails, as in ``eventually``.
expect.set_options(timeout=60_000)

SCENE = Scene(turn=90)
MEDIA_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class Served:
    """A running daemon, and a client that may do everything there."""

    daemon: Daemon
    http: HttpClient


@contextmanager
def serving(
    folder: Path,
    *settings: str,
    scheme: str = "http",
    token: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Served]:
    """``masklet run`` with nano, no streams and an API port of its own; ``token`` is for us."""
    port = find_free_port()
    http = HttpClient(f"{scheme}://localhost:{port}", token)
    with Masklet(folder, environment=environment or {}).daemon(
        f"api.port={port}",
        "state_directory=none",
        f"webrtc.media_timeout_s={MEDIA_TIMEOUT_S}",
        # A click on a busy machine takes a while; what it hits must not depend on that.
        "history.duration_s=10",
        *settings,
    ) as daemon:
        http.wait_until_ready(daemon)
        yield Served(daemon, http)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera shows."""
    return SCENE.write(tmp_path_factory.mktemp("scene") / "scene.y4m")


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that waits for publishers."""
    with serving(tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture(scope="package")
def browser(clip: Path) -> Iterator[Browser]:
    """Chromium, its camera showing the clip."""
    with chromium(clip) as made:
        yield made


Visiting = Callable[..., AbstractContextManager[LivePage]]


@pytest.fixture
def visiting(browser: Browser, served: Served) -> Visiting:
    """``with visiting(color_scheme="dark") as page``: a visitor of its own. Afterwards, no page has
    logged an error or sent a request to another server."""

    @contextmanager
    def visiting_page(**options: object) -> Iterator[LivePage]:
        with visit(browser, served.http.origin, **options) as visitor:
            yield LivePage(visitor, SCENE)
            visitor.assert_at_peace()

    return visiting_page


@pytest.fixture(scope="module")
def camera(browser: Browser, served: Served) -> Iterator[str]:
    """The id of a stream published throughout, from a page of its own."""
    with visit(browser, served.http.origin) as visitor:
        page = LivePage(visitor, SCENE)
        page.open()
        page.publish("camera")
        yield "camera"


@pytest.fixture
def no_objects(served: Served, camera: str) -> Iterator[str]:
    """The published stream, following nothing before and after the test."""

    def remove_all() -> None:
        for each in served.http.get(f"/v1/streams/{camera}/objects")["objects"]:
            served.http.call("DELETE", f"/v1/streams/{camera}/objects/{each['id']}")

    remove_all()
    yield camera
    remove_all()
