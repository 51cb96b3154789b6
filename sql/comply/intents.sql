-- Acts announced before the last day of a period whose outcome is not in the record.
-- Grain: one row. Unit: acts. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation: an intent is closed by any other row with its action_id.
with rows_of_acts as (
    select payload->>'$.action_id' as act, payload->>'$.phase' as phase, ts, entry_hash from log_operation
    where payload->>'$.action_id' is not null and ts < $end
), intents as (
    select act, min(ts) as ts, list(entry_hash) as evidence from rows_of_acts
    where phase = 'intent' and ts >= $start
      and cast(ts as timestamp) < cast($end as timestamp) - interval 24 hour
    group by act
), outcomes as (
    select act, list(entry_hash) as evidence from rows_of_acts where phase <> 'intent' group by act
)
select
    count(*) as intents,
    count(*) filter (outcomes.act is null) as open_intents,
    flatten(list(intents.evidence || coalesce(outcomes.evidence, []))) as evidence
from intents left join outcomes using (act)
