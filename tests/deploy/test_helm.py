"""The chart of a single daemon, rendered by helm: valid, closed, and in step with the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from kubernetes_validate import ValidationError as InvalidManifest

from streamer.api.metrics_server import ALIVE_PATH, PATH, READY_PATH
from streamer.cli.main import make_parser
from streamer.config.loading import load_config
from streamer.config.schema import MaskletConfig
from streamer.runtime.sockets import tcp_endpoint
from tests.deploy.kubernetes import CHART, DEPLOY, check, check_closed, helm, rendered

LEAST: dict[str, Any] = {"image": {"repository": "registry.example/masklet"}}
FULL: dict[str, Any] = {
    "image": {"repository": "registry.example:5000/vision/masklet", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "streams": {
            "gate": {"url": "rtsp://camera.local/stream", "password_env": "GATE_PASSWORD"},
        },
        "metrics": {"port": 9555},
        "api": {"port": 8081},
        "zeromq": {"endpoint": "tcp://0.0.0.0:5666"},
        "shutdown_timeout_s": 7.5,
    },
    "arguments": ["model=sam2.1_hiera_small", "tracking.max_objects=16"],
    "envSecrets": ["masklet-cameras"],
    "keysSecret": "masklet-keys",
    "clientsSecret": "masklet-clients",
    "tokenSecret": "masklet-token",
    "gpu": {"count": 1, "runtimeClassName": "nvidia"},
    "nodeSelector": {"nvidia.com/gpu.present": "true"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    },
}
VALUES = {
    "least": LEAST,
    "full": FULL,
    "example": yaml.safe_load((DEPLOY / "helm" / "example.yaml").read_text()),
    "processor": LEAST | {"gpu": {"count": 0}, "persistence": {"enabled": False}},
    "no policy": LEAST | {"networkPolicy": {"enabled": False}, "tokenSecret": "t"},
}


def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


def configuration(
    manifests: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> MaskletConfig:
    """What the container would run with."""
    (container,) = pod(manifests)["containers"]
    for variable in container.get("env", []):
        monkeypatch.setenv(variable["name"], "x" * 32)
    arguments = make_parser().parse_args(container["args"])
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == arguments.config]
    file = folder / "masklet.yaml"
    file.write_text(manifests["ConfigMap"]["data"][mount["subPath"]])
    return load_config(str(file), arguments.overrides, arguments.stream)


@pytest.mark.parametrize("name", VALUES)
def test_manifests_are_valid_and_closed(name: str) -> None:
    manifests = rendered(VALUES[name])
    check(manifests.values())
    check_closed(manifests["Deployment"]["spec"]["template"])


def test_check_finds_what_is_no_key_of_kubernetes() -> None:
    manifests = rendered(FULL)
    manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(InvalidManifest, match="readynessProbe"):
        check(manifests.values())
    manifests = rendered(FULL)
    manifests["ServiceMonitor"]["spec"]["endpoints"][0]["intervall"] = "5s"
    with pytest.raises(ValidationError, match="intervall"):
        check(manifests.values())


@pytest.mark.parametrize("name", VALUES)
def test_ports_and_paths_are_those_of_the_daemon(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = rendered(VALUES[name])
    config = configuration(manifests, tmp_path, monkeypatch)
    spec = pod(manifests)
    (container,) = spec["containers"]

    assert config.metrics.host == "0.0.0.0"
    listening = {"metrics": config.metrics.port}
    found = tcp_endpoint(config.zeromq.endpoint)
    assert found is not None
    if found[0] == "0.0.0.0":
        listening["results"] = found[1]
    if config.api.host == "0.0.0.0":
        listening["api"] = config.api.port
    assert ("api" in listening) == ("tokenSecret" in VALUES[name])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == listening
    service = manifests["Service"]["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == listening
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    if policy := manifests.get("NetworkPolicy"):
        rules = policy["spec"]["ingress"]
        assert {port["port"] for rule in rules for port in rule["ports"]} == set(listening)
        assert all(rule["from"] for rule in rules)

    probes = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert probes == {
        "startup": {"path": READY_PATH, "port": "metrics"},
        "liveness": {"path": ALIVE_PATH, "port": "metrics"},
        "readiness": {"path": READY_PATH, "port": "metrics"},
    }
    assert spec["terminationGracePeriodSeconds"] > config.shutdown_timeout_s

    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    image = (DEPLOY / "Dockerfile").read_text()
    state = re.search(r"STATE_DIRECTORY=(\S+)", image)
    assert state is not None
    assert state[1] in mounts
    made = re.findall(r"/\S+", spec["initContainers"][0]["command"][-1])
    assert str(Path(config.control.endpoint.removeprefix("ipc://")).parent) in made
    if config.zeromq.server_key_file is not None:
        assert str(config.zeromq.client_keys_directory) in mounts
        assert f"{Path(config.zeromq.server_key_file).parent}/" in made
        assert "/etc/masklet/secret/server.key_secret" in made


def test_metrics_alerts_and_dashboards_are_those_of_the_repository() -> None:
    manifests = rendered(FULL)
    monitor = manifests["ServiceMonitor"]["spec"]
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", PATH)
    service = manifests["Service"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= service.items()
    assert service[monitor["jobLabel"]] == "masklet"  # the alerts ask for it
    assert manifests["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus"
    assert manifests["PrometheusRule"]["spec"] == yaml.safe_load(
        (DEPLOY / "alerts.yml").read_text()
    )
    packed = manifests["Dashboards"]["data"]
    assert packed.keys() == {path.name for path in (DEPLOY / "grafana" / "dashboards").iterdir()}
    for name, text in packed.items():
        assert json.loads(text) == json.loads((DEPLOY / "grafana/dashboards" / name).read_text())


def test_image_gpu_and_secrets_are_the_values() -> None:
    manifests = rendered(FULL)
    (container,) = pod(manifests)["containers"]
    repository = FULL["image"]["repository"]
    assert container["image"] == f"{repository}@{FULL['image']['digest']}"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["envFrom"] == [{"secretRef": {"name": "masklet-cameras"}}]
    assert container["args"][-2:] == FULL["arguments"]
    least = rendered(LEAST)
    version = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
    assert pod(least)["containers"][0]["image"] == f"registry.example/masklet:{version}"
    assert "nvidia.com/gpu" not in str(rendered(VALUES["processor"]))


def test_a_changed_configuration_is_a_new_pod() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = rendered(values)["Deployment"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(LEAST) != checksum(LEAST | {"config": {"max_batch_wait_ms": 3}})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": {}}, "image.repository is missing: push the image that deploy/Dockerfile"),
        ({"gpu": {"cuont": 1}}, "additional properties 'cuont' not allowed"),
        ({"gpu": {"count": "one"}}, "at '/gpu/count': got string, want integer"),
        ({"keysSecret": "keys"}, "keysSecret and clientsSecret belong together"),
        ({"config": {"metrics": {"enabled": False}}}, "config.metrics.enabled must stay true"),
        (
            {
                "keysSecret": "k",
                "clientsSecret": "c",
                "config": {"zeromq": {"endpoint": "ipc:///tmp/x"}},
            },
            "config.zeromq.endpoint must end in a port",
        ),
        ({"image": {"repository": "a", "digest": "sha256:1"}}, "at '/image/digest'"),
        ({"tokenSecret": "not a name"}, "at '/tokenSecret'"),
        ({"config": None}, "missing property 'config'"),
        ({"config": {"metrics": None}}, "at '/config/metrics': got null, want object"),
        ({"networkPolicy": {"egress": None}}, "missing property 'egress'"),
    ],
)
def test_wrong_values_are_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    code, _, errors = helm("template", "gate", CHART, values=LEAST | wrong)
    assert code != 0
    assert said in errors


def test_chart_is_sound_and_of_this_version() -> None:
    code, output, errors = helm("lint", "--strict", CHART, values=LEAST)
    assert code == 0, output + errors
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)
