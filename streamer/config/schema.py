"""Every setting of the daemon, as typed sections with their defaults and limits.

The dataclasses say what a setting means, what it is when nobody sets it, and what it may be;
``config_values`` turns plain mappings into them and checks the limits, ``config_checks`` what
only several settings together can get wrong, ``config_loading`` composes the mappings from the
shipped files, a user's file and the command line. The sections of HTTP and WebRTC are in
``config_network``, those of starters in ``starters.settings``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from streamer.config.control_endpoint import default_control_endpoint
from streamer.config.network import (
    ApiConfig,
    PictureConfig,
    WebRTCConfig,
)
from streamer.config.parsing import (
    one_of_forms,
    ranged,
)
from streamer.config.starters import (
    StarterConfig,
)

MaskEncoding = Literal["rle", "bits", "polygon", "none"]
Transport = Literal["tcp", "udp"]
Decoder = Literal["auto", "software", "cuda"]

STREAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Characters that every program can show: neither control characters nor half of a surrogate pair.
LABEL_PATTERN = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}"
STREAM_ID_RULE = "1 to 64 letters, digits, '-' or '_', beginning with a letter or digit"
URL_SCHEMES = (
    "rtsp", "rtsps", "http", "https", "srt", "rtmp", "rtmps", "rtp", "udp", "tcp", "file",
    "synthetic", "whip", "whep", "wheps",
)  # fmt: skip
URL_RULE = (
    ", ".join(f"{scheme}://…" for scheme in URL_SCHEMES)
    + ", a path of a video file or a device such as /dev/video0"
)


@dataclass(slots=True)
class ReconnectConfig:
    """Waits between attempts: ``initial_s · factorⁿ`` up to ``maximum_s``, ± ``jitter``.

    A connection that lived for ``reset_after_s`` starts the series again.
    """

    initial_s: float = ranged(1.0, 0.05, 3600)
    maximum_s: float = ranged(60.0, 0.05, 86_400)
    factor: float = ranged(2.0, 1, 10)
    jitter: float = ranged(0.2, 0, 1)
    reset_after_s: float = ranged(30.0, 0, 86_400)


@dataclass(slots=True)
class ObjectConfig:
    """An object to follow from the start: points, a box, both, or a mask, in source pixels.

    ``point_labels`` holds 1 for a point on the object and 0 for a point beside it; left out,
    every point lies on the object. ``box`` is x0, y0, x1, y1, half-open. ``mask_file`` is a
    picture in which everything that is not black is the object.
    """

    id: int = ranged(0, 2**31 - 1)
    label: str | None = one_of_forms(
        None, LABEL_PATTERN, "1 to 128 characters, none of them a control character"
    )
    points: list[list[float]] = field(default_factory=list)
    point_labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    mask_file: str | None = None
    at_frame: int = ranged(0, 0, 2**53)


@dataclass(slots=True)
class SmoothingConfig:
    """How much less a stream's results tremble, at the price of a lag; off by default.

    ``boxes``: results carry a second box, ``bbox_smooth``, low-passed: at rest below
    ``box_cutoff_hz``, and ``box_speed_factor`` higher for each box size a second. It trails by
    1 / (2π cutoff): with the defaults 0.11 s at rest, 0.03 s at one box size a second.
    ``masks`` is the share that a mask leans on the one before (0: none): pixels that the model is
    sure of do not wait, unsure ones trail by masks / (1 - masks) frames, 0.4 for 0.3.
    """

    boxes: bool = False
    box_cutoff_hz: float = ranged(1.5, 0.05, 100)
    box_speed_factor: float = ranged(4.0, 0, 100)
    masks: float = ranged(0.0, 0, 0.45)


@dataclass(slots=True)
class StreamConfig:
    """One camera, file or scene, and the objects to follow on it.

    ``paced`` plays a file in real time (frames that come too fast are dropped as on a camera);
    without it every frame of the file is tracked, as fast as the model allows. A camera's own
    clock is used where it is within ``clock_tolerance_s`` of ours. ``options`` go to FFmpeg as
    they are. ``decoder``: ``auto`` decodes on an NVIDIA device (NVDEC) where there is one that can
    and is not full, else on the processor; ``cuda`` ends an attempt that cannot; a device that
    fails in mid-stream is given up either way. A ``paused`` stream stays connected and is not
    tracked. Where the device cannot keep up, streams of a higher ``priority`` are served first
    (``overload``). ``ground_plane`` is four points [x, y, X, Y], pixels of the picture and metres
    on flat ground, no three in a line: with it, speeds can be told in metres. ``starter`` is this
    stream's own, instead of the general one.
    """

    url: str
    transport: Transport = "tcp"
    decoder: Decoder = "auto"
    open_timeout_s: float = ranged(10.0, 0.1, 300)
    read_timeout_s: float = ranged(5.0, 0.1, 300)
    clock_tolerance_s: float = ranged(10.0, 0, 86_400)
    max_rate_hz: float | None = ranged(None, 0.01, 1000)
    username_env: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    paced: bool = True
    loop: bool = False
    paused: bool = False
    max_objects: int = ranged(16, 1, 64)
    priority: int = ranged(5, 0, 9)
    ground_plane: list[list[float]] = field(default_factory=list)
    objects: list[ObjectConfig] = field(default_factory=list)
    starter: StarterConfig | None = None
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    reconnect: ReconnectConfig = field(default_factory=ReconnectConfig)
    options: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class EngineSection:
    """What makes a step cheaper and its results different; as released without any of it.

    ``image_size``: other than the network was trained with, a multiple of 32 (null: as trained).
    """

    image_size: int | None = ranged(None, 64, 4096)


@dataclass(slots=True)
class ModelSection:
    """Which network runs, and where. ``checkpoint`` is a file; without it the name decides.

    ``threads`` is the number of CPU threads of the model; 0 leaves the choice to torch.
    ``compute_dtype`` "auto" is bfloat16 on CUDA and float32 elsewhere. On processors that multiply
    bfloat16 (avx512_bf16, AMX) it is for a part of the image trunk alone, which it makes faster.
    ``prepare_ahead`` brings a frame to the network's size in its source's thread, while another
    is tracked: "auto" does where a step leaves the processor free, on CUDA.
    """

    name: str = "nano"
    checkpoint: str | None = None
    device: str = one_of_forms("auto", r"auto|cpu|cuda(:\d{1,2})?", "auto, cpu, cuda or cuda:N")
    threads: int = ranged(0, 0, 256)
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    prepare_ahead: Literal["auto", "always", "never"] = "auto"
    engine: EngineSection = field(default_factory=EngineSection)


@dataclass(slots=True)
class TrackingConfig:
    """How objects are followed. ``max_objects`` is for the whole process: memory is fixed by it.

    What is told of an object's life (``docs/wire.md``, Events): ``occluded`` once it was unseen on
    ``occluded_after_frames`` frames in a row and for ``occluded_after_s``, ``reacquired``
    likewise; ``lost`` when unseen for ``occluded_to_lost_s``, ``removed`` when for
    ``lost_to_removed_s`` more (null: never). A lost object is looked for on every
    ``lost_search_every``-th frame. What comes back must look at least ``reacquire_similarity``
    like the object did when it was prompted (null: anything counts).
    """

    max_objects: int = ranged(64, 1, 1024)
    memory_policy: Literal["robust", "sam2"] = "robust"
    fill_hole_area: int = ranged(0, 0, 64)
    non_overlap: bool = False
    occluded_after_frames: int = ranged(2, 1, 1000)
    occluded_after_s: float = ranged(0.0, 0, 3600)
    reacquired_after_frames: int = ranged(2, 1, 1000)
    reacquired_after_s: float = ranged(0.0, 0, 3600)
    occluded_to_lost_s: float = ranged(5.0, 0, 86_400)
    lost_to_removed_s: float | None = ranged(None, 0, 2_592_000)
    lost_search_every: int = ranged(1, 1, 1000)
    reacquire_similarity: float | None = ranged(None, -1, 1)


@dataclass(slots=True)
class OverloadConfig:
    """What gives way when the device cannot track every frame; ``degraded`` events tell of it.

    ``newest``: streams take turns with their newest frames, in batches as large as they come: the
    most frames. ``lower_rate``: all streams go down to one common rate, below what the device can
    do: the earliest results. ``priority_first``: the rate of those of the lowest ``priority`` goes
    down first. With these two every stream keeps ``floor_hz``, and is served that
    often whatever goes before it, as far as that takes no more than half of what the device can
    do. ``smaller_image``: the tracker takes the next of ``image_sizes`` (multiples of 32,
    descending; none: three quarters and half of the model's own), and ``newest`` after the last:
    masks become less exact before frames are lost.

    It begins after ``begin_after_s`` of overload and ends after ``end_after_s`` of a load that
    fits. Where rates are lowered, batches are cut so that a step takes about ``step_ms``.
    """

    policy: Literal["newest", "lower_rate", "priority_first", "smaller_image"] = "newest"
    image_sizes: list[int] = field(default_factory=list)
    floor_hz: float = ranged(1.0, 0.01, 30)
    begin_after_s: float = ranged(2.0, 1, 600)
    end_after_s: float = ranged(5.0, 1, 600)
    step_ms: float = ranged(100.0, 1, 10_000)


@dataclass(slots=True)
class ZeroMQConfig:
    """The publisher. ``high_water_mark`` counts messages waiting per subscriber, no more.

    ``server_key_file`` and ``client_keys_directory`` (an allow-list) switch encryption on; an
    address that others can reach is refused without them.
    """

    endpoint: str = one_of_forms(
        "tcp://127.0.0.1:5555",
        r"tcp://[^/\s]+:(\d{1,5}|\*)|ipc://.+|inproc://.+",
        "tcp://HOST:PORT or ipc:///PATH",
    )
    mask_encoding: MaskEncoding = "rle"
    high_water_mark: int = ranged(64, 1, 10_000)
    server_key_file: str | None = None
    client_keys_directory: str | None = None
    linger_ms: int = ranged(500, 0, 5000)


@dataclass(slots=True)
class MetricsConfig:
    """The Prometheus page, ``http://host:port/metrics``. Port 0 takes any free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = ranged(9464, 0, 65_535)


@dataclass(slots=True)
class ControlConfig:
    """The local command socket that ``masklet prompt``, ``remove`` and ``streams`` talk to."""

    endpoint: str = field(default_factory=default_control_endpoint)


@dataclass(slots=True)
class HistoryConfig:
    """Frames that can still be prompted: the newest of ``duration_s``, at most ``mib`` a stream."""

    duration_s: float = ranged(1.0, 0, 60)
    mib: float = ranged(64.0, 0, 4096)


@dataclass(slots=True)
class LogConfig:
    """How the daemon reports: one line of text or one JSON object an event, on stderr."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(slots=True)
class MaskletConfig:
    """The whole configuration of ``masklet run``.

    ``state_directory`` keeps what was changed while running, for the next start: a folder,
    ``none``, or ``auto``, a folder of this user's for each ``control.endpoint``.
    """

    streams: dict[str, StreamConfig] = field(default_factory=dict)
    model: ModelSection = field(default_factory=ModelSection)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    zeromq: ZeroMQConfig = field(default_factory=ZeroMQConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    webrtc: WebRTCConfig = field(default_factory=WebRTCConfig)
    picture: PictureConfig = field(default_factory=PictureConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    starter: StarterConfig = field(default_factory=StarterConfig)
    state_directory: str = "auto"
    log: LogConfig = field(default_factory=LogConfig)
    max_batch_wait_ms: float = ranged(2.0, 0, 100)
    heartbeat_s: float = ranged(1.0, 0.1, 60)
    status_s: float = ranged(5.0, 0.1, 3600)
    shutdown_timeout_s: float = ranged(5.0, 0.1, 60)
