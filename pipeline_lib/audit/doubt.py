"""Which entry a finding about a checkpoint is about: the first whose cover stands or falls with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline_lib.audit import evidence
from pipeline_lib.audit.anchors import Anchor, Covered
from pipeline_lib.audit.evidence import Reading
from pipeline_lib.audit.report import AuditFinding


def of_checkpoint(
    code: str,
    detail: str,
    n: int,
    past: Sequence[Anchor],
    covered: Mapping[str, tuple[Covered, int, Anchor]],
    reading: Reading,
) -> AuditFinding:
    """A finding about checkpoint ``n`` with the first entry in doubt.

    A checkpoint that holds names the first entry it added. What one that does not hold added is not to be believed:
    then it is the first entry that those which hold leave uncovered, in the order in which entries are covered. When
    the evidence has no such entry, its leaf alone is known.
    """
    if 1 <= n <= len(past):
        index = past[n - 1].index
        key = index.segments[0].key
        return AuditFinding(code, detail, *evidence.chain_of(key), evidence.first_seq(key), index.first_leaf)
    leaf = past[-1].checkpoint.size if past else 0
    rows = [(row.ts, *evidence.chain_of(row.key), row.seq) for row in reading.facts if row.key not in covered]
    if not rows:
        return AuditFinding(code, detail, leaf_index=leaf)
    _, writer_id, epoch, seq = min(rows)
    return AuditFinding(code, detail, writer_id, epoch, seq, leaf)
