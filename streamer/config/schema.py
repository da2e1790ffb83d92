"""The whole configuration: every setting of the daemon, with its default, limits and meaning.

The models are the one schema: Hydra composes the files (``loading``), pydantic checks them, the
API's bodies derive from the same models. The sections of streams, starters, HTTP and WebRTC are in
files of their own.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from streamer.config.control_endpoint import control_path, default_control_endpoint
from streamer.config.messages import WrongSettingError
from streamer.config.network import ApiConfig, PictureConfig, WebRTCConfig
from streamer.config.paths import Checkpoint, Endpoint, FilePath, FolderOrWord
from streamer.config.section import Section
from streamer.config.starters import StarterConfig
from streamer.config.state_address import StateAddress, is_address
from streamer.config.stream_id import StreamId
from streamer.config.streams import StreamConfig
from streamer.runtime.sockets import tcp_endpoint
from tracker.config import PRESETS
from tracker.weights.hub import is_hub_name

AUTO_MODEL = "auto"
MaskEncoding = Literal["rle", "bits", "polygon", "none"]


_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")


class EngineSection(Section):
    """What makes a step cheaper; ``image_size`` with other results than the released model's.

    ``image_size`` is a multiple of 32 (null: the size of the training). ``openvino`` "auto": parts
    of a small model run by OpenVINO on a processor if it is installed and measures faster; results
    are equal to 1e-5. The first start with new weights then takes some seconds longer.
    """

    image_size: int | None = Field(default=None, ge=64, le=4096)
    openvino: Literal["auto", "off"] = "auto"


class ModelSection(Section):
    """The network and its device. ``checkpoint`` is a file; without it the name decides.

    ``name`` "auto" is sam2.1_hiera_small on CUDA, fetched once, and the embedded model elsewhere
    and where it cannot be fetched.
    ``devices``, all of CUDA ("all") or a list, puts a tracker on each instead of one on ``device``,
    and divides the streams among them; ``tracking.max_objects`` is then that of each.
    ``threads`` is the number of CPU threads of the model; 0 leaves the choice to torch.
    ``compute_dtype`` "auto" is bfloat16 on CUDA, and float32 elsewhere and on devices of a compute
    capability below 8.0, where float16 is faster and less exact. On processors that multiply
    bfloat16 (avx512_bf16, AMX) it applies to a part of the image trunk only, which it makes faster.
    ``prepare_ahead`` resizes a frame in its source's thread while another is tracked: "auto" does
    so on CUDA, where a step leaves the processor free.
    """

    name: str = AUTO_MODEL
    checkpoint: Checkpoint | None = None
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$",
        description="auto, cpu, cuda or cuda:N",
    )
    devices: list[str] = Field(default=[], max_length=64)
    threads: int = Field(default=0, ge=0, le=256)
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    prepare_ahead: Literal["auto", "always", "never"] = "auto"
    engine: EngineSection = EngineSection()

    @field_validator("devices", mode="before")
    @classmethod
    def _may_be_a_word(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, names: list[str]) -> list[str]:
        if names != ["all"] and not all(_DEVICE.fullmatch(name) for name in names):
            raise WrongSettingError(f"must be all, or a list of cpu, cuda or cuda:N, got {names}")
        return names

    @model_validator(mode="after")
    def _names_devices_once(self) -> Self:
        if self.devices and self.device != "auto":
            raise WrongSettingError(
                f"must be [] beside model.device {self.device}: set one of the two", "devices"
            )
        return self

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        known = self.name in (AUTO_MODEL, *PRESETS) or is_hub_name(self.name)
        if self.checkpoint is None and not known:
            raise WrongSettingError(
                f"must be one of {AUTO_MODEL}, {', '.join(PRESETS)}, a name of the Hugging Face "
                f"hub (OWNER/MODEL), or model.checkpoint a file, got {self.name!r}",
                "name",
            )
        return self


class TrackingConfig(Section):
    """Tracking. ``max_objects`` is for the whole process and fixes its memory.

    An object's life, as events report it (``docs/wire.md``): ``occluded`` after
    ``occluded_after_frames`` consecutive frames and ``occluded_after_s`` unseen, ``reacquired``
    likewise; ``lost`` after ``occluded_to_lost_s`` unseen, ``removed`` after
    ``lost_to_removed_s`` more (null: never). A lost object is searched for on every
    ``lost_search_every``-th frame. What comes back must be at least ``reacquire_similarity``
    similar to the object as it was prompted (null: no such test).
    """

    max_objects: int = Field(default=64, ge=1, le=1024)
    memory_policy: Literal["robust", "sam2"] = "robust"
    fill_hole_area: int = Field(default=0, ge=0, le=64)
    non_overlap: bool = False
    occluded_after_frames: int = Field(default=2, ge=1, le=1000)
    occluded_after_s: float = Field(default=0.0, ge=0, le=3600)
    reacquired_after_frames: int = Field(default=2, ge=1, le=1000)
    reacquired_after_s: float = Field(default=0.0, ge=0, le=3600)
    occluded_to_lost_s: float = Field(default=5.0, ge=0, le=86_400)
    lost_to_removed_s: float | None = Field(default=None, ge=0, le=2_592_000)
    lost_search_every: int = Field(default=1, ge=1, le=1000)
    reacquire_similarity: float | None = Field(default=None, ge=-1, le=1)


class OverloadConfig(Section):
    """What to reduce when the device cannot track every frame; ``degraded`` events report it.

    ``newest``: streams take turns with their newest frames, in batches as large as they come: the
    most frames. ``lower_rate``: all streams at one common rate, below the device's capacity: the
    earliest results. ``priority_first``: the streams of the lowest ``priority`` slow down first.
    With these two every stream is served at ``floor_hz`` before all others, as long as that takes
    at most half of the device's capacity. ``smaller_image``: the tracker goes to the next of
    ``image_sizes`` (multiples of 32, descending; none: three quarters and half of the model's
    own), and then to ``newest``: masks become less exact before frames are lost.

    It begins after ``begin_after_s`` of overload and ends after ``end_after_s`` without. Where
    rates are lowered, batches are cut so that a step takes about ``step_ms``.
    """

    policy: Literal["newest", "lower_rate", "priority_first", "smaller_image"] = "newest"
    image_sizes: list[int] = Field(default=[], max_length=16)
    floor_hz: float = Field(default=1.0, ge=0.01, le=30)
    begin_after_s: float = Field(default=2.0, ge=1, le=600)
    end_after_s: float = Field(default=5.0, ge=1, le=600)
    step_ms: float = Field(default=100.0, ge=1, le=10_000)

    @field_validator("image_sizes")
    @classmethod
    def _are_sizes(cls, sizes: list[int]) -> list[int]:
        if any(size < 64 or size % 32 for size in sizes):
            raise WrongSettingError(f"must be multiples of 32 from 64 on, got {sizes}")
        if sizes != sorted(set(sizes), reverse=True):
            raise WrongSettingError(f"must descend, got {sizes}")
        return sizes


class ZeroMQConfig(Section):
    """The publisher. ``high_water_mark`` limits the messages that wait for one subscriber.

    ``max_connections`` and ``max_connections_per_address`` (of IPv6 a /64 network) limit who may
    hold a connection; past them those that did not subscribe to anything are ended first. A
    consumer that sent more than ``subscription_kib`` on one connection is disconnected.
    ``publisher_id`` names this publisher in its messages (null: its host): publishers that reach
    a consumer over one connection need different ones.

    ``server_key_file`` and ``client_keys_directory`` (an allow-list) switch encryption on; an
    address that others can reach is refused without them.
    """

    endpoint: Endpoint = Field(
        default="tcp://127.0.0.1:5555",
        pattern=r"^(tcp://[^/\s]+:(\d{1,5}|\*)|ipc://.+|inproc://.+)$",
        description="tcp://HOST:PORT or ipc:///PATH",
    )
    mask_encoding: MaskEncoding = "rle"
    high_water_mark: int = Field(default=64, ge=1, le=10_000)
    max_connections: int = Field(default=256, ge=1, le=10_000)
    max_connections_per_address: int = Field(default=64, ge=1, le=10_000)
    subscription_kib: int = Field(default=128, ge=1, le=1_048_576)
    publisher_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    server_key_file: FilePath | None = None
    client_keys_directory: FilePath | None = None
    linger_ms: int = Field(default=500, ge=0, le=5000)


class MetricsConfig(Section):
    """The Prometheus page, ``http://host:port/metrics``. Port 0 takes any free port."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65_535)


class ControlConfig(Section):
    """The local command socket that ``masklet prompt``, ``remove`` and ``streams`` talk to."""

    endpoint: Endpoint = Field(default_factory=default_control_endpoint)

    @field_validator("endpoint")
    @classmethod
    def _is_socket(cls, endpoint: str) -> str:
        control_path(endpoint)
        return endpoint


class HistoryConfig(Section):
    """Past frames that can be prompted: those of ``duration_s``, at most ``mib`` per stream."""

    duration_s: float = Field(default=1.0, ge=0, le=60)
    mib: float = Field(default=64.0, ge=0, le=4096)


class LogConfig(Section):
    """The log on stderr: one line of text or one JSON object per event."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class MaskletConfig(Section):
    """The whole configuration of ``masklet run``.

    ``state_directory`` keeps changes made while running for the next start: a folder, the address
    of a ``StateAddress``, ``none``, or ``auto``, a folder of this user for each
    ``control.endpoint``.
    """

    streams: dict[StreamId, StreamConfig] = Field(default={})
    model: ModelSection = ModelSection()
    tracking: TrackingConfig = TrackingConfig()
    overload: OverloadConfig = OverloadConfig()
    zeromq: ZeroMQConfig = ZeroMQConfig()
    metrics: MetricsConfig = MetricsConfig()
    control: ControlConfig = Field(default_factory=ControlConfig)
    api: ApiConfig = ApiConfig()
    webrtc: WebRTCConfig = WebRTCConfig()
    picture: PictureConfig = PictureConfig()
    history: HistoryConfig = HistoryConfig()
    starter: StarterConfig = StarterConfig()
    state_directory: FolderOrWord = "auto"
    log: LogConfig = LogConfig()
    max_batch_wait_ms: float = Field(default=2.0, ge=0, le=100)
    heartbeat_s: float = Field(default=1.0, ge=0.1, le=60)
    status_s: float = Field(default=5.0, ge=0.1, le=3600)
    shutdown_timeout_s: float = Field(default=5.0, ge=0.1, le=60)

    @field_validator("state_directory")
    @classmethod
    def _is_folder(cls, value: str) -> str:
        if is_address(value):
            return str(StateAddress.parse(value))
        if value not in ("auto", "none") and not Path(value).is_absolute():
            raise WrongSettingError(f"must be an absolute path, auto or none, got {value!r}")
        return value

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        starting = sum(len(stream.objects) for stream in self.streams.values())
        if starting > self.tracking.max_objects:
            raise WrongSettingError(
                f"must be at least {starting}, the objects configured in all streams, got "
                f"{self.tracking.max_objects}",
                "tracking.max_objects",
            )
        full = self.model.engine.image_size
        if full is None and self.model.checkpoint is None:
            if self.model.name in PRESETS:
                full = PRESETS[self.model.name].image_size
            elif self.model.name == AUTO_MODEL:
                full = max(config.image_size for config in PRESETS.values())
        sizes = self.overload.image_sizes
        if sizes and full is not None and sizes[0] >= full:
            raise WrongSettingError(
                f"must be below the {full} pixels that the model takes, got {sizes[0]}",
                "overload.image_sizes",
            )
        return self

    @model_validator(mode="after")
    def _listeners_differ(self) -> Self:
        """Port 0 and ``*`` take any free port."""
        results = self.zeromq.endpoint
        if results == self.control.endpoint:
            raise WrongSettingError(f"and control.endpoint are both {results}", "zeromq.endpoint")
        listeners = []
        if (address := tcp_endpoint(results)) is not None:
            if address[1] > 65_535:
                raise WrongSettingError(
                    f"must have a port between 0 and 65535, got {results}", "zeromq.endpoint"
                )
            listeners.append(("zeromq.endpoint", *address))
        if self.metrics.enabled:
            listeners.append(("metrics.port", self.metrics.host, self.metrics.port))
        if self.api.enabled:
            listeners.append(("api.port", self.api.host, self.api.port))
        for (key, host, port), (other_key, other_host, other_port) in combinations(listeners, 2):
            if port and port == other_port and _same_address(host, other_host):
                raise WrongSettingError(
                    f"and {other_key} both listen on port {port}: give one of them another port",
                    key,
                )
        return self


def _same_address(first: str, second: str) -> bool:
    every = {"0.0.0.0", "::", "*", ""}
    loopback = {"localhost": "127.0.0.1"}
    return (
        first in every
        or second in every
        or loopback.get(first, first) == loopback.get(second, second)
    )
