"""Checks a step before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from tracker.errors import CapacityError, PromptError, SessionError
from tracker.images.prepared_image import PreparedImage
from tracker.images.transforms import AnyImage
from tracker.images.yuv import YuvPicture
from tracker.memory.bank import MemoryBank
from tracker.sessions.prompts import PreparedPrompt, prepare
from tracker.sessions.session import Session
from tracker.types import Prompt

ImageArray = npt.NDArray[np.uint8]
StepInput = tuple[Session, AnyImage, Sequence[Prompt]]


def admit(
    batch: Sequence[StepInput],
    sessions: Collection[Session],
    bank: MemoryBank,
    image_size: int,
    image_sizes: Collection[int],
) -> list[dict[int, PreparedPrompt]]:
    """Check a step against the tracker's open sessions and free slots -> prompts by object.

    ``image_sizes``: sizes images may be prepared for; ``image_size``: that in use.
    Raises PromptError, CapacityError, SessionError, or ValueError for an array that is no image.
    """
    if len({id(session) for session, _, _ in batch}) < len(batch):
        raise SessionError("a session appears twice in one step; give it one frame a step")
    prepared: list[dict[int, PreparedPrompt]] = []
    for session, image, prompts in batch:
        ensure_own(session, sessions)
        height, width = size_of(image, image_sizes)
        known = session.object_ids
        prepared.append(admit_prompts(session, prompts, height, width, image_size, known))
    ensure_free(
        sum(
            len(own.keys() - set(session.object_ids))
            for (session, _, _), own in zip(batch, prepared, strict=True)
        ),
        bank,
    )
    return prepared


def size_of(image: AnyImage, image_sizes: Collection[int]) -> tuple[int, int]:
    """Height and width of the source image. Raises ValueError if it cannot be used."""
    if isinstance(image, PreparedImage):
        if image.pixels_13SS.shape[2] not in image_sizes:
            sizes = " or ".join(map(str, image_sizes))
            raise ValueError(
                f"the image was prepared for a network of {image.pixels_13SS.shape[2]} pixels, "
                f"this one takes {sizes}; prepare it with this tracker"
            )
        return image.height, image.width
    if isinstance(image, YuvPicture):
        return image.height, image.width
    ensure_image(image)
    height, width = image.shape[:2]
    return height, width


def ensure_image(image: ImageArray) -> None:
    """Raise ValueError for an array that is not an image."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"an image is RGB uint8 (height, width, 3), got {image.dtype} {image.shape}"
        )


def ensure_own(session: Session, sessions: Collection[Session]) -> None:
    """Raise SessionError for a session that is closed or belongs to another tracker."""
    session.ensure_open()
    if session not in sessions:
        raise SessionError("this session belongs to another tracker")


def admit_prompts(
    session: Session,
    prompts: Sequence[Prompt],
    height: int,
    width: int,
    image_size: int,
    found: Collection[int],
) -> dict[int, PreparedPrompt]:
    """Check prompts against a frame and a session -> prompts by object.

    ``found``: objects that their prompts do not start. Raises PromptError, or CapacityError for
    more objects than the session may hold.
    """
    own: dict[int, PreparedPrompt] = {}
    for prompt in prompts:
        if prompt.object_id in own:
            raise PromptError(f"object {prompt.object_id} is prompted twice in one step")
        own[prompt.object_id] = prepare(prompt, height, width, image_size)
        starts = session.needs_positive and prompt.object_id not in found
        if starts and not own[prompt.object_id].is_positive:
            raise PromptError(
                f"object {prompt.object_id}: give a point on it, a box or a mask first; points "
                "beside it alone only correct an object that is tracked"
            )
    new = len(own.keys() - set(session.object_ids))
    if len(session.object_ids) + new > session.max_objects:
        raise CapacityError(
            f"this session holds {len(session.object_ids)} of at most "
            f"{session.max_objects} objects; {new} more do not fit"
        )
    return own


def ensure_free(new_objects: int, bank: MemoryBank) -> None:
    """Raise CapacityError if there are fewer free slots than ``new_objects``."""
    if new_objects > bank.free_slots:
        raise CapacityError(
            f"{new_objects} new objects but only {bank.free_slots} of "
            f"{bank.capacity} slots are free; remove objects or raise max_objects"
        )
