"""A promoted version gets a share of a Lambda alias first; whatever happens then, one version serves and it answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ActivationFailed, LockBusy
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.lambda_target import ALIAS, LambdaTarget
from pipeline_lib.registry import lease
from pipeline_lib.settings.promotion import Stage
from tests.unit.gate.conftest import policy, world
from tests.unit.gate.promotion_world import Tweaks, World
from tests.unit.publish.test_release_lambda import FUNCTION, SILENT, released, running, target

__all__ = ["policy", "target", "world"]
STAGE = Stage(share=0.1, looks=3, every_s=0.001)
Event = tuple[str, str, dict[str, float]]
STAGED: Event = ("2", "1", {"2": 0.1})
WHOLE: Event = (ALIAS, "2", {})
"""What is asked, and where the alias is: a look at the staged version, and the check after the shift."""


class Killed(BaseException):
    """The process ends here: no handler catches it."""


@pytest.fixture
def staged(world: World) -> World:
    return world.with_policy(stage=STAGE)


def alias() -> tuple[str, dict[str, float]]:
    found = boto3.client("lambda").get_alias(FunctionName=FUNCTION, Name=ALIAS)
    return found["FunctionVersion"], found.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})


def asked(target: LambdaTarget, then: Callable[[int, str], Any] = lambda count, qualifier: None) -> list[Event]:
    """What is asked from now on: (qualifier, version of the alias, shares beside it); ``then`` may answer instead."""
    seen: list[Event] = []

    def ask(function: str, event: bytes, qualifier: str) -> Any:
        seen.append((qualifier, *alias()))
        return then(len(seen), qualifier) or running(function, event, qualifier)

    target._ask = ask
    return seen


def approved(world: World, tmp: Path) -> str:
    """A second version that was cleared and approved, not yet released."""
    version, decision_id = world.await_approval(tmp)
    world.approve(decision_id)
    return version


def weeks(world: World, tmp: Path, target: LambdaTarget) -> tuple[str, str]:
    """A first champion on the target, and the version approved after it."""
    first = released(world, tmp, target, Tweaks())
    world.next_week()
    return first, approved(world, tmp)


def test_a_promoted_version_answers_on_a_share_before_it_gets_the_rest(
    staged: World, tmp_path: Path, target: LambdaTarget
) -> None:
    _, second = weeks(staged, tmp_path, target)
    seen = asked(target)
    releases.publish(staged.ctx, target=target)
    assert seen == [STAGED] * 3 + [WHOLE]
    assert target.serving() == second == staged.seen.version


def test_a_first_version_has_nothing_to_be_staged_beside(staged: World, tmp_path: Path, target: LambdaTarget) -> None:
    seen = asked(target)
    released(staged, tmp_path, target, Tweaks())
    assert seen == [(ALIAS, "1", {})]


def test_on_call_waits_for_no_stage(staged: World, tmp_path: Path, target: LambdaTarget) -> None:
    first, _ = weeks(staged, tmp_path, target)
    releases.publish(staged.ctx, target=target)
    seen = asked(target)
    back = staged.force(first, approver="second.person", request_id="back")
    releases.release(staged.settings, *back, target=target)
    assert seen == [(ALIAS, "1", {})]


def test_without_a_share_all_traffic_moves_at_once(world: World, tmp_path: Path, target: LambdaTarget) -> None:
    assert world.settings.promotion.stage.share == 0
    weeks(world, tmp_path, target)
    seen = asked(target)
    releases.publish(world.ctx, target=target)
    assert seen == [(ALIAS, "2", {})]


@pytest.mark.parametrize("look", [1, 3])
@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
def test_a_staged_version_that_does_not_answer_is_taken_back(
    staged: World, tmp_path: Path, target: LambdaTarget, answer: dict[str, Any], look: int
) -> None:
    first, _ = weeks(staged, tmp_path, target)
    asked(target, lambda count, qualifier: answer if count == look else None)
    with pytest.raises(ActivationFailed, match="GET /v1/health at 2"):
        releases.publish(staged.ctx, target=target)
    assert alias() == ("1", {})
    assert target.serving() == first == staged.seen.version
    assert "failed" in [row.payload["phase"] for row in staged.rows("manifest_swap")]


def test_a_crash_while_staged_is_seen_and_finished(staged: World, tmp_path: Path, target: LambdaTarget) -> None:
    first, second = weeks(staged, tmp_path, target)

    def die(count: int, qualifier: str) -> None:
        raise Killed

    asked(target, die)
    with pytest.raises(Killed):
        releases.publish(staged.ctx, target=target)
    assert target.serving() == f"{first}, 10% of it {second}"
    with pytest.raises(ActivationFailed, match="cannot be withdrawn"):
        target.withdraw(second)
    with pytest.raises(ActivationFailed, match="alias live is at"):
        target.check(first)
    seen = asked(target)
    later = staged.settings.promotion.lock_ttl_s + 1
    releases.reconcile(staged.settings, target=target, now=moment(later))
    assert seen[:4] == [STAGED] * 3 + [WHOLE], "looked at as often as if nobody had died, and then shifted"
    assert all(one == WHOLE for one in seen[4:])
    assert target.serving() == second == staged.seen.version
    assert alias() == ("2", {})


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_lock_that_is_lost_while_staged_leaves_the_stage_and_the_same_call_finishes_it(
    staged: World, tmp_path: Path, target: LambdaTarget, look: int
) -> None:
    first, second = weeks(staged, tmp_path, target)
    taken = canonical_bytes({"holder": "somebody else", "expires_at": moment(60).isoformat()})

    def lose(count: int, qualifier: str) -> None:
        """Somebody takes the lock, as after a pause in which it ran out."""
        if count == look:
            staged.ctx.objects.put(lease.KEY, taken)

    def expire(lock: lease.Lease) -> None:
        lock._expires = None  # the next ``keep`` looks again
        keep(lock)

    keep = lease.Lease.keep
    seen = asked(target, lose)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lease.Lease, "keep", expire)
        with pytest.raises(LockBusy, match="somebody else") if look < 3 else nullcontext():
            releases.publish(staged.ctx, target=target)
    if look < 3:
        assert seen == [STAGED] * look
        assert target.serving() == f"{first}, 10% of it {second}", "the share that it had goes on"
        assert staged.seen.version == second
        staged.ctx.objects.delete(lease.KEY)
        seen = asked(target)
        releases.publish(staged.ctx, target=target)
    assert seen == [STAGED] * 3 + [WHOLE]
    assert alias() == ("2", {})
    assert target.serving() == second == staged.seen.version


def moment(seconds: float) -> datetime:
    """After the lease of who died has run out."""
    return utc_now() + timedelta(seconds=seconds)


class Failing:
    """Every call to Lambda counted but those of a health check; one of them refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.calls: list[str] = []
        self.counting = True
        for name in ("look", "check"):
            monkeypatch.setattr(LambdaTarget, name, self.uncounted(getattr(LambdaTarget, name)))
        real = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, given: Any) -> Any:
            if self.counting and client.meta.service_model.service_name == "lambda":
                self.calls.append(operation)
                if len(self.calls) == at:
                    refused = {"Error": {"Code": "TooManyRequestsException", "Message": "slow down"}}
                    raise ClientError(refused, operation)  # type: ignore[arg-type]
            return real(client, operation, given)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    def uncounted(self, ask: Callable[..., None]) -> Callable[..., None]:
        def asked(*given: Any) -> None:
            self.counting = False
            try:
                ask(*given)
            finally:
                self.counting = True

        return asked


def test_a_release_that_fails_at_any_call_leaves_a_version_serving_and_can_be_repeated(
    staged: World, tmp_path: Path, target: LambdaTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are those that change or read the alias and the function, one refused in each round."""
    _, second = weeks(staged, tmp_path, target)
    rounds, done = 0, False
    while not done:
        rounds += 1
        assert rounds < 60
        with monkeypatch.context() as patched:
            failing = Failing(patched, at=rounds)
            try:
                releases.publish(staged.ctx, target=target)
            except ActivationFailed:
                assert len(failing.calls) >= rounds
            else:
                done = len(failing.calls) < rounds
        number, beside = alias()
        assert (number, beside) in (("1", {}), ("1", {"2": STAGE.share}), ("2", {}))
    assert rounds > 5
    assert target.serving() == second == staged.seen.version
