"""Detections of one's own over their pictures, and tracks in the forms of other tools, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.data.tracks import find_sequences, read_tracks
from eyewright.imaging import encode_image, read_image
from eyewright.imaging.sources import open_source

N, HEIGHT, WIDTH = 12, 48, 96


def _json(capsys: pytest.CaptureFixture[str], args: list[str], code: int = 0) -> dict:
    assert main([*args, "--json"]) == code, capsys.readouterr()
    found: dict = json.loads(capsys.readouterr().out)
    return found


def _picture(k: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[10:30, 5 + 4 * k : 25 + 4 * k] = 200
    return image


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    path = tmp_path / "walk.txt"
    path.write_text("".join(f"{k},-1,{6 + 4 * (k - 1)},11,20,20,0.9\n" for k in range(1, N + 1)))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(N):
        (folder / f"frame_{k:06d}.png").write_bytes(encode_image(_picture(k)))
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    pytest.importorskip("cv2")
    from eyewright.imaging.webm import WebmWriter

    path = tmp_path / "walk.webm"
    with WebmWriter(path, quality=90) as writer:
        for k in range(N):
            # Uneven times: those of the video are used, not a rate.
            writer.add(_picture(k), k / 10 + (0.3 if k > 5 else 0))
    return path


def _edge(image: np.ndarray, k: int) -> np.ndarray:
    """Return where a picture differs from frame `k`, bool (H, W)."""
    return np.abs(image.astype(int) - _picture(k)).sum(2) > 120


def test_detections_are_drawn_on_the_images_of_a_folder(
    detections: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    # The first argument may be the detections: a bundle is not needed.
    found = _json(
        capsys, ["track", str(detections), "--frames", str(images), "--out", str(out), "--save", "images,video,report"]
    )
    assert {Path(p).name for p in found["out"].values()} == {"out", "walk.webm", "walk.html", "walk-images"}
    drawn = sorted((out / "walk-images").iterdir())
    assert [p.name for p in drawn] == [f"{k:06d}.jpg" for k in range(1, N + 1)]
    for k in (3, 8):
        changed = _edge(read_image(drawn[k]), k)
        # The box is round the object of this frame, and of no other.
        assert changed[8:32, 3 + 4 * k : 7 + 4 * k].any()
        assert not changed[:6].any()
    with open_source(out / "walk.webm") as opened:
        frames = list(opened)
    assert len(frames) == N
    assert frames[1].time_s == pytest.approx(1 / 30, abs=0.002)


def test_times_and_length_of_a_video_are_those_of_its_detections(
    detections: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = ["track", "--detections", str(detections), "--frames", str(video), "--out", str(out)]
    found = _json(capsys, [*args, "--save", "json,video"])
    assert found["findings"] == []
    assert found["tracks"][0]["last_s"] == pytest.approx(1.4, abs=0.002)
    with open_source(out / "walk.webm") as opened:
        assert [f.time_s for f in opened][-1] == pytest.approx(1.4, abs=0.002)
    assert json.loads((out / "walk.json").read_text())["n_frames"] == N


def test_frames_of_several_sequences_are_found_by_their_names(
    detections: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, place = tmp_path / "rows", tmp_path / "pictures"
    for name in ("a", "b"):
        (rows / name / "det").mkdir(parents=True)
        (rows / name / "det" / "det.txt").write_text(detections.read_text())
        (rows / name / "img1").symlink_to(images)
    out = tmp_path / "out"
    _json(capsys, ["track", "--detections", str(rows), "--out", str(out), "--save", "video"])
    assert sorted(p.name for p in out.iterdir()) == ["a.webm", "b.webm"]
    (place / "a").mkdir(parents=True)
    (place / "a" / "1.png").write_bytes(encode_image(_picture(0)))
    args = ["track", "--detections", str(rows), "--frames", str(place), "--out", str(out), "--save", "video"]
    assert main(args) == 3
    assert "expected the frames of 'b'" in capsys.readouterr().err


def test_frames_without_a_picture_are_said(
    detections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for k in range(5):
        (folder / f"{k + 1}.png").write_bytes(encode_image(_picture(k)))
    args = ["track", str(detections), "--frames", str(folder), "--out", str(tmp_path / "out"), "--save", "video"]
    found = _json(capsys, args, 1)
    (only,) = (f for f in found["findings"] if f["code"] == "no_picture")
    assert only["message"].startswith("7 frames with tracks have no picture")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save", "video"], "have no pictures to draw on"),
        (["--save", "images"], "have no pictures to draw on"),
        (["--frames", "none", "--save", "video"], "found nothing at 'none'"),
        (["--rate", "5"], "--rate does not work with --detections"),
        (["--max-frames", "1"], "--max-frames does not work with --detections"),
    ],
)
def test_what_cannot_be_drawn_or_chosen_is_one_line(
    detections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["track", "--detections", str(detections), "--out", str(tmp_path / "out"), *words]) in (2, 3)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tracks_are_converted_to_coco_and_yolo_and_back_and_measured_in_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mot = tmp_path / "mot"
    for name, first in (("a", 1), ("b", 4)):
        (mot / name / "gt").mkdir(parents=True)
        rows = [
            f"{k},{i},{6 + 3 * (k - 1)},{11 + 12 * i},20,20,1,-1,-1,-1\n"
            for k in range(1, 9)
            for i in (first, first + 1)
        ]
        (mot / name / "gt" / "gt.txt").write_text("".join(rows))
        (mot / name / "seqinfo.ini").write_text("[Sequence]\nframeRate=10\nseqLength=10\nimWidth=96\nimHeight=64\n")
    made = {"mot": mot}
    for k, form in enumerate(("coco", "yolo", "json", "coco", "csv", "coco")):
        source = list(made.values())[-1] if form != "csv" else made["json"]
        place = tmp_path / f"{k}-{form}"
        found = _json(capsys, ["convert", str(source), "--task", "track", "--to", form, "--out", str(place)])
        assert found["objects"] == 32
        if form != "csv":
            made[form] = place
        for sequence in find_sequences(place, "tracks"):
            ids = np.unique(sequence.read("tracks").tracks.ids).tolist()
            assert ids == {"a": [1, 2], "b": [4, 5]}[sequence.name]
        scores = _json(capsys, ["evaluate", "--task", "track", str(place), str(mot)])
        assert scores["metrics"]["hota"]["value"] == pytest.approx(1.0, abs=1e-6)
    for truth in made.values():
        scores = _json(capsys, ["evaluate", "--task", "track", str(mot), str(truth)])
        assert scores["metrics"]["idf1"]["value"] == pytest.approx(1.0, abs=1e-6)
    found = _json(capsys, ["compare", "--task", "track", str(made["yolo"]), str(made["coco"]), str(mot)])
    assert found["comparison"]["better"] is None
    # Detections of each are tracked.
    for source in made.values():
        found = _json(capsys, ["track", "--detections", str(source)] if source != mot else ["track", str(made["coco"])])
        assert [s["name"] for s in found["sequences"]] == ["a", "b"]
        assert all(len(s["tracks"]) == 2 and s["fps"] == 10 and s["frames"] == 10 for s in found["sequences"])


def test_what_a_form_cannot_hold_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {
        "images": [{"id": 1, "file_name": "x/1.jpg", "width": 96, "height": 64}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "track_id": 3, "bbox": [0, 0, 5, 5], "segmentation": [[0, 0, 5, 0, 5, 5]]}
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    args = ["convert", str(tmp_path / "a.json"), "--task", "track"]
    found = _json(capsys, [*args, "--to", "csv", "--out", str(tmp_path / "csv")])
    assert found["lost"] == [
        "masks: tracks have boxes alone", "names of the frames' files", "size of frames: rows alone are written",
    ]  # fmt: skip
    (row,) = read_tracks(next((tmp_path / "csv").iterdir()), "tracks").tracks.ids.tolist()
    assert row == 3
    (tmp_path / "rows.csv").write_text("frame,id,x0,y0,x1,y1\n1,1,0,0,5,5\n")
    assert (
        main(["convert", str(tmp_path / "rows.csv"), "--task", "track", "--to", "yolo", "--out", str(tmp_path / "y")])
        == 2
    )
    assert "the size of the frames of 'rows' is not known" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()


def test_labels_without_a_size_are_measured_against_labels_and_else_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "run" / "labels"
    labels.mkdir(parents=True)
    for k in range(1, 6):
        (labels / f"walk_{k}.txt").write_text(f"0 {0.2 + k / 50} 0.5 0.2 0.4 3\n")
    found = _json(capsys, ["evaluate", "--task", "track", str(labels), str(labels)])
    assert found["metrics"]["hota"]["value"] == 1
    (tmp_path / "truth.txt").write_text("".join(f"{k},1,10,10,20,20,1,-1,-1,-1\n" for k in range(1, 6)))
    for args in (
        ["evaluate", "--task", "track", str(labels), str(tmp_path / "truth.txt")],
        ["track", "--detections", str(labels)],
        ["convert", str(labels), "--task", "track", "--to", "mot", "--out", str(tmp_path / "m")],
    ):
        assert main(args) in (2, 3)
        assert "fractions of frames whose size is not known" in capsys.readouterr().err
