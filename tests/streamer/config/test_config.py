"""The configuration: refused values with their messages, precedence, and the shipped files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from streamer.config.control_endpoint import default_control_endpoint
from streamer.config.loading import load_config, load_config_in_part
from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.config.schema import MaskletConfig, TrackingConfig
from streamer.config.shipped import config_groups, configs_directory
from streamer.config.state_folder import state_folder
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from tracker.config import PRESETS

CAMERA = "gate=rtsp://camera/1"


def refusal(tmp_path: Path, yaml_text: str = "", *overrides: str, streams: Any = ()) -> str:
    """The error message of this configuration."""
    file = tmp_path / "masklet.yaml"
    file.write_text(yaml_text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(file), overrides, streams)
    return str(caught.value)


BAD_VALUES = {
    # unknown keys
    "trackin.max_objects=3": (
        "trackin is not a setting; did you mean tracking? (known here: streams, model, tracking, "
        "overload, zeromq, metrics, control, api, webrtc, picture, history, starter, "
        "state_directory, log, max_batch_wait_ms, heartbeat_s, status_s, shutdown_timeout_s)"
    ),
    "tracking.max_object=3": (
        "tracking.max_object is not a setting; did you mean max_objects? (known here: "
        f"{', '.join(TrackingConfig.model_fields)})"
    ),
    "metrics.colour=red": ("metrics.colour is not a setting (known here: enabled, host, port)"),
    "+log.file=x": "log.file is not a setting (known here: format, level)",
    # wrong types
    "tracking.max_objects=many": "tracking.max_objects must be a whole number, got 'many'",
    "tracking.max_objects=3.5": "tracking.max_objects must be a whole number, got 3.5",
    "tracking.max_objects=true": "tracking.max_objects must be a whole number, got true",
    "tracking.max_objects=null": "tracking.max_objects must be a whole number, got nothing",
    "tracking.non_overlap=yes_please": (
        "tracking.non_overlap must be true or false, got 'yes_please'"
    ),
    "heartbeat_s=soon": "heartbeat_s must be a finite number, got 'soon'",
    "heartbeat_s=nan": "heartbeat_s must be a finite number, got nan",
    "heartbeat_s=[1]": "heartbeat_s must be a finite number, got [1]",
    "metrics=off": "metrics must be a mapping, got 'off'",
    "streams=[]": "streams must be a mapping, got []",
    "streams=rtsp": "streams must be a mapping, got 'rtsp'",
    "streams.gate=rtsp": "streams.gate must be a mapping, got 'rtsp'",
    "streams.gate.objects={}": "streams.gate.objects must be a list, got a mapping",
    "streams.gate.username_env=7": (
        "streams.gate.username_env must be text, got 7 (put it in quotes)"
    ),
    "streams.gate.options.rtbufsize=5": (
        "streams.gate.options.rtbufsize must be text, got 5 (put it in quotes)"
    ),
    "streams.gate.objects=[{id:1,label:7,box:[0,0,9,9]}]": (
        "streams.gate.objects[0].label must be text, got 7 (put it in quotes)"
    ),
    # impossible values
    "streams.gate.max_objects=640": "streams.gate.max_objects must be between 1 and 64, got 640",
    "streams.gate.priority=10": "streams.gate.priority must be between 0 and 9, got 10",
    "model.prepare_ahead=yes": (
        "model.prepare_ahead must be one of auto, always, never, got 'yes'"
    ),
    "model.engine.image_size=8": "model.engine.image_size must be between 64 and 4096, got 8",
    "overload.policy=none": (
        "overload.policy must be one of newest, lower_rate, priority_first, smaller_image, "
        "got 'none'"
    ),
    "overload.floor_hz=0": "overload.floor_hz must be between 0.01 and 30, got 0",
    "overload.step_ms=0": "overload.step_ms must be between 1 and 10000, got 0",
    "overload.image_sizes=[200]": (
        "overload.image_sizes must be multiples of 32 from 64 on, got [200]"
    ),
    "overload.image_sizes=[128,192]": "overload.image_sizes must descend, got [128, 192]",
    "overload.image_sizes=[1024,128]": (
        "overload.image_sizes must be below the 1024 pixels that the model takes, got 1024"
    ),
    "streams.gate.max_objects=0": "streams.gate.max_objects must be between 1 and 64, got 0",
    "streams.gate.transport=pigeon": (
        "streams.gate.transport must be one of tcp, udp, got 'pigeon'"
    ),
    "streams.gate.read_timeout_s=0": (
        "streams.gate.read_timeout_s must be between 0.1 and 300, got 0"
    ),
    "streams.gate.max_rate_hz=-1": (
        "streams.gate.max_rate_hz must be between 0.01 and 1000, got -1"
    ),
    "streams.gate.reconnect.maximum_s=0.5": (
        "streams.gate.reconnect.maximum_s must be at least initial_s (1), got 0.5"
    ),
    "streams.other.url=''": (
        "streams.other.url must be rtsp://…, rtsps://…, http://…, https://…, srt://…, rtmp://…, "
        "rtmps://…, rtp://…, udp://…, tcp://…, file://…, synthetic://…, whip://…, whep://…, "
        "wheps://…, a path of a video file or a device such as /dev/video0; it is empty"
    ),
    "streams.other.url=gopher://u:hunter2@x": (
        "streams.other.url must be rtsp://…, rtsps://…, http://…, https://…, srt://…, rtmp://…, "
        "rtmps://…, rtp://…, udp://…, tcp://…, file://…, synthetic://…, whip://…, whep://…, "
        "wheps://…, a path of a video file or a device such as /dev/video0, got one that begins "
        "with 'gopher://'"
    ),
    "streams.other.url=whip://127.0.0.1": (
        "streams.other.url must be whip:// and nothing more: a publisher connects to this "
        "daemon, at /v1/streams/ID/whip (to fetch a stream from a media server, write "
        "whep://HOST/PATH)"
    ),
    "streams.other.url=wheps:///gate": ("streams.other.url names no host; write wheps://HOST/PATH"),
    "streams.gate.ground_plane=[[0,0,0,0]]": (
        "streams.gate.ground_plane must be four points [x, y, X, Y] in pixels and metres, or none, "
        "got 1"
    ),
    "streams.gate.ground_plane=[[0,0,0,0],[9,0,5],[9,9,5,5],[0,9,0,5]]": (
        "streams.gate.ground_plane[1] must be [x, y, X, Y], pixels and metres, got [9, 0, 5]"
    ),
    "streams.gate.ground_plane=[[0,0,0,0],[9,0,5,0],[18,0,5,5],[0,9,0,5]]": (
        "streams.gate.ground_plane must have no three points in a line, and 0, 1, 2 are, on the "
        "picture"
    ),
    "streams.gate.ground_plane=[[0,0,0,0],[9,0,5,0],[9,9,5,5],[0,9,5,9]]": (
        "streams.gate.ground_plane must have no three points in a line, and 1, 2, 3 are, on the "
        "ground"
    ),
    "streams.gate.ground_plane=[[0,0,0,0],[0,0,5,0],[9,9,5,5],[0,9,0,5]]": (
        "streams.gate.ground_plane must have no three points in a line, and 0, 1, 2 are, on the "
        "picture"
    ),
    "streams.other={}": "streams.other.url is missing: it has no default",
    "model.devices=[cuda:0,gpu]": (
        "model.devices must be all, or a list of cpu, cuda or cuda:N, got ['cuda:0', 'gpu']"
    ),
    "model={device: cpu, devices: all}": (
        "model.devices must be [] beside model.device cpu: set one of the two"
    ),
    "model.device=tpu": "model.device must be auto, cpu, cuda or cuda:N, got 'tpu'",
    "model.compute_dtype=int8": (
        "model.compute_dtype must be one of auto, float32, bfloat16, float16, got 'int8'"
    ),
    "model.name=sam3": (
        f"model.name must be one of auto, {', '.join(PRESETS)}, a name of the Hugging Face hub "
        "(OWNER/MODEL), or model.checkpoint a file, got 'sam3'"
    ),
    "model=sam3": f"model must be one of {', '.join(config_groups()['model'])}, got 'sam3'",
    "sink=kafka": "sink must be one of boxes, local, network, got 'kafka'",
    "log.level=loud": "log.level must be one of debug, info, warning, error, got 'loud'",
    "metrics.port=70000": "metrics.port must be between 0 and 65535, got 70000",
    "zeromq.endpoint=localhost:5555": (
        "zeromq.endpoint must be tcp://HOST:PORT or ipc:///PATH, got 'localhost:5555'"
    ),
    "zeromq.endpoint=tcp://127.0.0.1:99999": (
        "zeromq.endpoint must have a port between 0 and 65535, got tcp://127.0.0.1:99999"
    ),
    "control.endpoint=tcp://0.0.0.0:7": (
        "control.endpoint must be ipc:///PATH (a socket that only this machine and user reach), "
        "got 'tcp://0.0.0.0:7'"
    ),
    f"control.endpoint=ipc:///{'x' * 120}": (
        "control.endpoint must be a path of at most 107 bytes (a limit of Unix sockets), got 121"
    ),
    # the HTTP server
    "api.host=0.0.0.0": (
        "api.host '0.0.0.0' can be reached from other machines, and no client would have to prove "
        "who it is: give api.tokens, such as [{name: me, scopes: [control, publish], "
        "token_env: MASKLET_TOKEN}], or listen on 127.0.0.1"
    ),
    "api.host=''": (
        "api.host '' can be reached from other machines, and no client would have to prove who it "
        "is: give api.tokens, such as [{name: me, scopes: [control, publish], token_env: "
        "MASKLET_TOKEN}], or listen on 127.0.0.1"
    ),
    "api.tokens=[{name:a,token_env:T}]": (
        "api.tokens[0].scopes must hold one or more of read, control, publish"
    ),
    "api.tokens=[{name:a,scopes:[admin],token_env:T}]": (
        "api.tokens[0].scopes[0] must be one of read, control, publish, got 'admin'"
    ),
    "api.tokens=[{scopes:[read],token_env:T}]": "api.tokens[0].name is missing: it has no default",
    "api.tokens=[{name:'a b',scopes:[read],token_env:T}]": (
        "api.tokens[0].name must be 1 to 64 letters, digits, '-', '_' or '.', got 'a b'"
    ),
    "api.tokens=[{name:a,scopes:[read]}]": (
        "api.tokens[0] must have token_env (the name of an environment variable) or token_file, "
        "one of the two"
    ),
    "api.tokens=[{name:a,scopes:[read],token_env:T,token_file:/t}]": (
        "api.tokens[0] must have token_env (the name of an environment variable) or token_file, "
        "one of the two"
    ),
    "api.tokens=[{name:a,scopes:[read],token_env:T},{name:a,scopes:[read],token_env:U}]": (
        "api.tokens[1].name 'a' is used twice"
    ),
    "api.tls_certificate=/c.pem": "api must have both tls_certificate and tls_key, or neither",
    "api.tls_key=/k.pem": "api must have both tls_certificate and tls_key, or neither",
    "api.cors_origins=['*']": (
        "api.cors_origins[0] must be https://HOST[:PORT] (or http://…), without a path and never "
        "'*', got '*'"
    ),
    "api.cors_origins=['https://a.example.org/']": (
        "api.cors_origins[0] must be https://HOST[:PORT] (or http://…), without a path and never "
        "'*', got 'https://a.example.org/'"
    ),
    "api.url_schemes=[gopher]": (
        "api.url_schemes[0] must be one of rtsp, rtsps, http, https, srt, rtmp, rtmps, rtp, udp, "
        "tcp, file, synthetic, whip, whep, wheps, got 'gopher'"
    ),
    "api.url_hosts=['10.0.0.1/8']": (
        "api.url_hosts[0] must be a name, *.NAME, an address or a network such as 10.0.0.0/8, "
        "got '10.0.0.1/8'"
    ),
    "api.url_hosts=['*']": (
        "api.url_hosts[0] must be a name, *.NAME, an address or a network such as 10.0.0.0/8, "
        "got '*'"
    ),
    "api.limits.body_bytes=1": "api.limits.body_bytes must be between 1024 and 67108864, got 1",
    # WebRTC
    "webrtc.port_minimum=5": (
        "webrtc.port_minimum must be at most port_maximum, or both 0 for any port, got 5 and 0"
    ),
    "webrtc.port_maximum=5": (
        "webrtc.port_minimum must be at most port_maximum, or both 0 for any port, got 0 and 5"
    ),
    "webrtc.advertised_address=gate.example.org": (
        "webrtc.advertised_address must be an IP address, such as 192.0.2.7, got 'gate.example.org'"
    ),
    "webrtc.maximum_bitrate_kbps=1000": (
        "webrtc.start_bitrate_kbps must be at most maximum_bitrate_kbps (1000), got 1500"
    ),
    "webrtc.ice_servers=[{url:'http://x'}]": (
        "webrtc.ice_servers[0].url must be stun:HOST[:PORT] or turn:HOST[:PORT], got a value "
        "that is not shown"
    ),
    "webrtc.ice_servers=[{url:'turn:x',username:u}]": (
        "webrtc.ice_servers[0] must have username, and password_env or password_file, for a TURN "
        "server"
    ),
    "webrtc.ice_servers=[{url:'turn:x',username:u,password_env:A,password_file:/b}]": (
        "webrtc.ice_servers[0] must not have both password_env and password_file"
    ),
    "gate=rtsp://camera/live": ("gate is not a setting: a stream is given as --stream gate=URL"),
    "state_directory=Auto": "state_directory must be an absolute path, auto or none, got 'Auto'",
    "state_directory=''": "state_directory must be an absolute path, auto or none, got ''",
    # objects
    "streams.gate.objects=[{id:1}]": (
        "streams.gate.objects[0] must have points, a box or a mask_file"
    ),
    "streams.gate.objects=[{box:[0,0,9,9]}]": (
        "streams.gate.objects[0].id is missing: it has no default"
    ),
    "streams.gate.objects=[{id:1,box:[9,0,0,9]}]": (
        "streams.gate.objects[0].box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, "
        "got [9.0, 0.0, 0.0, 9.0]"
    ),
    "streams.gate.objects=[{id:1,points:[[1,2,3]]}]": (
        "streams.gate.objects[0].points[0] must be [x, y], got [1, 2, 3]"
    ),
    "streams.gate.objects=[{id:1,label:'',box:[0,0,9,9]}]": (
        "streams.gate.objects[0].label must be 1 to 128 characters, none of them a control "
        "character; it has 0"
    ),
    "streams.gate.objects=[{id:1,label:'\ud800',box:[0,0,9,9]}]": (
        "streams.gate.objects[0].label must be 1 to 128 characters, none of them a control "
        "character; it holds U+D800"
    ),
    "streams.gate.options.passphrase=12345": (
        "streams.gate.options.passphrase must be text, got a value that is not shown "
        "(put it in quotes)"
    ),
    "tracking.fill_hole_area=65": "tracking.fill_hole_area must be between 0 and 64, got 65",
    "tracking.occluded_after_frames=0": (
        "tracking.occluded_after_frames must be between 1 and 1000, got 0"
    ),
    "tracking.lost_to_removed_s=-1": (
        "tracking.lost_to_removed_s must be between 0 and 2592000, got -1"
    ),
    "streams.gate.smoothing={masks:0.5}": (
        "streams.gate.smoothing.masks must be between 0 and 0.45, got 0.5"
    ),
    "tracking.lost_search_every=0": "tracking.lost_search_every must be between 1 and 1000, got 0",
    "tracking.reacquire_similarity=2": (
        "tracking.reacquire_similarity must be between -1 and 1, got 2"
    ),
    "streams.gate.objects=[{id:1,points:[[1,2]],point_labels:[1,0]}]": (
        "streams.gate.objects[0].point_labels must hold one label a point (1), got 2"
    ),
    "streams.gate.objects=[{id:1,points:[[1,2]],point_labels:[2]}]": (
        "streams.gate.objects[0].point_labels[0] must be one of 0, 1, got 2"
    ),
    "streams.gate.objects=[{id:1,mask_file:m.png,box:[0,0,9,9]}]": (
        "streams.gate.objects[0] must not have points or a box beside mask_file"
    ),
    "streams.gate.objects=[{id:1,box:[0,0,9,9]},{id:1,box:[0,0,9,9]}]": (
        "streams.gate.objects[1].id 1 is used twice"
    ),
    "starter=camera": "starter must be one of boxes, motion, none, text, torchvision, got 'camera'",
    "starter.kind=yolo": (
        "starter.kind must be one of none, motion, torchvision, text, boxes, python, got 'yolo'"
    ),
    "streams.gate.starter={kind:motion,rate_hz:0}": (
        "streams.gate.starter.rate_hz must be between 0.01 and 60, got 0"
    ),
    "streams.gate.starter={kind:torchvision,model:yolo}": (
        f"streams.gate.starter.model must be one of {', '.join(PUBLISHED_DETECTORS)}, got 'yolo'"
    ),
    "starter.kind=python": "starter.factory is missing: kind python needs MODULE:NAME",
    "starter.factory=a:b": "starter.factory is only for kind python, and kind is none",
    "starter={kind:python,factory:nothing}": (
        "starter.factory must be MODULE:NAME, a callable that returns a starter, got 'nothing'"
    ),
    "starter={kind:motion,labels:[car]}": (
        "starter.labels must be empty: motion knows no labels and would start nothing; label names "
        "what it starts"
    ),
    "starter.region=[[1,2],[3,4]]": (
        "starter.region must be three or more points [x, y] in pixels, or empty for everywhere, "
        "got 2"
    ),
    "starter.maximum_area=0.0001": (
        "starter.maximum_area must be above minimum_area (0.0005), got 0.0001"
    ),
    # what Hydra cannot read
    "streams.gate.url=http://u:hunter2@x/?a=b": (
        "cannot read 'streams.gate.url=http://***@x/?a=***': write key=value, with quotes inside "
        "where the value has '=', ',' or spaces; a URL goes into --stream ID=URL"
    ),
    "heartbeat_s": (
        "cannot read 'heartbeat_s': write key=value, with quotes inside where the value has "
        "'=', ',' or spaces; a URL goes into --stream ID=URL"
    ),
    "~metrics": "cannot read '~metrics': only key=value or group=option",
    "heartbeat_s=1,2": "cannot read 'heartbeat_s=1,2': only key=value or group=option",
}


@pytest.mark.parametrize("override", BAD_VALUES)
def test_bad_value_is_refused_with_this_message(override: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, "", override, streams=[CAMERA]) == BAD_VALUES[override]


def test_all_wrong_values_are_named_at_once(tmp_path: Path) -> None:
    assert refusal(tmp_path, "log: {level: loud}", "metrics.port=70000", "heartbeat=1") == (
        "metrics.port must be between 0 and 65535, got 70000; "
        "log.level must be one of debug, info, warning, error, got 'loud'; "
        "heartbeat is not a setting; did you mean heartbeat_s? (known here: "
        f"{', '.join(MaskletConfig.model_fields)})"
    )


TOGETHER_IMPOSSIBLE = {
    ("metrics.port=5555",): (
        "zeromq.endpoint and metrics.port both listen on port 5555: give one of them another port"
    ),
    ("metrics.port=5555", "metrics.host=0.0.0.0"): (
        "zeromq.endpoint and metrics.port both listen on port 5555: give one of them another port"
    ),
    ("api.port=5555",): (
        "zeromq.endpoint and api.port both listen on port 5555: give one of them another port"
    ),
    ("api.port=9464",): (
        "metrics.port and api.port both listen on port 9464: give one of them another port"
    ),
    ("webrtc.port_minimum=9", "webrtc.port_maximum=8"): (
        "webrtc.port_minimum must be at most port_maximum, or both 0 for any port, got 9 and 8"
    ),
    ("api.tls_certificate=/c", "api.tls_key=/k", "api.self_signed=true"): (
        "api.self_signed excludes tls_certificate: choose one of them"
    ),
    ("zeromq.endpoint=ipc:///tmp/a", "control.endpoint=ipc:///tmp/a"): (
        "zeromq.endpoint and control.endpoint are both ipc:///tmp/a"
    ),
    ("streams.gate.password_env=A", "streams.gate.password_file=/b"): (
        "streams.gate must not have both password_env and password_file"
    ),
    ("streams.gate.max_objects=1", "streams.gate.objects=[{id:1,box:[0,0,9,9]},"
     "{id:2,box:[0,0,9,9]}]"): (
        "streams.gate.max_objects must be at least 2, the objects configured, got 1"
    ),
    ("tracking.max_objects=1", "streams.gate.objects=[{id:1,box:[0,0,9,9]},"
     "{id:2,box:[0,0,9,9]}]"): (
        "tracking.max_objects must be at least 2, the objects configured in all streams, got 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("overrides", TOGETHER_IMPOSSIBLE)
def test_values_that_exclude_each_other_are_refused(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(tmp_path, "", *overrides, streams=[CAMERA])
    assert message == TOGETHER_IMPOSSIBLE[overrides]


@pytest.mark.parametrize(
    "overrides",
    [
        ("metrics.port=5555", "metrics.host=127.0.0.2"),
        ("metrics.port=5555", "metrics.enabled=false"),
        ("metrics.port=0", "zeromq.endpoint=tcp://127.0.0.1:*"),
        ("metrics.port=5555", "zeromq.endpoint=ipc:///tmp/x"),
        ("api.port=9464", "metrics.enabled=false"),
        ("api.port=9464", "api.enabled=false"),
        ("api.port=0", "metrics.port=0"),
        ("api.host=0.0.0.0", "api.enabled=false"),
        ("api.host=0.0.0.0", "api.tokens=[{name:a,scopes:[read],token_env:T}]"),
        ("api.host=::1",),
        ("api.url_hosts=[camera.local,'*.example.org',10.0.0.0/8,192.0.2.1,'2001:db8::/32']",),
        ("api.cors_origins=['https://wall.example.org','http://localhost:3000']",),
    ],
)
def test_different_listeners_are_allowed(overrides: tuple[str, ...]) -> None:
    load_config(None, overrides)


BAD_FILES = {
    "streams: {a/b: {}}": (
        "streams.a/b must be a stream id, 1 to 64 letters (a-z, A-Z), digits, '-' or '_', "
        "beginning with a letter or digit; it holds '/' (U+002F); streams.a/b.url is missing: it "
        "has no default"
    ),
    "streams: [": "{file}, line 1: expected the node content, but found '<stream end>'",
    "- a\n- b\n": "{file} must hold settings as `key: value`, not a list",
    "heartbeat_s: 1\nheartbeat_s: 2\n": "{file}, line 2: found duplicate key heartbeat_s",
    "defaults: [model: nano]\n": (
        "defaults is not a setting (known here: streams, model, tracking, overload, zeromq, "
        "metrics, control, api, webrtc, picture, history, starter, state_directory, log, "
        "max_batch_wait_ms, heartbeat_s, status_s, shutdown_timeout_s)"
    ),
    "streams: {gate: {url: '${oc.env:NOT_SET_ANYWHERE}'}}": (
        "streams.gate.url: Environment variable 'NOT_SET_ANYWHERE' not found"
    ),
}


def test_a_section_that_is_commented_out_has_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "masklet.yaml"
    file.write_text("streams:\n#  gate:\n#    url: /dev/video0\nmodel:\nheartbeat_s: 2\n")
    assert load_config(str(file)) == load_config(None, ["heartbeat_s=2"])


@pytest.mark.parametrize("text", BAD_FILES)
def test_bad_file_is_refused_with_this_message(text: str, tmp_path: Path) -> None:
    expected = BAD_FILES[text].replace("{file}", str(tmp_path / "masklet.yaml"))
    assert refusal(tmp_path, text) == expected


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yaml: No such file"):
        load_config(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("stream", ["rtsp://u:hunter2@camera/1", "gate", "gate=", "a.b=rtsp://x"])
def test_stream_argument_must_be_id_and_url(stream: str) -> None:
    with pytest.raises(
        ConfigError, match="a stream must be given as ID=URL, the id 1 to 64"
    ) as caught:
        load_config(None, (), [stream])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "streams: {gate: {url: [rtsp://u:hunter2@x]}}",
        "streams: {gate: {url: {rtsp://u:hunter2@x: 1}}}",
        "streams: {gate: {url: 'rtsp://u:hunter2@x', password: hunter2}}",
        "streams: {gate: {url: 'gopher://u:hunter2@x'}}",
        "streams: {gate: {password_file: [hunter2], url: x}}",
        "streams: {gate: {url: 'rtsp://u:hunter2@${oc.env:NOT_SET_ANYWHERE}/'}}",
        "streams: {gate: {url: 'rtsp://u:hunter2@x/${'}}",
        "streams:\n  gate:\n    url: 'rtsp://u:hunter2@x\n  b: 1",
    ],
)
def test_no_message_shows_a_password(text: str, tmp_path: Path) -> None:
    assert "hunter2" not in refusal(tmp_path, text)


def test_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "", streams=["gate=clip\udcff.mp4"]) == (
        "streams.gate.url must be text in UTF-8; rename the file, or link to it"
    )


def test_url_of_the_command_line_may_hold_anything() -> None:
    url = "rtsp://user:p%40ss@camera/live?channel=1&sub=(a,b)%23$x='1'"
    config = load_config(None, (), [f"gate={url}"])
    assert config.streams["gate"].url.text == url


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA", "rtsp://from-environment/1")
    file = tmp_path / "mine.yaml"
    file.write_text(
        "streams:\n"
        "  gate: {url: '${oc.env:CAMERA}', transport: udp}\n"
        "  door: {url: /dev/video0}\n"
        "tracking: {fill_hole_area: 9, occluded_to_lost_s: 1}\n"
        "metrics: {port: 1}\n"
    )
    config = load_config(
        str(file),
        ["model=sam2.1_hiera_small", "tracking=separate", "metrics.port=2"],
        ["door=rtsp://from-argument/2"],
    )
    assert config.streams["gate"] == StreamConfig(url="rtsp://from-environment/1", transport="udp")
    assert config.streams["door"].url.text == "rtsp://from-argument/2"
    assert config.model.name == "sam2.1_hiera_small"
    assert config.tracking.non_overlap  # the group's
    assert config.tracking.fill_hole_area == 9  # the file's, over the group's
    assert config.metrics.port == 2  # the command line's, over the file's


def test_objects_are_read_in_full() -> None:
    config = load_config(
        None,
        [
            "streams.gate.objects=[{id:1,label:ball,points:[[3,4],[5,6.5]],point_labels:[1,0]},"
            "{id:2,box:[1,2,3,4],at_frame:25}]"
        ],
        [CAMERA],
    )
    first, second = config.streams["gate"].objects
    assert (first.label, first.points, first.point_labels) == ("ball", [[3, 4], [5, 6.5]], [1, 0])
    assert (second.id, second.box, second.at_frame) == (2, [1.0, 2.0, 3.0, 4.0], 25)


def test_wrong_streams_do_not_hide_the_others(tmp_path: Path) -> None:
    file = tmp_path / "masklet.yaml"
    file.write_text("streams: {a: {url: 'rtsp://[::1'}, b: {url: b.mp4}, c: {}, 'd e': {url: x}}")
    config, faults = load_config_in_part(
        str(file), ["heartbeat_s=2"], ["f=rtsp://cam/", "g=rtsp:/"]
    )
    assert list(config.streams) == ["b", "f"]
    assert config.heartbeat_s == 2
    assert [fault.partition(" ")[0] for fault in faults] == [
        "streams.a.url", "streams.c.url", "streams.d", "streams.g.url",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"max_objects must be between"):
        load_config_in_part(str(file), ["tracking.max_objects=0"])


def test_shipped_configuration_is_the_defaults_of_the_code() -> None:
    assert load_config() == MaskletConfig()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/masklet:/var/lib/other"}, "/var/lib/masklet"),
        ({"XDG_STATE_HOME": "/home/ada/state"}, "/home/ada/state/masklet"),
        ({"HOME": "/home/ada"}, "/home/ada/.local/state/masklet"),
    ],
)
def test_state_lies_in_a_folder_for_each_control_endpoint(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    first = state_folder("auto", "ipc:///run/a.sock")
    second = state_folder("auto", "ipc:///run/b.sock")
    assert first is not None
    assert second is not None
    assert first != second
    assert str(first.parent) == str(second.parent) == folder
    assert state_folder("auto", "ipc:///run/a.sock") == first
    assert state_folder("none", "ipc:///run/a.sock") is None
    assert state_folder("/srv/masklet", "ipc:///run/a.sock") == Path("/srv/masklet")


def test_masklet_yaml_shows_every_setting_at_its_default() -> None:
    text = (configs_directory() / "masklet.yaml").read_text()
    values = yaml.safe_load(re.sub(r"^#(?=(  )*[a-z_]+:)", "", text, flags=re.MULTILINE))
    del values["defaults"]
    shown = MaskletConfig.read(values)
    url = values["streams"]["gate"]["url"]
    defaults = MaskletConfig(streams={"gate": StreamConfig(url=url)})
    assert shown == defaults
    control = {"control": {"endpoint": default_control_endpoint()}}  # differs by user
    assert shown.model_dump(exclude_unset=True) | control == defaults.model_dump()


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group, options in config_groups().items() for option in options],
)
def test_every_shipped_option_is_valid(
    group: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERA_URL", "rtsp://camera/1")
    config = load_config(None, [f"{group}={option}"])
    if group == "model":
        assert config.model.name == option
    if group == "starter":
        assert config.starter.kind == option


def test_sections_made_by_a_program_are_checked_too() -> None:
    with pytest.raises(ValidationError) as caught:
        StreamConfig(url="rtsp://u:hunter2@x", transport="pigeon")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
    stream = StreamConfig(url="rtsp://u:hunter2@x")
    assert "hunter2" not in repr(MaskletConfig(streams={"gate": stream}))
    with pytest.raises(ConfigError, match="^transport must be one of tcp, udp, got 'pigeon'$"):
        stream.changed(transport="pigeon")
    with pytest.raises(ValidationError, match="frozen"):
        stream.transport = "udp"


def test_control_socket_lies_in_a_folder_of_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_control_endpoint() == f"ipc://{tmp_path}/masklet/control.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_control_endpoint().endswith("/control.sock")
    assert "/masklet-" in default_control_endpoint()
