-- Fidelity of the serving version's students to their teacher, task by task.
-- Grain: one row per prediction task. Unit: KL divergence [nat]. Parameters: $end (UTC text).
-- Source: log_model_promotion, column fidelity of the newest verdict that changes the champion.
with champion as (
    select entry_hash, payload from log_model_promotion
    where event = 'promotion_decision' and ts < $end
      and payload->>'$.decision' in ('bootstrap', 'promote', 'force_promote')
    order by ts desc, entry_hash
    limit 1
), tasks as (
    select entry_hash, unnest(json_extract(payload, '$.fidelity[*]')) as fact from champion
)
select
    fact->>'$.task' as task,
    fact->>'$.verdict' as verdict,
    fact->>'$.kl' as kl,
    [entry_hash] as evidence
from tasks
order by task
