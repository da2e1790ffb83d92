"""The consumer of ``masklet bench``, in a process of its own: measures the latency of results.

    python -m streamer.cli.bench.reader ENDPOINT STREAMS OBJECTS SETTLE_S CELL_S START_S

Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

from streamer.client import Subscriber
from streamer.wire.codec import FrameMessage

_RECEIVE_S = 0.2


def read(
    endpoint: str, streams: int, objects: int, settle_s: float, cell_s: float, start_s: float
) -> dict[str, object]:
    """Read for ``cell_s``, beginning ``settle_s`` after every stream has all of its objects.

    Begins after ``start_s`` in any case: a machine that is far too slow never gets there.
    """
    latencies_ms: list[float] = []
    steps_ms: list[float] = []
    dropped = 0
    complete: set[str] = set()
    start_by_s = time.monotonic() + start_s
    begin_s: float | None = None
    end_s = start_by_s + settle_s + cell_s
    # Bound: the results of one cell, some thousands.
    with Subscriber(endpoint, topics=("frame",), high_water_mark=1000) as messages:
        while (now_s := time.monotonic()) < end_s:
            if begin_s is None and (len(complete) >= streams or now_s >= start_by_s):
                begin_s = now_s + settle_s
                end_s = begin_s + cell_s
            message = messages.receive(timeout_s=_RECEIVE_S)
            if not isinstance(message, FrameMessage) or message.header.replayed:
                continue
            header = message.header
            if len(header.objects) >= objects:
                complete.add(header.stream_id)
            if begin_s is None or time.monotonic() < begin_s:
                continue
            for entry in header.objects:
                message.crop(entry)  # as a consumer would
            latencies_ms.append((time.time_ns() - header.capture_time_ns) / 1e6)
            times = header.stage_times_ns
            steps_ms.append((times.tracked - times.started) / 1e6)
            dropped += sum(header.dropped_since_last.values())
        dropped += sum(messages.lost.values())
    return {
        "latencies_ms": latencies_ms,
        "steps_ms": steps_ms,
        "dropped": dropped,
        "complete_streams": len(complete),
    }


def main() -> None:
    """Read as the arguments ask."""
    endpoint, streams, objects, *seconds = sys.argv[1:]
    found = read(endpoint, int(streams), int(objects), *map(float, seconds))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
