"""``masklet image PICTURE…``: masks, cut-outs and an overlay of each picture's objects."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamer.cli import exit_codes
from streamer.cli.image.prompts import ObjectPrompt
from streamer.cli.lines import write_line
from streamer.errors import ConfigError, PictureError
from streamer.sinks.picture_files import cut_out, mask_image, write_png
from streamer.sinks.video.overlay import draw_objects
from streamer.sources.picture_files import PictureFile, read_picture
from streamer.types import ObjectResult
from tracker import ImagePredictor, PromptError, Track
from tracker.pictures.apart import Owners

# The objects of a picture. The command line's are the same for every picture; a detector's are not.
Finder = Callable[[PictureFile], Sequence[ObjectPrompt]]
# A mask, or its logits, and its predicted IoU.
_Answer = tuple[npt.NDArray[Any], float]
_RESULT = r"-((overlay|\d+-(mask|cutout)(-[23])?)\.png|everything\.json)"


def cut_out_all(
    pictures: Sequence[Path],
    finder: Callable[[], Finder],
    predictor: Callable[[], ImagePredictor],
    out: Path,
    *,
    multimask: bool = False,
    apart: bool = False,
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
            _cut_out(path, find, network, out, multimask=multimask, apart=apart)
        except (PictureError, PromptError) as error:
            failed += 1
            write_line(f"masklet: {error}", sys.stderr)
    if failed < len(pictures):
        write_line(f"results are in {out}")
    return exit_codes.FAILED if failed else exit_codes.DONE


def _cut_out(
    path: Path,
    find: Finder,
    network: ImagePredictor,
    out: Path,
    *,
    multimask: bool,
    apart: bool,
) -> None:
    picture = read_picture(path)
    prompts = find(picture)
    if not prompts:
        write_line(f"{path}: nothing found")
        return
    network.set_image(picture.rgb)
    for prompt in prompts:
        try:
            network.check(prompt.for_network())
        except PromptError as error:
            raise PromptError(f"{path}: object {prompt.object_id}: {error}") from error
    if apart:
        answers = _apart(network, prompts, *picture.rgb.shape[:2])
    else:
        answers = (_best_first(network, prompt, multimask=multimask) for prompt in prompts)
    shown: list[ObjectResult] = []
    # One object at a time: masks are as large as the picture.
    for prompt, masks in zip(prompts, answers, strict=True):
        for place, (mask, iou) in enumerate(masks):
            track = Track.of_mask(prompt.object_id, mask, iou)
            name = f"{path.stem}-{prompt.object_id}"
            suffix = f"-{place + 1}" if place else ""
            write_png(out / f"{name}-mask{suffix}.png", mask_image(mask))
            if track.area:
                cut = cut_out(picture.rgb, track, picture.alpha)
                write_png(out / f"{name}-cutout{suffix}.png", cut)
            write_line(f"{path}: {_described(prompt, track, place)}")
            if not place:
                shown.append(ObjectResult(track, prompt.label))
    canvas = picture.rgb.copy()
    draw_objects(canvas, shown)
    write_png(out / f"{path.stem}-overlay.png", Image.fromarray(canvas))


def _best_first(
    network: ImagePredictor, prompt: ObjectPrompt, *, multimask: bool, logits: bool = False
) -> list[_Answer]:
    (masks,) = network.predict_batch(
        [prompt.for_network()], multimask=multimask or prompt.is_ambiguous, logits=logits
    )
    best_first = np.argsort(-masks.predicted_iou)[: None if multimask else 1]
    return [(masks.masks[choice], masks.predicted_iou[choice]) for choice in best_first]


def _apart(
    network: ImagePredictor, prompts: Sequence[ObjectPrompt], height: int, width: int
) -> Iterator[list[_Answer]]:
    owners = Owners(height, width)
    found = []
    for prompt in prompts:
        ((logits, iou),) = _best_first(network, prompt, multimask=False, logits=True)
        owners.add(logits)
        found.append(iou)
    for place, iou in enumerate(found):
        yield [(owners.mask(place), iou)]


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
