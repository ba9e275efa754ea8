"""COCO JSON of videos: images that are frames, annotations with identities.

Read are the forms of TAO and ByteTrack (`track_id`), of mmtracking (`instance_id`, and `mot_instance_id` where the
identity within a video is another), of CVAT (`attributes.track_id`, no list of videos), of YouTube-VIS (a list of
boxes for each track), and of BURST (`sequences` with masks by track).
"""

__all__ = ["CocoVideo", "holds_videos", "size_of", "unique_names", "videos_of"]

import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eyewright.core.errors import DatasetError, InputError
from eyewright.core.quoting import quoted
from eyewright.data.targets.objects import Outline
from eyewright.data.texts import truth, word
from eyewright.data.tracks.rows import (
    LAST_FRAME,
    Findings,
    Names,
    Row,
    TrackFile,
    TrackKind,
    number_of,
    score_of,
    tracks_of,
    whole_numbers,
)

# Where the identity of an annotation lies, the first that is there. That within the video comes before that of a file.
_IDENTITIES = ("mot_instance_id", "track_id", "instance_id")
_LONGEST_NAME = 80
_MASKS = "masks: tracks have boxes alone"
_POINTS = "key points: tracks have boxes alone"


class _Box(NamedTuple):
    """A box as the file has it: x, y, width, height, and the annotation that it comes from."""

    place: str
    frame: int
    about: Mapping[str, Any]
    box: Any


@dataclass(frozen=True, eq=False)
class CocoVideo:
    """One video of a file, not read yet."""

    name: str
    path: Path
    boxes: list[_Box]
    categories: Mapping[str, str]
    n_frames: int
    fps: float | None = None
    size_hw: tuple[int, int] | None = None
    frame_names: Mapping[int, str] = field(default_factory=dict)
    times_s: Mapping[int, float] = field(default_factory=dict)
    problems: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()

    def read(self, kind: TrackKind) -> TrackFile:
        """Return the boxes of this video.

        Raises:
            InputError: there are annotations, and none can be used.
        """
        findings = Findings(self.path)
        for code, text in self.problems:
            findings.leave_out(code, None, text)
        identities, names = _Identities(), Names([])
        rows = []
        for own in self.boxes:
            try:
                rows.append(self._row(own, kind, identities, names, findings))
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                findings.leave_out("row", None, f"expected {error} in {own.place}")
        unread = findings.left_out
        protocol = "coco" if any(r.crowd for r in rows) else "plain"
        tracks = tracks_of(rows, kind, protocol, names.all(), findings)
        n_rows = len(rows) + unread
        if n_rows and not len(tracks):
            raise InputError(
                f"none of the {n_rows:,} annotations of {quoted(self.path)} can be used: {findings.all[0].message}",
                fix="tracks need a track_id or instance_id in each annotation; see docs/concepts/tracking.md",
                code="unreadable_tracks",
            )
        if identities.words:
            text = f"{len(identities.words):,} identities are words; they are numbered in the order in which they come"
            findings.add("identity", None, text, "write whole numbers to keep them", note=True)
        return TrackFile(
            tracks, tuple(findings.all), n_rows, findings.left_out, protocol, self.fps, self.n_frames or None,
            self.size_hw, frame_names=self.frame_names, lost=self.lost,
        )  # fmt: skip

    def _row(self, own: _Box, kind: TrackKind, identities: "_Identities", names: Names, findings: Findings) -> Row:
        x, y, width, height = _numbers(own.box)
        identity = -1 if kind == "detections" else identities.of(_identity_of(own.about))
        given = own.about.get("score")
        score = math.nan if given is None else score_of(number_of(given), None, findings, own.place)
        category = own.about.get("category_id")
        label = self.categories.get(_key(category), "object" if category is None else f"class {category}")
        crowd = truth(own.about.get("iscrowd", 0)) is True
        time_s = self.times_s.get(own.frame, math.nan)
        box = (x, y, x + width, y + height)
        return Row(own.frame, identity, box, score, names.of(label), None, time_s, own.place, crowd=crowd)


class _Identities:
    """Identities as whole numbers: other identities get new numbers."""

    def __init__(self) -> None:
        self.words: dict[str, int] = {}

    def of(self, value: object) -> int:
        """Return the number of an identity; -1 where there is none.

        Raises:
            ValueError: it is a number that is not whole.
        """
        if value is None or value == "":
            return -1
        try:
            whole = whole_numbers(0, value)
        except ValueError:
            if not isinstance(value, str):
                raise ValueError("a whole number as the identity") from None
            # Above the numbers that files give their tracks.
            return self.words.setdefault(value, 1_000_000_001 + len(self.words))
        if whole is None:
            raise ValueError("a whole number as the identity")
        return whole[1]


def _identity_of(about: Mapping[str, Any]) -> object:
    attributes = about.get("attributes")
    inner = attributes if isinstance(attributes, Mapping) else {}
    places = [about, inner]
    return next((v for place in places for name in _IDENTITIES if (v := place.get(name)) is not None), None)


def _numbers(box: Any) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(number_of, box)
    except (TypeError, ValueError):
        raise ValueError("bbox as x, y, width, height in numbers") from None
    return x, y, width, height


def _key(value: object) -> str:
    """Return an id in the form in which ids are compared: 1, 1.0 and "1" are one."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return str(value).strip()


def holds_videos(content: object) -> bool:
    """Return whether JSON is COCO's of images or videos, or BURST's.

    >>> holds_videos({"images": [], "annotations": []}), holds_videos({"frames": []})
    (True, False)
    """
    if not isinstance(content, dict) or isinstance(content.get("frames"), list):
        return False
    if isinstance(content.get("sequences"), list):
        return True
    has = {k for k in ("annotations", "images", "videos") if isinstance(content.get(k), list)}
    return "annotations" in has and len(has) > 1


def videos_of(content: Mapping[str, Any], path: Path) -> list[CocoVideo]:
    """Return the videos of a file, in its order.

    Without a list of videos, images of one folder are one video. Frames are counted from 1: `frame_index` counts from
    0, as TAO has it; `frame_id` from 0 where a file has a frame 0 (mmtracking), else from 1 (ByteTrack); images without
    either are in the order of the numbers at the end of their names.

    Raises:
        InputError: an image or video is not an object with an id.
    """
    categories = {
        _key(c.get("id")): word(c.get("name")) or f"class {c.get('id')}" for c in _objects(content, "categories", path)
    }
    if isinstance(content.get("sequences"), list):
        return _of_burst(content, path, categories)
    videos = _objects(content, "videos", path)
    frames = _Frames(_objects(content, "images", path), videos)
    boxes: dict[str, list[_Box]] = defaultdict(list)
    problems: dict[str, list[tuple[str, str]]] = defaultdict(list)
    lost: set[str] = set()
    for k, about in enumerate(content["annotations"]):
        place = f"annotations[{k}]"
        if not isinstance(about, Mapping):
            problems[frames.first].append(("row", f"expected an object in {place}, found something else"))
            continue
        _note_lost(about, lost)
        if isinstance(about.get("bboxes"), list):
            # YouTube-VIS: an annotation is a track, with a box or null for each frame.
            owner, about = _key(about.get("video_id")), {"track_id": about.get("id"), **about}
            boxes[owner] += [
                _Box(f"{place}.bboxes[{n}]", n + 1, about, box) for n, box in enumerate(about["bboxes"]) if box
            ]
            continue
        found = frames.of(about.get("image_id"))
        if found is None:
            owner = _key(about.get("video_id")) if about.get("video_id") is not None else frames.first
            text = f"{place} is of image {str(about.get('image_id'))[:40]!r}, which is not listed"
            problems[owner if owner in frames.owners else frames.first].append(("frame", text))
            continue
        boxes[found[0]].append(_Box(place, found[1], about, about.get("bbox") or _outline_box(about)))
    return [
        frames.video(owner, path, boxes[owner], categories, tuple(problems[owner]), tuple(sorted(lost)))
        for owner in frames.owners
    ]


def _note_lost(about: Mapping[str, Any], lost: set[str]) -> None:
    if about.get("segmentation") or about.get("segmentations"):
        lost.add(_MASKS)
    if about.get("keypoints"):
        lost.add(_POINTS)


def _objects(content: Mapping[str, Any], name: str, path: Path) -> list[Mapping[str, Any]]:
    found = content.get(name) or []
    wrong = next((k for k, v in enumerate(found) if not isinstance(v, Mapping)), None)
    if not isinstance(found, list) or wrong is not None:
        raise InputError(
            f"expected a list of objects as {name} in {quoted(path)}, found something else",
            fix="export the file again",
            code="unreadable_tracks",
        )
    return found


class _Frames:
    """Which video and frame an image is."""

    def __init__(self, images: list[Mapping[str, Any]], videos: list[Mapping[str, Any]]) -> None:
        self.videos = {_key(v.get("id")): v for v in videos}
        self._by_video: dict[str, list[Mapping[str, Any]]] = {owner: [] for owner in self.videos}
        folders = {posixpath.dirname(str(i.get("file_name", ""))) for i in images}
        for image in images:
            owner = image.get("video_id")
            # Without videos, a folder of images is one.
            by_folder = posixpath.dirname(str(image.get("file_name", ""))) if len(folders) > 1 else ""
            self._by_video.setdefault(by_folder if owner is None else _key(owner), []).append(image)
        self.owners = tuple(self._by_video) or ("",)
        self.first = self.owners[0]
        self._places: dict[str, tuple[str, int]] = {}
        self._numbers: dict[str, list[int]] = {}
        zero = any(_plain(i.get("frame_id")) == 0 for i in images)
        for owner, own in self._by_video.items():
            self._numbers[owner] = _frame_numbers(own, from_zero=zero)
            for image, number in zip(own, self._numbers[owner], strict=True):
                self._places[_key(image.get("id"))] = (owner, number)

    def of(self, image_id: object) -> tuple[str, int] | None:
        """Return the video and frame of an image; None where it is not listed."""
        return self._places.get(_key(image_id))

    def video(
        self, owner: str, path: Path, boxes: list[_Box], categories: Mapping[str, str],
        problems: tuple[tuple[str, str], ...], lost: tuple[str, ...],
    ) -> CocoVideo:  # fmt: skip
        about, images = self.videos.get(owner, {}), self._by_video.get(owner, [])
        numbers = self._numbers.get(owner, [])
        listed = about.get("file_names")
        files = [str(v) for v in listed] if isinstance(listed, list) else []
        by_number = {n: str(i["file_name"]) for n, i in zip(numbers, images, strict=True) if i.get("file_name")}
        times = {n: t for n, i in zip(numbers, images, strict=True) if (t := _plain(i.get("time_s"))) is not None}
        sizes = {s for v in (about, *images) if (s := size_of(v)) is not None}
        fps = _plain(about.get("fps"))
        length = max([_plain(about.get("length")) or 0, len(files), *numbers, *(b.frame for b in boxes)])
        name = about.get("name") or _common(files) or owner or path.stem
        return CocoVideo(
            _plain_name(str(name)), path, boxes, categories, int(min(length, LAST_FRAME)),
            fps if fps is not None and 0 < fps < 1e5 else None, sizes.pop() if len(sizes) == 1 else None,
            by_number or dict(enumerate(files, 1)), times, problems, lost,
        )  # fmt: skip


def _common(files: list[str]) -> str:
    return posixpath.dirname(files[0]) if files else ""


def _plain_name(name: str) -> str:
    """Return the name of a video as a file may be called: `train/a b.mp4` is `train_a_b`."""
    stem = re.sub(r"\.(mp4|avi|mkv|mov|webm|m4v)$", "", name.strip().strip("/"), flags=re.IGNORECASE)
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)[-_LONGEST_NAME:].lstrip(".") or "video"


def _plain(value: object) -> float | None:
    try:
        number = number_of(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def size_of(about: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) where an object states both; None where it does not."""
    height, width = _plain(about.get("height")), _plain(about.get("width"))
    if height is None or width is None or not 0 < height < 1e6 or not 0 < width < 1e6:
        return None
    return int(height), int(width)


def _frame_numbers(images: list[Mapping[str, Any]], *, from_zero: bool) -> list[int]:
    for key, first in (("frame_index", 1), ("frame_id", int(from_zero))):
        given = [_plain(i.get(key)) for i in images]
        if images and all(v is not None and v == int(v) and 0 <= v < LAST_FRAME for v in given):
            return [int(v or 0) + first for v in given]
    names = [posixpath.splitext(posixpath.basename(str(i.get("file_name", ""))))[0] for i in images]
    ends = [re.search(r"(\d{1,8})$", name) for name in names]
    numbers = [int(m[1]) for m in ends if m is not None]
    if len(set(numbers)) == len(images):
        return [n + (min(numbers) == 0) for n in numbers]
    order = sorted(range(len(images)), key=lambda k: names[k])
    place = {k: n for n, k in enumerate(order, 1)}
    return [place[k] for k in range(len(images))]


def _of_burst(content: Mapping[str, Any], path: Path, categories: Mapping[str, str]) -> list[CocoVideo]:
    """BURST has, for every annotated frame of a sequence, a mask by track; boxes are those of the masks."""
    found = []
    for k, sequence in enumerate(_objects(content, "sequences", path)):
        shown = f"sequences[{k}]"
        kinds = sequence.get("track_category_ids")
        labels: Mapping[str, Any] = kinds if isinstance(kinds, Mapping) else {}
        paths = sequence.get("annotated_image_paths")
        files = [str(p) for p in paths] if isinstance(paths, list) else []
        numbers = _frame_numbers([{"file_name": f} for f in files], from_zero=False)
        size = size_of(sequence)
        boxes, problems = [], []
        frames = sequence.get("segmentations")
        for n, frame in enumerate(frames if isinstance(frames, list) else []):
            for track, mask in frame.items() if isinstance(frame, Mapping) else ():
                place = f"{shown}.segmentations[{n}]"
                box = None if size is None else _mask_box(mask, size)
                if box is None:
                    problems.append(("row", f"expected a run-length encoded mask of the frame's size in {place}"))
                    continue
                about = {"track_id": track, "category_id": labels.get(str(track)), **_scored(mask)}
                boxes.append(_Box(place, numbers[n] if n < len(numbers) else n + 1, about, box))
        fps = _plain(sequence.get("fps"))
        name = "/".join(str(v) for v in (sequence.get("dataset"), sequence.get("seq_name")) if v) or f"sequence {k + 1}"
        video = CocoVideo(
            _plain_name(name), path, boxes, categories, max([len(files), *numbers], default=0),
            fps if fps is not None and 0 < fps < 1e5 else None, size, dict(zip(numbers, files, strict=True)),
            problems=tuple(problems), lost=(_MASKS,),
        )  # fmt: skip
        found.append(video)
    return found


def _outline_box(about: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Return the box round the outline of an annotation without one of its own."""
    outline = about.get("segmentation")
    if isinstance(outline, Mapping):
        size = size_of(dict(zip(("height", "width"), outline.get("size") or (), strict=False)))
        return None if size is None else _mask_box({"rle": outline.get("counts")}, size)
    try:
        polygons = [Outline((np.array(p, np.float64).reshape(-1, 2),)).box() for p in outline or ()]
    except (DatasetError, ValueError, TypeError):
        return None
    if not polygons:
        return None
    low, high = np.min(polygons, 0), np.max(polygons, 0)
    return float(low[0]), float(low[1]), float(high[2] - low[0]), float(high[3] - low[1])


def _scored(mask: Any) -> Mapping[str, Any]:
    return {"score": mask["score"]} if isinstance(mask, Mapping) and mask.get("score") is not None else {}


def _mask_box(mask: Any, size_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    text = mask.get("rle") if isinstance(mask, Mapping) else mask
    if not isinstance(text, str):
        return None
    try:
        x0, y0, x1, y1 = Outline(rle={"size": list(size_hw), "counts": text}).box().tolist()
    except (DatasetError, ValueError, IndexError, KeyError, OverflowError):
        return None
    return x0, y0, x1 - x0, y1 - y0


def unique_names(names: list[str]) -> Iterator[str]:
    """Yield names, those that are there twice with a number.

    >>> list(unique_names(["a", "b", "a"]))
    ['a', 'b', 'a-2']
    """
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"
