"""What of a path and a query may be shown: an allow-list, for cameras hide passwords in both.

Every make has its own names for them (``password``, ``psw``, ``loginpas``, ``access``, …), and a
token may be the name of a stream. A list of those would always lack one.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_HARMLESS = frozenset({
    "audio", "bitrate", "buffer_size", "camera", "ch", "channel", "channelid", "codec",
    "compression", "duration_s", "encoding", "fifo_size", "format", "fps", "framerate",
    "height", "latency", "mode", "multicast", "objects", "pkt_size", "profile", "proto",
    "quality", "rate", "rate_hz", "resolution", "seed", "size", "stream", "streamtype",
    "subtype", "transport", "transportmode", "type", "unicast", "video", "videocodec", "view",
    "width",
})  # fmt: skip
_HARMLESS_FLAGS = frozenset({"", "tcp", "udp", "multicast", "http", "enablesrtp", HIDDEN})
_HARMLESS_VALUE = re.compile(r"[A-Za-z0-9_.,-]{0,24}|\*\*\*")
_NAME = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,32}")
# user=admin_password=x_channel=1_stream=0.sdp, of XiongMai's cameras, sold under many names.
_NEXT_NAME = re.compile(r"([_&;,])(?=[A-Za-z][A-Za-z0-9]*=)")
# An encoded =, @, % or /, or a part of the path that is nothing but random letters.
_DOUBTFUL = re.compile(
    r"%(3d|40|25|2f|3a)|[@:]|(?=[a-z]*\d)[a-z0-9]{16}|[0-9a-f]{8}-[0-9a-f]{4}-", re.IGNORECASE
)


def shown_target(scheme: str, target: str) -> str:
    """The path and query of a URL, with ``***`` for what may be a secret.

    Hidden are values of a query except those of well-known harmless names, the same in a path,
    parts of a path that look like tokens, and the key behind an RTMP application: whoever has that
    key may publish under it.
    """
    path, mark, query = target.partition("?")
    parts = path.split("/")
    if scheme in ("rtmp", "rtmps") and len(parts) > 2:
        parts[2:] = [HIDDEN]
    path = "/".join(_shown_part(part) for part in parts)
    items = re.split("([&;])", query)
    return path + mark + "".join(_shown_item(item) if item not in "&;" else item for item in items)


def _shown_part(part: str) -> str:
    if "=" not in part:
        return HIDDEN if _DOUBTFUL.search(part) else part
    items = _NEXT_NAME.split(part)
    items[::2] = [_shown_item(item) if "=" in item else _shown_part(item) for item in items[::2]]
    return "".join(items)


def _shown_item(item: str) -> str:
    name, equals, value = item.partition("=")
    if not equals:
        return item if item.lower() in _HARMLESS_FLAGS else HIDDEN
    if name.lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(value):
        return item
    return f"{name if _NAME.fullmatch(name) else HIDDEN}={HIDDEN}"
