"""Version 2 of the Preparation: large images are reduced before they are resized, the same from every source."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from sklearn.datasets import load_sample_images

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.jsonable import dumps_json
from eyewright.imaging import Preparation, encode_image
from eyewright.imaging.ahead import read_prepared
from eyewright.imaging.isolation import decode_here, isolate_decoding
from eyewright.imaging.reduction import Prepared, reduction
from eyewright.imaging.sources.files import read_prepared_files

CHINA, FLOWER = load_sample_images().images
NEW = Preparation((64, 64), version=2)
OLD = Preparation((64, 64))


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def prepared(data: bytes, preparation: Preparation) -> NDArray[np.uint8]:
    (found,) = read_prepared([data], preparation)
    assert isinstance(found, Prepared)
    return found.pixels


def apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


def test_the_factor_leaves_twice_the_pixels_that_the_net_takes() -> None:
    for scale in (0.5, 0.26, 0.25, 0.2, 0.126, 0.125, 0.07, 0.0625, 0.01):
        factor = reduction((scale, scale / 2))
        assert factor == 1 or scale * factor <= 0.5
        assert factor == 8 or scale * factor * 2 > 0.5


def test_an_image_that_is_not_reduced_has_the_bits_of_version_1() -> None:
    small = CHINA[:250, :250]
    for fit, channels in itertools.product(("stretch", "crop", "letterbox"), (1, 3)):
        old = Preparation((64, 64), fit=fit, channels=channels)  # type: ignore[arg-type]
        new = Preparation((64, 64), fit=fit, channels=channels, version=2)  # type: ignore[arg-type]
        assert new.reduction(small.shape[:2]) == 1
        assert np.array_equal(old(small)[0], new(small)[0])
        assert np.array_equal(prepared(jpeg(small), new), old(np.asarray(Image.open(io.BytesIO(jpeg(small)))))[0])


def test_an_array_is_reduced_as_pillow_reduces_it() -> None:
    height, width = CHINA.shape[:2]
    assert NEW.reduction((height, width)) == 2
    ours, placement = NEW(CHINA)
    theirs = Image.fromarray(CHINA).reduce(2).resize((64, 64), Image.Resampling.BILINEAR, box=(0, 0, width / 2, 213.5))
    assert np.array_equal(ours, np.asarray(theirs))
    assert placement == OLD.place((height, width))


def test_a_jpeg_is_decoded_at_the_scale_that_libjpeg_offers() -> None:
    data = jpeg(CHINA)
    picture = Image.open(io.BytesIO(data))
    picture.draft(None, (320, 213))
    assert picture.size == (320, 214)
    theirs = picture.resize((64, 64), Image.Resampling.BILINEAR, box=(0, 0, 320, 213.5))
    assert np.array_equal(prepared(data, NEW), np.asarray(theirs))


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_and_arrays_differ_by_less_than_a_level_on_average(fit: Any, channels: int) -> None:
    for photograph in (CHINA, FLOWER):
        large = np.asarray(Image.fromarray(photograph).resize((1601, 1067), Image.Resampling.LANCZOS))
        data = jpeg(large)
        whole = np.asarray(Image.open(io.BytesIO(data)))
        for side in (32, 96):
            new = Preparation((side, side), fit=fit, channels=channels, version=2)
            old = Preparation((side, side), fit=fit, channels=channels)
            from_file, from_array = prepared(data, new), new(whole)[0]
            assert new.reduction((1067, 1601)) == (8 if side == 32 or fit == "letterbox" else 4)
            assert apart(from_file, from_array).mean() < 0.3
            assert apart(from_file, old(whole)[0]).mean() < 0.6
            assert apart(from_file, old(whole)[0]).max() <= 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_prepared_as_its_upright_pixels(orientation: int) -> None:
    # Sides that no block divides: what reaches past the edge lies left or above once it is turned.
    pixels = np.asarray(Image.fromarray(CHINA).resize((613, 407)))
    tag = Image.Exif()
    tag[0x0112] = orientation
    data = jpeg(pixels, exif=tag)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    new = Preparation((24, 24), version=2)
    (found,) = read_prepared([data], new)
    assert isinstance(found, Prepared)
    assert found.source_hw == upright.shape[:2]
    assert new.reduction(upright.shape[:2]) == 8
    # A pixel of the source is 1/17 of a pixel here; an offset of 5 to 7 of them would change edges by far more.
    assert apart(found.pixels, Preparation((24, 24))(upright)[0]).mean() < 0.8


def test_boxes_stay_relative_to_the_whole_image() -> None:
    place = Preparation((96, 96), fit="letterbox", version=2).place((1067, 1601))
    assert place == Preparation((96, 96), fit="letterbox").place((1067, 1601))
    black = np.zeros((1067, 1601, 3), np.uint8)
    black[533:, 800:] = 255
    pixels = prepared(jpeg(black), Preparation((96, 96), fit="letterbox", version=2))
    (x, y) = place.to_source(np.array([[place.scale_yx[1] * 800, place.scale_yx[0] * 533 + place.offset_yx[0]]]))[0]
    assert (round(x), round(y)) == (800, 533)
    row, column = round(place.scale_yx[0] * 533 + place.offset_yx[0]), round(place.scale_yx[1] * 800)
    assert pixels[row + 2, column + 2].min() > 250
    assert pixels[row - 3, column - 3].max() < 5


def wide_profile() -> bytes:
    # A profile of three primaries other than sRGB's: Pillow's own creator offers sRGB alone, so its text is cut out.
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
        at = made.index(tag, 128)
        offset = int.from_bytes(made[at + 4 : at + 8], "big")
        x = int.from_bytes(made[offset + 8 : offset + 12], "big")
        made[offset + 8 : offset + 12] = int(x * 0.9).to_bytes(4, "big")
    return bytes(made).replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"sRGB", b"xRGB")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_profile_is_applied_after_the_resize(channels: int) -> None:
    large = np.asarray(Image.fromarray(FLOWER).resize((1600, 1067), Image.Resampling.LANCZOS))
    plain, with_profile = jpeg(large), jpeg(large, icc_profile=wide_profile())
    new = Preparation((64, 64), channels=channels, version=2)
    old = Preparation((64, 64), channels=channels)
    assert apart(prepared(with_profile, new), prepared(plain, new)).mean() > 1
    # The resize is linear in encoded values either way: the profile's curves see means instead of what they are of.
    assert apart(prepared(with_profile, new), prepared(with_profile, old)).mean() < 0.6


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_of_jpeg(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(CHINA).convert(mode).save(buffer, "JPEG", quality=95)
    for channels in (1, 3):
        new = Preparation((32, 32), channels=channels, version=2)
        old = Preparation((32, 32), channels=channels)
        assert apart(prepared(buffer.getvalue(), new), prepared(buffer.getvalue(), old)).mean() < 0.6


def test_png_and_transparency_take_the_way_of_arrays() -> None:
    clear = np.dstack([CHINA, np.full(CHINA.shape[:2], 128, np.uint8)])
    buffer = io.BytesIO()
    Image.fromarray(clear).save(buffer, "PNG")
    over = np.asarray(Image.alpha_composite(Image.new("RGBA", (640, 427), "white"), Image.fromarray(clear)))[..., :3]
    assert np.array_equal(prepared(buffer.getvalue(), NEW), NEW(np.ascontiguousarray(over))[0])
    assert np.array_equal(prepared(encode_image(CHINA), NEW), NEW(CHINA)[0])


def test_steps_clips_and_tiles_never_reduce() -> None:
    assert not Preparation((64, 64), steps="invert", version=2).reduces
    steps = [Preparation((64, 64), steps="invert", version=v) for v in (1, 2)]
    assert np.array_equal(prepared(jpeg(CHINA), steps[0]), prepared(jpeg(CHINA), steps[1]))


def test_relative_paths_and_other_processes_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(CHINA)
    (tmp_path / "a.jpg").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    ((_, here),) = read_prepared_files(["a.jpg"], NEW)
    isolate_decoding()
    try:
        ((_, there),) = read_prepared_files(["a.jpg"], NEW)
    finally:
        decode_here()
    assert isinstance(here, Prepared)
    assert isinstance(there, Prepared)
    assert np.array_equal(here.pixels, there.pixels)
    assert np.array_equal(here.pixels, prepared(data, NEW))
    assert here.source_hw == there.source_hw == (427, 640)


def test_the_version_travels_and_version_1_is_written_as_before() -> None:
    assert "version" not in OLD.to_json()
    assert NEW.to_json()["version"] == 2
    assert dumps_json(OLD.to_json()) == dumps_json(Preparation.from_json(OLD.to_json()).to_json())
    assert Preparation.from_json(NEW.to_json()) == NEW
    with pytest.raises(BundleError, match="version 1 to 2, found 3"):
        Preparation.from_json({**OLD.to_json(), "version": 3})
    with pytest.raises(UsageError, match="update eyewright"):
        Preparation((64, 64), version=0)
