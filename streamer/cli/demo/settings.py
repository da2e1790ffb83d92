"""The demo's scene and configuration: a match, some of its players, free ports."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from streamer.cli.terminal import Terminal
from streamer.config.control_endpoint import control_path, default_control_endpoint, is_served
from streamer.config.paths import absolute_path, caller_folder
from streamer.config.schema import MaskletConfig, ModelSection
from tracker.config import PRESETS
from tracker.scenes import Match

STREAM = "match"
DEFAULT_RESULTS_PORT = 5555
# Of ten scenes outside nano's training set, the one that it tracks best: players cross twice in the
# first ten seconds. Rate and pace suit two processor cores and four players; nano loses players in
# faster matches and behind columns.
SEED, PLAYERS, OCCLUDERS, PACE = 10_007, 4, 0, 0.35
WIDTH, HEIGHT, RATE_HZ = 640, 360, 10
PLAYERS_FOLLOWED = 2  # visitors can click on the others
HISTORY_S = 3.0


def demo_scene() -> Match:
    """The match."""
    return Match(SEED, WIDTH, HEIGHT, RATE_HZ, players=PLAYERS, occluders=OCCLUDERS, pace=PACE)


def demo_settings(
    scene: Match, model: str, device: str, folder: Path, console: Terminal
) -> dict[str, Any]:
    """The daemon's configuration: the match, boxes around some players, free ports.

    ``folder`` holds the control socket if the default one is in use. Differences from the
    defaults are printed on ``console``.
    """
    defaults = MaskletConfig()
    results_port = free_port(DEFAULT_RESULTS_PORT, "results", console)
    metrics_port = free_port(defaults.metrics.port, "metrics", console)
    page_port = free_port(defaults.api.port, "the page", console)
    control = default_control_endpoint()
    if is_served(control_path(control)):
        control = f"ipc://{folder}/control.sock"
        console.print(f"another masklet runs here: commands go to --control {control}")
    if model in PRESETS:
        named = ModelSection(name=model)
    else:
        named = ModelSection(checkpoint=absolute_path(model, caller_folder()))
    url = (
        f"synthetic://match?seed={SEED}&width={WIDTH}&height={HEIGHT}&rate_hz={RATE_HZ}"
        f"&players={PLAYERS}&occluders={OCCLUDERS}&pace={PACE}"
    )
    return {
        "streams": {STREAM: {"url": url, "objects": starting_boxes(scene)}},
        "model": {"name": named.name, "checkpoint": named.checkpoint, "device": device},
        "zeromq": {"endpoint": f"tcp://127.0.0.1:{results_port}"},
        "metrics": {"port": metrics_port},
        "api": {"port": page_port},
        "control": {"endpoint": control},
        # A slow machine shows frames late; a click must still find its frame.
        "history": {"duration_s": HISTORY_S},
        "state_directory": "none",  # nothing of the demo is restored
    }


def starting_boxes(scene: Match) -> list[dict[str, object]]:
    """Ground-truth boxes of the players that are most visible on the first frame."""
    first = scene.render(0)
    players = [each for each in scene.object_ids if each != scene.ball_id]
    best_seen = sorted(
        players,
        key=lambda each: (first.visible_fraction[each] > 0.9, int(first.masks[each].sum())),
        reverse=True,
    )
    return [
        {
            "id": each,
            "label": first.labels[each],
            "box": [float(edge) for edge in first.boxes[each]],
        }
        for each in sorted(best_seen[:PLAYERS_FOLLOWED])
    ]


def free_port(wanted: int, what: str, console: Terminal) -> int:
    """``wanted`` if it is free, else any free port, which is printed."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            return wanted
        except OSError:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
    console.print(f"port {wanted} is taken: {what} at {port}")
    return port
