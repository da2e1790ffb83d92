"""Debian's nginx with ``deploy/nginx.conf``, in front of a daemon of a test."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import eventually, find_free_port

SITE = Path(__file__).parents[2] / "deploy" / "nginx.conf"
# One process in the foreground, all of whose files lie in the test's folder.
_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
)


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """nginx before the daemon at ``upstream`` (http://HOST:PORT); yields the address of the page,
    without a slash at its end."""
    if (program := shutil.which("nginx", path="/usr/sbin:/usr/bin")) is None:
        pytest.fail("nginx is missing: run deploy/install-system-packages deploy/test-packages.txt")
    port = find_free_port()
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        shlex.split(_CERTIFICATE.format(key=key, certificate=certificate)),
        check=True,
        capture_output=True,
    )
    site = SITE.read_text()
    for before, after in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/masklet/tls.crt": str(certificate),
        "/etc/masklet/tls.key": str(key),
        "http://127.0.0.1:8080/": f"{upstream}/",
    }.items():
        assert site.count(before) == 1, before
        site = site.replace(before, after)
    (folder / "site.conf").write_text(site)
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder))
    log = folder / "nginx.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(main)], stdout=output, stderr=output
        )
    try:

        def listening() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0

        eventually(listening, timeout_s=30, what="nginx to listen")
        yield f"https://localhost:{port}/masklet"
        # Of the configuration; a request that is refused is an error there.
        said = [line for line in log.read_text().splitlines() if re.search(r"\[(warn|emerg)", line)]
        assert said == []
    finally:
        process.terminate()
        process.wait(30)
