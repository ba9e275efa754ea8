"""Images after the model or as `--source`, for predict and explain; a run folder wherever a bundle is expected."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_shape

import eyewright as ew
from eyewright import lifecycle
from eyewright.cli import main
from eyewright.core.errors import BundleError
from eyewright.imaging.encode import write_image
from eyewright.monitoring import History
from eyewright.serving.models import load_table


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images, one of which is cut off."""
    folder = tmp_path / "new photos"
    for k, kind in enumerate(("disc", "square")):
        write_image(folder / f"{k}.png", draw_shape(kind, np.random.default_rng(k)))
    (folder / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0cut off")
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> dict:  # type: ignore[type-arg]
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_images_are_named_after_the_model_or_as_a_source(verb: str, finished, photos, capsys) -> None:  # type: ignore[no-untyped-def]
    model, first, second = str(finished.run.folder), str(photos / "0.png"), str(photos / "1.png")
    rows = {"predict": "predictions", "explain": "explanations"}[verb]
    found = []
    for given in (
        [model, first, second],
        [model, "--source", first, "--source", second],
        [model, first, "--source", second],
        ["--seed", "0", model, first, second],
    ):
        assert main([verb, *given, "--json"]) == 0
        found.append([(r["source"], r["label"] if verb == "explain" else r["labels"][0]) for r in said(capsys)[rows]])
    assert [Path(source).name for source, _ in found[0]] == ["0.png", "1.png"]
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_images_may_follow_an_option(verb: str, finished, photos, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    assert main([verb, str(finished.run.folder), "--out", str(out), str(photos / "0.png"), "--json"]) == 0
    assert said(capsys)["findings"] == []


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_done(verb, finished, photos, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main([verb, str(finished.run.folder), str(photos), "--json"]) == 1
    found = said(capsys)
    assert [Path(f["path"]).name for f in found["findings"]] == ["2.jpg"]
    assert len(found[{"predict": "predictions", "explain": "explanations"}[verb]]) == 2
    assert main([verb, str(finished.run.folder), str(photos / "2.jpg")]) == 3


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_swapped_arguments_and_missing_images_are_named(verb: str, finished, photos, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main([verb, str(photos), str(finished.run.folder)]) == 2
    assert "the model first" in capsys.readouterr().err
    assert main([verb, str(finished.run.folder)]) == 2
    assert "expected images after the model" in capsys.readouterr().err


def test_several_images_keep_their_names_below_the_common_folder(located_photos, finished, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    one, two = located_photos
    out = tmp_path / "out"
    given = [
        "predict",
        str(finished.run.folder),
        str(one),
        str(two),
        "--save",
        "json,csv",
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(given) == 0
    assert [Path(r["source"]).name for r in json.loads((out / "predictions.json").read_text())] == ["x.png", "x.png"]


@pytest.fixture
def located_photos(photos: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (photos / name).mkdir()
        shutil.copy(photos / "0.png", photos / name / "x.png")
    return photos / "a", photos / "b"


def test_a_folder_of_videos_says_so(finished, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert main(["predict", str(finished.run.folder), str(tmp_path)]) == 3
    assert "found 1 video; pass one video" in capsys.readouterr().err


def test_a_run_folder_stands_for_its_bundle(finished, tmp_path: Path) -> None:
    folder, inner = finished.run.folder, finished.paths["bundle"]
    assert ew.load_bundle(folder).folder == inner
    (model,) = load_table([folder]).values()
    assert (model.name, model.folder) == (folder.resolve().name, inner.resolve())
    lifecycle.promote(folder, home=tmp_path / "home")
    champion = History(tmp_path / "home").current("champion")
    assert champion is not None
    assert Path(champion.folder) == inner.resolve()


def test_a_run_without_a_bundle_says_how_to_make_one(finished, tmp_path: Path) -> None:
    bare = tmp_path / "my run"
    bare.mkdir()
    shutil.copy(finished.run.folder / "run.json", bare)
    with pytest.raises(BundleError, match=r"found a run without one; make one: eyewright export '.*my run' --out"):
        ew.load_bundle(bare)
