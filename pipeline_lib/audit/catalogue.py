"""What may be recorded: the seven tables, their columns and the closed list of events.

Adding a column or an event is a schema change of the record: raise ``SCHEMA`` of the table. Standard library
only, because the Lambda writes entries too. Source: audit.md 5 and promotion.md 11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

SALT = "salt"

COLUMNS: dict[str, tuple[str, ...]] = {
    "log_operation": tuple(
        """actor_kind actor_ref action_id phase object_type object_id before_hash after_hash run_id dag_id try_number
        severity reason approvals details code_rev config_hash""".split()
    ),
    "log_model_inference": tuple(
        """subject_ref model_version model_digest layer feature_schema_version feature_hash feature_asof feature_ref
        task_scores recommended slate_ref slate_hash eligible_n filtered_n filter_reasons prot requester_kind
        requester_ref access_reason segment_id weights_version dyn_weight experiment_arm channel batch_id latency_us
        cold_start optout_state consent_version manifest_hash code_rev config_hash""".split()
    ),
    "log_data_access": tuple(
        """operator_ref operator_kind subject_ref row_scope query_hash access_reason purpose lawful_basis fields_read
        row_count source_ip_hash terminal_ref permission_declared permission_used recipient jurisdiction_from
        jurisdiction_to case_id denied""".split()
    ),
    "log_dimension_change": tuple(
        """change_id from_dim to_dim from_schema_version to_schema_version added removed renamed dtype_changed
        schema_hash_before schema_hash_after compat embedding_space_changed first_training_run approved_by
        reason""".split()
    ),
    "log_attribution": tuple(
        """task method source_asof staleness_us source_model_version gates gate_matrix_ref gate_entropy top_features
        base_value residual attribution_hash input_dim explanation_vec_id reason_layer reason_text_hash
        reason_confidence readability llm_used prompt_hash reply_hash provider_model""".split()
    ),
    "log_guardrail": tuple(
        """criteria verdict text_hash_before text_hash_after edits suit ood keywords_hit ai_notice_present tier
        delivered""".split()
    ),
    "log_model_promotion": tuple(
        """decision_id request_id run_id champion_version champion_generation challenger_version manifest_sha256
        model_digest_champion model_digest_challenger decision reason_code reason trigger operator approver ticket
        approvals gate_path comparison significance fidelity counterfactual task_sets drift hooks skipped_checks
        basis_decision_id rollback_of review_due auto_promote training_snapshot_hash gate_config_hash bundle_digest
        code_rev compliance_refs effective_at duration_us""".split()
    ),
}
"""Payload columns of each table; ``salt`` is added by the log."""

TABLES = tuple(COLUMNS)
SCHEMA: dict[str, int] = dict.fromkeys(TABLES, 1) | {"log_operation": 2}
"""Version of each table's columns, stored in every header."""

_OPERATION_EVENTS = """
writer_open writer_close writer_sealed segment_rejected heartbeat key_issue key_register key_rotate key_revoke
checkpoint_alarm verify_result retrain_start retrain_end manifest_swap kill_switch_fired kill_switch_cleared
kill_switch_clear_requested
fairness_window fairness_breach intersectional_fairness threshold_change config_change drift_window drift_breach
guardrail_threshold_change review_enqueued review_decided review_expired optout_set optout_cleared
profiling_request profiling_closed explanation_request explanation_closed consent_change suitability_recorded
complaint incident_opened
incident_updated incident_closed checklist_run agent_report consensus_result minority_report case_saved
case_resolved compliance_run compliance_failed pointer_swapped alias_shifted activation_failed reconciled
decision_voided version_quarantined quarantine_lifted registry_checked force_promote_refused gate_dry_run
force_promote_requested force_promote_declined force_promote_confirmed force_promote_objected paged
approval_opened approval_expired legal_hold erasure retention_drop store_maintenance backup_restore drill
"""

EVENTS: dict[str, str] = {
    **dict.fromkeys(_OPERATION_EVENTS.split(), "log_operation"),
    **dict.fromkeys(("data_access", "access_denied", "log_query"), "log_data_access"),
    "prediction": "log_model_inference",
    "attribution": "log_attribution",
    "attribution_late": "log_attribution",
    "guardrail": "log_guardrail",
    "guardrail_late": "log_guardrail",
    "dimension_change": "log_dimension_change",
    "promotion_decision": "log_model_promotion",
}
"""Event -> the only table it is written to."""

_ENUMS: dict[str, dict[str, frozenset[str]]] = {
    "log_operation": {
        "actor_kind": frozenset({"human", "service", "agent"}),
        "phase": frozenset({"intent", "done", "failed", "single"}),
        "severity": frozenset({"info", "minor", "major", "critical"}),
    },
    "log_model_inference": {"layer": frozenset({"L1_distilled", "L2_direct", "L3_rules", "L4_human"})},
    "log_attribution": {"method": frozenset({"ceh_online", "ceh_batch", "student_contrib", "rule"})},
    "log_guardrail": {"verdict": frozenset({"pass", "modify", "block"})},
    "log_model_promotion": {
        "decision": frozenset({"bootstrap", "promote", "await_signoff", "reject", "force_promote"}),
        "trigger": frozenset({"auto", "manual"}),
    },
}
"""Columns with a closed set of values; these may not be null."""

_NAME = re.compile(r"[a-z0-9_]+")


def complete(log_table: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """A payload with every column of the table: what is not known is null.

    Raises:
        ValueError: an unknown table, or a column that the table does not have.
    """
    if log_table not in COLUMNS:
        raise ValueError(f"no table {log_table!r}; the record has {', '.join(TABLES)}")
    if unknown := sorted(known.keys() - set(COLUMNS[log_table])):
        raise ValueError(f"{log_table} has no columns {unknown}")
    return {name: known.get(name) for name in COLUMNS[log_table]}


def check(log_table: str, event: str, payload: Mapping[str, Any]) -> None:
    """One payload against its table: raises ValueError saying what is missing, unknown or out of range."""
    if EVENTS.get(event) != log_table:
        raise ValueError(f"event {event!r} is not one of {log_table}: it belongs to {EVENTS.get(event)}")
    columns = set(COLUMNS[log_table])
    missing, unknown = sorted(columns - payload.keys()), sorted(payload.keys() - columns)
    if missing or unknown:
        raise ValueError(f"{log_table} {event}: columns missing {missing}, unknown {unknown}")
    for column, allowed in _ENUMS.get(log_table, {}).items():
        if payload[column] not in allowed:
            raise ValueError(f"{log_table} {event}: {column} is one of {sorted(allowed)}, found {payload[column]!r}")
    if log_table == "log_operation" and payload["actor_kind"] == "human" and not payload["reason"]:
        raise ValueError(f"{log_table} {event}: a human actor gives a reason")
    _check_names(payload, f"{log_table} {event}")


@lru_cache(4096)
def _is_name(key: object) -> bool:
    return isinstance(key, str) and _NAME.fullmatch(key) is not None


def _check_names(value: Any, where: str) -> None:
    """Keys at every depth are ``[a-z0-9_]+``, so that all sort orders agree (rules C1 and C8)."""
    if isinstance(value, (dict, Mapping)):  # dict first: asking an abstract class costs more than the name
        for key, item in value.items():
            if not _is_name(key):
                raise ValueError(f"{where}: key {key!r} is not [a-z0-9_]+; write free keys as [{{k, v}}]")
            _check_names(item, where)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_names(item, where)
