"""``masklet ctl``: everything the HTTP API can do, from a shell.

One function per action: it sends a request and prints the answer, as a line or a table or, with
``--json``, as the API's own JSON.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from streamer.cli import exit_codes
from streamer.cli.ctl.output import (
    box_text,
    print_event,
    print_json,
    print_removed,
    print_stream,
    print_table,
    starter_text,
    state_text,
)
from streamer.cli.ctl.requests import prompt_body, settings_of
from streamer.cli.ctl.waiting import process_at, until_stopped, until_up
from streamer.cli.lines import write_line
from streamer.client.api_client import DEFAULT_URL, Access, ApiClient, ApiError, read_token
from streamer.config.control_endpoint import (
    running_control_endpoint,
    running_control_endpoints,
)
from streamer.config.state_folder import control_link
from streamer.errors import ConfigError, ControlError
from streamer.runtime.private_files import why_readable

RECONNECT_S = 2.0
OPEN_TIMEOUT_S = 10.0  # of a stream, by default


def client_of(arguments: Namespace) -> ApiClient:
    """A client of the daemon that the arguments or the environment name."""
    if arguments.url and arguments.control:
        raise ConfigError("--url excludes --control: give one of them")
    if arguments.token_file and (reason := why_readable(Path(arguments.token_file))):
        write_line(f"masklet: {reason}", sys.stderr)
    url, control = arguments.url, arguments.control
    if not url and not control:
        url = os.environ.get("MASKLET_URL")
        if not url and arguments.of_owner:
            control = running_control_endpoint(control_link())
    return ApiClient(
        Access(
            url=url or DEFAULT_URL,
            control=control,
            token=read_token(arguments.token_env, arguments.token_file),
            ca_file=arguments.ca,
            insecure=arguments.insecure,
        )
    )


def info(arguments: Namespace) -> int:
    """``ctl info``."""
    found = client_of(arguments).get("/v1/info")
    if arguments.json:
        return print_json(found)
    limits = found["limits"]
    scopes = "no token needed" if found["open"] else ", ".join(found["scopes"]) or "nothing"
    write_line(f"masklet {found['version']}, {found['model']} on {found['device']}")
    write_line(f"you may: {scopes}")
    write_line(f"limits: {limits['streams']} streams, {limits['objects']} objects in all of them")
    return 0


def stop(arguments: Namespace) -> int:
    """``stop`` and ``ctl stop``."""
    client = client_of(arguments)
    if arguments.of_owner and client.control and not arguments.control:
        running = list(running_control_endpoints(control_link()))
        if len(running) > 1:
            raise ConfigError(
                f"{len(running)} daemons of this user run: name the one to stop with --control: "
                f"{', '.join(running)}"
            )
    process = process_at(client.control)
    answer = client.post("/v1/stop")
    if arguments.json:
        return print_json(answer)
    has_stopped = until_stopped(client, process)
    state = "has stopped" if has_stopped else "is stopping, and still runs"
    write_line(f"masklet at {client.where} {state}")
    return exit_codes.DONE if has_stopped else exit_codes.FAILED


def health(arguments: Namespace) -> int:
    """``ctl health``: exit code 0 when results are produced and sent."""
    found = client_of(arguments).get("/readyz")
    if arguments.json:
        return print_json(found)
    write_line(str(found["status"]))
    return 0


_STREAM_HEADINGS = (
    "stream", "state", "size", "decoded", "tracked", "dropped", "objects", "priority", "starter",
    "url",
)  # fmt: skip


def streams_list(arguments: Namespace) -> int:
    """``ctl streams list``."""
    streams = client_of(arguments).get("/v1/streams")["streams"]
    if arguments.json:
        return print_json(*streams)
    print_table(
        _STREAM_HEADINGS,
        [
            (
                each["id"],
                state_text(each),
                f"{each['width']}×{each['height']}",
                str(each["frames_decoded"]),
                str(each["frames_tracked"]),
                str(sum(each["frames_dropped"].values())),
                ", ".join(map(str, each["object_ids"])) or "-",
                str(each["priority"]),
                starter_text(each),
                each["url"],
            )
            for each in streams
        ],
    )
    return 0


def streams_add(arguments: Namespace) -> int:
    """``ctl streams add ID=URL [KEY=VALUE …]``: added, and up unless ``--no-wait``."""
    stream_id, url = arguments.stream
    settings = {**settings_of([*arguments.settings, f"url={url}"]), "id": stream_id}
    client = client_of(arguments)
    answer = client.post("/v1/streams", settings)
    if not arguments.no_wait:
        open_timeout_s = float(settings.get("open_timeout_s", OPEN_TIMEOUT_S))
        answer = until_up(client, f"/v1/streams/{stream_id}", answer, open_timeout_s)
    return print_stream(answer, as_json=arguments.json)


def streams_change(arguments: Namespace) -> int:
    """``ctl streams change ID KEY=VALUE …``."""
    settings = settings_of(arguments.settings)
    if not settings:
        raise ConfigError("nothing to change: give KEY=VALUE, such as max_rate_hz=10")
    answer = client_of(arguments).patch(_stream(arguments), settings)
    return print_stream(answer, as_json=arguments.json)


def streams_remove(arguments: Namespace) -> int:
    """``ctl streams remove ID``."""
    client_of(arguments).delete(_stream(arguments))
    return print_removed(arguments.stream, as_json=arguments.json)


def remove(arguments: Namespace) -> int:
    """``remove STREAM [--object N]``."""
    return streams_remove(arguments) if arguments.object is None else objects_remove(arguments)


def streams_pause(arguments: Namespace) -> int:
    """``ctl streams pause ID``."""
    return print_stream(
        client_of(arguments).post(f"{_stream(arguments)}/pause"), as_json=arguments.json
    )


def streams_resume(arguments: Namespace) -> int:
    """``ctl streams resume ID``."""
    return print_stream(
        client_of(arguments).post(f"{_stream(arguments)}/resume"), as_json=arguments.json
    )


def objects_list(arguments: Namespace) -> int:
    """``ctl objects list STREAM``."""
    objects = client_of(arguments).get(f"{_stream(arguments)}/objects")["objects"]
    if arguments.json:
        return print_json(*objects)
    print_table(
        ("object", "label", "colour", "state", "box", "area", "score", "frame"),
        [
            (
                str(each["id"]),
                each["label"] or "-",
                each["colour"] or "-",
                each["state"],
                box_text(each),
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
        return print_json(answer)
    track = answer["track"]
    found = f"box {box_text(track)}, {track['area']} px" if track["area"] else "not seen"
    would = " would be" if arguments.preview else ""
    line = (
        f"{arguments.stream}: object {answer['object_id']}{would} on frame "
        f"{answer['frame_index']}: {found}, predicted IoU {track['score']:.2f}"
    )
    latest = answer.get("latest")
    if latest is not None and latest["frame_index"] != answer["frame_index"]:
        line += f"; on frame {latest['frame_index']}: {box_text(latest['track'])}"
    write_line(line)
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
        return print_json(answer)
    named = f" {answer['label']}" if answer["label"] else ""
    coloured = f", {answer['colour']}" if answer["colour"] else ""
    write_line(f"{arguments.stream}: object {answer['id']}{named}{coloured}")
    return 0


def objects_remove(arguments: Namespace) -> int:
    """``ctl objects remove STREAM N``."""
    client_of(arguments).delete(f"{_stream(arguments)}/objects/{arguments.object}")
    return print_removed(arguments.stream, arguments.object, as_json=arguments.json)


def events(arguments: Namespace) -> int:
    """``ctl events``: one line per event, until interrupted or ``--count`` events arrived.

    If the daemon goes away, connect again and ask for the events since, as far as it keeps them.
    """
    with suppress(KeyboardInterrupt):
        _show_events(arguments)
    return exit_codes.DONE


def _show_events(arguments: Namespace) -> None:
    client = client_of(arguments)
    last, after, printed = arguments.last, None, 0
    connected = False
    while True:
        try:
            for event in client.events(arguments.stream, last, after):
                connected, last = True, 0
                after = event.event_id or after
                print_event(event, as_json=arguments.json)
                printed += 1
                if arguments.count is not None and printed >= arguments.count:
                    return
        except ApiError as error:
            gone = error.status is None or error.status >= 500
            if not connected or not gone:
                raise
        again = f"connecting again every {RECONNECT_S:g} s"
        write_line(f"masklet: the events ended; {again}", sys.stderr)
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
        return print_json({"file": output, "bytes": len(content)})
    write_line(f"{output}: {len(content)} bytes")
    return 0


def _stream(arguments: Namespace) -> str:
    return f"/v1/streams/{quote(arguments.stream, safe='', errors='surrogateescape')}"
