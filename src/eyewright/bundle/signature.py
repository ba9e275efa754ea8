"""OpenSSF model signatures (`model.sig`): made and verified with a key in a file, over the digests of every file.

The format is that of the `model-signing` library, a Sigstore bundle around a DSSE envelope around an in-toto
statement, so `model_signing verify key` accepts what is signed here, and the other way round. The signature covers
`bundle.json` by its digest; `bundle.json` holds the digest of every other file. Whoever reads a bundle hashes the very
bytes that are used later, so nothing has to be read twice.
"""

__all__ = [
    "SIGNATURE",
    "PublicKey",
    "check_signature",
    "is_encrypted",
    "make_signature",
    "read_private_key",
    "read_public_key",
]

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from eyewright.core.errors import BundleError, MissingExtraError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular

SIGNATURE = "model.sig"
"""The file that holds a bundle's signature."""

_MOST_BYTES = 4 * 2**20
_MOST_KEY_BYTES = 64 * 2**10
_MOST_FILES = 10_001
_PAYLOAD = "application/vnd.in-toto+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
_SIGN = "ask for a signed copy, or sign it: eyewright export --sign KEY"


@dataclass(frozen=True)
class PublicKey:
    """A public key, PEM, and the file that it was read from. Read once, so that nobody can exchange it later."""

    pem: bytes
    file: str


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: Annotated[str, msgspec.Meta(max_length=128)]


class _Serialization(msgspec.Struct):
    method: str


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: Annotated[list[_Resource], msgspec.Meta(max_length=_MOST_FILES)]


class _Statement(msgspec.Struct):
    predicateType: str  # noqa: N815 - the format's own name
    predicate: _Predicate


class _Sig(msgspec.Struct):
    sig: str
    keyid: str | None = ""


class _Envelope(msgspec.Struct):
    payload: str
    payloadType: str  # noqa: N815 - the format's own name
    signatures: Annotated[list[_Sig], msgspec.Meta(min_length=1, max_length=1)]


class _Hint(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct):
    publicKey: _Hint | None = None  # noqa: N815 - the format's own name


class _File(msgspec.Struct):
    mediaType: str  # noqa: N815 - the format's own name
    verificationMaterial: _Material  # noqa: N815 - the format's own name
    dsseEnvelope: _Envelope  # noqa: N815 - the format's own name


def read_public_key(path: str | Path) -> PublicKey:
    """Read a public key, PEM, of the curve P-256, P-384 or P-521.

    Raises:
        MissingExtraError: the extra `sign` is not installed.
        UsageError: the file cannot be read, or holds no such key.
    """
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = read_regular(Path(path), most=_MOST_KEY_BYTES, error=UsageError, fix="pass a public key file", follow=True)
    if b"PRIVATE KEY" in pem:
        raise UsageError(
            f"expected a public key in {quoted(path)}, found a private one",
            fix="pass the public key: openssl ec -in KEY -pubout",
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise UsageError(
            f"expected a public EC key (P-256, P-384 or P-521) in PEM format in {quoted(path)}, found none",
            fix="make one: openssl ec -in key.pem -pubout -out key.pub",
        )
    return PublicKey(pem, str(path))


def make_signature(name: str, digests: Mapping[str, str], key: str | Path, *, password: bytes | None = None) -> bytes:
    """Sign the SHA-256 (hexadecimal) of each file of a folder called `name`; return the content of `model.sig`.

    Raises:
        MissingExtraError: the extra `sign` is not installed.
        UsageError: the key cannot be read, is of another kind, or its password is missing or wrong.
    """
    _need_library()
    from model_signing._hashing.hashing import Digest
    from model_signing._signing.sign_ec_key import Signer
    from model_signing._signing.signing import Payload
    from model_signing.manifest import FileManifestItem, Manifest, SerializationType

    pem = read_private_key(key, password)
    kind = SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]}
    )
    items = [
        FileManifestItem(path=Path(file), digest=Digest("sha256", bytes.fromhex(digest)))
        for file, digest in digests.items()
    ]
    signer: Any = Signer  # the library takes a path, and says that a password is a str, which it cannot use
    signature = signer(_Given(pem), password).sign(Payload(Manifest(name, items, kind)))
    return str(signature.bundle.to_json()).encode()


def check_signature(folder: Path, digests: Mapping[str, str], key: PublicKey | None, *, what: str = "bundle") -> None:
    """Check `model.sig` in `folder` against the SHA-256 of every file that was or will be read, by name.

    With `key` there must be a signature, made with its private key, of exactly these files. Without one a signature
    that is there must be well formed and of these files; who made it is not checked.

    Raises:
        BundleError: it is missing, malformed, of other files, or made with another key.
        MissingExtraError: `key` is given, and the extra `sign` is not installed.
    """
    path = folder / SIGNATURE
    if not path.is_symlink() and not path.exists():
        if key is None:
            return
        raise _refused(f"expected a {what} signed with the key of {quoted(key.file)}, found no {SIGNATURE}", _SIGN)
    data = read_regular(path, most=_MOST_BYTES, error=BundleError, fix=f"remove it, or copy the {what} again")
    file, payload, statement = _parsed(data, what)
    _check_files(statement, digests, what)
    if key is not None:
        _check_key(file, payload, key)


def _parsed(data: bytes, what: str) -> tuple[_File, bytes, _Statement]:
    fix = f"remove {SIGNATURE}, or copy the {what} again"
    try:
        file = msgspec.json.decode(data, type=_File)
        payload = base64.b64decode(file.dsseEnvelope.payload, validate=True)
        base64.b64decode(file.dsseEnvelope.signatures[0].sig, validate=True)
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
        said = str(error)[:200] or type(error).__name__
        raise _refused(f"expected an OpenSSF model signature in {SIGNATURE}, found none: {said}", fix) from None
    if file.dsseEnvelope.payloadType != _PAYLOAD or statement.predicateType != _PREDICATE:
        raise _refused(f"{SIGNATURE} is of a format other than OpenSSF model signing 1.0", "sign it again")
    return file, payload, statement


def _check_files(statement: _Statement, digests: Mapping[str, str], what: str) -> None:
    resources = statement.predicate.resources
    if statement.predicate.serialization.method != "files" or any(r.algorithm != "sha256" for r in resources):
        raise _refused(f"expected the SHA-256 of whole files in {SIGNATURE}, found another way", "sign it with SHA-256")
    signed = {r.name: r.digest.lower() for r in resources}
    if len(signed) != len(resources):
        raise _refused(f"{SIGNATURE} names a file twice", "sign it again")
    for name in sorted(signed.keys() | digests.keys()):
        if name not in signed:
            raise _refused(f"{name!r} is not covered by {SIGNATURE}", f"copy the signed {what} again")
        if name not in digests:
            raise _refused(f"{SIGNATURE} covers {name!r}, which the {what} lacks", f"copy the signed {what} again")
        if signed[name] != digests[name].lower():
            raise _refused(
                f"{SIGNATURE} signs another {name!r} than the {what} holds", f"sign the {what} again, or copy it again"
            )


def _check_key(file: _File, payload: bytes, key: PublicKey) -> None:
    _need_library()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
    from model_signing._signing.sign_ec_key import Verifier
    from model_signing._signing.sign_sigstore_pb import Signature
    from sigstore_models.bundle.v1 import Bundle

    if file.verificationMaterial.publicKey is None:
        raise _refused(
            f"expected a signature made with a key in {SIGNATURE}, found one made with a certificate or Sigstore",
            "verify it with model_signing, or ask for one made with a key",
        )
    public = load_pem_public_key(key.pem).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    own = hashlib.sha256(public).hexdigest()
    # A signature of before 1.0 names no key; that one is checked with the key itself.
    hint = file.verificationMaterial.publicKey.hint or own
    if hint != own:
        raise _refused(f"{SIGNATURE} was made with another key than that of {quoted(key.file)}", "check --key")
    content = {
        "mediaType": file.mediaType,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": msgspec.to_builtins(file.dsseEnvelope),
    }
    content["dsseEnvelope"]["signatures"][0]["keyid"] = ""
    try:
        verifier: Any = Verifier
        verified = verifier(_Given(key.pem)).verify(Signature(Bundle.from_dict(content)))
        found = {r.identifier: r.digest.digest_hex for r in verified.resource_descriptors()}
    except InvalidSignature:
        raise _refused(
            f"{SIGNATURE} was not made with the key of {quoted(key.file)}, or was changed", "check --key"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(f"{SIGNATURE} cannot be verified: {str(error)[:200]}", "sign it again") from None
    ours = msgspec.json.decode(payload, type=_Statement).predicate.resources
    if found != {r.name: r.digest.lower() for r in ours}:
        raise _refused(f"{SIGNATURE} can be read in two ways", "sign it again")


def read_private_key(path: str | Path, password: bytes | None = None) -> bytes:
    """Read a private key, PEM, of the curve P-256, P-384 or P-521; return the file's bytes, which are checked.

    Raises:
        MissingExtraError: the extra `sign` is not installed.
        UsageError: the file cannot be read or holds no such key; or its password is missing or wrong.
    """
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem, file = _read_pem(path), str(path)
    if password is None and _encrypted(pem):
        fix = "pass --key-password-file, or set EYEWRIGHT_KEY_PASSWORD"
        raise UsageError(f"the key in {quoted(file)} is encrypted, and no password was given", fix=fix)
    if password is not None and not _encrypted(pem):
        raise UsageError(
            f"a password was given, but the key in {quoted(file)} is not encrypted", fix="omit the password"
        )
    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if password is not None:
            raise UsageError(f"the password does not open the key in {quoted(file)}", fix="check it") from None
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise UsageError(
            f"expected a private EC key (P-256, P-384 or P-521) in PEM format in {quoted(file)}, found none", fix=_MAKE
        )
    return pem


def is_encrypted(path: str | Path) -> bool:
    """Return whether a private key needs a password.

    Raises:
        UsageError: the file cannot be read.
    """
    return _encrypted(_read_pem(path))


def _read_pem(path: str | Path) -> bytes:
    return read_regular(Path(path), most=_MOST_KEY_BYTES, error=UsageError, fix="pass a private key file", follow=True)


def _encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem


class _Given:
    """A path to the library, whose content has been read and checked already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_bytes(self) -> bytes:
        return self._data


def _need_library() -> None:
    try:
        import model_signing._signing.sign_ec_key
        import model_signing.manifest  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("signing needs model-signing", fix="pip install 'eyewright[sign]'") from error


def _refused(message: str, fix: str) -> BundleError:
    details: dict[str, Any] = {"file": SIGNATURE}
    return BundleError(message, fix=fix, code="signature", details=details)
