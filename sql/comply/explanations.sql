-- Model-based predictions of a period that carry an explanation of their own.
-- Grain: one row. Unit: predictions. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference joined with log_attribution on prediction_id.
with predicted as (
    select prediction_id, entry_hash from log_model_inference
    where event = 'prediction' and ts >= $start and ts < $end
      and payload->>'$.layer' in ('L1_distilled', 'L2_direct')
), explained as (
    select prediction_id, min(entry_hash) as entry_hash from log_attribution
    where payload->>'$.method' <> 'rule'
    group by prediction_id
)
select
    count(*) as model_based,
    count(e.prediction_id) as explained,
    list(p.entry_hash order by p.entry_hash) || coalesce(list(e.entry_hash order by e.entry_hash) filter (e.entry_hash is not null), []) as evidence
from predicted p left join explained e using (prediction_id)
