"""Paths in settings start where they were typed: in the caller's folder, or beside the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config.loading import load_config
from streamer.config.paths import absolute_url
from streamer.errors import ConfigError
from streamer.runtime.address import Address

FILE = """\
streams:
  gate: {url: clips/gate.mp4, password_file: pw, objects: [{id: 1, mask_file: door.png}]}
  yard: {url: "rtsp://camera/yard", options: {ca_file: ca.pem, user_agent: ca.pem}}
  home: {url: "~/clip.mp4"}
  named: {url: "file:clips/a%20b.mp4"}
  env: {url: "${oc.env:CLIP}"}
model: {checkpoint: mine.pt}
starter: {kind: torchvision, weights: detector.pth}
api:
  tokens: [{name: me, scopes: [read], token_file: me.token}]
  tls_certificate: tls/cert.pem
  tls_key: /etc/tls/key.pem
webrtc: {ice_servers: [{url: "turn:t", username: u, password_file: turn.pw}]}
zeromq: {endpoint: "ipc://results.sock", server_key_file: keys/s.key_secret}
control: {endpoint: "ipc://control.sock"}
state_directory: state
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the configuration file; the caller stands in another."""
    for name in ("beside", "caller", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "beside" / "masklet.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path / "caller")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLIP", "from-environment.mp4")
    return tmp_path / "beside"


def test_paths_of_a_file_start_beside_it(beside: Path) -> None:
    config = load_config("../beside/masklet.yaml")
    at = f"{Path.cwd()}/../beside"
    gate, yard = config.streams["gate"], config.streams["yard"]
    assert (gate.url.text, gate.password_file) == (f"{at}/clips/gate.mp4", f"{at}/pw")
    assert gate.objects[0].mask_file == f"{at}/door.png"
    assert yard.url.text == "rtsp://camera/yard"
    assert yard.options == {"ca_file": f"{at}/ca.pem", "user_agent": "ca.pem"}
    assert config.streams["home"].url.text == str(beside.parent / "home" / "clip.mp4")
    assert config.streams["named"].url.text == f"{at}/clips/a b.mp4"
    assert config.streams["env"].url.text == f"{at}/from-environment.mp4"
    assert config.model.checkpoint == f"{at}/mine.pt"
    assert config.starter.weights == f"{at}/detector.pth"
    assert config.api.tokens[0].token_file == f"{at}/me.token"
    assert (config.api.tls_certificate, config.api.tls_key) == (
        f"{at}/tls/cert.pem",
        "/etc/tls/key.pem",
    )
    assert config.webrtc.ice_servers[0].password_file == f"{at}/turn.pw"
    assert config.zeromq.endpoint == f"ipc://{at}/results.sock"
    assert config.zeromq.server_key_file == f"{at}/keys/s.key_secret"
    assert config.control.endpoint == f"ipc://{at}/control.sock"
    assert config.state_directory == f"{at}/state"


def test_typed_paths_start_in_the_callers_folder(beside: Path) -> None:
    config = load_config(
        str(beside / "masklet.yaml"),
        [
            "streams.gate.password_file=pw",  # as in the file, but typed here
            "streams.gate.objects=[{id:1,mask_file:door.png}]",
            "streams.new.url=a.mp4",
            "model.checkpoint=../mine.pt",
            "state_directory=state",
            "api.tokens=[{name:me,scopes:[read],token_file:me.token}]",
        ],
        ["yard=b=c.mp4", "tilde=~/x.mp4"],
    )
    here = Path.cwd()
    assert config.streams["gate"].url.text == f"{beside}/clips/gate.mp4"
    assert config.streams["gate"].password_file == f"{here}/pw"
    assert config.streams["gate"].objects[0].mask_file == f"{here}/door.png"
    assert config.streams["new"].url.text == f"{here}/a.mp4"
    assert config.streams["yard"].url.text == f"{here}/b=c.mp4"
    assert config.streams["yard"].options["ca_file"] == f"{beside}/ca.pem"
    assert config.streams["tilde"].url.text == str(beside.parent / "home" / "x.mp4")
    assert config.model.checkpoint == f"{here}/../mine.pt"
    assert config.state_directory == f"{here}/state"
    assert config.api.tokens[0].token_file == f"{here}/me.token"


def test_names_that_are_no_paths_stay(beside: Path) -> None:
    config = load_config(
        None,
        ["model.checkpoint=sam2.1_hiera_small", "zeromq.endpoint=ipc://@results"],
        ["m=whip://"],
    )
    assert config.model.checkpoint == "sam2.1_hiera_small"
    assert config.zeromq.endpoint == "ipc://@results"
    assert config.streams["m"].url.text == "whip://"
    assert config.state_directory == "auto"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("clip.mp4", "clip.mp4"),
        (" a b#?.mp4 ", "a b#?.mp4"),
        ("/dev/video0", "/dev/video0"),
        ("file:///a%20b/c%23d.mp4", "/a b/c#d.mp4"),
        ("FILE://localhost/clip.mp4", "/clip.mp4"),
        ("file://clip.mp4", "clip.mp4"),
        ("file:clip.mp4", "clip.mp4"),
        ("file://~/clip.mp4", "~/clip.mp4"),
        ("100%.mp4", "100%.mp4"),
        ("rtsp://camera/live", None),
        ("synthetic://match", None),
    ],
)
def test_a_url_names_a_path_or_not(url: str, path: str | None) -> None:
    address = Address.parse(url)
    assert (address.path if address.scheme == "file" else None) == path


def test_an_absolute_url_stays_as_typed() -> None:
    for url in ("/a/b.mp4", "file:///a%20b.mp4", "rtsp://u:p@h/x/../y"):
        assert absolute_url(url, Path("/here")) == url
    assert absolute_url("./ü=x.mp4", Path("/here")) == "/here/ü=x.mp4"
    assert absolute_url("./~ann.mp4", Path("/here")) == "/here/~ann.mp4"


def test_a_path_that_cannot_be_made_absolute_is_refused_with_its_key(beside: Path) -> None:
    with pytest.raises(ConfigError, match=r"^streams\.a\.url begins with '~nobody-of-that-name'"):
        load_config(None, (), ["a=~nobody-of-that-name/x.mp4"])


def test_a_removed_working_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working folder cannot be used .* cd into another"):
        load_config(None, (), ["a=/clips/a.mp4"])
