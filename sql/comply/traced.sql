-- Model-based predictions of a period that cannot be led back to a verdict: no recorded verdict made their version
-- champion, none names its training data, or neither a verdict nor a config_change row knows their configuration.
-- Grain: one row. Unit: predictions. Parameters: $start, $end (UTC text, half open).
-- Source: log_model_inference against log_model_promotion and log_operation.
with verdicts as (
    select payload->>'$.challenger_version' as version, payload->>'$.decision' as decision,
           payload->>'$.training_snapshot_hash' as data, payload->>'$.gate_config_hash' as config, entry_hash
    from log_model_promotion where event = 'promotion_decision' and ts < $end
), known_configs as (
    select config, entry_hash from verdicts
    union all
    select payload->>'$.after_hash', entry_hash from log_operation where event = 'config_change' and ts < $end
), predicted as (
    select payload->>'$.model_version' as version, payload->>'$.config_hash' as config, entry_hash
    from log_model_inference
    where event = 'prediction' and ts >= $start and ts < $end
      and payload->>'$.layer' in ('L1_distilled', 'L2_direct')
), judged as (
    select entry_hash,
        exists (from verdicts v where v.version = p.version and v.decision in ('bootstrap', 'promote', 'force_promote'))
        and exists (from verdicts v where v.version = p.version and v.data is not null)
        and exists (from known_configs c where c.config = p.config) as traced
    from predicted p
)
select
    count(*) as model_based,
    count(*) filter (not traced) as untraced,
    coalesce(list(entry_hash), []) || (select coalesce(list(entry_hash), []) from known_configs) as evidence
from judged
