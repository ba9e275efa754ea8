"""Holes are filled by a net that was trained on the user's images: from a folder to files, through bundle and CLI."""

import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tests.lifecycle.test_restore import draw
from tests.serving.conftest import serving

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle.restoring import open_filler, open_restorer
from eyewright.cli.program import main
from eyewright.core.errors import EyewrightError, RefusedError, UsageError
from eyewright.core.predictor import predict_everything
from eyewright.imaging import write_image
from eyewright.imaging.decode import read_clear
from eyewright.imaging.first_filling import fill_smoothly
from eyewright.imaging.holes import draw_hole
from eyewright.learners import restore as learner
from eyewright.nets import partial

SIDE = 256


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(16):
        part = "train" if k < 8 else "val" if k < 11 else "test"
        (folder / part).mkdir(exist_ok=True)
        write_image(folder / part / f"{k:02d}.png", draw(np.random.default_rng(k), periods=(12, 24)))
    return folder


@pytest.fixture(scope="module")
def quick():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial, "_WIDTHS", (8, 8, 8))
        patch.setattr(learner, "_VIEWS", 16)
        patch.setattr(learner, "_PATCH", 48)
        yield


def options(**given: object) -> dict[str, object]:
    return {
        "task": "restore", "degrade": "holes:10-20", "epochs": 2, "batch": 8, "imgsz": SIDE, "amp": "off", **given,
    }  # fmt: skip


@pytest.fixture(scope="module")
def filled(quick: None, photos: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return ew.run(photos, out=tmp_path_factory.mktemp("fill") / "run", **options())  # type: ignore[arg-type]


def test_a_folder_of_images_becomes_a_bundle_with_two_inputs_that_gains(filled) -> None:  # type: ignore[no-untyped-def]
    metrics = filled.report.metrics
    assert (metrics["baseline_gain"].low or 0) > 0
    assert "where Navier-Stokes has" in filled.paths["report"].read_text()
    tensors = filled.bundle.manifest.tensors["inputs"]
    assert [(t["name"], t["shape"]) for t in tensors] == [
        ("image", ["N", SIDE, SIDE, 3]),
        ("mask", ["N", SIDE, SIDE, 1]),
    ]
    assert filled.bundle.manifest.parity["n"] == 3


def test_torch_and_bundle_fill_an_image_of_any_size_in_the_same_way(filled) -> None:  # type: ignore[no-untyped-def]
    image = draw(np.random.default_rng(99), 97)[:, :61]
    hole = draw_hole(image.shape[:2], 0.2, rng=np.random.default_rng(0))
    example = {"image": fill_smoothly(image, hole), "mask": hole}
    (ours,), (theirs,) = (predict_everything(p, [example]) for p in (filled.run.predictor, filled.bundle))
    apart = np.abs(ours.restored.astype(int) - theirs.restored)  # type: ignore[attr-defined]
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    assert np.array_equal(theirs.restored[~hole], image[~hole])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="takes image and mask, found image"):
        filled.bundle.raw(np.zeros((1, SIDE, SIDE, 3), np.uint8))


def test_no_pixel_depends_on_the_tile(filled) -> None:  # type: ignore[no-untyped-def]
    image = draw(np.random.default_rng(98), 90)[:70]
    hole = draw_hole((70, 90), 0.2, rng=np.random.default_rng(1))
    first, filler = fill_smoothly(image, hole), open_filler(str(filled.paths["bundle"]))
    whole = filler(first, hole)
    for tile in (SIDE - 16,):
        assert np.array_equal(filler(first, hole, tile=tile), whole)


def test_a_run_that_was_cut_off_ends_with_the_same_weights(quick: None, photos: Path, tmp_path: Path) -> None:
    def weights(run: Path) -> dict[str, NDArray[np.float32]]:
        return load_file(run / "checkpoints" / "best" / "model.safetensors")

    def end(row: Mapping[str, str]) -> None:
        signal.raise_signal(signal.SIGTERM)

    masks = write_image(tmp_path / "masks" / "a.png", np.eye(64, dtype=np.uint8) * 255)
    given = options(masks=str(masks.parent), epochs=2)
    ew.train(photos, out=tmp_path / "whole", **given)  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        ew.train(photos, out=tmp_path / "cut", observe=end, **given)  # type: ignore[arg-type]
    ew.train(photos, out=tmp_path / "cut", resume=True, **given)  # type: ignore[arg-type]
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert len(whole) > 30
    assert all(np.array_equal(cut[name], own) for name, own in whole.items())


def test_a_net_that_loses_is_a_finding_and_no_bundle(
    quick: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*args: object, **given: object) -> object:
        net = partial.partial_net(*args, **given)  # type: ignore[arg-type]
        net.draw.bias.data.fill_(0.3)  # type: ignore[union-attr, operator]
        return net

    monkeypatch.setattr("eyewright.nets.partial_net", spoilt)
    argv = ["run", str(photos), "--task", "restore", "--degrade", "holes:20", "--epochs", "1", "--lr", "0.00000001"]
    assert main([*argv, "--imgsz", str(SIDE), "--out", str(tmp_path / "run"), "--quiet"]) == 1
    assert not (tmp_path / "run" / "bundle").exists()
    assert "loses to Navier-Stokes" in (tmp_path / "run" / "report.json").read_text()
    with pytest.raises(RefusedError, match="loses to Navier-Stokes"):
        ew.export(tmp_path / "run", tmp_path / "bundle")


def test_the_command_line_fills_by_a_bundle_and_changes_nothing_else(
    filled,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, bundle = draw(np.random.default_rng(97), 90), str(filled.paths["bundle"])
    hole = np.zeros((90, 90), bool)
    hole[40:47, 10:80] = True
    mask = str(write_image(tmp_path / "mask.png", hole * np.uint8(255)))
    wanted = open_filler(bundle)(fill_smoothly(image, hole), hole)
    deep = image.astype(np.uint16) * 257 + 3
    kinds: dict[str, NDArray[np.generic]] = {
        "rgb": image, "grey": image[..., 0], "deep": deep, "alpha": np.dstack([image, image[..., :1] | 1]),
    }  # fmt: skip
    for name, array in kinds.items():
        source = write_image(tmp_path / f"{name}.png", array)  # type: ignore[arg-type]
        out = tmp_path / f"{name}-out.png"
        given = ["--mask", mask, "--with", bundle, "--method", "net", "--out", str(out), "--quiet"]
        assert main(["inpaint", str(source), *given]) == 0
        before, after = (ew.read_image(p, depth="native") for p in (source, out))
        clear = read_clear(source), read_clear(out)
        if name == "alpha":
            before, after = clear  # type: ignore[assignment]
        assert after.dtype == before.dtype
        assert np.array_equal(after[~hole], before[~hole])
        assert not np.array_equal(after[hole], before[hole])
        if name == "rgb":
            assert np.array_equal(after[hole], wanted[hole])
    source = tmp_path / "rgb.png"
    capsys.readouterr()
    assert main(["inpaint", str(source), "--mask", mask, "--method", "net", "--out", str(tmp_path / "x.png")]) == 2
    assert "the method net together with the bundle" in capsys.readouterr().err
    argv = ["inpaint", str(source), "--mask", mask, "--with", bundle]
    assert main([*argv, "--with", bundle, "--out", str(tmp_path / "x.png")]) == 2
    assert "2 of which fill holes" in capsys.readouterr().err
    assert main([*argv, "--method", "ns", "--out", str(tmp_path / "x.png")]) == 2


def test_a_bundle_for_holes_and_one_for_something_else_are_not_confused(
    filled,  # type: ignore[no-untyped-def]
    finished,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    photos: Path,
) -> None:
    with pytest.raises(UsageError, match="the bundle fills holes"):
        open_restorer(str(filled.paths["bundle"]))
    with pytest.raises(UsageError, match="expected a bundle that fills holes, found one for classification"):
        lifecycle.inpaint(
            photos / "test" / "12.png", tmp_path / "o.png", box=(1, 1, 9, 9), net=finished.paths["bundle"]
        )


def test_options_that_contradict_holes_are_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    white = write_image(tmp_path / "white" / "a.png", np.full((9, 9), 255, np.uint8))
    for given, says in (
        ({"model": "fine_net"}, "expected partial_net with --degrade holes"),
        ({"model": "partial_net", "degrade": "noise:5"}, "expected fine_net with --degrade noise:5"),
        ({"masks": str(tmp_path / "empty")}, "expected images in"),
        ({"masks": str(white.parent)}, "found everything to fill"),
        ({"masks": str(white.parent), "degrade": "noise:5"}, "expected --masks with --degrade holes"),
        ({"imgsz": 160}, "imgsz above"),
    ):
        with pytest.raises(EyewrightError, match=says):
            ew.train(photos, out=tmp_path / "run", **options(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ("verify BUNDLE", 0, "golden pairs agree"),
        ("compare BUNDLE BUNDLE PHOTOS", 0, "no significant difference"),
        ("inpaint IMAGE --box 3,3,9,9 --with BUNDLE --method net --out OUT/a.png", 0, "filled by net"),
        ("compress BUNDLE --data PHOTOS --out OUT", 2, "compress is supported for models that take one image"),
        ("compress RUN --methods prune --out OUT", 2, "image and mask; fill images with eyewright inpaint --with"),
        ("explain BUNDLE IMAGE --out OUT", 2, "explain is supported for models that take one image"),
        ("attend BUNDLE IMAGE --out OUT", 4, "has no weights that torch can read"),
        ("predict BUNDLE IMAGE", 2, "predict is supported for models that take one image"),
        ("predict BUNDLE --source PHOTOS --on local --out OUT", 2, "fill images with eyewright inpaint --with"),
        ("cost BUNDLE --source PHOTOS --images 10", 2, "fill images with eyewright inpaint --with"),
        ("index PHOTOS --model BUNDLE --out OUT", 2, "fill images with eyewright inpaint --with"),
        ("restore BUNDLE IMAGE --out OUT", 2, "use eyewright inpaint --with BUNDLE"),
        ("process IMAGE --steps denoise:net=BUNDLE --out OUT", 2, "use eyewright inpaint --with BUNDLE"),
        ("export BUNDLE --to openvino --out OUT", 2, "supported for models that take one image"),
        ("export BUNDLE --to web --out OUT", 2, "the web target is not supported for restoration"),
        ("export BUNDLE --to transformers.js --out OUT", 2, "is not supported for restoration"),
        ("export BUNDLE --to torch --out OUT", 4, "holds no weights of a catalogue net"),
        ("attack BUNDLE PHOTOS --out OUT", 2, "attack is not supported for restoration"),
        ("certify BUNDLE PHOTOS", 2, "certify is not supported for restoration"),
        ("track BUNDLE IMAGE", 4, "expected a bundle that predicts boxes"),
    ],
)  # fmt: skip
def test_each_command_takes_such_a_bundle_or_says_why_not_in_one_line(
    argv: str,
    code: int,
    says: str,
    filled,  # type: ignore[no-untyped-def]
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "BUNDLE": filled.paths["bundle"], "RUN": filled.run.folder, "PHOTOS": photos, "OUT": tmp_path,
        "IMAGE": photos / "test" / "12.png",
    }  # fmt: skip
    for name, place in places.items():
        argv = argv.replace(name, str(place))
    # What is left out by --quiet is progress of a refusal, and all of a success.
    assert main([*argv.split(), *["--quiet"] * (code > 0)]) == code
    found = capsys.readouterr()
    assert says in found.out + found.err
    assert code == 0 or found.err.count("\n") == 1


def test_evaluate_measures_a_net_for_own_masks_on_drawn_holes(filled, photos: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    reports = [ew.evaluate(model, photos) for model in (filled.bundle, filled.run)]
    own, again = (r.metrics["psnr"].value for r in reports)
    assert own == pytest.approx(again, abs=1e-3), "bundle and run fill alike"
    assert reports[0].metrics["psnr_baseline"].value == reports[1].metrics["psnr_baseline"].value
    assert reports[0].tables["degrade"] == "holes:10-20"


def test_a_server_inpaints_by_such_a_bundle_and_predicts_nothing(filled, photos: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    image = (photos / "test" / "12.png").read_bytes()
    with serving(f"fill={filled.paths['bundle']}", "--workers", "1", cwd=tmp_path) as served:
        done = served.post("/v1/models/fill/inpaint?box=3,3,9,9&method=net", image)
        assert (done.status, done.headers["x-eyewright-method"]) == (200, "net")
        refused = served.post("/v1/models/fill/predict", image)
        assert refused.status == 400
        assert "mask" in refused.words
