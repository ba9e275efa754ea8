"""Commands that read a folder read a copy of what is in a store: only what is new is copied again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_shapes

from eyewright.cli import main
from eyewright.core.errors import InputError, OutputError
from eyewright.scaling import mirrors
from eyewright.scaling.mirrors import mirror_address

DATA = "memory://bucket/shapes"


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra stores")
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def put(memory: Any, **files: bytes) -> None:
    for name, data in files.items():
        memory.pipe_file(f"/bucket/shapes/{name.replace('__', '/')}.png", data)


def found(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_only_what_is_new_is_copied_and_what_is_gone_is_removed(memory: Any, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    put(memory, a__1=b"one", a__2=b"two", b__c__3=b"three")
    folder = mirror_address(f"{DATA}/", within=tmp_path)
    assert found(folder) == {"a/1.png": b"one", "a/2.png": b"two", "b/c/3.png": b"three"}
    copied: list[str] = []
    fetch = mirrors._fetch
    monkeypatch.setattr(
        mirrors, "_fetch", lambda store, one, place: (copied.append(place.name), fetch(store, one, place))
    )
    assert mirror_address(DATA, within=tmp_path) == folder
    assert copied == []
    put(memory, a__1=b"other", a__4=b"four")
    memory.rm_file("/bucket/shapes/b/c/3.png")
    mirror_address(DATA, within=tmp_path)
    assert sorted(copied) == ["1.png", "4.png"]
    assert found(folder) == {"a/1.png": b"other", "a/2.png": b"two", "a/4.png": b"four"}
    assert not (folder / "b").exists()
    # A file that was removed here is copied again.
    (folder / "a" / "2.png").unlink()
    mirror_address(DATA, within=tmp_path)
    assert found(folder)["a/2.png"] == b"two"


def test_an_object_and_a_pattern_are_copied(memory: Any, tmp_path: Path) -> None:
    put(memory, x1=b"one", x2=b"two", y=b"three")
    assert mirror_address(f"{DATA}/y.png", within=tmp_path).read_bytes() == b"three"
    assert found(mirror_address(f"{DATA}/x*.png", within=tmp_path)) == {"x1.png": b"one", "x2.png": b"two"}


@pytest.mark.parametrize("key", ["a/../../../x.png", "a//x.png", f"{'n' * 256}.png", "a/./x.png"])
def test_a_key_that_is_no_path_is_named(memory: Any, tmp_path: Path, key: str) -> None:
    memory.store[f"/bucket/shapes/{key}"] = memory.open("/bucket/x", "wb")
    with pytest.raises(InputError, match="cannot be a path") as caught:
        list(mirrors._listed(DATA, _Listing(f"{DATA}/{key}")))  # type: ignore[arg-type]
    assert key[:20] in caught.value.message
    assert not list(tmp_path.iterdir())


class _Listing:
    def __init__(self, address: str) -> None:
        self.address = address

    def entry(self, address: str) -> None:
        raise InputError("nothing", code="not_found")

    def below(self, address: str) -> Iterator[mirrors.Entry]:
        yield mirrors.Entry(self.address, 1, 1)


def test_nothing_there_and_a_full_disk_are_one_line(memory: Any, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="nothing is at"):
        mirror_address("memory://bucket/none", within=tmp_path)
    put(memory, x=b"one")
    monkeypatch.setattr(mirrors.shutil, "disk_usage", lambda folder: type("", (), {"free": 2})())
    with pytest.raises(OutputError, match="3 bytes, 2 are free"):
        mirror_address(DATA, within=tmp_path)


def test_a_dataset_in_a_store_is_audited_as_the_folder(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EYEWRIGHT_CACHE", str(tmp_path / "cache"))
    data = write_shapes(tmp_path / "shapes", a_class=3)
    for path in data.rglob("*.png"):
        memory.pipe_file(f"/bucket/shapes/{path.relative_to(data)}", path.read_bytes())
    codes = [main(["doctor", str(data), "--json"])]
    own = json.loads(capsys.readouterr().out)
    codes.append(main(["doctor", DATA, "--json"]))
    there = json.loads(capsys.readouterr().out)
    assert codes[0] == codes[1]
    assert [f["code"] for f in there["findings"]] == [f["code"] for f in own["findings"]]
    assert there["account"] == own["account"]


@pytest.mark.parametrize("to", ["webdataset", "parquet"])
def test_shards_are_written_to_a_store_and_read_from_it(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    monkeypatch.setenv("EYEWRIGHT_CACHE", str(tmp_path / "cache"))
    data = write_shapes(tmp_path / "shapes", a_class=3)
    words = ["convert", str(data), "--to", to, "--out"]
    assert main([*words, str(tmp_path / "own")]) == 0
    capsys.readouterr()
    # An upload that was interrupted is repeated.
    for _ in range(2):
        assert main([*words, "memory://bucket/shards", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["out"] == {"data": "memory://bucket/shards"}
    there = {name.removeprefix("/bucket/shards/"): memory.cat_file(name) for name in memory.store}
    assert there == found(tmp_path / "own")
    assert main(["doctor", "memory://bucket/shards", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["account"]["read"] == 9
    # What is there is not replaced.
    name = max(there, key=lambda n: len(there[n]))
    memory.pipe_file(f"/bucket/shards/{name}", b"other")
    assert main([*words, "memory://bucket/shards"]) == 2
    assert "is there with other content" in capsys.readouterr().err
