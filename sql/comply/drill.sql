-- The last drill before the end of a period.
-- Grain: one row. Unit: days from the drill to the end, rounded up; null when the record has no drill.
-- Parameters: $end (UTC text). Source: log_operation, event drill.
select
    max(cast(ceil(epoch(cast($end as timestamp) - cast(ts as timestamp)) / 86400) as integer)) as days_since,
    list(entry_hash order by entry_hash) as evidence
from (
    select ts, entry_hash from log_operation where event = 'drill' and ts < $end order by ts desc, entry_hash limit 1
) last_drill
