"""Exported jobs are run by stand-ins of Slurm and Kubernetes that kill tasks: no row is lost or doubled."""

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import yaml

from eyewright.cli import main
from eyewright.core.errors import InputError, OutputError, UsageError
from eyewright.scaling import JobTarget, export_job, open_plan, plan_predict, verify_folder, work_on_job

SCHEMA = Path(__file__).parent / "schemas" / "job-batch-v1.json"


@pytest.fixture
def job(bundle: Path, images: Path, tmp_path: Path) -> Path:
    """A planned job of 40 images in 10 shards."""
    return plan_predict(bundle, str(images), tmp_path / "job", shard_size=4).folder


@pytest.fixture
def long(bundle: Path, images: Path, tmp_path: Path) -> Path:
    """A planned job of 40 images in 40 shards, which lasts long enough to be killed in."""
    return plan_predict(bundle, str(images), tmp_path / "long", shard_size=1).folder


def rows_of(job: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


def checked(job: Path, n: int = 40) -> None:
    assert verify_folder(job)[1] == []
    assert [row["id"] for row in rows_of(job)] == list(range(n))
    assert not os.listdir(job / "tmp")
    assert not os.listdir(job / "leases")


# What Slurm's programs do with what the script passes, on this machine: srun runs a step, scontrol asks for a requeue.
_SRUN = """#!/bin/bash
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
_SCONTROL = """#!/bin/bash
[ "$1" = requeue ] && [ "$2" = "$SLURM_JOB_ID" ] && touch "$STAND_IN/requeue-$2"
"""


class Slurm:
    """A stand-in for `sbatch`: reads the #SBATCH lines and runs the script once per array task; a task whose node dies
    is queued again, as `--requeue` asks for, and so is one for which `scontrol requeue` was called."""

    def __init__(self, place: Path, script: Path) -> None:
        self.place, self.script = place, script
        (place / "bin").mkdir(parents=True)
        for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL)):
            (place / "bin" / name).write_text(text)
            (place / "bin" / name).chmod(0o755)
        options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)$", script.read_text(), re.M))
        assert "requeue" in options
        first, last = map(int, options["array"].split("-"))
        self.waiting = deque(range(first, last + 1))
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.codes: dict[int, int] = {}
        self.starts = 0

    def start(self, index: int) -> None:
        number = str(1000 + index)
        environment = {
            **os.environ, "SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": number, "STAND_IN": str(self.place),
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
        }  # fmt: skip
        (self.place / f"requeue-{number}").unlink(missing_ok=True)
        self.running[index] = subprocess.Popen(["bash", self.script], env=environment, start_new_session=True)
        self.starts += 1

    def step(self) -> bool:
        """Start what waits and note what has ended; return whether something is left."""
        while self.waiting:
            self.start(self.waiting.popleft())
        for index, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[index]
            if code < 0 or (self.place / f"requeue-{1000 + index}").exists():
                self.waiting.append(index)
            else:
                self.codes[index] = code
        return bool(self.running or self.waiting)

    def kill(self, index: int, number: int) -> None:
        """End a task: SIGKILL as the loss of a node, to all its processes; SIGTERM as before a time limit, to its
        step."""
        process = self.running[index]
        if number == signal.SIGKILL:
            for group in (process.pid, *groups_below(process.pid)):
                os.killpg(group, signal.SIGKILL)
            return
        for pid in children(process.pid):
            os.kill(pid, number)


def children(pid: int) -> list[int]:
    try:
        return [int(c) for task in Path(f"/proc/{pid}/task").glob("*/children") for c in task.read_text().split()]
    except OSError:
        return []


def groups_below(pid: int) -> list[int]:
    """Return the process groups of everything that a process has started."""
    found: list[int] = []
    for child in children(pid):
        try:
            group = os.getpgid(child)
        except ProcessLookupError:
            continue
        found += [g for g in (group, *groups_below(child)) if g != os.getpgid(pid)]
    return list(dict.fromkeys(found))


def committed(job: Path) -> int:
    return len(list((job / "commits").glob("*.json")))


def test_the_array_of_slurm_does_every_shard_once(job: Path, tmp_path: Path) -> None:
    folder = export_job(job, tmp_path / "slurm", to="slurm", target=JobTarget(tasks=3, cpus=1))
    subprocess.run(["bash", "-n", folder / "job.sbatch"], check=True)
    slurm = Slurm(tmp_path / "stand-in", folder / "job.sbatch")
    while slurm.step():
        time.sleep(0.05)
    assert slurm.codes == {0: 0, 1: 0, 2: 0}
    checked(job)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_tasks_of_slurm_that_are_killed_or_reach_their_limit_lose_and_double_nothing(long, tmp_path, seed) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(seed)
    folder = export_job(long, tmp_path / "slurm", to="slurm", target=JobTarget(tasks=2, cpus=1))
    slurm, kills = Slurm(tmp_path / "stand-in", folder / "job.sbatch"), 4
    while slurm.step():
        if kills and committed(long) >= 5 * (4 - kills):
            time.sleep(rng.uniform(0, 0.1))
            if not slurm.running:
                continue
            index = rng.choice(list(slurm.running))
            if slurm.running[index].poll() is None:
                slurm.kill(index, rng.choice((signal.SIGKILL, signal.SIGTERM)))
                kills -= 1
        time.sleep(0.01)
    assert kills < 4
    assert set(slurm.codes.values()) == {0}
    assert slurm.starts > 2
    checked(long)


class Kubelet:
    """A stand-in for the controller of indexed Jobs: one process per completion index, with the container's command;
    a pod that fails is replaced until `backoffLimit`, except for exit codes of which the policy fails the Job."""

    def __init__(self, manifest: dict[str, Any], program: list[str]) -> None:
        self.spec, self.program = manifest["spec"], program
        (self.container,) = self.spec["template"]["spec"]["containers"]
        (self.final,) = [r["onExitCodes"] for r in self.spec["podFailurePolicy"]["rules"] if "onExitCodes" in r]
        assert self.final["containerName"] == self.container["name"]
        self.waiting = list(range(self.spec["completions"]))
        self.pods: dict[int, subprocess.Popen[bytes]] = {}
        self.failed = 0
        self.completed: set[int] = set()

    def step(self) -> bool:
        while self.waiting and len(self.pods) < self.spec["parallelism"]:
            self.start(self.waiting.pop(0))
        for index, pod in list(self.pods.items()):
            code = pod.poll()
            if code is None:
                continue
            del self.pods[index]
            if code == 0:
                self.completed.add(index)
                continue
            self.failed += 1
            assert code not in self.final["values"], f"the Job failed: exit {code}"
            assert self.failed <= self.spec["backoffLimit"]
            self.waiting.append(index)
        return bool(self.waiting or self.pods)

    def start(self, index: int) -> None:
        assert self.container["command"] == ["/opt/eyewright/bin/eyewright"]
        known = {"JOB_COMPLETION_INDEX": str(index)}
        args = [
            re.sub(r"\$\((\w+)\)", lambda m: known[m[1]], text).replace("$$", "$") for text in self.container["args"]
        ]
        self.pods[index] = subprocess.Popen(
            [*self.program, *args], env={**os.environ, **known}, start_new_session=True, stdout=subprocess.DEVNULL
        )


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_pods_of_an_indexed_job_that_are_killed_lose_and_double_nothing(long: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    target = JobTarget(tasks=2, cpus=1, image="registry.example/eyewright:1", volumes={"photos": str(tmp_path)})
    folder = export_job(long, tmp_path / "k8s", to="kubernetes", target=target)
    manifest = yaml.safe_load((folder / "job.yaml").read_text())
    kubelet, kills = Kubelet(manifest, [sys.executable, "-m", "eyewright"]), 3
    while kubelet.step():
        if kills and committed(long) >= 5 * (3 - kills):
            time.sleep(rng.uniform(0, 0.1))
            if not kubelet.pods:
                continue
            pod = rng.choice(list(kubelet.pods.values()))
            for group in (pod.pid, *groups_below(pod.pid)):
                os.killpg(group, rng.choice((signal.SIGKILL, signal.SIGTERM)) if group == pod.pid else signal.SIGKILL)
            kills -= 1
        time.sleep(0.01)
    assert kills < 3
    assert kubelet.completed == {0, 1}
    checked(long)


def problems(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """Return where a value is not as a JSON schema says, of the keywords that the stored one uses."""
    if not schema:
        return [f"{at}: not described"]
    if "oneOf" in schema:
        fits = [one for one in schema["oneOf"] if not problems(value, one, at)]
        return [] if len(fits) == 1 else [f"{at}: fits {len(fits)} of {schema['oneOf']}"]
    kinds = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not any(isinstance(value, kinds[k]) and (k == "boolean" or not isinstance(value, bool)) for k in wanted):
        return [f"{at}: expected {wanted}, found {type(value).__name__}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is none of {schema['enum']}"]
    found: list[str] = []
    if isinstance(value, dict):
        found += [f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", False))
            found += [f"{at}.{name}: unknown"] if inner is False else problems(one, inner, f"{at}.{name}")
    if isinstance(value, list):
        for k, one in enumerate(value):
            found += problems(one, schema["items"], f"{at}[{k}]")
    return found


def test_the_manifest_is_as_the_schema_of_kubernetes_says(job: Path, tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    target = JobTarget(tasks=7, image="registry.example/eyewright@sha256:abc", volumes={"a": str(tmp_path), "b": "/b"})
    text = (export_job(job, tmp_path / "k8s", to="kubernetes", target=target) / "job.yaml").read_text()
    assert "&id" not in text
    manifest = yaml.safe_load(text)
    assert problems(manifest, schema) == []
    spec = manifest["spec"]
    assert (spec["completions"], spec["parallelism"]) == (7, 7)
    assert {m["mountPath"] for m in spec["template"]["spec"]["containers"][0]["volumeMounts"]} == {
        str(tmp_path), "/b", "/tmp",
    }  # fmt: skip
    # The check can fail.
    spec["completionMode"] = 1
    spec["template"]["spec"]["restartPolice"] = "Never"
    del spec["template"]["spec"]["containers"][0]["name"]
    assert len(problems(manifest, schema)) == 3


def test_no_more_tasks_than_shards(job: Path, tmp_path: Path) -> None:
    text = (export_job(job, tmp_path / "s", to="slurm", target=JobTarget(tasks=99)) / "job.sbatch").read_text()
    assert "#SBATCH --array=0-9\n" in text
    assert '"$SLURM_ARRAY_TASK_ID/10"' in text


def test_what_is_missing_or_cannot_be_written_is_refused(job: Path, tmp_path: Path) -> None:
    image = "registry.example/eyewright:1"
    with pytest.raises(UsageError, match="expected a container image"):
        export_job(job, tmp_path / "x", to="kubernetes")
    with pytest.raises(UsageError, match="expected a volume that holds the job"):
        export_job(job, tmp_path / "x", to="kubernetes", target=JobTarget(image=image, volumes={"a": "/elsewhere"}))
    with pytest.raises(UsageError, match="expected a volume CLAIM:/PATH, found A_B:"):
        export_job(job, tmp_path / "x", to="kubernetes", target=JobTarget(image=image, volumes={"A_B": str(tmp_path)}))
    with pytest.raises(UsageError, match="unknown target 'slurmy'"):
        export_job(job, tmp_path / "x", to="slurmy")
    with pytest.raises(InputError, match="expected the plan of a job"):
        export_job(tmp_path / "none", tmp_path / "x", to="slurm")
    assert not (tmp_path / "x").exists()
    with pytest.raises(OutputError, match="is not empty"):
        export_job(job, job, to="slurm")


def test_a_path_that_slurm_would_misread_is_refused(bundle: Path, images: Path, tmp_path: Path) -> None:
    for name in ("a job", "job$(id)", "job\n#SBATCH --uid=0"):
        plan_predict(bundle, str(images), tmp_path / name)
        with pytest.raises(UsageError, match="expected a path of letters"):
            export_job(tmp_path / name, tmp_path / "x", to="slurm")


def test_a_bundle_that_lies_elsewhere_is_used_if_it_is_the_planned_one(bundle, images, job, tmp_path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    shutil.copytree(bundle, tmp_path / "moved")
    about = json.loads((job / "plan" / "plan.json").read_text())
    (job / "plan" / "plan.json").write_text(json.dumps({**about, "model": "/nowhere"}))
    assert main(["work", str(job), "--quiet"]) == 3
    assert not (job / "manifest.json").exists()
    # Images with errors are in the counts: a scheduler would start a task again that ends with 1.
    assert main(["work", str(job), "--bundle", str(tmp_path / "moved"), "--part", "2/3", "--quiet"]) == 0
    checked(job)
    assert main(["work", str(job), "--verify", "--quiet"]) == 0


def test_a_part_says_where_a_worker_begins(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eyewright.scaling import engine

    began: list[int] = []
    stage = engine.Ledger.stage

    def noted(self, shard, format="jsonl"):  # type: ignore[no-untyped-def]
        began.append(shard.shard)
        return stage(self, shard, format)

    monkeypatch.setattr(engine.Ledger, "stage", noted)
    work_on_job(job, workers=1, part=(1, 2))
    assert began == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="expected a part from 0 to 1, found 2"):
        work_on_job(job, part=(2, 2))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["work", "none"], 3, "expected the plan of a job"),
        (["work", "job", "--part", "3/3"], 2, "expected a part such as 0/4, found '3/3'"),
        (
            ["export", "job", "--out", "x", "--to", "slurm", "--image", "a"],
            2,
            "--image is not supported with --to slurm",
        ),
        (["export", "job", "--out", "x", "--to", "kubernetes", "--volume", "a"], 2, "expected a volume CLAIM:/PATH"),
        (["export", "job", "--out", "x", "--to", "slurm", "--sign", "k"], 2, "--sign is not supported with --to slurm"),
        (
            ["export", "none", "--out", "x", "--to", "docker", "--tasks", "3"],
            2,
            "--tasks needs --to slurm, kubernetes, kuberay or kserve",
        ),
        (
            ["export", "job", "--out", "x", "--to", "lsf"],
            2,
            "expected --to slurm, kubernetes, kuberay or kserve for the job 'job', found 'lsf'",
        ),
        (["export", "none", "--out", "x", "--to", "slurm"], 3, "expected the plan of a job"),
        (["work", "none"], 3, "check the folder or address of the job"),
        (
            ["export", "job", "--out", "x", "--to", "kubernetes", "--volume", "a:/x", "--volume", "a:/y"],
            2,
            "expected --volume a once, found it at '/x' and '/y'",
        ),
    ],
)
def test_wrong_commands_are_one_line(job, tmp_path, monkeypatch, capsys, words, code, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    assert said in capsys.readouterr().err


def test_fewer_tasks_than_asked_for_and_a_finished_job_are_said(job: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["export", str(job), "--to", "slurm", "--tasks", "90000", "--out"]
    n = open_plan(job).n_shards
    assert main([*words, str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert f"{n}, not 90,000" in said
    assert "nothing is left" not in said
    work_on_job(job, workers=1)
    assert main([*words, str(tmp_path / "b")]) == 0
    assert "all shards are done: nothing is left to do" in capsys.readouterr().out


def test_the_program_of_the_cluster_is_written(job: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["export", str(job), "--to", "slurm", "--out", str(tmp_path / "s"), "--program", "/opt/my eye/eyewright"]
    assert main([*words, "--tasks", "2", "--cpus", "8", "--memory", "2G", "--time", "90m", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"]["slurm"] == str(tmp_path / "s")
    text = (tmp_path / "s" / "job.sbatch").read_text()
    assert f"'/opt/my eye/eyewright' work {job} --workers 8 --part" in text
    assert "#SBATCH --mem=1907M\n#SBATCH --time=90\n" in text
    assert stat.S_ISREG((tmp_path / "s" / "README.md").stat().st_mode)
