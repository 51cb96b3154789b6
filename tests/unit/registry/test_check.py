"""The nightly question: is what serves what was decided? Every hand that reached in is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import GateCannotJudge, StoreError
from pipeline_lib.publish import oversight
from pipeline_lib.publish.targets.local_target import LIVE
from pipeline_lib.registry import check, pointer, states
from pipeline_lib.registry.check import require_consistent
from tests.unit.gate.promotion_world import World, later

FIRST_POINTER = "registry/pointer/past/00000001.json"


def test_a_released_champion_is_consistent(world: World, tmp_path: Path) -> None:
    assert require_consistent(world.settings)["champion"] is None
    first = world.bootstrap(tmp_path)
    assert require_consistent(world.settings)["champion"] == first
    second = world.promote(tmp_path)
    expected = {
        "champion": second,
        "generation": 2,
        "decision_id": world.ctx.read("publish").manifest.inputs["decision"],
    }
    assert require_consistent(world.settings) == oversight.verify_champion(world.settings) == expected
    assert [row.payload["details"] for row in world.rows("registry_checked")] == [{"findings": []}]


def edit(world: World, key: str, change: Callable[[dict], None]) -> None:
    body = json.loads(world.ctx.objects.get(key))
    change(body)
    world.ctx.objects.put(key, canonical_bytes(body))


def pointer_deleted(world: World, _: str) -> None:
    world.ctx.objects.delete(pointer.KEY)


def pointer_and_copies_deleted(world: World, _: str) -> None:
    for key in world.ctx.objects.list("registry/pointer"):
        world.ctx.objects.delete(key)


def pointer_edited(world: World, first: str) -> None:
    edit(world, pointer.KEY, lambda sealed: sealed["pointer"].update(version=first))


def older_pointer_put_back(world: World, _: str) -> None:
    world.ctx.objects.put(pointer.KEY, world.ctx.objects.get(FIRST_POINTER))


def older_pointer_put_back_and_copies_deleted(world: World, _: str) -> None:
    older_pointer_put_back(world, _)
    for key in world.ctx.objects.list("registry/pointer/past"):
        world.ctx.objects.delete(key)
    for version in states.listed(world.ctx.objects):  # and the documents made to agree
        to = "champion" if version == _ else "retired"
        edit(world, f"registry/state/{version}.json", lambda document, to=to: document.update(state=to))


def document_edited(world: World, first: str) -> None:
    edit(world, f"registry/state/{first}.json", lambda document: document.update(state="champion"))


def reign_invented(world: World, first: str) -> None:
    step = {"from": "registered", "to": "champion", "at": later().isoformat(), "by": "me", "decision_id": "f" * 32}
    edit(world, f"registry/state/{first}.json", lambda document: document["history"].append(step))


def decision_edited(world: World, _: str) -> None:
    key = world.ctx.objects.list("registry/decisions")[0]
    edit(world, key, lambda stored: stored["decision"].update(operator="mallory"))


def decision_deleted(world: World, _: str) -> None:
    world.ctx.objects.delete(world.ctx.objects.list("registry/decisions")[0])


def decision_invented(world: World, _: str) -> None:
    body = json.loads(world.ctx.objects.get(world.ctx.objects.list("registry/decisions")[0]))
    body["decision"]["decision_id"] = "f" * 32
    world.ctx.objects.put(f"registry/decisions/{'f' * 32}.json", canonical_bytes(body))


def model_changed(world: World, _: str) -> None:
    key = f"registry/versions/{world.seen.version}/students/churn_signal/model.txt"
    world.ctx.objects.put(key, b"tree\nother")


def quarantine_invented(world: World, first: str) -> None:
    states.quarantine(world.ctx.objects, first, "mallory", "so that nobody can roll back", later())


def row_deleted(world: World, _: str) -> None:
    for path in Path(world.settings.place.audit.removeprefix("file://")).rglob("*.jsonl"):
        if b'"promotion_decision"' in path.read_bytes():
            path.unlink()


def row_edited(world: World, _: str) -> None:
    for path in Path(world.settings.place.audit.removeprefix("file://")).rglob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"decision":"promote"', b'"decision":"bootstr"'))


def target_shifted(world: World, first: str) -> None:
    world.target.shift(first)


def released_model_changed(world: World, _: str) -> None:
    (world.target.folder / str(world.seen.version) / "students/churn_signal/model.txt").write_bytes(b"tree\nother")


def live_file_edited(world: World, _: str) -> None:
    path = world.target.folder / LIVE
    path.write_bytes(path.read_bytes().replace(b'"manifest_sha256":"', b'"manifest_sha256":"0'))


TOUCHED: dict[Callable[[World, str], None], str] = {
    pointer_deleted: "is missing but there were 2 generations",
    pointer_and_copies_deleted: "served before",
    pointer_edited: "is not a pointer of ours",
    older_pointer_put_back: "an older pointer was put back",
    older_pointer_put_back_and_copies_deleted: "the record's newest effect is of",
    document_edited: "documents say",
    reign_invented: "which has no effect in the record",
    decision_edited: "is not what the record says",
    decision_deleted: "is missing, the record has the verdict",
    decision_invented: "has no row in the record",
    model_changed: "the champion's package: ManifestMismatch",
    quarantine_invented: "the record does not say so",
    row_deleted: "no such verdict",
    row_edited: "does not verify",
    target_shifted: "the pointer names",
    released_model_changed: "is not the package",
    live_file_edited: "is not the package",
}


@pytest.mark.parametrize(("touch", "finding"), TOUCHED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_hand_did_is_found_and_recorded(
    world: World, tmp_path: Path, touch: Callable[[World, str], None], finding: str
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    touch(world, first)
    with pytest.raises(GateCannotJudge, match=finding):
        oversight.verify_champion(world.settings)
    recorded = world.rows("registry_checked") if "row_edited" != touch.__name__ else []
    assert all(row.payload["severity"] == "critical" for row in recorded)


def test_a_store_that_does_not_answer_is_no_finding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise StoreError("no answer")

    monkeypatch.setattr(states, "listed", silent)
    with pytest.raises(StoreError, match="no answer"):
        check.examine(world.settings)
