"""The cryptography of secure aggregation: pairs of keys, sealed messages, masks, and secrets in shares.

X25519, HKDF-SHA256, ChaCha20-Poly1305 and ChaCha20 are those of the library `cryptography`. Shares are those of Shamir
(1979), over the integers modulo 2^521 - 1.
"""

__all__ = ["KeyPair", "SECRET_BYTES", "combine", "commitment", "mask_of", "need_cryptography", "public_of", "split"]

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import MissingExtraError, RefusedError

SECRET_BYTES = 32
_PRIME = 2**521 - 1
_SHARE_BYTES = 66
_NONCE_BYTES = 12
_TAG_BYTES = 16


def need_cryptography() -> None:
    """Check that the library is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import cryptography.hazmat.primitives.asymmetric.x25519  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "secure aggregation between processes needs cryptography", fix="pip install 'eyewright[federated]'"
        ) from None


@dataclass(frozen=True)
class KeyPair:
    """A key pair of X25519 (RFC 7748); `private` is drawn by the operating system unless it is given.

    >>> a, b = KeyPair(), KeyPair()
    >>> a.agree(b.public, "for a test") == b.agree(a.public, "for a test")
    True
    """

    private: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_BYTES), repr=False)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return public_of(self.private)

    def agree(self, other: bytes, purpose: str) -> bytes:
        """Return 32 bytes that only the owners of both keys can compute, and that are others for another purpose.

        Raises:
            RefusedError: `other` is not a public key.
        """
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        try:
            shared = X25519PrivateKey.from_private_bytes(self.private).exchange(
                X25519PublicKey.from_public_bytes(other)
            )
        except ValueError:
            # Also where the result would be zero: a point of small order.
            raise RefusedError("expected a public key of X25519, found other bytes") from None
        return HKDF(hashes.SHA256(), SECRET_BYTES, None, f"eyewright {purpose}".encode()).derive(shared)

    def seal(self, message: bytes, to: bytes, purpose: str) -> bytes:
        """Return a message that only the owner of the public key `to` can read, and that nobody can change."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + ChaCha20Poly1305(self.agree(to, purpose)).encrypt(nonce, message, None)

    def open(self, sealed: bytes, sender: bytes, purpose: str) -> bytes:
        """Return the message of `sender` for this `purpose`.

        Raises:
            RefusedError: it was sealed by another, for another, for something else, or was changed.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            cipher = ChaCha20Poly1305(self.agree(sender, purpose))
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise RefusedError("a sealed message is not from who it says, or was changed") from None


def public_of(private: bytes) -> bytes:
    """Return the public key that belongs to a private one."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def mask_of(seed: bytes, size: int) -> NDArray[np.uint64]:
    """Return `size` numbers modulo 2^64, the key stream of ChaCha20 with the key `seed`.

    >>> mask_of(bytes(32), 1).tobytes().hex()  # RFC 8439, A.1, test vector 1
    '76b8e0ada0f13d90'
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    stream = Cipher(algorithms.ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(8 * size))
    return np.frombuffer(stream, "<u8").astype(np.uint64, copy=False)


def split(secret: bytes, holders: Sequence[int], threshold: int) -> dict[int, bytes]:
    """Divide 32 bytes into one share per holder. Any `threshold` shares recover them; fewer tell nothing.

    Holders are numbered from 0.

    >>> shares = split(b"s" * 32, range(5), 3)
    >>> combine({k: shares[k] for k in (0, 2, 4)})
    b'ssssssssssssssssssssssssssssssss'
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(holders):
        raise ValueError(f"expected 32 bytes and 1 to {len(holders)} shares, found {len(secret)} and {threshold}")
    factors = [int.from_bytes(secret, "big"), *(secrets.randbelow(_PRIME) for _ in range(threshold - 1))]
    shares = {}
    for holder in holders:
        value = 0
        for factor in reversed(factors):
            value = (value * (holder + 1) + factor) % _PRIME
        shares[holder] = value.to_bytes(_SHARE_BYTES, "big")
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret of enough shares: the value at 0 of the polynomial through them.

    Raises:
        RefusedError: they are too few, or not all of one secret.
    """
    total = 0
    for own, share in shares.items():
        above, below = 1, 1
        for other in shares:
            if other != own:
                above = above * (other + 1) % _PRIME
                below = below * (other - own) % _PRIME
        total = (total + int.from_bytes(share, "big") * above * pow(below, -1, _PRIME)) % _PRIME
    if total >= 2 ** (8 * SECRET_BYTES):
        raise RefusedError("the secret shares of a secret do not belong together, or are too few")
    return total.to_bytes(SECRET_BYTES, "big")


def commitment(secret: bytes) -> bytes:
    """Return what proves later that a recovered secret is the right one, and tells nothing about it now."""
    return hashlib.sha256(b"eyewright commitment\0" + secret).digest()
