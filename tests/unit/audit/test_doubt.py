"""A finding about a checkpoint names the first entry whose cover it is; former keys leave an honest record intact."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.audit import anchors, attacks, evidence, tamper_drill, verify
from pipeline_lib.audit.attacks import Scene
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Settings


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shipped: Settings) -> tamper_drill._Built:
    folder = tmp_path_factory.mktemp("drill") / "before"
    return tamper_drill._build(tamper_drill._at(shipped, folder), folder)


@pytest.fixture
def scene(built: tamper_drill._Built, tmp_path: Path) -> Scene:
    folder = tmp_path / "attacked"
    shutil.copytree(built.folder, folder)
    settings = tamper_drill._at(built.settings, folder)
    return Scene(settings, KeyFolder(settings.place.keys), folder)


def first_of(scene: Scene, n: int) -> tuple[str, int, int, int]:
    """Writer, epoch, entry and leaf that checkpoint ``n`` of the untouched record begins with."""
    index = anchors.trusted(scene.anchors, scene.keys, verify.record.origin(scene.settings))[0][n - 1].index
    key = index.segments[0].key
    return (*evidence.chain_of(key), evidence.first_seq(key), index.first_leaf)


@pytest.mark.parametrize(
    ("case", "n"),
    [
        ("checkpoint: edited", 2),
        ("checkpoint: leaf index edited", 1),
        ("checkpoint: one removed", 1),
        ("checkpoint: the newest removed", 2),
        ("checkpoint: signed with another key", 2),
        ("fork: a second history under the true keys", 1),
    ],
)
def test_an_attack_on_a_checkpoint_names_the_first_entry_it_covered(scene: Scene, case: str, n: int) -> None:
    attack, code = attacks.ATTACKS[case]
    expected = first_of(scene, n)
    attack(scene)
    found = [f for f in verify.examine(scene.settings, with_store=False).findings if f.code == code]
    assert (found[0].writer_id, found[0].epoch, found[0].seq, found[0].leaf_index) == expected


def test_without_that_entry_its_leaf_is_named(scene: Scene) -> None:
    *_, leaf = first_of(scene, 2)
    attacks.roll_back_evidence_and_anchors(scene)
    found = next(f for f in verify.examine(scene.settings).findings if f.code == "ANCHOR_MISMATCH")
    assert (found.writer_id, found.seq, found.leaf_index) == (None, None, leaf)


@pytest.mark.parametrize("prepare", [attacks.retire_mac_key, attacks.revoke_mac_key, attacks.change_signing_key])
def test_a_change_of_keys_alone_is_no_finding(
    built: tamper_drill._Built, scene: Scene, prepare: Callable[[Scene], object]
) -> None:
    prepare(scene)
    report = verify.examine(scene.settings, built.receipts)
    assert (report.verdict, report.findings) == ("INTACT", ())


@pytest.mark.parametrize("case", [case for case in attacks.ATTACKS if "MAC key" in case])
def test_an_entry_under_a_former_mac_key_is_found_for_its_key_alone(scene: Scene, case: str) -> None:
    attacks.ATTACKS[case][0](scene)
    (found,) = verify.examine(scene.settings).findings
    assert str(found.writer_id).startswith("thief:")
    assert "first seen later" in found.detail
