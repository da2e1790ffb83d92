"""The fleet on KubeRay: manifests that are valid, closed, and in step with the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from streamer.api.access import Access
from streamer.cli.main import make_parser
from streamer.fleet.config import FleetConfig, load_fleet_config
from streamer.fleet.gateway.config import GatewayApiConfig
from streamer.fleet.gateway.overview import overview_router
from streamer.runtime.sockets import tcp_endpoint
from tests.deploy.kubernetes import DEPLOY, check, check_closed
from tests.deploy.test_locks import pinned

FOLDER = DEPLOY / "kuberay"
MANIFESTS: list[dict[str, Any]] = [
    each for path in sorted(FOLDER.iterdir()) for each in yaml.safe_load_all(path.read_text())
]
(CLUSTER,) = (each for each in MANIFESTS if each["kind"] == "RayCluster")
HEAD = CLUSTER["spec"]["headGroupSpec"]
(WORKERS,) = CLUSTER["spec"]["workerGroupSpecs"]
RAY_HEAD, GATEWAY = HEAD["template"]["spec"]["containers"]
(RAY_WORKER,) = WORKERS["template"]["spec"]["containers"]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == kind}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetConfig:
    """The fleet's configuration, as its commands read it."""
    for variable in GATEWAY["env"]:
        monkeypatch.setenv(variable["name"], "x" * 32)
    file = tmp_path / "fleet.yaml"
    file.write_text(of_kind("ConfigMap")["masklet-fleet"]["data"]["fleet.yaml"])
    return load_fleet_config(str(file))


def test_manifests_are_valid_and_pods_are_closed() -> None:
    check(MANIFESTS)
    check_closed(HEAD["template"], has_token=True)  # Ray's autoscaler asks for pods
    check_closed(WORKERS["template"])
    assert CLUSTER["spec"]["authOptions"]["mode"] == "token"


def test_image_and_ray_are_of_this_version() -> None:
    version = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
    containers = [*HEAD["template"]["spec"]["initContainers"], RAY_HEAD, GATEWAY, RAY_WORKER]
    assert {each["image"] for each in containers} == {f"registry.example/masklet-fleet:{version}"}
    assert CLUSTER["spec"]["rayVersion"] == pinned("requirements-fleet.lock")["ray"]


def test_commands_are_those_of_masklet() -> None:
    lines = GATEWAY["command"][-1].splitlines()
    lines += RAY_WORKER["lifecycle"]["preStop"]["exec"]["command"][-1].split("&&")
    commands = [words for words in map(shlex.split, lines) if "masklet" in words]
    actions = []
    for words in commands:
        parsed = make_parser().parse_args(words[words.index("masklet") + 1 :])
        actions.append(words[words.index("fleet") + 1])
        if "config" in parsed:
            mounts = {mount["mountPath"] for mount in GATEWAY["volumeMounts"]}
            assert parsed.config in mounts
    assert actions == ["up", "gateway", "drain"]


def test_ports_and_probes_are_those_of_gateway_and_ray(config: FleetConfig) -> None:
    results = tcp_endpoint(config.gateway.zeromq.endpoint)
    assert results is not None
    assert (config.gateway.api.host, results[0]) == ("0.0.0.0", "0.0.0.0")
    listening = {"api": config.gateway.api.port, "results": results[1]}
    assert {port["name"]: port["containerPort"] for port in GATEWAY["ports"]} == listening
    service = of_kind("Service")["masklet"]["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == listening
    routes = overview_router(
        cast(Any, None), Access(), GatewayApiConfig(), cast(Any, 0), cast(Any, None)
    ).routes
    paths = {route.path for route in routes}  # type: ignore[attr-defined]
    for kind in ("startup", "liveness", "readiness"):
        probe = GATEWAY[f"{kind}Probe"]["httpGet"]
        assert probe["path"] in paths
        assert probe["port"] == "api"
        assert (probe["scheme"] == "HTTPS") == config.gateway.api.self_signed
        for container in (RAY_HEAD, RAY_WORKER):
            assert (
                container[f"{kind}Probe"]["grpc"]["port"] == container["ports"][0]["containerPort"]
            )
    (endpoint,) = of_kind("ServiceMonitor")["masklet"]["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("api", "/metrics")
    assert endpoint["path"] in paths
    raylet = int(WORKERS["rayStartParams"]["node-manager-port"])
    assert RAY_WORKER["ports"][0]["containerPort"] == raylet
    assert f"$POD_IP:{RAY_HEAD['ports'][0]['containerPort']}" in GATEWAY["command"][-1]
    assert not config.worker.port_minimum <= raylet <= config.worker.port_maximum


def test_a_worker_has_room_in_its_pod_and_the_head_has_none(config: FleetConfig) -> None:
    resources = RAY_WORKER["resources"]
    assert config.worker.gpus == resources["limits"]["nvidia.com/gpu"]
    assert config.worker.cpus <= int(resources["limits"]["cpu"])
    assert HEAD["rayStartParams"]["num-cpus"] == HEAD["rayStartParams"]["num-gpus"] == "0"
    # On loopback nothing of a pod could reach another; in a local folder no state either.
    assert config.worker.host == "node"
    assert config.state_address().kind == "s3"


def test_secrets_of_the_gateway_are_where_it_looks(config: FleetConfig) -> None:
    variables = {variable["name"] for variable in GATEWAY["env"]}
    assert {token.token_env for token in config.gateway.api.tokens} <= variables
    mounts = {mount["mountPath"] for mount in GATEWAY["volumeMounts"]}
    zeromq = config.gateway.zeromq
    assert str(zeromq.client_keys_directory) in mounts
    (init,) = HEAD["template"]["spec"]["initContainers"]
    assert f"{Path(str(zeromq.server_key_file)).parent}/" in init["command"][-1]
    # The token that Prometheus sends may read, and no more.
    (monitor,) = of_kind("ServiceMonitor")["masklet"]["spec"]["endpoints"]
    given = monitor["authorization"]["credentials"]
    (name,) = (
        each["name"]
        for each in GATEWAY["env"]
        if each.get("valueFrom", {}).get("secretKeyRef") == given
    )
    (token,) = (each for each in config.gateway.api.tokens if each.token_env == name)
    assert token.scopes == ["read"]


def test_every_secret_is_made_by_the_documented_commands() -> None:
    text = yaml.safe_dump_all(MANIFESTS)
    used = set(re.findall(r"secretName: (\S+)", text))
    used |= set(
        re.findall(r"secret(?:Key)?Ref:\n(?: +(?:key|optional): \S+\n)* +name: (\S+)", text)
    )
    page = (DEPLOY / "README.md").read_text()
    section = page.partition("### A fleet, on KubeRay")[2].partition("\n## ")[0]
    made = set(re.findall(r"create secret generic (\S+)", section))
    assert used == made


def test_policies_and_budgets_are_about_the_pods_of_the_cluster(config: FleetConfig) -> None:
    cluster = {"ray.io/cluster": CLUSTER["metadata"]["name"]}
    policies = of_kind("NetworkPolicy")
    everything = policies["masklet-fleet"]["spec"]
    assert everything["podSelector"]["matchLabels"] == cluster
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    assert everything["ingress"] == [{"from": [{"podSelector": {"matchLabels": cluster}}]}]
    head = cluster | {"ray.io/node-type": "head"}
    gateway = policies["masklet-gateway"]["spec"]
    assert gateway["podSelector"]["matchLabels"] == head
    open_ports = {port["port"] for rule in gateway["ingress"] for port in rule["ports"]}
    assert open_ports == {"api", "results"}
    assert of_kind("Service")["masklet"]["spec"]["selector"] == head
    budgets = of_kind("PodDisruptionBudget")
    assert budgets["masklet-head"]["spec"]["selector"]["matchLabels"] == head
    assert budgets["masklet-workers"]["spec"]["maxUnavailable"] == 1
