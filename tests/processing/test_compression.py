"""Compression to a target. Oracle: exhaustive search over the codec's qualities."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.imaging import encode_image, read_image, write_image
from eyewright.imaging.decode import read_profile
from eyewright.metrics.fidelity import ssim, ssimulacra2
from eyewright.processing import Target, encode_files, study_folder
from eyewright.processing.compression import CODECS, encode_to
from eyewright.processing.study import bjontegaard_rate

pytest.importorskip("cv2")
skimage_data = pytest.importorskip("skimage.data")
PHOTO = np.ascontiguousarray(skimage_data.astronaut()[60:188, 140:300])


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("wanted", [0.95, 0.98])
def test_the_file_is_the_smallest_that_exhaustive_search_finds(codec: str, wanted: float) -> None:
    data, _, _, meets = encode_to(PHOTO, codec, Target("ssim", wanted))
    assert meets
    reached = ssim(PHOTO, read_image(data))
    assert reached >= wanted
    kind = CODECS[codec]
    smallest = None
    for q in range(30, 100):
        tried = encode_image(PHOTO, format=kind.format, quality=q, chroma="420")
        if ssim(PHOTO, read_image(tried)) >= wanted:
            smallest = min(smallest or len(tried), len(tried))
    assert smallest is not None
    assert len(data) <= smallest * 1.01
    if codec == "jpeg":
        assert reached < wanted + 0.002


def test_no_visible_loss_is_a_score_of_ninety() -> None:
    data, _, _, meets = encode_to(PHOTO, "webp", Target())
    assert meets == (ssimulacra2(PHOTO, read_image(data)) >= 90)


def test_a_limit_of_bytes_is_kept_with_the_best_quality_that_fits() -> None:
    data, quality, _, meets = encode_to(PHOTO, "jpeg", Target("bytes", 6000))
    assert meets
    assert len(data) <= 6000
    more = encode_image(PHOTO, format="JPEG", quality=quality + 3, chroma="420")
    assert len(more) > 5600
    _, _, _, meets = encode_to(PHOTO, "jpeg", Target("bytes", 100))
    assert not meets


def test_a_large_picture_lands_where_a_full_search_does(monkeypatch) -> None:
    from eyewright.processing import compression

    photo = np.ascontiguousarray(skimage_data.astronaut())
    wanted, *_ = encode_to(photo, "jpeg", Target("ssim", 0.95))
    monkeypatch.setattr(compression, "_LARGE", 100_000)
    calls = []
    encode = compression._encoded
    monkeypatch.setattr(compression, "_encoded", lambda image, *rest: calls.append(image.shape) or encode(image, *rest))
    found, _, _, meets = encode_to(photo, "jpeg", Target("ssim", 0.95))
    assert meets
    assert ssim(photo, read_image(found)) >= 0.95
    assert len(found) <= len(wanted) * 1.02
    assert calls.count(photo.shape) < 18, "few tries on the whole picture"


def test_lossless_is_exact_and_tighter_where_a_packer_is_there() -> None:
    data, _, _, meets = encode_to(PHOTO, "png", Target())
    assert meets
    assert np.array_equal(read_image(data), PHOTO)


def test_auto_takes_the_smallest_of_all_and_says_what_it_measured(tmp_path: Path) -> None:
    write_image(tmp_path / "in/a.png", PHOTO)
    files, findings = encode_files(tmp_path / "in", tmp_path / "out", target=Target("ssim", 0.97))
    (found,) = files
    sizes = {c: len(encode_to(PHOTO, c, Target("ssim", 0.97))[0]) for c in ("jpeg", "webp", "avif", "png")}
    assert found.bytes_out <= min(sizes.values())
    assert found.out is not None
    shown = read_image(found.out)
    assert found.ssim == pytest.approx(ssim(PHOTO, shown))
    assert found.bits_per_pixel == pytest.approx(8 * found.out.stat().st_size / (128 * 160))
    assert findings == ()


def test_metadata_goes_orientation_stays_right_and_a_profile_is_kept_when_asked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    buffer = io.BytesIO()
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PHOTO).save(buffer, "JPEG", quality=95, exif=exif, icc_profile=profile)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    for keep in (False, True):
        files, _ = encode_files(
            tmp_path / "a.jpg", tmp_path / f"out{keep}", to="jpeg", target=Target("quality", 90), keep_icc=keep
        )
        assert files[0].out is not None
        data = files[0].out.read_bytes()
        assert b"a camera" not in data
        assert read_image(data).shape == (160, 128, 3)
        assert (read_profile(data) is not None) == keep


def test_what_is_lost_larger_or_missed_is_said(tmp_path: Path) -> None:
    clear = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 200, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    frames = [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    frames[0].save(tmp_path / "two.webp", save_all=True, append_images=frames[1:], lossless=True)
    write_image(tmp_path / "small.jpg", PHOTO, quality=20)
    (tmp_path / "broken.png").write_bytes(b"no")
    files, findings = encode_files(tmp_path, tmp_path / "out", to="png")
    codes = {(Path(f.path).name, f.code) for f in findings}
    assert ("clear.png", "lost") in codes
    assert ("two.webp", "lost") in codes
    assert ("small.jpg", "larger") in codes
    assert ("broken.png", "not_an_image") in codes
    assert len(files) == 3
    files, findings = encode_files(tmp_path / "small.jpg", tmp_path / "out2", to="jpeg", target=Target("score", 99.9))
    assert files[0].missed
    assert "target_missed" in {f.code for f in findings}


def test_the_structure_of_a_folder_and_of_a_glob_is_kept(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/b/a.png", "in/b/c/a.png"):
        write_image(tmp_path / name, PHOTO[:16, :16])
    quick = Target("quality", 50)
    for source, out in ((tmp_path / "in", "folder"), (str(tmp_path / "in/**/*.png"), "glob")):
        files, findings = encode_files(source, tmp_path / out, to="jpeg", target=quick)
        assert len(files) == 3
        assert findings == ()
        written = sorted(str(p.relative_to(tmp_path / out)) for p in (tmp_path / out).rglob("*.jpg"))
        assert written == ["a.jpg", "b/a.jpg", "b/c/a.jpg"]
    files, _ = encode_files(tmp_path / "in/b/a.png", tmp_path / "file", to="jpeg", target=quick)
    assert files[0].out == tmp_path / "file/a.jpg"


def test_refusals(tmp_path: Path) -> None:
    write_image(tmp_path / "in/a.png", PHOTO)
    write_image(tmp_path / "in/a.jpg", PHOTO)
    with pytest.raises(UsageError, match="would both become"):
        encode_files(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UsageError, match="is an input"):
        encode_files(tmp_path / "in/a.png", tmp_path / "in", to="png")
    with pytest.raises(UsageError, match="did you mean 'webp'"):
        encode_files(tmp_path / "in/a.png", tmp_path / "out", to="webq")
    encode_files(tmp_path / "in/a.png", tmp_path / "out", to="jpeg", target=Target("quality", 50))
    with pytest.raises(UsageError, match="exists"):
        encode_files(tmp_path / "in/a.png", tmp_path / "out", to="jpeg")
    with pytest.raises(UsageError, match="at least one worker"):
        encode_files(tmp_path / "in/a.png", tmp_path / "out3", workers=-1)
    with pytest.raises(UsageError, match=r"0\.01 to 1"):
        Target("ssim", 1.2)


def test_bjontegaard_rates_are_those_of_the_package_of_that_name() -> None:
    # bjontegaard 1.3.0: bd_rate(..., method="pchip") of these curves.
    anchor = [(487.53, 40.037), (1022.14, 43.125), (2163.40, 46.321), (4586.35, 49.504)]
    other = [(452.11, 40.211), (953.77, 43.402), (2004.21, 46.588), (4271.96, 49.721)]
    assert bjontegaard_rate(anchor, other) == pytest.approx(-12.448558770654, abs=1e-9)
    assert bjontegaard_rate(anchor, [(2 * r, q) for r, q in anchor]) == pytest.approx(100)
    assert bjontegaard_rate(anchor, [(r, q + 50) for r, q in anchor]) is None


def test_a_study_is_a_page_without_a_host(tmp_path: Path) -> None:
    for k in range(2):
        write_image(tmp_path / f"in/{k}.png", np.ascontiguousarray(PHOTO[: 64 + k, :64]))
    study = study_folder(tmp_path / "in", tmp_path / "out")
    assert study.n == 2
    assert {"jpeg", "webp", "avif", "jpeg2000"} <= set(study.curves)
    for rows in study.curves.values():
        assert [r["bpp"] for r in rows] == sorted(r["bpp"] for r in rows)
    page = study.paths["study"].read_text("utf-8")
    assert page.count("<svg") == 4
    assert "http" not in page.replace("http-equiv", "")
    assert json.loads(study.paths["study_json"].read_text())["n"] == 2


def test_a_study_reports_every_file_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from eyewright.cli import main

    write_image(tmp_path / "in/a.png", np.ascontiguousarray(PHOTO[:64, :64]))
    write_image(tmp_path / "in/small.png", np.ascontiguousarray(PHOTO[:20, :64]))
    (tmp_path / "in/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0cut off")
    assert main(["encode", "--study", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("1 picture;")
    assert said.err.count("left out: ") == 2
    assert "small.png: 64x20 pixels are too few" in said.err
    page = (tmp_path / "out/study.html").read_text("utf-8")
    assert "broken.jpg" in page
    assert "small.png" in page
