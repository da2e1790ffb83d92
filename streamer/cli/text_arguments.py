"""The options of commands that look for objects in words; what they load is imported on use."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streamer.cli.argument_types import share
from streamer.starters.words.captions import DEFAULT_MODEL, parsed_captions

if TYPE_CHECKING:
    from streamer.types import Detection, ImageArray

WORDS_HELP = (
    'what to look for, in words: "sports ball,person", or "a man in red=player" to name it '
    "(needs masklet[text])"
)


def add_text_options(parser: argparse._ActionsContainer) -> None:
    """How ``--text``, which the command adds itself, is looked for."""
    parser.add_argument(
        "--text-model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="a detector of the Hugging Face hub, fetched once, or a folder "
        f"({DEFAULT_MODEL}); docs/detectors.md",
    )
    parser.add_argument(
        "--text-score", type=share, default=0.3, metavar="S", help="the least score, 0 to 1 (0.3)"
    )


def words_finder(options: argparse.Namespace) -> Callable[[ImageArray], Sequence[Detection]]:
    """Finds what ``--text`` names in a picture, surest first, each thing once.

    Raises ``StarterError`` for words or a detector that cannot be used.
    """
    captions = parsed_captions(options.text)
    from streamer.errors import ConfigError
    from streamer.starters.detector import checked
    from streamer.starters.matching import without_doubles
    from streamer.starters.words.text_detector import TextDetector

    try:
        detector = TextDetector.of(
            captions, options.text_model, device=options.device, minimum_score=options.text_score
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("starter.device", "--device")) from error

    def find(image: ImageArray) -> Sequence[Detection]:
        return without_doubles(checked(detector(image), *image.shape[:2]))[0]

    return find
