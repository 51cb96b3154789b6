-- Delivered model-based predictions of a period: what was wrong with them, and whether they were explained, that is have
-- an attribution that is not a rule's and the hash of the text that was shown.
-- Grain: one row. Unit: predictions. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference with log_guardrail and log_attribution on prediction_id.
with delivered as (
    select prediction_id, p.entry_hash as prediction, g.entry_hash as guardrail,
           g.payload->>'$.suit.verdict' = 'block' as unsuitable,
           g.payload->>'$.ai_notice_present' is distinct from 'true' as without_notice
    from log_model_inference p join log_guardrail g using (prediction_id)
    where p.event = 'prediction' and p.ts >= $start and p.ts < $end
      and p.payload->>'$.layer' in ('L1_distilled', 'L2_direct')
      and g.event = 'guardrail' and g.payload->>'$.delivered' = 'true'
), explained as (
    select prediction_id, min(entry_hash) as attribution from log_attribution
    where payload->>'$.method' <> 'rule' and payload->>'$.reason_text_hash' is not null
    group by prediction_id
), found as (
    select * from delivered left join explained using (prediction_id)
)
select
    count(*) as delivered,
    count(*) filter (unsuitable) as unsuitable,
    count(*) filter (without_notice) as without_notice,
    count(*) filter (attribution is null) as unexplained,
    list_filter(list(prediction) || list(guardrail) || list(attribution), lambda x: x is not null) as evidence
from found
