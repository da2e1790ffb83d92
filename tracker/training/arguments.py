"""The arguments of ``python -m tracker.training``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracker.argument_types import above_zero, whole_number

DESCRIPTION = """\
Trains nano, or goes on from any checkpoint: with nano's own composed clips (--data), or with
footage and masks of yours (--masks). The result is OUT/NAME.safetensors, which model.checkpoint of
the daemon and --checkpoint of `masklet evaluate` take.
"""
EXAMPLES = """\
examples:
  python -m tracker.training --finetune nano --masks mine --minutes 6 --out runs/mine \\
      --config checkpoints/fine-tune-nano.toml
  python -m tracker.training --finetune sam2.1_hiera_tiny --masks mine --device cuda --out runs/tiny
  python -m tracker.training --data DATA --minutes 100 --config checkpoints/nano.toml \\
      --out runs/nano
  python -m tracker.training --finetune nano --data DATA --teacher sam2.1_hiera_small \\
      --out runs/taught

A run that was interrupted goes on where it was with the same command. docs/training.md
says how folders look, what a recipe holds, and shows an example with numbers.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; values are checked one by one, not whether they go together."""
    parser = argparse.ArgumentParser(
        prog="python -m tracker.training",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("what is learnt from")
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
        "--match-scenes",
        type=whole_number(0),
        default=150,
        metavar="N",
        help="with --data: rendered scenes of a match; 0: none (default: %(default)s)",
    )
    data.add_argument(
        "--match-pool", type=Path, metavar="DIR", help="where these lie (default: OUT/match-pool)"
    )
    data.add_argument(
        "--teacher", metavar="CHECKPOINT", help="learn from its answers too: a name or a file"
    )
    data.add_argument(
        "--teacher-size",
        type=whole_number(1),
        metavar="PIXELS",
        help="image side that the teacher sees (default: its own)",
    )
    model = parser.add_argument_group("what learns")
    model.add_argument(
        "--finetune", metavar="CHECKPOINT", help="go on from this model: a name or a file"
    )
    model.add_argument("--config", type=Path, metavar="TOML", help="changes to the recipe")
    model.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="results; what is there goes on"
    )
    model.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    machine = parser.add_argument_group("on which machine, for how long")
    machine.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    machine.add_argument(
        "--processes", type=whole_number(1), default=1, metavar="N", help="that share each step"
    )
    machine.add_argument(
        "--minutes",
        type=above_zero,
        metavar="N",
        help="the whole run takes so long, its phases in proportion to their steps",
    )
    machine.add_argument(
        "--slice-minutes", type=above_zero, metavar="N", help="stop after so long, to go on later"
    )
    return parser
