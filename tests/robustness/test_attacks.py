"""Attacks stay within their bound, find what a plain search finds, and are the same on every machine."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.robustness.conftest import Toy
from torch import nn

from eyewright.core.errors import BudgetError, DatasetError, UsageError
from eyewright.nets.pixels import PixelNet
from eyewright.robustness import ATTACKS, attack_predictor, attacks_in, evaluating, loop, parse_eps
from eyewright.robustness.attacks.fab import nearest_on_plane
from eyewright.robustness.corruptions import spatial_worst
from eyewright.robustness.loop import Plan, attack_images, join_chunks, run_attack
from eyewright.robustness.model import ScoreModel, is_right, to_grid
from eyewright.robustness.report import levels_of
from eyewright.robustness.threat import Threat, distances
from eyewright.robustness.white import White

THREATS = [Threat("linf", 0.15), Threat("l2", 0.8)]


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_lowers_accuracy_within_its_bound(name: str, threat: Threat, toy: Toy) -> None:
    victim = White(toy.net())
    plan = Plan(threat.norm, (threat.eps,), (name,), steps=20, queries=250)
    changed = run_attack(name, victim, toy.images, toy.labels, threat, plan, 0)
    assert threat.kept_by(changed, toy.images).all()
    before, after = (is_right(victim.scores(x), toy.labels).mean() for x in (toy.images, changed))
    assert after < before - 0.15
    again = run_attack(name, White(toy.net()), toy.images, toy.labels, threat, plan, 0)
    assert np.array_equal(changed, again)


def test_stronger_attacks_leave_no_more_than_one_step(toy: Toy) -> None:
    threat, victim = THREATS[0], White(toy.net())
    left = {}
    for name in ("fgsm", "apgd", "apgd_t"):
        plan = Plan("linf", (threat.eps,), (name,), steps=30)
        changed = run_attack(name, victim, toy.images, toy.labels, threat, plan, 0)
        left[name] = is_right(victim.scores(changed), toy.labels).mean()
    assert left["apgd_t"] <= left["apgd"] <= left["fgsm"]


def test_of_a_linear_net_the_attacks_find_the_exact_margin() -> None:
    """Of two classes with weights w and -w an image falls within linf eps exactly if 2 w·x < 2 eps |w|_1 (by hand)."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(16).astype(np.float32)
    layer = nn.Linear(16, 2, bias=False)
    layer.weight.data = torch.from_numpy(np.stack([w, -w]))
    net = PixelNet(nn.Sequential(nn.Flatten(), layer), mean=(0.5,), std=(1.0,))
    images = rng.uniform(0.3, 0.7, (60, 4, 4, 1)).astype(np.float32)
    score = (images.reshape(60, 16) - 0.5) @ w
    labels = (score < 0).astype(np.int64)
    eps = 0.05
    falls = np.abs(score) < eps * np.abs(w).sum()
    assert 5 < falls.sum() < 55
    for name in ("fgsm", "pgd", "apgd", "apgd_t", "fab_t"):
        plan = Plan("linf", (eps,), (name,), steps=30)
        changed = run_attack(name, White(net), images, labels, Threat("linf", eps), plan, 0)
        found = ~is_right(White(net).scores(changed), labels)
        assert np.array_equal(found, falls), name


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_nearest_point_on_a_plane_is_that_of_scipy(norm: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(3)
    for _ in range(5):
        w, x, level = rng.standard_normal(6), rng.uniform(0, 1, 6), float(rng.uniform(-0.8, 0.8))
        given = torch.tensor(x).view(1, 1, 2, 3), torch.tensor(w).view(1, 1, 2, 3)
        found = nearest_on_plane(*given, torch.tensor([level], dtype=torch.float64), norm).flatten().numpy()
        if norm == "linf":
            # minimise t with -t <= d <= t, w·d = -level and 0 <= x + d <= 1
            edges = np.vstack([np.c_[np.eye(6), -np.ones(6)], np.c_[-np.eye(6), -np.ones(6)]])
            best = optimize.linprog(
                [0] * 6 + [1], A_ub=edges, b_ub=np.zeros(12), A_eq=[[*w, 0]], b_eq=[-level],
                bounds=[*zip(-x, 1 - x, strict=True), (0, None)],
            )  # fmt: skip
            want = best.fun
        else:
            best = optimize.minimize(
                lambda d: d @ d, np.zeros(6), jac=lambda d: 2 * d, bounds=list(zip(-x, 1 - x, strict=True)),
                constraints={"type": "eq", "fun": lambda d, w=w, level=level: w @ d + level},
            )  # fmt: skip
            want = np.sqrt(best.fun)
        if not best.success:
            continue
        assert abs(w @ found + level) < 1e-4
        assert (np.abs(found).max() if norm == "linf" else np.linalg.norm(found)) == pytest.approx(want, abs=1e-3)


def test_eight_bit_images_never_leave_the_bound() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (50, 3, 3, 1)).astype(np.float32) / np.float32(255)
    for threat in (Threat("linf", 8 / 255), Threat("linf", 0.03), Threat("l2", 0.4)):
        delta = rng.uniform(-1, 1, images.shape)
        delta *= threat.eps / (1 if threat.norm == "linf" else np.sqrt((delta**2).sum((1, 2, 3), keepdims=True)))
        grid = to_grid(np.clip(images + delta, 0, 1).astype(np.float32), images)
        assert threat.kept_by(grid, images).all()
        assert np.abs(grid * 255 - np.rint(grid * 255)).max() < 1e-4
    # What lies on the edge of 8/255 is not rounded to 7.
    edge = to_grid((images + np.float32(8 / 255)).clip(0, 1), images)
    assert np.rint(distances(edge, images, "linf").max() * 255) == 8


def test_a_model_that_only_answers_is_attacked_on_whole_values(toy: Toy) -> None:
    victim = ScoreModel(toy.predictor())
    report = attack_predictor(_Blind(toy.predictor()), toy.dataset, eps=(0.2,), n=40, queries=200)
    assert report.access == "scores"
    assert report.plan.attacks == ("square", "boundary")
    assert report.verdict == "upper bound"
    assert [c.name for c in report.checks if c.status == "none"] == ["black box", "zero gradients"]
    assert report.headline.robust.value == report.headline.eight_bit.value
    assert (report.headline.robust.value or 0) < (report.clean.value or 0) - 0.3
    assert "An attacker who sees scores" in report.sentence()
    assert victim.on_grid


class _Blind:
    """A predictor without a net, as a bundle is."""

    def __init__(self, inner: object) -> None:
        for name in ("raw", "predict_images", "labels", "preparation", "task_name"):
            setattr(self, name, getattr(inner, name))


def test_an_image_is_robust_only_if_every_attack_failed_on_it(toy: Toy) -> None:
    plan = Plan("linf", (0.1, 0.2), ("fgsm", "apgd"), steps=20)
    found = join_chunks(list(attack_images(White(toy.net()), toy.pixels, toy.labels, plan)))
    stepped = run_attack("fgsm", White(toy.net()), toy.images, toy.labels, Threat("linf", 0.2), plan, 0)
    robust = found.by[1] == -1
    assert not (robust & ~is_right(White(toy.net()).scores(stepped), toy.labels)).any()
    levels = levels_of(found, plan, None)
    assert [lv.after["apgd"] for lv in levels] == [lv.robust for lv in levels]
    assert all((lv.after["apgd"].value or 0) <= (lv.after["fgsm"].value or 0) for lv in levels)
    assert sum(levels[1].fell_to.values()) + (found.by[1] == loop.FELL_BEFORE).sum() == (found.clean & ~robust).sum()
    # Within a smaller bound no image falls that stands within a larger one.
    assert not ((found.by[0] >= 0) & robust).any()


def test_what_falls_within_a_small_bound_falls_within_a_larger_one(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that only works within the small bound, as one of a net that hides its gradients may."""

    def only_small(name: str, victim: object, images: np.ndarray, labels: object, threat: Threat, *rest: object):  # type: ignore[no-untyped-def]
        half = (np.arange(len(images)) % 2 == 0)[:, None, None, None] & (threat.eps < 0.5)
        return np.where(half, 1 - images, images)

    monkeypatch.setattr(loop, "run_attack", only_small)
    monkeypatch.setattr(loop.Threat, "kept_by", lambda threat, changed, images: np.ones(len(changed), np.bool_))
    monkeypatch.setattr(loop, "CHUNK", 80)
    plan = Plan("linf", (0.4, 0.6), ("fgsm", "pgd"))
    found = join_chunks(list(attack_images(White(toy.net()), toy.pixels, toy.labels, plan)))
    small, large = levels_of(found, plan, None)
    assert 0 < (small.robust.value or 0) == (large.robust.value or 0) < 0.5
    assert small.fell_to["fgsm"] > 30
    assert large.fell_to == {"fgsm": 0, "pgd": 0}
    assert not (found.eight_bit[1] & ~found.eight_bit[0]).any()


def test_what_was_done_is_resumed_and_other_work_is_refused(toy: Toy, tmp_path: Path) -> None:
    given = {"eps": (0.1,), "attacks": ("fgsm", "square"), "queries": 60, "n": 80, "steps": 5}
    whole = attack_predictor(toy.predictor(), toy.dataset, **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyewright.robustness.loop.CHUNK", 30)
        first = attack_predictor(toy.predictor(), toy.dataset, work=tmp_path / "work", **given)
        kept = sorted(p.name for p in (tmp_path / "work").glob("chunk-*.npz"))
        assert len(kept) == 3
        (tmp_path / "work" / kept[1]).unlink()
        read: list[int] = []

        def noted(*given: object) -> loop.Chunk:
            read.append(len(given[3]))  # type: ignore[arg-type]
            return attack_chunk(*given)  # type: ignore[arg-type]

        attack_chunk = loop._attack_chunk
        patch.setattr(loop, "_attack_chunk", noted)
        again = attack_predictor(toy.predictor(), toy.dataset, work=tmp_path / "work", resume=True, **given)
        assert read == [30]
        assert again.levels == first.levels
        said: list[str] = []
        other = {**given, "steps": 6, "say": said.append}
        with pytest.raises(UsageError, match="differs in: steps"):
            attack_predictor(toy.predictor(), toy.dataset, work=tmp_path / "work", resume=True, **other)
        # The checks take minutes; it is refused before them.
        assert said == []
        (tmp_path / "work" / kept[0]).write_bytes(b"PK damaged")
        with pytest.raises(UsageError, match="is damaged"):
            attack_predictor(toy.predictor(), toy.dataset, work=tmp_path / "work", resume=True, **given)
    assert whole.clean == first.clean


def test_a_budget_ends_between_images_and_says_so(toy: Toy) -> None:
    with pytest.raises(BudgetError, match="before an image was attacked") as ended:
        attack_predictor(toy.predictor(), toy.dataset, eps=(0.1,), attacks=("fgsm",), steps=5, queries=20, deadline=0.0)
    assert ended.value.exit_code == 5
    assert ended.value.details["attacked"] == 0
    # The checks take longer than the images: they end with the budget, too.
    told: list[str] = []
    with pytest.raises(BudgetError):
        attack_predictor(toy.predictor(), toy.dataset, eps=(0.1,), attacks=("fgsm",), deadline=0.0, say=told.append)
    assert [line.split(":")[0] for line in told[1:]] == ["pass  eps 0"]
    clock = iter([0.0, 0.0, 9.0])
    plan = Plan("linf", (0.1,), ("fgsm",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyewright.robustness.loop.CHUNK", 20)
        done = list(
            attack_images(White(toy.net()), toy.pixels, toy.labels, plan, deadline=5.0, now=lambda: next(clock))
        )
    assert len(join_chunks(done).rows) == 40
    # A chunk in which the time runs out between two attacks is dropped, not kept half done.
    clock = iter([0.0, 9.0])
    late = Plan("linf", (0.1,), ("fgsm", "pgd"))
    assert not list(
        attack_images(White(toy.net()), toy.pixels, toy.labels, late, deadline=5.0, now=lambda: next(clock))
    )


def test_work_with_a_budget_is_resumed_in_chunks_of_its_own_size(toy: Toy, tmp_path: Path) -> None:
    plan, net = Plan("linf", (0.1,), ("fgsm",)), White(toy.net())
    list(attack_images(net, toy.pixels[:9], toy.labels[:9], plan, folder=tmp_path, chunk=4))
    (tmp_path / "chunk-00001.npz").unlink()
    found = list(attack_images(net, toy.pixels[:9], toy.labels[:9], plan, folder=tmp_path, resume=True))
    assert [len(c.rows) for c in found] == [4, 4, 1]


def test_a_budget_leaves_most_of_its_time_to_the_attack(toy: Toy) -> None:
    plan, images = Plan("linf", (0.1,), ("fgsm",)), toy.pixels.astype(np.float32) / np.float32(255)
    scores = ScoreModel(toy.predictor())
    assert evaluating._affordable(scores, images, plan, None) == evaluating.CHECKED
    assert evaluating._affordable(scores, images, plan, time.monotonic()) == evaluating._FEWEST_CHECKED
    assert evaluating._affordable(scores, images, plan, time.monotonic() + 1e6) == evaluating.CHECKED // 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-0.1", "eps of 0 or more"),
        ("8/0", "expected eps such as"),
        ("x", "expected eps such as"),
        ("nan", "expected eps"),
    ],
)
def test_a_wrong_eps_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_eps(text)


def test_eps_of_0_to_255_is_asked_about(toy: Toy) -> None:
    with pytest.raises(UsageError, match="did you mean 8/255"):
        attack_predictor(toy.predictor(), toy.dataset, eps=(8.0,))
    with pytest.raises(UsageError, match="unknown norm 'l1'"):
        attack_predictor(toy.predictor(), toy.dataset, norm="l1", eps=(0.1,))  # type: ignore[arg-type]


def test_a_gradient_attack_on_a_model_that_only_answers_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the gradients of a run"):
        attacks_in("standard", ("pgd",), gradients=False)
    with pytest.raises(UsageError, match="did you mean 'apgd'"):
        attacks_in("standard", ("apgdd",), gradients=True)
    with pytest.raises(UsageError, match="did you mean 'standard'"):
        attacks_in("standart", None, gradients=True)


def test_a_model_that_is_always_wrong_is_refused(toy: Toy) -> None:
    wrong = toy.dataset.with_samples(
        [s.__class__(s.id, (int(t) + 1) % 10, "test") for s, t in zip(toy.dataset.samples, toy.labels, strict=True)][:5]
    )
    with pytest.raises(DatasetError, match="found none among 5"):
        attack_predictor(toy.predictor(), wrong)


def test_images_of_one_group_count_as_one_in_the_interval(toy: Toy) -> None:
    from dataclasses import replace

    grouped = toy.dataset.with_samples([replace(s, group=f"g{i // 20}") for i, s in enumerate(toy.dataset.samples)])
    given = {"eps": (0.1,), "attacks": ("fgsm",), "steps": 5, "queries": 20}
    free, tied = (attack_predictor(toy.predictor(), d, **given).headline.robust for d in (toy.dataset, grouped))
    assert (tied.value, tied.groups) == (free.value, 4)
    assert (tied.high or 1) - (tied.low or 0) > (free.high or 1) - (free.low or 0)


def test_the_unrotated_image_is_one_of_the_spatial_grid(toy: Toy) -> None:
    victim = White(toy.net())
    right = spatial_worst(victim, toy.pixels, toy.labels)
    assert not (right & ~is_right(victim.scores(toy.images), toy.labels)).any()
    assert right.mean() < 0.5
