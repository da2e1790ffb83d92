"""Counts the objects that cross a line, from Masklet's results over ZeroMQ.

    masklet run --stream gate=rtsp://camera.local/stream starter=motion
    python line_counter.py tcp://127.0.0.1:5555 --stream gate --line 0,300,640,300

Prints a line for each crossing, and at the end (Ctrl-C) the totals of both directions. An
object stands where the middle of its box's lower edge is: of a person, the feet.
"""

import argparse
from collections import Counter
from contextlib import suppress

from streamer.client import Subscriber

Point = tuple[float, float]


class LineCounter:
    """Crossings of the line from ``start`` to ``end``, by direction and label."""

    def __init__(self, start: Point, end: Point) -> None:
        self.start, self.end = start, end
        self.counts: Counter[tuple[str, str | None]] = Counter()
        self._last: dict[int, Point] = {}

    def see(self, object_id: int, label: str | None, at: Point) -> str | None:
        """Note where an object is; the direction if it crossed the line since it was last seen."""
        before = self._last.get(object_id)
        self._last[object_id] = at
        if before is None or not self._between(before, at):
            return None
        direction = "to the right" if _side(self.start, self.end, at) > 0 else "to the left"
        self.counts[direction, label] += 1
        return direction

    def keep(self, object_ids: set[int]) -> None:
        """Forget all other objects: they were removed."""
        self._last = {each: at for each, at in self._last.items() if each in object_ids}

    def _between(self, before: Point, at: Point) -> bool:
        """Whether the way and the line cross: each has its ends on both sides of the other."""
        return (_side(self.start, self.end, before) > 0) != (
            _side(self.start, self.end, at) > 0
        ) and (_side(before, at, self.start) > 0) != (_side(before, at, self.end) > 0)


def _side(start: Point, end: Point, at: Point) -> float:
    """Positive right of the way from ``start`` to ``end`` in a picture, whose y points down."""
    (x0, y0), (x1, y1), (x, y) = start, end, at
    return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--line", required=True, help="x0,y0,x1,y1 in pixels; right is seen from 0")
    parser.add_argument("--count", type=int, help="end after this many frames")
    arguments = parser.parse_args()
    x0, y0, x1, y1 = (float(each) for each in arguments.line.split(","))
    counter = LineCounter((x0, y0), (x1, y1))

    frames = 0
    with (
        suppress(KeyboardInterrupt),
        Subscriber(arguments.endpoint, [arguments.stream], ("frame",)) as messages,
    ):
        for message in messages:
            counter.keep({entry.id for entry in message.objects})
            for entry in message.objects:
                if entry.mask is None:  # hidden: it goes on where it is seen again
                    continue
                left, _, right, bottom = entry.bbox
                if direction := counter.see(entry.id, entry.label, ((left + right) / 2, bottom)):
                    print(f"{entry.label or entry.id} crossed {direction}", flush=True)
            frames += 1
            if frames == arguments.count:
                break
    for (direction, label), number in sorted(counter.counts.items(), key=str):
        print(f"{number} × {label or 'object'} {direction}")
    print(f"{counter.counts.total()} crossings in {frames} frames")


if __name__ == "__main__":
    main()
