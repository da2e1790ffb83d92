"""The Ray cluster of a fleet: the one that is named, or one of this machine on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from streamer.config.state_folder import state_home
from streamer.errors import ConfigError, FleetError
from streamer.fleet.daemon_process import free_ports

MANAGER = "manager"
LOOPBACK = "127.0.0.1"
_START_S = 180.0
_RETRY_S = 0.5
_STOP_S = 30.0
_POLL_S = 0.1
_OBJECT_STORE_BYTES = 80 << 20  # nothing large is exchanged
# Ray takes the address of the network card for its own, and then listens at every address, unless
# it believes that clusters do not exist on this platform.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
# Of the environment of a node. It ends if its own parts have not answered in time, which takes
# long on a busy machine; and its workers, which track live, must not come after all other programs.
OF_NODES = {
    "RAY_worker_niceness": "0",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_gcs_server_port_wait_time_s": "180",
    "RAY_raylet_start_wait_time_s": "180",
}
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
# Those of ``ray start``, without their dashes.
_AGENT_PORTS = (
    "metrics_export_port",
    "runtime_env_agent_port",
    "dashboard_agent_listen_port",
    "dashboard_agent_grpc_port",
)


def namespace(name: str) -> str:
    """The namespace of a fleet's actors."""
    return f"masklet-{name}"


def connect(name: str, address: str | None, *, begin: bool = False) -> Any:
    """Connect this process to the fleet's cluster; returns the module ``ray``.

    The cluster is that of ``address``, or of ``RAY_ADDRESS``, or the local one of this fleet, which
    ``begin`` starts if it does not run. Raises ``ConfigError`` without Ray, ``FleetError`` if the
    cluster does not answer.
    """
    os.environ.update(_ALWAYS)
    local = _LocalCluster(name)
    address = named(address)
    is_named = address is not None
    if address is None:
        os.environ.update(_ON_LOOPBACK)
        address = local.address()
        if address is None and begin:
            address = local.start()
        if address is None:
            raise FleetError(
                f"no fleet {name} runs on this machine: start it with `masklet fleet up`, or name "
                "its Ray cluster with --address or RAY_ADDRESS"
            )
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise ConfigError("masklet fleet needs Ray: pip install 'masklet[fleet]'") from None
    deadline_s = time.monotonic() + (_START_S if begin else 0.0)
    while True:
        try:
            ray.init(
                address=address,
                namespace=namespace(name),
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            if time.monotonic() < deadline_s and local.was_started:
                if not local.is_running():  # on a busy machine Ray gives up on its own parts
                    address = local.start()
                time.sleep(_RETRY_S)
                continue
            step = (
                "check --address or RAY_ADDRESS"
                if is_named
                else f"end what is left of it with `masklet fleet down --force --name {name}`"
            )
            reason = str(error).splitlines()[0]
            raise FleetError(
                f"the Ray cluster at {address} does not answer ({reason}); {step}"
            ) from error
        return ray


def named(address: str | None) -> str | None:
    """The address of the cluster that is named; None: that of this machine is meant."""
    return address or os.environ.get("RAY_ADDRESS") or None


def end_local(name: str) -> bool:
    """End the cluster that ``connect`` began on this machine; whether there was one."""
    local = _LocalCluster(name)
    was_running = local.is_running()
    local.stop()
    return was_running


def agent_ports() -> dict[str, int]:
    """Ports for the agents of a node on loopback, by the options of ``ray start``.

    A node whose agents choose their own ends unless it is told within 15 s, which no setting of
    Ray lengthens.
    """
    ports = (*free_ports(LOOPBACK), *free_ports(LOOPBACK))
    return dict(zip(_AGENT_PORTS, ports, strict=True))


class _LocalCluster:
    """``ray start --block`` in a session of its own, with a folder that ends with it.

    A note in a file is for later commands. The process keeps that file locked: while it lives, and
    no longer, so another process that has its number by now is not taken for it.
    """

    def __init__(self, name: str) -> None:
        home = state_home()
        if home is None:
            raise ConfigError("this user has no home folder: name a Ray cluster with --address")
        self._note = home / f"fleet-{name}.ray.json"
        self.was_started = False

    def address(self) -> str | None:
        """Its address, if it runs."""
        return self._noted().get("address") if self.is_running() else None

    def is_running(self) -> bool:
        """Whether its process lives."""
        try:
            with self._note.open("rb") as note:
                fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def start(self) -> str:
        """Start it; returns its address, which may not answer yet."""
        self.stop()  # what is left of one that was killed
        port, _ = free_ports(LOOPBACK)
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with self._note.open("a") as note:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FleetError("another `masklet fleet up` begins it; try again") from None
            folder = Path(tempfile.mkdtemp(prefix="masklet-ray-"))
            process = self._begin(folder, port, note.fileno())
            address = f"{LOOPBACK}:{port}"
            noted = {"address": address, "process": process.pid, "folder": str(folder)}
            note.truncate(0)
            note.write(json.dumps(noted))
        self.was_started = True
        return address

    def stop(self) -> None:
        """End it, and remove its folder."""
        noted = self._noted()
        if self.is_running():
            os.kill(noted["process"], signal.SIGTERM)
            deadline_s = time.monotonic() + _STOP_S
            while self.is_running():
                if time.monotonic() > deadline_s:
                    os.killpg(noted["process"], signal.SIGKILL)
                time.sleep(_POLL_S)
        if "folder" in noted:
            shutil.rmtree(noted["folder"], ignore_errors=True)
        self._note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return noted

    def _begin(self, folder: Path, port: int, lock: int) -> subprocess.Popen[bytes]:
        # ``folder`` is this user's alone; Ray opens the one in it to everyone.
        ray, opened = Path(sys.executable).with_name("ray"), folder / "ray"
        command = [
            str(ray), "start", "--head", "--block", f"--port={port}", f"--temp-dir={opened}",
            "--include-dashboard=false", "--disable-usage-stats",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            *(f"--{name.replace('_', '-')}={port}" for name, port in agent_ports().items()),
        ]  # fmt: skip
        with (folder / "start.log").open("wb") as log:
            try:
                return subprocess.Popen(
                    command,
                    env={**os.environ, **_ALWAYS, **_ON_LOOPBACK, **OF_NODES},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            except FileNotFoundError:
                shutil.rmtree(folder)
                raise ConfigError("masklet fleet needs Ray: pip install 'masklet[fleet]'") from None
