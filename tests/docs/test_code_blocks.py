"""Every code block of the documents works: programs run, commands parse, settings validate.

A block without a language, of a language that is not listed here, or with a command that is
neither Masklet's nor listed in ``OTHERS`` fails. Nothing is skipped.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from streamer.cli.main import _parse, make_parser
from streamer.config.loading import load_config
from streamer.fleet.config import load_fleet_config
from tests.docs.conftest import Served
from tests.docs.pages import BLOCKS, ROOT, Block
from tests.integration.browser.chromium import chromium, visit

# The files that the documents name, and those that stand in for them.
FILES = {
    "/etc/masklet/masklet.yaml": "deploy/masklet.yaml",
    "masklet.yaml": "deploy/masklet.yaml",
}
# Programs of others: which one a document means.
OTHERS = {
    "chown": "coreutils",
    "docker": "no engine on a test machine",
    "ffmpeg": "tests run the same libraries through PyAV",
    "gst-launch-1.0": "gst-plugins-rs, not in Debian 12",
    "helm": "tests/deploy renders the chart with other values",
    "install": "coreutils",
    "kubectl": "no cluster on a test machine; tests/deploy checks the manifests",
    "openssl": "a certificate for FFmpeg",
    "pip": "Python's installer",
    "printf": "the shell",
    "systemctl": "systemd",
    "useradd": "Debian",
    "venv": "Python's environments",
}
# Whole programs that a page shows, and the test that runs the file.
EXAMPLES = {
    "deploy/examples/detections.py": "tests/integration/test_starters.py",
    "deploy/examples/plain_pyzmq.py": "tests/integration/test_wire_examples.py",
    "deploy/examples/node/subscribe.mjs": "tests/integration/test_wire_examples.py",
}
PRINTS = 3  # a program that reads results has no end: this many lines of it are enough


# Programs.


class _EnoughError(Exception):
    """A program without an end has printed what shows that it works."""


def run_python(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the block; ``images`` is what a reader would have at hand."""
    printed = 0

    def count(*values: object) -> None:
        nonlocal printed
        printed += 1
        if printed == PRINTS:
            raise _EnoughError

    monkeypatch.chdir(served.folder)
    monkeypatch.syspath_prepend(str(served.folder))
    given: dict[str, Any] = {
        "__name__": "__main__",
        "print": count,
        "images": [np.full((180, 320, 3), 40 * each, np.uint8) for each in range(3)],
    }
    program = compile(served.localised(block.text), str(block), "exec")
    with contextlib.suppress(_EnoughError):
        exec(program, given)
    assert printed in (0, PRINTS) or "while" not in block.text


def run_javascript(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the block in Node beside the example, or in a page where it needs a camera."""
    del monkeypatch
    if "navigator." in block.text:
        run_in_page(block, served)
        return
    program = (
        'import { Subscriber } from "zeromq";\n'
        f'const [serverPublic, publicKey, secretKey] = Array(3).fill("{"0" * 40}");\n'
    )
    finished = subprocess.run(
        ["node", "--input-type=module", "--eval", program + block.text],
        cwd=ROOT / "deploy" / "examples" / "node",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def run_in_page(block: Block, served: Served) -> None:
    """Run the block in a page of the daemon that has a camera."""
    program = f"async (token) => {{ {block.text}\nreturn session; }}"
    origin, flags = f"http://{served.api}", ("--use-fake-device-for-media-stream",)
    with (
        chromium(flags=flags) as browser,
        visit(browser, origin, permissions=["camera"]) as visitor,
    ):
        visitor.page.goto(f"{origin}/healthz")
        session = visitor.page.evaluate(program, "a-token")  # a URL
        assert session.path.startswith("/v1/whip/")


# Commands.


def check_shell(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the block is one that there is, with arguments that it takes."""
    monkeypatch.chdir(served.folder)
    found = 0
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= set("|&;<>()"):
                command.append(word)
            elif command and set(word) <= set("|&;"):
                check_command(command, served)
                command, found = [], found + 1
    assert found, "a block without a command"


def check_command(words: list[str], served: Served) -> None:
    """One command, after the variables that are set for it and ``sudo -u NAME``."""
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[0] == "sudo":
        words = words[3:]
    program, arguments = Path(words[0]).name, words[1:]
    for word in arguments:
        if re.match(r"(benchmarks|checkpoints|configs|deploy|docs|tests|tracker)/", word):
            assert (ROOT / word).exists(), f"{word} is not there"
    if program == "masklet":
        check_masklet(arguments)
    elif program == "make":
        check_make(arguments)
    elif program == "curl":
        check_curl(arguments, served)
    elif program in ("python", "python3") and arguments[:1] == ["-m"]:
        if arguments[1] not in OTHERS:
            check_program(
                lambda: runpy.run_module(arguments[1], run_name="__main__"), arguments[2:]
            )
    elif program in ("python", "python3"):
        script = str(ROOT / arguments[0])
        check_program(lambda: runpy.run_path(script, run_name="__main__"), arguments[1:])
    else:
        assert program in OTHERS, f"{program!r} is no command that is known here"


def check_masklet(arguments: list[str]) -> None:
    """The command's own parser takes the arguments, and the configuration is valid."""
    try:
        parsed = _parse(make_parser(), arguments)
    except SystemExit:
        pytest.fail(f"masklet {shlex.join(arguments)} is refused")
    if hasattr(parsed, "overrides"):
        config = getattr(parsed, "config", None)
        file = None if config is None else str(ROOT / FILES[config])
        load_config(file, parsed.overrides, getattr(parsed, "stream", []))


def check_make(arguments: list[str]) -> None:
    """The targets and variables are the Makefile's."""
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        name, is_variable, _ = argument.partition("=")
        pattern = rf"^{name} \?=" if is_variable else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {name}"


def check_program(run: Callable[[], object], arguments: list[str]) -> None:
    """A program of ours takes the values, and its help names every option."""
    told, argv = io.StringIO(), sys.argv
    sys.argv = ["program", *arguments, "--help"]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(told):
            warnings.filterwarnings("ignore", message=".*found in sys.modules", module="runpy")
            with pytest.raises(SystemExit) as ended:
                run()
    finally:
        sys.argv = argv
    assert ended.value.code == 0, f"{shlex.join(arguments)} is refused"
    for option in (each for each in arguments if each.startswith("--")):
        assert re.search(rf"{option}\b", told.getvalue()), f"there is no {option}"


def check_curl(arguments: list[str], served: Served) -> None:
    """The request is answered well by the daemon."""
    method, body, headers, url, socket = "", None, {}, "", None
    words = iter(arguments)
    for word in words:
        if word in ("-X", "--request"):
            method = next(words)
        elif word in ("-H", "--header"):
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word in ("-d", "--data", "--json"):
            body = served.localised(next(words))
            headers.setdefault("Content-Type", "application/json")
        elif word == "--unix-socket":
            socket = (next(words), served.socket)[1]
        elif word in ("-o", "--output"):
            next(words)
        elif not word.startswith("-"):
            url = served.localised(word)
    method = method or ("GET" if body is None else "POST")
    # A search may take a minute.
    with (
        httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=75) as client,
        client.stream(method, url, content=body, headers=headers) as answer,
    ):
        assert answer.status_code < 400, answer.read()


# Settings, and everything together.


def check_settings(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is a file for ``masklet run --config``."""
    monkeypatch.chdir(served.folder)
    assert isinstance(yaml.safe_load(block.text), dict)
    (served.folder / "settings.yaml").write_text(block.text)
    if block.text.startswith("# fleet.yaml"):
        load_fleet_config("settings.yaml")
        return
    load_config("settings.yaml")


def check_figure(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure or a layout of files: no command is hidden in it."""
    del served, monkeypatch
    assert not re.search(r"^(\$|masklet|make|python|pip) ", block.text, re.MULTILINE)


CHECKS = {
    "sh": check_shell,
    "python": run_python,
    "js": run_javascript,
    "yaml": check_settings,
    "text": check_figure,
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_works(block: Block, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert block.language in CHECKS, f"{block}: {block.language!r} is no language that is checked"
    for file, test in EXAMPLES.items():
        if block.text == (ROOT / file).read_text():
            assert Path(file).name in (ROOT / test).read_text()
            return
    CHECKS[block.language](block, served, monkeypatch)
