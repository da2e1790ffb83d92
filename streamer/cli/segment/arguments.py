"""The arguments of ``masklet segment``."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from streamer.cli.argument_types import folder, positive_whole
from streamer.cli.command_parser import command_parser
from streamer.cli.text_arguments import WORDS_HELP, add_text_options

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

EXAMPLES = """\
examples:
  masklet segment match.mp4 --prompts prompts.json --out results
  masklet segment match.mp4 --prompts prompts.json --out results --preview     look first
  masklet segment match.mp4 --prompts prompts.json --out results --masks --boxes --debug
  masklet segment frames/ --prompts prompts.json --out results --direction both
  masklet segment clip.mp4 --text "sports ball,person" --out results
  masklet segment a.mp4 b.mp4 c.mp4 --prompts prompts.json --out results --together 3
  masklet segment clips/ --prompts prompts.json --out results --coco --ray

prompts.json is a list of prompts; coordinates are pixels, frames count from 0:
  [{"frame_index": 0, "object_id": 1, "points": [[320, 180]], "labels": [1]},
   {"frame_index": 90, "object_id": 1, "box": [300, 150, 360, 260]},
   {"frame_index": 0, "object_id": 2, "mask": "ball.png"}]
A label is 1 for a point on the object, 0 for one beside it. Points and a box may be in one
prompt; a later prompt of an object corrects it. For several clips with prompts of their
own: {"a": [...], "b": [...]}, by the names of the clips.

Results of clip.mp4 are in OUT/clip/. Ctrl-C keeps what is done, and the same command goes on
from there. Without a flag of an output, --masks and --boxes are written.
"""


def add_segment(commands: Subparsers) -> None:
    """Add the command to the parser of all commands."""
    parser = command_parser(
        commands,
        "segment",
        "follow objects through recorded video, and write their masks",
        segment,
        EXAMPLES,
    )
    parser.add_argument(
        "clips",
        nargs="+",
        type=folder,
        metavar="CLIP",
        help="a video file, a folder of pictures (by name, 2 before 10) or a folder of video files",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--prompts", type=folder, metavar="FILE", help="the objects, as JSON")
    which.add_argument("--text", metavar="WORDS", help=WORDS_HELP)
    add_text_options(parser)
    parser.add_argument(
        "--out", type=folder, required=True, metavar="DIR", help="the folder for the results"
    )
    parser.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="from an object's first prompt to the end (forward), from its last one to the "
        "beginning (backward), or from its first one both ways",
    )
    _add_outputs(parser.add_argument_group("outputs"))
    running = parser.add_argument_group("running")
    running.add_argument("--model", default="nano", help="the checkpoint to use (nano)")
    running.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    running.add_argument(
        "--together",
        type=positive_whole,
        default=1,
        metavar="N",
        help="track frames of N clips in one batch (1); worth it on a GPU",
    )
    running.add_argument(
        "--ray",
        action="store_true",
        help="a task for each clip on the Ray cluster of RAY_ADDRESS, or on this machine; all "
        "machines see the same folders (needs masklet[ray])",
    )
    running.add_argument(
        "--overwrite", action="store_true", help="remove earlier results of these clips in DIR"
    )


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--masks",
        action="store_true",
        help="masks/OBJECT/FRAME.png, white on black, and palette/FRAME.png as in DAVIS",
    )
    group.add_argument(
        "--confidences",
        nargs="?",
        const="png",
        choices=("png", "npz"),
        help="each pixel's probability: 16-bit PNG (65535 is 1), or npz with float16",
    )
    group.add_argument("--boxes", action="store_true", help="boxes.json: a list for each frame")
    group.add_argument("--mot", action="store_true", help="mot.txt, as MOT Challenge")
    group.add_argument("--rle", action="store_true", help="rle.jsonl: COCO's RLE, a line a frame")
    group.add_argument(
        "--coco",
        nargs="?",
        const="rle",
        choices=("rle", "polygons"),
        help="coco.json; polygons for programs that read no RLE",
    )
    group.add_argument("--youtube-vis", action="store_true", help="youtube_vis.json")
    group.add_argument(
        "--debug",
        action="store_true",
        help="debug.mp4: masks, names and boxes drawn in, with sound",
    )
    group.add_argument(
        "--preview",
        action="store_true",
        help="preview/FRAME.png: the prompted frames, drawn before the long run; alone, it "
        "ends there",
    )


def segment(options: Namespace) -> int:
    """``masklet segment``."""
    from streamer.cli.segment.command import run  # with torch: takes seconds

    return run(options)
