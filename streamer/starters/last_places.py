"""Where each tracked object was last seen, and since when it has been hidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from streamer.starters.appearance import ColourHistogram, colour_histogram, similarity
from streamer.starters.geometry import distance_in_sizes, scaled, size_ratio
from streamer.starters.matching import VisibleObject
from streamer.types import Box, Detection, ImageArray

# A lost object is searched for near its last place. The radius, in sizes of the object, grows while
# it is hidden: at first, per second, at most. Size and colours must be about the same.
NEAR_SIZES, NEAR_SIZES_PER_S, NEAR_SIZES_AT_MOST = 1.0, 0.5, 4.0
LEAST_SIZE_RATIO = 0.6
LEAST_SIMILARITY = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class LastPlace:
    """An object as it was last seen; ``hidden_since_ns`` is None while it is visible."""

    object_id: int
    label: str | None
    box_xyxy: Box
    colours: ColourHistogram | None
    hidden_since_ns: int | None


class LastPlaces:
    """The last places of a stream's objects. Bound: one entry per live object."""

    def __init__(self) -> None:
        self._places: dict[int, LastPlace] = {}

    def observe(
        self,
        live_ids: Iterable[int],
        seen: Sequence[VisibleObject],
        image: ImageArray | None,
        now_ns: int,
    ) -> list[LastPlace]:
        """Update from a frame's objects -> the places of objects that are no longer tracked."""
        live = set(live_ids)
        gone = [each for object_id, each in self._places.items() if object_id not in live]
        for place in gone:
            del self._places[place.object_id]
        for each in seen:
            box = each.box_xyxy
            colours = None if image is None else colour_histogram(image, box)
            if colours is None and each.object_id in self._places:
                colours = self._places[each.object_id].colours
            self._places[each.object_id] = LastPlace(each.object_id, each.label, box, colours, None)
        for object_id in live.difference(each.object_id for each in seen):
            known = self._places.get(object_id)
            if known is not None and known.hidden_since_ns is None:
                self._places[object_id] = replace(known, hidden_since_ns=now_ns)
        return gone

    def begin(self, object_id: int, label: str | None, box_xyxy: Box) -> None:
        """Add an object that was just started here, before the next pass."""
        self._places[object_id] = LastPlace(object_id, label, box_xyxy, None, None)

    def rescale(self, across: float, down: float) -> None:
        """Convert all boxes to the new size of the pictures."""
        for object_id, place in self._places.items():
            box = scaled(place.box_xyxy, across, down)
            self._places[object_id] = replace(place, box_xyxy=box)

    def restart_waiting(self, now_ns: int) -> None:
        """Restart the hidden time of all hidden objects: there were no pictures for a while."""
        for object_id, place in self._places.items():
            if place.hidden_since_ns is not None:
                self._places[object_id] = replace(place, hidden_since_ns=now_ns)

    def hidden_for_ns(self, object_id: int, now_ns: int) -> int:
        """How long an object has been hidden; 0 for one that is visible, or was never seen."""
        place = self._places.get(object_id)
        if place is None or place.hidden_since_ns is None:
            return 0
        return max(0, now_ns - place.hidden_since_ns)

    def lost_here(self, detection: Detection, image: ImageArray | None, now_ns: int) -> list[int]:
        """The ids of the hidden objects that a detection may be.

        Without a picture to compare colours in, a label is required.
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
                and self._is_similar(place, detection, image)
            ):
                found.append(place.object_id)
        return found

    @staticmethod
    def _is_similar(place: LastPlace, detection: Detection, image: ImageArray | None) -> bool:
        if image is None or place.colours is None:
            return place.label is not None
        colours = colour_histogram(image, detection.box_xyxy)
        return similarity(place.colours, colours) >= LEAST_SIMILARITY
