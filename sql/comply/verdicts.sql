-- Verdicts of the promotion gate in a period, by outcome and by who decided.
-- Grain: one row. Unit: verdicts. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_promotion, event promotion_decision.
select
    count(*) as verdicts,
    count(*) filter (payload->>'$.decision' = 'bootstrap') as bootstrap,
    count(*) filter (payload->>'$.decision' = 'promote') as promoted,
    count(*) filter (payload->>'$.decision' = 'promote' and payload->>'$.trigger' = 'auto') as promoted_without_a_human,
    count(*) filter (payload->>'$.decision' = 'force_promote') as forced,
    count(*) filter (payload->>'$.decision' = 'await_signoff') as sent_to_a_human,
    count(*) filter (payload->>'$.decision' = 'reject' and payload->>'$.trigger' = 'auto') as rejected_by_the_gate,
    count(*) filter (payload->>'$.decision' = 'reject' and payload->>'$.trigger' = 'manual') as declined_by_a_human,
    list(entry_hash order by entry_hash) as evidence
from log_model_promotion
where event = 'promotion_decision' and ts >= $start and ts < $end
