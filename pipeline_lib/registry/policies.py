"""Policy files of a registered version by the hash that somebody recorded: what was in force then.

Neither a key nor the pointer is needed: the recorded hash fixes the manifest, and the manifest fixes every file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline_lib.errors import ManifestMismatch
from pipeline_lib.objects import Objects
from pipeline_lib.registry.versions import MANIFEST

FOLDER = "policy"


def of(objects: Objects, version: str, manifest_sha256: str) -> dict[str, Any]:
    """``manifest`` and every file of the version's policy by its name: serving, templates, products, features ...

    Raises:
        ObjectMissing: there is no such version.
        ManifestMismatch: manifest or file is not the one that was recorded.
    """
    base = f"registry/versions/{version}"
    data = _read(objects, f"{base}/{MANIFEST}", manifest_sha256)
    manifest = json.loads(data)
    listed = {file["path"]: file["sha256"] for file in manifest["files"]}
    wanted = [path for path in sorted(listed) if path.startswith(f"{FOLDER}/")]
    read = {path: json.loads(_read(objects, f"{base}/{path}", listed[path])) for path in wanted}
    return {
        "manifest": manifest,
        **{path.removeprefix(f"{FOLDER}/").removesuffix(".json"): body for path, body in read.items()},
    }


def _read(objects: Objects, key: str, sha256: str) -> bytes:
    data = objects.get(key)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ManifestMismatch(f"{key}: SHA-256 {found}, recorded was {sha256}", (), (), (key,))
    return data
