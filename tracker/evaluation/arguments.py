"""The arguments of ``masklet evaluate`` and ``python -m tracker.evaluation``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracker.argument_types import above_zero, whole_number

RENDERED = ("synthetic", "stress")
MASK_LAYOUTS = ("davis", "mose", "lvos", "youtube-vos", "sa-v")
BOX_LAYOUTS = ("vot", "lasot", "otb", "mot")
PHOTOGRAPHS = "photographs"
LOOP = "loop"
SUITES = (*RENDERED, *MASK_LAYOUTS, *BOX_LAYOUTS, PHOTOGRAPHS, LOOP)

SUMMARY = "score a model on rendered suites or on a dataset: masks, boxes, identities, returns"
DESCRIPTION = """\
Tracks the objects of every clip from a prompt on the first frame that shows them, and scores the
result: J and F (DAVIS), success and precision of boxes (OTB, LaSOT), HOTA, MOTA and IDF1, time to
find an object again, false masks of absent objects, masks that switch to another object or cover
it, flicker, and calibration of the predicted IoU. Photographs: the masks of the prompts themselves.
"""
EXAMPLES = """\
examples:
  masklet evaluate                                        nano on the held-out rendered clips
  masklet evaluate --suite stress --size short            occlusion, doubles, rain, drops ...
  masklet evaluate --suite davis --data DAVIS-2016.tar --prompt point
  masklet evaluate --suite davis --data DAVIS --clips DAVIS/ImageSets/2017/val.txt
  masklet evaluate --suite sa-v --data sav_val --checkpoint sam2.1_hiera_small --device cuda
  masklet evaluate --suite photographs --data photos --prompt box
                                                          one box on each thing of each photograph
  masklet evaluate --suite stress --out report            results.json, plots, worst clips as video
  masklet evaluate --suite davis --data PATH --real-time  drops frames as a live camera would
  masklet evaluate --suite stress,synthetic --ablate --out ablation
                                                          every rule on and off; resumes
  masklet evaluate --suite loop --frames 20000            an endless stream

layouts (--data is the folder that contains these):
  davis        JPEGImages/480p/NAME + Annotations/480p/NAME, one object (2016) or several (2017;
               under Full-Resolution too), or a tar file of NAME/frames + NAME/masks
  mose, lvos, youtube-vos
               JPEGImages/NAME/*.jpg + Annotations/NAME/*.png (palette), optionally meta.json
  sa-v         JPEGImages_24fps/NAME + Annotations_6fps/NAME/OBJECT, or *.mp4 + *_manual.json
  vot          NAME/groundtruth.txt (rectangles, polygons or masks) + NAME/color/*.jpg or
               NAME/*.jpg; masks are scored by their boxes
  lasot        NAME/groundtruth.txt + NAME/img, also as CATEGORY/NAME
  otb          NAME/groundtruth_rect.txt (also groundtruth_rect.1.txt ...: NAME-1) + NAME/img
  photographs  images/NAME.jpg + instances/NAME.png (value = thing) in folders or tar files, or
               folders of such; a click or box on every thing of >= 0.4 % of its picture
  mot          NAME/gt/gt.txt + NAME/img1 + NAME/seqinfo.ini; pedestrians, each from the first
               frame that shows half of it

Seeds of the rendered suites are fixed. Choose thresholds with --split tuning, publish results of
--split reported. Plots and HOTA need: pip install 'masklet[evaluation]' and
pip install --no-deps trackeval==1.3.0 (it depends on another build of OpenCV than Masklet's).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every argument to a parser."""
    what = parser.add_argument_group("what to track")
    what.add_argument(
        "--suite",
        type=_suites,
        default="synthetic",
        metavar="A,B",
        help=f"one or several of {', '.join(SUITES)} (default: %(default)s)",
    )
    what.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="folder or archive of the dataset; of photographs one or several",
    )
    what.add_argument(
        "--held-out",
        action="store_true",
        help="photographs: only those that training with this data leaves out, every 16th",
    )
    what.add_argument(
        "--apart",
        action="store_true",
        help="photographs: a pixel belongs to one of the things asked for, the surest",
    )
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
        help="only the clips named in this file, one per line, such as ImageSets/2017/val.txt",
    )
    what.add_argument(
        "--limit", type=whole_number(1), metavar="N", help="at most N clips per category"
    )
    what.add_argument(
        "--split",
        choices=("tuning", "reported"),
        default="reported",
        help="seeds of the rendered suites",
    )
    what.add_argument("--size", choices=("short", "full"), default="full", help="of stress")
    what.add_argument(
        "--prompt",
        choices=("mask", "box", "point"),
        default="mask",
        help="kind of the prompt on the first frame (default: mask; box for datasets of boxes; "
        "point for photographs)",
    )
    what.add_argument(
        "--from-detections",
        action="store_true",
        help="mot: start objects with boxes of det/det.txt instead of the true ones",
    )
    what.add_argument(
        "--max-objects",
        type=whole_number(1),
        default=16,
        metavar="N",
        help="of a clip with more, the N that are visible longest (default: %(default)s)",
    )
    what.add_argument(
        "--frames", type=whole_number(1), metavar="N", help="length of loop (default: 20000)"
    )
    what.add_argument(
        "--first-frame",
        type=whole_number(1),
        metavar="N",
        help="loop: number of its first frame (default: 0)",
    )
    how = parser.add_argument_group("model")
    how.add_argument(
        "--checkpoint", default="nano", help="name of a model, or a file (default: %(default)s)"
    )
    how.add_argument("--policy", choices=("sam2", "robust"), help="memory policy (default: robust)")
    how.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    how.add_argument("--threads", type=whole_number(1), metavar="N", help="default: PyTorch's")
    live = parser.add_argument_group("as a live camera")
    live.add_argument(
        "--real-time",
        action="store_true",
        help="drop the frames that arrive while this machine computes a step",
    )
    live.add_argument(
        "--real-time-fps-model",
        type=above_zero,
        metavar="N",
        help="the same at a fixed N steps per second: comparable between machines",
    )
    live.add_argument(
        "--camera-fps", type=above_zero, metavar="N", help="the camera's rate, if not the clip's"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--out", type=Path, metavar="DIR", help="results.json, plots and videos")
    out.add_argument(
        "--videos",
        type=whole_number(0),
        default=3,
        metavar="N",
        help="with --out: videos of the N worst clips (default: %(default)s)",
    )
    out.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")
    out.add_argument(
        "--overlay", type=Path, metavar="DIR", help="write every 5th picture with its masks there"
    )
    out.add_argument(
        "--fit-calibration",
        type=Path,
        metavar="FILE",
        help="write a calibration of the predicted IoU; stored beside the checkpoint as "
        "NAME.calibration.json it is used (do not fit it on the reported split)",
    )
    out.add_argument(
        "--no-identity", action="store_true", help="leave out HOTA, MOTA and IDF1 (TrackEval)"
    )
    out.add_argument(
        "--ablate",
        action="store_true",
        help="both memory policies, and the robust one with each rule changed; clips that are "
        "finished in --out with the same weights are not run again",
    )
    out.add_argument("--rows", metavar="A,B", help="with --ablate: only these rows, in this order")


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with a usage error if arguments contradict each other."""
    suites = options.suite.split(",")
    datasets = [suite for suite in suites if suite not in (*RENDERED, LOOP)]
    if datasets and options.data is None:
        parser.error(f"--suite {datasets[0]} needs --data PATH")
    if options.data is not None and not datasets:
        parser.error(f"--data goes with a dataset: {options.suite} is rendered")
    if options.from_detections and "mot" not in suites:
        parser.error("--from-detections goes with --suite mot")
    if options.held_out and PHOTOGRAPHS not in suites:
        parser.error("--held-out goes with --suite photographs")
    if options.apart and PHOTOGRAPHS not in suites:
        parser.error("--apart goes with --suite photographs")
    if options.data is not None and len(options.data) > 1 and PHOTOGRAPHS not in suites:
        parser.error(f"--data of --suite {options.suite} is one folder, not {len(options.data)}")
    if len(datasets) > 1:
        parser.error(f"--suite {options.suite}: --data is one dataset, not {len(datasets)}")
    if LOOP in suites:
        _check_loop(parser, options)
    elif options.frames or options.first_frame:
        parser.error("--frames and --first-frame go with --suite loop")
    if options.ablate and options.out is None:
        parser.error("--ablate needs --out DIR, where finished rows are kept")
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
        parser.error("--suite loop cannot be combined with other suites")
    for name in ("ablate", "real_time", "real_time_fps_model", "fit_calibration", "out"):
        if getattr(options, name):
            parser.error(f"--{name.replace('_', '-')} does not go with --suite loop")


def make_parser(program: str) -> argparse.ArgumentParser:
    """The parser of ``python -m tracker.evaluation``."""
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
