import gzip
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.data import Dataset, open_dataset
from eyewright.data.tree import FolderTree
from eyewright.imaging import encode_image

PNG = encode_image(np.zeros((4, 4, 3), np.uint8))


def write(folder: Path, *names: str, data: bytes = PNG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def by_class(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for s in data.samples:
        found.setdefault(data.labels.names[s.target], []).append(s.id)
    return found


def test_a_folder_a_class(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, "cat/1.png", "cat/2.JPG", "dog/a b.png", "notes.txt"))
    assert by_class(data) == {"cat": ["cat/1.png", "cat/2.JPG"], "dog": ["dog/a b.png"]}
    assert data.format == "imagefolder"
    assert data.skipped == ("notes.txt",)
    assert data.splits == ()


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing"), ("Train", "dev", "TEST")]
)
def test_split_folders_are_recognised_by_their_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    data = open_dataset(write(tmp_path, *(f"{n}/{c}/1.png" for n in names for c in "ab")))
    assert data.splits == ("train", "val", "test")
    assert data.labels.names == ("a", "b")


def test_a_wrapping_folder_is_looked_through(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, "my photos/v2/train/a/1.png", "my photos/v2/test/b/1.png"))
    assert data.labels.names == ("a", "b")
    assert data.splits == ("train", "test")


def test_a_class_is_the_highest_folder_that_holds_images(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, "cat/1.png", "cat/extra/2.png", "wild/lion/1.png", "wild/puma/1.png"))
    assert data.labels.names == ("cat", "wild/lion", "wild/puma")
    assert "--label-depth 1" in data.notes[0]
    assert open_dataset(tmp_path, label_depth=1).labels.names == ("cat", "wild")


def test_a_single_class_is_named_after_its_folder(tmp_path: Path) -> None:
    assert open_dataset(write(tmp_path, "only/1.png", "only/2.png")).labels.names == ("only",)


def test_an_empty_class_folder_is_remembered(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    assert open_dataset(tmp_path).empty_classes == ("c",)


def test_names_of_any_kind_are_read(tmp_path: Path) -> None:
    names = ("a/sp ace.png", "a/quo'te\".png", "b/🦉.png", "b/new\nline.png")
    data = open_dataset(write(tmp_path, *names))
    assert sorted(s.id for s in data.samples) == sorted(names)
    assert data.image(0).shape == (4, 4, 3)


def test_hidden_files_and_archive_litter_are_left_out(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, "a/1.png", "b/1.png", ".git/x.png", "__MACOSX/a/1.png", "a/.DS_Store"))
    assert len(data) == 2


def test_a_linked_folder_that_points_back_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(open_dataset(tmp_path)) == 2


def test_csv_of_path_and_label(tmp_path: Path) -> None:
    write(tmp_path, "img/1.png", "img/2.png", "img/3.png")
    (tmp_path / "labels.csv").write_text(
        "path,label,split,group,site\nimg/1.png,cat,train,p1,x\nimg/2.png,dog,test,p2,y\n"
    )
    for source in (tmp_path, tmp_path / "labels.csv"):
        data = open_dataset(source)
        assert by_class(data) == {"cat": ["img/1.png"], "dog": ["img/2.png"]}
        assert data.splits == ("train", "test")
        assert data.samples[0].group == "p1"
        assert data.samples[0].meta == {"site": "x"}
        assert data.skipped == ("img/3.png",)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark_are_understood(tmp_path: Path, separator: str) -> None:
    write(tmp_path, "1.png", "2.png")
    rows = [separator.join(r) for r in (("Filename", "Class"), ("1.png", "a"), ("2.png", "b"))]
    (tmp_path / "x.csv").write_text("\ufeff" + "\r\n".join(rows), "utf-8")
    assert open_dataset(tmp_path).labels.names == ("a", "b")


def test_a_csv_without_a_header_and_with_paths_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "pictures", "1.png", "2.png")
    (tmp_path / "tables").mkdir()
    rows = [f"{tmp_path}/pictures/1.png,cat", "../pictures/2.png,dog"]
    (tmp_path / "tables" / "labels.csv").write_text("\n".join(rows))
    data = open_dataset(tmp_path / "tables" / "labels.csv")
    assert data.labels.names == ("cat", "dog")
    assert [data.image(i).shape for i in range(2)] == [(4, 4, 3)] * 2


def test_a_folder_beside_the_splits_is_left_out_and_said(tmp_path: Path) -> None:
    names = [f"{s}/{c}/1.png" for s in ("train", "test") for c in "ab"]
    data = open_dataset(write(tmp_path, *names, "unlabelled/1.png", "unlabelled/2.png"))
    assert data.labels.names == ("a", "b")
    assert data.splits == ("train", "test")
    assert "2 images lie outside" in data.notes[0]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert open_dataset(write(tmp_path, "bus/1.png", "car/1.png", "train/1.png")).labels.names == (
        "bus",
        "car",
        "train",
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_face_imagefolder_with_metadata(tmp_path: Path, kind: str) -> None:
    for split in ("train", "test"):
        write(tmp_path, f"{split}/1.png", f"{split}/sub/2.png")
        rows = [{"file_name": "1.png", "label": "a"}, {"file_name": "sub/2.png", "label": "b"}]
        text = "\n".join(json.dumps(r) for r in rows) if kind == "jsonl" else "file_name,label\n1.png,a\nsub/2.png,b\n"
        (tmp_path / split / f"metadata.{kind}").write_text(text)
    data = open_dataset(tmp_path)
    assert data.format == "hf-imagefolder"
    assert data.splits == ("train", "test")
    assert by_class(data) == {"a": ["test/1.png", "train/1.png"], "b": ["test/sub/2.png", "train/sub/2.png"]}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,label\n1.png,\n", r"found none; its label is empty \(1; metadata.csv:2\)"),
        ("path,label\nnone.png,a\n", "none of the 1 listed files"),
        ("path,label\n1.png,a\n1.png,b\n", "listed more than once"),
        ("path,label,split\n1.png,a,holdout\n", "unknown split 'holdout'"),
        ("path,label\n1.png\n", "another number of columns"),
        ('path,label\n1.png,"a\n2.png,b\n3.png,c\n', "a quote is opened and never closed before 'metadata.csv' line 4"),
        ("name,kind\n1.png,a\n", "expected columns"),
        ("path,label\n../../etc/passwd,a\n", "none of the 1 listed files"),
    ],
)
def test_a_broken_table_names_its_line(tmp_path: Path, table: str, said: str) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(DatasetError, match=said):
        open_dataset(tmp_path)


def test_a_row_without_a_label_is_left_out_by_its_line(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png", "4.png")
    (tmp_path / "labels.csv").write_text("path,label\n1.png,a\n2.png,\n3.png,b\n4.png,  \n")
    data = open_dataset(tmp_path)
    assert by_class(data) == {"a": ["1.png"], "b": ["3.png"]}
    assert [str(r) for r in data.account.dropped] == ["its label is empty (2; labels.csv:3)"]
    assert (data.account.read, data.account.present, data.account.left_out, data.skipped) == (2, 4, (), ())
    assert [(f.code, f.path, f.line, f.severity) for f in data.problems] == [
        ("label_empty", "labels.csv", 3, "error"),
        ("label_empty", "labels.csv", 5, "error"),
    ]
    assert "'2.png' is left out" in data.problems[0].message


def test_a_cell_of_several_lines_and_an_inch_are_read(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_text('path,label,note\n1.png,a,"two\nlines"\n2.png,b,plain\n')
    assert by_class(open_dataset(tmp_path)) == {"a": ["1.png"], "b": ["2.png"]}
    (tmp_path / "labels.csv").write_text('path,label,note\n1.png,a,"5 or\n6 pipes"\n2.png,b,5" pipe\n')
    assert by_class(open_dataset(tmp_path)) == {"a": ["1.png"], "b": ["2.png"]}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_idx(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("train", 6), ("t10k", 4)):
        images = rng.integers(0, 256, (n, 5, 7)).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", np.array([3, 7] * (n // 2), np.uint8))):
            data = idx(array)
            (tmp_path / f"{name}-{kind}-ubyte{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    data = open_dataset(tmp_path)
    assert data.labels.names == ("3", "7")
    assert {s: len(data.part(s)) for s in data.splits} == {"train": 6, "test": 4}  # type: ignore[arg-type]
    assert np.array_equal(data.test.image(3), np.repeat(images[3][..., None], 3, 2))
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(b"\0\0\x08\x03cut")
    with pytest.raises(DatasetError, match="train-images"):
        open_dataset(tmp_path)


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("top/train/a/1.png", "top/train/b/1.png", "top/test/a/2.png", "__MACOSX/top/x.png", "../evil.png"):
            archive.writestr(name, PNG)
        archive.writestr("top/test/b/2.png", PNG)
    before = sorted(p.name for p in tmp_path.iterdir())
    data = open_dataset(tmp_path / "x.zip")
    assert data.image(0).shape == (4, 4, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not (tmp_path.parent / "evil.png").exists()


def test_a_zip_member_that_unpacks_too_large_is_an_unreadable_image_not_a_full_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", PNG)
        with archive.open(zipfile.ZipInfo("b/bomb.png"), "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
    data = open_dataset(tmp_path / "x.zip")
    from eyewright.data import scan_dataset

    errors = [r.error for r in scan_dataset(data).records]
    assert errors[0] is None or "over the limit" in errors[0].message
    assert any(e is not None and "over the limit" in e.message for e in errors)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "an empty folder"),
        (("a.txt", "b.md"), "found none"),
        (("1.png", "2.png"), "without one"),
        (("a/1.dng",), "convert them"),
        (("img1/000001.jpg", "img1/000002.jpg", "det/det.txt"), "MOT tracking"),
    ],
)
def test_what_is_no_classification_data_is_refused_by_name(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        open_dataset(write(tmp_path, *names))


def test_a_missing_path_and_a_lone_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found nothing"):
        open_dataset(tmp_path / "none")
    with pytest.raises(DatasetError, match="expected a folder"):
        open_dataset(write(tmp_path, "x.png") / "x.png")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match="as a zip"):
        open_dataset(tmp_path / "bad.zip")


def test_real_sets_are_read_as_their_readme_says(shared_data: Path) -> None:
    signs = open_dataset(shared_data / "sign_digits")
    assert (len(signs.train), len(signs.test), len(signs.labels)) == (1644, 418, 10)
    mnist = open_dataset(shared_data / "mnist")
    assert (len(mnist.train), len(mnist.test), len(mnist.labels)) == (60_000, 10_000, 10)
    omniglot = open_dataset(shared_data / "omniglot" / "images_background_small1.zip")
    assert (len(omniglot), len(omniglot.labels)) == (2720, 136)


def test_a_zip_whose_names_begin_with_a_dot_or_have_backslashes(tmp_path: Path) -> None:
    names = ("./set\\a\\1.png", "./set/a//2.png", ".\\set\\b\\3.png", "./set/./b/4.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, encode_image(np.full((4, 4, 3), 40 * i, np.uint8)))
    data = open_dataset(tmp_path / "x.zip")
    assert by_class(data) == {"a": ["set/a/1.png", "set/a/2.png"], "b": ["set/b/3.png", "set/b/4.png"]}
    assert data.image(1).mean() == 40


def test_what_lies_next_to_a_missing_path_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xyz").write_text("x")
    monkeypatch.setattr(FolderTree, "names", lambda self: pytest.fail(f"listed {self.root}"))
    for name in ("missing", "missing.csv", "a.xyz"):
        with pytest.raises(DatasetError):
            open_dataset(tmp_path / name)
