"""What ``masklet image`` and its ``embed`` run; imports are local, as torch takes seconds."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker import ImagePredictor


def image(arguments: Namespace) -> int:
    """``masklet image PICTURE…``."""
    from streamer.cli.image.prompts import objects_of

    objects = objects_of(arguments.prompts)
    if not objects:
        arguments.own_parser.error("give a --point, a --box or a --mask: where is the object?")
    from streamer.cli.image.cut_out import cut_out_all  # with torch: takes seconds

    return cut_out_all(
        arguments.pictures,
        lambda _: objects,
        lambda: _image_predictor(arguments),
        arguments.out,
        multimask=arguments.multimask,
        overwrite=arguments.overwrite,
    )


def image_embed(arguments: Namespace) -> int:
    """``masklet image embed DIR``."""
    from streamer.cli.image.embed import embed

    return embed(
        arguments.folder,
        arguments.out,
        lambda: _image_predictor(arguments),
        batch=arguments.batch,
        overwrite=arguments.overwrite,
    )


def _image_predictor(arguments: Namespace) -> ImagePredictor:
    from streamer.cli.startup import require_temporary_folder
    from streamer.errors import ConfigError
    from tracker import ImagePredictor

    require_temporary_folder()
    try:
        return ImagePredictor.from_checkpoint(arguments.model, device=arguments.device)
    except ValueError as error:  # of the device
        raise ConfigError(f"--device: {error}") from error
