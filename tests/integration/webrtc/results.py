"""Which picture a result belongs to, and how well its masks agree with the true ones.

A result has no picture and a picture no result, but both have a time: the RTP time of a picture
of the WHEP video, less the offset that the server named, is the ``rtp_time`` of its result
(`Masklet-RTP-Offset`). The number in the picture then names the scene's true masks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
from websockets.sync.client import connect

from streamer.client import Subscriber
from streamer.wire.messages import EventMessage, FrameMessage
from tests.conftest import eventually
from tests.integration.browser.scene import Scene, overlap
from tests.integration.webrtc.http_client import HttpClient

RTP_MODULUS = 1 << 32


class Recording:
    """What the daemon publishes over ZeroMQ, kept from now on; as long as the block."""

    def __init__(self, endpoint: str) -> None:
        self.messages: list[Any] = []
        self._subscriber = Subscriber(endpoint, topics=("frame", "event"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recording")

    def frames(self, stream_id: str) -> list[FrameMessage]:
        """The results of a stream so far."""
        return [
            message
            for message in tuple(self.messages)
            if isinstance(message, FrameMessage) and message.stream_id == stream_id
        ]

    def newest_index(self, stream_id: str) -> int:
        """The number of the newest frame, -1 before the first."""
        frames = self.frames(stream_id)
        return frames[-1].header.frame_index if frames else -1

    def wait_for_frames(self, stream_id: str, count: int = 1) -> list[FrameMessage]:
        """The next ``count`` frames, of those that have an object."""
        already = len(self.frames(stream_id))

        def enough() -> list[FrameMessage] | None:
            new = [each for each in self.frames(stream_id)[already:] if each.objects]
            return new if len(new) >= count else None

        return eventually(enough, 60, f"{count} results of {stream_id} with an object") or []

    def events(self, stream_id: str) -> list[EventMessage]:
        """A stream's events so far."""
        return [
            message
            for message in tuple(self.messages)
            if isinstance(message, EventMessage) and message.stream_id == stream_id
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._subscriber.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._subscriber.receive(timeout_s=0.1)
            if message is not None:
                self.messages.append(message)


class ResultsSocket:
    """The frames that the results WebSocket sends, kept from now on; as long as the block."""

    def __init__(self, http: HttpClient, stream_id: str, masks: str = "none") -> None:
        self.frames: list[dict[str, Any]] = []
        self._url = f"{http.origin.replace('http', 'ws', 1)}/v1/streams/{stream_id}/results"
        self._masks = masks
        self._open = ExitStack()
        self._thread = threading.Thread(target=self._run, name="results")

    def __enter__(self) -> Self:
        opened = connect(f"{self._url}?masks={self._masks}")
        self._socket = self._open.enter_context(opened)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()
        self._thread.join()

    def _run(self) -> None:
        for text in self._socket:
            message = json.loads(text)
            if message["type"] == "frame":
                self.frames.append(message)


def numbers_by_frame(
    shown: Iterable[tuple[int | None, int]], offset: int, results: Iterable[Mapping[str, Any]]
) -> dict[int, int]:
    """Frame index to the number in its picture.

    ``shown`` are number and RTP time of pictures that a viewer saw, ``offset`` is what the server
    named, ``results`` are frames as the results WebSocket sends them.
    """
    index_of = {result["rtp_time"]: int(result["frame_index"]) for result in results}
    found = {}
    for number, rtp_time in shown:
        index = index_of.get((rtp_time - offset) % RTP_MODULUS)
        if number is not None and index is not None:
            found[index] = number
    return found


def agreement(
    scene: Scene,
    messages: Iterable[FrameMessage],
    numbers: Mapping[int, int],
    object_id: int,
    true_id: int,
) -> list[float]:
    """The IoU with the true mask on every frame with a known picture."""
    found = []
    for message in messages:
        number = numbers.get(message.header.frame_index)
        entry = next((each for each in message.objects if each.id == object_id), None)
        if number is None or entry is None:
            continue
        mask = message.mask(entry)
        height, width = mask.shape
        found.append(overlap(mask, scene.mask(number, true_id, width, height)))
    return found


def matching_player(scene: Scene, message: FrameMessage, number: int, object_id: int) -> int:
    """The player with the true mask that best matches an object's."""
    (entry,) = [each for each in message.objects if each.id == object_id]
    mask = message.mask(entry)
    height, width = mask.shape
    players = sorted(scene.truth(number).masks)
    scores = [overlap(mask, scene.mask(number, each, width, height)) for each in players]
    return players[int(np.argmax(scores))]
