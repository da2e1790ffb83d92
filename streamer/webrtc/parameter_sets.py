"""H.264 parameter sets in a description: ``sprop-parameter-sets`` (RFC 6184, section 8.1).

Some senders name the picture's size and coding there alone, and never in the stream.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

# Bound: real ones have 10 to 100 bytes each, and few senders more than two.
MOST_SETS, MOST_BYTES = 16, 4096
_START_CODE = b"\x00\x00\x00\x01"
_SPS, _PPS = 7, 8


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """``data``: the sets with start codes, empty without any; ``problem``: why they are ignored."""

    data: bytes = b""
    problem: str | None = None


def read_parameter_sets(text: str | None) -> ParameterSets:
    """The sets in the value of ``sprop-parameter-sets``; all or none of them."""
    if text is None:
        return ParameterSets()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MOST_SETS or len(text) > MOST_BYTES * 4 // 3:
        return ParameterSets(problem=f"it has more than {MOST_SETS} sets or {MOST_BYTES} bytes")
    units = []
    for part in parts:
        unpadded = part.rstrip("=")
        try:
            unit = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
        except (binascii.Error, ValueError):
            return ParameterSets(problem=f"{part[:32]!r} is not base64")
        if len(unit) < 2 or unit[0] & 0x1F not in (_SPS, _PPS):
            return ParameterSets(problem=f"{part[:32]!r} is neither an SPS nor a PPS")
        units.append(_START_CODE + unit)
    return ParameterSets(b"".join(units))
