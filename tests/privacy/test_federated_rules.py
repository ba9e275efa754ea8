"""Aggregation as Flower computes it, masks that cancel exactly, shares that hold every image once."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError, RefusedError, UsageError
from eyewright.privacy.aggregation import ROBUST, STRATEGIES, Aggregator, aggregate, most_faulty
from eyewright.privacy.masking import masked_update, quantise, unmasked_sum
from eyewright.privacy.shares import dirichlet_shares, grouped_shares

RECORDED = json.loads(Path(__file__).with_name("flwr.json").read_text())
SECRET = b"round 1"


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("strategy", ["fedavg", "median", "trimmed", "krum", "bulyan"])
def test_rules_are_those_of_flower(strategy: str, case: int) -> None:
    """Oracle: flwr 1.41.0, `flwr.server.strategy.aggregate`."""
    told = RECORDED["cases"][case]
    if strategy not in told:
        pytest.skip("too few clients for bulyan")
    found = aggregate(np.array(told["updates"]), np.array(told["weights"]), strategy, faulty=told["faulty"])
    assert np.allclose(found, told[strategy], atol=1e-9)


def test_adam_on_the_server_is_that_of_flower() -> None:
    """Oracle: flwr 1.41.0, `FedAdam` with eta 0.1."""
    told = RECORDED["fedadam"]
    aggregator, weights = Aggregator("fedadam", server_lr=told["server_lr"]), np.zeros(4)
    for one in told["rounds"]:
        weights = weights + aggregator(np.array(one["updates"]), np.array(one["weights"]))
        assert np.allclose(weights, one["weights_after"], atol=1e-9)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_wrong_updates_move_robust_rules_little(strategy: str) -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(1.0, 0.01, (11, 50))
    faulty = most_faulty(strategy, 11) or 2
    wrong = good.copy()
    wrong[:faulty] = rng.normal(0, 100, (faulty, 50))
    found = aggregate(wrong, np.ones(11), strategy, faulty=faulty if strategy in ROBUST else 0)
    off = float(np.abs(found - 1).max())
    assert off < 0.05 if strategy in ROBUST else off > 5


def test_what_a_rule_cannot_withstand_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 1 faulty of 10"):
        aggregate(np.zeros((10, 2)), np.ones(10), "bulyan", faulty=3)
    with pytest.raises(UsageError, match="fedavg"):
        aggregate(np.zeros((3, 2)), np.ones(3), "fedavgm")


def test_masks_cancel_exactly_and_hide_every_single_update() -> None:
    rng = np.random.default_rng(0)
    clients = [0, 1, 2, 3, 4]
    updates = {c: rng.uniform(-2, 2, 1000) for c in clients}
    sent = {c: masked_update(quantise(updates[c], 2.0), c, clients, secret=SECRET) for c in clients}
    total = unmasked_sum(sent, clients, largest=2.0, secret=SECRET, least=3)
    assert np.abs(total - sum(updates.values())).max() < 5 * 2.0 / 2**40
    # What a client sends is uniform: the top byte of 1,000 numbers takes all parts of its range.
    top = (sent[2] >> np.uint64(56)).astype(int)
    assert len(np.unique(top // 32)) == 8
    assert abs(np.corrcoef(sent[2].astype(float), updates[2])[0, 1]) < 0.1


def test_clients_that_drop_out_do_not_spoil_the_sum_and_too_many_end_it() -> None:
    clients = [0, 1, 2, 3]
    updates = {c: np.full(10, c + 1.0) for c in clients}
    sent = {c: masked_update(quantise(updates[c], 8.0), c, clients, secret=SECRET) for c in (0, 2, 3)}
    assert np.allclose(unmasked_sum(sent, clients, largest=8.0, secret=SECRET, least=3), 1 + 3 + 4)
    with pytest.raises(RefusedError, match="cannot be recovered"):
        unmasked_sum({0: sent[0]}, clients, largest=8.0, secret=SECRET, least=3)


def test_a_value_outside_the_public_range_is_refused_and_not_cut() -> None:
    # flwr's quantiser gives 8 for 12 at a range of 8, without a word.
    for wrong in (12.0, np.nan, np.inf):
        with pytest.raises(RefusedError, match="public range"):
            quantise(np.array([1.0, wrong]), 8.0)
    assert quantise(np.array([8.0, -8.0]), 8.0).tolist() == [2**40, 2**64 - 2**40]


def test_shares_hold_every_image_once_and_small_alpha_makes_them_unequal() -> None:
    labels = np.arange(3000) % 10

    def spread(alpha: float) -> float:
        shares = dirichlet_shares(labels, 10, alpha=alpha, least=10, rng=np.random.default_rng(1))
        assert sorted(np.concatenate(shares).tolist()) == list(range(3000))
        return float(np.mean([np.bincount(labels[s], minlength=10).max() / len(s) for s in shares]))

    assert spread(0.1) > spread(1.0) > spread(100.0)
    assert spread(100.0) < 0.15
    first, second = (dirichlet_shares(labels, 5, alpha=0.5, least=10, rng=np.random.default_rng(2)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(DatasetError, match="5,000"):
        dirichlet_shares(labels, 500, alpha=1.0, least=10, rng=np.random.default_rng(0))
    with pytest.raises(DatasetError, match="'a'"):
        grouped_shares(["a", "b", "b"], least=2)


def test_groups_are_divided_whole() -> None:
    groups = [f"g{i // 3}" for i in range(90)]
    rows = dirichlet_shares(np.arange(90) // 3 % 2, 3, alpha=1.0, least=4, rng=np.random.default_rng(0), groups=groups)
    assert sorted(np.concatenate(rows).tolist()) == list(range(90))
    owned = [{groups[r] for r in own} for own in rows]
    assert sum(map(len, owned)) == len(set(groups)) == 30
    assert min(map(len, owned)) >= 4


def test_moments_of_adam_are_restored_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    first, second = Aggregator("fedadam"), Aggregator("fedadam")
    updates = [rng.normal(size=(2, 7)) for _ in range(3)]
    first(updates[0], np.ones(2))
    first(updates[1], np.ones(2))
    second.restore(json.loads(json.dumps(first.state())))
    assert np.array_equal(first(updates[2], np.ones(2)), second(updates[2], np.ones(2)))
