"""Decoding on an NVIDIA device (NVDEC): the decoder, and why it may be unavailable.

A decoder has a CUDA context of its own: FFmpeg shares none between streams, and PyTorch creates its
own with flags that FFmpeg does not accept. Hence the bound on their number.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import cast

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

# Streams decoded on the device at once; further ones are decoded on the CPU.
MOST_DECODERS = 16
_places = threading.BoundedSemaphore(MOST_DECODERS)


class CudaDecodingError(Exception):
    """A stream cannot be decoded on the device; the message is the reason."""


class CudaDecoder:
    """Decodes one stream on the device, to NV12 on the host. One thread."""

    def __init__(self, software: av.VideoCodecContext) -> None:
        """``software``: the stream's CPU decoder, whose parameters are used.

        Raises ``CudaDecodingError``.
        """
        reason = why_no_cuda()
        if reason is not None:
            raise CudaDecodingError(reason)
        if not _places.acquire(blocking=False):
            raise CudaDecodingError(f"{MOST_DECODERS} streams are already decoded there")
        try:
            self._context = cuda_context(software)
        except BaseException:
            _places.release()
            raise
        self._closed = False

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        """The pictures that a packet completed. Raises ``FFmpegError``."""
        return self._context.decode(packet)

    def close(self) -> None:
        """Free the decoder for another stream. Closing twice is no error."""
        if not self._closed:
            self._closed = True
            del self._context
            _places.release()


def cuda_context(software: av.VideoCodecContext) -> av.VideoCodecContext:
    """A device decoder with the parameters of ``software``. Raises ``CudaDecodingError``."""
    accelerator = HWAccel("cuda", allow_software_fallback=False)
    try:
        context = cast(
            av.VideoCodecContext,
            av.VideoCodecContext.create(software.codec, "r", hwaccel=accelerator),
        )
    except (av.FFmpegError, RuntimeError) as error:
        raise CudaDecodingError(f"FFmpeg opens no CUDA device: {error}") from error
    if not context.is_hwaccel:
        raise CudaDecodingError(f"FFmpeg does not decode {software.codec.name} there")
    context.extradata = software.extradata
    context.colorspace, context.color_range = software.colorspace, software.color_range
    context.thread_count = 1
    context.options = software.options
    return context


@cache
def why_no_cuda() -> str | None:
    """Why this machine cannot decode on a device; None if it can.

    Checked once per process.
    """
    if "cuda" not in hwdevices_available():
        return "this FFmpeg build has no CUDA; install PyAV from its wheel"
    for library, advice in (
        ("libcuda.so.1", "is there an NVIDIA driver? (nvidia-smi shows it)"),
        ("libnvcuvid.so.1", "give the container the driver's capability `video`"),
    ):
        try:
            ctypes.CDLL(library)
        except OSError:
            return f"{library} does not load: {advice}"
    try:
        HWAccel("cuda").create(av.Codec("h264", "r"))
    except (av.FFmpegError, RuntimeError) as error:
        return f"FFmpeg opens no CUDA device: {error}"
    return None
