-- What must not be in one month of events, counted.
-- Grain: one row. Unit: events; twice counts hash values that repeat, so it is 0 only if every event id is unique.
-- late = of a customer without a key, after the newest snapshot: that customer is not known yet.
-- Parameters: $month (its first day), $before (timestamp, exclusive), $newest (date of the newest snapshot).
-- Inputs: view month_event (adapter), key, category (dim_mcc).
SELECT
    count(*) AS events,
    count(*) FILTER (date_trunc('month', e.event_ts::DATE) <> $month) AS other_month,
    count(*) - count(DISTINCT hash(e.event_id)) AS twice,
    count(*) FILTER (c.mcc_idx IS NULL) AS no_category,
    count(*) FILTER (k.customer_key IS NULL AND e.event_ts::DATE > $newest) AS late,
    count(*) FILTER (k.customer_key IS NULL AND e.event_ts::DATE <= $newest) AS strangers
FROM month_event AS e
LEFT JOIN key AS k USING (customer_id)
LEFT JOIN category AS c USING (mcc_idx)
WHERE e.event_ts < $before
