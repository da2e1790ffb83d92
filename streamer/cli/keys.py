"""``masklet keys``: encryption keys for the daemon and its clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamer.errors import SecurityError
from streamer.runtime.curve_keys import (
    ALLOW_LIST_FOLDER,
    SERVER_NAME,
    allow_client,
    make_keys,
    private_keys_folder,
)


def make_all_keys(directory: Path, clients: Sequence[str], overwrite: bool = False) -> list[str]:
    """Make the keys of the server and of ``clients``, which may then connect; lines to print.

    Existing keys of the server are kept; ``overwrite`` replaces them only if no client is named.
    """
    lines: list[str] = []
    directory = directory.absolute()  # the lines printed go into a file that lies elsewhere
    server_secret = directory / f"{SERVER_NAME}.key_secret"
    if SERVER_NAME in clients:
        raise SecurityError(f"a client cannot be called {SERVER_NAME!r}: choose another name")
    if clients and server_secret.exists():
        lines.append(f"kept      {server_secret}")
    else:
        made = make_keys(directory, SERVER_NAME, overwrite=overwrite)
        lines += [f"made      {made.secret}", f"made      {made.public}"]
    allow_list = directory / ALLOW_LIST_FOLDER
    private_keys_folder(allow_list)
    for name in clients:
        made = make_keys(directory, name, overwrite=overwrite)
        allowed = allow_client(allow_list, name, made.public)
        lines += [f"made      {made.secret}", f"made      {made.public}", f"allowed   {allowed}"]
    lines += [
        "",
        "in the configuration of the daemon:",
        f"    zeromq.server_key_file={server_secret}",
        f"    zeromq.client_keys_directory={allow_list}",
        f"a client needs {SERVER_NAME}.key and its own NAME.key_secret, copied securely",
    ]
    return lines
