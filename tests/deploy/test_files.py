"""The unit, the container files and the example configurations, as far as they run nowhere here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from streamer.cli.main import make_parser
from streamer.config.loading import load_config
from streamer.config.schema import MaskletConfig

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"


def configuration_of(command: list[str], files: Path) -> MaskletConfig:
    """What ``masklet`` would run with, its file looked for in ``files``."""
    arguments = make_parser().parse_args(command)
    file = files / Path(arguments.config).name
    return load_config(str(file), arguments.overrides, arguments.stream)


def service() -> ConfigParser:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "masklet.service")
    return unit


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_unit_runs_a_valid_command_and_configuration() -> None:
    program, *command = shlex.split(service()["Service"]["ExecStart"])
    assert Path(program).name == "masklet"
    config = configuration_of(command, DEPLOY)
    runtime = f"/run/{service()['Service']['RuntimeDirectory']}"
    assert config.control.endpoint.startswith(f"ipc://{runtime}/")
    assert config.log.format == "json"
    # state_directory: auto takes the folder that systemd makes, which nobody else may enter.
    assert config.state_directory == "auto"
    assert service()["Service"]["StateDirectory"] == "masklet"
    assert service()["Service"]["StateDirectoryMode"] == "0700"
    stop_s = int(service()["Service"]["TimeoutStopSec"])
    assert stop_s > config.shutdown_timeout_s


def test_unit_is_understood_by_systemd() -> None:
    found = subprocess.run(
        ["systemd-analyze", "verify", str(DEPLOY / "masklet.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [
        line
        for line in found.stderr.splitlines()
        if "masklet" in line and "not executable" not in line
    ]
    assert said == []


def test_unit_is_closed_as_far_as_cameras_and_devices_allow() -> None:
    """systemd's own measure of exposure, 2.0 of 10 at most."""
    judged = subprocess.run(
        [
            "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20",
            str(DEPLOY / "masklet.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout.splitlines()[-1]


def test_compose_runs_a_valid_command_and_configuration() -> None:
    service = compose()["services"]["masklet"]
    config = configuration_of(service["command"], DEPLOY)
    assert config.metrics.host == "0.0.0.0"
    mounted = {each.split(":")[1]: each.split(":")[0] for each in service["volumes"]}
    assert config.zeromq.server_key_file is not None
    assert str(Path(config.zeromq.server_key_file).parent) in mounted
    assert (DEPLOY / mounted["/etc/masklet/container.yaml"]).is_file()
    port = config.zeromq.endpoint.rpartition(":")[2]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_compose_publishes_nothing_beyond_this_machine() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_compose_mounts_files_that_exist() -> None:
    volumes = set(compose()["volumes"])
    for service in compose()["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            made_by_user = source == "./keys"
            assert source in volumes or made_by_user or (DEPLOY / source).exists(), source


def test_images_are_pinned_by_version_and_digest() -> None:
    images = [each["image"] for each in compose()["services"].values() if "image" in each]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    images += re.findall(r"^ARG BASE=(.+)$", dockerfile, re.MULTILINE)
    assert len(images) == 4
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?[0-9][\w.-]+@sha256:[0-9a-f]{64}", image), image
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert set(stages) == {"${BASE}"}


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    grafana, prometheus = (compose()["services"][name] for name in ("grafana", "prometheus"))
    mounted = {each.split(":")[1]: DEPLOY / each.split(":")[0] for each in grafana["volumes"]}
    provisioning = mounted["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    host, port = urlsplit(source["url"]).netloc.split(":")
    assert host in compose()["services"]
    assert prometheus["ports"] == [f"127.0.0.1:{port}:{port}"]
    scraping = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/masklet.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert mounted[folder] == DEPLOY / "grafana/dashboards"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounted[folder] / home.relative_to(folder)).is_file()


def test_prometheus_scrapes_the_service_and_port_of_compose() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    (target,) = scrape["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in compose()["services"]
    assert int(port) == load_config(None, ["deployment=container"]).metrics.port
    assert scrape["job_name"] == "masklet"  # the alerts ask for it


def test_dockerfile_copies_files_that_exist_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    locks = {"${LOCK}": re.findall(r"LOCK=(\S+\.lock)", text)}
    assert locks["${LOCK}"]
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            for lock in locks["${LOCK}"] if "${LOCK}" in source else [""]:
                assert (REPOSITORY / source.replace("${LOCK}", lock)).exists(), source
    assert re.search(r"^USER masklet$", text, re.MULTILINE)
    health = re.search(r"CMD \[(.+)\]\nENTRYPOINT", text)
    assert health is not None
    program, *command = re.findall(r'"([^"]+)"', health[1])
    arguments = make_parser().parse_args(command)
    assert program == "masklet"
    container = load_config(None, ["deployment=container"])
    assert arguments.control == container.control.endpoint
    exposed = re.search(r"^EXPOSE (.+)$", text, re.MULTILINE)
    assert exposed is not None
    ports = {container.zeromq.endpoint.rpartition(":")[2], container.api.port}
    assert {int(each) for each in exposed[1].split()} == {
        *map(int, ports),
        container.metrics.port,
    }


@pytest.mark.parametrize("name", ["install-system-packages", "find-python"])
def test_scripts_are_sound_bash(name: str) -> None:
    subprocess.run(["bash", "-n", str(DEPLOY / name)], check=True)
    assert (DEPLOY / name).stat().st_mode & 0o111


def test_scripts_say_what_to_install_where_nothing_fits(tmp_path: Path) -> None:
    for tool in ("sed", "tr", "uname", "cat", "bash"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    (tmp_path / "list.txt").write_text("some-package # why\n\n")
    nothing = {"PATH": str(tmp_path)}
    packages = subprocess.run(
        ["bash", str(DEPLOY / "install-system-packages"), str(tmp_path / "list.txt")],
        env=nothing,
        capture_output=True,
        text=True,
        check=False,
    )
    assert packages.returncode == 1
    assert "no apt-get); install the equivalents of: some-package" in packages.stderr
    python = subprocess.run(
        ["bash", str(DEPLOY / "find-python")],
        env=nothing,
        capture_output=True,
        text=True,
        check=False,
    )
    assert python.returncode == 1
    assert "Masklet needs Python 3.11 or newer" in python.stderr
