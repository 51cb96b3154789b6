-- Delivered answers of a period that no person asked for or saw first.
-- Grain: one row. Unit: delivered answers. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference (requester_kind) with log_guardrail (delivered) on prediction_id.
select
    count(*) as delivered,
    count(*) filter (p.payload->>'$.requester_kind' is distinct from 'human') as without_a_person,
    list(p.entry_hash) || list(g.entry_hash) as evidence
from log_model_inference p join log_guardrail g using (prediction_id)
where p.event = 'prediction' and p.ts >= $start and p.ts < $end
  and g.event = 'guardrail' and g.payload->>'$.delivered' = 'true'
