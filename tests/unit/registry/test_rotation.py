"""A key that is replaced still vouches for what it signed; a key that was removed does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import signing
from pipeline_lib.errors import SecretMissing, SignatureInvalid
from pipeline_lib.registry import rotation, versions
from pipeline_lib.registry.check import require_consistent
from tests.unit.gate.promotion_world import MONDAY, Tweaks, World, write_package


def registered(world: World, tmp: Path, seed: int) -> str:
    write_package(tmp / str(seed), MONDAY, Tweaks(seed=seed), world.keys)
    return versions.register(world.ctx.objects, world.keys, tmp / str(seed)).version


def test_versions_signed_before_and_after_a_rotation_verify(world: World, tmp_path: Path) -> None:
    names = [registered(world, tmp_path, 1)]
    for seed in (2, 3):
        old, new = signing.rotate(world.keys, "package")
        assert (old != new, signing.key_id(world.keys, "package")) == (True, new)
        names.append(registered(world, tmp_path, seed))
    for name in names:
        assert versions.verify(world.ctx.objects, world.keys, name).version == name


def test_a_champion_outlives_both_of_its_keys(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    for purpose in signing.ROTATED:
        signing.rotate(world.keys, purpose)
    assert require_consistent(world.settings)["champion"] == version


def test_a_removed_key_is_believed_no_more(world: World, tmp_path: Path) -> None:
    version = registered(world, tmp_path, 1)
    old, _ = signing.rotate(world.keys, "package")
    (world.keys.folder / f"sign-package.{old}.pub").unlink()
    with pytest.raises(SignatureInvalid, match=f"key {old}, which is not known here"):
        versions.verify(world.ctx.objects, world.keys, version)


def test_a_key_kept_under_another_id_is_refused(world: World, tmp_path: Path) -> None:
    version = registered(world, tmp_path, 1)
    old, new = signing.rotate(world.keys, "package")
    forged = (world.keys.folder / f"sign-package.{new}.pub").read_bytes()
    (world.keys.folder / f"sign-package.{old}.pub").write_bytes(forged)
    with pytest.raises(SignatureInvalid, match=f"holds key {new}"):
        versions.verify(world.ctx.objects, world.keys, version)


@pytest.mark.parametrize("named", ["", "x", "../../pepper", "0" * 16])
def test_a_signature_naming_no_key_of_ours_is_refused(world: World, named: str) -> None:
    signature = signing.sign(world.keys, "package", b"bytes")
    with pytest.raises(SignatureInvalid):
        signing.verify(world.keys, "package", b"bytes", signature, named)


def test_only_keys_that_signatures_name_can_be_replaced(world: World) -> None:
    with pytest.raises(SecretMissing, match="found 'checkpoint'"):
        signing.rotate(world.keys, "checkpoint")


@pytest.mark.parametrize("number", [1, 2])
def test_a_rotation_that_dies_leaves_a_pair_that_signs_and_verifies(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before, count, replace = registered(world, tmp_path, 1), [0], os.replace

    def dying(*paths: Any) -> None:
        count[0] += 1
        if count[0] == number:
            raise KeyboardInterrupt
        replace(*paths)

    def with_death(act: Callable[[], object]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", dying)
            with pytest.raises(KeyboardInterrupt):
                act()

    with_death(lambda: signing.rotate(world.keys, "package"))
    for name in (before, registered(world, tmp_path, 2)):
        versions.verify(world.ctx.objects, world.keys, name)
    signing.rotate(world.keys, "package")
    for name in (before, registered(world, tmp_path, 3)):
        versions.verify(world.ctx.objects, world.keys, name)


def test_a_rotation_is_two_rows_by_a_person(world: World) -> None:
    old, new = rotation.rotate(world.settings, "package", "security.officer", "yearly change of keys")
    found = sorted(world.rows("key_rotate"), key=lambda row: row.header["ts"])
    assert [(row.payload["phase"], row.payload["details"]) for row in found] == [
        ("intent", {"old_key": old}),
        ("done", {"old_key": old, "new_key": new}),
    ]
    assert {row.payload["actor_ref"] for row in found} == {"security.officer"}
