-- Verifications of the record in a period.
-- Grain: one row. Unit: verification runs. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation, event verify_result.
select
    count(*) as verifications,
    count(*) filter (payload->>'$.details.verdict' is distinct from 'INTACT') as not_intact,
    list(entry_hash order by entry_hash) as evidence
from log_operation
where event = 'verify_result' and ts >= $start and ts < $end
