"""A job on a Ray cluster has the rows of one on this machine, whatever dies; only clusters that ask for a token serve.

`fake_ray` stands in for Ray here: actors are processes. `test_ray_nodes.py` runs Ray itself.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.core.errors import LostError, MissingExtraError, RefusedError, UsageError
from eyewright.scaling import Settings, open_job, plan_encode, plan_predict, plan_process, run_job, verify_folder
from eyewright.scaling.crews import open_crew
from eyewright.scaling.engines import check_engine
from eyewright.scaling.local import LocalCrew

FAKE = Path(__file__).parent / "fake_ray"


@pytest.fixture
def fake_ray(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of clusters that `import ray` knows in child processes."""
    folder = tmp_path_factory.mktemp("clusters")
    monkeypatch.setenv("FAKE_RAY", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def cluster(fake_ray: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a cluster of two nodes with a core each, whose token this process has."""
    (fake_ray / "6379").mkdir()
    (fake_ray / "6379" / "nodes").write_text("[1, 1]")
    (fake_ray / "6379" / "token").write_text("secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    return "head.example:6379"


def rows_of(job: Path) -> list[str]:
    """Return the rows of a job without errors, and check that nothing is left over."""
    _, findings = verify_folder(job)
    assert findings == []
    assert not os.listdir(job / "tmp")
    assert not os.listdir(job / "leases")
    return [line for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


def test_rows_are_those_of_worker_processes_to_the_byte(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    for name, on in (("local", "local"), ("ray", cluster)):
        job = run_job(plan_predict(bundle, str(images), tmp_path / name, shard_size=7), workers=2, on=on)
        assert (job.counts["images"], job.counts["failed"], job.totals.attempts_failed) == (40, 1, 0)
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "local")


def test_files_of_process_and_encode_are_the_same(images: Path, tmp_path: Path, cluster: str) -> None:
    plans = {
        "process": lambda out: plan_process(str(images), "resize:8", out),
        "encode": lambda out: plan_encode(str(images), out, to="png"),
    }
    for verb, plan in plans.items():
        found = {}
        for on in ("local", cluster):
            out = tmp_path / verb / on.replace(":", "-")
            run_job(plan(out), workers=2, on=on)
            found[on] = {p.relative_to(out): p.read_bytes() for p in (out / "images").rglob("*") if p.is_file()}
        assert found["local"] == found[cluster] != {}


def test_a_cluster_is_started_here_without_dashboard_and_statistics_and_ends_with_the_job(
    bundle, images, tmp_path, fake_ray
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "job"
    assert (
        main(["predict", str(bundle), "--source", str(images), "--out", str(out), "--on", "ray", "--workers", "2"]) == 1
    )
    assert len(rows_of(out)) == 40
    (started,) = (p for p in fake_ray.iterdir() if (p / "arguments").exists())
    arguments = (started / "arguments").read_text().split("\n")
    assert {"--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"} <= set(arguments)
    ports = {a.partition("=")[0] for a in arguments if a.partition("=")[2].isdecimal()}
    # A node whose helpers choose their own does not start on a loaded machine.
    agents = ("dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent", "metrics-export")
    assert {f"--{name}-port" for name in agents} <= ports
    settings = json.loads((started / "settings").read_text())
    assert (settings["RAY_AUTH_MODE"], settings["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert len(settings["RAY_AUTH_TOKEN"]) == 64
    place = next(a for a in arguments if a.startswith("--temp-dir=")).partition("=")[2]
    assert not Path(place).exists()


def test_the_cluster_of_the_environment_is_the_one_of_ray(
    bundle, images, tmp_path, cluster, fake_ray, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    run_job(plan_predict(bundle, str(images), tmp_path / "job"), on="ray")
    assert len(rows_of(tmp_path / "job")) == 40
    assert [p.parent.name for p in fake_ray.glob("*/nodes")] == ["6379"]


@pytest.mark.usefixtures("poison")
def test_images_that_kill_their_worker_are_found(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(images / "a" / "00.png", images / "b" / "kill-1.png")
    plan = plan_predict(bundle, str(images / "b" / "[0k]*.png"), tmp_path / "job", shard_size=3)
    job = run_job(plan, workers=1, settings=Settings(tries=1), on=cluster)
    bad = {Path(r["source"]).name: r for r in map(json.loads, rows_of(tmp_path / "job")) if not r["ok"]}
    assert set(bad) == {"07.png", "kill-1.png"}
    assert bad["kill-1.png"]["error"] == "crashed"
    assert bad["kill-1.png"]["message"].startswith("the image ended its worker: The actor died")
    assert job.counts["crashed"] == 1


@pytest.mark.usefixtures("poison")
def test_an_image_that_never_ends_is_found(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(images / "a" / "00.png", images / "a" / "hang.png")
    plan = plan_predict(bundle, str(images / "a" / "[h]*.png"), tmp_path / "job")
    run_job(plan, workers=1, timeout_s=1.0, settings=Settings(tries=1), on=cluster)
    (row,) = map(json.loads, rows_of(tmp_path / "job"))
    assert (row["error"], row["message"]) == ("crashed", "the image ended its worker: no progress in 1 s")


def test_a_driver_killed_in_the_middle_is_started_again(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    run_job(plan_predict(bundle, str(images), tmp_path / "whole", shard_size=2), on="local")
    out = tmp_path / "job"
    command = [sys.executable, "-m", "eyewright", "predict", str(bundle), "--source", str(images), "--out", str(out)]
    command += ["--shard-size", "2", "--on", cluster]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        while not (out / "commits").exists() or len(os.listdir(out / "commits")) < 3:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    before = len(os.listdir(out / "commits"))
    assert before < 20
    assert subprocess.run([*command, "--resume"], check=False, stdout=subprocess.DEVNULL).returncode == 1
    assert rows_of(out) == rows_of(tmp_path / "whole")


def test_a_worker_killed_in_the_middle_costs_its_shard_only(bundle, images, tmp_path, cluster, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pids = tmp_path / "pids"
    pids.mkdir()
    monkeypatch.setenv("FAKE_RAY_PIDS", str(pids))
    plan, killed = plan_predict(bundle, str(images), tmp_path / "job", shard_size=4), []

    class Killing:
        def __init__(self) -> None:
            self.crew = open_crew(plan, cluster, workers=1, timeout_s=60, ahead=None)

        def __getattr__(self, name: str) -> object:
            return getattr(self.crew, name)

        def give(self, task) -> None:  # type: ignore[no-untyped-def]
            if task.shard.shard == 3 and not killed:
                killed.append(int(next(pids.iterdir()).name))
                os.kill(killed[0], signal.SIGSTOP)
                self.crew.give(task)
                os.kill(killed[0], signal.SIGKILL)
                return
            self.crew.give(task)

    monkeypatch.setattr("eyewright.scaling.jobs.open_crew", lambda *_, **__: Killing())
    job = run_job(plan, on=cluster)
    assert (job.counts["images"], job.counts["crashed"], job.totals.attempts_failed) == (40, 0, 1)
    assert len(rows_of(tmp_path / "job")) == 40
    assert len(list(pids.iterdir())) == 2


def test_a_cluster_that_asks_for_no_token_is_refused(bundle, images, tmp_path, cluster, fake_ray) -> None:  # type: ignore[no-untyped-def]
    (fake_ray / "6379" / "token").write_text("")
    with pytest.raises(RefusedError, match="does not ask for a token"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on=cluster)
    assert len(list((tmp_path / "job" / "commits").iterdir())) == 0


def test_another_token_is_refused(bundle, images, tmp_path, cluster, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(RefusedError, match="refuses the token"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on=f"ray://{cluster}")


def test_no_token_is_one_line(bundle, images, tmp_path, cluster, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    command = ["predict", str(bundle), "--source", str(images), "--out", str(tmp_path / "job"), "--on", cluster]
    assert main(command) == UsageError.exit_code
    error = capsys.readouterr().err
    assert "a Ray cluster is joined with its token, found none; set RAY_AUTH_TOKEN" in error
    assert error.count("\n") == 1


def test_no_cluster_is_one_line(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LostError, match=r"nobody answers at head\.example:1"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on="head.example:1")


def test_a_head_that_does_not_start_is_named_with_its_reason(bundle, images, tmp_path, fake_ray, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FAKE_RAY_FAILS", "1")
    with pytest.raises(LostError, match="Ray does not start on this machine: ConnectionError: Could not read"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on="ray")


def test_a_node_with_another_version_is_refused_by_name(bundle, images, tmp_path, cluster, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("eyewright.scaling.ray_crew.own_version", lambda: "9.9.9")
    with pytest.raises(RefusedError, match=r"the node .+ has Eyewright .+, the job runs 9\.9\.9"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on=cluster)


def test_a_node_without_the_bundle_is_refused(bundle, images, tmp_path, cluster) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(bundle, tmp_path / "bundle")
    plan = plan_predict(tmp_path / "bundle", str(images), tmp_path / "job")
    shutil.rmtree(tmp_path / "bundle")
    with pytest.raises(Exception, match="bundle"):
        run_job(plan, on=cluster)
    assert not open_job(tmp_path / "job").is_done(0)


def test_ray_that_is_not_installed_is_one_line_with_the_extra(bundle, images, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "sitecustomize.py").write_text("import sys\nsys.modules['ray'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(absent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(MissingExtraError, match=r"--on ray needs ray, .+ pip install 'eyewright\[ray\]'"):
        run_job(plan_predict(bundle, str(images), tmp_path / "job"), on="ray")


@pytest.mark.parametrize("text", ["spark", "", "ray://", "ray://head", "head:", "local:x", "http://head:80", "a b:1"])
def test_other_engines_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected local, ray, ray://HOST:PORT or HOST:PORT"):
        check_engine(text)


def test_worker_processes_are_still_the_crew_of_local(bundle, images, tmp_path) -> None:  # type: ignore[no-untyped-def]
    plan = plan_predict(bundle, str(images), tmp_path / "job")
    crew = open_crew(plan, "local", workers=3, timeout_s=60, ahead=None)
    assert isinstance(crew, LocalCrew)
    assert crew.idle == 1  # no more than shards
    crew.close()
