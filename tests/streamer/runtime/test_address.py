"""Every spelling of an address is understood in one way, or refused with what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamer.runtime.address import SCHEMES, Address, AddressError
from streamer.runtime.redaction import redact


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("RTSP://Cam.Example:0554/Live", "rtsp://cam.example:554/Live"),
        (" rtsp://cam/live\n", "rtsp://cam/live"),
        ("rtsp://cam./live", "rtsp://cam/live"),
        ("rtsp://cam:/live", "rtsp://cam/live"),
        ("rtsp://my_cam", "rtsp://my_cam"),
        ("rtsp://bücher.example/", "rtsp://xn--bcher-kva.example/"),
        ("rtsp://[FE80::0:1%25eth0]:554/", "rtsp://[fe80::1%eth0]:554/"),
        ("rtsp://[fe80::1%eth0]/", "rtsp://[fe80::1%eth0]/"),
        ("rtsp://ann@cam/", "rtsp://ann@cam/"),
        ("rtsp://ann:@cam/", "rtsp://ann:@cam/"),
        ("rtsp://:pw@cam/", "rtsp://:pw@cam/"),
        ("rtsp://@cam/", "rtsp://cam/"),
        ("rtsp://ann:p@ss:w@cam/", "rtsp://ann:p%40ss%3Aw@cam/"),
        ('rtsp://ann:{"ä}@cam/', "rtsp://ann:%7B%22%C3%A4%7D@cam/"),
        ("rtsp://ann:%E4@cam/", "rtsp://ann:%E4@cam/"),
        ("rtsp://127.0.0.1:1/live?t=a:b@c", "rtsp://127.0.0.1:1/live?t=a:b@c"),
        ("rtsp://cam:554/live?t=a:b@c", "rtsp://cam:554/live?t=a:b@c"),
        ("rtsp://ann:pw@cam.example/x@y?z@w", "rtsp://ann:pw@cam.example/x@y?z@w"),
        ("http://cam/é/../%41?x=ü", "http://cam/%C3%A9/../%41?x=%C3%BC"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("udp://:1234", "udp://:1234"),
        ("srt://cam:9?streamid=%23!::r=a", "srt://cam:9?streamid=%23!::r=a"),
        ("whip://", "whip://"),
        ("synthetic://match?seed=3", "synthetic://match?seed=3"),
        ("file:///a%20b#1?.mp4", "/a b#1?.mp4"),
        ("FILE://localhost/a.mp4", "/a.mp4"),
        ("file:rtsp://x", "./rtsp://x"),
        ("./rtsp://x", "./rtsp://x"),
        ("100% {a}.mp4", "100% {a}.mp4"),
        ("12:30.mp4", "12:30.mp4"),
        ("at@2x/clip.mp4", "at@2x/clip.mp4"),
        ("~/clip.mp4", "~/clip.mp4"),
        ("/dev/v4l/by-id/usb-cam-index0", "/dev/v4l/by-id/usb-cam-index0"),
    ],
)
def test_spellings_that_are_understood(text: str, url: str) -> None:
    assert Address.parse(text).url == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("rtsp://ann:pa#s3cret@cam/", "holds '#' before an '@': .* '#' must be written as %23"),
        ("rtsp://ann:pa?s3cret@cam/", "'?' must be written as %3F"),
        ("rtsp://ann:pa/s3cret@cam/", "'/' must be written as %2F"),
        ("rtsp://ann:12/s3cret@cam/", "'/' must be written as %2F"),
        ("rtsp://ann:12?s3cret@cam/", "'?' must be written as %3F"),
        ("rtsp://ann:p@1/s3cret@cam/", "'/' must be written as %2F"),
        ("rtsp://an/n:s3cret@cam/", "'/' must be written as %2F"),
        ("rtsp://127.0.0.2:1?x@127.0.0.1/", "'?' must be written as %3F"),
        ("rtsp://127.0.0.2#x@127.0.0.1/", "'#' must be written as %23"),
        ("rtsp://cam/live#t", "holds '#', .* write it as %23"),
        ("rtsp://ann:100%@cam/", "write '%' itself as %25"),
        ("rtsp://ann:%0d%0aX@cam/", "control character"),
        ("rtsp://cam/my live", "holds a space; write it as %20"),
        ("rtsp://cam/{x}", "holds '{'; write it as %7B"),
        ("rtsp://evil\\@cam/", "and %5C elsewhere"),
        ("rtsp://cam\u200b/", "holds U\\+200B \\(ZERO WIDTH SPACE\\)"),
        ("rtsp://cam/\x1b[31m", "holds U\\+001B"),
        ("rtsp://cam。example/", "holds '。' in its host; write '.'"),
        ("rtsp://cam%2eexample/", "holds '%' in its host"),
        ("rtsp://c*m/", "holds '\\*' in its host"),
        ("rtsp://cam..example/", "host name of at most"),
        ("rtsp://0x7f.1/", "IPv4 address as four numbers"),
        ("rtsp://2130706433/", "IPv4 address as four numbers"),
        ("rtsp://010.0.0.1/", "IPv4 address as four numbers"),
        ("rtsp://fe80::1/", "IPv6 address in brackets"),
        ("rtsp://[fe80::1]x/", "SCHEME://HOST:PORT/PATH"),
        ("rtsp://[fe80::1/", "SCHEME://HOST:PORT/PATH"),
        ("rtsp://[127.0.0.1]/", "SCHEME://HOST:PORT/PATH"),
        ("rtsp://cam:0/", "between 1 and 65535, got 0"),
        ("rtsp://cam:65536/", "between 1 and 65535, got 65536"),
        ("rtsp://cam:8٣/", "SCHEME://HOST:PORT/PATH"),
        ("rtsp:///live", "names no host"),
        ("udp://239.0.0.1", "names no port, and udp has no usual one"),
        ("rtsp+tls://cam/", "begins with 'rtsp\\+tls://'; did you mean rtsps://?"),
        ("rtsp:/cam/live", "must begin with a scheme and '://'"),
        ("10.0.0.9:554/live", "must begin with a scheme and '://'"),
        ("ann:s3cret@cam/live", "must begin with a scheme and '://'"),
        ("rtsp//cam/live", "must begin with a scheme and '://'"),
        ("rtsp\uff1a//cam/live", "must begin with a scheme and '://'"),
        ("url=rtsp://ann:s3cret@cam/live", "must begin with a scheme and '://'"),
        ("\u201crtsp://cam/live\u201d", r"begins with U\+201C \(LEFT DOUBLE QUOTATION MARK\)"),
        ("\ufeffrtsp://cam/live", r"begins with U\+FEFF \(ZERO WIDTH NO-BREAK SPACE\)"),
        ("rtsp://rtsp://cam/live", "begins with two schemes; remove rtsp://"),
        ("C:\\clips\\a.mp4", "path of Windows"),
        ("file://", "names no file"),
        ("/clips/a\nb.mp4", "holds U\\+000A"),
        ("whip://cam/live", "whip:// and nothing more"),
        (f"http://cam/{'x' * 5000}", "at most 4096 characters"),
        (f"http://cam/{'é' * 3000}", "at most 4096 characters"),
        ("/" + "x" * 5000, "at most 4096 characters"),
    ],
)
def test_what_is_wrong_is_named_and_how_to_write_it(text: str, message: str) -> None:
    with pytest.raises(AddressError, match=message) as raised:
        Address.parse(text)
    assert "s3cret" not in str(raised.value)


def test_places_are_compared_whatever_the_spelling() -> None:
    for text in ("rtsp://CAM./a", "rtsp://u:p@cam:554/b", "rtsp://cam"):
        assert Address.parse(text).place == ("rtsp", "cam", 554)
    assert Address.parse("rtsps://cam").place == ("rtsps", "cam", 322)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://token@cam/", "rtsp://***@cam/"),
        ("rtsp://cam/cam/realmonitor?channel=1&subtype=0", None),
        ("rtsp://cam/h264Preview_01_main", None),
        ("rtsp://cam/Streaming/Channels/101", None),
        ("rtsp://cam/user=a_password=S3_C_channel=1_stream=0.sdp",
         "rtsp://cam/user=***_password=***_channel=1_stream=0.sdp"),
        ("rtsp://cam/user=a&password=S3&channel=1", "rtsp://cam/user=***&password=***&channel=1"),
        ("rtsp://cam/user%3Da_password%3DS3", "rtsp://cam/***"),
        ("rtsp://cam/live;jwt=S3", "rtsp://cam/live;jwt=***"),
        ("http://cam/v?p%61ssword=S3", "http://cam/v?***=***"),
        ("http://cam/v?S3", "http://cam/v?***"),
        ("http://cam/v?next=http://u:S3@x/", "http://cam/v?next=***"),
        ("srt://cam:9?streamid=read:gate:u:S3&latency=9", "srt://cam:9?streamid=***&latency=9"),
        ("rtmp://cam/live/S3", "rtmp://cam/live/***"),
        ("rtsps://cam:7441/W4l3cVrPNHzN5JdvS3?enableSrtp", "rtsps://cam:7441/***?enableSrtp"),
        ("rtsp://cam/read:gate:u:S3", "rtsp://cam/***"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_what_may_be_a_secret(text: str, shown: str | None) -> None:
    address = Address.parse(text)
    assert str(address) == (shown or text)
    assert "S3" not in repr(address)
    assert redact(f"cannot open '{text}': no") == f"cannot open '{shown or text}': no"


_PIECES = [
    *(f"{scheme}://" for scheme in (*SCHEMES, "gopher")), ":", "/", "//", "@", "?", "#", "%",
    "%41", "%2F", "%00", "[", "]", "::1", "[::1]", "%25eth0", "127.0.0.1", "0x7f", "1", "65536",
    ".", "..", "cam", "ann", "=", "&", ";", "_", "\\", " ", "\n", "\0", "ä", "。", "\u200b",
    "\udc80", "*", "~",
]  # fmt: skip


@example("file://ärtsp://")
@example("synthetic://rtsp://")
@example("synthetic://@")
@example("file:// :")
@given(st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=9).map("".join))
@settings(max_examples=400, derandomize=True)
def test_any_text_is_refused_or_means_the_same_however_it_is_written(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(address.text) == address
    if address.scheme != "file":
        assert address.text.isascii()
        # What is shown is an address too: it may pass through redaction again.
        assert redact(str(address)) == str(address)


@example(("-", "/"), "cam")
@example(("-", "/?"), "cam")
@example(("Z/?", ""), "cam")
@given(
    st.tuples(*(st.text("abZ19@:/?#%&=+ '\"\\ä_.-", max_size=8) for _ in range(2))),
    st.sampled_from(["cam", "10.0.0.9", "[::1]", "cam:554"]),
)
@settings(max_examples=200, derandomize=True)
def test_no_part_of_an_unencoded_password_is_shown_or_taken_for_a_host(
    userinfo: tuple[str, str], host: str
) -> None:
    text = f"rtsp://{userinfo[0]}:{userinfo[1]}@{host}/live"
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert address.host in ("cam", "10.0.0.9", "::1")
    assert address.path == "/live"
