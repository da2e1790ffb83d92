"""Rendering the chart with helm, and checking manifests against the schemas of Kubernetes."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "masklet"
CUSTOM = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text())
# The oldest that the chart accepts, and the newest there is.
VERSIONS = ("1.27", "1.37")

Manifest = dict[str, Any]


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> tuple[int, str, str]:
    """Run helm with ``values``: its exit code, output and errors."""
    if (program := shutil.which("helm")) is None:
        pytest.fail("helm is missing: `make test` installs it into .venv/bin")
    finished = subprocess.run(
        [program, *map(str, arguments), "--values", "-"],
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout, finished.stderr


def rendered(values: Mapping[str, Any]) -> dict[str, Manifest]:
    """What the chart makes of ``values``: manifests by kind, those of dashboards apart."""
    return copy.deepcopy(_rendered(json.dumps(values)))


@functools.cache
def _rendered(values: str) -> dict[str, Manifest]:
    code, output, errors = helm("template", "gate", CHART, values=json.loads(values))
    assert code == 0, errors
    made: dict[str, Manifest] = {}
    for manifest in filter(None, yaml.safe_load_all(output)):
        dashboards = manifest["metadata"]["name"].endswith("-dashboards")
        kind = "Dashboards" if dashboards else manifest["kind"]
        assert kind not in made, f"two of {kind}"
        made[kind] = manifest
    return made


def check(manifests: Iterable[Manifest]) -> None:
    """Every manifest is valid, with no key that its kind does not have."""
    for manifest in manifests:
        if (schema := CUSTOM.get(manifest["kind"])) is not None:
            jsonschema.validate(manifest["spec"], schema)
            for template in pod_templates(manifest):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}} | template
                _check_against_all_versions(pod)
        else:
            _check_against_all_versions(manifest)


def pod_templates(manifest: Manifest) -> Iterator[Manifest]:
    """The pod templates of a Deployment, a Job or a RayCluster."""
    spec = manifest["spec"]
    if manifest["kind"] == "RayCluster":
        groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
        yield from (group["template"] for group in groups)
    elif "template" in spec:
        yield spec["template"]


def check_closed(template: Manifest, *, has_token: bool = False) -> None:
    """A pod that is not root, cannot become it and writes only to volumes; without a token."""
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is has_token
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["fsGroup"] == user_of_the_image()
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def user_of_the_image() -> int:
    """The user that the Dockerfile makes."""
    text = (DEPLOY / "Dockerfile").read_text()
    return int(text.partition("useradd --uid ")[2].split()[0])


def _check_against_all_versions(manifest: Manifest) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
