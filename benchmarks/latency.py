"""From the camera to the socket: latency and losses over real RTSP on loopback.

GStreamer's RTSP server plays clips of the rendered match (H.264, 640x360, 25 Hz) and says when
each picture was sent. Two things follow them, one after the other, each in a process of its own:

- *decoding alone*: the daemon's own source, which hands every picture over and forgets it;
- *the daemon*: `masklet run` with one object a stream, watched by a subscriber in this process.

Latency counts from the moment a picture was handed to the server's RTP sender to the moment it
is decoded, and published. What Masklet adds is the difference.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import av
import numpy as np
import yaml

from benchmarks.cells import Cell
from benchmarks.machine import describe_machine
from streamer.client.subscriber import Subscriber
from streamer.config.schema import StreamConfig
from streamer.sources import make_source
from streamer.types import DecodedFrame, DropReason
from streamer.wire.codec import FrameMessage
from tests.conftest import find_free_port
from tests.integration.rtsp.server import RtspServer
from tracker.scenes import DEMO_SEED, Match

WIDTH, HEIGHT, RATE_HZ, CLIP_S = 640, 360, 25, 8
# Connections, first keyframes, prompts and lazy initialisation lie before what is counted.
WARM_UP_S = 4.0
NANOSECONDS = 1e-9


class Latency(TypedDict):
    """Milliseconds over all frames of all streams."""

    frames: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Passage:
    """One picture's way: media time, Unix times of arrival and of being decoded or published."""

    stream: int
    media_time_s: float
    arrival_ns: int
    done_ns: int


def write_match(path: Path, seed: int) -> Path:
    """A clip of the match as a camera would send it: no picture is held back."""
    match = Match(seed, WIDTH, HEIGHT, RATE_HZ)
    with av.open(str(path), "w") as container:
        options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "x264-params": "slices=1:sliced-threads=0:threads=1",
        }
        stream = container.add_stream("libx264", rate=RATE_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = RATE_HZ
        for index in range(CLIP_S * RATE_HZ):
            picture = av.VideoFrame.from_ndarray(match.render(index).image, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def measure_latency(streams: int, duration_s: float, directory: Path, checkpoint: str) -> Cell:
    """Both runs for ``streams`` cameras of ``duration_s`` each."""
    clips = []
    for number in range(streams):
        path = directory / f"match-{number}.mp4"
        clips.append(path if path.is_file() else write_match(path, DEMO_SEED + number))
    decoding, _ = _decoding_alone(clips, duration_s)
    # Nobody else may enter the folder of the control socket; a temporary one is private.
    with _servers(clips) as servers, TemporaryDirectory() as private:
        published, tracking, drops = _daemon(servers, duration_s, Path(private), checkpoint)
    return {
        "streams": streams,
        "duration_s": duration_s,
        "checkpoint": checkpoint,
        "decoding": decoding,
        "published": published,
        "beyond_decoding": {
            key: published[key] - decoding[key]  # type: ignore[literal-required]
            for key in ("p50_ms", "p99_ms")
        },
        "tracking_p50_ms": tracking,
        "expected_frames": round(duration_s * RATE_HZ) * streams,
        "drops": drops,
        "machine": describe_machine(),
    }


@contextmanager
def _servers(clips: Sequence[Path]) -> Iterator[list[RtspServer]]:
    """One server a camera."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(RtspServer("--file", str(clip), "--codec", "h264", "--report"))
            for clip in clips
        ]


def _decoding_alone(clips: Sequence[Path], duration_s: float) -> tuple[Latency, int]:
    with _servers(clips) as servers:
        urls = [server.url() for server in servers]
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.latency", str(duration_s), *urls],
            check=True,
            capture_output=True,
            text=True,
        )
        passages = [Passage(*entry) for entry in json.loads(finished.stdout)]
        return _latency(passages, servers), len(passages)


class _Recorder:
    """Takes what a source delivers and keeps when it came."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.passages: list[Passage] = []

    def frame(self, picture: DecodedFrame) -> None:
        """Keep the times, not the picture."""
        decoding_ns = picture.decoded_monotonic_ns - picture.arrival_monotonic_ns
        media_time_s = float((picture.pts or 0) * picture.time_base)
        arrival_ns = picture.arrival_time_ns
        self.passages.append(
            Passage(self.stream, media_time_s, arrival_ns, arrival_ns + decoding_ns)
        )

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Nothing to be done: pictures that are not there are missing in the count."""

    def reset(self, reason: str) -> None:
        """A clip begins again; the server's presentation times go on."""


def decode_alone(urls: Sequence[str], duration_s: float) -> list[Passage]:
    """Follow all cameras with the daemon's source, after a warm-up, for ``duration_s``."""
    stop = threading.Event()
    recorders = [_Recorder(number) for number in range(len(urls))]
    threads = []
    for recorder, url in zip(recorders, urls, strict=True):
        source = make_source(f"camera{recorder.stream}", StreamConfig(url=url))
        thread = threading.Thread(target=source.run, args=(recorder, stop), name="decode")
        thread.start()
        threads.append(thread)
    begin_ns = time.time_ns() + round(WARM_UP_S / NANOSECONDS)
    time.sleep(WARM_UP_S + duration_s)
    stop.set()
    for thread in threads:
        thread.join()
    return [
        passage
        for recorder in recorders
        for passage in recorder.passages
        if passage.arrival_ns >= begin_ns
    ]


def _daemon(
    servers: Sequence[RtspServer], duration_s: float, directory: Path, checkpoint: str
) -> tuple[Latency, float, dict[str, int]]:
    """`masklet run` on all cameras: published latency, a step's median, what was dropped."""
    port = find_free_port()
    first = Match(DEMO_SEED, WIDTH, HEIGHT, RATE_HZ).render(0)
    box = [float(value) for value in first.boxes[1]]
    named = checkpoint.endswith((".safetensors", ".pt"))
    settings = {
        "streams": {
            f"camera{number}": {"url": server.url(), "objects": [{"id": 1, "box": box}]}
            for number, server in enumerate(servers)
        },
        "model": {"checkpoint": checkpoint} if named else {"name": checkpoint},
        "zeromq": {"endpoint": f"tcp://127.0.0.1:{port}"},
        "metrics": {"enabled": False},
        "api": {"enabled": False},
        "control": {"endpoint": f"ipc://{directory / 'control.sock'}"},
        "log": {"level": "warning"},
    }
    file = directory / "daemon.yaml"
    file.write_text(yaml.safe_dump(settings))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "streamer.cli.main", "run", "--config", str(file)]
    )
    try:
        with Subscriber(f"tcp://127.0.0.1:{port}", topics=("frame",)) as messages:
            frames = list(_frames(messages, daemon, duration_s, len(servers)))
            lost = sum(messages.lost.values())
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=30)
    passages, steps_ms = [], []
    drops: Counter[str] = Counter(subscriber=lost)
    for message in frames:
        header = message.header
        times = header.stage_times_ns
        numerator, denominator = header.time_base
        passages.append(
            Passage(
                stream=int(header.stream_id.removeprefix("camera")),
                media_time_s=(header.pts or 0) * numerator / denominator,
                arrival_ns=header.arrival_time_ns,
                done_ns=header.arrival_time_ns + times.published,
            )
        )
        steps_ms.append((times.tracked - times.started) / 1e6)
        drops.update(header.dropped_since_last)
    return _latency(passages, servers), float(np.median(steps_ms)), dict(drops)


def _frames(
    messages: Subscriber, daemon: subprocess.Popen[bytes], duration_s: float, streams: int
) -> Iterator[FrameMessage]:
    """What is published within ``duration_s``, once all streams have run for the warm-up."""
    first_s: dict[str, float] = {}
    end_s = time.monotonic() + 120
    begin_s = None
    while time.monotonic() < end_s:
        message = messages.receive(timeout_s=1.0)
        if daemon.poll() is not None:
            raise RuntimeError(f"masklet run ended by itself, exit code {daemon.returncode}")
        if not isinstance(message, FrameMessage):
            continue
        first_s.setdefault(message.header.stream_id, time.monotonic())
        if begin_s is None and len(first_s) == streams:
            begin_s = max(first_s.values()) + WARM_UP_S
            end_s = begin_s + duration_s
        if begin_s is not None and time.monotonic() >= begin_s:
            yield message
    if begin_s is None:
        raise RuntimeError(f"frames of {len(first_s)} of {streams} streams came within 120 s")


def _latency(passages: Sequence[Passage], servers: Sequence[RtspServer]) -> Latency:
    """From each picture's push to the end of its way."""
    milliseconds: list[float] = []
    for number, server in enumerate(servers):
        own = [passage for passage in passages if passage.stream == number]
        milliseconds += latencies_ms(own, [push.time_ns for push in list(server.pushes)])
    return Latency(
        frames=len(milliseconds),
        p50_ms=float(np.percentile(milliseconds, 50)),
        p99_ms=float(np.percentile(milliseconds, 99)),
    )


def latencies_ms(passages: Sequence[Passage], pushes_ns: Sequence[int]) -> list[float]:
    """Pair pictures with pushes by media time, and give how long after its push each was done.

    Media times tell which picture of the series one is; where the series begins among the
    pushes is where most pictures arrived just after theirs.
    """
    if not passages:
        return []
    places = [round((p.media_time_s - passages[0].media_time_s) * RATE_HZ) for p in passages]
    before = [bisect_right(pushes_ns, p.arrival_ns) - 1 for p in passages]
    offset = Counter(b - place for b, place in zip(before, places, strict=True)).most_common(1)
    first = offset[0][0]
    return [
        (passage.done_ns - pushes_ns[first + place]) / 1e6
        for passage, place in zip(passages, places, strict=True)
        if 0 <= first + place < len(pushes_ns)
    ]


def report(cells: Sequence[Cell]) -> str:
    """The table, as markdown."""
    lines = [
        "| streams | decoding alone p50 / p99 | published p50 / p99 | beyond decoding p50 / p99 "
        "| step | frames | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        dropped = {reason: count for reason, count in cell["drops"].items() if count}
        pairs = " | ".join(
            f"{cell[key]['p50_ms']:.1f} / {cell[key]['p99_ms']:.1f} ms"
            for key in ("decoding", "published", "beyond_decoding")
        )
        lines.append(
            f"| {cell['streams']} | {pairs} | {cell['tracking_p50_ms']:.1f} ms | "
            f"{cell['published']['frames']} of {cell['expected_frames']} | "
            f"{', '.join(f'{count} {reason}' for reason, count in dropped.items()) or 'none'} |"
        )
    return (
        "\n".join(lines)
        + f"\n\n{cells[0]['checkpoint']}, one object a stream, H.264 {WIDTH}x{HEIGHT} at "
        + f"{RATE_HZ} Hz over RTSP (TCP) on loopback, {cells[0]['duration_s']:g} s; "
        + str(cells[0]["machine"])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Decode alone; prints what passed as JSON.")
    parser.add_argument("duration_s", type=float)
    parser.add_argument("urls", nargs="+")
    options = parser.parse_args()
    found = decode_alone(options.urls, options.duration_s)
    rows = [[p.stream, p.media_time_s, p.arrival_ns, p.done_ns] for p in found]
    sys.stdout.write(json.dumps(rows) + "\n")
