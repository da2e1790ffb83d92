"""The OpenAPI document against a running daemon: it is accurate, no request breaks it, and no
token does more than its scopes allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from streamer import app as app_module
from streamer.app import App
from streamer.config.network import ApiLimitsConfig
from streamer.config.schema import ControlConfig, MaskletConfig, MetricsConfig, ZeroMQConfig
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig
from tests.streamer.api.serving import CONTROL, PUBLISH, READ, WAIT_S, bearer, with_tokens
from tracker import Tracker

EXAMPLES = 3
# Endless answers; searches, which take the time that two busy processors leave; and WebRTC, whose
# SDP offers are fuzzed elsewhere.
ENDLESS = r"/v1/events|.*\.mjpeg|.*/segments|.*/wh[ie]p.*"
SCENE = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"
KNOWN = {"stream_id": ["gate"], "stream": ["gate"], "object_id": [1, 2]}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    ignored_auth,
]


CALLERS = {"none": {}, "read": bearer(READ), "publish": bearer(PUBLISH), "control": bearer(CONTROL)}


def insufficient(method: str, path: str) -> list[tuple[str, dict[str, str]]]:
    """The credentials that must not be enough for a request; by rules written down once more."""
    if path in ("/healthz", "/readyz", "/v1/login", "/v1/logout"):
        return []
    if "/whip" in path:
        enough = {"publish"}
    elif method == "GET" or "/whep" in path:
        enough = {"read", "control"}
    else:
        enough = {"control"}
    return [(scope, headers) for scope, headers in CALLERS.items() if scope not in enough]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemon")


@pytest.fixture(scope="module")
def owner(folder: Path) -> Iterator[httpx.Client]:
    """A client of the control socket."""
    transport = httpx.HTTPTransport(uds=str(folder / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_S) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint(folder: Path) -> Iterator[str]:
    """A daemon with a scene, in a thread of its own."""
    patch = pytest.MonkeyPatch()
    patch.setattr(app_module, "MAXIMUM_STREAMS", 3)  # two processors are soon busy
    limits = ApiLimitsConfig(requests_per_s=10_000, burst=10_000)
    config = MaskletConfig(
        streams={"gate": StreamConfig(url=SCENE, starter=StarterConfig(kind="boxes"))},
        zeromq=ZeroMQConfig(endpoint="tcp://127.0.0.1:*"),
        metrics=MetricsConfig(enabled=False),
        api=with_tokens(patch, limits=limits),
        control=ControlConfig(endpoint=f"ipc://{folder}/control.sock"),
        state_directory="none",
    )
    started: threading.Event = threading.Event()
    daemon: list[tuple[asyncio.AbstractEventLoop, App]] = []

    async def run() -> None:
        app = App(config, tracker=Tracker.random("nano", seed=0))
        daemon.append((asyncio.get_running_loop(), app))
        running = asyncio.create_task(app.run())
        waiting = asyncio.create_task(app.started.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        started.set()
        await running

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(WAIT_S)
    loop, app = daemon[0]
    assert app.endpoints.api is not None
    yield app.endpoints.api
    loop.call_soon_threadsafe(app.request_stop)
    thread.join(WAIT_S)
    patch.undo()
    assert not thread.is_alive()


def with_known_names(endpoint: str) -> dict[str, Any]:
    """The document, with values that lead somewhere where any text would be allowed."""
    document: dict[str, Any] = httpx.get(f"{endpoint}/openapi.json").json()
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in KNOWN:
                    parameter["schema"] = {"enum": KNOWN[parameter["name"]]}
    schemas = document["components"]["schemas"]
    for name in ("NewStream", "StreamChange"):
        # Without frames, every prompt would wait for its ten seconds.
        schemas[name]["properties"] |= {
            "url": {"enum": [SCENE]},
            "paused": {"enum": [False]},
            "max_rate_hz": {"enum": [None, 8]},
        }
    for name in ("NewObject", "PromptBody"):
        schemas[name]["properties"] |= {
            "frame": {"enum": [{}, None]},
            "mask": {"enum": [None]},
            "box": {"enum": [[10, 10, 80, 60], [0, 0, 160.5, 96]]},
        }
        schemas[name]["required"] = ["box"]
    # A frame that is still to come, or that was tracked a moment ago.
    stream = httpx.get(f"{endpoint}/v1/streams/gate", headers=bearer(CONTROL)).json()
    schemas["Detections"]["properties"] |= {
        "frame_index": {"enum": [stream["frames_decoded"] + 128]},
        "capture_time_ns": {"enum": [None]},
        "session_id": {"enum": [None]},
        "boxes": {"enum": [[], [{"box": [10, 10, 80, 60], "label": "ball"}]]},
    }
    schemas["Detections"]["required"] = ["boxes", "frame_index"]
    schemas["Point"]["properties"] |= {"x": {"enum": [0, 159.9]}, "y": {"enum": [0, 95]}}
    return document


def test_document_is_true_and_scopes_hold(endpoint: str, owner: httpx.Client) -> None:
    """One test, because schemathesis' own plugin does not know the newest pytest."""
    document = schemathesis.openapi.from_dict(with_known_names(endpoint))
    document = document.exclude(path_regex=ENDLESS).exclude(path="/v1/stop")
    operations = [found.ok() for found in document.get_all_operations()]
    session = requests.Session()
    answered: defaultdict[str, set[int]] = defaultdict(set)
    # Detections first, for their frame has not passed yet; the stream is removed last.
    operations.sort(
        key=lambda each: (
            each.label == "DELETE /v1/streams/{stream_id}",
            not each.label.endswith("/detections"),
        )
    )

    def call(case: schemathesis.Case, mode: GenerationMode) -> None:
        for scope, headers in insufficient(case.method, case.operation.path):
            refused = case.call(base_url=endpoint, session=session, headers=headers, timeout=WAIT_S)
            allowed = range(400, 500) if mode is GenerationMode.NEGATIVE else (401, 403)
            assert refused.status_code in allowed, (case.operation.label, scope, refused.text)
        response = case.call_and_validate(
            base_url=endpoint,
            session=session,
            headers=bearer(CONTROL),
            checks=CHECKS,
            timeout=WAIT_S,
        )
        answered[case.operation.label].add(response.status_code)
        assert as_owner(case, owner).status_code < 500

    for operation, mode in itertools.product(operations, GenerationMode):
        # What takes no value has nothing that could be wrong.
        with contextlib.suppress(*[Unsatisfiable] if mode is GenerationMode.NEGATIVE else []):
            try_cases(operation, mode, call)
    for operation in operations:
        succeeded = any(status < 300 for status in answered[operation.label])
        assert succeeded, (operation.label, answered[operation.label])


def try_cases(
    operation: Any, mode: GenerationMode, call: Callable[[schemathesis.Case, GenerationMode], None]
) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def is_answered_as_described(case: schemathesis.Case) -> None:
        call(case, mode)

    is_answered_as_described()


def as_owner(case: schemathesis.Case, owner: httpx.Client) -> httpx.Response:
    """The answer of the control socket, where everything is allowed."""
    request = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    media_type = request.headers.get("Content-Type")
    return owner.request(
        request.method or "",
        request.url or "",
        headers={} if media_type is None else {"Content-Type": media_type},
        content=request.body,
    )


def test_scopes_hold_where_answers_have_no_end(endpoint: str) -> None:
    """And at ``/v1/stop``; with a body that fits, and without one."""
    checked = set()
    sdp = {"Content-Type": "application/sdp"}
    with httpx.Client(base_url=endpoint, timeout=WAIT_S) as client:
        for path, operations in client.get("/openapi.json").json()["paths"].items():
            if path != "/v1/stop" and re.fullmatch(ENDLESS, path) is None:
                continue
            url = path.format(stream_id="gate", session_id="none")
            for method, content in itertools.product(map(str.upper, operations), ("", "v=0")):
                for scope, headers in insufficient(method, path):
                    refused = client.request(method, url, headers=headers | sdp, content=content)
                    assert refused.status_code in (401, 403), (method, path, scope)
                    checked.add(path)
    assert len(checked) == 8


def test_daemon_lives_on(endpoint: str) -> None:
    """After all of the above."""
    assert httpx.get(f"{endpoint}/readyz").json() == {"status": "ready"}
