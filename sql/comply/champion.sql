-- The version that served at the end of a period and the decision that made it so.
-- Grain: one row, or none when nothing was ever promoted. Parameters: $end (UTC text).
-- Source: log_model_promotion: the newest verdict that changes the champion.
select
    payload->>'$.challenger_version' as version,
    payload->>'$.decision' as decision,
    payload->>'$.decision_id' as decision_id,
    payload->>'$.model_digest_challenger' as package_sha256,
    payload->>'$.training_snapshot_hash' as training_snapshot_hash,
    payload->>'$.gate_config_hash' as gate_config_hash,
    payload->>'$.code_rev' as code_version,
    ts as decided_at,
    [entry_hash] as evidence
from log_model_promotion
where event = 'promotion_decision' and ts < $end
  and payload->>'$.decision' in ('bootstrap', 'promote', 'force_promote')
order by ts desc, entry_hash
limit 1
