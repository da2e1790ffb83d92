"""A bound on the sources (SSRC) as which one peer sends.

For each of them libsrtp keeps keys and a replay window, which it searches one by one with every
packet (0.7 ms at 20000), and aiortc keeps statistics, for as long as the connection lasts.
"""

from __future__ import annotations

import logging

from aiortc import RTCDtlsTransport

# A video has one source, its retransmissions another, reports may have their own; aiortc's reports
# on what it receives have room for 31 (RFC 3550, section 6.4.2).
MAXIMUM_SOURCES = 31
_logger = logging.getLogger(__name__)


def limit_sources(transport: RTCDtlsTransport) -> None:
    """Let ``transport`` end when its peer sends as more than ``MAXIMUM_SOURCES``.

    Only what the peer really sent is counted: it is called with packets that were decrypted.
    """
    handle_rtp, handle_rtcp = transport._handle_rtp_data, transport._handle_rtcp_data
    sources: set[bytes] = set()

    def count(source: bytes) -> None:
        sources.add(source)
        if len(sources) > MAXIMUM_SOURCES:
            _logger.warning("a peer that sends as more than %d sources is left", MAXIMUM_SOURCES)
            raise ConnectionError("too many sources")  # with which aiortc ends the transport

    async def handle_counted_rtp(data: bytes, arrival_time_ms: int) -> None:
        count(data[8:12])
        await handle_rtp(data, arrival_time_ms)

    async def handle_counted_rtcp(data: bytes) -> None:
        count(data[4:8])
        await handle_rtcp(data)

    transport._handle_rtp_data = handle_counted_rtp  # type: ignore[method-assign]
    transport._handle_rtcp_data = handle_counted_rtcp  # type: ignore[method-assign]
