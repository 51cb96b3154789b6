-- Reads of customers' data in a period and what each rested on.
-- Grain: one row. Unit: accesses. Parameters: $start, $end (UTC text, half open).
-- Source: log_data_access.
select
    count(*) as accesses,
    count(*) filter (coalesce(payload->>'$.lawful_basis', '') = '') as without_lawful_basis,
    count(*) filter (coalesce(payload->>'$.purpose', '') = '') as without_purpose,
    count(*) filter (payload->>'$.denied' = 'true') as denied,
    count(*) filter (coalesce(payload->>'$.recipient', '') <> '') as to_third_parties,
    count(*) filter (
        coalesce(payload->>'$.jurisdiction_to', '') <> ''
        and payload->>'$.jurisdiction_to' <> payload->>'$.jurisdiction_from'
    ) as across_borders,
    count(distinct payload->>'$.access_reason') as access_reasons,
    list(entry_hash order by entry_hash) as evidence
from log_data_access
where ts >= $start and ts < $end
