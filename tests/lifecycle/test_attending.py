"""Attend on runs and published models, and what the command line says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import CheckpointError, InputError, UsageError


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = Path(__file__).parents[1] / "nets" / "checkpoints.py"
    spec = importlib.util.spec_from_file_location("attending_checkpoints", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("published")
    return {kind: module.write_published(root / kind, kind) for kind in ("bert", "clip", "vit", "t5")}


@pytest.fixture(scope="module")
def vit_run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ew.train(shapes, model="vit", epochs=1, out=tmp_path_factory.mktemp("runs") / "vit")


def picture(tmp_path: Path, size: tuple[int, int] = (40, 60)) -> Path:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ew.write_image(tmp_path / "a.png", image)
    return tmp_path / "a.png"


def test_a_run_with_vit_shows_its_own_weights_with_a_verdict(vit_run, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    place = shapes / "disc/000.png"
    found = ew.attend(vit_run, place)
    pixels, _ = vit_run.preparation(ew.read_image(place))
    with torch.inference_mode():
        expected = vit_run.net.body.attentions(vit_run.net.scale(torch.from_numpy(pixels[None].copy())))
    np.testing.assert_allclose(found.weights, torch.cat(expected).numpy(), atol=1e-6)
    assert found.grid_hw == (8, 8)
    assert found.tokens[:2] == ("[CLS]", "0,0")
    assert found.boxes_xyxy is not None
    assert found.boxes_xyxy[0].tolist() == [0, 0, 4, 4]
    assert found.boxes_xyxy[-1].tolist() == [28, 28, 32, 32]
    assert "faithful" in found.verdict.lower()
    assert found.hidden_states_shape == (65, 128)
    # From its folder, and several at once.
    again = ew.attend(str(vit_run.folder), [place, shapes / "cross/001.png"])
    np.testing.assert_array_equal(again[0].weights, found.weights)
    assert len(again) == 2


def test_a_bundle_with_attention_needs_no_torch_and_has_the_runs_weights(vit_run, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    place = shapes / "disc/000.png"
    bundle = ew.export(vit_run, tmp_path / "vit.bundle", attention=True)
    expected, found = ew.attend(vit_run, place), ew.attend(bundle, place)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-5)
    assert (found.tokens, found.grid_hw) == (expected.tokens, expected.grid_hw)
    assert found.hidden_states_shape == expected.hidden_states_shape
    assert "faithful" in found.verdict.lower()
    code = """
import sys
import eyewright as ew
found = ew.attend(sys.argv[1], sys.argv[2])
assert found.weights.shape == (6, 4, 65, 65), found.weights.shape
heavy = {"torch", "transformers", "onnx", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "vit.bundle"), str(place)], check=True)
    plain = ew.export(vit_run, tmp_path / "plain.bundle")
    assert not (tmp_path / "plain.bundle/onnx/attention.onnx").exists()
    np.testing.assert_allclose(ew.attend(plain, place).weights, expected.weights, atol=1e-6)


def test_a_net_without_attention_is_not_exported_with_it(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="expected a net with attention over the whole image"):
        ew.export(finished.run, tmp_path / "x.bundle", attention=True)
    assert not (tmp_path / "x.bundle").exists()


def test_a_model_without_global_attention_is_refused(finished) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CheckpointError, match="has no attention over the whole image"):
        ew.attend(finished.run, "a.png")


def test_what_is_given_must_be_what_the_model_reads(published, vit_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    image = picture(tmp_path)
    with pytest.raises(UsageError, match="reads texts, found the image"):
        ew.attend(f"hf:{published['bert']}", str(image))
    with pytest.raises(InputError, match="reads images, and there is no file 'hello'"):
        ew.attend(f"hf:{published['vit']}", "hello")
    with pytest.raises(InputError, match="no file"):
        ew.attend(f"hf:{published['vit']}", "x" * 100_000)
    with pytest.raises(InputError, match="found no file"):
        ew.attend(vit_run, "nowhere.png")
    with pytest.raises(UsageError, match="expected no --pair"):
        ew.attend(f"hf:{published['vit']}", str(image), pair="a")
    with pytest.raises(UsageError, match="expected an image next to --pair"):
        ew.attend(f"hf:{published['clip']}", "a red car", pair="a")


def test_a_pair_model_reads_a_text_an_image_or_both(published, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model, image = f"hf:{published['clip']}", picture(tmp_path)
    both = ew.attend(model, str(image), pair="a red car")
    assert [one.kind for one in both.walk()] == ["image", "text"]
    np.testing.assert_array_equal(both.others[0].weights, ew.attend(model, "a red car").weights)
    mixed = ew.attend(model, ["a red car", image, "the sea"])
    assert [one.kind for one in mixed] == ["text", "image", "text"]
    # The patches lie where the source image was, which is not square.
    assert both.boxes_xyxy is not None
    assert both.boxes_xyxy[-1].tolist() == [45, 30, 60, 40]


def test_the_command_writes_page_and_arrays(published, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    line = ["attend", f"hf:{published['t5']}", "a red car", "--pair", "the sea", "--layer", "0-1", "--head", "1,3"]
    assert main([*line, "--out", str(out), "--top", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [a["kind"] for a in told["attention"]] == ["encoder", "decoder", "cross"]
    assert told["attention"][0]["shape"] == [2, 2, 5, 5]
    assert len(told["attention"][0]["top"]) == 3
    assert Path(told["out"]["page"]).is_file()
    with np.load(out / "cross-layer-01.npz", allow_pickle=False) as layer:
        assert layer["weights"].shape == (2, 4, 5)
        assert layer["heads"].tolist() == [1, 3]
    assert main(["attend", f"hf:{published['bert']}", "a red car", "--rollout"]) == 0
    said = capsys.readouterr().out
    assert "rollout  to [CLS]:" in said
    assert "attention is not an explanation" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a car", "--layer", "9"], 2, "expected layers from 0 to 2"),
        (["a car", "--layer", "2-1"], 2, "expected a range"),
        (["a car", "--head", "x"], 2, "whole number"),
        (["", "--top", "1"], 2, "empty text"),
        (["car " * 100], 3, "expected at most 48 tokens"),
    ],
)
def test_a_bad_command_says_one_line(published, capsys, arguments, code: int, said: str) -> None:  # type: ignore[no-untyped-def]
    assert main(["attend", f"hf:{published['bert']}", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_weights_that_are_not_finite_are_refused(published: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(published["bert"], tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if n.endswith("query.weight"))
    weights[name] = weights[name] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="attention weights that are not finite"):
        ew.attend(f"hf:{folder}", "hello")
