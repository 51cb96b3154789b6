-- Predictions of a period whose model version no recorded verdict made champion.
-- Grain: one row. Unit: model-based predictions. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference against log_model_promotion.
with predicted as (
    select payload->>'$.model_version' as version, entry_hash from log_model_inference
    where event = 'prediction' and ts >= $start and ts < $end
      and payload->>'$.layer' in ('L1_distilled', 'L2_direct')
)
select
    count(*) as model_based,
    count(*) filter (
        version not in (
            select payload->>'$.challenger_version' from log_model_promotion
            where event = 'promotion_decision' and payload->>'$.decision' in ('bootstrap', 'promote', 'force_promote')
        )
    ) as unresolved,
    list(entry_hash order by entry_hash) as evidence
from predicted
