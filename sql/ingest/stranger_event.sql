-- Events of customers whom no snapshot knows, but for those who may have joined after the newest one.
-- Grain: event_id. Parameters: $before (timestamp, exclusive), $newest (date of the newest snapshot).
-- Inputs: view month_event (adapter), key.
SELECT e.event_id
FROM month_event AS e
ANTI JOIN key AS k USING (customer_id)
WHERE e.event_ts < $before AND e.event_ts::DATE <= $newest
ORDER BY e.event_ts, e.event_id
