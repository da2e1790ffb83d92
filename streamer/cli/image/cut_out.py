"""``masklet image PICTURE…``: masks, cut-outs and an overlay of each picture's objects."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from streamer.cli import exit_codes
from streamer.cli.image.prompts import ObjectPrompt
from streamer.cli.lines import write_line
from streamer.errors import ConfigError, PictureError
from streamer.sinks.picture_files import cut_out, mask_image, write_png
from streamer.sinks.video.overlay import draw_objects
from streamer.sources.picture_files import PictureFile, read_picture
from streamer.types import ObjectResult
from tracker import ImagePredictor, PromptError, Track, TrackState
from tracker.types import MaskArray

# The objects of a picture. The command line's are the same for every picture; a detector's are not.
Finder = Callable[[PictureFile], Sequence[ObjectPrompt]]
_RESULT = r"-((overlay|\d+-(mask|cutout)(-[23])?)\.png|everything\.json)"


def cut_out_all(
    pictures: Sequence[Path],
    finder: Callable[[], Finder],
    predictor: Callable[[], ImagePredictor],
    out: Path,
    *,
    multimask: bool = False,
    overwrite: bool = False,
) -> int:
    """Process pictures one by one; one that cannot be is named, and the others go on.

    Raises ``ConfigError`` before anything runs if results would replace each other or, without
    ``overwrite``, files that are there.
    """
    ensure_free(pictures, out, overwrite=overwrite)
    find, network = finder(), predictor()
    failed = 0
    for path in pictures:
        try:
            _cut_out(path, find, network, out, multimask=multimask)
        except (PictureError, PromptError) as error:
            failed += 1
            write_line(f"masklet: {error}", sys.stderr)
    if failed < len(pictures):
        write_line(f"results are in {out}")
    return exit_codes.FAILED if failed else exit_codes.DONE


def _cut_out(
    path: Path, find: Finder, network: ImagePredictor, out: Path, *, multimask: bool
) -> None:
    picture = read_picture(path)
    prompts = find(picture)
    if not prompts:
        write_line(f"{path}: nothing found")
        return
    network.set_image(picture.rgb)
    asked = [prompt.for_network() for prompt in prompts]
    for prompt, each in zip(prompts, asked, strict=True):
        try:
            network.check(each)
        except PromptError as error:
            raise PromptError(f"{path}: object {prompt.object_id}: {error}") from error
    shown: list[ObjectResult] = []
    # One object at a time: masks are as large as the picture.
    for prompt, each in zip(prompts, asked, strict=True):
        (masks,) = network.predict_batch([each], multimask=multimask or prompt.is_ambiguous)
        best_first = np.argsort(-masks.predicted_iou)[: None if multimask else 1]
        for place, choice in enumerate(best_first):
            track = _track(prompt.object_id, masks.masks[choice], masks.predicted_iou[choice])
            name = f"{path.stem}-{prompt.object_id}"
            suffix = f"-{place + 1}" if place else ""
            write_png(out / f"{name}-mask{suffix}.png", mask_image(masks.masks[choice]))
            if track.area:
                cut = cut_out(picture.rgb, track, picture.alpha)
                write_png(out / f"{name}-cutout{suffix}.png", cut)
            write_line(f"{path}: {_described(prompt, track, place)}")
            if not place:
                shown.append(ObjectResult(track, prompt.label))
    canvas = picture.rgb.copy()
    draw_objects(canvas, shown)
    write_png(out / f"{path.stem}-overlay.png", Image.fromarray(canvas))


def _track(object_id: int, mask: MaskArray, predicted_iou: float) -> Track:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (0, 0, 0, 0)
    if rows.size:
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    x0, y0, x1, y1 = box
    return Track(
        object_id=object_id,
        state=TrackState.VISIBLE if rows.size else TrackState.OCCLUDED,
        box_xyxy=box,
        crop=mask[y0:y1, x0:x1],
        area=int(np.count_nonzero(mask)),
        predicted_iou=float(predicted_iou),
        object_score=1.0,
        frame_height=mask.shape[0],
        frame_width=mask.shape[1],
    )


def _described(prompt: ObjectPrompt, track: Track, place: int) -> str:
    name = f"object {prompt.object_id}" + (f" ({prompt.label})" if prompt.label else "")
    name += f", mask {place + 1}" if place else ""
    if not track.area:
        return f"{name}: no pixel, nothing to cut out"
    box = ",".join(map(str, track.box_xyxy))
    return f"{name}: {track.area} pixels, box {box}, predicted IoU {track.predicted_iou:.2f}"


def ensure_free(pictures: Sequence[Path], out: Path, *, overwrite: bool) -> None:
    """Make the folder; refuse results that would replace something."""
    named: dict[str, Path] = {}
    for path in pictures:
        other = named.setdefault(path.stem, path)
        if other is not path:
            raise ConfigError(
                f"{other} and {path} would both be written as {path.stem}-…: give them one after "
                "the other, with another --out"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = [each.name for each in out.iterdir()]
    except OSError as error:
        raise ConfigError(f"--out {out} is no folder to write to: {error.strerror}") from error
    for stem in () if overwrite else named:
        result = re.compile(re.escape(stem) + _RESULT)
        if taken := next((name for name in there if result.fullmatch(name)), None):
            raise ConfigError(f"{out / taken} is there already: name another --out, or --overwrite")
