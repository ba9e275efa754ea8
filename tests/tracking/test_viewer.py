"""The page of a tracked source: what it gathers, what it counts, and what a person can do with it in a browser."""

import base64
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lifecycle.test_following import Finder, draw, write_sequence

from eyewright.cli import main
from eyewright.imaging.sources import open_source
from eyewright.tracking import Crossing, Line, LineCounter, Recorder, Watch, Zone, ZoneCounter
from eyewright.tracking.viewer import VIEWER_FILES
from eyewright.tracking.viewer.gathering import Gathering
from eyewright.tracking.viewer.page import render_tracks

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browsed = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def walkers(seed: int) -> list[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
    """Frames of people who wander about with jitter, come and go: time, ids, boxes, classes."""
    rng = np.random.default_rng(seed)
    n, rate = int(rng.integers(1, 7)), float(rng.choice([8, 12.5, 25]))
    place, speed = rng.uniform(20, 280, (n, 2)), rng.normal(0, 60 / rate, (n, 2))
    size, frames = rng.uniform(20, 70, (n, 2)), []
    for k in range(160):
        place += speed + rng.normal(0, 2.5, (n, 2))
        speed[(place < 0) | (place > 300)] *= -1
        seen = np.flatnonzero((rng.random(n) < 0.92) & ~((np.arange(n) % 3 == 1) & (40 < k < 110)))
        boxes = np.concatenate([place - size / 2, place + size / 2], 1)[seen]
        frames.append((round(k / rate, 3), seen + 1, np.round(boxes, 1), seen % 2))
    return frames


@browsed[0]
@browsed[1]
def test_a_browser_counts_as_the_tracker_does(browser: Any) -> None:
    page = browser.new_page()
    page.add_script_tag(path=str(next(p for p in VIEWER_FILES if p.name == "lines.js")))
    n_crossings = n_visits = 0
    for seed in range(16):
        frames = walkers(seed)
        rng = np.random.default_rng(seed + 1000)
        ends = rng.uniform(0, 300, (2, 2)).round(1).tolist()
        corners = [[60.0, 40.0], [260.0, 80.0], [220.0, 250.0], [150.0, 130.0], [40.0, 240.0]]
        anchor = "bottom" if seed % 2 else "centre"
        line = LineCounter(Line("a", tuple(ends[0]), tuple(ends[1])), confirm_s=0.2, anchor=anchor)
        zone = ZoneCounter(Zone("b", tuple(map(tuple, corners))), confirm_s=0.2, anchor=anchor, gone_s=1.0)
        for k, (t, ids, boxes, labels) in enumerate(frames):
            line.update(ids, boxes, labels, time_s=t, frame=k)
            zone.update(ids, boxes, labels, time_s=t, frame=k)
        given = [
            {"t": t, "tracks": [[int(i), int(c), *b] for i, c, b in zip(ids, labels, boxes.tolist(), strict=True)]}
            for t, ids, boxes, labels in frames
        ]
        how = {"anchor": anchor, "confirm_s": 0.2, "gone_s": 1.0}
        call = "([p, f, h]) => [LINES.crossings(p[0], f, h), LINES.visits(p[1], f, h)]"
        crossings, visits = page.evaluate(call, [[ends, corners], given, how])
        assert [(c["id"], c["direction"], c["label"], c["t"]) for c in crossings] == [
            (c.track_id, c.direction, c.label_id, c.time_s) for c in line.crossings
        ], seed
        assert [(v["id"], v["entered"], v["left"]) for v in visits] == [
            (v.track_id, v.entered_s, v.left_s) for v in zone.visits
        ], seed
        n_crossings, n_visits = n_crossings + len(crossings), n_visits + len(visits)
    assert n_crossings > 30
    assert n_visits > 30
    page.close()


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a video in which two things cross a line, written by the command."""
    pytest.importorskip("cv2")
    from eyewright.imaging.webm import WebmWriter
    from eyewright.lifecycle import following

    with WebmWriter(tmp_path / "street.webm", quality=90) as video:
        for k in range(30):
            video.add(draw(k), k / 10)
    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    done = main(
        ["track", "any", "--source", str(tmp_path / "street.webm"), "--out", str(tmp_path / "out"), "--quiet",
         "--line", "middle=0,60,160,60", "--zone", "room=0,0", "159,0", "159,95", "0,95"]
    )  # fmt: skip
    assert done == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["street.html", "street.json", "street.txt"]
    return tmp_path / "out/street.html"


def test_the_report_holds_video_clips_and_crops_that_can_be_read(report: Path, tmp_path: Path) -> None:
    page = report.read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert len(data["frames"]) == 30
    assert data["size"] == [160, 96]
    for name, base64_text, least in (("video", data["preview"], 30), ("clip", data["clips"][0], 20)):
        (tmp_path / f"{name}.webm").write_bytes(base64.b64decode(base64_text))
        with open_source(tmp_path / f"{name}.webm") as source:
            assert sum(1 for _ in source) >= least
    assert page.count("data:image/jpeg;base64,") >= 8
    assert "crosses middle in" in page
    assert "crosses middle out" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


@browsed[0]
@browsed[1]
@pytest.mark.parametrize("width", [1280, 390])
def test_tracks_are_played_and_lines_drawn_in_the_report(browser: Any, report: Path, width: int) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": width, "height": 900})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(report.as_uri())
    expect(page.locator("#line-rows")).to_have_text("middle0 of 10 of 1")
    page.wait_for_function("document.getElementById('video').readyState >= 2")
    assert page.evaluate("document.getElementById('video').duration") == pytest.approx(3.0, abs=0.05)
    page.select_option("#speed", "4")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play", timeout=10_000)
    expect(page.locator("#line-rows")).to_have_text("middle1 of 11 of 1")
    # Drawn with the mouse: the line that was given, the other way round.
    box = page.locator("#sheet").bounding_box()
    page.click("#draw-line")
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] * 60 / 96)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] * 60 / 96, steps=3)
    page.mouse.up()
    found = [c for c in page.evaluate("eyewright.counted()") if c.get("events")]
    # By object: which of two that cross at about one time comes first depends on a fraction of a pixel.
    counted = {c["name"]: {e["id"]: e["direction"] for e in c["events"]} for c in found}
    assert sorted(counted) == ["line1", "middle"]
    assert counted["line1"] == {i: {"in": "out", "out": "in"}[d] for i, d in counted["middle"].items()}
    expect(page.locator("#options")).to_contain_text("--line middle=0,60,160,60")
    expect(page.locator("#options")).to_contain_text("--zone room=0,0 159,0 159,95 0,95")
    page.click(".rows [data-track] >> nth=0")
    assert page.evaluate("eyewright.state.chosen") in (1, 2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert faults == []
    page.close()


def test_names_cannot_leave_the_data_of_a_report() -> None:
    name = "</script><b>x"
    watch = Watch((Line(name, (0, 50), (100, 50)),))
    recorder = Recorder((name, "b"), watch)
    with Gathering() as gathering:
        for k in range(12):
            box = np.array([[40.0, 10 * k - 20, 60.0, 10 * k + 5]])
            crossings = recorder.watch(np.ones(1, np.int64), box, np.zeros(1, np.int64), time_s=k / 10, frame=k)
            image = np.zeros((100, 100, 3), np.uint8)
            gathering.add(k / 10, np.ones(1, np.int64), box, np.zeros(1, np.int64), image=image, crossings=crossings)
        page = render_tracks(gathering.finish(), recorder, watch, title=name, n_frames=12)
    assert name not in page
    # The data, the viewer, and what opens images large.
    assert page.count("</script>") == 3


def test_what_is_gathered_has_bounds() -> None:
    from eyewright.tracking.viewer import gathering as module

    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
    with Gathering() as gathering, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_BOXES", 500)
        patch.setattr(module, "_VIDEO_BYTES", 60_000)
        patch.setattr(module, "_CLIP_BYTES", 60_000)
        for k in range(900):
            ids = np.array([k // 2 + 1, 10_000])
            boxes = np.array([[10.0, 10, 40, 60], [60, 20, 90, 80]])
            crossing = [Crossing("a", "in", k // 2 + 1, 0, k / 10, k)] if k % 50 == 20 else []
            gathering.add(k / 10, ids, boxes, np.zeros(2, np.int64), image=image, crossings=crossing)
        found = gathering.finish()
    assert found.every >= 4
    assert sum(len(rows) for _, rows in found.frames) <= 500
    # Thinned evenly: the end is there.
    assert found.frames[-1][0] > 89
    assert 60_000 <= len(found.video) < 100_000
    assert not found.video_whole
    assert sum(len(c.data) for c in found.clips) <= 60_000
    assert len(found.strips) <= 150
    assert len(found.strips[10_000]) <= 6
    assert found.strips[10_000][-1][0] > 60
    at = found.video.index(b"\x44\x89") + 3
    assert struct.unpack(">d", found.video[at : at + 8])[0] < 90_000


def test_files_of_detections_have_a_report_too(tmp_path: Path) -> None:
    write_sequence(tmp_path / "walk")
    out = tmp_path / "out"
    args = ["track", "--detections", str(tmp_path / "walk"), "--out", str(out), "--line", "x=160,0,160,300", "--quiet"]
    assert main(args) == 0

    page = (out / "walk.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["preview"] == ""
    assert data["end_s"] == pytest.approx(39 / 20)
    assert "Lines were crossed 2 times." in page


def test_one_object_has_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["track", "--one", "1,1,5,5", "--source", "x.webm", "--out", str(tmp_path / "o"), "--save", "report"]
    assert main(args) == 2
    assert "--one has no report" in capsys.readouterr().err
