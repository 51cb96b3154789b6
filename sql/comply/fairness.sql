-- Comparisons of the newest fairness window of a period.
-- Grain: one row per attribute, group and metric. Unit: the metric's own, decimal text.
-- Parameters: $start, $end (UTC text, half open). Source: log_operation, the newest event fairness_window.
with newest as (
    select entry_hash, payload from log_operation
    where event = 'fairness_window' and ts >= $start and ts < $end
    order by ts desc, entry_hash
    limit 1
), facts as (
    select entry_hash, unnest(json_extract(payload, '$.details.comparisons[*]')) as fact from newest
)
select
    fact->>'$.attribute' as attribute,
    fact->>'$.group' as compared,
    fact->>'$.reference' as reference,
    fact->>'$.metric' as metric,
    fact->>'$.value' as value,
    fact->>'$.state' as state,
    [entry_hash] as evidence
from facts
order by attribute, compared, metric
