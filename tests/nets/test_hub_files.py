"""Checkpoints that somebody else prepared: what they hold is looked over before a library opens it."""

import importlib.util
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eyewright.core.errors import CheckpointError, EyewrightError, InputError
from eyewright.nets.hub_files import check_checkpoint
from eyewright.nets.hub_library import reading
from eyewright.nets.texts import open_published

Damage = Callable[[Path], object]


def _checkpoints() -> ModuleType:
    place = Path(__file__).parent / "checkpoints.py"
    spec = importlib.util.spec_from_file_location("files_checkpoints", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoints().write_published(tmp_path_factory.mktemp("published") / "clip", "clip")


def _put(name: str, content: bytes | str) -> Damage:
    return lambda f: (f / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _set(name: str, **values: object) -> Damage:
    return lambda f: (f / name).write_text(json.dumps({**json.loads((f / name).read_text()), **values}))


def _sparse(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        with open(folder / name, "wb") as file:
            file.truncate(1 << 36)

    return damage


def _fifo(name: str) -> Damage:
    return lambda f: ((f / name).unlink(), os.mkfifo(f / name))


def _tensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _scattered(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        *((_fifo(name), "FIFO") for name in ("config.json", "tokenizer.json", "preprocessor_config.json")),
        (_fifo("model.safetensors"), "FIFO"),
        (_sparse("tokenizer.json"), "more than the"),
        (_sparse("model.safetensors"), "cannot be read"),
        (_put("model.safetensors", struct.pack("<Q", 1 << 60) + b"{}"), "cannot be read"),
        (_put("model.safetensors", b"abc"), "cannot be read"),
        (_put("model.safetensors", _tensors(b"[" * 50_000)), "cannot be read"),
        (
            _put(
                "model.safetensors",
                _tensors(b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}'),
            ),
            "its header describes 4,000,000,000,0",
        ),
        (_scattered, "names weights that are not there"),
        (_put("config.json", "[" * 50_000), "cannot be read"),
        (_put("config.json", "[]"), "expected an object"),
        (_set("config.json", text_config={"num_hidden_layers": 10**6}), "num_hidden_layers: 1000000"),
        (_set("config.json", num_hidden_layers=10**7), "num_hidden_layers"),
        (_set("config.json", num_hidden_layers="x"), "num_hidden_layers"),
        (_set("config.json", num_hidden_layers=0), "num_hidden_layers"),
        (_set("preprocessor_config.json", size={"height": 10**6, "width": 10**6}), "size: 1000000"),
        (_set("preprocessor_config.json", crop_size=0), "crop_size: 0"),
    ],
)
def test_files_of_a_hostile_checkpoint_are_refused_before_they_are_opened(
    clip: Path, tmp_path: Path, damage: Damage, said: str
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in clip.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    check_checkpoint(folder, "hf:copy")
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as refused:
        check_checkpoint(folder, "hf:copy")
    assert "\n" not in str(refused.value)
    with pytest.raises(EyewrightError, match=said):
        _ = open_published(f"hf:{folder}").kind


def test_links_as_in_the_cache_of_the_hub_are_followed(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).symlink_to(path)
    check_checkpoint(tmp_path, "hf:linked")
    (tmp_path / "added.json").symlink_to("added.json")
    with pytest.raises(CheckpointError, match=r"added\.json"):
        check_checkpoint(tmp_path, "hf:linked")


@pytest.mark.parametrize(
    "changed", [{"num_attention_heads": 0}, {"layer_norm_eps": "x"}, {"patch_size": 0}, {"hidden_act": "none"}]
)
def test_a_configuration_that_cannot_be_run_is_one_line(clip: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] |= changed
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="cannot be"):
        open_published(f"hf:{tmp_path}").image_features([np.zeros((32, 32, 3), np.uint8)])


def test_bytes_that_are_no_text_are_refused(clip: Path) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        open_published(f"hf:{clip}").text_features(["a \udcff"])


def test_whatever_a_library_raises_is_one_line_and_memory_stays_memory() -> None:
    for error in (Exception("a\nb"), AssertionError(), ZeroDivisionError("x"), RecursionError("y")):
        with pytest.raises(CheckpointError, match="it cannot be read"), reading("it"):
            raise error
    for own in (MemoryError(), InputError("z")):
        with pytest.raises(type(own)), reading("it"):
            raise own
