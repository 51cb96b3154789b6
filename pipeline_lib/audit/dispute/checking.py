"""Is every row of the answer the entry that a checkpoint committed to, and does today's record continue that one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import anchors, merkle, record
from pipeline_lib.audit.anchors import Anchor
from pipeline_lib.audit.dispute.rows import Row
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings


@dataclass(frozen=True)
class History:
    """Checkpoints up to the one asked as of, and all of them."""

    as_of: Anchor
    all: Sequence[Anchor]

    @property
    def newest(self) -> Anchor:
        return self.all[-1]

    @property
    def times(self) -> dict[int, str]:
        """Number -> time, up to the one asked as of."""
        n = self.as_of.checkpoint.n
        return {anchor.checkpoint.n: anchor.checkpoint.ts for anchor in self.all if anchor.checkpoint.n <= n}


def history(settings: Settings, as_of: int | None, loaded: int) -> History:
    """The checkpoints, all of them verified.

    Raises:
        AuditError: one does not hold.
        RequestRefused: there is none, or the one asked for is not in the query tables yet.
    """
    past = anchors.history(
        open_objects(settings.place.anchors), KeyFolder(settings.place.keys), record.origin(settings)
    )
    if not past or not loaded:
        raise RequestRefused("no checkpoint is loaded: nothing can be answered that could be proved")
    n = loaded if as_of is None else as_of
    if not 1 <= n <= loaded:
        raise RequestRefused(f"checkpoint {n} is not loaded; the query tables hold 1 to {loaded}")
    return History(past[n - 1], past)


def examined(rows: Sequence[Row], of: History) -> dict[str, Any]:
    """Every row against the leaf under the checkpoint asked as of; the same for ever."""
    leaves = [leaf for anchor in of.all[: of.as_of.checkpoint.n] for leaf in anchor.index.leaves]
    wrong = [_why_not(row, leaves) for row in rows]
    failures = [{"leaf_index": row.leaf_index, "why": why} for row, why in zip(rows, wrong, strict=True) if why]
    return {"rows": len(rows), "included": len(rows) - len(failures), "failures": failures}


def consistency(of: History) -> dict[str, Any]:
    """Does the newest checkpoint continue the one asked as of? Changes as the record grows."""
    old, new = of.as_of.checkpoint, of.newest.checkpoint
    leaves = [bytes.fromhex(leaf) for anchor in of.all for leaf in anchor.index.leaves]
    path = merkle.consistency_proof(leaves, old.size)
    roots = bytes.fromhex(old.root), bytes.fromhex(new.root)
    holds = merkle.consistent(old.size, new.size, *roots, path)
    return {
        "from_ckpt": old.n, "to_ckpt": new.n, "size": new.size, "root": new.root, "ts": new.ts, "holds": holds,
        "path": [step.hex() for step in path],
    }  # fmt: skip


def _why_not(row: Row, leaves: Sequence[str]) -> str | None:
    if not 0 <= row.leaf_index < len(leaves):
        return f"no leaf {row.leaf_index} under the checkpoint"
    if row.leaf.hex() != leaves[row.leaf_index]:
        return "the header is not the one under the checkpoint"
    if not row.payload_holds:
        return "the payload is not the one that was hashed"
    return None
