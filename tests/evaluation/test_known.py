"""What a run keeps of its training images."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eyewright.evaluation import known
from eyewright.evaluation.known import FEATURES_FILE, pack_features, read_features


@pytest.mark.parametrize(("most", "kept"), [(100, list(range(10))), (4, [0, 3, 6, 9]), (1, [0])])
def test_more_images_than_fit_are_sampled_evenly_from_first_to_last(
    most: int, kept: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features = np.arange(20, dtype=np.float32)[:, None].repeat(3, 1)
    monkeypatch.setattr(known, "_MOST_BYTES", most * 4 * 3)
    rows = np.arange(5, 15)
    (tmp_path / FEATURES_FILE).write_bytes(pack_features(SimpleNamespace(features=features), rows))  # type: ignore[arg-type]
    found = read_features(tmp_path)
    assert found is not None
    assert (found.features[:, 0] - 5).tolist() == kept
    assert (found.of, found.features.shape[1]) == (10, 3)
    assert ("nearest of" in found.note) == (len(kept) < 10)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros(4, np.float32),
        np.zeros((2, 3, 4), np.float32),
        np.zeros((2, 3), np.float64),
        np.zeros((0, 3), np.float32),
    ],
    ids=["one axis", "three axes", "another type", "none"],
)
def test_features_that_are_no_table_are_as_good_as_none(features: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / FEATURES_FILE, features=features, of=np.array(2), space=np.array("pixels"))
    assert read_features(tmp_path) is None


def test_a_table_of_features_is_read_as_it_was_written(tmp_path: Path) -> None:
    np.savez(tmp_path / FEATURES_FILE, features=np.eye(3, dtype=np.float32), of=np.array(7), space=np.array("pixels"))
    found = read_features(tmp_path)
    assert found is not None
    assert (found.features.tolist(), found.of, found.space) == (np.eye(3).tolist(), 7, "pixels")
