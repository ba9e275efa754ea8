"""A coordinator and clients that are processes of their own: the same weights as the simulation, whoever is killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from eyewright.core.errors import DatasetError, EyewrightError, RefusedError, UsageError
from eyewright.imaging import write_image
from eyewright.lifecycle import join_federation, load_run, serve_federation
from eyewright.lifecycle.federating import federate
from eyewright.privacy.coordinator import Coordinator
from eyewright.privacy.federated_messages import Description, Revealed, Task
from eyewright.privacy.local_training import vector_of
from eyewright.privacy.masked_rounds import MaskedClient, MaskedServer
from eyewright.privacy.participation import Participation, read_participation

NAMES = ("north", "south", "west")
FAST: dict[str, Any] = {"model": "private_net", "batch": 8, "workers": 1, "augment": "none"}


def write_sides(folder: Path, *, a_class: int, seed: int) -> None:
    """Write noise that is brighter on one of three sides: easy to learn from few images."""
    rng = np.random.default_rng(seed)
    for kind, where in (("left", np.s_[:, :6]), ("right", np.s_[:, 10:]), ("top", np.s_[:6])):
        for i in range(a_class):
            image = rng.integers(0, 90, (16, 16, 3))
            image[where] += 140
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(folder / kind / f"{i}.png", image.astype(np.uint8))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the coordinator's folder, and one for each client; the first client of the simulation has the
    coordinator's validation and test images."""
    root = tmp_path_factory.mktemp("apart")
    for k, part in enumerate(("train", "val", "test")):
        write_sides(root / "server" / part, a_class=5, seed=10 + k)
    for k, name in enumerate(NAMES):
        write_sides(root / name / "train", a_class=6 + 2 * k, seed=k)
    for part in ("val", "test"):
        shutil.copytree(root / "server" / part, root / "north" / part)
    return root


def simulated(places: Path, out: Path, **options: Any) -> Any:
    return federate([places / n for n in NAMES], **{**FAST, **options}, out=out)


class Together:
    """A coordinator and clients in threads of this process."""

    def __init__(self) -> None:
        self.address = ""
        self.found: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []
        self._ready = threading.Event()

    def serve(self, data: Path, **options: Any) -> None:
        def ready(address: str) -> None:
            self.address = address
            self._ready.set()

        self._start("server", lambda: serve_federation(data, **{**FAST, "port": 0, **options}, ready=ready))
        assert self._ready.wait(60), self.found

    def join(self, data: Path, name: str, **options: Any) -> None:
        given = {"patience_s": 20.0, "workers": 1, **options}
        self._start(name, lambda: join_federation(self.address, data, name=name, **given))

    def _start(self, name: str, call: Callable[[], Any]) -> None:
        def kept() -> None:
            try:
                self.found[name] = call()
            except EyewrightError as error:
                self.found[name] = error
                self._ready.set()

        self.threads.append(threading.Thread(target=kept, daemon=True))
        self.threads[-1].start()

    def ended(self, *names: str) -> list[Any]:
        for t in self.threads:
            t.join(120)
        return [self.found[n] for n in names]


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "fedavg", "augment": "strong"},
        {"strategy": "fedprox", "mu": 0.5},
        {"strategy": "fedadam"},
        {"strategy": "median"},
        {"strategy": "trimmed", "faulty": 1},
        {"strategy": "krum"},
    ],
    ids=lambda o: o["strategy"],
)
def test_rounds_between_processes_are_those_of_the_simulation(
    places: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    expected = simulated(places, tmp_path / "simulated", rounds=2, **options)
    both = Together()
    both.serve(places / "server", clients=3, rounds=2, out=tmp_path / "served", **options)
    # Numbers follow from names, not from who comes first.
    for name in reversed(NAMES):
        both.join(places / name, name, out=tmp_path / name)
    served, north = both.ended("server", "north")
    assert np.array_equal(vector_of(served.run.net), vector_of(expected.run.net))
    for a, b in zip(served.about["clients"], expected.about["clients"], strict=True):
        assert {k: a[k] for k in ("name", "images", "bytes", "refused")} == {
            k: b[k] for k in ("name", "images", "bytes", "refused")
        }
        assert a["losses"] == pytest.approx(b["losses"], abs=2e-5)
    assert not served.about["simulated"]
    assert "processes of their own" in served.report.read_text()
    again = load_run(tmp_path / "served").net
    from safetensors.numpy import load_file

    assert np.array_equal(load_file(north.weights)["body.0.weight"], again.state_dict()["body.0.weight"].numpy())


SEVEN = tuple("abcdefg")


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the coordinator's folder and those of seven clients: Bulyan needs as many to withstand one that lies."""
    root = tmp_path_factory.mktemp("seven")
    for k, part in enumerate(("train", "val", "test")):
        write_sides(root / "server" / part, a_class=5, seed=110 + k)
    for k, name in enumerate(SEVEN):
        write_sides(root / name / "train", a_class=4 + k % 3, seed=100 + k)
    for part in ("val", "test"):
        shutil.copytree(root / "server" / part, root / "a" / part)
    return root


def refused_by_name(about: dict[str, Any]) -> dict[str, list[int]]:
    return {c["name"]: [r["round"] for r in c["refused"]] for c in about["clients"] if c["refused"]}


@pytest.mark.parametrize(
    ("strategy", "faults"),
    [
        ("bulyan", "lie:1"),
        ("krum", "lie:2"),
        ("trimmed", "lie:2"),
        ("median", "lie:1,nan:1,shape:1,replay:1"),
    ],
)
def test_clients_elsewhere_that_do_wrong_move_a_robust_rule_no_further_than_the_simulation(
    seven: Path, tmp_path: Path, strategy: str, faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle.federated_client import _Member
    from eyewright.privacy.federating import _sent

    faulty = 2 if strategy in ("krum", "trimmed") else 1
    options: dict[str, Any] = {"strategy": strategy, "rounds": 3, "faulty": faulty}
    expected = federate([seven / n for n in SEVEN], **{**FAST, **options}, faults=faults, out=tmp_path / "simulated")
    wrong = {c["name"]: c["fault"] for c in expected.about["clients"] if c["fault"]}
    learn = _Member._update

    def wrongly(self: _Member, task: Task) -> tuple[np.ndarray, float]:
        self.client.fault = wrong.get(self.client.name, "")
        update, loss = learn(self, task)
        return _sent(self.client, update), loss

    monkeypatch.setattr(_Member, "_update", wrongly)
    both = Together()
    both.serve(seven / "server", clients=7, out=tmp_path / "served", **options)
    for name in SEVEN:
        both.join(seven / name, name, out=tmp_path / name)
    served, *clients = both.ended("server", *SEVEN)
    assert np.array_equal(vector_of(served.run.net), vector_of(expected.run.net))
    assert refused_by_name(served.about) == refused_by_name(expected.about)
    for name, client in zip(SEVEN, clients, strict=True):
        # Who is refused is told so, and goes on.
        assert [d.round + 1 for d in client.refused] == refused_by_name(served.about).get(name, [])
    assert max(float(r["val_accuracy"]) for r in served.run.history()) >= 0.8


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_masked_rounds_between_processes_are_those_of_the_simulation(
    places: Path, tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = simulated(places, tmp_path / "simulated", rounds=2, secure=True, strategy=strategy)
    seen: list[np.ndarray] = []
    take = MaskedServer.take_update

    def watched(self: MaskedServer, number: int, raw: bytes, digest: str) -> str:
        seen.append(np.frombuffer(raw, "<u8"))
        return take(self, number, raw, digest)

    monkeypatch.setattr(MaskedServer, "take_update", watched)
    both = Together()
    both.serve(places / "server", clients=3, rounds=2, secure=True, strategy=strategy, out=tmp_path / "served")
    for name in NAMES:
        both.join(places / name, name, out=tmp_path / name, secure=True)
    served, north = both.ended("server", "north")
    assert np.array_equal(vector_of(served.run.net), vector_of(expected.run.net))
    size = len(vector_of(served.run.net))
    assert [c["bytes"] for c in served.about["clients"]] == [2 * 8 * size] * 3
    assert [(c["losses"], c["refused"]) for c in served.about["clients"]] == [([None, None], [])] * 3
    assert [d.accepted for d in north.rounds] == [True, True]
    # What the coordinator received is spread over all 2^64 numbers; an update without a mask is near 0 or 2^64.
    assert len(seen) == 6
    for sent in seen:
        assert np.all(np.abs(np.bincount((sent >> np.uint64(62)).astype(int), minlength=4) / size - 0.25) < 0.05)
    assert "with secure aggregation" in served.report.read_text()


def test_a_client_asks_for_secure_aggregation(places: Path, tmp_path: Path) -> None:
    both = Together()
    both.serve(places / "server", clients=2, rounds=1, out=tmp_path / "served", wait_s=3.0)
    with pytest.raises(RefusedError, match="expected secure aggregation, found none"):
        join_federation(both.address, places / "north", name="north", secure=True, out=tmp_path / "north")
    both.ended("server")


def test_the_same_round_is_never_revealed_for_two_sets_of_clients(tmp_path: Path) -> None:
    """A coordinator that began a round again gets the same sum, and no second one to subtract the first from."""
    from eyewright.lifecycle.federated_client import _Member

    state = Participation("f", "a", "i")
    said: list[str] = []

    def revealed(came: list[int], **other: Any) -> Revealed:
        clients = {k: MaskedClient("s", k) for k in range(4)}
        keys = {k: c.keys() for k, c in clients.items()}
        sealed = {k: c.shares(keys, 3) for k, c in clients.items()}
        clients[0].mask(np.zeros(4, np.uint64), {k: sealed[k].shares[0] for k in (1, 2, 3)})
        task = Task("reveal", round=1, model="m", lr=[0.1], session="s", clients=came)
        member = _Member(*[None] * 4, state, tmp_path, 0, said.append)  # type: ignore[arg-type]
        return member._revealed(msgspec.structs.replace(task, **other), clients[0])

    assert set(revealed([0, 1, 2, 3]).masks) == {0, 1, 2, 3}
    state = read_participation(tmp_path, federation="f", name="a", images="i")
    again = revealed([0, 1, 2])
    assert (again.masks, again.keys) == ({}, {})
    assert "the difference would reveal" in again.why
    assert said == [f"round 2: nothing is revealed: {again.why}"]
    assert set(revealed([0, 1, 2, 3]).masks) == {0, 1, 2, 3}
    # Updates of another round, or from other weights, are others.
    assert revealed([0, 1, 2], round=2).masks
    assert revealed([0, 1, 2], model="n").masks


def test_each_client_counts_epsilon_for_its_own_groups(places: Path, tmp_path: Path) -> None:
    from eyewright.privacy import Steps, epsilon_of

    for k, name in enumerate(("a", "b")):
        write_sides(tmp_path / name, a_class=72 + 4 * k, seed=k)
    # Two images of a class are of one person.
    ids = [f"{side}/{i}" for side in ("left", "right", "top") for i in range(76)]
    pairs = [f"{i}.png,{i.split('/')[0]}-{int(i.split('/')[1]) // 2}" for i in ids]
    rule = {"a": "", "b": ""}
    for name in rule:
        rule[name] = str(tmp_path / f"{name}.csv")
        here = [row for row in pairs if (tmp_path / name / row.split(",")[0]).exists()]
        Path(rule[name]).write_text("path,group\n" + "\n".join(here) + "\n")
    both = Together()
    private = "epsilon=8 unit=group"
    both.serve(places / "server", clients=["a", "b"], rounds=2, private=private, batch=64, out=tmp_path / "served")
    both.join(tmp_path / "a", "a", group_by=rule["a"], out=tmp_path / "ca", max_epsilon=8.0)
    both.join(tmp_path / "b", "b", group_by=rule["b"], out=tmp_path / "cb")
    with pytest.raises(RefusedError, match="epsilon of at most 3, found epsilon 8"):
        join_federation(both.address, tmp_path / "a", name="c", max_epsilon=3.0, out=tmp_path / "cc")
    served, a = both.ended("server", "a")
    assert served.about["unit"] == "group"
    assert [c["images"] for c in served.about["clients"]] == [216, 228]
    for c in served.about["clients"]:
        assert c["groups"] == c["images"] // 2
        # By hand: 64 groups are expected in each of round(groups / 64) updates of the two rounds.
        steps = Steps(c["noise"], 64 / c["groups"], 2 * round(c["groups"] / 64))
        assert c["epsilon"] == pytest.approx(epsilon_of([steps], c["delta"]))
        # The loss of private images is theirs.
        assert c["losses"] == [None, None]
    assert a.epsilon == served.about["clients"][0]["epsilon"]
    page = served.report.read_text()
    assert "sent no losses" in page
    assert "Loss of clients" not in page


def test_a_client_refuses_what_would_run_or_read_something_here(places: Path, tmp_path: Path) -> None:
    told: list[Description] = []

    class Told(Coordinator):
        def description(self) -> Description:
            return told[0]

    both = Together()
    both.serve(places / "server", clients=2, rounds=2, out=tmp_path / "served", wait_s=1.0)
    good = Coordinator(both.address).description()
    both.ended("server")
    assert "clients within 1 s" in str(both.found["server"])
    hostile: list[tuple[dict[str, Any], str]] = [
        ({"recipe": {**good.recipe, "model": "os:system"}}, "not in the catalogue"),
        ({"recipe": {**good.recipe, "model": "hf:/etc"}}, "not in the catalogue"),
        ({"recipe": {**good.recipe, "edits": "/etc/passwd"}}, "names a file"),
        ({"recipe": {**good.recipe, "run": "rm"}}, "unknown recipe option"),
        ({"recipe": {**good.recipe, "federated": ""}}, "not for federated training"),
        ({"recipe": {**good.recipe, "federated": "clients=2 epsilon=1 noise-from=seed"}}, "protects nothing"),
        ({"preparation": {**good.preparation, "size_hw": [9000, 9000]}}, "9000x9000"),
        ({"preparation": {}}, "not valid"),
        ({"labels": ["a", "a"]}, "not valid"),
        ({"scaling": {}}, "scaling"),
        ({"parameters": 2**40}, "weights"),
        ({"protocol": 1}, "speaks protocol 1"),
    ]
    for change, why in hostile:
        told[:] = [msgspec.structs.replace(good, **change)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("eyewright.lifecycle.federated_client.Coordinator", Told)
            with pytest.raises(RefusedError, match=why):
                join_federation("127.0.0.1:1", places / "north", name="n", out=tmp_path / "n")
    told[:] = [msgspec.structs.replace(good, labels=["left", "right"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyewright.lifecycle.federated_client.Coordinator", Told)
        with pytest.raises(DatasetError, match="no class 'top'"):
            join_federation("127.0.0.1:1", places / "north", name="n", out=tmp_path / "n")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"secure": True, "clients": 501}, "at most 500 clients with --secure"),
        ({"secure": True, "strategy": "median"}, "found 'median', which compares single updates"),
        ({"private": "epsilon=3 noise-from=seed"}, "could subtract"),
        ({"model": "mine.nets:net"}, "catalogue"),
        ({"clients": ["a", "a"]}, "once"),
        ({"clients": ["a", "b c"]}, "letters"),
        ({"host": "0.0.0.0"}, "token"),
        ({"resume": True}, "--out"),
        ({"strategy": "bulyan", "faulty": 2}, "at most 0 faulty"),
        ({"tls_cert": "c.pem"}, "--tls-key"),
    ],
)
def test_a_coordinator_that_cannot_be_meant_is_refused(places: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        serve_federation(places / "server", **{"clients": 3, "port": 0, **options})


PROGRAM = """
import os, signal, sys
from eyewright.lifecycle import federated_client, join_federation, serve_federation
from eyewright.privacy.rounds import Rounds

what, place, name, port, out, end, secure = sys.argv[1:]

def say(text):
    print(text, flush=True)
    if end and text.startswith(end):
        os.kill(os.getpid(), signal.SIGKILL)

def run(self, number, *given, **named):
    # Only in round 4 is there somebody who does not come; a busy machine may be slow in all others.
    self.deadline_s = 15 if number == 3 else 600
    return first(self, number, *given, **named)

def die(self, task, masked):
    # Its keys and shares are with the others, and its update never comes.
    if end == "masked" and task.round == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(self, task, masked)

member = federated_client._Member
learn, member._masked_update = member._masked_update, die
how = "run_masked" if secure else "run"
first = getattr(Rounds, how)
setattr(Rounds, how, run)
if what == "serve":
    serve_federation(place, clients=3, rounds=6, port=int(port), model="private_net", batch=8, workers=1,
                     augment="none", out=out, resume=name == "again", least=0.3, secure=bool(secure), say=say)
else:
    join_federation("127.0.0.1:" + port, place, name=name, out=out, workers=1, patience_s=300, say=say)
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_who_is_killed_comes_back_or_is_left_out_and_nothing_is_lost(
    places: Path, tmp_path: Path, secure: bool
) -> None:
    """The coordinator is killed while it has the updates of round 2; a client after round 3 of 6. With secure
    aggregation, a client is killed in round 4 when the others have masked their updates with its keys."""
    expected = simulated(places, tmp_path / "simulated", rounds=6, faults="die:1", least=0.3, secure=secure)
    (victim,) = (c["name"] for c in expected.about["clients"] if c["fault"])
    port = str(_free_port())
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    dying = "masked" if secure else "round 3 of 6"

    def start(what: str, place: str, name: str, out: str, end: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, what, str(places / place), name, port, str(tmp_path / out), end]
        command += ["yes" if secure else ""]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    started = [start("serve", "server", "first", "served", "round 2: ")]
    try:
        clients = {n: start("join", n, n, n, dying if n == victim else "") for n in NAMES}
        started += clients.values()
        assert started[0].wait(300) == -signal.SIGKILL, started[0].stdout.read()
        again = start("serve", "server", "again", "served", "")
        started.append(again)
        told, _ = again.communicate(timeout=300)
        assert again.returncode == 0, told
        assert "resumed at step 1" in told
        assert clients[victim].wait(60) == -signal.SIGKILL
        assert f"{victim} sent nothing in 15 s and is dropped" in told
        for name in set(NAMES) - {victim}:
            assert clients[name].wait(60) == 0, clients[name].stdout.read()
    finally:
        for one in started:
            one.kill()
            one.communicate()
    served = load_run(tmp_path / "served")
    assert np.array_equal(vector_of(served.net), vector_of(expected.run.net))
    kept = ("epoch", "val_loss", "val_accuracy")
    assert [[r[k] for k in kept] for r in served.history()] == [[r[k] for k in kept] for r in expected.run.history()]
    (gone,) = (c for c in served.about["federated"]["clients"] if c["refused"])
    assert (gone["name"], [r["round"] for r in gone["refused"]]) == (victim, [4, 5, 6])


LIAR = """
import sys
import numpy as np
from eyewright.lifecycle import federated_client, join_federation, serve_federation

what, place, name, port, out, lies = sys.argv[1:]
learn = federated_client._Member._update

def lie(self, task):
    update, loss = learn(self, task)
    return update * np.float32(-10), loss

if lies:
    federated_client._Member._update = lie
if what == "serve":
    serve_federation(place, clients=7, rounds=2, port=int(port), model="private_net", batch=8, workers=1,
                     augment="none", strategy="bulyan", faulty=1, out=out)
else:
    join_federation("127.0.0.1:" + port, place, name=name, out=out, workers=1, patience_s=300)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_liar_among_seven_processes_moves_bulyan_no_further_than_the_simulation(seven: Path, tmp_path: Path) -> None:
    expected = federate(
        [seven / n for n in SEVEN], **FAST, rounds=2, strategy="bulyan", faults="lie:1", out=tmp_path / "simulated"
    )
    (liar,) = (c["name"] for c in expected.about["clients"] if c["fault"])
    port = str(_free_port())
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(what: str, place: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LIAR, what, str(seven / place), place, port, str(tmp_path / place)]
        command += ["yes" if place == liar else ""]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    started = [start("serve", "server"), *(start("join", n) for n in SEVEN)]
    try:
        told = [one.communicate(timeout=600)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    assert [one.returncode for one in started] == [0] * 8, told
    served = load_run(tmp_path / "server")
    assert np.array_equal(vector_of(served.net), vector_of(expected.run.net))


def _free_port() -> int:
    import socket

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
