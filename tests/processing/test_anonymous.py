"""Anonymous copies: nothing of the input is left, what was found is hidden for good, recall is measured exactly."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.processing.hiding_places import MOVIES, PIXELS, PLACES, SECRET
from tests.tasks.predictors import Told

from eyewright.core import LabelSpace
from eyewright.core.errors import InputError, OutputError, UsageError
from eyewright.imaging import encode_image, read_image, write_image
from eyewright.imaging.webm import WebmWriter
from eyewright.lifecycle.anonymizing import anonymize
from eyewright.processing import anonymous
from eyewright.processing.anonymous import HiddenFile, measure_recall
from eyewright.processing.box_lists import BoxList, NamedBoxes, read_box_list
from eyewright.processing.finders import Finder, heads_of, predictor_finder
from eyewright.processing.hiding import CELLS, grown_boxes, hide_boxes
from eyewright.processing.remembering import Memory, remembered

RNG = np.random.default_rng(0)


def all_bytes(folder: Path) -> bytes:
    return b"\n".join(p.read_bytes() + os.fsencode(p.name) for p in sorted(folder.rglob("*")) if p.is_file())


def boxes_file(path: Path, **named: list[tuple[float, float, float, float]]) -> Path:
    lines = ["image,x0,y0,x1,y1,label"]
    for name, rows in named.items():
        lines += [f"{name.replace('_', '.')},{','.join(map(str, r))},face" for r in rows] or [
            f"{name.replace('_', '.')},,,,,"
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_of_what_was_hidden_in_a_file(place: str, tmp_path: Path) -> None:
    name, data = PLACES[place]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    os.utime(tmp_path / "in" / name, (86_400, 86_400))
    done = anonymize(tmp_path / "in", tmp_path / "out", find="text", report=tmp_path / "report")
    assert [f for f in done.findings if f.severity == "error"] == []
    (out,) = (p for p in (tmp_path / "out").rglob("*") if p.is_file())
    found = all_bytes(tmp_path / "out") + all_bytes(tmp_path / "report")
    assert SECRET not in found
    assert SECRET.decode().encode("utf-16-le") not in found
    assert out.stat().st_mtime > 86_400 * 2
    with Image.open(out) as picture:
        assert not picture.getexif()
        own = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression", "loop", "background"}
        assert set(picture.info) <= own
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    with Image.open(tmp_path / "in" / name) as picture:
        shown = np.asarray(picture.convert("RGBA"), int)
    white = shown[..., :3] * (shown[..., 3:] / 255) + 255 * (1 - shown[..., 3:] / 255)
    assert np.abs(pixels - white).max() <= 3


def test_names_go_when_files_are_called_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "in" / "clinic").mkdir(parents=True)
    write_image(tmp_path / "in/clinic/jane-doe.png", PIXELS)
    write_image(tmp_path / "in/clinic/john-doe.png", PIXELS)
    done = anonymize(tmp_path / "in", tmp_path / "out", find="text", names="hash", report=tmp_path / "report")
    found = all_bytes(tmp_path / "out") + all_bytes(tmp_path / "report")
    assert b"jane" not in found
    assert b"john" not in found
    # Two equal images keep two names.
    assert len({f.name for f in done.files}) == 2
    assert all(f.name.startswith("clinic/") for f in done.files)


def test_a_writer_that_leaks_is_caught_and_the_file_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(PLACES["comment"][1])
    (tmp_path / "in/b.png").write_bytes(encode_image(PIXELS))
    monkeypatch.setattr(
        anonymous,
        "encode_image",
        lambda image, **k: encode_image(image, format=k["format"]) + (SECRET if k["format"] == "JPEG" else b""),
    )
    done = anonymize(tmp_path / "in", tmp_path / "out", find="text")
    assert [f.code for f in done.failed] == ["residue"]
    assert "trailing bytes" in done.failed[0].message
    assert os.listdir(tmp_path / "out") == ["b.png"]


def test_a_copyright_is_kept_by_name_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(PLACES["EXIF, GPS, maker note, UTF-16"][1])
    done = anonymize(tmp_path / "in", tmp_path / "out", find="text", keep_metadata=["copyright"])
    assert not done.failed
    with Image.open(tmp_path / "out/a.jpg") as picture:
        assert dict(picture.getexif()) == {0x8298: "Copyright-Somebody"}
    with pytest.raises(UsageError, match="unknown metadata"):
        anonymize(tmp_path / "in", tmp_path / "out2", find="text", keep_metadata=["author"])
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize("how", ["fill", "blur", "pixelate"])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_what_is_left_of_a_region_are_six_numbers_a_channel(how: str, shape: tuple[int, ...]) -> None:
    """The rank of the map from a region to what is shown of it, by finite differences over all its pixels."""
    image = RNG.integers(0, 255, shape).astype(np.float64)
    base = (image * 256).astype(np.uint16)
    box = np.array([[4, 3, 34, 33]])
    first = hide_boxes(base, box, how)[3:33, 4:34].reshape(30 * 30, -1)[:, 0].astype(float)
    rows = []
    for k in range(60):
        other = base.copy()
        other[3:33, 4:34] = RNG.integers(0, 65535, (30, 30, *shape[2:]))
        rows.append(hide_boxes(other, box, how)[3:33, 4:34].reshape(30 * 30, -1)[:, 0].astype(float) - first)
        assert np.array_equal(hide_boxes(other, box, how)[33:], base[33:]), k
    values = np.linalg.svd(np.array(rows), compute_uv=False)
    # Rounding to whole numbers adds differences of less than one.
    assert (values > 60).sum() <= (0 if how == "fill" else CELLS)


def test_boxes_are_grown_outwards_and_kept_inside() -> None:
    boxes = np.array([[-5.0, 2, 10, 12], [3, 3, 3, 9], [50, 50, 60, 60], [np.nan, 0, 1, 1]])
    assert grown_boxes(boxes, (20, 20), margin=0.1).tolist() == [[0, 1, 12, 13]]


def test_a_box_is_held_before_and_after_and_gaps_are_filled() -> None:
    seen = [
        np.array([[10.0 + 2 * i, 10, 30 + 2 * i, 30, 0.9]]) if i in (6, 7, 8, 14, 15) else np.zeros((0, 5))
        for i in range(24)
    ]
    times = [i / 10 for i in range(24)]
    found = remembered(seen, times, Memory(hold=2, gap_s=1.0))
    assert [bool(len(b)) for b in found] == [4 <= i <= 17 for i in range(24)]
    middle = found[11]
    assert (np.abs(middle - np.array([32.0, 10, 52, 30])).max(1) < 1).any()
    bare = remembered(seen, times, Memory(hold=0, gap_s=0.0))
    assert [len(b) for b in bare] == [len(s) for s in seen]


def write_video(path: Path) -> Path:
    with WebmWriter(path) as video:
        for i in range(12):
            frame = np.full((48, 96, 3), 200, np.uint8)
            frame[10:30, 10 + 2 * i : 30 + 2 * i] = 90
            video.add(frame, i / 10)
    return path


def test_a_video_is_hidden_from_the_first_frame_to_the_last(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    from eyewright.imaging.sources import open_source

    video = write_video(tmp_path / "walk.webm")
    # MOT counts frames and pixels from 1; frames 5 to 8 were missed.
    rows = [f"{i + 1},1,{11 + 2 * i},11,20,20,1,1,1" for i in range(12)]
    (tmp_path / "gt.txt").write_text("\n".join(rows))
    (tmp_path / "det.txt").write_text("\n".join(r for i, r in enumerate(rows) if not 4 <= i < 8))
    done = anonymize(video, tmp_path / "out", boxes=tmp_path / "det.txt", check=tmp_path / "gt.txt", hold=0, margin=0.1)
    assert done.recall is not None
    assert (done.recall.hidden, done.recall.n) == (12, 12)
    with open_source(tmp_path / "out/walk.webm") as frames:
        shown = [f.image for f in frames]
    assert len(shown) == 12
    assert all(im[12:28, 12 + 2 * i : 28 + 2 * i].max() < 60 for i, im in enumerate(shown))
    with pytest.raises(UsageError, match="fill"):
        anonymize(video, tmp_path / "blurred", boxes=tmp_path / "det.txt", how="blur")


@pytest.mark.parametrize("place", MOVIES)
def test_nothing_is_left_of_what_was_hidden_in_a_video(place: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    ending, hidden = MOVIES[place]
    path = tmp_path / f"walk{ending}"
    if ending == ".mp4":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 48))
        for i in range(4):
            writer.write(np.full((48, 96, 3), 60 * i, np.uint8))
        writer.release()
        data = path.read_bytes()
        start = data.rindex(b"moov") - 4
        # It is the last box, and grows: no offset of a frame changes.
        assert int.from_bytes(data[start : start + 4], "big") == len(data) - start
        size = (len(data) - start + len(hidden)).to_bytes(4, "big")
        path.write_bytes(data[:start] + size + data[start + 4 :] + hidden)
    else:
        write_video(path)
        path.write_bytes(path.read_bytes() + hidden)
    assert SECRET in path.read_bytes()
    done = anonymize(path, tmp_path / "out", find="text", tile=0, report=tmp_path / "report")
    assert [f for f in done.findings if f.severity == "error"] == []
    assert done.files[0].frames in (4, 12)
    assert SECRET not in all_bytes(tmp_path / "out") + all_bytes(tmp_path / "report")


def test_a_report_names_no_file_and_quotes_no_metadata_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "jane-doe.jpg").write_bytes(PLACES["comment"][1])
    (source / "jane-roe.png").write_bytes(encode_image(PIXELS))
    (source / "jane-poe.jpg").write_bytes(b"no image")
    (source / "jane-letters.txt").write_text("x")
    (source / "jane.bin").write_bytes(b"x")
    monkeypatch.setattr(
        anonymous,
        "encode_image",
        lambda image, **k: encode_image(image, format=k["format"]) + SECRET * (k["format"] == "JPEG"),
    )
    done = anonymize(source, tmp_path / "out", find="text", names="hash", report=tmp_path / "report")
    assert {f.code for f in done.failed} == {"residue", "not_an_image"}
    page = all_bytes(tmp_path / "report")
    assert b"3 texts of the input" in page
    assert b"jane" not in page
    assert SECRET[:8] not in page


def test_what_a_file_holds_decides_and_not_its_name(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "in").mkdir()
    video = write_video(tmp_path / "in" / "walk.webm")
    video.rename(tmp_path / "in" / "walk.png")
    write_image(tmp_path / "in" / "a.png", np.full((40, 40, 3), 200, np.uint8))
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "photo.mp4")
    write_image(tmp_path / "in" / "b.png", np.full((40, 40, 3), 200, np.uint8))
    (tmp_path / "in" / "b.png").rename(tmp_path / "in" / "without_ending")
    (tmp_path / "in" / "words.txt").write_text("no picture")
    done = anonymize(tmp_path / "in", tmp_path / "out", find="text", tile=0)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["photo.png", "walk.webm", "without_ending.png"]
    assert any("nothing was found" in f.message for f in done.findings)
    # A list of frames is one of a video, whatever it is called.
    (tmp_path / "det.txt").write_text("1,1,11,11,20,20,1,1,1\n")
    hidden = anonymize(tmp_path / "in" / "walk.png", tmp_path / "alone", boxes=tmp_path / "det.txt")
    assert [f.name for f in (tmp_path / "alone").iterdir()] == ["walk.webm"]
    assert hidden.files[0].frames == 12


def test_a_video_in_which_nothing_was_found_says_so(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    done = anonymize(write_video(tmp_path / "walk.webm"), tmp_path / "out", find="text", tile=0)
    assert any("nothing was found" in f.message for f in done.findings)
    assert "recall unknown" in done.headline()


def test_recall_counts_what_is_hidden_to_nine_tenths() -> None:
    files = [HiddenFile("a.png", "a.png", (100, 100), {}, 0.0, [np.array([[0, 0, 40, 40]])])]
    wanted = np.array([[0.0, 0, 40, 40], [4, 0, 44, 40], [5, 0, 45, 40], [60, 60, 70, 70]])
    truth = BoxList({"a.png": NamedBoxes(wanted, ("face",) * 4)}, {})
    recall = measure_recall(files, truth, ("faces",))
    assert (recall.hidden, recall.n, recall.hidden_large, recall.n_large) == (2, 4, 2, 3)
    metric = recall.metric()
    # scipy.stats.binomtest(2, 4).proportion_ci(method="exact")
    assert (round(metric.low or 0, 4), round(metric.high or 0, 4)) == (0.0676, 0.9324)


def test_boxes_of_one_list_are_read_from_csv_coco_and_predictions(tmp_path: Path) -> None:
    csv_file = boxes_file(tmp_path / "a.csv", a_png=[(1, 2, 11, 22)], b_png=[])
    coco = tmp_path / "a.json"
    coco.write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 10, 20], "category_id": 3}],
        "categories": [{"id": 3, "name": "face"}],
    }))  # fmt: skip
    ours = tmp_path / "p.json"
    ours.write_text(json.dumps({"predictions": [
        {"source": "/x/a.png", "boxes_xyxy": [[1, 2, 11, 22]], "labels": ["face"]},
        {"source": "/x/b.png", "boxes_xyxy": [], "labels": []},
    ]}))  # fmt: skip
    for path in (csv_file, coco, ours):
        found = read_box_list(path)
        a, b = found.of("a.png"), found.of("deep/b.png")
        assert a is not None
        assert b is not None
        assert (a.boxes.tolist(), a.labels, len(b.boxes)) == ([[1, 2, 11, 22]], ("face",), 0)
        assert found.of("c.png") is None


@pytest.mark.parametrize(
    "text",
    [
        "image,x0\n",
        "image,x0,y0,x1,y1\na,1,2,x,4\n",
        "image,x0,y0,x1,y1\na,1,2,nan,4\n",
        "{}",
        "[[[",
        '{"images": [], "annotations": [{}]}',
    ],
)
def test_a_damaged_list_of_boxes_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "boxes").write_text(text)
    with pytest.raises(InputError):
        read_box_list(tmp_path / "boxes")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,x0,y0,x1,y1\nb,,,,\na,1,2,x,4\n", "line 3: expected a number in x1, found 'x'"),
        ("image,x0,y0,x1,y1\na,1,2\n", "line 2: expected a number in x1, found nothing"),
        ('{"images": [\n}', "line 2: expected JSON"),
    ],
)
def test_a_damaged_list_of_boxes_is_named_by_its_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "boxes").write_text(text)
    with pytest.raises(InputError, match=said) as met:
        read_box_list(tmp_path / "boxes")
    assert "could not convert" not in str(met.value)
    section = met.value.fix.partition(", ")[2]
    page = Path(__file__).parents[2] / met.value.fix.removeprefix("see ").partition(",")[0]
    assert f"## {section}\n" in page.read_text("utf-8")


@pytest.mark.parametrize("box", [(20, 20, 5, 5), (5, 5, 5, 9), (900, 5, 950, 20), (-30, 2, -4, 9)])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_an_image_with_a_box_that_marks_nothing_is_not_written(
    box: tuple[float, float, float, float], suffix: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", PIXELS)
    write_image(tmp_path / "in" / "b.png", PIXELS)
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20), box], b_png=[(2, 2, 20, 20)])
    if suffix == "json":
        rows = [("a.png", [(2, 2, 20, 20), box]), ("b.png", [(2, 2, 20, 20)])]
        found = [{"source": n, "boxes_xyxy": b, "labels": ["face"] * len(b)} for n, b in rows]
        boxes = tmp_path / "boxes.json"
        boxes.write_text(json.dumps(found))
    for find in (None, "text"):
        done = anonymize(tmp_path / "in", tmp_path / f"out-{find}", boxes=boxes, find=find)
        assert [f.name for f in done.files] == ["b.png"]
        assert [(Path(f.path).name, f.code in ("flat_boxes", "boxes_outside")) for f in done.failed] == [
            ("a.png", True)
        ]
        assert not (tmp_path / f"out-{find}" / "a.png").exists()


def test_an_image_of_the_list_that_the_source_does_not_have_is_reported(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", PIXELS)
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20)], none_png=[(1, 2, 3, 4)])
    done = anonymize(tmp_path / "in", tmp_path / "out", boxes=boxes)
    (found,) = (f for f in done.findings if f.code == "unknown_images")
    assert found.severity == "warning"
    assert found.message.endswith("1; their boxes hide nothing; the first: line 3")
    # With an image that is not in the list, the name may be misspelt.
    write_image(tmp_path / "in" / "nome.png", PIXELS)
    done = anonymize(tmp_path / "in", tmp_path / "out2", boxes=boxes, find="text")
    assert [f.code for f in done.failed] == ["unknown_images"]


def test_what_of_the_list_to_check_does_not_count_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", PIXELS)
    write_image(tmp_path / "in" / "b.png", PIXELS)
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20)], b_png=[])
    some = boxes_file(tmp_path / "some.csv", a_png=[(2, 2, 20, 20), (5, 5, 5, 9)], none_png=[(1, 2, 3, 4)])
    done = anonymize(tmp_path / "in", tmp_path / "out", boxes=boxes, check=some)
    said = {f.code: f.message for f in done.findings if f.path == str(some)}
    assert set(said) == {"unknown_images", "flat_boxes", "not_in_check"}
    assert said["unknown_images"].endswith("1; the first: line 4")
    assert not done.failed
    none = boxes_file(tmp_path / "none.csv", none_png=[(1, 2, 3, 4)])
    done = anonymize(tmp_path / "in", tmp_path / "out2", boxes=boxes, check=none)
    assert [f.code for f in done.failed] == ["unknown_images"]
    assert "pass --check" not in done.headline()


def test_a_video_is_not_written_where_it_is_not_known_what_to_hide(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    video = tmp_path / "in" / "walk.webm"
    with WebmWriter(video) as writer:
        for k in range(3):
            writer.add(PIXELS, k / 10)
    write_image(tmp_path / "in" / "a.png", PIXELS)
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20)])
    done = anonymize(tmp_path / "in", tmp_path / "out", boxes=boxes)
    assert [(Path(f.path).name, f.code) for f in done.failed] == [("walk.webm", "not_in_boxes")]
    # A video without sound is not said to lose it.
    assert not any("sound" in n for f in anonymize(video, tmp_path / "seen", find="text").files for n in f.notes)
    tracks = tmp_path / "det.txt"
    tracks.write_text("1,1,3,3,10,10,1,-1,-1,-1\n2,1,3,3,0,-4,1,-1,-1,-1\n")
    with pytest.raises(OutputError, match="line 2"):
        anonymize(video, tmp_path / "out2", boxes=tracks)
    assert not (tmp_path / "out2").exists()


def test_bad_input_is_a_finding_or_one_clear_error(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_image(source / "a.png", PIXELS)
    write_image(source / "deep.png", np.full((20, 30), 40_000, np.uint16))
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(source / "moving.gif", save_all=True, append_images=frames[1:])
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (source / "labels.txt").write_text("0 0.5 0.5 1 1")
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20), (5, 5, 5, 9)], deep_png=[(1, 1, 9, 9)])
    done = anonymize(source, tmp_path / "out", boxes=boxes)
    assert sorted(f.code for f in done.failed) == ["animated", "flat_boxes", "unreadable_image"]
    # What the box without an area marks is not known: the image is not written.
    assert not (tmp_path / "out/a.png").exists()
    assert next(f for f in done.failed if f.code == "flat_boxes").message.endswith("line 3: what to hide is not known")
    assert any(f.code == "other_files" and f.severity == "warning" for f in done.findings)
    deep = read_image(tmp_path / "out/deep.png", depth="native")
    assert (deep.dtype, deep[0, 0, 0], deep[5, 5, 0]) == (np.dtype(np.uint16), 40_000, 0)
    write_image(source / "new.png", PIXELS)
    assert "not_in_boxes" in {f.code for f in anonymize(source, tmp_path / "out2", boxes=boxes).failed}
    for options in (
        {"find": "noses"}, {"how": "paint"}, {"to": "bmp"}, {"labels": "cocoa"},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            anonymize(source, tmp_path / "out3", **{"find": "text", **options})
    with pytest.raises(UsageError, match="one is inside the other"):
        anonymize(source, source / "out", find="text")
    with pytest.raises(OutputError, match="not empty"):
        anonymize(source, tmp_path / "out", find="text")
    with pytest.raises(InputError):
        anonymize(tmp_path / "absent", tmp_path / "out3", find="text")
    assert not (tmp_path / "out3").exists()


@pytest.mark.parametrize("format", ["coco", "yolo", "voc"])
def test_labels_move_along_with_new_names(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eyewright.data.formats import open_dataset
    from eyewright.lifecycle.exchange import convert

    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    rows = {}
    for k in range(4):
        write_image(f"raw/jane{k}.jpg", RNG.integers(0, 255, (40, 60, 3)).astype(np.uint8))
        rows[f"jane{k}.jpg"] = (3 + k, 4, 23 + k, 24)
    images = [{"id": k, "file_name": n, "width": 60, "height": 40} for k, n in enumerate(rows)]
    marks = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": 400, "iscrowd": 0}
        for k, (x0, y0, x1, y1) in enumerate(rows.values())
    ]
    Path("raw/instances.json").write_text(
        json.dumps({"images": images, "annotations": marks, "categories": [{"id": 1, "name": "cat"}]})
    )
    convert("raw", to=format, out="given")
    done = anonymize("given", "out", find="text", names="hash")
    assert done.labels == format
    assert not done.failed
    before, after = open_dataset("given", task="detect"), open_dataset("out", task="detect")
    assert len(after) == 4
    assert after.labels.names == before.labels.names

    def boxes(data: object) -> list[list[float]]:
        return sorted(np.round(data.objects(i, (40, 60)).boxes_xyxy[0]).tolist() for i in range(4))  # type: ignore[attr-defined]

    assert boxes(after) == boxes(before)
    assert b"jane" not in all_bytes(Path("out"))


def white_box(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Find the box around what is white, of the first class."""
    boxes, scores = np.zeros((len(pixels), 1, 4), np.float32), np.zeros((len(pixels), 1, 2), np.float32)
    for i, one in enumerate(pixels):
        rows, columns = np.nonzero(one[..., 0] > 200)
        if len(rows):
            boxes[i, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            scores[i, 0, 0] = 0.6
    return {"boxes": boxes, "scores": scores}


def test_a_detector_of_the_users_own_finds_heads_of_its_persons_in_every_view() -> None:
    image = np.full((160, 320, 3), 20, np.uint8)
    image[20:120, 40:60] = 255
    detector = Told("detect", white_box, size_hw=(160, 320))
    detector.labels = LabelSpace(("person", "dog"))
    assert predictor_finder(detector, "plates", name="x", least=0.3) is None
    finder = predictor_finder(detector, "heads", name="x", least=0.3, tile=0)
    assert finder is not None
    found = finder.find(image)
    # Once in the image and once in its mirror image, back at the same place; the upper 30 of 100 rows.
    assert np.allclose(found, [[40, 20, 60, 50, 0.6]] * 2, atol=0.6)
    strict = predictor_finder(detector, "heads", name="x", least=0.7, tile=0)
    assert strict is not None
    assert len(strict.find(image)) == 0


def test_a_face_that_the_edge_cuts_off_is_found_in_the_border_that_continues_it() -> None:
    image = np.full((100, 200, 3), 20, np.uint8)
    image[40:60, 190:] = 255

    def whole_only(pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Find what is white where no edge touches it: half a face is none."""
        found = white_box(pixels)
        for k, one in enumerate(pixels):
            bright = one[..., 0] > 200
            if bright[:, 0].any() or bright[:, -1].any():
                found["scores"][k] = 0
        return found

    detector = Told("detect", whole_only, size_hw=(100, 200))
    detector.labels = LabelSpace(("face", "person"))
    finder = predictor_finder(detector, "faces", name="x", least=0.3, tile=0, flip=False)
    assert finder is not None
    # The detector sees a border of 20 pixels, and the box ends at the edge of the image.
    assert np.allclose(finder.find(image), [[190, 40, 200, 60, 0.4]], atol=1.5)


def test_the_head_of_a_person_who_is_cut_off_below_is_a_larger_part_of_the_box() -> None:
    person = np.array([[10.0, 400, 70, 430, 0.9], [10, 300, 70, 400, 0.9]])
    # Half as high as wide, and no higher than the box; who stands in full keeps the upper 30 %.
    assert heads_of(person, height=432)[:, 3].tolist() == [430, 330]
    assert heads_of(person)[:, 3].tolist() == [409, 330]


def test_faces_are_enlarged_more_than_other_boxes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", np.full((100, 100, 3), 200, np.uint8))
    for kind, margin, expected in (("faces", None, 14), ("plates", None, 12), ("faces", 0.0, 10)):
        finder = Finder(kind, "x", lambda image: np.array([[40.0, 40, 50, 50, 0.9]]))
        made = anonymous.anonymize_bytes(
            (tmp_path / "in" / "a.png").read_bytes(), "a.png", anonymous.Hiding((finder,), margin=margin)
        )
        assert int((made.pixels[..., 0] == 0).sum()) == expected**2


def test_the_report_is_one_file_without_the_original(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in/a.png", PIXELS)
    boxes = boxes_file(tmp_path / "boxes.csv", a_png=[(2, 2, 20, 20)])
    done = anonymize(tmp_path / "in", tmp_path / "out", boxes=boxes, check=boxes, report=tmp_path / "report")
    page = done.pages["report"].read_text()
    assert "Recall 100.0%" in page
    assert "http" not in page.replace("http-equiv", "")
    assert json.loads(done.pages["report_json"].read_text())["recall"]["all"]["n"] == 1
    plain = anonymize(tmp_path / "in", tmp_path / "out2", boxes=boxes, report=tmp_path / "report2")
    assert "Recall unknown" in plain.pages["report"].read_text()


def test_detectors_that_miss_many_are_named(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "plain.png", RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    done = anonymize(tmp_path / "in", tmp_path / "out", find="faces", report=tmp_path / "report")
    (weak,) = [f for f in done.findings if f.code == "weak_detector"]
    assert weak.message == "many faces are missed by OpenCV's face cascades"
    assert weak.severity == "warning"
    assert "Many faces are missed by" in (tmp_path / "report" / "anonymize.html").read_text()
    silent = anonymize(tmp_path / "in", tmp_path / "text", find="text")
    assert not [f for f in silent.findings if f.code == "weak_detector"]


def test_only_what_was_searched_for_counts_where_labels_hold_other_things_too() -> None:
    files = [HiddenFile("a.png", "a.png", (100, 100), {}, 0.0, [np.array([[0, 0, 40, 40]])])]
    wanted = np.array([[0.0, 0, 40, 40], [0, 0, 40, 40], [60, 60, 70, 70], [0, 0, 40, 100], [0, 0, 10, 10]])
    labels = ("Face", "chair", "chair", "woman", "")
    truth = BoxList({"a.png": NamedBoxes(wanted, labels)}, {})
    faces = measure_recall(files, truth, ("faces",))
    assert (faces.hidden, faces.n, dict(faces.left_out)) == (2, 2, {"chair": 2, "woman": 1})
    # The upper 30 % of a woman are her head.
    heads = measure_recall(files, truth, ("faces", "heads"))
    assert heads.by_label == {"Face": (1, 1), "woman (head)": (1, 1), "box": (1, 1)}
    # Boxes of a list of one's own had to be hidden, whatever they are called.
    assert measure_recall(files, truth, ()).n == 5
    assert measure_recall(files, truth, ("plates",)).n == 5
