-- Fidelity of the serving version's students to their teacher, task by task.
-- Grain: one row per prediction task. Unit: KL divergence [nat], decimal text, null for a task that was not distilled.
-- Parameters: $end (UTC text). Source: as champion; column fidelity of the verdict.
with swap as (
    select payload->>'$.details.decision_id' as decision_id, ts, entry_hash from log_operation
    where event = 'manifest_swap' and payload->>'$.phase' = 'done' and ts < $end
    order by ts desc, entry_hash
    limit 1
), champion as (
    select v.payload, v.ts, swap.ts as since, [v.entry_hash, swap.entry_hash] as evidence
    from swap join log_model_promotion v
        on v.event = 'promotion_decision' and v.payload->>'$.decision_id' = swap.decision_id
), tasks as (
    select evidence, unnest(json_extract(payload, '$.fidelity[*]')) as fact from champion
)
select
    fact->>'$.task' as task,
    fact->>'$.route' as route,
    fact->>'$.verdict' as verdict,
    fact->>'$.kl' as kl,
    evidence
from tasks
order by task
