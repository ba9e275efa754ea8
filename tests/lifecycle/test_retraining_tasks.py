"""Retraining from feedback for the tasks that people correct by drawing, and for images without colour."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_shape
from tests.lifecycle.test_kept import Home

import eyewright as ew
import eyewright.lifecycle as lifecycle
from eyewright.imaging import encode_image
from eyewright.imaging.rasters import encode_counts, pack_counts


def shape_of(mask: np.ndarray) -> dict[str, object]:
    return {"size": list(mask.shape), "counts": pack_counts(encode_counts(mask))}


@pytest.mark.parametrize("task", ["segment", "instance"])
def test_what_people_outlined_is_learnt(task: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    done = request.getfixturevalue("painted" if task == "segment" else "outlined")
    data = request.getfixturevalue("scenes")
    home = Home(tmp_path / "home", Path(done.paths["bundle"]))
    mask = np.zeros((96, 96), bool)
    mask[:24, :24] = True
    said = {"objects": [{"label": "disc", "segmentation": shape_of(mask), "verdict": "missing"}]}
    home.say(said, said, said)
    again = lifecycle.retrain(
        data, out=tmp_path / "again", home=tmp_path / "home", bundle=done.paths["bundle"], epochs=1, promote=False
    )
    assert again.new_images == 3
    assert again.comparison.better in ("a", "b", "neither")
    assert ew.load_bundle(again.bundle).task_name == task
    assert ew.load_bundle(again.bundle).preparation == home.bundle.preparation


def test_a_model_of_grey_images_learns_from_kept_colour_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for kind in ("cross", "disc"):
        for k in range(14):
            place = tmp_path / "data" / kind / f"{k}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(draw_shape(kind, rng)[..., 0]))
    done = ew.run(tmp_path / "data", out=tmp_path / "run", epochs=1, batch=8)
    home = Home(tmp_path / "home", Path(done.paths["bundle"]))
    home.say({"label": "disc"}, {"label": "disc"})
    again = lifecycle.retrain(
        tmp_path / "data", out=tmp_path / "again", home=tmp_path / "home", bundle=done.paths["bundle"], epochs=1,
        promote=False,
    )  # fmt: skip
    assert again.new_images == 2
    assert ew.load_bundle(again.bundle).preparation == home.bundle.preparation
