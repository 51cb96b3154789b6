-- Monitoring windows of a period and the readings in them.
-- Grain: one row. Unit: windows; readings. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation, events drift_window and fairness_window, and the checklists that judged them.
with looked as (
    select event, payload, entry_hash,
           len(json_extract(payload, '$.details.readings[*]')) as readings,
           len(list_filter(json_extract_string(payload, '$.details.readings[*].state'), lambda x: x = 'FAIL')) as failed,
           len(list_filter(json_extract_string(payload, '$.details.readings[*].state'), lambda x: x = 'UNKNOWN')) as unknown
    from log_operation
    where ts >= $start and ts < $end and event in ('drift_window', 'fairness_window', 'checklist_run')
)
select
    count(*) filter (event = 'drift_window') as drift_windows,
    count(*) filter (event = 'fairness_window') as fairness_windows,
    cast(coalesce(sum(readings) filter (event <> 'checklist_run'), 0) as bigint) as readings,
    cast(coalesce(sum(failed) filter (event <> 'checklist_run'), 0) as bigint) as readings_outside_limits,
    cast(coalesce(sum(unknown) filter (event <> 'checklist_run'), 0) as bigint) as readings_unknown,
    count(*) filter (event = 'checklist_run') as checklists,
    count(*) filter (event = 'checklist_run' and payload->>'$.details.light' = 'RED') as red_checklists,
    list(entry_hash order by entry_hash) as evidence
from looked
