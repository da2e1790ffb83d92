"""The record of a job: one JSON line for each frame and pass, with masks as COCO's RLE.

It is written as the frames are tracked, and everything else can be made of it. Read back, the
passes of a frame are one, and frames come in order. Bound: a few numbers for each frame in memory,
16 bytes, and one frame.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamer.recorded.tracking import FrameTracks
from streamer.wire.mask_codecs import MaskEncoding, coco_rle, decode_crop
from tracker.types import Track, TrackState

_NOTHING = -1


def frame_line(frame: FrameTracks) -> dict[str, Any]:
    """A frame as JSON. ``bbox`` is x0, y0, x1, y1, half-open; hidden objects have no mask."""
    line: dict[str, Any] = {"frame_index": frame.frame_index, "time_s": round(frame.time_s, 6)}
    if frame.is_damaged:
        line["damaged"] = True
    return line | {"objects": [_object(track) for track in frame.tracks]}


def _object(track: Track) -> dict[str, Any]:
    rle = coco_rle(track.crop, track.box_xyxy[:2], (track.frame_height, track.frame_width))
    return {
        "object_id": track.object_id,
        "bbox": list(track.box_xyxy),
        "area": track.area,
        "visible": track.state is TrackState.VISIBLE,
        "predicted_iou": round(track.predicted_iou, 6),
        "object_score": round(track.object_score, 6),
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }


class Record:
    """The frames that a record holds, in order: ``frames`` of the clip, empty where it has none.

    ``damaged``: the frames that did not decode. ``names``: the classes of objects, where known.
    """

    def __init__(
        self, path: Path, frames: int, height: int, width: int, names: Mapping[int, str]
    ) -> None:
        self._path = path
        self.names = names
        self._size = height, width
        self.damaged: list[int] = []
        # Where the lines of each frame begin, of a first and a second pass.
        self._offsets = [array("q", [_NOTHING]) * frames for _ in range(2)]
        with path.open("rb") as file:
            offset = 0
            for line in file:
                read = json.loads(line)
                index = read["frame_index"]
                if read.get("damaged") and index not in self.damaged[-1:]:
                    self.damaged.append(index)
                places = self._offsets[self._offsets[0][index] != _NOTHING]
                places[index] = offset
                offset += len(line)

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        return len(self._offsets[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return self._size

    @property
    def object_ids(self) -> list[int]:
        """All objects, in ascending order."""
        return sorted({track.object_id for frame in self for track in frame.tracks})

    def __iter__(self) -> Iterator[FrameTracks]:
        """Every frame of the clip, in order."""
        with self._path.open("rb") as file:
            for index in range(self.frames):
                frame = FrameTracks(index, 0.0, *self._size, ())
                for places in self._offsets:
                    if places[index] != _NOTHING:
                        file.seek(places[index])
                        own = self._frame(json.loads(file.readline()))
                        tracks = sorted(frame.tracks + own.tracks, key=lambda each: each.object_id)
                        frame = replace(own, tracks=tuple(tracks))
                yield frame

    def _frame(self, line: dict[str, Any]) -> FrameTracks:
        tracks = tuple(self._track(each) for each in line["objects"])
        damaged = line.get("damaged", False)
        return FrameTracks(
            line["frame_index"], line["time_s"], *self._size, tracks, is_damaged=damaged
        )

    def _track(self, each: dict[str, Any]) -> Track:
        x0, y0, x1, y1 = each["bbox"]
        rle = each["segmentation"]
        mask = decode_crop(rle["counts"].encode(), MaskEncoding.RLE, *rle["size"])
        return Track(
            object_id=each["object_id"],
            state=TrackState.VISIBLE if each["visible"] else TrackState.OCCLUDED,
            box_xyxy=(x0, y0, x1, y1),
            crop=mask[y0:y1, x0:x1].copy(),
            area=each["area"],
            predicted_iou=each["predicted_iou"],
            object_score=each["object_score"],
            frame_height=self._size[0],
            frame_width=self._size[1],
        )
