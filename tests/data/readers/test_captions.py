"""Captions as people have them: every caption is used or accounted for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.data.dataset import Dataset
from eyewright.data.targets.captions import CAPTIONS, Captions
from eyewright.data.targets.target import kind_of


def put(folder: Path, *names: str) -> Path:
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * k, np.uint8)).save(folder / name)
    return folder


def texts(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {s.id: s.marked(Captions).texts for s in dataset.samples}


def test_the_task_learns_from_captions() -> None:
    assert kind_of("embed") is CAPTIONS
    assert task_of("embed").reads == "image"


@pytest.mark.parametrize("key", ["text", "caption", "captions"])
def test_metadata_of_hugging_face_holds_one_caption_or_a_list(tmp_path: Path, key: str) -> None:
    put(tmp_path, "a.png", "b.png")
    rows = [{"file_name": "a.png", key: ["a red car", "one car"]}, {"file_name": "b.png", key: "🙂 smile"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = open_dataset(tmp_path, task="embed")
    assert texts(found) == {"a.png": ("a red car", "one car"), "b.png": ("🙂 smile",)}
    assert (found.format, found.account.read, found.account.present) == ("hf-imagefolder", 3, 3)
    if key != "captions":
        assert open_dataset(tmp_path).task == "embed", "without a task the data decide"


def test_a_flickr_table_has_a_line_a_caption(tmp_path: Path) -> None:
    put(tmp_path, "Images/1.jpg", "Images/2.jpg")
    (tmp_path / "captions.txt").write_text('image,caption\n1.jpg,A dog runs .\n1.jpg,"A dog, wet"\n2.jpg,A cat\n')
    found = open_dataset(tmp_path, task="embed")
    assert texts(found) == {"Images/1.jpg": ("A dog runs .", "A dog, wet"), "Images/2.jpg": ("A cat",)}
    assert found.format == "flickr"


def test_a_table_parted_by_bars_may_have_a_line_that_is_cut_short(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.jpg")
    lines = ["image_name| comment_number| comment", "1.jpg| 0| A dog | wet", "1.jpg| 4   A dog runs", "2.jpg| 0| A cat"]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    found = open_dataset(tmp_path, task="embed")
    assert texts(found) == {"1.jpg": ("A dog | wet",), "2.jpg": ("A cat",)}
    assert (found.account.read, found.account.n_dropped) == (2, 1)
    assert [p.code for p in found.problems] == ["caption_missing"]


def test_flickr8k_tokens_number_their_captions(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg")
    (tmp_path / "Flickr8k.token.txt").write_text("1.jpg#0\tA dog\n1.jpg#1\tA wet dog\n")
    assert texts(open_dataset(tmp_path, task="embed")) == {"1.jpg": ("A dog", "A wet dog")}


def test_one_bad_line_of_tokens_is_reported_and_the_others_are_used(tmp_path: Path) -> None:
    put(tmp_path, "Images/1.jpg", "Images/2.jpg")
    # The last is in the published file: it names an image that is not there.
    lines = ["no token", "1.jpg#0\tA dog", "1.jpg#1 a wet dog", "2.jpg#0\tA cat", "225_94.jpg.1#0\tPeople wait"]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines))
    found = open_dataset(tmp_path, task="embed")
    assert texts(found) == {"Images/1.jpg": ("A dog",), "Images/2.jpg": ("A cat",)}
    assert [(p.code, p.line) for p in found.problems if p.code == "caption_line"] == [
        ("caption_line", 1), ("caption_line", 3)
    ]  # fmt: skip
    assert (found.account.read, found.account.n_dropped) == (2, 3)


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("captions.txt", ["image,caption", "1.jpg,A dog, wet", '1.jpg,"A dog runs"', "2.jpg,A cat"]),
        ("Flickr8k.token.txt", ["1.jpg#0\tA dog, wet", "1.jpg#1\tA dog runs", "2.jpg#0\tA cat"]),
        (
            "results.csv",
            ["image_name| comment_number| comment", "1.jpg| 0| A dog, wet", "1.jpg| 1| A dog runs", "2.jpg| 0| A cat"],
        ),
    ],
)
def test_layouts_of_flickr_are_recognised_without_a_task(file: str, lines: list[str], tmp_path: Path) -> None:
    put(tmp_path, "Images/1.jpg", "Images/2.jpg")
    (tmp_path / file).write_text("\n".join(lines))
    found = open_dataset(tmp_path)
    assert (found.task, found.format) == ("embed", "flickr")
    assert texts(found) == {"Images/1.jpg": ("A dog, wet", "A dog runs"), "Images/2.jpg": ("A cat",)}


def test_a_table_of_texts_names_the_task_that_reads_it(tmp_path: Path) -> None:
    put(tmp_path, "Images/1.jpg", "Images/2.jpg")
    (tmp_path / "texts.tsv").write_text("image\tdescription\n1.jpg\tA dog\n2.jpg\tA cat\n")
    with pytest.raises(DatasetError, match=r"'texts.tsv' has a text for each image; pass --task embed"):
        open_dataset(tmp_path)


def test_captions_of_coco_are_read_by_part(tmp_path: Path) -> None:
    put(tmp_path, "train2017/1.jpg", "val2017/2.jpg")
    for part, file, k in (("train2017", "1.jpg", 1), ("val2017", "2.jpg", 2)):
        notes = [{"image_id": k, "id": 1, "caption": f"image {k}"}, {"image_id": 99, "id": 2, "caption": "lost"}]
        content = {"images": [{"id": k, "file_name": file}], "annotations": notes}
        place = tmp_path / "annotations" / f"captions_{part}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(content))
    found = open_dataset(tmp_path, task="embed")
    assert texts(found) == {"train2017/1.jpg": ("image 1",), "val2017/2.jpg": ("image 2",)}
    assert [s.split for s in found.samples] == ["train", "val"]
    assert (found.account.read, found.account.n_dropped, found.format) == (2, 2, "coco-captions")
    alone = open_dataset(tmp_path / "annotations/captions_val2017.json", task="embed")
    assert texts(alone) == {"val2017/2.jpg": ("image 2",)}


def test_the_name_of_a_class_is_a_caption_in_words(tmp_path: Path) -> None:
    put(tmp_path, "red_car/1.png", "blue-cup/2.png")
    assert sorted(texts(open_dataset(tmp_path, task="embed")).values()) == [("blue cup",), ("red car",)]


def test_images_alone_have_no_captions(tmp_path: Path) -> None:
    found = open_dataset(put(tmp_path, "1.png", "2.png"), task="embed")
    assert (found.format, set(texts(found).values())) == ("images", {()})
    assert "no captions" in found.describe()


def test_bad_captions_are_left_out_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "c.png", "d.png")
    rows = [
        {"file_name": "a.png", "text": ["x " * 50_000, "  ", "A", "a"]},
        {"file_name": "b.png", "text": None},
        {"file_name": "c.png", "text": "🚗"},
        {"file_name": "gone.png", "text": "lost"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = open_dataset(tmp_path, task="embed")
    assert {n: [len(t) for t in own] for n, own in texts(found).items()} == {"a.png": [2000, 1], "c.png": [1]}
    assert found.account.present == 7, "a: 4, b: 1, c: 1, gone: 1"
    assert {r.text: r.n for r in found.account.left_out} == {"no table lists it": 1, "it has no caption": 1}
    assert {p.code for p in found.problems} == {"caption_missing", "caption_long"}


def test_what_is_no_caption_is_refused_by_line(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{"file_name": "a.png", "text": 3}')
    with pytest.raises(DatasetError, match="line 2"):
        open_dataset(tmp_path, task="embed")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "x", "split": "train"}\n{"file_name": "a.png", "text": "y", "split": "test"}'
    )
    with pytest.raises(DatasetError, match="one part"):
        open_dataset(tmp_path, task="embed")


def test_captions_are_written_as_they_were_read(tmp_path: Path) -> None:
    from eyewright.lifecycle import convert

    put(tmp_path / "data", "a.png", "b.png")
    rows = [{"file_name": "a.png", "text": ['a, "b"', "c|d"]}, {"file_name": "b.png", "text": '["no list'}]
    (tmp_path / "data/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    convert(tmp_path / "data", to="csv", task="embed", out=tmp_path / "out")
    first, again = (open_dataset(tmp_path / name, task="embed") for name in ("data", "out"))
    assert sorted(texts(again).values()) == sorted(texts(first).values()) == [('["no list',), ('a, "b"', "c|d")]


def test_a_file_of_captions_that_cannot_be_read_is_named_and_not_passed_over(tmp_path: Path) -> None:
    """Images without any captions would be learnt from instead."""
    put(tmp_path, "Images/a.png", "Images/b.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,A dog, and a cat\nb.png,A car\n")
    with pytest.raises(DatasetError, match=r"'captions\.csv' line 2 has another number of columns"):
        open_dataset(tmp_path, task="embed")
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "captions.json").write_text('{"images": [], "annotations": [{"caption": "a"}')
    with pytest.raises(DatasetError, match=r"'captions\.json' is not JSON"):
        open_dataset(tmp_path, task="embed")
