"""The settings of a fleet's gateway: as of a daemon, with room for more viewers."""

from __future__ import annotations

from pydantic import Field

from streamer.config.network import ApiConfig, ApiLimitsConfig
from streamer.config.schema import ZeroMQConfig
from streamer.config.section import Section


class GatewayLimitsConfig(ApiLimitsConfig):
    """Limits of the gateway's HTTP server; those of each worker hold as well."""

    connections: int = Field(default=1024, ge=1, le=10_000)
    open_streams: int = Field(default=512, ge=1, le=1000)


class GatewayApiConfig(ApiConfig):
    """The gateway's HTTP server. Its tokens and rules are the fleet's."""

    limits: GatewayLimitsConfig = GatewayLimitsConfig()


class GatewayConfig(Section):
    """Where a fleet is reached.

    ``zeromq`` publishes what every worker does; ``mask_encoding`` is the workers' own.
    """

    api: GatewayApiConfig = GatewayApiConfig()
    zeromq: ZeroMQConfig = ZeroMQConfig()
