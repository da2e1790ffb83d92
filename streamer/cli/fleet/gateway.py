"""``masklet fleet gateway``: the one address of a fleet, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from streamer.cli import exit_codes
from streamer.cli.ctl.requests import read_settings
from streamer.cli.lines import write_line
from streamer.cli.startup import STOP_SIGNALS
from streamer.config.paths import caller_folder, with_absolute_paths
from streamer.fleet.gateway.config import GatewayConfig
from streamer.fleet.gateway.gateway import Gateway
from streamer.fleet.gateway.hosted import certificate_folder
from streamer.fleet.view import Fleet
from streamer.runtime.descriptors import raise_descriptor_limit
from streamer.runtime.logs import configure_logging

_log = logging.getLogger(__name__)


def gateway_config(config: GatewayConfig, texts: Sequence[str]) -> GatewayConfig:
    """``config`` with the settings ``KEY=VALUE`` of a command line. Raises ``ConfigError``."""
    given = with_absolute_paths(read_settings(texts), GatewayConfig, caller_folder)
    values = config.model_dump(exclude_unset=True)
    _put(values, given)
    return GatewayConfig.read(values, "gateway")


def _put(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(values.get(name), dict):
            _put(values[name], value)
        else:
            values[name] = value


def serve(config: GatewayConfig, fleet: Fleet, arguments: Namespace) -> int:
    """Serve ``fleet``; the exit code. Raises ``MaskletError`` if it cannot begin."""
    configure_logging("info", "text")
    raise_descriptor_limit()
    gateway = Gateway(config, fleet, certificate_folder=certificate_folder)
    asyncio.run(_until_signalled(gateway, arguments.json))
    return exit_codes.DONE


async def _until_signalled(gateway: Gateway, as_json: bool) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in STOP_SIGNALS:
        loop.add_signal_handler(name, stopping.set)
    try:
        await gateway.start()
        serving = asyncio.create_task(gateway.run())
        stopped = asyncio.create_task(stopping.wait())
        page, results = gateway.endpoint, gateway.results_endpoint
        if as_json:
            write_line(json.dumps({"page": page, "results": results}))
        _log.info("page and API of the fleet at %s, results at %s", page, results)
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for each in (serving, stopped):
            each.cancel()
        await asyncio.wait({serving, stopped})
        if not serving.cancelled():
            await serving  # it ended by itself: raises why
    finally:
        await gateway.close()
