"""Ed25519 signatures over exact bytes. One key pair per purpose, so that no role can sign for another."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pipeline_lib.errors import SecretMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder

PURPOSES = ("package", "pointer", "checkpoint", "report")


def create_keys(keys: KeyFolder) -> None:
    """Make the key pairs that are missing; existing ones are kept."""
    for purpose in PURPOSES:
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        keys.write_once(f"sign-{purpose}.pem", pem, 0o600)
        public = _private(keys, purpose).public_key()
        keys.write_once(
            f"sign-{purpose}.pub", public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644
        )


def sign(keys: KeyFolder, purpose: str, data: bytes) -> bytes:
    """64-byte signature over exactly ``data``."""
    return _private(keys, purpose).sign(data)


def verify(keys: KeyFolder, purpose: str, data: bytes, signature: bytes) -> None:
    """Returns nothing; raises SignatureInvalid."""
    verify_with(keys.read(f"sign-{purpose}.pub"), data, signature)


def verify_with(public_pem: bytes, data: bytes, signature: bytes) -> None:
    """Check against a public key; returns nothing, raises SignatureInvalid."""
    key = load_pem_public_key(public_pem)
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureInvalid("the public key is not an Ed25519 key")
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise SignatureInvalid("the signature does not belong to these bytes and this key") from None


def key_id(keys: KeyFolder, purpose: str) -> str:
    """First 16 hex of the SHA-256 of the public key: names the key beside a signature."""
    return hashlib.sha256(keys.read(f"sign-{purpose}.pub")).hexdigest()[:16]


def _private(keys: KeyFolder, purpose: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(keys.read(f"sign-{purpose}.pem"), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretMissing(f"{keys.folder}/sign-{purpose}.pem: expected an Ed25519 private key")
    return key
