"""An API on a free port, over a daemon controlled by the test."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from streamer.api.api import Api
from streamer.api.context import ApiContext
from streamer.api.detection_intake import DetectionIntake
from streamer.api.webrtc.publishers import Publishers
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.control_endpoint import control_path
from streamer.config.network import ApiConfig, TokenConfig, WebRTCConfig
from streamer.config.schema import ControlConfig, MaskletConfig
from streamer.config.starters import StarterConfig
from streamer.config.stream_changes import changed_stream
from streamer.config.streams import StreamConfig
from streamer.errors import ControlError, StreamExistsError, UnknownObjectError, UnknownStreamError
from streamer.inference.prompts.request import PromptOutcome
from streamer.inference.segment_searches import FrameSegments
from streamer.runtime.clock import Clock, SystemClock
from streamer.runtime.metrics import Metrics
from streamer.sinks.base import Sink
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.types import Detection, FrameReference, ObjectSummary, StreamState, StreamStatus
from tests.streamer.fakes import track
from tracker.pictures.runs import Runs
from tracker.pictures.segment import Segment
from tracker.types import Prompt, TrackState

WAIT_S = 60.0
WIDTH, HEIGHT = 32, 24
READ, CONTROL, PUBLISH = "read-" + "r" * 30, "control-" + "c" * 30, "publish-" + "p" * 30


class FakeStreams:
    """Streams in a dict; reading a configuration raises ``error`` if set."""

    def __init__(self, *stream_ids: str) -> None:
        self.configs = {each: StreamConfig(url="synthetic://match") for each in stream_ids}
        self.error: BaseException | None = None

    def statuses(self) -> list[StreamStatus]:
        return [
            StreamStatus(
                stream_id=stream_id,
                state=StreamState.LIVE,
                time_ns=1,
                url="synthetic://match",
                width=WIDTH,
                height=HEIGHT,
                paused=config.paused,
            )
            for stream_id, config in self.configs.items()
        ]

    def config(self, stream_id: str) -> StreamConfig:
        if self.error is not None:
            raise self.error
        if stream_id not in self.configs:
            known = ", ".join(self.configs)
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: {known}")
        return self.configs[stream_id]

    async def add_from(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        if stream_id in self.configs:
            raise StreamExistsError(f"there is a stream {stream_id} already")
        self.configs[stream_id] = StreamConfig.read(settings, f"streams.{stream_id}")

    async def change(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        before = self.config(stream_id)
        self.configs[stream_id] = changed_stream(
            f"streams.{stream_id}", before, settings, StarterConfig()
        )

    async def pause(self, stream_id: str) -> None:
        await self.change(stream_id, {"paused": True})

    async def resume(self, stream_id: str) -> None:
        await self.change(stream_id, {"paused": False})

    async def remove(self, stream_id: str) -> None:
        self.config(stream_id)
        del self.configs[stream_id]


class FakeObjects:
    """Prompts are applied at once, or refused with ``refuses``."""

    def __init__(self, streams: FakeStreams) -> None:
        self.streams = streams
        self.prompts: list[tuple[Prompt, dict[str, Any]]] = []
        self.followed: dict[tuple[str, int], ObjectSummary] = {}
        self.refuses: str | None = None
        self.found: dict[str, Any] = {}  # what differs of the track that is found
        self.searches: list[dict[str, Any]] = []
        self.asked = asyncio.Event()  # set by a prompt, which waits for may_go_on
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def of(self, stream_id: str) -> list[ObjectSummary]:
        self.streams.config(stream_id)
        return [each for (stream, _), each in self.followed.items() if stream == stream_id]

    def next_id(self, stream_id: str) -> int:
        self.streams.config(stream_id)
        return len(self.followed) + 1

    async def prompt(
        self, stream_id: str, prompt: Prompt, label: str | None = None, **further: Any
    ) -> PromptOutcome:
        outcome = await self.preview(stream_id, prompt, label=label, **further)
        before = self.followed.get((stream_id, prompt.object_id))
        if outcome.applied:
            self.followed[stream_id, prompt.object_id] = ObjectSummary(
                object_id=prompt.object_id,
                label=label or (before.label if before else None),
                colour=further.get("colour") or (before.colour if before else None),
                state=TrackState.VISIBLE,
                box_xyxy=(0, 0, 4, 3),
                area=12,
                predicted_iou=0.9,
                object_score=1.0,
                frame_index=7,
                expected_box_xyxy=self.found.get("predicted_box_xyxy"),
            )
        return outcome

    async def preview(
        self,
        stream_id: str,
        prompt: Prompt,
        *,
        reference: FrameReference | None = None,
        correct: bool = False,
        **further: Any,
    ) -> PromptOutcome:
        self.streams.config(stream_id)
        self.asked.set()
        await self.may_go_on.wait()
        self.prompts.append((prompt, {"reference": reference, "correct": correct, **further}))
        request_id = further.get("request_id") or "made"
        if self.refuses is not None:
            return PromptOutcome(
                request_id, stream_id, prompt.object_id, applied=False, reason=self.refuses
            )
        found = track(prompt.object_id, np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
        found = replace(found, **self.found)
        return PromptOutcome(
            request_id=request_id,
            stream_id=stream_id,
            object_id=prompt.object_id,
            applied=True,
            frame_index=7,
            track=found,
            latest_frame_index=9,
            latest_track=found,
        )

    async def segments(self, stream_id: str, **changes: Any) -> FrameSegments:
        self.streams.config(stream_id)
        self.searches.append(changes)
        row = np.array([1, 2, 3])
        runs = Runs(row, 0 * row + 2, 0 * row + 4)
        found = Segment(runs, HEIGHT, WIDTH, 0.9, 0.8, (1.5, 2.5), (0, 0, WIDTH, HEIGHT))
        return FrameSegments(7, "s", HEIGHT, WIDTH, [found])

    async def rename(
        self, stream_id: str, object_id: int, *, label: str | None, colour: str | None
    ) -> None:
        self._known(stream_id, object_id)
        before = self.followed[stream_id, object_id]
        self.followed[stream_id, object_id] = replace(
            before,
            label=before.label if label is None else label or None,
            colour=before.colour if colour is None else colour or None,
        )

    async def remove(self, stream_id: str, object_id: int) -> None:
        self._known(stream_id, object_id)
        del self.followed[stream_id, object_id]

    def _known(self, stream_id: str, object_id: int) -> None:
        self.streams.config(stream_id)
        if (stream_id, object_id) not in self.followed:
            raise UnknownObjectError(f"stream {stream_id} has no object {object_id}")


class FakeDaemon:
    """What an API serves; ``missing`` are the parts that do not run, ``stops`` asks to stop."""

    def __init__(self, *stream_ids: str) -> None:
        self.streams = FakeStreams(*stream_ids)
        self.objects = FakeObjects(self.streams)
        self.missing: list[str] = []
        self.stops = 0
        self.kept: list[str] = []
        self.offers: list[tuple[FrameReference, Sequence[Detection]]] = []

    def offer(
        self, stream_id: str, reference: FrameReference, detections: Sequence[Detection]
    ) -> bool:
        """Keep detections; of frame 98 none are taken, and those of frame 99 replace others."""
        self.streams.config(stream_id)
        if reference.frame_index == 98:
            raise ControlError("frame 98 is too old")
        self.offers.append((reference, detections))
        return reference.frame_index != 99

    def request_stop(self) -> None:
        self.stops += 1


def with_tokens(monkeypatch: Any, **further: Any) -> ApiConfig:
    """A configuration with one token for every scope."""
    monkeypatch.setenv("READ_TOKEN", READ)
    monkeypatch.setenv("CONTROL_TOKEN", CONTROL)
    monkeypatch.setenv("PUBLISH_TOKEN", PUBLISH)
    return ApiConfig(
        port=0,
        tokens=[
            TokenConfig(name="viewer", scopes=["read"], token_env="READ_TOKEN"),
            TokenConfig(name="operator", scopes=["control"], token_env="CONTROL_TOKEN"),
            TokenConfig(name="camera", scopes=["publish"], token_env="PUBLISH_TOKEN"),
        ],
        **further,
    )


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def make_api(
    daemon: FakeDaemon,
    api: ApiConfig | None = None,
    *,
    webrtc: WebRTCConfig | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
) -> Api:
    """An API that does not listen yet; without a ``folder`` its socket lies in one of its own."""
    runtime = folder or Path(tempfile.mkdtemp(prefix="masklet-"))
    config = MaskletConfig(
        api=api or ApiConfig(port=0),
        webrtc=webrtc or WebRTCConfig(),
        control=ControlConfig(endpoint=f"ipc://{runtime}/control.sock"),
        state_directory="none" if folder is None else str(folder / "state"),
    )
    metrics = Metrics()
    clock = clock or SystemClock()
    publishers = Publishers(config.webrtc, metrics, clock, config.api.token_names("publish"))
    picture = PictureHub(config.picture, metrics, clock)
    context = ApiContext(
        config=config,
        streams=daemon.streams,
        objects=daemon.objects,
        events=EventHub(),
        results=ResultsHub(metrics, clock),
        picture=picture,
        whep=WhepServer(
            picture,
            publishers.ice_settings,
            maximum_viewers=config.webrtc.viewers,
            token_names=config.api.token_names("read"),
            has_stream=daemon.streams.configs.__contains__,
            metrics=metrics,
            clock=clock,
        ),
        whip=Whip(publishers, stream_config=daemon.streams.configs.get, begin_stream=None),
        model_name="fake",
        device_name="cpu",
        not_ready=lambda: daemon.missing,
        request_stop=daemon.request_stop,
        keep_stream=daemon.kept.append,
        starter=lambda _: None,
        detections=DetectionIntake(
            daemon.offer, config.api.limits.detections_per_s, metrics, clock
        ),
        maximum_streams=4,
        metrics=metrics,
    )
    return Api(context, clock)


def sinks_of(api: Api) -> tuple[Sink, ...]:
    """What is to be given what the daemon publishes."""
    return api._context.events, api._context.results, api._context.picture


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """``api``, served until the end of the block, and a client of it."""
    api.bind()
    await api.start()
    run = asyncio.create_task(api.run())
    try:
        async with httpx.AsyncClient(
            base_url=api.endpoint or "", timeout=WAIT_S, verify=False
        ) as client:
            yield client
    finally:
        run.cancel()
        async with asyncio.timeout(WAIT_S):
            await api.close(2.0)
            await asyncio.wait({run})
            for sink in sinks_of(api):
                await sink.close()
        with contextlib.suppress(OSError):  # kept where a test put more into it
            control_path(api._config.control.endpoint).parent.rmdir()


def problem(response: httpx.Response, status: int, kind: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal; checks its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(document)
    assert document["status"] == status
    expected = "about:blank" if kind is None else f"urn:masklet:problem:{kind}"
    assert document["type"] == expected, document
    return document
