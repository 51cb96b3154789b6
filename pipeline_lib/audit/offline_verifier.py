"""Does this proof bundle prove its rows? One file, for somebody who trusts nobody here.

    python offline_verifier.py BUNDLE.json PUBLIC_KEY.pem

Needs Python 3.10 or newer and the package ``cryptography``, no network and nothing else of this bank. The public key
(a PEM file, or 64 hex digits) must have come to you by another way than the bundle: it is what you trust.

A bundle holds rows of the bank's record as they are stored. Each row is a leaf of a Merkle tree (RFC 9162); a
checkpoint is a signed statement of the tree's size and root at a moment. This program computes everything again:
row -> leaf -> root of the checkpoint that covered it first -> root of the newest checkpoint -> signature.

Exit codes: 0 PROVEN, 1 REFUSED, 2 a file cannot be read, 3 PROVEN WITH DOUBT (the reasons say which).
It cannot say that a row was true when written; MACs need the bank's secret key. Source: audit.md 4.9, 7.5.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

FORMAT = "alog/bundle/v1"
SKEW = timedelta(seconds=5)
BUNDLE = {"format", "origin", "verifier_sha256", "public_keys", "checkpoints", "rows"}
CHECKPOINT = {"note", "keys", "writers", "consistency"}
ROW = {"ckpt_n", "leaf_index", "path", "line"}
LINE = {"entry_hash", "header", "hmac", "payload"}
HEADER = set(
    """canon clock content_hash epoch event idem key_id log_table origin prediction_id prev_hash request_id schema seg
    seq ts writer_id""".split()
)
NOTE = re.compile(
    r"([^\n]+)\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\nn ([1-9][0-9]*)\nts ([0-9T:.Z-]{27})\n"
    r"prev ([0-9a-f]{64})\nindex ([0-9a-f]{64})\nwriters ([0-9a-f]{64})\nkeys ([0-9a-f]{64})\n"
)
SIGNED = re.compile(r"(.*?\n)\n((?:— [^ \n]+ [A-Za-z0-9+/]{91}=\n){1,2})", re.DOTALL)


Point = dict[str, Any]


class Refused(Exception):  # noqa: N818 - a verdict, not an accident
    """The bundle does not prove what it says."""


def need(holds: object, why: str) -> None:
    if not holds:
        raise Refused(why)


def canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


def strict(data: bytes) -> Any:
    """The bundle's value; refuses everything that is not its one canonical spelling."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len({key for key, _ in items}) == len(items), f"a key is written twice: {[key for key, _ in items]}")
        return dict(items)

    def number(text: str) -> int:
        need(len(text) <= 17 and abs(int(text)) < 2**53, f"the number {text[:20]} is too large")
        return int(text)

    def never(text: str) -> NoReturn:
        raise Refused(f"{text} is no whole number")

    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_int=number, parse_float=never, parse_constant=never)
        need(canonical(value) == data, "the bundle is not in canonical form")
    except (ValueError, RecursionError) as error:
        raise Refused(f"the bundle is not readable: {error}") from None
    return value


def fields(value: Any, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise Refused(f"{what} must have exactly {sorted(names)}")
    return value


def listed(value: Any, kind: type, what: str) -> list[Any]:
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise Refused(f"{what} must be a list")
    return value


def hashes(value: Any, what: str) -> list[bytes]:
    found = listed(value, str, what)
    need(all(re.fullmatch("[0-9a-f]{64}", item) for item in found), f"{what} must be hashes")
    return [bytes.fromhex(item) for item in found]


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def climbed(fn: int, sn: int, start: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Roots of the old and the new tree at the end of a path; None when it is too short or too long."""
    old = new = start
    for step in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            old, new = sha(b"\x01", step, old), sha(b"\x01", step, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = sha(b"\x01", new, step)
        fn, sn = fn >> 1, sn >> 1
    return (old, new) if sn == 0 else None


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which the path leads; None when the path has another length. RFC 9162 2.1.3.2."""
    found = climbed(index, size - 1, leaf, path) if 0 <= index < size else None
    return found[1] if found else None


def consistent(old: Point, new: Point, path: Sequence[bytes]) -> bool:
    """Is the older tree a prefix of the newer one? RFC 9162 2.1.4.2."""
    first, second = old["size"], new["size"]
    if not 0 < first < second:
        return bool(0 < first == second and not path and old["root"] == new["root"])
    start, *rest = [old["root"], *path] if first & (first - 1) == 0 else [*path] or [b""]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return climbed(fn, sn, start, rest) == (old["root"], new["root"])


def opened(item: Any, origin: str, known: Sequence[str]) -> Point:
    """One checkpoint whose signatures all verify with keys of the bundle."""
    fields(item, CHECKPOINT, "a checkpoint")
    signed = SIGNED.fullmatch(str(item["note"]))
    found = NOTE.fullmatch(signed[1]) if signed else None
    if signed is None or found is None or found[1] != origin:
        raise Refused(f"not a checkpoint of {origin}")
    signers = [signer(line, origin, signed[1], known) for line in signed[2].splitlines()]
    keys, writers = item["keys"], item["writers"]
    need(keys is None or sha(canonical(keys)).hex() == found[9], "the keys are not those of the checkpoint")
    need(writers is None or sha(canonical(writers)).hex() == found[8], "the chains are not those of the checkpoint")
    return {
        "n": int(found[4]), "size": int(found[2]), "root": base64.b64decode(found[3]), "ts": found[5],
        "keys": keys, "writers": writers, "signers": signers, "path": hashes(item["consistency"], "consistency"),
    }  # fmt: skip


def signer(line: str, origin: str, text: str, known: Sequence[str]) -> str:
    """The key that made one signature line, as hex."""
    _, name, encoded = line.split(" ")
    signature = base64.b64decode(encoded)
    need(base64.b64encode(signature).decode() == encoded and name == origin, "a signature line has another form")
    for key in known:
        raw = bytes.fromhex(key)
        if signature[:4] == sha(origin.encode(), b"\n\x01", raw)[:4]:
            try:
                Ed25519PublicKey.from_public_bytes(raw).verify(signature[4:], text.encode())
            except (InvalidSignature, ValueError):
                raise Refused("a checkpoint's signature does not verify") from None
            return key
    raise Refused("a checkpoint is signed by a key that the bundle does not name")


def linked(points: Sequence[Point], known: Sequence[str], pinned: str) -> None:
    """Every checkpoint is an older state of the newest, and its signer follows from the pinned key.

    A key is handed over by one checkpoint that the old key and then the new key sign.
    """
    newest = points[-1]
    need([p["n"] for p in points] == sorted({p["n"] for p in points}), "checkpoints are not in order")
    for before, after in zip(points[:-1], points[1:], strict=True):
        need(before["signers"][-1] == after["signers"][0], f"nothing hands the key over before {after['n']}")
        need(before["ts"] < after["ts"], f"checkpoint {after['n']} is not later than {before['n']}")
    for point in points:
        need(consistent(point, newest, point["path"]), f"checkpoint {point['n']} is not part of {newest['n']}")
    used = {key for point in points for key in point["signers"]}
    need(sorted(used) == known, "a public key is listed that signed nothing here")
    need(pinned in used, "no checkpoint here is signed by the public key that you trust")


def row_of(item: Any, origin: str, points: dict[int, Point]) -> tuple[dict[str, Any], Point, list[str]]:
    """One row, shown to be the leaf it claims to be; returns header, its checkpoint and doubts."""
    fields(item, ROW, "a row")
    line = fields(item["line"], LINE, "a row's line")
    header = fields(line["header"], HEADER, "a row's header")
    where = f"{header['writer_id']} epoch {header['epoch']} entry {header['seq']}"
    need(header["origin"] == origin and header["canon"] == "c1", f"{where} is of another record")
    content = None if line["payload"] is None else sha(b"alog/content/v1\n", canonical(line["payload"])).hex()
    need(content in (None, header["content_hash"]), f"{where}: the payload was changed")
    need(sha(b"alog/entry/v1\n", canonical(header)).hex() == line["entry_hash"], f"{where}: the header was changed")
    need(type(item["ckpt_n"]) is int and item["ckpt_n"] in points, f"{where}: its checkpoint is not in the bundle")
    point = points[item["ckpt_n"]]
    leaf = sha(b"\x00", canonical({**header, "entry_hash": line["entry_hash"], "hmac": line["hmac"]}))
    need(type(item["leaf_index"]) is int, f"{where}: leaf_index must be a whole number")
    root = included(leaf, item["leaf_index"], point["size"], hashes(item["path"], "path"))
    need(root == point["root"], f"{where} is not leaf {item['leaf_index']} under checkpoint {point['n']}")
    return header, point, doubts_of(header, point, list(points.values())[-1], where, content is None)


def doubts_of(header: dict[str, Any], point: Point, newest: Point, where: str, gone: bool) -> list[str]:
    """What a reader must know of a row that is proven to be in the record."""
    doubts = [f"{where}: its payload is gone; that there was such a row is proven, not what it said"] if gone else []
    if moment(header["ts"]) > moment(point["ts"]) + SKEW:
        doubts.append(f"{where} says {header['ts']}, which is after the checkpoint that covers it")
    if newest["keys"] is None:
        return [*doubts, "the newest checkpoint does not show which keys were in force"]
    states = {key["key_id"]: key for key in newest["keys"].get("registry", [])}
    key = states.get(header["key_id"])
    if key is None and (states or newest["keys"].get("mac") != header["key_id"]):
        doubts.append(f"{where} is under MAC key {header['key_id']}, which the record does not know")
    elif key and key["state"] == "revoked" and point["n"] > key["trusted_through_ckpt"]:
        through = key["trusted_through_ckpt"]
        doubts.append(
            f"{where} is under MAC key {header['key_id']}, revoked and trusted through checkpoint {through} only; "
            f"checkpoint {point['n']} covered it: somebody else may have written it, and nobody changed it since"
        )
    elif key and key["ends"] and header["ts"] > key["ends"]:
        doubts.append(f"{where} is later than the end of its MAC key {header['key_id']}, {key['ends']}")
    return doubts


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007 - all times are UTC


def verdict(data: bytes, pinned: str, own_sha256: str | None) -> tuple[str, list[str]]:
    """(``PROVEN`` or ``PROVEN WITH DOUBT``, lines for a reader). Raises Refused.

    Args:
        data: the bundle, bytes.  pinned: hex of the trusted public key.  own_sha256: of this file; None: not asked.
    """
    bundle = fields(strict(data), BUNDLE, "a bundle")
    need(bundle["format"] == FORMAT, f"expected a bundle of format {FORMAT}")
    asked_for = bundle["verifier_sha256"]
    need(own_sha256 in (None, asked_for), f"made for the verifier with SHA-256 {asked_for}: use that file")
    origin, known = bundle["origin"], listed(bundle["public_keys"], str, "public_keys")
    need(known == sorted(set(known)) and hashes(known, "public_keys"), "public_keys must be a sorted list")
    need(isinstance(origin, str) and listed(bundle["rows"], dict, "rows"), "the bundle has no rows")
    need(listed(bundle["checkpoints"], dict, "checkpoints"), "the bundle has no checkpoint")
    in_order = [opened(item, origin, known) for item in bundle["checkpoints"]]
    linked(in_order, known, pinned)
    points = {point["n"]: point for point in in_order}
    newest, doubts, said = in_order[-1], [], []
    for item in bundle["rows"]:
        header, point, found = row_of(item, origin, points)
        doubts += [doubt for doubt in found if doubt not in doubts]
        said.append(
            f"row {header['event']} of {header['ts']} ({header['writer_id']} epoch {header['epoch']} entry "
            f"{header['seq']}) is leaf {item['leaf_index']}; checkpoint {point['n']} of {point['ts']} covers it, "
            "and it has not changed since"
        )
    said.append(f"all of it is under checkpoint {newest['n']} of {newest['ts']}, {newest['size']} entries, root "
                f"{newest['root'].hex()}")  # fmt: skip
    return ("PROVEN WITH DOUBT" if doubts else "PROVEN"), [*(f"DOUBT: {doubt}" for doubt in doubts), *said]


def pinned_hex(data: bytes) -> str:
    """Hex of the public key in a PEM file or a file of 64 hex digits."""
    text = data.decode("ascii").strip()
    if re.fullmatch("[0-9a-f]{64}", text):
        return text
    key = load_pem_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print(__doc__)
        return 2
    try:
        with open(arguments[0], "rb") as bundle, open(arguments[1], "rb") as key, open(__file__, "rb") as own:
            data, pinned, mine = bundle.read(), pinned_hex(key.read()), hashlib.sha256(own.read()).hexdigest()
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        print(f"UNREADABLE: {error}")
        return 2
    try:
        word, lines = verdict(data, pinned, mine)
    except Refused as refused:
        print(f"REFUSED: {refused}")
        return 1
    print("\n".join([word, *lines]))
    return 0 if word == "PROVEN" else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
