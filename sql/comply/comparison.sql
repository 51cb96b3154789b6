-- What the gate compared for the serving version, metric by metric.
-- Grain: one row per metric; none for a first or a forced version. Unit: the metric's own, decimal text.
-- Parameters: $end (UTC text). Source: as champion; column comparison of the verdict.
with swap as (
    select payload->>'$.details.decision_id' as decision_id, ts, entry_hash from log_operation
    where event = 'manifest_swap' and payload->>'$.phase' = 'done' and ts < $end
    order by ts desc, entry_hash
    limit 1
), champion as (
    select v.payload, v.ts, swap.ts as since, [v.entry_hash, swap.entry_hash] as evidence
    from swap join log_model_promotion v
        on v.event = 'promotion_decision' and v.payload->>'$.decision_id' = swap.decision_id
), metrics as (
    select evidence, unnest(json_extract(payload, '$.comparison[*]')) as fact from champion
)
select
    fact->>'$.metric' as metric,
    fact->>'$.role' as role,
    fact->>'$.challenger' as challenger,
    fact->>'$.champion' as champion,
    evidence
from metrics
order by metric
