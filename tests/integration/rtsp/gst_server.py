"""The RTSP server itself: GStreamer's ``gst-rtsp-server``, run by the system's Python.

Started by ``server.py``; it knows nothing of Masklet. A clip is read once into access units, and
then pushed in a loop in real time, with continuing presentation times, to every client: nothing
is encoded while it runs, and the moment at which a picture left is known exactly. Prints
``ready PORT`` when it listens and, with ``--report``, ``push INDEX UNIX_NS`` for each picture.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstPbutils", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstPbutils, GstRtsp, GstRtspServer  # noqa: E402

# Per codec: the parser that yields whole access units, their caps, and the RTP payloader.
CODECS = {
    "h264": (
        "h264parse config-interval=-1",
        "video/x-h264,stream-format=byte-stream,alignment=au",
        "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    ),
    "h265": (
        "h265parse config-interval=-1",
        "video/x-h265,stream-format=byte-stream,alignment=au",
        "rtph265pay config-interval=-1 aggregate-mode=zero-latency",
    ),
    "mjpeg": ("jpegparse", "image/jpeg", "rtpjpegpay"),
}
# Several slices with config-interval=-1 are cut into two access units: one slice a picture.
ENCODERS = {
    "h264": "x264enc tune=zerolatency threads=1 option-string=slices=1:sliced-threads=0 "
    "bitrate=1500 key-int-max={rate}",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={rate}",
    "mjpeg": "jpegenc",
}


@dataclass(frozen=True)
class AccessUnit:
    """One coded picture and when it is shown and sent, in nanoseconds from the clip's start."""

    data: bytes
    pts_ns: int
    dts_ns: int
    is_keyframe: bool


@dataclass(frozen=True)
class Track:
    """Every access unit of one medium, its caps, its length, and what packs it into RTP."""

    units: list[AccessUnit]
    caps: str
    duration_ns: int
    pipeline: str
    is_video: bool


def main() -> None:
    """Serve until killed, or until stdin closes when ``--exit-with-stdin`` is given."""
    arguments = parse_arguments()
    Gst.init(None)
    tracks = [] if arguments.no_video else [read_video(arguments)]
    if arguments.audio or arguments.no_video:
        tracks.append(silence())
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=str(arguments.port))
    factory = make_factory(tracks, arguments.report)
    if arguments.auth != "none" or arguments.tls_pem:
        server.set_auth(make_auth(arguments, factory))
    server.get_mount_points().add_factory(arguments.path, factory)
    # attach() also succeeds on a port that another process holds; check the bound port.
    if not server.attach(None) or server.get_bound_port() <= 0:
        sys.exit(f"port {arguments.port} cannot be bound")
    loop = GLib.MainLoop()
    if arguments.exit_with_stdin:
        GLib.io_add_watch(sys.stdin, GLib.IO_HUP, lambda *_: loop.quit())
    report("ready", server.get_bound_port())
    loop.run()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a clip in a loop over RTSP (loopback).")
    parser.add_argument("--file", help="clip to serve; without it a test pattern")
    parser.add_argument("--codec", choices=list(CODECS), default="h264", help="of the pattern")
    parser.add_argument("--width", type=int, default=320, help="of the test pattern")
    parser.add_argument("--height", type=int, default=240, help="of the test pattern")
    parser.add_argument("--rate", type=int, default=25, help="of the test pattern, in Hz")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--path", default="/live")
    parser.add_argument("--auth", choices=["none", "basic", "digest"], default="none")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--tls-pem", help="certificate and key: serve rtsps://")
    parser.add_argument("--audio", action="store_true", help="silence beside the video")
    parser.add_argument("--no-video", action="store_true", help="the silence alone")
    parser.add_argument("--report", action="store_true", help="print when each picture is sent")
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args()


def report(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def find_codec(file: str) -> str:
    """The codec of the file's first video stream."""
    discoverer = GstPbutils.Discoverer.new(10 * Gst.SECOND)
    try:
        videos = discoverer.discover_uri(Path(file).resolve().as_uri()).get_video_streams()
    except GLib.Error as error:
        sys.exit(f"{file} cannot be read: {error.message}")
    media_type = videos[0].get_caps().get_structure(0).get_name() if videos else "no video"
    for codec, (_, caps, _) in CODECS.items():
        if caps.startswith(media_type):
            return codec
    sys.exit(f"{file} holds {media_type}; one of {', '.join(CODECS)} can be served")


def read_video(arguments: argparse.Namespace) -> Track:
    """Every access unit of the file, or of two seconds of GStreamer's moving ball."""
    codec = find_codec(arguments.file) if arguments.file else arguments.codec
    parser, caps, payloader = CODECS[codec]
    if arguments.file:
        origin = f'filesrc location="{arguments.file}" ! parsebin'
    else:
        origin = (
            f"videotestsrc pattern=ball num-buffers={2 * arguments.rate} ! video/x-raw,"
            f"format=I420,width={arguments.width},height={arguments.height},"
            f"framerate={arguments.rate}/1 ! {ENCODERS[codec]}"
        ).format(rate=arguments.rate)
    pipeline = Gst.parse_launch(f"{origin} ! {parser} ! {caps} ! appsink name=sink sync=false")
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    units: list[AccessUnit] = []
    used_caps = caps
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        used_caps = sample.get_caps().to_string()
        dts = buffer.dts if buffer.dts != Gst.CLOCK_TIME_NONE else buffer.pts
        units.append(
            AccessUnit(
                data=buffer.extract_dup(0, buffer.get_size()),
                pts_ns=buffer.pts,
                dts_ns=dts,
                is_keyframe=not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT),
            )
        )
    pipeline.set_state(Gst.State.NULL)
    if not units:
        sys.exit("no picture came out of the clip")
    first_ns = units[0].dts_ns
    units = [
        AccessUnit(unit.data, unit.pts_ns - first_ns, unit.dts_ns - first_ns, unit.is_keyframe)
        for unit in units
    ]
    # The last picture is shown as long as the others were on average.
    shown_ns = sorted(unit.pts_ns for unit in units)
    intervals = max(1, len(units) - 1)
    duration_ns = (shown_ns[-1] - shown_ns[0]) * len(units) // intervals
    return Track(
        units=units,
        caps=used_caps,
        duration_ns=duration_ns or Gst.SECOND,
        pipeline=f"{parser} ! {caps} ! {payloader} pt=96",
        is_video=True,
    )


def silence() -> Track:
    """G.711 silence, 20 ms a packet.

    Pushed as the video is: beside a source that can seek, such as audiotestsrc, PLAY would seek
    and fail.
    """
    return Track(
        units=[AccessUnit(b"\xff" * 160, 0, 0, is_keyframe=True)],
        caps="audio/x-mulaw,rate=8000,channels=1",
        duration_ns=20 * Gst.MSECOND,
        pipeline="rtppcmupay pt=0",
        is_video=False,
    )


def make_factory(tracks: list[Track], wants_report: bool) -> GstRtspServer.RTSPMediaFactory:
    parts = []
    for index, track in enumerate(tracks):
        parts.append(
            f"appsrc name=source{index} is-live=true format=time max-buffers=64 "
            f"leaky-type=downstream ! {track.pipeline} name=pay{index}"
        )
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {' '.join(parts)} )")
    factory.set_shared(True)

    def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
        for index, track in enumerate(tracks):
            Pusher(media, f"source{index}", track, wants_report and track.is_video)

    factory.connect("media-configure", configure)
    return factory


class Pusher:
    """Feeds one track of a running media, in real time and for ever."""

    def __init__(
        self, media: GstRtspServer.RTSPMedia, source: str, track: Track, wants_report: bool
    ) -> None:
        self._track = track
        self._wants_report = wants_report
        self._stopped = threading.Event()
        self._source = media.get_element().get_by_name(source)
        self._source.set_property("caps", Gst.Caps.from_string(track.caps))
        thread = threading.Thread(target=self._push, name="pusher", daemon=True)
        self._source.connect("need-data", lambda *_: thread.is_alive() or self._start(thread))
        media.connect("unprepared", lambda _: self._stopped.set())

    def _start(self, thread: threading.Thread) -> None:
        if not self._stopped.is_set():
            thread.start()

    def _push(self) -> None:
        while self._source.get_clock() is None and not self._stopped.is_set():
            time.sleep(0.005)
        clock, base_time = self._source.get_clock(), self._source.get_base_time()
        start_ns = clock.get_time() - base_time
        for round_number in itertools.count():
            offset_ns = start_ns + round_number * self._track.duration_ns
            for index, unit in enumerate(self._track.units):
                due_ns = offset_ns + unit.dts_ns
                late_ns = clock.get_time() - base_time - due_ns
                if self._stopped.wait(max(0.0, -late_ns / 1e9)):
                    return
                buffer = Gst.Buffer.new_wrapped(unit.data)
                buffer.pts = offset_ns + unit.pts_ns
                buffer.dts = due_ns
                if not unit.is_keyframe:
                    buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
                sent_ns = time.time_ns()
                if self._source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return
                if self._wants_report:
                    report("push", index, sent_ns)


def make_auth(
    arguments: argparse.Namespace, factory: GstRtspServer.RTSPMediaFactory
) -> GstRtspServer.RTSPAuth:
    """Allow one user, by the chosen method; use TLS if a certificate is given."""
    auth = GstRtspServer.RTSPAuth()
    if arguments.tls_pem:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(arguments.tls_pem))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if arguments.auth == "none":
        auth.set_default_token(token)
    elif arguments.auth == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(arguments.user, arguments.password, token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        credentials = GstRtspServer.RTSPAuth.make_basic(arguments.user, arguments.password)
        auth.add_basic(credentials, token)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)
    return auth


if __name__ == "__main__":
    main()
