-- How many events of one month repeat an event id, exactly; asked only when event_check saw a hash value twice.
-- Grain: one row. Parameter: $before (timestamp, exclusive). Input: view month_event (adapter).
SELECT count(*) - count(DISTINCT event_id) AS twice
FROM month_event
WHERE event_ts < $before
