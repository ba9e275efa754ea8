"""Processing many files: names, resume, refusals, interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import InputError, UsageError
from eyewright.imaging import read_image, write_image
from eyewright.imaging.steps import process
from eyewright.processing import process_source

pytest.importorskip("cv2")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for k in range(6):
        sub = folder / ("a" if k % 2 else "b")
        sub.mkdir(parents=True, exist_ok=True)
        write_image(sub / f"{k}.png", rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    return folder


def test_every_file_goes_through_the_steps_and_keeps_its_place(photos: Path, tmp_path: Path) -> None:
    done = process_source(photos, "gamma:2 | resize:30", tmp_path / "out", workers=2)
    assert (done.n_written, done.n_skipped, done.findings) == (6, 0, ())
    for path in photos.rglob("*.png"):
        found = read_image(tmp_path / "out" / path.relative_to(photos))
        assert np.array_equal(found, process(read_image(path), "gamma:2 | resize:30"))


def test_grey_stays_grey_and_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    deep = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    write_image(tmp_path / "in/deep.png", deep)
    write_image(tmp_path / "in/grey.png", (deep >> 8).astype(np.uint8))
    write_image(tmp_path / "in/colour.tif", np.stack([deep, deep // 2, deep // 3], 2))
    process_source(tmp_path / "in", "invert", tmp_path / "out", workers=1)
    assert np.array_equal(read_image(tmp_path / "out/deep.png", depth="native")[..., 0], 65535 - deep)
    assert np.array_equal(read_image(tmp_path / "out/colour.tif", depth="native")[..., 1], 65535 - deep // 2)
    with Image.open(tmp_path / "out/grey.png") as picture:
        assert picture.mode == "L"
    process_source(tmp_path / "in", "invert", tmp_path / "jpeg", to="jpeg", workers=1)
    assert read_image(tmp_path / "jpeg/deep.jpg").dtype == np.uint8


def test_what_cannot_be_read_is_a_finding_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    done = process_source(photos, "invert", tmp_path / "out", workers=2)
    assert done.n_written == 6
    assert [Path(f.path).name for f in done.findings] == ["broken.png"]
    assert not (tmp_path / "out/a/broken.png").exists()


def test_resume_does_only_what_is_left_and_only_for_the_same_steps(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process_source(photos, "invert", out, workers=1)
    (out / "a/1.png").unlink()
    stamp = (out / "b/0.png").stat().st_mtime_ns
    done = process_source(photos, "invert", out, resume=True, workers=1)
    assert (done.n_written, done.n_skipped) == (1, 5)
    assert (out / "b/0.png").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="other options"):
        process_source(photos, "gamma:2", out, resume=True)
    with pytest.raises(UsageError, match="exists"):
        process_source(photos, "invert", out)
    assert process_source(photos, "invert", out, overwrite=True, workers=1).n_written == 6


def test_refusals_come_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    write_image(photos / "a/1.jpg", np.zeros((8, 8, 3), np.uint8))
    cases = [
        ({"steps": "claeh"}, "did you mean 'clahe'"),
        ({"out": photos}, "one is inside the other"),
        ({"out": photos / "deeper"}, "one is inside the other"),
        ({"to": "png"}, "would both become"),
        ({"to": "heif"}, "cannot be written"),
        ({"workers": -1}, "a worker"),
        ({"quality": 0}, "quality of 1 to 100"),
    ]
    for change, said in cases:
        options = {"steps": "invert", "out": tmp_path / "out", **change}
        with pytest.raises(UsageError, match=said):
            process_source(photos, options.pop("steps"), options.pop("out"), **options)
    assert not (tmp_path / "out").exists()
    assert len(list(photos.rglob("*"))) == 9
    with pytest.raises(InputError):
        process_source(tmp_path / "nothing", "invert", tmp_path / "out")


def test_a_file_may_lie_beside_its_output_and_never_under_it(tmp_path: Path) -> None:
    image = np.full((10, 12, 3), 7, np.uint8)
    write_image(tmp_path / "a.png", image)
    assert process_source(tmp_path / "a.png", "invert", tmp_path / "out", workers=1).n_written == 1
    assert np.array_equal(read_image(tmp_path / "out/a.png"), 255 - image)
    for source in (tmp_path / "a.png", str(tmp_path / "*.png")):
        with pytest.raises(UsageError, match="is an input"):
            process_source(source, "invert", tmp_path, overwrite=True)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


def test_the_preview_shows_before_and_after(photos: Path, tmp_path: Path) -> None:
    done = process_source(photos, "invert", tmp_path / "out", preview=True, workers=1)
    assert done.preview is not None
    sheet = read_image(done.preview)
    assert sheet.shape[1] > 700
    assert sheet.std() > 20


def test_a_video_gives_numbered_frames(tmp_path: Path) -> None:
    import cv2

    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    for k in range(7):
        writer.write(np.full((24, 32, 3), 30 * k, np.uint8))
    writer.release()
    done = process_source(clip, "invert", tmp_path / "out", stride=3)
    assert done.n_written == 3
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["000000.png", "000003.png", "000006.png"]
    assert abs(int(read_image(tmp_path / "out/000003.png").mean()) - (255 - 90)) < 6


def test_every_page_of_a_document_is_processed(tmp_path: Path) -> None:
    from PIL import Image

    pages = [Image.fromarray(np.full((20, 30, 3), 60 * k, np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    done = process_source(tmp_path / "scan.tif", "invert", tmp_path / "out", pages=True)
    assert done.n_written == 3
    found = sorted((tmp_path / "out").glob("*.png"))
    assert [p.name for p in found] == ["000000-scan.png", "000001-scan.png", "000002-scan.png"]
    assert [int(read_image(p).mean()) for p in found] == [255, 195, 135]


def test_a_source_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    for source in ("rtsp://127.0.0.1:9/x", tmp_path / "none.mp4"):
        with pytest.raises(InputError):
            process_source(source, "invert", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_draft_reading_gives_nearly_the_same_picture(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in/a.jpg", np.kron(data.astronaut(), np.ones((3, 3, 1), np.uint8)))
    for name, draft in (("whole", False), ("draft", True)):
        process_source(tmp_path / "in", "resize:200", tmp_path / name, to="png", draft=draft, workers=1)
    whole, draft = (read_image(tmp_path / n / "a.png").astype(int) for n in ("whole", "draft"))
    assert whole.shape == draft.shape
    assert 0 < np.abs(whole - draft).mean() < 3


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_batch_leaves_whole_files_and_goes_on(photos: Path, tmp_path: Path, sent: int) -> None:
    for k in range(60):
        write_image(photos / f"{k}.png", np.full((200, 300, 3), k, np.uint8))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "eyewright", "process", str(photos), "--out", str(out), "--json"]
    command += ["--steps", "denoise:nlm,strength=5", "--workers", "1"]
    # A program that runs in the background passes on that Ctrl-C is ignored.
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, sent)
    stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == (130 if sent == signal.SIGINT else 143)
    assert json.loads(stdout)["ok"] is False
    assert len(stderr.decode().strip().splitlines()) == 1
    written = list(out.rglob("*.png"))
    assert 2 <= len(written) < 66
    for path in written:
        read_image(path)
    assert not [p for p in out.rglob("*") if p.name.endswith(".tmp")]
    again = process_source(photos, "denoise:nlm,strength=5", out, resume=True)
    assert again.n_written + again.n_skipped == 66
    assert again.n_skipped == len(written)


def test_what_an_output_does_not_hold_is_a_note(tmp_path: Path) -> None:
    from PIL import Image

    source = tmp_path / "in"
    source.mkdir()
    clear = np.full((20, 30, 4), 90, np.uint8)
    Image.fromarray(clear).save(source / "clear.png")
    clear[..., 3] = 255
    Image.fromarray(clear).save(source / "opaque.png")
    palette = Image.fromarray(clear[..., 0]).convert("P")
    palette.save(source / "palette.png", transparency=palette.getpixel((0, 0)))
    frames = [Image.fromarray(np.full((20, 30), v, np.uint8)) for v in (0, 100, 200)]
    for name in ("moving.gif", "pages.tif"):
        frames[0].save(source / name, save_all=True, append_images=frames[1:])
    write_image(source / "deep.png", np.full((20, 30), 500, np.uint16))
    done = process_source(source, "invert", tmp_path / "out", workers=1)
    assert done.n_written == 6
    assert {(Path(f.path).name, f.code, f.severity) for f in done.findings} == {
        (name, "lost", "note") for name in ("clear.png", "palette.png", "moving.gif", "pages.tif")
    }
    assert {"2 further frames" in f.message for f in done.findings if "." in f.path[-4:]} == {True, False}
    done = process_source(source / "deep.png", "invert", tmp_path / "jpeg", to="jpeg", workers=1)
    assert "low byte" in done.findings[0].message
