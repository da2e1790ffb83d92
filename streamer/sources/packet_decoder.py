"""The decoder of one stream: on the device where possible, on the CPU otherwise.

If the device fails in mid-stream, the CPU continues with the next keyframe.
"""

from __future__ import annotations

import logging
import threading

import av

from streamer.errors import SourceFailure
from streamer.runtime.logs import stream_logger
from streamer.sources.cuda_decoding import CudaDecoder, CudaDecodingError
from streamer.sources.opening import ContainerSettings
from streamer.sources.orientation import UPRIGHT, Orientation, OrientationState, stated_orientation

# A damaged packet fails once; a lost device fails with every packet.
_FAILURES_IN_A_ROW = 3
# Twice the largest delay that any standard allows a decoder.
_SILENT_PACKETS = 32
_logger = logging.getLogger(__name__)
_logged: set[str] = set()  # reasons already logged; bounded by the number of texts
_telling = threading.Lock()


class DeviceFailedError(Exception):
    """The device failed; decoding continues on the CPU with the next keyframe."""


class PacketDecoder:
    """Decodes the packets of a stream, from a keyframe on. One thread."""

    def __init__(self, stream: av.VideoStream, settings: ContainerSettings) -> None:
        """Raises ``SourceError`` if ``cuda`` is required but unavailable."""
        self._software = stream.codec_context
        self._log = stream_logger(_logger, settings.stream_id)
        self._device: CudaDecoder | None = None
        self._failures = self._pictures = self._silent_packets = 0
        self._probed = False
        self._orientation = OrientationState()
        # Pictures from the device lack the orientation that the container states.
        self._of_container = UPRIGHT
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

    def orientation(self, frame: av.VideoFrame) -> Orientation:
        """How to show ``frame``; to be asked once for each picture, in order."""
        return self._orientation.of(frame, self._of_container)

    def close(self) -> None:
        """Free the device decoder."""
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
            return self._continue_in_software(packet, str(error))
        self._failures = 0 if frames else self._failures
        self._pictures += len(frames)
        self._silent_packets = 0 if frames else self._silent_packets + 1
        if self._silent_packets >= _SILENT_PACKETS:
            return self._continue_in_software(packet, "it returned no pictures")
        return frames

    def _probe(self, packet: av.Packet[av.VideoStream]) -> None:
        """Read the orientation from a picture decoded on the CPU."""
        self._probed = True
        try:
            frames = [*packet.decode(), *self._software.decode(None)]
        except av.FFmpegError:
            return
        finally:
            self._software.flush_buffers()
        self._of_container = (stated_orientation(frames[0]) if frames else None) or UPRIGHT

    def _continue_in_software(
        self, packet: av.Packet[av.VideoStream], reason: str
    ) -> list[av.VideoFrame]:
        self._log.warning(
            "the CUDA device does not decode this stream (%s); decoding on the CPU", reason
        )
        self.close()
        self._of_container = UPRIGHT
        if packet.is_keyframe or not packet.size:
            return packet.decode()
        raise DeviceFailedError

    def _tell_once(self, reason: str) -> None:
        with _telling:
            if reason not in _logged:
                _logged.add(reason)
                self._log.info("video is decoded on the CPU: %s", reason)
