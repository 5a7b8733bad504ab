"""One secret in, many keys out: each use has a key of its own, derived from `KASSA_SECRET` by HKDF.

While a secret is being rotated the old one still opens what it closed (`KASSA_SECRET_OLD`).
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12


class Keys:
    """Derived keys. `secret` is 32 random bytes or more."""

    def __init__(self, secret: bytes, old: bytes | None = None) -> None:
        self._fingerprint = _derive(secret, b"fingerprint")
        self._seal = AESGCM(_derive(secret, b"seal"))
        self._opens = [self._seal] + ([AESGCM(_derive(old, b"seal"))] if old else [])
        self.before: Keys | None = Keys(old) if old else None
        """The keys of the secret that is being replaced: what was hashed with them must still be recognised."""

    def fingerprint(self, data: bytes) -> bytes:
        """A keyed hash (HMAC-SHA256): equal for equal data, worthless without the key."""
        return hmac.digest(self._fingerprint, data, "sha256")

    def seal(self, data: bytes, about: bytes) -> bytes:
        """Encrypt and authenticate `data`, bound to `about` (AES-256-GCM)."""
        nonce = os.urandom(_NONCE)
        return nonce + self._seal.encrypt(nonce, data, about)

    def unseal(self, sealed: bytes, about: bytes) -> bytes | None:
        """What was sealed, or None if no present key opens it."""
        for key in self._opens:
            try:
                return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
            except InvalidTag:
                continue
        return None

    def sealed_by(self, sealed: bytes, about: bytes) -> str | None:
        """Which secret opens it: `new`, `old` (the one that is being replaced), or None."""
        for name, key in zip(("new", "old"), self._opens, strict=False):
            try:
                key.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
            except InvalidTag:
                continue
            return name
        return None


def _derive(secret: bytes, use: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"kassa:" + use).derive(secret)
