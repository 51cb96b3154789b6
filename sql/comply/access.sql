-- Reads of customers' data in a period and what each rested on.
-- Grain: one row. Unit: accesses. Parameters: $start, $end (UTC text, half open).
-- Source: log_data_access, event data_access. A null recipient means none; any other null means not recorded.
select
    count(*) as accesses,
    count(*) filter (coalesce(payload->>'$.lawful_basis', '') = '') as without_lawful_basis,
    count(*) filter (coalesce(payload->>'$.purpose', '') = '') as without_purpose,
    count(*) filter (coalesce(payload->>'$.permission_used', '') = '') as without_permission,
    count(*) filter (coalesce(payload->>'$.recipient', '') <> '') as to_third_parties,
    count(*) filter (coalesce(payload->>'$.jurisdiction_to', '') = '') as without_jurisdiction,
    count(*) filter (
        coalesce(payload->>'$.jurisdiction_to', '') <> ''
        and payload->>'$.jurisdiction_to' is distinct from payload->>'$.jurisdiction_from'
    ) as across_borders,
    list(entry_hash order by entry_hash) as evidence
from log_data_access
where event = 'data_access' and ts >= $start and ts < $end
