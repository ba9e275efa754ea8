"""Targets: each answers as its bundle does, or there is none; each is sealed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright import lifecycle
from eyewright.cli import main
from eyewright.core.errors import BundleError, MissingExtraError, ParityError, RefusedError, UsageError
from eyewright.delivery.target import read_target


@pytest.fixture(scope="module")
def tested(finished) -> np.ndarray:  # type: ignore[no-untyped-def]
    data = ew.load_dataset(finished.run.about["data_path"]).test
    return np.stack([data.image(i) for i in range(len(data))])


# Outlines hold boxes and masks, so they stand for both where a target is slow to write.
@pytest.mark.parametrize(
    ("target", "name"),
    [
        *(("torch", name) for name in ("finished", "found", "outlined", "painted")),
        ("openvino", "finished"),
        ("openvino", "outlined"),
        ("executorch", "outlined"),
        *(
            pytest.param(target, name, marks=pytest.mark.slow)
            for target, names in (("openvino", ("found", "painted")), ("executorch", ("finished", "found")))
            for name in names
        ),
    ],
)
def test_other_runtimes_answer_as_the_bundle_does(
    target: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = request.getfixturevalue(name)
    result = lifecycle.deliver(made.run.folder, tmp_path / "t", to=target)
    assert result.parity is not None
    # The run's own validation images, not the four golden ones.
    assert result.parity.n == sum(r["split"] == "val" for r in made.run.split_rows()) > 4
    assert result.parity.worst <= 1e-3
    opened = ew.verify(tmp_path / "t")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (70, 50, 3)).astype(np.uint8) for _ in range(3)]
    pixels, _ = opened.preparation.batch(images)
    ours, theirs = made.bundle.raw(pixels), opened.raw(pixels)
    for key, wanted in ours.items():
        assert np.abs(theirs[key] - wanted).max() <= 1e-3 * max(1.0, np.abs(wanted).max())
    # One image alone, and none, work too.
    assert len(opened.predict_images(images[:1])) == 1


def test_masks_are_refused_where_they_would_be_others(painted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="not supported for masks"):
        lifecycle.deliver(painted.run.folder, tmp_path / "t", to="executorch")
    assert not (tmp_path / "t").exists()


def test_a_target_is_sealed_as_a_bundle_is(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from eyewright.bundle.verify import bundle_digest

    bundle = finished.paths["bundle"]
    folder = tmp_path / "t"
    assert main(["export", str(bundle), "--to", "openvino", "--out", str(folder), "--quiet"]) == 0
    stored, data = read_target(folder)
    assert stored.bundle == bundle_digest(bundle)
    assert stored.target == "openvino"
    assert set(data) == {"model.xml", "model.bin", "golden.npz"}
    assert str(tmp_path) not in data["model.xml"].decode()
    assert main(["verify", str(folder), "--quiet"]) == 0
    assert main(["predict", str(folder), "--source", _one_image(finished), "--quiet"]) == 0
    (folder / "more.txt").write_text("x")
    with pytest.raises(BundleError, match="does not list"):
        ew.verify(folder)
    (folder / "more.txt").unlink()
    content = bytearray(data["model.bin"])
    content[100] ^= 1
    (folder / "model.bin").write_bytes(bytes(content))
    assert main(["verify", str(folder), "--quiet"]) == 4
    (folder / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"lacks 'model\.bin'"):
        ew.verify(folder)
    (folder / "model.bin").write_bytes(data["model.bin"])
    text = (folder / "target.json").read_text()
    (folder / "target.json").write_text(text.replace('"openvino"', '"web"', 1))
    with pytest.raises(BundleError, match="changed"):
        ew.verify(folder)
    # What stood there is replaced; what is no target is not touched.
    lifecycle.deliver(bundle, folder, to="openvino")
    assert ew.verify(folder).labels == finished.bundle.labels
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("mine")
    assert main(["export", str(bundle), "--to", "openvino", "--out", str(tmp_path / "own"), "--quiet"]) == 2


def _one_image(finished) -> str:  # type: ignore[no-untyped-def]
    return str(next(Path(finished.run.about["data_path"]).rglob("*.png")))


def test_a_runtime_that_disagrees_is_refused(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.delivery import openvino as room

    plain = room.OpenVinoSession.run

    def off(self, names, feeds, options=None):  # type: ignore[no-untyped-def]
        found = plain(self, names, feeds, options)
        # Right on the golden pairs, wrong elsewhere: only the gate on validation images can tell.
        return found if len(next(iter(feeds.values()))) <= 4 else [np.roll(f, 1, 1) for f in found]

    monkeypatch.setattr(room.OpenVinoSession, "run", off)
    with pytest.raises(ParityError, match="the openvino model differs from the bundle"):
        lifecycle.deliver(finished.run.folder, tmp_path / "t", to="openvino")
    assert not (tmp_path / "t").exists()


def test_bad_input_is_said_in_a_line(finished, outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    bundle = finished.paths["bundle"]
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        lifecycle.deliver(bundle, tmp_path / "a", to="openvin")
    with pytest.raises(UsageError, match="expected a bundle"):
        lifecycle.deliver(tmp_path, tmp_path / "a", to="web")
    with pytest.raises(UsageError, match="not supported for instance segmentation"):
        lifecycle.deliver(outlined.paths["bundle"], tmp_path / "a", to="web", runtime=tmp_path)
    with pytest.raises(MissingExtraError, match="npm install onnxruntime-web"):
        lifecycle.deliver(bundle, tmp_path / "a", to="web", runtime=tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"eyewright\[openvino\]"):
        lifecycle.deliver(bundle, tmp_path / "a", to="openvino")


def test_an_operator_that_a_target_lacks_is_named(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    from eyewright.delivery.openvino import write_openvino
    from eyewright.exporting.onnx_model import layers_of

    node = helper.make_node("NoSuchThing", ["image"], ["probabilities"], name="the_layer")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([node], "g", [image], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(RefusedError, match="NoSuchThing") as caught:
        write_openvino(None, model.SerializeToString(), tmp_path, layers_of=layers_of)  # type: ignore[arg-type]
    assert "the_layer" in str(caught.value)
    assert caught.value.code == "target_operator"
    assert onnx.__version__


def test_a_program_with_a_pickle_in_it_is_refused(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import io
    import pickle
    import zipfile

    from eyewright.exporting.program import program_session

    lifecycle.deliver(finished.paths["bundle"], tmp_path / "t", to="torch")
    content = (tmp_path / "t" / "model.pt2").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert not any(archive.read(n).startswith((b"\x80", b"PK\x03\x04")) for n in archive.namelist())
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data/more/model.pt", pickle.dumps({"a": 1}))
    with pytest.raises(BundleError, match="holds a pickle"):
        program_session({"model.pt2": buffer.getvalue()})


def test_a_container_holds_what_a_server_needs(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = lifecycle.deliver(finished.paths["bundle"], tmp_path / "d", to="docker").folder
    text = (folder / "Dockerfile").read_text()
    assert "\nUSER 10001\n" in text
    assert "HEALTHCHECK" in text
    pinned = (folder / "requirements.txt").read_text()
    assert re.search(r"^onnxruntime==\d", pinned, re.M)
    assert not re.search(r"^torch", pinned, re.M)
    assert ew.verify(folder).labels == finished.bundle.labels
    # The health check, as it stands there, asks a real server.
    command = json.loads(re.search(r"CMD (\[.*\])", text).group(1))  # type: ignore[union-attr]
    assert command[:2] == ["/opt/eyewright/bin/python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert main(["verify", str(folder), "--quiet"]) == 0
    (folder / "Dockerfile").write_text("FROM scratch")
    assert main(["verify", str(folder), "--quiet"]) == 4


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_knows_every_line_of_the_unit(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = lifecycle.deliver(finished.paths["bundle"], tmp_path / "s", to="systemd").folder
    unit = folder / "eyewright.service"
    text = unit.read_text()
    # The program is not installed on this machine; all else is.
    program = text.replace("/opt/eyewright/bin/eyewright", "/bin/true")
    copy = tmp_path / "eyewright.service"
    copy.write_text(program)
    found = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    own = [line for line in found.stderr.splitlines() if "eyewright.service" in line]
    assert own == [], found.stderr


def test_the_installer_is_a_script_that_a_shell_can_read(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = lifecycle.deliver(finished.paths["bundle"], tmp_path / "s", to="systemd").folder
    script = folder / "install.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    assert "token" in (folder / "README.md").read_text().lower()


def test_the_health_check_tells_a_server_that_is_ready_from_one_that_is_not(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from tests.serving.conftest import serving

    folder = lifecycle.deliver(finished.paths["bundle"], tmp_path / "d", to="docker").folder
    text = (folder / "Dockerfile").read_text()
    _, flag, program = json.loads(re.search(r"CMD (\[.*\])", text).group(1))  # type: ignore[union-attr]
    with serving(str(folder / "bundle"), "--no-log", cwd=tmp_path) as served:
        port = served.address.rpartition(":")[2]
        asked = program.replace("8000", port)
        assert subprocess.run([sys.executable, flag, asked]).returncode == 0
    assert subprocess.run([sys.executable, flag, asked], capture_output=True).returncode != 0
