"""Work that a source's thread does on a frame ahead of its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from streamer.types import DecodedFrame, ImageArray, RgbPixels
from tracker import Tracker
from tracker.errors import TrackerError
from tracker.images.prepared_image import PreparedImage
from tracker.images.yuv import YuvPicture

Prepare = Callable[[ImageArray | YuvPicture], PreparedImage]


@dataclass(frozen=True, slots=True)
class Preparation:
    """Called in the sources' threads, also while a step runs.

    ``keeps_planes``: the tracker receives the decoder's planes. Otherwise they are converted to
    RGB here: on a CPU libswscale is the fastest way. ``ahead`` resizes a frame for the network;
    None leaves that to the step.
    """

    keeps_planes: bool = False
    ahead: Prepare | None = None

    def received(self, picture: DecodedFrame) -> DecodedFrame:
        """The frame in the form in which it is passed on."""
        if self.keeps_planes:
            return picture
        return replace(picture, pixels=RgbPixels(picture.pixels.rgb()))

    def prepared(self, picture: DecodedFrame) -> PreparedImage | None:
        """The frame at the network's size.

        None if this failed, which is no fault of the camera's: the step then receives the frame
        itself, and reports the failure.
        """
        if self.ahead is None:
            return None
        try:
            return self.ahead(picture.pixels.for_tracker())
        except (TrackerError, RuntimeError, ValueError):
            return None


# RGB, resized by the step.
IN_RGB = Preparation()


def preparation(tracker: Tracker, *, ahead: bool) -> Preparation:
    """For this tracker: on a CUDA device, planes are resized and converted there."""

    def prepare(pixels: ImageArray | YuvPicture) -> PreparedImage:
        if isinstance(pixels, YuvPicture):
            return tracker.prepare_yuv(pixels)
        return tracker.prepare(pixels)

    return Preparation(tracker.device.type == "cuda", prepare if ahead else None)
