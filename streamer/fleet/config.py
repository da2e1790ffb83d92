"""The configuration of a fleet: ``fleet.yaml``, its checks and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from streamer.config.loading import read_yaml
from streamer.config.messages import WrongSettingError
from streamer.config.paths import FolderOrWord, caller_folder, with_absolute_paths
from streamer.config.schema import MaskletConfig
from streamer.config.section import Section
from streamer.config.state_address import StateAddress, is_address
from streamer.config.state_folder import AUTO, state_home
from streamer.config.stream_id import StreamId
from streamer.config.streams import ObjectSettings, StreamAddress, StreamSettings
from streamer.errors import ConfigError
from streamer.fleet.gateway.config import GatewayConfig

# What the fleet itself sets for each daemon.
_OF_THE_FLEET = ("streams", "zeromq.endpoint", "metrics", "control", "state_directory")
_API_OF_THE_FLEET = ("enabled", "host", "port", "tokens", "self_signed")
_Cores = Annotated[int, Field(ge=1, le=1024)]
_Count = Annotated[int, Field(ge=0, le=64)]


class WorkerConfig(Section):
    """Workers: one for each ``gpus`` devices, or, with 0, for each ``cpus`` cores of a node.

    ``host`` is where their daemons listen: 127.0.0.1, or ``node``, each node's own address. With
    that the fleet makes a token and CURVE keys for its gateway. Ports are any free ones, or from
    ``port_minimum`` to ``port_maximum``, two for each worker of a node.
    """

    cpus: _Cores = 2
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    maximum_per_node: int | None = Field(default=None, ge=1, le=64)
    host: str = Field(default="127.0.0.1", pattern=r"^(127\.0\.0\.1|node)$")
    port_minimum: int = Field(default=0, ge=0, le=65_535)
    port_maximum: int = Field(default=0, ge=0, le=65_535)

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        if (self.port_minimum == 0) != (self.port_maximum == 0) or (
            self.port_maximum < self.port_minimum
        ):
            raise WrongSettingError(
                f"must be at least port_minimum ({self.port_minimum}), or both 0, got "
                f"{self.port_maximum}",
                "port_maximum",
            )
        return self


class CapacityConfig(Section):
    """What a worker carries: measured once for each kind of machine, unless ``carried`` gives it.

    ``carried`` is {objects on each stream: streams carried} at cameras of ``rate_hz``, as in
    ``bench.json``. Streams are placed up to ``headroom`` of a worker. The measurement takes
    ``duration_s`` at most, and its objective is ``objective_p99_ms``.
    """

    carried: dict[_Count, _Count] = Field(default={})
    objective_p99_ms: float = Field(default=100.0, ge=1, le=60_000)
    rate_hz: float = Field(default=25.0, ge=0.1, le=1000)
    duration_s: float = Field(default=300.0, ge=5, le=86_400)
    headroom: float = Field(default=0.9, ge=0.05, le=1)

    @field_validator("carried")
    @classmethod
    def _falls(cls, carried: dict[int, int]) -> dict[int, int]:
        ordered = dict(sorted(carried.items()))
        if 0 in ordered:
            raise WrongSettingError("must begin with 1 object a stream, got 0")
        if list(ordered.values()) != sorted(ordered.values(), reverse=True):
            raise WrongSettingError(f"must not grow with the objects, got {ordered}")
        return ordered


class FleetStream(StreamSettings):
    """A stream of the fleet: what the API may set too, since any machine may get it.

    A user and password stand in the URL, which may be ``${oc.env:NAME}``.
    """

    url: StreamAddress
    objects: list[ObjectSettings] = Field(default=[], max_length=64)


class FleetConfig(Section):
    """The whole configuration of ``masklet fleet up``.

    ``state`` is the address at which the fleet and its daemons keep what must survive: a folder
    that every node sees, or file://, s3://, gs:// or az://; ``auto`` is a folder of this user, for
    one machine. A worker that has not heard from the manager for ``lease_s`` ends what it tracks;
    the manager places it elsewhere only then. ``daemon`` holds the settings of every daemon, as in
    the configuration of ``masklet run``, ``gateway`` those of ``masklet fleet gateway``.
    """

    name: str = Field(
        default="fleet",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="1 to 32 small letters, digits or '-'",
    )
    state: FolderOrWord = AUTO
    lease_s: float = Field(default=10.0, ge=1, le=600)
    worker: WorkerConfig = WorkerConfig()
    capacity: CapacityConfig = CapacityConfig()
    daemon: MaskletConfig = Field(default_factory=MaskletConfig)
    gateway: GatewayConfig = GatewayConfig()
    streams: dict[StreamId, FleetStream] = Field(default={})

    @field_validator("state")
    @classmethod
    def _is_place(cls, state: str) -> str:
        if is_address(state):
            return str(StateAddress.parse(state))
        if state != AUTO and not Path(state).is_absolute():
            raise WrongSettingError(f"must be an absolute path, an address or auto, got {state!r}")
        return state

    @field_validator("daemon")
    @classmethod
    def _leaves_what_the_fleet_sets(cls, daemon: MaskletConfig) -> MaskletConfig:
        given = {
            *daemon.model_fields_set,
            *(f"zeromq.{name}" for name in daemon.zeromq.model_fields_set),
        }
        for name in _OF_THE_FLEET:
            if name in given:
                where = "streams of the fleet" if name == "streams" else "the fleet itself"
                raise WrongSettingError(f"is set by {where}: remove it here", name)
        for name in _API_OF_THE_FLEET:
            if name in daemon.api.model_fields_set:
                raise WrongSettingError("is set by the fleet itself: remove it here", f"api.{name}")
        return daemon

    def state_address(self) -> StateAddress:
        """The address of the state. Raises ``ConfigError`` where this user has no home."""
        if is_address(self.state):
            return StateAddress.parse(self.state)
        if self.state != AUTO:
            return StateAddress("file", self.state)
        home = state_home()
        if home is None:
            raise ConfigError("state: this user has no home folder; set it to a folder")
        return StateAddress("file", str(home / f"fleet-{self.name}"))


def load_fleet_config(path: str) -> FleetConfig:
    """Read and check ``fleet.yaml``; a relative path in it starts beside it.

    Raises ``ConfigError``.
    """
    values: Any = read_yaml(Path(path))
    folder = (caller_folder() / path).parent
    return FleetConfig.read(with_absolute_paths(values, FleetConfig, lambda _: folder))
