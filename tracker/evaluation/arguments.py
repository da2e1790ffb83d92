"""The arguments of ``masklet evaluate`` and ``python -m tracker.evaluation``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracker.argument_types import above_zero, whole_number

RENDERED = ("synthetic", "stress")
MASK_LAYOUTS = ("davis", "mose", "lvos", "youtube-vos", "sa-v")
BOX_LAYOUTS = ("vot", "lasot", "otb", "mot")
LOOP = "loop"
SUITES = (*RENDERED, *MASK_LAYOUTS, *BOX_LAYOUTS, LOOP)

SUMMARY = "score a model on rendered suites or on a dataset: masks, boxes, identities, returns"
DESCRIPTION = """\
Follows the objects of every clip from a prompt on the first frame that shows them, and says how
well: J and F as DAVIS has them, success and precision of boxes as OTB and LaSOT, HOTA, MOTA and
IDF1, how soon an object is found again, what is claimed while it is away, how often a mask goes
over to somebody else, how much it trembles, and whether the predicted IoU can be believed.
"""
EXAMPLES = """\
examples:
  masklet evaluate                                        nano on the held-out rendered clips
  masklet evaluate --suite stress --size short            occlusion, doubles, rain, drops ...
  masklet evaluate --suite davis --data DAVIS-2016.tar --prompt point
  masklet evaluate --suite davis --data DAVIS --clips DAVIS/ImageSets/2017/val.txt
  masklet evaluate --suite sa-v --data sav_val --checkpoint sam2.1_hiera_small --device cuda
  masklet evaluate --suite stress --out report            results.json, plots, worst clips as video
  masklet evaluate --suite davis --data PATH --real-time  as if it came from a camera
  masklet evaluate --suite stress,synthetic --ablate --out ablation
                                                          every technique on and off; resumes
  masklet evaluate --suite loop --frames 20000            a stream without an end

layouts (--data is the folder that holds what is named here):
  davis        JPEGImages/480p/NAME + Annotations/480p/NAME, one object (2016) or several (2017;
               under Full-Resolution too), or a tar file of NAME/frames + NAME/masks
  mose, lvos, youtube-vos
               JPEGImages/NAME/*.jpg + Annotations/NAME/*.png (palette), meta.json if there is one
  sa-v         JPEGImages_24fps/NAME + Annotations_6fps/NAME/OBJECT, or *.mp4 + *_manual.json
  vot          NAME/groundtruth.txt (rectangles, polygons or masks) + NAME/color/*.jpg or
               NAME/*.jpg; masks are scored by their boxes
  lasot        NAME/groundtruth.txt + NAME/img, also as CATEGORY/NAME
  otb          NAME/groundtruth_rect.txt (also groundtruth_rect.1.txt ...: NAME-1) + NAME/img
  mot          NAME/gt/gt.txt + NAME/img1 + NAME/seqinfo.ini; pedestrians, each from the first
               frame on that shows half of it

Seeds of the rendered suites are fixed. Choose thresholds with --split tuning, publish what
--split reported gives. Plots and HOTA need: pip install 'masklet[evaluation]' and
pip install --no-deps trackeval==1.3.0 (it asks for another build of OpenCV than Masklet's).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every argument to a parser."""
    what = parser.add_argument_group("what is followed")
    what.add_argument(
        "--suite",
        type=_suites,
        default="synthetic",
        metavar="A,B",
        help=f"one or several of {', '.join(SUITES)} (default: %(default)s)",
    )
    what.add_argument("--data", type=Path, metavar="PATH", help="where a dataset lies")
    what.add_argument("--category", help="only the clips of this category")
    what.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="NAME",
        help="only this clip; may be given several times",
    )
    what.add_argument(
        "--clips",
        type=Path,
        metavar="FILE",
        help="only the clips that this file names, one a line, such as ImageSets/2017/val.txt",
    )
    what.add_argument(
        "--limit", type=whole_number(1), metavar="N", help="at most N clips a category"
    )
    what.add_argument(
        "--split",
        choices=("tuning", "reported"),
        default="reported",
        help="seeds of what is rendered",
    )
    what.add_argument("--size", choices=("short", "full"), default="full", help="of stress")
    what.add_argument(
        "--prompt",
        choices=("mask", "box", "point"),
        default="mask",
        help="what the first frame tells of an object (default: mask, or box where that is known)",
    )
    what.add_argument(
        "--from-detections",
        action="store_true",
        help="mot: start objects with the boxes of det/det.txt, not with the true ones",
    )
    what.add_argument(
        "--max-objects",
        type=whole_number(1),
        default=16,
        metavar="N",
        help="of a clip with more, the N that show longest (default: %(default)s)",
    )
    what.add_argument(
        "--frames", type=whole_number(1), metavar="N", help="of loop: so many (default: 20000)"
    )
    what.add_argument(
        "--first-frame",
        type=whole_number(1),
        metavar="N",
        help="of loop: counted from N on, not from 0",
    )
    how = parser.add_argument_group("what follows it")
    how.add_argument(
        "--checkpoint", default="nano", help="name of a model, or a file (default: %(default)s)"
    )
    how.add_argument("--policy", choices=("sam2", "robust"), help="memory policy (default: robust)")
    how.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    how.add_argument("--threads", type=whole_number(1), metavar="N", help="default: torch's")
    live = parser.add_argument_group("as from a camera")
    live.add_argument(
        "--real-time",
        action="store_true",
        help="drop the frames that would have gone by while this machine computed a step",
    )
    live.add_argument(
        "--real-time-fps-model",
        type=above_zero,
        metavar="N",
        help="the same for a machine that makes N steps a second: comparable everywhere",
    )
    live.add_argument(
        "--camera-fps", type=above_zero, metavar="N", help="the camera's rate, if not the clip's"
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--out", type=Path, metavar="DIR", help="results.json, plots and videos")
    out.add_argument(
        "--videos",
        type=whole_number(0),
        default=3,
        metavar="N",
        help="with --out: of the N worst clips (default: %(default)s)",
    )
    out.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")
    out.add_argument("--overlay", type=Path, metavar="DIR", help="write every 5th picture there")
    out.add_argument(
        "--fit-calibration",
        type=Path,
        metavar="FILE",
        help="make a calibration of the predicted IoU of what was followed; beside its checkpoint, "
        "as NAME.calibration.json, it is used (not with the split that is reported)",
    )
    out.add_argument(
        "--no-identity", action="store_true", help="leave out HOTA, MOTA and IDF1 (TrackEval)"
    )
    out.add_argument(
        "--ablate",
        action="store_true",
        help="both memory policies, and the robust one with each technique changed; what is "
        "finished in --out, clip by clip and with the same weights, is not run again",
    )
    out.add_argument("--rows", metavar="A,B", help="with --ablate: only these rows, in this order")


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a usage error where arguments do not fit together."""
    suites = options.suite.split(",")
    datasets = [suite for suite in suites if suite not in (*RENDERED, LOOP)]
    if datasets and options.data is None:
        parser.error(f"--suite {datasets[0]} needs --data PATH")
    if options.data is not None and not datasets:
        parser.error(f"--data goes with a data set: {options.suite} is rendered")
    if options.from_detections and "mot" not in suites:
        parser.error("--from-detections goes with --suite mot")
    if len(datasets) > 1:
        parser.error(f"--suite {options.suite}: --data is of one dataset, not of {len(datasets)}")
    if LOOP in suites:
        _check_loop(parser, options)
    elif options.frames or options.first_frame:
        parser.error("--frames and --first-frame go with --suite loop")
    if options.ablate and options.out is None:
        parser.error("--ablate needs --out DIR, where rows are kept until all are finished")
    if options.fit_calibration and options.ablate:
        parser.error("--fit-calibration and --ablate exclude one another")
    if options.rows and not options.ablate:
        parser.error("--rows goes with --ablate")
    if options.real_time and options.real_time_fps_model:
        parser.error("--real-time and --real-time-fps-model exclude one another")
    if options.camera_fps and not (options.real_time or options.real_time_fps_model):
        parser.error("--camera-fps goes with --real-time or --real-time-fps-model")


def _check_loop(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.suite != LOOP:
        parser.error("--suite loop is followed alone, without other suites")
    for name in ("ablate", "real_time", "real_time_fps_model", "fit_calibration", "out"):
        if getattr(options, name):
            parser.error(f"--{name.replace('_', '-')} does not go with --suite loop")


def make_parser(program: str) -> argparse.ArgumentParser:
    """The parser for a command of its own."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return parser


def _suites(text: str) -> str:
    for name in text.split(","):
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"no suite {name!r}; there are: {', '.join(SUITES)}")
    return text
