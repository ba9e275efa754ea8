"""A clip on the page: played, predicted, corrected, and learnt from."""

import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.drawn_clips import draw_crossing, write_animation, write_clip
from tests.serving.conftest import Served, serving

import eyewright as ew
from eyewright.data.clip_tree import ClipTree, JoinedClips
from eyewright.imaging.clips import iter_clips
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.webm import WebmWriter
from eyewright.lifecycle import promote, retrain
from eyewright.lifecycle.kept import learnable_feedback
from eyewright.monitoring import open_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CLASSES = ("leftwards", "rightwards")


def drawn(folder: Path, n: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        for k in range(n):
            clip = draw_crossing(rng, rightwards=label == "rightwards")
            write_clip(folder / label / f"{seed}-{chr(97 + k)}.avi", clip)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, (part, n) in enumerate((("train", 6), ("val", 3), ("test", 3))):
        drawn(folder / part, n, seed)
    return folder


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "clips"
    options: dict[str, Any] = {"epochs": 1, "imgsz": 24, "frames": 8, "baseline": "none"}
    run = ew.train(data, out=out, leaks="allow", group_by="none", **options)
    return ew.export(run, out / "bundle").folder


@pytest.fixture(scope="module")
def served(bundle: Path, finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("page")
    promote(bundle, home=cwd / "eyewright-monitor", force=True)
    arguments = (f"clips={bundle}", f"shapes={finished.paths['bundle']}", "--keep", "images=100%")
    with serving(*arguments, cwd=cwd) as found:
        found.cwd = cwd  # type: ignore[attr-defined]
        yield found


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("new"), 3, 77)


def said(served: Served, n: int) -> None:
    """Wait until the log holds feedback on `n` predictions."""
    for _ in range(80):
        store = open_store(served.cwd / "eyewright-monitor" / "monitor.db")  # type: ignore[attr-defined]
        rows = store.feedback()
        store.close()
        if len(rows) >= n:
            return
        time.sleep(0.1)
    raise AssertionError("the feedback is not in the log")


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_clip_is_played_predicted_and_corrected_on_the_page(served: Served, new: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    film = tmp_path / "a film.webm"
    with WebmWriter(film) as video:
        for k, frame in enumerate(draw_crossing(np.random.default_rng(9), rightwards=True)):
            video.add(frame, k / 12)
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 850})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(served.address)
        expect(page.locator("#invite-what")).to_have_text("Drop video clips here")
        expect(page.locator("#webcam")).to_be_hidden()
        page.set_input_files("#file", str(film))
        expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
        expect(page.locator("#clip")).to_be_visible()
        assert page.evaluate("() => document.getElementById('clip').videoWidth") == 48
        expect(page.locator("#over-time polygon")).to_have_count(len(CLASSES))
        page.click("#explain")
        expect(page.locator("#status")).to_contain_text(re.compile("support|not reliable"), timeout=20_000)
        page.select_option("#true-label", "rightwards")
        page.click("#wrong button[type=submit]")
        expect(page.locator("#status")).to_contain_text("Thank you")
        # No browser plays AVI of JPEG pictures; the server reads it.
        page.set_input_files("#file", str(new / "leftwards" / "77-a.avi"))
        expect(page.locator("#clip-note")).to_be_visible(timeout=20_000)
        expect(page.locator("#answer .top")).to_have_text(re.compile("wards"))
        page.click("#is-right")
        expect(page.locator("#status")).to_contain_text("Thank you")
        # An animation plays as an image; what fails and what is left out is said, whichever is shown.
        still, words, moving = tmp_path / "still.png", tmp_path / "words.mp4", tmp_path / "moves.gif"
        still.write_bytes(_png())
        words.write_text("no video")
        write_animation(moving, draw_crossing(np.random.default_rng(9), rightwards=True), step_ms=80)
        notes = tmp_path / "notes.txt"
        notes.write_text("no clip")
        page.set_input_files("#file", [str(p) for p in (still, words, notes, moving)])
        expect(page.locator("#status")).to_contain_text("2 of 4 files cannot be predicted", timeout=20_000)
        expect(page.locator("#status")).to_contain_text("still.png: expected a video")
        expect(page.locator("#status")).to_contain_text("words.mp4: expected a video, found text")
        expect(page.locator("#status")).to_contain_text("1 of 4 files is not a video")
        expect(page.locator("#answer .top")).to_have_text(re.compile("wards"))
        expect(page.locator("#clip")).to_be_visible()
        expect(page.locator("#clip-note")).to_be_hidden()
        expect(page.locator("#history-title")).to_have_text("Clips")
        page.locator("#history button", has_text="words.mp4").click()
        expect(page.locator("#clip-note")).to_have_text("Expected a video, found text; pass a video.", timeout=20_000)
        expect(page.locator("#status")).to_contain_text("found text")
        page.select_option("#model", "shapes")
        expect(page.locator("#invite-what")).to_have_text("Drop images, a folder or a video here")
        expect(page.locator("#status")).to_have_text("This model takes images.")
        opened.close()
    assert faults == []
    said(served, 2)


def test_the_answer_on_a_clip_says_what_happens_when(served: Served, tmp_path: Path) -> None:
    film = tmp_path / "film.webm"
    with WebmWriter(film) as video:
        for k, frame in enumerate(np.tile(draw_crossing(np.random.default_rng(9), rightwards=True), (3, 1, 1, 1))):
            video.add(frame, k / 12)
    clip = film.read_bytes()
    whole = served.post("/v1/models/clips/predict", clip).json
    assert "over_time" not in whole
    assert whole["video"]["notes"] == []
    half = served.post("/v1/models/clips/predict", clip[: len(clip) // 2]).json["video"]
    assert half["notes"] == [half["breaks_off"]]
    assert "the video breaks off" in half["breaks_off"]
    with WebmWriter(tmp_path / "uneven.webm") as video:
        for k in range(24):
            video.add(draw_crossing(np.random.default_rng(9), rightwards=True)[k % 12], k / 12 + (k // 3) / 4)
    uneven = served.post("/v1/models/clips/predict", (tmp_path / "uneven.webm").read_bytes()).json["video"]
    assert uneven["variable_rate"] is True
    assert uneven["shortest_s"] < 0.1 < 0.3 < uneven["longest_s"]
    told = served.post("/v1/models/clips/predict?over_time=true", clip).json["over_time"]
    assert told["labels"] == list(CLASSES)
    assert len(told["time_s"]) > 5
    assert told["time_s"] == sorted(told["time_s"])
    totals = np.sum([told["scores"][label] for label in CLASSES], axis=0)
    assert totals == pytest.approx(1.0, abs=2e-4)
    assert len(told["time_s"]) == len(totals)
    refused = served.post("/v1/models/shapes/predict?over_time=true", _png())
    assert refused.status in (400, 422)
    assert "models of clips" in refused.json["error"]
    # A strip of frames is predicted, and has no times.
    strip = served.post("/v1/models/clips/predict?over_time=true", _png((24 * 8, 24)))
    assert strip.status == 200
    assert strip.json["over_time"] is None
    assert "no times" in strip.json["over_time_reason"]
    assert "video" not in strip.json


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp"])
def test_an_animation_is_answered_as_predict_reads_it(
    served: Served, bundle: Path, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    write_animation(path, draw_crossing(np.random.default_rng(4), rightwards=True), step_ms=200)
    told = served.post("/v1/models/clips/predict?over_time=true", path.read_bytes())
    assert told.status == 200
    scores = dict(zip(told.json["labels"], told.json["scores"], strict=True))
    found = ew.load_bundle(bundle).predict(path)
    assert [scores[label] for label in CLASSES] == pytest.approx(found.probabilities.tolist(), abs=1e-4)
    assert len(told.json["over_time"]["time_s"]) > 3


@pytest.mark.parametrize("size_hw", [(32, 32), (480, 640), (640, 480), (24 * 8 + 1, 24)])
def test_a_still_image_that_is_no_strip_is_refused(served: Served, size_hw: tuple[int, int]) -> None:
    refused = served.post("/v1/models/clips/predict", _png(size_hw))
    assert refused.status == 422
    assert refused.json["code"] == "not_a_video"
    assert f"a PNG image of {size_hw[1]}x{size_hw[0]} pixels" in refused.json["error"]


def _png(size_hw: tuple[int, int] = (32, 32)) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(np.zeros((*size_hw, 3), np.uint8)).save(picture, "PNG")
    return picture.getvalue()


def test_feedback_on_clips_is_learnt_from(
    served: Served, bundle: Path, data: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = served.cwd / "eyewright-monitor"  # type: ignore[attr-defined]
    before = 2 if CHROMIUM else 0
    asked = [(new / label / f"77-{c}.avi", label) for label in CLASSES for c in "bc"]
    asked.append((data / "test" / "leftwards" / "2-a.avi", "leftwards"))
    ids = []
    for path, label in asked:
        ids.append(served.post("/v1/models/clips/predict", path.read_bytes()).json["prediction_id"])
        told = served.post("/v1/feedback", {"prediction_id": ids[-1], "label": label})
        assert (told.status, told.json) == (201, {"stored": True, "image_kept": True})
    said(served, before + len(asked))
    # A clip is learnt from as the model saw it.
    store = open_store(home / "monitor.db")
    learnable, left_out = learnable_feedback(store, ew.load_bundle(bundle), home, {})
    store.close()
    assert not left_out
    tree = learnable.dataset.tree
    assert isinstance(tree, ClipTree)
    name = f"train/feedback-{ids[0]}.jpg"
    kept = np.asarray(tree.picture(name)).astype(int)
    assert np.abs(kept - next(iter_clips(asked[0][0], ClipSampling(8))).image).mean() < 2
    joined = JoinedClips(tree, {"more/": tree})
    assert np.array_equal(np.asarray(joined.picture(f"more/{name}")), kept)
    assert joined.clip(f"more/{name}").file == f"more/{name}"
    assert joined.with_sampling(ClipSampling(4)).strip(name)[0].shape[0] == kept.shape[0] // 2
    done = retrain(
        data, out="again", home=home, bundle=bundle, epochs=1, promote=False, leaks="allow"
    )  # fmt: skip
    # Drawn clips are alike, so that others may count as copies too.
    (unused,) = done.unused
    assert unused.reason.startswith("it is a copy of a test image")
    assert ids[-1] in unused.examples
    assert done.new_images == before + len(asked) - unused.count
    used = {f"feedback-{i}.webm" for i in ids} - {f"feedback-{i}.webm" for i in unused.examples}
    written = {label: {p.name for p in Path("again/feedback/train", label).iterdir()} for label in CLASSES}
    assert used <= written["leftwards"] | written["rightwards"]
    assert len(written["leftwards"] | written["rightwards"]) == done.new_images
    assert ew.load_bundle("again/bundle").preparation.clip == ClipSampling(8)
