"""The publishers of docs/publishers.md that run here, against the daemon over HTTP."""

from __future__ import annotations

import asyncio
import datetime
import sys
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streamer.app import App
from streamer.config.streams import StreamConfig
from tests.integration.test_live_path import running, settings, until
from tests.streamer.fakes import FakeTracker, RecordingSink
from tests.streamer.webrtc.numbered_scene import draw, read_number

ROOT = Path(__file__).parents[2]
WHIP_PATH = "/v1/streams/cam1/whip"


def daemon(folder: Path, sink: RecordingSink) -> App:
    config = settings(folder, cam1=StreamConfig(url="whip://"))
    config = config.changed(state_directory="none")
    return App(config, tracker=FakeTracker(), further_sinks=[sink])  # type: ignore[arg-type]


def numbers(sink: RecordingSink) -> list[int]:
    return [read_number(each.frame.picture.pixels.rgb()) for each in sink.published.results("cam1")]


async def run(app: App, sink: RecordingSink, script: Path, *arguments: str) -> None:
    """Run a publisher until it ends by itself; its frames must have come, and in order."""
    assert app.endpoints.api is not None
    url = app.endpoints.api.rstrip("/") + WHIP_PATH
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), url, *arguments, env={"PYTHONPATH": str(ROOT)}
    )
    try:
        await until(lambda: len(numbers(sink)) >= 20 or process.returncode is not None)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    seen = numbers(sink)
    assert len(seen) >= 20
    assert seen == sorted(seen)
    await until(lambda: app.streams.statuses()[0].reason == "ended")


async def test_example_with_aiortc_publishes_a_file(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(90):
            frame = av.VideoFrame.from_ndarray(draw(number, 320, 240), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sink = RecordingSink()
    async with running(daemon(tmp_path, sink)) as app:
        await run(app, sink, ROOT / "deploy" / "examples" / "publish_whip.py", str(clip))


async def test_ffmpeg_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    sink = RecordingSink()
    certificate_file, key_file = certificate(tmp_path)
    async with running(daemon(tmp_path, sink)) as app:
        script = Path(__file__).with_name("ffmpeg_publisher.py")
        await run(app, sink, script, str(certificate_file), str(key_file), "90")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of the curve P-256: FFmpeg makes itself one that OpenSSL refuses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ffmpeg")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
