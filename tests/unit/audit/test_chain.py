"""The golden vector of audit.md 4.4 and the properties of the hash functions."""

import json

from pipeline_lib.audit import chain, line, merkle, segment
from pipeline_lib.audit.segment import Chain, Head
from pipeline_lib.canonical import canonical_bytes

KEY = bytes(range(32))
ORIGIN, WRITER = "bank.example/audit/prod", "serve-a:7"
SALT = "AAECAwQFBgcICQoLDA0ODw"
PAYLOAD_1 = {
    "access_reason": "branch_initiated", "denied": False, "fields_read": ["income_tier", "tenure_months"],
    "note": "지점 요청", "row_count": 1, "salt": SALT, "score": "0.125000000", "subject_ref": "s_4b1d",
}  # fmt: skip
CONTENT_1 = "22dbbc94c7768dea7a235bc4d4a60069f91b5bc9272b547de5cf7083792c276d"
GENESIS = "bc47a8253fa974c9b53dbcd11e014dcdb6f1bc3d161bf5235117c5adf2aed0f4"
ENTRY_1 = "fa0899b4b044848e628dc8eb93cb0f1a1cff768cccc676463f0a9de2e738152d"
MAC_1 = "4809a2765b63333994c2ca0a333142a6d7c21175ff8a0f91ca8cdfe98c04acdc"
LEAF_1 = "c27d6f71f6f78d69ce7010dbabad4cca5b6652e209acb1ee2e143dffe78bcf6d"
ENTRY_2 = "0686cdabf54665ac6d034f9536f226c1324523062db627d74bd29f2f713e4661"
LEAF_2 = "9dafc7e8d44013ccf4cfa4fc6b803c9145162c687a94d0aafd54a4e3c8b4c593"


def header(seq: int, **fields: object) -> dict[str, object]:
    common = {
        "canon": "c1", "clock": "ok", "epoch": 1, "key_id": "k-202607-01", "origin": ORIGIN, "prediction_id": None,
        "schema": 1, "seg": seq - 1, "seq": seq, "ts": f"2026-07-01T00:00:00.00000{seq}Z", "writer_id": WRITER,
    }  # fmt: skip
    return {**common, **fields}


def golden_lines() -> list[bytes]:
    body_1, body_2 = canonical_bytes(PAYLOAD_1), canonical_bytes({"beat": 1, "salt": SALT})
    first = header(1, content_hash=chain.content_hash(body_1), event="data_access", idem="i-0001",
                   log_table="log_data_access", prev_hash=GENESIS, request_id="req-0001")  # fmt: skip
    second = header(2, content_hash=chain.content_hash(body_2), event="heartbeat", idem="i-0002",
                    log_table="log_operation", prev_hash=ENTRY_1, request_id=None)  # fmt: skip
    return [line.seal(first, body_1, KEY)[0], line.seal(second, body_2, chain.evolve(KEY))[0]]


def test_golden_vector_is_reproduced() -> None:
    one, two = (line.parse(raw) for raw in golden_lines())
    assert chain.genesis(ORIGIN, WRITER, 1) == GENESIS
    assert (one.content_hash, one.entry_hash, one.hmac) == (CONTENT_1, ENTRY_1, MAC_1)
    assert chain.evolve(KEY).hex() == "586fea93faa8de4c6f844d32ca364f12082868206122b28998dc247dc6265653"
    assert two.content_hash == "344db013f940a841c2197885433839e1f21a7a5e87bb43020a231fefc7f129dc"
    assert two.entry_hash == ENTRY_2
    assert two.hmac == "522b51ab87fd731956651665f1a730cd032e16a70d26198db343d24e4318c339"
    assert (one.leaf.hex(), two.leaf.hex()) == (LEAF_1, LEAF_2)


def test_golden_roots_are_reproduced() -> None:
    one, two = bytes.fromhex(LEAF_1), bytes.fromhex(LEAF_2)
    assert merkle.root([one, two]).hex() == "dd52838ef42670fb2c09c3c6d560ca758b3982ca68588d4dd077a2d1d36cb726"
    three = merkle.root([one, two, chain.leaf(b"")])
    assert three.hex() == "a6c532180b908548d55036a4dc3395a8484282aa6ea97ca57525ddb26f2bfcc3"


def test_golden_lines_walk_as_a_chain() -> None:
    identity = Chain(ORIGIN, WRITER, 1)
    head = Head(0, 0, GENESIS, "", KEY)
    for raw in golden_lines():
        lines, head = segment.check(identity, head, raw + b"\n")
        assert len(lines) == 1
    assert head.entry_hash == ENTRY_2


def test_sealed_header_is_the_canonical_header_with_both_hashes() -> None:
    for raw in golden_lines():
        found = line.parse(raw)
        body = {**json.loads(raw)["header"], "entry_hash": found.entry_hash, "hmac": found.hmac}
        assert found.sealed_header == canonical_bytes(body)


def test_session_keys_differ_by_every_part_of_their_name() -> None:
    names = [("o", "w", 1), ("o", "w", 2), ("o", "v", 1), ("p", "w", 1)]
    assert len({chain.session_key(KEY, *name) for name in names}) == len(names)
