"""The command line against a daemon of its own, from start to stop, as a person would use it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.conftest import eventually
from tests.masklet_process import Daemon, Masklet

SCENE = "synthetic://match?width=160&height=96&rate_hz=10"


def lines(finished: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_session_from_start_to_stop(random_nano: Path, tmp_path: Path) -> None:
    masklet = Masklet(tmp_path)
    with masklet.daemon("--stream", f"match={SCENE}", f"model.checkpoint={random_nano}") as daemon:
        masklet.answers(daemon)
        control = ("--control", daemon.control)

        prompted = masklet("prompt", "match", "--object", "7", "--label", "red",
                           "--box", "40,30,90,80", *control)  # fmt: skip
        assert prompted.returncode == 0, prompted.stderr
        assert prompted.stdout.startswith("match: object 7 on frame ")

        frames = [
            line
            for line in lines(masklet("watch", daemon.endpoint, "--json", "--count", "2"))
            if "/boxes/match/" in str(line["topic"])
        ]
        assert len(frames) == 2
        (found,) = frames[-1]["objects"]  # type: ignore[misc]
        assert (found["id"], found["label"]) == (7, "red")

        refused = masklet("prompt", "gate", "--object", "1", "--point", "3,4", *control)
        assert refused.returncode == 1
        assert refused.stderr == "masklet: there is no stream 'gate'; streams here: match\n"

        added = masklet("add", f"gate={SCENE}&seed=2", *control)
        assert (added.returncode, added.stdout) == (0, f"gate: live, {SCENE}&seed=2\n")
        assert sorted(_streams(masklet, daemon)) == ["gate", "match"]
        assert masklet("remove", "gate", *control).returncode == 0
        assert sorted(_streams(masklet, daemon)) == ["match"]

        assert masklet("remove", "match", "--object", "7", *control).returncode == 0
        eventually(lambda: not _streams(masklet, daemon)["match"]["object_ids"])
        table = masklet("streams", *control).stdout
        assert "match" in table
        assert "160×96" in table

        assert masklet("stop", *control).stdout == f"masklet at {daemon.control} has stopped\n"
        code, log = daemon.ended()
        assert code == 0, log


def test_sigterm_ends_the_daemon_with_exit_code_0(random_nano: Path, tmp_path: Path) -> None:
    masklet = Masklet(tmp_path)
    arguments = (f"model.checkpoint={random_nano}", "log.format=json")
    with masklet.daemon("--stream", f"match={SCENE}", *arguments) as daemon:
        masklet.answers(daemon)
        daemon.terminate()
        code, log = daemon.ended()
    assert code == 0, log
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert messages[-1] == "stopped"


def _streams(masklet: Masklet, daemon: Daemon) -> dict[str, dict[str, object]]:
    listed = lines(masklet("streams", "--json", "--control", daemon.control))
    return {str(each["id"]): each for each in listed}
