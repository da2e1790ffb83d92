"""What a detector in Python imports: sends its boxes to the daemon, which starts objects there.

with BoxesSender("tcp://127.0.0.1:5556") as sender:
    sender.send("gate", [Detection((120, 80, 180, 240), 0.9, "person")], frame_index=815)
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import zmq

from streamer.errors import ConfigError, ControlError, WireError
from streamer.runtime.curve_keys import (
    KeyPair,
    load_key_pair,
    load_public_key,
)
from streamer.runtime.sockets import notice_dead_peers
from streamer.starters.boxes_message import BOXES_SCHEMA, BoxesAnswer, BoxesMessage, entry_of
from streamer.starters.detection import Detection

# Bound: messages that wait while nobody takes them; policy: ``send`` says False to the newest.
HIGH_WATER_MARK = 16


class BoxesSender:
    """Sends boxes to one daemon; one thread uses it. The connection is made again by itself."""

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5556",
        *,
        server_key: Path | str | bytes | None = None,
        client_keys: Path | str | KeyPair | None = None,
    ) -> None:
        """Connect; that nobody listens there yet is no error.

        ``server_key`` is the daemon's public key (Z85 or a ``.key`` file) and ``client_keys`` our
        own pair (a ``.key_secret`` file): both or none. Raises ``ConfigError``.
        """
        if (server_key is None) != (client_keys is None):
            raise ConfigError("CURVE needs both: the server's public key and the client's own pair")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = HIGH_WATER_MARK
        notice_dead_peers(self._socket)
        try:
            if server_key is not None and client_keys is not None:
                own = (
                    client_keys if isinstance(client_keys, KeyPair) else load_key_pair(client_keys)
                )
                self._socket.curve_serverkey = load_public_key(server_key)
                self._socket.curve_publickey = own.public
                self._socket.curve_secretkey = own.secret
            self._socket.setsockopt(zmq.IPV6, int(endpoint.startswith("tcp://[")))
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"endpoint {endpoint!r} cannot be connected to ({error.strerror}); give "
                "tcp://HOST:PORT or ipc:///PATH"
            ) from error
        except BaseException:
            self.close()
            raise

    def send(
        self,
        stream_id: str,
        boxes: Sequence[Detection],
        *,
        frame_index: int | None = None,
        capture_time_ns: int | None = None,
        session_id: str | None = None,
        answer_within_s: float | None = None,
    ) -> bool:
        """Send all boxes of one frame, also none; False if too much waits already.

        The frame is named by its index or its capture time, as the results have them. With
        ``answer_within_s`` waits for the daemon's answer: raises ``ControlError``, which says why,
        for boxes that were refused, and when no answer came.
        """
        message = BoxesMessage(
            schema=BOXES_SCHEMA,
            stream_id=stream_id,
            boxes=[entry_of(each) for each in boxes],
            frame_index=frame_index,
            capture_time_ns=capture_time_ns,
            session_id=session_id,
            request_id=None if answer_within_s is None else uuid.uuid4().hex,
        )
        try:
            self._socket.send(msgspec.msgpack.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        if answer_within_s is None:
            self._drop_answers()
        else:
            self._wait_for(message.request_id, answer_within_s)
        return True

    def _drop_answers(self) -> None:
        """Refusals come unasked; who does not ask is not interested."""
        while self._socket.poll(0):
            self._socket.recv(zmq.NOBLOCK)

    def _wait_for(self, request_id: str | None, timeout_s: float) -> None:
        while self._socket.poll(round(timeout_s * 1000)):
            try:
                answer = msgspec.msgpack.decode(self._socket.recv(), type=BoxesAnswer)
            except msgspec.MsgspecError as error:
                raise WireError(f"the daemon's answer is none: {error}") from error
            if answer.request_id == request_id:
                if not answer.accepted:
                    raise ControlError(answer.detail or answer.reason or "refused")
                return
        raise ControlError(
            f"no answer within {timeout_s:g} s; does a daemon with boxes_in.enabled listen there?"
        )

    def close(self) -> None:
        """Disconnect. What waits in the socket is dropped."""
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
