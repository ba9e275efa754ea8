from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.imaging import encode_image


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Twelve images with the classes void, road, sky and car in their masks."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for i in range(12):
        image = np.kron(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
        mask = np.repeat(np.repeat(np.arange(4, dtype=np.uint8), 12)[:, None], 48, 1)
        (tmp_path / "data" / "images" / f"{i}.png").write_bytes(encode_image(image))
        (tmp_path / "data" / "masks" / f"{i}.png").write_bytes(encode_image(mask))
    (tmp_path / "data" / "classes.txt").write_text("void\nroad\nsky\ncar\n")
    return tmp_path / "data"


def test_a_run_remembers_what_it_ignores(streets: Path, tmp_path: Path) -> None:
    run = ew.train(streets, task="segment", epochs=1, imgsz=32, ignore=("sky",), out=tmp_path / "run")
    assert run.labels.names == ("road", "car")
    assert run.about["ignore"] == ["sky"]
    report = ew.evaluate(run)
    assert report.labels == ("road", "car")
    with pytest.raises(ew.EyewrightError, match="--ignore"):
        ew.evaluate(run, streets, allow_leaks=True)
    assert ew.evaluate(run, streets, allow_leaks=True, ignore=("sky",)).n == 12
