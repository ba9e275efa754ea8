"""Files that run a planned job on a cluster: a job array for Slurm, an indexed Job for Kubernetes, a RayJob for
KubeRay; and an InferenceService that serves a bundle.

Every task runs `eyewright work JOB`, which takes shards by leases in the folder of the job: no task depends on another,
and one that is killed, preempted or requeued loses at most the shards that it was working on.
"""

__all__ = ["JOB_TARGETS", "JobTarget", "export_job", "export_service", "tasks_of"]

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eyewright.bundle.verify import read_sealed
from eyewright.core.errors import OutputError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder, write_text
from eyewright.core.quoting import quoted
from eyewright.scaling.custom_resources import inference_service, ray_job
from eyewright.scaling.plan import Plan, open_plan

_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]{0,254}")
_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
# Where `export --to docker` installs the program, and the user that it runs as.
_PROGRAM, _USER = "/opt/eyewright/bin/eyewright", 10001
_GRACE_S = 60
# Exit codes that another try does not change: usage, input, a refused bundle or plan.
_FINAL = [2, 3, 4]
_TRIES = 6
# Taints of cheap nodes that may be taken away at any time; on AWS they have none of their own.
_SPOT = (("cloud.google.com/gke-spot", "true"), ("kubernetes.azure.com/scalesetpriority", "spot"))


@dataclass(frozen=True)
class JobTarget:
    """What a job is given on a cluster: so many `tasks` (array tasks or pods), each with `cpus` cores and `memory_mb`;
    for Slurm at most `minutes` a task before it is requeued, and the `program` that is installed there; for Kubernetes
    the container `image` and `volumes`: the path at which each claim is mounted, by the claim's name."""

    tasks: int = 4
    cpus: int = 2
    memory_mb: int = 4096
    minutes: int = 240
    program: tuple[str, ...] = (sys.executable, "-m", "eyewright")
    image: str | None = None
    volumes: Mapping[str, str] | None = None


def export_job(folder: str | Path, out: str | Path, *, to: str, target: JobTarget | None = None) -> Path:
    """Write the files that run a planned job on a cluster into the folder `out`: "slurm", "kubernetes" or "kuberay".
    The job, its images and its bundle have to be at the same paths there, on storage that all tasks share.

    Raises:
        InputError: there is no job.
        RefusedError: its plan was changed.
        UsageError: there is no such target, or it lacks a value.
        OutputError: `out` has files of something else.
    """
    if to not in JOB_TARGETS:
        raise UsageError(f"unknown target {to!r} of a job", fix=spelling_hint(to, JOB_TARGETS))
    plan, place, chosen = open_plan(Path(folder)), Path(out), target or JobTarget()
    _refuse_used(place)
    return _written(place, JOB_TARGETS[to](plan, Path(folder).resolve(), chosen))


def tasks_of(plan: Plan, target: JobTarget) -> int:
    """Return how many tasks a job is exported for: no more than it has shards."""
    return min(target.tasks, plan.n_shards)


def _refuse_used(place: Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise OutputError(f"{quoted(place)} exists and is not empty", fix="choose another --out")


def _written(place: Path, files: Mapping[str, str]) -> Path:
    _refuse_used(place)
    with staged_folder(place) as stage, checked_output(place):
        for name, text in files.items():
            write_text(stage / name, text)
    return place


def _slurm(plan: Plan, job: Path, target: JobTarget) -> dict[str, str]:
    # A path in a #SBATCH line is not read by a shell: it is written as it is, or not at all.
    if not _PLAIN.fullmatch(str(job)):
        raise UsageError(
            f"expected a path of letters, digits and ._-/ for Slurm, found {quoted(job)}", fix="move the job"
        )
    tasks = tasks_of(plan, target)
    work = [*target.program, "work", str(job), "--workers", str(target.cpus)]
    script = _SLURM.format(
        name=_name_of(plan), last=tasks - 1, tasks=tasks, cpus=target.cpus, memory=target.memory_mb,
        minutes=target.minutes, job=job, work=shlex.join(work), grace=_GRACE_S,
    )  # fmt: skip
    about = _SLURM_README.format(name=_name_of(plan), **_told(plan, job, tasks))
    return {"job.sbatch": script, "README.md": about}


def export_service(bundle: str | Path, out: str | Path, *, target: JobTarget) -> Path:
    """Write an InferenceService for KServe into the folder `out`, of the `image` that serves a bundle (`export --to
    docker`), with one to `tasks` pods of so many `cpus` and so much memory.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        UsageError: there is no image.
        OutputError: `out` has files of something else.
    """
    manifest, _, digest = read_sealed(Path(bundle))
    image, place = _checked_image(target, "KServe"), Path(out)
    name = f"eyewright-{digest[:10]}"
    service = inference_service(
        name, image=image, most=target.tasks, cpus=target.cpus, memory_mb=target.memory_mb
    )  # fmt: skip
    about = _KSERVE_README.format(name=name, model=manifest.name, image=image)
    return _written(place, {"service.yaml": _yaml(service), "README.md": about})


def _checked_image(target: JobTarget, where: str) -> str:
    if target.image is None or not _IMAGE.fullmatch(target.image):
        raise UsageError(
            f"expected a container image for {where}, found {target.image or 'none'!r}",
            fix="pass --image REGISTRY/NAME:TAG, as export --to docker and docker build make it",
        )
    return target.image


def _checked_volumes(target: JobTarget, job: Path) -> dict[str, str]:
    volumes = dict(target.volumes or {})
    for claim, path in volumes.items():
        if not _CLAIM.fullmatch(claim) or not path.startswith("/"):
            raise UsageError(f"expected a volume CLAIM:/PATH, found {claim}:{path}", fix="change --volume")
    if not any(job.is_relative_to(path) for path in volumes.values()):
        raise UsageError(
            f"expected a volume that holds the job {quoted(job)}, found {', '.join(volumes.values()) or 'none'}",
            fix="pass --volume CLAIM:/PATH, with the path that it has here",
        )
    return volumes


def _kuberay(plan: Plan, job: Path, target: JobTarget) -> dict[str, str]:
    image, volumes = _checked_image(target, "KubeRay"), _checked_volumes(target, job)
    # Ray gives the entrypoint to a shell.
    entrypoint = shlex.join(["eyewright", "work", str(job), "--on", "ray"])
    tasks = tasks_of(plan, target)
    manifest = ray_job(
        _name_of(plan), entrypoint, image=image, tasks=tasks, cpus=target.cpus, memory_mb=target.memory_mb,
        volumes=volumes,
    )  # fmt: skip
    about = _KUBERAY_README.format(name=_name_of(plan), **_told(plan, job, tasks))
    return {"rayjob.yaml": _yaml(manifest), "README.md": about}


def _yaml(manifest: dict[str, Any]) -> str:
    class NoAliases(yaml.SafeDumper):
        """A value that occurs twice is written twice: `kubectl` reads anchors, people do not."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump(manifest, Dumper=NoAliases, sort_keys=False, allow_unicode=False, width=120))


def _kubernetes(plan: Plan, job: Path, target: JobTarget) -> dict[str, str]:
    _checked_image(target, "Kubernetes")
    volumes = _checked_volumes(target, job)
    tasks = tasks_of(plan, target)
    manifest = _manifest(plan, job, target, tasks, volumes)
    about = _KUBERNETES_README.format(name=_name_of(plan), **_told(plan, job, tasks))
    return {"job.yaml": _yaml(manifest), "README.md": about}


def _manifest(plan: Plan, job: Path, target: JobTarget, tasks: int, volumes: Mapping[str, str]) -> dict[str, Any]:
    name = _name_of(plan)
    labels = {"app.kubernetes.io/name": "eyewright", "app.kubernetes.io/instance": name}
    amounts = {"cpu": str(target.cpus), "memory": f"{target.memory_mb}Mi"}
    mounts = [{"name": f"data-{k}", "mountPath": path} for k, path in enumerate(volumes.values())]
    worker = {
        "name": "worker",
        "image": target.image,
        "command": [_PROGRAM],
        # Kubernetes replaces $(NAME), and $$ is one $.
        "args": [
            "work", str(job).replace("$", "$$"), "--workers", str(target.cpus), "--part",
            f"$(JOB_COMPLETION_INDEX)/{tasks}",
        ],
        "resources": {"requests": amounts, "limits": {"memory": amounts["memory"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of the container
    }  # fmt: skip
    claims = [{"name": f"data-{k}", "persistentVolumeClaim": {"claimName": c}} for k, c in enumerate(volumes)]
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER},
        "tolerations": [{"key": k, "operator": "Equal", "value": v, "effect": "NoSchedule"} for k, v in _SPOT],
        "containers": [worker],
        "volumes": [*claims, {"name": "tmp", "emptyDir": {}}],
    }
    final = {"containerName": "worker", "operator": "In", "values": _FINAL}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": tasks,
            "parallelism": tasks,
            "backoffLimit": _TRIES * tasks,
            "podFailurePolicy": {
                "rules": [
                    # A pod whose node is taken away is replaced and does not count as a failure.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {"action": "FailJob", "onExitCodes": final},
                ]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


JOB_TARGETS: Mapping[str, Callable[[Plan, Path, JobTarget], dict[str, str]]] = {
    "slurm": _slurm,
    "kubernetes": _kubernetes,
    "kuberay": _kuberay,
}
"""What a job is exported to, by name: a function that returns the text of each file."""


def _name_of(plan: Plan) -> str:
    return f"eyewright-{plan.verb}-{plan.digest[:10]}"


def _told(plan: Plan, job: Path, tasks: int) -> dict[str, object]:
    needed = [str(job), str(plan.root) if plan.root != Path("/") else "the planned images", plan.model]
    paths = "\n".join(f"- `{path}`" for path in needed if path)
    return {"images": f"{plan.n_images:,}", "shards": f"{plan.n_shards:,}", "tasks": tasks, "job": job, "paths": paths}


_SLURM = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={memory}M
#SBATCH --time={minutes}
#SBATCH --requeue
#SBATCH --signal=TERM@{grace}
#SBATCH --open-mode=append
#SBATCH --output={job}/slurm-%a.log
set -u
code=0
srun --ntasks=1 {work} --part "$SLURM_ARRAY_TASK_ID/{tasks}" || code=$?
# Told to end before the time limit: what is committed stays, and the task continues with the rest.
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID" || exit "$code"
fi
exit "$code"
"""

_README = """# {name}

{images} images in {shards} shards, for {tasks} tasks. Every task needs these paths, on storage that all of them share
(it must support hard links, as NFS does):

{paths}

{{run}}

Each task takes shards by leases in the job's folder, and may be killed at any time: another task does the shards that
it was working on, 60 s after its last renewal. Check the results with `eyewright work {job} --verify`.

Files like these are run by stand-ins of the scheduler on one machine, with tasks killed at random, and those for
Kubernetes and KubeRay are checked against their fields. They were never run on a real cluster.
"""

_SLURM_README = _README.replace(
    "{{run}}",
    """    sbatch job.sbatch

A task that reaches its time limit, or is preempted, is queued again. Its log is `{job}/slurm-N.log`.""",
)

_KUBERNETES_README = _README.replace(
    "{{run}}",
    """    kubectl apply -f job.yaml
    kubectl wait --for=condition=complete --timeout=-1s job/{name}

The job's folder must be writable for user 10001. Needs Kubernetes 1.31 or later (`podFailurePolicy`). Pods tolerate the
taints of spot nodes on GKE and AKS; a pod that is taken away is replaced and does not count as a failure.""",
)

_KUBERAY_README = _README.replace(
    "{{run}}",
    """    kubectl apply -f rayjob.yaml
    kubectl wait --for=jsonpath={{.status.jobStatus}}=SUCCEEDED --timeout=-1s rayjob/{name}

Needs KubeRay 1.5.1 or later, which makes the token that all nodes ask for. Jobs are submitted through Ray's HTTP API:
the image needs `ray[default]`, and Eyewright of the version that planned the job, such as

    FROM rayproject/ray:2.60.0-py311
    RUN pip install 'eyewright[ray]'

Another image needs the user 1000, to whom the job's folder must be writable. Ray does not encrypt what nodes send each
other, nor the token: run it in a network of your own. When the command fails, as when the head is lost, KubeRay starts
another cluster, which continues the job.""",
)

_KSERVE_README = """# {model} on KServe

    kubectl create secret generic {name} --from-literal=token="$(openssl rand -hex 24)"
    kubectl apply -f service.yaml
    kubectl wait --for=condition=Ready inferenceservice/{name}

The image `{image}` is the one that `eyewright export BUNDLE --to docker` and `docker build` make. It speaks KServe's
protocol V2; every request sends the token: `Authorization: Bearer TOKEN`. A pod is ready when the bundle has passed its
self-test.

The file is checked against the fields of KServe 0.15, and the container's command and probes are run on one machine. It
was never run on a real cluster.
"""
