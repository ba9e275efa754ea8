"""`unfamiliar` over HTTP: given from 100 images on, and null only with a reason in words."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes
from tests.serving.conftest import Served, serving

import eyewright as ew
from eyewright.imaging import encode_image


@pytest.fixture(scope="module")
def both(finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # type: ignore[no-untyped-def]
    """A server over the finished bundle, which knows 57 images, and one exported with 120 validation images."""
    place = tmp_path_factory.mktemp("unfamiliar")
    data = ew.load_dataset(write_shapes(place / "more", a_class=40, seed=3))
    whole = replace(data, samples=tuple(replace(s, split="val") for s in data.samples))
    ew.export(finished.run, place / "knowing", validation=whole)
    with serving(f"few={finished.paths['bundle']}", f"many={place / 'knowing'}", cwd=place) as served:
        yield served


def test_enough_images_give_a_p_value_and_flag_a_stranger(both: Served, shapes: Path) -> None:
    flagged = []
    for path in sorted(shapes.rglob("*.png"))[::6]:
        answer = both.post("/v1/models/many/predict", path.read_bytes()).json
        assert "unfamiliar_reason" not in answer
        assert answer["unfamiliar"]["flagged"] == (answer["unfamiliar"]["p"] <= 0.01)
        flagged.append(answer["unfamiliar"]["flagged"])
    assert sum(flagged) <= 1
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    assert both.post("/v1/models/many/predict", encode_image(noise)).json["unfamiliar"]["flagged"]
    about = both.get("/v1/models/many").json["familiarity"]
    assert about["method"] == "cross-conformal"
    assert about["validation_images"] == 120


def test_too_few_images_are_null_with_the_reason(both: Served, shapes: Path, finished) -> None:  # type: ignore[no-untyped-def]
    answer = both.post("/v1/models/few/predict", next(shapes.rglob("*.png")).read_bytes()).json
    assert answer["unfamiliar"] is None
    assert answer["unfamiliar_reason"] == finished.bundle.manifest.familiarity["reason"]
    assert "at least 100 are needed" in answer["unfamiliar_reason"]


def test_the_document_describes_the_reason(both: Served) -> None:
    schemas = both.get("/openapi.json").json["components"]["schemas"]
    assert schemas["Prediction"]["properties"]["unfamiliar_reason"]["type"] == "string"
