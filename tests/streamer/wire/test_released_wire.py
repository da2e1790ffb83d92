"""The bytes of the last release: today's client reads them, and today's publisher keeps to them.

``released/VERSION`` is what ``golden`` was then; ``make release`` puts it there.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zmq

from streamer.client.subscriber import Subscriber
from streamer.wire.codec import FrameMessage, decode
from tests.conftest import eventually

HERE = Path(__file__).parent
(RELEASED,) = (HERE / "released").iterdir()
NAMES = sorted(path.stem for path in RELEASED.glob("*.hex"))


def message(folder: Path, name: str) -> list[bytes]:
    return [bytes.fromhex(line) for line in (folder / f"{name}.hex").read_text().split()]


def check_kept(before: object, now: object, at: str) -> None:
    """``now`` says all that ``before`` said, by the same names and types; it may say more."""
    assert type(now) is type(before), at
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            assert key in now, f"{at}.{key} is gone: consumers of {RELEASED.name} read it"
            check_kept(value, now[key], f"{at}.{key}")
    elif isinstance(before, list) and isinstance(now, list):
        assert len(now) == len(before), at
        for index, value in enumerate(before):
            check_kept(value, now[index], f"{at}[{index}]")
    else:
        assert now == before, at


@pytest.mark.parametrize("name", NAMES)
def test_publisher_sends_all_that_the_last_release_sent(name: str) -> None:
    """``test_codec`` shows that today's publisher writes the golden bytes."""
    topic, header, *parts = message(RELEASED, name)
    now_topic, now_header, *now_parts = message(HERE / "golden", name)
    assert now_topic == topic
    check_kept(msgspec.msgpack.decode(header), msgspec.msgpack.decode(now_header), name)
    assert now_parts == parts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header.pop("height"), "height is gone"),
        (lambda header: header.update(pts=float(header["pts"])), "pts"),
        (lambda header: header["objects"][0].update(id="1"), r"objects\[0\].id"),
        (lambda header: header["objects"].pop(), "objects"),
    ],
)
def test_a_field_that_goes_or_changes_is_found(change, said: str) -> None:  # type: ignore[no-untyped-def]
    before = msgspec.msgpack.decode(message(RELEASED, "frame_rle")[1])
    now = msgspec.msgpack.decode(message(RELEASED, "frame_rle")[1])
    change(now)
    with pytest.raises(AssertionError, match=said):
        check_kept(before, now, "frame_rle")


@pytest.mark.parametrize("name", NAMES)
def test_client_receives_what_the_last_release_sent(name: str) -> None:
    """Over a socket: nothing is refused, lost or read as another thing."""
    parts = message(RELEASED, name)
    topics = ("frame", "boxes", "event", "status")
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind("tcp://127.0.0.1:*")
        address = publisher.getsockopt_string(zmq.LAST_ENDPOINT)
        with Subscriber(address, topics=topics) as subscriber:
            for _ in (*topics, "heartbeat"):
                assert publisher.poll(20_000), "nobody subscribed"
                publisher.recv()
            publisher.send_multipart(parts)
            if name.startswith("heartbeat"):  # the subscriber's own: it passes none on
                eventually(lambda: subscriber.receive(0.1) or subscriber.silent_for_s is not None)
                assert subscriber.publisher_stopping == (name == "heartbeat_stopping")
                received = decode(parts)
            else:
                received = subscriber.receive(timeout_s=20)
                assert received is not None
    assert received.topic.encode() == parts[0]
    shown = received.header if isinstance(received, FrameMessage) else received
    check_kept(
        msgspec.msgpack.decode(parts[1]),
        msgspec.msgpack.decode(msgspec.msgpack.encode(shown)),
        name,
    )
