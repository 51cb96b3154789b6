"""The nightly question: is what serves what was decided? Every hand that reached in is found."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import GateCannotJudge, StoreError
from pipeline_lib.gate import confirm, signoff
from pipeline_lib.publish import oversight
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LIVE
from pipeline_lib.registry import check, pointer, states
from pipeline_lib.registry.check import require_consistent
from tests.unit.gate.promotion_world import Tweaks, World, later

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


def failure_invented(world: World, _: str) -> None:
    world.ctx.objects.put(
        f"registry/closed/{made_by(world)}.json", canonical_bytes({"outcome": "failed", "reason": ""})
    )


def reign_borrowed(world: World, first: str) -> None:
    """The first version claims the second one's reign."""
    step = {"from": "retired", "to": "champion", "at": later().isoformat(), "by": "me", "decision_id": made_by(world)}
    edit(world, f"registry/state/{first}.json", lambda document: document["history"].append(step))


def reign_backdated(world: World, first: str) -> None:
    def earlier(document: dict) -> None:
        for step in document["history"]:
            step["at"] = later(hours=-48).isoformat()

    edit(world, f"registry/state/{first}.json", earlier)


def reign_forgotten(world: World, first: str) -> None:
    edit(world, f"registry/state/{first}.json", lambda document: document.update(history=[]))


def state_edited(world: World, first: str) -> None:
    edit(world, f"registry/state/{first}.json", lambda document: document.update(state="rejected"))


def package_swapped(world: World, first: str) -> None:
    edit(world, f"registry/state/{first}.json", lambda document: document.update(manifest_sha256="0" * 64))


def registered_later(world: World, first: str) -> None:
    edit(world, f"registry/state/{first}.json", lambda document: document.update(registered_at=later().isoformat()))


def verdict_awaited(world: World, _: str) -> None:
    """A version that nobody judged says that a person is asked about it."""
    edit(world, f"registry/state/{unjudged(world)}.json", lambda document: document.update(state="pending_approval"))


def incomplete_called_complete(world: World, _: str) -> None:
    version = unjudged(world, Tweaks(without=("churn_signal",), state="incomplete"))
    edit(world, f"registry/state/{version}.json", lambda document: document.update(state="registered"))


def question_prolonged(world: World, _: str) -> None:
    key = world.ctx.objects.list("registry/approvals")[0]
    edit(world, key, lambda question: question.update(expires_at=later(days=999).isoformat()))


def answer_invented(world: World, _: str) -> None:
    world.ctx.objects.put(f"registry/confirmations/{made_by(world)}.json", b"{}")


def incident_invented(world: World, _: str) -> None:
    world.ctx.objects.put(f"registry/incidents/{made_by(world)}.json", b"half")


def made_by(world: World) -> str:
    assert world.seen.pointer is not None
    return world.seen.pointer.decision_id


def unjudged(world: World, tweaks: Tweaks | None = None) -> str:
    world.next_week()
    with tempfile.TemporaryDirectory() as folder:
        return str(world.package(tweaks or Tweaks(), Path(folder)).facts["version"])


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
    failure_invented: "says failed, the record does not",
    reign_borrowed: "which is of v",
    reign_backdated: "the record says since",
    reign_forgotten: "does not show that it was champion",
    state_edited: "the record says that it has served",
    package_swapped: "its manifest_sha256 is not that",
    registered_later: "judged at .* already",
    verdict_awaited: "has no verdict await_signoff about it",
    incomplete_called_complete: "its signed manifest says incomplete",
    question_prolonged: "approvals/.* is not what the record says",
    answer_invented: "confirmations/.* is not what the record says",
    incident_invented: "incidents/.* has no row in the record",
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


def test_every_finding_is_named_at_once_the_target_included(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    document_edited(world, first)
    target_shifted(world, first)
    with pytest.raises(GateCannotJudge, match=f"(?s)documents say .*serves {first}, the pointer names"):
        oversight.verify_champion(world.settings)


def test_every_kind_of_file_agrees_with_its_row(world: World, tmp_path: Path) -> None:
    """A question that expired, one answered, one waiting; a force objected to, one nobody confirmed."""
    first = world.bootstrap(tmp_path)
    _, expired = world.await_approval(tmp_path)
    signoff.conclude(world.settings, expired, "expired", None, "", now=later(hours=73))
    world.promote(tmp_path)
    world.served_since(first, 48)
    for number, answer in enumerate(("Object", None)):
        decision, receipt = world.force(first, request_id=f"req-{number}")
        releases.release(world.settings, decision, receipt)
        if answer:
            confirm.confirm(world.settings, decision.decision_id, "second.person", "Object", "It was another task")
            releases.release(world.settings, *world.force(str(world.seen.pointer.previous_version), approver="a.person",
                                                          request_id="back"))  # fmt: skip
    assert confirm.open_incidents(world.settings, later(hours=30))
    world.challenge(tmp_path, Tweaks(strength=4.0, seed=5))
    signoff.open_approval(world.settings, world.judge()["decision_id"])
    for folder in ("approvals", "confirmations", "incidents", "closed"):
        assert world.ctx.objects.list(f"registry/{folder}"), folder
    assert oversight.verify_champion(world.settings)["champion"] == first


def test_a_file_that_says_failed_takes_no_champion_down(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    failure_invented(world, first)
    assert releases.reconcile(world.settings) == []
    assert (world.seen.version, world.target.serving()) == (second, second)


def test_a_store_that_does_not_answer_is_no_finding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise StoreError("no answer")

    monkeypatch.setattr(states, "listed", silent)
    with pytest.raises(StoreError, match="no answer"):
        check.examine(world.settings)
