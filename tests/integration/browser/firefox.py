"""Debian's Firefox, headless, driven over WebDriver BiDi: Playwright drives only its own build.

A machine without the browser fails these tests instead of skipping them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conftest import eventually
from tests.integration.browser.chromium import ARTEFACTS

EXECUTABLE = os.environ.get("FIREFOX", "/usr/bin/firefox-esr")
WAIT_S = 60.0
_PREFERENCES = {
    # A camera that is no device, and no question whether a page may have it.
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    # The daemon of a test is reached over loopback only, and nothing answers multicast DNS here.
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # No requests to its maker.
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "media.gmp-manager.updateEnabled": False,
}
_SCRIPTS = [Path(__file__).with_name(name) for name in ("frame_counter.js", "instruments.js")]


class Firefox:
    """One page in Firefox: scripts, clicks, and what it complained about."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)
        self.complaints: list[str] = []
        self._call("session.new", capabilities={})
        self._call("session.subscribe", events=["log.entryAdded"])
        (tab,) = self._call("browsingContext.getTree")["contexts"]
        self._context = tab["context"]
        for script in _SCRIPTS:
            function = f"() => {{ {script.read_text()} }}"
            self._call("script.addPreloadScript", functionDeclaration=function)

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression, or of the promise that it is."""
        answer = self._call(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((it) => JSON.stringify(it) ?? 'null')",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true; its value."""
        return eventually(lambda: self.evaluate(expression), WAIT_S, expression)

    def click(self, selector: str, x_share: float = 0.5, y_share: float = 0.5) -> None:
        """Click on an element, where ``x_share`` and ``y_share`` of its width and height are."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"{element} !== null")
        x, y, width, height = self.evaluate(
            f"(({{ x, y, width, height }}) => [x, y, width, height])"
            f"({element}.getBoundingClientRect())"
        )
        place = {"x": round(x + x_share * width), "y": round(y + y_share * height)}
        actions = [
            {"type": "pointerMove", **place},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._call(
            "input.performActions",
            context=self._context,
            actions=[{"type": "pointer", "id": "mouse", "actions": actions}],
        )

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page among the artefacts of this run."""
        taken = self._call("browsingContext.captureScreenshot", context=self._context)
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        (ARTEFACTS / f"{name}.png").write_bytes(b64decode(taken["data"]))

    def close(self) -> None:
        """End the browser."""
        self._call("browser.close")

    def _call(self, method: str, **parameters: object) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(WAIT_S))
            if message.get("method") == "log.entryAdded":
                entry = message["params"]
                if entry["level"] in ("warn", "error"):
                    self.complaints.append(f"{entry['level']}: {entry['text']}")
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """A browser whose profile lies in ``folder``."""
    if not Path(EXECUTABLE).exists():
        pytest.fail(
            f"{EXECUTABLE} is missing: run deploy/install-system-packages deploy/test-packages.txt"
        )
    profile, log = folder / "profile", folder / "firefox.log"
    profile.mkdir()
    (profile / "user.js").write_text(
        "".join(
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in _PREFERENCES.items()
        )
    )
    with log.open("w") as output:
        process = subprocess.Popen(
            [EXECUTABLE, "--headless", "--remote-debugging-port=0", "--profile", str(profile)],
            env={**os.environ, "HOME": str(folder)},
            stdout=output,
            stderr=output,
        )

    def listening() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())

    try:
        address = eventually(listening, WAIT_S, "Firefox to listen").group(1)
        with connect(f"{address}/session", max_size=None, proxy=None) as socket:
            browser = Firefox(socket)
            yield browser
            browser.close()
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
