"""Vectors out of an index and into one: what numpy and pyarrow read, and what is refused of files that are not ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lifecycle.test_searching import _checkpoints, paths

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import InputError, RefusedError, UsageError
from eyewright.retrieval import open_index


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{_checkpoints().write_published(tmp_path_factory.mktemp('models') / 'clip', 'clip')}"


@pytest.fixture(scope="module")
def photos(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "p"
    shutil.copytree(shapes, folder)
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "x.index"
    ew.index_folder(photos, model=model, out=out)
    return out


def rows(place: Path) -> list[Any]:
    return [row for _, row in open_index(place).rows()]


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_an_index_goes_out_and_comes_back_as_it_was(
    ending: str, photos: Path, made: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"v.{ending}"
    if ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    assert main(["index", str(made), "--export", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["out"]
    _, stored = open_index(made).live()
    if ending == "npy":
        found = np.load(file, allow_pickle=False)
        assert said == {"vectors": str(file), "names": str(tmp_path / "v.json")}
        images = json.loads((tmp_path / "v.json").read_text())["images"]
    else:
        table = parquet.read_table(file)
        found, images = np.stack(table["embedding"].to_numpy()), table.to_pylist()
    assert found.dtype == np.float32
    assert np.allclose(found, stored.astype(np.float32), atol=1e-3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert [i["path"] for i in images] == [r.path for r in rows(made)]
    out = tmp_path / "y.index"
    wanted = ["index", str(photos), "--vectors", str(file), "--model", model, "--out", str(out), "--json"]
    assert main(wanted) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["images"], counts["added"], counts["unreadable"]) == (72, 72, 0)
    assert rows(out) == rows(made)
    # Half precision may round another way.
    assert np.allclose(open_index(out).live()[1], stored, atol=1e-3)
    one, other = (ew.search(place, "a red car", n=72) for place in (out, made))
    assert set(paths(one)) == set(paths(other))
    np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-3)
    # Later it is brought up to date like any other, and nothing is embedded again.
    done = ew.index_folder(photos, model=model, out=out, update=True)
    assert (done.unchanged, done.added, done.removed) == (72, 0, 0)


@pytest.mark.parametrize("form", ["txt", "csv", "list"])
def test_vectors_of_another_program_come_with_a_file_of_paths(
    form: str, photos: Path, made: Path, model: str, tmp_path: Path
) -> None:
    names = [r.path for r in rows(made)]
    # At another length, in another precision and order of bytes, in columns, by absolute paths.
    vectors = 7 * open_index(made).live()[1].astype(">f8")
    np.save(tmp_path / "v.npy", np.asfortranarray(vectors))
    content = {
        "txt": "\r\n".join(str(photos / n) for n in names) + "\n",
        "csv": "n,image\n" + "".join(f"{k},{n}\n" for k, n in enumerate(names)),
        "list": json.dumps(names),
    }[form]
    file = tmp_path / f"names.{'json' if form == 'list' else form}"
    file.write_text(content, newline="")
    ew.import_vectors(photos, vectors=tmp_path / "v.npy", names=file, model=model, out=tmp_path / "y.index")
    assert rows(tmp_path / "y.index") == rows(made)
    assert np.allclose(open_index(tmp_path / "y.index").live()[1], open_index(made).live()[1], atol=1e-3)


def test_images_that_changed_or_are_gone_are_findings(photos: Path, made: Path, model: str, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(photos, folder)
    (folder / "disc/000.png").unlink()
    shutil.copy(folder / "cross/001.png", folder / "disc/001.png")
    ew.export_vectors(made, tmp_path / "v.npy")
    done = ew.import_vectors(folder, vectors=tmp_path / "v.npy", model=model, out=tmp_path / "y.index")
    assert {f.path: f.code for f in done.findings} == {"disc/000.png": "unreadable", "disc/001.png": "changed"}
    assert done.n == 70
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="found none"):
        ew.import_vectors(empty, vectors=tmp_path / "v.npy", model=model, out=tmp_path / "z.index")
    assert not (tmp_path / "z.index").exists()


def test_vectors_of_another_model_or_of_other_images_are_refused(
    photos: Path, made: Path, model: str, tmp_path: Path
) -> None:
    ew.export_vectors(made, tmp_path / "v.npy")
    about = json.loads((tmp_path / "v.json").read_text())
    other = {**about, "model": {"name": "hf:other", "digest": "f" * 64}}
    (tmp_path / "v.json").write_text(json.dumps(other))

    def imported(file: Path) -> None:
        ew.import_vectors(photos, vectors=file, model=model, out=tmp_path / "y.index")

    with pytest.raises(RefusedError, match=r"made with 'hf:other' \(ffffffffffff\)"):
        imported(tmp_path / "v.npy")
    (tmp_path / "v.json").write_text(json.dumps(about))
    vectors = np.load(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal(vectors.shape))
    with pytest.raises(RefusedError, match=r"of 8 images .* embedded again, 8 have another vector"):
        imported(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", vectors[:, :-1])
    with pytest.raises(RefusedError, match=f"expected vectors of {vectors.shape[1]} numbers"):
        imported(tmp_path / "v.npy")
    assert not (tmp_path / "y.index").exists()


def _huge(path: Path) -> None:
    """A header that promises 4 TB of vectors, of which there are none."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 1)})


def _long_header(path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}" + b" " * 10**6 + b"\n"
    path.write_bytes(b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + bytes(4))


def _spoilt(k: int, value: float) -> np.ndarray:
    found = np.ones((72, 4), np.float32)
    found[k] = value
    return found


HOSTILE = {
    "objects": np.array([[{}]] * 72, object),
    "one row": np.ones(72, np.float32),
    "cubes": np.ones((72, 2, 2), np.float32),
    "text": np.array([["a", "b"]] * 72),
    "complex": np.ones((72, 4), np.complex64),
    "nothing": np.ones((0, 4), np.float32),
    "no columns": np.ones((72, 0), np.float32),
    "gaps": _spoilt(70, np.nan),
    "infinite": _spoilt(3, np.inf),
    "zeros": _spoilt(5, 0),
    "too few": np.ones((71, 4), np.float32),
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "cut": b"\x93NUMPY\x01\x00v\x00{'descr'",
    "empty": b"",
    "images": b"\x89PNG\r\n\x1a\n",
    "huge": _huge,
    "long header": _long_header,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_array_is_one_line_and_exit_2(
    case: str, photos: Path, made: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content = tmp_path / "v.npy", HOSTILE[case]
    if callable(content):
        content(file)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content, allow_pickle=True)
    file.with_suffix(".txt").write_text("\n".join(r.path for r in rows(made)))
    wanted = ["index", str(photos), "--vectors", str(file), "--model", model, "--out", str(tmp_path / "y.index")]
    assert main(wanted) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("eyewright: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "y.index").exists()


def test_an_archive_of_arrays_and_a_file_that_is_none_are_one_line(
    photos: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "v.npz", a=np.ones((2, 2)))
    (tmp_path / "v.npz").rename(tmp_path / "v.npy")
    wanted = ["index", str(photos), "--model", model, "--out", str(tmp_path / "y.index"), "--vectors"]
    for file, code in (("v.npy", 2), ("v.pt", 2), ("missing.npy", 3)):
        assert main([*wanted, str(tmp_path / file)]) == code
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.json", "{}"),
        ("v.json", '{"images": [{"sha256": "a"}]}'),
        ("v.json", "[1, 2]"),
        ("v.json", "[" * 100_000),
        ("v.csv", "a,b\n1,2\n"),
        ("v.txt", "disc/000.png\ndisc/000.png"),
        ("v.txt", ""),
    ],
)
def test_names_of_another_form_are_one_line(
    name: str, content: str, photos: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "v.npy", np.ones((2, 4), np.float32))
    (tmp_path / name).write_text(content)
    wanted = [
        "index",
        str(photos),
        "--vectors",
        str(tmp_path / "v.npy"),
        "--model",
        model,
        "--out",
        str(tmp_path / "y"),
    ]
    assert main(wanted) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_tables_of_another_form_are_one_line(photos: Path, model: str, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    tables: list[tuple[dict[str, Any], str]] = [
        ({"path": ["a", "b"], "embedding": [[1.0, 2.0], [1.0]]}, "different lengths"),
        ({"path": ["a", "b"], "embedding": [[1.0, 2.0], None]}, "gaps"),
        ({"path": ["a", "b"], "embedding": [[1.0], [1.0, 2.0, 3.0]]}, "found 1 and 3"),
        ({"path": ["a", "b"], "embedding": ["x", "y"]}, "column of paths and one of lists of numbers"),
        ({"embedding": [[1.0], [2.0]]}, "column of paths"),
        ({"path": ["a", None], "embedding": [[1.0], [2.0]]}, "the path of an image for row 1"),
        ({"path": ["a"], "embedding": [[0.0] * 70_000]}, "at most 65,536 numbers"),
    ]
    for content, said in tables:
        parquet.write_table(arrow.table(content), tmp_path / "v.parquet")
        with pytest.raises(UsageError, match=said):
            ew.import_vectors(photos, vectors=tmp_path / "v.parquet", model=model, out=tmp_path / "y.index")
    (tmp_path / "v.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(UsageError, match="is not a Parquet table"):
        ew.import_vectors(photos, vectors=tmp_path / "v.parquet", model=model, out=tmp_path / "y.index")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--export", "{tmp}/v.txt"], "ends with .npy or .parquet"),
        (["--export", "{index}/v.npy"], "outside of the index"),
        (["--export", "{tmp}/v.npy", "--model", "m"], "--model is not supported with --export"),
        (["--out", "o"], "expected --model, found none"),
        (["--model", "m"], "expected --out, found none"),
        (["--model", "m", "--out", "o", "--names", "n"], "--names is not supported without --vectors"),
        (["--model", "m", "--out", "o", "--vectors", "v.npy", "--update"], "--update is not supported with --vectors"),
        (["--model", "m", "--out", "o", "--vectors", "v.npy", "--on", "local"], "--on is not supported with"),
    ],
)
def test_options_that_do_nothing_are_refused(
    more: list[str], said: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(made), *(m.format(index=made, tmp=tmp_path) for m in more)]) == 2
    assert said in capsys.readouterr().err
