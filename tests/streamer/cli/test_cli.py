"""The command line: its help, its errors, and secrets that it never prints."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.cli.doctor.doctor import check_state
from streamer.cli.main import main
from streamer.config import control_endpoint
from streamer.config.loading import load_config
from streamer.config.shipped import config_groups

COMMANDS = (
    "demo", "run", "watch", "prompt", "add", "remove", "streams", "stop", "keys", "doctor",
    "version", "checkpoints", "ctl",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon of this machine answers, and nothing is written beside the test's folder."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(  # not /tmp: a daemon of this user may run there
        control_endpoint, "default_places", lambda: [tmp_path / "run" / "masklet" / "control.sock"]
    )
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def exit_code(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def test_help_lists_every_command_and_the_first_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code("--help") == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command}" in text
    assert "masklet demo" in text
    assert "masklet run --stream gate=rtsp://" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    assert f"usage: masklet {command}" in capsys.readouterr().out


def test_help_of_run_lists_the_shipped_groups(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code("run", "--help")
    text = capsys.readouterr().out
    for group, options in config_groups().items():
        assert f"{group:11}{', '.join(options)}" in text


REFUSED = {
    ("run", "tracking.max_objects=0"): (
        "masklet: tracking.max_objects must be between 1 and 1024, got 0\n"
    ),
    ("run", "--config", "none.yaml"): (
        "masklet: cannot read none.yaml: No such file or directory\n"
    ),
    ("run", "--stream", "gate=rtsp://u:hunter2@x", "log.level=loud"): (
        "masklet: log.level must be one of debug, info, warning, error, got 'loud'\n"
    ),
    ("doctor", "metrics.port=x"): "masklet: metrics.port must be a whole number, got 'x'\n",
    ("watch", "nowhere"): (
        "masklet: endpoint 'nowhere' cannot be connected to "
        "(Invalid argument (addr='nowhere')); give tcp://HOST:PORT or ipc:///PATH\n"
    ),
    ("prompt", "gate", "--object", "1"): (
        "masklet: nothing is pointed at: give --point X,Y, --box X0,Y0,X1,Y1 or --mask\n"
    ),
    ("stop", "--control", "somewhere"): (
        "masklet: --control must be ipc:///PATH (a socket that only this machine and user reach), "
        "got 'somewhere'\n"
    ),
    ("stop", "--control", "ipc:///a", "--url", "http://b"): (
        "masklet: --url excludes --control: give one of them\n"
    ),
    ("prompt", "gate", "--object", "1", "--mask", "none.png"): (
        "masklet: --mask: none.png is not a readable image: No such file or directory\n"
    ),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_wrong_values_are_refused_in_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    assert capsys.readouterr().err == REFUSED[arguments]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("streams",), "no daemon listens at ipc://"),
        (("stop",), "no daemon listens at ipc://"),
        (("remove", "gate", "--object", "1"), "no daemon listens at ipc://"),
        (("prompt", "gate", "--object", "1", "--box", "1,2,3,4"), "no daemon listens at ipc://"),
        (("checkpoints", "pull", "sam9"), "no official checkpoint 'sam9'; there are sam2.1_"),
        (("checkpoints", "verify", "none.pt"), "cannot read none.pt: No such file"),
    ],
)
def test_failures_are_reported_in_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"masklet: {said}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prompt", "gate", "--object", "1", "--box", "9,0,0,9"), "must have X0 < X1 and Y0 < Y1"),
        (("prompt", "gate", "--object", "1", "--box", "9,0"), "must be X0,Y0,X1,Y1 such as"),
        (("prompt", "gate", "--object", "1", "--point", "a,b"), "must be a number, got 'a'"),
        (("prompt", "gate", "--object", "1", "--point", "nan,1"), "must be a finite number"),
        (("prompt", "gate", "--object", "1", "--point", "5"), "must be X,Y such as 300,210"),
        (("prompt", "gate", "--object", "x"), "must be a whole number between 0 and 2147483647"),
        (("watch", "--count", "0"), "must be a whole number of at least 1"),
        (("demo", "--duration-s", "0"), "must be above 0, got 0"),
        (("add", "gate"), "usage: masklet add "),
        (("add", "gate"), "argument ID=URL: a stream must be given as ID=URL, the id 1 to 64"),
        (("run", "--colour"), "unrecognized arguments: --colour"),
        (("run", "--colour"), "usage: masklet run "),
        (("ctl", "streams", "list", "--\x1b[2J"), "usage: masklet ctl streams list "),
        (("ctl", "streams", "list", "--\x1b[2J"), "unrecognized arguments: --\\u001b[2J"),
        (("remove", "../a"), "argument STREAM: must be a stream id, "),
        (("watch", "--stream", "gäte"), "argument --stream: must be a stream id, "),
        (("streams", "extra"), "unrecognized arguments: extra"),
        (("sing",), "invalid choice: 'sing'"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    assert said in capsys.readouterr().err


def test_values_may_stand_between_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("run", "heartbeat_s=1", "--stream", "a=x", "status_s=2", "nothing=3") == 2
    assert "nothing is not a setting" in capsys.readouterr().err


def test_settings_of_a_new_stream_may_follow_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("add", "gate=x", "--no-wait", "max_rate_hz") == 2
    assert "a setting must be given as KEY=VALUE, got 'max_rate_hz'" in capsys.readouterr().err


def test_ctrl_c_during_the_imports_is_no_traceback() -> None:
    program = (
        "import signal, sys\n"
        "from streamer.cli.entry import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'argparse': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.modules.pop('argparse', None)\n"
        "sys.exit(main())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("version") == 0
    assert capsys.readouterr().out.startswith("masklet 0.")


def test_keys_are_made_private_and_shown_by_name_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("keys", "mine", "--client", "laptop") == 0
    said = capsys.readouterr().out
    secrets = sorted((tmp_path / "mine").glob("*.key_secret"))
    assert [path.name for path in secrets] == ["laptop.key_secret", "server.key_secret"]
    for path in secrets:
        assert path.stat().st_mode & 0o777 == 0o600
        secret = path.read_text().split('secret-key = "')[1].split('"')[0]
        assert secret not in said
    assert exit_code("keys", "mine", "--client", "laptop") == 2
    assert "there already" in capsys.readouterr().err


def test_doctor_reports_and_fails_on_what_is_missing(
    random_nano: Path, free_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = (
        f"model.checkpoint={random_nano}",
        f"zeromq.endpoint=tcp://127.0.0.1:{free_port}",
        "metrics.port=0",
        "api.port=0",
    )
    assert exit_code("doctor", *wanted) == 0
    said = capsys.readouterr().out
    for subject in (
        "python", "torch", "ffmpeg", "decoders", "zeromq", "model", "results", "page", "state",
    ):  # fmt: skip
        assert f"ok      {subject}" in said
    # A device that decodes, or why there is none.
    assert "hardware     NVDEC" in said or "hardware     video is decoded on the proc" in said
    assert said.endswith("ready\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        assert exit_code("doctor", *wanted, "model.checkpoint=none.pt") == 1
    said = capsys.readouterr().out
    assert f"missing model        no checkpoint '{tmp_path}/none.pt'" in said
    assert f"127.0.0.1:{free_port} is not free" in said
    assert said.endswith("2 things are missing\n")


def state_finding(*overrides: str) -> str:
    """What doctor says of the state's folder."""
    (finding,) = check_state(load_config(None, overrides))
    return f"{finding.level}: {finding.text} {finding.advice}".strip()


def test_doctor_reports_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept"
    chosen = f"state_directory={folder}"
    assert state_finding(chosen) == f"ok: {folder}, empty"
    folder.mkdir(mode=0o755)
    assert state_finding(chosen) == (f"missing: {folder} others can enter it: chmod 700 {folder}")
    folder.chmod(0o700)
    (folder / "state.json").write_text("{}")
    assert state_finding(chosen) == f"ok: {folder}"
    (tmp_path / "file").write_text("")
    assert state_finding(f"state_directory={tmp_path}/file/kept") == (
        f"missing: {tmp_path}/file/kept {tmp_path}/file cannot be written; set state_directory"
    )
    assert state_finding("state_directory=none").startswith("ok: no state is kept")
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/file")
    assert state_finding().startswith("note: ")
    monkeypatch.delenv("XDG_STATE_HOME")
    # As for a user without a home folder.
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert state_finding() == (
        "note: state_directory: this user has no home folder; set state_directory to a folder, "
        "or to none"
    )


def test_commands_without_a_model_do_not_load_torch() -> None:
    script = (
        "import sys, streamer.cli.main, streamer.cli.commands, streamer.cli.watch\n"
        "import streamer.runtime.curve_keys\n"
        "streamer.cli.main.make_parser()\n"
        "sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    script = (
        "import sys, streamer.cli.main as main\n"
        "main.handlers.version = lambda _: print('1×2 Tür \\udcff')\n"
        "main.main(['version'])"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"1\\xd72 T\\xfcr \\udcff\n"
    assert done.stderr == b""


def test_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "streamer.cli.main", "version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"masklet: [Errno 28] No space left on device\n")
    closed = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *command], check=True)
    assert closed.returncode == 0


def test_closed_output_pipe_is_no_error() -> None:
    command = [sys.executable, "-m", "streamer.cli.main", "checkpoints", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
