"""``masklet ctl``: everything the HTTP API can do, from a shell.

One function for each action; each asks the daemon and prints what it answered, as a line or a
table for people or, with ``--json``, as the API's own JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from streamer.api_client import (
    DEFAULT_URL,
    Access,
    ApiClient,
    ApiError,
    ServerEvent,
    read_token,
)
from streamer.errors import ConfigError, ControlError

RECONNECT_S = 2.0


def client_of(arguments: Namespace) -> ApiClient:
    """The client for the daemon that the arguments, or the environment, name."""
    return ApiClient(
        Access(
            url=arguments.url or os.environ.get("MASKLET_URL") or DEFAULT_URL,
            token=read_token(arguments.token_env, arguments.token_file),
            ca_file=arguments.ca,
            insecure=arguments.insecure,
        )
    )


def info(arguments: Namespace) -> int:
    """``ctl info``."""
    found = client_of(arguments).get("/v1/info")
    if arguments.json:
        return _print_json(found)
    limits = found["limits"]
    scopes = "no token needed" if found["open"] else ", ".join(found["scopes"]) or "nothing"
    _print(f"masklet {found['version']}, {found['model']} on {found['device']}")
    _print(f"you may: {scopes}")
    _print(f"limits: {limits['streams']} streams, {limits['objects']} objects in all of them")
    return 0


def health(arguments: Namespace) -> int:
    """``ctl health``: exit code 0 when results are being made and sent."""
    found = client_of(arguments).get("/readyz")
    if arguments.json:
        return _print_json(found)
    _print(str(found["status"]))
    return 0


def streams_list(arguments: Namespace) -> int:
    """``ctl streams list``."""
    streams = client_of(arguments).get("/v1/streams")["streams"]
    if arguments.json:
        return _print_json(*streams)
    _print_table(
        ("stream", "state", "size", "decoded", "tracked", "dropped", "objects", "url"),
        [
            (
                each["id"],
                _state(each),
                f"{each['width']}×{each['height']}",
                str(each["frames_decoded"]),
                str(each["frames_tracked"]),
                str(sum(each["frames_dropped"].values())),
                ", ".join(map(str, each["object_ids"])) or "-",
                each["url"],
            )
            for each in streams
        ],
    )
    return 0


def streams_add(arguments: Namespace) -> int:
    """``ctl streams add ID=URL [KEY=VALUE …]``."""
    from streamer.config_loading import parse_stream

    stream_id, url = parse_stream(arguments.stream)
    settings = {**settings_of(arguments.settings), "id": stream_id, "url": url}
    return _print_stream(arguments, client_of(arguments).post("/v1/streams", settings))


def streams_change(arguments: Namespace) -> int:
    """``ctl streams change ID KEY=VALUE …``."""
    settings = settings_of(arguments.settings)
    if not settings:
        raise ConfigError("nothing to change: give KEY=VALUE, such as max_rate_hz=10")
    answer = client_of(arguments).patch(_stream(arguments), settings)
    return _print_stream(arguments, answer)


def streams_remove(arguments: Namespace) -> int:
    """``ctl streams remove ID``."""
    client_of(arguments).delete(_stream(arguments))
    return 0


def streams_pause(arguments: Namespace) -> int:
    """``ctl streams pause ID``."""
    return _print_stream(arguments, client_of(arguments).post(f"{_stream(arguments)}/pause"))


def streams_resume(arguments: Namespace) -> int:
    """``ctl streams resume ID``."""
    return _print_stream(arguments, client_of(arguments).post(f"{_stream(arguments)}/resume"))


def objects_list(arguments: Namespace) -> int:
    """``ctl objects list STREAM``."""
    objects = client_of(arguments).get(f"{_stream(arguments)}/objects")["objects"]
    if arguments.json:
        return _print_json(*objects)
    _print_table(
        ("object", "label", "colour", "state", "box", "area", "score", "frame"),
        [
            (
                str(each["id"]),
                each["label"] or "-",
                each["colour"] or "-",
                each["state"],
                _box(each),
                str(each["area"]),
                f"{each['score']:.2f}",
                str(each["frame_index"]),
            )
            for each in objects
        ],
    )
    return 0


def objects_prompt(arguments: Namespace) -> int:
    """``ctl objects prompt STREAM …``: a new object, one again, a correction or a preview."""
    body = prompt_body(arguments)
    client, path = client_of(arguments), _stream(arguments)
    if arguments.preview:
        if arguments.object is not None:
            body["object_id"] = arguments.object
        answer = client.post(f"{path}/preview", body)
    elif arguments.object is None:
        answer = client.post(f"{path}/objects", body)
    else:
        answer = client.post(f"{path}/objects/{arguments.object}/prompts", body)
    if arguments.json:
        return _print_json(answer)
    track = answer["track"]
    found = f"box {_box(track)}, {track['area']} px" if track["area"] else "not seen"
    would = " would be" if arguments.preview else ""
    line = (
        f"{arguments.stream}: object {answer['object_id']}{would} on frame "
        f"{answer['frame_index']}: {found}, predicted IoU {track['score']:.2f}"
    )
    latest = answer.get("latest")
    if latest is not None and latest["frame_index"] != answer["frame_index"]:
        line += f"; on frame {latest['frame_index']}: {_box(latest['track'])}"
    _print(line)
    return 0


def objects_rename(arguments: Namespace) -> int:
    """``ctl objects rename STREAM N``."""
    change = {
        name: value
        for name, value in (("label", arguments.label), ("colour", arguments.colour))
        if value is not None
    }
    if not change:
        raise ConfigError("nothing to change: give --label NAME, --colour '#RRGGBB' or both")
    path = f"{_stream(arguments)}/objects/{arguments.object}"
    answer = client_of(arguments).patch(path, change)
    if arguments.json:
        return _print_json(answer)
    named = f" {answer['label']}" if answer["label"] else ""
    coloured = f", {answer['colour']}" if answer["colour"] else ""
    _print(f"{arguments.stream}: object {answer['id']}{named}{coloured}")
    return 0


def objects_remove(arguments: Namespace) -> int:
    """``ctl objects remove STREAM N``."""
    client_of(arguments).delete(f"{_stream(arguments)}/objects/{arguments.object}")
    return 0


def events(arguments: Namespace) -> int:
    """``ctl events``: one line an event, until interrupted or ``--count`` have come.

    A daemon that goes away is waited for; what happened meanwhile is asked for, as far as it
    still knows.
    """
    client = client_of(arguments)
    last, after, printed = arguments.last, None, 0
    connected = False
    while True:
        try:
            for event in client.events(arguments.stream, last, after):
                connected, last = True, 0
                after = event.event_id or after
                _print_event(event, as_json=arguments.json)
                printed += 1
                if arguments.count is not None and printed >= arguments.count:
                    return 0
        except ApiError as error:
            gone = error.status is None or error.status >= 500
            if not connected or not gone:
                raise
        sys.stderr.write(f"masklet: the events ended; connecting again every {RECONNECT_S:g} s\n")
        time.sleep(RECONNECT_S)


def snapshot(arguments: Namespace) -> int:
    """``ctl snapshot STREAM``: the newest picture as a JPEG file."""
    content = client_of(arguments).content(
        f"{_stream(arguments)}/snapshot.jpg", view=arguments.view, width=arguments.width
    )
    output = arguments.output or f"{arguments.stream}.jpg"
    if output == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        raise ControlError(f"cannot write {output}: {error.strerror}") from error
    if arguments.json:
        return _print_json({"file": output, "bytes": len(content)})
    _print(f"{output}: {len(content)} bytes")
    return 0


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """The settings in ``KEY=VALUE`` texts: values as in YAML, ``reconnect.maximum_s`` nested.

    Raises ``ConfigError``.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"a setting must be given as KEY=VALUE, got {key!r}")
        *sections, name = key.split(".")
        section = settings
        for each in sections:
            section = section.setdefault(each, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{key} and {each} exclude one another")
        try:
            # A URL stays as it is: `rtsp://h/#x` would lose its end to a comment.
            section[name] = value if name == "url" else yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"{key}: the value cannot be read as YAML; put it in quotes"
            ) from None
    return settings


def prompt_body(arguments: Namespace) -> dict[str, Any]:
    """The prompt in the arguments, as the API takes it. Raises ``ConfigError``."""
    points = [
        {"x": x, "y": y, "positive": positive}
        for given, positive in ((arguments.point, True), (arguments.not_point, False))
        for x, y in given
    ]
    if arguments.mask is not None and (points or arguments.box):
        raise ConfigError("--mask excludes points and a box: give one or the other")
    if arguments.mask is None and not points and arguments.box is None:
        raise ConfigError("nothing is pointed at: give --point X,Y, --box X0,Y0,X1,Y1 or --mask")
    if arguments.at_frame is not None and arguments.at_time_ns is not None:
        raise ConfigError("--at-frame excludes --at-time-ns: give one of them")
    frame = {
        "frame_index": arguments.at_frame,
        "capture_time_ns": arguments.at_time_ns,
        "session_id": arguments.session,
    }
    body: dict[str, Any] = {
        "label": arguments.label,
        "colour": arguments.colour,
        "points": points or None,
        "box": arguments.box,
        "mask": None if arguments.mask is None else _mask(arguments.mask),
        "frame": {name: value for name, value in frame.items() if value is not None} or None,
        "correct": arguments.correct or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _mask(path: str) -> dict[str, Any]:
    from streamer.mask_codecs import MaskEncoding, encode_crop
    from streamer.prompts import read_mask

    mask = read_mask("--mask", path)
    if not mask.any():
        raise ConfigError(f"--mask: everything in {path} is black: no object")
    counts = encode_crop(mask, MaskEncoding.RLE).decode("ascii")
    return {"size": list(mask.shape), "counts": counts}


def _stream(arguments: Namespace) -> str:
    return f"/v1/streams/{quote(arguments.stream, safe='')}"


def _state(stream: dict[str, Any]) -> str:
    state = str(stream["state"])
    if stream["reason"]:
        state += f" ({stream['reason']})"
    return f"{state}, paused" if stream["paused"] else state


def _box(found: dict[str, Any]) -> str:
    return ",".join(map(str, found["bbox"])) if found["area"] else "-"


def _print_stream(arguments: Namespace, stream: dict[str, Any]) -> int:
    if arguments.json:
        return _print_json(stream)
    _print(f"{stream['id']}: {_state(stream)}, {stream['url']}")
    return 0


def _print_event(event: ServerEvent, *, as_json: bool) -> None:
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = json.loads(event.data)
    if as_json:
        _print_json({"type": "missed", **said} if event.kind == "missed" else said)
    elif event.kind == "missed":
        count = said.get("count")
        _print(f"{'some' if count is None else count} events were missed")
    else:
        moment = time.strftime("%H:%M:%S", time.localtime(said["time_ns"] // 1_000_000_000))
        words = [moment, said["stream_id"], said["kind"]]
        if said["object_id"] is not None:
            words.append(f"object {said['object_id']}")
        words += [str(said[name]) for name in ("label", "reason", "detail") if said[name]]
        if said["frame_index"] is not None:
            words.append(f"frame {said['frame_index']}")
        _print("  ".join(words))
    sys.stdout.flush()


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    from streamer.terminal import Terminal

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Terminal().print(table, soft_wrap=not sys.stdout.isatty())


def _print_json(*answers: object) -> int:
    for answer in answers:
        _print(json.dumps(answer, ensure_ascii=False))
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
