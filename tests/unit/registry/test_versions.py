"""Packages are registered once and verified at every use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.errors import ManifestMismatch, ObjectExists, ObjectMissing, RequestRefused, SignatureInvalid
from pipeline_lib.registry import smoke, states, versions
from tests.unit.gate.promotion_world import MONDAY, Tweaks, World, later, write_package

MODEL = "students/churn_signal/model.txt"


@pytest.fixture
def registered(world: World, tmp_path: Path) -> tuple[World, str]:
    write_package(tmp_path / "package", MONDAY, Tweaks(), world.keys)
    return world, versions.register(world.ctx.objects, world.keys, tmp_path / "package").version


def test_registering_again_changes_nothing(registered: tuple[World, str], tmp_path: Path) -> None:
    world, version = registered
    states.quarantine(world.ctx.objects, version, "risk.officer", "wrong labels", later())
    versions.register(world.ctx.objects, world.keys, tmp_path / "package")
    assert world.state(version) == "quarantined"
    assert versions.listed(world.ctx.objects) == [version]


def test_another_package_under_the_same_name_is_an_error(registered: tuple[World, str], tmp_path: Path) -> None:
    world, version = registered
    manifest = (tmp_path / "package" / "manifest.json").read_bytes()
    forged = tmp_path / "forged"
    write_package(forged, MONDAY, Tweaks(seed=9), world.keys)
    data = (forged / "manifest.json").read_bytes()
    name = data.split(b'"version":"')[1][:18]
    data = data.replace(name, version.encode())
    (forged / "manifest.json").write_bytes(data)
    (forged / "manifest.sig").write_bytes(versions.sign_manifest(world.keys, data))
    with pytest.raises(ObjectExists):
        versions.register(world.ctx.objects, world.keys, forged)
    assert world.ctx.objects.get(f"registry/versions/{version}/manifest.json") == manifest


def changed(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"tree\nother")


def removed(folder: Path) -> None:
    (folder / MODEL).unlink()


def added(folder: Path) -> None:
    (folder / "students" / "extra.txt").write_bytes(b"x")


def unsigned(folder: Path) -> None:
    (folder / "manifest.sig").unlink()


def edited(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"complete", b"COMPLETE"))


def wrongly_signed(folder: Path) -> None:
    (folder / "manifest.sig").write_bytes(b'{"key_id":"x","signature":"zz"}')


FLAWS = (changed, removed, added, unsigned, edited, wrongly_signed)


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__)
def test_a_flawed_folder_is_not_registered(world: World, tmp_path: Path, flaw: Callable[[Path], None]) -> None:
    write_package(tmp_path / "package", MONDAY, Tweaks(), world.keys)
    flaw(tmp_path / "package")
    with pytest.raises((ManifestMismatch, SignatureInvalid)):
        versions.register(world.ctx.objects, world.keys, tmp_path / "package")
    assert versions.listed(world.ctx.objects) == []


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__)
def test_a_version_that_was_touched_does_not_verify(
    registered: tuple[World, str], flaw: Callable[[Path], None]
) -> None:
    world, version = registered
    flaw(world.ctx.objects.local_path(f"registry/versions/{version}/manifest.json").parent)
    with pytest.raises((ManifestMismatch, SignatureInvalid, ObjectMissing)):
        versions.verify(world.ctx.objects, world.keys, version)


def test_a_version_copied_to_another_name_does_not_verify(registered: tuple[World, str]) -> None:
    world, version = registered
    for key in world.ctx.objects.list(f"registry/versions/{version}"):
        world.ctx.objects.put(key.replace(version, "v20990101-00000000"), world.ctx.objects.get(key))
    with pytest.raises(ManifestMismatch, match="its manifest says"):
        versions.verify(world.ctx.objects, world.keys, "v20990101-00000000")


def test_an_opened_copy_answers_the_smoke_test_and_an_empty_model_does_not(registered: tuple[World, str]) -> None:
    world, version = registered
    with versions.opened(world.ctx.objects, world.keys, version) as copy:
        smoke.complete_and_loadable(copy)
        (copy.folder / MODEL).write_bytes(b"")
        with pytest.raises(Exception, match="is no model"):
            smoke.complete_and_loadable(copy)
    assert not copy.folder.exists()


@pytest.mark.parametrize("name", ["", "../pointer", "v1/../../x"])
def test_a_name_that_is_none_is_refused(world: World, name: str) -> None:
    with pytest.raises(ManifestMismatch, match="not a version name"):
        versions.verify(world.ctx.objects, world.keys, name)


@pytest.mark.parametrize("state", states.ALLOWED)
def test_a_version_lives_only_along_the_allowed_steps(registered: tuple[World, str], state: str) -> None:
    world, version = registered
    key = f"registry/state/{version}.json"
    for to in states.ALLOWED:
        document = states.read(world.ctx.objects, version) | {"state": state}
        from pipeline_lib.canonical import canonical_bytes

        world.ctx.objects.put(key, canonical_bytes(document))
        if to in states.ALLOWED[state] or to == state:
            assert states.move(world.ctx.objects, version, to, "test", None, later())["state"] == to
        else:
            with pytest.raises(RequestRefused, match=f"is {state}"):
                states.move(world.ctx.objects, version, to, "test", None, later())


def test_documents_follow_the_pointer(world: World, tmp_path: Path) -> None:
    names = []
    for seed in (1, 2, 3):
        write_package(tmp_path / str(seed), MONDAY, Tweaks(seed=seed), world.keys)
        names.append(versions.register(world.ctx.objects, world.keys, tmp_path / str(seed)).version)
    states.quarantine(world.ctx.objects, names[1], "risk.officer", "wrong labels", later())
    for champion in names:
        assert champion in states.settle(world.ctx.objects, champion, None, "test", later())
        assert states.listed(world.ctx.objects, "champion") == [champion]
    assert states.settle(world.ctx.objects, names[2], None, "test", later()) == []
