-- The training data of the version that served at the end of a period.
-- Grain: one row, or none when no verdict about the version names its data. Parameters: $end (UTC text).
-- Source: as champion, and the newest verdict about that version that carries training_snapshot_hash: the verdict of a
-- force-promote does not.
with swap as (
    select payload->>'$.details.decision_id' as decision_id, ts, entry_hash from log_operation
    where event = 'manifest_swap' and payload->>'$.phase' = 'done' and ts < $end
    order by ts desc, entry_hash
    limit 1
), champion as (
    select v.payload, v.ts, swap.ts as since, [v.entry_hash, swap.entry_hash] as evidence
    from swap join log_model_promotion v
        on v.event = 'promotion_decision' and v.payload->>'$.decision_id' = swap.decision_id
)
select
    v.payload->>'$.training_snapshot_hash' as training_snapshot_hash,
    list_append(champion.evidence, v.entry_hash) as evidence
from champion join log_model_promotion v
    on v.event = 'promotion_decision' and v.ts < $end
    and v.payload->>'$.challenger_version' = champion.payload->>'$.challenger_version'
where v.payload->>'$.training_snapshot_hash' is not null
order by v.ts desc, v.entry_hash
limit 1
