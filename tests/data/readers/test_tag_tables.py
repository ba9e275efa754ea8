"""Tags from lists, one-hot columns, COCO and Label Studio."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.data import Dataset, Sample, audit_dataset, open_dataset, scan_dataset, split_dataset
from eyewright.data.targets.tags import Tags
from eyewright.data.tree import FolderTree
from eyewright.data.writers import write_dataset
from eyewright.imaging import encode_image

pytestmark = pytest.mark.usefixtures("other_tasks")


def images(folder: Path, n: int, names: str = "{}.png") -> Path:
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / names.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)))
    return folder


def table(folder: Path, *lines: str, name: str = "tags.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def cells(data: Dataset) -> list[str]:
    return [s.target.cell(data.labels.names) for s in data.samples]


@pytest.mark.parametrize(
    "lines",
    [
        ("path,tags", "0.png,a|b", "1.png,", "2.png,b"),
        ("path,labels", "0.png,b; a", "1.png,", "2.png,b"),
        ("path,tags", '0.png,"a, b"', "1.png,", "2.png,b"),
        ("path,tags", "0.png,\"['a', 'b']\"", "1.png,[]", "2.png,['b']"),
        ("path,label", "0.png,a", "1.png,", "2.png,b", "0.png,b"),
        ("0.png,a|b", "1.png,", "2.png,b"),
    ],
)
def test_lists_of_tags(tmp_path: Path, lines: tuple[str, ...]) -> None:
    data = open_dataset(table(images(tmp_path, 3), *lines), task="tick")
    assert (data.task, data.labels.names, cells(data)) == ("tick", ("a", "b"), ["a|b", "", "b"])
    assert data.describe() == "csv: 3 images, 2 tags, 1.0 per image, no split"
    assert data.counts() == {"a": 1, "b": 2}


def test_columns_of_ones_and_zeros_as_roboflow_exports_them(tmp_path: Path) -> None:
    images(tmp_path, 3, "train/{}.png")
    table(tmp_path / "train", "filename, cat, dog", "0.png, 1, 0", "1.png, 0, 0", "2.png, 1, 1", name="_classes.csv")
    data = open_dataset(tmp_path, task="tick")
    assert (data.labels.names, cells(data), data.samples[0].split) == (("cat", "dog"), ["cat", "", "cat|dog"], "train")


def test_an_empty_cell_or_minus_one_is_no_negative(tmp_path: Path) -> None:
    lines = ("path,cat,dog,view", "0.png,1,,front", "1.png,-1,0,side", "2.png,,,front", "3.png,0,1,side")
    data = open_dataset(table(images(tmp_path, 4), *lines), task="tick")
    assert cells(data) == ["cat|?dog", "?cat", "dog"]
    assert [s.meta["view"] for s in data.samples] == ["front", "side", "side"]
    (reason,) = data.account.dropped
    assert (reason.text, reason.n, reason.line) == ("its tags are not annotated", 1, 4)


def test_metadata_of_hugging_face_with_lists(tmp_path: Path) -> None:
    images(tmp_path, 3)
    rows = [{"file_name": "0.png", "tags": ["a", "b"]}, {"file_name": "1.png", "tags": []}]
    rows.append({"file_name": "2.png", "tags": None})  # type: ignore[dict-item]
    table(tmp_path, *map(json.dumps, rows), name="metadata.jsonl")
    data = open_dataset(tmp_path, task="tick")
    assert (data.format, cells(data), data.account.n_dropped) == ("hf-imagefolder", ["a|b", ""], 1)


def coco(folder: Path) -> Path:
    images(folder, 3)
    boxes = [(1, 1, 0), (1, 2, 0), (1, 1, 0), (2, 2, 1)]
    content = {
        "images": [{"id": i + 1, "file_name": f"{i}.png", "width": 24, "height": 24} for i in range(3)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": k + 1, "image_id": i, "category_id": c, "bbox": [1 + k, 1, 9, 9], "area": 81, "iscrowd": crowd}
            for k, (i, c, crowd) in enumerate(boxes)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_categories_of_coco_are_tags(tmp_path: Path) -> None:
    data = open_dataset(coco(tmp_path), task="tick")
    assert (data.format, cells(data)) == ("coco", ["cat|dog", "?dog", ""])
    assert open_dataset(tmp_path).task == "detect"


def studio(folder: Path, choices: list[list[str]]) -> Path:
    images(folder, len(choices))
    tasks = [
        {
            "id": i + 1,
            "data": {"image": f"{i}.png"},
            "annotations": [
                {
                    "id": i,
                    "result": [{"type": "choices", "from_name": "tags", "value": {"choices": own}}] if own else [],
                }
            ],
        }
        for i, own in enumerate(choices)
    ]
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder


def test_choices_of_label_studio_are_tags(tmp_path: Path) -> None:
    studio(tmp_path, [["a", "b"], [], ["b"]])
    assert cells(open_dataset(tmp_path, task="tick")) == ["a|b", "", "b"]
    assert cells(open_dataset(tmp_path / "export.json", task="tick")) == ["a|b", "", "b"]


def test_choices_of_label_studio_are_read_as_classes_where_those_are_asked_for(tmp_path: Path) -> None:
    data = open_dataset(studio(tmp_path, [["a"], ["b"], ["b"]]), task="classify")
    assert (data.format, cells(data)) == ("label-studio", ["a", "b", "b"])


def test_folders_of_classes_are_one_tag_each(tmp_path: Path) -> None:
    images(tmp_path, 2, "cat/{}.png")
    images(tmp_path, 1, "dog/{}.png")
    assert cells(open_dataset(tmp_path, task="tick")) == ["cat", "cat", "dog"]


def test_what_is_read_as_classes_stays_so(tmp_path: Path) -> None:
    data = open_dataset(table(images(tmp_path, 2), "path,label", "0.png,a|b", "1.png,a"))
    assert (data.task, data.labels.names) == ("classify", ("a", "a|b"))


def test_masks_are_no_tags(tmp_path: Path) -> None:
    images(tmp_path, 1, "images/{}.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/0.png").write_bytes(encode_image(np.zeros((24, 24), np.uint8)))
    with pytest.raises(DatasetError, match="expected tags for 'tick', found masks"):
        open_dataset(tmp_path, task="tick")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("path,cat,dog", "0.png,0,0", "1.png,0,0"), "no image in 'tags.csv' has a tag"),
        (("path,tags", "0.png,[a"), "expected a list in the column 'tags' of 'tags.csv' line 2"),
        (("path,tags,split", "0.png,a,morning"), "unknown split 'morning'"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path: Path, lines: tuple[str, ...], text: str) -> None:
    with pytest.raises(DatasetError) as refused:
        open_dataset(table(images(tmp_path, 2), *lines), task="tick")
    assert text in str(refused.value)


def test_an_ignored_tag_is_gone(tmp_path: Path) -> None:
    table(images(tmp_path, 3), "path,tags", "0.png,a|b|void", "1.png,void", "2.png,b")
    data = open_dataset(tmp_path, task="tick")
    assert (data.labels.names, cells(data)) == (("a", "b"), ["a|b", "", "b"])
    assert (
        data.notes[-1]
        == "class 'void' is ignored and left out of the tags; --ignore none keeps what was ignored by name"
    )


def test_tags_are_split_and_examined_like_any_data(tmp_path: Path) -> None:
    images(tmp_path, 60)
    rows = (f"{i}.png,{'a|b' if i % 2 else 'a' if i % 3 else ''}" for i in range(60))
    data = open_dataset(table(tmp_path, "path,tags", *rows), task="tick")
    scan = scan_dataset(data, quiet=True)
    assert not [f for f in audit_dataset(data, scan) if f.severity == "error"]
    parts = split_dataset(data, scan=scan)
    assert [p.counts()["b"] for p in (parts.train, parts.val, parts.test)] == [21, 3, 6]
    assert "split 70/10/20 by tag" in parts.notes


@pytest.mark.parametrize(
    "lines",
    [
        ("path,tags", "0.png,a|?b", "1.png,", "2.png,?", "3.png,b"),
        ("path,tags", "0.png,a; ?b", "1.png,", "2.png, ? ", "3.png,b;b"),
        ("path,tags", '0.png,"[""a"", ""?b""]"', "1.png,[]", "2.png,?", '3.png,"[""b""]"'),
    ],
)
def test_a_question_mark_says_that_nobody_has_judged_a_tag(tmp_path: Path, lines: tuple[str, ...]) -> None:
    data = open_dataset(table(images(tmp_path, 4), *lines), task="tick")
    assert cells(data) == ["a|?b", "", "b"]
    assert [s.target.unknown for s in data.samples] == [{1}, set(), set()]
    assert (data.account.dropped[0].text, data.account.dropped[0].n) == ("its tags are not annotated", 1)


def test_data_that_never_say_no_are_positive_only(tmp_path: Path) -> None:
    lines = ("path,cat,dog", "0.png,1,", "1.png,,1", "2.png,1,1")
    data = open_dataset(table(images(tmp_path, 3), *lines), task="tick")
    assert [s.target.values(2).tolist() for s in data.samples] == [[1, 0], [0, 1], [1, 1]]
    assert [s.target.assumed for s in data.samples] == [{1}, {0}, set()]
    assert cells(data) == ["cat|?dog", "dog|?cat", "cat|dog"]
    assert data.describe() == "csv: 3 images, 2 tags, 1.3 per image, absences assumed, no split"
    found = {f.code: f.message for f in audit_dataset(data, scan_dataset(data, quiet=True))}
    assert "the 2 tags not annotated are treated as absent" in found["tag_positive_only"]
    one_no = open_dataset(table(tmp_path, *lines[:-1], "2.png,1,0"), task="tick")
    assert not any(s.target.assumed for s in one_no.samples)
    assert np.isnan(one_no.samples[0].target.values(2)[1])


@pytest.mark.parametrize("names", [("cat", "dog"), ("a|b", "?c"), ("1", "0"), ("x; y", "z, w"), ("a\\", "b'c\"d")])
def test_a_table_that_is_written_is_read_as_it_was(tmp_path: Path, names: tuple[str, str]) -> None:
    targets = [Tags(frozenset({0, 1})), Tags(frozenset({0}), frozenset({1})), Tags(frozenset()), Tags(frozenset({1}))]
    tree = FolderTree(images(tmp_path / "in", 4))
    samples = [Sample(f"{i}.png", t, "train", "g" * (i > 2)) for i, t in enumerate(targets)]
    data = Dataset(tree, tuple(samples), LabelSpace(names), "csv", "tick")
    assert write_dataset(data, "csv", tmp_path / "out").images == 4
    again = open_dataset(tmp_path / "out", task="tick").relabelled(data.labels)
    assert [s.target for s in again.samples] == targets
    assert [s.split for s in again.samples] == ["train"] * 4
    assert again.samples[3].group == "g"


def test_a_cell_that_is_neither_one_nor_zero_is_a_finding_and_judges_nothing(tmp_path: Path) -> None:
    images(tmp_path, 4)
    table(tmp_path, "path,a,b,age", "0.png,1,0,31", "1.png,0,1,32", "2.png,2,1,33", "3.png,T,f,34")
    data = open_dataset(tmp_path, task="tick")
    assert data.labels.names == ("a", "b")
    assert cells(data) == ["a", "b", "b|?a", "a"]
    (problem,) = data.problems
    assert (problem.code, problem.path, problem.line) == ("tag_unreadable", "tags.csv", 4)
    assert "found '2'" in problem.message
    assert [(r.text, r.n) for r in data.account.reduced] == [("a cell of a tag that is neither 1 nor 0", 1)]
    assert any("not read as tags" in n and "'age'" in n for n in data.notes)


def test_a_table_of_tags_that_cannot_be_read_is_refused_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    images(tmp_path, 2)
    table(tmp_path, "path,tags", "0.png", "1.png,a")
    with pytest.raises(DatasetError, match="line 2 has another number of columns"):
        open_dataset(tmp_path, task="tick")
    table(tmp_path, "path,colour", "0.png,red", "1.png,blue")
    with pytest.raises(DatasetError, match="expected columns for the path and the tags, found path, colour"):
        open_dataset(tmp_path, task="tick")
