"""Boxes as JSON, and as the text of MOT Challenge."""

from __future__ import annotations

import json
from pathlib import Path

from streamer.recorded.outputs.files import whole_file
from streamer.recorded.record import Record


def write_boxes(path: Path, record: Record) -> None:
    """A key for each frame: a list of ``{"object_id", "frame_index", "bbox"}``.

    ``bbox`` is x0, y0, x1, y1, half-open, in pixels, as in prompts. Only visible objects.
    """
    with whole_file(path) as file:
        file.write("{")
        for frame in record:
            boxes = [
                {
                    "object_id": track.object_id,
                    "frame_index": frame.frame_index,
                    "bbox": list(track.box_xyxy),
                }
                for track in frame.tracks
                if track.area
            ]
            separator = ",\n" if frame.frame_index else "\n"
            file.write(f'{separator}"{frame.frame_index}": {json.dumps(boxes)}')
        file.write("\n}\n")


def write_mot(path: Path, record: Record) -> None:
    """Lines of frame (from 1), id, left, top, width, height, confidence, -1, -1, -1."""
    with whole_file(path) as file:
        for frame in record:
            for track in frame.tracks:
                if track.area:
                    x0, y0, x1, y1 = track.box_xyxy
                    file.write(
                        f"{frame.frame_index + 1},{track.object_id},{x0},{y0},{x1 - x0},{y1 - y0},"
                        f"{track.predicted_iou:.4f},-1,-1,-1\n"
                    )
