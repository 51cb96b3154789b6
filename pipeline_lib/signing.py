"""Ed25519 signatures over exact bytes. One key pair per purpose, so that no role can sign for another.

A key that is replaced keeps its public half under its id: what it signed still verifies. Removing that file says
that the key is no longer believed. Source: promotion.md section 2.
"""

from __future__ import annotations

import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
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
ROTATED = ("package", "pointer")
"""Purposes whose signatures name their key, so that it can be replaced."""
NEXT = "next"
"""A key that was made and does not sign alone yet is the purpose's with this suffix."""
_KEY_ID = re.compile(r"[0-9a-f]{16}")


def create_keys(keys: KeyFolder) -> None:
    """Make the key pairs that are missing; existing ones are kept."""
    for purpose in PURPOSES:
        keys.write_once(f"sign-{purpose}.pem", _new_private(), 0o600)
        keys.write_once(f"sign-{purpose}.pub", public_pem(keys, purpose), 0o644)


def rotate(keys: KeyFolder, purpose: str) -> tuple[str, str]:
    """Replace a key pair; the old public key stays. A crash leaves the old pair or the new one in force.

    Returns:
        ids of the old key and of the new one.

    Raises:
        SecretMissing: this purpose's signatures do not name their key, or there is no key to replace.
    """
    old = replaceable(keys, purpose)
    keys.write_once(f"sign-{purpose}.{old}.pub", public_pem(keys, purpose), 0o644)
    made = _new_private()
    public = _pem_of(load_pem_private_key(made, password=None))
    new = _id_of(public)
    keys.write_once(f"sign-{purpose}.{new}.pub", public, 0o644)
    keys.replace(f"sign-{purpose}.pem", made, 0o600)
    keys.replace(f"sign-{purpose}.pub", public, 0o644)
    return old, new


def replaceable(keys: KeyFolder, purpose: str) -> str:
    """Id of the key that ``rotate`` would replace. Raises SecretMissing as ``rotate``."""
    if purpose not in ROTATED:
        raise SecretMissing(f"keys that can be replaced are {', '.join(ROTATED)}, found {purpose!r}")
    return key_id(keys, purpose)


def prepare_next(keys: KeyFolder, purpose: str) -> tuple[str, bytes]:
    """Make the key that will follow the purpose's key, unless it is there; its id and public half."""
    keys.write_once(f"sign-{purpose}.{NEXT}.pem", _new_private(), 0o600)
    public = public_pem(keys, f"{purpose}.{NEXT}")
    keys.write_once(f"sign-{purpose}.{_id_of(public)}.pub", public, 0o644)
    return _id_of(public), public


def next_id(keys: KeyFolder, purpose: str) -> str | None:
    """Id of the key that will follow, if one was made."""
    if not keys.exists(f"sign-{purpose}.{NEXT}.pem"):
        return None
    return _id_of(public_pem(keys, f"{purpose}.{NEXT}"))


def adopt_next(keys: KeyFolder, purpose: str) -> None:
    """Put the following key in force; the old public key stays. Safe to repeat after a crash at any point."""
    old = public_pem(keys, purpose)
    keys.write_once(f"sign-{purpose}.{_id_of(old)}.pub", old, 0o644)
    private = keys.read(f"sign-{purpose}.{NEXT}.pem")
    keys.replace(f"sign-{purpose}.pem", private, 0o600)
    keys.replace(f"sign-{purpose}.pub", public_pem(keys, purpose), 0o644)
    keys.remove(f"sign-{purpose}.{NEXT}.pem")


def in_force(keys: KeyFolder, purpose: str) -> str:
    """Id of the public key in force; needs no private key."""
    return _id_of(keys.read(f"sign-{purpose}.pub"))


def public_keys(keys: KeyFolder, purpose: str) -> dict[str, bytes]:
    """Id -> public key of everything believed for a purpose: the key in force, those before it, the next one."""
    pems = [keys.read(f"sign-{purpose}.pub"), *(keys.read(name) for name in keys.names(f"sign-{purpose}.*.pub"))]
    return {_id_of(pem): pem for pem in pems}


def raw_public(pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key. Raises SignatureInvalid for another kind of key."""
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureInvalid("the public key is not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(keys: KeyFolder, purpose: str, data: bytes) -> bytes:
    """64-byte signature over exactly ``data``."""
    return _private(keys, purpose).sign(data)


def verify(keys: KeyFolder, purpose: str, data: bytes, signature: bytes, signed_by: str | None = None) -> None:
    """Returns nothing; raises SignatureInvalid.

    Args:
        signed_by: id of the key that is said to have signed; the newest key when None.
    """
    verify_with(_public(keys, purpose, signed_by), data, signature)


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
    return _id_of(public_pem(keys, purpose))


def _public(keys: KeyFolder, purpose: str, signed_by: str | None) -> bytes:
    newest = keys.read(f"sign-{purpose}.pub")
    if signed_by is None or signed_by == _id_of(newest):
        return newest
    if not _KEY_ID.fullmatch(signed_by):
        raise SignatureInvalid(f"{signed_by!r} is not the name of a key")
    try:
        former = keys.read(f"sign-{purpose}.{signed_by}.pub")
    except SecretMissing as error:
        raise SignatureInvalid(f"signed with {purpose} key {signed_by}, which is not known here: {error}") from error
    if _id_of(former) != signed_by:
        raise SignatureInvalid(f"sign-{purpose}.{signed_by}.pub holds key {_id_of(former)}")
    return former


def _id_of(public_pem: bytes) -> str:
    return hashlib.sha256(public_pem).hexdigest()[:16]


def public_pem(keys: KeyFolder, purpose: str) -> bytes:
    """The public half, from the private key, so that an id always names the key that signs."""
    return _pem_of(_private(keys, purpose))


def _pem_of(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _new_private() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(keys: KeyFolder, purpose: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(keys.read(f"sign-{purpose}.pem"), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretMissing(f"{keys.folder}/sign-{purpose}.pem: expected an Ed25519 private key")
    return key
