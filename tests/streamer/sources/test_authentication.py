"""Digest and Basic: the examples of RFC 7616, and how cameras write their challenges."""

from __future__ import annotations

import pytest

from streamer.runtime.credentials import Credentials
from streamer.sources.authentication import Login, challenges

# RFC 7616, section 3.9.1.
_RFC = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
_CLIENT_NONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def login() -> Login:
    return Login(Credentials("Mufasa", "Circle of Life"), lambda: _CLIENT_NONCE)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_examples_of_rfc_7616(algorithm: str, response: str) -> None:
    own = login()
    assert own.field("GET", "/dir/index.html") is None
    assert own.accept(challenges([_RFC.format(algorithm)]))
    assert own.field("GET", "/dir/index.html") == (
        'Digest username="Mufasa", realm="http-auth@example.org", '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
        f'response="{response}", algorithm={algorithm}, qop=auth, nc=00000001, '
        f'cnonce="{_CLIENT_NONCE}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    assert "nc=00000002" in (own.field("GET", "/dir/index.html") or "")


def test_example_of_rfc_2069() -> None:
    """With the response of its erratum 749."""
    own = Login(Credentials("Mufasa", "CircleOfLife"))
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    own.accept(challenges([f'Digest realm="testrealm@host.com", nonce="{nonce}"']))
    field = own.field("GET", "/dir/index.html") or ""
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in field
    assert "algorithm" not in field
    assert "cnonce" not in field


def test_basic() -> None:
    own = Login(Credentials("Aladdin", "open sesame"))  # RFC 7617, section 2
    assert own.accept(challenges(['basic realm="WallyWorld"']))
    assert own.field("DESCRIBE", "rtsp://cam/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("headers", "way"),
    [
        (['Digest realm="x", nonce="1", algorithm=MD5', _RFC.format("SHA-256")], "Digest SHA-256"),
        ([_RFC.format("SHA-256"), 'Digest realm="x", nonce="1", algorithm=MD5'], "Digest SHA-256"),
        (['Basic realm="a, b", Digest realm="x", nonce="1", algorithm="sha256"'], "Digest sha256"),
        (['Digest realm="x", nonce="1", algorithm=MD5-sess, Basic realm="y"'], "Digest MD5-sess"),
        (['Digest nonce="1",realm=IP Camera(1),algorithm=MD5'], "Digest MD5"),
        (['Digest realm="x", nonce="1", algorithm=SHA-999', 'Basic realm="x"'], "Basic"),
        (['Digest realm="x", nonce="1", qop="auth-conf"', 'Basic realm="x"'], "Basic"),
        (['Digest realm="no nonce"', "Negotiate", 'Basic realm="x"'], "Basic"),
    ],
)
def test_the_strongest_known_way_is_used(headers: list[str], way: str) -> None:
    offered = challenges(headers)
    own = login()
    assert own.accept(offered)
    field = own.field("DESCRIBE", "rtsp://cam/live") or ""
    scheme, _, algorithm = way.partition(" ")
    assert field.startswith(f"{scheme} ")
    if algorithm:
        assert f"algorithm={algorithm}" in field or f'algorithm="{algorithm}"' in field
    assert way in [each.way for each in offered]


@pytest.mark.parametrize("header", ["", "Negotiate", "Bearer token", 'Digest realm="x"', ',,,="'])
def test_unknown_ways_are_not_answered(header: str) -> None:
    own = login()
    assert not own.accept(challenges([header]))
    assert own.field("DESCRIBE", "rtsp://cam/live") is None


def test_a_wrong_password_is_given_once_and_an_expired_nonce_is_replaced() -> None:
    def challenge(nonce: str, more: str = "") -> str:
        return f'Digest realm="x", nonce="{nonce}"{more}'

    own = login()
    assert own.accept(challenges([challenge("1")]))
    assert not own.accept(challenges([challenge("2")])), "refused: it may lock the user out"
    assert own.accept(challenges([challenge("3", ", stale=TRUE")]))
    assert not own.accept(challenges([challenge("3", ", stale=true")])), "no other nonce"
    own.worked()
    assert own.accept(challenges([challenge("4")])), "a nonce for one request only"
    assert 'nonce="4"' in (own.field("PLAY", "rtsp://cam/live") or "")


def test_names_with_quotes_and_hashed_names() -> None:
    own = Login(Credentials('a"b\\c', "pw"))
    own.accept(challenges(['Digest realm="x", nonce="1"']))
    assert r'username="a\"b\\c"' in (own.field("PLAY", "rtsp://cam/") or "")
    own = Login(Credentials("ann", "pw"))
    own.accept(challenges(['Digest realm="x", nonce="1", userhash=true, algorithm=SHA-256']))
    field = own.field("PLAY", "rtsp://cam/") or ""
    assert "ann" not in field
    assert "userhash=true" in field
