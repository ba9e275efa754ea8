"""Frames are chosen by time, strips keep them apart, and windows slide without holding the stream."""

from pathlib import Path

import numpy as np
import pytest
from tests.drawn_clips import write_animation, write_clip

from eyewright.core.errors import BundleError, InputError, UnreadableImageError, UsageError
from eyewright.core.report import Finding
from eyewright.imaging.clip_files import list_clips
from eyewright.imaging.clips import (
    StripMaker,
    contact_sheet,
    cut_strip,
    iter_clips,
    paced_frames,
    read_clip,
    read_clip_bytes,
    sliding_windows,
)
from eyewright.imaging.encode import encode_image, write_image
from eyewright.imaging.isolation import decode_here, isolate_decoding
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.frames import Frame


def levels(n: int, size_hw: tuple[int, int] = (16, 24)) -> np.ndarray:
    """Frame k is k * 8 everywhere, so that a strip tells which frames are in it."""
    return np.stack([np.full((*size_hw, 3), k * 8, np.uint8) for k in range(n)])


def seen(strip: np.ndarray, frames: int) -> list[int]:
    return [round(float(f.mean()) / 8) for f in cut_strip(strip, frames)]


def test_frames_are_evenly_spaced_in_time_and_not_in_number() -> None:
    maker = StripMaker(ClipSampling(5, 24))
    # Ten frames in the first second, then one a second: a stream that lost frames.
    times = [k / 10 for k in range(10)] + [1.0, 2.0, 3.0, 4.0]
    for k, (image, time_s) in enumerate(zip(levels(14), times, strict=True)):
        maker.add(Frame(image, "a", k, time_s))
    strip, info = maker.done()
    assert seen(np.asarray(strip), 5) == [0, 10, 11, 12, 13]
    assert (info.frames, info.seconds, info.size_hw) == (14, 4.0, (16, 24))


def test_a_short_clip_repeats_frames_in_their_order() -> None:
    (frame,) = iter_clips(levels(3), ClipSampling(8, 24))
    found = seen(frame.image, 8)
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}


def test_a_long_clip_is_held_in_bounded_memory_and_ends_with_its_last_frame() -> None:
    maker = StripMaker(ClipSampling(4, 16))
    for k in range(1001):
        maker.add(Frame(np.full((16, 16, 3), k % 251, np.uint8), "a", k, k / 10))
    assert len(maker._kept) <= 32
    strip, _ = maker.done()
    assert int(cut_strip(np.asarray(strip), 4)[-1].mean()) == 1000 % 251


def test_times_that_run_backwards_count_as_now() -> None:
    maker = StripMaker(ClipSampling(3, 24))
    for k, time_s in enumerate([0.0, 1.0, 0.2, 2.0]):
        maker.add(Frame(levels(4)[k], "a", k, time_s))
    assert seen(np.asarray(maker.done()[0]), 3)[-1] == 3


def test_a_video_is_read_whole_and_in_part(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", levels(24), fps=10)
    strip, info = read_clip(path, ClipSampling(4, 24))
    assert info.frames == 24
    assert seen(np.asarray(strip), 4) == [0, 8, 15, 23]
    part, _ = read_clip(path, ClipSampling(3, 24), start_s=1.0, end_s=1.4)
    assert seen(np.asarray(part), 3) == [10, 12, 14]


def test_a_clip_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_clip(tmp_path / "a.avi", rng.integers(0, 255, (40, 64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, info = read_clip(path, ClipSampling(4, 64))
    assert 5 < info.frames < 40


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_what_is_no_video_is_refused_by_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError):
        read_clip(path, ClipSampling())


def test_bytes_of_a_video_or_a_strip_are_a_clip(tmp_path: Path) -> None:
    sampling = ClipSampling(4, 24)
    path = write_clip(tmp_path / "a.avi", levels(12))
    strip = np.asarray(read_clip(path, sampling)[0])
    assert np.array_equal(read_clip_bytes(path.read_bytes(), sampling)[0], strip)
    assert np.array_equal(read_clip_bytes(encode_image(strip), sampling)[0], strip)
    with pytest.raises(UnreadableImageError) as met:
        read_clip_bytes(b"hello", sampling)
    assert "/tmp" not in str(met.value)


@pytest.mark.parametrize("shape", [(31, 24), (48, 640), (640, 480), (128, 4), (16, 24), (3, 24), (400, 100)])
def test_a_still_image_is_no_clip_unless_it_has_the_shape_of_a_strip(shape: tuple[int, int]) -> None:
    sampling = ClipSampling(4, 32)
    if shape == (16, 24):
        # Four frames of 24x4 pixels are wider than any video.
        sampling = ClipSampling(4, 24)
    with pytest.raises(UnreadableImageError, match=f"strip of 4 frames .* found a PNG image of {shape[1]}x{shape[0]}"):
        read_clip_bytes(encode_image(np.zeros((*shape, 3), np.uint8)), sampling)


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp"])
@pytest.mark.parametrize("name", ["a{}", "a", "a.jpg", "a.mp4"])
def test_an_animation_is_a_clip_whatever_it_is_called(tmp_path: Path, ending: str, name: str) -> None:
    frames = levels(12)
    shown = write_animation(tmp_path / f"whole{ending}", frames, step_ms=40)
    path = shown.rename(tmp_path / name.format(ending))
    strip, info = read_clip(path, ClipSampling(4, 24))
    assert (info.frames, info.video) == (12, None)
    assert info.seconds == pytest.approx(0.44)
    assert seen(np.asarray(strip), 4) == [0, 4, 7, 11]
    assert np.array_equal(read_clip_bytes(path.read_bytes(), ClipSampling(4, 24))[0], strip)


def test_an_animation_that_breaks_off_says_so(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    path = write_animation(tmp_path / "a.gif", frames, step_ms=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, info = read_clip(path, ClipSampling(4, 64))
    assert 2 < info.frames < 12
    assert info.video is not None
    assert info.video.breaks_off == f"the animation breaks off after {info.frames} pictures"


def test_a_folder_of_numbered_images_is_a_clip(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for k, image in enumerate(levels(12)):
        write_image(folder / f"f{k}.png", image)
    (frame,) = iter_clips(folder, ClipSampling(4, 24))
    assert seen(frame.image, 4) == [0, 4, 7, 11]
    assert [f.origin for f in iter_clips(tmp_path, ClipSampling(4, 24))] == [str(folder)]
    with pytest.raises(UsageError, match=r"numbered images, which have no times"):
        next(iter_clips(folder, ClipSampling(4, 24, span_s=1.0)))
    for k in range(3, 12):
        (folder / f"f{k}.png").unlink()
    with pytest.raises(InputError, match=r"expected videos at .*, found 3 still images"):
        next(iter_clips(folder, ClipSampling(4, 24)))


def test_clips_of_a_folder_are_found_by_content_and_what_is_left_out_is_noted(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "a.avi", levels(12))
    film.rename(tmp_path / "named.png")
    write_animation(tmp_path / "b.gif", levels(4), step_ms=40)
    write_image(tmp_path / "cover.png", levels(1)[0])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("walk")
    (tmp_path / "README").write_text("clips")
    notes: list[Finding] = []
    found = list_clips(tmp_path, note=notes.append)
    assert [p.name for p in found] == ["b.gif", "empty.mp4", "named.png"]
    assert [(n.code, n.severity) for n in notes] == [("no_clip", "note")]
    assert "1 image is no clip and is left out: 'cover.png'" in notes[0].message
    assert list_clips(str(tmp_path / "*")) == found


def test_bytes_are_a_source_of_clips_as_a_path_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", levels(9))
    sampling = ClipSampling(4, 16)
    by_path, by_bytes = (next(iter_clips(s, sampling)).image for s in (path, path.read_bytes()))
    np.testing.assert_array_equal(by_path, by_bytes)
    with pytest.raises(UnreadableImageError):
        next(iter_clips(b"no video", sampling))


def test_another_process_reads_the_same_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", levels(12))
    here = read_clip(path, ClipSampling(4, 24))
    isolate_decoding()
    try:
        there = read_clip(path, ClipSampling(4, 24))
        with pytest.raises(UnreadableImageError):
            read_clip(tmp_path / "missing.avi", ClipSampling())
    finally:
        decode_here()
    assert np.array_equal(here[0], there[0])
    assert here[1] == there[1]


def test_a_span_is_the_same_time_for_every_clip() -> None:
    sampling = ClipSampling(3, 24, span_s=0.4)
    # A clip of 2 s: 0.8, 1.0 and 1.2 s; one of 0.2 s repeats its ends.
    assert sampling.chosen([k / 10 for k in range(21)]) == [8, 10, 12]
    assert sampling.chosen([0.0, 0.1, 0.2]) == [0, 1, 2]
    assert ClipSampling(5, 24, span_s=0.8).chosen([0.0, 0.1, 0.2]) == [0, 0, 1, 2, 2]


def test_a_span_of_a_long_clip_lacks_no_frame(tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 24, 3), (k + 10) % 30 * 8, np.uint8) for k in range(301)])
    path = write_clip(tmp_path / "a.avi", frames, fps=10)
    # 301 frames do not fit into 8 times 4: of those around the middle, 15 s, most are forgotten at first.
    strip, info = read_clip(path, ClipSampling(4, 24, span_s=0.6))
    assert (info.frames, round(info.seconds or 0)) == (301, 30)
    assert seen(np.asarray(strip), 4) == [7, 9, 11, 13]
    part, _ = read_clip(path, ClipSampling(3, 24, span_s=0.4), start_s=1.0, end_s=2.0)
    assert seen(np.asarray(part), 3) == [23, 25, 27]


def test_frames_of_an_array_are_the_span() -> None:
    (frame,) = iter_clips(levels(9), ClipSampling(3, 24, span_s=1.0))
    assert seen(frame.image, 3) == [0, 4, 8]


@pytest.mark.parametrize("span", [0.0, -1.0, 1e9])
def test_a_span_out_of_range_is_refused(span: float) -> None:
    with pytest.raises(UsageError, match="expected a span"):
        ClipSampling(span_s=span)


def test_a_preparation_mixes_no_two_frames() -> None:
    strip = np.concatenate(list(levels(4)))
    pixels, _ = Preparation((4 * 6, 9), channels=1, clip=ClipSampling(4, 24))(strip)
    assert pixels.shape == (24, 9, 1)
    assert [np.unique(f).tolist() for f in cut_strip(pixels, 4)] == [[0], [8], [16], [24]]


def test_a_preparation_of_clips_survives_json_and_is_checked() -> None:
    one = Preparation((4 * 6, 9), clip=ClipSampling(4, 24))
    assert Preparation.from_json(one.to_json()) == one
    assert one.to_json()["clip"] == {"frames": 4, "side": 24}, "as bundles were written before there was a span"
    spanned = Preparation((4 * 6, 9), clip=ClipSampling(4, 24, 2.5))
    assert Preparation.from_json(spanned.to_json()) == spanned
    assert "clip" not in Preparation((6, 9)).to_json()
    with pytest.raises(BundleError):
        Preparation.from_json({**one.to_json(), "clip": {"frames": 4, "side": 24, "span_s": "2"}})
    with pytest.raises(BundleError):
        Preparation.from_json({**one.to_json(), "clip": {"frames": 4}})
    with pytest.raises(UsageError, match="strips of 4 frames"):
        Preparation((25, 9), clip=ClipSampling(4, 24))


def test_windows_slide_by_time() -> None:
    frames = (Frame(image, "a", k, k / 10) for k, image in enumerate(levels(31)))
    found = list(sliding_windows(frames, ClipSampling(3, 24), window_s=1.0, hop_s=0.5))
    assert [(round(w.start_s, 2), round(w.end_s, 2)) for w in found] == [
        (0.0, 1.0),
        (0.5, 1.5),
        (1.0, 2.0),
        (1.5, 2.5),
        (2.0, 3.0),
    ]
    assert seen(found[1].strip, 3) == [5, 10, 15]


def test_a_gap_gives_no_windows_and_a_short_stream_gives_one() -> None:
    times = [0.0, 0.5, 1.0, 9.0, 9.5]
    frames = [Frame(image, "a", k, t) for k, (image, t) in enumerate(zip(levels(5), times, strict=True))]
    ends = [w.end_s for w in sliding_windows(frames, ClipSampling(2, 24), window_s=1.0, hop_s=0.5)]
    assert ends == [1.0, 9.0, 9.5]
    (only,) = sliding_windows(frames[:2], ClipSampling(2, 24), window_s=5.0, hop_s=1.0)
    assert (only.start_s, only.end_s) == (0.0, 0.5)


def test_a_stream_may_change_its_size() -> None:
    frames = [Frame(np.zeros((16, 24, 3), np.uint8), "a", 0, 0.0), Frame(np.zeros((32, 32, 3), np.uint8), "a", 1, 1.0)]
    (window,) = sliding_windows(frames, ClipSampling(2, 24), window_s=1.0, hop_s=1.0)
    assert window.strip.shape == (32, 24, 3)


def test_a_sheet_is_read_like_text() -> None:
    sheet = contact_sheet(np.concatenate(list(levels(9, (2, 2)))), 9)
    assert (sheet[::2, ::2, 0] // 8).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_slow_stream_repeats_frames_and_a_gap_counts_as_one_clip_at_most() -> None:
    times = [0.0, 0.5, 0.4, 1.0, 90.0]
    frames = [Frame(image, "a", k, t) for k, (image, t) in enumerate(zip(levels(5), times, strict=True))]
    found = list(paced_frames(frames, ClipSampling(8, 24), step_s=0.25))
    assert [n for _, n in found] == [1, 2, 0, 2, 8]
    assert [f.time_s for f, _ in found] == [0.0, 0.5, 0.5, 1.0, 90.0]


def test_frames_of_a_stream_are_reduced_as_those_of_clips_are() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4, 60, 90, 3), dtype=np.uint8)
    frames = [Frame(image, "a", k, k / 10) for k, image in enumerate(images)]
    (strip,) = (f.image for f in iter_clips(images, ClipSampling(4, 30)))
    paced = [f.image for f, n in paced_frames(frames, ClipSampling(4, 30), step_s=0.1) if n]
    assert np.array_equal(np.concatenate(paced), strip)
