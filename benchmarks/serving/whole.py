"""What the whole handler needs: tables with customers whose ids are known here, keys, and a record on this disk."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pipeline_lib.keys import KeyFolder, subject_ref

KEY_ID, CUSTOMERS = "k-bench-01", 1000


def prepare(home: Path, folder: Path, manifest_sha256: str) -> None:
    """Write tables, keys and ``environment.json`` into ``folder``. Customers are ``c0`` to ``c999``."""
    keys = KeyFolder(folder / "keys")
    keys.create_secrets(KEY_ID)
    tables = folder / "tables"
    shutil.copytree(next(path for path in (home / "store/serving").iterdir() if path.is_dir()), tables)
    subjects = [subject_ref(keys.pepper(), f"c{i}") for i in range(CUSTOMERS)]
    today = datetime.now(UTC).date().isoformat()
    with closing(sqlite3.connect(tables / "feature_rows.sqlite")) as database, database:
        stored = [row[0] for row in database.execute("SELECT subject_ref FROM feature_row LIMIT ?", [CUSTOMERS])]
        database.executemany(
            "UPDATE feature_row SET subject_ref = ? WHERE subject_ref = ?", zip(subjects, stored, strict=True)
        )
        database.execute("UPDATE meta SET body = json_set(body, '$.as_of', ?, '$.gates_as_of', ?)", [today, today])
    with closing(sqlite3.connect(tables / "state.sqlite")) as database, database:
        rows = [(subject, 1 + i % 5, today) for i, subject in enumerate(subjects)]
        database.executemany("INSERT INTO suitability VALUES (?, ?, ?)", rows)
    environment = {
        "BUNDLE": folder / "release", "MANIFEST_SHA256": manifest_sha256, "TABLES": f"file://{tables}",
        "AUDIT": f"file://{folder}/audit", "KEYS": keys.folder, "ORIGIN": "bank.example/audit/bench", "KEY_ID": KEY_ID,
        "ENV": "local",
    }  # fmt: skip
    named = {f"SERVE_{name}": str(value) for name, value in environment.items()}
    (folder / "environment.json").write_text(json.dumps(named))
