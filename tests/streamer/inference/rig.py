"""An inference thread around a fake tracker, for tests of what it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streamer.inference.frame_slot import FrameSlot
from streamer.inference.inference import Inference
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.load.overload import Overload
from streamer.inference.load.rate_shares import OverloadPolicy
from streamer.inference.prompts.request import PromptOutcome, PromptRequest
from streamer.inference.scheduler import Scheduler
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import Clock, SystemClock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import FrameResult
from tests.conftest import eventually
from tests.streamer.fakes import FakeTracker, Journal, picture
from tracker import Prompt


class Rig:
    """An inference thread around a fake tracker, with as many streams as a test wants."""

    def __init__(
        self,
        clock: Clock | None = None,
        history_s: float = 1.0,
        rules: LifecycleRules | None = None,
        *,
        overlaps: bool = False,
    ) -> None:
        self.tracker = FakeTracker()
        self.tracker.overlaps = overlaps
        self.metrics = Metrics()
        self.published = Journal()
        self.slots: dict[str, FrameSlot] = {}
        self.session_ids: dict[str, str] = {}
        self.error: BaseException | None = None
        self.unpublished: set[str] = set()
        self.inference = Inference(
            self.tracker,  # type: ignore[arg-type]
            Scheduler(max_batch_wait_ns=2_000_000, max_batch_size=8),
            Overload(OverloadPolicy.LOWER_RATE, floor_hz=1.0, begin_after_s=2.0, end_after_s=5.0),
            device_name="cpu",
            step_s=10.0,
            publish=self.published,
            is_unpublished=self.unpublished.__contains__,
            live_streams=lambda _: len(self.slots),
            metrics=self.metrics,
            clock=clock or SystemClock(),
            lifecycle=rules or LifecycleRules(occluded_to_lost_ns=seconds_to_ns(5.0)),
            history_s=history_s,
            history_bytes=1 << 26,
            threads=0,
        )
        self.thread = threading.Thread(target=self._run, name="inference")

    def _run(self) -> None:
        try:
            self.inference.run()
        except BaseException as error:
            self.error = error

    def stream(self, stream_id: str, *requests: PromptRequest, max_objects: int = 16) -> FrameSlot:
        counts = StreamCounts(stream_id, self.metrics)
        slot = FrameSlot(stream_id, self.inference.wake, counts.dropped)
        added = self.inference.commands.add_stream(slot, counts, max_objects, requests)
        added.result(timeout=20)
        self.slots[stream_id] = slot
        return slot

    def frame(self, stream_id: str, number: int = 0, **appearance: object) -> FrameResult | None:
        """Put one picture and wait for its result; None if it was dropped as failed."""
        before = len(self.published.results(stream_id))
        failed = self.failed(stream_id)
        session_id = self.session_ids.get(stream_id, "session")
        self.slots[stream_id].put(picture(number, **appearance), session_id, 0)  # type: ignore[arg-type]
        eventually(
            lambda: (
                len(self.published.results(stream_id)) > before or self.failed(stream_id) > failed
            )
        )
        results = self.published.results(stream_id)
        return results[-1] if len(results) > before else None

    @contextmanager
    def tracker_busy(self, stream_id: str) -> Iterator[None]:
        """The thread is in a step of this stream meanwhile, so that commands pile up."""
        self.tracker.held.clear()
        self.slots[stream_id].put(picture(10), "session", 0)
        eventually(lambda: self.slots[stream_id].waiting_since_monotonic_ns is None)
        yield
        self.tracker.held.set()

    def failed(self, stream_id: str) -> float:
        labels = {"stream": stream_id, "stage": "inference", "reason": "failed"}
        return self.value("frames_dropped_total", **labels)

    def prompt(
        self, stream_id: str, object_id: int, label: str | None = None, **further: object
    ) -> PromptRequest:
        request = PromptRequest(stream_id, click(object_id), label, **further)  # type: ignore[arg-type]
        self.inference.commands.prompt(request)
        return request

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"masklet_{name}", labels) or 0.0


@contextmanager
def running(rig: Rig) -> Iterator[Rig]:
    """The rig's thread runs meanwhile."""
    rig.thread.start()
    yield rig
    rig.tracker.held.set()
    rig.tracker.landed.set()
    rig.inference.stop()
    rig.thread.join(20)
    assert not rig.thread.is_alive()


def click(object_id: int) -> Prompt:
    return Prompt(object_id, points_xy=((1.0, 1.0),), point_labels=(1,))


def outcome(request: PromptRequest) -> PromptOutcome:
    return request.outcome.result(timeout=20)
