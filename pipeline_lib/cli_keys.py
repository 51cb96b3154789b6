"""``pipeline keys``: the keys of this place, and changing those of the record.

    init                                                          make the keys that are missing
    list                                                          the record's registry: id, purpose, state
    rotate mac --operator --reason [--key-id k-YYYYMM-NN]         new chains are written under a new root key
    rotate checkpoint --operator --reason                         checkpoints are signed with a new key
    revoke KEY --trusted-through N --operator --reason            a retired MAC key is not believed after checkpoint N

Package and pointer keys: `pipeline registry rotate-key`. On AWS the function learns of a new root key by its
parameter and a stack update (docs/aws.md); until then, for a day at most, it goes on under the old one.
Source: audit.md 4.8.
"""

from __future__ import annotations

import argparse
from typing import Any

from pipeline_lib import signing
from pipeline_lib.cli_person import Shown, add_person, command, operator
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Settings


def init(settings: Settings, _: argparse.Namespace) -> Shown:
    folder = KeyFolder(settings.place.keys)
    folder.create_secrets(settings.audit.key_id)
    signing.create_keys(folder)
    return {"keys of this place": str(folder.folder)}


def listed(settings: Settings, _: argparse.Namespace) -> Shown:
    from pipeline_lib.audit import record

    ring, keys = record.ring(settings), KeyFolder(settings.place.keys)
    shown: Shown = {}
    for key in ring.keys:
        said = f"{key.purpose}, {key.state}" + (f", in force since {key.since}" if key.since else "")
        said += f", rows until {key.ends}" if key.ends else ""
        shown[key.key_id] = said + (f", trusted through {key.trusted_through_ckpt}" if key.state == "revoked" else "")
    return {**shown, "checkpoints are signed by": signing.in_force(keys, "checkpoint")}


def rotate(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.audit import keychange

    operator, reason = _named(settings, asked)
    if asked.purpose == "mac":
        old, new = keychange.rotate_mac(settings, operator, reason, asked.key_id)
    elif asked.key_id:
        raise RequestRefused("a signing key is named for its bytes: leave --key-id out")
    else:
        old, new = keychange.rotate_checkpoint(settings, operator, reason)
    return {"purpose": asked.purpose, "old_key": old, "new_key": new}


def revoke(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.audit import keychange

    operator, reason = _named(settings, asked)
    key = keychange.revoke(settings, asked.key, asked.trusted_through, operator, reason)
    return {"key": key.key_id, "state": key.state, "trusted_through_ckpt": key.trusted_through_ckpt}


def add(verbs: Any) -> argparse.ArgumentParser:
    """The commands under ``keys``."""
    made: argparse.ArgumentParser = verbs.add_parser(
        "keys", help="make, list, rotate and revoke keys", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    acts = made.add_subparsers(required=True, metavar="ACTION")
    command(acts, "init", init, "make the keys of this place that are missing")
    command(acts, "list", listed, "the record's registry of keys")
    turned = command(acts, "rotate", rotate, "put a new key in force; the old one still verifies")
    turned.add_argument("purpose", choices=["mac", "checkpoint"])
    turned.add_argument("--key-id", help="mac only: the new key's name, e.g. k-202612-01")
    gone = command(acts, "revoke", revoke, "stop believing a retired MAC key after a checkpoint")
    gone.add_argument("key", help="e.g. k-202611-01")
    gone.add_argument("--trusted-through", type=int, required=True, metavar="N", help="number of that checkpoint")
    for made_by_person in (turned, gone):
        add_person(made_by_person)
    return made


def _named(settings: Settings, asked: argparse.Namespace) -> tuple[str, str]:
    from pipeline_lib.registry import persons

    return persons.named(operator(asked), asked.reason, settings.promotion.force)
