"""COCO's and YouTube-VIS' JSON, and masks as lines of JSON; written without holding them in memory.

Objects are instances of their classes, or of the category ``object`` where none is known; their
own ids are ``object_id``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from streamer.recorded.clip import Clip
from streamer.recorded.outputs.files import whole_file, write_list
from streamer.recorded.record import Record, frame_line
from streamer.wire.mask_codecs import coco_rle
from tracker.types import Track

_NO_NAME = "object"


def write_rle(path: Path, record: Record) -> None:
    """A line for each frame, as in the record (``record.frame_line``), in order."""
    with whole_file(path) as file:
        for frame in record:
            file.write(json.dumps(frame_line(frame)) + "\n")


def write_coco(path: Path, record: Record, clip: Clip, *, polygons: bool = False) -> None:
    """Images and annotations, ``bbox`` as x, y, width, height; image ids are frame numbers from 1.

    ``polygons``: outlines in place of RLE, for programs that read no RLE; holes are filled.
    """
    height, width = record.size
    categories = _categories(record)

    def images() -> Iterator[dict[str, Any]]:
        for index in range(record.frames):
            yield {
                "id": index + 1,
                "file_name": clip.frame_name(index),
                "width": width,
                "height": height,
                "frame_index": index,
            }

    def annotations() -> Iterator[dict[str, Any]]:
        number = 0
        for frame in record:
            for track in frame.tracks:
                shape = _polygons(track) if polygons else _rle(track)
                if not track.area or not shape:
                    continue
                number += 1
                yield {
                    "id": number,
                    "image_id": frame.frame_index + 1,
                    "category_id": categories[record.names.get(track.object_id, _NO_NAME)],
                    "segmentation": shape,
                    "area": track.area,
                    "bbox": _bbox(track),
                    "iscrowd": 0,
                    "score": round(track.predicted_iou, 4),
                    "object_id": track.object_id,
                }

    with whole_file(path) as file:
        _begin(file, clip, categories)
        file.write(',\n"images": ')
        write_list(file, images())
        file.write(',\n"annotations": ')
        write_list(file, annotations())
        file.write("}\n")


def write_youtube_vis(path: Path, record: Record, clip: Clip) -> None:
    """One video; for each object a list of its RLE, box and area on every frame, null if hidden.

    The record is read once for each list of each object, so that only one frame is in memory.
    """
    height, width = record.size
    categories = _categories(record)
    with whole_file(path) as file:
        _begin(file, clip, categories)
        file.write(
            f',\n"videos": [{{"id": 1, "width": {width}, "height": {height}, '
            f'"length": {record.frames}, "file_names": '
        )
        write_list(file, (clip.frame_name(index) for index in range(record.frames)))
        file.write('}],\n"annotations": [')
        for number, object_id in enumerate(record.object_ids, 1):
            separator = ",\n" if number > 1 else "\n"
            category = categories[record.names.get(object_id, _NO_NAME)]
            file.write(
                f'{separator}{{"id": {number}, "video_id": 1, "category_id": {category}, '
                f'"iscrowd": 0, "object_id": {object_id}, "width": {width}, "height": {height}, '
                f'"length": {record.frames}, "score": 1.0'
            )
            for key, value in (
                ("segmentations", _rle),
                ("bboxes", _bbox),
                ("areas", lambda track: track.area),
            ):
                file.write(f', "{key}": ')
                write_list(
                    file,
                    (
                        None if track is None or not track.area else value(track)
                        for track in _of_object(record, object_id)
                    ),
                )
            file.write("}")
        file.write("]}\n")


def _categories(record: Record) -> dict[str, int]:
    """The ids of the categories, from 1, by name."""
    names = sorted(set(record.names.values())) or [_NO_NAME]
    return {name: number for number, name in enumerate(names, 1)}


def _begin(file: TextIO, clip: Clip, categories: Mapping[str, int]) -> None:
    info = {"description": f"{clip.path.name}, tracked by masklet"}
    file.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n')
    listed = [
        {"id": number, "name": name, "supercategory": "object"}
        for name, number in categories.items()
    ]
    file.write(f'"categories": {json.dumps(listed)}')


def _of_object(record: Record, object_id: int) -> Iterator[Track | None]:
    for frame in record:
        yield next((track for track in frame.tracks if track.object_id == object_id), None)


def _bbox(track: Track) -> list[int]:
    x0, y0, x1, y1 = track.box_xyxy
    return [x0, y0, x1 - x0, y1 - y0]


def _rle(track: Track) -> dict[str, Any]:
    rle = coco_rle(track.crop, track.box_xyxy[:2], (track.frame_height, track.frame_width))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def _polygons(track: Track) -> list[Any]:
    """Outlines with at least three corners; a smaller part of the mask is left out."""
    outlines, _ = cv2.findContours(
        track.crop.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    offset = np.array(track.box_xyxy[:2], np.int32)
    return [
        (each[:, 0] + offset).astype(int).ravel().tolist() for each in outlines if len(each) >= 3
    ]
