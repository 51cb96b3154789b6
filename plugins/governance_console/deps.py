"""Reads the place once per request: nothing is cached, because the page must show what is true now."""

from governance_console.models import Status, Verdict

SHOWN = 20


def read_status() -> Status:
    from datetime import date

    from pipeline_lib import settings
    from pipeline_lib.audit import anchors, session
    from pipeline_lib.keys import KeyFolder
    from pipeline_lib.objects import open_objects
    from pipeline_lib.registry import decisions, pointer
    from pipeline_lib.runs import RunContext

    place = settings.load()
    objects = RunContext.open(place, date.min).objects
    keys = KeyFolder(place.place.keys)
    seen = pointer.read(objects, keys)
    stored = sorted(decisions.listed(objects), key=lambda one: one.recorded_at, reverse=True)[:SHOWN]
    checkpoints = anchors.history(open_objects(place.place.anchors), keys, session.origin(place))
    newest = checkpoints[-1].checkpoint if checkpoints else None
    return Status(
        dataset=place.source.name,
        environment=place.place.env,
        champion=seen.version,
        generation=seen.generation,
        verdicts=[
            Verdict(
                recorded_at=one.recorded_at,
                decision=one.decision.decision,
                reason_code=one.decision.reason_code,
                reason=one.decision.reason,
                challenger=one.decision.challenger_version,
                champion=one.decision.champion_version,
                operator=one.decision.operator,
            )
            for one in stored
        ],
        checkpoint=newest.n if newest else None,
        entries=newest.size if newest else None,
    )
