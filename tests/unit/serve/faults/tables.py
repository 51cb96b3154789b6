"""Rows that are wrong or missing, tables that do not answer, switches that are thrown, and time that is short."""

from __future__ import annotations

import math

from tests.unit.serve.faults.table import Seen, error, fault, rules
from tests.unit.serve.faults.world import World

ROWS, TABLES, SWITCHES, TIME = "feature row", "tables", "kill switch and opt-out", "time"
NO_ITEMS, ANOMALY = "no_suitable_candidate", "INPUT_ANOMALY"


@fault(ROWS, "no row of the customer", rules("COLD_START"))
def no_row(world: World) -> None:
    world.edit_row(None)


@fault(ROWS, "a feature is missing as it was in training: trees know the way", Seen())
def one_missing(world: World) -> None:
    world.edit_row({"roll_180d_count": math.nan})


@fault(ROWS, "a feature is missing that carries over 20 % of the model and never was", Seen(layer="3", reason=ANOMALY))
def heavy_missing(world: World) -> None:
    world.edit_row({"hold_saving": math.nan})


@fault(ROWS, "all features are missing", rules(ANOMALY))
def all_missing(world: World) -> None:
    world.edit_row(dict.fromkeys(world.columns(), math.nan))


@fault(ROWS, "features are infinite", rules(ANOMALY))
def infinite(world: World) -> None:
    world.edit_row(dict.fromkeys(world.columns(), math.inf))


@fault(ROWS, "features far beyond what was trained on: a tree's outermost leaf answers", Seen())
def out_of_range(world: World) -> None:
    world.edit_row(dict.fromkeys(world.columns(), 1e30))


@fault(ROWS, "the row has another schema", rules("SCHEMA_MISMATCH"))
def other_schema(world: World) -> None:
    world.sql("feature_rows", "UPDATE meta SET body = json_set(body, '$.schema_hash', 'other')")


@fault(ROWS, "the row is cut short", rules("FEATURES_UNREADABLE"))
def cut_short(world: World) -> None:
    world.sql("feature_rows", "UPDATE feature_row SET features = substr(features, 1, 8)")


@fault(ROWS, "the rows are older than seven days", rules("FEATURES_TOO_OLD"))
def too_old(world: World) -> None:
    world.later(days=8)


@fault(TABLES, "the opt-out table does not answer", rules("OPTOUT_UNREADABLE", "opted_out_rules"))
def opt_out_down(world: World) -> None:
    world.unreadable("opt_out")


@fault(TABLES, "the opt-out table is locked by somebody else (a real lock)", rules("OPTOUT_UNREADABLE", NO_ITEMS))
def opt_out_locked(world: World) -> None:
    world.lock("state")


@fault(TABLES, "the kill-switch table does not answer", rules("SWITCH:unreadable"))
def switches_down(world: World) -> None:
    world.unreadable("switches")


@fault(TABLES, "the suitability table does not answer", Seen(status=NO_ITEMS))
def suitability_down(world: World) -> None:
    world.unreadable("assessment")


@fault(TABLES, "the feature table does not answer", rules("FEATURES_UNREADABLE"))
def features_down(world: World) -> None:
    world.unreadable("customer")


@fault(TABLES, "the contact table does not answer, the channel is outbound", Seen(status="no_contact"))
def contact_down(world: World) -> None:
    world.unreadable("contact")
    world.changes = {"channel": "email", "operator_id": None, "terminal_id": None}


@fault(TABLES, "the idempotency table does not answer, a key is given", Seen())
def idempotency_down(world: World) -> None:
    world.unreadable("stored_answer", "store_answer")
    world.changes = {"idempotency_key": "k1"}


@fault(TABLES, "all tables are gone", rules("OPTOUT_UNREADABLE", NO_ITEMS))
def all_gone(world: World) -> None:
    world.start()
    for file in world.release.tables.iterdir():
        file.unlink()


@fault(TABLES, "values of another kind in the suitability table", Seen(status=NO_ITEMS))
def wrong_kinds(world: World) -> None:
    world.sql("state", "UPDATE suitability SET tolerance = 'high', assessed_at = 'last week'")


@fault(SWITCHES, "the customer opted out", rules("OPTED_OUT", "opted_out_rules"))
def opted_out(world: World) -> None:
    world.opt_out(None)


@fault(SWITCHES, "one task is killed", Seen(layer="3", reason="SWITCH:sw1"))
def task_killed(world: World) -> None:
    world.switch("task", "churn_signal", "rule_based")


@fault(SWITCHES, "a cluster is killed", rules("SWITCH:sw1"))
def cluster_killed(world: World) -> None:
    world.switch("cluster", "seniors", "rule_based")


@fault(SWITCHES, "everything is killed, `rule_based`", rules("SWITCH:sw1"))
def all_killed(world: World) -> None:
    world.switch("global", "*", "rule_based")


@fault(SWITCHES, "everything is killed, `disable`: static content, recorded", rules("SWITCH:sw1", "static_content"))
def all_disabled(world: World) -> None:
    world.switch("global", "*", "disable")


@fault(TIME, "each read is slow, together within the deadline", Seen())
def slow_reads(world: World) -> None:
    world.slow(opt_out=0.15, switches=0.15, assessment=0.15, customer=0.15)


@fault(TIME, "the reads pass the deadline, the feature row is the last of them", rules("DEADLINE"))
def deadline_in_last_read(world: World) -> None:
    world.slow(assessment=0.19, customer=0.7)


@fault(TIME, "the reads pass the deadline before suitability and features", rules("DEADLINE", NO_ITEMS))
def deadline_in_first_reads(world: World) -> None:
    world.slow(opt_out=0.4, switches=0.5)


@fault(TIME, "predicting one task passes the deadline: the tasks after it", Seen(layer="3", reason="DEADLINE"))
def slow_prediction(world: World) -> None:
    world.slow_prediction(0.9)


@fault(TIME, "rules answered, but the platform ends the function before a receipt", error(504, "DEADLINE"))
def no_time_left(world: World) -> None:
    world.slow(opt_out=0.4, switches=0.5)
    world.remaining_ms = 1000


@fault(TIME, "the assessment is of the future", Seen(status=NO_ITEMS))
def assessed_in_future(world: World) -> None:
    world.assess(3, days_ago=-2)


@fault(TIME, "the feature rows are of the future", rules("FEATURES_FROM_FUTURE"))
def features_from_future(world: World) -> None:
    world.later(days=-2)
    world.assess(3)


@fault(TIME, "the clock goes back an hour between two requests", Seen(rows="4"))
def clock_back(world: World) -> None:
    world.ask()
    world.later(hours=-1)
