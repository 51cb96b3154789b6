"""Checkpoints as signed notes: what the whole record was at one moment, in a form any auditor's tool reads.

The text is a C2SP checkpoint (origin, size, root) followed by extension lines of ours, an empty line and one Ed25519
signature line. ``prev`` links each note to the one before it. Source: C2SP tlog-checkpoint and signed-note;
audit.md 4.7.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from pipeline_lib import signing
from pipeline_lib.errors import SignatureInvalid
from pipeline_lib.keys import KeyFolder

PURPOSE = "checkpoint"
NO_NOTE = "0" * 64
"""``prev`` of the first note."""
_ED25519 = b"\x01"
_TEXT = re.compile(
    r"([^\n]+)\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\nn ([1-9][0-9]*)\nts ([0-9T:.Z-]{27})\n"
    r"prev ([0-9a-f]{64})\nindex ([0-9a-f]{64})\nwriters ([0-9a-f]{64})\nkeys ([0-9a-f]{64})\n"
)
_SIGNED = re.compile(r"(.*\n)\n— ([^ \n]+) ([A-Za-z0-9+/]+=*)\n", re.DOTALL)


@dataclass(frozen=True)
class Checkpoint:
    """One head of the record's tree."""

    origin: str
    size: int
    """Entries covered."""
    root: str
    """Merkle root over them, hex."""
    n: int
    """1, 2, 3 ... without gaps."""
    ts: str
    prev: str
    """SHA-256 of the note before this one."""
    index: str
    """SHA-256 of the leaf index that belongs to this note."""
    writers: str
    """SHA-256 of the canonical writer vector inside that index."""
    keys: str
    """SHA-256 of the canonical set of keys in force."""

    def text(self) -> str:
        root = base64.b64encode(bytes.fromhex(self.root)).decode()
        return (
            f"{self.origin}\n{self.size}\n{root}\nn {self.n}\nts {self.ts}\n"
            f"prev {self.prev}\nindex {self.index}\nwriters {self.writers}\nkeys {self.keys}\n"
        )


def sign(keys: KeyFolder, checkpoint: Checkpoint) -> bytes:
    """The signed note."""
    text = checkpoint.text()
    signature = _key_hash(keys, checkpoint.origin) + signing.sign(keys, PURPOSE, text.encode())
    return f"{text}\n— {checkpoint.origin} {base64.b64encode(signature).decode()}\n".encode()


def opened(keys: KeyFolder, note: bytes) -> Checkpoint:
    """The checkpoint inside a note whose signature verifies with the pinned public key.

    Raises:
        SignatureInvalid: not a note, not signed by that key, or the text was changed.
    """
    try:
        signed = _SIGNED.fullmatch(note.decode())
        found = _TEXT.fullmatch(signed[1]) if signed else None
        signature = base64.b64decode(signed[3], validate=True) if signed else b""
    except (UnicodeDecodeError, binascii.Error) as error:
        raise SignatureInvalid(f"not a signed note: {error}") from error
    if signed is None or found is None or len(signature) != 4 + 64:
        raise SignatureInvalid(f"not a signed note of a checkpoint: {note[:60]!r}")
    if signed[2] != found[1] or signature[:4] != _key_hash(keys, found[1]):
        raise SignatureInvalid(f"the note of {found[1]} is signed by another key")
    signing.verify(keys, PURPOSE, signed[1].encode(), signature[4:])
    root = base64.b64decode(found[3]).hex()
    return Checkpoint(found[1], int(found[2]), root, int(found[4]), *found.groups()[4:])


def digest(note: bytes) -> str:
    return hashlib.sha256(note).hexdigest()


def _key_hash(keys: KeyFolder, name: str) -> bytes:
    """First four bytes that name an Ed25519 key. Source: C2SP signed-note."""
    key = load_pem_public_key(keys.read(f"sign-{PURPOSE}.pub"))
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]
