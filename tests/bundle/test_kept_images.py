"""A list of predictions holds few images, however many it is made from; the others are read again."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.bundle import Bundle, load
from eyewright.core.errors import InputError


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (60, 40 + i), (40 * i, 90, 200)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_MOST_KEPT", 60 * 40 * 3 + 1)


def test_the_images_of_a_folder_do_not_stay_in_memory(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    Image.new("RGB", (2000, 1500), (10, 90, 200)).save(tmp_path / "0.jpg")
    for i in range(1, 40):
        os.link(tmp_path / "0.jpg", tmp_path / f"{i}.jpg")
    tracemalloc.start()
    try:
        predictions = finished.bundle.predict(tmp_path)
        held, most = (n / 2**20 for n in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert len(predictions) == 40  # together 343 MB
    assert held < 70
    assert most < 180  # with what is read ahead


@pytest.mark.usefixtures("small")
def test_images_that_were_not_kept_are_read_again(finished, photographs: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle: Bundle = finished.bundle
    expected = list(bundle.predict(photographs, stream=True))
    found = bundle.predict(photographs)
    assert [p.source for p in found] == [p.source for p in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.plot(), other.plot())
    assert found[4].image is not found[4].image
    assert np.array_equal(np.asarray(Image.open(found[4].save(tmp_path / "drawn.png"))), expected[4].plot())


@pytest.mark.usefixtures("small")
def test_an_image_that_changed_since_is_an_error_and_not_drawn_on(finished, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    found = finished.bundle.predict(photographs)
    Image.new("RGB", (60, 80)).save(photographs / "3.png")
    (photographs / "4.png").unlink()
    with pytest.raises(InputError, match=r"3\.png.*found a newer file"):
        found[3].plot()
    with pytest.raises(InputError, match=r"4\.png.*found nothing"):
        found[4].plot()
    assert "ClassPrediction" in repr(found[4])
    assert found[4].line()
    assert found[0].plot().shape[1] >= 60


@pytest.mark.usefixtures("small")
def test_images_given_as_bytes_are_decoded_again_and_arrays_stay_the_callers(finished, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    files = [p.read_bytes() for p in sorted(photographs.iterdir())]
    arrays = [np.full((40, 60, 3), i, np.uint8) for i in range(3)]
    found = finished.bundle.predict([*files, *arrays])
    assert [p.index for p in found] == list(range(8))
    assert [p.image.shape[0] for p in found[:5]] == [40, 41, 42, 43, 44]
    assert found[4].image is not found[4].image
    assert all(p.image is array for p, array in zip(found[5:], arrays, strict=True))


@pytest.mark.usefixtures("small")
def test_frames_of_a_video_are_read_again_in_any_order(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    cv2 = pytest.importorskip("cv2")
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(9):
        writer.write(np.full((48, 64, 3), 25 * i, np.uint8))
    writer.release()
    expected = [p.image for p in finished.bundle.predict(clip, stream=True)]
    found = finished.bundle.predict(clip)
    assert len(found) == 9
    for at in (3, 4, 8, 8, 2, 5, 1, 0):
        assert np.array_equal(found[at].image, expected[at]), at
    clip.unlink()
    assert found[0].image is found[0].image
    with pytest.raises(InputError, match="found nothing"):
        found[8].plot()
