"""Motion JPEG as a ``multipart/x-mixed-replace`` body (RFC 2046); a picture shows once it is sent.

A reader that ignores Content-Length completes a part at the boundary after it, so every part ends
with that boundary. Chromium draws a part even later, when it has the headers of the next one
(crbug.com/527446): a browser gets these headers in advance, therefore without the length.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from streamer.sinks.video.jpeg import JpegReader

BOUNDARY = "masklet"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
_DELIMITER = f"--{BOUNDARY}\r\n".encode()
_END = f"--{BOUNDARY}--\r\n".encode()
_TYPE = b"Content-Type: image/jpeg\r\n"


async def for_programs(pictures: JpegReader) -> AsyncIterator[bytes]:
    """Parts with Content-Length and with the index of the frame that each shows."""
    yield _DELIMITER
    async for jpeg in pictures:
        head = (
            f"Content-Length: {len(jpeg.data)}\r\nMasklet-Frame-Index: {jpeg.frame_index}\r\n\r\n"
        )
        yield _TYPE + head.encode() + jpeg.data + b"\r\n" + _DELIMITER


async def for_browsers(pictures: JpegReader) -> AsyncIterator[bytes]:
    """Parts for a browser that draws them itself, as in an ``img`` element."""
    head = _DELIMITER + _TYPE + b"\r\n"
    yield head
    async for jpeg in pictures:
        yield jpeg.data + b"\r\n" + head
    yield b"\r\n" + _END
