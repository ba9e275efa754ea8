"""Tracks in the forms of other tools: COCO of videos, BURST, YouTube-VIS, CVAT, YOLO labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import InputError
from eyewright.core.tracks import Tracks
from eyewright.data.tracks import find_sequences, read_tracks, tracks_to_coco, tracks_to_yolo
from eyewright.data.tracks.rows import TrackFile
from eyewright.imaging import encode_image

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]


def _rows(tracks: Tracks) -> list[tuple[Any, ...]]:
    """Return (frame, identity, label, corners) of each row, sorted."""
    return sorted(
        (f, i, tracks.labels[k], tuple(np.round(b, 3).tolist()))
        for f, i, k, b in zip(
            tracks.frames.tolist(), tracks.ids.tolist(), tracks.label_ids.tolist(), tracks.boxes_xyxy, strict=True
        )
    )


def _json(folder: Path, content: Any, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def _image(number: int, video: int, frame: dict[str, int], name: str = "") -> dict[str, Any]:
    return {"id": number, "video_id": video, "file_name": name or f"v{video}/{number}.jpg", **frame}


WANTED = [(1, 5, "cat", (1.0, 2.0, 11.0, 22.0)), (2, 5, "cat", (2.0, 2.0, 12.0, 22.0))]


@pytest.mark.parametrize(
    ("key", "first", "identity"),
    [
        ("frame_index", 0, {"track_id": 5}),  # TAO
        ("frame_id", 0, {"instance_id": 5}),  # mmtracking
        ("frame_id", 1, {"track_id": "5"}),  # ByteTrack counts from 1
        ("frame_id", 0, {"instance_id": 71, "mot_instance_id": 5}),  # mmtracking's converter of MOT
        ("frame_id", 0, {"attributes": {"track_id": 5}}),  # CVAT
    ],
)
def test_coco_of_videos_is_read_in_every_flavour(tmp_path: Path, key: str, first: int, identity: dict) -> None:
    images = [_image(10, 1, {key: first}), _image(11, 1, {key: first + 1}), _image(12, 1, {key: first + 2})]
    annotations = [
        {"id": k, "image_id": 10 + k, "video_id": 1, "category_id": 3, "bbox": [1 + k, 2, 10, 20], **identity}
        for k in range(2)
    ]
    videos = [{"id": 1, "name": "train/door 1.mp4", "width": 64, "height": 48, "fps": 12}]
    content = {"videos": videos, "images": images, "annotations": annotations, "categories": CATEGORIES}
    (found,) = find_sequences(_json(tmp_path, content), "tracks")
    assert (found.name, found.fps, found.n_frames, found.size_hw) == ("train_door_1", 12, 3, (48, 64))
    file = found.read("tracks")
    assert _rows(file.tracks) == WANTED
    assert not file.findings


def test_images_without_videos_are_one_sequence_a_folder_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    # As CVAT exports a task of one video, and a project of two.
    images = [
        {"id": k, "file_name": f"{v}/frame_{n:06d}.PNG"} for k, (v, n) in enumerate([("a", 1), ("a", 0), ("b", 0)])
    ]
    annotations = [
        {
            "id": k,
            "image_id": k,
            "category_id": 8,
            "bbox": [0, 0, 5, 5],
            "attributes": {"track_id": 2, "occluded": False},
        }
        for k in range(3)
    ]
    path = _json(tmp_path, {"images": images, "annotations": annotations, "categories": CATEGORIES})
    a, b = find_sequences(path, "tracks")
    assert (a.name, b.name) == ("a", "b")
    assert a.read("tracks").tracks.frames.tolist() == [1, 2]
    assert b.read("tracks").tracks.frames.tolist() == [1]


def test_a_track_with_a_list_of_boxes_is_read_as_youtube_vis_has_it(tmp_path: Path) -> None:
    content = {
        "videos": [{"id": 7, "file_names": ["clip/0.jpg", "clip/5.jpg", "clip/10.jpg"], "width": 64, "height": 48}],
        "annotations": [{"id": 5, "video_id": 7, "category_id": 3, "bboxes": [[1, 2, 10, 20], [2, 2, 10, 20], None]}],
        "categories": CATEGORIES,
    }
    (found,) = find_sequences(_json(tmp_path, content), "tracks")
    assert (found.name, found.n_frames) == ("clip", 3)
    assert _rows(found.read("tracks").tracks) == WANTED


def test_masks_of_burst_are_read_as_their_boxes(tmp_path: Path) -> None:
    # Of pycocotools 2.0.11: 20 rows from y = 2 in the columns 1 to 10, and 2 to 11, of 48 x 64 pixels.
    masks = {1: "b1d0l000000000000000000^_2", 2: "R3d0l000000000000000000n]2"}

    sequence = {
        "seq_name": "v", "dataset": "LaSOT", "width": 64, "height": 48, "fps": 6,
        "annotated_image_paths": ["0001.jpg", "0002.jpg"], "track_category_ids": {"5": 3},
        "segmentations": [{"5": {"rle": masks[1], "is_gt": True}}, {"5": {"rle": masks[2], "is_gt": True}}],
    }  # fmt: skip
    (found,) = find_sequences(_json(tmp_path, {"sequences": [sequence], "categories": CATEGORIES}), "tracks")
    assert (found.name, found.fps) == ("LaSOT_v", 6)
    file = found.read("tracks")
    assert _rows(file.tracks) == WANTED
    assert file.lost == ("masks: tracks have boxes alone",)


def test_what_an_annotation_does_not_say_is_a_finding_and_is_counted(tmp_path: Path) -> None:
    images = [_image(1, 1, {"frame_id": 0})]
    good = {"image_id": 1, "category_id": 3, "track_id": 1, "bbox": [0, 0, 5, 5]}
    bad: list[Any] = [
        {**good, "image_id": 9}, {**good, "track_id": 2, "bbox": [0, 0, "x", 5]}, {**good, "track_id": 2.5},
        {**good, "track_id": None}, "text", {**good, "track_id": 3, "bbox": [0, 0, float("nan"), 5]},
    ]  # fmt: skip
    path = _json(tmp_path, {"images": images, "annotations": [good, *bad], "categories": []})
    file = read_tracks(path, "tracks")
    assert file.tracks.ids.tolist() == [1]
    assert file.tracks.labels == ("class 3",)
    assert (file.rows, file.left_out, len(file.findings)) == (7, 6, 6)
    assert any("annotations[1]" in f.message and "not listed" in f.message for f in file.findings)


def test_crowds_of_the_ground_truth_are_not_measured(tmp_path: Path) -> None:
    images = [_image(1, 1, {"frame_id": 0})]
    rows = [{"image_id": 1, "category_id": 3, "track_id": k, "bbox": [0, 0, 5, 5], "iscrowd": k} for k in (0, 1)]
    file = read_tracks(_json(tmp_path, {"images": images, "annotations": rows, "categories": []}), "truth")
    assert file.protocol == "coco"
    assert file.tracks.ignored is not None
    assert file.tracks.ignored.tolist() == [False, True]


def test_identities_that_are_words_are_numbered_and_those_of_64_bits_stay_exact(tmp_path: Path) -> None:
    images = [_image(k, 1, {"frame_id": k}) for k in range(2)]
    rows = [{"image_id": k, "category_id": 3, "track_id": "a-1", "bbox": [0, 0, 5, 5]} for k in range(2)]
    rows.append({"image_id": 1, "category_id": 3, "track_id": 10**18 + 1, "bbox": [9, 0, 5, 5]})
    file = read_tracks(_json(tmp_path, {"images": images, "annotations": rows, "categories": []}), "tracks")
    first, second, third = file.tracks.ids.tolist()
    assert first == second
    assert third == 10**18 + 1
    assert [f.severity for f in file.findings] == ["note"]
    (tmp_path / "a.txt").write_text(f"1,{10**18 + 1},1,1,5,5,1\n1,{10**30},1,1,5,5,1\n")
    assert read_tracks(tmp_path / "a.txt", "tracks").tracks.ids.tolist() == [10**18 + 1]
    # Detections need no identity.
    assert len(read_tracks(tmp_path / "a.txt", "detections").tracks) == 2


def test_results_without_images_and_files_of_several_videos_are_refused_in_one_line(tmp_path: Path) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]
    with pytest.raises(InputError, match="a list of COCO results"):
        read_tracks(_json(tmp_path, results), "detections")
    images = [_image(1, 1, {"frame_id": 0}), _image(2, 2, {"frame_id": 0})]
    with pytest.raises(InputError, match=r"expected one video in .* found 2"):
        read_tracks(_json(tmp_path, {"images": images, "annotations": []}), "tracks")
    with pytest.raises(InputError, match="a list of objects as images"):
        read_tracks(_json(tmp_path, {"images": [3], "annotations": []}), "tracks")


def test_cvat_xml_of_a_video_is_read_with_its_identities(tmp_path: Path) -> None:
    boxes = "".join(
        f'<box frame="{k}" outside="{int(k == 2)}" xtl="{1 + k}" ytl="2" xbr="{11 + k}" ybr="22"/>' for k in range(3)
    )
    size = "<meta><task><size>4</size><original_size><width>64</width><height>48</height></original_size></task></meta>"
    (tmp_path / "a.xml").write_text(f'<annotations>{size}<track id="5" label="cat">{boxes}</track></annotations>')
    file = find_sequences(tmp_path / "a.xml", "tracks")[0].read("tracks")
    assert _rows(file.tracks) == WANTED
    assert (file.n_frames, file.size_hw) == (4, (48, 64))
    (tmp_path / "b.xml").write_text("<annotations><image id='0' name='a.png'/></annotations>")
    with pytest.raises(InputError, match="expected CVAT's XML for videos"):
        read_tracks(tmp_path / "b.xml", "tracks")
    (tmp_path / "c.xml").write_text("<annotations>")
    with pytest.raises(InputError, match="is not XML"):
        read_tracks(tmp_path / "c.xml", "tracks")


def _labels(folder: Path, rows: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in rows.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_label_files_of_ultralytics_are_one_sequence_a_video(tmp_path: Path) -> None:
    # `save_txt` with and without `save_conf`; frames count from 1, and a frame without objects has no file.
    home = _labels(
        tmp_path / "run" / "labels",
        {
            "door_1": "1 0.1 0.25 0.1 0.5 0.9 5\n", "door_3": "1 0.2 0.25 0.1 0.5 1 5\n0 0.5 0.5 0.1 0.1 0.25 2\n",
            "street_2": "0 0.5 0.5 0.25 0.5 7\n",
        },
    )  # fmt: skip
    (tmp_path / "run" / "data.yaml").write_text("names:\n  0: dog\n  1: yes\n")
    (tmp_path / "run" / "seqinfo.ini").write_text("[Sequence]\nimWidth=100\nimHeight=40\nframeRate=12.5\n")
    for source in (home, home.parent):
        door, street = find_sequences(source, "tracks")
        assert (door.name, street.name, door.fps) == ("door", "street", 12.5)
        file = door.read("tracks")
        assert _rows(file.tracks) == [
            (1, 5, "yes", (5.0, 0.0, 15.0, 20.0)), (3, 2, "dog", (45.0, 18.0, 55.0, 22.0)),
            (3, 5, "yes", (15.0, 0.0, 25.0, 20.0)),
        ]  # fmt: skip
        assert file.tracks.scores.tolist() == [0.9, 1, 0.25]
        assert street.read("tracks").tracks.ids.tolist() == [7]
        assert len(street.read("detections").tracks) == 1


def test_six_numbers_are_a_confidence_where_one_is_not_whole(tmp_path: Path) -> None:
    home = _labels(tmp_path / "labels", {"a_1": "0 0.5 0.5 0.2 0.2 0.75\n0 0.1 0.5 0.2 0.2 1\n"})
    file = find_sequences(home, "detections")[0].read("detections")
    assert file.tracks.scores.tolist() == [0.75, 1]
    assert file.relative
    with pytest.raises(InputError, match="none of the 2 rows"):
        find_sequences(home, "tracks")[0].read("tracks")


def test_outlines_are_read_as_their_boxes_and_pixels_are_refused(tmp_path: Path) -> None:
    home = _labels(
        tmp_path / "labels",
        {"a_1": "0 0.1 0.1 0.3 0.1 0.3 0.4 0.2 0.5 0.8 4\n0 12 40 55 60 3\n", "a_2": "0 0.1 0.1 0.3 0.3 4 0 x\n"},
    )
    file = find_sequences(home, "tracks")[0].read("tracks")
    assert _rows(file.tracks) == [(1, 4, "class 0", (0.1, 0.1, 0.3, 0.5))]
    assert file.lost == ("outlines: tracks have boxes alone",)
    assert file.left_out == 2
    assert any("are these pixels?" in f.message for f in file.findings)


def test_the_size_of_frames_is_found_by_their_images(tmp_path: Path) -> None:
    home = _labels(tmp_path / "labels" / "train", {"000001": "0 0.5 0.5 0.5 0.5 1\n"})
    (tmp_path / "images" / "train").mkdir(parents=True)
    picture = encode_image(np.zeros((40, 80, 3), np.uint8))
    (tmp_path / "images" / "train" / "000001.png").write_bytes(picture)
    (found,) = find_sequences(home, "tracks")
    assert found.read("tracks").tracks.boxes_xyxy.tolist() == [[20, 10, 60, 30]]


def test_a_label_file_alone_is_refused_with_the_folder_to_pass(tmp_path: Path) -> None:
    home = _labels(tmp_path / "labels", {"a_1": "0 0.5 0.5 0.5 0.5 1\n"})
    with pytest.raises(InputError, match="label file of one frame"):
        find_sequences(home / "a_1.txt", "tracks")


def test_mot_text_with_blanks_is_not_taken_for_labels(tmp_path: Path) -> None:
    for name in ("s_1", "s_2"):
        (tmp_path / f"{name}.txt").write_text("1 3 11 21 10 20 0.9\n")
    assert [s.name for s in find_sequences(tmp_path, "tracks")] == ["s_1", "s_2"]


TRACKS = Tracks(
    np.array([1, 1, 4]), np.array([7, 9, 7]), np.array([[0.5, 0, 10, 20], [3, 4, 5, 6.25], [1, 0, 11, 20]]),
    np.array([0.5, 0.25, 1.0]), np.array([1, 0, 1]), ("dog", "cat"), np.array([0.0, 0.0, 0.3]),
)  # fmt: skip


def test_coco_that_is_written_keeps_identities_frames_times_and_sizes(tmp_path: Path) -> None:
    files = {
        "a": TrackFile(TRACKS, (), 3, fps=10, n_frames=5, size_hw=(48, 64)),
        "b": TrackFile(TRACKS, (), 3, frame_names={1: "b/x.png", 4: "b/y.png"}),
    }
    content = tracks_to_coco(files)
    # TAO needs identities that no other video has, in annotations and in its list of tracks.
    pairs = {(a["video_id"], a["track_id"]) for a in content["annotations"]}
    assert len({t for _, t in pairs}) == len(pairs) == 4
    assert {(t["video_id"], t["id"]) for t in content["tracks"]} == pairs
    a, b = find_sequences(_json(tmp_path, content), "tracks")
    for found in (a, b):
        file = found.read("tracks")
        assert not file.findings
        assert _rows(file.tracks) == _rows(TRACKS)
        assert file.tracks.scores == pytest.approx(TRACKS.scores)
        assert file.tracks.times_s == pytest.approx(TRACKS.times_s)
    assert (a.fps, a.n_frames, a.size_hw) == (10, 5, (48, 64))
    assert b.read("tracks").frame_names == {1: "b/x.png", 4: "b/y.png"}


def test_yolo_labels_that_are_written_keep_identities(tmp_path: Path) -> None:
    rows = tracks_to_yolo(TRACKS, (48, 64), ("dog", "cat"))
    assert sorted(rows) == [1, 4]
    home = _labels(tmp_path / "labels", {f"a_{k}": text for k, text in rows.items()})
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nimWidth=64\nimHeight=48\n")
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    file = find_sequences(home, "tracks")[0].read("tracks")
    assert _rows(file.tracks) == _rows(TRACKS)
    assert file.tracks.scores == pytest.approx(TRACKS.scores)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"videos": [], "annotations": []}', ""),
        ('{"videos": [{"id": 1}], "images": [], "annotations": [{"video_id": 1}]}', "not listed"),
        ('{"videos": [{"id": 1, "name": null, "fps": "x", "width": -1}], "annotations": [{"bboxes": [[1]]}]}', ""),
        ('{"sequences": [{"segmentations": [{"1": {"rle": "zz"}}]}]}', "run-length encoded"),
        ('{"images": [{"id": [], "file_name": 3}], "annotations": [{"image_id": {}}]}', "not listed"),
    ],
)  # fmt: skip
def test_hostile_coco_is_read_or_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.json").write_text(content)
    found = find_sequences(tmp_path / "a.json", "tracks")
    if not said:
        assert [len(s.read("tracks").tracks) for s in found] in ([], [0])
        return
    with pytest.raises(InputError, match=said):
        found[0].read("tracks")
