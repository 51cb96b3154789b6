"""Checkpoints as signed notes: what the whole record was at one moment, in a form any auditor's tool reads.

The text is a C2SP checkpoint (origin, size, root) followed by extension lines of ours, an empty line and one Ed25519
signature line; the note at which the signing key changes has two, the old key's and then the new key's. ``prev``
links each note to the one before it. Source: C2SP tlog-checkpoint and signed-note; audit.md 4.7, 4.8.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

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
_SIGNED = re.compile(r"(.*?\n)\n((?:— [^ \n]+ [A-Za-z0-9+/]{91}=\n){1,2})", re.DOTALL)


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


def sign(keys: KeyFolder, checkpoint: Checkpoint, *, hand_over: bool = False) -> bytes:
    """The signed note; where the signing key changes, signed by the old key and then by the next."""
    text = checkpoint.text()
    lines = [_signature_line(checkpoint.origin, text, keys, PURPOSE)]
    if hand_over:
        lines.append(_signature_line(checkpoint.origin, text, keys, f"{PURPOSE}.{signing.NEXT}"))
    return (text + "\n" + "".join(lines)).encode()


def opened(keys: KeyFolder, note: bytes) -> Checkpoint:
    """The checkpoint inside a note. Raises SignatureInvalid as ``read``."""
    return read(keys, note)[0]


def read(keys: KeyFolder, note: bytes) -> tuple[Checkpoint, tuple[str, ...]]:
    """The checkpoint inside a note, and the ids of the keys that signed it, in the order of their lines.

    Raises:
        SignatureInvalid: not a note, a signature of a key that is not known here, or the text was changed.
    """
    try:
        signed = _SIGNED.fullmatch(note.decode())
    except UnicodeDecodeError as error:
        raise SignatureInvalid(f"not a signed note: {error}") from error
    found = _TEXT.fullmatch(signed[1]) if signed else None
    if signed is None or found is None:
        raise SignatureInvalid(f"not a signed note of a checkpoint: {note[:60]!r}")
    known = {_key_hash(pem, found[1]): (key_id, pem) for key_id, pem in signing.public_keys(keys, PURPOSE).items()}
    signers = tuple(_signer(line, found[1], signed[1], known) for line in signed[2].splitlines())
    if len(set(signers)) != len(signers):
        raise SignatureInvalid(f"the note of {found[1]} has one key's signature twice")
    root = base64.b64decode(found[3]).hex()
    return Checkpoint(found[1], int(found[2]), root, int(found[4]), *found.groups()[4:]), signers


def digest(note: bytes) -> str:
    return hashlib.sha256(note).hexdigest()


def _signature_line(origin: str, text: str, keys: KeyFolder, name: str) -> str:
    public = signing.public_pem(keys, name)
    signature = _key_hash(public, origin) + signing.sign(keys, name, text.encode())
    return f"— {origin} {base64.b64encode(signature).decode()}\n"


def _signer(line: str, origin: str, text: str, known: Mapping[bytes, tuple[str, bytes]]) -> str:
    """Id of the key that made one signature line."""
    _, name, encoded = line.split(" ")
    signature = base64.b64decode(encoded)
    if name != origin or signature[:4] not in known or base64.b64encode(signature).decode() != encoded:
        raise SignatureInvalid(f"the note of {origin} is signed by another key")
    key_id, public = known[signature[:4]]
    signing.verify_with(public, text.encode(), signature[4:])
    return key_id


def _key_hash(public_pem: bytes, name: str) -> bytes:
    """First four bytes that name an Ed25519 key. Source: C2SP signed-note."""
    raw = signing.raw_public(public_pem)
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]
