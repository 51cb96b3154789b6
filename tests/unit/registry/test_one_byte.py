"""A package with one altered byte is refused at every door: registry, gate, force, release, what serves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline_lib.errors import ActivationFailed, GateCannotJudge, ManifestMismatch, RequestRefused, SignatureInvalid
from pipeline_lib.gate import signoff
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import pointer, versions
from pipeline_lib.serve.bundle import UNLISTED, open_bundle
from tests.unit.gate.promotion_world import World, later

MODEL = "students/churn_signal/model.txt"


@contextmanager
def altered(path: Path, offset: int) -> Iterator[None]:
    """One bit of one byte, for the time of the block."""
    before = path.read_bytes()
    data = bytearray(before)
    data[offset] ^= 0x20  # the bit between upper and lower case: JSON and hex still parse
    path.write_bytes(data)
    yield
    path.write_bytes(before)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def registered(world: World, version: str) -> Path:
    return world.ctx.objects.local_path(f"registry/versions/{version}/manifest.json").parent


def test_any_byte_of_any_file_counts(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    chance, folder = random.Random(3), registered(world, version)
    for path in files(folder):
        size = path.stat().st_size
        for offset in {0, size - 1, *(chance.randrange(size) for _ in range(8))}:
            with altered(path, offset), pytest.raises((ManifestMismatch, SignatureInvalid)):
                versions.verify(world.ctx.objects, world.keys, version)
    versions.verify(world.ctx.objects, world.keys, version)


def test_any_byte_of_the_pointer_counts(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    path = world.ctx.objects.local_path(pointer.KEY)
    for offset in range(path.stat().st_size):
        with altered(path, offset), pytest.raises(GateCannotJudge, match="REGISTRY_CORRUPT"):
            world.seen  # noqa: B018
    assert world.seen.generation == 1


@pytest.mark.parametrize("name", [MODEL, "reports/fidelity.json", "manifest.json", "manifest.sig"])
def test_every_door_refuses_it(world: World, tmp_path: Path, name: str) -> None:
    first = world.bootstrap(tmp_path)
    version, question = world.await_approval(tmp_path)
    with altered(registered(world, version) / name, 0):
        with pytest.raises(RequestRefused, match="is not the package that was judged"):
            world.approve(question)
        with pytest.raises(RequestRefused):
            world.force(version, approver="second.person")
    stored = world.stored(world.approve(question).decision_id)
    with altered(registered(world, version) / name, 0):
        with pytest.raises((ManifestMismatch, SignatureInvalid)):
            releases.release(world.settings, stored.decision, stored.receipt)
        with pytest.raises((ManifestMismatch, SignatureInvalid)):
            pointer.swap(world.settings, world.ctx.objects, stored.decision, stored.receipt, world.seen.tag, later())
    assert world.seen.version == first == world.target.serving()


@pytest.mark.parametrize("name", [MODEL, "manifest.json"])
def test_the_gate_refuses_it(world: World, tmp_path: Path, name: str) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    with altered(registered(world, version) / name, 0):
        assert world.judge()["reason_code"] == "CHALLENGER_INVALID"


def test_what_serves_loads_no_altered_file(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    assert world.seen.pointer is not None
    folder, sha256 = world.target.folder / version, str(world.seen.pointer.manifest_sha256)
    for path in files(folder):
        if path.name == UNLISTED[1]:  # checked at publish, and read by nobody afterwards
            continue
        with altered(path, 0):
            with pytest.raises(ManifestMismatch):
                open_bundle(folder, sha256)
            with pytest.raises(ActivationFailed):
                world.target.check(version)
    open_bundle(folder, sha256)


def test_a_rejected_version_that_was_altered_afterwards_is_not_brought_back(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version, question = world.await_approval(tmp_path)
    signoff.conclude(world.settings, question, "Reject", "risk.officer", "asking data first")
    path = registered(world, version) / MODEL
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(RequestRefused, match="ManifestMismatch"):
        world.force(version, approver="second.person")
