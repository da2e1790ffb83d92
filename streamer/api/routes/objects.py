"""Objects of a stream: list, prompt, correct, preview, rename, remove."""

from __future__ import annotations

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Response

from streamer.api.context import ApiContext, StreamCommands
from streamer.api.schemas.objects import (
    MaskInput,
    NewObject,
    ObjectAnswer,
    ObjectChange,
    ObjectsAnswer,
    PromptAnswer,
    PromptBody,
    object_answer,
    objects_answer,
    prompt_answer,
)
from streamer.api.server.authorisation import controls, reads
from streamer.api.server.problems import InvalidField, ProblemError, problems
from streamer.errors import UnknownObjectError, WireError
from streamer.inference.prompts.mask_file import LARGEST_SHARE
from streamer.inference.prompts.request import PromptOutcome
from streamer.wire.mask_codecs import MaskEncoding, decode_crop
from tracker.types import MaskArray

ObjectPath = Annotated[int, Path(ge=0, lt=2**31)]


def objects_router(context: ApiContext) -> APIRouter:
    """``/v1/streams/{stream_id}/objects`` and ``…/preview``."""
    router = APIRouter(prefix="/v1/streams/{stream_id}", tags=["objects"])
    objects = context.objects
    changes = problems(401, 403, 404, 409, 415, 422)

    async def prompted(
        stream_id: str, object_id: int, body: PromptBody, mask: MaskArray | None
    ) -> PromptAnswer:
        outcome = await objects.prompt(
            stream_id,
            body.prompt(object_id, mask),
            body.label,
            colour=body.colour,
            reference=body.reference(),
            correct=body.correct,
            request_id=body.request_id,
        )
        context.keep_stream(stream_id)
        return _applied(outcome)

    @router.get("/objects", dependencies=[reads], responses=problems(401, 403, 404))
    async def list_objects(stream_id: str) -> ObjectsAnswer:
        """Every object of a stream, with its state on the newest frame."""
        return objects_answer(objects.of(stream_id))

    @router.post("/objects", dependencies=[controls], status_code=201, responses=changes)
    async def start_object(stream_id: str, body: NewObject, response: Response) -> PromptAnswer:
        """Track an object from the frame that was clicked on.

        The answer has its mask on that frame, and on the newest one once the frames between are
        processed. A frame that is no longer held is refused (`prompt_rejected`).
        """
        mask = await _mask(context.streams, stream_id, body.mask)
        # Nothing is awaited between asking for the id and the prompt that uses it.
        object_id = body.object_id
        if object_id is None:
            object_id = objects.next_id(stream_id)
        answer = await prompted(stream_id, object_id, body, mask)
        response.headers["Location"] = f"objects/{object_id}"
        return answer

    @router.post("/objects/{object_id}/prompts", dependencies=[controls], responses=changes)
    async def prompt_object(
        stream_id: str, object_id: ObjectPath, body: PromptBody
    ) -> PromptAnswer:
        """Prompt an object again: `correct` refines it, otherwise it starts over."""
        mask = await _mask(context.streams, stream_id, body.mask)
        return await prompted(stream_id, object_id, body, mask)

    @router.post("/preview", dependencies=[controls], responses=changes)
    async def preview(stream_id: str, body: NewObject) -> PromptAnswer:
        """The result a prompt would have; nothing is changed or published.

        The frame is held for a while, so that the same prompt can be confirmed on it.
        """
        mask = await _mask(context.streams, stream_id, body.mask)
        object_id = body.object_id
        if object_id is None:
            object_id = objects.next_id(stream_id)
        return _applied(
            await objects.preview(
                stream_id,
                body.prompt(object_id, mask),
                reference=body.reference(),
                correct=body.correct,
            )
        )

    @router.patch("/objects/{object_id}", dependencies=[controls], responses=changes)
    async def change_object(
        stream_id: str, object_id: ObjectPath, change: ObjectChange
    ) -> ObjectAnswer:
        """Give an object another name or colour."""
        await objects.rename(
            stream_id,
            object_id,
            label=_changed(change, "label", change.label),
            colour=_changed(change, "colour", change.colour),
        )
        context.keep_stream(stream_id)
        for summary in objects.of(stream_id):
            if summary.object_id == object_id:
                return object_answer(summary)
        raise UnknownObjectError(f"stream {stream_id} has no object {object_id}")

    @router.delete(
        "/objects/{object_id}",
        dependencies=[controls],
        status_code=204,
        responses=problems(401, 403, 404, 409, 422),
    )
    async def remove_object(stream_id: str, object_id: ObjectPath) -> None:
        """Stop tracking an object."""
        await objects.remove(stream_id, object_id)
        context.keep_stream(stream_id)

    return router


async def _mask(
    streams: StreamCommands, stream_id: str, given: MaskInput | None
) -> MaskArray | None:
    """The mask that was sent. Raises ``ProblemError``.

    Its size is the picture's before anything is unpacked: a few bytes cannot fill the memory.
    """
    if given is None:
        return None
    streams.config(stream_id)  # refuses a name that is none
    (status,) = (each for each in streams.statuses() if each.stream_id == stream_id)
    height, width = given.size
    frame_height, frame_width = status.height or 0, status.width or 0
    size = f"{frame_height}, {frame_width}" if frame_width else "not known yet"
    if given.offset is None and given.size != (frame_height, frame_width):
        raise _invalid("/mask/size", f"must be the picture's height and width ({size})")
    x, y = given.offset or (0, 0)
    if x + width > frame_width or y + height > frame_height:
        raise _invalid(
            "/mask/offset", f"{height}, {width} from there exceed the picture's size ({size})"
        )
    counts = given.counts.encode("ascii")
    try:
        # Off the event loop, which a ragged mask would block for long.
        crop = await asyncio.to_thread(decode_crop, counts, MaskEncoding.RLE, height, width)
    except WireError as error:
        raise _invalid("/mask/counts", str(error).removeprefix("rle mask: ")) from error
    mask = np.zeros((frame_height, frame_width), np.bool_)
    mask[y : y + height, x : x + width] = crop
    share = float(mask.mean())
    if share > LARGEST_SHARE and not given.whole:
        raise _invalid(
            "/mask/counts",
            f"covers {share:.0%} of the picture: is it inverted? Set mask.whole to insist",
        )
    return mask


def _changed(change: ObjectChange, name: str, value: str | None) -> str | None:
    """A value for the daemon: None leaves the present one, "" (JSON's null) removes it."""
    return (value or "") if name in change.model_fields_set else None


def _invalid(location: str, detail: str) -> ProblemError:
    return ProblemError(
        422,
        f"{location}: {detail}",
        "invalid_request",
        errors=[InvalidField(location, detail)],
    )


def _applied(outcome: PromptOutcome) -> PromptAnswer:
    """The answer to a prompt that was applied. Raises ``ProblemError`` for one that was not."""
    if outcome.applied and outcome.track is not None and outcome.frame_index is not None:
        return prompt_answer(outcome)
    reason = outcome.reason or "the object was removed meanwhile"
    raise ProblemError(
        422,
        reason,
        "prompt_rejected",
        extensions={
            "reason": reason,
            "request_id": outcome.request_id,
            "object_id": outcome.object_id,
        },
    )
