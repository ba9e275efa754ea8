"""What a run keeps of its training images."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eyewright.evaluation import known
from eyewright.evaluation.known import FEATURES_FILE, KnownImages, feature_space, pack_features, read_features


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


def test_a_sample_says_how_many_it_stands_for() -> None:
    whole = KnownImages(np.zeros((3, 2), np.float32), 3, "x")
    assert whole.note == ""
    part = KnownImages(np.zeros((1000, 1), np.float32), 2500, "x")
    assert part.note == "Distances are to the nearest of 1,000 of the 2,500 training images."


def test_a_run_without_features_or_with_damaged_ones_has_none(tmp_path: Path) -> None:
    assert read_features(tmp_path) is None
    for content in (b"", b"PK\x03\x04 cut off", b"nothing"):
        (tmp_path / FEATURES_FILE).write_bytes(content)
        assert read_features(tmp_path) is None
    np.savez(tmp_path / FEATURES_FILE, features=np.eye(3, dtype=np.float32), of=np.array(7))
    assert read_features(tmp_path) is None
    with (tmp_path / FEATURES_FILE).open("wb") as file:
        np.save(file, np.eye(3, dtype=np.float32))
    assert read_features(tmp_path) is None


def test_the_space_of_features_names_the_description_and_its_size() -> None:
    drawn = SimpleNamespace(features=np.zeros((2, 5), np.float32))
    assert feature_space(drawn) == "thumbnail-5"  # type: ignore[arg-type]

    class Own:
        feature_space = "own"
        features = np.zeros((2, 5), np.float32)

    assert feature_space(Own()) == "own-5"  # type: ignore[arg-type]
