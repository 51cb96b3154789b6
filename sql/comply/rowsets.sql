-- Predictions whose four rows (access, prediction, attribution, guardrail) are all in the record.
-- Grain: one row. Unit: predictions. Parameters: $start, $end (UTC text, half open).
-- Source: the four serving tables.
with predicted as (
    select prediction_id, request_id, entry_hash from log_model_inference
    where event = 'prediction' and ts >= $start and ts < $end
)
select
    count(*) as predictions,
    count(*) filter (
        prediction_id in (select prediction_id from log_attribution)
        and prediction_id in (select prediction_id from log_guardrail)
        and request_id in (select request_id from log_data_access)
    ) as complete,
    list(entry_hash order by entry_hash) as evidence
from predicted
