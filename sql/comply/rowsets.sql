-- Predictions whose four rows (access, prediction, attribution, guardrail) are all in the record.
-- Grain: one row. Unit: predictions. Parameters: $start, $end (UTC text, half open).
-- Source: the four serving tables.
with attributed as (
    select prediction_id, min(entry_hash) as entry from log_attribution where event = 'attribution' group by 1
), guarded as (
    select prediction_id, min(entry_hash) as entry from log_guardrail where event = 'guardrail' group by 1
), accessed as (
    select request_id, min(entry_hash) as entry from log_data_access where event = 'data_access' group by 1
), sets as (
    select p.entry_hash, a.entry as attribution, g.entry as guardrail, d.entry as access
    from log_model_inference p
    left join attributed a using (prediction_id)
    left join guarded g using (prediction_id)
    left join accessed d on d.request_id = p.request_id
    where p.event = 'prediction' and p.ts >= $start and p.ts < $end
)
select
    count(*) as predictions,
    count(*) filter (access is null) as without_access_row,
    count(*) filter (attribution is null or guardrail is null or access is null) as incomplete,
    list_filter(list(entry_hash) || list(attribution) || list(guardrail) || list(access), lambda x: x is not null)
        as evidence
from sets
