"""The tracks of a session description, and the names under which they are set up."""

from __future__ import annotations

import pytest

from streamer.sources.rtsp.description import parse_description

BASE = "rtsp://cam:554/live?channel=1"


def lines(*each: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=x", "t=0 0", *each, ""]).encode()


@pytest.mark.parametrize(
    ("control", "uri"),
    [
        ("trackID=1", f"{BASE}/trackID=1"),
        ("rtsp://10.0.0.5/other/track", "rtsp://10.0.0.5/other/track"),
        ("*", BASE),
        ("", BASE),
        ("track:1", f"{BASE}/track:1"),
    ],
)
def test_names_of_tracks_are_resolved_as_ffmpeg_does(control: str, uri: str) -> None:
    found = parse_description(lines("m=video 0 RTP/AVP 96", f"a=control:{control}"), BASE)
    assert found.uri == BASE
    assert [track.uri for track in found.videos] == [uri]


def test_a_session_with_an_address_of_its_own() -> None:
    found = parse_description(
        lines("a=control:rtsp://cam/session/", "m=video 0 RTP/AVP 96", "a=control:1"), BASE
    )
    assert found.uri == "rtsp://cam/session/"
    assert found.videos[0].uri == "rtsp://cam/session/1"


def test_only_what_a_camera_sends_is_set_up_and_its_own_video_first() -> None:
    found = parse_description(
        lines(
            "m=video 0 RTP/AVP 97", "a=rtpmap:97 H264/90000", "a=sendonly", "a=control:back",
            "m=audio 0 RTP/AVP 0", "a=control:sound",
            "m=audio 0 RTP/AVP 0", "a=sendonly", "a=control:talk",
            "m=video 0 RTP/AVP 26", "a=control:front",
        ),
        BASE,
    )  # fmt: skip
    assert [track.control for track in found.videos] == ["front", "back"]
    assert [track.control for track in found.others] == ["sound"]
    assert str(found.videos[0]) == "video JPEG (front)"
    text = found.only(found.videos[0], "video").decode()
    assert text.count("m=") == text.count("a=control:") == 1
    assert text.endswith("m=video 0 RTP/AVP 26\r\na=control:video\r\n")


def test_descriptions_that_describe_nothing() -> None:
    for body in (b"", b"\xff\xfe", b"m=", lines("m=audio 0 RTP/AVP 0")):
        assert parse_description(body, BASE).videos == []
