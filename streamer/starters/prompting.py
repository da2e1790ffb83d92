"""What a starter asks of its stream's objects: to prompt what it found, and to let objects go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from logging import Logger, LoggerAdapter

from streamer.errors import ControlError
from streamer.inference.object_commands import ObjectCommands
from streamer.inference.prompts.request import PromptOutcome
from streamer.starters.detection import Detection
from streamer.starters.geometry import iou
from streamer.starters.policy import FrameFacts
from streamer.types import FrameReference
from tracker.types import Prompt, TrackState

# What the tracker finds must overlap the detection so much, box with box; else it is another thing.
CLEAR_IOU = 0.2


class Prompting:
    """Prompts one stream's objects. What is refused is told in the log, and is no error."""

    def __init__(
        self, stream_id: str, objects: ObjectCommands, label: str | None, log: LoggerAdapter[Logger]
    ) -> None:
        """``label`` names what was found without one."""
        self._stream_id = stream_id
        self._objects = objects
        self._label = label
        self._log = log

    def hold(self, frame: FrameFacts) -> None:
        """Have the frame that is looked at kept, however long that takes."""
        with suppress(ControlError):  # the stream is gone, or the tracker busy: a prompt will tell
            self._objects.hold(self._stream_id, _reference_to(frame))

    async def prompt(
        self,
        detections: Sequence[Detection],
        frame: FrameFacts,
        lost: Sequence[tuple[int, Detection]] = (),
    ) -> list[tuple[Detection, PromptOutcome | None]]:
        """Prompt all at once, new ids or those of ``lost`` objects: one correction takes them."""
        reference = _reference_to(frame)
        tasks = []
        for index, detection in enumerate(detections):
            object_id = lost[index][0] if lost else None
            tasks.append(asyncio.create_task(self._outcome(object_id, detection, frame, reference)))
            await asyncio.sleep(0)  # let it begin: that takes the id, and the next one is another
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
            self._log.info("an object was not started: %s", error)
            return None

    def followed(self) -> set[int]:
        """The objects that are followed now."""
        try:
            return {each.object_id for each in self._objects.of(self._stream_id)}
        except ControlError:  # the stream is gone
            return set()

    async def remove(self, object_id: int, why: str) -> None:
        """Let it go, whatever others did with it meanwhile."""
        try:
            await self._objects.remove(self._stream_id, object_id)
        except ControlError as error:  # removed by somebody else, or the tracker busy: next time
            self._log.info("object %d was not removed: %s", object_id, error)
        else:
            self._log.info("object %d is removed: %s", object_id, why)


def _reference_to(frame: FrameFacts) -> FrameReference:
    return FrameReference(frame_index=frame.frame_index, session_id=frame.session_id)


def _prompt_of(object_id: int, detection: Detection, frame: FrameFacts) -> Prompt:
    if detection.crop is not None:
        return Prompt(object_id, mask=detection.mask(frame.height, frame.width))
    return Prompt(object_id, box_xyxy=detection.box_xyxy)


def is_clear(outcome: PromptOutcome, detection: Detection) -> bool:
    """Whether the tracker's mask on the frame that was looked at is of what was detected."""
    track = outcome.track
    return (
        track is not None
        and track.state is TrackState.VISIBLE
        and iou(track.box_xyxy, detection.box_xyxy) >= CLEAR_IOU
    )
