"""The arguments of ``python -m tracker.training``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracker.argument_types import above_zero, whole_number

DESCRIPTION = """\
Trains nano, or continues from any checkpoint: on composed clips (--data), on your own footage and
masks (--masks), or on footage that a larger model labels (--footage, --teacher). The result is
OUT/NAME.safetensors, for the daemon's model.checkpoint and the --checkpoint of `masklet evaluate`.
"""
EXAMPLES = """\
examples:
  python -m tracker.training --finetune nano --masks mine --minutes 6 --out runs/mine \\
      --config checkpoints/fine-tune-nano.toml
  python -m tracker.training --finetune sam2.1_hiera_tiny --masks mine --device cuda --out runs/tiny
  python -m tracker.training --finetune nano --teacher sam2.1_hiera_small --footage camera \
      --config checkpoints/fine-tune-nano.toml --minutes 30 --out runs/camera
  python -m tracker.training --data DATA --minutes 100 --config checkpoints/nano.toml \\
      --out runs/nano
  python -m tracker.training --finetune nano --data DATA --teacher sam2.1_hiera_small \\
      --out runs/taught

The same command continues an interrupted run. docs/training.md describes folders and recipes, and
has an example with numbers.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; it checks single values only."""
    parser = argparse.ArgumentParser(
        prog="python -m tracker.training",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("training data")
    data.add_argument(
        "--data", type=Path, metavar="DIR", help="cut-outs, photos, videos, tars of them"
    )
    data.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="JPEGImages/NAME and Annotations/NAME, or NAME/images and NAME/masks",
    )
    data.add_argument(
        "--footage",
        type=Path,
        metavar="DIR",
        help="pictures and videos, labelled by the --teacher into OUT/labelled",
    )
    data.add_argument(
        "--match-scenes",
        type=whole_number(0),
        default=150,
        metavar="N",
        help="with --data: rendered scenes of a match; 0: none (default: %(default)s)",
    )
    data.add_argument(
        "--match-pool", type=Path, metavar="DIR", help="their folder (default: OUT/match-pool)"
    )
    data.add_argument(
        "--teacher",
        metavar="CHECKPOINT",
        help="a larger model, by name or file: labels --footage; beside --data and --masks its "
        "answers are learned too",
    )
    data.add_argument(
        "--teacher-size",
        type=whole_number(1),
        metavar="PIXELS",
        help="image side for the teacher (default: its own)",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--finetune", metavar="CHECKPOINT", help="continue from this model: a name or a file"
    )
    model.add_argument("--config", type=Path, metavar="TOML", help="changes to the recipe")
    model.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        required=True,
        help="results; continues a run in it",
    )
    model.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    machine = parser.add_argument_group("machine and duration")
    machine.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    machine.add_argument(
        "--processes",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="that share each step",
    )
    machine.add_argument(
        "--workers",
        type=whole_number(0),
        metavar="N",
        help="processes that make clips ahead of the step, the same as without; 0: none (default: "
        "half the cores, at most 8)",
    )
    machine.add_argument(
        "--minutes",
        type=above_zero,
        metavar="N",
        help="duration of the whole run; phases share it by their steps",
    )
    machine.add_argument(
        "--slice-minutes",
        type=above_zero,
        metavar="N",
        help="stop after N minutes; the same command continues",
    )
    return parser
