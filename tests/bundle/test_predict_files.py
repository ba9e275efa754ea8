"""Files that are prepared where they are decoded give the predictions of images that are read whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.bundle import Bundle
from eyewright.core.errors import InputError, UnreadableImageError, UsageError
from eyewright.imaging import isolation, read_image
from eyewright.imaging.sources import list_sources


@pytest.fixture(params=["apart", "here"])
def place(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "apart":
        isolation.isolate_decoding()
    yield
    isolation.decode_here()


@pytest.fixture
def folder(shapes: Path, tmp_path: Path) -> Path:
    """Return images of several sizes, two of them damaged."""
    for k, path in enumerate(sorted(shapes.rglob("*.png"))[:40:2]):
        with Image.open(path) as image:
            image.convert("RGB").resize((40 + k, 70 - k)).save(tmp_path / f"{k:02d}.png")
    for k in (3, 11):
        whole = (tmp_path / f"{k:02d}.png").read_bytes()
        (tmp_path / f"{k:02d}.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("at_once", [1, 7, 32])
def test_each_file_gets_its_own_prediction_or_its_error(finished, folder, at_once: int, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    bundle: Bundle = finished.bundle
    monkeypatch.setattr(Bundle, "at_once", at_once)
    items = list_sources(folder)
    found = list(bundle.predict_files(items))
    assert [item for item, _ in found] == items
    for k, (item, one) in enumerate(found):
        if k in (3, 11):
            assert isinstance(one, UnreadableImageError)
            assert Path(item).name in one.message
            continue
        image = np.asarray(read_image(item))
        (expected,) = bundle.predict_images([image])
        # One example or several at once: the order of sums may differ by the last bit.
        np.testing.assert_allclose(one.probabilities, expected.probabilities, atol=1e-6)
        assert one.top1 == expected.top1
        assert (one.source, one.index) == (str(item), k)
        assert np.array_equal(one.image, image)


def test_a_stream_of_a_folder_ends_at_the_damaged_file_and_gives_what_is_before(finished, folder) -> None:  # type: ignore[no-untyped-def]
    stream = finished.bundle.predict(folder, stream=True)
    assert [next(stream).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UnreadableImageError, match=r"03\.png"):
        next(stream)


def test_a_file_that_changed_since_is_an_error_and_not_drawn_on(finished, folder: Path) -> None:  # type: ignore[no-untyped-def]
    (_, first), *_ = finished.bundle.predict_files(list_sources(folder))
    Image.new("RGB", (50, 50)).save(folder / "00.png")
    with pytest.raises(InputError, match="newer file"):
        first.plot()


def test_a_link_is_named_by_the_file_that_it_shows(finished, folder: Path, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    links = tmp_path_factory.mktemp("links")
    (links / "one.png").symlink_to(folder / "00.png")
    (links / "inner").symlink_to(folder, target_is_directory=True)
    items = [links / "one.png", links / "inner" / "01.png"]
    assert [p.source for _, p in finished.bundle.predict_files(items)] == [
        str(folder / "00.png"),
        str(folder / "01.png"),
    ]


def test_an_option_that_the_task_has_not_is_refused_before_anything_is_read(finished, folder: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"iou|IoU"):
        list(finished.bundle.predict_files([folder / "missing.png"], iou=0.5))
