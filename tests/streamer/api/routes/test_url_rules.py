"""What a stream that is added over the API may connect to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamer.api.routes.url_rules import UrlRules
from streamer.api.server.problems import ProblemError
from streamer.config.network import ApiConfig
from streamer.config.streams import StreamConfig

SCHEMES = ApiConfig().url_schemes
ANSWERS = {
    "camera.example.org": ["93.184.215.14"],
    "inside.example.org": ["10.1.2.3"],
    "both.example.org": ["93.184.215.14", "169.254.169.254"],
    "loop.example.org": ["127.0.0.1"],
    "six.example.org": ["2606:4700::1111"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "nat64.example.org": ["64:ff9b::7f00:1"],
    "deep.er.example.org": ["93.184.215.14"],
    "example.org": ["93.184.215.14"],
}


def resolve(name: str) -> Sequence[str]:
    if name not in ANSWERS:
        raise OSError("no such name")
    return ANSWERS[name]


def rules(*hosts: str, schemes: Sequence[str] = SCHEMES) -> UrlRules:
    return UrlRules(schemes, hosts, resolve)


async def refusal(checked: UrlRules, url: str, **further: object) -> ProblemError | None:
    try:
        await checked.check_new({"url": url, **further})
    except ProblemError as problem:
        return problem
    return None


async def test_nothing_but_scenes_and_publishers_without_hosts() -> None:
    checked = rules()
    assert await refusal(checked, "synthetic://match?seed=1") is None
    assert await refusal(checked, "whip://") is None
    for url in ("rtsp://camera.example.org/1", "rtsp://10.1.2.3/1", "rtsp://localhost/1"):
        problem = await refusal(checked, url)
        assert problem is not None
        assert problem.status == 403
        assert "api.url_hosts" in problem.detail


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "relative.mp4",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "/dev/video0",
        "http://camera.example.org/x.m3u8",
        "concat:/etc/passwd|/etc/shadow",
        "udp://:1234",
        "subfile,,start,0,end,9,,:/etc/passwd",
    ],
)
async def test_files_devices_and_other_schemes_are_refused(url: str) -> None:
    problem = await refusal(rules("camera.example.org"), url)
    assert problem is not None
    assert problem.status == 403
    assert "api.url_schemes" in problem.detail


async def test_files_may_be_allowed() -> None:
    checked = rules(schemes=["file"])
    assert await refusal(checked, "/srv/film.mp4") is None
    assert await refusal(checked, "file:///srv/film.mp4") is None


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (["camera.example.org"], "rtsp://camera.example.org/1"),
        (["camera.example.org"], "RTSP://Camera.Example.ORG:8554/1"),
        (["camera.example.org"], "rtsp://camera.example.org./1"),
        (["camera.example.org"], "rtsp://user:p%40ss@camera.example.org/1"),
        (["*.example.org"], "rtsp://camera.example.org"),
        (["*.example.org"], "rtsp://deep.er.example.org"),
        (["six.example.org"], "rtsp://six.example.org/1"),
        (["10.0.0.0/8"], "rtsp://10.1.2.3:554/1"),
        (["10.1.2.3"], "rtsp://10.1.2.3/1"),
        (["inside.example.org", "10.0.0.0/8"], "rtsp://inside.example.org/1"),
        (["fd00::/8"], "rtsp://[fd00::7]:8554/1"),
        (["127.0.0.0/8"], "rtsp://[::ffff:127.0.0.1]/1"),
        (["fe80::/10"], "rtsp://[fe80::1%25eth0]/1"),
    ],
)
async def test_listed_hosts_are_allowed(hosts: list[str], url: str) -> None:
    assert await refusal(rules(*hosts), url) is None


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (["camera.example.org"], "rtsp://camera.example.org.evil.example/1"),
        (["camera.example.org"], "rtsp://evil.camera.example.org/1"),
        (["*.example.org"], "rtsp://example.org/1"),
        (["*.example.org"], "rtsp://badexample.org/1"),
        (["10.0.0.0/8"], "rtsp://11.1.2.3/1"),
        (["10.0.0.0/8"], "rtsp://inside.example.org/1"),  # a name is never listed by its address
        (["camera.example.org"], "rtsp://camera.еxample.org/1"),  # a Cyrillic letter
        (["10.0.0.0/8"], "rtsp://[fe80::1%25eth0]/1"),
        (["camera.example.org"], "rtsp://camera.example.org@10.1.2.3/1"),
        (["camera.example.org"], "rtsp://camera.example.org:x@10.1.2.3/1"),
        (["inside.example.org"], "rtsp://inside.example.org/1"),
        (["both.example.org"], "rtsp://both.example.org/1"),
        (["loop.example.org"], "rtsp://loop.example.org/1"),
        (["mapped.example.org"], "rtsp://mapped.example.org/1"),
        (["nat64.example.org"], "rtsp://nat64.example.org/1"),
    ],
)
async def test_other_hosts_are_refused(hosts: list[str], url: str) -> None:
    problem = await refusal(rules(*hosts), url)
    assert problem is not None
    assert problem.status == 403
    assert "/url" in problem.detail


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://evil.example\\@camera.example.org/1",
        "rtsp://camera.example.org /1",
        "rtsp://camera.example.org\n/1",
        "rtsp://camera.example.org\r\nHost: evil/1",
        "rtsp://camera.example.org%00.evil.example/1",
        "rtsp://camera.example.org:port/1",
        "rtsp://camera.example.org:٣/1",
        "rtsp://167838211/1",  # an address as one number
        "rtsp://0x0a.1.2.3/1",
        "gopher://camera.example.org/",
        "rtsp:/etc/passwd",
        "://camera.example.org",
        "rtsp://camera.example.org:1?x@10.1.2.3/1",
        "rtsp://camera.example.org#x@10.1.2.3/1",
        "rtsp:///1",
        "rtsp://",
        "rtsp://[::1/1",
        "rtsp://camera.example.org|/etc/passwd",
    ],
)
async def test_what_programs_read_differently_is_refused(url: str) -> None:
    problem = await refusal(rules("camera.example.org", "::1", "fe80::/10"), url)
    assert problem is not None
    assert problem.status == 422


async def test_name_without_an_address_is_reported() -> None:
    problem = await refusal(rules("nowhere.example.org"), "rtsp://nowhere.example.org/1")
    assert problem is not None
    assert problem.status == 422
    assert "no address" in problem.detail


@pytest.mark.parametrize(
    "options",
    [
        {"protocol_whitelist": "file,tcp"},
        {"http_proxy": "http://10.0.0.1"},
        {"ca_file": "/etc/passwd"},
        {"rtsp_flags": "listen"},
        {"listen": "1"},
        {"allowed_extensions": "ALL"},
        {"headers": "X: y"},
        {"buffer_size": "1\r\nX: y"},
        {"fflags": "a/b"},
        {"flags": ""},
        {"tls_verify": "0"},
        {"buffer_size": "999999999"},
        {"probesize": "31"},
        {"probesize": "1e3"},
        {"analyzeduration": "-1"},
        {"reorder_queue_size": "٣"},
        {"fflags": "nobuffer,genpts"},
        {"rtsp_transport": "tcp+http"},
    ],
)
async def test_options_that_lead_elsewhere_are_refused(options: dict[str, str]) -> None:
    problem = await refusal(rules(), "synthetic://match", options=options)
    assert problem is not None
    assert problem.status == 403
    assert "/options" in problem.detail


async def test_harmless_options_are_allowed() -> None:
    options = {"buffer_size": "1048576", "fflags": "+nobuffer-genpts", "tls_verify": "1"}
    assert await refusal(rules(), "synthetic://match", options=options) is None


async def test_stream_with_a_credential_keeps_its_host() -> None:
    checked = rules("camera.example.org", "six.example.org")
    config = StreamConfig(url="rtsp://camera.example.org/1", password_env="CAMERA_PASSWORD")
    await checked.check_change(config, {"url": "rtsp://camera.example.org/2"})
    await checked.check_change(config, {"max_rate_hz": 5})
    for url in ("rtsp://six.example.org/1", "rtsp://camera.example.org:81/1", "whip://"):
        with pytest.raises(ProblemError, match="password_env") as raised:
            await checked.check_change(config, {"url": url})
        assert raised.value.status == 403
    plain = StreamConfig(url="rtsp://camera.example.org/1")
    await checked.check_change(plain, {"url": "rtsp://six.example.org/1"})
    with pytest.raises(ProblemError, match="url_hosts"):
        await checked.check_change(plain, {"url": "rtsp://10.0.0.1/1"})
    with pytest.raises(ProblemError, match="protocol_whitelist"):
        await checked.check_change(plain, {"options": {"protocol_whitelist": "file"}})


async def test_change_of_options_leaves_those_that_the_api_may_not_set() -> None:
    checked = rules("camera.example.org", "six.example.org")
    kept = {"tls_verify": "1", "ca_file": "/ca.pem"}
    config = StreamConfig(
        url="rtsps://camera.example.org/1", options={**kept, "buffer_size": "65536"}
    )
    for options, expected in (
        ({}, kept),
        ({"probesize": "32"}, {**kept, "probesize": "32"}),
        ({"tls_verify": "1"}, kept),
    ):
        assert await checked.check_change(config, {"options": options}) == {"options": expected}
    for options in ({"tls_verify": "0"}, {"ca_file": "/mine.pem"}):
        with pytest.raises(ProblemError):
            await checked.check_change(config, {"options": options})


async def test_secrets_among_the_options_stay_with_their_host() -> None:
    checked = rules("camera.example.org", "six.example.org")
    config = StreamConfig(url="rtsp://camera.example.org", options={"headers": "X-Key: s3cr3t"})
    with pytest.raises(ProblemError, match=r"options\.headers") as raised:
        await checked.check_change(config, {"url": "rtsp://six.example.org"})
    assert "s3cr3t" not in raised.value.detail
    # Two spellings of one place.
    await checked.check_change(config, {"url": "RTSP://Camera.Example.ORG.:554/2"})


@pytest.mark.parametrize("url", ["srt://{}:9?mode=listener", "tcp://{}:9?listen=1", "udp://:9"])
async def test_parameters_that_open_ports_are_refused(url: str) -> None:
    checked = rules("camera.example.org", schemes=["srt", "tcp", "udp"])
    assert await refusal(checked, url.format("camera.example.org")) is not None
    assert await refusal(checked, "srt://camera.example.org:9?streamid=read:gate") is None
