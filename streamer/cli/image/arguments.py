"""The arguments of ``masklet image`` and ``masklet image embed``.

Needs no more than ``argparse``: a command's modules are imported when it runs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamer.cli.argument_types import (
    box,
    folder,
    object_id,
    path,
    point,
    positive_whole,
    whole,
)
from streamer.cli.command_parser import Parser, command_parser
from streamer.cli.image import commands as handlers
from streamer.cli.image.prompts import InOrder
from streamer.cli.text_arguments import WORDS_HELP, add_text_options

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

EXAMPLES = """\
examples (pixels of the picture as it is shown):
  masklet image dog.jpg --point 310,205 --out cut
  masklet image team.jpg --label keeper --box 60,40,120,230 --object 2 --box 300,52,371,240 \\
      --out cut
  masklet image dog.jpg --point 310,205 --not-point 340,260 --multimask --out cut
  masklet image *.jpg --mask rough.png --out cut              the same place in many pictures
  masklet image photos/*.jpg --text dog --out cut             whatever looks like one
  masklet image photo.jpg --everything --out found            masks of all there is
  masklet image embed photos --out photos.safetensors         encode a whole folder

For dog.jpg and object 1, cut/ then holds dog-1-mask.png (white on black), dog-1-cutout.png
(the object alone, transparent around it) and dog-overlay.png. A single --point may mean a
part or the whole: of three masks the one of the highest predicted IoU is written;
--multimask writes all three. With --everything the objects are numbered from the largest on, and
found/photo-everything.json has their boxes, scores and masks as run lengths. The exit code is 1
if a picture could not be processed.
"""
EMBED_EXAMPLES = """\
examples:
  masklet image embed photos --out photos.safetensors
  masklet image embed photos --out photos.safetensors --model sam2.1_hiera_small --batch 16

In Python, predictor.set_embeddings(EmbeddingFile("photos.safetensors")["dog.jpg"]) takes the
place of predictor.set_image. Pictures that cannot be read are named and left out; the exit
code is 1 then.
"""


def add_image(commands: Subparsers) -> None:
    """Add the command and its action."""
    parser = command_parser(
        commands, "image", "cut objects out of pictures", handlers.image, EXAMPLES
    )
    parser.add_argument("pictures", nargs="+", type=folder, metavar="PICTURE")
    parser.set_defaults(prompts=[])
    for name, kind, metavar, summary in (
        ("--object", object_id, "N", "the options after it are about object N (1)"),
        ("--label", str, "NAME", "the object's name in the overlay"),
        ("--point", point, "X,Y", "on the object"),
        ("--not-point", point, "X,Y", "beside the object"),
        ("--box", box, "X0,Y0,X1,Y1", "around the object, half-open"),
        (
            "--mask",
            path,
            "FILE[:ID]",
            "a rough mask of the object, as large as the picture; of several, the one with this "
            "grey level, palette entry or #rrggbb",
        ),
    ):
        parser.add_argument(
            name, action=InOrder, type=kind, metavar=metavar, help=summary, dest=argparse.SUPPRESS
        )
    parser.add_argument("--text", metavar="WORDS", help=WORDS_HELP)
    add_text_options(parser)
    parser.add_argument(
        "--multimask", action="store_true", help="write three masks of each object, best first"
    )
    parser.add_argument(
        "--apart",
        action="store_true",
        help="a pixel belongs to one object, the surest: for things of one kind side by side",
    )
    parser.add_argument(
        "--everything", action="store_true", help="find all objects; instead of pointing at some"
    )
    parser.add_argument(
        "--points-per-side",
        type=positive_whole,
        default=32,
        metavar="N",
        help="of --everything: the grid of points that the picture is asked at (32)",
    )
    parser.add_argument(
        "--min-area",
        type=whole,
        default=0,
        metavar="PIXELS",
        help="of --everything: remove smaller holes and separate regions (0: none)",
    )
    _add_shared(parser, "the folder for the results; made if it is not there")
    embed = Parser(
        prog=f"{parser.prog} embed",
        description="Encode the pictures of a folder, in batches, for later prompts.",
        epilog=EMBED_EXAMPLES,
    )
    embed.set_defaults(command=handlers.image_embed)
    embed.add_argument("folder", type=folder, metavar="DIR", help="its pictures, not its folders'")
    embed.add_argument(
        "--batch",
        type=positive_whole,
        metavar="N",
        help="pictures that are encoded together (8 on a CUDA device, 1 on a processor)",
    )
    _add_shared(embed, "the file to write, FILE.safetensors")
    assert isinstance(parser, Parser), "argparse makes parsers of the parent's class"
    parser.first_words["embed"] = embed


def _add_shared(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--out", type=folder, required=True, metavar="PATH", help=out)
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")
    parser.add_argument("--model", default="nano", help="the checkpoint to use (nano)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
