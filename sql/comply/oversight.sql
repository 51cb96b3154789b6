-- What people and monitors did in a period.
-- Grain: one row. Unit: events; drills also the time of the last one [UTC text].
-- Parameters: $start, $end (UTC text, half open). Source: log_operation.
select
    count(*) filter (event = 'drill') as drills,
    count(*) filter (event = 'kill_switch_fired') as kill_switch_fired,
    count(*) filter (event = 'kill_switch_cleared') as kill_switch_cleared,
    count(*) filter (event = 'incident_opened') as incidents,
    count(*) filter (event = 'review_decided') as reviews_decided,
    count(*) filter (event = 'review_expired') as reviews_expired,
    count(*) filter (event = 'optout_set') as optouts_set,
    count(*) filter (event = 'explanation_request') as explanation_requests,
    count(*) filter (event = 'complaint') as complaints,
    count(*) filter (event = 'approval_opened') as approvals_opened,
    count(*) filter (event = 'approval_expired') as approvals_expired,
    count(*) filter (event = 'force_promote_refused') as force_promotes_refused,
    list(entry_hash order by entry_hash) as evidence
from log_operation
where ts >= $start and ts < $end
  and event in ('drill', 'kill_switch_fired', 'kill_switch_cleared', 'incident_opened', 'review_decided',
                'review_expired', 'optout_set', 'explanation_request', 'complaint', 'approval_opened',
                'approval_expired', 'force_promote_refused')
