"""A worker's daemon: its configuration, its guarded process, and its HTTP API.

Every method waits for the daemon: not for an event loop.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from streamer.client.api_client import Access, ApiClient, ApiError
from streamer.errors import ConfigError, MaskletError
from streamer.fleet.guarded_process import GuardedProcess
from streamer.runtime.curve_keys import load_key_pair
from streamer.runtime.sockets import why_no_listener

# One client, the gateway, asks for all of its own, whom it limits itself.
_LIMITS = {"connections": 2048, "requests_per_s": 10_000, "burst": 10_000, "open_streams": 1000}
_SUBSCRIPTION_KIB = 65_536


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a worker's daemon listens, and what lets its gateway in.

    ``token`` and ``keys`` (folder with ``server.key_secret`` and ``clients/``) are None on
    loopback.
    """

    host: str
    http_port: int
    zeromq_port: int
    token: str | None = None
    server_key_file: Path | None = None
    client_keys: Path | None = None

    def public_key(self) -> str | None:
        """The publisher's CURVE key, if it has one."""
        if self.server_key_file is None:
            return None
        return load_key_pair(self.server_key_file).public.decode()


def free_ports(host: str, minimum: int = 0, maximum: int = 0) -> tuple[int, int]:
    """Two ports that nothing listens at, in the range or, with 0, any. Raises ``ConfigError``."""
    if minimum == 0:
        with socket.create_server((host, 0)) as first, socket.create_server((host, 0)) as second:
            return first.getsockname()[1], second.getsockname()[1]
    found = []
    for port in range(minimum, maximum + 1):
        if why_no_listener(host, port) is None:
            found.append(port)
            if len(found) == 2:
                return found[0], found[1]
    raise ConfigError(
        f"worker.port_minimum to port_maximum: two free ports are needed on {host}, and of "
        f"{minimum} to {maximum} {len(found)} are free; widen the range"
    )


class DaemonProcess:
    """``masklet run`` under a guard."""

    def __init__(self, process: GuardedProcess, control: str) -> None:
        self.process = process
        self._client = ApiClient(Access(control=control))

    @classmethod
    def begin(
        cls,
        worker_id: str,
        folder: Path,
        settings: Mapping[str, Any],
        listening: Listening,
        state: str,
        until_s: float,
    ) -> Self:
        """Start it; ``settings`` are those of the fleet's ``daemon`` section."""
        control = f"ipc://{folder}/control.sock"
        tokens = []
        if listening.token is not None:
            (folder / "token").write_text(listening.token)
            tokens = [
                {
                    "name": "fleet",
                    "scopes": ["read", "control", "publish"],
                    "token_file": str(folder / "token"),
                }
            ]
        keys = {}
        if listening.server_key_file is not None:
            keys = {
                "server_key_file": str(listening.server_key_file),
                "client_keys_directory": str(listening.client_keys),
            }
        config = {
            **settings,
            "api": {
                **settings.get("api", {}),
                "host": listening.host,
                "port": listening.http_port,
                "tokens": tokens,
                "limits": {**_LIMITS, **settings.get("api", {}).get("limits", {})},
            },
            "zeromq": {
                **settings.get("zeromq", {}),
                "endpoint": f"tcp://{listening.host}:{listening.zeromq_port}",
                "publisher_id": worker_id,
                "subscription_kib": _SUBSCRIPTION_KIB,
                **keys,
            },
            "metrics": {"enabled": False},
            "control": {"endpoint": control},
            "state_directory": state,
        }
        path = folder / "masklet.yaml"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        arguments = ["run", "--leased", "--config", str(path)]
        process = GuardedProcess.begin(worker_id, folder, until_s, arguments)
        return cls(process, control)

    def is_ready(self) -> bool:
        """Whether it tracks."""
        try:
            self._client.get("/readyz")
        except ApiError:
            return False
        return True

    def streams(self) -> list[dict[str, Any]]:
        """Its streams as ``/v1/streams`` lists them. Raises ``ApiError``."""
        found: list[dict[str, Any]] = self._client.get("/v1/streams")["streams"]
        return found

    def is_overloaded(self) -> bool:
        """Whether it reports that its device cannot track every frame. Raises ``ApiError``."""
        metrics = self._client.content("/metrics").decode()
        return any(
            line.startswith("masklet_degraded{") and not line.endswith(" 0.0")
            for line in metrics.splitlines()
        )

    def version(self) -> str:
        """Its version. Raises ``ApiError``."""
        return str(self._client.get("/v1/info")["version"])

    def prepare(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Connect a stream's camera without tracking. Raises ``ApiError``."""
        self._client.post(
            "/v1/streams", {**settings, "id": stream_id, "paused": True, "objects": []}
        )

    def take(self, stream_id: str, settings: Mapping[str, Any], token: int) -> None:
        """Track a prepared stream as its former worker left it, under this fencing token.

        Raises ``ApiError``; nothing is tracked then.
        """
        body = {"token": token, "settings": dict(settings)}
        self._client.put(f"/v1/streams/{stream_id}/lease", body)

    def leave(self, stream_id: str) -> None:
        """End a stream and save its newest state for its next worker. Raises ``ApiError``."""
        self._client.delete(f"/v1/streams/{stream_id}/lease")

    def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Change a stream's settings. Raises ``ApiError``."""
        changed = {key: value for key, value in settings.items() if key != "objects"}
        self._client.patch(f"/v1/streams/{stream_id}", changed)


def measured(report: Mapping[str, Any]) -> Sequence[tuple[int, int]]:
    """What ``bench.json`` says is carried: (objects a stream, streams), ascending."""
    carried = report.get("carried")
    if not isinstance(carried, Mapping) or not carried:
        raise MaskletError("masklet bench measured nothing")
    return sorted((int(objects), int(streams)) for objects, streams in carried.items())
