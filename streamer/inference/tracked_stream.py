"""One stream in the inference thread: its session, its prompts, its object lifecycle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from streamer.inference.box_smoothing import BoxSmoothing
from streamer.inference.frame_gaps import FrameGaps
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import ObjectLifecycle, without_mask
from streamer.inference.prompts.recent_frames import (
    Holder,
    PromptableFrames,
    RecentFrame,
    RecentFrames,
)
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.prompts.waiting import WaitingPrompts
from streamer.inference.shown_objects import ShownObjects
from streamer.inference.step_result import StepResult, lifecycle_time_ns
from streamer.inference.stream_counts import StreamCounts
from streamer.inference.stream_events import StreamEvents
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.types import (
    EventKind,
    Frame,
    FrameReference,
    FrameResult,
    ObjectSnapshot,
    ObjectSummary,
    Published,
)
from tracker import Session
from tracker.errors import TrackerError
from tracker.step.correction import Correction
from tracker.types import Track, TrackState

# What a step may raise because of its input. Other errors are mistakes of ours, or a lost device
# (AcceleratorError): they end the daemon, and its supervisor restarts it.
STEP_ERRORS = (TrackerError, RuntimeError, ValueError, ArithmeticError, LookupError)
_logger = logging.getLogger(__name__)


class TrackedStream:
    """Turns tracks into results and events for one stream; used by the inference thread only.

    ``prompts`` wait for its next frames. Bound: data of live objects only.
    """

    def __init__(
        self,
        session: Session,
        slot: FrameSlot,
        counts: StreamCounts,
        lifecycle: ObjectLifecycle,
        frames: RecentFrames,
        *,
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.stream_id = slot.stream_id
        self.session = session
        self.slot = slot
        self.prompts = WaitingPrompts(reject=self.reject)
        self._frames = PromptableFrames(session, frames, clock)
        self._counts = counts
        self._lifecycle = lifecycle
        self._gaps = FrameGaps()
        self._log = stream_logger(_logger, self.stream_id)
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._shown = ShownObjects()
        self._events = StreamEvents(
            self.stream_id, self._shown.label, publish=publish, metrics=metrics, clock=clock
        )
        self._connection: str | None = None
        self._failing = False

    def objects(self) -> list[ObjectSummary]:
        """The objects on the newest frame. May be called from any thread."""
        return self._shown.summaries()

    def rename(self, object_id: int, label: str | None, colour: str | None) -> bool:
        """Change a label or colour; None keeps it, "" removes it. False for an unknown object."""
        if object_id not in self.session.object_ids:
            return False
        self._shown.rename(object_id, label, colour)
        return True

    def smooth(self, boxes: BoxSmoothing | None, masks: float) -> None:
        """Smooth boxes (None: not) and masks (0: not) from the next frame on."""
        self._shown.smooth(boxes)
        self.session.smooth_masks(masks)

    def snapshots(self) -> list[ObjectSnapshot]:
        """Snapshots of the objects, for ``restore`` after a restart."""
        return [
            ObjectSnapshot(
                object_id,
                self._shown.label(object_id),
                self._shown.colour(object_id),
                self.session.export_object(object_id),
            )
            for object_id in self.session.object_ids
        ]

    def restore(self, snapshot: ObjectSnapshot) -> None:
        """Resume an object of an earlier run. Raises ``TrackerError``, with nothing changed."""
        self.session.import_object(snapshot.object_id, snapshot.memory)
        self._counts.follows(self.session.object_ids)
        self._shown.restore(snapshot)

    def reject(self, request: PromptRequest, reason: str) -> None:
        """Reject a prompt for a reason."""
        self._events.rejected(request, reason)

    def about_to_track(self, frame: Frame) -> None:
        """Report to the tracker how many frames before this one were not tracked."""
        time_ns = lifecycle_time_ns(frame)
        missed = self._gaps.missed(frame, time_ns)
        self._gaps.tracked(frame, time_ns)
        if missed:
            self.session.note_gap(missed)

    def tracked(self, frame: Frame, result: StepResult, applied: Sequence[PromptRequest]) -> None:
        """Publish the events and the result of a frame, in this order.

        The tracker may have the next frame already.
        """
        self._failing = False
        time_ns = lifecycle_time_ns(frame)
        self._frames.add(frame, result.tracker_index, time_ns)
        if self._connection not in (None, frame.session_id):
            self._lifecycle.resume(time_ns)
        self._connection = frame.session_id
        for request in applied:
            self._shown.name(request)
        scene_cut = result.facts.scene_cut
        if scene_cut:
            self._events.publish(EventKind.SCENE_CUT, frame_index=frame.index)
        judged = self._judge(
            self._with_idle(result.tracks, frame),
            frame.index,
            time_ns,
            applied,
            scene_cut=scene_cut,
        )
        by_id = {track.object_id: track for track in judged} if applied else {}
        for request in applied:
            track = by_id.get(request.prompt.object_id)
            self._events.applied(request, frame.index)
            request.applied(frame.index, track, frame.index, track)
        prompted = [request.prompt.object_id for request in applied]
        self._shown.show(frame.index, time_ns, judged, prompted)
        self._publish(
            FrameResult(
                frame=frame,
                started_monotonic_ns=result.started_ns,
                tracked_monotonic_ns=result.tracked_ns,
                objects=self._shown.newest,
            )
        )
        self._count(frame, judged, result.started_ns, result.tracked_ns)
        self.session.leave_out(self._lifecycle.idle())

    def _with_idle(self, tracks: Sequence[Track], frame: Frame) -> list[Track]:
        """The tracks, plus those of lost objects that this step left out.

        Less those of objects removed since the frame was submitted.
        """
        if {track.object_id for track in tracks} == set(self.session.object_ids):
            return list(tracks)
        known = {each.track.object_id: without_mask(each.track) for each in self._shown.newest}
        height, width = frame.picture.pixels.height, frame.picture.pixels.width
        for object_id, track in known.items():
            known[object_id] = replace(
                track, frame_height=height, frame_width=width, predicted_box_xyxy=None
            )
        known |= {track.object_id: track for track in tracks}
        return [known[object_id] for object_id in self.session.object_ids if object_id in known]

    def _judge(
        self,
        tracks: Sequence[Track],
        frame_index: int,
        time_ns: int,
        applied: Sequence[PromptRequest],
        *,
        scene_cut: bool = False,
    ) -> list[Track]:
        """The tracks to publish; publishes changes, and removes objects lost for too long."""
        judged, changes = self._lifecycle.observe(
            tracks,
            time_ns,
            prompted={request.prompt.object_id for request in applied},
            scene_cut=scene_cut,
        )
        for change in changes:
            absent_ns = change.absent_ns
            absent_s = None if absent_ns is None else round(ns_to_seconds(absent_ns), 3)
            if change.kind is EventKind.REMOVED:
                assert change.reason is not None, "a removal has a reason"
                self._forget(change.object_id, change.reason, frame_index, absent_s)
                continue
            self._events.publish(
                change.kind,
                reason=change.reason,
                object_id=change.object_id,
                frame_index=frame_index,
                absent_s=absent_s,
            )
        return judged

    def frame_of(self, reference: FrameReference | None) -> RecentFrame:
        """The frame of a reference. Raises ``ControlError`` if it cannot be prompted any more."""
        return self._frames.find(reference)

    def hold(self, frame: RecentFrame, holder: Holder) -> None:
        """Keep a frame promptable for a while, in place of the one ``holder`` held before."""
        self._frames.hold(frame, holder)

    def corrected(
        self, frame: RecentFrame, correction: Correction, applied: Sequence[PromptRequest]
    ) -> None:
        """Publish prompts that were applied on an earlier frame and tracked from there."""
        newest = self._frames.newest
        assert newest is not None, "a frame was corrected before one was tracked"
        for request in applied:
            self._shown.name(request)
        judged = self._judge(correction.latest, newest.index, newest.time_ns, applied)
        self._shown.correct(judged)
        self._counts.follows(self.session.object_ids)
        for request, track, latest in zip(applied, correction.tracks, judged, strict=True):
            self._events.applied(request, frame.index)
            request.applied(frame.index, track, newest.index, latest)

    def failed(self, frame: Frame, error: Exception, known_objects: Sequence[int]) -> None:
        """Count a frame whose step failed; report it once until a step succeeds again.

        Objects that the step had started to add, beyond ``known_objects``, are removed.
        """
        self.slot.count_failed(frame)
        self.session.note_gap(1)
        for object_id in set(self.session.object_ids).difference(known_objects):
            self.session.remove(object_id)
        if not self._failing:
            self._failing = True
            self._log.error(
                "the tracker failed on frame %d; the stream continues",
                frame.index,
                exc_info=error,
            )
            self._events.publish(
                EventKind.DEGRADED,
                reason="step_failed",
                frame_index=frame.index,
                detail=f"{type(error).__name__}: {error}",
            )

    def remove(self, object_id: int) -> bool:
        """Stop tracking an object and withdraw its prompts; False if there was neither."""
        known = self.prompts.drop(object_id, "the object was removed")
        if object_id in self.session.object_ids:
            self._forget(object_id, "requested")
            known = True
        self._counts.follows(self.session.object_ids)
        return known

    def close(self, reason: str) -> None:
        """Remove the objects, reject the prompts and free the memory of a removed stream."""
        self.prompts.drop(None, f"the stream was removed ({reason})")
        for object_id in self.session.object_ids:
            self._forget(object_id, reason)
        self.session.close()

    def _forget(
        self,
        object_id: int,
        reason: str,
        frame_index: int | None = None,
        absent_s: float | None = None,
    ) -> None:
        self.session.remove(object_id)
        self._lifecycle.forget(object_id)
        self._events.publish(
            EventKind.REMOVED,
            object_id=object_id,
            reason=reason,
            frame_index=frame_index,
            absent_s=absent_s,
        )
        self._shown.forget(object_id)

    def _count(
        self, frame: Frame, tracks: Sequence[Track], started_ns: int, tracked_ns: int
    ) -> None:
        self._counts.tracked(self.session.object_ids)
        durations = self._metrics.stage_duration_seconds
        durations.labels("wait").observe(
            ns_to_seconds(started_ns - frame.picture.decoded_monotonic_ns)
        )
        durations.labels("track").observe(ns_to_seconds(tracked_ns - started_ns))
        states = [track.state for track in tracks]
        for state in TrackState:
            self._metrics.tracked_objects.labels(self.stream_id, state).set(states.count(state))
