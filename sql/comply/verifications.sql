-- Verifications of the record in a period, by calendar day in Seoul.
-- Grain: one row. Unit: days with a verification; runs. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation, event verify_result. A day is not intact when one of its runs was not.
with runs as (
    select cast(cast(ts as timestamp) + interval 9 hour as date) as day,
           payload->>'$.details.verdict' is not distinct from 'INTACT' as intact, entry_hash
    from log_operation where event = 'verify_result' and ts >= $start and ts < $end
), days as (
    select day, bool_and(intact) as intact, count(*) as runs, list(entry_hash) as evidence from runs group by day
)
select
    count(*) as days_verified,
    count(*) filter (not intact) as days_not_intact,
    cast(coalesce(sum(runs), 0) as bigint) as verifications,
    flatten(list(evidence)) as evidence
from days
