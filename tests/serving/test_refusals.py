"""What a bad bundle can do to a server that runs: a refusal with a code and without a path, never 5xx."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.serving.conftest import serving

from eyewright.core import errors
from eyewright.serving.exchange import error_response
from eyewright.serving.jsontext import parse_json
from eyewright.serving.refusals import HttpError, refused_reload, without_paths
from eyewright.serving.settings import Settings

ADMIN = {"authorization": "Bearer admin-secret"}


def _damage_model(folder: Path) -> None:
    (path,) = folder.rglob("*.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def _remove_model(folder: Path) -> None:
    (path,) = folder.rglob("*.onnx")
    path.unlink()


def _break_manifest(folder: Path) -> None:
    (folder / "bundle.json").write_text('{"format": 1}')


def _raise_policy(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "policy": {"min_accuracy": 2.0}}))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a changed model": _damage_model,
    "no model": _remove_model,
    "no folder": shutil.rmtree,
    "a broken manifest": _break_manifest,
    "a policy that is not kept": _raise_policy,
}


def test_a_bad_bundle_is_refused_with_409_and_without_a_path(bundle_copy: Path, tmp_path: Path, picture: bytes) -> None:
    sound = tmp_path / "sound"
    shutil.copytree(bundle_copy, sound)
    arguments = (f"shapes={bundle_copy}", "--workers", "1", "--keep", "images=100%")
    with serving(*arguments, cwd=tmp_path, environment={"EYEWRIGHT_ADMIN_TOKEN": "admin-secret"}) as served:
        for name, damage in DAMAGES.items():
            damage(bundle_copy)
            for path in ("/v1/reload", "/v2/repository/models/shapes/load"):
                answer = served.post(path, **ADMIN)
                assert answer.status == 409, (name, answer.body)
                assert str(tmp_path) not in answer.body.decode(), name
                assert "stay in use" in answer.words
            for path in ("/v1/models/shapes/report", "/v1/models/shapes/card", "/v1/watch", "/v1/models"):
                answer = served.get(path)
                assert answer.status < 500, (name, path)
                assert str(tmp_path) not in answer.body.decode(), (name, path)
            assert served.post("/v1/models/shapes/predict", picture).status == 200, name
            shutil.rmtree(bundle_copy, ignore_errors=True)
            shutil.copytree(sound, bundle_copy)
        assert served.post("/v1/reload", **ADMIN).status == 200
    # Whoever runs the server reads which file it was.
    assert str(bundle_copy) in (tmp_path / "serve.err").read_text()


def _kinds(kind: type[errors.EyewrightError]) -> list[type[errors.EyewrightError]]:
    return [kind, *(k for sub in kind.__subclasses__() for k in _kinds(sub))]


@pytest.mark.parametrize("kind", [k for k in _kinds(errors.EyewrightError) if k.__module__ == errors.__name__])
def test_no_error_of_a_bundle_or_an_input_is_5xx_or_holds_a_path(kind: type[errors.EyewrightError]) -> None:
    error = kind("cannot read '/srv/a b/model.onnx' in /srv/secret/x.bundle: broken", fix="see /srv/secret/log.txt")
    answer = error_response(error)
    assert b"/srv" not in answer.body
    assert b"secret" not in refused_reload(error).message.encode()
    assert refused_reload(error).status == 409
    if issubclass(kind, errors.RefusedError | errors.InputError) or kind in (errors.UsageError,):
        assert answer.status < 500


def test_a_route_of_the_server_is_no_path() -> None:
    for text in ("see /openapi.json", "see /v1/models", "POST /v1/models/{name}/predict", "expected 3/4 or a/b"):
        assert without_paths(text) == text


def test_a_number_beyond_any_float_is_a_refusal() -> None:
    from eyewright.tasks.feedback import check_feedback

    for far in (10**4000, -(10**4000), float("nan"), float("inf")):
        with pytest.raises(errors.UsageError, match="box_xyxy"):
            check_feedback({"objects": [{"label": "a", "box_xyxy": [0, 0, far, 5]}]}, task="detect", labels=["a"])


def test_an_unknown_field_is_refused_with_the_fields_that_are_known() -> None:
    class _Inner(msgspec.Struct, forbid_unknown_fields=True):
        top: int = 1
        conf: float = 0.5

    class _Body(msgspec.Struct, forbid_unknown_fields=True):
        parameters: _Inner | None = None
        inputs: list[_Inner] = []

    def fix(body: bytes) -> str:
        with pytest.raises(HttpError) as found:
            parse_json(body, Settings(), type=_Body)
        assert found.value.code == "unknown_option"
        return found.value.fix

    assert fix(b'{"parameters": {"tpo": 3}}').startswith("did you mean 'top'?")
    assert fix(b'{"inputs": [{"zzzz": 3}]}').startswith("choose one of: conf, top")
    assert fix(b'{"qqqq": 3}').startswith("choose one of: inputs, parameters")
