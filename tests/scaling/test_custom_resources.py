"""Manifests for KubeRay and KServe have the fields of their types, and what they run works on this machine."""

import copy
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scaling.test_exports import problems

from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.scaling import JobTarget, export_job, export_service, plan_predict, verify_folder

SCHEMAS = Path(__file__).parent / "schemas"
FAKE = Path(__file__).parent / "fake_ray"
IMAGE = "registry.example/eyewright-ray:1"
_TEXT: dict[str, Any] = {"type": "string"}
_PROBE = {
    "type": "object",
    "properties": {
        "httpGet": {"type": "object", "properties": {"path": _TEXT, "port": {"type": "integer"}}, "required": ["port"]},
        "periodSeconds": {"type": "integer"},
        "timeoutSeconds": {"type": "integer"},
    },
}
_KEY = {"type": "object", "properties": {"name": _TEXT, "key": _TEXT}, "required": ["key"]}
# What core/v1 says of fields that the stored schema, of a batch job, knows and does not describe.
_CONTAINER: dict[str, Any] = {
    "env": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "value": _TEXT,
                "valueFrom": {"type": "object", "properties": {"secretKeyRef": _KEY}},
            },
            "required": ["name"],
        },
    },
    "ports": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"containerPort": {"type": "integer"}, "protocol": {"type": "string", "enum": ["TCP"]}},
            "required": ["containerPort"],
        },
    },
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
}


def schema_of(name: str) -> dict[str, Any]:
    """Return a stored schema with the template of pods put in."""
    job = json.loads((SCHEMAS / "job-batch-v1.json").read_text())
    pod = job["properties"]["spec"]["properties"]["template"]
    container = pod["properties"]["spec"]["properties"]["containers"]["items"]["properties"]
    container.update(_CONTAINER)
    container["securityContext"]["properties"] |= {
        "runAsNonRoot": {"type": "boolean"},
        "runAsUser": {"type": "integer"},
    }

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$pod" in value:
            return pod
        if "$podspec" in value:
            own, spec = filled(value["$podspec"]), copy.deepcopy(pod["properties"]["spec"])
            return {**spec, "properties": {**spec["properties"], **own["properties"]}}
        return {k: filled(v) for k, v in value.items()}

    found: dict[str, Any] = filled(json.loads((SCHEMAS / name).read_text()))
    return found


@pytest.fixture
def job(bundle: Path, images: Path, tmp_path: Path) -> Path:
    """A planned job of 40 images in 10 shards."""
    return plan_predict(bundle, str(images), tmp_path / "job", shard_size=4).folder


def test_the_rayjob_has_the_fields_of_kuberay(job: Path, tmp_path: Path) -> None:
    target = JobTarget(tasks=3, cpus=4, image=IMAGE, volumes={"photos": str(tmp_path)})
    folder = export_job(job, tmp_path / "out", to="kuberay", target=target)
    text = (folder / "rayjob.yaml").read_text()
    assert "&id" not in text
    manifest = yaml.safe_load(text)
    schema = schema_of("rayjob-v1.json")
    assert problems(manifest, schema) == []
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    assert f"rayjob/{manifest['metadata']['name']}" in (folder / "README.md").read_text()
    # The check can fail.
    cluster["authOptions"]["mode"] = "none"
    group["replica"] = 1
    del group["template"]["spec"]["containers"][0]["name"]
    assert len(problems(manifest, schema)) == 3


def test_the_entrypoint_of_the_rayjob_does_the_job(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A head without cores and two nodes, as KubeRay starts them, with its variables; the shell has `eyewright`.
    clusters, programs = tmp_path / "clusters" / "6379", tmp_path / "bin"
    clusters.mkdir(parents=True)
    programs.mkdir()
    (clusters / "nodes").write_text("[0, 1, 1]")
    (clusters / "token").write_text("of-the-secret")
    (programs / "eyewright").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m eyewright "$@"\n')
    (programs / "eyewright").chmod(0o755)
    for name, value in {
        "FAKE_RAY": str(tmp_path / "clusters"), "RAY_ADDRESS": "10.0.0.7:6379", "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "of-the-secret", "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    target = JobTarget(tasks=2, image=IMAGE, volumes={"photos": str(tmp_path)})
    folder = export_job(job, tmp_path / "out", to="kuberay", target=target)
    entrypoint = yaml.safe_load((folder / "rayjob.yaml").read_text())["spec"]["entrypoint"]
    assert subprocess.run(["sh", "-c", entrypoint], check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert verify_folder(job)[1] == []


def test_the_service_has_the_fields_of_kserve(bundle: Path, tmp_path: Path) -> None:
    folder = export_service(bundle, tmp_path / "out", target=JobTarget(tasks=5, image=IMAGE))
    manifest = yaml.safe_load((folder / "service.yaml").read_text())
    schema = schema_of("inferenceservice-v1beta1.json")
    assert problems(manifest, schema) == []
    # The rule of KServe's webhook for names.
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
    predictor = manifest["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 5)
    predictor["maxReplica"] = 5
    assert len(problems(manifest, schema)) == 1


def test_the_container_of_the_service_is_ready_and_asks_for_its_token(bundle: Path, tmp_path: Path) -> None:
    folder = export_service(bundle, tmp_path / "out", target=JobTarget(image=IMAGE))
    manifest = yaml.safe_load((folder / "service.yaml").read_text())
    (container,) = manifest["spec"]["predictor"]["containers"]
    (port,) = container["ports"]
    # The image's entrypoint, as `export --to docker` writes it, with another port than the pod's.
    assert main(["export", str(bundle), "--to", "docker", "--out", str(tmp_path / "docker"), "--quiet"]) == 0
    (line,) = re.findall(r"^ENTRYPOINT (.+)$", (tmp_path / "docker" / "Dockerfile").read_text(), re.M)
    _, *entry = json.loads(line)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    entry = [
        str(chosen) if w == str(port["containerPort"]) else str(bundle) if w == "/opt/bundle" else w for w in entry
    ]
    (variable,) = container["env"]
    token = secrets.token_hex(16)
    address = f"http://127.0.0.1:{chosen}"
    command = [sys.executable, "-m", "eyewright", *entry, *container["args"]]
    with subprocess.Popen(
        command, env={**os.environ, variable["name"]: token}, cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as server:
        try:
            until = time.monotonic() + 120
            while status_of(address + container["readinessProbe"]["httpGet"]["path"]) != 200:
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            assert status_of(address + container["livenessProbe"]["httpGet"]["path"]) == 200
            assert status_of(address + "/v2") == 401
            assert status_of(address + "/v2", token) == 200
        finally:
            server.terminate()


def status_of(address: str, token: str = "") -> int:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_what_is_missing_is_refused(job: Path, bundle: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="expected a container image for KubeRay, found 'none'"):
        export_job(job, tmp_path / "x", to="kuberay")
    with pytest.raises(UsageError, match="expected a volume that holds the job"):
        export_job(job, tmp_path / "x", to="kuberay", target=JobTarget(image=IMAGE))
    with pytest.raises(UsageError, match="expected a container image for KServe"):
        export_service(bundle, tmp_path / "x", target=JobTarget())
    words = ["export", str(bundle), "--to", "kserve", "--out", str(tmp_path / "x"), "--image", IMAGE]
    assert main([*words, "--volume", "a:/b"]) == 2
    assert "--volume is not supported with --to kserve" in capsys.readouterr().err
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["out"], told["files"]) == ({"kserve": str(tmp_path / "x")}, ["README.md", "service.yaml"])
    shutil.rmtree(tmp_path / "x")
    words = ["export", str(job), "--to", "kuberay", "--out", str(tmp_path / "x"), "--image", IMAGE]
    assert main([*words, "--volume", f"a:{tmp_path}", "--tasks", "2", "--cpus", "8", "--memory", "2G"]) == 0
    group = yaml.safe_load((tmp_path / "x" / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]["workerGroupSpecs"][
        0
    ]
    assert group["rayStartParams"] == {"num-cpus": "8"}
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1907Mi"}
