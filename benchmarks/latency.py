"""From the camera to the socket: latency and losses over real RTSP on loopback.

GStreamer's RTSP server plays clips of the rendered match (H.264, 640x360, 25 Hz) and reports when
it sent each picture. Two receivers run one after the other, each in its own process:

- *decoding alone*: the daemon's source, whose pictures are discarded;
- *the daemon*: `masklet run` with one object per stream, and a subscriber in this process.

Latency counts from the moment a picture is pushed into the server's RTP sender until it is
decoded or published. The difference is what Masklet adds.
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

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from streamer.client import Subscriber
from streamer.config.streams import StreamConfig
from streamer.runtime.address import Address
from streamer.sources import make_source
from streamer.types import DecodedFrame, DropReason
from streamer.wire.codec import FrameMessage
from tests.conftest import find_free_port
from tests.integration.rtsp.server import RtspServer
from tracker.scenes import DEMO_SEED, Match

WIDTH, HEIGHT, RATE_HZ, CLIP_S = 640, 360, 25, 8
# Connections, first keyframes, prompts and lazy initialisation happen before the measurement.
WARM_UP_S = 4.0
NANOSECONDS = 1e-9


class Latency(TypedDict):
    """Milliseconds over all frames of all streams."""

    frames: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Passage:
    """One picture: its media time, and the Unix times of its arrival and of being done.

    Done means decoded, or published by the daemon.
    """

    stream: int
    media_time_s: float
    arrival_ns: int
    done_ns: int


def write_match(path: Path, seed: int) -> Path:
    """A clip of the match, encoded as a camera does: without reordered pictures."""
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


def measure_latency(streams: int, duration_s: float, directory: Path, checkpoint: str) -> Result:
    """Both runs, with ``streams`` cameras for ``duration_s`` each."""
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
            "p50_ms": published["p50_ms"] - decoding["p50_ms"],
            "p99_ms": published["p99_ms"] - decoding["p99_ms"],
        },
        "tracking_p50_ms": tracking,
        "expected_frames": round(duration_s * RATE_HZ) * streams,
        "drops": drops,
        "machine": describe_machine(),
    }


@contextmanager
def _servers(clips: Sequence[Path]) -> Iterator[list[RtspServer]]:
    """One RTSP server per camera."""
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
    """A source's receiver that keeps only the times of its pictures."""

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
        """Ignored: lost pictures are missing in the count."""

    def reset(self, reason: str) -> None:
        """Ignored: the clip repeats, the server's presentation times continue."""


def decode_alone(urls: Sequence[str], duration_s: float) -> list[Passage]:
    """Decode all cameras with the daemon's source for ``duration_s`` after a warm-up."""
    stop = threading.Event()
    recorders = [_Recorder(number) for number in range(len(urls))]
    threads = []
    for recorder, url in zip(recorders, urls, strict=True):
        source = make_source(f"camera{recorder.stream}", StreamConfig(url=Address.parse(url)))
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
    """`masklet run` on all cameras: latency of publishing, median step in ms, dropped frames."""
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
    """Messages published within ``duration_s`` after all streams have warmed up."""
    first_s: dict[str, float] = {}
    end_s = time.monotonic() + 120
    begin_s = None
    while time.monotonic() < end_s:
        message = messages.receive(timeout_s=1.0)
        if daemon.poll() is not None:
            raise RuntimeError(f"masklet run ended with exit code {daemon.returncode}")
        if not isinstance(message, FrameMessage):
            continue
        first_s.setdefault(message.header.stream_id, time.monotonic())
        if begin_s is None and len(first_s) == streams:
            begin_s = max(first_s.values()) + WARM_UP_S
            end_s = begin_s + duration_s
        if begin_s is not None and time.monotonic() >= begin_s:
            yield message
    if begin_s is None:
        raise RuntimeError(f"only {len(first_s)} of {streams} streams had frames within 120 s")


def _latency(passages: Sequence[Passage], servers: Sequence[RtspServer]) -> Latency:
    """Percentiles over the pictures of all streams, each counted from its push."""
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
    """Milliseconds from each picture's push until it was done.

    Media times give a picture's place in the series. The series begins at the push for which most
    pictures arrived just after their own.
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


def report(results: Sequence[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| streams | decoding alone p50 / p99 | published p50 / p99 | beyond decoding p50 / p99 "
        "| step | frames | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        dropped = {reason: count for reason, count in result["drops"].items() if count}
        pairs = " | ".join(
            f"{result[key]['p50_ms']:.1f} / {result[key]['p99_ms']:.1f} ms"
            for key in ("decoding", "published", "beyond_decoding")
        )
        lines.append(
            f"| {result['streams']} | {pairs} | {result['tracking_p50_ms']:.1f} ms | "
            f"{result['published']['frames']} of {result['expected_frames']} | "
            f"{', '.join(f'{count} {reason}' for reason, count in dropped.items()) or 'none'} |"
        )
    return (
        "\n".join(lines)
        + f"\n\n{results[0]['checkpoint']}, one object per stream, H.264 {WIDTH}x{HEIGHT} at "
        + f"{RATE_HZ} Hz over RTSP (TCP) on loopback, {results[0]['duration_s']:g} s; "
        + str(results[0]["machine"])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Decode only; prints picture times as JSON.")
    parser.add_argument("duration_s", type=float)
    parser.add_argument("urls", nargs="+")
    options = parser.parse_args()
    found = decode_alone(options.urls, options.duration_s)
    rows = [[p.stream, p.media_time_s, p.arrival_ns, p.done_ns] for p in found]
    sys.stdout.write(json.dumps(rows) + "\n")
