"""The commands of a starter: prompt what was detected, and remove objects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from logging import Logger, LoggerAdapter

from streamer.errors import ControlError
from streamer.inference.object_commands import ObjectCommands
from streamer.inference.prompts.request import PromptOutcome
from streamer.starters.geometry import iou
from streamer.starters.policy import FrameFacts
from streamer.types import Detection, FrameReference
from tracker.types import Prompt, TrackState

# Least IoU of the tracker's box and the detection's; below, the tracker segmented something else.
CLEAR_IOU = 0.2


class Prompting:
    """Prompts one stream's objects. A refused command is logged, and is no error."""

    def __init__(
        self, stream_id: str, objects: ObjectCommands, label: str | None, log: LoggerAdapter[Logger]
    ) -> None:
        """``label`` is for detections without one."""
        self._stream_id = stream_id
        self._objects = objects
        self._label = label
        self._log = log

    def hold(self, frame: FrameFacts) -> None:
        """Keep the frame promptable for as long as the pass takes."""
        with suppress(ControlError):  # the stream is gone, or the tracker busy
            self._objects.hold(self._stream_id, _reference_to(frame))

    async def prompt(
        self,
        detections: Sequence[Detection],
        frame: FrameFacts,
        lost: Sequence[tuple[int, Detection]] = (),
    ) -> list[tuple[Detection, PromptOutcome | None]]:
        """Prompt all at once, so that one correction applies them; ``lost`` gives ids to reuse."""
        reference = _reference_to(frame)
        tasks = []
        for index, detection in enumerate(detections):
            object_id = lost[index][0] if lost else None
            tasks.append(asyncio.create_task(self._outcome(object_id, detection, frame, reference)))
            await asyncio.sleep(0)  # let it begin: it takes its id before the next one asks
        return list(zip(detections, await asyncio.gather(*tasks), strict=True))

    async def _outcome(
        self,
        object_id: int | None,
        detection: Detection,
        frame: FrameFacts,
        reference: FrameReference,
    ) -> PromptOutcome | None:
        label = detection.label or self._label
        try:
            if object_id is None:
                object_id = self._objects.next_id(self._stream_id)
            prompt = _prompt_of(object_id, detection, frame)
            return await self._objects.prompt(self._stream_id, prompt, label, reference=reference)
        except ControlError as error:  # the stream is gone, or the tracker busy
            self._log.info("object not started: %s", error)
            return None

    def tracked(self) -> set[int]:
        """The ids of the objects that are tracked now."""
        try:
            return {each.object_id for each in self._objects.of(self._stream_id)}
        except ControlError:  # the stream is gone
            return set()

    async def remove(self, object_id: int, why: str) -> None:
        """Remove an object, whatever happened to it meanwhile."""
        try:
            await self._objects.remove(self._stream_id, object_id)
        except ControlError as error:  # removed already, or the tracker busy: next time
            self._log.info("object %d not removed: %s", object_id, error)
        else:
            self._log.info("object %d removed: %s", object_id, why)


def _reference_to(frame: FrameFacts) -> FrameReference:
    return FrameReference(frame_index=frame.frame_index, session_id=frame.session_id)


def _prompt_of(object_id: int, detection: Detection, frame: FrameFacts) -> Prompt:
    if detection.crop is not None:
        return Prompt(object_id, mask=detection.mask(frame.height, frame.width))
    return Prompt(object_id, box_xyxy=detection.box_xyxy)


def is_clear(outcome: PromptOutcome, detection: Detection) -> bool:
    """Whether the tracker's mask on the detection's frame is of the detected thing."""
    track = outcome.track
    return (
        track is not None
        and track.state is TrackState.VISIBLE
        and iou(track.box_xyxy, detection.box_xyxy) >= CLEAR_IOU
    )
