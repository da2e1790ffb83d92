"""What a source's thread makes of a picture, so that the step does not have to."""

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

    ``keeps_planes``: a decoder's planes go to the tracker as they are. Otherwise they are RGB from
    the beginning, which libswscale makes faster than anything else on a processor. ``ahead``:
    brings what goes to the tracker to the network's size; None leaves that to the step.
    """

    keeps_planes: bool = False
    ahead: Prepare | None = None

    def received(self, picture: DecodedFrame) -> DecodedFrame:
        """The picture as it goes on."""
        if self.keeps_planes:
            return picture
        return replace(picture, pixels=RgbPixels(picture.pixels.rgb()))

    def prepared(self, picture: DecodedFrame) -> PreparedImage | None:
        """At the network's size.

        A picture or a device that it fails with is no fault of the camera's: the step, which is
        given the picture itself then, tells of it.
        """
        if self.ahead is None:
            return None
        try:
            return self.ahead(picture.pixels.for_tracker())
        except (TrackerError, RuntimeError, ValueError):
            return None


# Nothing is done ahead.
IN_RGB = Preparation()


def preparation(tracker: Tracker, *, ahead: bool) -> Preparation:
    """For this tracker: on a CUDA device, planes are resized and turned into RGB there."""

    def prepare(pixels: ImageArray | YuvPicture) -> PreparedImage:
        if isinstance(pixels, YuvPicture):
            return tracker.prepare_yuv(pixels)
        return tracker.prepare(pixels)

    return Preparation(tracker.device.type == "cuda", prepare if ahead else None)
