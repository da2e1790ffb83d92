"""Messages from a publisher that lies: whatever one holds, it is read or is a WireError.

The corpus is the golden messages; each example changes bytes, fields or parts of one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamer.errors import WireError
from streamer.wire.codec import FrameMessage, decode
from streamer.wire.messages import Topic

CORPUS = {
    path.stem: [bytes.fromhex(line) for line in path.read_text().split()]
    for path in sorted((Path(__file__).parent / "golden").glob("*.hex"))
}
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, -1, 1, 2**31, 2**32, 2**63])
ODD = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.lists(NUMBERS, max_size=5)
)


def read_all(parts: list[bytes]) -> None:
    """Read a message and all that it holds, as a consumer does."""
    with contextlib.suppress(WireError):
        message = decode(parts)
        if not isinstance(message, FrameMessage):
            return
        for entry in message.objects:
            with contextlib.suppress(WireError):
                crop = message.crop(entry)
                assert crop.dtype == bool
                if entry.mask is not None:
                    assert crop.shape == entry.mask.size
            with contextlib.suppress(WireError):
                message.coco_rle(entry)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every field of a header, those inside others too."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            found += places(inner, (*path, key))
        else:
            found.append((*path, key))
    return found


@settings(max_examples=300, derandomize=True)
@given(st.sampled_from(sorted(CORPUS)), st.data())
def test_field_that_holds_something_else_is_a_wire_error(name: str, data: st.DataObject) -> None:
    parts = list(CORPUS[name])
    header = msgspec.msgpack.decode(parts[1])
    for _ in range(data.draw(st.integers(1, 3))):
        *outer, last = data.draw(st.sampled_from(places(header)))
        holder = header
        for key in outer:
            holder = holder[key]
        holder[last] = data.draw(ODD)
        if not isinstance(holder, dict | list):
            return
        header = msgspec.msgpack.decode(msgspec.msgpack.encode(header))
    read_all([parts[0], msgspec.msgpack.encode(header), *parts[2:]])


@settings(max_examples=300, derandomize=True)
@given(st.sampled_from(sorted(CORPUS)), st.data())
def test_changed_bytes_are_a_wire_error(name: str, data: st.DataObject) -> None:
    parts = list(CORPUS[name])
    which = data.draw(st.integers(0, len(parts) - 1))
    changed = bytearray(parts[which])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, max(0, len(changed) - 1)))
        changed[position : position + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=4)
        )
    parts[which] = bytes(changed)
    read_all(parts)


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_parts_of_anything_are_a_wire_error(parts: list[bytes]) -> None:
    read_all(parts)


@example(b"v1/heartbeat")
@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: f"v1/{text}".encode()))
def test_topic_of_anything_is_read_back_or_refused(topic: bytes) -> None:
    with contextlib.suppress(WireError):
        assert Topic.decode(topic).encode() == topic
