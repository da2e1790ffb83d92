"""``masklet image PICTURE… --everything``: masks of all objects, an overlay and their records."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from streamer.cli import exit_codes
from streamer.cli.image.cut_out import ensure_free
from streamer.cli.lines import write_line
from streamer.errors import PictureError
from streamer.sinks.picture_files import cut_out, mask_image, write_png
from streamer.sinks.video.overlay import draw_objects
from streamer.sources.picture_files import read_picture
from streamer.types import ObjectResult
from tracker import MaskGenerator, Segment, Track, TrackState


def everything_in_all(
    pictures: Sequence[Path],
    generator: Callable[[], MaskGenerator],
    out: Path,
    *,
    overwrite: bool = False,
) -> int:
    """Process pictures one by one; one that cannot be is named, and the others go on.

    Raises ``ConfigError`` as ``cut_out_all`` does.
    """
    ensure_free(pictures, out, overwrite=overwrite)
    finder = generator()
    failed = 0
    for path in pictures:
        try:
            _everything_in(path, finder, out)
        except PictureError as error:
            failed += 1
            write_line(f"masklet: {error}", sys.stderr)
    if failed < len(pictures):
        write_line(f"results are in {out}")
    return exit_codes.FAILED if failed else exit_codes.DONE


def _everything_in(path: Path, finder: MaskGenerator, out: Path) -> None:
    picture = read_picture(path)
    largest_first = sorted(finder.segments(picture.rgb), key=lambda each: -each.area)
    tracks = [_track(number, each) for number, each in enumerate(largest_first, 1)]
    for track, segment in zip(tracks, largest_first, strict=True):
        name = f"{path.stem}-{track.object_id}"
        write_png(out / f"{name}-mask.png", mask_image(segment.mask))
        write_png(out / f"{name}-cutout.png", cut_out(picture.rgb, track, picture.alpha))
    canvas = picture.rgb.copy()
    draw_objects(canvas, [ObjectResult(track, None) for track in tracks])
    write_png(out / f"{path.stem}-overlay.png", Image.fromarray(canvas))
    records = [
        {"object_id": number, **each.record("coco_rle")}
        for number, each in enumerate(largest_first, 1)
    ]
    _write_records(out / f"{path.stem}-everything.json", records)
    write_line(f"{path}: {len(tracks)} masks")


def _write_records(path: Path, records: list[dict[str, Any]]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(json.dumps(records), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PictureError(f"{path} cannot be written: {error.strerror or error}") from error


def _track(number: int, segment: Segment) -> Track:
    return Track(
        object_id=number,
        state=TrackState.VISIBLE,
        box_xyxy=segment.box_xyxy,
        crop=segment.crop,
        area=segment.area,
        predicted_iou=segment.predicted_iou,
        object_score=1.0,
        frame_height=segment.height,
        frame_width=segment.width,
    )
