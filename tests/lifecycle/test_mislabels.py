"""Labels that were changed on purpose are found; the paper's count, step by step, is the oracle."""

import shutil
from pathlib import Path

import numpy as np
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.metrics import confident_errors


def by_the_paper(labels: np.ndarray, p: np.ndarray) -> dict[int, int]:
    """Northcutt et al. 2021, equations 1 and 2, in loops."""
    thresholds = [np.mean([p[i, j] for i in range(len(p)) if labels[i] == j]) for j in range(p.shape[1])]
    found = {}
    for i, row in enumerate(p):
        reached = [j for j in range(p.shape[1]) if row[j] >= thresholds[j]]
        if reached:
            seems = max(reached, key=lambda j: row[j])
            if seems != labels[i]:
                found[i] = seems
    return found


def test_confident_learning_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    p = rng.dirichlet(np.ones(4), 400) * 0.4 + 0.6 * np.eye(4)[truth]
    labels = truth.copy()
    wrong = rng.choice(400, 30, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 4
    samples, seems = confident_errors(labels, p)
    assert dict(zip(samples.tolist(), seems.tolist(), strict=True)) == by_the_paper(labels, p)
    margins = p[samples, seems] - p[samples, labels[samples]]
    assert (np.diff(margins) <= 0).all()
    assert len(set(wrong) & set(samples.tolist())) >= 20


def test_doctor_finds_images_in_the_wrong_folder(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", a_class=40)
    moved = []
    for kind, to in (("disc", "cross"), ("cross", "square"), ("square", "disc")):
        for i in (3, 17, 29):
            moved.append(f"{to}/wrong-{kind}-{i}.png")
            shutil.move(data / kind / f"{i:03d}.png", data / moved[-1])
    # A class of one image is no reason to give up on the others.
    (data / "alone").mkdir()
    shutil.copy(data / "disc/001.png", data / "alone/000.png")
    (data / "disc/001.png").unlink()
    assert "mislabelled" not in {f.code for f in ew.doctor(data)}
    found = [f for f in ew.doctor(data, labels=True) if f.code == "mislabelled"]
    named = {f.path for f in found}
    assert len(named & set(moved)) >= 5
    assert len(named - set(moved)) <= 2
    first = next(f for f in found if f.path in moved)
    kind = first.path.split("-")[1]
    assert f"predict '{kind}'" in first.message
    assert f"move it to '{kind}'" in first.fix
