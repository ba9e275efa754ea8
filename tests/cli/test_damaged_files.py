"""Files that a user names and that are damaged, no text or no files at all: one line and a documented code."""

import os
import shutil
from pathlib import Path

import pytest

import eyewright as ew
from eyewright.core.errors import CheckpointError, EyewrightError, InputError, UsageError
from eyewright.lifecycle import generate_lines
from eyewright.training.recipe import read_recipe

_BYTES = bytes(range(255, 128, -1))


@pytest.fixture
def run_copy(finished, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    shutil.copytree(finished.paths["run"], folder)
    return folder


@pytest.mark.parametrize("content", [b"", _BYTES, b"id,split\na\n", b"sha256,label\n0,1\n"])
def test_without_its_split_a_run_is_not_measured_on_what_it_was_trained_on(
    run_copy: Path, shapes: Path, content: bytes
) -> None:
    (run_copy / "split.csv").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"split.csv' is damaged"):
        ew.evaluate(run_copy, shapes)


def test_a_damaged_history_of_a_run_is_named(run_copy: Path, shapes: Path) -> None:
    (run_copy / "metrics.csv").write_bytes(_BYTES)
    with pytest.raises(CheckpointError, match=r"metrics.csv' is damaged"):
        ew.evaluate(run_copy, shapes, allow_leaks=True)


@pytest.mark.parametrize("content", [b"", _BYTES])
def test_a_bundle_does_not_lose_its_test_of_familiarity_in_silence(run_copy: Path, content: bytes) -> None:
    (run_copy / "looks.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"looks.npz' is damaged"):
        ew.export(run_copy, out=run_copy.parent / "bundle")


def _import(tmp_path: Path, labels: str, **options: str) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    ew.import_onnx(tmp_path / "m.onnx", out=tmp_path / "b", task="classify", labels=labels, **options)


def test_a_file_of_labels_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(_BYTES)
    with pytest.raises(EyewrightError, match=r"labels.txt"):
        _import(tmp_path, str(tmp_path / "labels.txt"))


def test_labels_may_be_saved_as_utf_16_or_be_longer_than_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("cat\ndog\n".encode("utf-16"))
    for labels in (str(tmp_path / "labels.txt"), ",".join(f"class number {i}" for i in range(300))):
        # The labels are read first: what is refused is the model.
        with pytest.raises(EyewrightError, match="ONNX Runtime cannot open the model"):
            _import(tmp_path, labels)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match="found a FIFO"):
        read_recipe(fifo)
    with pytest.raises(UsageError, match="found a FIFO"):
        _import(tmp_path, "cat,dog", contract=str(fifo))
    with pytest.raises(InputError, match="found a FIFO"):
        generate_lines(out=tmp_path / "lines", texts=fifo)


@pytest.mark.parametrize("option", ["texts", "alphabet"])
def test_a_device_without_an_end_is_not_read(tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="found a device"):
        generate_lines(out=tmp_path / "lines", **{option: Path("/dev/zero")})


def test_what_a_source_is_instead_of_an_image_is_said(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    bundle = ew.load_bundle(finished.paths["bundle"])
    for name, words in (("fifo", "found a FIFO"), ("link.png", "No such file")):
        with pytest.raises(InputError, match=words):
            list(ew.predict(bundle, tmp_path / name))
