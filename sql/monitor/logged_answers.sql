-- Answers of a window as another model can be judged on them: candidates with propensities, what was shown, its reward.
-- Grain: one row per answer, in the order of the record. Units: scores and propensities [0..1], reward 1 = accepted.
-- State: usable (rank 1 was drawn, by models, and delivered), not_drawn (it was taken: what would be shown can still be
-- asked), by_rules (no model answered), not_delivered, first_withheld (what was drawn is not what was shown),
-- bad_propensity (they do not sum to 1, or what was shown has none), no_propensity (none was recorded), not_sampled.
-- Parameters: $reward_days (an acceptance counts so long, and the feed must cover every day of it), $max_answers (of the
-- first two states; beyond it they are left out by the hash of their id).
-- Sources: log_model_inference, log_guardrail (the record, payload JSON); outcome (prediction_id, product_id, accepted_at
-- UTC); outcome_day (day): UTC days whose outcomes are complete.
with answer as (
    select
        prediction_id, leaf_index, replace(ts, 'Z', '')::timestamp as served_at, payload,
        json_extract(payload, '$.slate_ref[*]') as slate,
        json_extract(payload, '$.recommended[0]') as best
    from log_model_inference where event = 'prediction'
), unpacked as (
    select
        *,
        list_transform(slate, lambda x: x->>'$.product_id') as items,
        list_transform(slate, lambda x: (x->>'$.score')::double) as scores,
        list_transform(slate, lambda x: coalesce((x->>'$.propensity')::double, 0)) as propensities,
        best->>'$.product_id' as action,
        best->>'$.draw.epsilon' as epsilon,
        (best->>'$.messages_7d')::integer as messages_7d,
        payload->>'$.optout_state' = 'in' and len(list_filter(
            json_extract(payload, '$.task_scores[*].layer'), lambda x: x::integer in (1, 2))) > 0 as by_models
    from answer
), guarded as (
    select prediction_id, payload->>'$.delivered' = 'true' as delivered from log_guardrail where event = 'guardrail'
), judged as (
    select
        u.*,
        case
            when not by_models then 'by_rules'
            when delivered is distinct from true or action is null then 'not_delivered'
            when coalesce(list_sum(propensities), 0) = 0 then 'no_propensity'
            when epsilon is null and len(list_filter(propensities, lambda p: p > 0 and p < 1)) = 0 then 'not_drawn'
            when epsilon is null then 'first_withheld'
            when abs(list_sum(propensities) - 1) > 0.000001
                or coalesce(propensities[list_position(items, action)], 0) not between 0.000000001 and 1
                then 'bad_propensity'
            else 'usable'
        end as state
    from unpacked u left join guarded using (prediction_id)
), sampled as (
    select
        * replace (case when asked and rank > $max_answers then 'not_sampled' else state end as state)
    from (
        select *, state in ('usable', 'not_drawn') as asked,
            row_number() over (partition by asked order by sha256(prediction_id)) as rank
        from judged)
), known as (
    select prediction_id, count(day) = $reward_days + 1 as covered
    from sampled
    left join outcome_day on day between served_at::date and (served_at + to_days($reward_days))::date
    group by prediction_id
), accepted as (
    select distinct s.prediction_id
    from sampled s join outcome o on o.prediction_id = s.prediction_id and o.product_id = s.action
    where o.accepted_at >= s.served_at and o.accepted_at < s.served_at + to_days($reward_days)
)
select
    s.prediction_id,
    s.payload->>'$.subject_ref' as subject_ref,
    s.served_at,
    s.payload->>'$.model_version' as model_version,
    s.payload->>'$.feature_hash' as feature_hash,
    s.payload->>'$.channel' as channel,
    s.messages_7d,
    s.items, s.scores, s.propensities, s.action,
    list_transform(
        json_extract(s.payload, '$.task_scores[*]'), lambda x: (x->>'$.calibrated')::double) as outputs,
    list_transform(
        list_filter(json_extract(s.payload, '$.task_scores[*]'), lambda x: x->>'$.layer_reason' like 'SWITCH:%'),
        lambda x: {'task': x->>'$.task', 'reason': x->>'$.layer_reason'}) as switched,
    list_transform(
        map_entries(from_json(s.payload->'$.prot', '"MAP(VARCHAR, VARCHAR)"')),
        lambda x: {'attribute': x.key, 'group': x.value}) as groups,
    s.state,
    case when k.covered then (a.prediction_id is not null)::tinyint end as reward
from sampled s
join known k using (prediction_id)
left join accepted a using (prediction_id)
order by s.leaf_index
