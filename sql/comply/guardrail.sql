-- What the guardrail saw and did in a period.
-- Grain: one row. Unit: guardrail verdicts. Parameters: $start, $end (UTC text, half open).
-- Source: log_guardrail, event guardrail.
select
    count(*) as verdicts,
    count(*) filter (payload->>'$.suit.verdict' = 'block') as suitability_blocks,
    count(*) filter (payload->>'$.verdict' = 'block') as blocks,
    count(*) filter (payload->>'$.delivered' = 'true') as delivered,
    count(*) filter (payload->>'$.delivered' = 'true' and payload->>'$.ai_notice_present' = 'false') as delivered_without_notice,
    list(entry_hash order by entry_hash) as evidence
from log_guardrail
where event = 'guardrail' and ts >= $start and ts < $end
