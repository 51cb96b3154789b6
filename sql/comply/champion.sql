-- The version that served at the end of a period and the decision that made it so.
-- Grain: one row, or none when nothing was ever released. Parameters: $end (UTC text).
-- Source: the newest finished manifest_swap of log_operation and its verdict in log_model_promotion.
with swap as (
    select payload->>'$.details.decision_id' as decision_id, ts, entry_hash from log_operation
    where event = 'manifest_swap' and payload->>'$.phase' = 'done' and ts < $end
    order by ts desc, entry_hash
    limit 1
), champion as (
    select v.payload, v.ts, swap.ts as since, [v.entry_hash, swap.entry_hash] as evidence
    from swap join log_model_promotion v
        on v.event = 'promotion_decision' and v.payload->>'$.decision_id' = swap.decision_id
)
select
    payload->>'$.challenger_version' as version,
    payload->>'$.decision' as decision,
    payload->>'$.decision_id' as decision_id,
    payload->>'$.model_digest_challenger' as package_sha256,
    payload->>'$.gate_config_hash' as config_hash,
    payload->>'$.code_rev' as code_version,
    ts as decided_at,
    since as serves_since,
    evidence
from champion
