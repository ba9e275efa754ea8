"""Manifests of what operators add to Kubernetes: a RayJob of KubeRay, an InferenceService of KServe."""

__all__ = ["inference_service", "ray_job"]

from collections.abc import Mapping
from typing import Any

# As `rayproject/ray` has it: what runs Ray there.
_RAY_USER = 1000
_TRIES = 6
_PORT = 8000
_GRACE_S = 60
# The user of the image of `export --to docker`.
_SERVER = {"readOnlyRootFilesystem": True, "runAsNonRoot": True, "runAsUser": 10001}
_LOCKED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def ray_job(
    name: str, entrypoint: str, *, image: str, tasks: int, cpus: int, memory_mb: int, volumes: Mapping[str, str]
) -> dict[str, Any]:
    """Return a RayJob that starts a cluster of so many workers for a command, and again where it fails: with a token,
    without work on its head; `volumes` are the paths by claim."""
    mounts = [{"name": f"data-{k}", "mountPath": path} for k, path in enumerate(volumes.values())]
    claims = [{"name": f"data-{k}", "persistentVolumeClaim": {"claimName": c}} for k, c in enumerate(volumes)]

    def pod(container: str, cores: int) -> dict[str, Any]:
        amounts = {"cpu": str(cores), "memory": f"{memory_mb}Mi"}
        return {
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": _GRACE_S,
                "securityContext": {"runAsNonRoot": True, "runAsUser": _RAY_USER, "fsGroup": _RAY_USER},
                "containers": [
                    {
                        "name": container,
                        "image": image,
                        "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
                        "resources": {"requests": amounts, "limits": {"memory": amounts["memory"]}},
                        "securityContext": _LOCKED,
                        "volumeMounts": mounts,
                    }
                ],
                "volumes": claims,
            }
        }

    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "entrypoint": entrypoint,
            "backoffLimit": _TRIES,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "authOptions": {"mode": "token"},
                # The head may be lost with what runs on it: it does no shards.
                "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod("ray-head", 1)},
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": tasks,
                        "minReplicas": tasks,
                        "maxReplicas": tasks,
                        "rayStartParams": {"num-cpus": str(cpus)},
                        "template": pod("ray-worker", cpus),
                    }
                ],
            },
        },
    }


def inference_service(name: str, *, image: str, most: int, cpus: int, memory_mb: int) -> dict[str, Any]:
    """Return an InferenceService of the server in an image that `export --to docker` describes: one pod, and under load
    up to `most`; its token is the key `token` of the Secret with the name of the service."""
    amounts = {"cpu": str(cpus), "memory": f"{memory_mb}Mi"}
    ready = {"httpGet": {"path": "/v2/health/ready", "port": _PORT}, "periodSeconds": 5}
    live = {"httpGet": {"path": "/v2/health/live", "port": _PORT}, "periodSeconds": 30, "timeoutSeconds": 5}
    token = {"name": "EYEWRIGHT_TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": most,
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": image,
                        "args": ["--host", "0.0.0.0"],  # noqa: S104 - in a pod, with a token
                        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
                        "env": [token],
                        "readinessProbe": ready,
                        "livenessProbe": live,
                        "resources": {"requests": amounts, "limits": {"memory": amounts["memory"]}},
                        "securityContext": {**_LOCKED, **_SERVER},
                        "volumeMounts": [
                            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container
                            {"name": "state", "mountPath": "/var/lib/eyewright"},
                        ],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "state", "emptyDir": {}}],
            }
        },
    }


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "eyewright", "app.kubernetes.io/instance": name}
