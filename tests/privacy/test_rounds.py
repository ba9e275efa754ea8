"""The coordinator's rounds without HTTP: who may join, which updates are used, who is waited for."""

import math
import threading
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import RefusedError
from eyewright.privacy.federated_messages import PROTOCOL, Description, Join, Spent, Task, Update, pack_weights
from eyewright.privacy.masked_rounds import MaskedClient
from eyewright.privacy.rounds import ConflictError, ForeignError, MaskedSum, Received, Rounds
from eyewright.privacy.updates import digest_of

SIZE = 6
TOLD = Description(PROTOCOL, "f" * 64, "0.1.0", {}, ["a", "b"], {}, {}, SIZE, 1.0)


def nobody_stops() -> None:
    pass


def joining(name: str, **other: Any) -> Join:
    return Join(
        **{"protocol": PROTOCOL, "federation": TOLD.id, "name": name, "images": 20, "parameters": SIZE, **other}
    )


class Scene:
    """Two clients that joined, and a round that waits for them in a thread."""

    def __init__(self, deadline_s: float = 30.0) -> None:
        self.said: list[str] = []
        self.rounds = Rounds(2, deadline_s=deadline_s, say=self.said.append)
        self.rounds.describe(TOLD)
        self.keys = {name: self.rounds.join(joining(name)).key for name in ("b", "a")}
        self.rounds.gather(1, nobody_stops)
        self.found: dict[str, Received] = {}

    def begin(self, number: int = 0) -> threading.Thread:
        def run() -> None:
            self.found = self.rounds.run(number, np.zeros(SIZE), lr=[0.1], progress=0.5, stop=nobody_stops)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while self.rounds.task("a", self.keys["a"]).state != "learn":
            pass
        return thread

    def update(self, values: Any, number: int = 0, **other: Any) -> Update:
        raw = values if isinstance(values, bytes) else pack_weights(np.asarray(values, np.float32))
        model = digest_of(pack_weights(np.zeros(SIZE)))
        return Update(**{"round": number, "model": model, "digest": digest_of(raw), "numbers": raw, **other})

    def send(self, name: str, update: Update) -> Any:
        return self.rounds.take(name, self.keys[name], update)


def test_numbers_follow_from_names_and_a_round_ends_with_the_last_update() -> None:
    scene = Scene()
    thread = scene.begin()
    tasks = {n: scene.rounds.task(n, scene.keys[n]) for n in "ab"}
    assert {n: t.number for n, t in tasks.items()} == {"a": 0, "b": 1}
    assert digest_of(scene.rounds.weights("a", scene.keys["a"], tasks["a"].model)) == tasks["a"].model
    assert scene.send("b", scene.update(np.ones(SIZE), loss=0.5)).accepted
    assert scene.rounds.task("b", scene.keys["b"]).state == "wait"
    scene.send("a", scene.update(np.full(SIZE, 2.0), spent=Spent(1.5, 1e-4, 2.0)))
    thread.join(10)
    assert {n: float(r.update.sum()) for n, r in scene.found.items()} == {"a": 12.0, "b": 6.0}
    assert (scene.found["b"].loss, scene.found["b"].sent) == (0.5, 4 * SIZE)
    assert scene.rounds.members["a"].epsilon == 1.5


@pytest.mark.parametrize("loss", [1e308, -1.0, math.inf, math.nan])
def test_a_loss_that_cannot_be_one_is_not_taken_and_ends_nothing(loss: float) -> None:
    """Training ends where a loss is not finite, and 1e308 is not in 32 bits; nobody can check what a client says."""
    scene = Scene()
    thread = scene.begin()
    assert scene.send("a", scene.update(np.ones(SIZE), loss=loss)).accepted
    scene.send("b", scene.update(np.full(SIZE, 2.0), loss=0.25))
    thread.join(10)
    assert (scene.found["a"].loss, scene.found["b"].loss) == (None, 0.25)
    assert scene.found["a"].update is not None


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.ones(SIZE + 1), "expected 6 numbers, found 7"),
        (np.ones(SIZE - 1), "expected 6 numbers, found 5"),
        (b"abc", "expected 6 numbers, found 3 bytes"),
        (np.array([1, 2, np.nan, 4, 5, 6]), "not finite"),
        (np.array([1, 2, np.inf, 4, 5, 6]), "not finite"),
    ],
)
def test_an_update_that_cannot_be_used_is_refused_and_named(values: Any, why: str) -> None:
    scene = Scene()
    thread = scene.begin()
    taken = scene.send("a", scene.update(values))
    assert not taken.accepted
    assert why in taken.why
    assert any("the update of a is refused" in line for line in scene.said)
    scene.send("b", scene.update(np.ones(SIZE)))
    thread.join(10)
    assert scene.found["a"].update is None
    assert why in scene.found["a"].why


def test_an_update_is_used_once_however_often_it_comes() -> None:
    scene = Scene()
    thread = scene.begin()
    mine = scene.update(np.ones(SIZE))
    assert scene.send("a", mine) == scene.send("a", mine)
    with pytest.raises(ConflictError, match="has come already"):
        scene.send("a", scene.update(np.full(SIZE, 3.0)))
    scene.send("b", scene.update(np.full(SIZE, 5.0)))
    thread.join(10)
    thread = scene.begin(1)
    # An update of another round is not one of this round.
    with pytest.raises(ConflictError, match="round 1 is over"):
        scene.send("a", mine)
    again = scene.send("a", scene.update(np.ones(SIZE), 1))
    assert again.why == "the update was sent before"
    scene.send("b", scene.update(np.full(SIZE, 6.0), 1))
    thread.join(10)


def test_a_damaged_update_counts_for_nothing_and_may_come_again() -> None:
    scene = Scene()
    thread = scene.begin()
    good = scene.update(np.ones(SIZE))
    with pytest.raises(ConflictError, match="damaged") as caught:
        scene.send("a", scene.update(np.ones(SIZE), digest="0" * 64))
    assert caught.value.code == "damaged"
    assert scene.send("a", good).accepted
    scene.send("b", scene.update(np.full(SIZE, 5.0)))
    thread.join(10)
    assert len(scene.found) == 2


def test_who_is_late_is_dropped_until_it_asks_again() -> None:
    scene = Scene(deadline_s=0.3)
    thread = scene.begin()
    scene.send("a", scene.update(np.ones(SIZE)))
    thread.join(10)
    assert set(scene.found) == {"a"}
    assert [m.active for m in scene.rounds.members.values()] == [True, False]
    assert any("b sent nothing in 0.3 s and is dropped" in line for line in scene.said)
    scene.rounds.deadline_s = 30.0
    thread = scene.begin(1)
    # Nobody waits for b now, until it is back.
    assert scene.rounds.task("b", scene.keys["b"]).state == "learn"
    scene.send("a", scene.update(np.full(SIZE, 2.0), 1))
    scene.send("b", scene.update(np.full(SIZE, 3.0), 1))
    thread.join(10)
    assert set(scene.found) == {"a", "b"}
    assert "b has reconnected" in scene.said


def test_who_leaves_is_not_waited_for() -> None:
    scene = Scene()
    thread = scene.begin()
    scene.send("a", scene.update(np.ones(SIZE)))
    scene.rounds.leave("b", scene.keys["b"])
    thread.join(10)
    assert set(scene.found) == {"a"}


def test_a_name_belongs_to_the_key_that_it_joined_with() -> None:
    scene = Scene()
    with pytest.raises(ForeignError, match="has joined already"):
        scene.rounds.join(joining("a"))
    with pytest.raises(ForeignError):
        scene.rounds.join(joining("a", key="guessed"))
    with pytest.raises(ForeignError, match="has not joined"):
        scene.rounds.task("a", "guessed")
    with pytest.raises(ForeignError):
        scene.rounds.task("nobody", scene.keys["a"])
    assert scene.rounds.join(joining("a", key=scene.keys["a"])).key == scene.keys["a"]
    with pytest.raises(ConflictError, match="20 images"):
        scene.rounds.join(joining("a", key=scene.keys["a"], images=21))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"protocol": 99}, "protocol 2, found 99"),
        ({"federation": "other"}, "federation"),
        ({"parameters": 7}, "numbers 6, found 7"),
        ({"name": "../a"}, "letters, digits"),
        ({"name": "c" * 65}, "letters, digits"),
        ({"images": 0}, "images"),
        ({"images": 10**12}, "images"),
        ({"groups": 21}, "found 20 in 21 groups"),
        ({"groups": 0}, "found 20 in 0 groups"),
        ({"groups": -5}, "groups"),
    ],
)
def test_who_does_not_fit_cannot_join(wrong: dict[str, Any], why: str) -> None:
    rounds = Rounds(2)
    rounds.describe(TOLD)
    with pytest.raises(ConflictError, match=why) as met:
        rounds.join(joining(**{"name": "c", **wrong}))
    assert ("on both sides" in str(met.value.fix)) == bool({"protocol", "parameters"} & set(wrong))
    assert not rounds.members


def test_only_expected_names_join_and_no_more_than_asked_for() -> None:
    rounds = Rounds(2, names=("a", "b"))
    with pytest.raises(ConflictError, match="prepared"):
        rounds.join(joining("a"))
    rounds.describe(TOLD)
    with pytest.raises(ConflictError, match="no client 'c'"):
        rounds.join(joining("c"))
    scene = Scene()
    with pytest.raises(ConflictError, match="all 2 clients"):
        scene.rounds.join(joining("c"))


def test_too_few_clients_end_the_wait_with_a_reason() -> None:
    rounds = Rounds(2)
    rounds.describe(TOLD)
    rounds.join(joining("a"))
    with pytest.raises(RefusedError, match=r"expected 2 clients within 0\.1 s, found 1 joined"):
        rounds.gather(0.1, nobody_stops)


def test_members_of_a_checkpoint_keep_keys_and_numbers() -> None:
    scene = Scene()
    stored = scene.rounds.state()
    assert all(scene.keys[m["name"]] not in str(m) for m in stored), "a key is stored as its digest alone"
    again = Rounds(2, resumes=True)
    again.describe(TOLD)
    # Before members are known nobody is called a stranger.
    with pytest.raises(ConflictError, match="prepared"):
        again.task("a", scene.keys["a"])
    again.restore(stored, [])
    assert again.task("b", scene.keys["b"]).state == "wait"
    assert [m.name for m in again.gather(1, nobody_stops)] == ["a", "b"]


def test_the_end_is_told_to_all_with_what_was_learnt() -> None:
    scene = Scene()
    scene.rounds.finish(np.ones(SIZE))
    task = scene.rounds.task("a", scene.keys["a"])
    assert task.state == "end"
    assert scene.rounds.weights("a", scene.keys["a"], task.model) == pack_weights(np.ones(SIZE))
    stopped = Scene()
    stopped.rounds.stop("the disk is full")
    assert stopped.rounds.task("b", stopped.keys["b"]).why == "the disk is full"


def test_shares_that_come_after_the_sum_are_not_late() -> None:
    """The sum needs more than half of the clients; what the others reveal is taken and has no effect."""
    pytest.importorskip("cryptography")
    rounds = Rounds(3)
    rounds.describe(TOLD)
    keys = {name: rounds.join(joining(name)).key for name in "abc"}
    rounds.gather(1, nobody_stops)
    found: list[MaskedSum] = []
    given = {"lr": [0.1], "progress": 0.5, "fraction": 0.5, "stop": nobody_stops}
    thread = threading.Thread(target=lambda: found.append(rounds.run_masked(0, np.zeros(SIZE), **given)), daemon=True)
    thread.start()
    clients: dict[str, MaskedClient] = {}

    def task(name: str, state: str) -> Task:
        while (now := rounds.task(name, keys[name])).state != state:
            assert thread.is_alive()
        return now

    for name in "abc":
        now = task(name, "keys")
        clients[name] = MaskedClient(now.session, now.number)
        assert rounds.take_step(name, keys[name], clients[name].keys()).accepted
    for name in "abc":
        now = task(name, "shares")
        assert rounds.take_step(name, keys[name], clients[name].shares(now.keys, now.threshold)).accepted
    for name in "abc":
        now = task(name, "learn")
        raw = clients[name].mask(np.full(SIZE, 5, np.uint64), now.sealed).tobytes()
        sent = Update(0, now.model, digest_of(raw), raw, session=now.session)
        assert rounds.take(name, keys[name], sent).accepted
        # Its sender did not hear of it, and sends it again.
        assert rounds.take(name, keys[name], sent).accepted
    reveals = {name: clients[name].reveal(task(name, "reveal").clients) for name in "abc"}
    for name in "ab":
        assert rounds.take_step(name, keys[name], reveals[name]).accepted
    thread.join(10)
    assert found[0].total is not None
    assert found[0].total.tolist() == [15] * SIZE
    assert rounds.take_step("c", keys["c"], reveals["c"]).accepted
    with pytest.raises(ConflictError, match="is over"):
        rounds.take_step("c", keys["c"], clients["c"].keys())
