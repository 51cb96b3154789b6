-- What the gate compared for the serving version, metric by metric.
-- Grain: one row per metric. Unit: the metric's own. Parameters: $end (UTC text).
-- Source: log_model_promotion, column comparison of the newest verdict that changes the champion.
with champion as (
    select entry_hash, payload from log_model_promotion
    where event = 'promotion_decision' and ts < $end
      and payload->>'$.decision' in ('bootstrap', 'promote', 'force_promote')
    order by ts desc, entry_hash
    limit 1
), metrics as (
    select entry_hash, unnest(json_extract(payload, '$.comparison[*]')) as fact from champion
)
select
    fact->>'$.metric' as metric,
    fact->>'$.challenger' as challenger,
    fact->>'$.champion' as champion,
    [entry_hash] as evidence
from metrics
order by metric
