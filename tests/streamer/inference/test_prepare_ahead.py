"""Pictures are brought to the network's size in their source's thread, where that pays."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import Mock

import pytest

from streamer.config.schema import MaskletConfig, ModelSection
from streamer.config.streams import StreamConfig
from streamer.inference.batch_step import BatchStep, StreamWork
from streamer.inference.build import prepares_ahead
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.preparation import Preparation
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.metrics import Metrics
from streamer.streams.connection_state import ConnectionState
from streamer.streams.frame_gate import FrameGate
from streamer.streams.source_attempt import SourceAttempt
from tests.streamer.fakes import FakeClock, Journal, ScriptedSource, picture
from tracker import StepFacts


def an_attempt(slot: FrameSlot, counts: StreamCounts, prepare: Any) -> SourceAttempt:
    """A gate that passes every frame."""
    config = StreamConfig(url="rtsp://camera/1")
    gate = FrameGate(config)
    connection = ConnectionState(
        "gate",
        str(config.url),
        counts,
        gate,
        publish=Journal(),
        metrics=Metrics(),
        clock=FakeClock(),
    )
    return SourceAttempt(connection, gate, slot, counts, FakeClock(), Preparation(ahead=prepare))


@pytest.mark.parametrize("lossless", [False, True])
def test_frame_carries_what_its_thread_prepared(lossless: bool) -> None:
    counts = StreamCounts("gate", Metrics())
    slot = FrameSlot("gate", lambda: None, counts.dropped)
    prepared: list[Any] = []

    def prepare(image: Any) -> Any:
        prepared.append((threading.get_ident(), image))
        return f"picture {len(prepared)}"

    frames: list[Any] = []

    def script(output: Any, stop: threading.Event) -> None:
        for number in range(3):
            counts.follows((1,) if number else ())
            output.frame(picture(number))
            frames.append(slot.take())

    attempt = an_attempt(slot, counts, prepare)
    source = ScriptedSource(script, lossless=lossless)
    thread = threading.Thread(target=attempt.run, args=(source,))
    thread.start()
    thread.join(20)
    # The first picture was of a stream without objects: nothing would use it.
    assert [frame.prepared for frame in frames] == [None, "picture 1", "picture 2"]
    assert all(ident == thread.ident for ident, _ in prepared)
    assert prepared[1][1] is frames[2].picture.pixels.rgb()


@pytest.mark.parametrize("is_prepared", [False, True])
def test_step_takes_the_prepared_picture_where_there_is_one(is_prepared: bool) -> None:
    taken: list[Any] = []

    class Tracker:
        overlaps = False

        def submit(self, batch: Any) -> Any:
            taken.extend(image for _, image, _ in batch)
            pending = Mock(frame_indexes=[0], facts=[StepFacts()])
            pending.collect.return_value = [[]]
            return pending

    class Stream:
        session = None

        def tracked(self, *results: Any) -> None:
            return

    slot = FrameSlot("gate", lambda: None, lambda reason, count: None)
    ahead: Any = "prepared" if is_prepared else None
    slot.put(picture(0), "session", 0, ahead)
    frame = slot.take()
    assert frame is not None
    step = BatchStep(Tracker(), FakeClock())  # type: ignore[arg-type]
    step.track([StreamWork(Stream(), frame, [], ())])  # type: ignore[arg-type]
    assert taken == ["prepared" if is_prepared else frame.picture.pixels.rgb()]


@pytest.mark.parametrize(
    ("setting", "device", "expected"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda:1", True),
        ("always", "cpu", True),
        ("never", "cuda", False),
    ],
)
def test_it_is_done_where_the_step_leaves_the_processor_free(
    setting: Any, device: str, expected: bool
) -> None:
    config = MaskletConfig(model=ModelSection(prepare_ahead=setting))
    assert prepares_ahead(config, device) == expected


def test_picture_that_cannot_be_prepared_is_left_to_the_step() -> None:
    counts = StreamCounts("gate", Metrics())
    counts.follows((1,))
    slot = FrameSlot("gate", lambda: None, counts.dropped)

    def prepare(image: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    attempt = an_attempt(slot, counts, prepare)
    attempt.frame(picture(0))  # the camera stays connected
    frame = slot.take()
    assert frame is not None
    assert frame.prepared is None
