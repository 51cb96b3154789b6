-- Changes in a period: releases, thresholds, configuration, schema.
-- Grain: one row. Unit: events. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation and log_dimension_change.
with changed as (
    select event, payload->>'$.phase' as phase, entry_hash from log_operation
    where ts >= $start and ts < $end and event in ('manifest_swap', 'threshold_change', 'config_change')
    union all
    select event, null, entry_hash from log_dimension_change where ts >= $start and ts < $end
)
select
    count(*) filter (event = 'manifest_swap' and phase = 'done') as releases,
    count(*) filter (event = 'manifest_swap' and phase = 'failed') as failed_releases,
    count(*) filter (event = 'threshold_change') as threshold_changes,
    count(*) filter (event = 'config_change') as config_changes,
    count(*) filter (event = 'dimension_change') as schema_changes,
    list(entry_hash order by entry_hash) as evidence
from changed
