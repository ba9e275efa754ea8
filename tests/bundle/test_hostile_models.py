"""Models that read other files, never end or unpack to gigabytes are refused by every door."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eyewright as ew
from eyewright.bundle.manifest import read_manifest, write_manifest
from eyewright.bundle.onnx_scan import refuse_outside_data
from eyewright.bundle.trial import first_run_s
from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace

onnx = pytest.importorskip("onnx")


def _outside(place: str) -> Any:
    """Return a tensor of 12 numbers that lie in another file."""
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[12, 2], data_location=1)
    for key, value in (("location", place), ("offset", "0"), ("length", "96")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _model(nodes: Any, tensors: Any = (), **more: Any) -> bytes:
    make = onnx.helper
    image = make.make_tensor_value_info("x", 1, [1, 3, 2, 2])
    scores = make.make_tensor_value_info("y", 1, [1, 2])
    graph = make.make_graph(nodes, "g", [image], [scores], list(tensors), **more)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def _flat(*last: Any) -> list[Any]:
    return [onnx.helper.make_node("Flatten", ["x"], ["f"]), *last]


def _in_an_initialiser(place: str) -> bytes:
    return _model(_flat(onnx.helper.make_node("MatMul", ["f", "w"], ["y"])), [_outside(place)])


def _in_a_constant(place: str) -> bytes:
    constant = onnx.helper.make_node("Constant", [], ["w"], value=_outside(place))
    return _model(_flat(constant, onnx.helper.make_node("MatMul", ["f", "w"], ["y"])))


def _in_a_subgraph(place: str) -> bytes:
    make = onnx.helper
    part = make.make_graph(
        [make.make_node("MatMul", ["f", "w"], ["z"])],
        "part",
        [],
        [make.make_tensor_value_info("z", 1, [1, 2])],
        [_outside(place)],
    )
    choice = make.make_node("If", ["c"], ["y"], then_branch=part, else_branch=part)
    truth = onnx.numpy_helper.from_array(np.array(True), "c")
    return _model(_flat(choice), [truth])


def _in_a_sparse_tensor(place: str) -> bytes:
    sparse = onnx.SparseTensorProto(values=_outside(place), dims=[12, 2])
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.arange(12), "i"))
    return _model(_flat(onnx.helper.make_node("MatMul", ["f", "w"], ["y"])), sparse_initializer=[sparse])


_PLACES = (_in_an_initialiser, _in_a_constant, _in_a_subgraph, _in_a_sparse_tensor)


@pytest.mark.parametrize("make", _PLACES)
@pytest.mark.parametrize("place", ["weights.bin", "../secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*", ""])
def test_values_in_another_file_are_found_wherever_they_are_named(make: Any, place: str) -> None:
    with pytest.raises(BundleError, match="keeps values in another file"):
        refuse_outside_data(make(place))


def _seal(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a bundle and seal the bundle again, as a hostile writer would."""
    (folder / name).write_bytes(data)
    manifest = read_manifest(folder)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_manifest(folder, replace(manifest, files={**manifest.files, name: entry}))


def test_no_door_opens_a_model_that_reads_another_file(bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(96))
    (bundle_copy / "weights.bin").unlink(missing_ok=True)
    model = _in_an_initialiser("weights.bin")
    (tmp_path / "m.onnx").write_bytes(model)
    with pytest.raises(BundleError, match="another file"):
        ew.import_onnx(tmp_path / "m.onnx", out=tmp_path / "b", task="classify", labels="a,b", activation="softmax")
    assert not (tmp_path / "b").exists()
    _seal(bundle_copy, "onnx/model.onnx", model)
    for door in (ew.load_bundle, ew.verify):
        with pytest.raises(BundleError, match="another file"):
            door(bundle_copy).predict(np.zeros((8, 8, 3), np.uint8))


def _endless() -> bytes:
    """Return a model with a loop of 2^62 rounds."""
    make = onnx.helper
    scores = [make.make_tensor_value_info(n, 1, [1, 2]) for n in ("v", "w")]
    truth = [make.make_tensor_value_info(n, 9, []) for n in ("c", "d")]
    body = make.make_graph(
        [make.make_node("Identity", ["c"], ["d"]), make.make_node("Identity", ["v"], ["w"])],
        "body",
        [make.make_tensor_value_info("i", 7, []), truth[0], scores[0]],
        [truth[1], scores[1]],
    )
    tensors = [
        onnx.numpy_helper.from_array(np.ones((12, 2), np.float32), "weights"),
        onnx.numpy_helper.from_array(np.array(2**62), "rounds"),
        onnx.numpy_helper.from_array(np.array(True), "go_on"),
    ]
    nodes = [
        make.make_node("MatMul", ["f", "weights"], ["m"]),
        make.make_node("Loop", ["rounds", "go_on", "m"], ["y"], body=body),
    ]
    return _model(_flat(*nodes), tensors)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYEWRIGHT_FIRST_RUN_S", "0.6")


def test_a_first_run_gets_more_time_on_a_busy_machine_and_never_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EYEWRIGHT_FIRST_RUN_S", raising=False)
    cores = os.cpu_count() or 1
    found = []
    for programs in (0.0, cores, 4.0 * cores, 1000.0 * cores):
        monkeypatch.setattr(os, "getloadavg", lambda programs=programs: (programs, 0.0, 0.0), raising=False)
        found.append(first_run_s() / first_run_s.__globals__["_FIRST_RUN_S"])
    assert found == pytest.approx([1, 1, 4, 8])
    monkeypatch.setenv("EYEWRIGHT_FIRST_RUN_S", "2")
    assert first_run_s() == 2, "what a person has set is not changed"


def test_a_model_that_never_ends_is_not_imported(tmp_path: Path, impatient: None) -> None:
    (tmp_path / "m.onnx").write_bytes(_endless())
    with pytest.raises(BundleError, match="first run did not finish"):
        ew.import_onnx(tmp_path / "m.onnx", out=tmp_path / "b", task="classify", labels="a,b", activation="softmax")
    assert not (tmp_path / "b").exists()


def test_a_command_whose_model_never_ends_is_ended_by_sigterm(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_endless())
    command = [sys.executable, "-m", "eyewright", "import", "m.onnx", "--task", "classify", "--labels", "a,b"]
    environment = {**os.environ, "EYEWRIGHT_FIRST_RUN_S": "60"}
    with subprocess.Popen([*command, "--out", "b"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as started:
        _wait_for_a_child(started.pid)
        began = time.monotonic()
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=20)
        assert (started.returncode, said.count(b"\n")) == (143, 1)
        assert time.monotonic() - began < 10


def _wait_for_a_child(pid: int) -> None:
    """Wait until a process has started another, which is the one that runs the model."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        if Path(f"/proc/{pid}/task/{pid}/children").read_text().strip():
            return
        time.sleep(0.01)
    raise AssertionError("no process was started")


def test_golden_pairs_that_unpack_to_gigabytes_are_refused_unread(bundle_copy: Path) -> None:
    buffer, head = io.BytesIO(), io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (600, 1024, 1024)}
    np.lib.format.write_array_header_1_0(head, described)
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("image.npy", "w", force_zip64=True) as file,
    ):
        file.write(head.getvalue())
        for _ in range(600):
            file.write(bytes(2**20))
    _seal(bundle_copy, "golden.npz", buffer.getvalue())
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match="more than the 536,870,912 allowed"):
            ew.verify(bundle_copy)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_a_fifo_as_a_manifest_is_not_waited_for(bundle_copy: Path) -> None:
    (bundle_copy / "bundle.json").unlink()
    os.mkfifo(bundle_copy / "bundle.json")
    with pytest.raises(BundleError, match=r"FIFO|special file"):
        ew.verify(bundle_copy)


def test_a_model_whose_answers_cannot_be_decoded_is_not_verified(lined: Any, tmp_path: Path) -> None:
    """A reader answers one number more than the manifest names characters: its shapes alone do not tell."""
    folder = tmp_path / "b"
    shutil.copytree(lined.paths["bundle"], folder)
    manifest = read_manifest(folder)
    names = manifest.labels.names[:-1]
    points = manifest.thresholds.get("classes")
    kept = {**manifest.thresholds, "classes": {n: points[n] for n in names}} if points else manifest.thresholds
    write_manifest(folder, replace(manifest, labels=LabelSpace(names), thresholds=kept))
    with pytest.raises(BundleError, match=r"cannot be decoded: expected probabilities \(\d+, steps"):
        ew.verify(folder)


def test_the_reason_of_a_refusal_says_once_what_to_do_and_names_a_missing_key(paired: Any, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(paired.paths["bundle"], folder)
    about = json.loads((folder / "text.json").read_text())
    _seal(folder, "text.json", json.dumps({k: v for k, v in about.items() if k != "bias"}).encode())
    with pytest.raises(BundleError, match=r"text\.json is not valid: the key 'bias' is missing"):
        ew.load_bundle(folder).embed_texts(["a"])
    _seal(folder, "text.json", json.dumps({**about, "buckets": 1}).encode())
    with pytest.raises(BundleError) as refused:
        ew.load_bundle(folder).embed_texts(["a"])
    assert str(refused.value).count("again") == 1
