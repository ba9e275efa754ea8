"""Secure aggregation without HTTP: sums are exact, single updates stay hidden, and wrong messages have no effect."""

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.errors import RefusedError
from eyewright.privacy.federated_messages import Keys, Revealed, Sealed
from eyewright.privacy.masked_rounds import MaskedClient, MaskedServer, least_clients
from eyewright.privacy.secret_keys import KeyPair, combine, commitment, mask_of, public_of, split

pytest.importorskip("cryptography")
SIZE = 50
NOBODY: frozenset[int] = frozenset()


def updates(n: int) -> dict[int, NDArray[np.uint64]]:
    return {k: np.random.default_rng(k).integers(0, 2**64, SIZE, np.uint64) for k in range(n)}


class Round:
    """A coordinator and its clients; `silent` names those that send nothing from a stage on."""

    def __init__(self, n: int, *, fraction: float = 0.5) -> None:
        self.server = MaskedServer(range(n), SIZE, fraction)
        self.clients = {k: MaskedClient(self.server.session, k) for k in range(n)}
        self.sent: dict[int, NDArray[np.uint64]] = {}

    def exchange(self, *, without_keys: Collection[int] = NOBODY, without_shares: Collection[int] = NOBODY) -> None:
        for k in sorted(self.server.missing - {*without_keys}):
            assert self.server.take_keys(k, self.clients[k].keys()) == ""
        assert self.server.advance()
        for k in sorted(self.server.missing - {*without_shares}):
            sealed = self.clients[k].shares(self.server.keys, self.server.threshold)
            assert self.server.take_shares(k, sealed) == ""
        assert self.server.advance()

    def learn(self, values: dict[int, NDArray[np.uint64]], *, dying: Collection[int] = NOBODY) -> bool:
        for k in sorted(self.server.missing - {*dying}):
            self.sent[k] = self.clients[k].mask(values[k], self.server.sealed_for(k))
            assert self.server.take_update(k, self.sent[k].tobytes(), f"{k}") == ""
        return self.server.advance()

    def reveal(self, *, without: Collection[int] = NOBODY) -> NDArray[np.uint64]:
        for k in sorted(self.server.missing - {*without}):
            assert self.server.take_revealed(k, self.clients[k].reveal(self.server.came)) == ""
        return self.server.total()


def summed(values: dict[int, NDArray[np.uint64]], who: set[int]) -> NDArray[np.uint64]:
    return np.sum([values[k] for k in sorted(who)], axis=0, dtype=np.uint64)


def test_the_sum_is_exact_and_nobody_needs_to_stay_but_more_than_half() -> None:
    everyone = Round(5)
    values = updates(5)
    everyone.exchange()
    assert everyone.learn(values)
    assert np.array_equal(everyone.reveal(), summed(values, {0, 1, 2, 3, 4}))
    some = Round(7)
    values = updates(7)
    # One is gone before its keys, one before its shares, one before its update, one before it reveals anything.
    some.exchange(without_keys={6}, without_shares={2})
    assert some.server.threshold == 4
    assert some.learn(values, dying={0})
    assert np.array_equal(some.reveal(), summed(values, {1, 3, 4, 5}))
    one_more = Round(5)
    one_more.exchange()
    assert one_more.learn(values)
    assert np.array_equal(one_more.reveal(without={1}), summed(values, {0, 1, 2, 3, 4}))


def test_what_is_sent_tells_nothing_of_an_update() -> None:
    """The same update of zeros is sent as numbers that look uniform and differ from round to round."""
    sent = []
    for _ in range(2):
        scene = Round(3)
        scene.exchange()
        scene.learn({k: np.zeros(SIZE, np.uint64) for k in range(3)})
        sent.append(scene.sent[0])
        # Without one of the masks, which none of the other clients knows alone, the rest is as uniform.
        rest = scene.sent[0] - mask_of(scene.clients[0]._seed, SIZE)
        assert len(np.unique(rest)) == SIZE
    assert not np.any(sent[0] == sent[1])
    ones = np.unpackbits(np.concatenate(sent).view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.03  # 6,400 bits: five standard deviations


def test_who_comes_back_without_its_secrets_drops_out_of_the_round() -> None:
    scene, values = Round(6), updates(6)
    server = scene.server
    for k in range(6):
        server.take_keys(k, scene.clients[k].keys())
    server.gone.add(5)
    server.advance()
    for k in range(5):
        server.take_shares(k, scene.clients[k].shares(server.keys, server.threshold))
    server.gone.add(4)
    server.advance()
    assert server.missing == {0, 1, 2, 3}
    for k in range(4):
        server.take_update(k, scene.clients[k].mask(values[k], server.sealed_for(k)).tobytes(), f"{k}")
    server.gone.add(3)
    assert server.advance()
    # The update of the last one came: the sum has it.
    assert (server.came, server.missing) == ([0, 1, 2, 3], {0, 1, 2})
    assert np.array_equal(scene.reveal(), summed(values, {0, 1, 2, 3}))


def test_fewer_than_the_threshold_cannot_end_a_round() -> None:
    scene = Round(4)
    assert [least_clients(4), least_clients(4, 1.0)] == [3, 4]
    scene.exchange()
    assert scene.learn(updates(4))
    for k in (0, 1):
        scene.server.take_revealed(k, scene.clients[k].reveal(scene.server.came))
    assert not scene.server.is_enough
    with pytest.raises(RefusedError, match="3 clients or more to remove the masks, found 2"):
        scene.server.total()
    scene.server.take_revealed(2, Revealed(scene.server.session, why="not again"))
    with pytest.raises(RefusedError, match="found 2: not again"):
        scene.server.total()
    late = Round(4)
    late.exchange()
    assert not late.learn(updates(4), dying={1, 2})
    assert late.server.why == "expected 3 clients or more, found 2"


def test_a_client_reveals_one_secret_of_each_other_and_only_once() -> None:
    scene = Round(5)
    scene.exchange()
    scene.learn(updates(5))
    first = scene.clients[0].reveal([0, 1, 2])
    assert (set(first.masks), set(first.keys)) == ({0, 1, 2}, {3, 4})
    # Asked for the other half of somebody's secrets, it repeats what it said.
    assert scene.clients[0].reveal([0, 3, 4]) == first
    for came, why in (([1, 2, 3], "this client's update"), ([0, 1], "2 others or more"), ([0, 1, 2, 9], "2 others")):
        with pytest.raises(RefusedError, match=why):
            scene.clients[1 if came == [0, 1] else 4].reveal(came)


@pytest.mark.parametrize("threshold", [0, 1, 2, 5])
def test_a_client_shares_nothing_that_half_of_the_others_could_put_together(threshold: int) -> None:
    scene = Round(4)
    keys = {k: c.keys() for k, c in scene.clients.items()}
    with pytest.raises(RefusedError, match="3 to 4 clients"):
        scene.clients[0].shares(keys, threshold)


def test_a_client_refuses_what_a_coordinator_may_not_say() -> None:
    scene = Round(3)
    keys = {k: c.keys() for k, c in scene.clients.items()}
    with pytest.raises(RefusedError, match="other keys for this client"):
        scene.clients[0].shares({**keys, 0: keys[1]}, 2)
    with pytest.raises(RefusedError, match="this client and others"):
        scene.clients[0].shares({0: keys[0]}, 2)
    with pytest.raises(RefusedError, match="public key"):
        scene.clients[0].shares({**keys, 1: Keys(scene.server.session, bytes(32), bytes(32))}, 2)
    scene.exchange()
    own = scene.server.sealed_for(0)
    with pytest.raises(RefusedError, match="1 other clients or more, found 0"):
        scene.clients[0].mask(np.zeros(SIZE, np.uint64), {})
    masked = scene.clients[0].mask(np.zeros(SIZE, np.uint64), own)
    with pytest.raises(RefusedError, match="other shares than before"):
        # With another set of masks the difference of two messages would be one of them.
        scene.clients[0].mask(np.zeros(SIZE, np.uint64), {1: own[1]})
    assert np.array_equal(masked, scene.clients[0].mask(np.zeros(SIZE, np.uint64), own))


def test_a_share_for_another_client_or_round_cannot_be_opened() -> None:
    scene = Round(3)
    scene.exchange()
    swapped = {1: scene.server.sealed_for(2)[1], 2: scene.server.sealed_for(0)[2]}
    scene.clients[0].mask(np.zeros(SIZE, np.uint64), swapped)
    with pytest.raises(RefusedError, match="not from who it says"):
        scene.clients[0].reveal([0, 1, 2])


def test_messages_that_cannot_be_used_are_named() -> None:
    scene = Round(3)
    server = scene.server
    assert "32 bytes" in server.take_keys(0, Keys(server.session, b"short", b"short"))
    for k, client in scene.clients.items():
        server.take_keys(k, client.keys())
    assert "other keys" in server.take_keys(0, scene.clients[1].keys())
    assert server.take_keys(0, scene.clients[0].keys()) == ""
    server.advance()
    good = scene.clients[0].shares(server.keys, server.threshold)
    assert "clients [1, 2]" in server.take_shares(0, Sealed(server.session, good.commitment, {1: good.shares[1]}))
    assert "at most 256" in server.take_shares(0, Sealed(server.session, good.commitment, {1: b"x" * 300, 2: b"x"}))
    assert server.take_shares(0, good) == ""
    assert "other shares" in server.take_shares(0, Sealed(server.session, bytes(32), good.shares))
    for k in (1, 2):
        server.take_shares(k, scene.clients[k].shares(server.keys, server.threshold))
    server.advance()
    assert "50 masked numbers, found 8 bytes" in server.take_update(0, b"12345678", "d")
    raw = scene.clients[0].mask(updates(1)[0], server.sealed_for(0)).tobytes()
    assert server.take_update(0, raw, "d") == ""
    assert "another update" in server.take_update(0, raw, "e")
    assert server.has_update(0, server.session, "d")
    assert not server.has_update(0, "another session", "d")


@pytest.mark.parametrize("which", ["masks", "keys"])
def test_wrong_shares_are_found_and_never_give_a_wrong_sum(which: str) -> None:
    scene = Round(5)
    scene.exchange()
    scene.learn(updates(5), dying={4})
    for k in (0, 1, 2):
        found = scene.clients[k].reveal(scene.server.came)
        if k == 1:
            shares = getattr(found, which)
            number = next(iter(shares))
            shares[number] = bytes(len(shares[number]))
        scene.server.take_revealed(k, found)
    with pytest.raises(RefusedError, match=r"do not belong together|are not of the"):
        scene.server.total()
    assert "every client" in scene.server.take_revealed(3, Revealed(scene.server.session, {0: b""}))


def test_any_threshold_of_the_shares_recovers_a_secret_and_fewer_do_not() -> None:
    secret = bytes(range(32))
    shares = split(secret, range(6), 4)
    for who in ((0, 1, 2, 3), (5, 4, 3, 2), (0, 2, 4, 5), (0, 1, 2, 3, 4, 5)):
        assert combine({k: shares[k] for k in who}) == secret
    with pytest.raises(RefusedError, match="too few"):
        combine({k: shares[k] for k in (0, 1, 2)})
    # By hand: the polynomial of degree 0 is the secret itself.
    assert {int.from_bytes(v, "big") for v in split(secret, range(3), 1).values()} == {int.from_bytes(secret, "big")}
    with pytest.raises(ValueError, match="1 to 3 shares"):
        split(secret, range(3), 4)


def test_keys_agree_as_the_standard_says() -> None:
    # RFC 7748, 5.2: the point with u = 9, nine times.
    nine = bytes([9, *bytes(31)])
    assert public_of(nine).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    pair = KeyPair(nine)
    other = KeyPair()
    assert pair.agree(other.public, "x") != pair.agree(other.public, "y")
    assert other.open(pair.seal(b"text", other.public, "p"), pair.public, "p") == b"text"
    for sender, purpose in ((other.public, "p"), (pair.public, "q")):
        with pytest.raises(RefusedError, match="sealed message"):
            other.open(pair.seal(b"text", other.public, "p"), sender, purpose)
    assert "x09" not in repr(pair)
    assert commitment(nine) != commitment(bytes(32))
