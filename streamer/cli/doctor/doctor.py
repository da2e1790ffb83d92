"""``masklet doctor``: checks what this machine has and lacks, and how to get it.

Each check is a function that yields findings; none changes the machine.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.text import Text

from streamer.cli.doctor.findings import Finding, Level
from streamer.cli.doctor.streams import check_streams
from streamer.cli.startup import control_problem, listeners, require_temporary_folder
from streamer.config.control_endpoint import passed_over
from streamer.config.schema import MaskletConfig
from streamer.config.state_address import StateAddress, is_address
from streamer.config.state_folder import AUTO, cache_folder, state_folder
from streamer.errors import ConfigError
from streamer.runtime.machine import core_count, processor_name
from streamer.runtime.private_files import is_open_to_others
from streamer.runtime.sockets import why_no_listener
from streamer.streams.state.shared_store import SharedStore
from streamer.streams.state.store import INDEX
from tracker.errors import CheckpointError
from tracker.weights.official import OFFICIAL_CHECKPOINTS, checkpoint_directory

DECODERS = ("h264", "hevc", "mjpeg", "vp8", "vp9", "av1")
DECODERS_NEEDED = ("h264", "hevc", "mjpeg")
CONTAINERS_NEEDED = ("rtsp", "mpegts", "mov", "hls")
TEST_TOOLS = {
    "promtool": "prometheus",
    "node": "nodejs",
    "npm": "npm",
}
_LISTENERS = {"zeromq.endpoint": "results", "metrics.port": "metrics", "api.port": "page"}


Check = Callable[[MaskletConfig], Iterator[Finding]]


def doctor(config: MaskletConfig, console: Console, faults: Sequence[str] = ()) -> int:
    """Print every finding. Exit code 0, or 1 if something that Masklet needs is missing.

    ``faults`` are what is wrong with streams that ``config`` therefore lacks.
    """
    missing = 0
    found = chain.from_iterable(check(config) for check in CHECKS)
    wrong = (Finding(Level.MISSING, "stream", fault, "masklet run refuses it") for fault in faults)
    for finding in chain(found, wrong):
        missing += finding.level is Level.MISSING
        console.print(_line(finding), soft_wrap=True)
    if missing:
        console.print(f"{missing} {'things are' if missing > 1 else 'thing is'} missing")
    else:
        console.print("ready")
    return 1 if missing else 0


def _line(finding: Finding) -> Text:
    style = {Level.OK: "green", Level.NOTE: "yellow", Level.MISSING: "bold red"}[finding.level]
    line = Text.assemble(
        (f"{finding.level:8}", style), f"{finding.subject:13}", finding.text, end=""
    )
    return line.append(f"  → {finding.advice}") if finding.advice else line


def check_machine(_: MaskletConfig) -> Iterator[Finding]:
    """Python, processor and memory."""
    fine = sys.version_info >= (3, 11)
    yield Finding(
        Level.OK if fine else Level.MISSING,
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if fine else "install Python 3.11 or newer",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding(
        Level.OK,
        "processor",
        f"{processor_name()}, cores: {core_count()}, {memory:.0f} GiB of memory",
    )


def check_temporary_folder(_: MaskletConfig) -> Iterator[Finding]:
    """A folder for temporary files, without which torch does not load."""
    try:
        require_temporary_folder()
    except ConfigError as error:
        yield Finding(Level.MISSING, "temporary", str(error))


def check_device(config: MaskletConfig) -> Iterator[Finding]:
    """torch, and the device for the model."""
    import torch

    from streamer.inference.model_choice import device_names
    from tracker.model.precision import lacks_bfloat16

    yield Finding(Level.OK, "torch", torch.__version__)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"{properties.multi_processor_count} multiprocessors"
        )
        if (reason := lacks_bfloat16(index)) is None:
            yield Finding(Level.OK, f"cuda:{index}", found)
            continue
        is_wanted = config.model.compute_dtype == "bfloat16"
        yield Finding(
            Level.MISSING if is_wanted else Level.NOTE,
            f"cuda:{index}",
            f"{found}; {reason}",
            "set model.compute_dtype to auto (float32 here), or to float16, which is faster",
        )
    try:
        names = device_names(config.model)
    except ConfigError as error:
        advice = "install the driver (nvidia-smi shows it), or model.device=auto"
        yield Finding(Level.MISSING, "device", str(error), advice)
        return
    if len(names) > 1:
        yield Finding(Level.OK, "devices", f"streams are divided among {', '.join(names)}")
    elif not torch.cuda.is_available():
        yield Finding(
            Level.NOTE,
            "device",
            f"no CUDA: the model runs on the processor, threads: {torch.get_num_threads()}",
            "nano runs live there; the official models need a GPU",
        )


def check_video(_: MaskletConfig) -> Iterator[Finding]:
    """FFmpeg inside PyAV: versions, decoders, containers, a device that decodes, cameras."""
    import av
    from av.codec import codecs_available
    from av.format import formats_available

    from streamer.sources.cuda_decoding import MOST_DECODERS, why_no_cuda

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, version))}"
        for name, version in sorted(av.library_versions.items())
        if name in ("libavcodec", "libavformat")
    )
    yield Finding(Level.OK, "ffmpeg", f"PyAV {av.__version__} with {libraries}")
    there = [name for name in DECODERS if name in codecs_available]
    lacking = [name for name in DECODERS_NEEDED if name not in codecs_available]
    yield Finding(
        Level.MISSING if lacking else Level.OK,
        "decoders",
        ", ".join(there),
        f"{', '.join(lacking)} not there: reinstall PyAV from its wheel" if lacking else "",
    )
    lacking = [name for name in CONTAINERS_NEEDED if name not in formats_available]
    if lacking:
        yield Finding(
            Level.MISSING,
            "containers",
            f"{', '.join(lacking)} not there",
            "reinstall PyAV from its wheel",
        )
    reason = why_no_cuda()
    if reason is None:
        found = f"NVDEC, up to {MOST_DECODERS} streams at once"
        yield Finding(Level.OK, "hardware", found)
    else:
        yield Finding(Level.NOTE, "hardware", f"video is decoded on the processor: {reason}")
    cameras = sorted(str(path) for path in Path("/dev").glob("video*"))
    if cameras:
        yield Finding(Level.OK, "cameras", ", ".join(cameras))


def check_messaging(_: MaskletConfig) -> Iterator[Finding]:
    """ZeroMQ, and whether it supports encryption."""
    import zmq

    curve = zmq.has("curve")
    yield Finding(
        Level.OK if curve else Level.MISSING,
        "zeromq",
        f"libzmq {zmq.zmq_version()}, {'with' if curve else 'without'} CURVE encryption",
        "" if curve else "reinstall pyzmq from its wheel",
    )


def check_checkpoints(config: MaskletConfig) -> Iterator[Finding]:
    """The configured model's weights, and the official files that are here."""
    from streamer.inference.model_choice import BETTER_MODEL, chosen_model, wants_better_model
    from tracker.weights.checkpoint import find_checkpoint

    try:
        path = find_checkpoint(chosen_model(config.model))
        fetches = wants_better_model(config.model) and BETTER_MODEL not in path.name
    except CheckpointError as error:
        yield Finding(Level.MISSING, "model", str(error))
    else:
        if fetches:
            advice = f"masklet run fetches {BETTER_MODEL}"
            yield Finding(Level.NOTE, "model", "auto, on CUDA", advice)
        yield Finding(Level.OK, "model", f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    directory = checkpoint_directory()
    pulled = [
        checkpoint.name
        for checkpoint in OFFICIAL_CHECKPOINTS.values()
        if (directory / checkpoint.file_name).is_file()
    ]
    yield Finding(
        Level.OK if pulled else Level.NOTE,
        "official",
        f"{', '.join(pulled) or 'none'} in {directory}",
        "" if pulled else "masklet checkpoints pull sam2.1_hiera_tiny",
    )


def check_paths(config: MaskletConfig) -> Iterator[Finding]:
    """How a processor computes, and why: as kept by an earlier start, or measured now."""
    from streamer.inference.model_choice import chosen_model, device_names
    from tracker.config import PRESETS
    from tracker.engine import openvino_parts
    from tracker.engine.kept_choices import KeptChoices
    from tracker.engine.path_choice import measure
    from tracker.weights.checkpoint import load_checkpoint

    model = config.model
    try:
        if device_names(model)[0] != "cpu":
            return
        name = chosen_model(model)
        shape = PRESETS.get(name) or load_checkpoint(name).config
    except (ConfigError, CheckpointError):
        return  # shown by other checks
    if (image_size := model.engine.image_size) is not None:
        shape = shape.replaced(image_size=image_size)
    cache = cache_folder()
    choice = None if cache is None else KeptChoices(cache).find(shape)
    when = "measured now" if choice is None else "measured at an earlier start"
    paths = choice or measure(shape)
    is_off = model.engine.openvino == "off"
    for path, reason in (paths.by_pytorch() if is_off else paths).reasons().items():
        yield Finding(Level.OK, "path", f"{path}; {when}: {reason}")
    if is_off:
        yield Finding(Level.NOTE, "openvino", "not used: model.engine.openvino is off")
    elif (version := openvino_parts.version()) is None:
        advice = "pip install 'masklet[openvino]'"
        yield Finding(Level.NOTE, "openvino", "not installed; small models gain by it", advice)
    elif choice is None:
        text = f"{version}; the first start of a small model measures it beside PyTorch"
        yield Finding(Level.OK, "openvino", text)


def check_listeners(config: MaskletConfig) -> Iterator[Finding]:
    """Whether the addresses that ``masklet run`` would listen on are free."""
    for key, host, port in listeners(config):
        reason = why_no_listener(host, port)
        yield Finding(
            Level.MISSING if reason else Level.OK,
            _LISTENERS[key],
            f"{host}:{port} is {f'not free: {reason}' if reason else 'free'}",
            f"is masklet running already? Otherwise choose another {key}" if reason else "",
        )
    for reason in passed_over(config.control.endpoint):
        yield Finding(Level.NOTE, "control", reason)
    problem = control_problem(config)
    control = config.control.endpoint.removeprefix("ipc://")
    yield Finding(Level.MISSING if problem else Level.OK, "control", problem or control)


def check_state(config: MaskletConfig) -> Iterator[Finding]:
    """The state folder or address, and whether it can be written."""
    if is_address(config.state_directory):
        store = SharedStore(StateAddress.parse(config.state_directory))
        try:
            store.open()
        except ConfigError as error:
            yield Finding(Level.MISSING, "state", str(error))
        else:
            yield Finding(Level.OK, "state", store.place)
        return
    try:
        folder = state_folder(config.state_directory, config.control.endpoint)
    except ConfigError as error:
        yield Finding(Level.NOTE, "state", str(error))
        return
    if folder is None:
        yield Finding(Level.OK, "state", "no state is kept for the next start, as configured")
        return
    there = next(path for path in (folder, *folder.parents) if path.exists())
    # Without an automatic folder the daemon keeps no state; a chosen one ends its start.
    level = Level.NOTE if config.state_directory == AUTO else Level.MISSING
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = f"{there} cannot be written; set state_directory"
        yield Finding(level, "state", str(folder), advice)
    elif there == folder and is_open_to_others(folder):
        yield Finding(level, "state", str(folder), f"others can enter it: chmod 700 {folder}")
    else:
        kept = "" if (folder / INDEX).exists() else ", empty"
        yield Finding(Level.OK, "state", f"{folder}{kept}")


def check_extras(_: MaskletConfig) -> Iterator[Finding]:
    """Packages for the plots and scores of ``masklet bench`` and ``masklet evaluate``."""
    advice = {
        "matplotlib": "pip install 'masklet[evaluation]'",
        "trackeval": "pip install --no-deps trackeval==1.3.0",
    }
    lacking = [name for name in advice if find_spec(name) is None]
    yield Finding(
        Level.NOTE if lacking else Level.OK,
        "for scores",
        f"not here: {', '.join(lacking)}" if lacking else ", ".join(advice),
        "; ".join(advice[name] for name in lacking),
    )


def check_test_tools(_: MaskletConfig) -> Iterator[Finding]:
    """Tools for ``make test``."""
    lacking = [package for tool, package in TEST_TOOLS.items() if shutil.which(tool) is None]
    if lacking:
        yield Finding(
            Level.NOTE, "for tests", f"not here: {', '.join(lacking)}", "make test installs them"
        )
    else:
        yield Finding(Level.OK, "for tests", ", ".join(TEST_TOOLS))


CHECKS: tuple[Check, ...] = (
    check_machine,
    check_temporary_folder,
    check_device,
    check_video,
    check_messaging,
    check_checkpoints,
    check_paths,
    check_listeners,
    check_state,
    check_streams,
    check_extras,
    check_test_tools,
)
