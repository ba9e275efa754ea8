"""Parts of image files are filled: under masks of any kind, in boxes, where a bundle finds objects."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.imaging.test_inpainting import bricks, hole_in

import eyewright as ew
from eyewright import lifecycle
from eyewright.cli.program import main
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.imaging import write_image
from eyewright.imaging.decode import read_clear
from eyewright.imaging.inpainting import inpaint_pixels
from eyewright.tasks import BoxPrediction, MaskCrop


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    write_image(tmp_path / "wall.png", bricks())
    return tmp_path / "wall.png"


@pytest.mark.parametrize("kind", ["0-255", "0-1", "rgb", "16 bits", "jpeg"])
def test_masks_of_every_kind_mean_the_same(wall: Path, tmp_path: Path, kind: str) -> None:
    hole = hole_in(bricks(), 40, 50, 8, 24)
    mask = {
        "0-255": hole * np.uint8(255),
        "0-1": hole * np.uint8(1),
        "rgb": np.repeat(hole[..., None], 3, 2) * np.uint8(255),
        "16 bits": hole * np.uint16(65535),
        "jpeg": hole * np.uint8(255),
    }[kind]
    path = write_image(tmp_path / ("mask.jpg" if kind == "jpeg" else "mask.png"), mask)
    done = lifecycle.inpaint(wall, tmp_path / "out.png", mask=path)
    assert done.pixels == hole.sum()
    filled = ew.read_image(tmp_path / "out.png")
    assert np.array_equal(filled[~hole], bricks()[~hole])
    assert not np.array_equal(filled[hole], bricks()[hole])


def test_a_box_is_filled_and_what_lies_outside_the_image_refused(wall: Path, tmp_path: Path) -> None:
    argv = ["inpaint", str(wall), "--method", "exemplar", "--quiet", "--out"]
    assert main([*argv, str(tmp_path / "a.png"), "--box", "130,110,40,40"]) == 0
    filled, hole = ew.read_image(tmp_path / "a.png"), hole_in(bricks(), 110, 130, 40, 40)
    assert np.array_equal(filled[~hole], bricks()[~hole])
    assert main([*argv, str(tmp_path / "b.png"), "--box", "500,500,10,10"]) == 2
    assert main([*argv, str(tmp_path / "b.png"), "--box", "1,2,3"]) == 2
    assert main([*argv, str(tmp_path / "a.png"), "--box", "10,10,5,5"]) == 2
    assert main([*argv, str(tmp_path / "c.png")]) == 2


def test_an_empty_mask_is_a_finding_and_one_of_another_size_is_refused(
    wall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_image(tmp_path / "empty.png", np.zeros((120, 140), np.uint8))
    assert main(["inpaint", str(wall), "--mask", str(empty), "--out", str(tmp_path / "out.png")]) == 1
    assert "the mask is empty" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
    other = write_image(tmp_path / "other.png", np.full((12, 14), 255, np.uint8))
    with pytest.raises(UsageError, match="expected a mask of 140x120 pixels, as the image has upright, found 14x12"):
        lifecycle.inpaint(wall, tmp_path / "out.png", mask=other)


def test_depth_and_transparency_stay_and_what_is_filled_is_seen(tmp_path: Path) -> None:
    deep = bricks().astype(np.uint16) * 257 + 5
    write_image(tmp_path / "deep.png", deep)
    hole = hole_in(bricks(), 40, 50, 8, 24)
    mask = write_image(tmp_path / "mask.png", hole * np.uint8(255))
    lifecycle.inpaint(tmp_path / "deep.png", tmp_path / "out.png", mask=mask)
    filled = ew.read_image(tmp_path / "out.png", depth="native")
    assert np.array_equal(filled[~hole], deep[~hole])
    clear = np.dstack([bricks(), np.full((120, 140), 90, np.uint8)])
    write_image(tmp_path / "clear.png", clear)
    lifecycle.inpaint(tmp_path / "clear.png", tmp_path / "clear-out.png", mask=mask)
    kept = read_clear(tmp_path / "clear-out.png")
    assert kept is not None
    assert np.array_equal(kept[~hole], clear[~hole])
    assert (kept[hole][:, 3] == 255).all()


class Finder:
    """A model that finds a cat and a dog, each as a box or a mask."""

    task_name = "detect"
    labels = LabelSpace(("cat", "dog"))

    def __init__(self, crops: tuple[MaskCrop, ...] | None) -> None:
        self._crops = crops

    def predict_images(self, images: list[NDArray[np.uint8]], *, conf: float | None = None) -> list[BoxPrediction]:
        boxes = np.array([[20.4, 30.0, 44.0, 50.2], [90.0, 60.0, 110.0, 80.0], [60.0, 90.0, 70.0, 100.0]], np.float32)
        scores, ids = np.array([0.9, 0.8, 0.3], np.float32), np.array([0, 1, 0])
        keep = scores >= (conf or 0)
        crops = None if self._crops is None else tuple(c for c, k in zip(self._crops, keep, strict=True) if k)
        return [BoxPrediction(boxes[keep], scores[keep], ids[keep], self.labels, images[0].shape[:2], crops)]


def test_objects_that_a_bundle_finds_are_removed_by_box_or_by_mask(
    wall: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disc = np.hypot(*np.mgrid[-10:10, -12:12]) < 9
    crops = (
        MaskCrop(30, 20, disc),
        MaskCrop(60, 90, np.ones((20, 20), bool)),
        MaskCrop(90, 60, np.ones((10, 10), bool)),
    )
    for given, pixels in ((None, 24 * 21), (crops, int(disc.sum()))):
        model = Finder(given)
        monkeypatch.setattr("eyewright.lifecycle.loading.open_any", lambda path, model=model: model)
        done = lifecycle.inpaint(
            wall, tmp_path / "out.png", label="cat", model="det", conf=0.5, grow=0, feather=0, overwrite=True
        )
        assert (done.objects, done.pixels) == (1, pixels)
    grown = lifecycle.inpaint(wall, tmp_path / "out.png", label="cat", model="det", overwrite=True)
    assert grown.objects == 2
    assert grown.pixels > int(disc.sum()) + 100 + 150, "three pixels around are filled too"
    with pytest.raises(UsageError, match="the bundle knows no 'cta'; did you mean 'cat'"):
        lifecycle.inpaint(wall, tmp_path / "o.png", label="cta", model="det")
    with pytest.raises(UsageError, match="--object together with --with"):
        lifecycle.inpaint(wall, tmp_path / "o.png", label="cat")
    argv = ["inpaint", str(wall), "--object", "dog", "--with", "det", "--conf", "0.9", "--out", str(tmp_path / "o.png")]
    assert main(argv) == 1, "nothing of the kind was found"


def test_a_bundle_that_finds_no_places_is_refused(finished, wall: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BundleError, match="says where objects are"):
        lifecycle.inpaint(wall, tmp_path / "o.png", label="disc", model=finished.paths["bundle"])


def test_the_file_that_cannot_be_read_is_named(wall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    mask = write_image(tmp_path / "mask.png", hole_in(bricks(), 40, 50, 8, 24) * np.uint8(255))
    for image, own in ((broken, mask), (wall, broken)):
        assert main(["inpaint", str(image), "--mask", str(own), "--out", str(tmp_path / "o.png")]) == 3
        assert "broken.png" in capsys.readouterr().err
    empty = write_image(tmp_path / "empty.png", np.zeros(bricks().shape[:2], np.uint8))
    assert main(["inpaint", str(wall), "--mask", str(empty), "--out", str(tmp_path / "o.png")]) == 1
    assert "--conf" not in capsys.readouterr().err, "no bundle has looked for objects"


def test_frames_that_are_left_out_are_said_and_a_file_of_another_name_is_not_replaced(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(np.full((30, 40), v, np.uint8)) for v in (0, 90, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    done = lifecycle.inpaint(tmp_path / "moving.gif", tmp_path / "out.png", box=(3, 3, 5, 5))
    assert [f.message for f in done.findings] == ["left out: 2 further frames"]
    clear = np.full((30, 40, 4), 90, np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    (tmp_path / "there.png").write_bytes(b"mine")
    # A JPEG holds no transparency, so that the output becomes a PNG.
    with pytest.raises(UsageError, match=r"there\.png' exists"):
        lifecycle.inpaint(tmp_path / "clear.png", tmp_path / "there.jpg", box=(3, 3, 5, 5))
    assert (tmp_path / "there.png").read_bytes() == b"mine"


def test_what_a_format_cannot_hold_becomes_a_png_that_is_said_and_loses_nothing(tmp_path: Path) -> None:
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (40, 50, 4)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "clear.png")
    Image.fromarray(image[..., :3]).save(tmp_path / "plain.png")
    done = lifecycle.inpaint(tmp_path / "clear.png", tmp_path / "out.jpg", box=(3, 3, 5, 5))
    assert [(f.code, f.message) for f in done.findings] == [
        ("format_changed", "JPEG cannot hold its transparency: written as out.png")
    ]
    assert done.out == tmp_path / "out.png"
    for name in ("out.jpg", "out.gif"):
        done = lifecycle.inpaint(tmp_path / "plain.png", tmp_path / name, box=(3, 3, 5, 5))
        assert [f.code for f in done.findings] == ["format_loses"], name


@pytest.mark.parametrize("method", ["auto", "ns", "fsr", "biharmonic", "exemplar"])
@pytest.mark.parametrize("size_hw", [(1, 50), (50, 1), (3, 3)])
def test_a_hole_in_a_picture_of_a_few_pixels_is_filled(method: str, size_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    hole = np.zeros(size_hw, bool)
    hole[0, 0] = True
    done = inpaint_pixels(image, hole, method=method)
    assert np.array_equal(done.image[~hole], image[~hole])
