"""Sends the detections of your own detector to one stream, whose starter judges them.

with DetectionSender("gate") as sender:
    sender.send([Detection((120, 80, 180, 240), 0.9, "person")], frame_index=815)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self
from urllib.parse import quote

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from streamer.client.api_client import TIMEOUT_S, Access, ApiError, is_https, trusted_certificates
from streamer.config.control_endpoint import trusted_control_path
from streamer.types import Detection
from streamer.wire.mask_codecs import MaskEncoding, encode_crop


class DetectionSender:
    """A WebSocket to one stream of a daemon, for one thread.

    The first ``send`` connects; after a broken connection the next one connects again. If the
    daemon does not read, ``send`` waits; if it does not answer pings, the connection ends.
    """

    def __init__(self, stream_id: str, access: Access | None = None) -> None:
        """``access`` is where the daemon's API is, and a token with the scope ``control``."""
        self._access = access or Access()
        self._path = f"/v1/streams/{quote(stream_id, safe='')}/detections"
        self._connection: ClientConnection | None = None
        self._open = ExitStack()
        self._sent = 0

    def send(
        self,
        detections: Sequence[Detection],
        *,
        frame_index: int | None = None,
        capture_time_ns: int | None = None,
        session_id: str | None = None,
        answer_within_s: float | None = None,
    ) -> None:
        """Send everything detected on one frame; an empty list is a result too.

        The frame is named by its index or its capture time, as in the results. With
        ``answer_within_s`` wait for the daemon's answer; without it refusals are only counted by
        the daemon. Raises ``ApiError`` with the reason: refused, unreachable, or no answer.
        """
        self._sent += 1
        message = {
            "boxes": [_object(each) for each in detections],
            "frame_index": frame_index,
            "capture_time_ns": capture_time_ns,
            "session_id": session_id,
            "request_id": None if answer_within_s is None else str(self._sent),
        }
        try:
            if self._connection is None:
                self._connection = self._open.enter_context(self._connect())
            connection = self._connection
            connection.send(json.dumps(message))
            self._read_answers(connection, message["request_id"], answer_within_s or 0.0)
        except (WebSocketException, OSError) as error:
            self.close()
            raise _failed(error, self._access.control or self._access.url) from error

    def close(self) -> None:
        """Disconnect."""
        self._connection = None
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> AbstractContextManager[ClientConnection]:
        access = self._access
        if access.control is not None:
            path = str(trusted_control_path(access.control, "control"))
            uri = f"ws://masklet{self._path}"
            return unix_connect(path, uri, compression=None, open_timeout=TIMEOUT_S)
        return connect(
            access.url.rstrip("/").replace("http", "ws", 1) + self._path,
            ssl=trusted_certificates(access) if is_https(access) else None,
            proxy=None,
            compression=None,
            open_timeout=TIMEOUT_S,
            additional_headers=(
                None if access.token is None else {"Authorization": f"Bearer {access.token}"}
            ),
        )

    @staticmethod
    def _read_answers(connection: ClientConnection, request_id: object, timeout_s: float) -> None:
        """Read what has arrived, up to the answer to ``request_id`` if there is one."""
        while True:
            try:
                answer = json.loads(connection.recv(timeout=timeout_s))
            except TimeoutError:
                if request_id is None:
                    return
                raise ApiError(f"the daemon did not answer within {timeout_s:g} s") from None
            if request_id is not None and answer.get("request_id") == request_id:
                if not answer["accepted"]:
                    raise ApiError(answer["detail"])
                return


def _object(detection: Detection) -> dict[str, Any]:
    """A detection as JSON."""
    described: dict[str, Any] = {"score": detection.score, "label": detection.label}
    if detection.crop is None:
        return described | {"box": detection.box_xyxy}
    counts = encode_crop(detection.crop, MaskEncoding.RLE).decode("ascii")
    offset = [round(each) for each in detection.box_xyxy[:2]]
    return described | {"mask": {"offset": offset, "size": detection.crop.shape, "counts": counts}}


def _failed(error: Exception, url: str) -> ApiError:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        try:
            detail = str(json.loads(error.response.body or b"")["detail"])
        except (ValueError, LookupError, TypeError):
            detail = f"{url} answered {status}"
        return ApiError(detail, status)
    return ApiError(f"no daemon takes detections at {url} ({error}); start one with `masklet run`")
