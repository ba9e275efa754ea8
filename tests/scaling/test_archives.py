"""Tar files and Parquet tables are read by position, and what is hostile in them is refused."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from eyewright.cli import main
from eyewright.core.errors import InputError, UsageError
from eyewright.data import archives
from eyewright.data.archives import images_of_tar, iter_tar, write_webdataset
from eyewright.data.formats import open_dataset
from eyewright.processing import process_source
from eyewright.scaling import plan_predict, plan_process, run_job, verify_folder
from eyewright.scaling.fetching import list_references, plain_name
from eyewright.scaling.plan import open_plan


class Held:
    """Bytes in memory, as an archive is read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, begin: int, end: int) -> bytes:
        return self.data[begin:end]


def tar_of(members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return out.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    return {one.name: data[one.at : one.at + one.size] for one in iter_tar(Held(data), "x.tar")}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(format: int) -> None:
    members = {"a.jpg": b"1" * 700, "b/c.txt": b"no image", "b/d.PNG": b"", "e.cls": b"3", "f.webp": b"2" * 512}
    members["x/" * 60 + "long.jpg"] = b"3"
    if format != tarfile.USTAR_FORMAT:
        members["y" * 300 + ".jpg"] = b"4" * 5
        members["ümlaut \u4e2d.jpg"] = b"5"
    expected = {k: v for k, v in members.items() if k.lower().endswith((".jpg", ".png", ".webp"))}
    assert contents(tar_of(members, format)) == expected


def test_links_devices_and_sparse_files_are_no_images() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            about = tarfile.TarInfo(f"{kind.decode()}.jpg")
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
        about = tarfile.TarInfo("good.jpg")
        about.size = 3
        archive.addfile(about, io.BytesIO(b"yes"))
    assert contents(out.getvalue()) == {"good.jpg": b"yes"}


def test_a_size_in_base_256_is_read() -> None:
    data = bytearray(tar_of({"a.jpg": b"x" * 20}))
    data[124:136] = b"\x80" + (20).to_bytes(11, "big")
    assert contents(signed(data)) == {"a.jpg": b"x" * 20}


def signed(data: bytearray) -> bytes:
    """Return a tar file whose first header has the sum that belongs to it."""
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    return bytes(data)


def changed(data: bytes, begin: int, new: bytes) -> bytes:
    changed = bytearray(data)
    changed[begin : begin + len(new)] = new
    return signed(changed)


GOOD = tar_of({"a.jpg": b"x" * 20})
PAX = tar_of({"y" * 300 + ".jpg": b"x"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged at byte 0"),
        (b"no tar file" * 100, "damaged at byte 0"),
        (GOOD[:100], "damaged at byte 0"),
        (GOOD[:520], "cut off in the member 'a.jpg'"),
        (GOOD[:512].replace(b"a.jpg", b"b.jpg") + GOOD[512:], "damaged at byte 0"),
        (changed(GOOD, 124, b"17777777777\0"), "cut off in the member"),
        (changed(GOOD, 124, b"-0000000001\0"), "size is no number"),
        (changed(GOOD, 124, b"\xff" * 12), "size is no number"),
        (changed(PAX, 124, b"77777777777\0"), "has a name of"),
        (PAX[:512] + b"99999" + PAX[517:], "damaged pax header"),
        (PAX[:512] + b"x y=z" + PAX[517:], "damaged pax header"),
    ],
)
def test_what_is_damaged_or_hostile_is_one_line(data: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        contents(data)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_member_larger_than_images_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "Limits", lambda: SimpleNamespace(bytes=10))
    with pytest.raises(InputError, match="at most 10 are read"):
        contents(GOOD)


def test_masks_links_hidden_and_other_members_are_counted_and_left_out() -> None:
    members = {"a/0.png": b"1", "a/0.seg.png": b"2", "a/0.json": b"{}", "./a/1.jpg": b"3", "a/1.MASK.png": b"4"}
    members |= {"a/._0.png": b"5", "__MACOSX/a/0.png": b"6", ".cache/0.png": b"7", "a/2.left.jpg": b"8"}
    out = io.BytesIO(tar_of(members))
    with tarfile.open(fileobj=out, mode="a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            about = tarfile.TarInfo(f"link-{kind.decode()}.jpg")
            about.type, about.linkname = kind, "a/0.png"
            archive.addfile(about)
    left_out: Counter[str] = Counter()
    found = list(images_of_tar(Held(out.getvalue()), "x.tar", left_out))
    assert [one.name for one in found] == ["a/0.png", "./a/1.jpg", "a/2.left.jpg"]
    assert left_out == {"mask": 2, "other file": 1, "hidden file": 3, "link": 2, "device": 1}


def test_a_job_has_the_images_that_the_data_set_has_and_says_what_it_leaves_out(images, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    files = sorted((images / "a").iterdir())
    parts = [{"png": p.read_bytes(), "seg.png": files[0].read_bytes(), "json": b"{}"} for p in files]
    (tmp_path / "tars").mkdir()
    write_webdataset(tmp_path / "tars" / "x.tar", [(f"m/{k}", part) for k, part in enumerate(parts)])
    words = [
        "process",
        str(tmp_path / "tars" / "x.tar"),
        "--steps",
        "resize:8",
        "--out",
        str(tmp_path / "job"),
        "--plan",
    ]
    assert main(words) == 0
    assert "left out 20 masks, 20 other files" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["left_out"] == {"mask": 20, "other file": 20}
    plan = open_plan(tmp_path / "job")
    planned = [item.path.rpartition(":")[2] for shard in plan.shards() for item in plan.items(shard)]
    data = open_dataset(tmp_path / "tars", task="segment")
    assert sorted(name.rpartition("/")[2] for name in planned) == sorted(s.id.rpartition("/")[2] for s in data.samples)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.zst"])
def test_a_compressed_tar_file_is_refused_before_it_is_planned_as_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(GOOD))
    for n, source in enumerate((name, "x.*")):
        with pytest.raises(InputError, match="not compressed") as caught:
            plan_process(str(tmp_path / source), "resize:8", tmp_path / f"job{n}")
        assert "decompress" in (caught.value.fix or "")
    for read in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=r"not compressed" if read.is_file() else "found none"):
            open_dataset(read)
    with pytest.raises(InputError, match="not compressed"):
        plan_process(str(tmp_path), "resize:8", tmp_path.parent / f"{tmp_path.name}-job")


def test_a_glob_of_images_and_archives_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "b.tar").write_bytes(GOOD)
    with pytest.raises(UsageError, match="found the archive"):
        plan_process(str(tmp_path / "*"), "resize:8", tmp_path / "job")


@pytest.mark.parametrize(
    ("names", "pattern"),
    [(["a.tar", "classes.txt"], "*.tar"), (["train/a.tar", "val/b.tar"], "**/*.tar"), (["d/x.parquet"], "d/*.parquet")],
)
def test_a_folder_of_archives_says_which_pattern_to_pass(tmp_path: Path, names: list[str], pattern: str) -> None:
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(GOOD)
    with pytest.raises(InputError, match=r"found [12] (tar file|Parquet table)") as caught:
        plan_process(str(tmp_path / "data"), "resize:8", tmp_path / "job")
    assert repr(str(tmp_path / "data" / pattern)) in (caught.value.fix or "")
    if pattern.endswith(".tar"):
        found = plan_process(str(tmp_path / "data" / pattern), "resize:8", tmp_path / "job")
        assert found.n_images == sum(name.endswith(".tar") for name in names)


def test_names_never_lead_out_of_the_folder() -> None:
    for name in ("../../etc/x.jpg", "/etc/x.jpg", "a/../../x.jpg", "..//./x.jpg"):
        said = plain_name(f"tar:///data/a.tar#512:{name}")
        assert said.startswith("data/a.tar/")
        assert ".." not in said.split("/")


@pytest.fixture
def tars(images: Path, tmp_path: Path) -> Path:
    """The 40 images in two tar files of a folder, with what WebDataset keeps next to an image."""
    for k, name in enumerate("ab"):
        files = sorted((images / name).iterdir())
        samples = [(f"{name}/{p.stem}", {"png": p.read_bytes(), "cls": str(k).encode()}) for p in files]
        (tmp_path / "tars").mkdir(exist_ok=True)
        assert write_webdataset(tmp_path / "tars" / f"{name} #1.tar", samples) == 20
    return tmp_path / "tars"


def rows_of(job: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


def test_predictions_of_tar_files_are_those_of_the_folder(bundle, images, tars, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run_job(plan_predict(bundle, str(images), tmp_path / "one"), workers=1)
    job = run_job(plan_predict(bundle, str(tars / "*.tar"), tmp_path / "job", shard_size=7), workers=2)
    assert (job.counts["images"], job.counts["failed"]) == (40, 1)
    assert verify_folder(tmp_path / "job")[1] == []
    found, expected = rows_of(tmp_path / "job"), rows_of(tmp_path / "one")
    assert [r["id"] for r in found] == list(range(40))
    assert found[0]["source"] == f"tar://{tars!s}/a%20%231.tar#512:a/00.png"
    for row, one in zip(found, expected, strict=True):
        assert (row["ok"], row["error"], row["label"]) == (one["ok"], one["error"], one["label"])
        if row["ok"]:
            assert row["result"]["scores"] == pytest.approx(one["result"]["scores"], abs=2e-6)
    (bad,) = (row for row in found if not row["ok"])
    assert bad["source"] in bad["message"]
    assert "eyewright-fetch" not in json.dumps(found)


def test_files_processed_from_tar_files_are_those_of_the_folder(images: Path, tars: Path, tmp_path: Path) -> None:
    process_source(images, "resize:16", tmp_path / "one", workers=1)
    run_job(plan_process(str(tars / "*.tar"), "resize:16", tmp_path / "job"), workers=1)
    place = tmp_path / "job" / "images" / str(tars).lstrip("/")
    for p in sorted((tmp_path / "one").rglob("*.png")):
        assert (place / f"{p.parent.name} #1.tar" / p.parent.name / p.name).read_bytes() == p.read_bytes()
    assert len(list(place.rglob("*.png"))) == 39
    assert verify_folder(tmp_path / "job")[1] == []


def test_an_archive_that_changed_is_rows_with_an_error(bundle: Path, tars: Path, tmp_path: Path) -> None:
    plan = plan_predict(bundle, str(tars / "*.tar"), tmp_path / "job")
    os.utime(tars / "a #1.tar", (0, 0))
    (tars / "b #1.tar").unlink()
    run_job(plan, workers=1)
    assert [r["error"] for r in rows_of(tmp_path / "job")] == ["changed"] * 20 + ["not_found"] * 20


@pytest.mark.usefixtures("poison")
def test_kills_of_worker_and_driver_lose_and_double_nothing(bundle: Path, tars: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(tars / "*.tar"), "--out", str(job), "--workers", "1", "--quiet"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words, "--on", "local", "--shard-size", "2"])
    until = time.monotonic() + 60
    for n in (1, 5):
        while len(list(job.glob("commits/*.json"))) < n and time.monotonic() < until:
            time.sleep(0.005)
        if n == 1:
            for child in Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
    driver.kill()
    driver.wait()
    assert main([*words, "--resume"]) == 1
    assert [r["id"] for r in rows_of(job)] == list(range(40))
    assert verify_folder(job)[1] == []


def test_rows_of_parquet_are_read_as_images(bundle: Path, images: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    files = sorted(images.rglob("*.png"))
    rows = [{"image": {"bytes": p.read_bytes(), "path": p.name}, "label": 1} for p in files]
    rows[3]["image"]["bytes"] = None
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=9)
    run_job(plan_predict(bundle, str(images), tmp_path / "one"), workers=1)
    run_job(plan_predict(bundle, str(tmp_path / "x.parquet"), tmp_path / "job", shard_size=11), workers=1)
    found, expected = rows_of(tmp_path / "job"), rows_of(tmp_path / "one")
    assert [r["label"] for r in found] == [None if k == 3 else r["label"] for k, r in enumerate(expected)]
    assert "has no image" in found[3]["message"]
    named = [{"mask": b"m", "thumb": b"t", "image": row["image"]} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(named), tmp_path / "z.parquet")
    plan = plan_predict(bundle, str(tmp_path / "z.parquet"), tmp_path / "named")
    assert plan.left_out == {"mask": 40, "image of another column": 40}
    run_job(plan, workers=1)
    assert [r["label"] for r in rows_of(tmp_path / "named")] == [r["label"] for r in found]
    (tmp_path / "y.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(InputError, match="is not a Parquet table"):
        list(list_references(str(tmp_path / "y.parquet")))


def test_keys_that_would_be_read_otherwise_are_not_written(tmp_path: Path) -> None:
    for n, key in enumerate(("a.b", "", "/a", "../a")):
        with pytest.raises(InputError, match="cannot be written to a tar file"):
            write_webdataset(tmp_path / f"{n}.tar", [(key, {"jpg": b""})])


def test_nothing_there_is_one_line(bundle: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["predict", str(bundle), "--out", str(tmp_path / "job"), "--on", "local"]
    assert main([*words, "--source", str(tmp_path / "none.tar")]) == 3
    assert "expected files at" in capsys.readouterr().err
    (tmp_path / "empty.tar").write_bytes(tar_of({}))
    assert main([*words, "--source", str(tmp_path / "empty.tar")]) == 3
    assert "expected images in" in capsys.readouterr().err


def _refused(bundle: Path, path: Path, tmp_path: Path, capsys) -> str:  # type: ignore[no-untyped-def]
    assert main(["predict", str(bundle), "--source", str(path), "--out", str(tmp_path / "job"), "--on", "local"]) == 3
    said: str = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not (tmp_path / "job" / "plan").exists()
    return said


@pytest.mark.parametrize("n", [2_000_000, 10**9])
def test_a_table_that_claims_more_rows_than_it_can_have_is_refused(bundle, tmp_path, capsys, n) -> None:  # type: ignore[no-untyped-def]
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    path = tmp_path / "x.parquet"
    # Rows without an image take next to nothing; 10^9 of them are written into the footer by hand.
    written = min(n, 2_000_000)
    parquet.write_table(pyarrow.table({"image": pyarrow.nulls(written, pyarrow.binary())}), path)
    if n > written:
        data = path.read_bytes()
        length = int.from_bytes(data[-8:-4], "little")
        footer = data[-8 - length : -8].replace(_zigzag(written), _zigzag(n))
        path.write_bytes(data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert f"{n:,} rows" in _refused(bundle, path, tmp_path, capsys)


def _zigzag(n: int) -> bytes:
    """Return a number as Thrift's compact protocol writes it."""
    n, out = 2 * n, bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def test_tables_without_a_column_of_images_are_refused(bundle, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    for k, column in enumerate(([[b"x"]], [{"inner": {"bytes": b"x"}}], [{"path": "/etc/passwd"}], ["x"], [1], [None])):
        path = tmp_path / f"{k}.parquet"
        parquet.write_table(pyarrow.table({"image": column}), path)
        assert "expected a column of images" in _refused(bundle, path, tmp_path, capsys)
