"""Two processes that train one net, against one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eyewright.core.errors import UsageError
from eyewright.training.checkpoints import read_tensors
from eyewright.training.distributed import World, join_world


def torchrun(folder: Path, data: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "eyewright", "train", str(data), "--out", str(folder), *options]
    # A proxy or a name server has no say in a test: the two meet on the loopback.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=check)


# In one precision: alone, a net may be trained in bfloat16, which rounds by more than the tolerance.
OPTIONS = (
    "--amp",
    "off",
    "--epochs",
    "3",
    "--batch",
    "15",
    "--accumulate",
    "2",
    "--optimizer",
    "momentum",
    "--lr",
    "0.01",
)


@pytest.fixture(scope="module")
def shared(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp") / "two"
    torchrun(folder, shapes, *OPTIONS)
    return folder


def test_two_processes_give_the_weights_of_one_to_a_tolerance(shared: Path, shapes: Path, tmp_path: Path) -> None:
    """Batches of 15 are cut 8 and 7, batch normalisation and augmentation are on."""
    command = [sys.executable, "-m", "eyewright", "train", str(shapes), "--out", str(tmp_path / "one"), *OPTIONS]
    subprocess.run([*command, "--quiet"], check=True)
    name = "checkpoints/last/state.safetensors"
    ours, theirs = (read_tensors(folder / name)[0] for folder in (shared, tmp_path / "one"))
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if key.startswith(("net.", "average.")) and value.is_floating_point():
            torch.testing.assert_close(ours[key], value, atol=2e-4, rtol=2e-3, msg=key)


def test_one_process_speaks_and_the_run_can_be_used(shared: Path) -> None:
    import eyewright as ew

    assert len((shared / "metrics.csv").read_text().splitlines()) == 4
    assert ew.evaluate(shared).n > 0


def test_processes_need_one_named_folder_and_enough_images(shapes: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path / "x", shapes, "--epochs", "1", "--batch", "1", check=False)
    assert done.returncode != 0
    assert "expected --batch of 2 or more for 2 processes, found 1" in done.stderr
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]


def test_alone_there_is_nobody_to_meet() -> None:
    with join_world(torch.nn.Linear(1, 1), batch=1, device=torch.device("cpu")) as world:
        assert world == World()
        assert world.agree([1.5]) == [1.5]
        world.wait()


def test_torchrun_without_out_is_refused(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eyewright as ew

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="expected --out with torchrun"):
        ew.train(shapes, epochs=1)
