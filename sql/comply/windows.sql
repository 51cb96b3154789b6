-- Monitoring windows of a period: how many readings were taken, how many were outside limits.
-- Grain: one row. Unit: windows. Parameters: $start, $end (UTC text, half open).
-- Source: log_operation, events drift_window, fairness_window, drift_breach, fairness_breach.
select
    count(*) filter (event = 'drift_window') as drift_windows,
    count(*) filter (event = 'drift_breach') as drift_breaches,
    count(*) filter (event = 'fairness_window') as fairness_windows,
    count(*) filter (event = 'fairness_breach') as fairness_breaches,
    list(entry_hash order by entry_hash) as evidence
from log_operation
where ts >= $start and ts < $end
  and event in ('drift_window', 'drift_breach', 'fairness_window', 'fairness_breach')
