"""Files of tracks: what is read, what is refused by line, and what is written."""

import os
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import InputError
from eyewright.core.tracks import Tracks
from eyewright.data.tracks import find_sequences, read_tracks, tracks_to_csv, tracks_to_json, tracks_to_mot


def _file(folder: Path, text: str | bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_detections_are_read_unsorted_with_scores_and_without(tmp_path: Path) -> None:
    found = read_tracks(_file(tmp_path, "2,-1,11,21,10,20,0.9,-1,-1,-1\n1,-1,1,1,10,20,-1,-1,-1,-1\n\n"), "detections")
    assert found.tracks.frames.tolist() == [1, 2]
    assert found.tracks.boxes_xyxy.tolist() == [[0, 0, 10, 20], [10, 20, 20, 40]]
    assert np.isnan(found.tracks.scores[0])
    assert found.tracks.scores[1] == 0.9
    assert not found.findings


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("2,-1,nan,1,5,5,1", "finite"),
        ("2,-1,1,1,-5,5,1", "area"),
        ("2,-1,1,1,0,5,1", "area"),
        ("2,-1,1,1,1e300,5,1", "finite"),
        ("2.5,-1,1,1,5,5,1", "whole numbers"),
        ("-3,-1,1,1,5,5,1", "frame from 1"),
        ("2,-1,1,1,5", "frame,id,x,y"),
        ("2,-1,eins,1,5,5,1", "frame,id,x,y"),
    ],
)
def test_a_bad_row_is_a_finding_with_its_line(tmp_path: Path, row: str, text: str) -> None:
    found = read_tracks(_file(tmp_path, f"1,-1,1,1,5,5,1\n{row}\n3,-1,1,1,5,5,1\n"), "detections")
    assert found.tracks.frames.tolist() == [1, 3]
    (only,) = found.findings
    assert only.line == 2
    assert text in only.message


def test_an_identity_twice_in_a_frame_and_an_unconfirmed_one_are_left_out(tmp_path: Path) -> None:
    found = read_tracks(_file(tmp_path, "1,4,1,1,5,5,1\n1,4,9,9,5,5,1\n1,-1,3,3,5,5,1\n"), "tracks")
    assert found.tracks.ids.tolist() == [4]
    assert found.tracks.boxes_xyxy[0, 0] == 0
    assert [f.line for f in found.findings] == [2, 3]


def test_frames_from_zero_are_read_as_from_one_and_said(tmp_path: Path) -> None:
    # TrackEval #73.
    found = read_tracks(_file(tmp_path, "0,4,1,1,5,5,1\n1,4,1,1,5,5,1\n"), "tracks")
    assert found.tracks.frames.tolist() == [1, 2]
    assert "from 0" in found.findings[0].message


def test_scores_of_any_scale_are_read_and_minus_one_is_missing_unless_scores_are_negative(tmp_path: Path) -> None:
    found = read_tracks(_file(tmp_path, "1,-1,1,1,5,5,24.5\n1,-1,9,1,5,5,-3\n2,-1,9,1,5,5,-1\n"), "detections")
    assert found.tracks.scores.tolist() == [24.5, -3, -1]
    assert not found.findings
    found = read_tracks(_file(tmp_path, "1,-1,1,1,5,5,24.5\n1,-1,9,1,5,5,-1\n2,-1,9,1,5,5,inf\n"), "detections")
    assert found.tracks.scores[0] == 24.5
    assert np.isnan(found.tracks.scores[1:]).all()


def test_truth_of_mot16_has_distractors_and_other_classes(tmp_path: Path) -> None:
    rows = "1,1,1,1,5,5,1,1,1\n1,2,1,1,5,5,0,1,1\n1,3,1,1,5,5,1,3,1\n1,4,1,1,5,5,0,8,1\n"
    found = read_tracks(_file(tmp_path, rows), "truth")
    assert found.protocol == "mot16"
    assert found.tracks.ignored is not None
    assert found.tracks.distractor is not None
    assert found.tracks.ignored.tolist() == [False, True, True, True]
    assert found.tracks.distractor.tolist() == [False, False, False, True]
    plain = read_tracks(_file(tmp_path, "1,1,1,1,5,5,1,-1,-1,-1\n1,2,1,1,5,5,0,-1,-1,-1\n"), "truth")
    assert plain.protocol == "mot15"
    assert plain.tracks.distractor is None


def test_an_empty_file_has_no_rows_and_one_without_a_good_row_is_refused(tmp_path: Path) -> None:
    assert len(read_tracks(_file(tmp_path, ""), "detections").tracks) == 0
    with pytest.raises(InputError, match="none of the 2 rows"):
        read_tracks(_file(tmp_path, "1,a\n1,b c,d\n"), "detections")
    with pytest.raises(InputError):
        read_tracks(_file(tmp_path, b"\x89PNG\r\n\x1a\n\0\0\xff\xfe"), "detections")
    with pytest.raises(InputError, match="cannot read"):
        read_tracks(tmp_path / "none.txt", "detections")


TRACKS = Tracks(
    np.array([1, 1, 4]), np.array([7, 9, 7]), np.array([[0.5, 0, 10, 20], [3, 4, 5, 6.25], [1, 0, 11, 20]]),
    np.array([0.5, np.nan, 1.0]), np.array([1, 0, 1]), ("dog", "cat"), np.array([0.0, 0.0, 0.3]),
)  # fmt: skip


@pytest.mark.parametrize("ending", ["txt", "csv", "json"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    text = {
        "txt": tracks_to_mot(TRACKS), "csv": tracks_to_csv(TRACKS),
        "json": tracks_to_json(TRACKS, name="a", fps=10, n_frames=5),
    }[ending]  # fmt: skip
    found = read_tracks(_file(tmp_path, text, f"a.{ending}"), "tracks")
    assert not found.findings
    assert found.tracks.frames.tolist() == [1, 1, 4]
    assert found.tracks.ids.tolist() == [7, 9, 7]
    assert found.tracks.boxes_xyxy == pytest.approx(TRACKS.boxes_xyxy)
    if ending != "txt":
        assert [found.tracks.labels[k] for k in found.tracks.label_ids] == ["cat", "dog", "cat"]
        assert found.tracks.times_s == pytest.approx(TRACKS.times_s)
    if ending == "json":
        assert (found.fps, found.n_frames) == (10, 5)


def test_json_and_csv_of_others_are_refused_in_one_line(tmp_path: Path) -> None:
    for text in ('{"a": 1}', "[1, 2]", "{"):
        with pytest.raises(InputError):
            read_tracks(_file(tmp_path, text, "a.json"), "tracks")
    with pytest.raises(InputError, match="columns"):
        read_tracks(_file(tmp_path, "name,age\na,1\n", "a.csv"), "tracks")
    found = read_tracks(
        _file(
            tmp_path, '{"frames": [{"frame": 1, "objects": [{"id": 1, "box_xyxy": [0, 0, 1, 1]}, 5, {"id": 2}]}, 7]}'
        ),
        "tracks",
    )
    assert len(found.tracks) == 1
    assert len(found.findings) == 3


def test_a_folder_is_one_sequence_or_many(tmp_path: Path) -> None:
    for name in ("b", "a"):
        home = tmp_path / "set" / name
        (home / "det").mkdir(parents=True)
        _file(home / "det", "1,-1,1,1,5,5,1\n", "det.txt")
        (home / "seqinfo.ini").write_text("[Sequence]\nframeRate=12.5\nseqLength=9\nimWidth=4\nimHeight=3\n")
    found = find_sequences(tmp_path / "set", "detections")
    assert [s.name for s in found] == ["a", "b"]
    assert (found[0].fps, found[0].n_frames, found[0].size_hw) == (12.5, 9, (3, 4))
    (one,) = find_sequences(tmp_path / "set/a", "detections")
    (file,) = find_sequences(tmp_path / "set/a/det/det.txt", "detections")
    assert one.name == file.name == "a"
    assert file.fps == 12.5
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("x.txt", "x.json", "y.csv"):
        _file(flat, "1,1,1,1,5,5,1\n", name)
    assert [(s.name, s.path.name) for s in find_sequences(flat, "tracks")] == [("x", "x.txt"), ("y", "y.csv")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"det/det\.txt"):
        find_sequences(tmp_path / "empty", "detections")
    with pytest.raises(InputError, match="found nothing"):
        find_sequences(tmp_path / "none", "truth")


def test_a_damaged_seqinfo_is_none(tmp_path: Path) -> None:
    (tmp_path / "det").mkdir()
    _file(tmp_path / "det", "1,-1,1,1,5,5,1\n", "det.txt")
    (tmp_path / "seqinfo.ini").write_bytes(b"[Sequence\nframeRate=\xff")
    assert find_sequences(tmp_path, "detections")[0].fps is None


@pytest.mark.parametrize(
    ("name", "text", "kept", "code"),
    [
        ("a.txt", "1,1,1,1,5,5,1\n2,-1,,1,5,5,9,9\n", 1, "row"),
        ("a.txt", "1,1,1,1,5,5,1\n2,,1,1,5,5\n", 1, "row"),
        ("a.txt", "1;1;1;1;5;5;1\n2;;1;1;5;5\n", 1, "row"),
        ("a.txt", "1,1,1,1,5,5,1\n2,1,1_0,1,5,5\n", 1, "row"),
        ("a.txt", "1,1,1,1,5,5,1\n2,1,1\u0663,1,5,5\n", 1, "row"),
        ("a.csv", "frame;id;x0;y0;x1;y1;label\n1;1;1;1;5;5;a\n2;1;1;1;5;5;a,b\n", 2, None),
        ("a.csv", 'frame,id,x0,y0,x1,y1,label\n1,1,1,1,5,5,"a\n2,1,1,1,5,5,"b,c"\n', 1, "row"),
        ("a.csv", "frame,id,x0,y0,x1,y1,time_s\n1,1,1,1,5,5,0\n2,1,1,1,5,5,inf\n", 2, "time"),
        ("a.csv", "frame,id,x0,y0,x1,y1,time_s\n1,1,1,1,5,5,0\n2,1,1,1,5,5,\n", 2, "time"),
        ("a.csv", "frame,id,x0,y0,x1,y1,time_s\n1,1,1,1,5,5,5\n2,1,1,1,5,5,3\n", 2, "time"),
    ],
)
def test_what_a_row_does_not_say_is_neither_guessed_nor_dropped_in_silence(
    tmp_path: Path, name: str, text: str, kept: int, code: str | None
) -> None:
    found = read_tracks(_file(tmp_path, text, name), "tracks")
    assert len(found.tracks) == kept
    assert [f.code for f in found.findings] == ([] if code is None else [code])
    assert found.rows == kept + found.left_out
    if code == "time":
        assert found.tracks.times_s is None


@pytest.mark.parametrize(
    ("frame", "objects"),
    [
        ('"frame": 9' + "0" * 400, '[{"id": 1, "box_xyxy": [1, 2, 30, 40]}]'),
        ('"frame": 200000000', '[{"id": 1, "box_xyxy": [1, 2, 30, 40]}]'),
        ('"frame": -1', '[{"id": 1, "box_xyxy": [1, 2, 30, 40]}]'),
        ('"frame": true', '[{"id": 1, "box_xyxy": [1, 2, 30, 40]}]'),
        ('"frame": 2', '[{"id": 1, "box_xyxy": [1' + "0" * 400 + ", 2, 30, 40]}]"),
        ('"frame": 2', '[{"id": 1, "box_xyxy": "1234"}]'),
        ('"frame": 2', '[{"id": 1, "label": ["a"], "box_xyxy": [1, 2, 30, 40]}]'),
        ('"frame": 2', '[{"id": 1, "box_xyxy": [1, 2, NaN, 40]}]'),
        ('"frame": 2', "{}"),
    ],
)
def test_a_bad_object_of_json_is_a_finding_and_is_counted(tmp_path: Path, frame: str, objects: str) -> None:
    good = '{"frame": 1, "objects": [{"id": 1, "box_xyxy": ["1", 2, 30, 40]}]}'
    text = f'{{"frames": [{good}, {{{frame}, "objects": {objects}}}]}}'
    found = read_tracks(_file(tmp_path, text, "a.json"), "tracks")
    assert (len(found.tracks), found.rows, found.left_out) == (1, 2, 1)
    assert len(found.findings) == 1
    assert "frames[1]" in found.findings[0].message


def test_stated_numbers_that_are_none_are_findings(tmp_path: Path) -> None:
    start = '"frames": [{"frame": 1, "objects": [{"id": 1, "label": "\\ud800", "box_xyxy": [1, 2, 30, 40]}]}]'
    for stated in ('"fps": true', '"fps": "x"', '"fps": -1', '"n_frames": 1' + "0" * 30, '"n_frames": 2.5'):
        found = read_tracks(_file(tmp_path, f"{{{stated}, {start}}}", "a.json"), "tracks")
        assert (found.fps, found.n_frames, len(found.findings)) == (None, None, 1), stated
    # A lone surrogate can be written to no file.
    tracks_to_csv(found.tracks).encode()


def test_a_header_that_is_damaged_or_says_a_column_twice_is_refused(tmp_path: Path) -> None:
    for text in (
        "frame,id,x0,y0,x1,y1," + '"z' * 100_000 + "\n1,1,1,1,5,5\n",
        "frame,frame,id,x0,y0,x1,y1\n1,1,1,1,1,5,5\n",
    ):
        with pytest.raises(InputError, match="column"):
            read_tracks(_file(tmp_path, text, "a.csv"), "tracks")


def test_many_class_names_take_linear_time(tmp_path: Path) -> None:
    rows = "".join(f"{k},1,1,1,5,5,l{k}\n" for k in range(1, 40_000))
    found = read_tracks(_file(tmp_path, f"frame,id,x0,y0,x1,y1,label\n{rows}", "a.csv"), "tracks")
    assert len(found.tracks.labels) == 39_999


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(InputError, match="FIFO"):
        read_tracks(tmp_path / "a.txt", "tracks")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        # Names of MOTChallenge count coordinates from 1, as its text does; motmetrics and supervision from 0.
        ("frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z", "1,7,11,21,30,40,0.5,-1,-1,-1"),
        ("FrameId,Id,X,Y,Width,Height,Confidence", "1,7,10,20,30,40,0.5"),
        ("x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index", "10,20,40,60,3,0.5,7,1"),
        ("frame,id,x0,y0,x1,y1,score", "1,7,10,20,40,60,0.5"),
    ],
)
def test_columns_are_known_by_the_names_that_other_tools_write(tmp_path: Path, header: str, row: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n{row}\n")
    found = read_tracks(tmp_path / "a.csv", "tracks")
    assert not found.findings
    assert (found.tracks.frames.tolist(), found.tracks.ids.tolist(), found.tracks.scores.tolist()) == ([1], [7], [0.5])
    assert found.tracks.boxes_xyxy.tolist() == [[10, 20, 40, 60]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2,1,10,20,-30,60,1", "found '2,1,10,20,-30,60,1'"),
        ("2,1,10,20,1e200,60,1", "numbers of up to 10,000,000, found '2,1,10,20,1e200,60,1'"),
        ("2,12345678901234567890,10,20,30,60,1", "found '2,12345678901234567890,10,20,30,60,1'"),
        ("2,1,10,20,30,60,high", "expected frame,id,x,y,width,height,score in numbers"),
        ("2,1,10,20,30,60,nan", "expected a finite score, found nan"),
        ("2,1,10,20,30,60,inf", "expected a finite score, found inf"),
        ("2,1,10,20,30,60,0,9,-1,-1,-1", "expected at most 10 columns, found 11"),
    ],
)
def test_a_finding_shows_the_row_as_it_is_written(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "a.txt").write_text(f"1,1,10,20,30,60,1\n{row}\n")
    (found,) = read_tracks(tmp_path / "a.txt", "tracks").findings
    assert said in found.message


def test_a_score_that_is_not_finite_is_missing_and_said_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame,id,x0,y0,x1,y1,score\n1,1,0,0,9,9,nan\n2,1,0,0,9,9,\n")
    (tmp_path / "a.json").write_text(
        '{"frames": [{"frame": 1, "objects": [{"id": 1, "box_xyxy": [0, 0, 9, 9], "score": NaN}]}]}'
    )
    for name, line in (("a.csv", 2), ("a.json", None)):
        (found,) = read_tracks(tmp_path / name, "tracks").findings
        assert (found.code, found.line) == ("score", line)


def test_of_files_of_one_name_the_one_that_is_not_read_is_named(tmp_path: Path) -> None:
    for name in ("a.csv", "a.txt", "b.txt"):
        _file(tmp_path, "1,1,1,1,5,5,1\n", name)
    a, b = find_sequences(tmp_path, "tracks")
    assert (a.path.name, b.path.name) == ("a.txt", "b.txt")
    (found,) = a.findings
    assert (found.severity, found.message) == ("note", "a.csv is not read: a.txt has the same name")
    assert b.findings == ()


def test_the_column_that_is_missing_is_named_and_supervision_counts_frame_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the column frame \(or frame_id, .*frame_number\)"):
        read_tracks(_file(tmp_path, "x_min,y_min,x_max,y_max\n1,1,5,5\n", "a.csv"), "detections")
    with pytest.raises(InputError, match="expected the columns x0, y0, x1, y1"):
        read_tracks(_file(tmp_path, "frame,x_min\n1,1\n", "a.csv"), "detections")
    rows = "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_number\n1,2,5,6,0,0.5,7,3\n"
    found = read_tracks(_file(tmp_path, rows, "a.csv"), "tracks").tracks
    assert (found.frames.tolist(), found.ids.tolist()) == ([3], [7])
