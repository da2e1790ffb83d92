"""Where each followed object was last seen, and since when it is out of sight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from streamer.starters.appearance import Look, likeness, look_of
from streamer.starters.detection import Box, Detection, ImageArray
from streamer.starters.geometry import distance_in_sizes, scaled, size_ratio
from streamer.starters.matching import Seen

# A lost object is looked for near its last place, the farther away the longer it is hidden (in
# its own sizes: the first at once, the second per second, the third at most), if it has about
# the size and the colours that it had.
NEAR_SIZES, NEAR_SIZES_PER_S, NEAR_SIZES_AT_MOST = 1.0, 0.5, 4.0
LEAST_SIZE_RATIO = 0.6
LEAST_LIKENESS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An object as it was last seen; ``hidden_since_ns`` is None while it is seen."""

    object_id: int
    label: str | None
    box_xyxy: Box
    look: Look | None
    hidden_since_ns: int | None


class Places:
    """The last places of a stream's objects. Bound: one entry a live object."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}

    def observe(
        self,
        live_ids: Iterable[int],
        seen: Sequence[Seen],
        image: ImageArray | None,
        now_ns: int,
    ) -> list[Place]:
        """Take in a frame's objects -> those that were followed before and are not any more."""
        live = set(live_ids)
        gone = [each for object_id, each in self._places.items() if object_id not in live]
        for place in gone:
            del self._places[place.object_id]
        for each in seen:
            box = each.box_xyxy
            look = None if image is None else look_of(image, box)
            if look is None and each.object_id in self._places:
                look = self._places[each.object_id].look
            self._places[each.object_id] = Place(each.object_id, each.label, box, look, None)
        for object_id in live.difference(each.object_id for each in seen):
            known = self._places.get(object_id)
            if known is not None and known.hidden_since_ns is None:
                self._places[object_id] = replace(known, hidden_since_ns=now_ns)
        return gone

    def begin(self, object_id: int, label: str | None, box_xyxy: Box) -> None:
        """An object was started here, and no frame with it was looked at yet."""
        self._places[object_id] = Place(object_id, label, box_xyxy, None, None)

    def rescale(self, across: float, down: float) -> None:
        """Pictures have another size now."""
        for object_id, place in self._places.items():
            box = scaled(place.box_xyxy, across, down)
            self._places[object_id] = replace(place, box_xyxy=box)

    def restart_waiting(self, now_ns: int) -> None:
        """Nothing could be seen for a while: time out of sight begins anew."""
        for object_id, place in self._places.items():
            if place.hidden_since_ns is not None:
                self._places[object_id] = replace(place, hidden_since_ns=now_ns)

    def hidden_for_ns(self, object_id: int, now_ns: int) -> int:
        """How long an object was not seen; 0 for one that is, or that never was."""
        place = self._places.get(object_id)
        if place is None or place.hidden_since_ns is None:
            return 0
        return max(0, now_ns - place.hidden_since_ns)

    def lost_here(self, detection: Detection, image: ImageArray | None, now_ns: int) -> list[int]:
        """The hidden objects that a detection may be.

        Without a picture to compare colours in, only a label says that it is like one.
        """
        found = []
        for place in self._places.values():
            if place.hidden_since_ns is None or place.label != detection.label:
                continue
            hidden_s = max(0, now_ns - place.hidden_since_ns) / 1e9
            reach = min(NEAR_SIZES + NEAR_SIZES_PER_S * hidden_s, NEAR_SIZES_AT_MOST)
            if (
                distance_in_sizes(place.box_xyxy, detection.box_xyxy) <= reach
                and size_ratio(place.box_xyxy, detection.box_xyxy) >= LEAST_SIZE_RATIO
                and self._is_like(place, detection, image)
            ):
                found.append(place.object_id)
        return found

    @staticmethod
    def _is_like(place: Place, detection: Detection, image: ImageArray | None) -> bool:
        if image is None or place.look is None:
            return place.label is not None
        return likeness(place.look, look_of(image, detection.box_xyxy)) >= LEAST_LIKENESS
