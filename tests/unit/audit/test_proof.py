"""Proofs against RFC 9162 word for word, and bundles that a stranger's program accepts only as they were made."""

import ast
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib import signing
from pipeline_lib.audit import merkle, offline_verifier, proof, session
from pipeline_lib.audit.chain import leaf
from pipeline_lib.audit.segment import Entry
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AuditError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

from .conftest import operation, scratch

Beat = Callable[..., Entry]
SIZE = 1_024
LEAVES = [leaf(b"%d" % number) for number in range(SIZE)]
TREE = merkle.Tree(LEAVES)


@lru_cache(None)
def mth(start: int, end: int) -> bytes:
    """MTH(D[start:end]) of RFC 9162 2.1.1."""
    if end - start == 1:
        return LEAVES[start]
    k = split(end - start)
    return hashlib.sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def path(m: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D_n) of RFC 9162 2.1.3.1."""
    n = end - start
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, start, start + k), mth(start + k, end)]
    return [*path(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, b: bool) -> list[bytes]:
    """SUBPROOF(m, D_n, b) of RFC 9162 2.1.4.1; PROOF is that with b true."""
    n = end - start
    if m == n:
        return [] if b else [mth(start, end)]
    k = split(n)
    if m <= k:
        return [*subproof(m, start, start + k, b), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, False), mth(start, start + k)]


def test_inclusion_is_the_path_of_the_rfc_at_every_size() -> None:
    draw = random.Random(1)
    for size in range(1, SIZE + 1):
        assert TREE.root(size) == mth(0, size)
        for index in {0, size - 1, size // 2, draw.randrange(size), draw.randrange(size)}:
            found = TREE.inclusion(index, size)
            assert found == path(index, 0, size)
            assert merkle.includes(LEAVES[index], index, size, found, mth(0, size))
            assert offline_verifier.included(LEAVES[index], index, size, found) == mth(0, size)


def test_consistency_is_the_proof_of_the_rfc_for_a_thousand_pairs() -> None:
    draw = random.Random(2)
    for _ in range(1_000):
        size = draw.randint(1, SIZE)
        old = draw.randint(1, size)
        found = TREE.consistency(old, size)
        assert found == subproof(old, 0, size, True)
        before, after = ({"size": n, "root": mth(0, n)} for n in (old, size))
        assert merkle.consistent(old, size, before["root"], after["root"], found)
        assert offline_verifier.consistent(before, after, found)
        assert not offline_verifier.consistent({"size": old, "root": b"\0" * 32}, after, found)


def test_no_proof_is_made_of_what_is_not_in_the_tree() -> None:
    for ask in (lambda: TREE.inclusion(5, 5), lambda: TREE.inclusion(0, SIZE + 1), lambda: TREE.consistency(0, 5)):
        with pytest.raises(ValueError, match="tree"):
            ask()


@pytest.fixture
def recorded(config: Settings, beat: Beat) -> list[tuple[str, int, int]]:
    """A record under three checkpoints; the names of a few of its rows."""
    writer = session.writer(config, "test")
    receipts = []
    for number in range(3):
        receipts.append(writer.append([beat(f"a-{number}"), beat(f"b-{number}", reason="a reason")]))
        session.record_once(config, "other", [beat(f"once-{number}")])
        session.commit(config)
    return [(r.writer_id, r.epoch, r.last_seq) for r in receipts[:2]]


def pinned(config: Settings) -> str:
    return signing.raw_public(signing.public_pem(KeyFolder(config.place.keys), "checkpoint")).hex()


def own_sha256() -> str:
    return hashlib.sha256(proof.verifier()).hexdigest()


def refused(data: bytes, key: str, match: str = ".") -> None:
    with pytest.raises(offline_verifier.Refused, match=match):
        offline_verifier.verdict(data, key, own_sha256())


def test_a_strangers_program_accepts_the_bundle(
    config: Settings, recorded: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    files = proof.export(config, recorded, tmp_path / "out")
    ran = subprocess.run([sys.executable, "-I", files[1], files[0], files[2]], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "PROVEN"
    assert [f"entry {seq})" in line for line, (_, _, seq) in zip(lines[1:], recorded, strict=False)] == [True, True]
    assert lines[-1].startswith("all of it is under checkpoint 3")


def test_the_program_says_refused_with_exit_code_1(
    config: Settings, recorded: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    files = proof.export(config, recorded, tmp_path / "out")
    files[0].write_bytes(files[0].read_bytes().replace(b"a reason", b"a season"))
    ran = subprocess.run([sys.executable, "-I", files[1], files[0], files[2]], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "the payload was changed" in ran.stdout


def test_the_program_stands_alone() -> None:
    tree = ast.parse(proof.verifier())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    foreign = {name.split(".")[0] for name in modules if name} - set(sys.stdlib_module_names)
    assert foreign == {"cryptography"}
    assert len(proof.verifier().splitlines()) <= 300


def test_every_changed_byte_is_refused(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    data, key, draw = proof.bundle(config, recorded), pinned(config), random.Random(3)
    offline_verifier.verdict(data, key, own_sha256())
    for at in range(len(data)):
        refused(data[:at] + bytes([data[at] ^ draw.randint(1, 255)]) + data[at + 1 :], key)
        refused(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], key)


def test_every_lost_byte_is_refused(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    data, key = proof.bundle(config, recorded[:1]), pinned(config)
    for at in range(len(data)):
        refused(data[:at] + data[at + 1 :], key)


def test_another_public_key_is_not_trusted(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    data = proof.bundle(config, recorded)
    refused(data, "ab" * 32, "that you trust")


def test_a_bundle_names_the_verifier_it_was_made_for(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    data = proof.bundle(config, recorded)
    with pytest.raises(offline_verifier.Refused, match="use that file"):
        offline_verifier.verdict(data, pinned(config), "0" * 64)


@pytest.mark.parametrize(
    "planted", ['"leaf_index":1.0', '"leaf_index":1e0', '"leaf_index":NaN', '"leaf_index":9007199254740993']
)
def test_numbers_that_are_not_small_and_whole_are_refused(
    config: Settings, recorded: list[tuple[str, int, int]], planted: str
) -> None:
    data = proof.bundle(config, recorded[:1]).decode()
    at = data.index('"leaf_index":')
    end = data.index(",", at)
    refused((data[:at] + planted + data[end:]).encode(), pinned(config), "number")


def test_a_key_written_twice_is_refused(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    data = proof.bundle(config, recorded).replace(b'{"checkpoints"', b'{"format":"x","checkpoints"', 1)
    refused(data, pinned(config), "twice")


def test_what_is_spelled_otherwise_is_refused(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    refused(proof.bundle(config, recorded) + b"\n", pinned(config), "canonical")


def test_a_row_is_not_accepted_under_another_checkpoint(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    body = json.loads(proof.bundle(config, recorded))
    body["rows"][0]["ckpt_n"], body["rows"][1]["ckpt_n"] = 2, 1
    refused(canonical_bytes(body), pinned(config), "is not leaf")


def test_a_bundle_without_rows_proves_nothing(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    body = json.loads(proof.bundle(config, recorded))
    refused(canonical_bytes({**body, "rows": []}), pinned(config), "no rows")
    with pytest.raises(AuditError, match="at least one row"):
        proof.bundle(config, [])


def test_a_row_that_no_checkpoint_covers_has_no_proof(
    config: Settings, recorded: list[tuple[str, int, int]], beat: Beat
) -> None:
    receipt = session.record_once(config, "test", [beat("late")])
    with pytest.raises(AuditError, match="no checkpoint covers"):
        proof.bundle(config, [(receipt.writer_id, 1, 1)])


def test_an_altered_segment_has_no_proof(config: Settings, recorded: list[tuple[str, int, int]]) -> None:
    store = open_objects(config.place.audit)
    key = next(key for key in store.list("seg") if recorded[0][0] in key and key.endswith("000002.jsonl"))
    store.put(key, store.get(key).replace(b"a reason", b"a season"))
    with pytest.raises(AuditError, match="is not the segment under checkpoint 1"):
        proof.bundle(config, recorded)


@pytest.fixture(scope="module")
def sample(shipped: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A bundle of one row, and the public key to trust."""
    settings_ = scratch(shipped, tmp_path_factory.mktemp("sample"))
    receipt = session.record_once(settings_, "test", [operation("i-1")])
    session.commit(settings_)
    return proof.bundle(settings_, [(receipt.writer_id, 1, 1)]), pinned(settings_)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_input_makes_the_program_stumble(data: bytes) -> None:
    refused(data, "ab" * 32)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_value_in_any_place_makes_the_program_stumble(sample: tuple[bytes, str], data: st.DataObject) -> None:
    """Whatever is put in place of any value, the answer is a refusal, not an accident."""
    body = json.loads(sample[0])
    place, last = body, None
    while isinstance(place, (dict, list)) and place and (last is None or data.draw(st.booleans())):
        last = (place, data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))))
        place = last[0][last[1]]
    put = data.draw(st.sampled_from([None, True, -1, 0, "", "x", [], {}, [None], [[]], {"x": 1}]))
    if last is None or put == place:
        return
    last[0][last[1]] = put
    changed = canonical_bytes(body)
    try:
        word, _ = offline_verifier.verdict(changed, sample[1], own_sha256())
    except offline_verifier.Refused:
        return
    assert (last[1], put) in [("keys", None), ("writers", None), ("payload", None)], word  # not shown is not wrong
    assert last[1] != "payload" or word == "PROVEN WITH DOUBT"
