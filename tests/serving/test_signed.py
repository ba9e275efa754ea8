"""A server that serves signed bundles only."""

from pathlib import Path

import pytest
from tests.serving.conftest import serving

pytest.importorskip("model_signing", reason="the extra sign is not installed")


def test_a_reload_refuses_a_bundle_that_is_no_longer_signed(bundle_copy: Path, tmp_path: Path, picture: bytes) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    from eyewright import lifecycle

    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    signature = lifecycle.sign(bundle_copy, tmp_path / "key.pem")
    arguments = (f"shapes={bundle_copy}", "--require-signature", str(tmp_path / "key.pub"), "--workers", "1")
    admin = {"authorization": "Bearer admin-secret"}
    with serving(*arguments, cwd=tmp_path, environment={"EYEWRIGHT_ADMIN_TOKEN": "admin-secret"}) as served:
        assert served.post("/v1/reload", **admin).status == 200
        kept = signature.read_bytes()
        for content in (None, b"any bytes"):
            signature.unlink()
            if content is not None:
                signature.write_bytes(content)
            answer = served.post("/v1/reload", **admin)
            assert (answer.status, answer.json["code"]) == (409, "signature")
            assert str(tmp_path) not in answer.body.decode()
            assert "/" not in answer.json["error"]
            assert served.post("/v1/models/shapes/predict", picture).status == 200
            signature.write_bytes(kept)
        assert served.post("/v1/reload", **admin).status == 200
