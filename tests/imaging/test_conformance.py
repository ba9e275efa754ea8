"""Every built-in step and source passes its public check."""

from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.imaging import write_image
from eyewright.imaging.steps import STEPS
from eyewright.testing import check_source, check_step

pytest.importorskip("cv2")
pytest.importorskip("skimage")


@pytest.mark.parametrize("name", [n for n in STEPS if n != "denoise"])
def test_every_step_conforms(name: str) -> None:
    check_step(STEPS[name])


def test_denoise_conforms() -> None:
    check_step(STEPS["denoise"], line="denoise:tv,strength=10")


def test_the_check_of_steps_can_fail() -> None:
    from dataclasses import replace

    kind = replace(STEPS["invert"], keeps_size=True)
    with pytest.raises(AssertionError, match="keep"):
        check_step(kind, line="resize:40")


def test_file_sources_conform(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / f"{k}.png", np.full((8, 9, 3), k, np.uint8))
    check_source(lambda: ew.open_source(tmp_path), at_least=3)
