"""``masklet demo``: the whole pipeline on one machine, with a rendered match instead of a camera.

The daemon runs as a process of its own, as in production; this process is an ordinary subscriber.
The match is rendered, so the results can be compared with the ground truth. The demo prompts some
players itself and compares only these; visitors of the page can click on the others.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import RenderableType
from rich.live import Live

from streamer.cli.demo.browser import can_open_page, is_watched, open_page
from streamer.cli.demo.film import Film, make_film
from streamer.cli.demo.settings import RATE_HZ, STREAM, demo_scene, demo_settings, starting_boxes
from streamer.cli.startup import require_temporary_folder
from streamer.cli.terminal import Terminal
from streamer.cli.watch import PLAIN_WIDTH
from streamer.cli.watch_view import WatchView
from streamer.client import Access, ApiClient, ApiError, Subscriber
from streamer.errors import MaskletError
from streamer.wire.codec import FrameMessage

DURATION_S = 30.0
DURATION_WATCHED_S = 120.0  # with a person at the terminal, who may try the page
START_TIMEOUT_S = 180.0  # the first import of torch is slow on a small machine
END_TIMEOUT_S = 15.0
RESULTS_KEPT = 180 * RATE_HZ  # three minutes; the film and the figures are about these
TABLE_PERIOD_S = 0.2
PLAIN_TABLE_PERIOD_S = 5.0


@dataclass(slots=True)
class Recording:
    """The newest ``RESULTS_KEPT`` results, and the latency of each."""

    results: deque[FrameMessage] = field(default_factory=lambda: deque(maxlen=RESULTS_KEPT))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RESULTS_KEPT))
    frames: int = 0
    dropped: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self, message: FrameMessage, now_s: float, now_unix_ns: int) -> None:
        """Add one result as it arrives."""
        if not self.frames:
            self.first_s = now_s
        self.last_s = now_s
        self.frames += 1
        self.dropped += sum(message.header.dropped_since_last.values())
        self.results.append(message)
        self.latencies_ms.append((now_unix_ns - message.header.capture_time_ns) / 1e6)

    @property
    def rate_hz(self) -> float:
        """Results per second, from the first to the last."""
        seconds = self.last_s - self.first_s
        return (self.frames - 1) / seconds if seconds > 0 else 0.0

    def latency_ms(self, share: float) -> float:
        """The latency that ``share`` of the results do not exceed."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run_demo(
    duration_s: float | None,
    output_directory: Path,
    model: str = "nano",
    device: str = "auto",
    open_browser: bool = True,
) -> int:
    """Run for ``duration_s`` after the first result, then write the film; the exit code, 0.

    The default duration is longer where a person watches. Ctrl-C ends it earlier and still writes
    a film. Raises ``MaskletError`` if the daemon does not start or no result arrives.
    """
    if duration_s is None:
        duration_s = DURATION_WATCHED_S if is_watched(sys.stdout) else DURATION_S
    open_browser = open_browser and can_open_page(sys.stdout)
    console = Terminal(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    # SIGTERM ends the demo like Ctrl-C: the daemon must not be left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _make_directory(output_directory)
    require_temporary_folder()
    scene = demo_scene()
    with tempfile.TemporaryDirectory(prefix="masklet-demo-") as folder:
        settings = demo_settings(scene, model, device, Path(folder), console)
        config_file = Path(folder) / "masklet.yaml"
        config_file.write_text(yaml.safe_dump(settings, sort_keys=False))
        log_file = output_directory / "daemon.log"
        with _daemon(config_file, log_file, settings["control"]["endpoint"]) as process:
            recording = _follow(settings, duration_s, console, process, log_file, open_browser)
    if not recording.frames:
        raise MaskletError(f"no result arrived before the end; the daemon's log is {log_file}")
    _print_figures(recording, console)
    console.print("comparing with the ground truth, writing the film …")
    prompted = [int(str(each["id"])) for each in starting_boxes(scene)]
    film = make_film(scene, list(recording.results), RATE_HZ, output_directory, prompted)
    _print_film(film, log_file, console)
    return 0


@contextmanager
def _daemon(
    config_file: Path, log_file: Path, control: object
) -> Iterator[subprocess.Popen[bytes]]:
    """``masklet run`` as a process, which is stopped at the end, if necessary killed."""
    command = [sys.executable, "-m", "streamer.cli.main", "run", "--config", str(config_file)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        code = _end(process, str(control))
    if code != 0:
        raise MaskletError(f"the daemon ended with exit code {code}:\n{_last_lines(log_file)}")


def _end(process: subprocess.Popen[bytes], control: str) -> int:
    """Stop the daemon; return its exit code, or 0 if it was still starting."""
    was_starting = False
    if process.poll() is None:
        # By a request, since Ctrl-C has reached it already and a second signal would kill it;
        # by a signal only while it does not listen yet.
        try:
            ApiClient(Access(control=control)).post("/v1/stop")
        except ApiError:
            was_starting = True
            process.terminate()
    try:
        code = process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return 0 if was_starting else code


def _follow(
    settings: dict[str, Any],
    duration_s: float,
    console: Terminal,
    process: subprocess.Popen[bytes],
    log_file: Path,
    open_browser: bool,
) -> Recording:
    """Show the table and record results until the time is over, Ctrl-C, or the daemon ends."""
    endpoint = str(settings["zeromq"]["endpoint"])
    page = f"http://127.0.0.1:{settings['api']['port']}/"
    recording = Recording()
    started_s = time.monotonic()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        console.print(
            f"page     {page}   (ready in a few seconds: click on a player)", style="bold"
        )
        console.print(f"results  {endpoint}   (masklet watch {endpoint}, in another terminal)")
        console.print(f"metrics  http://127.0.0.1:{settings['metrics']['port']}/metrics")
        console.print(f"log      {log_file}")
        subscriber = stack.enter_context(
            Subscriber(endpoint, topics=("frame", "event", "status", "heartbeat"))
        )
        view = WatchView(endpoint, STREAM)
        show: Callable[[RenderableType], None] = console.print
        period_s = PLAIN_TABLE_PERIOD_S
        if console.can_redraw:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
            show, period_s = partial(live.update, refresh=True), TABLE_PERIOD_S
        shown_s = started_s
        while not recording.frames or time.monotonic() < recording.first_s + duration_s:
            message = subscriber.receive(timeout_s=0.1)
            now_s = time.monotonic()
            if message is not None:
                view.observe(message, now_s, time.time_ns())
            if isinstance(message, FrameMessage) and not message.header.replayed:
                if open_browser and not recording.frames:
                    open_page(page)
                recording.add(message, now_s, time.time_ns())
            if now_s - shown_s >= period_s:
                shown_s = now_s
                waited_s = now_s - started_s
                if view.has_streams:
                    show(view.render(subscriber.lost, subscriber.silent_for_s, waited_s, now_s))
                else:
                    show(f"starting, and loading the model: {waited_s:.0f} s")
            if process.poll() is not None or (
                not recording.frames and now_s - started_s > START_TIMEOUT_S
            ):
                break
    return recording


def _print_figures(recording: Recording, console: Terminal) -> None:
    console.print(
        f"{recording.frames} frames tracked at {recording.rate_hz:.1f} a second, "
        f"{recording.dropped} dropped; capture to subscriber: "
        f"p50 {recording.latency_ms(0.5):.0f} ms, p99 {recording.latency_ms(0.99):.0f} ms"
    )


def _print_film(film: Film, log_file: Path, console: Terminal) -> None:
    each = ", ".join(f"{name} {iou:.2f}" for name, iou in film.iou_by_object.items())
    console.print(
        f"overlap with the ground truth (mean IoU, {film.frames_scored} frames): "
        f"{film.mean_iou:.2f} ({each})"
    )
    for what, path in (("video", film.video), ("picture", film.picture), ("log", log_file)):
        console.print(f"{what:8} {path}", soft_wrap=True)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaskletError(f"--output-dir {directory} cannot be made: {error.strerror}") from None
    if shutil.disk_usage(directory).free < 50_000_000:
        raise MaskletError(f"--output-dir {directory}: less than 50 MB are free on its disk")


def _last_lines(log_file: Path, count: int = 5) -> str:
    lines = log_file.read_text(errors="replace").splitlines()
    return "\n".join(lines[-count:]) or f"{log_file} is empty"
