-- Predictions of a period by who answered them.
-- Grain: one row. Unit: predictions; subjects: people. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference, event prediction. optout_state is in, out or unreadable, which counts as out.
select
    count(*) as predictions,
    count(*) filter (payload->>'$.layer' = 'L1_distilled') as by_distilled_student,
    count(*) filter (payload->>'$.layer' = 'L2_direct') as by_direct_student,
    count(*) filter (payload->>'$.layer' = 'L3_rules') as by_rules,
    count(*) filter (payload->>'$.layer' = 'L4_human') as by_people,
    count(*) filter (payload->>'$.layer' in ('L1_distilled', 'L2_direct')) as model_based,
    count(*) filter (
        payload->>'$.layer' in ('L1_distilled', 'L2_direct') and payload->>'$.optout_state' is distinct from 'in'
    ) as model_based_despite_opt_out,
    count(distinct payload->>'$.subject_ref') as subjects,
    list(entry_hash order by entry_hash) as evidence
from log_model_inference
where event = 'prediction' and ts >= $start and ts < $end
