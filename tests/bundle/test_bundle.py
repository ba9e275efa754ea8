"""A bundle is what was exported, bit for bit, or it is refused."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.bundle.manifest import _canonical
from eyewright.core.errors import BundleError, InputError


def all_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_bundle_predicts_paths_bytes_arrays_lists_folders_and_globs(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = ew.load_bundle(finished.paths["bundle"])
    path = shapes / "disc" / "000.png"
    one = bundle.predict(path)
    assert one.top1 == "disc"
    assert one.source == str(path)
    for other in (str(path), path.read_bytes(), ew.read_image(path)):
        assert np.array_equal(bundle.predict(other).probabilities, one.probabilities)
    assert len(bundle.predict([path, path])) == 2
    assert len(bundle.predict(shapes)) == 72
    assert len(bundle.predict(str(shapes / "**/00*.png"))) == 30
    stream = bundle.predict(shapes, stream=True)
    assert next(stream).index == 0
    assert next(stream).index == 1


@pytest.mark.parametrize("source", ["nothing.png", "no/*.png"])
def test_a_source_that_is_not_there_is_named(finished, source: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="found nothing"):
        finished.bundle.predict(source)


@pytest.mark.parametrize("source", ["97", "rtsp://127.0.0.1:9/x", "http://127.0.0.1:9/x"])
def test_a_camera_or_stream_that_is_not_there_is_named(finished, source: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"camera 97|cannot reach"):
        finished.bundle.predict(source)


def test_the_frames_of_a_video_are_predicted_with_their_times(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    cv2 = pytest.importorskip("cv2")
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 32))
    for _ in range(4):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    found = finished.bundle.predict(clip)
    assert [p.index for p in found] == [0, 1, 2, 3]
    assert [round(p.time_s, 2) for p in found] == [0.0, 0.1, 0.2, 0.3]
    assert next(finished.bundle.predict(clip, stream=True)).index == 0


def test_one_flipped_bit_in_any_file_is_found(finished, bundle_copy: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for name in all_files(bundle_copy):
        path = bundle_copy / name
        good = path.read_bytes()
        for at in {0, len(good) - 1, *rng.integers(0, len(good), 6).tolist()}:
            bad = bytearray(good)
            bad[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(bad))
            with pytest.raises(BundleError):
                ew.verify(bundle_copy)
        path.write_bytes(good)
    assert ew.verify(bundle_copy).labels == finished.bundle.labels


def test_a_missing_added_or_linked_file_is_found(bundle_copy: Path, tmp_path: Path) -> None:
    ew.verify(bundle_copy)
    (bundle_copy / "extra.txt").touch()
    with pytest.raises(BundleError, match=r"'extra\.txt', which it does not list"):
        ew.verify(bundle_copy)
    (bundle_copy / "extra.txt").unlink()
    moved = tmp_path / "moved.onnx"
    os.rename(bundle_copy / "onnx/model.onnx", moved)
    with pytest.raises(BundleError, match="lacks 'onnx/model"):
        ew.verify(bundle_copy)
    (bundle_copy / "onnx/model.onnx").symlink_to(moved)
    with pytest.raises(BundleError, match="a link or special file"):
        ew.verify(bundle_copy)


def test_a_linked_folder_is_found(bundle_copy: Path, tmp_path: Path) -> None:
    os.rename(bundle_copy / "onnx", tmp_path / "onnx")
    (bundle_copy / "onnx").symlink_to(tmp_path / "onnx")
    with pytest.raises(BundleError, match="link or special"):
        ew.verify(bundle_copy)


def rewrite(folder: Path, **changes: object) -> None:
    """Change the manifest and seal it again, as a newer or a hostile writer would."""
    content = json.loads((folder / "bundle.json").read_text())
    del content["digest"]
    (folder / "bundle.json").write_bytes(_canonical({**content, **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 3}, "format version is 3"),
        ({"format_version": 2}, "expected the key .inputs. in format 2"),
        ({"format": "something"}, "expected format"),
        ({"task": "os.system"}, "unknown here"),
        ({"labels": ["a", "a", "b"]}, "distinct class names"),
        ({"labels": ["a", "b"]}, "operating point for each class"),
        ({"labels": ["a", "b"], "thresholds": {}}, "of 2 classes, found the shape"),
        ({"preparation": {"size_hw": [16, 16]}}, "the preparation gives uint8"),
        (
            {"tensors": {"inputs": [{"name": "image"}], "outputs": [{"name": "logits"}]}},
            "missing required field `dtype`",
        ),
        ({"files": {}}, "lists no"),
    ],
)
def test_a_manifest_that_is_sealed_but_wrong_is_refused(
    bundle_copy: Path, changes: dict[str, object], said: str
) -> None:
    rewrite(bundle_copy, **changes)
    with pytest.raises(ew.EyewrightError, match=said):
        ew.verify(bundle_copy).predict(np.zeros((8, 8, 3), np.uint8))


def test_another_preparation_fails_the_golden_pairs(bundle_copy: Path) -> None:
    content = json.loads((bundle_copy / "bundle.json").read_text())
    rewrite(bundle_copy, preparation={**content["preparation"], "size_hw": [32, 32], "fit": "crop"})
    ew.verify(bundle_copy)  # square images of that very size: a crop is the same there
    rewrite(bundle_copy, preparation={**content["preparation"], "channels": 1})
    with pytest.raises(BundleError):
        ew.verify(bundle_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "eyewright-bundle"}', "[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(bundle_copy: Path, text: str) -> None:
    (bundle_copy / "bundle.json").write_text(text)
    with pytest.raises(BundleError):
        ew.verify(bundle_copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle"):
        ew.verify(tmp_path)
    with pytest.raises(InputError, match="expected a bundle, found nothing at"):
        ew.verify(tmp_path / "none")


def test_a_run_folder_stands_for_the_bundle_in_it(finished) -> None:  # type: ignore[no-untyped-def]
    assert ew.verify(finished.paths["run"]).labels == finished.bundle.labels


def test_the_field_never_imports_torch(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    code = """
import sys, socket
def refuse(*a, **k): raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = refuse
import eyewright as ew
bundle = ew.load_bundle(sys.argv[1])
bundle.predict(sys.argv[2])
ew.evaluate(bundle, sys.argv[3], allow_leaks=True)
ew.explain(bundle, sys.argv[2])
ew.doctor(sys.argv[3])
heavy = {"torch", "onnx", "sklearn", "scipy", "captum", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    args = [finished.paths["bundle"], shapes / "disc/000.png", shapes]
    subprocess.run([sys.executable, "-c", code, *map(str, args)], check=True)


def test_sockets_blocked_the_library_still_verifies(finished, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(socket, "socket", None)
    assert ew.verify(finished.paths["bundle"])


def test_the_base_install_does_all_of_the_field(finished, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """In an environment of the base dependencies only, all of the field works and training is refused."""
    import importlib.metadata as metadata
    import site

    wanted, seen = ["eyewright"], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or ():
            requirement, _, marker = line.partition(";")
            if "extra" not in marker:
                bare = __import__("re").match(r"[\w.-]+", requirement.strip())
                assert bare is not None
                if _installed(bare.group()):
                    wanted.append(bare.group())
    assert "torch" not in seen
    # The base install, laid out as links to what is installed here: no network, no minute of installing.
    packages = Path(np.__file__).parents[1]
    target = tmp_path / "site"
    target.mkdir()
    for name in seen - {"eyewright"}:
        for file in metadata.files(name) or ():
            top = Path(str(file)).parts[0]
            if top not in ("..", ".") and not (target / top).exists() and (packages / top).exists():
                (target / top).symlink_to(packages / top)
    (target / "eyewright").symlink_to(Path(ew.__file__).parent)
    assert site.getsitepackages()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(target), "HOME": str(tmp_path)}

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-m", "eyewright", *map(str, args)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    bundle, image = finished.paths["bundle"], shapes / "disc/000.png"
    assert call("predict", bundle, "--source", image).stdout.startswith(str(image))
    for args in (
        ("verify", bundle),
        ("evaluate", bundle, shapes, "--out", tmp_path / "report", "--allow-leaks"),
        ("explain", bundle, image, "--out", tmp_path / "maps"),
        ("doctor", shapes),
        ("models",),
        ("formats",),
        ("info",),
    ):
        done = call(*args)
        assert done.returncode == 0, (args, done.stderr)
    for args in (("train", shapes), ("run", shapes), ("quickstart",), ("export", finished.paths["run"], "--out", "x")):
        done = call(*args)
        assert done.returncode == 2
        assert "pip install 'eyewright[train]'" in done.stderr
        assert done.stderr.count("\n") == 1


def _installed(name: str) -> bool:
    import importlib.metadata as metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
