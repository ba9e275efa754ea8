"""A training on a Ray cluster is a world of processes that goes on from its checkpoint when one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eyewright.cli import main
from eyewright.cli.training import _words_of
from eyewright.core.errors import InputError, LostError, RefusedError
from eyewright.scaling.ray_cluster import GoneError
from eyewright.scaling.ray_ranks import RayRank
from eyewright.scaling.ray_training import failure_of, train_world
from eyewright.training.checkpoints import read_tensors

FAKE = Path(__file__).parent / "fake_ray"


class Cluster:
    """Ranks whose answers a function says, by the number of the world and of the rank."""

    nodes, address = (2, 1), "127.0.0.1:6379"

    def __init__(self, answer: Callable[[int, int, dict[str, Any]], dict[str, Any]]) -> None:
        self.answer, self.started, self.ended = answer, 0, 0
        self.asked: list[dict[str, Any]] = []

    def start(self, threads: int, timeout_s: float, kind: type) -> "Rank":
        assert kind is RayRank
        self.started += 1
        return Rank(self)


class Rank:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def open(self, request: str) -> str:
        return RayRank().open(request)

    def do(self, request: str) -> str:
        asked = json.loads(request)
        self.cluster.asked.append(asked)
        world = (self.cluster.started - 1) // int(asked["variables"]["WORLD_SIZE"])
        return json.dumps(self.cluster.answer(world, int(asked["variables"]["RANK"]), asked))

    def end(self) -> None:
        self.cluster.ended += 1


def asked_for(out: Path, **more: Any) -> dict[str, Any]:
    from eyewright.scaling.ray_worker import own_version

    return {
        "words": ["train", "data"],
        "out": str(out),
        "processes": 2,
        "version": own_version(),
        "folder": str(out),
        **more,
    }


DONE = {"code": 0, "out": "done", "error": ""}


def checkpointed(out: Path, at: int) -> None:
    place = out / "checkpoints" / "last" / "state.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    os.utime(place, ns=(at, at))


def test_every_process_has_the_variables_of_torchrun(tmp_path: Path) -> None:
    cluster = Cluster(lambda world, rank, asked: {**DONE, "out": f"rank {rank}"})
    answer = train_world(cluster, asked_for(tmp_path, processes=0))
    assert (answer["code"], answer["out"], answer["restarts"]) == (0, "rank 0", 0)
    found = [a["variables"] for a in cluster.asked]
    assert sorted(v["RANK"] for v in found) == ["0", "1", "2"]
    assert {(v["WORLD_SIZE"], v["MASTER_ADDR"], v["MASTER_PORT"]) for v in found} == {
        ("3", "127.0.0.1", found[0]["MASTER_PORT"])
    }
    assert all(v["TORCHELASTIC_RUN_ID"] and v["OMP_NUM_THREADS"] == "1" for v in found)
    assert cluster.ended == cluster.started == 3


def test_a_lost_process_ends_the_others_and_a_new_world_resumes(tmp_path: Path) -> None:
    def answer(world: int, rank: int, asked: dict[str, Any]) -> dict[str, Any]:
        if world == 0 and rank == 1:
            checkpointed(tmp_path, 1)
            raise GoneError("its node has died")
        if world == 0:
            # It waits for the other one; its answer comes too late.
            time.sleep(1)
        return DONE

    cluster = Cluster(answer)
    assert train_world(cluster, asked_for(tmp_path))["restarts"] == 1
    assert [a["words"] for a in cluster.asked if "--resume" in a["words"]] == [["train", "data", "--resume"]] * 2
    assert cluster.ended == cluster.started == 4


def test_without_a_checkpoint_it_begins_again_and_ends_after_three_losses(tmp_path: Path) -> None:
    cluster = Cluster(lambda world, rank, asked: {"code": -9, "out": "", "error": ""})
    with pytest.raises(
        LostError, match="3 times in a row a process of 2 was lost before a new checkpoint, the last: exit -9"
    ):
        train_world(cluster, asked_for(tmp_path))
    assert not any("--resume" in a["words"] for a in cluster.asked)
    assert cluster.started == 6


def test_losses_with_new_checkpoints_between_them_are_not_the_end(tmp_path: Path) -> None:
    def answer(world: int, rank: int, asked: dict[str, Any]) -> dict[str, Any]:
        if world < 5:
            checkpointed(tmp_path, world + 1)
            return {"code": 70, "out": "", "error": "gloo: connection closed by peer\n"}
        return DONE

    assert train_world(Cluster(answer), asked_for(tmp_path))["restarts"] == 5


def test_what_another_try_does_not_change_is_said_at_once(tmp_path: Path) -> None:
    said = "progress\neyewright: expected images in 'x', found none; check the path\n"
    cluster = Cluster(lambda world, rank, asked: {"code": 3, "out": "", "error": said})
    answer = train_world(cluster, asked_for(tmp_path))
    assert (answer["code"], cluster.started) == (3, 2)
    error = failure_of(answer)
    assert isinstance(error, InputError)
    assert (error.message, error.fix) == ("expected images in 'x', found none", "check the path")


def test_a_node_with_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"has Eyewright .+, this is 9\.9\.9"):
        train_world(Cluster(lambda *_: DONE), asked_for(tmp_path, version="9.9.9"))


def test_a_node_without_the_folder_of_the_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="has no folder /nowhere"):
        train_world(Cluster(lambda *_: DONE), asked_for(tmp_path, folder="/nowhere"))


def test_relative_paths_are_those_of_the_command(tmp_path: Path) -> None:
    request = {"words": ["train", "no-such-data"], "variables": {}, "folder": str(tmp_path)}
    (tmp_path / "no-such-data").write_text("a file")
    answer = json.loads(RayRank().do(json.dumps(request)))
    # Where it is a file, it is another error than where there is nothing.
    assert "found nothing" not in answer["error"]
    request["folder"] = str(FAKE)
    assert answer["error"] != json.loads(RayRank().do(json.dumps(request)))["error"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--processes", "2"], "--processes needs --on"),
        (["--on", "local"], "expected a Ray cluster to train one model on, found local"),
        (["--on", "ray", "--shards", "3"], "--shards is not supported with --on"),
        (["--folds", "3", "--processes", "2"], "--processes needs --on"),
        (["--tune", "3", "--processes", "2"], "--processes needs --on"),
        (["--on", "ray", "--folds", "3"], "expected --out with --on, found none"),
        (["--on", "ray", "--tune", "3"], "expected --out with --on, found none"),
        (["--on", "ray"], "expected --out with --on, found none"),
        (["--on", "spark"], "found 'spark'"),
    ],
)
def test_wrong_combinations_are_one_line(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "data", *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_words_are_those_of_the_command_without_the_place() -> None:
    words = ["train", "d", "--on=10.0.0.1:1", "--processes", "4", "--epochs", "2", "--out", "r", "--json"]
    assert _words_of(words) == ["train", "d", "--epochs", "2", "--out", "r", "--json"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weights_are_those_of_torchrun_to_the_bit_though_a_process_is_killed(shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Ray is played by `fake_ray`, the processes of the training are real."""
    options = ["--amp", "off", "--epochs", "4", "--batch", "16", "--seed", "1", "--quiet"]
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "eyewright",
    ]
    subprocess.run([*command, "train", str(shapes), "--out", str(tmp_path / "two"), *options], check=True)
    (tmp_path / "clusters").mkdir()
    monkeypatch.setenv("FAKE_RAY", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out, log = tmp_path / "ray", tmp_path / "ray.json"
    words = ["train", str(shapes), "--out", str(out), *options, "--on", "ray", "--processes", "2", "--json"]
    with open(log, "wb") as said, subprocess.Popen([sys.executable, "-m", "eyewright", *words], stdout=said) as driver:
        while not (out / "checkpoints" / "last" / "state.safetensors").exists():
            assert driver.poll() is None
            time.sleep(0.01)
        os.kill(ranks_of(out)[0], signal.SIGKILL)
        assert driver.wait() == 0
    assert json.loads(log.read_text())["restarts"] == 1
    ours, theirs = (
        read_tensors(folder / "checkpoints" / "last" / "state.safetensors")[0] for folder in (out, tmp_path / "two")
    )
    assert set(ours) == set(theirs)
    assert [k for k in theirs if not torch.equal(ours[k], theirs[k])] == []


def ranks_of(out: Path) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-c" in words and str(out).encode() in words:
            found.append(int(place.name))
    return found
