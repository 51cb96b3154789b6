-- What the record holds of a period.
-- Grain: one row per log table. Unit: entries. Parameters: $start, $end (UTC text, half open).
-- Source: all seven tables.
with covered as (
    select 'log_attribution' as log_table, event, ts, entry_hash from log_attribution
    union all select 'log_data_access', event, ts, entry_hash from log_data_access
    union all select 'log_dimension_change', event, ts, entry_hash from log_dimension_change
    union all select 'log_guardrail', event, ts, entry_hash from log_guardrail
    union all select 'log_model_inference', event, ts, entry_hash from log_model_inference
    union all select 'log_model_promotion', event, ts, entry_hash from log_model_promotion
    union all select 'log_operation', event, ts, entry_hash from log_operation
)
select
    log_table,
    count(*) as entries,
    count(*) filter (event = 'drill') as drills,
    list(entry_hash order by entry_hash) as evidence
from covered
where ts >= $start and ts < $end
group by log_table
order by log_table
