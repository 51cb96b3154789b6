-- Readings of the last fairness window of a period, comparison by comparison.
-- Grain: one row per task, attribute, group and metric. Unit: the metric's own. Parameters: $start, $end (UTC text).
-- Source: log_operation, event fairness_window, newest per task.
with newest as (
    select entry_hash, payload,
           row_number() over (partition by payload->>'$.object_id' order by ts desc, entry_hash) as age
    from log_operation
    where event = 'fairness_window' and ts >= $start and ts < $end
), facts as (
    select entry_hash, payload->>'$.object_id' as task,
           unnest(json_extract(payload, '$.details.readings[*]')) as fact
    from newest where age = 1
)
select
    task,
    fact->>'$.attribute' as attribute,
    fact->>'$.group' as grp,
    fact->>'$.metric' as metric,
    fact->>'$.value' as value,
    fact->>'$.state' as state,
    [entry_hash] as evidence
from facts
order by task, attribute, grp, metric
