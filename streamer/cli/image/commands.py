"""What ``masklet image`` and its ``embed`` run; imports are local, as torch takes seconds."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker import ImagePredictor, MaskGenerator


def image(arguments: Namespace) -> int:
    """``masklet image PICTURE…``."""
    from streamer.cli.image.prompts import detected_objects, objects_of

    if arguments.everything:
        return _everything(arguments)
    objects = objects_of(arguments.prompts)
    if bool(objects) == (arguments.text is not None):
        arguments.own_parser.error(
            "give a --point, a --box or a --mask: where is the object? Or --text, or --everything"
        )
    if arguments.apart and arguments.multimask:
        arguments.own_parser.error("--apart writes one mask of each object: leave out --multimask")
    from streamer.cli.image.cut_out import Finder, cut_out_all  # with torch: takes seconds
    from streamer.cli.text_arguments import words_finder

    def finder() -> Finder:
        if objects:
            return lambda _: objects
        found = words_finder(arguments)
        return lambda picture: detected_objects(found(picture.rgb))

    return cut_out_all(
        arguments.pictures,
        finder,
        lambda: _image_predictor(arguments),
        arguments.out,
        multimask=arguments.multimask,
        apart=arguments.apart,
        overwrite=arguments.overwrite,
    )


def _everything(arguments: Namespace) -> int:
    given = [name for name, _ in arguments.prompts]
    given += ["--multimask"] * arguments.multimask + ["--apart"] * arguments.apart
    given += ["--text"] * (arguments.text is not None)
    if given:
        arguments.own_parser.error(f"--everything finds all objects: leave out {given[0]}")
    from tracker.pictures.generator_options import MOST_POINTS_PER_SIDE

    if arguments.points_per_side > MOST_POINTS_PER_SIDE:
        arguments.own_parser.error(
            f"--points-per-side must be at most {MOST_POINTS_PER_SIDE}, "
            f"got {arguments.points_per_side}"
        )
    from streamer.cli.image.everything import everything_in_all  # with torch: takes seconds
    from tracker import GeneratorOptions
    from tracker.pictures.mask_generator import MaskGenerator

    def generator() -> MaskGenerator:
        predictor = _image_predictor(arguments)
        options = GeneratorOptions.suited(
            predictor.config.name,
            points_per_side=arguments.points_per_side,
            min_mask_region_area=arguments.min_area,
        )
        return MaskGenerator(predictor, options)

    return everything_in_all(
        arguments.pictures, generator, arguments.out, overwrite=arguments.overwrite
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
