-- What the guardrail did with the answers of a period.
-- Grain: one row. Unit: answers. Parameters: $start, $end (UTC text, half open).
-- Source: log_guardrail, event guardrail.
select
    count(*) as answers_checked,
    count(*) filter (payload->>'$.verdict' = 'block') as texts_blocked,
    count(*) filter (payload->>'$.delivered' = 'true') as answers_delivered,
    count(*) filter (payload->>'$.tier' in ('2', '3')) as answers_for_review,
    list(entry_hash order by entry_hash) as evidence
from log_guardrail
where event = 'guardrail' and ts >= $start and ts < $end
