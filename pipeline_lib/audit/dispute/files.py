"""The folder that is handed out: the answer, the page, and the proof."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline_lib.audit import proof
from pipeline_lib.audit.dispute import page
from pipeline_lib.audit.dispute.ask import Answer
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.settings import Settings


def write(settings: Settings, answer: Answer, folder: Path) -> list[Path]:
    """Write ``answer.json``, ``consistency.json`` and ``page.html``, each whole or not at all; and the proof bundle.

    The bundle is made of the evidence, not of the query tables: it proves the true rows even where those were doctored.

    Raises:
        AuditError: the evidence does not hold a row that the query tables show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "answer.json": answer.json,
        "consistency.json": canonical_bytes(answer.consistency),
        "page.html": page.page(answer).encode("utf-8"),
    }
    for name, data in content.items():
        _replace(folder / name, data)
    proved = proof.export(settings, answer.names, folder / "proof") if answer.rows else []
    return [*(folder / name for name in content), *proved]


def _replace(path: Path, data: bytes) -> None:
    handle, temp = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temp, 0o600)
    os.replace(temp, path)
