"""The decoder of one stream: on the device where that is possible, on the processor otherwise.

A device that fails is given up in mid-stream, and the processor goes on with the next keyframe.
"""

from __future__ import annotations

import logging
import threading

import av

from streamer.errors import SourceFailure
from streamer.runtime.logs import stream_logger
from streamer.sources.cuda_decoding import CudaDecoder, CudaDecodingError
from streamer.sources.opening import ContainerSettings

# A damaged packet fails once; a device that is gone fails with every packet.
_FAILURES_IN_A_ROW = 3
# Twice as many as any standard lets a decoder hold back.
_SILENT_PACKETS = 32
_logger = logging.getLogger(__name__)
_told: set[str] = set()  # reasons that were logged; as many as there are texts of them
_telling = threading.Lock()


class DeviceFailedError(Exception):
    """The device was given up with a packet that refers to pictures it had: wait for a keyframe."""


class PacketDecoder:
    """Decodes the packets of a stream, beginning with a keyframe. One thread."""

    def __init__(self, stream: av.VideoStream, settings: ContainerSettings) -> None:
        """Raises ``SourceError`` where ``cuda`` is asked for and impossible."""
        self._software = stream.codec_context
        self._log = stream_logger(_logger, settings.stream_id)
        self._device: CudaDecoder | None = None
        self._failures = self._pictures = self._silent_packets = 0
        self._probed = False
        # Of pictures from the device, which know nothing of what the container says.
        self.rotation = 0
        if settings.decoder == "software":
            return
        try:
            self._device = CudaDecoder(self._software)
        except CudaDecodingError as error:
            if settings.decoder == "cuda":
                raise settings.failure(
                    SourceFailure.CODEC,
                    f"cannot be decoded on a CUDA device: {error}; or set decoder to auto or "
                    "software",
                ) from None
            self._tell_once(str(error))

    @property
    def on_device(self) -> bool:
        """Whether packets are decoded on the device now."""
        return self._device is not None

    def close(self) -> None:
        """Let go of the device."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        """The pictures that a packet completed.

        Raises ``FFmpegError`` for a damaged one, and ``DeviceFailedError``.
        """
        if self._device is None:
            return packet.decode()
        if not self._probed:
            self._probe(packet)
        try:
            frames = self._device.decode(packet)
        except av.FFmpegError as error:
            self._failures += 1
            if self._pictures and self._failures < _FAILURES_IN_A_ROW:
                raise
            return self._go_on_in_software(packet, str(error))
        self._failures = 0 if frames else self._failures
        self._pictures += len(frames)
        self._silent_packets = 0 if frames else self._silent_packets + 1
        if self._silent_packets >= _SILENT_PACKETS:
            return self._go_on_in_software(packet, "no pictures come from it")
        return frames

    def _probe(self, packet: av.Packet[av.VideoStream]) -> None:
        """Find out how pictures are turned, from one that is decoded on the processor."""
        self._probed = True
        try:
            frames = [*packet.decode(), *self._software.decode(None)]
        except av.FFmpegError:
            return
        finally:
            self._software.flush_buffers()
        self.rotation = frames[0].rotation if frames else 0

    def _go_on_in_software(
        self, packet: av.Packet[av.VideoStream], reason: str
    ) -> list[av.VideoFrame]:
        self._log.warning(
            "the CUDA device does not decode this stream (%s); decoding on the processor", reason
        )
        self.close()
        if packet.is_keyframe or not packet.size:
            return packet.decode()
        raise DeviceFailedError

    def _tell_once(self, reason: str) -> None:
        with _telling:
            if reason not in _told:
                _told.add(reason)
                self._log.info("video is decoded on the processor: %s", reason)
