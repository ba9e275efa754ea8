"""A file that crashes its decoder is named, and the files beside it are read."""

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.core.machine.nursery import forks
from eyewright.data import open_dataset, scan_dataset
from eyewright.imaging import ahead, decode, encode_image, isolation
from eyewright.imaging.ahead import caught, read_ahead, read_images, read_prepared
from eyewright.imaging.decode import read_thumbnail
from eyewright.imaging.headers import Limits
from eyewright.imaging.isolation import LookPool
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.sources import read_named
from eyewright.imaging.workers import Worker


@pytest.fixture(autouse=True)
def _jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)]))


def picture(seed: int) -> bytes:
    return encode_image(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8), format="PNG")


def test_a_crash_costs_the_one_file_that_caused_it() -> None:
    files = [picture(0), b"\x89PNG\r\n\x1a\nCRASH", b"no image", picture(3)]
    pool = LookPool(1, 64, job="tests_jobs:reduce_or_crash")
    looks = pool.look(files)
    pool.close()
    assert [look.error and look.error.code for look in looks] == [None, "decoder_crashed", "not_an_image", None]
    for at in (0, 3):
        info, small = read_thumbnail(files[at], 64)
        assert looks[at].info == info
        np.testing.assert_array_equal(looks[at].picture, small)


def test_a_scan_in_workers_finds_what_a_scan_in_process_finds(tmp_path, isolated) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(20):
            (tmp_path / label / f"{i}.png").write_bytes(picture(i + 100 * (label == "b")))
    (tmp_path / "a" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = open_dataset(tmp_path)
    apart = scan_dataset(data, workers=2, quiet=True)
    isolation.decode_here()
    within = scan_dataset(data, workers=2, quiet=True)
    np.testing.assert_array_equal(apart.thumbnails, within.thumbnails)
    np.testing.assert_array_equal(apart.colours, within.colours)
    assert [(r.digest, r.info, str(r.error)) for r in apart.records] == [
        (r.digest, r.info, str(r.error)) for r in within.records
    ]


def test_every_read_of_a_program_gives_what_a_read_in_process_gives(tmp_path, isolated) -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[271], exif[274] = "maker", 6
    exif.get_ifd(0x8769)[36867] = "2024:05:06 07:08:09"
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 60_000, (20, 30)).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(rng.integers(0, 70_000, (20, 30)).astype(np.int32)).save(tmp_path / "numbers.tif")
    pages = [Image.fromarray(rng.integers(0, 255, (8 + k, 9, 3), np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:], icc_profile=b"p" * 200)
    reads = {
        "image": decode.read_image,
        "native": lambda p: decode.read_image(p, depth="native", limits=Limits(pixels=10_000)),
        "reduced": lambda p: decode.read_image(p, at_least=(5, 5)),
        "picture": lambda p: np.asarray(decode.read_picture(p)),
        "labels": decode.read_labels,
        "profile": decode.read_profile,
        "probe": decode.probe_image,
        "thumbnail": lambda p: read_thumbnail(p.read_bytes(), 16),
        "frames": lambda p: list(decode.read_frames(p)),
    }

    def told(read, path):
        try:
            found = read(path)
        except EyewrightError as error:
            return type(error), str(error), error.code
        return [repr(x.tolist()) + str(x.dtype) if isinstance(x, np.ndarray) else x for x in _flat(found)]

    apart = {(k, p.name): told(read, p) for k, read in reads.items() for p in sorted(tmp_path.iterdir())}
    isolation.decode_here()
    within = {(k, p.name): told(read, p) for k, read in reads.items() for p in sorted(tmp_path.iterdir())}
    assert apart == within
    assert within["probe", "turned.jpg"][0].capture is not None
    assert len(within["frames", "pages.tif"]) == 6


def _flat(found) -> list:
    return [y for x in found for y in _flat(x)] if isinstance(found, list | tuple) else [found]


def test_every_read_survives_a_decoder_that_is_killed(tmp_path, isolated, killing) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(killing(picture(1)))
    good = tmp_path / "good.png"
    good.write_bytes(encode_image(np.zeros((4, 5), np.uint8), format="PNG"))
    reads = [
        decode.read_image, decode.read_picture, decode.read_labels, decode.read_profile, decode.probe_image,
        lambda p: read_thumbnail(p.read_bytes(), 8), lambda p: list(decode.read_frames(p)),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(UnreadableImageError, match="SIGSEGV") as met:
            read(path)
        assert met.value.code == "decoder_crashed"
    read_named(good)
    path.write_bytes(killing(picture(1), "SIGKILL"))
    with pytest.raises(UnreadableImageError, match=r"bad.png.*memory") as met:
        read_named(path)
    assert met.value.code == "decode_memory"


def test_what_this_process_encoded_is_read_in_it(isolated, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "Worker", None)
    np.testing.assert_array_equal(decode.read_encoded(picture(3)).shape, (20, 30, 3))


def test_a_worker_ends_at_once_even_if_it_ignores_the_end_of_its_input() -> None:
    worker = Worker("tests_jobs:linger")
    worker.ask({}, b"")
    started = time.monotonic()
    worker.close()
    assert time.monotonic() - started < 0.4


@pytest.mark.skipif(not forks(), reason="workers start one by one here")
def test_workers_are_forked_from_one_process_in_the_folder_and_environment_of_now(tmp_path, monkeypatch) -> None:
    first, second = Worker("tests_jobs:where"), Worker("tests_jobs:where")
    before, _ = first.ask({})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    after, _ = second.ask({})
    first.close()
    second.close()
    assert before["parent"] == after["parent"] != os.getpid()
    assert (after["folder"], after["temporary"]) == (str(tmp_path.resolve()), str(tmp_path))


def test_a_program_that_loads_a_model_first_starts_the_decoder_before_it_is_needed(monkeypatch) -> None:
    started = []
    monkeypatch.setattr(Worker, "start", lambda self, start=Worker.start: started.append(self) or start(self))
    isolation.isolate_decoding(at_once=True)
    try:
        (early,) = started
        data = picture(5)
        np.testing.assert_array_equal(decode.read_image(data), np.asarray(Image.open(io.BytesIO(data))))
        assert set(started) == {early}, "the process that was started is the one that decodes"
    finally:
        isolation.decode_here()


def _told(found) -> object:
    return (type(found), str(found), found.code) if isinstance(found, EyewrightError) else found.tolist()


def test_files_read_together_are_those_read_alone_whatever_one_of_them_does(isolated, killing) -> None:
    files = [picture(k) for k in range(6)]
    files[1:1] = [b"", b"no image", files[0][:60]]
    files.append(encode_image(np.zeros((40, 60, 3), np.uint8)))
    together = read_images(files)
    assert [_told(f) for f in together] == [_told(caught(decode.read_image, f)) for f in files]
    bad = [*files[:4], killing(picture(1)), *files[4:], killing(picture(2), "SIGKILL")]
    found = read_images(bad)
    assert [_told(f) for f in found[:4]] + [_told(f) for f in found[5:-1]] == [_told(f) for f in together]
    assert (found[4].code, found[-1].code) == ("decoder_crashed", "decode_memory")
    isolation.decode_here()
    assert [_told(f) for f in read_images(files)] == [_told(f) for f in together]


def _all_kinds() -> list[bytes]:
    """Return images that Pillow opens in every mode that is converted: deep, palette, alpha, CMYK, turned, grey."""
    rng = np.random.default_rng(4)
    colour = Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (20, 30), np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    saved: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "PNG", {}),
        (colour, "JPEG", {"exif": turned.tobytes()}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("LA"), "PNG", {}),
        (colour.convert("L"), "JPEG", {}),
        (deep, "PNG", {}),
    ]
    files = []
    for image, kind, options in saved:
        out = io.BytesIO()
        image.save(out, kind, **options)
        files.append(out.getvalue())
    return files


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_prepared_where_it_is_decoded_has_the_same_bits(isolated, killing, fit, channels: int) -> None:
    prepare = Preparation((8, 12), fit=fit, channels=channels)
    files = _all_kinds()
    files[2:2] = [b"no image", killing(picture(1)), files[0][:80]]
    apart = read_prepared(files, prepare)
    isolation.decode_here()
    here = read_prepared([f if k != 3 else b"crash" for k, f in enumerate(files)], prepare)
    assert (apart[3].code, len(apart)) == ("decoder_crashed", len(files))
    for k, (one, other) in enumerate(zip(apart, here, strict=True)):
        if k == 3:
            continue
        if isinstance(other, EyewrightError):
            assert _told(one) == _told(other)
            continue
        pixels, placement = prepare(decode.read_image(files[k]))
        for found in (one, other):
            assert found.pixels.tobytes() == pixels.tobytes()
            assert found.pixels.shape == pixels.shape
            assert prepare.place(found.source_hw) == placement


@pytest.mark.parametrize("apart", [True, False])
def test_small_files_that_hold_much_are_never_all_in_memory(isolated, apart: bool) -> None:
    if not apart:
        isolation.decode_here()
    # 17 MB of pixels each, in a few kilobytes.
    files = [encode_image(np.full((2400, 2400, 3), k, np.uint8), png_level=1) for k in range(3)]
    assert len(read_images([picture(1), *files, picture(2)])) == 2
    found = list(read_ahead([picture(1), *files, picture(2)], read_images, size_of=len, threads=1))
    assert [f.shape for f in found] == [(20, 30, 3), *[(2400, 2400, 3)] * 3, (20, 30, 3)]
    assert [int(f[0, 0, 0]) for f in found[1:4]] == [0, 1, 2]


def test_what_a_crash_made_alone_is_bounded_too(isolated, killing, monkeypatch) -> None:
    monkeypatch.setattr(ahead, "MOST_HELD", 3000)
    found = read_images([picture(0), killing(picture(1)), picture(2), picture(3)])
    assert [getattr(f, "shape", f) for f in found[::2]] == [(20, 30, 3)] * 2
    assert (len(found), found[1].code) == (3, "decoder_crashed")


def test_a_message_carries_a_bounded_amount_of_pixels(monkeypatch) -> None:
    monkeypatch.setattr(ahead, "MOST_HELD", 3000)
    files = [picture(k) for k in range(5)]
    answer, pixels = isolation.read_apart(
        {"call": "read_images", "given": {"sizes": [len(f) for f in files]}}, b"".join(files)
    )
    # 1,800 bytes each: the second passes the bound, and three are left for the next message.
    assert len(answer["rows"]) == 2
    assert pixels.size == 3600
