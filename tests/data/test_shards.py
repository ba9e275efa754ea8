"""Datasets in shards: what is written is read back as it was, foreign shards are read, hostile ones refused."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyewright.cli import main
from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.data import Dataset, open_dataset
from eyewright.data.archives import shards_in
from eyewright.data.shards import ShardTree
from eyewright.data.writers import write_dataset

FORMATS = ("webdataset", "parquet")


def _png(seed: int, size: tuple[int, int] = (12, 16)) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def _labels(root: Path) -> None:
    for k, name in enumerate(["train/cat/a.b.png", "train/dog/ü 1.png", "val/dog/1.png", "test/cat/1.png"]):
        _write(root / name, _png(k))


def _boxes(root: Path) -> None:
    images, annotations = [], []
    for k, part in enumerate(["train", "train", "val"]):
        _write(root / f"images/{part}/{k}.png", _png(k))
        images.append({"id": k, "file_name": f"{part}/{k}.png", "width": 16, "height": 12})
    rle = {"size": [12, 16], "counts": [24, 12, 156]}
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 2, 3.5, 4], "segmentation": [[1, 2, 4.5, 2, 4.5, 6]]},
        {"id": 2, "image_id": 0, "category_id": 9, "bbox": [2, 0, 1, 12], "iscrowd": 1, "segmentation": rle},
        {"id": 3, "image_id": 2, "category_id": 9, "bbox": [0, 0, 16, 12], "iscrowd": 0},
    ]
    categories = [{"id": 9, "name": "zebra"}, {"id": 3, "name": "ant"}, {"id": 4, "name": "never seen"}]
    for part in ("train", "val"):
        own = [i for i in images if str(i["file_name"]).startswith(part)]
        ids = {i["id"] for i in own}
        text = {"images": own, "categories": categories}
        rows = [a for a in annotations if a["image_id"] in ids]
        _write(root / f"annotations/instances_{part}.json", json.dumps({**text, "annotations": rows}))


def _masks(root: Path) -> None:
    for k, part in enumerate(["train", "val"]):
        _write(root / part / "images" / f"{k}.png", _png(k))
        out = io.BytesIO()
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(12, 16) % 3).save(out, "PNG")
        _write(root / part / "masks" / f"{k}.png", out.getvalue())
    _write(root / "classes.txt", "0 background\n1 hole\n2 crack\n")
    _write(root / "groups.csv", "path,group\ntrain/images/0.png,tile 7\n")


def _table(root: Path, head: str, cells: list[str]) -> None:
    for k in range(len(cells)):
        _write(root / f"{k}.png", _png(k))
    rows = [f"{k}.png,{cell}" for k, cell in enumerate(cells)]
    _write(root / "table.csv", "\n".join([head, *rows]) + "\n")


def _numbers(root: Path) -> None:
    _table(root, "path,weight [g],width,group", ["1.5,2,a", "0.25,-3e-5,a", "7,1,b"])


def _tags(root: Path) -> None:
    _table(root, "path,tags,split", ["wet|?old,train", "old,train", ",val", "wet|old,test"])


def _captions(root: Path) -> None:
    _table(root, "path,caption", ['"a cat, asleep"', "ein Hund läuft", "two birds"])


def _texts(root: Path) -> None:
    _table(root, "path,text", ["Total 12.50", "№ 7", "ab"])


MAKERS = {
    "classify": _labels, "detect": _boxes, "instance": _boxes, "segment": _masks, "regress": _numbers, "tag": _tags,
    "embed": _captions, "read": _texts,
}  # fmt: skip


def _seen(dataset: Dataset, index: int) -> tuple[Any, ...]:
    """What a task sees of a sample: its pixels, its part and group, and its target by the names of classes."""
    image, sample = dataset.image(index), dataset.samples[index]
    target: Any = sample.target
    if hasattr(target, "mask"):
        said: Any = target.mask(image.shape[:2]).tolist()
    elif hasattr(target, "boxes_xyxy"):
        own = target.in_pixels(image.shape[:2])
        said = (own.boxes_xyxy.round(3).tolist(), own.label_ids.tolist(), own.crowd.tolist())
        said += tuple(o.mask(image.shape[:2]).tolist() for o in own.outlines)
    else:
        said = (target.cell(dataset.labels.names), str(target))
    return image.tobytes(), sample.split, sample.group, said


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("task", MAKERS)
def test_what_is_written_in_shards_is_read_back_as_it_was(tmp_path: Path, task: str, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    MAKERS[task](tmp_path / "data")
    given = open_dataset(tmp_path / "data", task=task)
    written = write_dataset(given, to, tmp_path / "out")
    assert (written.images, written.lost) == (len(given), ())
    found = open_dataset(tmp_path / "out", task=task)
    assert (found.format, found.task, found.account.n_dropped) == (to, task, 0)
    assert found.labels.names == given.labels.names
    assert sorted(_seen(found, i) for i in range(len(found))) == sorted(_seen(given, i) for i in range(len(given)))
    if task in ("classify", "detect", "segment"):
        assert open_dataset(tmp_path / "out").task == task


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("task", MAKERS)
def test_shards_are_audited_as_the_folder_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, to: str
) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    MAKERS[task](tmp_path / "data")
    write_dataset(open_dataset(tmp_path / "data", task=task), to, tmp_path / "out")
    found = []
    for name in ("data", "out"):
        code = main(["doctor", str(tmp_path / name), "--task", task, "--json"])
        said = json.loads(capsys.readouterr().out)
        # Classes that nobody has marked and columns that are not learnt are left out when the folder is read.
        unread = ("class_never_seen", "note")
        found.append((code, sorted(f["code"] for f in said["findings"] if f["code"] not in unread)))
    assert found[0] == found[1]


@pytest.mark.parametrize("to", FORMATS)
def test_a_net_is_trained_and_measured_on_shards(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    write_dataset(open_dataset(shapes), to, tmp_path / "set")
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "set"), "--epochs", "2", "--out", str(run), "--quiet"]) == 0
    assert main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["n"] > 10


@pytest.mark.parametrize("to", FORMATS)
def test_a_quantity_that_is_called_width_is_kept(tmp_path: Path, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    _numbers(tmp_path / "data")
    given = open_dataset(tmp_path / "data", task="regress", target=["width"])
    assert given.labels.names == ("width",)
    write_dataset(given, to, tmp_path / "out")
    found = open_dataset(tmp_path / "out", task="regress", target=["width"])
    assert [s.target.cell(("width",)) for s in found.samples] == [s.target.cell(("width",)) for s in given.samples]


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_dataset_is_written_to_the_same_bytes(tmp_path: Path, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    _boxes(tmp_path / "data")
    found = []
    for out in (tmp_path / "a", tmp_path / "b"):
        write_dataset(open_dataset(tmp_path / "data"), to, out)
        found.append({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert found[0] == found[1]
    assert len(found[0]) == (3 if to == "webdataset" else 2)


def _tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))


def test_a_foreign_webdataset_of_numbered_classes_is_read(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 10)):
        members = {}
        for k in range(first, first + 3):
            members |= {f"{k:05d}.png": _png(k), f"{k:05d}.cls": str(k % 3 + 9).encode()}
        _tar(tmp_path / f"cifar-{part}-000000.tar", members)
    found = open_dataset(tmp_path)
    # By number: as text "10" would come before "9".
    assert found.labels.names == ("9", "10", "11")
    assert [s.split for s in found.samples] == ["train"] * 3 + ["val"] * 3
    np.testing.assert_array_equal(found.image(0), np.asarray(Image.open(io.BytesIO(_png(0)))))
    assert open_dataset(tmp_path / "cifar-train-000000.tar").labels.names == ("9", "10", "11")


def test_captions_of_img2dataset_are_read(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for k in range(4):
        about = {"url": "http://x/1.jpg", "caption": f"caption {k}", "width": 16, "height": 12, "status": "success"}
        members |= {f"{k}.png": _png(k), f"{k}.txt": f"caption {k}".encode(), f"{k}.json": json.dumps(about).encode()}
    _tar(tmp_path / "00000.tar", members)
    found = open_dataset(tmp_path, task="embed")
    assert [s.target.cell(()) for s in found.samples] == [f'["caption {k}"]' for k in range(4)]
    assert found.account.to_json()["read"] == 4


def test_a_foreign_table_of_boxes_is_read_with_the_order_of_its_classes(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    rows = [
        {"image": {"bytes": _png(k), "path": None}, "objects": {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [k % 2]}}
        for k in range(3)
    ]
    names = {"feature": {"names": ["zebra", "ant"], "_type": "ClassLabel"}, "_type": "List"}
    features = {"image": {"_type": "Image"}, "objects": {"category": names}}
    table = arrow.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "data").mkdir()
    parquet.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet", row_group_size=2)
    found = open_dataset(tmp_path)
    assert (found.task, found.format, found.labels.names) == ("detect", "parquet", ("zebra", "ant"))
    objects = [found.objects(i, (12, 16)) for i in range(3)]
    assert [o.label_ids.tolist() for o in objects] == [[0], [1], [0]]
    assert objects[2].boxes_xyxy.tolist() == [[1.0, 2.0, 4.0, 6.0]]
    assert [s.split for s in found.samples] == ["train"] * 3


def test_names_that_lead_out_of_a_folder_or_are_there_twice_are_changed(tmp_path: Path) -> None:
    about = json.dumps({"id": "../../etc/x.png", "label": "cat"}).encode()
    dog = json.dumps({"label": "dog"}).encode()
    members = {"a.png": _png(0), "a.json": about, "b.png": _png(1), "b.json": about, "/c/d.png": _png(2)}
    _tar(tmp_path / "x.tar", {**members, "/c/d.json": dog})
    names = [s.id for s in open_dataset(tmp_path).samples]
    assert sorted(names) == ["000001/etc/x.png", "c/d.png", "etc/x.png"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.tar": b"no tar at all" * 100}, "is damaged"),
        ({"a.parquet": b"PAR1 no table"}, "is not a Parquet table"),
        ({"a.tar": b"\0" * 1024, "b.parquet": b"PAR1"}, "found both"),
        ({"a.tar": b"\0" * 1024}, "no image in the shards"),
    ],
)
def test_what_is_no_shard_is_refused_in_a_line(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    if any(n.endswith("parquet") for n in files):
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    for name, data in files.items():
        _write(tmp_path / name, data)
    with pytest.raises(DatasetError, match=said):
        open_dataset(tmp_path)


def test_a_member_that_is_no_json_is_named(tmp_path: Path) -> None:
    _tar(tmp_path / "a.tar", {"k.png": _png(0), "k.json": b"{"})
    with pytest.raises(DatasetError, match=r"'a.tar': 'k.json' is not JSON"):
        open_dataset(tmp_path)


def test_a_row_without_an_image_is_a_finding_and_not_the_end(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    rows: list[dict[str, Any]] = [{"image": _png(0), "label": "a"}, {"image": None, "label": "b"}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = open_dataset(tmp_path / "x.parquet")
    assert found.image(0).shape == (12, 16, 3)
    with pytest.raises(EyewrightError, match=r"row 1 of 'x[.]parquet' has no image"):
        found.image(1)


def test_images_next_to_an_archive_are_a_folder_as_before(tmp_path: Path) -> None:
    _labels(tmp_path)
    _tar(tmp_path / "backup.tar", {"a.png": _png(0)})
    assert open_dataset(tmp_path).format == "imagefolder"
    assert shards_in(["backup.tar", "cat/1.png"]) == []


def test_groups_of_rows_are_read_in_any_order(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    rows = [{"image": _png(k), "label": k % 2} for k in range(25)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=3)
    tree = ShardTree(tmp_path, ["x.parquet"])
    images = [n for n in tree.names() if n.endswith(".png")]
    assert len(images) == 25
    order = np.random.default_rng(0).permutation(25)
    assert all(tree.content(images[k]) == _png(int(k)) for k in order)


def test_a_row_without_a_label_costs_that_row_and_not_the_table(tmp_path: Path) -> None:
    table = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": _png(k), "path": None}, "label": None if k == 2 else k % 2} for k in range(6)]
    parquet.write_table(table.Table.from_pylist(rows), tmp_path / "train.parquet")
    found = open_dataset(tmp_path, task="classify")
    assert (len(found), found.account.read) == (5, 5)
    assert [(r.text, r.n) for r in found.account.dropped] == [("its label is empty", 1)]


def test_damaged_pages_of_a_table_are_refused_in_a_line(tmp_path: Path) -> None:
    """The footer is sound, so that the table opens; its pages cannot be decoded."""
    table = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": _png(k), "path": f"{k}.png"}, "label": k % 2} for k in range(6)]
    place = tmp_path / "train.parquet"
    parquet.write_table(table.Table.from_pylist(rows), place)
    first = parquet.ParquetFile(place).metadata.row_group(0)
    starts = [first.column(k).dictionary_page_offset or first.column(k).data_page_offset for k in range(3)]
    data = bytearray(place.read_bytes())
    for start in starts:
        data[start : start + 12] = b"\xff" * 12
    place.write_bytes(data)
    with pytest.raises(EyewrightError, match=r"'train\.parquet' is damaged in its row group 0"):
        open_dataset(tmp_path, task="classify")
