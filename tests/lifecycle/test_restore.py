"""Restoration from a folder of images to files that a bundle has restored."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle import session
from eyewright.bundle.restoring import open_restorer
from eyewright.cli.program import main
from eyewright.core.errors import RefusedError, UsageError
from eyewright.core.predictor import predict_everything
from eyewright.imaging import write_image
from eyewright.imaging.decode import read_clear
from eyewright.imaging.steps import process
from eyewright.learners import restore as learner
from eyewright.lifecycle.restoring import _planned
from eyewright.nets import restorers


def draw(rng: np.random.Generator, side: int = 72, *, periods: tuple[int, int] = (4, 12)) -> NDArray[np.uint8]:
    """Waves of several directions, all over the image: a blur shows everywhere."""
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side, 3))
    for _ in range(5):
        angle, period = rng.uniform(0, np.pi), rng.uniform(*periods)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + rng.uniform(0, 6))
        image += wave[..., None] * rng.uniform(-40, 40, 3)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(16):
        part = "train" if k < 8 else "val" if k < 11 else "test"
        (folder / part).mkdir(exist_ok=True)
        write_image(folder / part / f"{k:02d}.png", draw(np.random.default_rng(k)))
    return folder


@pytest.fixture(scope="module")
def quick():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restorers, "_WIDTH", 16)
        patch.setattr(restorers, "_DEPTH", 6)
        patch.setattr(learner, "_VIEWS", 96)
        yield


def train(data: Path, out: Path, **options: object):  # type: ignore[no-untyped-def]
    given = {"epochs": 8, "batch": 8, "imgsz": 64, "lr": 3e-3, "ema": 0.0, "amp": "off", **options}
    return ew.run(data, task="restore", out=out, **given)


@pytest.fixture(scope="module")
def blurred(quick: None, photos: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return train(photos, tmp_path_factory.mktemp("blur") / "run", degrade="blur:1.2")


@pytest.fixture(scope="module")
def doubled(quick: None, photos: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return train(photos, tmp_path_factory.mktemp("down") / "run", degrade="down:2")


def test_a_folder_of_images_becomes_a_bundle_that_gains(blurred) -> None:  # type: ignore[no-untyped-def]
    metrics = blurred.report.metrics
    assert (metrics["baseline_gain"].low or 0) > 0.3
    assert metrics["baseline_gain"].value == pytest.approx(metrics["psnr_gain"].value)
    assert metrics["psnr"].unit == "dB"
    page = (blurred.paths["report"]).read_text()
    assert "Worst, median and best" in page
    assert "gain of" in page
    preparation = blurred.bundle.preparation
    assert (preparation.tile.degrade, preparation.tile.reach) == ("blur:1.2", restorers.FINE_REACH)
    assert blurred.bundle.manifest.tensors["inputs"][0]["shape"] == ["N", 64, 64, 4]


def test_torch_and_bundle_restore_an_image_of_any_size_in_the_same_way(blurred) -> None:  # type: ignore[no-untyped-def]
    image = draw(np.random.default_rng(99), 151)[:, :97]
    (ours,), (theirs,) = (predict_everything(p, [image]) for p in (blurred.run.predictor, blurred.bundle))
    assert theirs.restored.shape == image.shape  # type: ignore[attr-defined]
    apart = np.abs(ours.restored.astype(int) - theirs.restored)  # type: ignore[attr-defined]
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    (one,) = blurred.bundle.predict_images([image])
    assert np.array_equal(one.drawn_on(image), theirs.restored)  # type: ignore[attr-defined]


def test_no_pixel_depends_on_the_tile(blurred) -> None:  # type: ignore[no-untyped-def]
    image = draw(np.random.default_rng(98), 131)
    restorer = open_restorer(str(blurred.paths["bundle"]))
    whole = restorer(image).image
    for tile in (56, 62):
        assert np.array_equal(restorer(image, tile=tile).image, whole)
    # What a tile is cut from is no part of the result: a part of the image gives the same pixels inside.
    part = restorer(image[40:, 24:]).image
    reach = restorer.tile.reach
    assert np.array_equal(part[reach:, reach:], whole[40 + reach :, 24 + reach :])


def test_a_net_for_down_enlarges(doubled) -> None:  # type: ignore[no-untyped-def]
    assert (doubled.report.metrics["baseline_gain"].low or 0) > 0.2
    image = draw(np.random.default_rng(97), 51)
    assert doubled.bundle.predict_images([image])[0].restored.shape == (102, 102, 3)
    enlarged = process(image, f"upscale:net={doubled.paths['bundle']}")
    assert np.array_equal(enlarged, doubled.bundle.predict_images([image])[0].restored)
    with pytest.raises(UsageError, match="use the step upscale"):
        process(image, f"denoise:net={doubled.paths['bundle']}")


def test_files_keep_depth_transparency_and_greys(blurred, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import cv2
    from PIL import Image

    image = draw(np.random.default_rng(96), 60)
    alpha = np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "grey.png", image[..., 0])
    deep = image.astype(np.uint16) * 257 + 3
    write_image(tmp_path / "in" / "deep.tiff", deep)
    write_image(tmp_path / "in" / "photo.jpg", image)
    Image.fromarray(np.dstack([image, alpha])).save(tmp_path / "in" / "clear.png")
    deep_alpha = alpha.astype(np.uint16) * 257 + 1
    deep_alpha = alpha.astype(np.uint16) * 257 + 1
    cv2.imwrite(str(tmp_path / "in" / "deep-clear.png"), np.dstack([deep[..., ::-1], deep_alpha]))
    done = lifecycle.restore(blurred.paths["bundle"], [tmp_path / "in"], tmp_path / "out", map=True, before_after=True)
    assert {f.out.name for f in done.files} == {"grey.png", "deep.tiff", "photo.jpg", "clear.png", "deep-clear.png"}
    with Image.open(tmp_path / "out" / "grey.png") as grey:
        assert grey.mode == "L"
    kept = ew.read_image(tmp_path / "out" / "deep.tiff", depth="native")
    assert kept.dtype == np.uint16
    assert len(np.unique(kept)) > 300
    clear = read_clear(tmp_path / "out" / "clear.png")
    assert clear is not None
    assert np.array_equal(clear[..., 3], alpha)
    restorer = open_restorer(str(blurred.paths["bundle"]))
    assert np.array_equal(clear[..., :3], restorer(image).image), "colours are not laid over white"
    both = read_clear(tmp_path / "out" / "deep-clear.png")
    assert both is not None
    assert both.dtype == np.uint16
    assert np.array_equal(both[..., 3], deep_alpha)
    assert np.array_equal(both[..., :3], restorer(deep).image)
    assert (tmp_path / "out" / "photo-map.png").exists()
    assert ew.read_image(tmp_path / "out" / "photo-before-after.png").shape == (60, 120, 3)
    with pytest.raises(UsageError, match="exists"):
        lifecycle.restore(blurred.paths["bundle"], [tmp_path / "in"], tmp_path / "out")


def test_an_output_that_must_become_a_png_never_replaces_another(blurred, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    (tmp_path / "in").mkdir()
    image = draw(np.random.default_rng(97), 60)
    write_image(tmp_path / "in" / "a.png", image)
    # Named as a format that holds no transparency.
    Image.fromarray(np.dstack([image, image[..., 0]])).save(tmp_path / "in" / "a.bmp", "PNG")
    frames = [Image.fromarray(image[..., k]) for k in range(3)]
    frames[0].save(tmp_path / "in" / "pages.tif", save_all=True, append_images=frames[1:])
    done = lifecycle.restore(blurred.paths["bundle"], [tmp_path / "in"], tmp_path / "out")
    assert {f.out.name for f in done.files} == {"a.png", "pages.tif"}
    assert {(Path(f.path).name, f.code) for f in done.findings} == {("a.bmp", "same_output"), ("pages.tif", "lost")}
    assert read_clear(tmp_path / "out" / "a.png") is None


def test_what_a_format_cannot_hold_is_said(blurred, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    (tmp_path / "in").mkdir()
    image = draw(np.random.default_rng(98), 60)
    write_image(tmp_path / "in" / "deep.png", image.astype(np.uint16) * 257)
    Image.fromarray(np.dstack([image, image[..., 0]])).save(tmp_path / "in" / "clear.png")
    Image.fromarray(image).save(tmp_path / "in" / "plain.png")
    done = lifecycle.restore(blurred.paths["bundle"], [tmp_path / "in"], tmp_path / "out", to="jpeg")
    assert {f.out.name for f in done.files} == {"deep.png", "clear.png", "plain.jpg"}
    assert {(Path(f.path).name, f.code, f.message) for f in done.findings} == {
        ("deep.png", "format_changed", "JPEG cannot hold its 16 bits: written as deep.png"),
        ("clear.png", "format_changed", "JPEG cannot hold its transparency: written as clear.png"),
    }
    (tmp_path / "drawn").mkdir()
    Image.fromarray(image).convert("P").save(tmp_path / "drawn" / "a.gif")
    write_image(tmp_path / "drawn" / "flat.gif", np.full((9, 9, 3), 80, np.uint8))
    done = lifecycle.restore(blurred.paths["bundle"], [tmp_path / "drawn"], tmp_path / "gif")
    (found,) = done.findings
    assert (Path(found.path).name, found.code) == ("a.gif", "format_loses")
    assert "GIF keeps 256 of its " in found.message


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (3, 3), (1, 900)])
def test_pictures_of_a_few_pixels_are_restored(blurred, doubled, size_hw: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    image = np.random.default_rng(4).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    for made, scale in ((blurred, 1), (doubled, 2)):
        found = open_restorer(str(made.paths["bundle"]))(image).image
        assert found.shape == (size_hw[0] * scale, size_hw[1] * scale, 3)


def test_a_step_with_a_net_works_in_a_batch_of_files(blurred, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    image = draw(np.random.default_rng(95), 60)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", image)
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    steps = f"denoise:net={blurred.paths['bundle']} | invert"
    given = ["--out", str(tmp_path / "out"), "--quiet", "--workers", "1"]
    code = main(["process", str(tmp_path / "in"), "--steps", steps, *given])
    assert code == 1
    restored = open_restorer(str(blurred.paths["bundle"]))(image).image
    assert np.array_equal(ew.read_image(tmp_path / "out" / "a.png"), 255 - restored)
    for wrong, code in (("denoise:net=/nowhere", 3), (f"upscale:net={blurred.paths['bundle']}", 2)):
        assert main(["process", str(tmp_path / "in"), "--steps", wrong, "--out", str(tmp_path / "o")]) == code
        assert not (tmp_path / "o").exists(), "nothing is begun"


def test_a_net_that_loses_is_a_finding_and_no_bundle(quick: None, photos: Path, tmp_path: Path) -> None:
    options = ["--degrade", "noise:20-30", "--epochs", "1", "--lr", "0.00000001", "--imgsz", "64", "--batch", "8"]
    code = main(["run", str(photos), "--task", "restore", "--out", str(tmp_path / "run"), "--quiet", *options])
    assert code == 1
    assert not (tmp_path / "run" / "bundle").exists()
    assert "loses_to_baseline" in (tmp_path / "run" / "report.json").read_text()
    assert main(["evaluate", str(tmp_path / "run"), "--quiet"]) == 1
    with pytest.raises(RefusedError, match="loses to total variation"):
        ew.export(tmp_path / "run", tmp_path / "bundle")


def test_pairs_teach_whatever_they_show(quick: None, tmp_path: Path) -> None:
    for k in range(14):
        part = "train" if k < 8 else "val" if k < 11 else "test"
        clean = draw(np.random.default_rng(k))
        for kind, image in (("input", (clean // 2 + 30).astype(np.uint8)), ("target", clean)):
            (tmp_path / "data" / part / kind).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "data" / part / kind / f"{k:02d}.png", image)
    found = train(tmp_path / "data", tmp_path / "run", epochs=3)
    assert found.bundle.preparation.tile.degrade == "pairs"
    assert (found.report.metrics["psnr_gain"].low or 0) > 3
    with pytest.raises(UsageError, match="no --degrade with pairs"):
        train(tmp_path / "data", tmp_path / "other", degrade="noise:5")


def test_noisy_images_alone_are_learnt_from_hidden_pixels(quick: None, tmp_path: Path) -> None:
    clean = {}
    for k in range(14):
        name = f"{'train' if k < 8 else 'val' if k < 11 else 'test'}/{k:02d}.png"
        clean[name] = draw(np.random.default_rng(k), periods=(25, 60))
        (tmp_path / "noisy" / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(1000 + k).normal(0, 25, (72, 72, 3))
        write_image(tmp_path / "noisy" / name, np.clip(np.rint(clean[name] + noise), 0, 255).astype(np.uint8))
    owner = ew.train(
        tmp_path / "noisy", task="restore", degrade="self", out=tmp_path / "run", epochs=8, batch=8, imgsz=64, lr=3e-3
    )
    report = ew.evaluate(owner)
    assert "ssim" not in report.metrics, "nobody knows the clean images"
    assert (report.metrics["psnr_gain"].value or 0) > 0.3
    gains = []
    for name in (n for n in clean if n.startswith("test")):
        noisy = ew.read_image(tmp_path / "noisy" / name)
        (found,) = predict_everything(owner.predictor, [noisy])
        before, after = (np.mean((i - clean[name].astype(float)) ** 2) for i in (noisy, found.restored))  # type: ignore[attr-defined]
        gains.append(10 * np.log10(before / after))
    assert np.mean(gains) > 1, "the clean images, which training never saw, agree"


def test_what_to_undo_must_be_said(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--task", "restore", "--out", str(tmp_path / "run")]) == 2
    assert "pass --degrade noise:5-50" in capsys.readouterr().err


def test_a_bundle_for_something_else_is_refused(finished, tmp_path: Path, photos: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="expected a bundle that restores images"):
        lifecycle.restore(finished.paths["bundle"], [photos / "test"], tmp_path / "out")


def test_a_net_in_the_steps_of_a_bundle_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot come before a net"):
        ew.Preparation((8, 8), steps="denoise:net=/tmp/other")


def test_the_folders_below_a_source_are_kept_and_no_output_replaces_another(tmp_path: Path) -> None:
    image = draw(np.random.default_rng(3), 24)
    for name in ("one/a/x.png", "one/b/x.png", "one/b/x.bmp", "two/a/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, image)
    out = tmp_path / "out"
    planned = dict(_planned([tmp_path / "one", tmp_path / "two"], out, "PNG"))
    assert {str(p.relative_to(tmp_path)): str(t.relative_to(out)) for p, t in planned.items()} == {
        "one/a/x.png": "a/x.png",
        "one/b/x.bmp": "b/x.png",
        "one/b/x.png": "b/x-png.png",
        "two/a/x.png": "two/a/x.png",
    }


def test_a_net_for_the_tiles_of_files_keeps_no_memory_between_them(blurred, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.bundle import load

    asked: list[bool] = []

    def watched(*, frees: bool = False):  # type: ignore[no-untyped-def]
        asked.append(frees)
        return session.run_options(frees=frees)

    monkeypatch.setattr(load, "run_options", watched)
    # Large tiles are run one at a time.
    monkeypatch.setattr(load, "_FEW_PIXELS", 64 * 64)
    open_restorer.cache_clear()
    tiles = open_restorer(str(blurred.paths["bundle"])).bundle
    open_restorer.cache_clear()
    asked.clear()
    tiles.raw(np.zeros((2, 64, 64, 4), np.uint8))
    assert asked == [True, True]
    # A server bounds a worker's memory by what it holds when the model is open.
    ew.load_bundle(blurred.paths["bundle"]).raw(np.zeros((2, 64, 64, 4), np.uint8))
    assert asked[-1] is False
