"""Signatures: what is accepted, and everything that is not."""

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.core.errors import BundleError, UsageError

pytest.importorskip("model_signing", reason="the extra sign is not installed")

from eyewright import lifecycle
from eyewright.bundle import load_bundle
from eyewright.bundle.manifest import read_manifest, write_manifest
from eyewright.bundle.signature import read_public_key
from eyewright.serving.models import load_table


def make_key(folder: Path, name: str, *, password: bytes | None = None, curve: str = "SECP256R1") -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    kind = s.NoEncryption() if password is None else s.BestAvailableEncryption(password)
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, kind))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path, "key")


@pytest.fixture
def signed(bundle_copy: Path, keys: tuple[Path, Path]) -> Path:
    lifecycle.sign(bundle_copy, keys[0])
    return bundle_copy


def test_a_signed_bundle_is_verified_with_its_key(signed: Path, keys, capsys) -> None:
    assert main(["verify", str(signed), "--key", str(keys[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] == "verified"


def test_without_a_key_it_is_said_that_the_signature_was_not_checked(signed: Path, capsys) -> None:
    assert main(["verify", str(signed)]) == 0
    assert "not checked; pass --key" in capsys.readouterr().out


def test_the_tool_of_model_signing_accepts_our_signature_and_we_accept_its(signed: Path, keys) -> None:
    tool = [sys.executable, "-W", "ignore", "-m", "model_signing"]
    at = ["--signature", str(signed / "model.sig")]
    done = subprocess.run([*tool, "verify", "key", str(signed), *at, "--public_key", str(keys[1])], capture_output=True)
    assert done.returncode == 0, done.stderr
    (signed / "model.sig").unlink()
    with pytest.raises(BundleError, match=r"found no model\.sig"):
        load_bundle(signed, key=keys[1])
    subprocess.run([*tool, "sign", "key", str(signed), *at, "--private_key", str(keys[0])], check=True)
    load_bundle(signed, key=keys[1])


def _change_card(folder: Path) -> None:
    (folder / "README.md").write_text("other")


def _add(folder: Path) -> None:
    (folder / "extra.txt").write_text("extra")


def _remove(folder: Path) -> None:
    (folder / "README.md").unlink()


def _garbage(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b"\x00any bytes")


def _empty(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b"")


def _nested(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b'{"mediaType":' + b"[" * 100_000)


def _large(folder: Path) -> None:
    with (folder / "model.sig").open("wb") as file:
        file.truncate(2**40)


def _link(folder: Path) -> None:
    (folder / "model.sig").rename(folder.parent / "elsewhere.sig")
    (folder / "model.sig").symlink_to(folder.parent / "elsewhere.sig")


def _fifo(folder: Path) -> None:
    (folder / "model.sig").unlink()
    os.mkfifo(folder / "model.sig")


def _reseal(folder: Path) -> None:
    """Change the card and make the manifest agree with it, as an attacker would."""
    import hashlib

    manifest = read_manifest(folder)
    _change_card(folder)
    entry = {"sha256": hashlib.sha256(b"other").hexdigest(), "bytes": 5}
    write_manifest(folder, replace(manifest, files={**manifest.files, "README.md": entry}))


@pytest.mark.parametrize(
    "damage", [_change_card, _add, _remove, _garbage, _empty, _nested, _large, _link, _fifo, _reseal]
)
def test_what_was_changed_after_signing_is_refused_with_and_without_a_key(damage, signed: Path, keys, capsys) -> None:
    damage(signed)
    for key in ([], ["--key", str(keys[1])]):
        assert main(["verify", str(signed), *key]) == 4
        assert capsys.readouterr().err.count("\n") == 1


def _edit(folder: Path, change) -> None:
    path = folder / "model.sig"
    content = json.loads(path.read_text())
    payload = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
    change(content, payload)
    content["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    path.write_text(json.dumps(content))


def test_a_payload_that_was_rewritten_to_fit_a_changed_bundle_is_refused(signed: Path, keys) -> None:
    import hashlib

    _reseal(signed)

    def fit(content, payload) -> None:
        for one in payload["predicate"]["resources"]:
            one["digest"] = hashlib.sha256((signed / one["name"]).read_bytes()).hexdigest()

    _edit(signed, fit)
    load_bundle(signed)
    with pytest.raises(BundleError, match="was not made with the key"):
        load_bundle(signed, key=keys[1])


def test_a_signature_of_nothing_by_a_certificate_is_not_one_by_the_key(signed: Path, keys) -> None:
    _edit(signed, lambda c, p: c.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}}))
    with pytest.raises(BundleError, match="certificate or Sigstore"):
        load_bundle(signed, key=keys[1])


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    _, other = make_key(tmp_path, "other")
    with pytest.raises(BundleError, match="made with another key"):
        load_bundle(signed, key=other)


@pytest.mark.parametrize("curve", ["SECP384R1", "SECP521R1"])
def test_the_other_curves_work(curve: str, bundle_copy: Path, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, curve, curve=curve)
    lifecycle.sign(bundle_copy, private)
    load_bundle(bundle_copy, key=public)


def test_a_key_with_a_password_needs_it(bundle_copy: Path, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "locked", password=b"secret")
    with pytest.raises(UsageError, match="is encrypted"):
        lifecycle.sign(bundle_copy, private)
    with pytest.raises(UsageError, match="does not open"):
        lifecycle.sign(bundle_copy, private, password=b"wrong")
    lifecycle.sign(bundle_copy, private, password=b"secret")
    load_bundle(bundle_copy, key=public)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_ends_with_2(content: bytes, bundle_copy: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "bad.pub").write_bytes(content)
    assert main(["verify", str(bundle_copy), "--key", str(tmp_path / "bad.pub")]) == 2
    with pytest.raises(UsageError, match="private EC key"):
        lifecycle.sign(bundle_copy, tmp_path / "bad.pub")


def test_a_private_key_is_not_taken_for_a_public_one(bundle_copy: Path, keys, capsys) -> None:
    assert main(["verify", str(bundle_copy), "--key", str(keys[0])]) == 2
    assert "found a private one" in capsys.readouterr().err


def test_a_server_that_requires_a_signature_refuses_an_unsigned_bundle(bundle_copy: Path, keys) -> None:
    key = read_public_key(keys[1])
    with pytest.raises(BundleError, match=r"found no model\.sig"):
        load_table([bundle_copy], key=key)
    lifecycle.sign(bundle_copy, keys[0])
    (model,) = load_table([bundle_copy], key=key).values()
    # What is exchanged afterwards is not opened by a worker, which is told the digest.
    _reseal(bundle_copy)
    (bundle_copy / "model.sig").unlink()
    with pytest.raises(BundleError, match="replaced since it was checked"):
        load_bundle(bundle_copy, digest=model.digest)


def test_promote_challenge_and_rollback_refuse_what_is_not_signed(bundle_copy: Path, keys, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for call in (lifecycle.promote, lifecycle.challenge):
        with pytest.raises(BundleError, match=r"found no model\.sig"):
            call(bundle_copy, home=home, require_signature=keys[1])
    assert not lifecycle.history(home=home)
    other = tmp_path / "other.bundle"
    shutil.copytree(bundle_copy, other)
    _reseal(other)
    lifecycle.promote(bundle_copy, home=home)
    lifecycle.promote(other, home=home, force=True)
    with pytest.raises(BundleError, match=r"found no model\.sig"):
        lifecycle.rollback(home=home, require_signature=keys[1])
    lifecycle.sign(bundle_copy, keys[0])
    lifecycle.rollback(home=home, require_signature=keys[1])


def test_signing_again_replaces_a_signature_that_no_longer_fits(signed: Path, keys) -> None:
    _reseal(signed)
    lifecycle.sign(signed, keys[0])
    load_bundle(signed, key=keys[1])


def test_without_the_extra_one_line_names_the_install_command(bundle_copy: Path, keys, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "model_signing._signing.sign_ec_key", None)
    assert main(["verify", str(bundle_copy), "--key", str(keys[1])]) == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'eyewright[sign]'")


def test_bench_does_not_store_into_a_signed_bundle(signed: Path, keys, capsys) -> None:
    assert main(["bench", str(signed), "--store"]) == 2
    assert "is signed" in capsys.readouterr().err
    load_bundle(signed, key=keys[1])


def test_export_signs_with_the_password_of_a_file(finished, tmp_path: Path, capsys) -> None:
    private, public = make_key(tmp_path, "locked", password=b"secret")
    (tmp_path / "password").write_bytes(b"secret\n")
    told = ["--sign", str(private), "--key-password-file", str(tmp_path / "password"), "--json"]
    out = tmp_path / "made.bundle"
    assert main(["export", str(finished.paths["run"]), "--out", str(out), *told]) == 0
    assert json.loads(capsys.readouterr().out)["out"]["signature"] == str(out / "model.sig")
    load_bundle(out, key=public)


def test_export_with_a_key_that_cannot_be_used_writes_nothing(finished, tmp_path: Path, capsys) -> None:
    private, _ = make_key(tmp_path, "locked", password=b"secret")
    (tmp_path / "password").write_bytes(b"wrong")
    told = ["--sign", str(private), "--key-password-file", str(tmp_path / "password")]
    assert main(["export", str(finished.paths["run"]), "--out", str(tmp_path / "made.bundle"), *told]) == 2
    assert not (tmp_path / "made.bundle").exists()


def test_a_bundle_that_exists_is_signed_as_a_copy_or_where_it_is(bundle_copy: Path, keys, tmp_path: Path) -> None:
    import eyewright as ew

    out = tmp_path / "signed.bundle"
    assert main(["export", str(bundle_copy), "--out", str(out), "--sign", str(keys[0]), "--quiet"]) == 0
    assert not (bundle_copy / "model.sig").exists()
    assert ew.verify(out, key=keys[1]).folder == out
    with pytest.raises(BundleError, match="signed with the key"):
        ew.verify(bundle_copy, key=keys[1])
    assert main(["export", str(bundle_copy), "--out", str(out), "--sign", str(keys[0]), "--quiet"]) == 2
    assert main(["export", str(bundle_copy), "--out", str(bundle_copy), "--sign", str(keys[0]), "--quiet"]) == 0
    ew.verify(bundle_copy, key=keys[1])


@pytest.mark.parametrize("target", ["docker", "systemd"])
def test_a_host_target_is_signed_and_verified(target: str, finished, keys, tmp_path: Path) -> None:
    import eyewright as ew

    out = tmp_path / target
    bundle = str(finished.paths["bundle"])
    assert main(["export", bundle, "--to", target, "--out", str(out), "--sign", str(keys[0]), "--quiet"]) == 0
    ew.verify(out, key=keys[1])
    for path in (p for p in out.rglob("*") if p.is_file() and p.name not in ("model.sig", "bundle.json")):
        kept = path.read_bytes()
        path.write_bytes(kept + b"\n")
        with pytest.raises(BundleError):
            ew.verify(out, key=keys[1])
        path.write_bytes(kept)


def test_an_imported_model_is_signed(finished, keys, tmp_path: Path) -> None:
    import eyewright as ew

    (model,) = Path(finished.paths["bundle"]).rglob("*.onnx")
    out = tmp_path / "imported"
    arguments = [
        "import",
        str(model),
        "--task",
        "classify",
        "--labels",
        "cross,disc,square",
        "--out",
        str(out),
        "--layout",
        "NHWC",
        "--dtype",
        "uint8",
    ]
    assert main([*arguments, "--sign", str(keys[0]), "--quiet"]) == 0
    ew.verify(out, key=keys[1])
